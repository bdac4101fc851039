//! A batch, told in the numbers of the head.
//!
//! 1. Each series is looked up by its id. One that is not known is registered if its labels came along, else noted as unknown,
//!    and its samples are left out.
//! 2. The samples of each series are cut into [`Run`]s that go to one partition each. Mostly that is one run per series.
//! 3. Runs become records of the WAL ([`Resolved::encode`]) and, once those are durable, samples of the partitions
//!    ([`Resolved::apply`]).
//!
//! All of it happens under the writer's lock, as does the forgetting of idle series: what was found stays.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::Db;
use super::commit::Writer;
use crate::error::{Error, Result};
use crate::head::{Partition, PartitionId, TenantHead, partition_kind};
use crate::model::labels::{Labels, SeriesId};
use crate::model::sample::Sample;
use crate::wal::record::RecordWriter;
use crate::write::{WriteBatch, WriteSeries};

/// Samples of one series, in the order of the batch, that go to one partition.
#[derive(Clone, Copy)]
struct Run {
    dense: u32,
    /// Place of the series in the batch.
    series: u32,
    from: u32,
    to: u32,
    /// Index into the group's partitions.
    partition: u8,
}

/// A batch whose series have dense numbers and whose samples have partitions.
pub(super) struct Resolved<'a> {
    batch: &'a WriteBatch,
    head: Arc<TenantHead>,
    runs: Vec<Run>,
    /// Series that the head does not know and that came without labels, ascending: their samples are not stored.
    pub(super) unknown: Vec<SeriesId>,
}

impl Db {
    pub(super) fn resolve<'a>(
        &self,
        batch: &'a WriteBatch,
        partitions: &mut Vec<Arc<Partition>>,
        now_ms: i64,
    ) -> Result<Resolved<'a>> {
        if u32::try_from(batch.samples.len().max(batch.series.len())).is_err() {
            return Err(Error::BadInput("a write of more than four billion samples".into()));
        }
        let head = self
            .head
            .tenant_or_insert(&batch.tenant, self.options.tenants_max)
            .ok_or_else(|| Error::Overloaded(format!("there are {} tenants already", self.options.tenants_max)))?;
        let found: Vec<Option<u32>> = {
            let index = head.index();
            batch.series.iter().map(|series| index.find(series.id)).collect()
        };
        let mut runs = Vec::with_capacity(batch.series.len());
        let mut unknown = Vec::new();
        let mut of_time = PartitionOfTime { last: None };
        for (at, (series, found)) in batch.series.iter().zip(found).enumerate() {
            let dense = match found {
                Some(dense) => dense,
                None => match self.register(&head, batch, series)? {
                    Some(dense) => dense,
                    None => {
                        unknown.push(series.id);
                        continue;
                    }
                },
            };
            let Some(samples) = batch.samples.get(series.samples.clone()) else {
                return Err(Error::BadInput("a series of the write claims samples that it does not hold".into()));
            };
            let first = runs.len();
            for (i, sample) in samples.iter().enumerate() {
                let partition =
                    of_time.find(sample.timestamp_ms, |time| self.partition_for(time, partitions, now_ms))?;
                let to = (series.samples.start + i + 1) as u32;
                match runs.get_mut(first..).and_then(<[Run]>::last_mut) {
                    Some(run) if run.partition == partition => run.to = to,
                    _ => runs.push(Run { dense, series: at as u32, from: to - 1, to, partition }),
                }
            }
        }
        unknown.sort_unstable();
        unknown.dedup();
        Ok(Resolved { batch, head, runs, unknown })
    }

    /// The number of a series that was not known when the batch began; `None`: it still is not, and has no labels.
    #[cold]
    fn register(&self, head: &TenantHead, batch: &WriteBatch, series: &WriteSeries) -> Result<Option<u32>> {
        let known = head.index().find(series.id);
        if known.is_some() || series.labels.is_empty() {
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
        Ok(Some(dense))
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
}

/// Samples of one request mostly share their timestamp.
struct PartitionOfTime {
    last: Option<(i64, u8)>,
}

impl PartitionOfTime {
    fn find(&mut self, timestamp_ms: i64, look_up: impl FnOnce(i64) -> Result<u8>) -> Result<u8> {
        match self.last {
            Some((last_ms, partition)) if last_ms == timestamp_ms => Ok(partition),
            _ => {
                let partition = look_up(timestamp_ms)?;
                self.last = Some((timestamp_ms, partition));
                Ok(partition)
            }
        }
    }
}

impl Resolved<'_> {
    /// Writes what the batch adds as records of the current segment.
    pub(super) fn encode(&self, writer: &mut Writer, partitions: &[Arc<Partition>], records: &mut RecordWriter) {
        let tenant = &self.batch.tenant;
        self.name_series(writer, records);
        for (at, partition) in partitions.iter().enumerate() {
            let runs = || self.runs.iter().filter(move |run| usize::from(run.partition) == at);
            let count = runs().count();
            if count == 0 {
                continue;
            }
            records.samples(tenant.as_str(), partition.id(), partition.kind(), count);
            for run in runs() {
                records.samples_of(run.dense, self.samples(run));
            }
            writer.partitions_of.entry(writer.wal.segment()).or_default().insert(partition.id());
        }
        for metadata in &self.batch.metadata {
            if !self.head.knows_metadata(metadata) {
                records.metadata(tenant.as_str(), metadata);
            }
        }
    }

    /// Names the series that the current segment has not named yet.
    fn name_series(&self, writer: &mut Writer, records: &mut RecordWriter) {
        let tenant = &self.batch.tenant;
        let named = writer.named.entry_ref(tenant).or_default();
        let mut bytes = 0;
        for run in &self.runs {
            if !named.insert(run.dense) {
                continue;
            }
            let sent = self.batch.series.get(run.series as usize).and_then(|s| self.batch.arena.get(s.labels.clone()));
            match sent.filter(|labels| !labels.is_empty()) {
                Some(labels) => {
                    records.series(tenant.as_str(), run.dense, labels);
                    bytes += labels.len() as u64;
                }
                None => {
                    let index = self.head.index();
                    let labels = index.labels(run.dense).map(Labels::as_bytes).unwrap_or_default();
                    records.series(tenant.as_str(), run.dense, labels);
                    bytes += labels.len() as u64;
                }
            }
        }
        writer.label_bytes += bytes;
    }

    /// Gives the samples to the partitions.
    pub(super) fn apply(&self, partitions: &[Arc<Partition>], now_ms: i64) {
        for (at, partition) in partitions.iter().enumerate() {
            let mut runs = self.runs.iter().filter(move |run| usize::from(run.partition) == at).peekable();
            if runs.peek().is_some() {
                partition.append(&self.batch.tenant, runs.map(|run| (run.dense, self.samples(run))), now_ms);
            }
        }
        for metadata in &self.batch.metadata {
            self.head.add_metadata(metadata);
        }
    }

    fn samples(&self, run: &Run) -> &[Sample] {
        self.batch.samples.get(run.from as usize..run.to as usize).unwrap_or_default()
    }
}
