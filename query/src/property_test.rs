//! What must hold of any query: a range query yields at each step what an instant query yields then, a pinned query is
//! the same at all steps, and nothing panics.

use proptest::prelude::*;

use crate::testing::Memory;
use crate::{QueryError, Value};
use marigram_storage::model::labels::Labels;
use marigram_storage::model::sample::stale_nan;

const STEP_MS: i64 = 45_000;
const STEPS: i64 = 8;
const START_MS: i64 = 120_000;

/// Series with gaps, resets, special numbers and ends.
pub(crate) fn memory() -> Memory {
    let name = |n: &'static str, job: &'static str, le: &'static str| [("__name__", n), ("job", job), ("le", le)];
    let some = |values: &[f64]| values.iter().copied().map(Some).collect::<Vec<_>>();
    Memory::default()
        .with(&name("a", "x", ""), 30_000, &some(&[1.0, 2.0, 5.0, 3.0, 3.0, 9.0, 1.0, 4.0, 8.0, 8.0, 20.0, 21.0]))
        .with(&name("a", "y", ""), 20_000, &[Some(7.0), None, Some(stale_nan()), None, Some(-1.0), Some(f64::INFINITY)])
        .with(&name("b", "x", ""), 60_000, &some(&[0.5, f64::NAN, 1.5, 2.5, 4.5, 4.25, 1e300, 1e300, 3.0]))
        .with(&name("b", "z", ""), 15_000, &some(&[100.0, 90.0, 80.0]))
        .with(&name("h", "x", "1"), 60_000, &some(&[1.0, 2.0, 3.0, 4.0, 5.0, 9.0, 9.0, 9.0]))
        .with(&name("h", "x", "2"), 60_000, &some(&[2.0, 3.0, 3.0, 3.0, 8.0, 9.0, 9.0, 10.0]))
        .with(&name("h", "x", "+Inf"), 60_000, &some(&[2.0, 4.0, 4.0, 6.0, 9.0, 12.0, 12.0, 12.0]))
}

fn selector() -> impl Strategy<Value = String> {
    let base = prop_oneof![
        Just("a"),
        Just("b"),
        Just("h"),
        Just(r#"{__name__=~"a|b"}"#),
        Just(r#"a{job="x"}"#),
        Just(r#"b{job!="x"}"#),
        Just("none"),
    ];
    (base, prop_oneof![3 => Just(""), 1 => Just(" offset 1m"), 1 => Just(" offset -30s"), 1 => Just(" @ 150")])
        .prop_map(|(base, modifier)| format!("{base}{modifier}"))
}

fn ranged(inner: impl Strategy<Value = String>) -> impl Strategy<Value = String> {
    let over = prop_oneof![
        Just("rate"),
        Just("increase"),
        Just("delta"),
        Just("irate"),
        Just("deriv"),
        Just("changes"),
        Just("resets"),
        Just("sum_over_time"),
        Just("avg_over_time"),
        Just("max_over_time"),
        Just("last_over_time"),
        Just("stddev_over_time"),
        Just("absent_over_time"),
    ];
    let plain =
        prop_oneof![Just("a[2m]"), Just(r#"{__name__=~"a|b"}[1m]"#), Just("b[5m] @ 200"), Just("a[90s] offset 20s"),]
            .prop_map(str::to_owned);
    let sub = inner.prop_map(|inner| format!("({inner})[3m:25s]"));
    (over, prop_oneof![plain, sub]).prop_map(|(over, range)| format!("{over}({range})"))
}

fn scalar() -> impl Strategy<Value = String> {
    prop_oneof![Just("2"), Just("time()"), Just(r#"scalar(a{job="x"})"#), Just("-0.5"), Just("NaN")]
        .prop_map(str::to_owned)
}

pub(crate) fn vector() -> impl Strategy<Value = String> {
    selector().boxed().prop_recursive(4, 24, 2, |inner| {
        let grouping = prop_oneof![Just(""), Just(" by (job)"), Just(" without (le)"), Just(" by (__name__, le)")];
        let folds = prop_oneof![
            Just("sum"),
            Just("avg"),
            Just("count"),
            Just("min"),
            Just("max"),
            Just("group"),
            Just("stddev"),
            Just("stdvar"),
        ];
        let ranked = prop_oneof![Just("topk"), Just("bottomk"), Just("quantile")];
        let mapped = prop_oneof![
            Just("abs"),
            Just("sgn"),
            Just("-"),
            Just("timestamp"),
            Just("hour"),
            Just("exp"),
            Just("absent")
        ];
        let operators = prop_oneof![
            Just("+"),
            Just("- on (job)"),
            Just("* ignoring (le) group_left ()"),
            Just("> on (job) group_right (le)"),
            Just("== bool"),
            Just("and on (job)"),
            Just("or"),
            Just("unless on (job)"),
        ];
        let with_scalar = prop_oneof![Just("+"), Just(">"), Just("<= bool"), Just("%"), Just("^")];
        prop_oneof![
            (folds, grouping.clone(), inner.clone()).prop_map(|(f, g, v)| format!("{f}{g} ({v})")),
            (ranked, grouping, scalar(), inner.clone())
                .prop_map(|(f, g, k, v)| format!("{f}{g} ({}, {v})", if k == "NaN" { "1" } else { &k })),
            (mapped, inner.clone()).prop_map(|(f, v)| format!("{f}({v})")),
            (inner.clone(), operators, inner.clone()).prop_map(|(l, op, r)| format!("({l}) {op} ({r})")),
            (inner.clone(), with_scalar, scalar()).prop_map(|(v, op, s)| format!("({v}) {op} {s}")),
            inner.clone().prop_map(|v| format!(r#"label_replace({v}, "le", "$1", "job", "(x|y)")"#)),
            inner.clone().prop_map(|v| format!("histogram_quantile(0.9, {v})")),
            ranged(inner),
        ]
    })
}

type Samples = Vec<(Labels, u64)>;

/// All NaN are one; the sort is by labels.
fn normal(mut samples: Samples) -> Samples {
    samples.iter_mut().filter(|s| f64::from_bits(s.1).is_nan()).for_each(|s| s.1 = f64::NAN.to_bits());
    samples.sort();
    samples
}

/// Equal but for the last bits: an instant `topk` hands its series on in another order, and sums of floats depend on it.
fn equal(left: &Samples, right: &Samples) -> bool {
    let close = |a: u64, b: u64| {
        let (x, y) = (f64::from_bits(a), f64::from_bits(b));
        a == b || (x - y).abs() <= 1e-12 * x.abs().max(y.abs())
    };
    left.len() == right.len() && left.iter().zip(right).all(|(l, r)| l.0 == r.0 && close(l.1, r.1))
}

fn instant(memory: &Memory, query: &str, time_ms: i64) -> Result<Samples, QueryError> {
    match memory.instant(query, time_ms)?.value {
        Value::Vector(v) => Ok(normal(v.into_iter().map(|s| (s.labels, s.value.float().unwrap().to_bits())).collect())),
        other => panic!("{query}: {other:?}"),
    }
}

fn at_step(value: &Value, time_ms: i64) -> Samples {
    let Value::Matrix(series) = value else { panic!("{value:?}") };
    let at = |s: &crate::Series| s.times_ms.iter().position(|&t| t == time_ms).map(|i| s.values[i].to_bits());
    normal(series.iter().filter_map(|s| Some((s.labels.clone(), at(s)?))).collect())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    #[test]
    fn a_range_query_is_its_instant_queries(query in vector()) {
        let memory = memory();
        let end_ms = START_MS + (STEPS - 1) * STEP_MS;
        if let Ok(range) = memory.range(&query, (START_MS, end_ms, STEP_MS)) {
            let Value::Matrix(series) = &range.value else { panic!("{range:?}") };
            prop_assert!(series.windows(2).all(|w| w[0].labels < w[1].labels), "{query}");
            prop_assert!(series.iter().all(|s| s.times_ms.windows(2).all(|w| w[0] < w[1])), "{query}");
            for step in 0..STEPS {
                let time_ms = START_MS + step * STEP_MS;
                let alone = instant(&memory, &query, time_ms);
                prop_assert!(alone.is_ok(), "{query} at {time_ms}: {alone:?}");
                let (stepped, alone) = (at_step(&range.value, time_ms), alone.unwrap());
                prop_assert!(equal(&stepped, &alone), "{query} at {time_ms}: {stepped:?}, alone {alone:?}");
            }
        }
    }
}
