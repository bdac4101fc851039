//! The text format that Prometheus scrapes (0.0.4): what a client wants of names, and the lines.

use std::borrow::Cow;

use marigram_query::number::go_g;

/// What is done to names that are not plain, which older readers do not take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Escaping {
    /// They are written between quotes.
    AllowUtf8,
    /// Whatever is not plain becomes `_`.
    Underscores,
    /// `.` becomes `_dot_`, `_` becomes `__`.
    Dots,
    /// `U__`, and `_hex_` for what is not plain: can be undone.
    Values,
}

impl Escaping {
    const ALL: [Escaping; 4] = [Escaping::AllowUtf8, Escaping::Underscores, Escaping::Dots, Escaping::Values];

    /// Its name in headers.
    pub fn as_str(self) -> &'static str {
        match self {
            Escaping::AllowUtf8 => "allow-utf-8",
            Escaping::Underscores => "underscores",
            Escaping::Dots => "dots",
            Escaping::Values => "values",
        }
    }

    /// What the header `Accept` asks for: its preferred clauses are looked at up to the one that takes the text format, and
    /// the last escaping among them counts.
    pub fn negotiate(accept: &str) -> Self {
        let mut escaping = Escaping::Underscores;
        for clause in clauses(accept) {
            if let Some(known) = Escaping::ALL.into_iter().find(|known| clause.parameter("escaping") == known.as_str())
            {
                escaping = known;
            }
            if clause.media_type == "text/plain" && matches!(clause.parameter("version"), "" | "0.0.4") {
                break;
            }
        }
        escaping
    }

    /// The content type of a text that is written so.
    pub fn content_type(self) -> String {
        format!("text/plain; version=0.0.4; charset=utf-8; escaping={}", self.as_str())
    }

    /// A name as it is written, before quotes.
    pub fn apply(self, name: &str) -> Cow<'_, str> {
        if self == Escaping::AllowUtf8 || is_plain(name) {
            return Cow::Borrowed(name);
        }
        let mut out = String::with_capacity(name.len() + 8);
        if self == Escaping::Values {
            out.push_str("U__");
        }
        for (at, letter) in name.char_indices() {
            let plain = is_plain_letter(letter, at == 0);
            match (self, letter) {
                (Escaping::Dots | Escaping::Values, '_') => out.push_str("__"),
                (Escaping::Dots, '.') => out.push_str("_dot_"),
                _ if plain => out.push(letter),
                (Escaping::Dots, _) => out.push_str("__"),
                (Escaping::Values, _) => out.push_str(&format!("_{:x}_", u32::from(letter))),
                (Escaping::Underscores | Escaping::AllowUtf8, _) => out.push('_'),
            }
        }
        Cow::Owned(out)
    }
}

/// A part of the header `Accept`.
struct Clause<'a> {
    media_type: &'a str,
    parameters: Vec<(&'a str, &'a str)>,
    quality: f64,
}

impl<'a> Clause<'a> {
    /// The value of a parameter; empty where it is absent.
    fn parameter(&self, name: &str) -> &'a str {
        self.parameters.iter().find(|(known, _)| *known == name).map_or("", |(_, value)| value)
    }
}

/// The clauses of a header `Accept`, preferred ones first.
fn clauses(accept: &str) -> Vec<Clause<'_>> {
    let mut out: Vec<Clause<'_>> = accept
        .split(',')
        .map(|text| {
            let (media_type, rest) = text.split_once(';').unwrap_or((text, ""));
            let pairs = rest.split(';').filter_map(|pair| pair.split_once('='));
            let parameters: Vec<_> = pairs.map(|(name, value)| (name.trim(), value.trim().trim_matches('"'))).collect();
            let quality = parameters.iter().find(|(name, _)| *name == "q").and_then(|(_, value)| value.parse().ok());
            Clause { media_type: media_type.trim(), parameters, quality: quality.unwrap_or(1.0) }
        })
        .collect();
    out.sort_by(|a, b| b.quality.total_cmp(&a.quality));
    out
}

/// Whether a name needs neither escaping nor quotes.
pub fn is_plain(name: &str) -> bool {
    !name.is_empty() && name.char_indices().all(|(at, letter)| is_plain_letter(letter, at == 0))
}

fn is_plain_letter(letter: char, first: bool) -> bool {
    letter.is_ascii_alphabetic() || matches!(letter, '_' | ':') || (letter.is_ascii_digit() && !first)
}

/// Writes the line that begins a family of no known type.
pub fn write_untyped(out: &mut String, name: &str) {
    out.push_str("# TYPE ");
    write_name(out, name);
    out.push_str(" untyped\n");
}

/// Writes the line of a sample; names are escaped already.
pub fn write_sample<'a>(
    out: &mut String,
    name: &str,
    labels: impl Iterator<Item = (Cow<'a, str>, &'a str)>,
    value: f64,
    time_ms: i64,
) {
    let named_inside = !is_plain(name);
    let mut separator = '{';
    if named_inside {
        out.push(separator);
        separator = ',';
    }
    write_name(out, name);
    for (label, value) in labels {
        out.push(separator);
        separator = ',';
        write_name(out, &label);
        out.push_str("=\"");
        write_escaped(out, value);
        out.push('"');
    }
    if separator == ',' {
        out.push('}');
    }
    out.push(' ');
    out.push_str(&go_g(value));
    out.push_str(&format!(" {time_ms}\n"));
}

fn write_name(out: &mut String, name: &str) {
    if is_plain(name) {
        return out.push_str(name);
    }
    out.push('"');
    write_escaped(out, name);
    out.push('"');
}

fn write_escaped(out: &mut String, text: &str) {
    for letter in text.chars() {
        match letter {
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '"' => out.push_str("\\\""),
            letter => out.push(letter),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escaping_is_negotiated_as_prometheus_does() {
        let three = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,\
                     application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,\
                     text/plain;version=0.0.4;q=0.3,*/*;q=0.2";
        assert_eq!(Escaping::negotiate(three), Escaping::AllowUtf8);
        let two = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
        for accept in [two, "", "*/*", "text/plain, text/plain;escaping=values;q=0.5", "text/plain;escaping=other"] {
            assert_eq!(Escaping::negotiate(accept), Escaping::Underscores, "{accept}");
        }
        assert_eq!(Escaping::negotiate("text/plain;escaping=dots"), Escaping::Dots);
        assert_eq!(Escaping::negotiate("*/*;q=0.1, text/plain; escaping=\"values\""), Escaping::Values);
        assert_eq!(Escaping::Values.content_type(), "text/plain; version=0.0.4; charset=utf-8; escaping=values");
    }

    #[test]
    fn names_are_escaped_in_four_ways() {
        let cases = [
            ("http_requests:rate5m", ["http_requests:rate5m"; 4]),
            (
                "http.status_code",
                ["http.status_code", "http_status_code", "http_dot_status__code", "U__http_2e_status__code"],
            ),
            ("1é", ["1é", "__", "____", "U___31__e9_"]),
        ];
        for (name, expected) in cases {
            assert_eq!(Escaping::ALL.map(|escaping| escaping.apply(name).into_owned()), expected);
        }
    }

    #[test]
    fn lines() {
        let line = |name: &str, labels: &[(&'static str, &'static str)], value| {
            let mut out = String::new();
            let labels = labels.iter().map(|(name, value)| (Cow::Borrowed(*name), *value));
            write_sample(&mut out, name, labels, value, 1000);
            out
        };
        assert_eq!(line("up", &[], 1.0), "up 1 1000\n");
        assert_eq!(
            line("up", &[("a", "x\"\\\n"), ("b.c", "")], 1e6),
            "up{a=\"x\\\"\\\\\\n\",\"b.c\"=\"\"} 1e+06 1000\n"
        );
        assert_eq!(line("a b", &[], f64::NEG_INFINITY), "{\"a b\"} -Inf 1000\n");
        assert_eq!(line("a b", &[("c", "d")], f64::NAN), "{\"a b\",c=\"d\"} NaN 1000\n");
        let mut out = String::new();
        write_untyped(&mut out, "a b");
        assert_eq!(out, "# TYPE \"a b\" untyped\n");
    }
}
