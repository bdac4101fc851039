//! Samples of answers, floats and histograms alike, and how they compare with the points of a script.

use std::fmt::{self, Display, Formatter};
use std::sync::Arc;

use marigram_query::parse::series::{HistogramPoint, Point};
use marigram_query::{SampleValue, Series, VectorSample};
use marigram_storage::model::histogram::{Buckets, Histogram};

use super::compare::almost_equal;

/// A sample of an answer.
#[derive(Clone, Copy, Debug)]
pub(super) enum Got<'a> {
    Float(f64),
    Histogram(&'a Histogram),
}

impl<'a> Got<'a> {
    pub(super) fn of(sample: &'a VectorSample) -> Self {
        match &sample.value {
            SampleValue::Float(value) => Got::Float(*value),
            SampleValue::Histogram(histogram) => Got::Histogram(histogram),
        }
    }

    /// Whether it is what a script gives.
    pub(super) fn is(self, wanted: &Point) -> bool {
        match (self, wanted) {
            (Got::Float(got), Point::Float(wanted)) => almost_equal(*wanted, got),
            (Got::Histogram(got), Point::Histogram(wanted)) => same_histogram(wanted, got),
            _ => false,
        }
    }
}

impl Display for Got<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Got::Float(value) => write!(f, "{value}"),
            Got::Histogram(histogram) => f.write_str(&show_histogram(histogram)),
        }
    }
}

/// The points of a series, by time.
pub(super) fn points_of(series: &Series) -> Vec<(i64, Got<'_>)> {
    let floats = series.times_ms.iter().copied().zip(series.values.iter().map(|value| Got::Float(*value)));
    let histograms = series.histograms.iter().map(|sample| (sample.timestamp_ms, Got::Histogram(&sample.histogram)));
    let mut points: Vec<_> = floats.chain(histograms).collect();
    points.sort_by_key(|(time_ms, _)| *time_ms);
    points
}

/// What a series has at one time.
pub(super) fn sample_at(series: &Series, time_ms: i64) -> Option<VectorSample> {
    let float = || series.times_ms.binary_search(&time_ms).ok().and_then(|at| series.values.get(at).copied());
    let histogram = || series.histograms.iter().find(|sample| sample.timestamp_ms == time_ms);
    let value = match float() {
        Some(value) => SampleValue::Float(value),
        None => SampleValue::Histogram(Arc::clone(&histogram()?.histogram)),
    };
    Some(VectorSample { labels: series.labels.clone(), time_ms, value })
}

/// Compacted, both have the same bounds and buckets, and about the same numbers. The reset hint counts where the script names
/// one.
fn same_histogram(wanted: &HistogramPoint, got: &Histogram) -> bool {
    let (hint, wanted) = (wanted.names_hint.then_some(wanted.histogram.hint), &*wanted.histogram);
    wanted.schema == got.schema
        && wanted.zero_threshold == got.zero_threshold
        && (!wanted.has_custom_buckets() || wanted.custom_values == got.custom_values)
        && almost_equal(wanted.count, got.count)
        && almost_equal(wanted.sum, got.sum)
        && almost_equal(wanted.zero_count, got.zero_count)
        && same_buckets(&wanted.positive, &got.positive)
        && same_buckets(&wanted.negative, &got.negative)
        && hint.is_none_or(|hint| hint == got.hint)
}

fn same_buckets(wanted: &Buckets, got: &Buckets) -> bool {
    let (wanted, got) = (wanted.compacted(), got.compacted());
    wanted.spans == got.spans && wanted.counts.iter().zip(&got.counts).all(|(a, b)| almost_equal(*a, *b))
}

/// A point as scripts write it.
pub(super) fn show_point(point: Option<&Point>) -> String {
    match point {
        None => "nothing".into(),
        Some(Point::Missing) => "_".into(),
        Some(Point::Float(value)) => value.to_string(),
        Some(Point::Histogram(point)) => show_histogram(&point.histogram),
    }
}

fn show_histogram(histogram: &Histogram) -> String {
    let Histogram { schema, count, sum, zero_count, zero_threshold, custom_values, hint, .. } = histogram;
    let buckets = |buckets: &Buckets| buckets.compacted().iter().map(|(i, n)| format!("{i}:{n}")).collect::<Vec<_>>();
    format!(
        "{{{{schema:{schema} count:{count} sum:{sum} z_bucket:{zero_count} z_bucket_w:{zero_threshold} positive:{:?} \
         negative:{:?} custom_values:{custom_values:?} hint:{hint:?}}}}}",
        buckets(&histogram.positive),
        buckets(&histogram.negative),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use marigram_query::parse::series::parse_series;

    fn point(literal: &str) -> Point {
        parse_series(&format!("m {{{{{literal}}}}}")).unwrap().points.remove(0)
    }

    fn same(a: &str, b: &str) -> bool {
        let Point::Histogram(got) = point(b) else { panic!("{b}") };
        Got::Histogram(&got.histogram).is(&point(a))
    }

    #[test]
    fn histograms_compare_without_empty_buckets_and_unnamed_hints() {
        assert!(same("count:3 buckets:[1 2]", "count:3.0000001 buckets:[0 1 2 0] offset:-1"));
        assert!(same("count:3", "count:3 counter_reset_hint:gauge"));
        assert!(!same("count:3 counter_reset_hint:reset", "count:3 counter_reset_hint:gauge"));
        assert!(!same("count:3 counter_reset_hint:unknown", "count:3 counter_reset_hint:gauge"));
        for other in [
            "count:4 sum:1 schema:1 buckets:[1] n_buckets:[1]",
            "count:3 sum:2 schema:1 buckets:[1] n_buckets:[1]",
            "count:3 sum:1 schema:2 buckets:[1] n_buckets:[1]",
            "count:3 sum:1 schema:1 buckets:[2] n_buckets:[1]",
            "count:3 sum:1 schema:1 buckets:[1] offset:1 n_buckets:[1]",
            "count:3 sum:1 schema:1 buckets:[1] n_buckets:[1 1]",
            "count:3 sum:1 schema:1 buckets:[1] n_buckets:[1] z_bucket:1",
            "count:3 sum:1 schema:1 buckets:[1] n_buckets:[1] z_bucket_w:1",
        ] {
            assert!(!same("count:3 sum:1 schema:1 buckets:[1] n_buckets:[1]", other), "{other}");
        }
        assert!(!same("schema:-53 custom_values:[1 2]", "schema:-53 custom_values:[1 3]"));
        assert!(!Got::Float(3.0).is(&point("count:3")) && !Got::Float(3.0).is(&Point::Missing));
    }
}
