//! Series descriptions of the test language: a series and its points, `up{job="a"} 1+2x3 _ stale`.
//!
//! 1. The series: a name, labels between braces, or both.
//! 2. The points, separated by blanks: a number, `_` (none), `stale`, each with its repetition; `a+bxN` and `a-bxN` are
//!    summed up step by step, as floats do. So are histogram literals, `{{count:1}}+{{count:2}}x3`.

use std::sync::Arc;

use marigram_storage::model::histogram::Histogram;
use marigram_storage::model::labels::{Labels, LabelsBuilder, METRIC_NAME};
use marigram_storage::model::sample::stale_nan;

use super::duration::parse_duration;
use super::histogram_literal::{self, Literal};
use super::number::{self, Scanned};
use super::strings::{quote, read_quoted};

/// More points than that in one description are refused.
pub const MAX_POINTS: usize = 1_000_000;

/// A point of a description.
#[derive(Clone, Debug)]
pub enum Point {
    /// No sample here.
    Missing,
    /// A float, or the staleness marker.
    Float(f64),
    /// A native histogram.
    Histogram(HistogramPoint),
}

/// A native histogram as a description gives it.
#[derive(Clone, Debug)]
pub struct HistogramPoint {
    /// The histogram.
    pub histogram: Arc<Histogram>,
    /// Whether the description says what the reset hint is.
    pub names_hint: bool,
}

/// A series and its points.
#[derive(Clone, Debug)]
pub struct SeriesDescription {
    /// Its labels; a result of a query may lack the name.
    pub labels: Labels,
    /// Its points.
    pub points: Vec<Point>,
}

/// Reads `name{l="v"} 1 2 3`.
///
/// # Errors
/// Says what is wrong, with the place in bytes.
pub fn parse_series(text: &str) -> Result<SeriesDescription, String> {
    let mut cursor = Cursor { text, at: 0 };
    let labels = cursor.labels()?;
    let mut points = Vec::new();
    loop {
        cursor.skip_blanks();
        if cursor.rest().is_empty() {
            return Ok(SeriesDescription { labels, points });
        }
        cursor.item(&mut points)?;
        if !cursor.rest().is_empty() && !cursor.rest().starts_with([' ', '\t']) {
            return Err(cursor.wrong("a blank behind the point"));
        }
    }
}

/// Reads the labels alone: `name{l="v"}`.
///
/// # Errors
/// Says what is wrong, with the place in bytes.
pub fn parse_labels(text: &str) -> Result<Labels, String> {
    let mut cursor = Cursor { text, at: 0 };
    let labels = cursor.labels()?;
    cursor.skip_blanks();
    if cursor.rest().is_empty() { Ok(labels) } else { Err(cursor.wrong("the end")) }
}

struct Cursor<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Cursor<'a> {
    fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or("")
    }

    fn wrong(&self, expected: &str) -> String {
        format!("series description, byte {}: expected {expected}", self.at)
    }

    fn skip_blanks(&mut self) {
        self.at += self.rest().len() - self.rest().trim_start_matches([' ', '\t']).len();
    }

    fn accept(&mut self, wanted: &str) -> bool {
        let hit = self.rest().starts_with(wanted);
        if hit {
            self.at += wanted.len();
        }
        hit
    }

    fn take_while(&mut self, wanted: impl Fn(char) -> bool) -> &'a str {
        let rest = self.rest();
        let taken = &rest[..rest.find(|c| !wanted(c)).unwrap_or(rest.len())];
        self.at += taken.len();
        taken
    }

    fn labels(&mut self) -> Result<Labels, String> {
        self.skip_blanks();
        let mut labels = LabelsBuilder::default();
        let word = |c: char| c == '_' || c == ':' || c.is_ascii_alphanumeric();
        let mut named = false;
        if !self.rest().starts_with(|c: char| c.is_ascii_digit()) {
            let name = self.take_while(word);
            labels.set(METRIC_NAME, name);
            named = !name.is_empty();
            self.skip_blanks();
        }
        let histogram = named && self.rest().starts_with("{{");
        if !histogram && self.accept("{") {
            self.braces(&mut labels)?;
        } else if !named {
            return Err(self.wrong("a metric name or \"{\""));
        }
        Ok(labels.build())
    }

    fn braces(&mut self, labels: &mut LabelsBuilder) -> Result<(), String> {
        loop {
            self.skip_blanks();
            if self.accept("}") {
                return Ok(());
            }
            let quoted = self.rest().starts_with(['"', '\'', '`']);
            let name = if quoted {
                self.string()?
            } else {
                self.take_while(|c| c == '_' || c.is_ascii_alphanumeric()).to_owned()
            };
            self.skip_blanks();
            if self.accept("=") {
                self.skip_blanks();
                let value = self.string()?;
                labels.set(&name, &value);
            } else if quoted {
                labels.set(METRIC_NAME, &name);
            } else {
                return Err(self.wrong("a label and \"=\""));
            }
            self.skip_blanks();
            if !self.accept(",") && !self.rest().starts_with('}') {
                return Err(self.wrong("\",\" or \"}\""));
            }
        }
    }

    fn string(&mut self) -> Result<String, String> {
        let quoted = read_quoted(self.text, self.at)?;
        self.at = quoted.end;
        String::from_utf8(quoted.bytes).map_err(|_| self.wrong("a string that is UTF-8"))
    }

    fn item(&mut self, points: &mut Vec<Point>) -> Result<(), String> {
        if self.accept("{{") {
            return self.histogram(points);
        }
        if self.accept("_") {
            let count = if self.accept("x") { self.count()? } else { 1 };
            return self.push(points, count, || Point::Missing);
        }
        let start = self.at;
        let mut value = self.number()?;
        let Some(mut value_now) = value.take() else {
            self.at = start;
            if self.accept("stale") {
                return self.push(points, 1, || Point::Float(stale_nan()));
            }
            return Err(self.wrong("a number, \"_\", \"stale\" or \"{{\""));
        };
        let step = if self.rest().starts_with(['+', '-']) {
            match self.unsigned_after_sign()? {
                Some(step) => step,
                None => return Err(self.wrong("a number behind the sign")),
            }
        } else if self.rest().starts_with('x') {
            0.0
        } else {
            return self.push(points, 1, || Point::Float(value_now));
        };
        if !self.accept("x") {
            return Err(self.wrong("\"x\" and a count"));
        }
        let more = self.count()?;
        self.push(points, 1, || Point::Float(value_now))?;
        self.push(points, more, || {
            value_now += step;
            Point::Float(value_now)
        })
    }

    fn push(&self, points: &mut Vec<Point>, count: usize, mut point: impl FnMut() -> Point) -> Result<(), String> {
        if count > MAX_POINTS.saturating_sub(points.len()) {
            return Err(self.wrong(&format!("at most {MAX_POINTS} points")));
        }
        points.extend(std::iter::repeat_with(&mut point).take(count));
        Ok(())
    }

    fn count(&mut self) -> Result<usize, String> {
        let digits = self.take_while(|c| c.is_ascii_digit());
        digits.parse().map_err(|_| self.wrong("a count behind \"x\""))
    }

    /// A number with any sign; `None` (and nothing taken) where none stands.
    fn number(&mut self) -> Result<Option<f64>, String> {
        let sign = if self.rest().starts_with(['+', '-']) { 1 } else { 0 };
        let unsigned = self.rest().get(sign..).unwrap_or("");
        let length = if unsigned.starts_with(|c: char| c.is_ascii_digit() || c == '.') {
            match number::scan(unsigned, true) {
                Scanned::Number(length) => length,
                _ => return Err(self.wrong("a number")),
            }
        } else {
            // A word is taken whole: `Infx3` is no number.
            let word = unsigned.find(|c: char| c != '_' && !c.is_ascii_alphanumeric()).unwrap_or(unsigned.len());
            if !["inf", "nan"].iter().any(|name| unsigned[..word].eq_ignore_ascii_case(name)) {
                return Ok(None);
            }
            word
        };
        let literal = &self.rest()[..sign + length];
        let value = number::value(literal).ok_or_else(|| format!("{} is out of range", quote(literal)))?;
        self.at += literal.len();
        Ok(Some(value))
    }

    /// The second number of `a+b`: exactly one sign.
    fn unsigned_after_sign(&mut self) -> Result<Option<f64>, String> {
        if self.rest().get(1..).is_some_and(|rest| rest.starts_with(['+', '-'])) {
            return Ok(None);
        }
        self.number()
    }

    /// Behind `{{`: `…}}`, `…}}xN`, `…}}+{{…}}xN`.
    fn histogram(&mut self, points: &mut Vec<Point>) -> Result<(), String> {
        let first = self.histogram_literal()?;
        let subtracts = match self.rest().as_bytes() {
            [b'+', b'{', b'{', ..] => Some(false),
            [b'-', b'{', b'{', ..] => Some(true),
            _ => None,
        };
        let Some(subtracts) = subtracts else {
            let more = if self.accept("x") { self.count()? } else { 0 };
            let point = HistogramPoint { histogram: Arc::new(first.histogram), names_hint: first.names_hint };
            return self.push(points, more.saturating_add(1), || Point::Histogram(point.clone()));
        };
        self.at += 3;
        let step = self.histogram_literal()?;
        if !self.accept("x") {
            return Err(self.wrong("\"x\" and a count"));
        }
        let more = self.count()?;
        let names_hint = step.names_hint;
        let mut histogram = Arc::new(first.histogram);
        self.push(points, 1, || Point::Histogram(HistogramPoint { histogram: Arc::clone(&histogram), names_hint }))?;
        if more > MAX_POINTS.saturating_sub(points.len()) {
            return Err(self.wrong(&format!("at most {MAX_POINTS} points")));
        }
        for _ in 0..more {
            histogram = Arc::new(histogram_literal::combined(&histogram, &step.histogram, subtracts)?);
            points.push(Point::Histogram(HistogramPoint { histogram: Arc::clone(&histogram), names_hint }));
        }
        Ok(())
    }

    fn histogram_literal(&mut self) -> Result<Literal, String> {
        let length = self.rest().find("}}").ok_or_else(|| self.wrong("\"}}\""))?;
        let literal = histogram_literal::read(&self.rest()[..length])
            .map_err(|reason| format!("series description, byte {}: {reason}", self.at))?;
        self.at += length + 2;
        Ok(literal)
    }
}

/// Reads start timestamps, `_ -1m 0sx3 -1m+1sx2`: offsets in ms from the samples' times, or none.
///
/// # Errors
/// Says which item is wrong.
pub fn parse_start_offsets(text: &str) -> Result<Vec<Option<i64>>, String> {
    let mut offsets = Vec::new();
    for item in text.split([' ', '\t']).filter(|item| !item.is_empty()) {
        let wrong = |reason: &str| format!("start timestamp {item:?}: {reason}");
        let (shape, count) = match item.split_once('x') {
            Some((shape, count)) => (shape, Some(count.parse::<usize>().map_err(|_| wrong("no count"))?)),
            None => (item, None),
        };
        if count.unwrap_or(0) > MAX_POINTS.saturating_sub(offsets.len() + 1) {
            return Err(wrong("too many points"));
        }
        if shape == "_" {
            offsets.extend(std::iter::repeat_n(None, count.unwrap_or(1)));
            continue;
        }
        let after_sign = shape.starts_with(['+', '-']) as usize;
        let second = shape.get(after_sign..).and_then(|rest| rest.find(['+', '-'])).map(|at| at + after_sign);
        let (first, step) = shape.split_at(second.unwrap_or(shape.len()));
        let (mut offset_ms, step_ms) = (
            signed_duration(first).map_err(|e| wrong(&e))?,
            match step {
                "" => 0,
                step => signed_duration(step).map_err(|e| wrong(&e))?,
            },
        );
        if second.is_some() && count.is_none() {
            return Err(wrong("a step without a count"));
        }
        for _ in 0..=count.unwrap_or(0) {
            offsets.push(Some(offset_ms));
            offset_ms = offset_ms.saturating_add(step_ms);
        }
    }
    Ok(offsets)
}

fn signed_duration(text: &str) -> Result<i64, String> {
    match text.strip_prefix('-') {
        Some(rest) => parse_duration(rest).map(|length_ms| -length_ms),
        None => parse_duration(text.strip_prefix('+').unwrap_or(text)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Points as text: `_` missing, `h` histogram, `s` stale.
    fn points(text: &str) -> Result<String, String> {
        let show = |point: &Point| match point {
            Point::Missing => "_".to_owned(),
            Point::Histogram(point) => format!("h{}", point.histogram.sum),
            Point::Float(v) if v.to_bits() == stale_nan().to_bits() => "s".to_owned(),
            Point::Float(v) => v.to_string(),
        };
        parse_series(&format!("m {text}")).map(|s| s.points.iter().map(show).collect::<Vec<_>>().join(" "))
    }

    #[test]
    fn points_expand() {
        assert_eq!(points("5 -3.2 +1 1e3 1_000 Inf -Inf NaN").as_deref(), Ok("5 -3.2 1 1000 1000 inf -inf NaN"));
        assert_eq!(points("_ _x3 stale 7").as_deref(), Ok("_ _ _ _ s 7"));
        assert_eq!(points("2x2 5x0").as_deref(), Ok("2 2 2 5"));
        assert_eq!(points("-2+4x3 1-1x2").as_deref(), Ok("-2 2 6 10 1 0 -1"));
        assert_eq!(points("0x3").as_deref(), Ok("0 0 0 0"));
        assert_eq!(points("0.1+0.1x2").as_deref(), Ok("0.1 0.2 0.30000000000000004"));
        assert_eq!(
            points("{{}} {{schema:1 buckets:[1 2]}}x1 {{}}+{{sum:1}}x2 1").as_deref(),
            Ok("h0 h0 h0 h0 h1 h2 1")
        );
        assert_eq!(points("").as_deref(), Ok(""));
        for bad in [
            "{{sum:1 sum:2}}",
            "{{what:1}}",
            "{{sum}}",
            "{{schema:1.5}}",
            "{{}} {{",
            "{{schema:2}}+{{}}x1",
            "1+1",
            "1--1x2",
            "1-+1x2",
            "stalex3",
            "NaNx3",
            "Infx3",
            "1x",
            "{{",
            "{{}}+{{}}",
            "a",
            "1,2",
            "1x9e9",
        ] {
            assert!(points(bad).is_err(), "{bad}");
        }
        assert!(points("1x99999999999").is_err() && points("1x999999999999999999999").is_err());
    }

    #[test]
    fn start_timestamps_are_offsets() {
        let read = parse_start_offsets;
        assert_eq!(read("_ _x2 -1m 30s"), Ok(vec![None, None, None, Some(-60_000), Some(30_000)]));
        assert_eq!(read("0sx2 -1m+10sx2"), Ok([0, 0, 0, -60_000, -50_000, -40_000].map(Some).to_vec()));
        assert_eq!(read("5s-1sx1"), Ok(vec![Some(5000), Some(4000)]));
        for bad in ["x", "1", "5s+", "5s+1s", "5sx", "_y", "5sx99999999999"] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn series_are_named_in_all_forms() {
        for text in ["m{a=\"x y\"}", "m {a='x y',}", "{__name__=\"m\", a=`x y`}", "{\"m\", \"a\"=\"x y\"}"] {
            assert_eq!(parse_labels(text).unwrap(), Labels::from_pairs([("__name__", "m"), ("a", "x y")]), "{text}");
        }
        assert_eq!(parse_labels("{}").unwrap(), Labels::default());
        for bad in ["", "1m", "m{", "m{a}", "m{a=}", "m{a=\"b\"", "m{a=\"b\" c=\"d\"}", "m x"] {
            assert!(parse_labels(bad).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "[mx_+{}\"=,.0-9 a-]{0,40}|.{0,20}") {
            if let Ok(series) = parse_series(&text) {
                prop_assert!(series.points.len() <= MAX_POINTS);
            }
        }
    }
}
