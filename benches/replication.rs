//! What replication costs: the same recorded traffic into `marigram single` and into a cluster of 1 insert node, 3 storage
//! nodes with two copies of every sample, a query node and a compactor that have nothing to do; the CPU time of all
//! processes per sample, side by side, and the ratio.
//!
//! Each side takes the traffic a few times, at times moved by hours so that all of it is new; the first round, in which every
//! series is new, is told apart from the later ones.

#![allow(clippy::unwrap_used, unused_imports, reason = "a benchmark fails by panicking")]

#[path = "../tests/support/mod.rs"]
mod support;

use std::time::Duration;

use marigram_proto::prometheus::WriteRequest;
use prost::Message;
use support::cluster::{Cluster, Plan};
use support::http::Http;
use support::process::Folder;
use support::single::Server;
use support::traffic::{Frames, compress, recordings};
use support::{needs, remote};

const ROUNDS: i64 = 4;
const HOUR_MS: i64 = 3_600_000;

/// The requests of one recording, moved in time, and how many samples they hold.
fn round(requests: &[WriteRequest], number: i64) -> (Vec<Vec<u8>>, usize) {
    let mut samples = 0;
    let moved = requests.iter().map(|request| {
        let mut request = request.clone();
        for sample in request.timeseries.iter_mut().flat_map(|series| &mut series.samples) {
            sample.timestamp += number * HOUR_MS;
            samples += 1;
        }
        compress(&request.encode_to_vec())
    });
    (moved.collect(), samples)
}

/// Sends all rounds; gives the CPU time of each that `cpu_time` counts.
fn measure(http: &Http, rounds: &[(Vec<Vec<u8>>, usize)], cpu_time: impl Fn() -> Duration) -> Vec<f64> {
    let measure = |(bodies, samples): &(Vec<Vec<u8>>, usize)| {
        let before = cpu_time();
        remote::send_all(http, bodies);
        (cpu_time() - before).as_secs_f64() * 1e6 / *samples as f64
    };
    rounds.iter().map(measure).collect()
}

fn print(name: &str, micros: &[f64]) -> f64 {
    let later = micros[1..].iter().sum::<f64>() / (micros.len() - 1) as f64;
    println!("{name:<28} {:>8.3} µs/sample with new series   {later:>8.3} µs/sample with known series", micros[0]);
    later
}

fn main() {
    // `cargo test --benches` runs this too; only `cargo bench` asks for a measurement.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    let Some(dir) = needs::REAL_SCRAPES.path_or_skip("replication") else { return };
    let frames = Frames::open(&recordings(&dir)[0]);
    let requests: Vec<WriteRequest> = frames.map(|frame| WriteRequest::decode(&frame[..]).unwrap()).collect();
    let rounds: Vec<_> = (0..ROUNDS).map(|number| round(&requests, number)).collect();
    println!("{} samples a round, {ROUNDS} rounds", rounds[0].1);

    let folder = Folder::new("bench-single");
    let single = Server::start(folder.path());
    let alone = print("single", &measure(single.http(), &rounds, || single.cpu_time()));
    drop(single);

    // Nothing is uploaded while this runs.
    let plan = Plan { flags: vec![("compact", "--compact-delay=1h".into())], ..Plan::default() };
    let cluster = Cluster::start("bench-cluster", &plan);
    let of_role = |storage: bool| {
        let nodes = cluster.storage.iter().map(support::cluster::Node::cpu_time).sum::<Duration>();
        let others = [&cluster.insert, &cluster.query, &cluster.compactors[0]];
        nodes + if storage { Duration::ZERO } else { others.iter().map(|node| node.cpu_time()).sum() }
    };
    let storage_before = of_role(true);
    let together = print("cluster, two copies", &measure(cluster.insert.http(), &rounds, || of_role(false)));
    let storage = (of_role(true) - storage_before).as_secs_f64();
    let insert = cluster.insert.cpu_time().as_secs_f64();
    println!("of it, over all rounds: storage nodes {storage:.1} s, insert node {insert:.1} s");
    println!("ratio with known series: {:.2}", together / alone);
}
