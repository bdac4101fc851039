//! The selects of a plan, and which of them are the same.

use marigram_storage::model::matcher::{MatchOp, Matcher};

use super::{AggregateParam, MatrixNode, Moment, Node, ScalarNode, Select, VectorNode};
use crate::parse::ast::Boundary;

/// What decides which samples a select reads, besides the grid of the query.
#[derive(PartialEq)]
struct Place {
    /// The parts around it that have a grid of their own, from the outside.
    scopes: Vec<Scope>,
    moment: Moment,
    boundary: Boundary,
    /// `None`: as far as the lookback goes.
    range_ms: Option<i64>,
}

#[derive(Clone, Copy, PartialEq)]
enum Scope {
    Subquery {
        range_ms: i64,
        step_ms: i64,
        window: Moment,
    },
    /// One step.
    Invariant,
}

/// The matchers of selects that are made several times, with how often.
pub(crate) fn repeated(node: &Node) -> Vec<(&[Matcher], usize)> {
    let mut selects = Selects { scopes: Vec::new(), found: Vec::new() };
    match node {
        Node::Scalar(node) => selects.scalar(node),
        Node::Vector(node) => selects.vector(node),
        Node::Matrix(node) => selects.matrix(node),
        Node::String(_) => {}
    }
    let found = selects.found.into_iter().map(|(_, matchers, times)| (matchers, times));
    found.filter(|(_, times)| *times > 1).collect()
}

/// Whether both ask for the same.
pub(crate) fn are_same(one: &[Matcher], other: &[Matcher]) -> bool {
    fn parts(matcher: &Matcher) -> (MatchOp, &str, &str) {
        (matcher.op(), matcher.name(), matcher.value())
    }
    one.iter().map(parts).eq(other.iter().map(parts))
}

struct Selects<'p> {
    scopes: Vec<Scope>,
    found: Vec<(Place, &'p [Matcher], usize)>,
}

impl<'p> Selects<'p> {
    fn within(&mut self, scope: Scope, visit: impl FnOnce(&mut Self)) {
        self.scopes.push(scope);
        visit(self);
        self.scopes.pop();
    }

    fn select(&mut self, select: &'p Select, range_ms: Option<i64>) {
        let (moment, boundary) = (select.moment, select.boundary);
        let place = Place { scopes: self.scopes.clone(), moment, boundary, range_ms };
        match self.found.iter_mut().find(|(at, same, _)| *at == place && are_same(same, &select.matchers)) {
            Some((.., times)) => *times += 1,
            None => self.found.push((place, &select.matchers, 1)),
        }
    }

    fn scalar(&mut self, node: &'p ScalarNode) {
        match node {
            ScalarNode::Number(_) | ScalarNode::Time | ScalarNode::Date(_) => {}
            ScalarNode::OfVector(vector) => self.vector(vector),
            ScalarNode::Negate(inner) => self.scalar(inner),
            ScalarNode::Binary { lhs, rhs, .. } => {
                self.scalar(lhs);
                self.scalar(rhs);
            }
            ScalarNode::Fold(_, both) => both.iter().for_each(|node| self.scalar(node)),
            ScalarNode::Invariant(inner) => self.within(Scope::Invariant, |selects| selects.scalar(inner)),
        }
    }

    fn matrix(&mut self, node: &'p MatrixNode) {
        match node {
            MatrixNode::Select { select, range_ms } => self.select(select, Some(*range_ms)),
            &MatrixNode::Subquery { ref inner, range_ms, step_ms, window } => {
                self.within(Scope::Subquery { range_ms, step_ms, window }, |selects| selects.vector(inner));
            }
        }
    }

    fn vector(&mut self, node: &'p VectorNode) {
        match node {
            VectorNode::Select(select) | VectorNode::SampleTime(select) | VectorNode::StartTime(select) => {
                self.select(select, None);
            }
            VectorNode::Window { input, args, .. } => {
                self.matrix(input);
                args.iter().for_each(|arg| self.scalar(arg));
            }
            VectorNode::AbsentOverTime { input, .. } => self.matrix(input),
            VectorNode::Map { input, args, .. } | VectorNode::Histogram { input, args, .. } => {
                self.vector(input);
                args.iter().for_each(|arg| self.scalar(arg));
            }
            VectorNode::Absent { input, .. }
            | VectorNode::Negate(input)
            | VectorNode::Label { input, .. }
            | VectorNode::Sort { input, .. } => self.vector(input),
            VectorNode::OfScalar(scalar) => self.scalar(scalar),
            VectorNode::Aggregate(aggregate) => {
                self.vector(&aggregate.input);
                if let AggregateParam::Scalar(scalar, _) = &aggregate.param {
                    self.scalar(scalar);
                }
            }
            VectorNode::WithScalar(binary) => {
                self.vector(&binary.vector);
                self.scalar(&binary.scalar);
            }
            VectorNode::Binary(binary) => {
                self.vector(&binary.lhs);
                self.vector(&binary.rhs);
            }
            VectorNode::Set(set) => {
                self.vector(&set.lhs);
                self.vector(&set.rhs);
            }
            VectorNode::Info(info) => self.vector(&info.input),
            VectorNode::Invariant(inner) => self.within(Scope::Invariant, |selects| selects.vector(inner)),
        }
    }
}
