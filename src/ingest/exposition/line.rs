//! One line of the text formats.

use std::ops::Range;

use crate::ingest::RAW_LABELS_MAX;

/// What a line is; a sample's parts are in the [`SampleLine`] that was handed in.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Line<'a> {
    /// Nothing, or a comment.
    Blank,
    /// `# EOF` of OpenMetrics.
    End,
    /// `# TYPE`, `# HELP` or `# UNIT`.
    Metadata(MetadataLine<'a>),
    /// A sample.
    Sample,
}

/// A line about a family.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct MetadataLine<'a> {
    pub(crate) kind: MetadataLineKind,
    pub(crate) family: Vec<u8>,
    pub(crate) text: &'a [u8],
}

/// What a metadata line tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MetadataLineKind {
    Type,
    Help,
    Unit,
}

/// The parts of a sample line; its memory is used again for the next line.
#[derive(Debug, Default)]
pub(crate) struct SampleLine {
    text: Vec<u8>,
    pairs: Vec<(Range<usize>, Range<usize>)>,
    pub(crate) value: f64,
    pub(crate) timestamp_ms: Option<i64>,
    pub(crate) has_exemplar: bool,
}

/// The NaN of exporters, as Prometheus stores it.
const NORMAL_NAN_BITS: u64 = 0x7ff8_0000_0000_0001;

/// Why a line is refused.
pub(crate) type Fault = &'static str;

impl SampleLine {
    /// The labels, the metric's name among them.
    pub(crate) fn labels(&self) -> Vec<(&[u8], &[u8])> {
        let part = |range: &Range<usize>| self.text.get(range.clone()).unwrap_or_default();
        self.pairs.iter().map(|(name, value)| (part(name), part(value))).collect()
    }

    /// Adds labels from outside; the line's own of that name are renamed.
    pub(crate) fn add_labels(&mut self, extra: &[(&str, &str)]) {
        for (name, value) in extra {
            for at in 0..self.pairs.len() {
                let same =
                    self.pairs.get(at).is_some_and(|(own, _)| self.text.get(own.clone()) == Some(name.as_bytes()));
                if same {
                    let renamed = self.push_text(format!("exported_{name}").as_bytes());
                    self.pairs[at].0 = renamed;
                }
            }
            let name = self.push_text(name.as_bytes());
            let value = self.push_text(value.as_bytes());
            self.pairs.push((name, value));
        }
    }

    fn clear(&mut self) {
        self.text.clear();
        self.pairs.clear();
        self.timestamp_ms = None;
        self.has_exemplar = false;
    }

    fn push_text(&mut self, text: &[u8]) -> Range<usize> {
        let from = self.text.len();
        self.text.extend_from_slice(text);
        from..self.text.len()
    }

    fn push_name(&mut self, name: &[u8]) {
        let label = self.push_text(b"__name__");
        let name = self.push_text(name);
        self.pairs.push((label, name));
    }
}

/// Reads a line without its line feed.
pub(crate) fn read<'a>(line: &'a [u8], openmetrics: bool, sample: &mut SampleLine) -> Result<Line<'a>, Fault> {
    let mut rest = trim_start(line);
    match rest.first() {
        None => Ok(Line::Blank),
        Some(b'#') => read_comment(&rest[1..], openmetrics),
        Some(_) => {
            sample.clear();
            read_sample(&mut rest, openmetrics, sample)?;
            Ok(Line::Sample)
        }
    }
}

fn read_comment(rest: &[u8], openmetrics: bool) -> Result<Line<'_>, Fault> {
    let mut rest = trim_start(rest);
    if openmetrics && trim_end(rest) == b"EOF" {
        return Ok(Line::End);
    }
    let (word, after) = split_word(rest);
    let kind = match word {
        b"TYPE" => MetadataLineKind::Type,
        b"HELP" => MetadataLineKind::Help,
        b"UNIT" => MetadataLineKind::Unit,
        _ => return Ok(Line::Blank),
    };
    rest = trim_start(after);
    let mut family = Vec::new();
    if rest.first() == Some(&b'"') {
        read_quoted(&mut rest, &mut family)?;
    } else {
        let (name, after) = split_word(rest);
        family.extend_from_slice(name);
        rest = after;
    }
    if family.is_empty() {
        return Err("a metadata line without a metric name");
    }
    let text = trim_start(rest);
    Ok(Line::Metadata(MetadataLine { kind, family, text }))
}

fn read_sample(rest: &mut &[u8], openmetrics: bool, sample: &mut SampleLine) -> Result<(), Fault> {
    let name = take_while(rest, is_name_byte);
    if name.first().is_some_and(u8::is_ascii_digit) {
        return Err("a metric name begins with a digit");
    }
    if !name.is_empty() {
        sample.push_name(name);
    }
    if !name.is_empty() && rest.first().is_some_and(|byte| !is_blank(*byte) && *byte != b'{') {
        return Err("unexpected character in a metric name");
    }
    *rest = trim_start(rest);
    if let Some(after) = rest.strip_prefix(b"{") {
        *rest = after;
        read_labels(rest, sample)?;
    } else if name.is_empty() {
        return Err("expected a metric name or '{'");
    }
    *rest = trim_start(rest);
    sample.value = read_value(rest)?;
    *rest = trim_start(rest);
    if !matches!(rest.first(), None | Some(b'#')) {
        let word = take_while(rest, |byte| !is_blank(byte));
        sample.timestamp_ms = Some(read_timestamp(word, openmetrics)?);
        *rest = trim_start(rest);
    }
    match rest.first() {
        None => Ok(()),
        Some(b'#') if openmetrics => {
            sample.has_exemplar = true;
            Ok(())
        }
        Some(_) => Err("unexpected text behind the sample"),
    }
}

fn read_labels(rest: &mut &[u8], sample: &mut SampleLine) -> Result<(), Fault> {
    loop {
        if sample.pairs.len() > RAW_LABELS_MAX {
            return Err("too many labels");
        }
        *rest = trim_start(rest);
        match rest.first() {
            Some(b'}') => {
                *rest = &rest[1..];
                return Ok(());
            }
            Some(b'"') => read_quoted_label(rest, sample)?,
            Some(_) => read_plain_label(rest, sample)?,
            None => return Err("the labels are not closed by '}'"),
        }
        *rest = trim_start(rest);
        match rest.first() {
            Some(b',') => *rest = &rest[1..],
            Some(b'}') => {}
            _ => return Err("expected ',' or '}' behind a label"),
        }
    }
}

fn read_plain_label(rest: &mut &[u8], sample: &mut SampleLine) -> Result<(), Fault> {
    let name = take_while(rest, |byte| is_name_byte(byte) && byte != b':');
    if name.is_empty() || name.first().is_some_and(u8::is_ascii_digit) {
        return Err("expected a label name");
    }
    let name = sample.push_text(name);
    read_label_value(rest, name, sample)
}

/// `"label"="value"`, or `"metric name"` alone.
fn read_quoted_label(rest: &mut &[u8], sample: &mut SampleLine) -> Result<(), Fault> {
    let from = sample.text.len();
    read_quoted(rest, &mut sample.text)?;
    let name = from..sample.text.len();
    *rest = trim_start(rest);
    if rest.first() == Some(&b'=') {
        return read_label_value(rest, name, sample);
    }
    let label = sample.push_text(b"__name__");
    sample.pairs.push((label, name));
    Ok(())
}

fn read_label_value(rest: &mut &[u8], name: Range<usize>, sample: &mut SampleLine) -> Result<(), Fault> {
    *rest = trim_start(rest).strip_prefix(b"=").ok_or("expected '=' behind a label name")?;
    *rest = trim_start(rest);
    let from = sample.text.len();
    read_quoted(rest, &mut sample.text)?;
    sample.pairs.push((name, from..sample.text.len()));
    Ok(())
}

/// Reads a quoted text with its escapes `\\`, `\"` and `\n` to the end of `out`.
fn read_quoted(rest: &mut &[u8], out: &mut Vec<u8>) -> Result<(), Fault> {
    *rest = rest.strip_prefix(b"\"").ok_or("expected a quoted text")?;
    loop {
        let plain = take_while(rest, |byte| byte != b'"' && byte != b'\\');
        out.extend_from_slice(plain);
        match *rest {
            [b'"', after @ ..] => {
                *rest = after;
                return Ok(());
            }
            [b'\\', b'n', after @ ..] => {
                out.push(b'\n');
                *rest = after;
            }
            [b'\\', escaped @ (b'\\' | b'"'), after @ ..] => {
                out.push(*escaped);
                *rest = after;
            }
            [b'\\', other, after @ ..] => {
                // Prometheus keeps the backslash of an escape that it does not know.
                out.extend_from_slice(&[b'\\', *other]);
                *rest = after;
            }
            _ => return Err("a quoted text is not closed"),
        }
    }
}

fn read_value(rest: &mut &[u8]) -> Result<f64, Fault> {
    let word = take_while(rest, |byte| !is_blank(byte));
    let text = std::str::from_utf8(word).map_err(|_| "the value is not a number")?;
    let fault = |_| if text.is_empty() { "the value is missing" } else { "the value is not a number" };
    let value: f64 = text.parse().map_err(fault)?;
    // A text has no NaN but one: the bits that Prometheus gives it, so that it is never taken for a staleness marker.
    Ok(if value.is_nan() { f64::from_bits(NORMAL_NAN_BITS) } else { value })
}

fn read_timestamp(word: &[u8], openmetrics: bool) -> Result<i64, Fault> {
    let text = std::str::from_utf8(word).map_err(|_| "the timestamp is not a number")?;
    if !openmetrics {
        return text.parse().map_err(|_| "the timestamp is not a whole number of milliseconds");
    }
    let seconds: f64 = text.parse().map_err(|_| "the timestamp is not a number")?;
    let timestamp_ms = (seconds * 1000.0).round();
    // Beyond 2^63 the conversion would saturate and put the sample somewhere else.
    if timestamp_ms.is_finite() && timestamp_ms.abs() < 9.2e18 {
        Ok(timestamp_ms as i64)
    } else {
        Err("the timestamp is out of range")
    }
}

/// `\\` and `\n` of HELP texts.
pub(crate) fn unescape_help(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&byte, after)) = rest.split_first() {
        rest = match (byte, after.first()) {
            (b'\\', Some(b'n')) => {
                out.push(b'\n');
                &after[1..]
            }
            (b'\\', Some(escaped @ (b'\\' | b'"'))) => {
                out.push(*escaped);
                &after[1..]
            }
            _ => {
                out.push(byte);
                after
            }
        };
    }
    out
}

fn is_blank(byte: u8) -> bool {
    byte == b' ' || byte == b'\t'
}

fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte == b':'
}

fn trim_start(mut bytes: &[u8]) -> &[u8] {
    while let [first, rest @ ..] = bytes
        && is_blank(*first)
    {
        bytes = rest;
    }
    bytes
}

fn trim_end(mut bytes: &[u8]) -> &[u8] {
    while let [rest @ .., last] = bytes
        && is_blank(*last)
    {
        bytes = rest;
    }
    bytes
}

fn split_word(bytes: &[u8]) -> (&[u8], &[u8]) {
    let end = bytes.iter().position(|byte| is_blank(*byte)).unwrap_or(bytes.len());
    bytes.split_at(end)
}

fn take_while<'a>(rest: &mut &'a [u8], keep: impl Fn(u8) -> bool) -> &'a [u8] {
    let end = rest.iter().position(|byte| !keep(*byte)).unwrap_or(rest.len());
    let (taken, after) = rest.split_at(end);
    *rest = after;
    taken
}
