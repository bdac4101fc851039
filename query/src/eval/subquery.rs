//! Sub-queries: an instant expression evaluated at a step grid of its own, then read like raw samples.
//!
//! The grid holds the multiples of the step in `(start, end]`, wherever the outer query's steps lie, so that results do
//! not depend on when a query is asked. Fragments of a series are put together, since a window must see it whole.

use hashbrown::HashMap;
use marigram_storage::model::labels::Labels;

use super::{Column, Exec, Grid, open};
use crate::error::QueryError;
use crate::plan::VectorNode;

/// The evaluated inner expression.
pub(super) struct Subquery {
    grid: Grid,
    series: std::vec::IntoIter<(Labels, Column)>,
}

impl Subquery {
    /// Evaluates `inner` at the multiples of `step_ms` in `(after_ms, until_ms]`.
    pub(super) fn open(
        exec: &Exec<'_>,
        inner: &VectorNode,
        after_ms: i64,
        until_ms: i64,
        step_ms: i64,
    ) -> Result<Self, QueryError> {
        let first_ms = after_ms.div_euclid(step_ms).saturating_add(1).saturating_mul(step_ms);
        let grid = Grid::range(first_ms, until_ms, step_ms);
        let mut series: Vec<(Labels, Column)> = Vec::new();
        let mut known: HashMap<Labels, usize> = HashMap::new();
        if grid.steps > 0 {
            // A grid alone can be too large: nothing is allocated before this passes.
            drop(exec.limit.hold(grid.steps)?);
            let mut operator = open(exec, inner, grid)?;
            while let Some(next) = operator.next()? {
                match known.get(&next.labels).and_then(|&at| series.get_mut(at)) {
                    Some((_, column)) => column.absorb(&next.column),
                    None => {
                        known.insert(next.labels.clone(), series.len());
                        series.push((next.labels, next.column));
                    }
                }
            }
        }
        Ok(Subquery { grid, series: series.into_iter() })
    }

    /// Writes the samples of the next series into the columns; `None` at the end.
    pub(super) fn next(&mut self, times: &mut Vec<i64>, values: &mut Vec<f64>) -> Result<Option<Labels>, QueryError> {
        let Some((labels, column)) = self.series.next() else { return Ok(None) };
        for (step, value) in column.samples() {
            times.push(self.grid.time_ms(step));
            values.push(value);
        }
        Ok(Some(labels))
    }
}
