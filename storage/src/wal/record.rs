//! Records: what a frame holds. Each names its tenant; series are referred to by a number that is valid within the
//! segment and tenant.

use crate::format::varint::{push_uvarint, take_uvarint, unzigzag, zigzag};
use crate::head::{PartitionId, PartitionKind};
use crate::model::sample::Sample;
use crate::model::time::TimeRange;
use crate::write::{FamilyMetadata, MetadataEntry, MetadataKind};

const TYPE_SERIES: u8 = 1;
const TYPE_SAMPLES: u8 = 2;
const TYPE_METADATA: u8 = 3;
/// Window start that stands for the late partition.
const LATE: i64 = i64::MIN;

/// Appends records to a frame's payload.
#[derive(Default)]
pub struct RecordWriter {
    payload: Vec<u8>,
    range: Option<TimeRange>,
}

impl RecordWriter {
    /// Names a series: from here on `reference` stands for the canonical `labels` of `tenant`.
    pub fn series(&mut self, tenant: &str, reference: u32, labels: &[u8]) {
        self.begin(TYPE_SERIES, tenant);
        push_uvarint(&mut self.payload, u64::from(reference));
        push_bytes(&mut self.payload, labels);
    }

    /// Begins the samples of `series_count` series that go to one partition; [`RecordWriter::samples_of`] follows that often.
    pub fn samples(&mut self, tenant: &str, partition: PartitionId, kind: PartitionKind, series_count: usize) {
        self.begin(TYPE_SAMPLES, tenant);
        self.payload.extend_from_slice(&partition.0.to_le_bytes());
        let window = match kind {
            PartitionKind::Window { start_ms } => start_ms,
            PartitionKind::Late => LATE,
        };
        self.payload.extend_from_slice(&window.to_le_bytes());
        push_uvarint(&mut self.payload, series_count as u64);
    }

    /// The samples of one series.
    pub fn samples_of(&mut self, reference: u32, samples: &[Sample]) {
        push_uvarint(&mut self.payload, u64::from(reference));
        push_uvarint(&mut self.payload, samples.len() as u64);
        let mut previous_ms = 0i64;
        let mut range = self.range.unwrap_or(TimeRange::EMPTY);
        for sample in samples {
            push_uvarint(&mut self.payload, zigzag(sample.timestamp_ms.wrapping_sub(previous_ms)));
            self.payload.extend_from_slice(&sample.value.to_bits().to_le_bytes());
            previous_ms = sample.timestamp_ms;
            range = range.including(sample.timestamp_ms);
        }
        self.range = Some(range);
    }

    /// Metadata of one family.
    pub fn metadata(&mut self, tenant: &str, metadata: &FamilyMetadata) {
        self.begin(TYPE_METADATA, tenant);
        self.payload.push(metadata.entry.kind as u8);
        push_bytes(&mut self.payload, metadata.family.as_bytes());
        push_bytes(&mut self.payload, metadata.entry.help.as_bytes());
        push_bytes(&mut self.payload, metadata.entry.unit.as_bytes());
    }

    /// Whether nothing was written.
    pub fn is_empty(&self) -> bool {
        self.payload.is_empty()
    }

    /// The records.
    pub fn payload(&self) -> &[u8] {
        &self.payload
    }

    /// Time range of the samples; empty without any.
    pub fn range(&self) -> TimeRange {
        self.range.unwrap_or(TimeRange::EMPTY)
    }

    fn begin(&mut self, kind: u8, tenant: &str) {
        self.payload.push(kind);
        push_bytes(&mut self.payload, tenant.as_bytes());
    }
}

/// A record that was read.
#[derive(Debug, PartialEq)]
pub enum Record<'a> {
    /// A series is named.
    Series {
        /// Whose.
        tenant: &'a str,
        /// Its number within segment and tenant.
        reference: u32,
        /// Label bytes, not yet checked to be canonical.
        labels: &'a [u8],
    },
    /// Samples of one partition.
    Samples {
        /// Whose.
        tenant: &'a str,
        /// Which partition took them.
        partition: PartitionId,
        /// What that partition is for.
        kind: PartitionKind,
        /// Reference and samples of each series.
        series: Vec<(u32, Vec<Sample>)>,
    },
    /// Metadata of a family.
    Metadata {
        /// Whose.
        tenant: &'a str,
        /// What.
        metadata: FamilyMetadata,
    },
}

/// Reads the records of a payload whose checksum holds. Ends at the first that is malformed (`Err`).
pub struct RecordReader<'a> {
    rest: &'a [u8],
}

/// A record that no writer makes.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("a record of the write-ahead log is malformed")]
pub struct MalformedRecord;

impl<'a> RecordReader<'a> {
    /// Reads `payload` from its start.
    pub fn new(payload: &'a [u8]) -> Self {
        RecordReader { rest: payload }
    }

    fn read(&mut self) -> Option<Record<'a>> {
        let rest = &mut self.rest;
        let (&kind, after) = rest.split_first()?;
        *rest = after;
        let tenant = take_str(rest)?;
        match kind {
            TYPE_SERIES => {
                let reference = u32::try_from(take_uvarint(rest)?).ok()?;
                Some(Record::Series { tenant, reference, labels: take_bytes(rest)? })
            }
            TYPE_SAMPLES => {
                let partition = PartitionId(u128::from_le_bytes(*take_array::<16>(rest)?));
                let kind = match i64::from_le_bytes(*take_array::<8>(rest)?) {
                    LATE => PartitionKind::Late,
                    start_ms => PartitionKind::Window { start_ms },
                };
                let mut series = Vec::new();
                for _ in 0..take_uvarint(rest)? {
                    series.push(take_samples(rest)?);
                }
                Some(Record::Samples { tenant, partition, kind, series })
            }
            TYPE_METADATA => {
                let (&number, after) = rest.split_first()?;
                *rest = after;
                let family = take_str(rest)?.to_owned();
                let help = take_str(rest)?.to_owned();
                let unit = take_str(rest)?.to_owned();
                let entry = MetadataEntry { kind: MetadataKind::from_number(u64::from(number)), help, unit };
                Some(Record::Metadata { tenant, metadata: FamilyMetadata { family, entry } })
            }
            _ => None,
        }
    }
}

impl<'a> Iterator for RecordReader<'a> {
    type Item = Result<Record<'a>, MalformedRecord>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let record = self.read();
        if record.is_none() {
            self.rest = &[];
        }
        Some(record.ok_or(MalformedRecord))
    }
}

fn take_samples(rest: &mut &[u8]) -> Option<(u32, Vec<Sample>)> {
    let reference = u32::try_from(take_uvarint(rest)?).ok()?;
    let count = usize::try_from(take_uvarint(rest)?).ok()?;
    // A sample takes nine bytes or more: a forged count cannot ask for more memory than the bytes are worth.
    if count > rest.len() / 9 {
        return None;
    }
    let mut samples = Vec::with_capacity(count);
    let mut timestamp_ms = 0i64;
    for _ in 0..count {
        timestamp_ms = timestamp_ms.wrapping_add(unzigzag(take_uvarint(rest)?));
        let value = f64::from_bits(u64::from_le_bytes(*take_array::<8>(rest)?));
        samples.push(Sample { timestamp_ms, value });
    }
    Some((reference, samples))
}

fn push_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    push_uvarint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

fn take_bytes<'a>(bytes: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = usize::try_from(take_uvarint(bytes)?).ok()?;
    let (taken, rest) = bytes.split_at_checked(length)?;
    *bytes = rest;
    Some(taken)
}

fn take_str<'a>(bytes: &mut &'a [u8]) -> Option<&'a str> {
    std::str::from_utf8(take_bytes(bytes)?).ok()
}

fn take_array<'a, const N: usize>(bytes: &mut &'a [u8]) -> Option<&'a [u8; N]> {
    let (taken, rest) = bytes.split_first_chunk::<N>()?;
    *bytes = rest;
    Some(taken)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn records_read_back() {
        let mut writer = RecordWriter::default();
        let samples = [i64::MIN, 0, i64::MAX, 5].map(|timestamp_ms| Sample { timestamp_ms, value: 1.5 });
        let metadata = FamilyMetadata {
            family: "up".into(),
            entry: MetadataEntry { kind: MetadataKind::Gauge, help: "é".into(), unit: String::new() },
        };
        writer.series("a", 7, b"labels");
        writer.samples("b", PartitionId(9), PartitionKind::Window { start_ms: 7_200_000 }, 1);
        writer.samples_of(7, &samples);
        writer.metadata("a", &metadata);
        let records: Vec<_> = RecordReader::new(writer.payload()).map(Result::unwrap).collect();
        let kind = PartitionKind::Window { start_ms: 7_200_000 };
        assert_eq!(
            records,
            vec![
                Record::Series { tenant: "a", reference: 7, labels: b"labels" },
                Record::Samples { tenant: "b", partition: PartitionId(9), kind, series: vec![(7, samples.to_vec())] },
                Record::Metadata { tenant: "a", metadata },
            ]
        );
        assert_eq!(writer.range(), TimeRange::ALL);
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(prop_oneof![0u8..5, any::<u8>()], 0..200)) {
            let _ = RecordReader::new(&bytes).count();
        }
    }
}
