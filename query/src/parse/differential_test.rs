//! The parser against `promql-parser`: both read the same query to the same tree, or both refuse it.
//!
//! Trees are compared as text with every operator in parentheses, so that precedence counts and layout does not. The
//! queries come from a generator of the classic language, and from the table of Prometheus' own test cases where
//! `PROMQLTEST_DIR` names their folder. Where the oracle is known to differ from Prometheus, the case says so.

use std::fmt::Write;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use promql_parser::label::{MatchOp as OracleOp, Matchers};
use promql_parser::parser::value::ValueType;
use promql_parser::parser::{self as oracle, AtModifier, LabelModifier, Offset, VectorMatchCardinality};
use proptest::prelude::*;

use super::ast::{At, Cardinality, Expr, ExprKind, Selector};
use super::duration_expr::Length;
use super::strings::{quote, quote_bytes};
use super::{Features, parse_with};

/// A tree with every operator in parentheses; the same text for the same meaning.
fn ours(expr: &Expr) -> String {
    match &expr.kind {
        ExprKind::Number(number) => number.value.to_string(),
        ExprKind::String(value) => quote_bytes(value.as_bytes()),
        ExprKind::Selector(selector) => our_selector(selector, ""),
        ExprKind::Matrix { selector, range } => our_selector(selector, &format!("[{}]", fixed(range))),
        ExprKind::Subquery { expr, range, step, at, offset } => {
            let (range_ms, step_ms) = (fixed(range), step.as_ref().map(fixed));
            format!("({})[{range_ms}:{step_ms:?}]{}", ours(expr), our_modifiers(*at, fixed(offset)))
        }
        ExprKind::Call { function, args } => call(function.name, args.iter().map(ours)),
        ExprKind::Aggregate { op, expr, param, grouping } => {
            let name = grouped(op.as_str(), grouping.without, &grouping.labels);
            call(&name, param.iter().map(|param| ours(param)).chain([ours(expr)]))
        }
        ExprKind::Binary { first, links } => links.iter().fold(ours(first), |lhs, link| {
            let mut middle = link.op.as_str().to_owned() + if link.return_bool { " bool" } else { "" };
            if let Some(matching) = &link.matching {
                let side = match matching.cardinality {
                    Cardinality::ManyToOne => "left",
                    Cardinality::OneToMany => "right",
                    Cardinality::OneToOne | Cardinality::ManyToMany => "",
                };
                middle += &matched(matching.on, &matching.labels, side, &matching.include);
            }
            format!("({lhs} {middle} {})", ours(&link.rhs))
        }),
        ExprKind::Unary { negative: true, expr } => format!("(-{})", ours(expr)),
        ExprKind::Unary { expr, .. } | ExprKind::Paren(expr) => ours(expr),
    }
}

fn our_selector(selector: &Selector, range: &str) -> String {
    let matchers = selector.matchers.iter().map(|m| (m.name().to_owned(), m.op().as_str(), m.value().to_owned()));
    selector_text(matchers.collect()) + range + &our_modifiers(selector.at, fixed(&selector.offset))
}

/// A duration that is not computed; the oracle knows no other.
fn fixed(length: &Length) -> i64 {
    match length {
        Length::Fixed(length_ms) => *length_ms,
        Length::Computed(expr) => panic!("{expr} is computed"),
    }
}

fn our_modifiers(at: At, offset_ms: i64) -> String {
    let at = match at {
        At::Step => String::new(),
        At::Time(time_ms) => format!("@{time_ms}"),
        At::Start => "@start".into(),
        At::End => "@end".into(),
    };
    format!("{at}o{offset_ms}")
}

fn call(name: &str, args: impl Iterator<Item = String>) -> String {
    format!("{name}({})", args.collect::<Vec<_>>().join(", "))
}

fn grouped(op: &str, without: bool, labels: &[String]) -> String {
    format!("{op} {} {labels:?} ", if without { "without" } else { "by" })
}

fn matched(on: bool, labels: &[String], side: &str, include: &[String]) -> String {
    let mut out = String::new();
    if on || !labels.is_empty() {
        let _ = write!(out, " {} {labels:?}", if on { "on" } else { "ignoring" });
    }
    if !side.is_empty() {
        let _ = write!(out, " {side} {include:?}");
    }
    out
}

fn selector_text(mut matchers: Vec<(String, &str, String)>) -> String {
    matchers.sort();
    format!("{matchers:?}")
}

/// The same of the oracle's tree.
fn theirs(expr: &oracle::Expr) -> String {
    match expr {
        oracle::Expr::NumberLiteral(number) => number.val.to_string(),
        oracle::Expr::StringLiteral(text) => quote(&text.val),
        oracle::Expr::VectorSelector(selector) => their_selector(selector, ""),
        oracle::Expr::MatrixSelector(matrix) => their_selector(&matrix.vs, &format!("[{}]", matrix.range.as_millis())),
        oracle::Expr::Subquery(subquery) => {
            let step_ms = subquery.step.map(|step| step.as_millis());
            let modifiers = their_modifiers(subquery.at.as_ref(), subquery.offset.as_ref());
            format!("({})[{}:{step_ms:?}]{modifiers}", theirs(&subquery.expr), subquery.range.as_millis())
        }
        oracle::Expr::Call(call_expr) => call(call_expr.func.name, call_expr.args.args.iter().map(|arg| theirs(arg))),
        oracle::Expr::Aggregate(aggregate) => {
            let (without, labels) = match &aggregate.modifier {
                Some(LabelModifier::Exclude(labels)) => (true, labels.labels.clone()),
                Some(LabelModifier::Include(labels)) => (false, labels.labels.clone()),
                None => (false, Vec::new()),
            };
            let name = grouped(&aggregate.op.to_string(), without, &labels);
            call(&name, aggregate.param.iter().map(|param| theirs(param)).chain([theirs(&aggregate.expr)]))
        }
        oracle::Expr::Binary(binary) => {
            let mut middle = binary.op.to_string();
            if let Some(modifier) = &binary.modifier {
                middle += if modifier.return_bool { " bool" } else { "" };
                let (on, labels) = match &modifier.matching {
                    Some(LabelModifier::Include(labels)) => (true, labels.labels.clone()),
                    Some(LabelModifier::Exclude(labels)) => (false, labels.labels.clone()),
                    None => (false, Vec::new()),
                };
                let (side, include) = match &modifier.card {
                    VectorMatchCardinality::ManyToOne(labels) => ("left", labels.labels.clone()),
                    VectorMatchCardinality::OneToMany(labels) => ("right", labels.labels.clone()),
                    _ => ("", Vec::new()),
                };
                // Prometheus drops the matching where a side is a scalar; the oracle keeps it.
                let vectors = [&binary.lhs, &binary.rhs].iter().all(|side| side.value_type() == ValueType::Vector);
                middle += &if vectors { matched(on, &labels, side, &include) } else { String::new() };
            }
            format!("({} {middle} {})", theirs(&binary.lhs), theirs(&binary.rhs))
        }
        oracle::Expr::Unary(unary) => format!("(-{})", theirs(&unary.expr)),
        oracle::Expr::Paren(paren) => theirs(&paren.expr),
        oracle::Expr::Extension(_) => unreachable!("the oracle makes extensions only where they are registered"),
    }
}

fn their_selector(selector: &oracle::VectorSelector, range: &str) -> String {
    let Matchers { matchers, .. } = &selector.matchers;
    let named = selector.name.iter().map(|name| ("__name__".to_owned(), "=", name.clone()));
    let others = matchers.iter().map(|matcher| {
        let op = match matcher.op {
            OracleOp::Equal => "=",
            OracleOp::NotEqual => "!=",
            OracleOp::Re(_) => "=~",
            OracleOp::NotRe(_) => "!~",
        };
        (matcher.name.clone(), op, matcher.value.clone())
    });
    selector_text(named.chain(others).collect())
        + range
        + &their_modifiers(selector.at.as_ref(), selector.offset.as_ref())
}

fn their_modifiers(at: Option<&AtModifier>, offset: Option<&Offset>) -> String {
    let ms = |duration: &Duration| i64::try_from(duration.as_millis()).unwrap();
    let at = match at {
        None => At::Step,
        Some(AtModifier::Start) => At::Start,
        Some(AtModifier::End) => At::End,
        Some(AtModifier::At(time)) => At::Time(signed_ms(*time)),
    };
    let offset_ms = match offset {
        None => 0,
        Some(Offset::Pos(duration)) => ms(duration),
        Some(Offset::Neg(duration)) => -ms(duration),
    };
    our_modifiers(at, offset_ms)
}

fn signed_ms(time: SystemTime) -> i64 {
    match time.duration_since(UNIX_EPOCH) {
        Ok(since) => i64::try_from(since.as_millis()).unwrap(),
        Err(before) => -i64::try_from(before.duration().as_millis()).unwrap(),
    }
}

/// Both trees; an error where a parser refuses.
fn both(text: &str) -> (Result<String, String>, Result<String, String>) {
    let ours = parse_with(text, Features::ALL).map(|expr| ours(&expr)).map_err(|e| e.to_string());
    (ours, oracle::parse(text).map(|expr| theirs(&expr)))
}

/// Scalar, vector and range-vector expressions, and now and then a misfit, so that both refuse.
fn query() -> impl Strategy<Value = String> {
    let name = prop_oneof![Just("up"), Just("a:b"), Just("sum"), Just("offset"), Just("m_1"), Just("by")];
    let matchers = prop_oneof![
        Just(""),
        Just("{}"),
        Just("{a=\"b\"}"),
        Just("{a=~\"b.*\",c!='d'}"),
        Just("{a!~\"x|y\",}"),
        Just("{\"la bel\"=`v`}"),
    ];
    let modifier = prop_oneof![
        4 => Just(""),
        1 => Just(" offset 5m"),
        1 => Just(" offset -1h30m"),
        1 => Just(" @ 17.5"),
        1 => Just(" @ start()"),
        1 => Just(" offset 1w @ end()"),
        1 => Just(" offset 5m offset 5m"),
    ];
    let leaf = prop_oneof![
        (name, matchers, prop_oneof![3 => Just(""), 1 => Just("[5m]")], modifier.clone())
            .prop_map(|(name, matchers, range, modifier)| format!("{name}{matchers}{range}{modifier}")),
        prop_oneof![
            Just("1"),
            Just("0x1F"),
            Just("1e3"),
            Just(".5"),
            Just("Inf"),
            Just("nan"),
            Just("time()"),
            Just("\"s\""),
            Just("{a=\"b\"}"),
            Just("{__name__=~\"a|b\"}"),
            Just("{\"m.n\"}"),
            Just("vector(1)"),
            Just("{a=\"\"}"),
        ]
        .prop_map(str::to_owned),
    ];
    leaf.prop_recursive(5, 40, 3, move |inner| {
        let operator = prop_oneof![
            Just("+"),
            Just("-"),
            Just("*"),
            Just("/"),
            Just("%"),
            Just("^"),
            Just("atan2"),
            Just("=="),
            Just("!="),
            Just(">"),
            Just("<="),
            Just("and"),
            Just("or"),
            Just("unless"),
            Just("> bool"),
            Just("== bool"),
            Just("+ bool"),
            Just("* on (x)"),
            Just("- ignoring (x, y)"),
            Just("/ on (x) group_left (z)"),
            Just("* ignoring () group_right"),
            Just("and on (x)"),
            Just("or on () group_left"),
            Just("< bool on (x)"),
            Just("* on (x) group_left (x)"),
        ];
        let aggregate = prop_oneof![
            Just(("sum", "")),
            Just(("sum by (x, y)", "")),
            Just(("count without ()", "")),
            Just(("avg", " by (x)")),
            Just(("stddev", " without (x,)")),
            Just(("group by (on, \"a b\")", "")),
            Just(("max", " by ()")),
        ];
        let function = prop_oneof![
            Just("rate"),
            Just("abs"),
            Just("max_over_time"),
            Just("scalar"),
            Just("hour"),
            Just("round"),
            Just("histogram_quantile"),
            Just("clamp"),
            Just("label_join"),
            Just("absent"),
            Just("nope"),
            Just("topk"),
            Just("quantile by (x) "),
            Just("count_values"),
            Just("quantile_over_time"),
            Just("predict_linear"),
        ];
        let subquery = prop_oneof![Just("[1h:]"), Just("[1h:5m]"), Just("[30m:1m] offset 5m"), Just("[5m]")];
        prop_oneof![
            4 => (inner.clone(), operator, inner.clone()).prop_map(|(a, op, b)| format!("{a} {op} {b}")),
            3 => (aggregate, inner.clone()).prop_map(|((op, tail), a)| format!("{op} ({a}){tail}")),
            2 => (function.clone(), inner.clone()).prop_map(|(f, a)| format!("{f}({a})")),
            2 => (function, inner.clone(), inner.clone()).prop_map(|(f, a, b)| format!("{f}({a}, {b})")),
            1 => inner.clone().prop_map(|a| format!("({a})")),
            1 => inner.clone().prop_map(|a| format!("-{a}")),
            1 => (inner, subquery, modifier.clone()).prop_map(|(a, s, m)| format!("{a}{s}{m}")),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]
    #[test]
    fn generated_queries_are_read_as_the_oracle_reads_them(text in query()) {
        let (ours, theirs) = both(&text);
        match (ours, theirs) {
            (Ok(ours), Ok(theirs)) => prop_assert_eq!(ours, theirs, "{}", text),
            (Err(_), Err(_)) => {}
            // Prometheus refuses only times in front of a range, not `@ start()` and `@ end()`.
            (Ok(_), Err(e)) if e.contains("no @ modifiers allowed before range") => {}
            (ours, theirs) => prop_assert!(false, "{}\n ours: {:?}\n theirs: {:?}", text, ours, theirs),
        }
    }
}

/// Features that both parsers know.
const SHARED_FEATURES: [&str; 8] = ["classic", "nh", "expfn", "st", "typeunit", "delayed", "expfn,nh", "nh,st"];

#[test]
fn queries_of_the_test_cases_are_read_as_the_oracle_reads_them() {
    let Some(dir) = std::env::var_os("PROMQLTEST_DIR") else {
        eprintln!("LEFT OUT: PROMQLTEST_DIR is not set, so the queries of Prometheus' test cases were not compared");
        return;
    };
    let table = std::fs::read_to_string(std::path::Path::new(&dir).join("../cases.tsv")).unwrap();
    let mut compared = 0;
    let mut differing = Vec::new();
    for row in table.lines().skip(1) {
        let columns: Vec<&str> = row.splitn(6, '\t').collect();
        let [file, line, _kind, features, expect, text] = columns[..] else { panic!("{row}") };
        // The oracle reads `\xff` as a code point, Prometheus as a byte; and it has no trim operators.
        let unknown = ["\\x", "</", ">/"].iter().any(|part| text.contains(part));
        if unknown || !SHARED_FEATURES.contains(&features) {
            continue;
        }
        let (ours, theirs) = both(text);
        compared += 1;
        if ours.is_err() && !expect.contains("fail") && features == "classic" {
            differing.push(format!("{file}:{line} {text}: refused: {ours:?}"));
        }
        if ours.is_ok() != theirs.is_ok() || (ours.is_ok() && ours != theirs) {
            differing.push(format!("{file}:{line} [{features}] {text}:\n  ours {ours:?}\n  theirs {theirs:?}"));
        }
    }
    assert!(compared > 1000, "{compared}");
    assert!(differing.is_empty(), "{} of {compared}\n{}", differing.len(), differing.join("\n"));
}
