use marigram_proto::prometheus::histogram::{Count, ZeroCount};
use marigram_proto::prometheus::{
    BucketSpan, Exemplar, Histogram, Label, MetricMetadata, Sample, TimeSeries, WriteRequest,
};
use marigram_storage::model::labels::{Labels, SeriesId};
use marigram_storage::write::{NO_HINT, WriteSeries};
use proptest::prelude::*;
use prost::Message;

use super::*;

const NOW_MS: i64 = 1_700_000_000_000;

fn series(labels: &[(&str, &str)], samples: &[(i64, f64)]) -> TimeSeries {
    TimeSeries {
        labels: labels.iter().map(|(n, v)| Label { name: (*n).into(), value: (*v).into() }).collect(),
        samples: samples.iter().map(|&(timestamp, value)| Sample { value, timestamp }).collect(),
        ..TimeSeries::default()
    }
}

fn decoded(request: &WriteRequest) -> Decoded {
    let body = snap::raw::Encoder::new().compress_vec(&request.encode_to_vec()).unwrap();
    let bounds = TimeBounds { oldest_ms: Some(NOW_MS - 1000), newest_ms: NOW_MS + FUTURE };
    decode(TenantId::default(), &body, &IngestLimits::default(), bounds).unwrap()
}

const FUTURE: i64 = crate::ingest::FUTURE_MAX_MS;

/// What the batch says, label for label.
fn contents(decoded: &Decoded) -> Vec<(Labels, Vec<(i64, u64)>)> {
    let batch = &decoded.batch;
    let of = |s: &marigram_storage::write::WriteSeries| {
        let bytes = &batch.arena[s.labels.clone()];
        assert_eq!(SeriesId::of(bytes), s.id);
        let samples = batch.samples[s.samples.clone()].iter().map(|s| (s.timestamp_ms, s.value.to_bits())).collect();
        (Labels::from_canonical(bytes).unwrap(), samples)
    };
    batch.series.iter().map(of).collect()
}

#[test]
fn unsorted_and_empty_labels_are_normalised_and_stored() {
    let request = WriteRequest {
        timeseries: vec![
            series(&[("__name__", "up"), ("job", "a")], &[(NOW_MS, 1.0)]),
            series(&[("job", "a"), ("__name__", "up"), ("gone", "")], &[(NOW_MS + 1, 2.0)]),
        ],
        ..WriteRequest::default()
    };
    let decoded = decoded(&request);
    assert!(decoded.refused.is_empty());
    let labels = Labels::from_pairs([("__name__", "up"), ("job", "a")]);
    let expected = vec![(labels.clone(), vec![(NOW_MS, 1f64.to_bits())]), (labels, vec![(NOW_MS + 1, 2f64.to_bits())])];
    assert_eq!(contents(&decoded), expected);
}

#[test]
fn bad_series_are_refused_one_by_one() {
    let good = [("__name__", "up")];
    let long_value = "v".repeat(4097);
    let long_name = "n".repeat(1025);
    let many: Vec<String> = (0..65).map(|i| format!("l{i:02}")).collect();
    let many: Vec<(&str, &str)> = good.into_iter().chain(many.iter().map(|n| (n.as_str(), "x"))).collect();
    let bad: Vec<TimeSeries> = vec![
        series(&[("__name__", "up"), ("a", "1"), ("a", "2")], &[(NOW_MS, 1.0), (NOW_MS, 2.0)]),
        series(&[("__name__", "up"), ("", "1")], &[(NOW_MS, 1.0)]),
        series(&[("a", "1")], &[(NOW_MS, 1.0)]),
        series(&[("__name__", "")], &[(NOW_MS, 1.0)]),
        series(&[], &[(NOW_MS, 1.0)]),
        series(&[("__name__", "up"), ("a", &long_value)], &[(NOW_MS, 1.0)]),
        series(&[("__name__", "up"), (&long_name, "1")], &[(NOW_MS, 1.0)]),
        series(&many, &[(NOW_MS, 1.0)]),
        series(&good, &[(NOW_MS - 1001, 1.0), (NOW_MS + FUTURE + 1, 1.0)]),
    ];
    let refused: u64 = bad.iter().map(|s| s.samples.len() as u64).sum();
    let mut timeseries = bad;
    timeseries.push(series(&good, &[(NOW_MS - 1000, 3.0), (i64::MIN, 4.0), (NOW_MS + FUTURE, 5.0)]));
    let decoded = decoded(&WriteRequest { timeseries, ..WriteRequest::default() });
    assert_eq!(decoded.refused.count(), refused + 1);
    let kept = vec![(NOW_MS - 1000, 3f64.to_bits()), (NOW_MS + FUTURE, 5f64.to_bits())];
    assert_eq!(contents(&decoded), vec![(Labels::from_pairs(good), kept)]);
    let text = decoded.refused.to_string();
    assert!(text.starts_with("12 samples refused: label name \"a\" is given more than once"), "{text}");
}

#[test]
fn text_that_is_not_utf8_costs_its_series_only() {
    let mut body = WriteRequest {
        timeseries: vec![series(&[("__name__", "up"), ("a", "?")], &[(NOW_MS, 1.0)])],
        ..WriteRequest::default()
    }
    .encode_to_vec();
    let at = body.iter().position(|b| *b == b'?').unwrap();
    body[at] = 0xff;
    body.extend(
        WriteRequest { timeseries: vec![series(&[("__name__", "up")], &[(NOW_MS, 1.0)])], ..WriteRequest::default() }
            .encode_to_vec(),
    );
    let bounds = TimeBounds { oldest_ms: None, newest_ms: i64::MAX };
    let decoded = decode_plain(TenantId::default(), body, &IngestLimits::default(), bounds).unwrap();
    assert_eq!((decoded.refused.count(), decoded.batch.series.len()), (1, 1));
    assert!(decoded.refused.to_string().contains("not valid UTF-8"));
}

/// An integer histogram of two buckets.
fn integer_histogram(timestamp: i64) -> Histogram {
    Histogram {
        count: Some(Count::CountInt(6)),
        zero_count: Some(ZeroCount::ZeroCountInt(1)),
        sum: 9.5,
        schema: 1,
        zero_threshold: 0.001,
        positive_spans: vec![BucketSpan { offset: -1, length: 2 }],
        positive_deltas: vec![2, 1],
        timestamp,
        ..Histogram::default()
    }
}

fn float_histogram(timestamp: i64) -> Histogram {
    Histogram {
        count: Some(Count::CountFloat(0.5)),
        schema: -53,
        positive_spans: vec![BucketSpan { offset: 0, length: 2 }],
        positive_counts: vec![0.25, 0.25],
        custom_values: vec![1.0],
        reset_hint: 3,
        timestamp,
        ..Histogram::default()
    }
}

/// Times and counts of the histograms of each series.
fn histograms(decoded: &Decoded) -> Vec<Vec<(i64, f64)>> {
    let batch = &decoded.batch;
    let of = |series: &WriteSeries| {
        let own = batch.histograms_of(series).unwrap();
        own.iter().map(|sample| (sample.timestamp_ms, sample.histogram.count)).collect()
    };
    batch.series.iter().map(of).collect()
}

#[test]
fn histograms_of_both_forms_are_taken_exemplars_counted_metadata_taken() {
    let mut mixed = series(&[("__name__", "up")], &[(NOW_MS, 1.0)]);
    mixed.histograms = vec![integer_histogram(NOW_MS + 1), float_histogram(NOW_MS + 2)];
    mixed.exemplars.push(Exemplar::default());
    let metadata =
        MetricMetadata { r#type: 1, metric_family_name: "up".into(), help: "é".repeat(600), unit: "s".into() };
    let alone = TimeSeries { histograms: vec![integer_histogram(NOW_MS)], ..series(&[("__name__", "h")], &[]) };
    // Labels that come in another order are normalised, and a plain series between them is not disturbed.
    let mut unsorted = series(&[("b", "1"), ("__name__", "up")], &[(NOW_MS, 2.0)]);
    unsorted.histograms = vec![float_histogram(NOW_MS + 5)];
    let plain = series(&[("__name__", "plain")], &[(NOW_MS, 3.0)]);
    let timeseries = vec![mixed, plain.clone(), alone, plain, unsorted];
    let decoded = decoded(&WriteRequest { timeseries, metadata: vec![metadata] });
    assert!(decoded.refused.is_empty(), "{}", decoded.refused);
    assert_eq!((decoded.exemplars_ignored, decoded.batch.sample_count()), (1, 8));
    let expected =
        [vec![(NOW_MS + 1, 6.0), (NOW_MS + 2, 0.5)], vec![], vec![(NOW_MS, 6.0)], vec![], vec![(NOW_MS + 5, 0.5)]];
    assert_eq!(histograms(&decoded), expected);
    assert_eq!(contents(&decoded).iter().map(|(_, samples)| samples.len()).collect::<Vec<_>>(), [1, 1, 0, 1, 1]);
    assert_eq!(decoded.batch.metadata[0].entry.help, "é".repeat(512));
}

#[test]
fn bad_histograms_are_refused_one_by_one() {
    let mut mixed = series(&[("__name__", "h")], &[(NOW_MS, 1.0)]);
    let wrong_total = Histogram { count: Some(Count::CountInt(7)), ..integer_histogram(NOW_MS) };
    let old = integer_histogram(NOW_MS - 1001);
    let new = integer_histogram(NOW_MS + FUTURE + 1);
    let large = Histogram { positive_counts: vec![1.0; 50_000], ..float_histogram(NOW_MS) };
    mixed.histograms = vec![wrong_total, old, integer_histogram(NOW_MS + 3), new, large];
    let nameless =
        TimeSeries { histograms: vec![integer_histogram(NOW_MS); 2], ..series(&[("a", "b")], &[(NOW_MS, 0.0)]) };
    let timeseries = vec![mixed, nameless, series(&[("__name__", "up")], &[(NOW_MS, 1.0)])];
    let decoded = decoded(&WriteRequest { timeseries, ..WriteRequest::default() });
    assert_eq!(histograms(&decoded), [vec![(NOW_MS + 3, 6.0)], vec![]]);
    assert_eq!((decoded.refused.count(), decoded.batch.samples.len()), (4 + 3, 2));
    let text = decoded.refused.to_string();
    assert!(text.contains("bad native histogram, 6 observations in buckets, but 7 in all: {__name__=\"h\"}"), "{text}");
    assert!(text.contains("is older than the retention") && text.contains("too far in the future"), "{text}");
}

#[test]
fn the_end_of_a_series_of_histograms_is_the_marker_of_floats() {
    let stale = f64::from_bits(marigram_storage::model::sample::STALE_NAN_BITS);
    let mut ended = series(&[("__name__", "h")], &[]);
    ended.histograms =
        vec![integer_histogram(NOW_MS), Histogram { sum: stale, timestamp: NOW_MS + 1, ..Histogram::default() }];
    let decoded = decoded(&WriteRequest { timeseries: vec![ended], ..WriteRequest::default() });
    assert!(decoded.refused.is_empty(), "{}", decoded.refused);
    assert_eq!(contents(&decoded)[0].1, [(NOW_MS + 1, stale.to_bits())]);
    assert_eq!(histograms(&decoded), [[(NOW_MS, 6.0)]]);
}

#[test]
fn a_message_that_is_no_histogram_costs_the_request() {
    let body = |histogram: &[u8]| {
        let label = [&[0x0a, 13, 0x0a, 8][..], b"__name__", &[0x12, 1, b'a']].concat();
        let series = [&label[..], &[0x22, histogram.len() as u8], histogram].concat();
        [&[0x0a, series.len() as u8], &series[..]].concat()
    };
    let bounds = TimeBounds { oldest_ms: None, newest_ms: i64::MAX };
    let decode = |body| decode_plain(TenantId::default(), body, &IngestLimits::default(), bounds);
    assert_eq!(decode(body(&[])).unwrap().batch.histograms.len(), 1, "all fields may be left out");
    // The sum as a varint.
    let error = decode(body(&[0x18, 1])).unwrap_err();
    assert!(matches!(&error, DecodeError::Malformed(text) if text.contains("message within")), "{error}");
}

#[test]
fn a_refused_series_without_samples_is_not_called_a_sample() {
    let decoded = decoded(&WriteRequest { timeseries: vec![series(&[("a", "1")], &[])], ..WriteRequest::default() });
    let text = decoded.refused.to_string();
    assert!(text.starts_with("refused, no sample among it: the series has no metric name"), "{text}");
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic_and_batches_are_always_canonical(bytes in proptest::collection::vec(prop_oneof![any::<u8>(), Just(0x0a), 0u8..20], 0..120)) {
        let bounds = TimeBounds { oldest_ms: None, newest_ms: i64::MAX };
        let _ = decode(TenantId::default(), &bytes, &IngestLimits::default(), bounds);
        if let Ok(decoded) = decode_plain(TenantId::default(), bytes, &IngestLimits::default(), bounds) {
            contents(&decoded);
        }
    }
}

/// What the batch holds beside the body.
fn held_bytes(decoded: &Decoded, body_bytes: usize) -> usize {
    let batch = &decoded.batch;
    let texts: usize = batch.metadata.iter().map(|m| 120 + m.family.len() + m.entry.help.len()).sum();
    let histograms: usize = batch.histograms.iter().map(|h| size_of_val(h) + h.histogram.held_bytes()).sum();
    batch.samples.len() * 16
        + histograms
        + batch.series.len() * size_of::<marigram_storage::write::WriteSeries>()
        + batch.arena.len()
        - body_bytes
        + texts
}

/// Bodies whose parts are as small as the wire allows, a megabyte of each.
fn dense_bodies() -> Vec<(&'static str, Vec<u8>)> {
    let wrap = |tag: u8, inner: &[u8]| {
        let mut out = vec![];
        prost::encoding::encode_varint(u64::from(tag), &mut out);
        prost::encoding::encode_varint(inner.len() as u64, &mut out);
        [&out[..], inner].concat()
    };
    let label = |name: &[u8], value: &[u8]| wrap(0x0a, &[wrap(0x0a, name), wrap(0x12, value)].concat());
    let named = label(b"__name__", b"a");
    let many = |part: &[u8]| part.repeat((1 << 20) / part.len());
    let series = |parts: &[&[u8]]| wrap(0x0a, &parts.concat());
    vec![
        ("empty series", many(&[0x0a, 0])),
        ("empty samples", series(&[&named, &many(&[0x12, 0])])),
        ("empty samples of refused series", series(&[&many(&[0x12, 0])])),
        ("series of one empty sample", many(&series(&[&named, &[0x12, 0]]))),
        ("series to normalise", many(&series(&[&label(b"b", b"b"), &named, &[0x12, 0]]))),
        ("empty labels", series(&[&many(&[0x0a, 0]), &[0x12, 0]])),
        ("labels without a value", series(&[&named, &many(&label(b"b", b"")), &[0x12, 0]])),
        ("a long name that is not UTF-8", series(&[&label(&many(&[0xff]), b"b"), &named, &[0x12, 0]])),
        ("a long value to normalise", series(&[&label(b"b", &many(b"v")), &named, &[0x12, 0]])),
        ("a long value", series(&[&named, &label(b"b", &many(b"v")), &[0x12, 0]])),
        ("empty histograms", series(&[&named, &many(&[0x22, 0])])),
        ("series of one empty histogram", many(&series(&[&named, &[0x22, 0]]))),
        ("empty histograms of refused series", series(&[&many(&[0x22, 0])])),
        ("empty metadata", many(&[0x1a, 0])),
        ("metadata of short names", many(&wrap(0x1a, &wrap(0x12, b"a")))),
    ]
}

#[test]
fn what_a_body_decodes_to_is_bounded_whatever_it_holds() {
    let bounds = TimeBounds { oldest_ms: None, newest_ms: i64::MAX };
    let limits = IngestLimits { request_bytes_max: 3 << 20, ..IngestLimits::default() };
    for (what, body) in dense_bodies() {
        let body_bytes = body.len();
        let decoded = decode_plain(TenantId::default(), body, &limits, bounds).unwrap();
        let held = held_bytes(&decoded, body_bytes);
        assert!(held <= decoded_bytes_max(body_bytes, &limits), "{what}: {held}");
        assert!(decoded.refused.to_string().len() < 3000, "{what}");
        contents(&decoded);
    }
}

#[test]
fn samples_behind_the_bound_are_refused_and_counted() {
    let (_, body) = dense_bodies().swap_remove(1);
    let samples = ((1 << 20) / 2) as u64;
    let limits = IngestLimits { request_bytes_max: 3 << 20, ..IngestLimits::default() };
    let bounds = TimeBounds { oldest_ms: None, newest_ms: i64::MAX };
    let decoded = decode_plain(TenantId::default(), body, &limits, bounds).unwrap();
    assert!(decoded.refused.to_string().contains("split it"), "{}", decoded.refused);
    let stored = decoded.batch.samples.len() as u64;
    assert_eq!((decoded.refused.count() + stored, stored > 0), (samples, true));
}

/// Decodes for a store that knows these series.
fn decode_knowing(body: &[u8], bounds: TimeBounds, limits: &IngestLimits, known: &[SeriesId]) -> Decoded {
    let recognise = |_: &TenantId, series: &mut [WriteSeries]| {
        for series in series {
            let found = known.iter().position(|id| *id == series.id);
            series.hint = found.map_or(NO_HINT, |at| at as u32);
        }
    };
    decode_for(TenantId::default(), body, limits, bounds, &Arc::default(), &recognise).unwrap()
}

/// Series as clients send them, good, sloppy and bad.
fn any_series() -> impl Strategy<Value = TimeSeries> {
    let labels = prop_oneof![
        4 => (0..6u8).prop_map(|n| vec![("__name__".to_owned(), "up".to_owned()), ("n".to_owned(), n.to_string())]),
        1 => (0..6u8).prop_map(|n| vec![("n".to_owned(), n.to_string()), ("__name__".to_owned(), "up".to_owned())]),
        1 => Just(vec![("__name__".to_owned(), "up".to_owned()), ("gone".to_owned(), String::new())]),
        1 => Just(vec![("a".to_owned(), "nameless".to_owned())]),
        1 => Just(vec![("__name__".to_owned(), "twice".to_owned()); 2]),
        1 => Just(vec![("__name__".to_owned(), "v".repeat(5000))]),
        1 => Just(vec![]),
    ];
    let times = prop_oneof![6 => Just(NOW_MS), 1 => Just(NOW_MS - 5000), 1 => Just(NOW_MS + 2 * FUTURE)];
    let samples = proptest::collection::vec((times, 0..9u8), 0..4);
    let histogram = prop_oneof![
        Just(Histogram::default()),
        Just(Histogram { schema: 99, ..Histogram::default() }),
        Just(integer_histogram(NOW_MS)),
        Just(float_histogram(NOW_MS - 5000)),
    ];
    let histograms = prop_oneof![4 => Just(Vec::new()), 1 => proptest::collection::vec(histogram, 0..3)];
    (labels, samples, histograms).prop_map(|(labels, samples, histograms)| TimeSeries {
        labels: labels.into_iter().map(|(name, value)| Label { name, value }).collect(),
        samples: samples.into_iter().map(|(timestamp, value)| Sample { timestamp, value: value.into() }).collect(),
        histograms,
        ..TimeSeries::default()
    })
}

proptest! {
    #[test]
    fn what_the_store_knows_changes_nothing_but_the_hints(
        timeseries in proptest::collection::vec(any_series(), 0..24),
        knows in any::<u64>(),
    ) {
        let request = WriteRequest { timeseries, ..WriteRequest::default() };
        let body = snap::raw::Encoder::new().compress_vec(&request.encode_to_vec()).unwrap();
        let bounds = TimeBounds { oldest_ms: Some(NOW_MS - 1000), newest_ms: NOW_MS + FUTURE };
        let limits = IngestLimits::default();
        let alone = decode(TenantId::default(), &body, &limits, bounds).unwrap();
        let ids = alone.batch.series.iter().map(|series| series.id);
        let known: Vec<SeriesId> = ids.filter(|id| knows >> (id.0 as u64 % 64) & 1 == 1).collect();
        let aided = decode_knowing(&body, bounds, &limits, &known);
        prop_assert_eq!(contents(&aided), contents(&alone));
        prop_assert_eq!(histograms(&aided), histograms(&alone));
        prop_assert_eq!(&aided.refused, &alone.refused);
        for series in aided.batch.series.iter().filter(|series| series.hint != NO_HINT) {
            prop_assert_eq!(known[series.hint as usize], series.id);
        }
        for series in &alone.batch.series {
            prop_assert_eq!(series.hint, NO_HINT);
        }
    }
}

#[test]
fn refusals_are_told_in_the_order_of_the_request() {
    let mut histogram = series(&[("__name__", "h")], &[]);
    histogram.histograms.push(Histogram { schema: 99, ..integer_histogram(NOW_MS) });
    let timeseries = vec![
        series(&[("__name__", "good")], &[(NOW_MS, 1.0)]),
        series(&[("a", "nameless")], &[(NOW_MS, 1.0)]),
        series(&[("__name__", "old")], &[(0, 1.0)]),
        series(&[("__name__", "twice"), ("__name__", "twice")], &[(NOW_MS, 1.0)]),
        histogram,
    ];
    let text = decoded(&WriteRequest { timeseries, ..WriteRequest::default() }).refused.to_string();
    let places: Vec<_> = ["no metric name", "older", "more than once", "native histogram"].map(|t| text.find(t)).into();
    assert!(places.iter().all(Option::is_some) && places.is_sorted(), "{text}");
}

#[test]
fn a_known_series_is_taken_under_limits_that_became_tighter() {
    let request =
        WriteRequest { timeseries: vec![series(&[("__name__", "up")], &[(NOW_MS, 1.0)])], ..WriteRequest::default() };
    let body = snap::raw::Encoder::new().compress_vec(&request.encode_to_vec()).unwrap();
    let bounds = TimeBounds { oldest_ms: None, newest_ms: i64::MAX };
    let limits = IngestLimits { label_value_bytes_max: 1, ..IngestLimits::default() };
    let id = Labels::from_pairs([("__name__", "up")]).id();
    assert_eq!(decode_knowing(&body, bounds, &limits, &[]).refused.count(), 1);
    let known = decode_knowing(&body, bounds, &limits, &[id]);
    assert_eq!((known.refused.count(), known.batch.series[0].hint), (0, 0));
}

#[test]
fn refused_series_give_their_room_to_those_behind_them() {
    // A zero is left out on the wire: nine bytes a sample, which takes sixteen.
    let bad = series(&[("a", "1")], &[(NOW_MS, 0.0); 10_000]);
    let good = series(&[("__name__", "up")], &[(NOW_MS, 0.0); 10_000]);
    let request = WriteRequest { timeseries: vec![bad.clone(), bad, good], ..WriteRequest::default() };
    let body = snap::raw::Encoder::new().compress_vec(&request.encode_to_vec()).unwrap();
    let bounds = TimeBounds { oldest_ms: None, newest_ms: i64::MAX };
    let limits = IngestLimits { request_bytes_max: 280 << 10, ..IngestLimits::default() };
    let room = decoded_bytes_max(request.encoded_len(), &limits) / size_of::<marigram_storage::model::sample::Sample>();
    assert!((15_000..20_000).contains(&room), "one series fits, two do not: {room}");
    let decoded = decode_knowing(&body, bounds, &limits, &[]);
    assert_eq!((decoded.batch.samples.len(), decoded.refused.count()), (10_000, 20_000), "{}", decoded.refused);
    assert!(!decoded.refused.to_string().contains("split it"), "{}", decoded.refused);
}
