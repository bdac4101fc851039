//! Blocks: sealed data as a directory `<ULID>/` with `meta.json`, `index` and `chunks`, written whole, never changed.
//! `docs/format/block.md` has the bytes.

mod meta;
mod reader;
mod writer;

pub(crate) use meta::parse_ulid;
pub use meta::{BlockFile, BlockMeta};
pub(crate) use reader::check_chunk;
pub use reader::{Block, BlockChunkRef, BlockSeriesRef, SeriesCursor, TenantBlock};
pub use writer::BlockWriter;

use std::path::{Path, PathBuf};

use ulid::Ulid;

use crate::disk::Disk;
use crate::error::Result;

/// Name of the file with the description.
pub(crate) const META_FILE: &str = "meta.json";
/// Name of the file with the index.
pub(crate) const INDEX_FILE: &str = "index";
/// Name of the file with the chunks.
pub(crate) const CHUNKS_FILE: &str = "chunks";
/// Begins a chunks file.
const CHUNKS_MAGIC: [u8; 4] = *b"MGCK";
/// Version of the chunks files that are written.
const CHUNKS_VERSION: u32 = 2;
/// Version of the chunks files that are still read: the chunks in it say themselves of what kind they are.
const CHUNKS_VERSION_OLD: u32 = 1;
/// A chunk of a block is cut when it holds this many samples.
pub const COLUMN_SAMPLES_MAX_IN_BLOCK: usize = 1024;
/// What the name of a directory ends with whose block is not published, or is being removed.
const UNFINISHED_SUFFIX: &str = ".tmp";

/// The directory of a block.
pub fn block_dir(blocks_dir: &Path, ulid: Ulid) -> PathBuf {
    blocks_dir.join(ulid.to_string())
}

fn unfinished_dir(blocks_dir: &Path, ulid: Ulid) -> PathBuf {
    blocks_dir.join(format!("{ulid}{UNFINISHED_SUFFIX}"))
}

/// The blocks in a directory, ascending by ULID, which is by the time of their making. Their names are durable: a writer
/// may have died between its rename and its fsync, and what is acted upon must not vanish later.
///
/// # Errors
/// The disk's.
pub fn list_blocks(disk: &dyn Disk, blocks_dir: &Path) -> Result<Vec<Ulid>> {
    let entries = disk.list(blocks_dir)?;
    if !entries.is_empty() {
        disk.sync_dir(blocks_dir)?;
    }
    let directories = entries.into_iter().filter(|entry| entry.is_dir);
    let mut ulids: Vec<Ulid> = directories.filter_map(|entry| meta::parse_ulid(&entry.name)).collect();
    ulids.sort_unstable();
    Ok(ulids)
}

/// Removes what an interrupted writer or removal left behind. To be called before there are any.
///
/// # Errors
/// The disk's.
pub fn remove_unfinished(disk: &dyn Disk, blocks_dir: &Path) -> Result<()> {
    for entry in disk.list(blocks_dir)? {
        let ulid = entry.name.strip_suffix(UNFINISHED_SUFFIX).and_then(meta::parse_ulid);
        if entry.is_dir && ulid.is_some() {
            disk.remove_dir_all(&blocks_dir.join(&entry.name))?;
        }
    }
    Ok(())
}

/// Removes a block, first by name, so that a crash leaves no half of it that looks whole. Open readers go on. Fine if it is gone,
/// or half removed: when this returns `Ok`, no crash brings it back.
///
/// # Errors
/// The disk's.
pub fn remove_block(disk: &dyn Disk, blocks_dir: &Path, ulid: Ulid) -> Result<()> {
    let unfinished = unfinished_dir(blocks_dir, ulid);
    let name = ulid.to_string();
    if disk.list(blocks_dir)?.iter().any(|entry| entry.name == name) {
        disk.remove_dir_all(&unfinished)?;
        disk.rename(&block_dir(blocks_dir, ulid), &unfinished)?;
    }
    disk.sync_dir(blocks_dir)?;
    disk.remove_dir_all(&unfinished)
}

#[cfg(test)]
pub(crate) mod tests;
