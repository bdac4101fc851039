//! More is down than a cluster can do without: what cannot be promised is answered `503`, nothing is answered short,
//! nothing is dropped, and all is well when it is back.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::time::Duration;

use serde_json::Value;
use support::cluster::{Cluster, Plan};
use support::http::{Answer, Http};
use support::samples::{Samples, key};
use support::{needs, now_ms, poll_until, remote};

const SERIES: usize = 200;
const HOUR_MS: i64 = 3_600_000;
/// Longer than the grace of these clusters, and than several passes of the compactor.
const SOME_TIME: Duration = Duration::from_secs(12);

/// The body of a request with one sample of each series at each time, and the same as samples.
fn body(name: &str, times_ms: &[i64]) -> (Vec<u8>, Samples) {
    let mut samples = Samples::default();
    let series = (0..SERIES).map(|n| {
        let values: Vec<(i64, f64)> = times_ms.iter().map(|t| (*t, (t % 1_000_000) as f64 + n as f64)).collect();
        let series = remote::series(&[("__name__", name), ("n", &n.to_string())], &values);
        values.iter().for_each(|(t, value)| samples.add(&key(&series.labels), *t, value.to_bits()));
        series
    });
    (remote::body(series.collect()), samples)
}

/// Sends what must be taken.
fn write(cluster: &Cluster, name: &str, times_ms: &[i64]) -> Samples {
    let (body, samples) = body(name, times_ms);
    let answer = remote::send_body(cluster.insert.http(), &body).unwrap();
    assert!((200..300).contains(&answer.status), "{} {}", answer.status, answer.text());
    samples
}

fn assert_put_off(answer: &Answer, words: &[&str]) {
    let text = answer.text();
    assert_eq!(answer.status, 503, "{text}");
    assert!(answer.headers.contains_key("retry-after"), "with Retry-After: {text}");
    assert!(words.iter().all(|word| text.contains(word)), "{text} lacks one of {words:?}");
}

/// The samples of a range, `name[range]` at a time.
fn ask(http: &Http, name: &str, at_ms: i64, range: &str, partial: bool) -> (u16, Value) {
    let time = format!("{}.{:03}", at_ms / 1000, at_ms % 1000);
    let query = format!("count(count_over_time({name}[{range}]))");
    let mut parameters = vec![("query", query.as_str()), ("time", time.as_str())];
    if partial {
        parameters.push(("partial_response", "true"));
    }
    http.json_post("/api/v1/query", &parameters)
}

fn assert_complete((status, answer): (u16, Value)) {
    assert_eq!(status, 200, "{answer}");
    assert!(answer.get("warnings").is_none(), "{answer}");
    assert_eq!(answer["data"]["result"][0]["value"][1], SERIES.to_string(), "{answer}");
}

/// What a range of the past lacks without the bucket.
fn assert_unavailable((status, answer): (u16, Value)) {
    assert_eq!((status, answer["status"].as_str()), (503, Some("error")), "{answer}");
    assert_eq!(answer["errorType"], "unavailable", "{answer}");
}

#[test]
fn two_of_three_storage_nodes() {
    let mut cluster = Cluster::start("two-of-three", &Plan::default());
    let start_ms = now_ms();
    let mut sent = write(&cluster, "load", &[start_ms - 2000, start_ms - 1000]);
    let ask = |cluster: &Cluster, partial| ask(cluster.query.http(), "load", now_ms() + 60_000, "10m", partial);
    assert_complete(ask(&cluster, false));

    cluster.storage[0].kill();
    cluster.storage[2].kill();
    poll_until("queries to be refused", || (ask(&cluster, false).0 == 503).then_some(()));
    let (_, answer) = ask(&cluster, false);
    assert_eq!(answer["errorType"], "unavailable", "{answer}");
    let error = answer["error"].as_str().unwrap();
    assert!(error.contains("node-0") && error.contains("node-2"), "it names who is missing: {error}");
    let (status, answer) = ask(&cluster, true);
    assert_eq!((status, answer["status"].as_str()), (200, Some("success")), "{answer}");
    assert!(!answer["warnings"].as_array().unwrap_or_else(|| panic!("{answer}")).is_empty(), "{answer}");

    // Refused as a whole or stored in part: sending it again is harmless.
    let late_ms = now_ms();
    let (late, samples) = body("load", &[late_ms]);
    assert_put_off(&remote::send_body(cluster.insert.http(), &late).unwrap(), &[]);
    poll_until("the insert node to notice", || cluster.insert.readiness().filter(|answer| answer.status == 503));
    assert_put_off(&remote::send_body(cluster.insert.http(), &late).unwrap(), &[]);

    cluster.storage[0].start();
    cluster.storage[2].start();
    cluster.wait_ready();
    let answer = remote::send_body(cluster.insert.http(), &late).unwrap();
    assert!((200..300).contains(&answer.status), "{} {}", answer.status, answer.text());
    sent.merge(samples);
    poll_until("complete answers", || (ask(&cluster, false).0 == 200).then_some(()));
    assert_complete(ask(&cluster, false));
    let range = (start_ms - 10_000, now_ms() + 1000);
    sent.assert_equal(&remote::read_all(cluster.query.http(), range), "when they are back");
    cluster.assert_sound();
}

/// The bucket is away while `lose` to `bring_back`; what is below the drop marks waits for it, nothing else does.
fn without_bucket(test: &str, lose: impl Fn(&mut Cluster), bring_back: impl Fn(&mut Cluster)) {
    let Some(minio) = needs::MINIO.path_or_skip(test) else { return };
    let mut cluster = Cluster::start(test, &Plan { minio: Some(minio), ..Plan::default() });
    let start_ms = now_ms();
    let old_ms = start_ms - 10 * HOUR_MS;
    let mut sent = write(&cluster, "old", &[old_ms, old_ms + 1000, old_ms + 2000]);
    cluster.seal();
    cluster.wait_dropped();
    let old = |cluster: &Cluster, partial| ask(cluster.query.http(), "old", old_ms + 3000, "1m", partial);
    poll_until("the bucket to answer", || (old(&cluster, false).0 == 200).then_some(()));
    assert_complete(old(&cluster, false));
    sent.merge(write(&cluster, "new", &[start_ms]));
    let new = |cluster: &Cluster| ask(cluster.query.http(), "new", start_ms + 1000, "1m", false);
    assert_complete(new(&cluster));

    lose(&mut cluster);
    // Until the bucket counts as failed, what is at hand may be answered, but nothing short of it.
    poll_until("old ranges to be refused", || {
        let (status, answer) = old(&cluster, false);
        assert_complete(new(&cluster));
        if status == 200 {
            assert_complete((status, answer));
            return None;
        }
        assert_unavailable((status, answer));
        Some(())
    });
    let (status, answer) = old(&cluster, true);
    assert_eq!(status, 200, "{answer}");
    assert!(!answer["warnings"].as_array().unwrap_or_else(|| panic!("{answer}")).is_empty(), "{answer}");
    sent.merge(write(&cluster, "new", &[start_ms + 500]));
    cluster.seal();
    let blocks = cluster.blocks();
    assert!(blocks > 0, "sealed");
    let begun_ms = now_ms();
    poll_until("some time without the bucket", || {
        assert_complete(new(&cluster));
        assert_eq!(cluster.blocks(), blocks, "nothing is dropped");
        (now_ms() - begun_ms >= SOME_TIME.as_millis() as i64).then_some(())
    });

    bring_back(&mut cluster);
    poll_until("old ranges to be answered", || (old(&cluster, false).0 == 200).then_some(()));
    cluster.wait_dropped();
    assert_complete(new(&cluster));
    let all = |(first_ms, last_ms)| remote::read_all(cluster.query.http(), (first_ms, last_ms));
    let mut got = all((old_ms - 1000, old_ms + 10_000));
    got.merge(all((start_ms - 1000, start_ms + 10_000)));
    sent.assert_equal(&got, "caught up");
    cluster.assert_sound();
}

#[test]
fn a_bucket_that_does_not_answer() {
    without_bucket(
        "bucket-paused",
        |cluster| cluster.minio.as_ref().unwrap().pause(),
        |cluster| cluster.minio.as_ref().unwrap().resume(),
    );
}

#[test]
fn a_bucket_that_is_gone() {
    without_bucket(
        "bucket-killed",
        |cluster| cluster.minio.as_mut().unwrap().kill(),
        |cluster| cluster.minio.as_mut().unwrap().start_again(),
    );
}
