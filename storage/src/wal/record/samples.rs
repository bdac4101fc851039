//! The samples of a record, in columns: references, counts, timestamps, values.
//!
//! A request mostly has one sample of each of some neighbouring series, those of one target all of one time. References are runs of neighbours,
//! and what is the same for all is written once, so that little but the values remains. These are changes since values
//! before ([`LastValues`]), so whoever reads a segment reads all of it, in order.

use super::values::LastValues;
use crate::format::varint::{push_uvarint, take_uvarint, unzigzag, zigzag};
use crate::model::sample::Sample;
use crate::model::time::TimeRange;

/// Every series has one sample.
const ONE_EACH: u8 = 1;
/// Neighbours share their timestamps, which are written once for each such run.
const TIME_RUNS: u8 = 2;

/// Samples by series.
#[derive(Debug, Default, Clone, PartialEq)]
pub struct SampleColumns {
    /// The series' numbers within segment and tenant.
    pub references: Vec<u32>,
    /// Where the samples of each series end.
    pub ends: Vec<u32>,
    /// The samples, series by series.
    pub samples: Vec<Sample>,
}

impl SampleColumns {
    /// Each series' reference and samples.
    pub fn series(&self) -> impl Iterator<Item = (u32, &[Sample])> {
        let mut start = 0;
        self.references.iter().zip(&self.ends).map(move |(reference, end)| {
            let from = std::mem::replace(&mut start, *end as usize);
            (*reference, self.samples.get(from..*end as usize).unwrap_or_default())
        })
    }
}

/// Samples whose values are still changes: [`CodedSamples::resolve`] turns them into columns.
#[derive(Debug, Clone, PartialEq)]
pub struct CodedSamples<'a> {
    columns: SampleColumns,
    /// `None`: the values are in the columns.
    values: Option<&'a [u8]>,
}

/// Values that no writer makes.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("values of the write-ahead log are malformed")]
pub struct MalformedValues;

impl CodedSamples<'_> {
    /// Samples that were written row by row.
    pub(super) fn plain(columns: SampleColumns) -> Self {
        CodedSamples { columns, values: None }
    }

    /// The samples; those whose values are changes of a value that is not known are left out, and given apart.
    ///
    /// # Errors
    /// [`MalformedValues`].
    pub fn resolve(self, last: &mut LastValues) -> Result<(SampleColumns, Vec<Sample>), MalformedValues> {
        let CodedSamples { mut columns, values } = self;
        let Some(mut values) = values else { return Ok((columns, Vec::new())) };
        let mut lost = Vec::new();
        let (mut at, mut kept) = (0, 0);
        for (reference, end) in columns.references.iter().zip(&mut columns.ends) {
            while at < *end as usize {
                let mut sample = columns.samples[at];
                match last.take(*reference, &mut values).ok_or(MalformedValues)? {
                    Some(value) => {
                        sample.value = value;
                        columns.samples[kept] = sample;
                        kept += 1;
                    }
                    None => lost.push(sample),
                }
                at += 1;
            }
            *end = kept as u32;
        }
        columns.samples.truncate(kept);
        if values.is_empty() { Ok((columns, lost)) } else { Err(MalformedValues) }
    }
}

/// Appends the columns; answers the time range of the samples.
pub(super) fn encode<'a>(
    out: &mut Vec<u8>,
    count: usize,
    series: impl Iterator<Item = (u32, &'a [Sample])> + Clone,
    last: &mut LastValues,
) -> TimeRange {
    let mut range = TimeRange::EMPTY;
    let mut one_each = true;
    let (mut total, mut runs, mut last_ms) = (0usize, 0usize, None);
    for (_, samples) in series.clone() {
        one_each &= samples.len() == 1;
        total += samples.len();
        for sample in samples {
            if last_ms != Some(sample.timestamp_ms) {
                runs += 1;
                last_ms = Some(sample.timestamp_ms);
                range = range.including(sample.timestamp_ms);
            }
        }
    }
    let time_runs = runs * 2 <= total;
    push_uvarint(out, count as u64);
    out.push(if one_each { ONE_EACH } else { 0 } | if time_runs { TIME_RUNS } else { 0 });
    encode_references(out, series.clone().map(|(reference, _)| reference));
    if !one_each {
        series.clone().for_each(|(_, samples)| push_uvarint(out, samples.len() as u64));
    }
    encode_times(out, series.clone().flat_map(|(_, samples)| samples).map(|sample| sample.timestamp_ms), time_runs);
    let length_at = out.len();
    out.extend_from_slice(&[0; 4]);
    for (reference, samples) in series {
        samples.iter().for_each(|sample| last.push(reference, sample.value, out));
    }
    // A frame of 4 GiB or more is refused as a whole.
    let length = (out.len() - length_at - 4) as u32;
    out[length_at..length_at + 4].copy_from_slice(&length.to_le_bytes());
    range
}

/// Differences to the timestamp before; with `runs` each followed by how many samples have it.
fn encode_times(out: &mut Vec<u8>, times_ms: impl Iterator<Item = i64>, runs: bool) {
    let (mut previous_ms, mut length) = (0i64, 0u64);
    for time_ms in times_ms {
        if runs && length > 0 && time_ms == previous_ms {
            length += 1;
            continue;
        }
        if length > 0 {
            push_uvarint(out, length);
        }
        push_uvarint(out, zigzag(time_ms.wrapping_sub(previous_ms)));
        previous_ms = time_ms;
        length = u64::from(runs);
    }
    if length > 0 {
        push_uvarint(out, length);
    }
}

/// Runs of ascending neighbours: how far the first is from where the run before ended, and how many there are.
fn encode_references(out: &mut Vec<u8>, references: impl Iterator<Item = u32>) {
    let mut expected = 0i64;
    let (mut first, mut length) = (0i64, 0u64);
    let mut push = |first: i64, length: u64| {
        if length > 0 {
            push_uvarint(out, zigzag(first - expected));
            push_uvarint(out, length);
            expected = first + length as i64;
        }
    };
    for reference in references.map(i64::from) {
        if length > 0 && reference == first + length as i64 {
            length += 1;
        } else {
            push(first, length);
            (first, length) = (reference, 1);
        }
    }
    push(first, length);
}

/// Splits columns off the front; `None` for bytes that no writer makes.
pub(super) fn decode<'a>(rest: &mut &'a [u8]) -> Option<CodedSamples<'a>> {
    let count = usize::try_from(take_uvarint(rest)?).ok()?;
    // A series has at least one sample, whose value takes at least a byte: a forged count cannot ask for more memory than
    // the bytes are worth.
    if count > rest.len() {
        return None;
    }
    let (&flags, after) = rest.split_first()?;
    *rest = after;
    let mut columns = SampleColumns { references: decode_references(rest, count)?, ..SampleColumns::default() };
    columns.ends.reserve(count);
    let mut end = 0usize;
    for _ in 0..count {
        let samples = if flags & ONE_EACH != 0 { 1 } else { usize::try_from(take_uvarint(rest)?).ok()? };
        end = end.checked_add(samples).filter(|end| *end <= rest.len())?;
        columns.ends.push(u32::try_from(end).ok()?);
    }
    columns.samples.reserve(end);
    let mut timestamp_ms = 0i64;
    while columns.samples.len() < end {
        timestamp_ms = timestamp_ms.wrapping_add(unzigzag(take_uvarint(rest)?));
        let left = end - columns.samples.len();
        let run = if flags & TIME_RUNS == 0 { 1 } else { usize::try_from(take_uvarint(rest)?).ok()? };
        if run == 0 || run > left {
            return None;
        }
        columns.samples.resize(columns.samples.len() + run, Sample { timestamp_ms, value: 0.0 });
    }
    let (length, after) = rest.split_first_chunk::<4>()?;
    let (values, after) = after.split_at_checked(u32::from_le_bytes(*length) as usize)?;
    *rest = after;
    Some(CodedSamples { columns, values: Some(values) })
}

fn decode_references(rest: &mut &[u8], count: usize) -> Option<Vec<u32>> {
    let mut references = Vec::with_capacity(count);
    let mut expected = 0i64;
    while references.len() < count {
        let first = expected.checked_add(unzigzag(take_uvarint(rest)?))?;
        let length = usize::try_from(take_uvarint(rest)?).ok()?;
        if length == 0 || length > count - references.len() {
            return None;
        }
        expected = first.checked_add(length as i64)?;
        let (first, last) = (u32::try_from(first).ok()?, u32::try_from(expected - 1).ok()?);
        references.extend(first..=last);
    }
    Some(references)
}
