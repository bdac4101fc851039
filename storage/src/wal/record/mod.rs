//! Records: what a frame holds. Each names its tenant; series are referred to by a number that is valid within the
//! segment and tenant.

mod histograms;
mod names;
mod samples;
mod starts;
mod values;

pub use histograms::HistogramColumns;
pub use names::SeriesNames;
pub use samples::{CodedSamples, SampleColumns};
pub use values::LastValues;

use super::frame::FRAME_HEADER_BYTES;
use crate::format::varint::{push_uvarint, take_uvarint, unzigzag};
use crate::head::{PartitionId, PartitionKind};
use crate::model::histogram::HistogramSample;
use crate::model::sample::Sample;
use crate::model::start::StartTime;
use crate::model::time::TimeRange;
use crate::write::{FamilyMetadata, MetadataEntry, MetadataKind};

/// One series; only in segments of version 1.
const TYPE_SERIES_V1: u8 = 1;
/// Samples row by row; only in segments of version 1.
const TYPE_SAMPLES_V1: u8 = 2;
const TYPE_METADATA: u8 = 3;
const TYPE_NAMES: u8 = 4;
const TYPE_SAMPLES: u8 = 5;
/// Histograms; only in segments from version 3 on.
const TYPE_HISTOGRAMS: u8 = 6;
/// Start timestamps; only in segments from version 3 on.
const TYPE_STARTS: u8 = 7;
/// Window start that stands for the late partition.
const LATE: i64 = i64::MIN;

/// Collects records, with room for the header of their frame in front.
#[derive(Debug)]
pub struct RecordWriter {
    bytes: Vec<u8>,
    range: TimeRange,
}

impl Default for RecordWriter {
    fn default() -> Self {
        RecordWriter { bytes: vec![0; FRAME_HEADER_BYTES], range: TimeRange::EMPTY }
    }
}

impl RecordWriter {
    /// Names series: from here on each reference stands for its canonical labels.
    pub fn names(&mut self, tenant: &str, names: &SeriesNames) {
        self.begin(TYPE_NAMES, tenant);
        names.encode(&mut self.bytes);
    }

    /// Samples of `count` series that go to one partition: references and samples. `last` holds the last values of the tenant's
    /// series in this segment.
    pub fn samples<'a>(
        &mut self,
        tenant: &str,
        partition: PartitionId,
        kind: PartitionKind,
        count: usize,
        series: impl Iterator<Item = (u32, &'a [Sample])> + Clone,
        last: &mut LastValues,
    ) {
        self.begin(TYPE_SAMPLES, tenant);
        self.partition(partition, kind);
        self.range = self.range.union(samples::encode(&mut self.bytes, count, series, last));
    }

    /// Histograms that go to one partition: references and samples, in any order of time. Nothing is written if there are none.
    pub fn histograms<'a>(
        &mut self,
        tenant: &str,
        partition: PartitionId,
        kind: PartitionKind,
        series: impl Iterator<Item = (u32, &'a [HistogramSample])> + Clone,
    ) {
        if series.clone().all(|(_, samples)| samples.is_empty()) {
            return;
        }
        self.begin(TYPE_HISTOGRAMS, tenant);
        self.partition(partition, kind);
        self.range = self.range.union(histograms::encode(&mut self.bytes, series));
    }

    /// Start timestamps of samples that go to one partition, with the references of their series; the samples are written in the same
    /// frame. Nothing is written if there are none.
    pub fn starts(
        &mut self,
        tenant: &str,
        partition: PartitionId,
        kind: PartitionKind,
        starts: impl Iterator<Item = (u32, StartTime)> + Clone,
    ) {
        let count = starts.clone().count();
        if count > 0 {
            self.begin(TYPE_STARTS, tenant);
            self.partition(partition, kind);
            starts::encode(&mut self.bytes, count, starts);
        }
    }

    fn partition(&mut self, partition: PartitionId, kind: PartitionKind) {
        self.bytes.extend_from_slice(&partition.0.to_le_bytes());
        let window = match kind {
            PartitionKind::Window { start_ms } => start_ms,
            PartitionKind::Late => LATE,
        };
        self.bytes.extend_from_slice(&window.to_le_bytes());
    }

    /// Metadata of one family.
    pub fn metadata(&mut self, tenant: &str, metadata: &FamilyMetadata) {
        self.begin(TYPE_METADATA, tenant);
        self.bytes.push(metadata.entry.kind as u8);
        push_bytes(&mut self.bytes, metadata.family.as_bytes());
        push_bytes(&mut self.bytes, metadata.entry.help.as_bytes());
        push_bytes(&mut self.bytes, metadata.entry.unit.as_bytes());
    }

    /// Whether nothing was written.
    pub fn is_empty(&self) -> bool {
        self.bytes.len() == FRAME_HEADER_BYTES
    }

    /// The records.
    pub fn payload(&self) -> &[u8] {
        self.bytes.get(FRAME_HEADER_BYTES..).unwrap_or_default()
    }

    /// Room for the frame's header, and the records.
    pub(super) fn frame(&mut self) -> &mut [u8] {
        &mut self.bytes
    }

    /// Time range of the samples; empty without any.
    pub fn range(&self) -> TimeRange {
        self.range
    }

    /// Forgets the records and keeps the memory, unless that is more than `keep_bytes`.
    pub fn clear(&mut self, keep_bytes: usize) {
        self.bytes.truncate(FRAME_HEADER_BYTES);
        self.bytes.shrink_to(keep_bytes);
        self.range = TimeRange::EMPTY;
    }

    fn begin(&mut self, kind: u8, tenant: &str) {
        self.bytes.push(kind);
        push_bytes(&mut self.bytes, tenant.as_bytes());
    }
}

/// A record that was read.
#[derive(Debug, PartialEq)]
pub enum Record<'a> {
    /// Series are named.
    Names {
        /// Whose.
        tenant: &'a str,
        /// References and labels.
        names: SeriesNames,
    },
    /// Samples of one partition.
    Samples {
        /// Whose.
        tenant: &'a str,
        /// Which partition took them.
        partition: PartitionId,
        /// What that partition is for.
        kind: PartitionKind,
        /// References and samples, their values still coded.
        samples: CodedSamples<'a>,
    },
    /// Histograms of one partition.
    Histograms {
        /// Whose.
        tenant: &'a str,
        /// Which partition took them.
        partition: PartitionId,
        /// What that partition is for.
        kind: PartitionKind,
        /// References and samples.
        histograms: HistogramColumns,
    },
    /// Start timestamps of samples of one partition.
    Starts {
        /// Whose.
        tenant: &'a str,
        /// Which partition took them.
        partition: PartitionId,
        /// What that partition is for.
        kind: PartitionKind,
        /// References and start timestamps.
        starts: Vec<(u32, StartTime)>,
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
            TYPE_NAMES => Some(Record::Names { tenant, names: SeriesNames::decode(rest)? }),
            TYPE_SERIES_V1 => {
                let mut names = SeriesNames::default();
                let reference = u32::try_from(take_uvarint(rest)?).ok()?;
                names.push(reference, take_bytes(rest)?);
                Some(Record::Names { tenant, names })
            }
            TYPE_SAMPLES | TYPE_SAMPLES_V1 => {
                let (partition, window) = take_partition(rest)?;
                let samples = match kind {
                    TYPE_SAMPLES => samples::decode(rest)?,
                    _ => CodedSamples::plain(take_samples_v1(rest)?),
                };
                Some(Record::Samples { tenant, partition, kind: window, samples })
            }
            TYPE_HISTOGRAMS => {
                let (partition, kind) = take_partition(rest)?;
                Some(Record::Histograms { tenant, partition, kind, histograms: histograms::decode(rest)? })
            }
            TYPE_STARTS => {
                let (partition, kind) = take_partition(rest)?;
                Some(Record::Starts { tenant, partition, kind, starts: starts::decode(rest)? })
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

fn take_partition(rest: &mut &[u8]) -> Option<(PartitionId, PartitionKind)> {
    let partition = PartitionId(u128::from_le_bytes(*take_array::<16>(rest)?));
    let kind = match i64::from_le_bytes(*take_array::<8>(rest)?) {
        LATE => PartitionKind::Late,
        start_ms => PartitionKind::Window { start_ms },
    };
    Some((partition, kind))
}

fn take_samples_v1(rest: &mut &[u8]) -> Option<SampleColumns> {
    let mut columns = SampleColumns::default();
    for _ in 0..take_uvarint(rest)? {
        columns.references.push(u32::try_from(take_uvarint(rest)?).ok()?);
        let count = usize::try_from(take_uvarint(rest)?).ok()?;
        // A sample takes nine bytes or more: a forged count cannot ask for more memory than the bytes are worth.
        if count > rest.len() / 9 {
            return None;
        }
        let mut timestamp_ms = 0i64;
        for _ in 0..count {
            timestamp_ms = timestamp_ms.wrapping_add(unzigzag(take_uvarint(rest)?));
            let value = f64::from_bits(u64::from_le_bytes(*take_array::<8>(rest)?));
            columns.samples.push(Sample { timestamp_ms, value });
        }
        columns.ends.push(u32::try_from(columns.samples.len()).ok()?);
    }
    Some(columns)
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
    use std::sync::Arc;

    use proptest::prelude::*;

    use crate::chunk::histogram_tests::histogram;
    use crate::model::joined::join_histograms;

    #[test]
    fn records_read_back() {
        let mut writer = RecordWriter::default();
        let samples = [i64::MIN, 0, i64::MAX, 5].map(|timestamp_ms| Sample { timestamp_ms, value: 1.5 });
        let metadata = FamilyMetadata {
            family: "up".into(),
            entry: MetadataEntry { kind: MetadataKind::Gauge, help: "é".into(), unit: String::new() },
        };
        let mut names = SeriesNames::default();
        names.push(7, b"labels");
        names.push(5, b"");
        writer.names("a", &names);
        let kind = PartitionKind::Window { start_ms: 7_200_000 };
        let mut last = LastValues::default();
        writer.samples("b", PartitionId(9), kind, 1, [(7, &samples[..])].into_iter(), &mut last);
        writer.metadata("a", &metadata);
        let mut records: Vec<_> = RecordReader::new(writer.payload()).map(Result::unwrap).collect();
        let columns = SampleColumns { references: vec![7], ends: vec![4], samples: samples.to_vec() };
        let Record::Samples { tenant: "b", partition: PartitionId(9), kind: got, samples } = records.remove(1) else {
            panic!("{records:?}");
        };
        assert_eq!((got, samples.resolve(&mut LastValues::default())), (kind, Ok((columns, Vec::new()))));
        assert_eq!(records, vec![Record::Names { tenant: "a", names }, Record::Metadata { tenant: "a", metadata }]);
        assert_eq!(writer.range(), TimeRange::ALL);
    }

    fn series() -> impl Strategy<Value = Vec<(u32, Vec<Sample>)>> {
        let time = prop_oneof![4 => Just(1_700_000_000_000i64), 1 => any::<i64>()];
        let value = prop_oneof![(0u32..50).prop_map(f64::from), any::<u64>().prop_map(f64::from_bits)];
        let sample = (time, value).prop_map(|(timestamp_ms, value)| Sample { timestamp_ms, value });
        let samples = prop_oneof![4 => proptest::collection::vec(sample.clone(), 1..2), 1 => proptest::collection::vec(sample, 0..5)];
        let reference = prop_oneof![0u32..30, any::<u32>()];
        proptest::collection::vec((reference, samples), 1..40)
    }

    proptest! {
        #[test]
        fn any_samples_read_back(mut series in series(), sorted: bool) {
            if sorted {
                series.sort_by_key(|(reference, _)| *reference);
            }
            if series.iter().all(|(_, samples)| samples.is_empty()) {
                return Ok(());
            }
            // A record has at least as many samples as series.
            series.retain(|(_, samples)| !samples.is_empty());
            let mut writer = RecordWriter::default();
            let columns = series.iter().map(|(reference, samples)| (*reference, &samples[..]));
            let mut last = LastValues::default();
            writer.samples("t", PartitionId(1), PartitionKind::Late, series.len(), columns, &mut last);
            let record = RecordReader::new(writer.payload()).next().unwrap().unwrap();
            let Record::Samples { samples, .. } = record else { panic!("{record:?}") };
            let (columns, lost) = samples.resolve(&mut LastValues::default()).unwrap();
            prop_assert!(lost.is_empty());
            let got: Vec<_> = columns.series().map(|(reference, samples)| (reference, samples.to_vec())).collect();
            prop_assert_eq!(got, series);
        }

        #[test]
        fn any_histograms_read_back(series in proptest::collection::vec((any::<u32>(), proptest::collection::vec((any::<i64>(), histogram()), 0..4)), 1..10)) {
            let series: Vec<(u32, Vec<HistogramSample>)> = series.into_iter().map(|(reference, samples)| {
                let sample = |(timestamp_ms, histogram)| HistogramSample { timestamp_ms, histogram: Arc::new(histogram) };
                (reference, samples.into_iter().map(sample).collect())
            }).collect();
            let mut writer = RecordWriter::default();
            let columns = series.iter().map(|(reference, samples)| (*reference, &samples[..]));
            writer.histograms("t", PartitionId(1), PartitionKind::Late, columns);
            let mut expected = HistogramColumns::default();
            for (reference, mut samples) in series {
                join_histograms(&mut samples);
                if !samples.is_empty() {
                    expected.push(reference, &samples);
                }
            }
            let got = RecordReader::new(writer.payload()).next().map(Result::unwrap);
            let record = Record::Histograms { tenant: "t", partition: PartitionId(1), kind: PartitionKind::Late, histograms: expected };
            prop_assert_eq!(got.is_none(), writer.range().is_empty());
            prop_assert!(got.is_none_or(|got| got == record));
        }

        #[test]
        fn any_start_timestamps_read_back(starts in proptest::collection::vec((any::<u32>(), any::<i64>(), any::<i64>()), 0..20)) {
            let start = |&(reference, timestamp_ms, start_ms): &(u32, i64, i64)| (reference, StartTime { timestamp_ms, start_ms });
            let starts: Vec<(u32, StartTime)> = starts.iter().map(start).collect();
            let mut writer = RecordWriter::default();
            writer.starts("t", PartitionId(1), PartitionKind::Late, starts.iter().copied());
            let got: Vec<_> = RecordReader::new(writer.payload()).map(Result::unwrap).collect();
            let record = Record::Starts { tenant: "t", partition: PartitionId(1), kind: PartitionKind::Late, starts: starts.clone() };
            prop_assert_eq!(got, if starts.is_empty() { vec![] } else { vec![record] });
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(prop_oneof![0u8..8, any::<u8>()], 0..200)) {
            let mut last = LastValues::default();
            for record in RecordReader::new(&bytes) {
                if let Ok(Record::Samples { samples, .. }) = record {
                    let _ = samples.resolve(&mut last);
                }
            }
        }
    }
}
