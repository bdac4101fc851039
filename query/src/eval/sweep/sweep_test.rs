//! A sweep has at each step what the function makes of that step's window alone.

use std::sync::Arc;

use marigram_storage::context::Context;
use marigram_storage::env::ManualClock;
use marigram_storage::model::tenant::TenantId;
use proptest::prelude::*;

use super::*;
use crate::eval::function::{over_time, rate};
use crate::eval::{Grid, SampleLimit};
use crate::plan::Moment;

type Kernel = fn(&Window<'_>) -> Option<f64>;

/// All functions that have a sweep.
const SWEPT: [(&str, Kernel); 20] = [
    ("rate", rate::rate),
    ("increase", rate::increase),
    ("delta", rate::delta),
    ("irate", rate::irate),
    ("idelta", rate::idelta),
    ("resets", rate::resets),
    ("changes", rate::changes),
    ("deriv", rate::deriv),
    ("predict_linear", rate::predict_linear),
    ("avg_over_time", over_time::avg),
    ("sum_over_time", over_time::sum),
    ("count_over_time", over_time::count),
    ("min_over_time", over_time::min),
    ("max_over_time", over_time::max),
    ("first_over_time", over_time::first),
    ("last_over_time", over_time::last),
    ("present_over_time", over_time::present),
    ("quantile_over_time", over_time::quantile_of),
    ("stddev_over_time", over_time::stddev),
    ("stdvar_over_time", over_time::stdvar),
];

/// Those that take sums apart where very many windows overlap; else all agree to the bit.
const SUMMED: [&str; 2] = ["avg_over_time", "sum_over_time"];

/// What is swept: samples, windows, and scalar arguments.
#[derive(Clone, Debug)]
struct Case {
    times: Vec<i64>,
    values: Vec<f64>,
    grid: Grid,
    moment: Moment,
    range_ms: i64,
    args: Vec<f64>,
}

fn value() -> impl Strategy<Value = f64> {
    let special = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 0.0, -0.0, 1e300, -1e300, f64::MAX, 5e-324, 1e16, -1e16];
    prop::sample::select(special.to_vec())
}

/// Values of one kind, as a series has them: all whole, all of one size, walks that hardly change, counters, anything.
fn values(count: usize) -> impl Strategy<Value = Vec<f64>> {
    let of = |value: BoxedStrategy<f64>| prop::collection::vec(value, count);
    prop_oneof![
        4 => of((-1000..1000_i32).prop_map(f64::from).boxed()),
        4 => of((0.0..1.0).boxed()),
        2 => of(prop_oneof![-1e3..1e3, -1e-9..1e-9, Just(0.0)].boxed()),
        2 => of(prop_oneof![8 => -1e6..1e6, 1 => value()].boxed()),
        1 => of(any::<f64>().boxed()),
        1 => of(prop_oneof![9 => Just(7.5), 1 => Just(7.25)].boxed()),
        4 => of(prop_oneof![9 => (0..50_i32).prop_map(f64::from), 1 => Just(-1.0)].boxed()).prop_map(counter),
        2 => (of((-1..2_i32).prop_map(f64::from).boxed()), prop::sample::select(vec![1e9, 1e12, 0.3, 1e15 + 0.5]))
            .prop_map(|(changes, base)| walk(&changes, base)),
    ]
}

/// A counter that goes up by these numbers; below zero it begins anew.
fn counter(changes: Vec<f64>) -> Vec<f64> {
    let mut now = 0.0;
    changes
        .iter()
        .map(|change| {
            now = if *change < 0.0 { 0.0 } else { now + change };
            now
        })
        .collect()
}

fn walk(changes: &[f64], base: f64) -> Vec<f64> {
    let mut now = base;
    changes
        .iter()
        .map(|change| {
            now += change * base * 1e-7;
            now
        })
        .collect()
}

/// Times after one another: regular, with samples left out, or with jitter.
fn times(count: usize) -> impl Strategy<Value = Vec<i64>> {
    let distances = prop_oneof![
        3 => Just(vec![15_000_i64; count]),
        2 => prop::collection::vec(prop_oneof![20 => Just(15_000_i64), 1 => Just(30_000), 1 => Just(400_000)], count),
        2 => prop::collection::vec(14_900..15_100_i64, count),
        1 => prop::collection::vec(1..100_000_i64, count),
    ];
    (distances, -10_000_000..10_000_000_i64).prop_map(|(distances, mut now)| {
        distances
            .iter()
            .map(|distance| {
                now += distance;
                now
            })
            .collect()
    })
}

fn case() -> impl Strategy<Value = Case> {
    let samples = (0..120_usize).prop_flat_map(|count| (times(count), values(count)));
    let step_ms = prop_oneof![Just(15_000_i64), Just(60_000), Just(20_000), 1..200_000_i64];
    let range_ms = prop_oneof![Just(300_000_i64), Just(60_000), Just(15_000), 1..2_000_000_i64];
    let grid = (-500_000..500_000_i64, step_ms, 1..80_usize);
    let pinned = prop_oneof![9 => Just(None), 1 => (0..1_000_000_i64).prop_map(Some)];
    let q = prop_oneof![Just(0.5), Just(0.9), -0.5..1.5_f64, Just(f64::NAN)];
    (samples, grid, range_ms, pinned, -100_000..100_000_i64, q).prop_map(
        |((times, values), (before_ms, step_ms, steps), range_ms, at_ms, offset_ms, q)| {
            let first_ms = times.first().copied().unwrap_or_default();
            let grid = Grid::new(first_ms + before_ms, step_ms, steps);
            let moment = Moment { at_ms: at_ms.map(|at_ms| first_ms + at_ms), offset_ms };
            let args = (0..steps).map(|step| if step % 7 == 3 { 0.25 } else { q }).collect();
            Case { times, values, grid, moment, range_ms, args }
        },
    )
}

impl Case {
    fn swept(&self, name: &str, scratch: &mut Scratch) -> (Vec<Option<f64>>, Coverage) {
        let limit = SampleLimit::new(1 << 20);
        let context = Context::new(TenantId::default(), Arc::new(ManualClock::default()), None, 1 << 30);
        let mut column = Column::empty(self.grid.steps, limit.hold(self.grid.steps).unwrap());
        let args = [ScalarColumn::Values(self.args.clone(), limit.hold(0).unwrap())];
        let slide = Slide::new(self.grid, self.moment, self.range_ms).unwrap();
        let samples = (&*self.times, &*self.values);
        let coverage =
            Sweep::of(name).unwrap().evaluate(&context, samples, slide, &args, scratch, &mut column).unwrap();
        ((0..self.grid.steps).map(|step| column.float(step)).collect(), coverage)
    }

    /// The windows, found one by one.
    fn windows(&self) -> impl Iterator<Item = Option<Window<'_>>> {
        (0..self.grid.steps).map(|step| {
            let time_ms = self.grid.time_ms(step);
            let end_ms = self.moment.of(time_ms);
            let start_ms = end_ms - self.range_ms;
            let from = self.times.partition_point(|t| *t <= start_ms);
            let to = self.times.partition_point(|t| *t <= end_ms);
            (from < to).then(|| Window {
                times: &self.times[from..to],
                values: &self.values[from..to],
                histograms: &[],
                starts: &[],
                start_ms,
                end_ms,
                range_ms: self.range_ms,
                time_ms,
                args: [self.args[step], 0.0],
            })
        })
    }
}

fn same(name: &str, coverage: Coverage, swept: Option<f64>, alone: Option<f64>) -> bool {
    match (swept, alone) {
        (Some(swept), Some(alone)) => {
            let apart = SUMMED.contains(&name) && coverage.looked_at > 60 * coverage.read;
            let near = apart && (swept - alone).abs() <= 1e-11 * swept.abs().max(alone.abs());
            swept == alone || near || swept.is_nan() && alone.is_nan()
        }
        (swept, alone) => swept.is_none() && alone.is_none(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn a_sweep_is_its_windows(cases in prop::collection::vec(case(), 1..4)) {
        for (name, kernel) in SWEPT {
            // What is left in it of another series does not matter.
            let mut scratch = Scratch::default();
            for case in &cases {
                let (swept, coverage) = case.swept(name, &mut scratch);
                let mut windows = case.windows();
                for (step, swept) in swept.into_iter().enumerate() {
                    let alone = windows.next().unwrap().and_then(|window| kernel(&window));
                    prop_assert!(same(name, coverage, swept, alone), "{name} at step {step}: {swept:?}, alone {alone:?}, {case:?}");
                }
                let looked_at: usize = case.windows().flatten().map(|window| window.values.len()).sum();
                prop_assert_eq!(coverage.looked_at, looked_at as u64);
            }
        }
    }
}

/// A long series of numbers without end, whose windows must all be looked at.
fn long(value: impl Fn(usize) -> f64) -> Case {
    let count = 6000;
    Case {
        times: (1..=count as i64).map(|i| i * 1000).collect(),
        values: (0..count).map(value).collect(),
        grid: Grid::new(3_000_000, 1000, 3000),
        moment: Moment::default(),
        range_ms: 3_000_000,
        args: vec![0.5; 3000],
    }
}

#[test]
fn what_looks_at_long_windows_at_many_steps_can_be_ended() {
    let context = Context::new(TenantId::default(), Arc::new(ManualClock::default()), None, 1 << 30);
    context.cancel();
    let limit = SampleLimit::new(1 << 20);
    let spoiled = long(|i| if i % 2 == 0 { f64::INFINITY } else { 1.0 });
    let falling = long(|i| if i % 2 == 0 { 5.0 } else { 1.0 });
    for (name, case) in [
        ("avg_over_time", &spoiled),
        ("deriv", &spoiled),
        ("stddev_over_time", &spoiled),
        ("deriv", &falling),
        ("rate", &falling),
    ] {
        let mut column = Column::empty(case.grid.steps, limit.hold(case.grid.steps).unwrap());
        let slide = Slide::new(case.grid, case.moment, case.range_ms).unwrap();
        let samples = (&*case.times, &*case.values);
        let ended =
            Sweep::of(name).unwrap().evaluate(&context, samples, slide, &[], &mut Scratch::default(), &mut column);
        assert!(ended.is_err(), "{name}");
    }
}

#[test]
fn long_windows_are_swept_as_they_are_looked_at() {
    let case = long(|i| (i * i % 97) as f64 / 7.0);
    for (name, kernel) in SWEPT.iter().filter(|(name, _)| !name.starts_with("std")) {
        let (swept, coverage) = case.swept(name, &mut Scratch::default());
        for (swept, window) in swept.into_iter().zip(case.windows()).step_by(500) {
            let alone = window.and_then(|window| kernel(&window));
            assert!(same(name, coverage, swept, alone), "{name}: {swept:?}, alone {alone:?}");
        }
    }
}

#[test]
fn memory_that_the_query_may_not_hold_is_not_taken() {
    let case = long(|i| i as f64);
    let context = Context::new(TenantId::default(), Arc::new(ManualClock::default()), None, 1000);
    let slide = Slide::new(case.grid, case.moment, case.range_ms).unwrap();
    let mut column = Column::empty(case.grid.steps, SampleLimit::new(1 << 20).hold(case.grid.steps).unwrap());
    let samples = (&*case.times, &*case.values);
    let swept =
        Sweep::of("rate").unwrap().evaluate(&context, samples, slide, &[], &mut Scratch::default(), &mut column);
    assert!(swept.is_err());
}
