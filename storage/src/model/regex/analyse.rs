//! What a pattern means, as far as an index can use it.

use regex_syntax::ast::ErrorKind;
use regex_syntax::hir::{Class, Dot, Hir, HirKind, Look};

/// More texts than this are not listed, unless they stand in the pattern as plain alternatives.
const LITERALS_MAX: usize = 1000;
/// Limit of all listed texts together.
const LITERALS_BYTES_MAX: usize = 1 << 20;

/// What a pattern comes down to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// Any text.
    Everything,
    /// Any text but the empty one.
    NonEmpty,
    /// One of these texts.
    Literals(Vec<String>),
    /// This text, then anything of at least so many characters (0 or 1).
    Prefix(String, usize),
    /// One of these texts, or what begins with one of these.
    Alternatives(Vec<String>, Vec<(String, usize)>),
    /// Something else that begins with this text (which may be empty).
    Other(String),
}

/// The alternatives of a pattern like `a|b\.c|d` that is nothing but plain texts; one pass, for the long lists that
/// dashboards make.
pub(super) fn plain_alternatives(pattern: &str) -> Option<Vec<String>> {
    let mut literals = vec![String::new()];
    let mut chars = pattern.chars();
    while let Some(c) = chars.next() {
        let last = literals.last_mut()?;
        match c {
            '|' => literals.push(String::new()),
            '\\' => match chars.next()? {
                escaped if escaped.is_ascii_punctuation() => last.push(escaped),
                _ => return None,
            },
            '.' | '+' | '*' | '?' | '(' | ')' | '[' | ']' | '{' | '}' | '^' | '$' => return None,
            plain => last.push(plain),
        }
    }
    Some(literals)
}

/// Finds the shape of a pattern in the regex crate's dialect.
pub(super) fn shape(pattern: &str) -> Result<Shape, String> {
    let hir = regex_syntax::Parser::new().parse(pattern).map_err(|error| match error {
        regex_syntax::Error::Parse(e) => match e.kind() {
            ErrorKind::NestLimitExceeded(_) => "expression nests too deeply".to_owned(),
            kind => kind.to_string(),
        },
        regex_syntax::Error::Translate(e) => e.kind().to_string(),
        other => other.to_string(),
    })?;
    let parts = parts(&hir);
    if let [only] = parts.as_slice()
        && let HirKind::Alternation(alternatives) = uncaptured(only).kind()
        && literals(only).is_none()
    {
        return Ok(shape_of_alternatives(alternatives));
    }
    Ok(shape_of_parts(&parts))
}

/// The shape of the alternatives that a whole pattern consists of.
fn shape_of_alternatives(alternatives: &[Hir]) -> Shape {
    let (mut literals, mut prefixes) = (Vec::new(), Vec::new());
    for alternative in alternatives {
        match shape_of_parts(&parts(alternative)) {
            Shape::Literals(more) => literals.extend(more),
            Shape::Prefix(prefix, rest) => prefixes.push((prefix, rest)),
            _ => return Shape::Other(String::new()),
        }
    }
    match check_size(&literals) {
        Some(()) => Shape::Alternatives(literals, prefixes),
        None => Shape::Other(String::new()),
    }
}

/// The shape of a concatenation.
fn shape_of_parts(parts: &[&Hir]) -> Shape {
    if let [only] = parts
        && let Some(rest) = anything(only)
    {
        return if rest == 0 { Shape::Everything } else { Shape::NonEmpty };
    }
    if let Some(literals) = literals_of_all(parts) {
        return Shape::Literals(literals);
    }
    let Some((HirKind::Literal(first), rest)) = parts.split_first().map(|(f, r)| (uncaptured(f).kind(), r)) else {
        return Shape::Other(String::new());
    };
    let Ok(prefix) = String::from_utf8(first.0.to_vec()) else {
        return Shape::Other(String::new());
    };
    match rest {
        [only] => match anything(only) {
            Some(length) => Shape::Prefix(prefix, length),
            None => Shape::Other(prefix),
        },
        _ => Shape::Other(prefix),
    }
}

/// The parts of a concatenation, without anchors at its ends: the whole is anchored anyway.
fn parts(hir: &Hir) -> Vec<&Hir> {
    let mut parts = match uncaptured(hir).kind() {
        HirKind::Concat(parts) => parts.iter().collect(),
        _ => vec![hir],
    };
    while parts.first().is_some_and(|p| matches!(p.kind(), HirKind::Look(Look::Start))) {
        parts.remove(0);
    }
    while parts.last().is_some_and(|p| matches!(p.kind(), HirKind::Look(Look::End))) {
        parts.pop();
    }
    parts
}

fn uncaptured(mut hir: &Hir) -> &Hir {
    while let HirKind::Capture(capture) = hir.kind() {
        hir = &capture.sub;
    }
    hir
}

/// `.*` gives 0 and `.+` gives 1, where the dot matches a newline too.
fn anything(hir: &Hir) -> Option<usize> {
    match uncaptured(hir).kind() {
        HirKind::Repetition(repetition) if repetition.max.is_none() && repetition.min <= 1 => {
            let any = *uncaptured(&repetition.sub) == Hir::dot(Dot::AnyChar);
            any.then_some(repetition.min as usize)
        }
        _ => None,
    }
}

/// All texts that a concatenation of `parts` matches.
fn literals_of_all(parts: &[&Hir]) -> Option<Vec<String>> {
    let mut all = vec![String::new()];
    for part in parts {
        all = product(&all, &literals(part)?)?;
    }
    Some(all)
}

/// All texts that `hir` matches, if they are few. The depth is bounded by the parser's limit of nesting.
fn literals(hir: &Hir) -> Option<Vec<String>> {
    match hir.kind() {
        HirKind::Empty => Some(vec![String::new()]),
        HirKind::Literal(literal) => Some(vec![String::from_utf8(literal.0.to_vec()).ok()?]),
        HirKind::Class(class) => class_members(class),
        HirKind::Capture(capture) => literals(&capture.sub),
        HirKind::Concat(parts) => literals_of_all(&parts.iter().collect::<Vec<_>>()),
        HirKind::Alternation(parts) => {
            let mut all = Vec::new();
            for part in parts {
                all.extend(literals(part)?);
                check_size(&all)?;
            }
            Some(all)
        }
        HirKind::Repetition(repetition) if repetition.min == 0 && repetition.max == Some(1) => {
            let mut all = literals(&repetition.sub)?;
            all.push(String::new());
            Some(all)
        }
        HirKind::Repetition(_) | HirKind::Look(_) => None,
    }
}

fn class_members(class: &Class) -> Option<Vec<String>> {
    match class {
        Class::Unicode(class) => {
            let count: usize = class.ranges().iter().map(|r| r.len()).sum();
            let members = || class.ranges().iter().flat_map(|r| r.start()..=r.end()).map(String::from);
            (count <= LITERALS_MAX).then(|| members().collect())
        }
        Class::Bytes(class) => {
            let ascii = class.ranges().iter().all(|r| r.end().is_ascii());
            let members = || class.ranges().iter().flat_map(|r| r.start()..=r.end()).map(|b| char::from(b).to_string());
            ascii.then(|| members().collect())
        }
    }
}

fn product(left: &[String], right: &[String]) -> Option<Vec<String>> {
    if left.len().saturating_mul(right.len()) > LITERALS_MAX {
        return None;
    }
    let mut all = Vec::with_capacity(left.len() * right.len());
    for head in left {
        for tail in right {
            all.push(format!("{head}{tail}"));
        }
    }
    check_size(&all)?;
    Some(all)
}

fn check_size(texts: &[String]) -> Option<()> {
    let bytes: usize = texts.iter().map(String::len).sum();
    (texts.len() <= LITERALS_MAX && bytes <= LITERALS_BYTES_MAX).then_some(())
}
