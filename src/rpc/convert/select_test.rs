//! Series, their pieces, and the series again.

use proptest::prelude::*;
use prost::Message;

use super::*;

type Said = (u128, Vec<u8>, Vec<u8>, Vec<(i64, i64, Vec<u8>, Vec<u8>)>);

fn said(series: &[SelectedSeries]) -> Vec<Said> {
    let chunks = |s: &SelectedSeries| {
        s.chunks.iter().map(|c| (c.min_ms, c.max_ms, c.times.to_vec(), c.bytes.to_vec())).collect()
    };
    let one = |s: &SelectedSeries| (s.id.0, s.labels.as_bytes().to_vec(), s.replica.as_bytes().to_vec(), chunks(s));
    series.iter().map(one).collect()
}

fn chunk(min_ms: i64, span_ms: u32, bytes: Vec<u8>) -> EncodedChunk {
    let max_ms = min_ms.saturating_add(i64::from(span_ms));
    EncodedChunk { min_ms, max_ms, times: Bytes::new(), bytes: bytes.into() }
}

fn one(name: &str, replica: &str, mut chunks: Vec<EncodedChunk>) -> SelectedSeries {
    chunks.sort_by_key(|chunk| chunk.min_ms);
    let labels = Labels::from_pairs([("__name__", name)]);
    SelectedSeries { id: labels.id(), labels, replica: Labels::from_pairs([("replica", replica)]), chunks }
}

fn in_order(mut series: Vec<SelectedSeries>) -> Vec<SelectedSeries> {
    series.sort_by(|a, b| (a.id, &a.replica).cmp(&(b.id, &b.replica)));
    series.dedup_by(|a, b| (a.id, &a.replica) == (b.id, &b.replica));
    series
}

/// Over the wire and back.
fn travelled(series: Vec<SelectedSeries>) -> Vec<SelectedSeries> {
    let mut joiner = Joiner::default();
    let mut arrived = Vec::new();
    for piece in Pieces::new(series) {
        let bytes = piece.unwrap().encode_to_vec();
        assert!(bytes.len() <= PIECE_BYTES_MAX, "{} bytes", bytes.len());
        arrived.extend(joiner.push(proto::SelectPiece::decode(&bytes[..]).unwrap()).unwrap());
    }
    arrived.extend(joiner.finish());
    arrived
}

proptest! {
    #[test]
    fn series_survive_the_way(
        series in proptest::collection::vec(
            ("[a-d]", "[ab]?", proptest::collection::vec((any::<i64>(), any::<u32>(), 0usize..400_000, 0usize..5), 1..9)), 0..6),
        columns in proptest::collection::vec(1usize..300_000, 4),
    ) {
        let columns: Vec<Bytes> = columns.iter().map(|length| Bytes::from(vec![5; *length])).collect();
        let series = series.iter().map(|(name, replica, chunks)| {
            let chunks = chunks.iter().map(|(min, span, length, times)| {
                let times = times.checked_sub(1).map_or_else(Bytes::new, |at| columns[at].clone());
                EncodedChunk { times, ..chunk(*min, *span, vec![7; *length]) }
            }).collect();
            one(name, replica, chunks)
        });
        let series = in_order(series.collect());
        prop_assert_eq!(said(&travelled(series.clone())), said(&series));
    }

    #[test]
    fn any_bytes_are_refused_or_in_order(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        if let Ok(piece) = proto::SelectPiece::decode(&bytes[..]) {
            let mut joiner = Joiner::default();
            if let Ok(mut series) = joiner.push(piece) {
                series.extend(joiner.finish());
                prop_assert!(series.is_sorted_by(|a, b| (a.id, &a.replica) < (b.id, &b.replica)));
            }
        }
    }
}

#[test]
fn a_series_larger_than_a_piece_goes_on_in_the_next() {
    let large = one("large", "", (0..100).map(|i| chunk(i, 5, vec![i as u8; 40_000])).collect());
    let series =
        in_order(vec![large, one("a", "", vec![chunk(1, 1, vec![1])]), one("z", "x", vec![chunk(1, 1, vec![1])])]);
    assert!(Pieces::new(series.clone()).count() >= 4);
    assert_eq!(said(&travelled(series.clone())), said(&series));
}

#[test]
fn shared_timestamps_travel_once_per_piece() {
    let column = Bytes::from(vec![9; 1000]);
    let shared = |name: &str| {
        let chunks = (0..3).map(|i| EncodedChunk { times: column.clone(), ..chunk(i, 5, vec![1; 10]) });
        one(name, "", chunks.collect())
    };
    let series = in_order((0..2000).map(|i| shared(&format!("m{i}"))).collect());
    let pieces: Vec<_> = Pieces::new(series.clone()).map(|piece| piece.unwrap()).collect();
    assert!(pieces.iter().all(|piece| piece.times == [column.clone()]));
    assert_eq!(pieces.len(), 1, "with the column for each chunk there would be six");
    let arrived = travelled(series.clone());
    assert_eq!(said(&arrived), said(&series));
    let address = |at: usize, chunk: usize| arrived[at].chunks[chunk].times.as_ptr();
    assert_eq!(address(0, 0), address(1999, 2), "what arrives shares its memory too");
}

#[test]
fn what_fits_into_no_piece_is_an_error() {
    let large = one("large", "", vec![chunk(0, 0, vec![0; PIECE_BYTES_MAX])]);
    assert!(Pieces::new(vec![large]).next().unwrap().is_err());
}

#[test]
fn pieces_that_no_node_makes_are_refused() {
    let series = in_order(vec![
        one("a", "", vec![chunk(1, 5, vec![1, 2]), chunk(9, 0, vec![3])]),
        one("b", "", vec![chunk(1, 5, vec![1])]),
    ]);
    let mut series = series;
    series[1].chunks[0].times = Bytes::from_static(&[1, 2, 3]);
    let good = Pieces::new(series).next().unwrap().unwrap();
    assert_eq!(good.times.len(), 1);
    let spoilt: [fn(&mut proto::SelectPiece); 16] = [
        |piece| piece.times.clear(),
        |piece| piece.times[0] = Bytes::new(),
        |piece| piece.series[1].chunk_times[0] = u32::MAX,
        |piece| piece.series[0].chunk_times = vec![0; 9],
        |piece| piece.series.swap(0, 1),
        |piece| piece.series[1] = piece.series[0].clone(),
        |piece| piece.series.clear(),
        |piece| piece.header = Some(proto::AnswerHeader::default()),
        |piece| piece.series[0].id = Bytes::from_static(b"short"),
        |piece| piece.series[0].labels = piece.series[1].labels.clone(),
        |piece| piece.series[0].replica = Bytes::from_static(b"\x0a\x01"),
        |piece| piece.series[0].chunk_min_ms.clear(),
        |piece| piece.series[0].chunk_span_ms.push(0),
        |piece| piece.series[0].chunk_span_ms[0] = u64::MAX,
        |piece| piece.series[0].chunk_lengths[0] = u32::MAX,
        |piece| piece.series[0].chunks = Bytes::from_static(b"longer than the lengths say"),
    ];
    for (case, spoil) in spoilt.iter().enumerate() {
        let mut piece = good.clone();
        spoil(&mut piece);
        assert!(Joiner::default().push(piece).is_err(), "case {case}");
    }
    assert!(Joiner::default().push(good).is_ok());
}

#[test]
fn a_series_may_not_come_back_nor_go_backwards() {
    let piece = |name: &str, min_ms: i64| {
        Pieces::new(vec![one(name, "", vec![chunk(min_ms, 0, vec![1])])]).next().unwrap().unwrap()
    };
    let names = {
        let mut names = ["a", "b"];
        names.sort_by_key(|n| Labels::from_pairs([("__name__", *n)]).id());
        names
    };
    let mut joiner = Joiner::default();
    joiner.push(piece(names[0], 5)).unwrap();
    joiner.push(piece(names[0], 5)).unwrap();
    assert!(joiner.push(piece(names[0], 4)).is_err());
    let mut joiner = Joiner::default();
    joiner.push(piece(names[1], 5)).unwrap();
    assert!(joiner.push(piece(names[0], 5)).is_err());
}

#[test]
fn requests_and_headers_survive_the_way() {
    let matchers = [
        Matcher::equal("__name__", "up"),
        Matcher::new("a", MatchOp::NotEqual, "b").unwrap(),
        Matcher::new("c", MatchOp::Regex, "x|y.*").unwrap(),
        Matcher::new("d", MatchOp::NotRegex, "z").unwrap(),
    ];
    let scope = Scope { tenant: TenantId::default(), timeout_ms: 5, memory_budget_bytes: 6, catalog_number: 7 };
    let drop_labels = ["replica".to_owned()];
    let request =
        SelectRequest { matchers: &matchers, range: TimeRange { start_ms: -1, end_ms: 1 }, drop_labels: &drop_labels };
    let arrived = decode_request(encode_request(&scope, request)).unwrap();
    let texts = |matchers: &[Matcher]| matchers.iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(texts(&arrived.matchers), texts(&matchers));
    assert_eq!(
        (arrived.scope, arrived.range, arrived.drop_labels),
        (scope.clone(), request.range, drop_labels.to_vec())
    );
    let mut bad = encode_request(&scope, request);
    bad.matchers[2].value = "(".into();
    assert!(decode_request(bad).is_err());
    let mut bad = encode_request(&scope, request);
    bad.matchers[0].kind = 9;
    assert!(decode_request(bad).is_err());
    assert!(decode_request(proto::SelectRequest::default()).is_err());

    let member = Member { node_name: "a".into(), disk_id: 3, zone: String::new() };
    let header = AnswerHeader { member, drop_mark_ms: Some(-5), members: None, cluster_id: Some(4) };
    assert_eq!(decode_header(Some(&encode_header(&header))), Ok(header));
    assert!(decode_header(None).is_err());
}
