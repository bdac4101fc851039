//! A client of remote write and remote read.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use marigram_proto::prometheus::{
    Label, LabelMatcher, Query, ReadRequest, ReadResponse, Sample, TimeSeries, WriteRequest, label_matcher,
};
use prost::Message;

use super::http::{Answer, Broken, Http};
use super::samples::Samples;
use super::traffic::compress;

const WRITE: &str = "/api/v1/write";
const READ: &str = "/api/v1/read";
/// What Prometheus sends along.
pub(crate) const WRITE_HEADERS: [(&str, &str); 4] = [
    ("content-encoding", "snappy"),
    ("content-type", "application/x-protobuf"),
    ("x-prometheus-remote-write-version", "0.1.0"),
    ("user-agent", "Prometheus/2.42.0"),
];
/// How many requests are under way at once.
const SENDERS: usize = 4;
/// So much time is read back with one request.
const SLICE_MS: i64 = 5 * 60_000;

/// Sends a compressed request.
pub(crate) fn send_body(http: &Http, body: &[u8]) -> Result<Answer, Broken> {
    http.post(WRITE, &WRITE_HEADERS, body)
}

/// Sends a request that must be taken whole.
pub(crate) fn send(http: &Http, request: &WriteRequest) {
    let answer = send_body(http, &compress(&request.encode_to_vec())).unwrap();
    assert!((200..300).contains(&answer.status), "write: {} {}", answer.status, answer.text());
}

/// Sends compressed requests, several at a time; each must be taken whole.
pub(crate) fn send_all<'a>(http: &Http, bodies: impl IntoIterator<Item = &'a Vec<u8>>) {
    let bodies: Vec<&Vec<u8>> = bodies.into_iter().collect();
    let outcome = send_until_broken(http, &bodies, 0, |_| ());
    assert_eq!(outcome.acknowledged.len(), bodies.len(), "all requests are answered; {:?}", outcome.broken.first());
}

/// How far a sending came.
#[derive(Default)]
pub(crate) struct Outcome {
    /// The requests that were answered with 2xx, by their place in the list.
    pub(crate) acknowledged: Vec<usize>,
    /// The requests that got no answer, and why.
    pub(crate) broken: Vec<(usize, String)>,
}

/// Sends compressed requests from number `from` on, several at a time, until all are sent or the connection breaks;
/// `acknowledged` is told the count of acknowledged requests after each. An answer other than 2xx is a failure.
pub(crate) fn send_until_broken(
    http: &Http,
    bodies: &[&Vec<u8>],
    from: usize,
    acknowledged: impl Fn(usize) + Sync,
) -> Outcome {
    let next = AtomicUsize::new(from);
    let outcome = Mutex::new(Outcome::default());
    let work = || {
        loop {
            if !outcome.lock().unwrap().broken.is_empty() {
                return;
            }
            let at = next.fetch_add(1, Ordering::SeqCst);
            let Some(body) = bodies.get(at) else { return };
            match send_body(http, body) {
                Ok(answer) => {
                    assert!((200..300).contains(&answer.status), "write: {} {}", answer.status, answer.text());
                    let mut outcome = outcome.lock().unwrap();
                    outcome.acknowledged.push(at);
                    acknowledged(outcome.acknowledged.len());
                }
                Err(error) => outcome.lock().unwrap().broken.push((at, error.to_string())),
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..SENDERS {
            scope.spawn(work);
        }
    });
    outcome.into_inner().unwrap()
}

/// Reads back all samples from `first_ms` to `last_ms`, slice by slice.
pub(crate) fn read_all(http: &Http, (first_ms, last_ms): (i64, i64)) -> Samples {
    let mut all = Samples::default();
    let mut start_ms = first_ms;
    while start_ms <= last_ms {
        let end_ms = last_ms.min(start_ms + SLICE_MS - 1);
        let response = read(http, start_ms, end_ms, &[(label_matcher::Type::Neq, "__name__", "")]);
        for result in &response.results {
            all.add_series(&result.timeseries, 0);
        }
        start_ms = end_ms + 1;
    }
    all
}

/// Reads one range.
pub(crate) fn read(
    http: &Http,
    start_ms: i64,
    end_ms: i64,
    matchers: &[(label_matcher::Type, &str, &str)],
) -> ReadResponse {
    let matcher = |(kind, name, value): &(label_matcher::Type, &str, &str)| LabelMatcher {
        r#type: (*kind).into(),
        name: (*name).into(),
        value: (*value).into(),
    };
    let matchers = matchers.iter().map(matcher).collect();
    let query = Query { start_timestamp_ms: start_ms, end_timestamp_ms: end_ms, matchers, hints: None };
    let request = ReadRequest { queries: vec![query], accepted_response_types: vec![] };
    let headers = [
        ("content-encoding", "snappy"),
        ("content-type", "application/x-protobuf"),
        ("x-prometheus-remote-read-version", "0.1.0"),
    ];
    let answer = http.post(READ, &headers, &compress(&request.encode_to_vec())).unwrap();
    assert_eq!(answer.status, 200, "read: {}", answer.text());
    let plain = snap::raw::Decoder::new().decompress_vec(&answer.body).unwrap();
    ReadResponse::decode(&plain[..]).unwrap()
}

/// A series for a request, its labels in the order given.
pub(crate) fn series(labels: &[(&str, &str)], samples: &[(i64, f64)]) -> TimeSeries {
    let labels = labels.iter().map(|(name, value)| Label { name: (*name).into(), value: (*value).into() }).collect();
    let samples = samples.iter().map(|(timestamp, value)| Sample { value: *value, timestamp: *timestamp }).collect();
    TimeSeries { labels, samples, ..TimeSeries::default() }
}

/// A request of series.
pub(crate) fn request(timeseries: Vec<TimeSeries>) -> WriteRequest {
    WriteRequest { timeseries, metadata: vec![] }
}

/// A request as it goes over the wire.
pub(crate) fn body(timeseries: Vec<TimeSeries>) -> Vec<u8> {
    compress(&request(timeseries).encode_to_vec())
}
