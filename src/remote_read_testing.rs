//! A store filled by remote write, for the tests of both kinds of remote read.

use std::sync::Arc;

use marigram_proto::prometheus::{TimeSeries, WriteRequest};
use marigram_storage::db::{Db, DbOptions};
use marigram_storage::disk::RealDisk;
use marigram_storage::env::{Env, ManualClock, OsRandom};
use marigram_storage::model::tenant::TenantId;
use prost::Message;

use crate::fanout::Local;
use crate::ingest::{IngestLimits, TimeBounds, write_v1};

/// What the store's clock shows.
pub(crate) const NOW_MS: i64 = 1_700_000_000_000;

/// The store, on a folder of its own.
pub(crate) struct Store {
    pub(crate) source: Local,
    pub(crate) clock: Arc<ManualClock>,
    _folder: tempfile::TempDir,
}

impl Store {
    /// Holds these series, as remote write took them.
    pub(crate) fn with(timeseries: Vec<TimeSeries>) -> Store {
        let folder = tempfile::tempdir().unwrap();
        let clock = Arc::new(ManualClock::new(NOW_MS));
        let env = Env { clock: clock.clone(), random: Arc::new(OsRandom), disk: Arc::new(RealDisk) };
        let options = DbOptions { retention_ms: 0, disk_reserve_bytes: 0, ..DbOptions::default() };
        let db = Db::open(folder.path().join("data"), env, options).unwrap();
        let body = compressed(&WriteRequest { timeseries, ..WriteRequest::default() });
        let bounds = TimeBounds::at(NOW_MS, 0);
        let decoded = write_v1::decode(TenantId::default(), &body, &IngestLimits::default(), bounds).unwrap();
        assert!(decoded.refused.is_empty());
        db.append(decoded.batch).unwrap();
        Store { source: Local(Arc::new(db)), clock, _folder: folder }
    }
}

/// A message as it goes over the wire.
pub(crate) fn compressed(message: &impl Message) -> Vec<u8> {
    snap::raw::Encoder::new().compress_vec(&message.encode_to_vec()).unwrap()
}
