//! Evaluation, column by column: an operator yields whole series, each with its values at all steps of a grid.
//!
//! 1. [`open`] turns a plan node into an operator over a grid. Nothing is read yet.
//! 2. [`Operator::next`] yields the next series. Selectors read the store batch by batch; functions pass series through
//!    one at a time; aggregations drain their input, folding each series into its group at once; binary operators keep
//!    one side, hashed by what the series are matched by, and stream the other.
//! 3. A stream may hold several *fragments* of one series, whose samples lie at different steps (two series that differ
//!    only in a name which a function dropped, say). Whoever needs whole series merges them; [`guard`] makes
//!    sure that fragments never share a step.

mod aggregate;
mod binary;
mod column;
mod context;
mod counts;
mod exec;
pub(crate) mod function;
mod guard;
mod info;
mod invariant;
pub(crate) mod kahan;
mod later;
mod leaf;
mod memory;
mod notes;
mod range;
mod reader;
mod scalar;
mod select;
#[cfg(test)]
mod selects_test;
mod shared;
mod sink;
mod subquery;
pub(crate) mod sweep;

pub(crate) use column::Column;
pub(crate) use context::{EvalContext, EvalOptions};
pub(crate) use counts::{Counts, Scopes};
pub(crate) use exec::{Exec, Grid};
use later::open_later;
pub(crate) use memory::{Kept, SampleLimit};
pub(crate) use shared::SharedSelects;
pub(crate) use sink::Sink;

use std::sync::Arc;

use marigram_storage::model::labels::Labels;

use crate::error::QueryError;
use crate::names::without_metadata;
use crate::plan::{MatrixNode, ScalarNode, VectorNode};

/// A series, or a fragment of one, over a grid.
#[derive(Debug)]
pub(crate) struct SeriesColumn {
    pub(crate) labels: Labels,
    pub(crate) column: Column,
    /// Whether the metric's name goes at the end of the query; only where names are removed that late.
    pub(crate) drops_name: bool,
}

impl SeriesColumn {
    /// A series that keeps the labels it has.
    pub(crate) fn new(labels: Labels, column: Column) -> Self {
        SeriesColumn { labels, column, drops_name: false }
    }

    /// Takes the metric's name away, now or at the end of the query.
    pub(crate) fn drop_name(&mut self, eval: &EvalContext) {
        if eval.options.features.delayed_name_removal {
            self.drops_name = true;
        } else {
            self.labels = without_metadata(&self.labels);
        }
    }

    /// The labels as they are at the end of the query.
    pub(crate) fn final_labels(&self) -> Labels {
        if self.drops_name { without_metadata(&self.labels) } else { self.labels.clone() }
    }
}

/// Yields series over the grid that it was opened for.
pub(crate) trait Operator {
    /// The next series, with at least one sample; `None` at the end.
    fn next(&mut self) -> Result<Option<SeriesColumn>, QueryError>;

    /// Lets other threads that work for the operator put series into `sink`, which then are not yielded. Series that are put and series
    /// that are yielded keep their order. Operators for which nobody else works yield all of theirs.
    fn share(&mut self, _sink: Arc<dyn Sink>) {}

    /// Has other threads begin with what they can do before the first series is asked for. Changes nothing of what is yielded. Not for
    /// those that share.
    fn begin(&mut self) {}
}

/// An operator that lives as long as the query's plan.
pub(crate) type BoxedOperator<'q> = Box<dyn Operator + 'q>;

/// The operator that evaluates `node` over `grid`.
pub(crate) fn open<'q>(exec: &'q Exec<'q>, node: &'q VectorNode, grid: Grid) -> Result<BoxedOperator<'q>, QueryError> {
    Ok(match node {
        VectorNode::Select(select) => select::open(exec, select, grid, select::Yield::Value),
        VectorNode::SampleTime(select) => {
            guard::guarded(exec, node, select::open(exec, select, grid, select::Yield::SampleTime))
        }
        VectorNode::StartTime(select) => {
            guard::guarded(exec, node, select::open(exec, select, grid, select::Yield::StartTime))
        }
        VectorNode::Window { function, input, args } => range::open(exec, function, input, args, grid)?,
        VectorNode::AbsentOverTime { input, labels } => Box::new(range::AbsentOverTime::new(exec, input, labels, grid)),
        VectorNode::Absent { input, labels } => function::absent(exec, input, labels, grid)?,
        VectorNode::Map { function, input, args } => {
            guard::guarded(exec, node, function::map(exec, function, input, args, grid)?)
        }
        VectorNode::Negate(input) => guard::guarded(exec, node, function::negate(exec, input, grid)?),
        VectorNode::OfScalar(scalar) => function::of_scalar(exec, scalar, grid)?,
        VectorNode::Label { function, input } => {
            guard::guarded(exec, node, function::label(exec, function, input, grid)?)
        }
        VectorNode::Sort { order, input } => function::sort(exec, order, input, grid)?,
        VectorNode::Histogram { function, input, args, site } => {
            guard::guarded(exec, node, function::histogram(exec, function, input, args, site, grid)?)
        }
        VectorNode::Aggregate(aggregate) => aggregate::open_aggregate(exec, aggregate, grid)?,
        VectorNode::WithScalar(binary) => guard::guarded(exec, node, binary::with_scalar(exec, binary, grid)?),
        VectorNode::Binary(binary) => guard::guarded(exec, node, binary::open(exec, binary, grid)?),
        VectorNode::Set(set) => guard::guarded(exec, node, binary::open_set(exec, set, grid)?),
        VectorNode::Info(info_node) => guard::guarded(exec, node, info::info(exec, info_node, grid)),
        VectorNode::Invariant(inner) => Box::new(invariant::Broadcast::new(exec, inner, grid)?),
    })
}

/// The values of a scalar at every step.
pub(crate) fn scalar(exec: &Exec<'_>, node: &ScalarNode, grid: Grid) -> Result<scalar::ScalarColumn, QueryError> {
    scalar::evaluate(exec, node, grid)
}

/// All series of a range vector with their raw samples at one evaluation time.
pub(crate) fn matrix(
    exec: &Exec<'_>,
    node: &MatrixNode,
    time_ms: i64,
) -> Result<Vec<crate::value::Series>, QueryError> {
    range::materialise(exec, node, time_ms)
}
