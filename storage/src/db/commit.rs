//! Group commit: how a write becomes durable and visible.
//!
//! 1. A request joins the queue and then waits for the writer.
//! 2. Whoever gets the writer takes all that is queued, its own request included, as one group.
//! 3. Series are looked up or registered, samples are assigned to partitions ([`super::resolve`]), and everything becomes one
//!    WAL frame.
//! 4. The frame is written and fsynced.
//! 5. The samples are added to the head; from here on queries see them.
//! 6. Everybody of the group is answered.
//!
//! A registered series without samples is invisible, so nothing is seen before it is durable.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use hashbrown::HashMap;
use parking_lot::Mutex;

use super::Db;
use super::named::NamedSeries;
use super::resolve::Resolved;
use crate::error::{Error, Result};
use crate::head::{Partition, PartitionId};
use crate::model::labels::SeriesId;
use crate::model::tenant::TenantId;
use crate::wal::record::RecordWriter;
use crate::wal::writer::WalWriter;
use crate::write::{FamilyMetadata, WriteBatch};

/// A new segment begins when this many times the bytes of its series records were written, so that naming the series again
/// stays a small part of the log.
const SEGMENT_PER_LABEL_BYTES: u64 = 5;
/// The free space is looked at again after this many bytes.
const DISK_CHECK_EVERY_BYTES: u64 = 16 << 20;
/// A group takes no further request once it has this many samples.
const GROUP_SAMPLES_MAX: usize = 4 << 20;

/// A request in the queue.
pub(super) struct Pending {
    batch: WriteBatch,
    outcome: Arc<Mutex<Option<Result<Vec<SeriesId>>>>>,
}

/// What only the one that commits may touch.
pub(super) struct Writer {
    pub(super) wal: WalWriter,
    /// Per tenant, the series that the current segment has named: by their dense numbers, which it refers to them by.
    pub(super) named: HashMap<TenantId, NamedSeries>,
    /// Unsealed partitions that a segment holds samples of.
    pub(super) partitions_of: BTreeMap<u64, HashSet<PartitionId>>,
    pub(super) label_bytes: u64,
    unchecked_bytes: u64,
    /// Set while a group is being committed: still set at the next, a panic left things half done.
    committing: bool,
}

impl Writer {
    pub(super) fn new(wal: WalWriter, partitions_of: BTreeMap<u64, HashSet<PartitionId>>) -> Self {
        Writer {
            wal,
            named: HashMap::new(),
            partitions_of,
            label_bytes: 0,
            unchecked_bytes: DISK_CHECK_EVERY_BYTES,
            committing: false,
        }
    }
}

impl Db {
    pub(super) fn check_writer(&self, writer: &Writer) -> Result<()> {
        if writer.committing {
            self.poison.get_or_init(|| "a commit panicked half way".into());
        }
        match self.poison.get() {
            Some(reason) => Err(Error::Poisoned(reason.clone())),
            None => Ok(()),
        }
    }

    /// After a failed write or fsync nobody knows what the file holds: only recovery does.
    fn poison_on_error<T>(&self, result: Result<T>) -> Result<T> {
        if let Err(error) = &result {
            tracing::error!(%error, "the write-ahead log failed; no more writes are taken until a restart");
            self.poison.get_or_init(|| error.to_string());
        }
        result
    }

    /// Stores a batch: when this returns `Ok`, all of it is durable and visible to queries. Blocks for about one fsync;
    /// concurrent calls share it.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Unavailable`]: nothing is promised about the batch, and it may be sent again.
    pub fn append(&self, batch: WriteBatch) -> Result<()> {
        match self.enqueue(batch)?.first() {
            None => Ok(()),
            Some(id) => Err(Error::BadInput(format!("the series {id:?} came without labels and is not known"))),
        }
    }

    /// Stores a batch from another node, as [`Db::append`] does. A series with an empty range of labels is believed to be known
    /// and is looked up by its id alone. Answers the ids, ascending, of those that are not: nothing of them was stored, they are
    /// to be sent again with labels. Everything else of the batch is durable and visible.
    ///
    /// # Errors
    /// [`crate::ErrorKind::BadInput`]: an id is not that of the labels beside it, or the batch contradicts itself; nothing was
    /// stored. [`crate::ErrorKind::Unavailable`] as for [`Db::append`].
    pub fn append_known(&self, batch: WriteBatch) -> Result<Vec<SeriesId>> {
        batch.check()?;
        self.enqueue(batch)
    }

    /// Has the batch committed, by this thread or another; answers the ids of the series that are unknown and came without
    /// labels.
    fn enqueue(&self, batch: WriteBatch) -> Result<Vec<SeriesId>> {
        let outcome = Arc::new(Mutex::new(None));
        self.queue.lock().push_back(Pending { batch, outcome: Arc::clone(&outcome) });
        let mut writer = self.writer.lock();
        if let Some(done) = outcome.lock().take() {
            return done;
        }
        // Whoever commits takes from the front, so it may need several groups until the own one has had its turn.
        loop {
            let group = self.take_group();
            if group.is_empty() {
                return Err(Error::Overloaded("the write was abandoned".into()));
            }
            self.commit_group(&mut writer, &group);
            if let Some(done) = outcome.lock().take() {
                return done;
            }
        }
    }

    fn take_group(&self) -> Vec<Pending> {
        let mut queue = self.queue.lock();
        let mut group = Vec::new();
        let mut samples = 0;
        while samples < GROUP_SAMPLES_MAX
            && let Some(pending) = queue.pop_front()
        {
            samples += pending.batch.samples.len();
            group.push(pending);
        }
        group
    }

    fn commit_group(&self, writer: &mut Writer, group: &[Pending]) {
        if let Err(error) = self.check_writer(writer).and_then(|()| self.check_free_space(writer)) {
            for pending in group {
                *pending.outcome.lock() = Some(Err(error.clone()));
            }
            return;
        }
        writer.committing = true;
        let now_ms = self.env.clock.now_ms();
        let mut partitions = Vec::new();
        let resolved: Vec<Result<Resolved<'_>>> =
            group.iter().map(|pending| self.resolve(&pending.batch, &mut partitions, now_ms)).collect();
        let good: Vec<&Resolved<'_>> = resolved.iter().filter_map(|r| r.as_ref().ok()).collect();
        let committed = self.commit(writer, &good, &partitions);
        if committed.is_ok() {
            for batch in &good {
                batch.apply(&partitions, now_ms);
            }
        }
        for (pending, resolved) in group.iter().zip(resolved) {
            let unknown = resolved.map(|resolved| resolved.unknown);
            *pending.outcome.lock() = Some(unknown.and_then(|unknown| committed.clone().map(|()| unknown)));
        }
        writer.committing = false;
    }

    fn check_free_space(&self, writer: &mut Writer) -> Result<()> {
        let reserve_bytes = self.options.disk_reserve_bytes;
        if writer.unchecked_bytes < DISK_CHECK_EVERY_BYTES || reserve_bytes == 0 {
            return Ok(());
        }
        let free_bytes = self.env.disk.free_bytes(&self.paths.root)?;
        if free_bytes < reserve_bytes {
            return Err(Error::DiskFull { free_bytes, reserve_bytes });
        }
        writer.unchecked_bytes = 0;
        Ok(())
    }

    fn commit(&self, writer: &mut Writer, batches: &[&Resolved<'_>], partitions: &[Arc<Partition>]) -> Result<()> {
        let large = self.options.segment_bytes.max(SEGMENT_PER_LABEL_BYTES * writer.label_bytes);
        if writer.wal.segment_bytes() >= large {
            self.rotate(writer)?;
        }
        let mut records = RecordWriter::default();
        for resolved in batches {
            resolved.encode(writer, partitions, &mut records);
        }
        if records.is_empty() {
            return Ok(());
        }
        let committed = writer.wal.commit(&records);
        let written = self.poison_on_error(committed)?;
        writer.unchecked_bytes += written;
        self.counters.wal_bytes.fetch_add(written, Ordering::Relaxed);
        self.counters.wal_commits.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// Begins a new segment, which first of all repeats the metadata: that has no other home. The writer was checked.
    pub(super) fn rotate(&self, writer: &mut Writer) -> Result<()> {
        let rotated = writer.wal.rotate();
        self.poison_on_error(rotated)?;
        writer.named.clear();
        writer.label_bytes = 0;
        self.wal_segments.fetch_add(1, Ordering::Relaxed);
        self.write_metadata(writer)
    }

    /// Writes all metadata into the current segment.
    pub(super) fn write_metadata(&self, writer: &mut Writer) -> Result<()> {
        let mut records = RecordWriter::default();
        for (tenant, head) in self.head.tenants() {
            for (family, entries) in head.metadata() {
                for entry in entries {
                    records.metadata(tenant.as_str(), &FamilyMetadata { family: family.clone(), entry });
                }
            }
        }
        if records.is_empty() {
            return Ok(());
        }
        let committed = writer.wal.commit(&records);
        self.poison_on_error(committed).map(drop)
    }
}
