//! `absent_over_time`.

use marigram_storage::model::labels::Labels;

use super::samples::SampleReader;
use crate::error::QueryError;
use crate::eval::column::Steps;
use crate::eval::{Exec, Grid, Operator, SeriesColumn};
use crate::plan::MatrixNode;

/// `absent_over_time`: one series, present where no series has a sample in its window.
pub(in crate::eval) struct AbsentOverTime<'q> {
    exec: &'q Exec<'q>,
    input: &'q MatrixNode,
    labels: &'q Labels,
    grid: Grid,
    done: bool,
}

impl<'q> AbsentOverTime<'q> {
    pub(in crate::eval) fn new(exec: &'q Exec<'q>, input: &'q MatrixNode, labels: &'q Labels, grid: Grid) -> Self {
        AbsentOverTime { exec, input, labels, grid, done: false }
    }
}

impl Operator for AbsentOverTime<'_> {
    fn next(&mut self) -> Result<Option<SeriesColumn>, QueryError> {
        if std::mem::replace(&mut self.done, true) {
            return Ok(None);
        }
        let mut missing = Steps::all(self.grid.steps);
        let mut reader = SampleReader::open(self.exec, self.input, self.grid)?;
        while (!missing.is_empty() || self.exec.counts.tells_steps()) && reader.next()?.is_some() {
            let looked = reader.windows(self.grid, |step, _| {
                missing.unset(step);
                Ok(())
            })?;
            reader.count(&looked);
        }
        if missing.is_empty() {
            return Ok(None);
        }
        let mut column = self.exec.column(self.grid)?;
        column.values.fill(1.0);
        column.present = missing;
        Ok(Some(SeriesColumn::new(self.labels.clone(), column)))
    }
}
