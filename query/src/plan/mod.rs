//! The plan: what the engine executes, one node per operator.
//!
//! Built from the syntax tree by [`build()`]: parentheses are gone, functions are looked up, `@ start()` and `@ end()` are
//! times, constant arithmetic is folded, and every largest part of the tree that is the same at all steps is wrapped in
//! an `Invariant` node, which is evaluated once.

mod absent;
mod build;
mod functions;
mod invariant;
mod selects;

pub(crate) use build::{BuildOptions, build};
pub(crate) use selects::{are_same, repeated};

use marigram_storage::model::labels::Labels;
use marigram_storage::model::matcher::Matcher;

use crate::eval::function::{HistogramFunction, LabelFunction, MapFunction, WindowFunction};
use crate::names::is_metadata;
use crate::parse::ast::{AggregateOp, BinaryOp, Boundary, Grouping, Matching, Span};
use crate::parse::literal::Text;

/// A plan by the type of its result.
#[derive(Debug)]
pub(crate) enum Node {
    Scalar(ScalarNode),
    Vector(VectorNode),
    Matrix(MatrixNode),
    String(Text),
}

/// A number per step.
#[derive(Debug)]
pub(crate) enum ScalarNode {
    Number(f64),
    /// The step's time, seconds.
    Time,
    /// `scalar(v)`
    OfVector(Box<VectorNode>),
    Negate(Box<ScalarNode>),
    Binary {
        op: BinaryOp,
        lhs: Box<ScalarNode>,
        rhs: Box<ScalarNode>,
    },
    /// The greater or the lesser of two.
    Fold(ScalarFold, Box<[ScalarNode; 2]>),
    /// The part of the date at the step's time.
    Date(crate::eval::function::DatePart),
    /// The same at all steps.
    Invariant(Box<ScalarNode>),
}

/// Which of two numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ScalarFold {
    Max,
    Min,
}

/// Series with a sample or none per step.
#[derive(Debug)]
pub(crate) enum VectorNode {
    Select(Select),
    /// `timestamp(selector)`: when the selected samples were taken.
    SampleTime(Select),
    /// `start_timestamp(selector)`: since when the selected samples count.
    StartTime(Select),
    /// A function of a range vector, series by series.
    Window {
        function: WindowFunction,
        input: MatrixNode,
        args: Vec<ScalarNode>,
    },
    AbsentOverTime {
        input: MatrixNode,
        labels: Labels,
    },
    Absent {
        input: Box<VectorNode>,
        labels: Labels,
    },
    /// A function of each value; the name goes.
    Map {
        function: MapFunction,
        input: Box<VectorNode>,
        args: Vec<ScalarNode>,
    },
    Negate(Box<VectorNode>),
    /// `vector(s)`
    OfScalar(ScalarNode),
    /// A function of the labels.
    Label {
        function: LabelFunction,
        input: Box<VectorNode>,
    },
    Sort {
        order: SortOrder,
        input: Box<VectorNode>,
    },
    /// A function of histograms, native or of classic buckets.
    Histogram {
        function: HistogramFunction,
        input: Box<VectorNode>,
        args: Vec<ScalarNode>,
        site: HistogramSite,
    },
    Aggregate(Box<AggregateNode>),
    /// An operator between a vector and a scalar.
    WithScalar(Box<WithScalarNode>),
    /// An operator between two vectors.
    Binary(Box<BinaryNode>),
    /// `and`, `or`, `unless`
    Set(Box<SetNode>),
    /// `info(v, {…})`
    Info(Box<InfoNode>),
    /// The same at all steps.
    Invariant(Box<VectorNode>),
}

/// `info`: series, and which info series they are to be given the labels of.
#[derive(Debug)]
pub(crate) struct InfoNode {
    pub(crate) input: VectorNode,
    /// Of names and other labels of info series.
    pub(crate) matchers: Vec<Matcher>,
    /// The moment of the first selector within the input: info series are looked at at the same.
    pub(crate) moment: Moment,
}

/// Samples in a window before each step.
#[derive(Debug)]
pub(crate) enum MatrixNode {
    Select { select: Select, range_ms: i64 },
    Subquery { inner: Box<VectorNode>, range_ms: i64, step_ms: i64, window: Moment },
}

impl MatrixNode {
    /// What counts at the ends of the range.
    pub(crate) fn boundary(&self) -> Boundary {
        match self {
            MatrixNode::Select { select, .. } => select.boundary,
            MatrixNode::Subquery { .. } => Boundary::Samples,
        }
    }
}

/// Which moment a step looks at: its own time or a fixed one, less an offset.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Moment {
    /// `@`, resolved.
    pub(crate) at_ms: Option<i64>,
    /// Positive looks back.
    pub(crate) offset_ms: i64,
}

impl Moment {
    /// The moment that a step at `time_ms` looks at.
    #[inline]
    pub(crate) fn of(self, time_ms: i64) -> i64 {
        self.at_ms.unwrap_or(time_ms).saturating_sub(self.offset_ms)
    }
}

/// A series selector.
#[derive(Debug, Default)]
pub(crate) struct Select {
    pub(crate) matchers: Vec<Matcher>,
    pub(crate) moment: Moment,
    pub(crate) boundary: Boundary,
    /// Where the selector stands.
    pub(crate) span: Span,
    /// Whether of histograms only count, sum, and resets matter.
    pub(crate) only_statistics: bool,
}

/// The order of an instant vector.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SortOrder {
    pub(crate) by: SortBy,
    pub(crate) span: Span,
}

/// What is sorted by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum SortBy {
    Value,
    ValueDescending,
    /// The values of these labels, then all labels.
    Labels(Vec<String>),
    LabelsDescending(Vec<String>),
}

/// Where the arguments of a histogram function stand, for remarks.
#[derive(Clone, Debug)]
pub(crate) struct HistogramSite {
    /// The vector.
    pub(crate) buckets: Span,
    /// The quantiles, if there are any.
    pub(crate) quantiles: Vec<Span>,
}

/// An aggregation.
#[derive(Debug)]
pub(crate) struct AggregateNode {
    pub(crate) op: AggregateOp,
    pub(crate) input: VectorNode,
    pub(crate) grouping: Grouping,
    pub(crate) param: AggregateParam,
    /// Where the aggregation stands.
    pub(crate) span: Span,
    /// Where what is aggregated stands.
    pub(crate) input_span: Span,
}

/// The parameter of an aggregation.
#[derive(Debug)]
pub(crate) enum AggregateParam {
    None,
    Scalar(ScalarNode, Span),
    Label(String),
}

/// `vector op scalar`, or the other way round.
#[derive(Debug)]
pub(crate) struct WithScalarNode {
    pub(crate) op: BinaryOp,
    pub(crate) vector: VectorNode,
    pub(crate) scalar: ScalarNode,
    pub(crate) scalar_is_left: bool,
    pub(crate) return_bool: bool,
    pub(crate) span: Span,
}

/// `vector op vector`, arithmetic or comparison.
#[derive(Debug)]
pub(crate) struct BinaryNode {
    pub(crate) op: BinaryOp,
    pub(crate) lhs: VectorNode,
    pub(crate) rhs: VectorNode,
    pub(crate) matching: Matching,
    pub(crate) return_bool: bool,
    pub(crate) span: Span,
}

/// `vector and vector` and its siblings.
#[derive(Debug)]
pub(crate) struct SetNode {
    pub(crate) op: BinaryOp,
    pub(crate) lhs: VectorNode,
    pub(crate) rhs: VectorNode,
    pub(crate) matching: Matching,
}

impl VectorNode {
    /// The select that is all that has to be read, if each of its series is evaluated by itself.
    pub(crate) fn only_select(&self) -> Option<&Select> {
        let are_numbers = |args: &[ScalarNode]| args.iter().all(|arg| matches!(arg, ScalarNode::Number(_)));
        match self {
            VectorNode::Select(select) | VectorNode::SampleTime(select) => Some(select),
            VectorNode::Window { input: MatrixNode::Select { select, .. }, args, .. } => {
                are_numbers(args).then_some(select)
            }
            VectorNode::Map { input, args, .. } if are_numbers(args) => input.only_select(),
            VectorNode::Negate(input) => input.only_select(),
            VectorNode::WithScalar(binary) if matches!(binary.scalar, ScalarNode::Number(_)) => {
                binary.vector.only_select()
            }
            _ => None,
        }
    }

    /// Whether every series comes in one piece.
    pub(crate) fn is_whole(&self) -> bool {
        match self {
            VectorNode::Select(_) => true,
            VectorNode::Window { function, input, .. } => {
                // The others drop names, and find out themselves when two series become one.
                !function.keeps_name || matches!(input, MatrixNode::Select { .. })
            }
            VectorNode::Invariant(input) | VectorNode::Sort { input, .. } => input.is_whole(),
            _ => self.is_bare(),
        }
    }

    /// Whether the series come in one piece each, and have neither names nor other labels that functions drop.
    pub(crate) fn is_bare(&self) -> bool {
        match self {
            VectorNode::Window { function, .. } => !function.keeps_name,
            VectorNode::Map { input, .. }
            | VectorNode::Negate(input)
            | VectorNode::Invariant(input)
            | VectorNode::Sort { input, .. } => input.is_bare(),
            VectorNode::WithScalar(binary) => binary.vector.is_bare(),
            VectorNode::Aggregate(aggregate) => match (aggregate.op, &aggregate.param) {
                (AggregateOp::Topk | AggregateOp::Bottomk | AggregateOp::Limitk | AggregateOp::LimitRatio, _) => {
                    aggregate.input.is_bare()
                }
                (_, AggregateParam::Label(label)) if is_metadata(label) => false,
                _ => !aggregate.grouping.without && !aggregate.grouping.labels.iter().any(|name| is_metadata(name)),
            },
            VectorNode::OfScalar(_) => true,
            _ => false,
        }
    }

    /// Whether the order of the series of an instant vector means something.
    pub(crate) fn is_ordered(&self) -> bool {
        match self {
            VectorNode::Sort { .. } => true,
            VectorNode::Aggregate(aggregate) => matches!(aggregate.op, AggregateOp::Topk | AggregateOp::Bottomk),
            VectorNode::Map { input, .. } | VectorNode::Negate(input) | VectorNode::Invariant(input) => {
                input.is_ordered()
            }
            VectorNode::Label { input, .. } => input.is_ordered(),
            VectorNode::WithScalar(binary) => binary.vector.is_ordered(),
            _ => false,
        }
    }
}
