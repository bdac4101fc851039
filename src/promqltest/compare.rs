//! Compares answers with what a script expects.

use std::fmt::Write;

use marigram_query::parse::series::{Point, SeriesDescription};
use marigram_query::{Annotations, QueryError, Series, Value, VectorSample};
use marigram_storage::model::labels::Labels;
use marigram_storage::model::sample::is_stale;

use super::got::{Got, points_of, sample_at, show_point};
use super::script::{Case, Expect, Pattern, Remarks, When};

/// Why an answer is not what was expected.
pub(super) type Check = Result<(), String>;

/// Relative difference up to which floats count as equal.
const EPSILON: f64 = 1e-6;

/// The rule of the test language for floats.
pub(super) fn almost_equal(a: f64, b: f64) -> bool {
    if is_stale(a) || is_stale(b) {
        return is_stale(a) && is_stale(b);
    }
    if a.is_nan() && b.is_nan() || a == b {
        return true;
    }
    let (sum, difference) = (a.abs() + b.abs(), (a - b).abs());
    if a == 0.0 || b == 0.0 || sum < f64::MIN_POSITIVE {
        return difference < EPSILON * f64::MIN_POSITIVE;
    }
    difference / sum.min(f64::MAX) < EPSILON
}

/// The error must be expected, and say what it should. A parse error may do so with or without its position.
pub(super) fn check_failure(expect: &Expect, error: &QueryError) -> Check {
    if !expect.fail {
        return Err(format!("failed: {error}"));
    }
    let said = error.to_string();
    let bare = said.split_once(": parse error: ").map_or(said.as_str(), |(_, message)| message);
    match &expect.fail_text {
        Some(wanted) if !wanted.matches(&said) && !wanted.matches(bare) => {
            Err(format!("failed with {said:?}, expected {wanted:?}"))
        }
        _ => Ok(()),
    }
}

/// The answer to the case's own query.
pub(super) fn check_value(case: &Case, value: &Value) -> Check {
    let expect = &case.expect;
    if expect.fail {
        return Err(format!("did not fail, but yields {}", show(value)));
    }
    match (case.when, value) {
        (When::Range { start_ms, end_ms, step_ms }, Value::Matrix(series)) => {
            if !series.is_sorted_by(|a, b| a.labels < b.labels) {
                return Err(format!("series are not in the order of their labels: {}", show(value)));
            }
            check_matrix(&expect.series, series, (start_ms, end_ms, step_ms))
        }
        (When::At(_), Value::Matrix(series)) => match expect.range_vector {
            Some(times) => check_matrix(&expect.series, series, times),
            None => Err(format!("expected an instant vector, got {}", show(value))),
        },
        (When::At(_), Value::String { value: text, .. }) => match &expect.string {
            Some(wanted) if wanted.as_bytes() == text.as_bytes() => Ok(()),
            wanted => Err(format!("expected {wanted:?}, got {:?}", text.lossy())),
        },
        (When::At(_), Value::Scalar { value, .. }) => match expect.scalar {
            Some(wanted) if almost_equal(wanted, *value) => Ok(()),
            wanted => Err(format!("expected scalar {wanted:?}, got {value}")),
        },
        (When::At(_), Value::Vector(samples)) if expect.string.is_none() && expect.scalar.is_none() => {
            check_vector(&expect.series, samples, expect.ordered)
        }
        _ => Err(format!("another type than expected: {}", show(value))),
    }
}

/// The points at `time_ms` of a range query that should answer as the instant query does.
pub(super) fn check_step(case: &Case, series: &[Series], time_ms: i64) -> Check {
    let at_time: Vec<VectorSample> = series.iter().filter_map(|series| sample_at(series, time_ms)).collect();
    let Some(wanted) = case.expect.scalar else { return check_vector(&case.expect.series, &at_time, false) };
    let is_wanted = |sample: &VectorSample| match Got::of(sample) {
        Got::Float(value) => sample.labels.is_empty() && almost_equal(wanted, value),
        Got::Histogram(_) => false,
    };
    match at_time.as_slice() {
        [sample] if is_wanted(sample) => Ok(()),
        other => Err(format!("expected scalar {wanted}, got {}", show(&Value::Vector(other.to_vec())))),
    }
}

fn check_vector(expected: &[SeriesDescription], got: &[VectorSample], ordered: bool) -> Check {
    let all = || show(&Value::Vector(got.to_vec()));
    for (at, sample) in got.iter().enumerate() {
        let found = expected.iter().position(|series| series.labels == sample.labels);
        let Some(row) = found else { return Err(format!("unexpected {}; got {}", sample.labels, all())) };
        if ordered && row != at {
            return Err(format!("{} is row {}, expected as row {}", sample.labels, at + 1, row + 1));
        }
        let (got, wanted) = (Got::of(sample), expected.get(row).and_then(|series| series.points.first()));
        if !wanted.is_some_and(|wanted| got.is(wanted)) {
            return Err(format!("{} is {got}, expected {}", sample.labels, show_point(wanted)));
        }
    }
    let got_labels: Vec<&Labels> = got.iter().map(|sample| &sample.labels).collect();
    check_nothing_missing_or_twice(expected, &got_labels, all)
}

fn check_matrix(expected: &[SeriesDescription], got: &[Series], times: (i64, i64, i64)) -> Check {
    let all = || show(&Value::Matrix(got.to_vec()));
    let (start_ms, end_ms, step_ms) = times;
    for series in got {
        let Some(wanted) = expected.iter().find(|e| e.labels == series.labels) else {
            return Err(format!("unexpected {}; got {}", series.labels, all()));
        };
        let mut wanted_points = Vec::new();
        for (i, point) in wanted.points.iter().enumerate() {
            let time_ms = start_ms.saturating_add(step_ms.saturating_mul(i as i64));
            if time_ms > end_ms {
                return Err(format!("the script gives {} more points than there are steps", wanted.labels));
            }
            if !matches!(point, Point::Missing) {
                wanted_points.push((time_ms, point));
            }
        }
        let got_points = points_of(series);
        let same = |(wanted, got): (&(i64, &Point), &(i64, Got<'_>))| wanted.0 == got.0 && got.1.is(wanted.1);
        if wanted_points.len() != got_points.len() || !wanted_points.iter().zip(&got_points).all(same) {
            let wanted: Vec<String> = wanted_points
                .iter()
                .map(|(time_ms, point)| format!("{} @{time_ms}", show_point(Some(point))))
                .collect();
            let got: Vec<String> = got_points.iter().map(|(time_ms, got)| format!("{got} @{time_ms}")).collect();
            return Err(format!("{}: got [{}], expected [{}]", series.labels, got.join(", "), wanted.join(", ")));
        }
    }
    let got_labels: Vec<&Labels> = got.iter().map(|series| &series.labels).collect();
    check_nothing_missing_or_twice(expected, &got_labels, all)
}

fn check_nothing_missing_or_twice(expected: &[SeriesDescription], got: &[&Labels], all: impl Fn() -> String) -> Check {
    if let Some(missing) = expected.iter().find(|series| !got.contains(&&series.labels)) {
        return Err(format!("missing {}; got {}", missing.labels, all()));
    }
    if got.len() > expected.len() {
        return Err(format!("a series comes twice: {}", all()));
    }
    Ok(())
}

/// Warnings and infos.
pub(super) fn check_annotations(expect: &Expect, annotations: &Annotations) -> Check {
    check_remarks("warning", &expect.warnings, annotations.warnings())?;
    check_remarks("info", &expect.infos, annotations.infos())
}

fn check_remarks(kind: &str, expected: &Remarks, got: &[String]) -> Check {
    if expected.none && !got.is_empty() {
        return Err(format!("unexpected {kind}: {got:?}"));
    }
    if let Some(unmet) = expected.patterns.iter().find(|p| !got.iter().any(|text| p.matches_remark(text))) {
        return Err(format!("no {kind} matches {unmet:?}: {got:?}"));
    }
    let explained = |text: &String| expected.patterns.iter().any(|pattern: &Pattern| pattern.matches_remark(text));
    match got.iter().find(|text| !explained(text)) {
        Some(extra) if !expected.patterns.is_empty() => Err(format!("unexpected {kind}: {extra:?}")),
        _ => Ok(()),
    }
}

/// An answer on one line, shortened.
pub(super) fn show(value: &Value) -> String {
    let mut out = String::new();
    let _ = match value {
        Value::Scalar { value, .. } => write!(out, "scalar {value}"),
        Value::String { value, .. } => write!(out, "string {:?}", value.lossy()),
        Value::Vector(samples) => {
            samples.iter().take(20).try_for_each(|sample| write!(out, "{} {}; ", sample.labels, Got::of(sample)))
        }
        Value::Matrix(series) => series.iter().take(20).try_for_each(|series| {
            let points: Vec<String> = points_of(series).iter().take(12).map(|(t, v)| format!("{v} @{t}")).collect();
            write!(out, "{} [{}]; ", series.labels, points.join(", "))
        }),
    };
    if out.is_empty() { "nothing".into() } else { out }
}

#[cfg(test)]
mod tests {
    use super::*;
    use marigram_storage::model::sample::stale_nan;

    #[test]
    fn floats_compare_by_the_rule() {
        assert!(almost_equal(f64::NAN, -f64::NAN));
        assert!(!almost_equal(f64::NAN, stale_nan()) && almost_equal(stale_nan(), stale_nan()));
        assert!(!almost_equal(f64::NAN, 1.0));
        assert!(almost_equal(f64::INFINITY, f64::INFINITY) && !almost_equal(f64::INFINITY, f64::NEG_INFINITY));
        assert!(almost_equal(1.0, 1.000_001) && !almost_equal(1.0, 1.000_01));
        assert!(almost_equal(0.0, 1e-320) && !almost_equal(0.0, 1e-300));
    }
}
