//! What a query is said to have looked at: at each step what the step alone looks at, and the same in all however it is asked for.

use std::sync::atomic::Ordering;

use marigram_storage::model::histogram::Histogram;
use proptest::prelude::*;

use crate::parallel_test::memory;
use crate::property_test::vector;
use crate::testing::{Memory, context};
use crate::{Engine, EngineOptions, Features, Parallelism, QueryError, QueryOutput, StepSamples};

const TIMES: (i64, i64, i64) = (120_000, 435_000, 45_000);

fn engine(workers: usize) -> Engine {
    let features = Features { experimental_functions: true, per_step_stats: true, ..Features::default() };
    let parallelism = Parallelism { workers, cost_min: 0, portion_cost: 1 };
    Engine::new(EngineOptions { features, parallelism, ..EngineOptions::default() })
}

/// What `ask` makes of a context, and what was looked at and read in all.
fn counted<T>(ask: impl FnOnce(&marigram_storage::context::Context) -> T) -> (T, (u64, u64)) {
    let context = context();
    let output = ask(&context);
    let tally = context.tally();
    (output, (tally.samples_queryable.load(Ordering::Relaxed), tally.samples_read.load(Ordering::Relaxed)))
}

fn range(engine: &Engine, memory: &Memory, query: &str) -> (Result<QueryOutput, QueryError>, (u64, u64)) {
    counted(|context| engine.range(memory, context, query, TIMES.0, TIMES.1, TIMES.2))
}

fn sum(steps: &[StepSamples]) -> (u64, u64) {
    (steps.iter().map(|step| step.queryable).sum(), steps.iter().map(|step| step.read).sum())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn steps_add_up_and_each_is_what_it_would_be_alone(memory in memory(), query in vector(), workers in 1usize..4) {
        let engine = engine(workers);
        let (plain, whole) = range(&engine, &memory, &query);
        let (output, counted_whole) = range(&engine.counting_steps(true), &memory, &query);
        let (Ok(plain), Ok(output)) = (plain, output) else { return Ok(()) };
        prop_assert_eq!(plain.samples_by_step, None);
        // These know enough before the last series, or before the first.
        let reads_all = !["absent", "topk", "bottomk"].iter().any(|name| query.contains(name));
        prop_assert!(counted_whole == whole || !reads_all, "{}: {:?}", &query, (counted_whole, whole));
        let steps = output.samples_by_step.unwrap();
        prop_assert_eq!(steps.len(), 8);
        prop_assert_eq!(sum(&steps), counted_whole, "{}", &query);
        let engine = engine.counting_steps(true);
        for step in &steps {
            let (alone, (queryable, _)) = counted(|context| engine.instant(&memory, context, &query, step.time_ms));
            prop_assert!(alone.is_err() || step.queryable == queryable, "{} at {:?}: {}", &query, step, queryable);
        }
    }
}

/// Ten minutes of samples each half a minute, and of histograms each minute.
fn mixed() -> Memory {
    let histogram = Histogram { count: 1.0, sum: 1.0, ..Histogram::default() };
    let mut memory = Memory::default().all(&[("__name__", "x")], 30_000, &[1.0; 21]);
    memory = memory.histograms(&[("__name__", "h")], 60_000, &vec![histogram; 15]);
    memory
}

/// At 300 s, 360 s and 420 s: what was looked at, and what of it was new.
fn of_steps(query: &str) -> Vec<(u64, u64)> {
    let context = context();
    let output = engine(1).counting_steps(true).range(&mixed(), &context, query, 300_000, 420_000, 60_000).unwrap();
    output.samples_by_step.unwrap().iter().map(|step| (step.queryable, step.read)).collect()
}

#[test]
fn every_kind_of_operator_counts_as_in_prometheus() {
    for (query, expected) in [
        ("x", [(1, 1); 3]),
        ("1 + 2", [(0, 0); 3]),
        ("timestamp(x)", [(1, 1); 3]),
        ("x + x", [(2, 2); 3]),
        ("rate(x[2m])", [(4, 4), (4, 2), (4, 2)]),
        ("rate(x[30s])", [(1, 1); 3]),
        ("x @ 100", [(1, 1), (1, 0), (1, 0)]),
        ("rate(x[2m] @ 300)", [(4, 4), (4, 0), (4, 0)]),
        ("predict_linear(x[2m] @ 300, time())", [(4, 4), (4, 0), (4, 0)]),
        // A histogram counts as the samples that its memory would hold, eleven without buckets.
        ("h", [(11, 11); 3]),
        ("sum_over_time(h[2m])", [(22, 22), (22, 11), (22, 11)]),
        // Results are looked at, samples are read; no window sees those between 300 s and 330 s.
        ("sum_over_time(x[2m:1m])", [(2, 2), (2, 1), (2, 1)]),
        ("sum_over_time(x[30s:10s])", [(3, 3); 3]),
        ("sum_over_time(rate(x[2m])[1m:30s])", [(2, 5), (2, 2), (2, 2)]),
        ("sum_over_time((x + x @ 100)[2m:1m])", [(2, 3), (2, 1), (2, 1)]),
        ("absent_over_time(x[1m])", [(2, 2); 3]),
        ("scalar(x) + x", [(2, 2); 3]),
    ] {
        assert_eq!(of_steps(query), expected, "{query}");
    }
}

#[test]
fn a_matrix_counts_at_the_time_of_the_query() {
    for (query, expected) in
        [("x[2m]", (4, 4)), ("x[2m:1m]", (2, 2)), ("rate(x[2m])[2m:1m]", (8, 6)), ("\"x\"", (0, 0))]
    {
        let (output, whole) = counted(|context| {
            engine(1).counting_steps(true).instant(&mixed(), context, query, 300_000).unwrap().samples_by_step.unwrap()
        });
        let step = StepSamples { time_ms: 300_000, queryable: expected.0, read: expected.1 };
        assert_eq!((output, whole), (vec![step], expected), "{query}");
    }
}

#[test]
fn steps_are_counted_only_with_the_feature() {
    let engine = Engine::new(EngineOptions::default()).counting_steps(true);
    assert_eq!(range(&engine, &mixed(), "x").0.unwrap().samples_by_step, None);
}
