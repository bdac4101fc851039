//! What is printed, on one line or laid out, reads back to the same: over the whole language, experimental parts included.

use proptest::prelude::*;

use super::pretty::pretty;
use super::{Features, parse_with};

fn one_of(words: &'static [&'static str]) -> impl Strategy<Value = String> + Clone {
    proptest::sample::select(words).prop_map(str::to_owned)
}

/// A duration between brackets or behind `offset (…)`.
fn duration() -> impl Strategy<Value = String> + Clone {
    let leaf = one_of(&["5m", "1h30m", "10", "0.5", "1y2w", "500ms", "step()", "range()", "0x10", "1_000"]);
    leaf.prop_recursive(3, 12, 2, |inner| {
        prop_oneof![
            3 => (inner.clone(), one_of(&["+", "-", "*", "/", "%", "^"]), inner.clone())
                .prop_map(|(a, op, b)| format!("{a} {op} {b}")),
            1 => inner.clone().prop_map(|a| format!("({a})")),
            1 => inner.clone().prop_map(|a| format!("-{a}")),
            1 => (one_of(&["min_of", "max_of"]), inner.clone(), inner).prop_map(|(f, a, b)| format!("{f}({a}, {b})")),
        ]
    })
    .boxed()
}

fn modifiers() -> impl Strategy<Value = String> + Clone {
    let offset = prop_oneof![
        one_of(&[
            "",
            " offset 5m",
            " offset -1h30m",
            " offset 90",
            " offset step()",
            " offset -range()",
            " offset +step()"
        ]),
        duration().prop_map(|d| format!(" offset ({d})")),
        duration().prop_map(|d| format!(" offset -({d})")),
    ];
    (one_of(&["", "", " @ 17.5", " @ -3", " @ start()", " @ end()"]), offset)
        .prop_map(|(at, offset)| at + &offset)
        .boxed()
}

fn selector() -> impl Strategy<Value = String> + Clone {
    let name = one_of(&["up", "a:b", "sum", "offset", "fill", "step", "anchored", "min_of", "by", "start", "or"]);
    let braces = one_of(&[
        "",
        "{}",
        "{a=\"b\"}",
        "{z=~\"b.*\",c!='d'}",
        "{a!~\"x|y\",}",
        "{\"la bel\"=`v\\n`, b=\"\\n\\u00e9\\t\\\"\"}",
    ]);
    let whole = one_of(&["{__name__=~\"a|b\"}", "{\"m.n\"}", "{\"m.n\", x=\"y\"}", "{__name__=\"q\"}"]);
    prop_oneof![3 => (name, braces).prop_map(|(name, braces)| name + &braces), 1 => whole].boxed()
}

/// An instant vector or a scalar; most of what comes out is legal.
fn query() -> impl Strategy<Value = String> {
    let boundary = one_of(&["", "", "", " anchored", " smoothed"]);
    let instant = (selector(), boundary.clone(), modifiers()).prop_map(|(s, b, m)| s + &b + &m);
    let range = (one_of(&["rate", "last_over_time", "changes"]), selector(), duration(), boundary, modifiers())
        .prop_map(|(f, s, d, b, m)| format!("{f}({s}[{d}]{b}{m})"));
    let number = one_of(&["1", "0x1F", "1e3", ".5", "Inf", "-Inf", "nan", "5m", "-1h30m", "1e-9", "time()", "1_0"]);
    let leaf = prop_oneof![3 => instant, 2 => range, 2 => number];
    leaf.prop_recursive(5, 40, 3, |inner| {
        let operator = one_of(&[
            "+", "-", "*", "/", "%", "^", "atan2", "==", "!=", ">", "<=", "and", "or", "unless", "> bool", "</", ">/",
            "* on (x)", "- ignoring (x, \"y z\")", "/ on (x) group_left (z)", "* ignoring () group_right", "and on ()",
            "+ fill (0)", "- on (x) fill_left (-1.5) fill_right (Inf)", "* on (x) group_left fill_right (1h)",
        ]);
        let aggregate = one_of(&[
            "sum", "sum by (x, y)", "count without ()", "stddev without (x,)", "group by (on, \"a b\")", "max by ()",
            "topk by (x) (3,", "count_values (\"l\",", "limitk (2,", "quantile without (a) (0.9,",
        ]);
        prop_oneof![
            5 => (inner.clone(), operator, inner.clone()).prop_map(|(a, op, b)| format!("{a} {op} {b}")),
            3 => (aggregate, inner.clone()).prop_map(|(head, a)| match head.ends_with(',') {
                true => format!("{head} {a})"),
                false => format!("{head} ({a})"),
            }),
            1 => (one_of(&["abs", "-abs", "round", "histogram_sum"]), inner.clone()).prop_map(|(f, a)| format!("{f}({a})")),
            1 => (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("clamp_max({a}, scalar({b}))")),
            2 => inner.clone().prop_map(|a| format!("({a})")),
            1 => inner.clone().prop_map(|a| format!("- {a}")),
            1 => (inner, duration(), one_of(&["", "1m", "step() * 2"]), modifiers())
                .prop_map(|(a, d, step, m)| format!("max_over_time(({a})[{d}:{step}]{m})")),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3000))]
    #[test]
    fn printed_queries_read_back(text in query()) {
        let Ok(expr) = parse_with(&text, Features::ALL) else { return Ok(()) };
        let line = expr.to_string();
        let page = pretty(&expr).unwrap();
        for printed in [&line, &page] {
            let again = parse_with(printed, Features::ALL);
            prop_assert!(again.is_ok(), "{text}\n as {printed}\n {again:?}");
            let again = again.unwrap();
            prop_assert_eq!(again.to_string(), line.clone(), "{}", text);
            prop_assert_eq!(pretty(&again).unwrap(), page.clone(), "{}", text);
        }
    }
}
