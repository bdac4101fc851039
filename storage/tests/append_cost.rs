//! What a known sample costs of CPU time from batch to head, the log's frame and checksum included. Measures, so it only runs
//! when asked:
//!
//! ```text
//! cargo test --workspace --test append_cost -- --ignored --nocapture
//! ```
#![allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

mod support;

use std::sync::Arc;

use marigram_storage::db::Db;
use marigram_storage::env::ManualClock;
use marigram_storage::model::labels::Labels;
use marigram_storage::model::sample::Sample;
use marigram_storage::write::{WriteBatch, WriteSeries};
use support::store::{open, without_labels};

const START_MS: i64 = 1_700_006_400_000;
const SERIES: usize = 100_000;
const ROUNDS: usize = 30;

/// One sample of each of some series.
fn batches(series_per_batch: usize) -> Vec<WriteBatch> {
    let mut batches = Vec::new();
    for first in (0..SERIES).step_by(series_per_batch) {
        let mut batch = WriteBatch::default();
        for number in first..(first + series_per_batch).min(SERIES) {
            let (pod, cpu) = (format!("pod-{}", number / 100), (number % 100).to_string());
            let name = [("__name__", "node_cpu_seconds_total"), ("job", "node"), ("pod", &pod), ("cpu", &cpu)];
            let labels = Labels::from_pairs(name);
            let from = batch.arena.len();
            batch.arena.extend_from_slice(labels.as_bytes());
            let at = batch.samples.len();
            batch.samples.push(Sample { timestamp_ms: START_MS, value: 0.0 });
            batch.series.push(WriteSeries::new(labels.id(), from..batch.arena.len(), at..at + 1));
        }
        batches.push(batch);
    }
    batches
}

/// Nanoseconds that this thread has spent on a CPU.
fn cpu_ns() -> u64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    text.split_whitespace().next().unwrap().parse().unwrap()
}

/// Appends all batches with the samples of one round; nanoseconds per sample.
fn round(db: &Db, batches: &[WriteBatch], round: usize) -> f64 {
    let mut spent_ns = 0;
    for batch in batches {
        let mut batch = batch.clone();
        for (at, sample) in batch.samples.iter_mut().enumerate() {
            *sample = Sample { timestamp_ms: START_MS + 15_000 * round as i64, value: (round * at) as f64 };
        }
        let begin_ns = cpu_ns();
        assert_eq!(db.append_known(batch).unwrap(), []);
        spent_ns += cpu_ns() - begin_ns;
    }
    spent_ns as f64 / SERIES as f64
}

#[test]
#[ignore = "it measures, and takes a while"]
fn cpu_time_per_known_sample() {
    for series_per_batch in [500, 5000] {
        // Not a disk: fsync is not what is measured.
        let dir = tempfile::tempdir_in("/dev/shm").unwrap();
        let clock = Arc::new(ManualClock::new(START_MS));
        let db = open(dir.path(), &clock);
        let labelled = batches(series_per_batch);
        println!("{series_per_batch} series a batch: new {:.0} ns per sample", round(&db, &labelled, 0));
        for (what, batches) in
            [("by labels", labelled.clone()), ("by id", labelled.iter().map(without_labels).collect())]
        {
            let from = 1 + db.stats().head_samples as usize / SERIES;
            let mut costs: Vec<f64> = (from..from + ROUNDS).map(|at| round(&db, &batches, at)).collect();
            costs.sort_by(f64::total_cmp);
            println!("  {what}: median {:.0} ns, least {:.0} ns per sample", costs[ROUNDS / 2], costs[0]);
        }
        assert_eq!(db.stats().head_samples as usize, SERIES * (1 + 2 * ROUNDS));
    }
}
