//! From head to block, and what runs in the background.
//!
//! Sealing a partition:
//! 1. Freeze it and begin a new WAL segment; later samples of its time go to a fresh partition and later segments.
//! 2. Write its series, in label order, into one block: whole, fsynced, renamed into place.
//! 3. Publish the block: a catalog that names it, then the list of blocks that queries read.
//! 4. Only then drop the partition from the head, and remove the WAL segments that hold nothing unsealed.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::cover::Dropped;
use super::{Db, DbOptions};
use crate::block::{Block, BlockMeta, BlockWriter, block_dir, remove_unfinished};
use crate::compact::retention::{RetentionChoice, plan_retention};
use crate::env::Clock;
use crate::error::Result;
use crate::head::{Partition, PartitionKind, TakenChunks};
use crate::model::tenant::TenantId;
use crate::model::time::{TimeRange, WINDOW_GRACE_MS, WINDOW_MS};
use crate::priority::at_low_priority;
use crate::select::SeriesDecoder;

/// The late partition is sealed when it has been quiet for this long.
const LATE_QUIET_MS: i64 = 15 * 60_000;
/// The late partition is sealed when it is this old.
const LATE_AGE_MS: i64 = WINDOW_MS;
/// The wall clock jumped if it moved by more than this against the monotonic one.
const CLOCK_JUMP_MS: i64 = 3_600_000;

impl Db {
    /// Cuts all open data into blocks; returns when they are on disk and visible.
    ///
    /// # Errors
    /// The disk's, or poison. What could not be sealed stays in the head and in the WAL.
    pub fn seal(&self) -> Result<()> {
        let _one_at_a_time = self.maintenance.lock();
        self.seal_where(|_| true)
    }

    /// What is due in the background: removal of what the bucket covers, sealing, retention. To be called every few seconds.
    ///
    /// # Errors
    /// The disk's, or poison. Whatever failed is tried again at the next call.
    pub fn maintain(&self) -> Result<()> {
        let _one_at_a_time = self.maintenance.lock();
        let now_ms = self.env.clock.now_ms();
        // What is covered goes first, and whatever else fails: a full disk wants its space back.
        let dropped = self.drop_covered();
        self.seal_where(|partition| is_due(partition, now_ms, &self.options))?;
        self.retain(now_ms)?;
        dropped
    }

    fn seal_where(&self, wanted: impl Fn(&Partition) -> bool) -> Result<()> {
        let partitions = self.freeze(wanted)?;
        let mut outcome = Ok(());
        for partition in &partitions {
            if outcome.is_ok() {
                outcome = at_low_priority(|| self.seal_partition(partition));
            }
            if outcome.is_err() {
                partition.thaw();
            }
        }
        if !partitions.is_empty() {
            self.forget_sealed()?;
            self.catalog.sweep()?;
        }
        outcome
    }

    fn freeze(&self, wanted: impl Fn(&Partition) -> bool) -> Result<Vec<Arc<Partition>>> {
        // Nothing is on its way to a partition while the gate is closed.
        let _closed = self.gate.write();
        let partitions: Vec<_> = self.head.partitions().into_iter().filter(|p| wanted(p)).collect();
        if partitions.is_empty() {
            return Ok(partitions);
        }
        self.check_poison()?;
        let mut writer = self.writer.lock();
        self.rotate(&mut writer)?;
        for partition in &partitions {
            partition.freeze();
        }
        Ok(partitions)
    }

    fn seal_partition(&self, partition: &Partition) -> Result<()> {
        if let Some(meta) = self.write_block(partition)? {
            self.publish(meta)?;
        }
        self.head.remove_partition(partition.id());
        Ok(())
    }

    /// Writes the block of a partition; `None` if it holds no sample.
    fn write_block(&self, partition: &Partition) -> Result<Option<BlockMeta>> {
        let tenants = partition.tenants();
        if partition.samples() == 0 || tenants.is_empty() {
            return Ok(None);
        }
        let ulid = self.new_ulid();
        let mut block = BlockWriter::create(&self.env.disk, &self.paths.blocks, ulid)?;
        let written = tenants.iter().try_for_each(|tenant| self.write_tenant(&mut block, partition, tenant));
        let finished = match written {
            Ok(()) => block.finish(vec![partition.id().to_string()], self.env.clock.now_ms()),
            Err(error) => Err(error),
        };
        if finished.is_err() {
            // Not needed for correctness (a start removes what is unfinished), but a full disk wants its space back.
            let _ = remove_unfinished(&*self.env.disk, &self.paths.blocks);
        }
        finished.map(Some)
    }

    fn write_tenant(&self, block: &mut BlockWriter, partition: &Partition, tenant: &TenantId) -> Result<()> {
        let Some(head) = self.head.tenant(tenant) else { return Ok(()) };
        let series = head.index().postings().in_label_order(&partition.series_of(tenant));
        block.begin_tenant(tenant)?;
        let Some(held) = partition.of_tenant(tenant) else { return Ok(()) };
        let mut decoder = SeriesDecoder::default();
        for dense in series {
            let Some(labels) = head.lookup().labels(dense) else { continue };
            let mut taken = TakenChunks::default();
            held.take(dense, TimeRange::ALL, &mut taken);
            let mut chunks: Vec<_> = taken.finish().collect();
            chunks.sort_by_key(|chunk| chunk.min_ms);
            let (samples, starts) = decoder.decode_with_starts(&chunks, TimeRange::ALL)?;
            block.add_series_with_starts(&labels, samples, starts)?;
        }
        Ok(())
    }

    /// Makes a finished block part of the catalog, then of what queries read.
    pub(super) fn publish(&self, meta: BlockMeta) -> Result<()> {
        let block = Block::open(&*self.env.disk, &block_dir(&self.paths.blocks, meta.ulid))?;
        self.catalog.add_block(&meta)?;
        self.blocks.rcu(|blocks| {
            let mut blocks = blocks.as_ref().clone();
            blocks.push(block.clone());
            blocks
        });
        self.counters.blocks_sealed.fetch_add(1, Ordering::Relaxed);
        tracing::info!(ulid = %meta.ulid, series = meta.series, samples = meta.samples, "sealed a block");
        Ok(())
    }

    /// Forgets idle series, and removes the segments whose samples are all in blocks, from the oldest on.
    pub(super) fn forget_sealed(&self) -> Result<()> {
        let dropped = self.head.drop_idle_series(|forget| {
            let _closed = self.gate.write();
            forget();
        });
        self.head_series.fetch_sub(dropped, Ordering::Relaxed);
        let mut writer = self.writer.lock();
        let unsealed: Vec<_> = self.head.partitions().iter().map(|p| p.id()).collect();
        let current = writer.wal.segment();
        for partitions in writer.partitions_of.values_mut() {
            partitions.retain(|id| unsealed.contains(id));
        }
        let keep_from = writer.partitions_of.iter().find(|(_, left)| !left.is_empty()).map_or(current, |(n, _)| *n);
        let done: Vec<u64> = writer.partitions_of.keys().copied().filter(|n| *n < keep_from.min(current)).collect();
        for number in done {
            writer.wal.remove(number)?;
            writer.partitions_of.remove(&number);
        }
        let segments = writer.partitions_of.len() + usize::from(!writer.partitions_of.contains_key(&current));
        self.wal_segments.store(segments as u64, Ordering::Relaxed);
        Ok(())
    }

    fn retain(&self, now_ms: i64) -> Result<()> {
        let jumped = self.clock_jumped();
        match plan_retention(&self.catalog.blocks(), now_ms, self.options.retention_ms, jumped) {
            RetentionChoice::Keep => Ok(()),
            RetentionChoice::Refuse { reason } => {
                tracing::warn!(%reason, "retention stopped");
                Ok(())
            }
            RetentionChoice::Drop(ulids) => self.drop_blocks(&ulids, Dropped::TooOld),
        }
    }

    /// Whether the wall clock has moved against the monotonic one since the store was opened; once seen, it stays so.
    fn clock_jumped(&self) -> bool {
        let drift_ms = wall_ahead_ms(&*self.env.clock).saturating_sub(self.wall_ahead_ms);
        if drift_ms.saturating_abs() > CLOCK_JUMP_MS && !self.clock_jumped.swap(true, Ordering::Relaxed) {
            tracing::warn!(drift_ms, "the clock has jumped");
        }
        self.clock_jumped.load(Ordering::Relaxed)
    }
}

/// By how much the wall clock is ahead of the monotonic one.
pub(super) fn wall_ahead_ms(clock: &dyn Clock) -> i64 {
    let monotonic_ms = i64::try_from(clock.monotonic().as_millis()).unwrap_or(i64::MAX);
    clock.now_ms().saturating_sub(monotonic_ms)
}

fn is_due(partition: &Partition, now_ms: i64, options: &DbOptions) -> bool {
    match partition.kind() {
        PartitionKind::Window { start_ms } => {
            now_ms >= start_ms.saturating_add(WINDOW_MS + WINDOW_GRACE_MS)
                || partition.samples() >= options.window_samples_max
        }
        PartitionKind::Late => {
            now_ms.saturating_sub(partition.last_write_ms()) >= LATE_QUIET_MS
                || now_ms.saturating_sub(partition.created_ms()) >= LATE_AGE_MS
                || partition.samples() >= options.late_samples_max
        }
    }
}
