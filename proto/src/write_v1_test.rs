//! The oracle is prost: the same bytes must give the same request, or be refused by both.

use super::*;
use proptest::prelude::*;
use prost::Message as _;

/// The schema as far as this decoder reads it: texts as bytes, exemplars and histograms opaque.
mod oracle {
    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct WriteRequest {
        #[prost(message, repeated, tag = "1")]
        pub(super) timeseries: Vec<TimeSeries>,
        #[prost(message, repeated, tag = "3")]
        pub(super) metadata: Vec<Metadata>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct TimeSeries {
        #[prost(message, repeated, tag = "1")]
        pub(super) labels: Vec<Label>,
        #[prost(message, repeated, tag = "2")]
        pub(super) samples: Vec<Sample>,
        #[prost(bytes = "vec", repeated, tag = "3")]
        pub(super) exemplars: Vec<Vec<u8>>,
        #[prost(bytes = "vec", repeated, tag = "4")]
        pub(super) histograms: Vec<Vec<u8>>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Label {
        #[prost(bytes = "vec", tag = "1")]
        pub(super) name: Vec<u8>,
        #[prost(bytes = "vec", tag = "2")]
        pub(super) value: Vec<u8>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Sample {
        #[prost(double, tag = "1")]
        pub(super) value: f64,
        #[prost(int64, tag = "2")]
        pub(super) timestamp: i64,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Metadata {
        #[prost(uint64, tag = "1")]
        pub(super) kind: u64,
        #[prost(bytes = "vec", tag = "2")]
        pub(super) family: Vec<u8>,
        #[prost(bytes = "vec", tag = "4")]
        pub(super) help: Vec<u8>,
        #[prost(bytes = "vec", tag = "5")]
        pub(super) unit: Vec<u8>,
    }
}

type Pairs = Vec<(Vec<u8>, Vec<u8>)>;
/// Labels, samples by bits, exemplars, histograms; then metadata.
type Plain = (Vec<(Pairs, Vec<(i64, u64)>, u64, Vec<Vec<u8>>)>, Vec<(u64, Vec<u8>, Vec<u8>, Vec<u8>)>);

fn by_hand(body: &[u8]) -> Result<Plain, WireError> {
    let (mut series_out, mut metadata_out) = (Vec::new(), Vec::new());
    let mut entries = Entries::new(body);
    while let Some(entry) = entries.next_entry()? {
        match entry {
            Entry::Series(series) => {
                let mut samples = Vec::new();
                let parts = series.read(|t, v| samples.push((t, v.to_bits())))?;
                assert_eq!(&body[parts.labels_offset..][..parts.labels.len()], parts.labels);
                let mut labels = Vec::new();
                let mut fields = LabelFields::new(parts.labels);
                while let Some((name, value)) = fields.next_label()? {
                    labels.push((name.to_vec(), value.to_vec()));
                }
                let mut histograms = Vec::new();
                series.read_histograms(|message| {
                    histograms.push(message.to_vec());
                    Ok(())
                })?;
                assert_eq!(parts.histograms, histograms.len() as u64);
                series_out.push((labels, samples, parts.exemplars, histograms));
            }
            Entry::Metadata(m) => metadata_out.push((m.kind, m.family.to_vec(), m.help.to_vec(), m.unit.to_vec())),
        }
    }
    Ok((series_out, metadata_out))
}

fn by_prost(body: &[u8]) -> Result<Plain, prost::DecodeError> {
    let request = oracle::WriteRequest::decode(body)?;
    let series = request.timeseries.into_iter().map(|s| {
        let labels = s.labels.into_iter().map(|l| (l.name, l.value)).collect();
        let samples = s.samples.into_iter().map(|s| (s.timestamp, s.value.to_bits())).collect();
        (labels, samples, s.exemplars.len() as u64, s.histograms)
    });
    let metadata = request.metadata.into_iter().map(|m| (m.kind, m.family, m.help, m.unit));
    Ok((series.collect(), metadata.collect()))
}

fn text() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        "[a-z_]{0,9}".prop_map(String::into_bytes),
        proptest::collection::vec(any::<u8>(), 0..4),
        "x{120,140}".prop_map(String::into_bytes),
    ]
}

fn request() -> impl Strategy<Value = oracle::WriteRequest> {
    let label = (text(), text()).prop_map(|(name, value)| oracle::Label { name, value });
    let sample = (any::<u64>(), any::<i64>())
        .prop_map(|(bits, timestamp)| oracle::Sample { value: f64::from_bits(bits), timestamp });
    let opaque = || proptest::collection::vec(text(), 0..2);
    let series =
        (proptest::collection::vec(label, 0..4), proptest::collection::vec(sample, 0..4), opaque(), opaque()).prop_map(
            |(labels, samples, exemplars, histograms)| oracle::TimeSeries { labels, samples, exemplars, histograms },
        );
    let metadata = (any::<u64>(), text(), text(), text()).prop_map(|(kind, family, help, unit)| oracle::Metadata {
        kind,
        family,
        help,
        unit,
    });
    (proptest::collection::vec(series, 0..4), proptest::collection::vec(metadata, 0..2))
        .prop_map(|(timeseries, metadata)| oracle::WriteRequest { timeseries, metadata })
}

/// A byte at a place, relative to the length.
fn damage() -> impl Strategy<Value = (prop::sample::Index, u8)> {
    (any::<prop::sample::Index>(), prop_oneof![any::<u8>(), 0u8..40])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn a_request_is_read_as_prost_reads_it(request in request()) {
        let body = request.encode_to_vec();
        prop_assert_eq!(by_hand(&body).unwrap(), by_prost(&body).unwrap());
    }

    #[test]
    fn damaged_bytes_are_accepted_or_refused_by_both(
        request in request(),
        cut: Option<prop::sample::Index>,
        damages in proptest::collection::vec(damage(), 0..3),
    ) {
        let mut body = request.encode_to_vec();
        if let (Some(cut), false) = (cut, body.is_empty()) {
            body.truncate(cut.index(body.len()));
        }
        if !body.is_empty() {
            for (at, byte) in &damages {
                let at = at.index(body.len());
                body[at] = *byte;
            }
        }
        prop_assert_eq!(by_hand(&body).ok(), by_prost(&body).ok());
    }

    #[test]
    fn fields_merge_in_any_order(halves in proptest::collection::vec(request(), 1..3)) {
        // Two messages side by side are one message; inside a series the same holds.
        let body: Vec<u8> = halves.iter().flat_map(|half| half.encode_to_vec()).collect();
        prop_assert_eq!(by_hand(&body).unwrap(), by_prost(&body).unwrap());
        let series: Vec<u8> = halves.iter().flat_map(|r| &r.timeseries).flat_map(|s| s.encode_to_vec()).collect();
        let mut body = Vec::new();
        prost::encoding::bytes::encode(1, &series, &mut body);
        prop_assert_eq!(by_hand(&body).unwrap(), by_prost(&body).unwrap());
    }
}

fn parts(series: &[u8]) -> (bool, Vec<u8>) {
    let mut body = Vec::new();
    prost::encoding::bytes::encode(1, &series.to_vec(), &mut body);
    let Ok(Some(Entry::Series(series))) = Entries::new(&body).next_entry() else { panic!("one series") };
    let parts = series.read(|_, _| {}).unwrap();
    (parts.contiguous, parts.labels.to_vec())
}

#[test]
fn label_fields_side_by_side_are_one_slice() {
    let (label, sample) = ([0x0a, 2, 0x0a, 0], [0x12, 0]);
    assert_eq!(parts(&[]), (true, vec![]));
    assert_eq!(parts(&[label, label].concat()), (true, [label, label].concat()));
    assert_eq!(parts(&[&sample[..], &label[..], &sample[..]].concat()), (true, label.to_vec()));
    let parted = [&label[..], &sample[..], &label[..]].concat();
    assert_eq!(parts(&parted), (false, parted.clone()));
}

#[test]
fn of_a_field_given_twice_the_last_counts() {
    let sample = [0x10, 1, 0x10, 9, 0x09, 0, 0, 0, 0, 0, 0, 0xf0, 0x3f];
    let mut body = vec![0x0a, sample.len() as u8 + 2, 0x12, sample.len() as u8];
    body.extend_from_slice(&sample);
    assert_eq!(by_hand(&body).unwrap().0[0].1, vec![(9, 1f64.to_bits())]);
}

/// A varint of the given length, or of the shortest one that holds the number if that is longer.
fn padded(number: u64, length: usize) -> Vec<u8> {
    let mut out = Vec::new();
    prost::encoding::encode_varint(number, &mut out);
    while out.len() < length.min(10) {
        if let Some(last) = out.last_mut() {
            *last |= 0x80;
        }
        out.push(0);
    }
    out
}

/// A field of a sample, in any of its spellings, or one that does not belong there.
fn sample_field() -> impl Strategy<Value = Vec<u8>> {
    let time = prop_oneof![any::<u64>(), 0..1u64 << 42, (0..64u32).prop_map(|bit| 1 << bit)];
    prop_oneof![
        3 => any::<[u8; 8]>().prop_map(|value| [&[0x09][..], &value].concat()),
        3 => (time, 0..12usize).prop_map(|(time, length)| [vec![0x10], padded(time, length)].concat()),
        1 => (0..12usize).prop_map(|length| [padded(0x10, length), vec![5]].concat()),
        1 => Just(vec![0x1d, 1, 2, 3, 4]),
        1 => Just(vec![0x10]),
        1 => Just(vec![0x10, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2]),
    ]
}

/// A field whose key and length may be longer than they need be.
fn wrapped(key: u64, content: &[u8], key_length: usize, length_length: usize) -> Vec<u8> {
    [padded(key, key_length), padded(content.len() as u64, length_length), content.to_vec()].concat()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    #[test]
    fn samples_are_read_as_prost_reads_them_however_they_are_spelled(
        samples in proptest::collection::vec((proptest::collection::vec(sample_field(), 0..4), 0..4usize, 0..4usize), 1..4),
        label in (text(), 0..4usize, 0..4usize),
        outer in (0..4usize, 0..5usize),
        cut in prop_oneof![4 => Just(0usize), 1 => 1..12usize],
    ) {
        let mut series = wrapped(0x0a, &wrapped(0x0a, &label.0, 0, 0), label.1, label.2);
        for (fields, key_length, length_length) in samples {
            series.extend(wrapped(0x12, &fields.concat(), key_length, length_length));
        }
        let mut body = wrapped(0x0a, &series, outer.0, outer.1);
        prop_assert_eq!(by_hand(&body).ok(), by_prost(&body).ok());
        body.truncate(body.len().saturating_sub(cut));
        prop_assert_eq!(by_hand(&body).ok(), by_prost(&body).ok());
    }
}
