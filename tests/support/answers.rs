//! Answers of the query API, taken apart to be compared.

use std::collections::BTreeMap;

use serde_json::Value;

/// Of two computations that are to give the same.
const RELATIVE_ERROR_MAX: f64 = 1e-9;

/// Series by their labels: the times of samples as text, the values as numbers.
pub(crate) type Rows = BTreeMap<String, Vec<(String, f64)>>;

/// A time as the API takes it: seconds, with milliseconds.
pub(crate) fn time(ms: i64) -> String {
    format!("{}.{:03}", ms.div_euclid(1000), ms.rem_euclid(1000))
}

/// A sample: a pair of its time and its value.
pub(crate) fn point(pair: &Value) -> (String, f64) {
    (pair[0].to_string(), number(pair[1].as_str().unwrap()))
}

/// The rows of a vector or matrix, none of which may come twice.
pub(crate) fn rows(result: &Value) -> Rows {
    let points = |series: &Value| match &series["values"] {
        Value::Array(points) => points.iter().map(point).collect(),
        _ => vec![point(&series["value"])],
    };
    let result = result.as_array().unwrap();
    let rows: Rows = result.iter().map(|series| (series["metric"].to_string(), points(series))).collect();
    assert_eq!(rows.len(), result.len(), "no label set comes twice");
    rows
}

/// A value as the API writes it.
pub(crate) fn number(text: &str) -> f64 {
    match text {
        "+Inf" => f64::INFINITY,
        "-Inf" => f64::NEG_INFINITY,
        text => text.parse().unwrap(),
    }
}

/// Whether two values are the same but for their last digits.
pub(crate) fn close(a: f64, b: f64) -> bool {
    a == b || (a.is_nan() && b.is_nan()) || (a - b).abs() <= RELATIVE_ERROR_MAX * a.abs().max(b.abs())
}

/// Where Prometheus' answer and ours differ.
pub(crate) fn difference(theirs: &Rows, ours: &Rows, close: impl Fn(f64, f64) -> bool) -> Option<String> {
    for labels in theirs.keys().chain(ours.keys()) {
        let (Some(theirs), Some(ours)) = (theirs.get(labels), ours.get(labels)) else {
            let whose = if ours.contains_key(labels) { "Marigram" } else { "Prometheus" };
            return Some(format!("only {whose} has {labels}"));
        };
        let times = |points: &[(String, f64)]| points.iter().map(|(time, _)| time.clone()).collect::<Vec<_>>();
        if times(theirs) != times(ours) {
            return Some(format!("{labels}: at {:?} instead of {:?}", times(ours), times(theirs)));
        }
        if let Some(((time, theirs), (_, ours))) = theirs.iter().zip(ours).find(|(a, b)| !close(a.1, b.1)) {
            return Some(format!("{labels} at {time}: {ours:?} instead of {theirs:?}"));
        }
    }
    None
}
