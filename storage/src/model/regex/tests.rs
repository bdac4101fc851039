//! Against the plain anchored regex, on patterns where both dialects agree; and the differences by example.

use proptest::prelude::*;

use super::LabelRegex;

fn new(pattern: &str) -> LabelRegex {
    LabelRegex::new(pattern).unwrap()
}

fn pattern() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        4 => "[abc]{1,3}",
        1 => Just(".*".to_owned()),
        1 => Just(".+".to_owned()),
        1 => Just(".".to_owned()),
        1 => Just(r"\.".to_owned()),
        1 => Just("[ab]".to_owned()),
        1 => Just("[^a]".to_owned()),
        1 => Just("^".to_owned()),
        1 => Just("$".to_owned()),
        1 => Just("\n".to_owned()),
        1 => Just("(?i)b".to_owned()),
        1 => Just(String::new()),
    ];
    leaf.prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 1..4).prop_map(|parts| parts.concat()),
            proptest::collection::vec(inner.clone(), 1..4).prop_map(|parts| parts.join("|")),
            inner.clone().prop_map(|p| format!("({p})")),
            inner.clone().prop_map(|p| format!("(?:{p})*")),
            inner.clone().prop_map(|p| format!("(?:{p})?")),
            inner.prop_map(|p| format!("(?:{p}){{1,2}}")),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]
    #[test]
    fn every_shortcut_means_the_plain_anchored_regex(
        pattern in pattern(),
        values in proptest::collection::vec("[abcB.\n]{0,5}", 1..12),
    ) {
        let plain = regex::Regex::new(&format!("^(?s:{pattern})$")).unwrap();
        let ours = new(&pattern);
        for value in values.iter().map(String::as_str).chain(["", "a", "b", "ab", "\n"]) {
            prop_assert_eq!(ours.is_match(value), plain.is_match(value), "{} on {:?}: {:?}", pattern, value, ours);
        }
        for literal in ours.literals().unwrap_or(&[]) {
            prop_assert!(plain.is_match(literal));
        }
    }

    #[test]
    fn alternatives_mean_the_plain_anchored_regex(
        parts in proptest::collection::vec("[ab]{0,3}(\\.[*+])?", 1..8),
        values in proptest::collection::vec("[ab\n]{0,5}", 1..12),
    ) {
        let pattern = parts.join("|");
        let plain = regex::Regex::new(&format!("^(?s:{pattern})$")).unwrap();
        let ours = new(&pattern);
        for value in &values {
            prop_assert_eq!(ours.is_match(value), plain.is_match(value), "{} on {:?}: {:?}", pattern, value, ours);
        }
        if let Some(alternatives) = ours.alternatives() {
            let begins = |text: &str| alternatives.prefixes.iter().filter(|(p, rest)| text.starts_with(p.as_str()) && text.len() >= p.len() + rest).count();
            prop_assert!(alternatives.literals.iter().all(|literal| begins(literal) == 0));
            prop_assert!(values.iter().all(|value| begins(value) <= 1));
        }
    }

    #[test]
    fn any_text_is_a_pattern_or_a_readable_error(pattern in ".{0,30}") {
        if let Err(error) = LabelRegex::new(&pattern) {
            prop_assert!(error.to_string().starts_with("error parsing regexp: "), "{error}");
        }
    }
}

#[test]
fn shapes_are_recognised() {
    assert!(new(".*").matches_everything());
    assert!(new("^(.*?)$").matches_everything());
    assert!(new(".+").matches_every_non_empty());
    assert_eq!(new("a|b|a").literals().unwrap(), ["a", "b"]);
    assert_eq!(new(r"a\.b").literals().unwrap(), ["a.b"]);
    assert_eq!(new("^(?:api|web)-[12]$").literals().unwrap(), ["api-1", "api-2", "web-1", "web-2"]);
    assert_eq!(new("").literals().unwrap(), [""]);
    assert_eq!(new("|x").literals().unwrap(), ["", "x"]);
    assert_eq!(new("(?i)ab").literals().unwrap(), ["AB", "Ab", "aB", "ab"]);
    assert_eq!(new("node_.*").prefix(), Some("node_"));
    assert_eq!(new("node_.+").prefix(), Some("node_"));
    assert_eq!(new("node_[0-9]+").prefix(), Some("node_"));
    assert_eq!(new("(a|b).*").prefix(), None);
    let several = new("^(?:web-1|api.*|api-.+|b.+|b|api|web-[23])$");
    let several = several.alternatives().unwrap();
    assert_eq!(several.literals, ["b", "web-1", "web-2", "web-3"]);
    assert_eq!(several.prefixes, [("api".to_owned(), 0), ("b".to_owned(), 1)]);
    assert!(new("a.*|[0-9]+").alternatives().is_none());
    assert!(!new("node_.+").is_match("node_") && new("node_.*").is_match("node_"));
}

#[test]
fn classes_are_ascii_as_in_go() {
    assert!(new(r"\d+").is_match("42") && !new(r"\d+").is_match("٤٢"));
    assert!(new(r"\w+").is_match("a_1") && !new(r"\w+").is_match("é"));
    assert!(new(r"\W").is_match("é") && new(r"[\W]").is_match("é") && new(r"[^\w]").is_match("é"));
    assert!(new(r"\s").is_match("\t") && !new(r"\s").is_match("\u{a0}") && !new(r"\s").is_match("\u{b}"));
    assert!(new(r"[\d\s]+").is_match("1 2") && new(r"[\D]+").is_match("ab"));
    assert!(new(r"a\b.*").is_match("aé") && !new(r"a\b.*").is_match("ab"));
    assert!(new(r"a\B.*").is_match("ab") && !new(r"a\B.*").is_match("aé"));
}

#[test]
fn syntax_is_that_of_go() {
    assert!(new("a.b").is_match("a\nb"), "the dot matches a newline");
    assert!(new("{a}").is_match("{a}") && new("a{,2}").is_match("a{,2}") && new("a{2}").is_match("aa"));
    assert!(new("[[]").is_match("[") && new("[]a]").is_match("]") && new("[a&&b]+").is_match("&b"));
    assert!(new("[a-]+").is_match("a-") && new("[a-c-]+").is_match("b-") && new("[[:alpha:]_]+").is_match("a_"));
    assert!(new(r"\Qa.b\E+").is_match("a.bb") && new(r"\x41\x{42}\103").is_match("ABC"));
    assert!(new(r"\<a\>").is_match("<a>") && new(r"\_\-").is_match("_-"));
    assert!(new(r"\pL+\p{Greek}").is_match("aé\u{3b1}"));
}

/// As `regexp/syntax.Parse` of Go says it.
#[test]
fn what_go_refuses_is_refused_in_its_words() {
    for (pattern, error) in [
        ("a**", "invalid nested repetition operator: `**`"),
        ("a+?{2}?b", "invalid nested repetition operator: `+?{2}?`"),
        ("(", "missing closing ): `(`"),
        ("(a|(b)", "missing closing ): `(a|(b)`"),
        ("a)b", "unexpected ): `a)b`"),
        ("*a", "missing argument to repetition operator: `*`"),
        ("a|+?b", "missing argument to repetition operator: `+?`"),
        ("(?:?)", "missing argument to repetition operator: `?`"),
        ("(?i)*", "missing argument to repetition operator: `*`"),
        ("({2})", "missing argument to repetition operator: `{2}`"),
        ("x[a", "missing closing ]: `[a`"),
        ("x[]", "missing closing ]: `[]`"),
        ("x[^", "missing closing ]: `[^`"),
        ("[a-", "missing closing ]: `[a-`"),
        ("[[:alpha:", "missing closing ]: `[[:alpha:`"),
        (r"a\1", r"invalid escape sequence: `\1`"),
        (r"a\Zb", r"invalid escape sequence: `\Z`"),
        (r"\8", r"invalid escape sequence: `\8`"),
        (r"\Ca", r"invalid escape sequence: `\C`"),
        (r"\é", r"invalid escape sequence: `\é`"),
        (r"\x{}", r"invalid escape sequence: `\x{}`"),
        (r"\x{110000}a", r"invalid escape sequence: `\x{110000`"),
        (r"\x4g", r"invalid escape sequence: `\x4g`"),
        (r"a\", "trailing backslash at end of expression: ``"),
        (r"[a\", "trailing backslash at end of expression: ``"),
        ("x[b-a]", "invalid character class range: `b-a`"),
        (r"x[\x62-\141]", r"invalid character class range: `\x62-\141`"),
        ("[a[:nothing:]]", "invalid character class range: `[:nothing:]`"),
        (r"\pX", r"invalid character class range: `\pX`"),
        (r"a\p{Nothing}b", r"invalid character class range: `\p{Nothing}`"),
        (r"a\p{Greek", r"invalid character class range: `\p{Greek`"),
        ("(?x)a", "invalid or unsupported Perl syntax: `(?x`"),
        ("(?=a)", "invalid or unsupported Perl syntax: `(?=`"),
        ("(?i-:a)", "invalid or unsupported Perl syntax: `(?i-:`"),
        ("(?i-s-m:a)", "invalid or unsupported Perl syntax: `(?i-s-`"),
        ("(?i", "invalid or unsupported Perl syntax: `(?i`"),
        ("(?P<a", "invalid named capture: `(?P<a`"),
        ("(?P<a.b>c)", "invalid named capture: `(?P<a.b>`"),
        ("(?<>c)", "invalid named capture: `(?<>`"),
        ("(?P<", "invalid or unsupported Perl syntax: `(?P`"),
        ("a{1001}", "invalid repeat count: `{1001}`"),
        ("a{2,1}", "invalid repeat count: `{2,1}`"),
        ("a{1,99999999999}b", "invalid repeat count: `{1,99999999999}`"),
    ] {
        assert_eq!(LabelRegex::new(pattern).unwrap_err().to_string(), format!("error parsing regexp: {error}"));
    }
    for plain in [
        "a{01}",
        "a{,2}",
        "a{1",
        "a{1,02}",
        "(?)a",
        "(?:a)",
        "(?i-s)a",
        "^*a$",
        r"\Qa)\E*",
        "[[:a]",
        "]",
        "}",
        "(?P<a>b)(?<a>c)",
        "(?P<1>a)",
    ] {
        assert!(LabelRegex::new(plain).is_ok(), "{plain}");
    }
}

#[test]
fn brackets_without_end_take_no_time() {
    for piece in ["[[:a", "{", "[", "{1,", "(?P<", r"\p{", r"\Q"] {
        let _ = LabelRegex::new(&piece.repeat(60_000 / piece.len()));
    }
}

#[test]
fn size_is_bounded() {
    assert!(LabelRegex::new("((a{1,900}b){1,900}){1,900}").is_err());
    assert!(LabelRegex::new(&format!("{}.*", "a".repeat(100_000))).is_err());
    assert!(LabelRegex::new(&"(".repeat(60_000)).is_err());
    let quoted = LabelRegex::new(&format!("({}", "é".repeat(1000))).unwrap_err().to_string();
    assert!(quoted.chars().count() < 300 && quoted.contains("missing closing )"), "{quoted}");
    let many: Vec<String> = (0..20_000).map(|i| format!(r"pod-{i}\.x")).collect();
    assert_eq!(new(&many.join("|")).literals().unwrap().len(), 20_000);
}
