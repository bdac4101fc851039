//! Heavy queries beside full ingestion: what they do to the latency of writes, and to memory.
//!
//! 1. Half of the load `main` is written alone: its p99 is the measure.
//! 2. The other half is written while ten clients ask the heaviest queries, each again as soon as it is answered.

use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::clock::Behind;
use crate::raw::Raw;
use crate::run::{Corpus, quantile};
use crate::server::{Server, System};
use crate::support::process::Folder;
use crate::workload::Workload;

/// Clients that ask.
const CLIENTS: usize = 10;
/// Each client begins with another one.
const QUERIES: [&str; 5] = [
    r#"sum by (job, pod) (rate({__name__=~".+_http_requests_total"}[5m]))"#,
    r#"histogram_quantile(0.99, sum by (le, pod) (rate(search_http_request_duration_seconds_bucket[5m])))"#,
    r#"count by (namespace, pod) ({__name__=~".+_ratio"})"#,
    r#"sum({__name__=~".+"})"#,
    r#"max_over_time(sum by (node) (rate({__name__=~".+_http_requests_total"}[1m]))[10m:1m])"#,
];

/// Runs it on Marigram and prints what came of it.
pub(crate) fn run(workload: &Workload, corpus: &mut Corpus, binary: &Path, behind: Behind) {
    let folder = Folder::new("busy");
    let server = Server::start(System::Marigram, binary, folder.path(), behind);
    corpus.restart(workload);
    let half = workload.rounds() / 2;
    let alone = corpus.send(server.address(), 0, half).latencies_ms();
    let (done, answered, failed) = (AtomicBool::new(false), Mutex::new(Vec::new()), Mutex::new(Vec::new()));
    let interval_ms = workload.shape.interval_ms;
    let end_ms = workload.shape.start_ms + half as i64 * interval_ms;
    let times = [end_ms - 3_000_000, end_ms].map(|ms| format!("{}.{:03}", ms / 1000, ms % 1000));
    let ask = |client: usize| {
        let mut raw = Raw::connect(server.address());
        for query in QUERIES.iter().cycle().skip(client) {
            if done.load(Ordering::Relaxed) {
                return;
            }
            let parameters =
                [("query", *query), ("start", &times[0]), ("end", &times[1]), ("step", "60"), ("nocache", "1")];
            let begin = crate::sender::now();
            let received = raw.get("/api/v1/query_range", &parameters);
            match received.status {
                200 => answered.lock().unwrap().push(begin.elapsed().as_secs_f64() * 1000.0),
                status => failed.lock().unwrap().push(format!("{status} {query}: {}", received.json()["error"])),
            }
        }
    };
    let beside = std::thread::scope(|scope| {
        let ask = &ask;
        (0..CLIENTS).for_each(|client| drop(scope.spawn(move || ask(client))));
        let beside = corpus.send(server.address(), half, workload.rounds() - half).latencies_ms();
        done.store(true, Ordering::Relaxed);
        beside
    });
    let (mut answered, failed) = (answered.into_inner().unwrap(), failed.into_inner().unwrap());
    answered.sort_by(f64::total_cmp);
    let (before, after) = (quantile(&alone, 0.99), quantile(&beside, 0.99));
    println!(
        "writes alone: p50 {:.1} p99 {before:.1} ms; beside {CLIENTS} clients with heavy queries: p50 {:.1} p99 {after:.1} ms, {:.1} times",
        quantile(&alone, 0.5),
        quantile(&beside, 0.5),
        after / before
    );
    println!(
        "{} queries answered, median {:.0} ms, {} failed; peak RSS {} MiB",
        answered.len(),
        quantile(&answered, 0.5),
        failed.len(),
        server.gauge().memory().peak >> 20
    );
    failed.iter().take(5).for_each(|failure| println!("    {failure}"));
}
