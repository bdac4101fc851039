//! What remote write stored, the stream gives back: the same bits, sorted by labels, whatever fits into memory at once.

use marigram_proto::prometheus::label_matcher::Type;
use marigram_proto::prometheus::{LabelMatcher, Query, Sample, TimeSeries};
use marigram_storage::Result;
use marigram_storage::context::Context;
use marigram_storage::model::sample::STALE_NAN_BITS;
use marigram_storage::model::tenant::TenantId;

use super::*;
use crate::remote_read_testing::{NOW_MS, Store};

/// The labels, times and bits of a series.
type Read = (String, Vec<(i64, u64)>);

impl Store {
    fn frames(&self, queries: Vec<Query>, budget_bytes: u64) -> std::result::Result<Vec<Vec<u8>>, RemoteReadError> {
        let context = Context::new(TenantId::default(), self.clock.clone(), None, budget_bytes);
        let request = ReadRequest { queries, accepted_response_types: vec![] };
        let mut frames = Vec::new();
        answer(&request, &self.source, &context, &mut |frame| {
            frames.push(frame);
            Ok(())
        })?;
        Ok(frames)
    }

    fn read(&self, queries: Vec<Query>, budget_bytes: u64) -> Vec<Vec<Read>> {
        let count = queries.len();
        let mut out = vec![Vec::new(); count];
        for frame in self.frames(queries, budget_bytes).unwrap() {
            let (query, read) = decoded(&frame);
            add(&mut out[query], read);
        }
        out
    }
}

/// Parts of a series follow each other.
fn add(series: &mut Vec<Read>, (labels, samples): Read) {
    match series.last_mut() {
        Some((last, known)) if *last == labels => known.extend(samples),
        _ => series.push((labels, samples)),
    }
}

/// The series of one frame, whose length and checksum are right.
fn decoded(frame: &[u8]) -> (usize, Read) {
    let mut rest = frame;
    let length = prost::decode_length_delimiter(&mut rest).unwrap();
    let (checksum, message) = rest.split_at(4);
    assert_eq!(message.len(), length);
    assert_eq!(checksum, crc32c::crc32c(message).to_be_bytes());
    let response = ChunkedReadResponse::decode(message).unwrap();
    let [series] = &response.chunked_series[..] else { panic!("not one series") };
    let labels: Vec<_> = series.labels.iter().map(|label| format!("{}={}", label.name, label.value)).collect();
    let mut samples = Vec::new();
    for chunk in &series.chunks {
        assert_eq!(chunk.r#type, Encoding::Xor as i32);
        let read = xor::tests::decode(&chunk.data);
        let edges = (read.first().map(|(t, _)| *t), read.last().map(|(t, _)| *t));
        assert_eq!(edges, (Some(chunk.min_time_ms), Some(chunk.max_time_ms)));
        assert!(read.len() <= 120);
        samples.extend(read);
    }
    (response.query_index as usize, (labels.join(","), samples))
}

fn series(name: &str, instance: &str, samples: impl Iterator<Item = (i64, u64)>) -> TimeSeries {
    let label = |name: &str, value: &str| Label { name: name.into(), value: value.into() };
    let sample = |(t, bits)| Sample { timestamp: NOW_MS + t, value: f64::from_bits(bits) };
    TimeSeries {
        labels: vec![label("__name__", name), label("instance", instance)],
        samples: samples.map(sample).collect(),
        ..TimeSeries::default()
    }
}

fn query(name: &str, from: i64, to: i64) -> Query {
    let matcher = LabelMatcher { r#type: Type::Re as i32, name: "__name__".into(), value: name.into() };
    Query { start_timestamp_ms: NOW_MS + from, end_timestamp_ms: NOW_MS + to, matchers: vec![matcher], hints: None }
}

#[test]
fn samples_come_back_bit_for_bit_in_the_order_of_labels() {
    let odd = [1f64.to_bits(), STALE_NAN_BITS, 0xfff8_0000_dead_beef, (-5e-324f64).to_bits(), f64::INFINITY.to_bits()];
    let long = || (0..500).map(|i| (i * 15_000 - 8_000_000, (i as f64 * 1.1).to_bits()));
    let store = Store::with(vec![
        series("up", "b", (0..).zip(odd)),
        series("up", "a", long()),
        series("down", "c", [(5, 7)].into_iter()),
    ]);
    let at = |samples: Vec<(i64, u64)>| samples.into_iter().map(|(t, bits)| (NOW_MS + t, bits)).collect::<Vec<_>>();
    let named = |name: &str, instance: &str| format!("__name__={name},instance={instance}");
    let (a, b) = (named("up", "a"), named("up", "b"));
    let got = store.read(vec![query("up|down", -9_000_000, 10), query("up", 1, 2), query("none", 0, 1)], 1 << 30);
    let cut = vec![(1, odd[1]), (2, odd[2])];
    let expected = vec![
        vec![
            (named("down", "c"), at(vec![(5, 7)])),
            (a, at(long().collect())),
            (b.clone(), at((0..).zip(odd).collect())),
        ],
        vec![(b, at(cut))],
        vec![],
    ];
    assert_eq!(got, expected);
}

#[test]
fn what_does_not_fit_at_once_comes_in_pages_and_in_the_same_order() {
    let samples = |i: i64| (0..100).map(move |t| (t * 1000, ((i * 100 + t) as f64 / 7.0).to_bits()));
    let store = Store::with((0..300).map(|i| series("m", &format!("{:03}", i * 7919 % 300), samples(i))).collect());
    let whole = store.read(vec![query("m", 0, 1 << 40)], 1 << 30);
    assert_eq!(whole[0].len(), 300);
    assert!(whole[0].is_sorted_by(|a, b| a.0 < b.0));
    // The batch of a select needs some of the budget.
    let context = Context::new(TenantId::default(), store.clock.clone(), None, 1 << 30);
    let page = |bytes_max| {
        let matchers = [matcher(&query("m", 0, 0).matchers[0]).unwrap()];
        let range = TimeRange { start_ms: NOW_MS, end_ms: i64::MAX };
        let select = Select { source: &store.source, context: &context, matchers: &matchers, range };
        let (mut out, mut after, mut pages) = (Vec::new(), None, 0);
        loop {
            let page = select.page(after.as_ref(), bytes_max).unwrap();
            pages += 1;
            out.extend(page.series.keys().map(|labels| labels.get("instance").unwrap().to_owned()));
            after = page.series.keys().next_back().cloned();
            if page.cut.is_none() {
                return (out, pages);
            }
        }
    };
    let (all, one) = page(u64::MAX);
    assert_eq!((all.len(), one), (300, 1));
    let (again, several) = page(20_000);
    assert_eq!(again, all);
    assert!((3..200).contains(&several), "{several}");
    let (again, many) = page(1);
    assert_eq!((again, many), (all, 300));
}

#[test]
fn a_frame_holds_about_a_megabyte() {
    let noise = |i: i64| (i * 1001 - 400_000_000, (i as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let store = Store::with(vec![series("m", "a", (0..300_000).map(noise))]);
    let frames = store.frames(vec![query("m", -(1 << 40), 1 << 40)], 1 << 30).unwrap();
    assert_eq!(frames.len(), 3, "{:?}", frames.iter().map(Vec::len).collect::<Vec<_>>());
    for frame in &frames[..2] {
        assert!((1 << 20..(1 << 20) + 8192).contains(&frame.len()), "{}", frame.len());
    }
    let samples: usize = frames.iter().map(|frame| decoded(frame).1.1.len()).sum();
    assert_eq!(samples, 300_000);
}

#[test]
fn the_client_that_goes_ends_the_answer_and_limits_hold() {
    let store = Store::with(vec![series("m", "a", [(0, 1)].into_iter()), series("m", "b", [(0, 1)].into_iter())]);
    let context = Context::new(TenantId::default(), store.clock.clone(), None, 1 << 20);
    let request = ReadRequest { queries: vec![query("m", 0, 1)], accepted_response_types: vec![] };
    let mut frames = 0;
    let gone = answer(&request, &store.source, &context, &mut |_| {
        frames += 1;
        let gone: Result<()> = Err(marigram_storage::Error::Cancelled);
        Ok(gone?)
    });
    assert!(matches!(gone, Err(RemoteReadError::Storage(marigram_storage::Error::Cancelled))));
    assert_eq!(frames, 1);
    let error = store.frames(vec![query("m", 0, 1)], 10).unwrap_err();
    assert!(matches!(error, RemoteReadError::Storage(marigram_storage::Error::Limit(_))), "{error}");
    let error = store.frames(vec![query("(", 0, 1)], 1 << 20).unwrap_err();
    assert!(matches!(error, RemoteReadError::BadRequest(_)), "{error}");
}
