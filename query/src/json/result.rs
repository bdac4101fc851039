//! The result of a query, row by row: several threads may write a long one, each some rows of it.

use std::ops::Range;

use super::{write_bytes, write_histogram, write_labels, write_list, write_number, write_pair, write_time};
use crate::number::push_plain_value;
use crate::value::{SampleValue, Series, Value, VectorSample};

/// Writes `resultType` and `result`.
pub fn write_value(out: &mut Vec<u8>, value: &Value) {
    begin_value(out, value);
    write_rows(out, value, 0..rows(value));
    end_value(out, value);
    out.push(b'}');
}

/// How many rows a result has: the series of a vector or matrix; a scalar or string is one.
pub fn rows(value: &Value) -> usize {
    match value {
        Value::Scalar { .. } | Value::String { .. } => 1,
        Value::Vector(samples) => samples.len(),
        Value::Matrix(series) => series.len(),
    }
}

/// About how many bytes a row takes.
pub fn row_bytes(value: &Value, row: usize) -> usize {
    /// `[1700000000,"0.1234567890123456"],`
    const SAMPLE_BYTES: usize = 32;
    const HISTOGRAM_BYTES: usize = 512;
    match value {
        Value::Scalar { .. } | Value::String { .. } => SAMPLE_BYTES,
        Value::Vector(samples) => {
            samples.get(row).map_or(0, |sample| sample.labels.as_bytes().len() + 2 * SAMPLE_BYTES)
        }
        Value::Matrix(series) => series.get(row).map_or(0, |series| {
            let (floats, histograms) = (series.values.len(), series.histograms.len());
            series.labels.as_bytes().len() + SAMPLE_BYTES * (1 + floats) + HISTOGRAM_BYTES * histograms
        }),
    }
}

/// Begins the object that holds a result: the rows are to follow, then [`end_value`].
pub fn begin_value(out: &mut Vec<u8>, value: &Value) {
    let (kind, is_list) = match value {
        Value::Scalar { .. } => ("scalar", false),
        Value::String { .. } => ("string", false),
        Value::Vector(_) => ("vector", true),
        Value::Matrix(_) => ("matrix", true),
    };
    out.extend_from_slice(br#"{"resultType":""#);
    out.extend_from_slice(kind.as_bytes());
    out.extend_from_slice(br#"","result":"#);
    out.extend(is_list.then_some(b'['));
}

/// Ends the result; the object may get further members, and a brace.
pub fn end_value(out: &mut Vec<u8>, value: &Value) {
    out.extend(matches!(value, Value::Vector(_) | Value::Matrix(_)).then_some(b']'));
}

/// Writes some rows of a result. All of them are to be written in their order, by however many calls.
pub fn write_rows(out: &mut Vec<u8>, value: &Value, rows: Range<usize>) {
    let mut separator = (rows.start > 0).then_some(b',');
    let mut separate = |out: &mut Vec<u8>| out.extend(separator.replace(b','));
    match value {
        Value::Scalar { time_ms, value } => {
            write_pair(out, *time_ms, |out| {
                out.push(b'"');
                push_plain_value(out, *value);
                out.push(b'"');
            });
        }
        Value::String { time_ms, value } => write_pair(out, *time_ms, |out| write_bytes(out, value.as_bytes())),
        Value::Vector(samples) => {
            for sample in samples.get(rows).unwrap_or_default() {
                separate(out);
                write_vector_row(out, sample);
            }
        }
        Value::Matrix(series) => {
            let mut times = TimeTexts::default();
            for series in series.get(rows).unwrap_or_default() {
                separate(out);
                write_matrix_row(out, series, &mut times);
            }
        }
    }
}

/// The texts of times that a row has, ascending: the next row mostly has the same ones.
#[derive(Default)]
struct TimeTexts(Vec<TimeText>);

/// A time, and its text in as many bytes.
#[derive(Clone, Copy)]
struct TimeText(i64, [u8; TimeText::BYTES_MAX], u8);

impl TimeText {
    /// What the longest one takes: a sign, the digits of a number of 63 bits, a point.
    const BYTES_MAX: usize = 24;

    fn write(&self, out: &mut Vec<u8>) {
        // All of it, since copying so many bytes as is known beforehand is faster.
        out.extend_from_slice(&self.1);
        out.truncate(out.len() - (Self::BYTES_MAX - usize::from(self.2)));
    }
}

impl TimeTexts {
    /// Writes a time; `at` is behind the place of the one before it in the same row.
    fn write(&mut self, out: &mut Vec<u8>, time_ms: i64, at: &mut usize) {
        while let Some(known) = self.0.get(*at) {
            if known.0 == time_ms {
                *at += 1;
                return known.write(out);
            }
            if known.0 > time_ms {
                return write_time(out, time_ms);
            }
            *at += 1;
        }
        let from = out.len();
        write_time(out, time_ms);
        let mut text = [0; TimeText::BYTES_MAX];
        let written = out.get(from..).unwrap_or_default();
        if let Some(slot) = text.get_mut(..written.len()) {
            slot.copy_from_slice(written);
            self.0.push(TimeText(time_ms, text, written.len() as u8));
            *at += 1;
        }
    }
}

fn write_vector_row(out: &mut Vec<u8>, sample: &VectorSample) {
    out.extend_from_slice(br#"{"metric":"#);
    write_labels(out, &sample.labels);
    match &sample.value {
        SampleValue::Float(value) => {
            out.extend_from_slice(br#","value":"#);
            write_sample(out, sample.time_ms, *value);
        }
        SampleValue::Histogram(histogram) => {
            out.extend_from_slice(br#","histogram":"#);
            write_pair(out, sample.time_ms, |out| write_histogram(out, histogram));
        }
    }
    out.push(b'}');
}

fn write_matrix_row(out: &mut Vec<u8>, series: &Series, times: &mut TimeTexts) {
    out.extend_from_slice(br#"{"metric":"#);
    write_labels(out, &series.labels);
    if !series.values.is_empty() {
        out.extend_from_slice(br#","values":"#);
        let mut at = 0;
        write_list(out, series.times_ms.iter().zip(&series.values), |out, (&time_ms, &value)| {
            out.push(b'[');
            times.write(out, time_ms, &mut at);
            out.push(b',');
            write_number(out, value);
            out.push(b']');
        });
    }
    if !series.histograms.is_empty() {
        out.extend_from_slice(br#","histograms":"#);
        write_list(out, &series.histograms, |out, sample| {
            write_pair(out, sample.timestamp_ms, |out| write_histogram(out, &sample.histogram));
        });
    }
    out.push(b'}');
}

fn write_sample(out: &mut Vec<u8>, time_ms: i64, value: f64) {
    write_pair(out, time_ms, |out| write_number(out, value));
}

#[cfg(test)]
mod tests {
    use marigram_storage::model::labels::Labels;
    use proptest::prelude::*;

    use super::*;

    fn value(value: &Value) -> String {
        let mut out = Vec::new();
        write_value(&mut out, value);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn kinds_of_values() {
        assert_eq!(value(&Value::Scalar { time_ms: 4000, value: 2.0 }), r#"{"resultType":"scalar","result":[4,"2"]}"#);
        assert_eq!(
            value(&Value::Scalar { time_ms: 1, value: 1e-7 }),
            r#"{"resultType":"scalar","result":[0.001,"0.0000001"]}"#
        );
        assert_eq!(
            value(&Value::String { time_ms: 0, value: "a<b".into() }),
            r#"{"resultType":"string","result":[0,"a\u003cb"]}"#
        );
        assert_eq!(value(&Value::Vector(Vec::new())), r#"{"resultType":"vector","result":[]}"#);
        let labels = Labels::from_pairs([("__name__", "up"), ("job", "a<\"b\"")]);
        let sample = VectorSample { labels: labels.clone(), time_ms: 1500, value: SampleValue::Float(f64::NAN) };
        assert_eq!(
            value(&Value::Vector(vec![sample])),
            r#"{"resultType":"vector","result":[{"metric":{"__name__":"up","job":"a<\"b\""},"value":[1.5,"NaN"]}]}"#
        );
        let series = Series { times_ms: vec![0, 1000], values: vec![1.0, 1e21], ..Series::default() };
        assert_eq!(
            value(&Value::Matrix(vec![series])),
            r#"{"resultType":"matrix","result":[{"metric":{},"values":[[0,"1"],[1,"1e+21"]]}]}"#
        );
    }

    proptest! {
        /// In however many calls rows are written, and whichever times the rows before had.
        #[test]
        fn rows_do_not_depend_on_each_other(
            rows in proptest::collection::vec(proptest::collection::btree_set(-5000i64..5000, 0..20), 0..12),
            cut in 0usize..12,
        ) {
            let series = rows.iter().map(|times| Series {
                times_ms: times.iter().copied().collect(),
                values: times.iter().map(|time_ms| *time_ms as f64 / 7.0).collect(),
                ..Series::default()
            });
            let series: Vec<Series> = series.collect();
            let alone = series.iter().map(|series| {
                let mut row = Vec::new();
                write_matrix_row(&mut row, series, &mut TimeTexts::default());
                String::from_utf8(row).unwrap()
            });
            let expected = alone.collect::<Vec<_>>().join(",");
            let (count, value) = (series.len(), Value::Matrix(series));
            let cut = cut.min(count);
            let mut out = Vec::new();
            write_rows(&mut out, &value, 0..cut);
            write_rows(&mut out, &value, cut..count);
            prop_assert_eq!(String::from_utf8(out).unwrap(), &*expected);
            let estimated: usize = (0..count).map(|row| row_bytes(&value, row)).sum();
            prop_assert!(estimated >= expected.len() / 2 && estimated <= 3 * expected.len() + 200, "{}", estimated);
        }
    }
}
