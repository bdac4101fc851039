//! The syntax tree of PromQL. Every node carries the span of the query text that it was read from.

use marigram_storage::model::matcher::{MatchOp, Matcher};

use super::duration_expr::Length;
use super::functions::Function;
use super::literal::{RawMatcher, Text};

/// A stretch of the query text, in bytes; `end` is exclusive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Span {
    /// First byte.
    pub start: usize,
    /// Byte after the last.
    pub end: usize,
}

/// The types of PromQL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ValueType {
    /// One number per step.
    Scalar,
    /// A text; only instant queries yield one.
    String,
    /// One sample per series and step.
    Vector,
    /// A range of samples per series.
    Matrix,
}

/// A node with its place in the text.
#[derive(Clone, Debug)]
pub struct Expr {
    /// What it is.
    pub kind: ExprKind,
    /// Where it stands.
    pub span: Span,
}

/// What a node is. The parser has checked all types.
#[derive(Clone, Debug)]
pub enum ExprKind {
    /// A number or duration literal.
    Number(NumberLiteral),
    /// A string literal, unescaped.
    String(Text),
    /// `name{…} offset 5m @ 3`
    Selector(Selector),
    /// `selector[5m]`; the modifiers behind it stand in the selector.
    Matrix {
        /// What is selected.
        selector: Selector,
        /// Length of the range, positive.
        range: Length,
    },
    /// `expr[1h:1m] offset 5m @ 3`
    Subquery {
        /// Evaluated at every step of the range.
        expr: Box<Expr>,
        /// Length of the range.
        range: Length,
        /// Step; `None`: the engine's default.
        step: Option<Length>,
        /// Modifiers.
        at: At,
        /// `offset`; negative looks ahead.
        offset: Length,
    },
    /// `f(args…)`
    Call {
        /// Its signature.
        function: &'static Function,
        /// Checked against the signature.
        args: Vec<Expr>,
    },
    /// `sum by (a) (expr)`
    Aggregate {
        /// Which one.
        op: AggregateOp,
        /// What is aggregated.
        expr: Box<Expr>,
        /// The first argument of `topk`, `bottomk`, `quantile`, `count_values`, `limitk`, `limit_ratio`.
        param: Option<Box<Expr>>,
        /// `by` or `without`, and the names.
        grouping: Grouping,
    },
    /// `first op rhs op rhs …`, grouped from the left: `((first op rhs) op rhs)`. Chains are flat, so that a long one is not
    /// deep.
    Binary {
        /// The leftmost operand.
        first: Box<Expr>,
        /// The operators with their right operands; at least one.
        links: Vec<Link>,
    },
    /// `-expr` (`+expr` is `Positive`)
    Unary {
        /// `true` for `-`.
        negative: bool,
        /// The operand.
        expr: Box<Expr>,
    },
    /// `(expr)`
    Paren(Box<Expr>),
}

/// A number, in seconds where it was written as a duration.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct NumberLiteral {
    /// Its value.
    pub value: f64,
    /// Whether it was written as a duration, and is to be printed as one.
    pub is_duration: bool,
}

/// A binary operator and what stands on its right.
#[derive(Clone, Debug)]
pub struct Link {
    /// Which one.
    pub op: BinaryOp,
    /// `bool` behind a comparison.
    pub return_bool: bool,
    /// How series find each other; `None` unless both sides are vectors.
    pub matching: Option<Matching>,
    /// Right.
    pub rhs: Expr,
}

/// A series selector with its modifiers.
#[derive(Clone, Debug)]
pub struct Selector {
    /// The name in front of the braces, if any; it is among `matchers` too.
    pub name: Option<String>,
    /// All matchers, the name's included.
    pub matchers: Vec<Matcher>,
    /// Those of them whose values are not UTF-8, as they were written.
    pub raw: Vec<RawMatcher>,
    /// `offset`; negative looks ahead.
    pub offset: Length,
    /// `@`.
    pub at: At,
    /// `anchored` or `smoothed`.
    pub boundary: Boundary,
    /// Whether it may match everything: the second argument of `info`.
    pub may_be_empty: bool,
}

impl Selector {
    /// Name, operator and value of every matcher, as they were written.
    pub fn written(&self) -> impl Iterator<Item = (&str, MatchOp, &[u8])> {
        self.matchers.iter().enumerate().map(|(at, matcher)| match self.raw.iter().find(|raw| raw.at == at) {
            Some(raw) => (matcher.name(), raw.op, raw.value.as_bytes()),
            None => (matcher.name(), matcher.op(), matcher.value().as_bytes()),
        })
    }
}

/// What counts at the boundaries of a range.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Boundary {
    /// Only the samples within.
    #[default]
    Samples,
    /// `anchored`: the last sample at or before each boundary.
    Anchored,
    /// `smoothed`: values interpolated between the samples on both sides of each boundary.
    Smoothed,
}

impl Boundary {
    /// As PromQL writes it; empty for [`Boundary::Samples`].
    pub fn as_str(self) -> &'static str {
        match self {
            Boundary::Samples => "",
            Boundary::Anchored => "anchored",
            Boundary::Smoothed => "smoothed",
        }
    }
}

/// The `@` modifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum At {
    /// No `@`: evaluated at the step's time.
    #[default]
    Step,
    /// `@ 1609746000`, in ms.
    Time(i64),
    /// `@ start()`
    Start,
    /// `@ end()`
    End,
}

/// How an aggregation groups.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Grouping {
    /// `without (labels)` instead of `by (labels)`.
    pub without: bool,
    /// The names.
    pub labels: Vec<String>,
}

/// How the series of two vectors find each other.
#[derive(Clone, Debug, PartialEq)]
pub struct Matching {
    /// One to one, or which side has many.
    pub cardinality: Cardinality,
    /// `on (labels)` (true) or `ignoring (labels)` (false; also without either).
    pub on: bool,
    /// The names.
    pub labels: Vec<String>,
    /// Labels that `group_left (…)` or `group_right (…)` takes from the one side.
    pub include: Vec<String>,
    /// Values that stand in for series without a partner.
    pub fill: Fill,
}

/// Values that stand in where one side of an operator has no series for the other's.
#[derive(Clone, Copy, Debug, PartialEq, Default)]
pub struct Fill {
    /// `fill_left (n)`, or `fill (n)`: in place of a missing left side.
    pub left: Option<f64>,
    /// `fill_right (n)`, or `fill (n)`: in place of a missing right side.
    pub right: Option<f64>,
}

impl Fill {
    /// Whether neither side is filled.
    pub fn is_none(&self) -> bool {
        self.left.is_none() && self.right.is_none()
    }
}

/// Which side of a binary operation may have several series per match.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cardinality {
    /// Neither.
    OneToOne,
    /// `group_left`: the left.
    ManyToOne,
    /// `group_right`: the right.
    OneToMany,
    /// Set operators.
    ManyToMany,
}

/// Aggregations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "named as PromQL names them")]
pub enum AggregateOp {
    Sum,
    Avg,
    Count,
    Min,
    Max,
    Group,
    Stddev,
    Stdvar,
    Topk,
    Bottomk,
    Quantile,
    CountValues,
    Limitk,
    LimitRatio,
}

/// Binary operators.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "named as PromQL's grammar names them")]
pub enum BinaryOp {
    Add,
    Sub,
    Mul,
    Div,
    Mod,
    Pow,
    Atan2,
    Eql,
    Neq,
    Gtr,
    Lss,
    Gte,
    Lte,
    TrimUpper,
    TrimLower,
    And,
    Or,
    Unless,
}

impl Cardinality {
    /// As the HTTP API calls it.
    pub fn as_str(self) -> &'static str {
        match self {
            Cardinality::OneToOne => "one-to-one",
            Cardinality::ManyToOne => "many-to-one",
            Cardinality::OneToMany => "one-to-many",
            Cardinality::ManyToMany => "many-to-many",
        }
    }
}

impl AggregateOp {
    /// All of them.
    pub const ALL: [AggregateOp; 14] = [
        AggregateOp::Sum,
        AggregateOp::Avg,
        AggregateOp::Count,
        AggregateOp::Min,
        AggregateOp::Max,
        AggregateOp::Group,
        AggregateOp::Stddev,
        AggregateOp::Stdvar,
        AggregateOp::Topk,
        AggregateOp::Bottomk,
        AggregateOp::Quantile,
        AggregateOp::CountValues,
        AggregateOp::Limitk,
        AggregateOp::LimitRatio,
    ];

    /// As PromQL writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            AggregateOp::Sum => "sum",
            AggregateOp::Avg => "avg",
            AggregateOp::Count => "count",
            AggregateOp::Min => "min",
            AggregateOp::Max => "max",
            AggregateOp::Group => "group",
            AggregateOp::Stddev => "stddev",
            AggregateOp::Stdvar => "stdvar",
            AggregateOp::Topk => "topk",
            AggregateOp::Bottomk => "bottomk",
            AggregateOp::Quantile => "quantile",
            AggregateOp::CountValues => "count_values",
            AggregateOp::Limitk => "limitk",
            AggregateOp::LimitRatio => "limit_ratio",
        }
    }

    /// The aggregation of this name, in lower case.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|op| op.as_str() == name)
    }

    /// Whether only parsers with experimental functions know it.
    pub fn is_experimental(self) -> bool {
        matches!(self, AggregateOp::Limitk | AggregateOp::LimitRatio)
    }

    /// The type of the argument in front of the vector, for those that have one.
    pub fn param_type(self) -> Option<ValueType> {
        match self {
            AggregateOp::Topk
            | AggregateOp::Bottomk
            | AggregateOp::Quantile
            | AggregateOp::Limitk
            | AggregateOp::LimitRatio => Some(ValueType::Scalar),
            AggregateOp::CountValues => Some(ValueType::String),
            _ => None,
        }
    }
}

impl BinaryOp {
    /// All of them.
    pub const ALL: [BinaryOp; 18] = [
        BinaryOp::Add,
        BinaryOp::Sub,
        BinaryOp::Mul,
        BinaryOp::Div,
        BinaryOp::Mod,
        BinaryOp::Pow,
        BinaryOp::Atan2,
        BinaryOp::Eql,
        BinaryOp::Neq,
        BinaryOp::Gtr,
        BinaryOp::Lss,
        BinaryOp::Gte,
        BinaryOp::Lte,
        BinaryOp::TrimUpper,
        BinaryOp::TrimLower,
        BinaryOp::And,
        BinaryOp::Or,
        BinaryOp::Unless,
    ];

    /// As PromQL writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            BinaryOp::Add => "+",
            BinaryOp::Sub => "-",
            BinaryOp::Mul => "*",
            BinaryOp::Div => "/",
            BinaryOp::Mod => "%",
            BinaryOp::Pow => "^",
            BinaryOp::Atan2 => "atan2",
            BinaryOp::Eql => "==",
            BinaryOp::Neq => "!=",
            BinaryOp::Gtr => ">",
            BinaryOp::Lss => "<",
            BinaryOp::Gte => ">=",
            BinaryOp::Lte => "<=",
            BinaryOp::TrimUpper => "</",
            BinaryOp::TrimLower => ">/",
            BinaryOp::And => "and",
            BinaryOp::Or => "or",
            BinaryOp::Unless => "unless",
        }
    }

    /// `==`, `!=`, `>`, `<`, `>=`, `<=`
    pub fn is_comparison(self) -> bool {
        matches!(self, BinaryOp::Eql | BinaryOp::Neq | BinaryOp::Gtr | BinaryOp::Lss | BinaryOp::Gte | BinaryOp::Lte)
    }

    /// `</`, `>/`
    pub fn is_trim(self) -> bool {
        matches!(self, BinaryOp::TrimUpper | BinaryOp::TrimLower)
    }

    /// `and`, `or`, `unless`
    pub fn is_set(self) -> bool {
        matches!(self, BinaryOp::And | BinaryOp::Or | BinaryOp::Unless)
    }
}

impl ValueType {
    /// As Prometheus' documentation calls it.
    pub fn documented(self) -> &'static str {
        match self {
            ValueType::Scalar => "scalar",
            ValueType::String => "string",
            ValueType::Vector => "instant vector",
            ValueType::Matrix => "range vector",
        }
    }

    /// As the HTTP API calls it.
    pub fn as_str(self) -> &'static str {
        match self {
            ValueType::Scalar => "scalar",
            ValueType::String => "string",
            ValueType::Vector => "vector",
            ValueType::Matrix => "matrix",
        }
    }
}

impl Expr {
    /// The type of what it yields.
    pub fn value_type(&self) -> ValueType {
        match &self.kind {
            ExprKind::Number(_) => ValueType::Scalar,
            ExprKind::String(_) => ValueType::String,
            ExprKind::Selector(_) | ExprKind::Aggregate { .. } => ValueType::Vector,
            ExprKind::Matrix { .. } | ExprKind::Subquery { .. } => ValueType::Matrix,
            ExprKind::Call { function, .. } => function.returns,
            ExprKind::Binary { first, links } => {
                let mut sides = std::iter::once(&**first).chain(links.iter().map(|link| &link.rhs));
                match sides.all(|side| side.value_type() == ValueType::Scalar) {
                    true => ValueType::Scalar,
                    false => ValueType::Vector,
                }
            }
            ExprKind::Unary { expr, .. } | ExprKind::Paren(expr) => expr.value_type(),
        }
    }

    /// How deep the tree is when every operator of a chain is a level of its own: what evaluating it by recursion takes.
    pub fn depth(&self) -> usize {
        let below = match &self.kind {
            ExprKind::Number(_) | ExprKind::String(_) | ExprKind::Selector(_) | ExprKind::Matrix { .. } => 0,
            ExprKind::Subquery { expr, .. } | ExprKind::Unary { expr, .. } | ExprKind::Paren(expr) => expr.depth(),
            ExprKind::Call { args, .. } => args.iter().map(Expr::depth).max().unwrap_or(0),
            ExprKind::Aggregate { expr, param, .. } => {
                expr.depth().max(param.as_ref().map_or(0, |param| param.depth()))
            }
            ExprKind::Binary { first, links } => {
                return links.iter().fold(first.depth(), |depth, link| depth.max(link.rhs.depth()).saturating_add(1));
            }
        };
        below.saturating_add(1)
    }
}
