//! Native histograms: one sample with the counts of many buckets.
//!
//! The model is Prometheus' (<https://prometheus.io/docs/specs/native_histograms/>): of the buckets only those within spans are
//! stored; their bounds follow from the schema. Counts are absolute, one number for each bucket, and floats in memory also
//! where the source counted in integers (exact up to 2^53; more is refused).

use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;

/// The schema whose bucket bounds stand in [`Histogram::custom_values`].
pub const CUSTOM_BUCKETS_SCHEMA: i8 = -53;
/// Smallest schema of exponential buckets: bounds 2^16 apart.
pub const SCHEMA_MIN: i8 = -4;
/// Largest schema of exponential buckets: 256 of them for each power of two.
pub const SCHEMA_MAX: i8 = 8;
/// Counts of integer histograms beyond it have no exact float.
pub const INTEGER_COUNT_MAX: f64 = 9_007_199_254_740_992.0;
/// No histogram has more buckets, spans or custom values: bounds what a sample can cost.
pub const BUCKETS_MAX: usize = 4096;

/// What a histogram says about a reset of its counts since the sample before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum ResetHint {
    /// Whoever needs to know has to compare.
    #[default]
    Unknown = 0,
    /// The counts began anew.
    Reset = 1,
    /// The counts went on.
    NotReset = 2,
    /// The counts go up and down.
    Gauge = 3,
}

impl ResetHint {
    /// From its number, which remote write and chunks use; `None` for others.
    pub fn from_number(number: u8) -> Option<Self> {
        [Self::Unknown, Self::Reset, Self::NotReset, Self::Gauge].into_iter().find(|hint| *hint as u8 == number)
    }
}

/// A run of buckets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BucketSpan {
    /// Of the first span: index of its first bucket. Of the others: gap to the span before, not negative.
    pub offset: i32,
    /// How many buckets.
    pub length: u32,
}

/// The buckets on one side of zero.
#[derive(Clone, Debug, Default)]
pub struct Buckets {
    /// Which buckets are there, ascending by index.
    pub spans: Vec<BucketSpan>,
    /// The count of each of them, absolute (not differences, not cumulative).
    pub counts: Vec<f64>,
}

impl Buckets {
    /// The buckets as (index, count), ascending by index, empty ones included.
    pub fn iter(&self) -> impl Iterator<Item = (i32, f64)> + '_ {
        let mut next = 0i32;
        let indexes = self.spans.iter().flat_map(move |span| {
            let from = next.saturating_add(span.offset);
            next = from.saturating_add(i32::try_from(span.length).unwrap_or(i32::MAX));
            from..next
        });
        indexes.zip(self.counts.iter().copied())
    }

    /// How many buckets spans have; `None` where spans overlap or indexes have no `i32`.
    pub fn spanned(spans: &[BucketSpan]) -> Option<usize> {
        let (mut end, mut buckets) = (0i32, 0usize);
        for (at, span) in spans.iter().enumerate() {
            if at > 0 && span.offset < 0 {
                return None;
            }
            end = end.checked_add(span.offset)?.checked_add(i32::try_from(span.length).ok()?)?;
            buckets = buckets.checked_add(span.length as usize)?;
        }
        Some(buckets)
    }

    /// Buckets from (index, count), ascending by index, with as few spans as that takes.
    pub fn from_ascending(buckets: impl IntoIterator<Item = (i32, f64)>) -> Self {
        let mut made = Buckets::default();
        let mut next = 0i32;
        for (index, count) in buckets {
            match made.spans.last_mut() {
                Some(span) if index == next => span.length += 1,
                _ => made.spans.push(BucketSpan { offset: index.saturating_sub(next), length: 1 }),
            }
            next = index.saturating_add(1);
            made.counts.push(count);
        }
        made
    }

    /// The same without empty buckets, and with as few spans as that takes.
    pub fn compacted(&self) -> Self {
        Self::from_ascending(self.iter().filter(|(_, count)| *count != 0.0))
    }
}

/// A native histogram.
#[derive(Clone, Debug, Default)]
pub struct Histogram {
    /// Whether the counts are known to have been reset.
    pub hint: ResetHint,
    /// Whether the source counted in integers; then all counts are whole and at most [`INTEGER_COUNT_MAX`].
    pub is_integer: bool,
    /// [`SCHEMA_MIN`] to [`SCHEMA_MAX`]: bucket `i` holds `(base^(i-1), base^i]` with `base = 2^(2^-schema)`;
    /// [`CUSTOM_BUCKETS_SCHEMA`]: bounds are custom values.
    pub schema: i8,
    /// Observations of an absolute value of at most this are in the zero bucket.
    pub zero_threshold: f64,
    /// How many are.
    pub zero_count: f64,
    /// All observations.
    pub count: f64,
    /// Their sum.
    pub sum: f64,
    /// Buckets above zero, or all buckets of a histogram with custom ones.
    pub positive: Buckets,
    /// Buckets below zero, by absolute value; none with custom buckets.
    pub negative: Buckets,
    /// Upper bounds of custom buckets, ascending, without the infinite last one.
    pub custom_values: Vec<f64>,
}

/// Why bytes or a message are no histogram; the text is for whoever sent them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidHistogram(pub String);

impl fmt::Display for InvalidHistogram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for InvalidHistogram {}

/// A histogram at a time.
#[derive(Clone, Debug, PartialEq)]
pub struct HistogramSample {
    /// Milliseconds since the Unix epoch.
    pub timestamp_ms: i64,
    /// The histogram, shared by all who hold it.
    pub histogram: Arc<Histogram>,
}

impl Histogram {
    /// Whether bounds stand in [`Histogram::custom_values`].
    pub fn has_custom_buckets(&self) -> bool {
        self.schema == CUSTOM_BUCKETS_SCHEMA
    }

    /// Whether this marks the end of its series: its sum is the staleness marker.
    pub fn is_stale(&self) -> bool {
        super::sample::is_stale(self.sum)
    }

    /// The order of histograms at one timestamp; the join keeps the greater. Integers are less than floats; then all parts but
    /// the reset hint decide, floats by their bits' total order.
    pub fn join_order(&self, other: &Self) -> Ordering {
        let by_parts = |a: &[f64], b: &[f64]| {
            a.len().cmp(&b.len()).then_with(|| {
                a.iter().zip(b).map(|(a, b)| a.total_cmp(b)).find(|order| order.is_ne()).unwrap_or(Ordering::Equal)
            })
        };
        let buckets = |a: &Buckets, b: &Buckets| a.spans.cmp(&b.spans).then_with(|| by_parts(&a.counts, &b.counts));
        (!self.is_integer)
            .cmp(&!other.is_integer)
            .then_with(|| self.count.total_cmp(&other.count))
            .then_with(|| self.sum.total_cmp(&other.sum))
            .then_with(|| self.schema.cmp(&other.schema))
            .then_with(|| self.zero_threshold.total_cmp(&other.zero_threshold))
            .then_with(|| self.zero_count.total_cmp(&other.zero_count))
            .then_with(|| buckets(&self.positive, &other.positive))
            .then_with(|| buckets(&self.negative, &other.negative))
            .then_with(|| by_parts(&self.custom_values, &other.custom_values))
    }

    /// Whether the schema is one that is known.
    pub fn has_known_schema(&self) -> bool {
        self.has_custom_buckets() || (SCHEMA_MIN..=SCHEMA_MAX).contains(&self.schema)
    }

    /// Checks what a store has to rely on: a known schema, as many counts as buckets, not too many of them. Numbers may be any.
    ///
    /// # Errors
    /// Says which rule is broken.
    pub fn check_layout(&self) -> Result<(), InvalidHistogram> {
        self.check_schema()?;
        if self.custom_values.len() > BUCKETS_MAX {
            return Err(InvalidHistogram("too many custom bounds".into()));
        }
        check_buckets("positive", &self.positive)?;
        check_buckets("negative", &self.negative)
    }

    fn check_schema(&self) -> Result<(), InvalidHistogram> {
        if self.has_known_schema() {
            return Ok(());
        }
        let schema = self.schema;
        let text = format!("schema {schema} is not one of {SCHEMA_MIN} to {SCHEMA_MAX}, nor {CUSTOM_BUCKETS_SCHEMA}");
        Err(InvalidHistogram(text))
    }

    /// About what it takes in memory, bytes.
    pub fn held_bytes(&self) -> usize {
        let numbers = self.positive.counts.len() + self.negative.counts.len() + self.custom_values.len();
        let spans = self.positive.spans.len() + self.negative.spans.len();
        size_of::<Self>() + 2 * size_of::<usize>() + 8 * (numbers + spans)
    }

    /// Whether the counts of this one go on from those of the sample before it, and both can be compared bucket by bucket: no
    /// count has fallen, and the layout means the same.
    pub fn goes_on_from(&self, before: &Self) -> bool {
        self.is_integer == before.is_integer
            && self.schema == before.schema
            && self.zero_threshold == before.zero_threshold
            && same_bits(&self.custom_values, &before.custom_values)
            && self.count >= before.count
            && self.zero_count >= before.zero_count
            && rise(&before.positive, &self.positive)
            && rise(&before.negative, &self.negative)
    }

    /// Checks what a sender may get wrong, as Prometheus does.
    ///
    /// # Errors
    /// Says which rule is broken.
    pub fn check(&self) -> Result<(), InvalidHistogram> {
        let invalid = |text: String| Err(InvalidHistogram(text));
        self.check_schema()?;
        if self.has_custom_buckets() {
            self.check_custom()?;
        } else if !self.custom_values.is_empty() {
            return invalid("custom bounds in a histogram with exponential buckets".into());
        }
        if self.zero_threshold.is_nan() || self.zero_threshold < 0.0 {
            return invalid(format!("zero threshold {} is not a number from 0 on", self.zero_threshold));
        }
        check_buckets("positive", &self.positive)?;
        check_buckets("negative", &self.negative)?;
        let all = self.positive.counts.iter().chain(&self.negative.counts).chain([&self.zero_count, &self.count]);
        for count in all {
            if *count < 0.0 {
                return invalid(format!("count {count} is negative"));
            }
            if self.is_integer && (count.fract() != 0.0 || *count > INTEGER_COUNT_MAX) {
                return invalid(format!("count {count} has no exact float"));
            }
        }
        self.check_total()
    }

    fn check_total(&self) -> Result<(), InvalidHistogram> {
        if !self.is_integer {
            return Ok(());
        }
        let inside: f64 = self.positive.counts.iter().chain(&self.negative.counts).sum::<f64>() + self.zero_count;
        // Observations of NaN are counted, and lie in no bucket.
        if (self.sum.is_nan() && inside > self.count) || (!self.sum.is_nan() && inside != self.count) {
            return Err(InvalidHistogram(format!("{inside} observations in buckets, but {} in all", self.count)));
        }
        Ok(())
    }

    fn check_custom(&self) -> Result<(), InvalidHistogram> {
        let invalid = |text: &str| Err(InvalidHistogram(text.into()));
        if self.custom_values.len() > BUCKETS_MAX {
            return invalid("too many custom bounds");
        }
        if self.custom_values.iter().any(|bound| bound.is_nan() || *bound == f64::INFINITY) {
            return invalid("a custom bound is not a finite number");
        }
        if !self.custom_values.is_sorted_by(|a, b| a < b) {
            return invalid("custom bounds do not ascend");
        }
        if self.zero_count != 0.0 || self.zero_threshold != 0.0 {
            return invalid("a histogram with custom buckets has no zero bucket");
        }
        if !self.negative.spans.is_empty() || !self.negative.counts.is_empty() {
            return invalid("a histogram with custom buckets has no negative ones");
        }
        match self.positive.iter().last() {
            Some((last, _)) if usize::try_from(last).is_ok_and(|last| last > self.custom_values.len()) => {
                invalid("more custom buckets than bounds")
            }
            _ if self.positive.spans.first().is_some_and(|span| span.offset < 0) => {
                invalid("a custom bucket has a negative index")
            }
            _ => Ok(()),
        }
    }
}

fn check_buckets(side: &str, buckets: &Buckets) -> Result<(), InvalidHistogram> {
    let invalid = |text: String| Err(InvalidHistogram(text));
    if buckets.spans.len() > BUCKETS_MAX || buckets.counts.len() > BUCKETS_MAX {
        return invalid(format!("more than {BUCKETS_MAX} {side} buckets"));
    }
    if buckets.spans.iter().skip(1).any(|span| span.offset < 0) {
        return invalid(format!("{side} spans overlap"));
    }
    let spanned = buckets.spans.iter().map(|span| u64::from(span.length)).sum::<u64>();
    if spanned != buckets.counts.len() as u64 {
        return invalid(format!("{side} spans of {spanned} buckets, but {} counts", buckets.counts.len()));
    }
    match Buckets::spanned(&buckets.spans) {
        Some(_) => Ok(()),
        None => invalid(format!("{side} bucket indexes overflow")),
    }
}

/// Whether floats are the same, bit for bit.
pub(crate) fn same_bits(a: &[f64], b: &[f64]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.to_bits() == b.to_bits())
}

/// Whether no bucket has fallen. One that is not there any more has fallen unless it was empty.
fn rise(before: &Buckets, after: &Buckets) -> bool {
    if before.spans == after.spans {
        return before.counts.iter().zip(&after.counts).all(|(before, after)| after >= before);
    }
    let mut after = after.iter().peekable();
    before.iter().all(|(index, count)| {
        while after.next_if(|(other, _)| *other < index).is_some() {}
        match after.next_if(|(other, _)| *other == index) {
            Some((_, after)) => after >= count,
            None => count == 0.0,
        }
    })
}

/// Bit for bit, so that NaN payloads count; the layout of spans and the hint count, too.
impl PartialEq for Histogram {
    fn eq(&self, other: &Self) -> bool {
        self.hint == other.hint && self.join_order(other).is_eq()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> Histogram {
        Histogram {
            is_integer: true,
            schema: 3,
            zero_threshold: 0.001,
            zero_count: 2.0,
            count: 9.0,
            sum: 12.5,
            positive: Buckets::from_ascending([(-2, 1.0), (-1, 2.0), (4, 3.0)]),
            negative: Buckets::from_ascending([(0, 1.0)]),
            ..Histogram::default()
        }
    }

    #[test]
    fn buckets_know_their_indexes() {
        let histogram = example();
        assert_eq!(
            histogram.positive.spans,
            [BucketSpan { offset: -2, length: 2 }, BucketSpan { offset: 4, length: 1 }]
        );
        assert_eq!(histogram.positive.iter().collect::<Vec<_>>(), [(-2, 1.0), (-1, 2.0), (4, 3.0)]);
        let gappy = Buckets::from_ascending([(1, 0.0), (2, 5.0), (3, 0.0)]);
        assert_eq!(gappy.compacted().spans, [BucketSpan { offset: 2, length: 1 }]);
    }

    #[test]
    fn what_senders_get_wrong_is_named() {
        assert_eq!(example().check(), Ok(()));
        let wrong = |change: fn(&mut Histogram)| {
            let mut histogram = example();
            change(&mut histogram);
            histogram.check().unwrap_err().0
        };
        assert!(wrong(|h| h.schema = 9).contains("schema 9"));
        assert!(wrong(|h| h.count = 8.0).contains("9 observations in buckets, but 8 in all"));
        assert!(wrong(|h| h.positive.spans[1].offset = -1).contains("overlap"));
        assert!(wrong(|h| h.positive.counts.push(1.0)).contains("but 4 counts"));
        assert!(wrong(|h| h.negative.counts[0] = -1.0).contains("negative"));
        assert!(wrong(|h| h.zero_count = 0.5).contains("no exact float"));
        assert!(wrong(|h| h.custom_values = vec![1.0]).contains("exponential"));
        assert!(wrong(|h| h.schema = CUSTOM_BUCKETS_SCHEMA).contains("zero bucket"));
    }

    #[test]
    fn the_join_prefers_floats_and_ignores_hints() {
        let integer = example();
        let float = Histogram { is_integer: false, ..example() };
        assert!(integer.join_order(&float).is_lt());
        let hinted = Histogram { hint: ResetHint::Reset, ..example() };
        assert!(integer.join_order(&hinted).is_eq() && integer != hinted);
    }
}
