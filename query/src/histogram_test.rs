//! Native histograms in whole queries.

use marigram_storage::model::histogram::{Buckets, Histogram, ResetHint};

use crate::testing::Memory;
use crate::value::Value;

const MINUTE: i64 = 60_000;

/// A histogram with buckets (0.5, 1], (1, 2], (2, 4], …
fn native(sum: f64, counts: &[f64]) -> Histogram {
    Histogram {
        count: counts.iter().sum(),
        sum,
        positive: Buckets::from_ascending((0..).zip(counts.iter().copied())),
        ..Histogram::default()
    }
}

fn gauge(sum: f64, counts: &[f64]) -> Histogram {
    Histogram { hint: ResetHint::Gauge, ..native(sum, counts) }
}

fn memory() -> Memory {
    let growing: Vec<Histogram> =
        (1..=5).map(|i| native(10.0 * f64::from(i), &[f64::from(i), f64::from(2 * i)])).collect();
    Memory::default()
        .histograms(&[("__name__", "h"), ("job", "a")], MINUTE, &growing)
        .histograms(&[("__name__", "h"), ("job", "b")], MINUTE, &growing[..2])
        .histograms(&[("__name__", "g")], MINUTE, &[gauge(8.0, &[4.0]), gauge(2.0, &[1.0]), gauge(4.0, &[2.0])])
        .all(&[("__name__", "f"), ("job", "a")], MINUTE, &[1.0, 2.0, 3.0, 4.0, 5.0])
}

fn annotations(query: &str) -> (Vec<String>, Vec<String>) {
    let output = memory().instant(query, 4 * MINUTE).unwrap().annotations;
    (output.warnings().to_vec(), output.infos().to_vec())
}

#[test]
fn selecting_and_single_histograms() {
    let memory = memory();
    assert_eq!(
        memory.lines("h{job=\"a\"}", MINUTE),
        ["{__name__=\"h\", job=\"a\"} {count:6, sum:20, (0.5,1]:2, (1,2]:4}"]
    );
    assert_eq!(memory.lines("histogram_count(h{job=\"a\"})", 0), ["{job=\"a\"} 3"]);
    assert_eq!(memory.lines("histogram_sum(g)", 2 * MINUTE), ["{} 4"]);
    assert_eq!(memory.lines("histogram_avg(g)", 2 * MINUTE), ["{} 2"]);
    assert_eq!(memory.lines("histogram_quantile(1, g)", 2 * MINUTE), ["{} 1"]);
    assert_eq!(memory.lines("histogram_fraction(0, 1, h{job=\"a\"})", 0), ["{job=\"a\"} 0.3333333333333333"]);
    assert_eq!(memory.lines("histogram_quantiles(g, \"q\", 0, 1)", 0), ["{q=\"0.0\"} 0.5", "{q=\"1.0\"} 1"]);
    assert_eq!(memory.lines("abs(h)", 0), Vec::<String>::new());
    assert_eq!(memory.lines("-g", 0), ["{} {count:-4, sum:-8, (0.5,1]:-4}"]);
    assert_eq!(memory.lines("timestamp(g)", 5 * MINUTE), ["{} 120"]);
    assert_eq!(memory.lines("absent(g)", 0), Vec::<String>::new());
    assert_eq!(memory.lines("vector(scalar(g))", 0), ["{} NaN"]);
}

#[test]
fn ranges() {
    let memory = memory();
    assert_eq!(
        memory.lines("increase(h{job=\"a\"}[4m])", 4 * MINUTE),
        ["{job=\"a\"} {count:12, sum:40, (0.5,1]:4, (1,2]:8}"]
    );
    assert_eq!(
        memory.lines("histogram_count(rate(h{job=\"a\"}[4m]))", 4 * MINUTE),
        ["{job=\"a\"} 0.049999999999999996"]
    );
    assert_eq!(memory.lines("histogram_sum(irate(h{job=\"a\"}[4m]))", 4 * MINUTE).len(), 1);
    assert_eq!(memory.lines("sum_over_time(g[5m])", 2 * MINUTE), ["{} {count:7, sum:14, (0.5,1]:7}"]);
    assert_eq!(memory.lines("histogram_count(avg_over_time(h{job=\"a\"}[5m]))", 4 * MINUTE), ["{job=\"a\"} 9"]);
    assert_eq!(memory.lines("resets(g[5m])", 2 * MINUTE), ["{} 1"]);
    assert_eq!(memory.lines("changes(g[5m])", 2 * MINUTE), ["{} 2"]);
    assert_eq!(memory.lines("count_over_time(g[5m])", 2 * MINUTE), ["{} 3"]);
    assert_eq!(memory.lines("last_over_time(g[5m])", 2 * MINUTE), ["{__name__=\"g\"} {count:2, sum:4, (0.5,1]:2}"]);
    assert_eq!(memory.lines("histogram_count(sum_over_time(h{job=\"a\"}[4m:1m]))", 4 * MINUTE), ["{job=\"a\"} 42"]);
    assert_eq!(memory.lines("min_over_time(g[5m])", 2 * MINUTE), Vec::<String>::new());
    assert_eq!(
        annotations("increase(g[4m])").0,
        ["PromQL warning: this native histogram metric is not a counter: \"g\" (1:10)"]
    );
    assert_eq!(
        annotations("delta(h{job=\"a\"}[4m])").0,
        ["PromQL warning: this native histogram metric is not a gauge: \"h\" (1:7)"]
    );
}

#[test]
fn aggregations() {
    let memory = memory();
    assert_eq!(memory.lines("sum(h)", MINUTE), ["{} {count:12, sum:40, (0.5,1]:4, (1,2]:8}"]);
    assert_eq!(memory.lines("avg(h)", MINUTE), ["{} {count:6, sum:20, (0.5,1]:2, (1,2]:4}"]);
    assert_eq!(memory.lines("count(h) + group(h)", MINUTE), ["{} 3"]);
    assert_eq!(memory.lines("max(h)", MINUTE), Vec::<String>::new());
    assert_eq!(memory.lines("topk(1, {__name__=~\"f|h\", job=\"a\"})", MINUTE), ["{__name__=\"f\", job=\"a\"} 2"]);
    assert_eq!(memory.lines("limitk(1, g)", MINUTE).len(), 1);
    assert_eq!(memory.lines("count_values(\"v\", h)", MINUTE), ["{v=\"{count:6, sum:20, (0.5,1]:2, (1,2]:4}\"} 2"]);
    let mixed = "sum({__name__=~\"f|h\", job=\"a\"})";
    assert_eq!(memory.lines(mixed, MINUTE), Vec::<String>::new());
    assert_eq!(
        annotations(mixed).0,
        ["PromQL warning: encountered a mix of histograms and floats for aggregation (1:5)"]
    );
    assert_eq!(annotations("min(h)").1, ["PromQL info: ignored histogram in min aggregation (1:5)"]);
    assert_eq!(annotations("topk(1, h)").1, ["PromQL info: ignored histogram in topk aggregation (1:1)"]);
}

#[test]
fn operators() {
    let memory = memory();
    assert_eq!(memory.lines("g * 2", 0), ["{} {count:8, sum:16, (0.5,1]:8}"]);
    assert_eq!(memory.lines("2 * g / 4", 0), ["{} {count:2, sum:4, (0.5,1]:2}"]);
    assert_eq!(memory.lines("g + g", 0), ["{} {count:8, sum:16, (0.5,1]:8}"]);
    assert_eq!(memory.lines("g - g", 0), ["{} {count:0, sum:0}"]);
    assert_eq!(memory.lines("g == bool g", 0), ["{} 1"]);
    assert_eq!(memory.lines("g != g", 0), Vec::<String>::new());
    assert_eq!(memory.lines("h and on(job) f", MINUTE).len(), 1);
    assert_eq!(memory.lines("g + 1", 0), Vec::<String>::new());
    assert_eq!(
        annotations("g + 1").1,
        ["PromQL info: incompatible sample types encountered for binary operator \"+\": histogram + float (1:1)"]
    );
    assert_eq!(
        annotations("f - on(job) h").1,
        ["PromQL info: incompatible sample types encountered for binary operator \"-\": float - histogram (1:1)"]
    );
}

#[test]
fn a_series_can_have_both_kinds() {
    let memory = Memory::default().samples(&[("__name__", "m")], &[(MINUTE, 5.0), (3 * MINUTE, 7.0)]).histograms(
        &[("__name__", "m")],
        2 * MINUTE,
        &[native(1.0, &[1.0]), native(2.0, &[2.0])],
    );
    let output = memory.range("m", (0, 4 * MINUTE, MINUTE)).unwrap();
    let Value::Matrix(series) = output.value else { panic!("no matrix") };
    assert_eq!(series.len(), 1);
    assert_eq!(
        (&*series[0].times_ms, &*series[0].values),
        (&[MINUTE, 3 * MINUTE, 4 * MINUTE][..], &[5.0, 7.0, 7.0][..])
    );
    let times: Vec<i64> = series[0].histograms.iter().map(|sample| sample.timestamp_ms).collect();
    assert_eq!(times, [0, 2 * MINUTE]);
    assert_eq!(memory.lines("resets(m[10m])", 4 * MINUTE), ["{} 3"]);
    let output = memory.instant("rate(m[10m])", 4 * MINUTE).unwrap();
    assert_eq!(output.value, Value::Vector(Vec::new()));
    assert_eq!(
        output.annotations.warnings(),
        ["PromQL warning: encountered a mix of histograms and floats for metric name \"m\" (1:6)"]
    );
    let output = memory.instant("max_over_time(m[10m])", 4 * MINUTE).unwrap();
    assert_eq!(
        output.annotations.infos(),
        [
            "PromQL info: ignored histograms in a range containing both floats and histograms for metric name \"m\" (1:15)"
        ]
    );
}

#[test]
fn a_stale_histogram_ends_its_series() {
    let stale = Histogram { sum: marigram_storage::model::sample::stale_nan(), ..Histogram::default() };
    let memory = Memory::default().histograms(&[("__name__", "m")], MINUTE, &[native(1.0, &[1.0]), stale]);
    assert_eq!(memory.lines("m", MINUTE), Vec::<String>::new());
    assert_eq!(memory.lines("m", MINUTE - 1).len(), 1);
    assert_eq!(memory.lines("count_over_time(m[5m])", MINUTE), ["{} 1"]);
}
