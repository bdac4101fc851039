//! The syntax tree of PromQL. Every node carries the span of the query text that it was read from.

use marigram_storage::model::matcher::Matcher;

use super::functions::Function;

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
    /// A number or duration literal, in seconds where it was a duration.
    Number(f64),
    /// A string literal, unescaped.
    String(String),
    /// `name{…} offset 5m @ 3`
    Selector(Selector),
    /// `selector[5m]`; the modifiers behind it stand in the selector.
    Matrix {
        /// What is selected.
        selector: Selector,
        /// Length of the range, ms, positive.
        range_ms: i64,
    },
    /// `expr[1h:1m] offset 5m @ 3`
    Subquery {
        /// Evaluated at every step of the range.
        expr: Box<Expr>,
        /// Length of the range, ms.
        range_ms: i64,
        /// Step, ms; `None`: the engine's default.
        step_ms: Option<i64>,
        /// Modifiers.
        at: At,
        /// `offset`, ms; negative looks ahead.
        offset_ms: i64,
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
    /// `lhs op rhs`
    Binary {
        /// Which one.
        op: BinaryOp,
        /// Left.
        lhs: Box<Expr>,
        /// Right.
        rhs: Box<Expr>,
        /// `bool` behind a comparison.
        return_bool: bool,
        /// How series find each other; `None` unless both sides are vectors.
        matching: Option<Matching>,
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

/// A series selector with its modifiers.
#[derive(Clone, Debug)]
pub struct Selector {
    /// The name in front of the braces, if any; it is among `matchers` too.
    pub name: Option<String>,
    /// All matchers, the name's included.
    pub matchers: Vec<Matcher>,
    /// `offset`, ms; negative looks ahead.
    pub offset_ms: i64,
    /// `@`.
    pub at: At,
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
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Matching {
    /// One to one, or which side has many.
    pub cardinality: Cardinality,
    /// `on (labels)` (true) or `ignoring (labels)` (false; also without either).
    pub on: bool,
    /// The names.
    pub labels: Vec<String>,
    /// Labels that `group_left (…)` or `group_right (…)` takes from the one side.
    pub include: Vec<String>,
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
    And,
    Or,
    Unless,
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
            BinaryOp::And => "and",
            BinaryOp::Or => "or",
            BinaryOp::Unless => "unless",
        }
    }

    /// `==`, `!=`, `>`, `<`, `>=`, `<=`
    pub fn is_comparison(self) -> bool {
        matches!(self, BinaryOp::Eql | BinaryOp::Neq | BinaryOp::Gtr | BinaryOp::Lss | BinaryOp::Gte | BinaryOp::Lte)
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
            ExprKind::Binary { lhs, rhs, .. } => match (lhs.value_type(), rhs.value_type()) {
                (ValueType::Scalar, ValueType::Scalar) => ValueType::Scalar,
                _ => ValueType::Vector,
            },
            ExprKind::Unary { expr, .. } | ExprKind::Paren(expr) => expr.value_type(),
        }
    }
}
