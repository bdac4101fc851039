//! Reads a block in place: index and chunks are memory-mapped, everything is verified at the door except the chunks,
//! whose own checksums are verified when they are handed out.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;

use super::meta::{BlockFile, BlockMeta};
use super::{CHUNKS_FILE, CHUNKS_MAGIC, CHUNKS_VERSION, CHUNKS_VERSION_OLD, INDEX_FILE, META_FILE};
use crate::disk::Disk;
use crate::error::{Error, Result};
use crate::format::binary::{CRC_BYTES, header_version, open};
use crate::index::{self, ChunkPlace, ChunkRef, IndexFile, TenantIndex};
use crate::model::labels::{Labels, SeriesId};
use crate::model::matcher::Matcher;
use crate::model::tenant::TenantId;
use crate::model::time::TimeRange;
use crate::select::EncodedChunk;

/// An open block. Cheap to clone; whoever holds a clone, a tenant of it or a chunk can read on after the block's files
/// were removed.
#[derive(Clone, Debug)]
pub struct Block {
    files: Arc<Files>,
}

#[derive(Debug)]
struct Files {
    meta: BlockMeta,
    meta_bytes: Bytes,
    index: IndexFile,
    index_bytes: Bytes,
    chunks: Bytes,
    /// Names the chunks file in errors.
    chunks_name: String,
}

/// A series of one tenant of one block, by its place in label order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BlockSeriesRef(pub u32);

/// A chunk of a series of a tenant of a block: where it is, and which time it covers.
#[derive(Clone, Copy, Debug)]
pub struct BlockChunkRef(ChunkRef);

impl Block {
    /// Opens the block in the directory `dir`, which is named by its ULID.
    ///
    /// # Errors
    /// [`Error::Corrupt`] names the file and section that is missing or damaged; [`Error::UnknownVersion`]; the disk's.
    pub fn open(disk: &dyn Disk, dir: &Path) -> Result<Self> {
        let name = |file: &str| dir.join(file).display().to_string();
        let meta_name = name(META_FILE);
        let bytes = disk.read(&dir.join(META_FILE))?.ok_or_else(|| Error::corrupt(&*meta_name, "it is missing"))?;
        let meta_bytes = bytes;
        let meta = BlockMeta::decode(&meta_name, &meta_bytes)?;
        if dir.file_name().is_none_or(|name| name.to_string_lossy() != meta.ulid.to_string()) {
            return Err(Error::corrupt(meta_name, format!("it describes block {}", meta.ulid)));
        }
        let index_bytes = map(disk, dir, INDEX_FILE, meta.index_bytes)?;
        let chunks = map(disk, dir, CHUNKS_FILE, meta.chunks_bytes)?;
        let index_name = name(INDEX_FILE);
        let index = IndexFile::open(&index_name, &index_bytes, meta.chunks_bytes)?;
        check_against_meta(&index_name, &index, &meta)?;
        let chunks_name = name(CHUNKS_FILE);
        header_version(&chunks_name, &chunks, CHUNKS_MAGIC, CHUNKS_VERSION_OLD..=CHUNKS_VERSION)?;
        Ok(Block { files: Arc::new(Files { meta, meta_bytes, index, index_bytes, chunks, chunks_name }) })
    }

    /// What the block is.
    pub fn meta(&self) -> &BlockMeta {
        &self.files.meta
    }

    /// The bytes of one of its files, as they are on disk.
    pub fn file(&self, file: BlockFile) -> Bytes {
        match file {
            BlockFile::Meta => self.files.meta_bytes.clone(),
            BlockFile::Index => self.files.index_bytes.clone(),
            BlockFile::Chunks => self.files.chunks.clone(),
        }
    }

    /// The tenants that have series in it, in ascending order.
    pub fn tenants(&self) -> impl Iterator<Item = &TenantId> {
        self.files.index.tenants().iter().map(|(tenant, _)| tenant)
    }

    /// The series of one tenant, if it has any here.
    pub fn tenant(&self, tenant: &TenantId) -> Option<TenantBlock> {
        let at = self.files.index.tenants().binary_search_by(|(id, _)| id.cmp(tenant)).ok()?;
        Some(TenantBlock { files: Arc::clone(&self.files), at })
    }
}

/// Maps a file whose length is known.
fn map(disk: &dyn Disk, dir: &Path, file: &str, bytes: u64) -> Result<Bytes> {
    let damaged = |detail: String| Error::corrupt(dir.join(file).display().to_string(), detail);
    let entry = disk.list(dir)?.into_iter().find(|entry| entry.name == file);
    match entry {
        None => Err(damaged("it is missing".into())),
        Some(entry) if entry.size_bytes != bytes => {
            Err(damaged(format!("it has {} bytes, {bytes} are described", entry.size_bytes)))
        }
        Some(_) => disk.map(&dir.join(file)),
    }
}

fn check_against_meta(what: &str, index: &IndexFile, meta: &BlockMeta) -> Result<()> {
    let tenants = index.tenants();
    let series: u64 = tenants.iter().map(|(_, tenant)| u64::from(tenant.series_count())).sum();
    let range = tenants.iter().fold(TimeRange::EMPTY, |range, (_, tenant)| range.union(tenant.range()));
    if series != meta.series || range != meta.range {
        return Err(Error::corrupt(what, "its series and times are not those that meta.json describes"));
    }
    Ok(())
}

/// One tenant's part of a block. Cheap to clone.
#[derive(Clone, Debug)]
pub struct TenantBlock {
    files: Arc<Files>,
    at: usize,
}

impl TenantBlock {
    fn index(&self) -> &TenantIndex {
        &self.files.index.tenants()[self.at].1
    }

    /// How many series the tenant has here.
    pub fn series_count(&self) -> u32 {
        self.index().series_count()
    }

    /// First and last timestamp of the tenant's samples here.
    pub fn range(&self) -> TimeRange {
        self.index().range()
    }

    /// The series that pass all matchers and have a chunk that overlaps `range`, in label order.
    ///
    /// # Errors
    /// [`Error::Corrupt`].
    pub fn select(&self, matchers: &[Matcher], range: TimeRange) -> Result<Vec<BlockSeriesRef>> {
        Ok(self.index().select(matchers, range)?.iter().map(BlockSeriesRef).collect())
    }

    /// The id of a series.
    ///
    /// # Errors
    /// [`Error::Corrupt`], also for a reference of another block.
    pub fn id(&self, series: BlockSeriesRef) -> Result<SeriesId> {
        self.index().id(series.0)
    }

    /// Labels and id of a series.
    ///
    /// # Errors
    /// [`Error::Corrupt`], also for a reference of another block.
    pub fn series(&self, series: BlockSeriesRef) -> Result<(Labels, SeriesId)> {
        self.index().labels(series.0)
    }

    /// The chunks of a series that overlap `range`, in ascending order of time, each verified. They share the block's
    /// mapping. For many series take a [`TenantBlock::cursor`].
    ///
    /// # Errors
    /// [`Error::Corrupt`].
    pub fn chunks(&self, series: BlockSeriesRef, range: TimeRange) -> Result<Vec<EncodedChunk>> {
        let mut cursor = self.cursor();
        cursor.seek(series)?;
        cursor.chunks(range)
    }

    /// A chunk that a cursor of this tenant found, verified. It shares the block's mapping.
    ///
    /// # Errors
    /// [`Error::Corrupt`], also for a reference of another block.
    pub fn chunk(&self, BlockChunkRef(chunk): &BlockChunkRef) -> Result<EncodedChunk> {
        self.files.chunk(chunk, self.index().times(chunk.times)?)
    }

    /// A walk over the series, quick where they ascend.
    pub fn cursor(&self) -> SeriesCursor<'_> {
        SeriesCursor { files: &self.files, index: self.index().cursor(), chunks: Vec::new(), times: (0, Bytes::new()) }
    }

    /// The label names of the series that pass all matchers and have a chunk that overlaps `range`, ascending.
    ///
    /// # Errors
    /// [`Error::Corrupt`].
    pub fn label_names(&self, matchers: &[Matcher], range: TimeRange) -> Result<Vec<String>> {
        self.index().label_names(matchers, range)
    }

    /// The values of a label of the series that pass all matchers and have a chunk that overlaps `range`, ascending.
    ///
    /// # Errors
    /// [`Error::Corrupt`].
    pub fn label_values(&self, name: &str, matchers: &[Matcher], range: TimeRange) -> Result<Vec<String>> {
        self.index().label_values(name, matchers, range)
    }
}

/// A walk over the series of a tenant in a block. In ascending order a series costs little more than the bytes of its labels.
#[derive(Debug)]
pub struct SeriesCursor<'a> {
    files: &'a Files,
    index: index::SeriesCursor<'a>,
    chunks: Vec<ChunkRef>,
    /// The last shared column of timestamps, by its number.
    times: (u32, Bytes),
}

impl SeriesCursor<'_> {
    /// Goes to a series.
    ///
    /// # Errors
    /// [`Error::Corrupt`], also for a reference of another block.
    pub fn seek(&mut self, series: BlockSeriesRef) -> Result<()> {
        self.index.seek(series.0)
    }

    /// The canonical bytes of the series' labels. Valid until the next call.
    ///
    /// # Errors
    /// [`Error::Corrupt`].
    pub fn label_bytes(&mut self) -> Result<&[u8]> {
        self.index.label_bytes()
    }

    /// Labels and id of the series.
    ///
    /// # Errors
    /// [`Error::Corrupt`].
    pub fn labels(&mut self) -> Result<(Labels, SeriesId)> {
        self.index.labels()
    }

    /// The chunks of the series that overlap `range`, as [`TenantBlock::chunks`].
    ///
    /// # Errors
    /// [`Error::Corrupt`].
    pub fn chunks(&mut self, range: TimeRange) -> Result<Vec<EncodedChunk>> {
        let mut refs = std::mem::take(&mut self.chunks);
        let found = self.index.chunks(range, &mut refs);
        let chunks = found.and_then(|()| refs.iter().map(|chunk| self.chunk(chunk)).collect());
        self.chunks = refs;
        chunks
    }

    /// The chunks of the series that overlap `range`, in ascending order of time, not read yet: appended to `chunks`. For those
    /// who find many series first and read them in another order, with [`TenantBlock::chunk`].
    ///
    /// # Errors
    /// [`Error::Corrupt`].
    pub fn chunk_refs(&mut self, range: TimeRange, chunks: &mut Vec<BlockChunkRef>) -> Result<()> {
        self.index.chunks(range, &mut self.chunks)?;
        chunks.extend(self.chunks.iter().copied().map(BlockChunkRef));
        Ok(())
    }

    fn chunk(&mut self, chunk: &ChunkRef) -> Result<EncodedChunk> {
        if chunk.times != self.times.0 {
            self.times = (chunk.times, self.index.times(chunk)?);
        }
        self.files.chunk(chunk, self.times.1.clone())
    }
}

impl Files {
    /// Reads a chunk, verified.
    fn chunk(&self, chunk: &ChunkRef, times: Bytes) -> Result<EncodedChunk> {
        let bytes = match chunk.place {
            ChunkPlace::File { offset, length } => {
                let start = usize::try_from(offset).unwrap_or(usize::MAX);
                let end = start.saturating_add(length as usize);
                let sealed = self.chunks.get(start..end.saturating_add(CRC_BYTES)).unwrap_or_default();
                check_chunk(&self.chunks_name, offset, length, sealed)?;
                self.chunks.slice(start..end)
            }
            ChunkPlace::Inline { .. } => Bytes::copy_from_slice(chunk.place.inline().unwrap_or_default()),
        };
        Ok(EncodedChunk { min_ms: chunk.min_ms, max_ms: chunk.max_ms, times, bytes })
    }
}

/// Checks a chunk of the file `what`, with its checksum behind it; answers its bytes without.
pub(crate) fn check_chunk<'a>(what: &str, offset: u64, length: u32, sealed: &'a [u8]) -> Result<&'a [u8]> {
    let damaged = |detail: &str| Error::corrupt(what, format!("chunk at {offset}: {detail}"));
    if sealed.len() != length as usize + CRC_BYTES {
        return Err(damaged("it lies outside"));
    }
    open(what, "", sealed).map_err(|_| damaged("the checksum does not match"))
}
