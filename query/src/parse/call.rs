//! Calls of functions, and aggregations.

use super::MAX_ARGUMENTS;
use super::ast::{AggregateOp, ExprKind, Grouping, Span};
use super::error::{Failure, Result};
use super::functions;
use super::lexer::{Keyword, Kind};
use super::parser::{Depth, Parsed, Parser, begins_expression};
use super::strings::quote;

impl Parser<'_> {
    /// `name(args…)`
    #[inline(never)]
    pub(super) fn call(&mut self) -> Result<Parsed> {
        let span = self.bump().span;
        let name = self.text_of(span);
        let (args, depth, end) = self.arguments()?;
        let function = functions::lookup(name)
            .ok_or_else(|| Failure::new(span, format!("unknown function with name {}", quote(name))))?;
        if function.is_experimental() && !self.features.experimental_functions {
            return Err(Failure::new(span, format!("function {} is not enabled", quote(name))));
        }
        let args = args.into_iter().map(|arg| arg.expr).collect();
        self.node(ExprKind::Call { function, args }, Span { start: span.start, end }, depth)
    }

    /// `(a, b)`: the arguments, the depth of the deepest, and the position behind the closing parenthesis.
    #[inline(never)]
    fn arguments(&mut self) -> Result<(Vec<Parsed>, Depth, usize)> {
        self.expect(Kind::LeftParen, "", "")?;
        let mut args: Vec<Parsed> = Vec::new();
        let mut depth = Depth::default();
        if let Some(close) = self.accept(Kind::RightParen) {
            return Ok((args, depth, close.span.end));
        }
        loop {
            let arg = self.expression(0)?;
            depth = depth.max(arg.depth);
            args.push(arg);
            let Some(comma) = self.accept(Kind::Comma) else { break };
            if args.len() >= MAX_ARGUMENTS {
                return Err(Failure::new(comma.span, format!("more than {MAX_ARGUMENTS} arguments in one call")));
            }
            if self.peek() != Kind::Error && !begins_expression(self.peek()) {
                return Err(Failure::new(comma.span, "trailing commas not allowed in function call args"));
            }
        }
        let close = self.expect(Kind::RightParen, "", "")?;
        Ok((args, depth, close.span.end))
    }

    /// `sum by (a) (x)` or `sum(x) by (a)`
    pub(super) fn aggregation(&mut self, op: AggregateOp) -> Result<Parsed> {
        let start = self.bump().span.start;
        self.aggregations += 1;
        let parsed = self.aggregation_body(op, start);
        self.aggregations -= 1;
        parsed
    }

    #[inline(never)]
    fn aggregation_body(&mut self, op: AggregateOp, start: usize) -> Result<Parsed> {
        let mut grouping = self.grouping()?;
        if self.peek() != Kind::LeftParen {
            return Err(self.unexpected("aggregation", ""));
        }
        let (mut args, depth, mut end) = self.arguments()?;
        if grouping.is_none() {
            grouping = self.grouping()?;
            if grouping.is_some() {
                end = self.previous_end();
            }
        }
        let span = Span { start, end };
        let expected = if op.param_type().is_some() { 2 } else { 1 };
        // Prometheus looks at what follows before it looks at the arguments, if that could be the labels.
        if grouping.is_none() && self.peek() == Kind::Error {
            return Err(self.unexpected("", ""));
        }
        if args.is_empty() {
            return Err(Failure::new(span, "no arguments for aggregate expression provided"));
        }
        if op.is_experimental() && !self.features.experimental_functions {
            let message = format!(
                "{}() is experimental and must be enabled with --enable-feature=promql-experimental-functions",
                op.as_str()
            );
            return Err(Failure::new(span, message));
        }
        let count = args.len();
        let (param, expr) = match (expected, args.pop(), args.pop(), args.pop()) {
            (1, Some(expr), None, _) => (None, expr),
            (2, Some(expr), Some(param), None) => (Some(Box::new(param.expr)), expr),
            _ => {
                let message = format!(
                    "wrong number of arguments for aggregate expression provided, expected {expected}, got {count}"
                );
                return Err(Failure::new(span, message));
            }
        };
        let grouping = grouping.unwrap_or_default();
        self.node(ExprKind::Aggregate { op, expr: Box::new(expr.expr), param, grouping }, span, depth)
    }

    fn grouping(&mut self) -> Result<Option<Grouping>> {
        let without = match self.peek() {
            Kind::Keyword(Keyword::By) => false,
            Kind::Keyword(Keyword::Without) => true,
            _ => return Ok(None),
        };
        self.bump();
        Ok(Some(Grouping { without, labels: self.grouping_labels()? }))
    }
}
