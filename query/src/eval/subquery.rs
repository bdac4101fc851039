//! Sub-queries: an instant expression evaluated at a step grid of its own, then read like raw samples.
//!
//! The grid holds the multiples of the step in `(start, end]`, wherever the outer query's steps lie, so that results do
//! not depend on when a query is asked. Where the plan shows that series come whole, they stream; else all are taken in
//! and fragments are put together, since a window must see a series whole.

use std::sync::Arc;

use hashbrown::HashMap;
use marigram_storage::model::histogram::{Histogram, HistogramSample, ResetHint};
use marigram_storage::model::labels::Labels;

use super::{BoxedOperator, Exec, Grid, SeriesColumn, open};
use crate::error::QueryError;
use crate::plan::VectorNode;

/// The evaluated inner expression.
pub(super) struct Subquery<'q> {
    grid: Grid,
    series: Inner<'q>,
}

enum Inner<'q> {
    Streaming(BoxedOperator<'q>),
    Collected(std::vec::IntoIter<SeriesColumn>),
}

impl<'q> Subquery<'q> {
    /// The multiples of `step_ms` in `(after_ms, until_ms]`.
    pub(super) fn grid(after_ms: i64, until_ms: i64, step_ms: i64) -> Grid {
        let first_ms = after_ms.div_euclid(step_ms).saturating_add(1).saturating_mul(step_ms);
        Grid::range(first_ms, until_ms, step_ms)
    }

    /// Evaluates `inner` at the steps of a grid.
    pub(super) fn open(exec: &'q Exec<'q>, inner: &'q VectorNode, grid: Grid) -> Result<Self, QueryError> {
        if grid.steps == 0 {
            return Ok(Subquery { grid, series: Inner::Collected(Vec::new().into_iter()) });
        }
        // A grid alone can be too large: nothing is allocated before this passes.
        drop(exec.limit.hold(grid.steps)?);
        let operator = open(exec, inner, grid)?;
        let series = if inner.is_whole() {
            Inner::Streaming(operator)
        } else {
            Inner::Collected(collected(exec, operator)?.into_iter())
        };
        Ok(Subquery { grid, series })
    }

    /// Writes the samples of the next series into the columns; answers its labels, and whether its name goes at the end of
    /// the query. `None` at the end.
    pub(super) fn next(
        &mut self,
        times: &mut Vec<i64>,
        values: &mut Vec<f64>,
        histograms: &mut Vec<HistogramSample>,
    ) -> Result<Option<(Labels, bool)>, QueryError> {
        let next = match &mut self.series {
            Inner::Streaming(operator) => operator.next()?,
            Inner::Collected(series) => series.next(),
        };
        let Some(SeriesColumn { labels, column, drops_name }) = next else { return Ok(None) };
        for (step, value) in column.samples() {
            times.push(self.grid.time_ms(step));
            values.push(value);
        }
        for (step, histogram) in column.histograms() {
            let histogram = without_hint(histogram);
            histograms.push(HistogramSample { timestamp_ms: self.grid.time_ms(step), histogram });
        }
        Ok(Some((labels, drops_name)))
    }
}

/// The histogram without the hint whether it was reset: a subquery may step over the sample that was, or yield it twice.
fn without_hint(histogram: &Arc<Histogram>) -> Arc<Histogram> {
    match histogram.hint {
        ResetHint::Unknown | ResetHint::Gauge => Arc::clone(histogram),
        ResetHint::Reset | ResetHint::NotReset => {
            Arc::new(Histogram { hint: ResetHint::Unknown, ..Histogram::clone(histogram) })
        }
    }
}

fn collected<'q>(exec: &'q Exec<'q>, mut operator: BoxedOperator<'q>) -> Result<Vec<SeriesColumn>, QueryError> {
    let mut series: Vec<SeriesColumn> = Vec::new();
    let mut known: HashMap<Labels, usize> = HashMap::new();
    while let Some(next) = operator.next()? {
        match known.get(&next.labels).and_then(|&at| series.get_mut(at)) {
            Some(whole) => whole.column.absorb(&next.column)?,
            None => {
                exec.keep_labels(&next.labels)?;
                known.insert(next.labels.clone(), series.len());
                series.push(next);
            }
        }
    }
    Ok(series)
}
