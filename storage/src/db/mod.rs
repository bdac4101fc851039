//! The store of one node: WAL, head, blocks and catalog behind a few verbs.
//!
//! ```text
//! append ─▶ WAL (fsync) ─▶ head ─▶ seal ─▶ block ─▶ catalog          select ─▶ head ∪ blocks
//! ```

mod changes;
mod commit;
mod cover;
mod damage;
mod drop_mark;
mod labels;
mod named;
mod prepare;
mod progress;
mod publication;
mod recognise;
mod recover;
mod replay;
mod seal;
mod select;
mod stats;

pub use changes::{Change, Recent, Settled};
pub use cover::{SealedBlock, Unshipped};
pub use damage::Damage;
pub(crate) use drop_mark::FILE as DROP_MARK_FILE;
pub use progress::{ReplayProgress, ReplayState, ReplayedSoFar};
pub use stats::{DbStats, HeadOverview};

use std::any::Any;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use arc_swap::ArcSwap;
use parking_lot::{Condvar, Mutex, RwLock};

use crate::block::Block;
use crate::env::Env;
use crate::error::Result;
use crate::head::{Head, SpillDir};
use crate::model::tenant::TenantId;
use crate::write::MetadataEntry;
use changes::Changes;
use commit::{Queue, Writer};
use cover::Leaving;
use publication::Publication;
use stats::Counters;

/// When the log is fsynced.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WalFsync {
    /// Before a write is answered: what was acknowledged survives the loss of power.
    #[default]
    BeforeAnswer,
    /// Whenever [`Db::sync_log`] is called, which somebody does at this interval: the loss of power costs what was
    /// acknowledged since.
    Interval(Duration),
}

/// How a store behaves.
#[derive(Clone, Debug)]
pub struct DbOptions {
    /// Blocks whose newest sample is older are dropped; 0: never.
    pub retention_ms: i64,
    /// Most series in the head over all tenants; beyond it writes of new series are refused for now.
    pub head_series_max: usize,
    /// Most tenants.
    pub tenants_max: usize,
    /// Space on the disk that writes may not take, so that a seal can still be written; 0: no check.
    pub disk_reserve_bytes: u64,
    /// A new WAL segment begins when the current one is this large.
    pub segment_bytes: u64,
    /// The late partition is sealed when it has taken this many samples.
    pub late_samples_max: u64,
    /// The partition of a window is sealed before its time when it has taken this many samples: what is in a block need not be
    /// replayed after a crash, nor held in memory.
    pub window_samples_max: u64,
    /// When the log is fsynced.
    pub wal_fsync: WalFsync,
    /// Full chunks are kept in pages of this size.
    pub spill_page_bytes: usize,
    /// Full chunks of all open windows that stay in memory; beyond it they leave the heap for files.
    pub spill_memory_bytes: u64,
    /// Answer for ranges whose samples are lost, from now on.
    pub accept_loss: bool,
    /// Told how far the replay of the log is.
    pub replay: Arc<ReplayProgress>,
}

impl Default for DbOptions {
    fn default() -> Self {
        DbOptions {
            retention_ms: 15 * 24 * 3_600_000,
            head_series_max: 10_000_000,
            tenants_max: 10_000,
            disk_reserve_bytes: 256 << 20,
            segment_bytes: 128 << 20,
            late_samples_max: 50_000_000,
            window_samples_max: 96_000_000,
            wal_fsync: WalFsync::BeforeAnswer,
            spill_page_bytes: 1 << 20,
            spill_memory_bytes: 96 << 20,
            accept_loss: false,
            replay: Arc::default(),
        }
    }
}

/// The places in a data directory.
#[derive(Clone, Debug)]
pub(crate) struct Paths {
    pub(crate) root: PathBuf,
    pub(crate) wal: PathBuf,
    pub(crate) blocks: PathBuf,
    pub(crate) catalog: PathBuf,
    pub(crate) quarantine: PathBuf,
    /// Full chunks of the head, which need not survive.
    pub(crate) head: PathBuf,
}

/// An open store. All calls block, and may come from any thread.
pub struct Db {
    paths: Paths,
    env: Env,
    options: DbOptions,
    spill: SpillDir,
    head: Head,
    head_series: AtomicUsize,
    blocks: ArcSwap<Vec<Block>>,
    catalog: Publication,
    /// Held open by whoever appends, from the look-up of series until their samples are in the head.
    gate: RwLock<()>,
    queue: Mutex<Queue>,
    /// Told when a request joins the queue.
    joined: Condvar,
    writer: Mutex<Writer>,
    /// Held by whoever seals or drops blocks.
    maintenance: Mutex<()>,
    leaving: Mutex<Leaving>,
    drop_mark_ms: Mutex<Option<i64>>,
    damage: Mutex<Vec<Damage>>,
    changes: Changes,
    counters: Counters,
    wal_segments: AtomicU64,
    poison: OnceLock<String>,
    /// By how much the wall clock was ahead of the monotonic one at the start.
    wall_ahead_ms: i64,
    clock_jumped: AtomicBool,
    _lock: Box<dyn Any + Send + Sync>,
}

impl Db {
    /// Opens the data directory `dir`, making it if absent, and recovers everything that was acknowledged.
    ///
    /// # Errors
    /// Another process uses the directory; the disk's; a catalog that cannot be read.
    pub fn open(dir: PathBuf, env: Env, options: DbOptions) -> Result<Db> {
        let paths = Paths {
            wal: dir.join("wal"),
            blocks: dir.join("blocks"),
            catalog: dir.join("catalog"),
            quarantine: dir.join("quarantine"),
            head: dir.join("head"),
            root: dir,
        };
        recover::open(paths, env, options)
    }

    #[expect(clippy::too_many_arguments, reason = "called once, by recovery, with all that it found")]
    fn assemble(
        paths: Paths,
        env: Env,
        options: DbOptions,
        spill: SpillDir,
        lock: Box<dyn Any + Send + Sync>,
        catalog: Publication,
        head: Head,
        blocks: Vec<Block>,
        damage: Vec<Damage>,
        writer: Writer,
    ) -> Db {
        let wall_ahead_ms = seal::wall_ahead_ms(&*env.clock);
        Db {
            paths,
            env,
            options,
            spill,
            head,
            head_series: AtomicUsize::new(0),
            blocks: ArcSwap::from_pointee(blocks),
            catalog,
            gate: RwLock::new(()),
            queue: Mutex::default(),
            joined: Condvar::new(),
            writer: Mutex::new(writer),
            maintenance: Mutex::default(),
            leaving: Mutex::default(),
            drop_mark_ms: Mutex::new(None),
            damage: Mutex::new(damage),
            changes: Changes::default(),
            counters: Counters::default(),
            wal_segments: AtomicU64::new(0),
            poison: OnceLock::new(),
            wall_ahead_ms,
            clock_jumped: AtomicBool::new(false),
            _lock: lock,
        }
    }

    /// Metadata of a tenant's metric families.
    pub fn metadata(&self, tenant: &TenantId) -> BTreeMap<String, Vec<MetadataEntry>> {
        self.head.tenant(tenant).map(|head| head.metadata()).unwrap_or_default()
    }

    /// What is lost and known to be.
    pub fn damage(&self) -> Vec<Damage> {
        self.damage.lock().clone()
    }
}

/// What was written and not yet synced, under [`WalFsync::Interval`], is not left to chance.
impl Drop for Db {
    fn drop(&mut self) {
        if self.poison.get().is_none()
            && let Err(error) = self.writer.get_mut().wal.sync()
        {
            tracing::error!(%error, "the end of the write-ahead log could not be synced");
        }
    }
}
