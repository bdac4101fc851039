//! Group commit: how a write becomes durable and visible.
//!
//! 1. A request joins the queue and then waits for the writer.
//! 2. Whoever gets the writer takes all that is queued, its own request included, as one group.
//! 3. Series are looked up or registered, samples are assigned to partitions, and everything becomes one WAL frame.
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
use crate::error::{Error, Result};
use crate::head::{Partition, PartitionId, TenantHead, partition_kind};
use crate::model::labels::Labels;
use crate::model::tenant::TenantId;
use crate::wal::record::RecordWriter;
use crate::wal::writer::WalWriter;
use crate::write::{FamilyMetadata, WriteBatch, WriteSeries};

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
    outcome: Arc<Mutex<Option<Result<()>>>>,
}

/// What only the one that commits may touch.
pub(super) struct Writer {
    pub(super) wal: WalWriter,
    /// Per tenant, the numbers that the current segment gave to series.
    references: HashMap<TenantId, HashMap<u32, u32>>,
    /// Unsealed partitions that a segment holds samples of.
    pub(super) partitions_of: BTreeMap<u64, HashSet<PartitionId>>,
    label_bytes: u64,
    unchecked_bytes: u64,
    /// Set while a group is being committed: still set at the next, a panic left things half done.
    committing: bool,
}

/// A batch whose series have dense numbers and whose samples have partitions.
struct Resolved<'a> {
    batch: &'a WriteBatch,
    head: Arc<TenantHead>,
    /// Per series.
    dense: Vec<u32>,
    /// Per sample, an index into the group's partitions.
    partition_of: Vec<u8>,
}

impl Writer {
    pub(super) fn new(wal: WalWriter, partitions_of: BTreeMap<u64, HashSet<PartitionId>>) -> Self {
        Writer {
            wal,
            references: HashMap::new(),
            partitions_of,
            label_bytes: 0,
            unchecked_bytes: DISK_CHECK_EVERY_BYTES,
            committing: false,
        }
    }

    /// The number that stands for a series in the current segment; names the series first if it has none.
    fn reference(&mut self, records: &mut RecordWriter, tenant: &TenantId, dense: u32, labels: &[u8]) -> u32 {
        let references = self.references.entry_ref(tenant).or_default();
        if let Some(reference) = references.get(&dense) {
            return *reference;
        }
        let reference = references.len() as u32;
        references.insert(dense, reference);
        records.series(tenant.as_str(), reference, labels);
        self.label_bytes += labels.len() as u64;
        reference
    }
}

impl Db {
    fn check_writer(&self, writer: &Writer) -> Result<()> {
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
                apply(batch, &partitions, now_ms);
            }
        }
        for (pending, resolved) in group.iter().zip(resolved) {
            *pending.outcome.lock() = Some(resolved.map(drop).and(committed.clone()));
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

    fn resolve<'a>(
        &self,
        batch: &'a WriteBatch,
        partitions: &mut Vec<Arc<Partition>>,
        now_ms: i64,
    ) -> Result<Resolved<'a>> {
        let head = self
            .head
            .tenant_or_insert(&batch.tenant, self.options.tenants_max)
            .ok_or_else(|| Error::Overloaded(format!("there are {} tenants already", self.options.tenants_max)))?;
        let mut dense = Vec::with_capacity(batch.series.len());
        {
            let index = head.index();
            dense.extend(batch.series.iter().map(|series| index.find(series.id)));
        }
        let dense = batch
            .series
            .iter()
            .zip(dense)
            .map(|(series, known)| match known {
                Some(dense) => Ok(dense),
                None => self.register(&head, batch, series),
            })
            .collect::<Result<Vec<u32>>>()?;
        let mut last: Option<(i64, u8)> = None;
        let mut partition_of = Vec::with_capacity(batch.samples.len());
        for sample in &batch.samples {
            // Samples of one request mostly share their timestamp.
            let at = match last {
                Some((timestamp_ms, at)) if timestamp_ms == sample.timestamp_ms => at,
                _ => self.partition_for(sample.timestamp_ms, partitions, now_ms)?,
            };
            last = Some((sample.timestamp_ms, at));
            partition_of.push(at);
        }
        Ok(Resolved { batch, head, dense, partition_of })
    }

    #[cold]
    fn register(&self, head: &TenantHead, batch: &WriteBatch, series: &WriteSeries) -> Result<u32> {
        if let Some(known) = head.index().find(series.id) {
            return Ok(known); // twice in one batch
        }
        if self.head_series.load(Ordering::Relaxed) >= self.options.head_series_max {
            return Err(Error::Overloaded(format!("the head holds {} series already", self.options.head_series_max)));
        }
        let bytes = batch.arena.get(series.labels.clone()).unwrap_or_default();
        let labels = Labels::from_canonical(bytes).map_err(|error| Error::BadInput(error.to_string()))?;
        let dense =
            head.insert(series.id, labels).ok_or_else(|| Error::Overloaded("all series numbers are used up".into()))?;
        self.head_series.fetch_add(1, Ordering::Relaxed);
        self.counters.series_created.fetch_add(1, Ordering::Relaxed);
        Ok(dense)
    }

    fn partition_for(&self, timestamp_ms: i64, partitions: &mut Vec<Arc<Partition>>, now_ms: i64) -> Result<u8> {
        let kind = partition_kind(timestamp_ms, now_ms);
        if let Some(at) = partitions.iter().position(|p| p.kind() == kind) {
            return Ok(at as u8);
        }
        let partition = self.head.open_partition(kind).unwrap_or_else(|| {
            self.head.add_partition(Partition::new(PartitionId(self.env.random.next_u128()), kind, now_ms))
        });
        partitions.push(partition);
        // At most three windows are open at a time, and there is one late partition.
        Ok((partitions.len() - 1) as u8)
    }

    fn commit(&self, writer: &mut Writer, batches: &[&Resolved<'_>], partitions: &[Arc<Partition>]) -> Result<()> {
        let large = self.options.segment_bytes.max(SEGMENT_PER_LABEL_BYTES * writer.label_bytes);
        if writer.wal.segment_bytes() >= large {
            self.rotate(writer)?;
        }
        let mut records = RecordWriter::default();
        for resolved in batches {
            encode(writer, resolved, partitions, &mut records);
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

    /// Begins a new segment, which first of all repeats the metadata: that has no other home.
    pub(super) fn rotate(&self, writer: &mut Writer) -> Result<()> {
        self.check_writer(writer)?;
        let rotated = writer.wal.rotate();
        self.poison_on_error(rotated)?;
        writer.references.clear();
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

fn encode(writer: &mut Writer, resolved: &Resolved<'_>, partitions: &[Arc<Partition>], records: &mut RecordWriter) {
    let batch = resolved.batch;
    let tenant = &batch.tenant;
    let mut references = Vec::with_capacity(resolved.dense.len());
    for (series, &dense) in batch.series.iter().zip(&resolved.dense) {
        let labels = batch.arena.get(series.labels.clone()).unwrap_or_default();
        references.push(if series.samples.is_empty() { 0 } else { writer.reference(records, tenant, dense, labels) });
    }
    for (at, partition) in partitions.iter().enumerate() {
        let of_series: Vec<usize> = batch
            .series
            .iter()
            .map(|series| series.samples.clone().filter(|&i| usize::from(resolved.partition_of[i]) == at).count())
            .collect();
        let series_count = of_series.iter().filter(|count| **count > 0).count();
        if series_count == 0 {
            continue;
        }
        records.samples(tenant.as_str(), partition.id(), partition.kind(), series_count);
        for ((series, reference), count) in batch.series.iter().zip(&references).zip(of_series) {
            if count > 0 {
                let of_partition = series.samples.clone().filter(|&i| usize::from(resolved.partition_of[i]) == at);
                records.samples_of(*reference, count, of_partition.map(|i| batch.samples[i]));
            }
        }
        writer.partitions_of.entry(writer.wal.segment()).or_default().insert(partition.id());
    }
    for metadata in &batch.metadata {
        if !resolved.head.knows_metadata(metadata) {
            records.metadata(tenant.as_str(), metadata);
        }
    }
}

fn apply(resolved: &Resolved<'_>, partitions: &[Arc<Partition>], now_ms: i64) {
    let batch = resolved.batch;
    for (at, partition) in partitions.iter().enumerate() {
        if !resolved.partition_of.iter().any(|p| usize::from(*p) == at) {
            continue;
        }
        let samples = batch.series.iter().zip(&resolved.dense).flat_map(|(series, &dense)| {
            let of_partition = series.samples.clone().filter(|&i| usize::from(resolved.partition_of[i]) == at);
            of_partition.map(move |i| (dense, batch.samples[i]))
        });
        partition.append(&batch.tenant, samples, now_ms);
    }
    for metadata in &batch.metadata {
        resolved.head.add_metadata(metadata);
    }
}
