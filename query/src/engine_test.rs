//! The engine as a whole, on a source in memory: what the operators of a query make of series together.

use crate::error::QueryErrorKind;
use crate::testing::{Memory, context};
use crate::{Engine, EngineOptions, Features, Value};
use marigram_storage::context::Context;
use marigram_storage::env::{Clock, ManualClock};
use marigram_storage::model::sample::stale_nan;
use marigram_storage::model::tenant::TenantId;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

const MINUTE: i64 = 60_000;

fn requests() -> Memory {
    let series = |job: &'static str, instance: &'static str| {
        [("__name__", "requests_total"), ("job", job), ("instance", instance)]
    };
    let line = |by: f64| (0..=60).map(|i| f64::from(i) * by).collect::<Vec<_>>();
    Memory::default()
        .all(&series("api", "0"), MINUTE, &line(60.0))
        .all(&series("api", "1"), MINUTE, &line(120.0))
        .all(&series("app", "0"), MINUTE, &line(180.0))
        .all(&series("app", "1"), MINUTE, &line(240.0))
        .all(&[("__name__", "limit"), ("job", "api")], MINUTE, &[100.0; 61])
        .all(&[("__name__", "limit"), ("job", "app")], MINUTE, &[200.0; 61])
}

#[test]
fn selectors_look_back_five_minutes_and_stop_at_a_staleness_marker() {
    let memory = Memory::default().all(&[("__name__", "a")], MINUTE, &[1.0, 2.0]).all(
        &[("__name__", "b")],
        MINUTE,
        &[1.0, stale_nan(), 3.0],
    );
    assert_eq!(memory.lines("a", 6 * MINUTE - 1), [r#"{__name__="a"} 2"#]);
    // The lookback is open on the left.
    assert!(memory.lines("a", 6 * MINUTE).is_empty());
    assert_eq!(memory.lines("a offset 5m", 6 * MINUTE), [r#"{__name__="a"} 2"#]);
    assert_eq!(memory.range_lines("b", (0, 3 * MINUTE, MINUTE)), [r#"{__name__="b"} 1@0 3@120 3@180"#]);
    assert_eq!(memory.lines("count_over_time(b[10m])", 3 * MINUTE), ["{} 2"]);
}

#[test]
fn rates_and_aggregations() {
    let memory = requests();
    let at = 50 * MINUTE;
    assert_eq!(memory.lines("sum(rate(requests_total[5m]))", at), ["{} 10"]);
    assert_eq!(memory.lines("sum by (job) (rate(requests_total[5m]))", at), [r#"{job="api"} 3"#, r#"{job="app"} 7"#]);
    assert_eq!(memory.lines("avg without (instance, job) (requests_total @ 60)", at), ["{} 150"]);
    assert_eq!(memory.lines("count(requests_total) + 1", at), ["{} 5"]);
    assert_eq!(
        memory.lines("max by (instance) (requests_total @ 60)", at),
        [r#"{instance="0"} 180"#, r#"{instance="1"} 240"#]
    );
    assert_eq!(memory.lines("quantile(0.5, requests_total @ 60)", at), ["{} 150"]);
    assert_eq!(memory.lines("stdvar(requests_total @ 60)", at), ["{} 4500"]);
    assert_eq!(memory.lines("group by (job) (requests_total)", at), [r#"{job="api"} 1"#, r#"{job="app"} 1"#]);
    assert_eq!(memory.lines(r#"count_values("v", limit > 100 or vector(200))"#, at), [r#"{v="200"} 2"#]);
    assert_eq!(
        memory.lines("topk by (job) (1, requests_total @ 60)", at),
        [
            r#"{__name__="requests_total", instance="1", job="api"} 120"#,
            r#"{__name__="requests_total", instance="1", job="app"} 240"#
        ]
    );
    // The first of what has an order, else of the order of labels.
    assert_eq!(memory.lines("limitk(1, limit)", at), [r#"{__name__="limit", job="api"} 100"#]);
    assert_eq!(memory.lines("limitk(1, sort_desc(limit))", at), [r#"{__name__="limit", job="app"} 200"#]);
    assert_eq!(memory.lines("limitk(1, -topk(2, limit))", at), [r#"{job="app"} -200"#]);
    assert_eq!(
        memory.range_lines("limitk(1, sort_desc(limit))", (at, at + MINUTE, MINUTE)),
        [r#"{__name__="limit", job="api"} 100@3000 100@3060"#]
    );
    assert_eq!(memory.lines("sort_desc(limit)", at)[0], r#"{__name__="limit", job="app"} 200"#);
}

#[test]
fn matching_of_two_vectors() {
    let memory = requests();
    let at = MINUTE;
    assert_eq!(
        memory.lines("requests_total / on (job) group_left () limit", at),
        [
            r#"{instance="0", job="api"} 0.6"#,
            r#"{instance="0", job="app"} 0.9"#,
            r#"{instance="1", job="api"} 1.2"#,
            r#"{instance="1", job="app"} 1.2"#
        ]
    );
    assert_eq!(memory.lines("limit > on (job) group_right () requests_total", at).len(), 2);
    assert_eq!(memory.lines("requests_total and on (job) (limit > 100)", at).len(), 2);
    assert_eq!(memory.lines("requests_total unless on (job) (limit > 100)", at).len(), 2);
    assert_eq!(memory.lines("limit or requests_total", at).len(), 6);
    let many = memory.instant("limit * on (job) requests_total", at).unwrap_err();
    assert_eq!(many.kind, QueryErrorKind::Execution);
    assert_eq!(
        many.message,
        "found duplicate series for the match group {job=\"api\"} on the right hand-side of the operation: \
         [{__name__=\"requests_total\", instance=\"1\", job=\"api\"}, {__name__=\"requests_total\", instance=\"0\", \
         job=\"api\"}];many-to-many matching not allowed: matching labels must be unique on one side"
    );
    assert_eq!(
        memory.instant("requests_total * on (job) limit", at).unwrap_err().message,
        "multiple matches for labels: many-to-one matching must be explicit (group_left/group_right)"
    );
}

#[test]
fn dropped_names_may_not_make_two_series_one() {
    let memory = Memory::default().with(&[("__name__", "a")], MINUTE, &[Some(1.0), Some(2.0)]).with(
        &[("__name__", "b")],
        MINUTE,
        &[None; 20].iter().copied().chain([Some(3.0)]).collect::<Vec<_>>(),
    );
    let both = r#"{__name__=~"a|b"}"#;
    // At no step do both have a sample: one series comes out, put together.
    assert_eq!(memory.range_lines(&format!("abs({both})"), (0, 20 * MINUTE, 10 * MINUTE)), ["{} 1@0 3@1200"]);
    assert_eq!(
        memory.range_lines(&format!("sum_over_time(abs({both})[16m:1m])"), (20 * MINUTE, 20 * MINUTE, MINUTE)),
        ["{} 5@1200"]
    );
    let clash = memory.instant(&format!("-({both} offset 19m or a @ 0)"), 20 * MINUTE);
    assert!(clash.is_ok());
    let twice = Memory::default().all(&[("__name__", "a")], MINUTE, &[1.0]).all(&[("__name__", "b")], MINUTE, &[1.0]);
    for query in
        [format!("-{both}"), format!("abs({both})"), format!("{both} * 2"), format!("count_over_time({both}[5m])")]
    {
        assert_eq!(
            twice.instant(&query, 0).unwrap_err().message,
            "vector cannot contain metrics with the same labelset",
            "{query}"
        );
    }
}

#[test]
fn what_is_pinned_is_the_same_at_all_steps() {
    let memory = requests();
    assert_eq!(
        memory.range_lines("sum(requests_total @ 60) + time() / 60", (0, 2 * MINUTE, MINUTE)),
        ["{} 600@0 601@60 602@120"]
    );
    assert_eq!(
        memory.range_lines("count(requests_total @ end()) by (job)", (0, MINUTE, MINUTE)),
        [r#"{job="api"} 2@0 2@60"#, r#"{job="app"} 2@0 2@60"#]
    );
    assert_eq!(
        memory.range_lines("timestamp(limit{job=\"api\"} @ 90)", (0, MINUTE, MINUTE)),
        [r#"{job="api"} 60@0 60@60"#]
    );
    assert_eq!(memory.range_lines("scalar(limit{job=\"api\"} @ 60) - 1", (0, MINUTE, MINUTE)), ["{} 99@0 99@60"]);
}

#[test]
fn sub_queries_lie_on_multiples_of_their_step() {
    let memory = Memory::default().all(&[("__name__", "a")], 10_000, &(0..100).map(f64::from).collect::<Vec<_>>());
    let Value::Matrix(series) = memory.instant("a[30s:7s]", 100_000).unwrap().value else { panic!("no matrix") };
    assert_eq!(series[0].times_ms, [77_000, 84_000, 91_000, 98_000]);
    assert_eq!(series[0].values, [7.0, 8.0, 9.0, 9.0]);
    assert_eq!(memory.lines("max_over_time(rate(a[1m])[5m:1m])", 600_000), ["{} 0.1"]);
    assert_eq!(memory.lines("sum_over_time(a[20s:10s] offset 50s)", 100_000), ["{} 9"]);
    assert_eq!(memory.lines("sum_over_time(a[20s:10s] @ 50)", 900_000), ["{} 9"]);
}

#[test]
fn absence() {
    let memory = requests();
    assert!(memory.lines("absent(limit)", 0).is_empty());
    assert_eq!(memory.lines(r#"absent(nothing{job="x", a=~"b"})"#, 0), [r#"{job="x"} 1"#]);
    assert_eq!(memory.lines(r#"absent_over_time(nothing{job="x"}[5m])"#, 0), [r#"{job="x"} 1"#]);
    assert_eq!(memory.range_lines("absent(limit)", (60 * MINUTE, 66 * MINUTE, 3 * MINUTE)), ["{} 1@3960"]);
    assert_eq!(memory.lines("absent(sum(nothing))", 0), ["{} 1"]);
}

#[test]
fn remarks_name_their_place() {
    let memory = Memory::default().all(&[("__name__", "gauge")], MINUTE, &[1.0, 2.0, 3.0]);
    let output = memory.instant("rate(gauge[5m])\n+ increase(gauge[5m])", 2 * MINUTE).unwrap();
    assert_eq!(
        output.annotations.infos(),
        [
            "PromQL info: metric might not be a counter, name does not end in _total/_sum/_count/_bucket: \"gauge\" (2:12)"
        ]
    );
    let output = memory.instant("quantile(7, gauge)", 0).unwrap();
    assert_eq!(
        output.annotations.warnings(),
        ["PromQL warning: quantile value should be between 0 and 1, got 7 (1:10)"]
    );
}

#[test]
fn classic_histograms() {
    let bucket = |le| [("__name__", "h_bucket"), ("le", le)];
    let memory = Memory::default()
        .all(&bucket("0.1"), MINUTE, &[10.0, 10.0])
        .all(&bucket("1"), MINUTE, &[20.0, 8.0])
        .all(&bucket("+Inf"), MINUTE, &[20.0, 20.0])
        .all(&[("__name__", "h_bucket"), ("le", "x")], MINUTE, &[20.0]);
    assert_eq!(memory.lines("histogram_quantile(0.5, h_bucket)", 0), ["{} 0.1"]);
    assert_eq!(memory.lines("histogram_fraction(0, 0.1, h_bucket)", 0), ["{} 0.5"]);
    let output = memory.instant("histogram_quantile(0.5, h_bucket)", MINUTE).unwrap();
    assert_eq!(
        output.annotations.infos(),
        ["PromQL info: input to histogram_quantile needed to be fixed for monotonicity (see \
          https://prometheus.io/docs/prometheus/latest/querying/functions/#histogram_quantile), from buckets 1 to 1, \
          with a max diff of 2, over 1 samples from 1970-01-01T00:01:00Z to 1970-01-01T00:01:00Z (1:25)"]
    );
    assert_eq!(
        output.annotations.warnings(),
        ["PromQL warning: bucket label \"le\" is missing or has a malformed value of \"x\" (1:25)"]
    );
}

#[test]
fn limits_hold() {
    let memory = requests();
    let small = Engine::new(EngineOptions { max_samples: 100, ..EngineOptions::default() });
    let too_many = "query processing would load too many samples into memory in query execution";
    let range = |query: &str, end_ms| small.range(&memory, &context(), query, 0, end_ms, MINUTE);
    assert_eq!(range("requests_total", 60 * MINUTE).unwrap_err().message, too_many);
    assert!(range("sum(limit)", 30 * MINUTE).is_ok());
    // A grid that no memory could hold fails before anything is allocated.
    assert_eq!(range("1", i64::MAX).unwrap_err().message, too_many);
    assert_eq!(small.instant(&memory, &context(), "limit[200y:1ms]", i64::MAX).unwrap_err().message, too_many);
    assert!(small.instant(&memory, &context(), "sum_over_time(limit[200y:1ms] offset -200y)", i64::MAX).is_err());
    let cancelled = context();
    cancelled.cancel();
    let error = small.instant(&memory, &cancelled, "sum(limit)", 0).unwrap_err();
    assert_eq!(error.kind, QueryErrorKind::Canceled);
    assert_eq!(range("limit[5m]", 0).unwrap_err().kind, QueryErrorKind::BadData);
}

#[test]
fn what_is_kept_counts_against_the_memory_budget() {
    let memory = requests();
    let small = |query: &str| {
        let clock = Arc::new(ManualClock::default());
        let context = Context::new(TenantId::default(), clock, None, 300_000);
        Engine::new(EngineOptions::default()).instant(&memory, &context, query, 0)
    };
    assert!(small("requests_total").is_ok());
    let long = format!(r#"label_replace(requests_total, "a", "{}", "job", "(.*)")"#, "$1".repeat(50_000));
    for query in [&long, &format!("sum by (a) ({long})"), &format!("{long} and {long}"), &format!("{long} or {long}")] {
        let error = small(query).unwrap_err();
        assert_eq!(error.kind, QueryErrorKind::Execution, "{error}");
        assert!(error.message.contains("memory budget"), "{error}");
    }
}

#[test]
fn a_passed_deadline_ends_a_query() {
    let context = Context::new(TenantId::default(), Arc::new(ManualClock::default()), Some(Duration::ZERO), 1 << 20);
    let engine = Engine::new(EngineOptions::default());
    let error = engine.instant(&requests(), &context, "sum(limit)", 0).unwrap_err();
    assert_eq!((error.kind, &*error.message), (QueryErrorKind::Timeout, "query timed out in expression evaluation"));
}

#[test]
fn start_timestamps_that_are_not_known_are_zero_and_only_selectors_know_any() {
    let value = |use_start_timestamps, query: &str| {
        let features = Features { use_start_timestamps, ..Features::ALL };
        let engine = Engine::new(EngineOptions { features, ..EngineOptions::default() });
        engine.instant(&requests(), &context(), query, 0).unwrap().value
    };
    let Value::Vector(known) = value(true, "start_timestamp(limit)") else { panic!("no vector") };
    assert_eq!(known.iter().map(|sample| sample.value.float()).collect::<Vec<_>>(), [Some(0.0); 2]);
    for (on, query) in [(true, "start_timestamp(limit + 1)"), (false, "start_timestamp(limit)")] {
        assert_eq!(value(on, query), Value::Vector(Vec::new()), "{query}");
    }
}

#[test]
fn times_at_the_ends_of_time_do_not_overflow() {
    let memory = requests();
    for time_ms in [i64::MIN, i64::MIN + 1, -1, i64::MAX] {
        for query in [
            "limit",
            "rate(limit[5m])",
            "limit offset 1h",
            "limit offset -1h",
            "sum_over_time(limit[5m:1m])",
            "year()",
            "limit @ 9e12",
        ] {
            assert!(memory.instant(query, time_ms).is_ok(), "{query} at {time_ms}");
        }
    }
}

#[test]
fn scalars_and_strings() {
    let memory = Memory::default();
    assert_eq!(memory.instant("1 + 2 * 3", 1000).unwrap().value, Value::Scalar { time_ms: 1000, value: 7.0 });
    assert_eq!(memory.instant("time()", 1500).unwrap().value, Value::Scalar { time_ms: 1500, value: 1.5 });
    assert_eq!(memory.instant("\"a\"", 0).unwrap().value, Value::String { time_ms: 0, value: "a".into() });
    assert_eq!(memory.range_lines("1 / 2", (0, 1000, 1000)), ["{} 0.5@0 0.5@1"]);
    assert_eq!(memory.lines("vector(time())", 2000), ["{} 2"]);
    assert_eq!(memory.lines("hour()", 3_600_000), ["{} 1"]);
    assert_eq!(memory.instant("1 > bool 2", 0).unwrap().value, Value::Scalar { time_ms: 0, value: 0.0 });
}

#[test]
fn the_deepest_queries_fit_the_stack_of_a_thread() {
    let nest = |open: &str, core: &str, close: &str| open.repeat(250) + core + &close.repeat(250);
    let queries = [
        nest("(", "limit", ")"),
        nest("-", "limit", ""),
        nest("abs(", "limit", ")"),
        nest("sum(", "limit", ")"),
        nest("scalar(vector(", "1", "))").replacen("scalar(vector(", "", 125).replacen("))", "", 125),
        "limit + ".repeat(9_000) + "limit",
        "limit or ".repeat(9_000) + "limit",
        "1 + ".repeat(9_000) + "time()" + &" + 1".repeat(900),
        "sum_over_time((".repeat(20) + "limit" + &")[1m:1m])".repeat(20),
    ];
    let run = move || {
        let memory = requests();
        for query in &queries {
            // Whether it is refused as too deep or answered: it must come back.
            match memory.instant(query, 0) {
                Ok(_) => {}
                Err(error) => assert_eq!(error.kind, QueryErrorKind::BadData, "{error}"),
            }
        }
    };
    std::thread::Builder::new().stack_size(1 << 20).spawn(run).unwrap().join().unwrap();
}

/// A clock on which a millisecond passes whenever somebody looks.
#[derive(Debug, Default)]
struct Ticking(AtomicU64);

impl Clock for Ticking {
    fn now_ms(&self) -> i64 {
        0
    }

    fn monotonic(&self) -> Duration {
        Duration::from_millis(self.0.fetch_add(1, Ordering::Relaxed))
    }
}

#[test]
fn the_time_that_sorting_takes_is_counted() {
    let sorting = |ask: &dyn Fn(&Context)| {
        let context = Context::new(TenantId::default(), Arc::new(Ticking::default()), None, 1 << 30);
        ask(&context);
        Duration::from_nanos(context.tally().sorting_ns.load(Ordering::Relaxed))
    };
    let (engine, source) = (crate::testing::engine(), requests());
    let instant = |query: &str| sorting(&|context| drop(engine.instant(&source, context, query, 30 * MINUTE).unwrap()));
    let range =
        |query: &str| sorting(&|context| drop(engine.range(&source, context, query, 0, 30 * MINUTE, MINUTE).unwrap()));
    let once = Duration::from_millis(1);
    assert_eq!(["requests_total", "requests_total[5m]", "sum(limit)"].map(instant), [once; 3]);
    assert_eq!(["requests_total", "topk(1, limit)"].map(range), [once; 2]);
    // What has an order of its own, and what needs none.
    assert_eq!(["sort(requests_total)", "topk(1, limit)", "1"].map(instant), [Duration::ZERO; 3]);
    assert_eq!(range("1"), Duration::ZERO);
}

#[test]
fn literals_need_not_be_utf8() {
    let memory = requests();
    let string = memory.instant(r#""a\xff\xfe""#, 0).unwrap();
    let mut json = Vec::new();
    crate::json::write_value(&mut json, &string.value);
    assert_eq!(json, br#"{"resultType":"string","result":[0,"a\ufffd\ufffd"]}"#);
    // No label has such a value.
    let count = |query: &str| memory.lines(&format!("count({query}) or vector(0)"), 30 * MINUTE);
    for (query, expected) in [
        (r#"requests_total{job="\xff"}"#, 0),
        (r#"requests_total{job!="\xff"}"#, 4),
        (r#"requests_total{job=~"\xff|api"}"#, 2),
        (r#"requests_total{job!~"\xff|api"}"#, 2),
        (r#"{"\xff"}"#, 0),
        (r#"{job="api",none!="\xff"}"#, 3),
        (r#"sort_by_label(requests_total, "\xff")"#, 4),
        (r#"label_replace(requests_total, "b", "", "\xff", "")"#, 4),
    ] {
        assert_eq!(count(query), [format!("{{}} {expected}")], "{query}");
    }
    for (query, error) in [
        (r#"count_values("\xff", requests_total)"#, r#"invalid label name "\xff""#),
        (
            r#"label_replace(requests_total, "\xff", "a", "job", "")"#,
            "invalid destination label name in label_replace(): \u{fffd}",
        ),
        (
            r#"label_replace(requests_total, "a", "a", "job", "\xff")"#,
            "invalid regular expression in label_replace(): \u{fffd}",
        ),
        (
            r#"label_join(requests_total, "\xff", "-", "job")"#,
            "invalid destination label name in label_join(): \u{fffd}",
        ),
        (r#"label_join(requests_total, "a", "-", "\xff")"#, "invalid source label name in label_join(): \u{fffd}"),
    ] {
        let refused = memory.instant(query, 0).unwrap_err();
        assert_eq!((refused.kind, &*refused.message), (QueryErrorKind::Execution, error), "{query}");
    }
}
