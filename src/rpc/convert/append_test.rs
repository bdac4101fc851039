//! A batch, its pieces, and the batch again.

use std::sync::Arc;

use marigram_storage::model::histogram::{Buckets, Histogram};
use marigram_storage::model::labels::Labels;
use proptest::prelude::*;
use prost::Message;

use super::*;

/// A series, its labels, the times, bits and start timestamps of its samples, and its histograms with theirs.
type Said = (SeriesId, Vec<u8>, Vec<(i64, u64, i64)>, Vec<(HistogramSample, i64)>);

/// What a batch says, whatever its memory looks like: samples of one series in their order.
fn said(batches: &[WriteBatch]) -> Vec<Said> {
    let mut said: Vec<Said> = Vec::new();
    for batch in batches {
        for series in &batch.series {
            let labels = batch.arena[series.labels.clone()].to_vec();
            let start = |starts: &[(u32, i64)], place: usize| {
                starts.iter().find(|start| start.0 as usize == place).map_or(0, |start| start.1)
            };
            let samples = series.samples.clone().map(|place| {
                let Sample { timestamp_ms, value } = batch.samples[place];
                (timestamp_ms, value.to_bits(), start(&batch.starts.samples, place))
            });
            let histograms = batch.histograms_of(series).unwrap().iter().cloned().zip(series.histograms.clone());
            let histograms =
                histograms.map(|(sample, place)| (sample, start(&batch.starts.histograms, place as usize)));
            match said.last_mut() {
                // A series that went on in the next piece.
                Some(last) if last.0 == series.id && last.1 == labels => {
                    last.2.extend(samples);
                    last.3.extend(histograms);
                }
                _ => said.push((series.id, labels, samples.collect(), histograms.collect())),
            }
        }
    }
    said
}

fn batch(series: &[(String, Vec<(i64, u64)>)], metadata: Vec<FamilyMetadata>) -> WriteBatch {
    let mut batch = WriteBatch { metadata, ..WriteBatch::default() };
    for (at, (value, samples)) in series.iter().enumerate() {
        let at = at.to_string();
        let labels = Labels::from_pairs([("__name__", "m"), ("n", at.as_str()), ("v", value.as_str())]);
        let (labels_at, samples_at) = (batch.arena.len(), batch.samples.len());
        batch.arena.extend_from_slice(labels.as_bytes());
        batch.samples.extend(samples.iter().map(|(t, v)| Sample { timestamp_ms: *t, value: f64::from_bits(*v) }));
        batch.series.push(WriteSeries::new(labels.id(), labels_at..batch.arena.len(), samples_at..batch.samples.len()));
    }
    batch
}

/// Over the wire and back.
fn travelled(pieces: Vec<proto::AppendPiece>) -> Vec<WriteBatch> {
    let mut batches = Vec::new();
    let mut assembler = Assembler::new(TenantId::default());
    for (at, piece) in pieces.into_iter().enumerate() {
        let bytes = piece.encode_to_vec();
        assert!(bytes.len() <= PIECE_BYTES_MAX, "{} bytes", bytes.len());
        assembler.push(proto::AppendPiece::decode(&bytes[..]).unwrap()).unwrap();
        if at % 2 == 0 {
            assert!(!assembler.is_empty() && assembler.bytes() > 0);
            batches.push(assembler.take());
        }
    }
    batches.push(assembler.take());
    batches
}

fn series() -> impl Strategy<Value = Vec<(String, Vec<(i64, u64)>)>> {
    let samples = proptest::collection::vec((any::<i64>(), any::<u64>()), 0..20);
    proptest::collection::vec((".{0,40}", samples), 0..12)
}

proptest! {
    #[test]
    fn a_batch_survives_the_way(series in series(), known in any::<u16>(), starts in proptest::collection::vec(any::<Option<i64>>(), 240)) {
        let mut whole = batch(&series, Vec::new());
        let starts = (0..whole.samples.len() as u32).zip(starts).filter_map(|(place, start_ms)| Some((place, start_ms?)));
        whole.starts.samples = starts.collect();
        let with_labels = |index: usize| known >> index & 1 == 0;
        let chosen = (0..series.len()).map(|index| ChosenSeries { index, with_labels: with_labels(index) });
        let arrived = said(&travelled(pieces(&whole, chosen, []).unwrap()));
        let expected: Vec<_> = said(&[whole]).into_iter().enumerate()
            .map(|(index, (id, labels, samples, histograms))| {
                (id, if with_labels(index) { labels } else { Vec::new() }, samples, histograms)
            })
            .collect();
        prop_assert_eq!(arrived, expected);
    }

    #[test]
    fn any_bytes_are_refused_or_add_up(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        if let Ok(piece) = proto::AppendPiece::decode(&bytes[..]) {
            let mut assembler = Assembler::new(TenantId::default());
            if assembler.push(piece).is_ok() {
                for batch in [assembler.take()] {
                    for series in &batch.series {
                        prop_assert!(batch.arena.get(series.labels.clone()).is_some());
                        prop_assert!(batch.samples.get(series.samples.clone()).is_some());
                        prop_assert!(batch.histograms_of(series).is_some());
                    }
                }
            }
        }
    }
}

#[test]
fn large_batches_and_large_series_are_split() {
    let long: Vec<(i64, u64)> = (0..300_000).map(|i| (i * 15_000, (i as u64) << 40)).collect();
    let mut series: Vec<(String, Vec<(i64, u64)>)> = (0..3000).map(|i| ("x".repeat(500), vec![(i, 1)])).collect();
    series.insert(7, (String::new(), long));
    let whole = batch(&series, Vec::new());
    let chosen = (0..series.len()).map(|index| ChosenSeries { index, with_labels: true });
    let pieces = pieces(&whole, chosen, []).unwrap();
    assert!(pieces.len() > 4, "{} pieces", pieces.len());
    assert_eq!(said(&travelled(pieces)), said(&[whole]));
}

#[test]
fn histograms_travel_in_as_many_pieces_as_it_takes() {
    let large = |time: i64| {
        let counts = (0..3000).map(|i| (i, ((time + 1) * i64::from(i) * 104_729 % 60_013) as f64));
        let histogram = Histogram { positive: Buckets::from_ascending(counts), ..Histogram::default() };
        HistogramSample { timestamp_ms: time, histogram: Arc::new(histogram) }
    };
    let names = ["a", "b", "c", "d"].map(|name| (name.to_owned(), vec![(1, 1)]));
    let mut whole = batch(&names, Vec::new());
    whole.histograms = (0..300).map(large).collect();
    // One time twice.
    whole.histograms.push(large(299));
    // Not in order of time.
    whole.histograms.swap(3, 4);
    whole.starts.histograms = (0..301).step_by(3).map(|place| (place, i64::from(place) - 1000)).collect();
    whole.series[1] = whole.series[1].clone().with_histograms(0..200);
    whole.series[2] = whole.series[2].clone().with_histograms(200..301);
    let chosen = (0..4).map(|index| ChosenSeries { index, with_labels: index != 1 });
    let pieces = pieces(&whole, chosen, []).unwrap();
    assert!(pieces.len() > 2, "{} pieces", pieces.len());
    let mut expected = said(&[whole]);
    expected[1].1.clear();
    expected[1].3.swap(3, 4);
    assert_eq!(said(&travelled(pieces)), expected);
}

#[test]
fn metadata_travels_too() {
    let metadata: Vec<FamilyMetadata> = (0..3000)
        .map(|i| {
            let entry = MetadataEntry { kind: MetadataKind::StateSet, help: "h".repeat(500), unit: "s".into() };
            FamilyMetadata { family: format!("family_{i}"), entry }
        })
        .collect();
    let whole = batch(&[], metadata.clone());
    let pieces = pieces(&whole, [], &whole.metadata).unwrap();
    assert!(pieces.len() > 1);
    let arrived: Vec<FamilyMetadata> = travelled(pieces).into_iter().flat_map(|batch| batch.metadata).collect();
    assert_eq!(arrived, metadata);
}

#[test]
fn labels_beyond_a_message_are_an_error() {
    let whole = batch(&[("x".repeat(PIECE_BYTES_MAX), vec![(0, 0)])], Vec::new());
    let chosen = |with_labels| [ChosenSeries { index: 0, with_labels }];
    assert_eq!(pieces(&whole, chosen(true), []).unwrap_err().kind(), marigram_storage::ErrorKind::BadInput);
    assert_eq!(pieces(&whole, chosen(false), []).unwrap().len(), 1);
}

#[test]
fn columns_that_do_not_add_up_are_refused() {
    let mut whole = batch(&[("a".into(), vec![(1, 1), (2, 2)]), ("b".into(), vec![(3, 3)])], Vec::new());
    whole.starts.samples = vec![(1, 7), (2, 7)];
    let chosen = (0..2).map(|index| ChosenSeries { index, with_labels: true });
    let good = pieces(&whole, chosen, []).unwrap().remove(0);
    let spoilt: [fn(&mut proto::SeriesColumns); 16] = [
        |columns| columns.start_steps = vec![1, 0],
        |columns| columns.start_steps = vec![1, 2],
        |columns| columns.start_steps.truncate(1),
        |columns| columns.histogram_start_distances_ms = vec![1],
        |columns| columns.histogram_chunk_counts = vec![0],
        |columns| columns.histogram_chunk_counts = vec![0, 1],
        |columns| columns.histogram_chunks.push(vec![5].into()),
        |columns| columns.ids.truncate(31),
        |columns| columns.ids.truncate(16),
        |columns| columns.sample_counts.truncate(1),
        |columns| columns.sample_counts[0] = u32::MAX,
        |columns| columns.labels_lengths.truncate(1),
        |columns| columns.labels_lengths[1] = u32::MAX,
        |columns| columns.value_bits.truncate(1),
        |columns| columns.labels.truncate(3),
        |columns| columns.ids = Bytes::copy_from_slice(&[columns.ids.slice(16..), columns.ids.slice(..16)].concat()),
    ];
    for (case, spoil) in spoilt.iter().enumerate() {
        let mut piece = good.clone();
        spoil(piece.series.as_mut().unwrap());
        assert!(Assembler::new(TenantId::default()).push(piece).is_err(), "case {case}");
    }
    assert!(Assembler::new(TenantId::default()).push(good).is_ok());
}

#[test]
fn a_series_needs_a_metric_name_and_canonical_labels() {
    for bytes in [Labels::from_pairs([("a", "b")]).as_bytes(), b"\x0a\x03abc"] {
        let columns = proto::SeriesColumns {
            ids: Bytes::copy_from_slice(&SeriesId::of(bytes).0.to_le_bytes()),
            labels_lengths: vec![bytes.len() as u32],
            labels: Bytes::copy_from_slice(bytes),
            sample_counts: vec![0],
            ..proto::SeriesColumns::default()
        };
        let piece = proto::AppendPiece { series: Some(columns), ..proto::AppendPiece::default() };
        assert!(Assembler::new(TenantId::default()).push(piece).is_err());
    }
}

#[test]
fn headers_and_answers_survive_the_way() {
    let header = AppendHeader { disk_id: 1, cluster_id: u128::MAX, tenant: TenantId::parse("team-a").unwrap() };
    assert_eq!(decode_header(&encode_header(&header)), Ok(header.clone()));
    let bad = proto::AppendHeader { tenant: "../..".into(), ..encode_header(&header) };
    assert!(decode_header(&bad).is_err());
    let appended = Appended { unknown: vec![SeriesId(1), SeriesId(u128::MAX)], catalog_number: 9 };
    assert_eq!(decode_appended(&encode_appended(&appended)), Ok(appended));
    let cut = proto::AppendResponse { unknown_ids: Bytes::from_static(b"short"), catalog_number: 0 };
    assert!(decode_appended(&cut).is_err());
}
