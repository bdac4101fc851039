//! From the syntax tree to the plan.

use marigram_storage::model::labels::Labels;

use super::absent::absent_labels;
use super::functions;
use super::invariant::{is_invariant, unwrap_parens};
use super::{
    AggregateNode, AggregateParam, BinaryNode, MatrixNode, Moment, Node, ScalarNode, Select, SetNode, VectorNode,
    WithScalarNode,
};
use crate::error::QueryError;
use crate::eval::function::math::binary_operation;
use crate::parse::ast::{AggregateOp, At, BinaryOp, Cardinality, Expr, ExprKind, Grouping, Matching, Selector};

/// Deepest tree that is planned and evaluated by recursion.
const DEPTH_MAX: usize = 400;

/// What a plan depends on besides the tree.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BuildOptions {
    /// First step of the whole query; what `@ start()` means.
    pub(crate) start_ms: i64,
    /// Last step of the whole query; what `@ end()` means.
    pub(crate) end_ms: i64,
    /// Step of sub-queries that do not say.
    pub(crate) default_subquery_step_ms: i64,
}

/// Plans a whole query.
pub(crate) fn build(expr: &Expr, options: BuildOptions) -> Result<Node, QueryError> {
    Builder { options, depth: 0 }.node(expr)
}

/// Plans node by node. `Invariant` wrappers are put where a part that is the same at all steps meets one that is not, and
/// at the top.
pub(super) struct Builder {
    options: BuildOptions,
    depth: usize,
}

impl Builder {
    /// Plans any expression; what is the same at all steps is evaluated once.
    pub(super) fn node(&mut self, expr: &Expr) -> Result<Node, QueryError> {
        let expr = unwrap_parens(expr);
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(QueryError::bad_data(format!("the query is nested deeper than {DEPTH_MAX} levels")));
        }
        let node = self.bare(expr)?;
        self.depth -= 1;
        Ok(if is_invariant(expr) { wrapped(node) } else { node })
    }

    /// Plans an expression that must be a vector.
    pub(super) fn vector(&mut self, expr: &Expr) -> Result<VectorNode, QueryError> {
        match self.node(expr)? {
            Node::Vector(node) => Ok(node),
            _ => Err(wrong_type("instant vector")),
        }
    }

    /// Plans an expression that must be a scalar.
    pub(super) fn scalar(&mut self, expr: &Expr) -> Result<ScalarNode, QueryError> {
        match self.node(expr)? {
            Node::Scalar(node) => Ok(node),
            _ => Err(wrong_type("scalar")),
        }
    }

    /// Plans an expression that must be a range vector.
    pub(super) fn matrix(&mut self, expr: &Expr) -> Result<MatrixNode, QueryError> {
        match self.node(expr)? {
            Node::Matrix(node) => Ok(node),
            _ => Err(wrong_type("range vector")),
        }
    }

    /// The selector of `expr`, where it is one.
    pub(super) fn selector(&self, expr: &Expr) -> Option<Select> {
        match &unwrap_parens(expr).kind {
            ExprKind::Selector(selector) => Some(self.select(selector)),
            _ => None,
        }
    }

    /// The labels of the series that `absent(expr)` makes up.
    pub(super) fn absent_labels(&self, expr: &Expr) -> Labels {
        match &unwrap_parens(expr).kind {
            ExprKind::Selector(selector) | ExprKind::Matrix { selector, .. } => absent_labels(&selector.matchers),
            _ => Labels::default(),
        }
    }

    fn bare(&mut self, expr: &Expr) -> Result<Node, QueryError> {
        Ok(match &expr.kind {
            ExprKind::Number(value) => Node::Scalar(ScalarNode::Number(*value)),
            ExprKind::String(text) => Node::String(text.clone()),
            ExprKind::Paren(inner) => self.node(inner)?,
            ExprKind::Selector(selector) => Node::Vector(VectorNode::Select(self.select(selector))),
            ExprKind::Matrix { selector, range_ms } => {
                Node::Matrix(MatrixNode::Select { select: self.select(selector), range_ms: *range_ms })
            }
            ExprKind::Subquery { expr: inner, range_ms, step_ms, at, offset_ms } => {
                Node::Matrix(MatrixNode::Subquery {
                    inner: Box::new(self.vector(inner)?),
                    range_ms: *range_ms,
                    step_ms: step_ms.unwrap_or(self.options.default_subquery_step_ms).max(1),
                    window: self.moment(*at, *offset_ms),
                })
            }
            ExprKind::Unary { negative: false, expr } => self.node(expr)?,
            ExprKind::Unary { negative: true, expr } => match self.node(expr)? {
                Node::Scalar(ScalarNode::Number(value)) => Node::Scalar(ScalarNode::Number(-value)),
                Node::Scalar(node) => Node::Scalar(ScalarNode::Negate(Box::new(node))),
                Node::Vector(node) => Node::Vector(VectorNode::Negate(Box::new(node))),
                _ => return Err(wrong_type("scalar or instant vector")),
            },
            ExprKind::Call { function, args } => functions::call(self, function.name, expr, args)?,
            ExprKind::Aggregate { op, expr, param, grouping } => {
                Node::Vector(self.aggregate(*op, expr, param.as_deref(), grouping)?)
            }
            ExprKind::Binary { op, lhs, rhs, return_bool, matching } => {
                self.binary(*op, lhs, rhs, *return_bool, matching.as_ref())?
            }
        })
    }

    fn select(&self, selector: &Selector) -> Select {
        Select { matchers: selector.matchers.clone(), moment: self.moment(selector.at, selector.offset_ms) }
    }

    fn moment(&self, at: At, offset_ms: i64) -> Moment {
        let at_ms = match at {
            At::Step => None,
            At::Time(time_ms) => Some(time_ms),
            At::Start => Some(self.options.start_ms),
            At::End => Some(self.options.end_ms),
        };
        Moment { at_ms, offset_ms }
    }

    fn aggregate(
        &mut self,
        op: AggregateOp,
        input: &Expr,
        param: Option<&Expr>,
        grouping: &Grouping,
    ) -> Result<VectorNode, QueryError> {
        let param = match param {
            None => AggregateParam::None,
            Some(param) => match self.node(param)? {
                Node::Scalar(node) => AggregateParam::Scalar(node, param.span),
                Node::String(label) => AggregateParam::Label(label),
                _ => return Err(wrong_type("scalar or string")),
            },
        };
        let input = self.vector(input)?;
        Ok(VectorNode::Aggregate(Box::new(AggregateNode { op, input, grouping: grouping.clone(), param })))
    }

    fn binary(
        &mut self,
        op: BinaryOp,
        lhs: &Expr,
        rhs: &Expr,
        return_bool: bool,
        matching: Option<&Matching>,
    ) -> Result<Node, QueryError> {
        Ok(match (self.node(lhs)?, self.node(rhs)?) {
            (Node::Scalar(ScalarNode::Number(l)), Node::Scalar(ScalarNode::Number(r))) => {
                Node::Scalar(ScalarNode::Number(binary_operation(op)(l, r)))
            }
            (Node::Scalar(lhs), Node::Scalar(rhs)) => {
                Node::Scalar(ScalarNode::Binary { op, lhs: Box::new(lhs), rhs: Box::new(rhs) })
            }
            (Node::Vector(lhs), Node::Vector(rhs)) => {
                let matching = matching.cloned().unwrap_or_else(|| every_label(op));
                Node::Vector(if op.is_set() {
                    VectorNode::Set(Box::new(SetNode { op, lhs, rhs, matching }))
                } else {
                    VectorNode::Binary(Box::new(BinaryNode { op, lhs, rhs, matching, return_bool }))
                })
            }
            (Node::Vector(vector), Node::Scalar(scalar)) => with_scalar(op, vector, scalar, false, return_bool)?,
            (Node::Scalar(scalar), Node::Vector(vector)) => with_scalar(op, vector, scalar, true, return_bool)?,
            _ => return Err(wrong_type("scalar or instant vector")),
        })
    }
}

fn with_scalar(
    op: BinaryOp,
    vector: VectorNode,
    scalar: ScalarNode,
    scalar_is_left: bool,
    return_bool: bool,
) -> Result<Node, QueryError> {
    if op.is_set() {
        return Err(QueryError::bad_data("set operators are not allowed in binary scalar expressions"));
    }
    let return_bool = return_bool && op.is_comparison();
    Ok(Node::Vector(VectorNode::WithScalar(Box::new(WithScalarNode {
        op,
        vector,
        scalar,
        scalar_is_left,
        return_bool,
    }))))
}

fn every_label(op: BinaryOp) -> Matching {
    let is_set = op.is_set();
    let cardinality = if is_set { Cardinality::ManyToMany } else { Cardinality::OneToOne };
    Matching { cardinality, on: false, labels: Vec::new(), include: Vec::new() }
}

/// Wraps a part that is the same at all steps. Its own parts may be wrapped too: they run over the outer one's single
/// step, where wrapping costs nothing.
fn wrapped(node: Node) -> Node {
    match node {
        Node::Scalar(ScalarNode::Number(value)) => Node::Scalar(ScalarNode::Number(value)),
        Node::Scalar(ScalarNode::Invariant(inner)) => Node::Scalar(ScalarNode::Invariant(inner)),
        Node::Scalar(node) => Node::Scalar(ScalarNode::Invariant(Box::new(node))),
        Node::Vector(VectorNode::Invariant(inner)) => Node::Vector(VectorNode::Invariant(inner)),
        Node::Vector(node) => Node::Vector(VectorNode::Invariant(Box::new(node))),
        // A range vector is read through its own fixed moment.
        other => other,
    }
}

fn wrong_type(wanted: &str) -> QueryError {
    QueryError::bad_data(format!("expected type {wanted} in the query"))
}
