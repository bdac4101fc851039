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

use std::hash::{BuildHasher, Hash, Hasher};

use hashbrown::{DefaultHashBuilder, HashTable};
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
    kept: Kept<'q>,
    /// The labels of each group and its number, by the hash of these labels.
    known: HashTable<(Labels, usize)>,
    hashes: DefaultHashBuilder,
}

/// Which labels a group has of those of its series.
struct Kept<'q> {
    /// Ascending.
    names: Vec<&'q str>,
    without: bool,
}

impl Kept<'_> {
    fn keeps(&self, name: &str) -> bool {
        let named = self.names.binary_search(&name).is_ok();
        if self.without { !named && name != METRIC_NAME } else { named }
    }

    /// Whether no label of any series is kept.
    fn is_none(&self) -> bool {
        !self.without && self.names.is_empty()
    }

    fn of<'l>(&self, labels: &'l Labels) -> impl Iterator<Item = (&'l str, &'l str)> {
        labels.iter().filter(|(name, _)| self.keeps(name))
    }
}

impl<'q> Groups<'q> {
    fn new(grouping: &'q Grouping) -> Self {
        let mut names: Vec<&str> = grouping.labels.iter().map(String::as_str).collect();
        names.sort_unstable();
        let kept = Kept { names, without: grouping.without };
        Groups { kept, known: HashTable::new(), hashes: DefaultHashBuilder::default() }
    }

    /// The labels that a group of this series has.
    fn labels(&self, labels: &Labels) -> Labels {
        if self.kept.is_none() { Labels::default() } else { labels.without(|name| !self.kept.keeps(name)) }
    }

    /// The number of the group, counted from 0 in the order in which they come up; its labels if it is a new one. Those of a known one are
    /// not made again.
    fn find(&mut self, labels: &Labels) -> (usize, Option<Labels>) {
        if self.kept.is_none() && !self.known.is_empty() {
            return (0, None);
        }
        let hash = hash_of(&self.hashes, &self.kept, labels);
        let is_of = |(known, _): &(Labels, usize)| known.iter().eq(self.kept.of(labels));
        if let Some((_, number)) = self.known.find(hash, is_of) {
            return (*number, None);
        }
        let (number, labels) = (self.known.len(), self.labels(labels));
        let Groups { known, kept, hashes } = self;
        known.insert_unique(hash, (labels.clone(), number), |(labels, _)| hash_of(hashes, kept, labels));
        (number, Some(labels))
    }
}

/// The hash of those labels that are kept.
fn hash_of(hashes: &DefaultHashBuilder, kept: &Kept<'_>, labels: &Labels) -> u64 {
    let mut hasher = hashes.build_hasher();
    kept.of(labels).for_each(|label| label.hash(&mut hasher));
    hasher.finish()
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
