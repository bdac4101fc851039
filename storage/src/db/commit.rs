//! Group commit: how a write becomes durable and visible.
//!
//! 1. A request's own thread looks its series up or registers them, and assigns its samples to partitions
//!    ([`super::prepare`]). None of it waits for another request.
//! 2. It joins the queue. The first one there becomes the leader; the others sleep until their group is done.
//! 3. Senders that were answered together send their next requests together: the leader waits a moment for as many as were
//!    there before, and so writes and fsyncs less often. It takes all that is queued as one group, names the series that the
//!    current segment has not named yet, encodes all samples as changes since the ones before, writes everything as one WAL
//!    frame, and fsyncs. It wakes the group, and hands the lead to the first of those who came meanwhile.
//! 4. Each thread adds its own samples to the head; from here on queries see them, and the request is answered.
//!
//! From step 1 to 4 a request holds the gate open. Whoever closes it, to freeze a partition or to forget a series, knows that
//! no samples are on their way: what was looked up stays. A registered series without samples is invisible, so nothing is seen
//! before it is durable.

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use hashbrown::HashMap;
use parking_lot::{Condvar, Mutex};

use super::named::NamedSeries;
use super::prepare::Prepared;
use super::{Db, WalFsync};
use crate::error::{Error, Result};
use crate::head::PartitionId;
use crate::model::labels::SeriesId;
use crate::model::tenant::TenantId;
use crate::wal::record::{LastValues, RecordWriter, SeriesNames};
use crate::wal::writer::WalWriter;
use crate::write::{FamilyMetadata, WriteBatch};

/// A new segment begins when this many times the bytes of its series records were written, so that naming the series again
/// stays a small part of the log.
const SEGMENT_PER_LABEL_BYTES: u64 = 5;
/// The free space is looked at again after this many bytes.
const DISK_CHECK_EVERY_BYTES: u64 = 16 << 20;
/// A group takes no further request once it has this many samples.
const GROUP_SAMPLES_MAX: usize = 4 << 20;
/// How long the leader waits for as many requests as came together before: far less than the fsync that they then share.
const COMPANY_WAIT: Duration = Duration::from_millis(1);
/// Memory for a frame that is kept for the next one.
const FRAME_KEPT_BYTES: usize = 1 << 20;

/// A request in the queue.
struct Pending {
    prepared: Prepared,
    turn: Mutex<Turn>,
    changed: Condvar,
}

/// How far a request is.
enum Turn {
    Waiting,
    Leading,
    Done(Result<()>),
}

/// The requests that wait to be committed.
#[derive(Default)]
pub(super) struct Queue {
    waiting: VecDeque<Arc<Pending>>,
    /// Whether somebody commits, and will look here again.
    led: bool,
    /// How many requests are likely to be under way at a time: as many as a commit found and left behind, less one for each
    /// time that they were fewer.
    expected: usize,
}

/// What only the one that commits may touch.
pub(super) struct Writer {
    pub(super) wal: WalWriter,
    /// Per tenant, the series that the current segment has named and their last values.
    pub(super) named: HashMap<TenantId, InSegment>,
    /// Unsealed partitions that a segment holds samples of.
    pub(super) partitions_of: BTreeMap<u64, HashSet<PartitionId>>,
    pub(super) label_bytes: u64,
    unchecked_bytes: u64,
    records: RecordWriter,
    names: SeriesNames,
}

/// What the current segment holds of a tenant's series, by their dense numbers.
#[derive(Default)]
pub(super) struct InSegment {
    named: NamedSeries,
    last: LastValues,
}

impl Writer {
    pub(super) fn new(wal: WalWriter, partitions_of: BTreeMap<u64, HashSet<PartitionId>>) -> Self {
        Writer {
            wal,
            named: HashMap::new(),
            partitions_of,
            label_bytes: 0,
            unchecked_bytes: DISK_CHECK_EVERY_BYTES,
            records: RecordWriter::default(),
            names: SeriesNames::default(),
        }
    }

    /// Adds a request's records to the frame, behind the names of series that the segment has not named yet.
    fn add(&mut self, prepared: &Prepared) {
        let tenant = prepared.tenant();
        let segment = self.named.entry_ref(tenant).or_default();
        self.names.clear();
        for run in prepared.runs() {
            if segment.named.insert(run.dense) {
                prepared.name(run, &mut self.names);
            }
        }
        if !self.names.references.is_empty() {
            let before = self.records.payload().len();
            self.records.names(tenant.as_str(), &self.names);
            self.label_bytes += (self.records.payload().len() - before) as u64;
        }
        prepared.encode(&mut segment.last, &mut self.records);
        let segment = self.wal.segment();
        for partition in prepared.partitions() {
            self.partitions_of.entry(segment).or_default().insert(partition.id());
        }
    }
}

impl Pending {
    fn set(&self, turn: Turn) {
        *self.turn.lock() = turn;
        self.changed.notify_one();
    }

    /// Waits for its turn: `Some`: it is committed, or was refused; `None`: it is to lead.
    fn wait(&self) -> Option<Result<()>> {
        let mut turn = self.turn.lock();
        loop {
            match std::mem::replace(&mut *turn, Turn::Waiting) {
                Turn::Waiting => self.changed.wait(&mut turn),
                Turn::Leading => return None,
                Turn::Done(outcome) => return Some(outcome),
            }
        }
    }
}

/// Held by the one who leads. When a panic takes it down, nobody waits for ever and no more writes are taken.
struct Lead<'a> {
    db: &'a Db,
    group: Vec<Arc<Pending>>,
}

impl Drop for Lead<'_> {
    fn drop(&mut self) {
        let mut queue = self.db.queue.lock();
        if std::thread::panicking() {
            let reason = self.db.poison.get_or_init(|| "a commit panicked half way".into());
            for pending in self.group.drain(..).chain(queue.waiting.drain(..)) {
                pending.set(Turn::Done(Err(Error::Poisoned(reason.clone()))));
            }
        }
        match queue.waiting.front() {
            Some(next) => next.set(Turn::Leading),
            None => queue.led = false,
        }
    }
}

/// Adding durable samples to the head must not end half way.
struct ApplyGuard<'a>(&'a Db);

impl Drop for ApplyGuard<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.poison.get_or_init(|| "adding samples to the head panicked half way".into());
        }
    }
}

impl Db {
    pub(super) fn check_poison(&self) -> Result<()> {
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
        match self.store(batch)?.first() {
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
        self.store(batch)
    }

    /// Has the batch committed, by this thread or another, and makes it visible; answers the ids of the series that are unknown
    /// and came without labels.
    fn store(&self, batch: WriteBatch) -> Result<Vec<SeriesId>> {
        let _open = self.gate.read();
        self.check_poison()?;
        let prepared = self.prepare(batch)?;
        let pending = Arc::new(Pending { prepared, turn: Mutex::new(Turn::Waiting), changed: Condvar::new() });
        self.commit(&pending)?;
        let _guard = ApplyGuard(self);
        let (tenant, times) = (pending.prepared.tenant(), pending.prepared.times());
        self.changes.note(tenant, times);
        pending.prepared.apply(self.env.clock.now_ms());
        self.changes.note(tenant, times);
        Ok(pending.prepared.unknown().to_vec())
    }

    fn commit(&self, pending: &Arc<Pending>) -> Result<()> {
        let leads = {
            let mut queue = self.queue.lock();
            queue.waiting.push_back(Arc::clone(pending));
            self.joined.notify_one();
            !std::mem::replace(&mut queue.led, true)
        };
        if !leads && let Some(outcome) = pending.wait() {
            return outcome;
        }
        let mut lead = Lead { db: self, group: Vec::new() };
        // Whoever leads takes from the front, and is there itself: one group is enough.
        lead.group = self.take_group();
        let committed = self.commit_group(&lead.group);
        self.note_company(lead.group.len());
        for other in lead.group.drain(..).filter(|other| !Arc::ptr_eq(other, pending)) {
            other.set(Turn::Done(committed.clone()));
        }
        committed
    }

    fn take_group(&self) -> Vec<Arc<Pending>> {
        let mut queue = self.queue.lock();
        let expected = queue.expected;
        self.joined.wait_while_for(&mut queue, |queue| queue.waiting.len() < expected, COMPANY_WAIT);
        let mut group = Vec::new();
        let mut samples = 0;
        while samples < GROUP_SAMPLES_MAX
            && let Some(pending) = queue.waiting.pop_front()
        {
            samples += pending.prepared.samples();
            group.push(pending);
        }
        queue.expected = group.len().max(expected.saturating_sub(1));
        group
    }

    /// Notes those who came while a group of `committed` was being written: they and the group could be one.
    fn note_company(&self, committed: usize) {
        let mut queue = self.queue.lock();
        queue.expected = queue.expected.max(committed + queue.waiting.len());
    }

    fn commit_group(&self, group: &[Arc<Pending>]) -> Result<()> {
        let writer = &mut *self.writer.lock();
        self.check_poison()?;
        self.check_free_space(writer)?;
        let large = self.options.segment_bytes.max(SEGMENT_PER_LABEL_BYTES * writer.label_bytes);
        if writer.wal.segment_bytes() >= large {
            self.rotate(writer)?;
        }
        writer.records.clear(FRAME_KEPT_BYTES);
        for pending in group {
            writer.add(&pending.prepared);
        }
        self.write_frame(writer)
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

    /// Writes the records that were collected, durably unless the options say otherwise.
    fn write_frame(&self, writer: &mut Writer) -> Result<()> {
        if writer.records.is_empty() {
            return Ok(());
        }
        let written = match self.options.wal_fsync {
            WalFsync::BeforeAnswer => writer.wal.commit(&mut writer.records),
            WalFsync::Interval(_) => writer.wal.write(&mut writer.records),
        };
        let written = self.poison_on_error(written)?;
        writer.unchecked_bytes += written;
        self.counters.wal_bytes.fetch_add(written, Ordering::Relaxed);
        self.counters.wal_commits.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// Makes everything that was written to the log durable: to be called at intervals under [`WalFsync::Interval`].
    ///
    /// # Errors
    /// The disk's; no more writes are then taken.
    pub fn sync_log(&self) -> Result<()> {
        let mut writer = self.writer.lock();
        self.check_poison()?;
        let synced = writer.wal.sync();
        self.poison_on_error(synced)
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
        writer.records.clear(FRAME_KEPT_BYTES);
        for (tenant, head) in self.head.tenants() {
            for (family, entries) in head.metadata() {
                for entry in entries {
                    writer.records.metadata(tenant.as_str(), &FamilyMetadata { family: family.clone(), entry });
                }
            }
        }
        self.write_frame(writer)
    }
}
