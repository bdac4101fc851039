//! From the log to the head.
//!
//! 1. One thread walks the segments in order: it decodes records, registers the series that they name, and turns references
//!    into dense numbers.
//! 2. Others add the samples to the partitions, each to shards of its own, so that every series sees its samples in the
//!    order of the log. They are as many as the machine has further cores.
//! 3. Samples of partitions that are in a block already are skipped.
//!
//! Between the two lie a bounded number of records, so memory beside the head's own is bounded.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use hashbrown::HashMap;

use super::ReplayProgress;
use crate::env::Env;
use crate::error::{Error, Result};
use crate::head::{Head, Partition, PartitionId, PartitionKind, SpillDir};
use crate::model::labels::{SeriesId, check_canonical};
use crate::model::start::StartTime;
use crate::model::tenant::TenantId;
use crate::model::time::TimeRange;
use crate::rooms::Rooms;
use crate::wal::frame::{FRAME_HEADER_BYTES, SEGMENT_HEADER_BYTES};
use crate::wal::record::{HistogramColumns, LastValues, Record, RecordReader, SampleColumns, SeriesNames};
use crate::wal::scan::Segment;

/// Most threads that add samples.
const APPENDERS_MAX: usize = 8;
/// Records on their way to a thread that adds samples.
const RECORDS_UNDER_WAY: usize = 64;

/// What a replay found, beside what is now in the head.
pub(super) struct Replayed {
    /// Unsealed partitions that a segment holds samples of.
    pub(super) partitions_of: BTreeMap<u64, HashSet<PartitionId>>,
    /// Samples whose series are not named, or whose values are changes of what is missing.
    pub(super) orphans: u64,
    pub(super) orphan_range: TimeRange,
}

/// Samples for one partition, their references replaced by dense numbers.
struct Job {
    tenant: TenantId,
    partition: Arc<Partition>,
    content: Content,
}

/// What a record holds for series, by their references or numbers.
#[derive(Default)]
struct Content {
    columns: SampleColumns,
    histograms: HistogramColumns,
    starts: Vec<(u32, StartTime)>,
}

/// Adds to `head` what the segments hold and no block does.
///
/// # Errors
/// A record that no writer makes, in a frame whose checksum holds.
pub(super) fn replay(
    env: &Env,
    head: &Head,
    sealed: &HashSet<PartitionId>,
    segments: &[Segment],
    spill: &SpillDir,
    progress: &ReplayProgress,
) -> Result<Replayed> {
    let number = |segment: Option<&Segment>| segment.map_or(0, |segment| segment.number);
    progress.begin(number(segments.first()), number(segments.last()));
    let now_ms = env.clock.now_ms();
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let appenders = cores.saturating_sub(1).clamp(1, APPENDERS_MAX);
    std::thread::scope(|scope| {
        let mut outputs = Vec::with_capacity(appenders);
        for number in 0..appenders {
            let (sender, receiver) = sync_channel(RECORDS_UNDER_WAY);
            outputs.push(sender);
            let append = move || add_all(&receiver, now_ms, (number, appenders));
            let spawned = std::thread::Builder::new().name("replay".into()).spawn_scoped(scope, append);
            spawned.map_err(|error| {
                Error::Unavailable(format!("a thread to replay the log cannot be started: {error}"))
            })?;
        }
        let mut replay = Replay {
            now_ms,
            head,
            sealed,
            spill,
            outputs,
            partitions: HashMap::new(),
            references: HashMap::new(),
            last: HashMap::new(),
            replayed: Replayed { partitions_of: BTreeMap::new(), orphans: 0, orphan_range: TimeRange::EMPTY },
        };
        for segment in segments {
            progress.at(segment.number);
            replay.segment(segment)?;
        }
        Ok(replay.replayed)
    })
}

fn add_all(jobs: &Receiver<Arc<Job>>, now_ms: i64, share: (usize, usize)) {
    for job in jobs {
        let Job { tenant, partition, content: Content { columns, histograms, starts } } = &*job;
        if !columns.references.is_empty() {
            partition.append_share(tenant, columns.series(), now_ms, share);
        }
        if !histograms.references.is_empty() {
            partition.append_histograms(tenant, histograms.series(), now_ms, share);
        }
        if !starts.is_empty() {
            partition.append_starts(tenant, starts.iter().copied(), share);
        }
    }
}

struct Replay<'a> {
    now_ms: i64,
    head: &'a Head,
    sealed: &'a HashSet<PartitionId>,
    spill: &'a SpillDir,
    outputs: Vec<SyncSender<Arc<Job>>>,
    partitions: HashMap<PartitionId, Arc<Partition>>,
    /// Dense numbers, plus 1, by the references of the segment that is being replayed, per tenant.
    references: HashMap<TenantId, Rooms<u32>>,
    /// The last values of the series of that segment.
    last: HashMap<TenantId, LastValues>,
    replayed: Replayed,
}

impl Replay<'_> {
    fn segment(&mut self, segment: &Segment) -> Result<()> {
        self.references.clear();
        self.last.clear();
        self.replayed.partitions_of.entry(segment.number).or_default();
        let mut end = SEGMENT_HEADER_BYTES;
        for payload in &segment.payloads {
            if payload.start != end + FRAME_HEADER_BYTES {
                // Something is missing in between: what comes may be changes of what it held.
                self.last.clear();
            }
            end = payload.end;
            let payload = segment.bytes.get(payload.clone()).unwrap_or_default();
            for record in RecordReader::new(payload) {
                let record = record.map_err(|error| Error::corrupt(segment.path.display().to_string(), error))?;
                self.record(segment.number, record)?;
            }
        }
        Ok(())
    }

    fn record(&mut self, segment: u64, record: Record<'_>) -> Result<()> {
        let tenant = |name: &str| TenantId::parse(name).map_err(|e| Error::corrupt("write-ahead log", e));
        match record {
            Record::Names { tenant: name, names } => self.names(tenant(name)?, &names),
            Record::Samples { tenant: name, partition, kind, samples } => {
                let tenant = tenant(name)?;
                let last = self.last.entry_ref(&tenant).or_default();
                let (columns, lost) = samples.resolve(last).map_err(|e| Error::corrupt("write-ahead log", e))?;
                if self.sealed.contains(&partition) {
                    return Ok(());
                }
                self.lost(lost.iter().map(|sample| sample.timestamp_ms));
                let content = Content { columns, ..Content::default() };
                self.samples(segment, tenant, (partition, kind), content);
                Ok(())
            }
            Record::Histograms { tenant: name, partition, kind, histograms } => {
                let tenant = tenant(name)?;
                if !self.sealed.contains(&partition) {
                    let content = Content { histograms, ..Content::default() };
                    self.samples(segment, tenant, (partition, kind), content);
                }
                Ok(())
            }
            Record::Starts { tenant: name, partition, kind, starts } => {
                let tenant = tenant(name)?;
                if !self.sealed.contains(&partition) {
                    let content = Content { starts, ..Content::default() };
                    self.samples(segment, tenant, (partition, kind), content);
                }
                Ok(())
            }
            Record::Metadata { tenant: name, metadata } => {
                if let Some(head) = self.head.tenant_or_insert(&tenant(name)?, usize::MAX) {
                    head.add_metadata(&metadata);
                }
                Ok(())
            }
        }
    }

    fn names(&mut self, tenant: TenantId, names: &SeriesNames) -> Result<()> {
        let Some(head) = self.head.tenant_or_insert(&tenant, usize::MAX) else { return Ok(()) };
        let references = self.references.entry(tenant).or_default();
        let ids: Vec<SeriesId> = names.series().map(|(_, labels)| SeriesId::of(labels)).collect();
        head.change(|index| {
            for ((reference, labels), id) in names.series().zip(ids) {
                let dense = match index.find(id) {
                    Some(dense) => Some(dense),
                    None => {
                        check_canonical(labels).map_err(|e| Error::corrupt("write-ahead log", e))?;
                        index.insert(id, labels)
                    }
                };
                if let Some(dense) = dense {
                    references.set(reference, dense + 1);
                }
            }
            Ok(())
        })
    }

    fn samples(
        &mut self,
        segment: u64,
        tenant: TenantId,
        (id, kind): (PartitionId, PartitionKind),
        Content { mut columns, mut histograms, mut starts }: Content,
    ) {
        let (head, spill, now_ms) = (self.head, self.spill, self.now_ms);
        let make = || head.add_partition(Partition::new(id, kind, now_ms, spill));
        let partition = Arc::clone(self.partitions.entry(id).or_insert_with(make));
        self.replayed.partitions_of.entry(segment).or_default().insert(id);
        let references = self.references.get(&tenant);
        let mut orphans = false;
        let of_starts = starts.iter_mut().map(|(reference, _)| reference);
        for reference in columns.references.iter_mut().chain(&mut histograms.references).chain(of_starts) {
            let dense = references.map_or(0, |references| references.get(*reference));
            orphans |= dense == 0;
            *reference = dense.wrapping_sub(1);
        }
        if orphans {
            columns = self.without_orphans(&columns);
            histograms = self.without_orphaned_histograms(&histograms);
            // Their samples are counted where they are lost.
            starts.retain(|(dense, _)| *dense != u32::MAX);
        }
        let content = Content { columns, histograms, starts };
        let job = Arc::new(Job { tenant, partition, content });
        for output in &self.outputs {
            // Fails only when the other side has panicked, which the scope passes on.
            let _ = output.send(Arc::clone(&job));
        }
    }

    #[cold]
    fn without_orphans(&mut self, columns: &SampleColumns) -> SampleColumns {
        let mut kept = SampleColumns::default();
        for (dense, samples) in columns.series() {
            if dense == u32::MAX {
                self.lost(samples.iter().map(|sample| sample.timestamp_ms));
            } else {
                kept.references.push(dense);
                kept.samples.extend_from_slice(samples);
                kept.ends.push(kept.samples.len() as u32);
            }
        }
        kept
    }

    #[cold]
    fn without_orphaned_histograms(&mut self, columns: &HistogramColumns) -> HistogramColumns {
        let mut kept = HistogramColumns::default();
        for (dense, samples) in columns.series() {
            match dense {
                u32::MAX => self.lost(samples.iter().map(|sample| sample.timestamp_ms)),
                dense => kept.push(dense, samples),
            }
        }
        kept
    }

    /// Notes samples that cannot be had: their series are not named, or their values are changes of what is missing.
    fn lost(&mut self, times_ms: impl Iterator<Item = i64>) {
        for time_ms in times_ms {
            self.replayed.orphans += 1;
            self.replayed.orphan_range = self.replayed.orphan_range.including(time_ms);
        }
    }
}
