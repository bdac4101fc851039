//! Stores in memory, and the batches that fill them.

use std::path::PathBuf;
use std::sync::Arc;

use marigram::ingest::{IngestLimits, TimeBounds, write_v1};
use marigram_storage::context::Context;
use marigram_storage::db::{Db, DbOptions};
use marigram_storage::env::{Env, ManualClock, SeededRandom};
use marigram_storage::model::tenant::TenantId;
use marigram_storage::write::WriteBatch;

use crate::disk::MemoryDisk;
use crate::load::{Generator, Shape};

/// Time of the first round: the start of a window.
pub(crate) const START_MS: i64 = 1_796_400_000_000 / 7_200_000 * 7_200_000;
/// Time between rounds.
pub(crate) const INTERVAL_MS: i64 = 15_000;
/// Rounds of a window.
pub(crate) const ROUNDS: usize = 480;

/// An empty store.
pub(crate) fn open(disk: &MemoryDisk) -> Db {
    let env = Env {
        clock: Arc::new(ManualClock::new(START_MS + 7_200_000)),
        random: Arc::new(SeededRandom::new(1)),
        disk: Arc::new(disk.clone()),
    };
    Db::open(PathBuf::from("/store"), env, DbOptions::default()).unwrap()
}

/// A query's context.
pub(crate) fn context() -> Context {
    Context::new(TenantId::default(), Arc::new(ManualClock::new(START_MS)), None, u64::MAX)
}

/// The bodies of one round after the other.
pub(crate) fn bodies(series: usize, rounds: usize) -> Vec<Vec<u8>> {
    let shape = Shape { series, interval_ms: INTERVAL_MS, start_ms: START_MS, churn: None };
    let rounds = Generator::new(shape).next(rounds).0;
    rounds.into_iter().flatten().map(|request| request.body().to_vec()).collect()
}

/// What a body holds.
pub(crate) fn decode(body: &[u8]) -> WriteBatch {
    let bounds = TimeBounds { oldest_ms: None, newest_ms: i64::MAX };
    write_v1::decode(TenantId::default(), body, &IngestLimits::default(), bounds).unwrap().batch
}

/// A store with `rounds` rounds of `series` series.
pub(crate) fn filled(disk: &MemoryDisk, series: usize, rounds: usize) -> Db {
    let db = open(disk);
    bodies(series, rounds).iter().for_each(|body| db.append(decode(body)).unwrap());
    db
}
