//! Classic histograms as native ones with custom buckets, as `load_with_nhcb` stores them.

use std::collections::BTreeMap;

use anyhow::{Result, bail};
use marigram_query::parse::series::{Point, SeriesDescription};
use marigram_storage::model::histogram::{Buckets, CUSTOM_BUCKETS_SCHEMA, Histogram};
use marigram_storage::model::labels::{Labels, LabelsBuilder, METRIC_NAME};

/// Label that holds a classic bucket's upper bound.
const BUCKET_LABEL: &str = "le";

/// What the series of a classic histogram say at one time.
#[derive(Default)]
struct Classic {
    /// Upper bounds with cumulative counts.
    buckets: Vec<(f64, f64)>,
    count: Option<f64>,
    sum: f64,
}

/// The native histograms of a series, by number of the sample.
pub(super) type Numbered = (Labels, Vec<(usize, Histogram)>);

/// The native histograms that the classic ones among the series make.
pub(super) fn converted(series: &[SeriesDescription]) -> Result<Vec<Numbered>> {
    let mut found: BTreeMap<Labels, BTreeMap<usize, Classic>> = BTreeMap::new();
    for description in series {
        let Some((part, labels)) = part_of(&description.labels)? else { continue };
        let by_number = found.entry(labels).or_default();
        for (number, point) in description.points.iter().enumerate() {
            let Point::Float(value) = point else { continue };
            let classic = by_number.entry(number).or_default();
            match part {
                Part::Bucket(bound) => classic.buckets.push((bound, *value)),
                Part::Count => classic.count = Some(*value),
                Part::Sum => classic.sum = *value,
            }
        }
    }
    let native = |by_number: BTreeMap<usize, Classic>| {
        by_number.into_iter().map(|(number, classic)| Ok((number, classic.native()?))).collect::<Result<Vec<_>>>()
    };
    found.into_iter().map(|(labels, by_number)| Ok((labels, native(by_number)?))).collect()
}

enum Part {
    Bucket(f64),
    Count,
    Sum,
}

/// What a series is of a classic histogram, and the labels of the native one; `None` for any other series.
fn part_of(labels: &Labels) -> Result<Option<(Part, Labels)>> {
    let name = labels.metric_name().unwrap_or("");
    let (part, base) = if let Some(base) = name.strip_suffix("_bucket") {
        let Some(bound) = labels.get(BUCKET_LABEL) else { bail!("{labels} is a bucket without a bound") };
        match bound.parse::<f64>() {
            Ok(bound) if !bound.is_nan() => (Part::Bucket(bound), base),
            _ => return Ok(None),
        }
    } else if let Some(base) = name.strip_suffix("_count") {
        (Part::Count, base)
    } else if let Some(base) = name.strip_suffix("_sum") {
        (Part::Sum, base)
    } else {
        return Ok(None);
    };
    let mut builder = LabelsBuilder::from_labels(&labels.without(|name| name == BUCKET_LABEL));
    builder.set(METRIC_NAME, base);
    Ok(Some((part, builder.build())))
}

impl Classic {
    fn native(mut self) -> Result<Histogram> {
        self.buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
        self.buckets.dedup_by(|later, earlier| later.0 == earlier.0);
        let highest = self.buckets.last().map_or(0.0, |bucket| bucket.1);
        let count = self.count.unwrap_or(highest);
        if self.buckets.last().is_none_or(|bucket| bucket.0 != f64::INFINITY) {
            self.buckets.push((f64::INFINITY, count));
        }
        if let Some(pair) = self.buckets.windows(2).find(|pair| matches!(pair, [a, b] if b.1 < a.1)) {
            bail!("count is not cumulative: {pair:?}");
        }
        if self.buckets.last().is_some_and(|bucket| bucket.1 != count && !count.is_nan()) {
            bail!("count mismatch: {count} in all, {:?}", self.buckets.last());
        }
        let mut before = 0.0;
        let counts =
            self.buckets.iter().map(|(_, cumulative)| cumulative - std::mem::replace(&mut before, *cumulative));
        Ok(Histogram {
            schema: CUSTOM_BUCKETS_SCHEMA,
            count,
            sum: self.sum,
            positive: Buckets::from_ascending((0..).zip(counts)).compacted(),
            custom_values: self.buckets.iter().map(|bucket| bucket.0).filter(|bound| *bound != f64::INFINITY).collect(),
            ..Histogram::default()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use marigram_query::parse::series::parse_series;

    fn native(lines: &[&str]) -> Result<Vec<Numbered>> {
        converted(&lines.iter().map(|line| parse_series(line).unwrap()).collect::<Vec<_>>())
    }

    #[test]
    fn buckets_become_differences() {
        let lines = [
            "h_bucket{le=\"1\",a=\"x\"} 1 _ 2",
            "h_bucket{le=\"+Inf\",a=\"x\"} 4 _ 5",
            "h_bucket{le=\"0.5\",a=\"x\"} 1 _ 0",
            "h_bucket{le=\"what\",a=\"x\"} 9 9 9",
            "h_sum{a=\"x\"} 7 _ 8",
            "other 1 2 3",
        ];
        let made = native(&lines).unwrap();
        assert_eq!(made.len(), 1);
        let (labels, histograms) = &made[0];
        assert_eq!(*labels, Labels::from_pairs([("__name__", "h"), ("a", "x")]));
        assert_eq!(histograms.iter().map(|(number, _)| *number).collect::<Vec<_>>(), [0, 2]);
        let first = &histograms[0].1;
        assert_eq!((first.count, first.sum, &first.custom_values[..]), (4.0, 7.0, &[0.5, 1.0][..]));
        assert_eq!(first.positive.iter().collect::<Vec<_>>(), [(0, 1.0), (2, 3.0)]);
    }

    #[test]
    fn the_infinite_bucket_is_added_and_disorder_is_refused() {
        let made = native(&["h_bucket{le=\"1\"} 1", "h_count 3"]).unwrap();
        assert_eq!(made[0].1[0].1.positive.iter().collect::<Vec<_>>(), [(0, 1.0), (1, 2.0)]);
        assert!(native(&["h_bucket{le=\"1\"} 2", "h_bucket{le=\"2\"} 1"]).is_err());
        assert!(native(&["h_bucket{le=\"+Inf\"} 2", "h_count 3"]).is_err());
    }
}
