//! Answers as Prometheus 3 writes them, byte for byte.
//!
//! What looks irregular is so there: label sets are written without HTML escaping, all other texts with it; sample values
//! take an exponent when they are very small or large, scalars never do.

mod result;

use marigram_storage::model::histogram::Histogram;
use marigram_storage::model::labels::Labels;

use crate::histogram;
use crate::number::push_sample_value;
use crate::value::QueryOutput;

pub use result::{begin_value, end_value, row_bytes, rows, write_rows, write_value};

/// Writes the body of an answer to `query` or `query_range`.
pub fn write_query_response(out: &mut Vec<u8>, output: &QueryOutput) {
    let warnings = output.annotations.shown_warnings();
    let infos = output.annotations.shown_infos();
    write_success(out, &warnings, &infos, |out| write_value(out, &output.value));
}

/// Writes the envelope of an answer that succeeded; `data` writes what is in it.
pub fn write_success(out: &mut Vec<u8>, warnings: &[String], infos: &[String], data: impl FnOnce(&mut Vec<u8>)) {
    begin_success(out);
    data(out);
    end_success(out, warnings, infos);
}

/// Begins the envelope of an answer that succeeded: the data is to follow.
pub fn begin_success(out: &mut Vec<u8>) {
    out.extend_from_slice(br#"{"status":"success","data":"#);
}

/// Ends that envelope.
pub fn end_success(out: &mut Vec<u8>, warnings: &[String], infos: &[String]) {
    write_remarks(out, "warnings", warnings);
    write_remarks(out, "infos", infos);
    out.push(b'}');
}

/// Writes the body of an answer that failed.
pub fn write_error(out: &mut Vec<u8>, error_type: &str, message: &str) {
    out.extend_from_slice(br#"{"status":"error","errorType":"#);
    write_text(out, error_type);
    out.extend_from_slice(br#","error":"#);
    write_text(out, message);
    out.push(b'}');
}

/// Writes a list of texts: names or values of labels.
pub fn write_texts<'a>(out: &mut Vec<u8>, texts: impl IntoIterator<Item = &'a str>) {
    write_list(out, texts, write_text);
}

/// Writes a list of label sets: an answer to `series`.
pub fn write_label_sets<'a>(out: &mut Vec<u8>, sets: impl IntoIterator<Item = &'a Labels>) {
    write_list(out, sets, write_labels);
}

/// Writes a histogram: count, sum, and its populated buckets as `[which ends are within, lower, upper, count]`.
pub fn write_histogram(out: &mut Vec<u8>, histogram: &Histogram) {
    out.extend_from_slice(br#"{"count":"#);
    write_number(out, histogram.count);
    out.extend_from_slice(br#","sum":"#);
    write_number(out, histogram.sum);
    let mut buckets = histogram::ascending(histogram);
    buckets.retain(|bucket| bucket.count != 0.0);
    if !buckets.is_empty() {
        out.extend_from_slice(br#","buckets":"#);
        write_list(out, &buckets, |out, bucket| {
            let ends = match (bucket.lower_inclusive, bucket.upper_inclusive) {
                (false, true) => b'0',
                (true, false) => b'1',
                (false, false) => b'2',
                (true, true) => b'3',
            };
            out.extend_from_slice(&[b'[', ends]);
            for number in [bucket.lower, bucket.upper, bucket.count] {
                out.push(b',');
                write_number(out, number);
            }
            out.push(b']');
        });
    }
    out.push(b'}');
}

/// Writes a time as seconds with up to three decimals.
pub fn write_time(out: &mut Vec<u8>, time_ms: i64) {
    if time_ms < 0 {
        out.push(b'-');
    }
    let (seconds, rest) = (time_ms.unsigned_abs() / 1000, time_ms.unsigned_abs() % 1000);
    out.extend_from_slice(itoa::Buffer::new().format(seconds).as_bytes());
    if rest != 0 {
        let digit = |of: u64| b'0' + (of % 10) as u8;
        let decimals = [b'.', digit(rest / 100), digit(rest / 10), digit(rest)];
        let zeros = decimals.iter().rev().take_while(|&&digit| digit == b'0').count();
        out.extend_from_slice(decimals.get(..decimals.len() - zeros).unwrap_or_default());
    }
}

/// Writes a label set as an object.
pub fn write_labels(out: &mut Vec<u8>, labels: &Labels) {
    out.push(b'{');
    for (i, (name, value)) in labels.iter().enumerate() {
        if i > 0 {
            out.push(b',');
        }
        write_label_text(out, name);
        out.push(b':');
        write_label_text(out, value);
    }
    out.push(b'}');
}

/// Writes a text with HTML's special characters escaped.
pub fn write_text(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    push_escaped(out, text, true);
    out.push(b'"');
}

/// Writes bytes as a string. What is not UTF-8 becomes an escaped U+FFFD for each byte, as in Go.
pub fn write_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    out.push(b'"');
    for chunk in bytes.utf8_chunks() {
        push_escaped(out, chunk.valid(), true);
        chunk.invalid().iter().for_each(|_| out.extend_from_slice(b"\\ufffd"));
    }
    out.push(b'"');
}

/// Writes the name or value of a label.
fn write_label_text(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    push_escaped(out, text, false);
    out.push(b'"');
}

fn push_escaped(out: &mut Vec<u8>, text: &str, html: bool) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let bytes = text.as_bytes();
    let mut plain_from = 0;
    for (at, &byte) in bytes.iter().enumerate() {
        let escape: &[u8] = match byte {
            b'"' => b"\\\"",
            b'\\' => b"\\\\",
            b'\n' => b"\\n",
            b'\r' => b"\\r",
            b'\t' => b"\\t",
            0..0x20 => b"",
            b'<' | b'>' | b'&' if html => b"",
            // The two separators that JavaScript took for line ends: E2 80 A8 and E2 80 A9.
            0xa8 | 0xa9 if html && bytes.get(at.wrapping_sub(2)..at) == Some(&[0xe2, 0x80]) => {
                out.extend_from_slice(bytes.get(plain_from..at - 2).unwrap_or(&[]));
                out.extend_from_slice(if byte == 0xa8 { b"\\u2028" } else { b"\\u2029" });
                plain_from = at + 1;
                continue;
            }
            _ => continue,
        };
        out.extend_from_slice(bytes.get(plain_from..at).unwrap_or(&[]));
        plain_from = at + 1;
        if escape.is_empty() {
            out.extend_from_slice(b"\\u00");
            out.push(HEX[usize::from(byte >> 4)]);
            out.push(HEX[usize::from(byte & 0xf)]);
        } else {
            out.extend_from_slice(escape);
        }
    }
    out.extend_from_slice(bytes.get(plain_from..).unwrap_or(&[]));
}

fn write_remarks(out: &mut Vec<u8>, key: &str, remarks: &[String]) {
    if !remarks.is_empty() {
        out.extend_from_slice(format!(",\"{key}\":").as_bytes());
        write_texts(out, remarks.iter().map(String::as_str));
    }
}

/// Writes a number as the text that samples have.
fn write_number(out: &mut Vec<u8>, value: f64) {
    out.push(b'"');
    push_sample_value(out, value);
    out.push(b'"');
}

fn write_pair(out: &mut Vec<u8>, time_ms: i64, second: impl FnOnce(&mut Vec<u8>)) {
    out.push(b'[');
    write_time(out, time_ms);
    out.push(b',');
    second(out);
    out.push(b']');
}

/// Writes a JSON array.
pub(crate) fn write_list<T>(
    out: &mut Vec<u8>,
    items: impl IntoIterator<Item = T>,
    mut write: impl FnMut(&mut Vec<u8>, T),
) {
    out.push(b'[');
    for (i, item) in items.into_iter().enumerate() {
        if i > 0 {
            out.push(b',');
        }
        write(out, item);
    }
    out.push(b']');
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use marigram_storage::model::histogram::{Buckets, HistogramSample};

    use super::*;
    use crate::annotations::Remarks;
    use crate::parse::ast::Span;
    use crate::value::{SampleValue, Series, Value, VectorSample};

    fn written(write: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        write(&mut out);
        String::from_utf8(out).unwrap()
    }

    fn value(value: &Value) -> String {
        written(|out| write_value(out, value))
    }

    #[test]
    fn times() {
        let cases: &[(i64, &str)] = &[
            (0, "0"),
            (1, "0.001"),
            (10, "0.01"),
            (100, "0.1"),
            (120, "0.12"),
            (1000, "1"),
            (1001, "1.001"),
            (1010, "1.01"),
            (1_435_781_451_781, "1435781451.781"),
            (-1, "-0.001"),
            (-1500, "-1.5"),
            (i64::MIN, "-9223372036854775.808"),
        ];
        for (time_ms, text) in cases {
            assert_eq!(written(|out| write_time(out, *time_ms)), *text);
        }
    }

    #[test]
    fn histograms() {
        let histogram = Arc::new(Histogram {
            zero_threshold: 0.25,
            zero_count: 3.0,
            count: 42.0,
            sum: 34593.34,
            positive: Buckets::from_ascending([(-1, 12.0), (0, 21.0), (1, 0.0), (2, 4.0)]),
            negative: Buckets::from_ascending([(0, 2.0)]),
            ..Histogram::default()
        });
        let text = concat!(
            r#"{"count":"42","sum":"34593.34","buckets":[[1,"-1","-0.5","2"],[3,"-0.25","0.25","3"],"#,
            r#"[0,"0.25","0.5","12"],[0,"0.5","1","21"],[0,"2","4","4"]]}"#
        );
        let sample = VectorSample {
            labels: Labels::default(),
            time_ms: 1500,
            value: SampleValue::Histogram(Arc::clone(&histogram)),
        };
        assert_eq!(
            value(&Value::Vector(vec![sample])),
            format!(r#"{{"resultType":"vector","result":[{{"metric":{{}},"histogram":[1.5,{text}]}}]}}"#)
        );
        let histograms = vec![HistogramSample { timestamp_ms: 2000, histogram }];
        let series = Series { times_ms: vec![0], values: vec![1.0], histograms, ..Series::default() };
        assert_eq!(
            value(&Value::Matrix(vec![series])),
            format!(
                r#"{{"resultType":"matrix","result":[{{"metric":{{}},"values":[[0,"1"]],"histograms":[[2,{text}]]}}]}}"#
            )
        );
        assert_eq!(written(|out| write_histogram(out, &Histogram::default())), r#"{"count":"0","sum":"0"}"#);
    }

    #[test]
    fn remarks_come_after_the_data_and_only_if_there_are_any() {
        let mut remarks = Remarks::default();
        remarks.warn("x".into(), Span { start: 4, end: 5 });
        let mut output = QueryOutput {
            value: Value::Scalar { time_ms: 0, value: 1.0 },
            annotations: remarks.finish("foo(bar)"),
            samples_by_step: None,
        };
        assert_eq!(
            written(|out| write_query_response(out, &output)),
            r#"{"status":"success","data":{"resultType":"scalar","result":[0,"1"]},"warnings":["PromQL warning: x (1:5)"]}"#
        );
        output.annotations = Default::default();
        assert_eq!(
            written(|out| write_query_response(out, &output)),
            r#"{"status":"success","data":{"resultType":"scalar","result":[0,"1"]}}"#
        );
        assert_eq!(
            written(|out| write_error(out, "bad_data", "1:1: parse error: \"x\" & <y>")),
            r#"{"status":"error","errorType":"bad_data","error":"1:1: parse error: \"x\" \u0026 \u003cy\u003e"}"#
        );
    }

    #[test]
    fn texts_are_escaped_as_go_does() {
        let text = "a\u{0}\u{1f}\n\r\t\\\"<>&é\u{2028}\u{7f}";
        assert_eq!(
            written(|out| write_text(out, text)),
            "\"a\\u0000\\u001f\\n\\r\\t\\\\\\\"\\u003c\\u003e\\u0026é\\u2028\u{7f}\""
        );
        assert_eq!(written(|out| write_label_text(out, "<é\u{2028}\u{8}")), "\"<é\u{2028}\\u0008\"");
        assert_eq!(written(|out| write_texts(out, ["a", "b"])), r#"["a","b"]"#);
        assert_eq!(written(|out| write_texts(out, [])), "[]");
        let sets = [Labels::from_pairs([("a", "b")]), Labels::default()];
        assert_eq!(written(|out| write_label_sets(out, &sets)), r#"[{"a":"b"},{}]"#);
    }

    proptest::proptest! {
        #[test]
        fn every_text_reads_back(text in "\\PC*|[\\x00-\\x7f\u{2028}\u{2029}é]*") {
            for out in [written(|out| write_text(out, &text)), written(|out| write_label_text(out, &text))] {
                proptest::prop_assert_eq!(&serde_json::from_str::<String>(&out).unwrap(), &text);
            }
        }
    }
}
