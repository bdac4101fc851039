//! What the fan-out counts.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::telemetry::single;

/// Counted since the start.
#[derive(Debug, Default)]
pub struct Counters {
    missing: AtomicU64,
    incomplete: AtomicU64,
    bucket_reads: AtomicU64,
    bucket_replans: AtomicU64,
}

impl Counters {
    pub(super) fn add_missing(&self, members: usize) {
        self.missing.fetch_add(members as u64, Ordering::Relaxed);
    }

    pub(super) fn add_incomplete(&self) {
        self.incomplete.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn add_bucket_read(&self) {
        self.bucket_reads.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn add_bucket_replan(&self) {
        self.bucket_replans.fetch_add(1, Ordering::Relaxed);
    }

    /// Reads that needed the bucket.
    pub fn bucket_reads(&self) -> u64 {
        self.bucket_reads.load(Ordering::Relaxed)
    }

    /// Reads of the bucket that were planned again.
    pub fn bucket_replans(&self) -> u64 {
        self.bucket_replans.load(Ordering::Relaxed)
    }

    /// Adds them to `out` in the classic text format.
    pub fn write(&self, out: &mut String) {
        let mut counter = |name: &str, help: &str, value: &AtomicU64| {
            let name = format!("marigram_query_{name}_total");
            single(out, &name, "counter", help, value.load(Ordering::Relaxed));
        };
        counter("member_misses", "Times that a listed member was missing from an answer", &self.missing);
        let help = "Selects and label requests that were not complete: refused, or answered in part with a warning";
        counter("incomplete_reads", help, &self.incomplete);
        counter("bucket_reads", "Selects and label requests that needed the bucket", &self.bucket_reads);
        counter(
            "bucket_replans",
            "Reads of the bucket that were planned again from a newer catalog",
            &self.bucket_replans,
        );
    }
}
