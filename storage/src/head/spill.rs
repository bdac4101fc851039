//! Where the full chunks of a partition go: pages that are filled in memory and then leave the heap for mapped files.
//!
//! 1. A chunk is put behind the others of the open page, with its first and last timestamp and the place of the chunk of
//!    the same series before it. So a series remembers one place, and finds all of its chunks from there.
//! 2. Full pages stay in memory while all of them together are small: a small store then writes its chunks once, into the
//!    block. Beyond, a full page is written to a file, mapped, and its name removed: the mapping keeps the bytes for as long
//!    as anybody reads them, and nothing has to be cleaned up.
//! 3. Nothing here has to survive the process: what is not in a block is in the write-ahead log. Where a page cannot be
//!    written (a full disk), it stays in memory.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;

use super::taken::TakenChunks;
use crate::disk::Disk;
use crate::error::Result;

/// Place of the chunk before, first and last timestamp, length.
const HEADER_BYTES: usize = 8 + 8 + 8 + 4;

/// A chunk in a spill: its number counts from 1, so that 0 can mean none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct SpillRef {
    place: u64,
}

/// Where the files of spills are made.
#[derive(Clone, Debug)]
pub struct SpillDir {
    /// Makes them.
    pub disk: Arc<dyn Disk>,
    /// The directory; it exists.
    pub dir: PathBuf,
    /// Bytes of a page.
    pub page_bytes: usize,
    /// Full pages of all spills that may stay in memory.
    pub memory: Arc<SpillMemory>,
}

/// How much of all spills is in memory.
#[derive(Debug)]
pub struct SpillMemory {
    held_bytes: AtomicU64,
    limit_bytes: u64,
}

impl SpillMemory {
    /// Up to so many bytes of full pages.
    pub fn new(limit_bytes: u64) -> Self {
        SpillMemory { held_bytes: AtomicU64::new(0), limit_bytes }
    }

    /// Takes room for a page, if there is room.
    fn take(&self, bytes: u64) -> bool {
        let room = |held: u64| held.checked_add(bytes).filter(|held| *held <= self.limit_bytes);
        self.held_bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, room).is_ok()
    }
}

/// The full chunks of some series.
#[derive(Debug)]
pub(super) struct Spill {
    dir: SpillDir,
    /// Names its files, together with the number of the page.
    name: String,
    full: Vec<Bytes>,
    open: Vec<u8>,
    /// Of the full pages those in memory.
    held_bytes: u64,
    /// Whether a page could not be written, which is then not tried again at once.
    failed: bool,
}

impl Spill {
    pub(super) fn new(dir: SpillDir, name: String) -> Self {
        Spill { dir, name, full: Vec::new(), open: Vec::new(), held_bytes: 0, failed: false }
    }

    /// Adds a chunk; `before` is that of the same series before it.
    pub(super) fn push(&mut self, before: SpillRef, (min_ms, max_ms): (i64, i64), chunk: &[u8]) -> SpillRef {
        if self.open.len() + HEADER_BYTES + chunk.len() > self.dir.page_bytes.min(1 << 31) && !self.open.is_empty() {
            self.end_page();
        }
        let place = (self.full.len() as u64) << 32 | (self.open.len() as u64 + 1);
        self.open.extend_from_slice(&before.place.to_le_bytes());
        self.open.extend_from_slice(&min_ms.to_le_bytes());
        self.open.extend_from_slice(&max_ms.to_le_bytes());
        self.open.extend_from_slice(&(chunk.len() as u32).to_le_bytes());
        self.open.extend_from_slice(chunk);
        SpillRef { place }
    }

    #[cold]
    fn end_page(&mut self) {
        let page = std::mem::take(&mut self.open);
        if self.dir.memory.take(page.len() as u64) {
            self.held_bytes += page.len() as u64;
            self.full.push(page.into());
            return;
        }
        let page = match self.write_page(&page) {
            Ok(mapped) => mapped,
            Err(error) => {
                if !self.failed {
                    tracing::warn!(%error, "full chunks stay in memory: they cannot be written to the disk");
                }
                self.failed = true;
                page.into()
            }
        };
        self.full.push(page);
    }

    fn write_page(&self, page: &[u8]) -> Result<Bytes> {
        let SpillDir { disk, dir, .. } = &self.dir;
        let path = dir.join(format!("{}-{}.chunks", self.name, self.full.len()));
        disk.remove_file(&path)?;
        let written = disk.create(&path).and_then(|mut file| file.write_all(page)).and_then(|()| disk.map(&path));
        disk.remove_file(&path)?;
        written
    }

    /// The chunk at a place and the place of the one before it; `None` for the end of the chain.
    fn at(&self, chunk: SpillRef) -> Option<(SpillRef, (i64, i64), ChunkBytes<'_>)> {
        let start = (chunk.place as u32 as usize).checked_sub(1)?;
        let page = (chunk.place >> 32) as usize;
        let bytes = self.full.get(page).map_or(&self.open[..], |page| page);
        let header = bytes.get(start..start + HEADER_BYTES)?;
        let word = |at: usize| header.get(at..)?.first_chunk::<8>().map(|bytes| u64::from_le_bytes(*bytes));
        let length = u32::from_le_bytes(*header.get(24..)?.first_chunk()?) as usize;
        let range = start + HEADER_BYTES..start + HEADER_BYTES + length;
        let held = match self.full.get(page) {
            Some(page) => ChunkBytes::Full(page, range),
            None => ChunkBytes::Open(bytes.get(range)?),
        };
        Some((SpillRef { place: word(0)? }, (word(8)?.cast_signed(), word(16)?.cast_signed()), held))
    }

    /// Calls `visit` for each chunk of a series, from the newest one back, with its first and last timestamp and a way to its bytes;
    /// ends when that answers `false`.
    pub(super) fn visit(&self, mut newest: SpillRef, mut visit: impl FnMut(i64, i64, &ChunkBytes<'_>) -> bool) {
        while let Some((before, (min_ms, max_ms), bytes)) = self.at(newest) {
            if !visit(min_ms, max_ms, &bytes) {
                return;
            }
            newest = before;
        }
    }
}

impl Drop for Spill {
    fn drop(&mut self) {
        self.dir.memory.held_bytes.fetch_sub(self.held_bytes, Ordering::Relaxed);
    }
}

/// The bytes of a chunk, not yet taken hold of.
pub(super) enum ChunkBytes<'a> {
    /// In a page that does not change any more.
    Full(&'a Bytes, std::ops::Range<usize>),
    /// In the page that is being filled.
    Open(&'a [u8]),
}

impl ChunkBytes<'_> {
    /// Takes it.
    pub(super) fn take(&self, min_ms: i64, max_ms: i64, out: &mut TakenChunks) {
        match self {
            ChunkBytes::Full(page, range) if range.end <= page.len() => {
                out.hold(min_ms, max_ms, page.slice(range.clone()));
            }
            ChunkBytes::Full(..) => out.hold(min_ms, max_ms, Bytes::new()),
            ChunkBytes::Open(bytes) => out.copy(min_ms, max_ms, |out| out.extend_from_slice(bytes)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::RealDisk;

    fn contents(spill: &Spill, newest: SpillRef) -> Vec<(i64, Vec<u8>)> {
        let mut taken = TakenChunks::default();
        spill.visit(newest, |min_ms, max_ms, bytes| {
            assert_eq!(max_ms, min_ms + 1);
            bytes.take(min_ms, max_ms, &mut taken);
            true
        });
        taken.finish().map(|chunk| (chunk.min_ms, chunk.bytes.to_vec())).collect()
    }

    #[test]
    fn each_series_finds_its_chunks_in_memory_and_in_files() {
        let temp = tempfile::tempdir().unwrap();
        let dir = SpillDir {
            disk: Arc::new(RealDisk),
            dir: temp.path().to_owned(),
            page_bytes: 1000,
            memory: Arc::new(SpillMemory::new(1500)),
        };
        // A directory that does not exist stands for a disk that is full.
        let broken = SpillDir { dir: temp.path().join("absent"), ..dir.clone() };
        for dir in [dir, broken] {
            let mut spill = Spill::new(dir, "p".into());
            let mut newest = [SpillRef::default(); 3];
            for i in 0..90i64 {
                let series = i as usize % 3;
                newest[series] = spill.push(newest[series], (i, i + 1), &vec![i as u8; 1 + i as usize % 50]);
            }
            assert!(spill.full.len() > 3 && spill.held_bytes > 0 && spill.held_bytes <= 1500);
            for (series, newest) in newest.into_iter().enumerate() {
                let expected = (0..90i64)
                    .rev()
                    .filter(|i| *i as usize % 3 == series)
                    .map(|i| (i, vec![i as u8; 1 + i as usize % 50]));
                assert_eq!(contents(&spill, newest), expected.collect::<Vec<_>>());
            }
            assert_eq!(std::fs::read_dir(temp.path()).unwrap().count(), 0, "no file stays behind");
        }
    }
}
