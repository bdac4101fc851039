//! `sum` and `avg` of histograms: a group holds one under way for each step at which it has any.

use std::sync::Arc;

use marigram_storage::model::histogram::{Histogram, ResetHint};

use crate::error::QueryError;
use crate::eval::column::Column;
use crate::eval::notes::{Note, Notes};
use crate::eval::{Exec, Grid, SeriesColumn};
use crate::histogram::{HistogramMean, HistogramSum, compact};
use crate::parse::ast::AggregateOp;
use crate::plan::AggregateNode;

/// The histograms of one group.
pub(super) struct HistogramFold<'q> {
    exec: &'q Exec<'q>,
    node: &'q AggregateNode,
    states: Vec<Option<Box<State>>>,
}

/// The histograms of one group at one step.
struct State {
    total: Total,
    reset_seen: bool,
    not_reset_seen: bool,
    /// Exponential and custom buckets met: there is no result.
    incompatible: bool,
}

enum Total {
    Sum(HistogramSum),
    Mean(HistogramMean),
}

impl<'q> HistogramFold<'q> {
    pub(super) fn new(exec: &'q Exec<'q>, node: &'q AggregateNode, grid: Grid) -> Result<Self, QueryError> {
        exec.keep_bytes(size_of::<Option<Box<State>>>() * grid.steps)?;
        Ok(HistogramFold { exec, node, states: (0..grid.steps).map(|_| None).collect() })
    }

    /// Takes the histograms of a series in.
    pub(super) fn fold(&mut self, series: &SeriesColumn) -> Result<(), QueryError> {
        let mut notes = Notes::default();
        for (step, histogram) in series.column.histograms() {
            let Some(slot) = self.states.get_mut(step) else { continue };
            match slot {
                Some(state) => state.add(histogram, &mut notes),
                None => {
                    let state = State::starting_at(self.node.op, histogram);
                    self.exec.keep_bytes(state.size_bytes())?;
                    *slot = Some(Box::new(state));
                }
            }
        }
        notes.write(self.exec, series.labels.metric_name().unwrap_or(""), self.node.input_span);
        Ok(())
    }

    /// Writes the results beside those of the floats. Where there are both, there is none.
    pub(super) fn finish(self, column: &mut Column) -> Result<(), QueryError> {
        let mut notes = Notes::default();
        for (step, state) in self.states.into_iter().enumerate() {
            let Some(state) = state else { continue };
            if column.present.get(step) {
                column.present.unset(step);
                notes.add(Note::MixedGroup);
                continue;
            }
            if state.incompatible {
                continue;
            }
            notes.add_if(state.reset_seen && state.not_reset_seen, Note::CollisionInAggregation);
            column.put_histogram(step, Arc::new(state.result()))?;
        }
        notes.write(self.exec, "", self.node.input_span);
        Ok(())
    }
}

impl State {
    fn starting_at(op: AggregateOp, histogram: &Histogram) -> Self {
        let total = match op {
            AggregateOp::Avg => Total::Mean(HistogramMean::starting_at(histogram)),
            _ => Total::Sum(HistogramSum::starting_at(histogram)),
        };
        let (reset_seen, not_reset_seen) = seen(histogram);
        State { total, reset_seen, not_reset_seen, incompatible: false }
    }

    fn add(&mut self, histogram: &Histogram, notes: &mut Notes) {
        if self.incompatible {
            return;
        }
        let (reset_seen, not_reset_seen) = seen(histogram);
        self.reset_seen |= reset_seen;
        self.not_reset_seen |= not_reset_seen;
        let combined = match &mut self.total {
            Total::Sum(sum) => sum.add(histogram),
            Total::Mean(mean) => mean.add(histogram),
        };
        match combined {
            Ok(combined) => notes.add_if(combined.bounds_reconciled, Note::ReconciledInAggregation),
            Err(_) => {
                notes.add(Note::MixedBuckets);
                self.incompatible = true;
            }
        }
    }

    fn result(self) -> Histogram {
        let mut result = match self.total {
            Total::Sum(sum) => sum.total(),
            Total::Mean(mean) => mean.mean(),
        };
        compact(&mut result);
        result
    }

    fn size_bytes(&self) -> usize {
        let total = match &self.total {
            Total::Sum(sum) => sum.size_bytes(),
            Total::Mean(mean) => mean.size_bytes(),
        };
        size_of::<Self>() + total
    }
}

/// Whether a histogram says that it was reset, or that it was not.
fn seen(histogram: &Histogram) -> (bool, bool) {
    (histogram.hint == ResetHint::Reset, histogram.hint == ResetHint::NotReset)
}
