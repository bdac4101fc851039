//! Queries that parse, queries that do not, and what is said about them.

use proptest::prelude::*;

use super::ast::{At, BinaryOp, Cardinality, Expr, ExprKind, Fill, Selector};
use super::duration_expr::Length;
use super::{
    Features, MAX_ARGUMENTS, MAX_CHAIN, MAX_DEPTH, MAX_QUERY_BYTES, MAX_REGEX_MATCHERS, parse, parse_selector,
    parse_with,
};

/// The tree with every operator in parentheses.
fn shape(text: &str) -> String {
    fn show(expr: &Expr) -> String {
        match &expr.kind {
            ExprKind::Binary { first, links } => {
                links.iter().fold(show(first), |lhs, link| format!("({lhs} {} {})", link.op.as_str(), show(&link.rhs)))
            }
            ExprKind::Unary { negative, expr } => format!("({}{})", if *negative { '-' } else { '+' }, show(expr)),
            ExprKind::Paren(inner) => show(inner),
            _ => expr.to_string(),
        }
    }
    parse(text).map_or_else(|e| e.to_string(), |expr| show(&expr))
}

#[test]
fn operators_bind_as_in_prometheus() {
    for (text, expected) in [
        ("1 + 2 * 3 - 4", "((1 + (2 * 3)) - 4)"),
        ("2 ^ 3 ^ 2", "(2 ^ (3 ^ 2))"),
        ("-2 ^ 2", "(-(2 ^ 2))"),
        ("-a * b", "((-a) * b)"),
        ("-1 * 2", "(-1 * 2)"),
        ("2 ^ -3 * 4", "((2 ^ -3) * 4)"),
        ("2 ^ -a ^ b", "(2 ^ (-(a ^ b)))"),
        ("- + 1", "-1"),
        ("a or b and c unless d", "(a or ((b and c) unless d))"),
        ("a == bool b + c", "(a == (b + c))"),
        ("a atan2 b * c", "((a atan2 b) * c)"),
        ("a % b / c", "((a % b) / c)"),
        ("-a offset 5m", "(-a offset 5m)"),
        ("m offset 100 + 2", "(m offset 1m40s + 2)"),
        ("m offset -2 ^ 2", "(m offset -2s ^ 2)"),
        ("a <= b > c", "((a <= b) > c)"),
    ] {
        assert_eq!(shape(text), expected, "{text}");
    }
}

#[test]
fn what_prometheus_reads_is_read() {
    for text in [
        "0x1F + .5 + 1. + 1e-3 + 1_000 + Inf + -inf + NaN + 010",
        "5m + 1h30m",
        "Inf ^ foo",
        "\"double\\n\"",
        "'sin\\'gle'",
        "`raw\\`",
        "foo:bar{a!=\"b\",c=~\"d.*\",e!~'f',}",
        "{\"metric.name\", \"label name\"=~\"x\"}",
        "{__name__=\"up\"}",
        "{__name__=~\"a|b\", __name__!=\"a\"}",
        "foo[5m] @ 10 offset -1w",
        "foo offset 5m @ start()",
        "foo @ end() offset 0s",
        "foo @ -1.5",
        "foo @ 1m40s + start() + step()",
        "foo[300]",
        "rate(foo[5m])[1h:] offset 1h @ 7",
        "max_over_time(rate(foo[5m])[1h:1m])[1d:1h]",
        "foo[5m:30s]",
        "foo[300:60]",
        "sum(foo)",
        "SUM BY (a, \"b c\",) (foo)",
        "sum(foo) without (instance, by, on)",
        "topk(5, foo)",
        "count_values(\"v\", foo)",
        "quantile by () (0.5, foo)",
        "a + on (x) b",
        "a + ignoring () group_left b",
        "a * on (x, and) group_right (y) b",
        "a and on (x) b",
        "a == bool on (x) b",
        "1 > bool 2",
        "sum + avg",
        "by + without + offset + start + end",
        "and{a=\"b\"} or or",
        "sum{a=\"b\"}",
        "foo{sum=\"a\",by=\"b\",on='c'}",
        "fill + anchored + smoothed + step",
        "a + fill",
        "time() - vector(1) + pi()",
        "hour() + hour(foo)",
        "round(foo) + round(foo, 5)",
        "label_join(foo, \"a\", \"b\") + label_join(foo, \"a\", \"b\", \"c\", \"d\")",
        "foo # comment\n + bar # and another",
        "# first\nfoo",
        "\t\r\nfoo ",
        "absent(nonexistent{job=~\".+\"})",
        "(((foo)))",
        "{a=~\".+\"}",
        "offset offset 5m",
        "foo{a=\"\u{e9}\"}",
    ] {
        let expr = parse_with(text, Features::ALL).unwrap_or_else(|e| panic!("{text}: {e}"));
        let printed = expr.to_string();
        let again = parse_with(&printed, Features::ALL).unwrap_or_else(|e| panic!("{text} as {printed}: {e}"));
        assert_eq!(again.to_string(), printed, "{text}");
    }
}

#[test]
fn mistakes_are_said_as_prometheus_says_them() {
    for (text, expected) in [
        ("", "unknown position: parse error: no expression found in input"),
        ("# only", "1:1: parse error: no expression found in input"),
        ("1+", "1:3: parse error: unexpected end of input"),
        ("*1", "1:1: parse error: unexpected <op:*>"),
        ("1 1", "1:3: parse error: unexpected number \"1\""),
        ("foo bar", "1:5: parse error: unexpected identifier \"bar\""),
        ("foo\n  by", "2:3: parse error: unexpected <by>"),
        ("(1", "1:3: parse error: unclosed left parenthesis"),
        ("1)", "1:3: parse error: unexpected right parenthesis ')'"),
        ("foo[5m", "1:7: parse error: unclosed left bracket"),
        ("foo]", "1:4: parse error: unexpected right bracket ']'"),
        ("foo}", "1:4: parse error: unexpected character: '}'"),
        ("foo{", "1:5: parse error: unexpected end of input inside braces"),
        ("foo{1}", "1:5: parse error: unexpected character inside braces: '1'"),
        ("foo{a}", "1:6: parse error: unexpected \"}\" in label matching, expected label matching operator"),
        ("foo{a=}", "1:7: parse error: unexpected \"}\" in label matching, expected string"),
        ("foo{,}", "1:5: parse error: unexpected \",\" in label matching, expected identifier or \"}\""),
        (
            "foo{a=\"b\" c=\"d\"}",
            "1:11: parse error: unexpected identifier \"c\" in label matching, expected \",\" or \"}\"",
        ),
        (
            "foo{a=\"b\" or c=\"d\"}",
            "1:11: parse error: unexpected identifier \"or\" in label matching, expected \",\" or \"}\"",
        ),
        ("foo{a!\"b\"}", "1:6: parse error: unexpected character after '!' inside braces: '\"'"),
        ("a =~ b", "1:3: parse error: unexpected character after '=': '~'"),
        ("a ! b", "1:3: parse error: unexpected character after '!': ' '"),
        ("a = b", "1:3: parse error: unexpected \"=\""),
        ("a $ b", "1:3: parse error: unexpected character: '$'"),
        ("\"abc", "1:1: parse error: unterminated quoted string"),
        ("`abc", "1:1: parse error: unterminated raw string"),
        ("x{a=\"b\u{fffd}c\"}", "1:5: parse error: invalid UTF-8 rune"),
        ("x\u{fffd}", "1:2: parse error: unexpected character: '\u{fffd}'"),
        ("\"\\q\"", "1:1: parse error: unknown escape sequence U+0071 'q'"),
        ("0x", "1:1: parse error: error parsing number: strconv.ParseFloat: parsing \"0x\": invalid syntax"),
        ("5mm", "1:1: parse error: bad number or duration syntax: \"5mm\""),
        ("foo[5m5m]", "1:5: parse error: not a valid duration string: \"5m5m\""),
        ("foo[0]", "1:5: parse error: duration must be greater than 0"),
        ("foo[0s:5m]", "1:5: parse error: duration must be greater than 0"),
        (
            "foo[]",
            "1:5: parse error: unexpected \"]\" in subquery or range selector, expected number, duration, step(), or range()",
        ),
        ("foo[5m:1m:1m]", "1:10: parse error: unexpected colon ':'"),
        ("{}", "1:1: parse error: vector selector must contain at least one non-empty matcher"),
        ("{a=\"\"}", "1:1: parse error: vector selector must contain at least one non-empty matcher"),
        ("1 + {a=~\".*\"}", "1:5: parse error: vector selector must contain at least one non-empty matcher"),
        ("foo{__name__=\"bar\"}", "1:1: parse error: metric name must not be set twice: \"foo\" or \"bar\""),
        ("foo{\"bar\"}", "1:1: parse error: metric name must not be set twice: \"foo\" or \"bar\""),
        ("1 == 1", "1:3: parse error: comparisons between scalars must use BOOL modifier"),
        ("foo + bool bar", "1:5: parse error: bool modifier can only be used on comparison operators"),
        ("1 and 1", "1:1: parse error: set operator \"and\" not allowed in binary scalar expression"),
        ("foo or 1", "1:1: parse error: set operator \"or\" not allowed in binary scalar expression"),
        ("foo + on (a) 1", "1:1: parse error: vector matching only allowed between instant vectors"),
        ("foo and on (a) group_left (b) bar", "1:1: parse error: no grouping allowed for \"and\" operation"),
        (
            "foo * on (a) group_left (a) bar",
            "1:5: parse error: label \"a\" must not occur in ON and GROUP clause at once",
        ),
        ("foo + \"a\"", "1:7: parse error: binary expression must contain only scalar and instant vector types"),
        ("foo[5m] + 1", "1:1: parse error: binary expression must contain only scalar and instant vector types"),
        ("foo * group_left bar", "1:7: parse error: unexpected <group_left>"),
        ("foo + on bar", "1:10: parse error: unexpected identifier \"bar\" in grouping opts, expected \"(\""),
        ("foo + on (1) bar", "1:11: parse error: unexpected number \"1\" in grouping opts, expected label"),
        (
            "foo + on (a b) bar",
            "1:13: parse error: unexpected identifier \"b\" in grouping opts, expected \",\" or \")\"",
        ),
        ("sum by (without) (foo)", "1:9: parse error: unexpected <without> in grouping opts, expected label"),
        ("sum(foo bar)", "1:9: parse error: unexpected identifier \"bar\" in aggregation"),
        ("sum(abs(foo bar))", "1:13: parse error: unexpected identifier \"bar\" in aggregation"),
        (
            "-\"a\"",
            "1:1: parse error: unary expression only allowed on expressions of type scalar or instant vector, got \"string\"",
        ),
        (
            "-foo[5m]",
            "1:1: parse error: unary expression only allowed on expressions of type scalar or instant vector, got \"range vector\"",
        ),
        ("nope(foo)", "1:1: parse error: unknown function with name \"nope\""),
        ("rate(foo)", "1:6: parse error: expected type range vector in call to function \"rate\", got instant vector"),
        ("abs()", "1:1: parse error: expected 1 argument(s) in call to \"abs\", got 0"),
        ("round()", "1:1: parse error: expected at least 1 argument(s) in call to \"round\", got 0"),
        ("hour(foo, foo)", "1:1: parse error: expected at most 1 argument(s) in call to \"hour\", got 2"),
        ("abs(foo,)", "1:8: parse error: trailing commas not allowed in function call args"),
        ("abs(foo bar)", "1:9: parse error: unexpected identifier \"bar\""),
        ("sum()", "1:1: parse error: no arguments for aggregate expression provided"),
        ("sum(x,y) )", "1:11: parse error: unexpected right parenthesis ')'"),
        (
            "sum by (a) (x,y) )",
            "1:1: parse error: wrong number of arguments for aggregate expression provided, expected 1, got 2",
        ),
        ("x[1_]", "1:3: parse error: error parsing number: strconv.ParseFloat: parsing \"1_\": invalid syntax"),
        (
            "sum(1, foo)",
            "1:1: parse error: wrong number of arguments for aggregate expression provided, expected 1, got 2",
        ),
        (
            "topk(foo)",
            "1:1: parse error: wrong number of arguments for aggregate expression provided, expected 2, got 1",
        ),
        ("sum(1)", "1:5: parse error: expected type instant vector in aggregation expression, got scalar"),
        ("topk(\"a\", foo)", "1:6: parse error: expected type scalar in aggregation parameter, got string"),
        ("count_values(1, foo)", "1:14: parse error: expected type string in aggregation parameter, got scalar"),
        ("sum by (a) foo", "1:12: parse error: unexpected identifier \"foo\" in aggregation"),
        ("sum(foo)[5m]", "1:9: parse error: ranges only allowed for vector selectors"),
        ("foo offset 5m [1m]", "1:15: parse error: no offset modifiers allowed before range"),
        ("foo @ 5 [1m]", "1:9: parse error: no @ modifiers allowed before range"),
        ("foo offset 5m offset 1m", "1:1: parse error: offset may not be set multiple times"),
        ("foo @ 1 @ 2", "1:1: parse error: @ <timestamp> may not be set multiple times"),
        (
            "1 offset 5m",
            "1:1: parse error: offset modifier must be preceded by an instant vector selector or range vector selector or a subquery",
        ),
        (
            "(foo) @ 5",
            "1:1: parse error: @ modifier must be preceded by an instant vector selector or range vector selector or a subquery",
        ),
        (
            "foo offset",
            "1:11: parse error: unexpected end of input in offset, expected number, duration, step(), or range()",
        ),
        ("foo @ bar", "1:7: parse error: unexpected identifier \"bar\" in @, expected timestamp"),
        ("foo @ Inf", "1:1: parse error: timestamp out of bounds for @ modifier: +Inf"),
        ("foo[5m][1m:]", "1:1: parse error: subquery is only allowed on instant vector, got matrix instead"),
        ("1[5m:]", "1:1: parse error: subquery is only allowed on instant vector, got scalar instead"),
        (
            "foo[1m * ]",
            "1:10: parse error: unexpected \"]\" in subquery or range selector, expected number, duration, step(), or range()",
        ),
        ("foo[1m / 0]", "1:8: parse error: division by zero"),
        ("foo[foo]", "1:5: parse error: unexpected character in duration expression: 'f'"),
        ("foo[5m foo]", "1:8: parse error: unexpected character: 'f', expected ':'"),
        ("foo[:5m]", "1:6: parse error: unexpected colon before duration in duration expression"),
        ("foo @ \"a\"", "1:7: parse error: unexpected string \"\\\"a\\\"\" in @, expected timestamp"),
        ("1e999", "1:1: parse error: error parsing number: strconv.ParseFloat: parsing \"1e999\": value out of range"),
        (
            r#"label_replace(a, "b", "\xff", "", "")"#,
            r#"1:23: parse error: label_replace() cannot write a label that is not UTF-8: "\xff""#,
        ),
        (
            r#"1 + label_join(a, "b", ("-\xfe"), "c")"#,
            r#"1:25: parse error: label_join() cannot write a label that is not UTF-8: "-\xfe""#,
        ),
        (r#"absent(a{b="\xff"})"#, r#"1:12: parse error: absent() cannot write a label that is not UTF-8: "\xff""#),
        (
            r#"absent_over_time({a="b",c="\xff"}[1m])"#,
            r#"1:27: parse error: absent_over_time() cannot write a label that is not UTF-8: "\xff""#,
        ),
        (r#"a{b="c","\xff"="d"}"#, r#"1:9: parse error: invalid label name "\xff""#),
        (r#"sum by ("\xff") (a)"#, r#"1:9: parse error: invalid label name for grouping: "\xff""#),
        (r#"a{b=~"\xff.*"}"#, "1:3: parse error: error parsing regexp: invalid UTF-8: `\u{fffd}.*`"),
        (r#"{a!="\xff"}"#, "1:1: parse error: vector selector must contain at least one non-empty matcher"),
        (r#"a{"\xff"}"#, r#"1:1: parse error: metric name must not be set twice: "a" or "\xff""#),
        ("\u{e9}", "1:1: parse error: unexpected character: '\u{e9}'"),
    ] {
        let said = parse(text).map_or_else(|e| e.to_string(), |expr| format!("parsed as {expr}"));
        assert_eq!(said, expected, "{text}");
    }
    let said = parse("foo{a=~\"[\"}").unwrap_err().to_string();
    assert!(said.starts_with("1:5: parse error: error parsing regexp: "), "{said}");
}

#[test]
fn what_is_not_utf8_is_written_as_it_was_read() {
    for text in [
        r#""a\xff""#,
        r#"a{b!="\xff",b="\xff",b=~"c|\xfe",c!~"\xff"}"#,
        r#"{"\xff"}"#,
        r#"absent({"\xff"})"#,
        r#"sort_by_label(a, "\xff")"#,
        r#"count_values("\xff", a)"#,
    ] {
        let printed = parse_with(text, Features::ALL).unwrap().to_string();
        let expected = text.replace(r#"{"\xff"}"#, r#"{__name__="\xff"}"#);
        assert_eq!(printed, expected);
        assert_eq!(parse_with(&printed, Features::ALL).unwrap().to_string(), printed);
    }
}

#[test]
fn nodes_know_their_place() {
    let text = "1 + sum by (a) ( rate( foo{x=\"y\"}[5m] offset 1m ) )";
    let expr = parse(text).unwrap();
    let ExprKind::Binary { links, .. } = &expr.kind else { panic!() };
    let rhs = &links[0].rhs;
    assert_eq!(&text[rhs.span.start..rhs.span.end], "sum by (a) ( rate( foo{x=\"y\"}[5m] offset 1m ) )");
    let ExprKind::Aggregate { expr: inner, .. } = &rhs.kind else { panic!() };
    assert_eq!(&text[inner.span.start..inner.span.end], "rate( foo{x=\"y\"}[5m] offset 1m )");
    let ExprKind::Call { args, .. } = &inner.kind else { panic!() };
    assert_eq!(&text[args[0].span.start..args[0].span.end], "foo{x=\"y\"}[5m] offset 1m");
}

#[test]
fn modifiers_land_in_the_tree() {
    let selector = |text: &str| match parse(text).unwrap().kind {
        ExprKind::Selector(Selector { at, offset, .. }) => (at, offset),
        other => panic!("{other:?}"),
    };
    assert_eq!(selector("m @ 1.5 offset -5m"), (At::Time(1500), Length::Fixed(-300_000)));
    assert_eq!(selector("m offset 2 @ end()"), (At::End, Length::Fixed(2000)));
    let links = |text: &str| match parse_with(text, Features::ALL).unwrap().kind {
        ExprKind::Binary { links, .. } => links,
        other => panic!("{other:?}"),
    };
    let link = &links("a > bool on (x, y) group_left (z) fill_right (-1) b")[0];
    let matching = link.matching.as_ref().unwrap();
    assert_eq!(
        (matching.cardinality, matching.on, link.op, link.return_bool),
        (Cardinality::ManyToOne, true, BinaryOp::Gtr, true)
    );
    assert_eq!((&matching.labels, &matching.include), (&vec!["x".into(), "y".into()], &vec!["z".into()]));
    assert_eq!(matching.fill, Fill { left: None, right: Some(-1.0) });
    assert!(links("a + 1")[0].matching.is_none());
    assert_eq!(links("a - b * c + d").len(), 2);
}

#[test]
fn experimental_parts_have_to_be_switched_on() {
    for (text, refused) in [
        (
            "limitk(2, m)",
            "1:1: parse error: limitk() is experimental and must be enabled with --enable-feature=promql-experimental-functions",
        ),
        ("info(m)", "1:1: parse error: function \"info\" is not enabled"),
        ("1 + step()", "1:5: parse error: function \"step\" is not enabled"),
        ("rate(m[5m] anchored)", "1:6: parse error: anchored modifier is experimental and not enabled"),
        ("m smoothed", "1:1: parse error: smoothed modifier is experimental and not enabled"),
        ("m + fill (0) n", "1:1: parse error: binop fill modifiers are experimental and not enabled"),
    ] {
        assert_eq!(parse(text).map(|e| e.to_string()).map_err(|e| e.to_string()), Err(refused.to_owned()));
        assert!(parse_with(text, Features::ALL).is_ok(), "{text}");
    }
}

#[test]
fn selectors_alone() {
    assert_eq!(parse_selector("up{job=\"a\"}").unwrap().len(), 2);
    assert_eq!(parse_selector("{\"a b\"}").unwrap().len(), 1);
    assert_eq!(parse_selector("{}").unwrap().len(), 0);
    for bad in ["", "up[5m]", "up offset 5m", "sum(up)", "1", "up{", "up{__name__=\"x\"}"] {
        assert!(parse_selector(bad).is_err(), "{bad}");
    }
}

#[test]
fn deep_and_long_queries_are_read_or_refused_on_a_small_stack() {
    let on_small_stack = |text: String| {
        std::thread::Builder::new()
            .stack_size(1 << 20)
            .spawn(move || parse(&text).map(|expr| expr.to_string()).map_err(|e| e.to_string()))
            .unwrap()
            .join()
            .unwrap()
    };
    let within = MAX_DEPTH - 1;
    for (prefix, middle, suffix) in
        [("(", "m", ")"), ("-", "m", ""), ("sum(", "m", ")"), ("2 ^ ", "2", ""), ("abs(-", "m", ")")]
    {
        let levels = if prefix == "abs(-" { within / 2 } else { within };
        let text = |n: usize| format!("{}{middle}{}", prefix.repeat(n), suffix.repeat(n));
        on_small_stack(text(levels)).unwrap();
        for n in [MAX_DEPTH + 1, 20_000] {
            let refused = on_small_stack(text(n)).unwrap_err();
            assert!(refused.contains("nested too deeply"), "{refused}");
        }
    }
    for link in [" + 1", " or m", " * on (a) m"] {
        on_small_stack(format!("m{}", link.repeat(MAX_CHAIN - 1))).unwrap();
        let refused = on_small_stack(format!("m{}", link.repeat(MAX_CHAIN))).unwrap_err();
        assert!(refused.contains("more than 10000 operators"), "{refused}");
    }
    on_small_stack(format!("m[{}1m{}]", "(".repeat(20_000), ")".repeat(20_000))).unwrap_err();
    on_small_stack(format!("m[1m{}]", " + 1m".repeat(20_000))).unwrap_err();
    on_small_stack(format!("m offset {}1m", "-".repeat(20_000))).unwrap_err();
    on_small_stack(format!("m{}", "[5m:]".repeat(20_000))).unwrap_err();
    on_small_stack(format!("m{}", " @ 5".repeat(20_000))).unwrap_err();
    on_small_stack("-".repeat(20_000)).unwrap_err();
    on_small_stack("(".repeat(20_000)).unwrap_err();
    on_small_stack(format!("m{{{}}}", "a=~\"x\",".repeat(20_000))).unwrap_err();
}

#[test]
fn huge_queries_are_refused() {
    let refused = |text: String| parse(&text).unwrap_err().to_string();
    assert!(refused("1,".repeat(MAX_QUERY_BYTES)).contains("at most 1048576 are allowed"));
    assert!(parse_selector(&"a".repeat(MAX_QUERY_BYTES + 1)).is_err());
    assert!(parse(&"a".repeat(MAX_QUERY_BYTES)).is_ok());
    let arguments = refused(format!("sum({}1)", "1,".repeat(MAX_ARGUMENTS)));
    assert!(arguments.contains("more than 1000 arguments"), "{arguments}");
    let regexes = refused(format!("m{{{}}}", "a=~\"x\",".repeat(MAX_REGEX_MATCHERS + 1)));
    assert!(regexes.contains("more than 256 regex matchers"), "{regexes}");
}

proptest! {
    #[test]
    fn any_text_is_read_or_refused(text in "\\PC{0,60}") {
        if let Ok(expr) = parse(&text) {
            prop_assert!(parse(&expr.to_string()).is_ok(), "{}", expr);
        }
    }

    #[test]
    fn any_row_of_words_is_read_or_refused(words in proptest::collection::vec(prop_oneof![
        Just("foo"), Just("sum"), Just("by"), Just("("), Just(")"), Just("{"), Just("}"), Just("["), Just("]"),
        Just("5m"), Just("1"), Just("+"), Just("-"), Just("^"), Just("=="), Just("bool"), Just("on"), Just("and"),
        Just("offset"), Just("@"), Just("start"), Just(","), Just(":"), Just("\"a\""), Just("="), Just("=~"),
        Just("rate"), Just("group_left"), Just("Inf"), Just("#"), Just("\n"), Just("topk"), Just("a"),
    ], 0..14)) {
        let text = words.join(" ");
        if let Ok(expr) = parse(&text) {
            let printed = expr.to_string();
            prop_assert_eq!(parse(&printed).map(|e| e.to_string()), Ok(printed));
        }
    }
}
