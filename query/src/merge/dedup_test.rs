use std::sync::Arc;

use marigram_storage::Result;
use marigram_storage::chunk::{Effort, encode_histograms, encode_starts};
use marigram_storage::context::Context;
use marigram_storage::env::ManualClock;
use marigram_storage::model::histogram::{Buckets, Histogram, HistogramSample, ResetHint};
use marigram_storage::model::labels::Labels;
use marigram_storage::model::matcher::{MatchOp, Matcher};
use marigram_storage::model::start::StartTime;
use marigram_storage::model::time::TimeRange;
use marigram_storage::select::{EncodedChunk, SelectRequest, SelectedSeries, SeriesBatch, SeriesDecoder, SeriesStream};
use proptest::prelude::*;

use super::Deduplicated;
use crate::source::Source;
use crate::testing::{Memory, context, encoded};
use crate::value::Value;
use crate::{Engine, EngineOptions};

type Samples = Vec<(i64, f64)>;

fn replica(memory: Memory, name: &str, replica: Option<&str>, samples: &[(i64, f64)]) -> Memory {
    let mut labels = vec![("__name__", name)];
    labels.extend(replica.map(|replica| ("replica", replica)));
    memory.samples(&labels, samples)
}

fn steady(first: i64, last: i64) -> Samples {
    (first..=last).step_by(15_000).map(|t| (t, t as f64)).collect()
}

fn without(mut samples: Samples, from: i64, to: i64) -> Samples {
    samples.retain(|(t, _)| *t < from || *t > to);
    samples
}

fn deduplicated(memory: Memory) -> Deduplicated {
    Deduplicated::new(Arc::new(memory), vec!["replica".to_owned()])
}

/// What a select yields.
fn selected(source: &dyn Source, context: &Context, matchers: &[Matcher], range: TimeRange) -> Vec<SelectedSeries> {
    let mut stream = source.select(context, SelectRequest { matchers, range, drop_labels: &[] }).unwrap();
    let mut out = Vec::new();
    while let Some(batch) = stream.next_batch().unwrap() {
        out.extend(batch.series);
    }
    out
}

fn decoded(series: &[SelectedSeries], range: TimeRange) -> Vec<(String, Samples)> {
    let mut decoder = SeriesDecoder::default();
    let each = series.iter().map(|series| {
        let (times, values) = decoder.decode(&series.chunks, range).unwrap();
        (series.labels.to_string(), times.iter().copied().zip(values.iter().copied()).collect())
    });
    each.collect()
}

#[test]
fn one_replica_passes_untouched() {
    let memory = replica(Memory::default(), "alone", Some("a"), &steady(0, 900_000));
    let memory = replica(memory, "bare", None, &without(steady(0, 900_000), 300_000, 600_000));
    let raw = selected(&memory, &context(), &[], TimeRange::ALL);
    let got = selected(&deduplicated(memory), &context(), &[], TimeRange::ALL);
    assert_eq!(got.len(), 2);
    for series in &got {
        assert!(series.labels.get("replica").is_none() && series.replica.is_empty() && series.id == series.labels.id());
        let bytes = |series: &SelectedSeries| series.chunks.iter().map(|c| c.bytes.clone()).collect::<Vec<_>>();
        let same = raw.iter().find(|raw| raw.labels.metric_name() == series.labels.metric_name()).unwrap();
        assert_eq!(bytes(series), bytes(same));
    }
}

#[test]
fn replicas_become_one() {
    let mut memory = Memory::default();
    for name in ["m1", "m2", "m3", "m4", "m5"] {
        memory = replica(memory, name, Some("b"), &steady(7000, 900_000));
        memory = replica(memory, name, Some("a"), &without(steady(0, 900_000), 300_000, 600_000));
    }
    let got = decoded(&selected(&deduplicated(memory), &context(), &[], TimeRange::ALL), TimeRange::ALL);
    assert_eq!(got.len(), 5);
    let expected: Samples = [steady(0, 285_000), steady(292_000, 900_000)].concat();
    assert!(got.iter().all(|(_, samples)| *samples == expected), "{got:?}");
}

#[test]
fn matchers_see_the_replica_label() {
    let memory = replica(Memory::default(), "m", Some("a"), &steady(0, 600_000));
    let memory = replica(memory, "m", Some("b"), &steady(7000, 600_000));
    let matcher = Matcher::new("replica", MatchOp::Equal, "b").unwrap();
    let got = decoded(&selected(&deduplicated(memory), &context(), &[matcher], TimeRange::ALL), TimeRange::ALL);
    assert_eq!(got, [("{__name__=\"m\"}".to_owned(), steady(7000, 600_000))]);
}

#[test]
fn series_are_listed_once_without_the_label() {
    let memory = replica(Memory::default(), "m", Some("a"), &[(0, 1.0)]);
    let memory = replica(replica(memory, "m", Some("b"), &[(0, 1.0)]), "n", Some("b"), &[(0, 1.0)]);
    let source = deduplicated(memory);
    let series = |limit| source.series(&context(), &[], TimeRange::ALL, limit).unwrap();
    let texts: Vec<String> = series(0).iter().map(ToString::to_string).collect();
    assert_eq!(texts, ["{__name__=\"m\"}", "{__name__=\"n\"}"]);
    assert_eq!(series(1).len(), 1);
}

#[test]
fn rate_over_a_switch_is_that_of_the_counter() {
    // 1 per second, the second replica half a scrape behind in what it sees: a moment of slowness, never a spike.
    let a: Samples =
        without(steady(0, 900_000), 300_000, 900_000).iter().map(|(t, _)| (*t, (*t / 1000) as f64)).collect();
    let b: Samples = steady(7000, 900_000).iter().map(|(t, _)| (*t, ((*t - 14_000) / 1000) as f64)).collect();
    let memory = replica(replica(Memory::default(), "c_total", Some("a"), &a), "c_total", Some("b"), &b);
    let engine = Engine::new(EngineOptions::default());
    for query in ["rate(c_total[1m])", "irate(c_total[1m])", "max_over_time(rate(c_total[1m])[1m:5s])"] {
        let output = engine.range(&deduplicated(memory.clone()), &context(), query, 120_000, 900_000, 5000).unwrap();
        let Value::Matrix(series) = output.value else { panic!("{query} is no matrix") };
        assert_eq!(series.len(), 1);
        assert!(series[0].values.iter().all(|v| (0.3..=1.1).contains(v)), "{query}: {:?}", series[0].values);
    }
    let resets = engine.instant(&deduplicated(memory), &context(), "resets(c_total[15m])", 900_000).unwrap();
    let Value::Vector(resets) = resets.value else { panic!("resets are no vector") };
    assert_eq!(resets[0].value.float(), Some(0.0));
}

#[test]
fn decoded_columns_count_against_the_budget() {
    let constant: Samples = (0..20_000).map(|i| (i * 15_000, 1.0)).collect();
    let memory = replica(Memory::default(), "m", Some("a"), &constant);
    let memory = replica(memory, "m", Some("b"), &constant).cut(8_000, 2);
    let budget = |bytes| Context::new(Default::default(), Arc::new(ManualClock::default()), None, bytes);
    let enough = budget(1 << 20);
    selected(&deduplicated(memory.clone()), &enough, &[], TimeRange::ALL);
    assert_eq!(enough.budget_left(), 1 << 20);
    let little = budget(300_000);
    let source = deduplicated(memory);
    let request = SelectRequest { matchers: &[], range: TimeRange::ALL, drop_labels: &[] };
    let mut stream = source.select(&little, request).unwrap();
    assert!(stream.next_batch().is_err());
    assert!(stream.next_batch().unwrap().is_none());
    drop(stream);
    assert_eq!(little.budget_left(), 300_000);
}

fn samples() -> impl Strategy<Value = Samples> {
    (proptest::collection::btree_set(0i64..120, 0..100), 0i64..1000)
        .prop_map(|(scrapes, phase)| scrapes.into_iter().map(|i| (i * 1000 + phase, (i * 10) as f64)).collect())
}

proptest! {
    #[test]
    fn it_does_not_matter_where_chunks_and_batches_are_cut(
        replicas in proptest::collection::vec((0u8..3, 0u8..4, samples()), 1..8),
        cuts in (1usize..130, 1usize..9, 1usize..130, 1usize..9),
        from in 0i64..60_000, length in 0i64..120_000,
    ) {
        let mut memory = Memory::default();
        let mut seen = Vec::new();
        for (name, label, samples) in &replicas {
            if !seen.contains(&(*name, *label)) && !samples.is_empty() {
                seen.push((*name, *label));
                memory = replica(memory, &format!("m{name}"), Some(&label.to_string()), samples);
            }
        }
        let range = TimeRange { start_ms: from, end_ms: from + length };
        let context = context();
        let all = context.budget_left();
        let got = |chunk, batch| {
            let source = deduplicated(memory.clone().cut(chunk, batch));
            let series = selected(&source, &context, &[], range);
            assert!(series.windows(2).all(|w| w[0].id < w[1].id));
            // A series whose chunks overlap the range may have no sample in it.
            let mut decoded = decoded(&series, range);
            decoded.retain(|(_, samples)| !samples.is_empty());
            decoded
        };
        prop_assert_eq!(got(cuts.0, cuts.1), got(cuts.2, cuts.3));
        prop_assert_eq!(context.budget_left(), all);
    }
}

/// Histograms of one replica at the given times, their counts the seconds.
fn histogram_chunk(times: &[i64]) -> EncodedChunk {
    let of = |time: &i64| {
        let count = (*time / 1000) as f64;
        let positive = Buckets::from_ascending([(0, count)]);
        let histogram = Histogram { is_integer: true, count, sum: *time as f64, positive, ..Histogram::default() };
        HistogramSample { timestamp_ms: *time, histogram: Arc::new(histogram) }
    };
    let samples: Vec<HistogramSample> = times.iter().map(of).collect();
    let mut bytes = Vec::new();
    encode_histograms(&samples, Effort::Sealed, &mut bytes);
    EncodedChunk { min_ms: times[0], max_ms: times[times.len() - 1], times: Default::default(), bytes: bytes.into() }
}

/// Yields series as they are.
struct Given(Vec<SelectedSeries>);

impl SeriesStream for Given {
    fn next_batch(&mut self) -> Result<Option<SeriesBatch>> {
        let series = std::mem::take(&mut self.0);
        Ok((!series.is_empty()).then(|| SeriesBatch { series, reservation: context().reserve(0).unwrap() }))
    }
}

#[test]
fn histograms_are_stitched_like_floats() {
    let steady: Vec<i64> = (0..60).map(|i| i * 15_000).collect();
    let gappy: Vec<i64> = steady.iter().copied().filter(|t| !(300_000..=600_000).contains(t)).collect();
    let later: Vec<i64> = steady.iter().map(|t| t + 7000).collect();
    let labels = Labels::from_pairs([("__name__", "h")]);
    let replica = |name: &str, times: &[i64]| SelectedSeries {
        id: labels.id(),
        labels: labels.clone(),
        replica: Labels::from_pairs([("replica", name)]),
        chunks: vec![histogram_chunk(times)],
    };
    let stitched = |a: &[i64]| {
        let given = Given(vec![replica("a", a), replica("b", &later)]);
        let range = TimeRange::ALL;
        let mut stream = super::dedup::stitched(&context(), range, Box::new(given));
        let batch = stream.next_batch().unwrap().unwrap();
        assert!(batch.series.len() == 1 && stream.next_batch().unwrap().is_none());
        let mut decoder = SeriesDecoder::default();
        let (times, _, histograms) = decoder.decode_both(&batch.series[0].chunks, range).unwrap();
        assert!(times.is_empty());
        let told = |sample: &HistogramSample| (sample.timestamp_ms, sample.histogram.sum, sample.histogram.hint);
        histograms.iter().map(told).collect::<Vec<_>>()
    };
    let whole: Vec<i64> = stitched(&steady).iter().map(|(time, ..)| *time).collect();
    assert_eq!(whole, steady, "the first replica, as long as it is there");
    let found = stitched(&gappy);
    let expected = gappy.iter().filter(|t| **t < 300_000).chain(later.iter().filter(|t| **t > 285_000));
    assert_eq!(found.iter().map(|(time, ..)| *time).collect::<Vec<_>>(), expected.copied().collect::<Vec<_>>());
    assert!(found.iter().all(|(time, sum, _)| *sum == *time as f64));
    assert!(found.iter().skip(1).all(|(_, _, hint)| *hint == ResetHint::NotReset), "no false reset: {found:?}");
}

#[test]
fn start_timestamps_come_from_the_replica_of_their_sample() {
    let labels = Labels::from_pairs([("__name__", "c_total")]);
    let replica = |name: &str, samples: &Samples, start_ms: i64| {
        let given = samples.iter().map(|(time, _)| StartTime { timestamp_ms: *time, start_ms });
        let mut bytes = Vec::new();
        encode_starts(&given.collect::<Vec<_>>(), samples.len(), &mut bytes);
        let plain = encoded(samples);
        bytes.extend_from_slice(&plain.bytes);
        SelectedSeries {
            id: labels.id(),
            labels: labels.clone(),
            replica: Labels::from_pairs([("replica", name)]),
            chunks: vec![EncodedChunk { bytes: bytes.into(), ..plain }],
        }
    };
    let gappy = without(steady(0, 900_000), 300_000, 600_000);
    let given = Given(vec![replica("a", &gappy, 11), replica("b", &steady(7000, 900_000), 22)]);
    let mut stream = super::dedup::stitched(&context(), TimeRange::ALL, Box::new(given));
    let batch = stream.next_batch().unwrap().unwrap();
    let mut decoder = SeriesDecoder::default();
    let ((times, ..), starts) = decoder.decode_with_starts(&batch.series[0].chunks, TimeRange::ALL).unwrap();
    assert!(times.len() == starts.len() && times.iter().zip(starts).all(|(time, start)| *time == start.timestamp_ms));
    for start in starts {
        assert_eq!(start.start_ms, if start.timestamp_ms % 15_000 == 0 { 11 } else { 22 }, "{start:?}");
    }
    assert!(starts.iter().any(|start| start.start_ms == 22));
}
