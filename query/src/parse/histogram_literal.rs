//! Native histograms of the test language: `{{schema:1 count:3 sum:5 buckets:[1 2] offset:-1}}`.

use marigram_storage::model::histogram::{
    BucketSpan, Buckets, CUSTOM_BUCKETS_SCHEMA, Histogram, ResetHint, SCHEMA_MAX, SCHEMA_MIN,
};

use super::number::{self, Scanned};
use crate::histogram::{add, subtract};

/// A histogram, and whether the literal names the reset hint.
#[derive(Debug)]
pub(super) struct Literal {
    pub(super) histogram: Histogram,
    pub(super) names_hint: bool,
}

/// Buckets of one side as they are written: absolute counts from an index on.
#[derive(Default)]
struct Side {
    offset: i32,
    counts: Vec<f64>,
}

impl Side {
    fn buckets(self) -> Buckets {
        let length = u32::try_from(self.counts.len()).unwrap_or(u32::MAX);
        let spans = if length == 0 { Vec::new() } else { vec![BucketSpan { offset: self.offset, length }] };
        Buckets { spans, counts: self.counts }
    }
}

/// Reads what stands between the braces.
pub(super) fn read(text: &str) -> Result<Literal, String> {
    let mut histogram = Histogram::default();
    let (mut positive, mut negative) = (Side::default(), Side::default());
    let mut seen: Vec<&str> = Vec::new();
    let mut rest = text.trim_start_matches([' ', '\t']);
    while !rest.is_empty() {
        let (key, behind) = rest.split_once(':').ok_or_else(|| format!("no \":\" behind {rest:?}"))?;
        let (value, after) = item(behind)?;
        if seen.contains(&key) {
            return Err(format!("duplicate key \"{key}\" in histogram"));
        }
        seen.push(key);
        match key {
            "schema" => histogram.schema = schema(value)?,
            "sum" => histogram.sum = number(value)?,
            "count" => histogram.count = number(value)?,
            "z_bucket" => histogram.zero_count = number(value)?,
            "z_bucket_w" => histogram.zero_threshold = number(value)?,
            "custom_values" => histogram.custom_values = list(value)?,
            "buckets" => positive.counts = list(value)?,
            "n_buckets" => negative.counts = list(value)?,
            "offset" => positive.offset = integer(value)?,
            "n_offset" => negative.offset = integer(value)?,
            "counter_reset_hint" => histogram.hint = hint(value)?,
            _ => return Err(format!("bad histogram descriptor found: {key:?}")),
        }
        rest = after.trim_start_matches([' ', '\t']);
    }
    histogram.positive = positive.buckets();
    histogram.negative = negative.buckets();
    Ok(Literal { histogram, names_hint: seen.contains(&"counter_reset_hint") })
}

/// The value behind a key, up to the next blank or the closing bracket, and what follows.
fn item(text: &str) -> Result<(&str, &str), String> {
    let end = match text.starts_with('[') {
        true => text.find(']').ok_or("no \"]\"")? + 1,
        false => text.find([' ', '\t']).unwrap_or(text.len()),
    };
    Ok(text.split_at(end))
}

fn number(text: &str) -> Result<f64, String> {
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    let is_word = unsigned.eq_ignore_ascii_case("inf") || unsigned.eq_ignore_ascii_case("nan");
    let is_number = matches!(number::scan(unsigned, true), Scanned::Number(length) if length == unsigned.len());
    match number::value(text) {
        Some(value) if is_word || is_number => Ok(value),
        _ => Err(format!("{text:?} is no number")),
    }
}

fn integer(text: &str) -> Result<i32, String> {
    text.parse().map_err(|_| format!("{text:?} is no integer"))
}

fn schema(text: &str) -> Result<i8, String> {
    let found = integer(text)?;
    let known = i8::try_from(found).ok();
    let known = known.filter(|s| *s == CUSTOM_BUCKETS_SCHEMA || (SCHEMA_MIN..=SCHEMA_MAX).contains(s));
    known.ok_or_else(|| format!("{found} is no schema"))
}

fn list(text: &str) -> Result<Vec<f64>, String> {
    let inner = text.strip_prefix('[').and_then(|text| text.strip_suffix(']'));
    let inner = inner.ok_or_else(|| format!("{text:?} is no list"))?;
    inner.split([' ', '\t']).filter(|item| !item.is_empty()).map(number).collect()
}

fn hint(text: &str) -> Result<ResetHint, String> {
    Ok(match text {
        "unknown" => ResetHint::Unknown,
        "reset" => ResetHint::Reset,
        "not_reset" => ResetHint::NotReset,
        "gauge" => ResetHint::Gauge,
        _ => return Err(format!("{text:?} is no reset hint")),
    })
}

/// The next histogram of a row: `step` added to (or subtracted from) `histogram`.
pub(super) fn combined(histogram: &Histogram, step: &Histogram, subtracts: bool) -> Result<Histogram, String> {
    let incompatible =
        || format!("error combining histograms: cannot merge from schema {} to {}", step.schema, histogram.schema);
    if histogram.schema > step.schema {
        return Err(incompatible());
    }
    let mut next = histogram.clone();
    match if subtracts { subtract(&mut next, step) } else { add(&mut next, step) } {
        Ok(_) => Ok(next),
        Err(_) => Err(incompatible()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_is_read() {
        let text = "schema:1 count:10 sum:-5.5 z_bucket:2 z_bucket_w:0.001 buckets:[1 2 -Inf] offset:-2 n_buckets:[NaN] \
                    n_offset:3 counter_reset_hint:gauge";
        let Literal { histogram, names_hint } = read(text).unwrap();
        assert_eq!((histogram.schema, histogram.count, histogram.sum), (1, 10.0, -5.5));
        assert_eq!((histogram.zero_count, histogram.zero_threshold), (2.0, 0.001));
        let positive: Vec<_> = histogram.positive.iter().collect();
        assert_eq!(positive, [(-2, 1.0), (-1, 2.0), (0, f64::NEG_INFINITY)]);
        assert_eq!(histogram.negative.spans, [BucketSpan { offset: 3, length: 1 }]);
        assert_eq!((histogram.hint, names_hint), (ResetHint::Gauge, true));
        let custom = read(" schema:-53 custom_values:[5 10] buckets:[1 0 2] ").unwrap();
        assert_eq!((custom.histogram.custom_values, custom.names_hint), (vec![5.0, 10.0], false));
    }

    #[test]
    fn rows_are_summed_up() {
        let base = read("schema:0 count:3 sum:1 buckets:[1 2]").unwrap().histogram;
        let step = read("schema:1 count:2 sum:2 buckets:[1 1] offset:1").unwrap().histogram;
        let next = combined(&base, &step, false).unwrap();
        assert_eq!((next.count, next.sum), (5.0, 3.0));
        // Buckets 1 and 2 of schema 1 are bucket 1 of schema 0.
        assert_eq!(next.positive.iter().collect::<Vec<_>>(), [(0, 1.0), (1, 4.0)]);
        assert_eq!(combined(&next, &base, true).unwrap().count, 2.0);
        assert!(combined(&step, &base, false).is_err());
    }
}
