//! However many threads evaluate a query, and however its series are cut into portions, the answer is the same to the bit, and so are
//! remarks, errors and what was counted.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use marigram_storage::Result;
use marigram_storage::context::Context;
use marigram_storage::model::histogram::{BucketSpan, Buckets, Histogram};
use marigram_storage::model::labels::Labels;
use marigram_storage::model::matcher::Matcher;
use marigram_storage::model::sample::stale_nan;
use marigram_storage::model::time::TimeRange;
use marigram_storage::select::{SelectRequest, SeriesBatch, SeriesStream};
use marigram_storage::write::MetadataEntry;
use proptest::prelude::*;

use crate::property_test::vector;
use crate::source::Source;
use crate::testing::{Memory, context};
use crate::{Engine, EngineOptions, Features, Parallelism, QueryOutput, Value};

const STEPS: (i64, i64, i64) = (120_000, 435_000, 45_000);

fn engine(workers: usize, portion_cost: u64, max_samples: usize) -> Engine {
    let features = Features { experimental_functions: true, ..Features::default() };
    let parallelism = Parallelism { workers, cost_min: 0, portion_cost };
    Engine::new(EngineOptions { features, parallelism, max_samples, ..EngineOptions::default() })
}

fn value() -> impl Strategy<Value = Option<f64>> {
    prop_oneof![
        10 => (-50i32..200).prop_map(|i| Some(f64::from(i) / 7.0)),
        2 => Just(None),
        1 => Just(Some(stale_nan())),
        1 => Just(Some(f64::INFINITY)),
        1 => Just(Some(f64::NAN)),
        1 => Just(Some(1e300)),
    ]
}

fn histogram(count: u64) -> Histogram {
    let buckets = Buckets { spans: vec![BucketSpan { offset: 0, length: 2 }], counts: vec![count as f64, 1.0] };
    Histogram { count: count as f64 + 1.0, sum: 3.0, positive: buckets, ..Histogram::default() }
}

/// Up to 50 series of the names that the generated queries ask for; some have histograms, too.
pub(crate) fn memory() -> impl Strategy<Value = Memory> {
    let names = prop_oneof![3 => Just("a"), 2 => Just("b"), 1 => Just("h")];
    let job = prop_oneof![Just("x"), Just("y"), Just("z")];
    let le = prop_oneof![Just(""), Just("1"), Just("2"), Just("+Inf")];
    let step_ms = prop_oneof![Just(15_000), Just(30_000), Just(60_000)];
    let series = (names, job, le, step_ms, proptest::collection::vec(value(), 1..30), 0u8..8);
    (proptest::collection::vec(series, 1..50), 1usize..20).prop_map(|(all, batch)| {
        all.into_iter().enumerate().fold(Memory::default().cut(7, batch), |memory, (i, series)| {
            let (name, job, le, step_ms, values, kind) = series;
            let i = i.to_string();
            let labels = [("__name__", name), ("job", job), ("le", le), ("i", &*i)];
            let memory = memory.with(&labels, step_ms, &values);
            match kind {
                0 => memory.histograms(&labels, 60_000, &(0..6).map(histogram).collect::<Vec<_>>()),
                _ => memory,
            }
        })
    })
}

/// Floats by their bits, everything else by what it shows.
fn exact(output: QueryOutput) -> Exact {
    let bits = match &output.value {
        Value::Matrix(series) => {
            let bits = |values: &[f64]| values.iter().map(|value| value.to_bits()).collect();
            series.iter().map(|series| (series.labels.clone(), bits(&series.values))).collect()
        }
        Value::Vector(samples) => {
            let bits = |sample: &crate::VectorSample| sample.value.float().map(f64::to_bits).into_iter().collect();
            samples.iter().map(|sample| (sample.labels.clone(), bits(sample))).collect()
        }
        Value::Scalar { value, .. } => vec![(Labels::default(), vec![value.to_bits()])],
        Value::String { .. } => Vec::new(),
    };
    (bits, format!("{output:?}"))
}

type Exact = (Vec<(Labels, Vec<u64>)>, String);
type Counts = [u64; 3];

/// The answer, or the error; and what was counted.
fn ask(
    engine: &Engine,
    memory: &Memory,
    query: &str,
    steps: Option<(i64, i64, i64)>,
) -> (std::result::Result<Exact, crate::QueryError>, Counts) {
    let context = context();
    let output = match steps {
        Some((start, end, step)) => engine.range(memory, &context, query, start, end, step),
        None => engine.instant(memory, &context, query, STEPS.1),
    };
    let tally = context.tally();
    assert_eq!(context.budget_used(), 0, "{query}");
    let counters = [&tally.samples_queryable, &tally.samples_read, &tally.samples_peak];
    (output.map(exact), counters.map(|counter| counter.load(Ordering::Relaxed)))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn answers_do_not_depend_on_the_threads(
        memory in memory(),
        query in vector(),
        workers in 2usize..6,
        portion_cost in prop_oneof![Just(1u64), Just(5_000)],
        max_samples in prop_oneof![2 => Just(1 << 20), 1 => 20usize..2000],
    ) {
        let (serial, parallel) = (engine(1, 0, max_samples), engine(workers, portion_cost, max_samples));
        for steps in [None, Some(STEPS)] {
            let (expected, counted) = ask(&serial, &memory, &query, steps);
            let (got, got_counted) = ask(&parallel, &memory, &query, steps);
            let ok = expected.is_ok();
            prop_assert_eq!(got, expected, "{}", &query);
            // Whatever was looked at when an error came up does not matter.
            prop_assert!(!ok || got_counted == counted, "{}: {:?}, serially {:?}", &query, got_counted, counted);
        }
    }
}

/// Cancels the query with the second batch of a select.
struct Cancelling(Memory);

struct CancelsAfterOne {
    stream: Box<dyn SeriesStream>,
    context: Context,
    batches: usize,
}

impl SeriesStream for CancelsAfterOne {
    fn next_batch(&mut self) -> Result<Option<SeriesBatch>> {
        if self.batches == 1 {
            self.context.cancel();
        }
        self.batches += 1;
        self.stream.next_batch()
    }
}

impl Source for Cancelling {
    fn select(&self, context: &Context, request: SelectRequest<'_>) -> Result<Box<dyn SeriesStream>> {
        let stream = self.0.select(context, request)?;
        Ok(Box::new(CancelsAfterOne { stream, context: context.clone(), batches: 0 }))
    }

    fn series(&self, _: &Context, _: &[Vec<Matcher>], _: TimeRange, _: usize) -> Result<Vec<Labels>> {
        Ok(Vec::new())
    }

    fn label_names(&self, _: &Context, _: &[Vec<Matcher>], _: TimeRange, _: usize) -> Result<Vec<String>> {
        Ok(Vec::new())
    }

    fn label_values(&self, _: &Context, _: &str, _: &[Vec<Matcher>], _: TimeRange, _: usize) -> Result<Vec<String>> {
        Ok(Vec::new())
    }

    fn metadata(&self, _: &Context) -> Result<std::collections::BTreeMap<String, Vec<MetadataEntry>>> {
        Ok(std::collections::BTreeMap::new())
    }
}

fn many_series(series: usize) -> Memory {
    (0..series).fold(Memory::default().cut(20, 16), |memory, i| {
        let (i, job) = (i.to_string(), (i % 7).to_string());
        let values: Vec<f64> = (0..40).map(|j| f64::from(j) * 1.1).collect();
        memory.all(&[("__name__", "m"), ("job", &job), ("i", &i)], 15_000, &values)
    })
}

#[test]
fn a_query_that_is_cancelled_ends() {
    let source = Cancelling(many_series(400));
    for query in ["sum(m)", "sum by (job) (rate(m[2m]))", "max_over_time(sum(m)[3m:30s])", "m + m"] {
        let context = context();
        let (start, end, step) = STEPS;
        let error = engine(3, 1, 1 << 20).range(&source, &context, query, start, end, step).unwrap_err();
        assert_eq!(error.kind, crate::QueryErrorKind::Canceled, "{query}: {error}");
        assert_eq!(context.budget_used(), 0, "{query}");
        assert_eq!(context.tally().samples_held.load(Ordering::Relaxed), 0, "{query}");
    }
}

#[test]
fn many_queries_at_once_share_the_threads_of_one_pool() {
    let (memory, engine) = (Arc::new(many_series(200)), engine(3, 1, 1 << 20));
    let queries = ["sum by (job) (m)", "rate(m[2m]) / on (job, i) m", "avg(avg_over_time((m * 2)[3m:30s]))"];
    let expected = queries.map(|query| ask(&self::engine(1, 0, 1 << 20), &memory, query, Some(STEPS)).0);
    std::thread::scope(|scope| {
        for i in 0..24 {
            let (engine, memory, query, expected) = (engine.clone(), &memory, queries[i % 3], &expected[i % 3]);
            scope.spawn(move || {
                for _ in 0..3 {
                    assert_eq!(ask(&engine, memory, query, Some(STEPS)).0, *expected);
                }
            });
        }
    });
    let started = engine.threads_started();
    assert!(started <= 2.max(Parallelism::processors() - 1), "{started} threads");
    assert!(started > 0, "nobody helped");
}
