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
use crate::parse::ast::{
    AggregateOp, At, BinaryOp, Cardinality, Expr, ExprKind, Fill, Grouping, Link, Matching, Selector, Span,
};
use crate::parse::duration_expr::{Length, QueryTimes};
use crate::parse::literal::Text;
use crate::parse::strings::quote_bytes;

/// Deepest tree that is planned and evaluated by recursion.
const DEPTH_MAX: usize = 400;

/// What a plan depends on besides the tree.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BuildOptions {
    /// First step of the whole query; what `@ start()` means.
    pub(crate) start_ms: i64,
    /// Last step of the whole query; what `@ end()` means.
    pub(crate) end_ms: i64,
    /// Step of the whole query; 0 for an instant query.
    pub(crate) step_ms: i64,
    /// Step of sub-queries that do not say.
    pub(crate) default_subquery_step_ms: i64,
}

/// Plans a whole query.
pub(crate) fn build(expr: &Expr, options: BuildOptions) -> Result<Node, QueryError> {
    Builder { options, depth: 0, buckets: None }.node(expr)
}

/// Plans node by node. `Invariant` wrappers are put where a part that is the same at all steps meets one that is not, and
/// at the top.
pub(super) struct Builder {
    options: BuildOptions,
    depth: usize,
    /// Whether the histograms of selectors need their buckets; `None` where nothing has said so yet.
    buckets: Option<bool>,
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

    /// Plans what `plan` does, of which only the statistics of histograms matter (`Some(false)`), or the buckets, too. What
    /// stands further out and needs buckets prevails.
    pub(super) fn with_buckets<T>(&mut self, needed: Option<bool>, plan: impl FnOnce(&mut Self) -> T) -> T {
        let before = self.buckets;
        if before != Some(true) {
            self.buckets = needed;
        }
        let planned = plan(self);
        self.buckets = before;
        planned
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
    pub(super) fn selector(&self, expr: &Expr) -> Result<Option<Select>, QueryError> {
        match &unwrap_parens(expr).kind {
            ExprKind::Selector(selector) => self.select(selector, unwrap_parens(expr).span).map(Some),
            _ => Ok(None),
        }
    }

    /// What the plan depends on besides the tree.
    pub(super) fn options(&self) -> &BuildOptions {
        &self.options
    }

    /// The moment of the first selector in `expr`, seen through the sub-queries around it; that of the step if there is none.
    pub(super) fn first_moment(&self, expr: &Expr) -> Result<Moment, QueryError> {
        let mut way = Vec::new();
        way_to_selector(expr, &mut way);
        way.into_iter().try_fold(Moment::default(), |outer, (at, offset)| {
            let own = self.moment(at, offset)?;
            Ok(match own.at_ms {
                Some(_) => own,
                None => Moment { at_ms: outer.at_ms, offset_ms: outer.offset_ms.saturating_add(own.offset_ms) },
            })
        })
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
            ExprKind::Number(number) => Node::Scalar(ScalarNode::Number(number.value)),
            ExprKind::String(text) => Node::String(text.clone()),
            ExprKind::Paren(inner) => self.node(inner)?,
            ExprKind::Selector(selector) => Node::Vector(VectorNode::Select(self.select(selector, expr.span)?)),
            ExprKind::Matrix { selector, range } => Node::Matrix(MatrixNode::Select {
                select: self.select(selector, expr.span)?,
                range_ms: self.length(range, false)?,
            }),
            ExprKind::Subquery { expr: inner, range, step, at, offset } => {
                let step_ms = match step {
                    Some(step) => self.length(step, false)?,
                    None => self.options.default_subquery_step_ms,
                };
                Node::Matrix(MatrixNode::Subquery {
                    // Resets can be seen only with all buckets.
                    inner: Box::new(self.with_buckets(Some(true), |builder| builder.vector(inner))?),
                    range_ms: self.length(range, false)?,
                    step_ms: step_ms.max(1),
                    window: self.moment(*at, offset)?,
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
            ExprKind::Aggregate { op, expr: inner, param, grouping } => {
                Node::Vector(self.aggregate(*op, inner, param.as_deref(), grouping, expr.span)?)
            }
            ExprKind::Binary { first, links } => self.chain(first, links)?,
        })
    }

    fn select(&self, selector: &Selector, span: Span) -> Result<Select, QueryError> {
        Ok(Select {
            matchers: selector.matchers.clone(),
            moment: self.moment(selector.at, &selector.offset)?,
            boundary: selector.boundary,
            span,
            only_statistics: self.buckets == Some(false),
        })
    }

    fn moment(&self, at: At, offset: &Length) -> Result<Moment, QueryError> {
        let at_ms = match at {
            At::Step => None,
            At::Time(time_ms) => Some(time_ms),
            At::Start => Some(self.options.start_ms),
            At::End => Some(self.options.end_ms),
        };
        Ok(Moment { at_ms, offset_ms: self.length(offset, true)? })
    }

    /// A duration in ms, computed where it is an expression.
    fn length(&self, length: &Length, negative: bool) -> Result<i64, QueryError> {
        let BuildOptions { start_ms, end_ms, step_ms, .. } = self.options;
        let times = QueryTimes { step_ms, range_ms: end_ms.saturating_sub(start_ms) };
        length.resolve(times, negative).map_err(QueryError::bad_data)
    }

    fn aggregate(
        &mut self,
        op: AggregateOp,
        input: &Expr,
        param: Option<&Expr>,
        grouping: &Grouping,
        span: Span,
    ) -> Result<VectorNode, QueryError> {
        let param = match param {
            None => AggregateParam::None,
            Some(param) => match self.node(param)? {
                Node::Scalar(node) => AggregateParam::Scalar(node, unwrap_parens(param).span),
                Node::String(label) => AggregateParam::Label(label_name(&label)?),
                _ => return Err(wrong_type("scalar or string")),
            },
        };
        let input_span = unwrap_parens(input).span;
        let input = self.vector(input)?;
        let grouping = grouping.clone();
        Ok(VectorNode::Aggregate(Box::new(AggregateNode { op, input, grouping, param, span, input_span })))
    }

    /// A chain of operators, from the left. Its beginning may be the same at all steps where the whole is not.
    fn chain(&mut self, first: &Expr, links: &[Link]) -> Result<Node, QueryError> {
        // What stands left of a trim operator needs its buckets.
        let last_trim = links.iter().rposition(|link| link.op.is_trim());
        let needed = |builder: &Self, at: usize| match last_trim {
            Some(trim) if at <= trim => Some(true),
            _ => builder.buckets,
        };
        let mut lhs = self.with_buckets(needed(self, 0), |builder| builder.node(first))?;
        let mut is_same = is_invariant(first);
        for (at, link) in links.iter().enumerate() {
            let rhs = self.with_buckets(needed(self, at), |builder| builder.node(&link.rhs))?;
            lhs = operation(link, lhs, rhs, Span { start: first.span.start, end: link.rhs.span.end })?;
            is_same = is_same && is_invariant(&link.rhs);
            if is_same {
                lhs = wrapped(lhs);
            }
        }
        Ok(lhs)
    }
}

/// The name of a label that is written.
pub(super) fn label_name(text: &Text) -> Result<String, QueryError> {
    let invalid = || QueryError::execution(format!("invalid label name {}", quote_bytes(text.as_bytes())));
    text.utf8().map(str::to_owned).ok_or_else(invalid)
}

/// The selectors and sub-queries on the way to the first selector of a query, from left to right.
fn way_to_selector<'e>(expr: &'e Expr, way: &mut Vec<(At, &'e Length)>) -> bool {
    match &expr.kind {
        ExprKind::Number(_) | ExprKind::String(_) => false,
        ExprKind::Selector(selector) | ExprKind::Matrix { selector, .. } => {
            way.push((selector.at, &selector.offset));
            true
        }
        ExprKind::Call { args, .. } => args.iter().any(|arg| way_to_selector(arg, way)),
        ExprKind::Aggregate { expr, param, .. } => {
            way_to_selector(expr, way) || param.as_ref().is_some_and(|param| way_to_selector(param, way))
        }
        ExprKind::Binary { first, links } => {
            way_to_selector(first, way) || links.iter().any(|link| way_to_selector(&link.rhs, way))
        }
        ExprKind::Subquery { expr, at, offset, .. } => {
            way.push((*at, offset));
            way_to_selector(expr, way) || way.pop().is_none()
        }
        ExprKind::Unary { expr, .. } | ExprKind::Paren(expr) => way_to_selector(expr, way),
    }
}

fn operation(link: &Link, lhs: Node, rhs: Node, span: Span) -> Result<Node, QueryError> {
    let (op, return_bool) = (link.op, link.return_bool);
    Ok(match (lhs, rhs) {
        (Node::Scalar(_), Node::Scalar(_)) if op.is_trim() => {
            return Err(QueryError::execution(format!(
                "operator \"{}\" not allowed for Scalar operations",
                op.as_str()
            )));
        }
        (Node::Scalar(ScalarNode::Number(l)), Node::Scalar(ScalarNode::Number(r))) => {
            Node::Scalar(ScalarNode::Number(binary_operation(op)(l, r)))
        }
        (Node::Scalar(lhs), Node::Scalar(rhs)) => {
            Node::Scalar(ScalarNode::Binary { op, lhs: Box::new(lhs), rhs: Box::new(rhs) })
        }
        (Node::Vector(lhs), Node::Vector(rhs)) => {
            let matching = link.matching.clone().unwrap_or_else(|| every_label(op));
            Node::Vector(if op.is_set() {
                VectorNode::Set(Box::new(SetNode { op, lhs, rhs, matching }))
            } else {
                VectorNode::Binary(Box::new(BinaryNode { op, lhs, rhs, matching, return_bool, span }))
            })
        }
        (Node::Vector(vector), Node::Scalar(scalar)) => with_scalar(op, vector, scalar, false, return_bool, span)?,
        (Node::Scalar(scalar), Node::Vector(vector)) => with_scalar(op, vector, scalar, true, return_bool, span)?,
        _ => return Err(wrong_type("scalar or instant vector")),
    })
}

fn with_scalar(
    op: BinaryOp,
    vector: VectorNode,
    scalar: ScalarNode,
    scalar_is_left: bool,
    return_bool: bool,
    span: Span,
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
        span,
    }))))
}

fn every_label(op: BinaryOp) -> Matching {
    let is_set = op.is_set();
    let cardinality = if is_set { Cardinality::ManyToMany } else { Cardinality::OneToOne };
    Matching { cardinality, on: false, labels: Vec::new(), include: Vec::new(), fill: Fill::default() }
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
