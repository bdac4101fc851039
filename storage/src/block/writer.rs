//! Writes a block.
//!
//! 1. Everything goes into `<ULID>.tmp/`. Chunks are encoded and written as series come, so that memory holds only what
//!    the index of the current tenant needs. Timestamps that series share go into the index, once, and so do chunks of a few
//!    bytes.
//! 2. At a tenant's end its index sections are written.
//! 3. Every few MiB a file is fsynced: the last fsync is short, and other writers' do not wait behind a burst.
//! 4. The end: `chunks`, `index` and `meta.json` are fsynced, then the directory; it is renamed to `<ULID>`, and the
//!    directory above is fsynced. Whoever sees `<ULID>/` sees a whole block.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use ulid::Ulid;

use super::meta::{BlockMeta, LEVEL_SEALED};
use super::{
    CHUNKS_FILE, CHUNKS_MAGIC, CHUNKS_VERSION, COLUMN_SAMPLES_MAX_IN_BLOCK, INDEX_FILE, META_FILE, block_dir,
    unfinished_dir,
};
use crate::chunk::{
    COLUMN_SAMPLES_MAX, Effort, HISTOGRAMS_MAX, ValueEncoder, encode_chunk, encode_histograms, encode_starts,
    encode_values_chunk,
};
use crate::disk::{Disk, DiskFile};
use crate::error::{Error, Result};
use crate::format::binary::{header, seal};
use crate::index::{IndexBuilder, TenantBuilder};
use crate::model::histogram::HistogramSample;
use crate::model::labels::Labels;
use crate::model::start::StartTime;
use crate::model::tenant::TenantId;
use crate::model::time::TimeRange;
use crate::select::DecodedSeries;

/// Bytes that are collected before they are handed to the disk.
const BUFFER_BYTES: usize = 256 << 10;
/// A file is made durable each time that it has grown by so much.
const SYNC_BYTES: u64 = 8 << 20;

const _: () = assert!(COLUMN_SAMPLES_MAX_IN_BLOCK <= COLUMN_SAMPLES_MAX);

/// A block in the making. Dropped before [`BlockWriter::finish`], it leaves `<ULID>.tmp/` behind, which
/// [`super::remove_unfinished`] removes.
pub struct BlockWriter {
    disk: Arc<dyn Disk>,
    blocks_dir: PathBuf,
    unfinished_dir: PathBuf,
    ulid: Ulid,
    chunks: BufferedFile,
    index_file: BufferedFile,
    index: IndexBuilder,
    tenant: Option<(TenantId, TenantBuilder)>,
    last_labels: Option<Labels>,
    range: TimeRange,
    series: u64,
    samples: u64,
    effort: Effort,
    encoder: ValueEncoder,
    /// The start timestamps of the series that is being added.
    starts: Vec<StartTime>,
    /// The chunk that is being encoded.
    encoded: Vec<u8>,
}

impl BlockWriter {
    /// Begins a block.
    ///
    /// # Errors
    /// The disk's; also if a block of that name was begun before.
    pub fn create(disk: &Arc<dyn Disk>, blocks_dir: &Path, ulid: Ulid) -> Result<Self> {
        let unfinished_dir = unfinished_dir(blocks_dir, ulid);
        disk.create_dir_all(&unfinished_dir)?;
        let mut chunks = BufferedFile::create(&**disk, &unfinished_dir.join(CHUNKS_FILE))?;
        chunks.put(&header(CHUNKS_MAGIC, CHUNKS_VERSION))?;
        let mut index_file = BufferedFile::create(&**disk, &unfinished_dir.join(INDEX_FILE))?;
        let (index, index_header) = IndexBuilder::begin();
        index_file.put(&index_header)?;
        Ok(BlockWriter {
            disk: Arc::clone(disk),
            blocks_dir: blocks_dir.to_owned(),
            unfinished_dir,
            ulid,
            chunks,
            index_file,
            index,
            tenant: None,
            last_labels: None,
            range: TimeRange::EMPTY,
            series: 0,
            samples: 0,
            effort: Effort::Sealed,
            encoder: ValueEncoder::default(),
            starts: Vec::new(),
            encoded: Vec::new(),
        })
    }

    /// How much work to do for small chunks; [`Effort::Sealed`] unless it is called.
    #[must_use]
    pub fn with_effort(mut self, effort: Effort) -> Self {
        self.effort = effort;
        self
    }

    /// Ends the tenant before, if any, and begins another; they come in ascending order.
    ///
    /// # Errors
    /// [`Error::BadInput`] if they do not; the disk's.
    pub fn begin_tenant(&mut self, tenant: &TenantId) -> Result<()> {
        if self.tenant.as_ref().is_some_and(|(before, _)| before >= tenant) {
            return Err(Error::BadInput(format!("tenant {tenant} of a block comes out of order")));
        }
        self.end_tenant()?;
        self.tenant = Some((tenant.clone(), TenantBuilder::new(self.chunks.position)));
        Ok(())
    }

    fn end_tenant(&mut self) -> Result<()> {
        if let Some((tenant, builder)) = self.tenant.take()
            && self.last_labels.take().is_some()
        {
            for section in self.index.add_tenant(&tenant, builder)? {
                self.index_file.put(&section)?;
            }
        }
        Ok(())
    }

    /// Adds a series of floats of the current tenant; see [`BlockWriter::add_series_of_both`].
    ///
    /// # Errors
    /// As there.
    pub fn add_series(&mut self, labels: &Labels, times: &[i64], values: &[f64]) -> Result<()> {
        self.add_series_of_both(labels, times, values, &[])
    }

    /// Adds a series of the current tenant, with its floats and its histograms, each in strictly ascending order of time, none
    /// at the time of another. Series come in ascending order of their labels.
    ///
    /// # Errors
    /// [`Error::BadInput`] if an order does not hold, there is no sample, or no tenant was begun; the disk's.
    pub fn add_series_of_both(
        &mut self,
        labels: &Labels,
        times: &[i64],
        values: &[f64],
        histograms: &[HistogramSample],
    ) -> Result<()> {
        self.add_series_with_starts(labels, (times, values, histograms), &[])
    }

    /// As [`BlockWriter::add_series_of_both`], with the start timestamps of some of the samples, in strictly ascending order of the
    /// samples' times.
    ///
    /// # Errors
    /// As there; also if a start timestamp is not that of a sample.
    pub fn add_series_with_starts(
        &mut self,
        labels: &Labels,
        (times, values, histograms): DecodedSeries<'_>,
        starts: &[StartTime],
    ) -> Result<()> {
        self.check(labels, times, values, histograms)?;
        let is_sample = |start: &StartTime| {
            times.binary_search(&start.timestamp_ms).is_ok()
                || histograms.binary_search_by_key(&start.timestamp_ms, |sample| sample.timestamp_ms).is_ok()
        };
        if !starts.is_sorted_by(|a, b| a.timestamp_ms < b.timestamp_ms) || !starts.iter().all(is_sample) {
            return Err(Error::BadInput(format!("series {labels} of a block has start timestamps of other samples")));
        }
        self.starts.clear();
        self.starts.extend_from_slice(starts);
        match histograms.is_empty() {
            true => self.write_floats(times, values)?,
            false => self.write_in_turn(times, values, histograms)?,
        }
        if let Some((_, builder)) = &mut self.tenant {
            builder.add(labels)?;
        }
        let edges = [times.first(), times.last()].into_iter().flatten().copied();
        let histogram_edges = [histograms.first(), histograms.last()].into_iter().flatten();
        for time in edges.chain(histogram_edges.map(|sample| sample.timestamp_ms)) {
            self.range = self.range.including(time);
        }
        self.series += 1;
        self.samples += (times.len() + histograms.len()) as u64;
        self.last_labels = Some(labels.clone());
        Ok(())
    }

    fn check(&self, labels: &Labels, times: &[i64], values: &[f64], histograms: &[HistogramSample]) -> Result<()> {
        let refuse = |why: &str| Err(Error::BadInput(format!("series {labels} of a block {why}")));
        if self.tenant.is_none() {
            return refuse("has no tenant");
        }
        if self.last_labels.as_ref().is_some_and(|before| before >= labels) {
            return refuse("comes out of order");
        }
        if (times.is_empty() && histograms.is_empty()) || times.len() != values.len() {
            return refuse("has no samples, or not as many values as timestamps");
        }
        let ascend = histograms.is_sorted_by(|a, b| a.timestamp_ms < b.timestamp_ms);
        if !times.is_sorted_by(|a, b| a < b) || !ascend {
            return refuse("has timestamps out of order");
        }
        Ok(())
    }

    fn write_floats(&mut self, times: &[i64], values: &[f64]) -> Result<()> {
        let columns = times.chunks(COLUMN_SAMPLES_MAX_IN_BLOCK).zip(values.chunks(COLUMN_SAMPLES_MAX_IN_BLOCK));
        for (times, values) in columns {
            self.write_chunk(times, values)?;
        }
        Ok(())
    }

    /// Writes the chunks of a series in order of time, and so that none begins before another ends: the index relies on it.
    fn write_in_turn(&mut self, times: &[i64], values: &[f64], histograms: &[HistogramSample]) -> Result<()> {
        let (mut times, mut values, mut histograms) = (times, values, histograms);
        while !times.is_empty() || !histograms.is_empty() {
            let next_ms = histograms.first().map_or(i64::MAX, |sample| sample.timestamp_ms);
            let floats = match histograms.is_empty() {
                true => times.len(),
                false => times.partition_point(|time| *time < next_ms),
            };
            let (now, later) = times.split_at(floats);
            let (now_values, later_values) = values.split_at(floats.min(values.len()));
            self.write_floats(now, now_values)?;
            (times, values) = (later, later_values);
            let before_float = match times.first() {
                Some(next_ms) => histograms.partition_point(|sample| sample.timestamp_ms < *next_ms),
                None => histograms.len(),
            };
            if floats == 0 && before_float == 0 {
                return Err(Error::BadInput("a series of a block has two samples at one time".into()));
            }
            let (now, later) = histograms.split_at(before_float);
            for samples in now.chunks(HISTOGRAMS_MAX) {
                self.write_histograms(samples)?;
            }
            histograms = later;
        }
        Ok(())
    }

    fn write_histograms(&mut self, samples: &[HistogramSample]) -> Result<()> {
        let (Some((_, builder)), Some(first), Some(last)) = (&mut self.tenant, samples.first(), samples.last()) else {
            return Ok(());
        };
        self.encoded.clear();
        push_starts(&self.starts, (first.timestamp_ms, last.timestamp_ms), samples.len(), &mut self.encoded);
        encode_histograms(samples, self.effort, &mut self.encoded);
        if builder.add_chunk(0, (first.timestamp_ms, last.timestamp_ms), &self.encoded)? {
            seal(&mut self.encoded);
            self.chunks.put(&self.encoded)?;
        }
        Ok(())
    }

    fn write_chunk(&mut self, times: &[i64], values: &[f64]) -> Result<()> {
        let (Some((_, builder)), Some(first), Some(last)) = (&mut self.tenant, times.first(), times.last()) else {
            return Ok(());
        };
        let shared = builder.times(times);
        self.encoded.clear();
        push_starts(&self.starts, (*first, *last), times.len(), &mut self.encoded);
        match shared {
            0 => encode_chunk(&mut self.encoder, times, values, self.effort, &mut self.encoded),
            _ => encode_values_chunk(&mut self.encoder, values, self.effort, &mut self.encoded),
        }
        if builder.add_chunk(shared, (*first, *last), &self.encoded)? {
            seal(&mut self.encoded);
            self.chunks.put(&self.encoded)?;
        }
        Ok(())
    }

    /// How many series were added so far.
    pub fn series(&self) -> u64 {
        self.series
    }

    /// Completes and publishes the block. `sources` names what it was made from; it is durable when this returns.
    ///
    /// # Errors
    /// [`Error::BadInput`] if no series was added; the disk's.
    pub fn finish(mut self, sources: Vec<String>, created_ms: i64) -> Result<BlockMeta> {
        if self.series == 0 {
            return Err(Error::BadInput("a block needs at least one series".into()));
        }
        self.end_tenant()?;
        let chunks_bytes = self.chunks.finish()?;
        self.index_file.put(&self.index.finish())?;
        let index_bytes = self.index_file.finish()?;
        let meta = BlockMeta {
            ulid: self.ulid,
            created_ms,
            range: self.range,
            level: LEVEL_SEALED,
            series: self.series,
            samples: self.samples,
            size_bytes: index_bytes + chunks_bytes,
            sources,
            index_bytes,
            chunks_bytes,
        };
        let mut meta_file = BufferedFile::create(&*self.disk, &self.unfinished_dir.join(META_FILE))?;
        meta_file.put(&meta.encode()?)?;
        meta_file.finish()?;
        self.disk.sync_dir(&self.unfinished_dir)?;
        self.disk.rename(&self.unfinished_dir, &block_dir(&self.blocks_dir, self.ulid))?;
        self.disk.sync_dir(&self.blocks_dir)?;
        Ok(meta)
    }
}

/// Appends the start timestamps of the chunk that is to follow, if it has any: so many samples, from the first to the last time.
fn push_starts(starts: &[StartTime], (first_ms, last_ms): (i64, i64), samples: usize, out: &mut Vec<u8>) {
    let from = starts.partition_point(|start| start.timestamp_ms < first_ms);
    let own = starts.get(from..).unwrap_or_default();
    let own = own.get(..own.partition_point(|start| start.timestamp_ms <= last_ms)).unwrap_or_default();
    if !own.is_empty() {
        encode_starts(own, samples, out);
    }
}

/// A file written in large pieces, which knows its length.
struct BufferedFile {
    file: Box<dyn DiskFile>,
    buffer: Vec<u8>,
    position: u64,
    synced: u64,
}

impl BufferedFile {
    fn create(disk: &dyn Disk, path: &Path) -> Result<Self> {
        Ok(BufferedFile { file: disk.create(path)?, buffer: Vec::new(), position: 0, synced: 0 })
    }

    fn put(&mut self, mut bytes: &[u8]) -> Result<()> {
        self.position += bytes.len() as u64;
        while self.buffer.len() + bytes.len() >= BUFFER_BYTES {
            let (now, rest) = bytes.split_at(BUFFER_BYTES - self.buffer.len());
            self.buffer.extend_from_slice(now);
            bytes = rest;
            self.file.write_all(&self.buffer)?;
            self.buffer.clear();
            let written = self.position - bytes.len() as u64;
            if written - self.synced >= SYNC_BYTES {
                self.file.sync()?;
                self.synced = written;
            }
        }
        self.buffer.extend_from_slice(bytes);
        Ok(())
    }

    /// Writes what is left and makes all of it durable; answers the length.
    fn finish(mut self) -> Result<u64> {
        self.file.write_all(&self.buffer)?;
        self.file.sync()?;
        Ok(self.position)
    }
}
