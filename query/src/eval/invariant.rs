//! What is the same at all steps is evaluated once, and repeated.

use std::sync::Arc;

use super::{BoxedOperator, Exec, Grid, Operator, SeriesColumn, open};
use crate::error::QueryError;
use crate::plan::VectorNode;

/// Evaluates its input at the first step and repeats the result at every step.
pub(super) struct Broadcast<'q> {
    exec: &'q Exec<'q>,
    input: BoxedOperator<'q>,
    grid: Grid,
}

impl<'q> Broadcast<'q> {
    pub(super) fn new(exec: &'q Exec<'q>, input: &'q VectorNode, grid: Grid) -> Result<Self, QueryError> {
        Ok(Broadcast { exec, input: open(exec, input, exec.scopes.first_step(grid))?, grid })
    }
}

impl Operator for Broadcast<'_> {
    fn next(&mut self) -> Result<Option<SeriesColumn>, QueryError> {
        let Some(series) = self.input.next()? else { return Ok(None) };
        if self.grid.steps <= 1 {
            return Ok(Some(series));
        }
        let mut column = self.exec.column(self.grid)?;
        if let Some(histogram) = series.column.histogram(0) {
            for step in 0..self.grid.steps {
                column.put_histogram(step, Arc::clone(histogram))?;
            }
        } else if let Some(&value) = series.column.values.first() {
            (0..self.grid.steps).for_each(|step| column.put(step, value));
        }
        Ok(Some(SeriesColumn { column, ..series }))
    }
}
