//! Recorded traffic on a driven clock: moved in time so that a window ends in the middle of the writing, is sealed on the
//! way, and is written to afterwards. Every sample comes back bit for bit.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::path::Path;
use std::sync::Arc;

use marigram::ingest::{IngestLimits, TimeBounds, write_v1};
use marigram_proto::prometheus::WriteRequest;
use marigram_storage::context::Context;
use marigram_storage::db::{Db, DbOptions};
use marigram_storage::disk::RealDisk;
use marigram_storage::env::{Clock, Env, ManualClock, SeededRandom};
use marigram_storage::model::matcher::{MatchOp, Matcher};
use marigram_storage::model::tenant::TenantId;
use marigram_storage::model::time::TimeRange;
use marigram_storage::select::{SelectRequest, SeriesDecoder};
use prost::Message;
use support::needs;
use support::process::Folder;
use support::samples::Samples;
use support::traffic::{Frames, recordings};

const HOUR_MS: i64 = 3_600_000;
const WINDOW_MS: i64 = 2 * HOUR_MS;
const GRACE_MS: i64 = 15 * 60_000;
/// So much of the recording (46 minutes) lies before the window's end; what is left is longer than the grace.
const BEFORE_END_MS: i64 = 20 * 60_000;
/// How many requests are between two looks for due work.
const REQUESTS_PER_LOOK: usize = 50;

/// A store, its clock, and what it must hold.
struct Driven {
    db: Db,
    clock: Arc<ManualClock>,
    shift_ms: i64,
    sent: Samples,
}

fn open(dir: &Path, clock: &Arc<ManualClock>) -> Db {
    let env = Env { clock: clock.clone(), random: Arc::new(SeededRandom::new(7)), disk: Arc::new(RealDisk) };
    Db::open(dir.into(), env, DbOptions { retention_ms: 0, ..DbOptions::default() }).unwrap()
}

impl Driven {
    /// Writes a recording. The clock shows the newest timestamp so far, as it did when the traffic was sent; it never
    /// goes back.
    fn write(&mut self, path: &Path) {
        let mut now_ms = self.clock.now_ms();
        for (number, frame) in Frames::open(path).enumerate() {
            let request = WriteRequest::decode(&frame[..]).unwrap();
            let times = request.timeseries.iter().flat_map(|series| &series.samples).map(|sample| sample.timestamp);
            now_ms = times.map(|t| t + self.shift_ms).max().unwrap_or(now_ms).max(now_ms);
            self.clock.set(now_ms);
            self.sent.add_series(&request.timeseries, self.shift_ms);
            let bounds = TimeBounds::at(i64::MAX / 2, 0);
            let mut decoded =
                write_v1::decode_plain(TenantId::default(), frame, &IngestLimits::default(), bounds).unwrap();
            assert!(decoded.refused.is_empty(), "{}", decoded.refused);
            decoded.batch.samples.iter_mut().for_each(|sample| sample.timestamp_ms += self.shift_ms);
            self.db.append(decoded.batch).unwrap();
            if number % REQUESTS_PER_LOOK == 0 {
                self.db.maintain().unwrap();
            }
        }
        self.db.maintain().unwrap();
    }

    fn read_all(&self) -> Samples {
        let (first_ms, last_ms) = self.sent.range_ms();
        let range = TimeRange { start_ms: first_ms - HOUR_MS, end_ms: last_ms + HOUR_MS };
        let context = Context::new(TenantId::default(), self.clock.clone(), None, u64::MAX);
        let matchers = [Matcher::new("__name__", MatchOp::NotEqual, "").unwrap()];
        let request = SelectRequest { matchers: &matchers, range, drop_labels: &[] };
        let mut stream = self.db.select(&context, request).unwrap();
        let mut decoder = SeriesDecoder::default();
        let mut all = Samples::default();
        while let Some(batch) = stream.next_batch().unwrap() {
            for series in &batch.series {
                let (times, values) = decoder.decode(&series.chunks, range).unwrap();
                let labels = series.labels.iter().map(|(name, value)| (name.to_string(), value.to_string()));
                let key = labels.collect();
                for (t, value) in times.iter().zip(values) {
                    all.add(&key, *t, value.to_bits());
                }
            }
        }
        all
    }

    fn check(&self, when: &str) {
        self.sent.assert_equal(&self.read_all(), when);
    }
}

#[test]
fn a_window_that_ends_while_it_is_written_loses_nothing() {
    let Some(dir) = needs::REAL_SCRAPES.path_or_skip("a_window_that_ends_while_it_is_written_loses_nothing") else {
        return;
    };
    let paths = recordings(&dir);
    let first = first_timestamp(&paths[0]);
    // The window's end lies BEFORE_END_MS after the first sample.
    let shift_ms = (first + BEFORE_END_MS).div_euclid(WINDOW_MS) * WINDOW_MS + WINDOW_MS - (first + BEFORE_END_MS);
    let end_ms = first + shift_ms + BEFORE_END_MS;
    assert_eq!(end_ms % WINDOW_MS, 0);

    let folder = Folder::new("driven");
    let clock = Arc::new(ManualClock::new(first + shift_ms));
    let mut driven = Driven { db: open(folder.path(), &clock), clock, shift_ms, sent: Samples::default() };
    driven.write(&paths[0]);
    assert_eq!(driven.db.stats().blocks, 1, "the window was sealed on the way");
    driven.check("a sealed window and an open one");

    // The other server's traffic comes late: half of it belongs to the sealed window.
    driven.write(&paths[1]);
    driven.check("late samples beside a sealed window");
    let clock = driven.clock.clone();
    let Driven { db, sent, .. } = driven;
    drop(db);
    let mut driven = Driven { db: open(folder.path(), &clock), clock, shift_ms, sent };
    driven.check("recovered");

    // Hours later everything is in blocks, by itself.
    driven.clock.set(end_ms + WINDOW_MS + GRACE_MS);
    driven.db.maintain().unwrap();
    assert_eq!(driven.db.stats().head_samples, 0, "all is sealed");
    assert!(driven.db.stats().blocks >= 3, "two windows and the late samples");
    driven.check("all in blocks");
    driven.write(&paths[0]);
    driven.check("written once more");
}

fn first_timestamp(path: &Path) -> i64 {
    let requests = Frames::open(path).take(200).map(|frame| WriteRequest::decode(&frame[..]).unwrap());
    let samples = requests.flat_map(|request| request.timeseries).flat_map(|series| series.samples);
    samples.map(|sample| sample.timestamp).min().expect("a sample")
}
