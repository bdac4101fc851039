//! Aggregations: series are folded into their groups as they stream in; only `topk`, `bottomk` and `quantile` keep samples.
//!
//! Histograms are added up and averaged like floats, in a fold of their own; a group that has both at a step has no result
//! there. Aggregations that compare values ignore them.

mod count_values;
mod fold;
mod histograms;
mod limit;
mod quantile;
mod topk;

use hashbrown::{HashMap, HashSet};
use marigram_storage::model::labels::{Labels, METRIC_NAME};

use super::column::Column;
use super::function::computed;
use super::notes::{Note, Notes};
use super::{BoxedOperator, Exec, Grid, open};
use crate::error::QueryError;
use crate::parse::ast::{AggregateOp, Grouping, Span};
use crate::plan::{AggregateNode, AggregateParam, ScalarNode};

/// The operator of an aggregation.
pub(super) fn open_aggregate<'q>(
    exec: &'q Exec<'q>,
    node: &'q AggregateNode,
    grid: Grid,
) -> Result<BoxedOperator<'q>, QueryError> {
    Ok(computed(move || {
        let groups = Groups::new(&node.grouping);
        match (node.op, &node.param) {
            (AggregateOp::Topk | AggregateOp::Bottomk, AggregateParam::Scalar(k, _)) => {
                topk::evaluate(exec, node, k, groups, grid)
            }
            (AggregateOp::Limitk, AggregateParam::Scalar(k, _)) => limit::limitk(exec, node, k, groups, grid),
            (AggregateOp::LimitRatio, AggregateParam::Scalar(ratio, span)) => {
                limit::limit_ratio(exec, node, (ratio, *span), grid)
            }
            (AggregateOp::Quantile, AggregateParam::Scalar(q, span)) => {
                quantile::evaluate(exec, node, (q, *span), groups, grid)
            }
            (AggregateOp::CountValues, AggregateParam::Label(label)) => count_values::evaluate(exec, node, label, grid),
            (_, AggregateParam::None) => {
                let mut input = open(exec, &node.input, grid)?;
                fold::evaluate(exec, node, &mut *input, groups, grid)
            }
            _ => Err(QueryError::bad_data("wrong parameter of an aggregation")),
        }
    }))
}

/// Finds the group of each series.
struct Groups<'q> {
    by: HashSet<&'q str>,
    without: bool,
    known: HashMap<Labels, usize>,
}

impl<'q> Groups<'q> {
    fn new(grouping: &'q Grouping) -> Self {
        let by = grouping.labels.iter().map(String::as_str).collect();
        Groups { by, without: grouping.without, known: HashMap::new() }
    }

    /// The labels that a group of this series has.
    fn labels(&self, labels: &Labels) -> Labels {
        if self.without {
            labels.without(|name| name == METRIC_NAME || self.by.contains(name))
        } else if self.by.is_empty() {
            Labels::default()
        } else {
            labels.without(|name| !self.by.contains(name))
        }
    }

    /// The number of the group, counted from 0 in the order in which they come up; its labels if it is a new one.
    fn find(&mut self, labels: &Labels) -> (usize, Option<Labels>) {
        let key = self.labels(labels);
        let next = self.known.len();
        match self.known.entry(key) {
            hashbrown::hash_map::Entry::Occupied(entry) => (*entry.get(), None),
            hashbrown::hash_map::Entry::Vacant(entry) => {
                let labels = entry.key().clone();
                entry.insert(next);
                (next, Some(labels))
            }
        }
    }
}

/// Takes the histograms out of a series, and tells that they are ignored; `span` is where.
fn ignore_histograms(exec: &Exec<'_>, op: AggregateOp, column: &mut Column, span: Span) {
    if column.drop_histograms() {
        let mut notes = Notes::default();
        notes.add(Note::IgnoredInAggregation);
        notes.write(exec, op.as_str(), span);
    }
}

/// The numbers that a parameter takes.
fn parameter(exec: &Exec<'_>, node: &ScalarNode, grid: Grid) -> Result<Vec<f64>, QueryError> {
    drop(exec.limit.hold(grid.steps)?);
    Ok(super::scalar::evaluate(exec, node, grid)?.iter(grid.steps).collect())
}
