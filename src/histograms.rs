//! Native histograms between the messages of remote write and read and the store.
//!
//! A message has counts of one of two forms: integers, each bucket as the difference to the one before; or floats, absolute. The
//! store has absolute floats, and remembers which form it was.

use std::sync::Arc;

use marigram_proto::prometheus as proto;
use marigram_proto::prometheus::histogram::{Count, ZeroCount};
use marigram_storage::model::histogram::{
    BucketSpan, Buckets, Histogram, HistogramSample, INTEGER_COUNT_MAX, InvalidHistogram, ResetHint,
};

/// A message that is checked, as the store takes it.
///
/// # Errors
/// Says which rule is broken.
pub fn decode(message: proto::Histogram) -> Result<HistogramSample, InvalidHistogram> {
    let timestamp_ms = message.timestamp;
    let histogram = histogram(message)?;
    // Whatever else stands in it, such a one is taken as the marker that it is.
    if !histogram.is_stale() {
        histogram.check()?;
    }
    Ok(HistogramSample { timestamp_ms, histogram: Arc::new(histogram) })
}

fn histogram(message: proto::Histogram) -> Result<Histogram, InvalidHistogram> {
    let invalid = |text: String| Err(InvalidHistogram(text));
    let Ok(schema) = i8::try_from(message.schema) else {
        return invalid(format!("schema {} is not known", message.schema));
    };
    let hint = u8::try_from(message.reset_hint).ok().and_then(ResetHint::from_number).unwrap_or_default();
    let is_integer = !matches!(message.count, Some(Count::CountFloat(_)));
    let count = match message.count {
        Some(Count::CountFloat(count)) => count,
        Some(Count::CountInt(count)) => whole(count)?,
        None => 0.0,
    };
    let zero_count = match message.zero_count {
        Some(ZeroCount::ZeroCountFloat(count)) => count,
        Some(ZeroCount::ZeroCountInt(count)) => whole(count)?,
        None => 0.0,
    };
    let (positive, negative) = match is_integer {
        true => (absolute(&message.positive_deltas)?, absolute(&message.negative_deltas)?),
        false => (message.positive_counts, message.negative_counts),
    };
    Ok(Histogram {
        hint,
        is_integer,
        schema,
        zero_threshold: message.zero_threshold,
        zero_count,
        count,
        sum: message.sum,
        positive: Buckets { spans: spans(&message.positive_spans), counts: positive },
        negative: Buckets { spans: spans(&message.negative_spans), counts: negative },
        custom_values: message.custom_values,
    })
}

fn whole(count: u64) -> Result<f64, InvalidHistogram> {
    let exact = count as f64;
    if exact > INTEGER_COUNT_MAX {
        return Err(InvalidHistogram(format!("count {count} has no exact float")));
    }
    Ok(exact)
}

/// The counts whose differences these are, the first to 0.
fn absolute(deltas: &[i64]) -> Result<Vec<f64>, InvalidHistogram> {
    let mut count = 0i64;
    let next = |delta: &i64| {
        count = count.checked_add(*delta)?;
        (count.unsigned_abs() as f64 <= INTEGER_COUNT_MAX).then_some(count as f64)
    };
    let counts: Option<Vec<f64>> = deltas.iter().map(next).collect();
    counts.ok_or_else(|| InvalidHistogram("the count of a bucket has no exact float".into()))
}

fn spans(spans: &[proto::BucketSpan]) -> Vec<BucketSpan> {
    spans.iter().map(|span| BucketSpan { offset: span.offset, length: span.length }).collect()
}

/// A histogram of the store as a message, in the form in which it came.
pub fn encode(sample: &HistogramSample) -> proto::Histogram {
    let histogram = &*sample.histogram;
    let mut message = proto::Histogram {
        sum: histogram.sum,
        schema: histogram.schema.into(),
        zero_threshold: histogram.zero_threshold,
        negative_spans: encode_spans(&histogram.negative.spans),
        positive_spans: encode_spans(&histogram.positive.spans),
        reset_hint: i32::from(histogram.hint as u8),
        timestamp: sample.timestamp_ms,
        custom_values: histogram.custom_values.clone(),
        ..proto::Histogram::default()
    };
    if histogram.is_integer {
        message.count = Some(Count::CountInt(histogram.count as u64));
        message.zero_count = Some(ZeroCount::ZeroCountInt(histogram.zero_count as u64));
        message.negative_deltas = deltas(&histogram.negative.counts);
        message.positive_deltas = deltas(&histogram.positive.counts);
    } else {
        message.count = Some(Count::CountFloat(histogram.count));
        message.zero_count = Some(ZeroCount::ZeroCountFloat(histogram.zero_count));
        message.negative_counts = histogram.negative.counts.clone();
        message.positive_counts = histogram.positive.counts.clone();
    }
    message
}

fn deltas(counts: &[f64]) -> Vec<i64> {
    let mut before = 0;
    let next = |count: &f64| {
        let count = *count as i64;
        count.wrapping_sub(std::mem::replace(&mut before, count))
    };
    counts.iter().map(next).collect()
}

fn encode_spans(spans: &[BucketSpan]) -> Vec<proto::BucketSpan> {
    spans.iter().map(|span| proto::BucketSpan { offset: span.offset, length: span.length }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn integer() -> proto::Histogram {
        proto::Histogram {
            count: Some(Count::CountInt(10)),
            sum: 21.5,
            schema: 2,
            zero_threshold: 1e-128,
            zero_count: Some(ZeroCount::ZeroCountInt(1)),
            negative_spans: vec![proto::BucketSpan { offset: 0, length: 1 }],
            negative_deltas: vec![2],
            positive_spans: vec![
                proto::BucketSpan { offset: -2, length: 2 },
                proto::BucketSpan { offset: 3, length: 1 },
            ],
            positive_deltas: vec![1, 2, 0],
            reset_hint: 3,
            timestamp: 17,
            ..proto::Histogram::default()
        }
    }

    #[test]
    fn both_forms_come_back_as_they_were() {
        let float = proto::Histogram {
            count: Some(Count::CountFloat(0.75)),
            zero_count: Some(ZeroCount::ZeroCountFloat(0.0)),
            schema: -53,
            positive_spans: vec![proto::BucketSpan { offset: 0, length: 2 }],
            positive_counts: vec![0.5, 0.25],
            custom_values: vec![1.0, 2.5],
            timestamp: -1,
            ..proto::Histogram::default()
        };
        for message in [integer(), float] {
            let sample = decode(message.clone()).unwrap();
            assert_eq!(encode(&sample), message);
        }
        let sample = decode(integer()).unwrap();
        assert_eq!(sample.histogram.positive.iter().collect::<Vec<_>>(), [(-2, 1.0), (-1, 3.0), (3, 3.0)]);
    }

    #[test]
    fn what_does_not_fit_is_refused_in_words() {
        let refused = |change: fn(&mut proto::Histogram)| {
            let mut message = integer();
            change(&mut message);
            decode(message).unwrap_err().to_string()
        };
        assert!(refused(|h| h.schema = 500).contains("schema 500"));
        assert!(refused(|h| h.schema = 9).contains("schema 9"));
        assert!(refused(|h| h.count = Some(Count::CountInt(u64::MAX))).contains("no exact float"));
        assert!(refused(|h| h.positive_deltas = vec![i64::MAX, 1, 1]).contains("no exact float"));
        assert!(refused(|h| h.positive_deltas[2] = -9).contains("negative"));
        assert!(refused(|h| h.positive_deltas.clear()).contains("0 counts"));
    }
}
