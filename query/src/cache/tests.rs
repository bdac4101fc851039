use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use marigram_storage::Result;
use marigram_storage::context::Context;
use marigram_storage::db::{Change, Settled};
use marigram_storage::env::ManualClock;
use marigram_storage::model::histogram::Histogram;
use marigram_storage::model::labels::Labels;
use marigram_storage::model::matcher::Matcher;
use marigram_storage::model::time::TimeRange;
use marigram_storage::select::{SelectRequest, SeriesStream};
use marigram_storage::write::MetadataEntry;
use parking_lot::Mutex;
use proptest::prelude::*;

use super::*;
use crate::property_test::{memory, vector};
use crate::testing::{Memory, context, engine};
use crate::value::Series;
use crate::{EngineOptions, Features};

/// Series that can be written to, and whose changes are counted.
struct Live {
    memory: Mutex<Memory>,
    settled: Mutex<(i64, Vec<Change>)>,
    selects: AtomicUsize,
}

impl Live {
    fn new(memory: Memory) -> Arc<Self> {
        let settled = Mutex::new((i64::MIN, Vec::new()));
        Arc::new(Live { memory: Mutex::new(memory), settled, selects: AtomicUsize::new(0) })
    }

    fn write(&self, series: usize, time_ms: i64, value: f64) {
        self.memory.lock().write(series, time_ms, value);
        let (up_to_ms, changes) = &mut *self.settled.lock();
        if time_ms <= *up_to_ms {
            let range = TimeRange { start_ms: time_ms, end_ms: time_ms };
            changes.push(Change { number: changes.len() as u64 + 1, range });
        }
    }

    fn selects(&self) -> usize {
        self.selects.load(Ordering::Relaxed)
    }
}

impl Changes for Live {
    fn settle(&self, _: &Context, up_to_ms: i64) -> Option<Settled> {
        let (mark_ms, changes) = &mut *self.settled.lock();
        *mark_ms = up_to_ms.max(*mark_ms);
        Some(Settled::new(*mark_ms, changes.len() as u64, changes.clone()))
    }
}

impl Source for Live {
    fn select(&self, context: &Context, request: SelectRequest<'_>) -> Result<Box<dyn SeriesStream>> {
        self.selects.fetch_add(1, Ordering::Relaxed);
        self.memory.lock().select(context, request)
    }

    fn series(&self, _: &Context, _: &[Vec<Matcher>], _: TimeRange, _: usize) -> Result<Vec<Labels>> {
        unreachable!("no query asks")
    }

    fn label_names(&self, _: &Context, _: &[Vec<Matcher>], _: TimeRange, _: usize) -> Result<Vec<String>> {
        unreachable!("no query asks")
    }

    fn label_values(&self, _: &Context, _: &str, _: &[Vec<Matcher>], _: TimeRange, _: usize) -> Result<Vec<String>> {
        unreachable!("no query asks")
    }

    fn metadata(&self, _: &Context) -> Result<BTreeMap<String, Vec<MetadataEntry>>> {
        unreachable!("no query asks")
    }
}

/// A live source behind a cache.
struct Cached {
    live: Arc<Live>,
    clock: Arc<ManualClock>,
    cache: RangeCache,
    engine: Engine,
}

impl Cached {
    fn new(memory: Memory, bytes_max: usize, now_ms: i64) -> Self {
        let (live, clock) = (Live::new(memory), Arc::new(ManualClock::new(now_ms)));
        let options = CacheOptions { bytes_max, min_age_ms: 60_000 };
        let cache =
            RangeCache::new(options, Arc::clone(&clock) as Arc<dyn Clock>, Arc::clone(&live) as Arc<dyn Changes>);
        Cached { live, clock, cache, engine: engine() }
    }

    fn ask(&self, query: &str, times: Times) -> std::result::Result<QueryOutput, QueryError> {
        self.cache.range(&self.engine, &*self.live, &context(), query, times)
    }

    fn ask_without(
        &self,
        query: &str,
        (start_ms, end_ms, step_ms): Times,
    ) -> std::result::Result<QueryOutput, QueryError> {
        self.engine.range(&*self.live, &context(), query, start_ms, end_ms, step_ms)
    }

    /// What the cache says of the requests so far: hits, partial ones, misses, passed.
    fn requests(&self) -> [u64; 4] {
        self.cache.stats().requests.map(|(_, count)| count)
    }

    /// Asks with and without the cache, and compares bit by bit.
    fn check(&self, query: &str, times: Times) {
        let (with, without) = (self.ask(query, times), self.ask_without(query, times));
        let (with, without) = match (with, without) {
            (Ok(with), Ok(without)) => (with, without),
            (with, without) => {
                assert_eq!(with.map(|_| ()), without.map(|_| ()), "{query} {times:?}");
                return;
            }
        };
        assert_eq!(bits(&with.value), bits(&without.value), "{query} {times:?}");
        let told = |output: &QueryOutput| {
            [output.annotations.warnings().to_vec(), output.annotations.infos().to_vec()].concat()
        };
        let with = told(&with);
        assert!(told(&without).iter().all(|remark| with.contains(remark)), "{query} {times:?}");
    }
}

type Bits = Vec<(Labels, Vec<(i64, u64)>, String)>;

/// The bits of a value. Which NaN a sum without a result is depends on the order of its parts, and nobody sees it.
fn float_bits(value: f64) -> u64 {
    if value.is_nan() { f64::NAN.to_bits() } else { value.to_bits() }
}

fn bits(value: &Value) -> Bits {
    let Value::Matrix(series) = value else { panic!("{value:?}") };
    let floats = |one: &Series| one.times_ms.iter().copied().zip(one.values.iter().map(|v| float_bits(*v))).collect();
    series.iter().map(|one| (one.labels.clone(), floats(one), format!("{:?}", one.histograms))).collect()
}

const MINUTE_MS: i64 = 60_000;

fn counters() -> Memory {
    let values: Vec<f64> = (0..120).map(|i| f64::from(i) * 0.1).collect();
    Memory::default()
        .all(&[("__name__", "x_total"), ("job", "a")], 30_000, &values)
        .all(&[("__name__", "x_total"), ("job", "b")], 30_000, &values)
        .all(&[("__name__", "gauge"), ("job", "a")], 30_000, &values)
}

#[test]
fn a_window_that_moves_on_is_evaluated_at_its_new_steps_only() {
    let cached = Cached::new(counters(), 1 << 20, 61 * MINUTE_MS);
    let query = "sum by (job) (rate(x_total[5m]))";
    cached.check(query, (10 * MINUTE_MS, 50 * MINUTE_MS, MINUTE_MS));
    assert_eq!(cached.requests(), [0, 0, 1, 0]);
    let selects = cached.live.selects();
    cached.ask(query, (10 * MINUTE_MS, 50 * MINUTE_MS, MINUTE_MS)).unwrap();
    cached.ask(query, (20 * MINUTE_MS, 30 * MINUTE_MS, MINUTE_MS)).unwrap();
    assert_eq!((cached.requests(), cached.live.selects()), ([2, 0, 1, 0], selects), "nothing was read");
    cached.check(query, (14 * MINUTE_MS, 54 * MINUTE_MS, MINUTE_MS));
    cached.check(query, (4 * MINUTE_MS, 60 * MINUTE_MS, MINUTE_MS));
    assert_eq!(cached.requests(), [2, 2, 1, 0]);
    cached.check(query, (4 * MINUTE_MS, 60 * MINUTE_MS, MINUTE_MS));
    assert_eq!(cached.requests(), [3, 2, 1, 0]);
    cached.check(query, (4 * MINUTE_MS + 1, 60 * MINUTE_MS, MINUTE_MS));
    cached.check(query, (4 * MINUTE_MS, 60 * MINUTE_MS, 2 * MINUTE_MS));
    assert_eq!(cached.requests(), [3, 2, 3, 0], "another grid is another question");
}

#[test]
fn what_may_change_soon_is_not_kept() {
    let cached = Cached::new(counters(), 1 << 20, 31 * MINUTE_MS);
    let times = (10 * MINUTE_MS, 40 * MINUTE_MS, MINUTE_MS);
    cached.check("x_total", times);
    // The horizon is at 30 minutes, and nobody is told of this.
    cached.live.write(0, 31 * MINUTE_MS, 77.0);
    cached.check("x_total", times);
    cached.check("x_total offset -20m", times);
    cached.live.write(0, 30 * MINUTE_MS + 1, 78.0);
    cached.check("x_total offset -20m", times);
    cached.check("x_total @ 1900", times);
    assert_eq!(cached.requests(), [0, 2, 2, 1]);
    cached.clock.set(62 * MINUTE_MS);
    cached.check("x_total", times);
    cached.check("x_total", times);
    assert_eq!(cached.requests(), [1, 3, 2, 1]);
}

#[test]
fn a_late_sample_is_seen_at_once_and_costs_only_the_steps_that_look_at_it() {
    let cached = Cached::new(counters(), 1 << 20, 61 * MINUTE_MS);
    let times = (10 * MINUTE_MS, 50 * MINUTE_MS, MINUTE_MS);
    cached.check("rate(x_total[5m])", times);
    cached.live.write(1, 30 * MINUTE_MS + 7, -5.0);
    cached.check("rate(x_total[5m])", times);
    assert_eq!(cached.requests(), [0, 1, 1, 0]);
    cached.check("rate(x_total[5m])", (10 * MINUTE_MS, 30 * MINUTE_MS, MINUTE_MS));
    cached.live.write(1, 9 * MINUTE_MS, -5.0);
    cached.check("rate(x_total[5m])", (31 * MINUTE_MS, 50 * MINUTE_MS, MINUTE_MS));
    assert_eq!(cached.requests(), [2, 1, 1, 0]);
    cached.check("rate(x_total[5m])", times);
    assert_eq!(cached.requests(), [2, 2, 1, 0]);
}

#[test]
fn remarks_are_made_again() {
    let cached = Cached::new(counters(), 1 << 20, 61 * MINUTE_MS);
    let times = (10 * MINUTE_MS, 50 * MINUTE_MS, MINUTE_MS);
    for _ in 0..2 {
        let output = cached.ask("rate(gauge[5m]) + on (job) quantile by (job) (2, x_total)", times).unwrap();
        assert_eq!((output.annotations.warnings().len(), output.annotations.infos().len()), (1, 1));
    }
    assert_eq!(cached.requests(), [1, 0, 1, 0]);
}

#[test]
fn what_compares_reset_hints_is_not_kept_since_they_depend_on_the_sample_before() {
    let histogram =
        |i: u32| Histogram { count: f64::from(i), sum: 1.0, zero_count: f64::from(i), ..Histogram::default() };
    let histograms: Vec<Histogram> = (1..100).map(histogram).collect();
    let memory = Memory::default().histograms(&[("__name__", "h")], 30_000, &histograms);
    let cached = Cached::new(memory, 1 << 20, 61 * MINUTE_MS);
    let times = (10 * MINUTE_MS, 40 * MINUTE_MS, MINUTE_MS);
    for query in ["h + h", "h + h", "sum(rate(h[5m]))", "sum(rate(h[5m]))", "h * 2", "h * 2"] {
        cached.check(query, times);
    }
    cached.check("sum(rate(h[5m]))", (11 * MINUTE_MS, 48 * MINUTE_MS, MINUTE_MS));
    assert_eq!(cached.requests(), [2, 1, 4, 0]);
}

#[test]
fn limits_hold_for_what_is_kept() {
    let mut cached = Cached::new(counters(), 1 << 20, 61 * MINUTE_MS);
    let times = (10 * MINUTE_MS, 50 * MINUTE_MS, MINUTE_MS);
    cached.ask("x_total", times).unwrap();
    cached.engine = Engine::new(EngineOptions { max_samples: 81, ..EngineOptions::default() });
    assert_eq!(cached.ask("x_total", times).unwrap_err(), QueryError::too_many_samples());
    assert_eq!(cached.requests(), [1, 0, 1, 0]);
    cached.engine = Engine::new(EngineOptions { max_samples: 82, ..EngineOptions::default() });
    let context = context();
    cached.cache.range(&cached.engine, &*cached.live, &context, "x_total", times).unwrap();
    let tally = context.tally();
    let figures = [&tally.samples_queryable, &tally.samples_read, &tally.samples_peak, &tally.samples_held];
    assert_eq!(figures.map(|figure| figure.load(Ordering::Relaxed)), [0, 0, 82, 0], "nothing was read");
}

#[test]
fn who_asks_for_figures_of_steps_asks_the_store() {
    let mut cached = Cached::new(counters(), 1 << 20, 61 * MINUTE_MS);
    let features = Features { per_step_stats: true, ..Features::default() };
    cached.engine = Engine::new(EngineOptions { features, ..EngineOptions::default() });
    let times = (10 * MINUTE_MS, 50 * MINUTE_MS, MINUTE_MS);
    let kept = cached.ask("x_total", times).unwrap();
    assert_eq!(kept.samples_by_step, None);
    cached.engine = cached.engine.counting_steps(true);
    let counted = cached.ask("x_total", times).unwrap();
    assert_eq!(counted.value, kept.value);
    assert!(counted.samples_by_step.unwrap().iter().all(|step| step.queryable == 2));
    assert_eq!(cached.requests(), [0, 0, 1, 0]);
}

#[test]
fn the_bound_holds_whatever_is_asked() {
    let cached = Cached::new(counters(), 16 << 10, 61 * MINUTE_MS);
    for at in 0..100 {
        let query = format!("x_total + {at}");
        cached.check(&query, (0, (10 + at % 40) * MINUTE_MS, MINUTE_MS));
        assert!(cached.cache.stats().bytes <= 16 << 10);
    }
    let stats = cached.cache.stats();
    assert!(stats.evictions > 80 && stats.entries > 3, "{stats:?}");
}

#[test]
fn a_piece_in_the_middle_has_to_be_longer_than_what_a_step_looks_back_at() {
    for (range, expected) in [("4m", [0, 1, 1, 0]), ("30m", [0, 0, 2, 0])] {
        let cached = Cached::new(counters(), 1 << 20, 61 * MINUTE_MS);
        let query = format!("increase(x_total[{range}])");
        cached.check(&query, (20 * MINUTE_MS, 30 * MINUTE_MS, MINUTE_MS));
        cached.check(&query, (5 * MINUTE_MS, 55 * MINUTE_MS, MINUTE_MS));
        assert_eq!(cached.requests(), expected, "{range}");
    }
}

#[derive(Clone, Debug)]
enum Step {
    /// Which query, first step, steps, step.
    Ask(usize, i64, i64, i64),
    Write(usize, i64, f64),
    Pass(i64),
}

fn step() -> impl Strategy<Value = Step> {
    let grid = prop_oneof![4 => Just((15_000, 0)), 1 => Just((45_000, 0)), 1 => Just((15_000, 4_000))];
    let ask = (0usize..2, 0i64..50, 1i64..40, grid);
    prop_oneof![
        6 => ask.prop_map(|(query, start, steps, (step_ms, phase_ms))| {
            Step::Ask(query, start * step_ms + phase_ms, steps, step_ms)
        }),
        2 => (0usize..7, 0i64..48, prop_oneof![Just(0.1), Just(3.7), Just(1e15)])
            .prop_map(|(series, at, value)| Step::Write(series, at * 15_000 + 500, value)),
        1 => (1i64..6).prop_map(|minutes| Step::Pass(minutes * MINUTE_MS)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    #[test]
    fn answers_are_the_same_with_and_without(
        queries in proptest::collection::vec(vector(), 2),
        steps in proptest::collection::vec(step(), 3..25),
        bytes_max in prop_oneof![Just(1usize << 20), Just(12_000)],
    ) {
        let cached = Cached::new(memory(), bytes_max, 6 * MINUTE_MS);
        let mut now_ms = 6 * MINUTE_MS;
        for step in steps {
            match step {
                Step::Ask(query, start_ms, steps, step_ms) => {
                    cached.check(&queries[query], (start_ms, start_ms + steps * step_ms, step_ms));
                }
                Step::Write(series, time_ms, value) => cached.live.write(series, time_ms, value),
                Step::Pass(passed_ms) => {
                    now_ms += passed_ms;
                    cached.clock.set(now_ms);
                }
            }
            prop_assert!(cached.cache.stats().bytes <= bytes_max);
        }
    }
}
