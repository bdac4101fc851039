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

use hashbrown::{Equivalent, HashMap};
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
struct Groups {
    /// The names that are grouped by, or left out: ascending.
    names: Vec<Box<[u8]>>,
    without: bool,
    known: HashMap<Labels, usize>,
    key: Vec<u8>,
}

/// The canonical bytes of a group's labels, before there is a label set of them.
#[derive(Hash)]
struct Key<'a>(&'a [u8]);

impl Equivalent<Labels> for Key<'_> {
    fn equivalent(&self, labels: &Labels) -> bool {
        self.0 == labels.as_bytes()
    }
}

impl Groups {
    fn new(grouping: &Grouping) -> Self {
        let mut names: Vec<Box<[u8]>> = grouping.labels.iter().map(|name| name.as_bytes().into()).collect();
        if grouping.without {
            names.push(METRIC_NAME.as_bytes().into());
        }
        names.sort_unstable();
        Groups { names, without: grouping.without, known: HashMap::new(), key: Vec::new() }
    }

    /// Whether groups have a label of that name; to be asked about names in ascending order.
    fn keeps(&self) -> impl FnMut(&[u8]) -> bool {
        let mut names = self.names.iter().peekable();
        move |name| {
            while names.next_if(|other| ***other < *name).is_some() {}
            names.peek().is_some_and(|other| ***other == *name) != self.without
        }
    }

    /// The number of the group, counted from 0 in the order in which they come up; its labels if it is a new one.
    fn find(&mut self, labels: &Labels) -> (usize, Option<Labels>) {
        match self.known(labels) {
            Some(number) => (number, None),
            None => {
                let labels = self.labels_of(labels);
                (self.add(labels.clone()), Some(labels))
            }
        }
    }

    /// The number of the group if it is known.
    fn known(&mut self, labels: &Labels) -> Option<usize> {
        let mut key = std::mem::take(&mut self.key);
        key.clear();
        if self.without || !self.names.is_empty() {
            labels.push_only(self.keeps(), &mut key);
        }
        let known = self.known.get(&Key(&key)).copied();
        self.key = key;
        known
    }

    /// The labels of the group of a series.
    fn labels_of(&self, labels: &Labels) -> Labels {
        labels.only(self.keeps())
    }

    /// Takes a new group in; its number.
    fn add(&mut self, labels: Labels) -> usize {
        let number = self.known.len();
        self.known.insert(labels, number);
        number
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
