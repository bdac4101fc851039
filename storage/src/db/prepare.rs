//! A batch, told in the numbers of the head.
//!
//! 1. All series are looked up by their ids, under one read lock. Those that are not known are registered together, under one
//!    write lock, if their labels came along; else they are noted as unknown, and their samples are left out.
//! 2. The samples of each series are cut into [`Run`]s that go to one partition each. Mostly that is one run per series. Histograms have
//!    runs of their own. Start timestamps go where their samples go.
//! 3. The leader encodes runs as records of the WAL ([`Prepared::encode`]); once those are durable, [`Prepared::apply`] gives
//!    them to the partitions.
//!
//! All of it happens while the gate is open, so nothing that was found is forgotten meanwhile.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::Db;
use crate::error::{Error, Result};
use crate::head::{Partition, PartitionId, TenantHead, partition_kind};
use crate::model::histogram::HistogramSample;
use crate::model::labels::{Labels, SeriesId, check_canonical};
use crate::model::sample::Sample;
use crate::model::start::StartTime;
use crate::model::tenant::TenantId;
use crate::model::time::TimeRange;
use crate::wal::record::{LastValues, RecordWriter, SeriesNames};
use crate::write::{NO_HINT, WriteBatch, WriteSeries, WriteStarts};

/// Samples of one series, in the order of the batch, that go to one partition.
#[derive(Clone, Copy)]
pub(super) struct Run {
    pub(super) dense: u32,
    /// Place of the series in the batch.
    series: u32,
    from: u32,
    to: u32,
    /// Index into the batch's partitions.
    partition: u8,
}

impl Run {
    /// Its start timestamps: number of the series, place of the sample, and since when it counts.
    fn starts<'a>(&'a self, starts: &'a [(u32, i64)]) -> impl Iterator<Item = (u32, usize, i64)> + Clone + 'a {
        let own = WriteStarts::within(starts, self.from as usize..self.to as usize).iter();
        own.map(|(place, start_ms)| (self.dense, *place as usize, *start_ms))
    }
}

/// A batch whose series have dense numbers and whose samples have partitions.
pub(super) struct Prepared {
    batch: WriteBatch,
    head: Arc<TenantHead>,
    runs: Vec<Run>,
    /// Runs of the batch's histograms.
    histogram_runs: Vec<Run>,
    partitions: Vec<Arc<Partition>>,
    /// From the oldest to the newest sample.
    times: TimeRange,
    unknown: Vec<SeriesId>,
}

impl Db {
    /// Finds numbers and partitions for a batch.
    pub(super) fn prepare(&self, batch: WriteBatch) -> Result<Prepared> {
        if u32::try_from(batch.sample_count().max(batch.series.len())).is_err() {
            return Err(Error::BadInput("a write of more than four billion samples".into()));
        }
        for sample in &batch.histograms {
            // What the log and the chunks could not hold.
            sample.histogram.check_layout().map_err(|error| Error::BadInput(format!("a bad histogram: {error}")))?;
        }
        let head = self
            .head
            .tenant_or_insert(&batch.tenant, self.options.tenants_max)
            .ok_or_else(|| Error::Overloaded(format!("there are {} tenants already", self.options.tenants_max)))?;
        let mut found = self.look_up(&head, &batch.series);
        let mut unknown = self.register(&head, &batch, &mut found)?;
        unknown.sort_unstable();
        unknown.dedup();
        let mut partitions = Vec::new();
        let (runs, times) = self.cut(&batch, &found, &mut partitions)?;
        let (histogram_runs, of_histograms) = match batch.histograms.is_empty() {
            true => (Vec::new(), TimeRange::EMPTY),
            false => self.cut_histograms(&batch, &found, &mut partitions)?,
        };
        let times = times.union(of_histograms);
        Ok(Prepared { batch, head, runs, histogram_runs, partitions, times, unknown })
    }

    fn look_up(&self, head: &TenantHead, series: &[WriteSeries]) -> Vec<Option<u32>> {
        let index = head.lookup();
        let mut guess = 0u32;
        let find = |series: &WriteSeries| {
            let near = if series.hint == NO_HINT { guess } else { series.hint };
            let dense = index.find_near(series.id, near);
            guess = dense.unwrap_or(guess).wrapping_add(1);
            dense
        };
        series.iter().map(find).collect()
    }

    /// Gives numbers to the series that were not found and have labels; answers the ids of those that have none.
    fn register(&self, head: &TenantHead, batch: &WriteBatch, found: &mut [Option<u32>]) -> Result<Vec<SeriesId>> {
        let missing = || batch.series.iter().enumerate().filter(|(at, _)| found[*at].is_none());
        let missing: Vec<(usize, &WriteSeries)> = missing().collect();
        if missing.is_empty() {
            return Ok(Vec::new());
        }
        let labels_of = |series: &WriteSeries| batch.arena.get(series.labels.clone()).unwrap_or_default();
        for (_, series) in &missing {
            check_canonical(labels_of(series)).map_err(|error| Error::BadInput(error.to_string()))?;
        }
        let mut unknown = Vec::new();
        let mut created = 0;
        let outcome = head.change(|index| {
            for (at, series) in &missing {
                // Twice in one batch, or registered by another request meanwhile.
                let mut dense = index.find(series.id);
                if dense.is_none() && !series.labels.is_empty() {
                    if self.head_series.load(Ordering::Relaxed) >= self.options.head_series_max {
                        let text = format!("the head holds {} series already", self.options.head_series_max);
                        return Err(Error::Overloaded(text));
                    }
                    dense = index.insert(series.id, labels_of(series));
                    if dense.is_none() {
                        return Err(Error::Overloaded("all series numbers are used up".into()));
                    }
                    self.head_series.fetch_add(1, Ordering::Relaxed);
                    created += 1;
                }
                found[*at] = dense;
                if dense.is_none() {
                    unknown.push(series.id);
                }
            }
            Ok(())
        });
        self.counters.series_created.fetch_add(created, Ordering::Relaxed);
        outcome.map(|()| unknown)
    }

    /// Cuts the samples into runs; answers their time range, too.
    fn cut(
        &self,
        batch: &WriteBatch,
        found: &[Option<u32>],
        partitions: &mut Vec<Arc<Partition>>,
    ) -> Result<(Vec<Run>, TimeRange)> {
        let now_ms = self.env.clock.now_ms();
        let mut runs: Vec<Run> = Vec::with_capacity(batch.series.len());
        let mut last: Option<(i64, u8)> = None;
        let mut times = TimeRange::EMPTY;
        for (at, (series, dense)) in batch.series.iter().zip(found).enumerate() {
            let Some(dense) = *dense else { continue };
            let Some(samples) = batch.samples.get(series.samples.clone()) else {
                return Err(Error::BadInput("a series of the write claims samples that it does not hold".into()));
            };
            let first = runs.len();
            for (i, sample) in samples.iter().enumerate() {
                // Samples of one request mostly share their timestamp.
                let partition = match last {
                    Some((last_ms, partition)) if last_ms == sample.timestamp_ms => partition,
                    _ => {
                        times = times.including(sample.timestamp_ms);
                        self.partition_for(sample.timestamp_ms, partitions, now_ms)
                    }
                };
                last = Some((sample.timestamp_ms, partition));
                let to = (series.samples.start + i + 1) as u32;
                match runs.get_mut(first..).and_then(<[Run]>::last_mut) {
                    Some(run) if run.partition == partition => run.to = to,
                    _ => runs.push(Run { dense, series: at as u32, from: to - 1, to, partition }),
                }
            }
        }
        Ok((runs, times))
    }

    /// The same of the histograms.
    fn cut_histograms(
        &self,
        batch: &WriteBatch,
        found: &[Option<u32>],
        partitions: &mut Vec<Arc<Partition>>,
    ) -> Result<(Vec<Run>, TimeRange)> {
        let now_ms = self.env.clock.now_ms();
        let mut runs: Vec<Run> = Vec::new();
        let mut times = TimeRange::EMPTY;
        for (at, (series, dense)) in batch.series.iter().zip(found).enumerate() {
            let Some(dense) = *dense else { continue };
            let Some(histograms) = batch.histograms_of(series) else {
                return Err(Error::BadInput("a series of the write claims histograms that it does not hold".into()));
            };
            let first = runs.len();
            for (from, sample) in (series.histograms.start..).zip(histograms) {
                times = times.including(sample.timestamp_ms);
                let partition = self.partition_for(sample.timestamp_ms, partitions, now_ms);
                match runs.get_mut(first..).and_then(<[Run]>::last_mut) {
                    Some(run) if run.partition == partition => run.to = from + 1,
                    _ => runs.push(Run { dense, series: at as u32, from, to: from + 1, partition }),
                }
            }
        }
        Ok((runs, times))
    }

    fn partition_for(&self, timestamp_ms: i64, partitions: &mut Vec<Arc<Partition>>, now_ms: i64) -> u8 {
        let kind = partition_kind(timestamp_ms, now_ms);
        if let Some(at) = partitions.iter().position(|p| p.kind() == kind) {
            return at as u8;
        }
        let make = || Partition::new(PartitionId(self.env.random.next_u128()), kind, now_ms, &self.spill);
        partitions.push(self.head.open_partition_or_insert(kind, make));
        // At most three windows are open at a time, and there is one late partition.
        (partitions.len() - 1) as u8
    }
}

impl Prepared {
    /// Writes samples and metadata as records of the current segment; `last` holds the last values of the tenant's series
    /// there.
    pub(super) fn encode(&self, last: &mut LastValues, records: &mut RecordWriter) {
        let tenant = &self.batch.tenant;
        for (at, partition) in self.partitions.iter().enumerate() {
            let runs = self.runs.iter().filter(move |run| usize::from(run.partition) == at);
            let series = runs.clone().map(|run| (run.dense, self.samples_of(run)));
            let count = runs.count();
            if count > 0 {
                records.samples(tenant.as_str(), partition.id(), partition.kind(), count, series, last);
            }
            if !self.histogram_runs.is_empty() {
                let series = self.histograms_for(at);
                records.histograms(tenant.as_str(), partition.id(), partition.kind(), series);
            }
            if !self.batch.starts.is_empty() {
                records.starts(tenant.as_str(), partition.id(), partition.kind(), self.starts_for(at));
            }
        }
        for metadata in &self.batch.metadata {
            if !self.head.knows_metadata(metadata) {
                records.metadata(tenant.as_str(), metadata);
            }
        }
    }

    /// Gives the samples to the partitions.
    pub(super) fn apply(&self, now_ms: i64) {
        for (at, partition) in self.partitions.iter().enumerate() {
            let runs = self.runs.iter().filter(move |run| usize::from(run.partition) == at);
            partition.append(&self.batch.tenant, runs.map(|run| (run.dense, self.samples_of(run))), now_ms);
            if !self.histogram_runs.is_empty() {
                partition.append_histograms(&self.batch.tenant, self.histograms_for(at), now_ms, (0, 1));
            }
            if !self.batch.starts.is_empty() {
                partition.append_starts(&self.batch.tenant, self.starts_for(at), (0, 1));
            }
        }
        for metadata in &self.batch.metadata {
            self.head.add_metadata(metadata);
        }
    }

    /// Adds the name of a run's series.
    pub(super) fn name(&self, run: &Run, names: &mut SeriesNames) {
        // The bytes beside a hint were hashed and not looked at: then the head's own labels are written.
        let sent = self.batch.series.get(run.series as usize).filter(|series| series.hint == NO_HINT);
        let sent = sent.and_then(|series| self.batch.arena.get(series.labels.clone()));
        match sent.filter(|labels| !labels.is_empty()) {
            Some(labels) => names.push(run.dense, labels),
            None => {
                let labels = self.head.lookup().labels(run.dense);
                names.push(run.dense, labels.as_ref().map(Labels::as_bytes).unwrap_or_default());
            }
        }
    }

    /// The histograms that go to the partition at a place, by the numbers of their series.
    fn histograms_for(&self, partition: usize) -> impl Iterator<Item = (u32, &[HistogramSample])> + Clone {
        let runs = self.histogram_runs.iter().filter(move |run| usize::from(run.partition) == partition);
        runs.map(|run| (run.dense, self.batch.histograms.get(run.from as usize..run.to as usize).unwrap_or_default()))
    }

    /// The start timestamps of the samples that go to the partition at a place, by the numbers of their series.
    fn starts_for(&self, partition: usize) -> impl Iterator<Item = (u32, StartTime)> + Clone {
        let WriteBatch { samples, histograms, starts, .. } = &self.batch;
        let here = move |run: &&Run| usize::from(run.partition) == partition;
        let of_samples = self.runs.iter().filter(here).flat_map(move |run| run.starts(&starts.samples));
        let of_samples = of_samples.filter_map(|(dense, place, start_ms)| {
            samples.get(place).map(|sample| (dense, StartTime { timestamp_ms: sample.timestamp_ms, start_ms }))
        });
        let of_histograms = self.histogram_runs.iter().filter(here).flat_map(move |run| run.starts(&starts.histograms));
        let of_histograms = of_histograms.filter_map(|(dense, place, start_ms)| {
            histograms.get(place).map(|sample| (dense, StartTime { timestamp_ms: sample.timestamp_ms, start_ms }))
        });
        of_samples.chain(of_histograms).filter(|(_, start)| start.start_ms != 0)
    }

    fn samples_of(&self, run: &Run) -> &[Sample] {
        self.batch.samples.get(run.from as usize..run.to as usize).unwrap_or_default()
    }

    /// Whose samples they are.
    pub(super) fn tenant(&self) -> &TenantId {
        &self.batch.tenant
    }

    /// From the oldest to the newest of its samples.
    pub(super) fn times(&self) -> TimeRange {
        self.times
    }

    /// Which series go where.
    pub(super) fn runs(&self) -> impl Iterator<Item = &Run> {
        self.runs.iter().chain(&self.histogram_runs)
    }

    /// The partitions that take samples.
    pub(super) fn partitions(&self) -> &[Arc<Partition>] {
        &self.partitions
    }

    /// How many samples the batch has.
    pub(super) fn samples(&self) -> usize {
        self.batch.sample_count()
    }

    /// Series that the head does not know and that came without labels, ascending: their samples are not stored.
    pub(super) fn unknown(&self) -> &[SeriesId] {
        &self.unknown
    }
}
