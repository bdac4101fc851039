//! A syntax tree as JSON, as Prometheus' `/api/v1/parse_query` gives it: keys in alphabetical order.

use marigram_storage::model::matcher::MatchOp;

use crate::json::{write_bytes, write_list, write_text, write_texts};
use crate::number::{push_plain_value, push_sample_value};
use crate::parse::ast::{At, Boundary, Expr, ExprKind, Link, Matching, NumberLiteral, Selector, ValueType};
use crate::parse::duration_expr::{DurationExpr, DurationKind, Length};

/// Writes a tree.
pub fn write_tree(out: &mut Vec<u8>, expr: &Expr) {
    match &expr.kind {
        ExprKind::Number(number) => {
            let mut object = Object::open(out, "numberLiteral");
            object.field("val", |out| write_number(out, *number));
            object.close();
        }
        ExprKind::String(text) => {
            let mut object = Object::open(out, "stringLiteral");
            object.field("val", |out| write_bytes(out, text.as_bytes()));
            object.close();
        }
        ExprKind::Selector(selector) => write_selector(out, "vectorSelector", selector, None),
        ExprKind::Matrix { selector, range } => write_selector(out, "matrixSelector", selector, Some(range)),
        ExprKind::Subquery { expr, range, step, at, offset } => {
            let step = step.clone().unwrap_or_default();
            let mut object = Object::open(out, "subquery");
            object.field("expr", |out| write_tree(out, expr));
            object.length("offset", offset);
            object.length("range", range);
            object.field("startOrEnd", |out| write_start_or_end(out, *at));
            object.length("step", &step);
            object.field("timestamp", |out| write_timestamp(out, *at));
            object.close();
        }
        ExprKind::Call { function, args } => {
            let mut object = Object::open(out, "call");
            object.field("args", |out| write_list(out, args, write_tree));
            object.field("func", |out| {
                out.extend_from_slice(b"{\"argTypes\":");
                write_texts(out, function.args.iter().copied().map(ValueType::as_str));
                out.extend_from_slice(b",\"name\":");
                write_text(out, function.name);
                out.extend_from_slice(b",\"returnType\":");
                write_text(out, function.returns.as_str());
                out.extend_from_slice(format!(",\"variadic\":{}}}", function.variadic).as_bytes());
            });
            object.close();
        }
        ExprKind::Aggregate { op, expr, param, grouping } => {
            let mut object = Object::open(out, "aggregation");
            object.field("expr", |out| write_tree(out, expr));
            object.field("grouping", |out| write_texts(out, grouping.labels.iter().map(String::as_str)));
            object.field("op", |out| write_text(out, op.as_str()));
            object.field("param", |out| match param {
                Some(param) => write_tree(out, param),
                None => write_null(out),
            });
            object.field("without", |out| write_bool(out, grouping.without));
            object.close();
        }
        ExprKind::Binary { first, links } => write_chain(out, first, links),
        ExprKind::Unary { negative, expr } => {
            let mut object = Object::open(out, "unaryExpr");
            object.field("expr", |out| write_tree(out, expr));
            object.field("op", |out| write_text(out, if *negative { "-" } else { "+" }));
            object.close();
        }
        ExprKind::Paren(expr) => {
            let mut object = Object::open(out, "parenExpr");
            object.field("expr", |out| write_tree(out, expr));
            object.close();
        }
    }
}

/// An object under way; its type is written in its place among the keys.
struct Object<'o> {
    out: &'o mut Vec<u8>,
    kind: Option<&'static str>,
    is_first: bool,
}

impl<'o> Object<'o> {
    fn open(out: &'o mut Vec<u8>, kind: &'static str) -> Self {
        out.push(b'{');
        Object { out, kind: Some(kind), is_first: true }
    }

    /// Adds a field; fields come in the order of their keys.
    fn field(&mut self, key: &str, write: impl FnOnce(&mut Vec<u8>)) {
        if key > "type" {
            self.kind();
        }
        self.key(key);
        write(self.out);
    }

    fn kind(&mut self) {
        if let Some(kind) = self.kind.take() {
            self.key("type");
            write_text(self.out, kind);
        }
    }

    fn key(&mut self, key: &str) {
        if !std::mem::replace(&mut self.is_first, false) {
            self.out.push(b',');
        }
        write_text(self.out, key);
        self.out.push(b':');
    }

    /// Adds a duration: in ms, and how it is computed.
    fn length(&mut self, key: &str, length: &Length) {
        let fixed_ms = if let Length::Fixed(length_ms) = length { *length_ms } else { 0 };
        self.field(key, |out| out.extend_from_slice(fixed_ms.to_string().as_bytes()));
        self.field(&format!("{key}Expr"), |out| match length {
            Length::Fixed(_) => write_null(out),
            Length::Computed(expr) => write_duration(out, expr),
        });
    }

    fn close(mut self) {
        self.kind();
        self.out.push(b'}');
    }
}

fn write_selector(out: &mut Vec<u8>, kind: &'static str, selector: &Selector, range: Option<&Length>) {
    let mut object = Object::open(out, kind);
    object.field("anchored", |out| write_bool(out, selector.boundary == Boundary::Anchored));
    object.field("matchers", |out| write_list(out, selector.written(), write_matcher));
    object.field("name", |out| write_text(out, selector.name.as_deref().unwrap_or("")));
    object.length("offset", &selector.offset);
    if let Some(range) = range {
        object.length("range", range);
    }
    object.field("smoothed", |out| write_bool(out, selector.boundary == Boundary::Smoothed));
    object.field("startOrEnd", |out| write_start_or_end(out, selector.at));
    object.field("timestamp", |out| write_timestamp(out, selector.at));
    object.close();
}

fn write_matcher(out: &mut Vec<u8>, (name, op, value): (&str, MatchOp, &[u8])) {
    for (key, text) in [("{\"name\":", name.as_bytes()), (",\"type\":", op.as_str().as_bytes()), (",\"value\":", value)]
    {
        out.extend_from_slice(key.as_bytes());
        write_bytes(out, text);
    }
    out.push(b'}');
}

/// The outermost node of a chain is its last operator: the openings of all come first, then the first operand, and behind it
/// operator by operator the rest.
fn write_chain(out: &mut Vec<u8>, first: &Expr, links: &[Link]) {
    for link in links.iter().rev() {
        out.extend_from_slice(b"{\"bool\":");
        write_bool(out, link.return_bool);
        out.extend_from_slice(b",\"lhs\":");
    }
    write_tree(out, first);
    for link in links {
        out.extend_from_slice(b",\"matching\":");
        match &link.matching {
            Some(matching) => write_matching(out, matching),
            None => write_null(out),
        }
        out.extend_from_slice(b",\"op\":");
        write_text(out, link.op.as_str());
        out.extend_from_slice(b",\"rhs\":");
        write_tree(out, &link.rhs);
        out.extend_from_slice(b",\"type\":\"binaryExpr\"}");
    }
}

fn write_matching(out: &mut Vec<u8>, matching: &Matching) {
    out.extend_from_slice(b"{\"card\":");
    write_text(out, matching.cardinality.as_str());
    out.extend_from_slice(b",\"fillValues\":{\"lhs\":");
    write_fill(out, matching.fill.left);
    out.extend_from_slice(b",\"rhs\":");
    write_fill(out, matching.fill.right);
    out.extend_from_slice(b"},\"include\":");
    write_texts(out, matching.include.iter().map(String::as_str));
    out.extend_from_slice(b",\"labels\":");
    write_texts(out, matching.labels.iter().map(String::as_str));
    out.extend_from_slice(b",\"on\":");
    write_bool(out, matching.on);
    out.push(b'}');
}

/// A number; JSON has none for NaN and the infinities.
fn write_fill(out: &mut Vec<u8>, value: Option<f64>) {
    match value.filter(|value| value.is_finite()) {
        Some(value) => push_sample_value(out, value),
        None => write_null(out),
    }
}

fn write_duration(out: &mut Vec<u8>, expr: &DurationExpr) {
    let (op, lhs, rhs) = match &expr.kind {
        DurationKind::Number(number) => {
            out.extend_from_slice(b"{\"duration\":");
            write_bool(out, number.is_duration);
            out.extend_from_slice(b",\"type\":\"numberLiteral\",\"val\":");
            write_number(out, *number);
            out.push(b'}');
            return;
        }
        DurationKind::Step => ("step", None, None),
        DurationKind::Range => ("range", None, None),
        DurationKind::Signed { negative, operand } => (if *negative { "-" } else { "+" }, None, Some(operand)),
        DurationKind::Binary { op, lhs, rhs } => (op.as_str(), Some(lhs), Some(rhs)),
    };
    let mut object = Object::open(out, "durationExpr");
    object.field("lhs", |out| write_operand(out, lhs.map(|lhs| &**lhs)));
    object.field("op", |out| write_text(out, op));
    object.field("rhs", |out| write_operand(out, rhs.map(|rhs| &**rhs)));
    object.field("wrapped", |out| write_bool(out, expr.wrapped));
    object.close();
}

fn write_operand(out: &mut Vec<u8>, operand: Option<&DurationExpr>) {
    match operand {
        Some(operand) => write_duration(out, operand),
        None => write_null(out),
    }
}

fn write_number(out: &mut Vec<u8>, number: NumberLiteral) {
    out.push(b'"');
    push_plain_value(out, number.value);
    out.push(b'"');
}

fn write_start_or_end(out: &mut Vec<u8>, at: At) {
    match at {
        At::Start => write_text(out, "start"),
        At::End => write_text(out, "end"),
        At::Step | At::Time(_) => write_null(out),
    }
}

fn write_timestamp(out: &mut Vec<u8>, at: At) {
    match at {
        At::Time(time_ms) => out.extend_from_slice(time_ms.to_string().as_bytes()),
        At::Step | At::Start | At::End => write_null(out),
    }
}

fn write_bool(out: &mut Vec<u8>, value: bool) {
    out.extend_from_slice(if value { b"true" } else { b"false" });
}

fn write_null(out: &mut Vec<u8>) {
    out.extend_from_slice(b"null");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parse::{Features, parse_with};

    fn tree(text: &str) -> String {
        let mut out = Vec::new();
        write_tree(&mut out, &parse_with(text, Features::ALL).unwrap());
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn trees_are_written_with_sorted_keys() {
        assert_eq!(tree("5m"), r#"{"type":"numberLiteral","val":"300"}"#);
        assert_eq!(
            tree("m{a!=\"<\"}[5m] @ 3 offset -1m"),
            concat!(
                r#"{"anchored":false,"matchers":[{"name":"a","type":"!=","value":"\u003c"},"#,
                r#"{"name":"__name__","type":"=","value":"m"}],"name":"m","offset":-60000,"offsetExpr":null,"#,
                r#""range":300000,"rangeExpr":null,"smoothed":false,"startOrEnd":null,"timestamp":3000,"type":"matrixSelector"}"#,
            )
        );
        assert_eq!(
            tree("1 + 2 - pi()"),
            concat!(
                r#"{"bool":false,"lhs":{"bool":false,"lhs":{"type":"numberLiteral","val":"1"},"matching":null,"op":"+","#,
                r#""rhs":{"type":"numberLiteral","val":"2"},"type":"binaryExpr"},"matching":null,"op":"-","#,
                r#""rhs":{"args":[],"func":{"argTypes":[],"name":"pi","returnType":"scalar","variadic":0},"type":"call"},"#,
                r#""type":"binaryExpr"}"#,
            )
        );
    }

    #[test]
    fn bytes_that_are_no_text_are_replaced() {
        assert_eq!(tree(r#""a\xff\xfe""#), r#"{"type":"stringLiteral","val":"a\ufffd\ufffd"}"#);
        let selector = tree(r#"m{a="\xff",b!~"c|\xff"}"#);
        for matcher in [r#"{"name":"a","type":"=","value":"\ufffd"}"#, r#"{"name":"b","type":"!~","value":"c|\ufffd"}"#]
        {
            assert!(selector.contains(matcher), "{selector}");
        }
    }

    #[test]
    fn every_kind_of_node_is_json() {
        for text in [
            "topk by (a) (3, m) * on (a) group_left (b) fill_left (1) fill_right (NaN) n",
            "sum without (a) (max_over_time((m offset (2 * 1m))[5m * step():min_of(range(), (1m))] @ end()))",
            "-m + count_values(\"a\", +{\"b.c\"} smoothed)",
            "label_join(m, \"a\", \"b\")",
        ] {
            let tree = tree(text);
            let value: serde_json::Value =
                serde_json::from_str(&tree).unwrap_or_else(|e| panic!("{text}: {e}: {tree}"));
            // Keys come out sorted, so writing the value again gives the same text.
            assert_eq!(value.to_string(), tree.replace("\\u003c", "<"), "{text}");
        }
    }
}
