//! What remote write stored, remote read gives back: the same bits, sorted, within limits.

use marigram_storage::model::sample::STALE_NAN_BITS;
use marigram_storage::model::tenant::TenantId;

use super::*;
use crate::remote_read_testing::{NOW_MS, Store, compressed};

impl Store {
    fn ask(&self, request: &ReadRequest, samples_max: u64) -> Result<ReadResponse, RemoteReadError> {
        self.ask_within(request, samples_max, 1 << 30)
    }

    fn ask_within(
        &self,
        request: &ReadRequest,
        samples_max: u64,
        budget_bytes: u64,
    ) -> Result<ReadResponse, RemoteReadError> {
        let context = Context::new(TenantId::default(), self.clock.clone(), None, budget_bytes);
        let body = answer(&compressed(request), &self.source, &context, samples_max)?;
        let plain = snap::raw::Decoder::new().decompress_vec(&body).unwrap();
        Ok(ReadResponse::decode(&plain[..]).unwrap())
    }
}

fn stored(name: &str, job: &str, samples: &[(i64, u64)]) -> TimeSeries {
    let label = |name: &str, value: &str| Label { name: name.into(), value: value.into() };
    TimeSeries {
        labels: vec![label("__name__", name), label("job", job)],
        samples: samples
            .iter()
            .map(|&(t, bits)| Sample { timestamp: NOW_MS + t, value: f64::from_bits(bits) })
            .collect(),
        ..TimeSeries::default()
    }
}

/// Job and samples of each series of the answer to one query.
fn plain(result: &QueryResult) -> Vec<(String, Vec<(i64, u64)>)> {
    let of = |series: &TimeSeries| {
        let samples = series.samples.iter().map(|s| (s.timestamp - NOW_MS, s.value.to_bits())).collect();
        (format!("{}/{}", series.labels[0].value, series.labels[1].value), samples)
    };
    result.timeseries.iter().map(of).collect()
}

fn query(kind: Type, name: &str, value: &str, range: (i64, i64)) -> Query {
    Query {
        start_timestamp_ms: NOW_MS + range.0,
        end_timestamp_ms: NOW_MS + range.1,
        matchers: vec![LabelMatcher { r#type: kind as i32, name: name.into(), value: value.into() }],
        hints: None,
    }
}

fn request(queries: Vec<Query>) -> ReadRequest {
    ReadRequest { queries, accepted_response_types: vec![] }
}

const ODD_NAN_BITS: u64 = 0xfff8_0000_dead_beef;

fn example() -> Store {
    let one = 1f64.to_bits();
    Store::with(vec![
        stored("up", "b", &[(0, one), (1, STALE_NAN_BITS), (2, ODD_NAN_BITS), (3, (-0f64).to_bits())]),
        stored("up", "a", &[(-5, one), (2, one)]),
        stored("other", "a", &[(1, one)]),
    ])
}

#[test]
fn samples_come_back_bit_for_bit_and_series_sorted() {
    let store = example();
    let one = 1f64.to_bits();
    let queries = vec![
        query(Type::Eq, "__name__", "up", (-5, 2)),
        query(Type::Re, "__name__", "u.|oth.*", (1, 1)),
        query(Type::Neq, "job", "b", (-100, 100)),
        query(Type::Nre, "job", "a|b", (-100, 100)),
        query(Type::Eq, "job", "b", (5, 4)),
    ];
    let answer = store.ask(&request(queries), 100).unwrap();
    let b = ("up/b".to_owned(), vec![(0, one), (1, STALE_NAN_BITS), (2, ODD_NAN_BITS)]);
    let a = ("up/a".to_owned(), vec![(-5, one), (2, one)]);
    let other = ("other/a".to_owned(), vec![(1, one)]);
    let got: Vec<_> = answer.results.iter().map(plain).collect();
    let expected = vec![
        vec![a.clone(), b],
        vec![other.clone(), ("up/b".to_owned(), vec![(1, STALE_NAN_BITS)])],
        vec![other, a],
        vec![],
        vec![],
    ];
    assert_eq!(got, expected);
}

#[test]
fn the_first_kind_that_there_is_is_chosen() {
    let (samples, chunks) = (ResponseType::Samples, ResponseType::StreamedXorChunks);
    let choose = |accepted: &[i32]| {
        let request = ReadRequest { accepted_response_types: accepted.to_vec(), queries: Vec::new() };
        response_type(&request)
    };
    assert_eq!(choose(&[]).unwrap(), samples);
    assert_eq!(choose(&[chunks as i32, samples as i32]).unwrap(), chunks);
    assert_eq!(choose(&[7, samples as i32, chunks as i32]).unwrap(), samples);
    let error = choose(&[7]).unwrap_err();
    assert!(matches!(&error, RemoteReadError::BadRequest(text) if text.contains("response types: [7]")), "{error}");
}

#[test]
fn histograms_come_back_as_they_were_written() {
    use marigram_proto::prometheus::histogram::{Count, ZeroCount};
    use marigram_proto::prometheus::{BucketSpan, Histogram};
    let integer = |count: u64, timestamp: i64| Histogram {
        count: Some(Count::CountInt(count)),
        zero_count: Some(ZeroCount::ZeroCountInt(0)),
        sum: f64::from_bits(ODD_NAN_BITS),
        schema: 3,
        zero_threshold: 1e-9,
        negative_spans: vec![BucketSpan { offset: 4, length: 1 }],
        negative_deltas: vec![1],
        positive_spans: vec![BucketSpan { offset: -7, length: 2 }, BucketSpan { offset: 2, length: 1 }],
        positive_deltas: vec![5, -3, 1],
        timestamp: NOW_MS + timestamp,
        ..Histogram::default()
    };
    let float = Histogram {
        count: Some(Count::CountFloat(1.5)),
        zero_count: Some(ZeroCount::ZeroCountFloat(0.0)),
        schema: -53,
        positive_spans: vec![BucketSpan { offset: 1, length: 1 }],
        positive_counts: vec![1.5],
        custom_values: vec![0.25, 4.0],
        reset_hint: 3,
        timestamp: NOW_MS + 5,
        ..Histogram::default()
    };
    let one = 1f64.to_bits();
    let mut sent = stored("h", "a", &[(2, one)]);
    sent.histograms = vec![integer(30, 0), integer(31, 1), integer(31, 3), float];
    let store = Store::with(vec![sent.clone(), stored("up", "a", &[(0, one)])]);
    let ask = |range| store.ask(&request(vec![query(Type::Re, "__name__", "h|up", range)]), 6).unwrap();
    let answer = ask((-10, 10));
    // The reader learns what the store knows: no count fell between the first two; the third comes behind a float.
    sent.histograms[1].reset_hint = 2;
    // As bytes: NaN is not equal to itself.
    let bytes = |series: &[TimeSeries]| series.iter().map(Message::encode_to_vec).collect::<Vec<_>>();
    let expected = [sent.clone(), stored("up", "a", &[(0, one)])];
    assert_eq!(bytes(&answer.results[0].timeseries), bytes(&expected));
    assert_eq!(ask((5, 5)).results[0].timeseries[0].histograms, sent.histograms[3..]);
    let all = query(Type::Eq, "__name__", "h", (-10, 10));
    assert!(store.ask(&request(vec![all]), 4).unwrap_err().to_string().contains("more than 4 samples"));
}

#[test]
fn limits_hold() {
    let store = example();
    let all = || query(Type::Eq, "__name__", "up", (-100, 100));
    assert!(store.ask(&request(vec![all()]), 6).is_ok());
    let error = store.ask(&request(vec![all()]), 5).unwrap_err();
    assert!(error.to_string().contains("more than 5 samples"), "{error}");
    let error = store.ask_within(&request(vec![all()]), 100, 500).unwrap_err();
    assert!(matches!(error, RemoteReadError::Storage(marigram_storage::Error::Limit(_))), "{error}");
    let error = store.ask(&request(vec![Query::default(); 65]), 100).unwrap_err();
    assert!(matches!(&error, RemoteReadError::BadRequest(text) if text.contains("65 queries")), "{error}");
    let matchers = vec![LabelMatcher::default(); 1025];
    let error = store.ask(&request(vec![Query { matchers, ..Query::default() }]), 100).unwrap_err();
    assert!(matches!(&error, RemoteReadError::BadRequest(text) if text.contains("1025 matchers")), "{error}");
}

#[test]
fn what_is_no_request_is_refused() {
    let store = example();
    let error = store.ask(&request(vec![query(Type::Re, "job", "(", (0, 1))]), 100).unwrap_err();
    assert!(matches!(error, RemoteReadError::BadRequest(_)), "{error}");
    let mut strange = query(Type::Eq, "job", "a", (0, 1));
    strange.matchers[0].r#type = 9;
    let error = store.ask(&request(vec![strange]), 100).unwrap_err();
    assert!(matches!(error, RemoteReadError::BadRequest(_)), "{error}");
    let context = Context::new(TenantId::default(), store.clock.clone(), None, 1 << 20);
    for body in [&b"not snappy"[..], &[3, 8, 0x0a, 5, 1], &[0xff, 0xff, 0xff, 0xff, 0x0f, 0]] {
        assert!(answer(body, &store.source, &context, 100).is_err(), "{body:?}");
    }
}
