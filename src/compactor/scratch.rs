//! The directory where blocks are fetched and joined. Nothing in it is worth keeping: it is emptied at start, and after
//! every block.

use std::any::Any;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use marigram_storage::block::{Block, BlockMeta, block_dir};
use marigram_storage::disk::{Disk, DiskFile};
use marigram_storage::{Error, Result};

use crate::rpc::convert::node::RemoteBlock;

const DIRECTORY: &str = "compact";
const LOCK_FILE: &str = "compact.lock";
/// More than any description of a block takes.
const META_BYTES_MAX: u64 = 16 << 20;

/// The directory, held by this process.
pub(super) struct Scratch {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    _lock: Box<dyn Any + Send + Sync>,
}

impl Scratch {
    /// Takes the directory below `data_dir` and empties it.
    ///
    /// # Errors
    /// The disk's; [`Error::Locked`] if another compactor uses the data directory.
    pub(super) fn open(disk: &Arc<dyn Disk>, data_dir: &Path) -> Result<Self> {
        disk.create_dir_all(data_dir)?;
        let lock = disk.lock(&data_dir.join(LOCK_FILE))?;
        let scratch = Scratch { disk: Arc::clone(disk), dir: data_dir.join(DIRECTORY), _lock: lock };
        scratch.empty()?;
        Ok(scratch)
    }

    /// Where blocks lie.
    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Removes everything. Open blocks can be read on.
    ///
    /// # Errors
    /// The disk's.
    pub(super) fn empty(&self) -> Result<()> {
        self.disk.remove_dir_all(&self.dir)?;
        self.disk.create_dir_all(&self.dir)
    }

    /// Stores the files of a node's block, as `fetch` hands out their pieces, and opens it, which verifies it.
    ///
    /// # Errors
    /// The error of `fetch`; a block that is damaged, or longer than the node said; the disk's.
    pub(super) fn take(&self, remote: &RemoteBlock, fetch: &mut Fetch<'_>) -> Result<Block> {
        let dir = block_dir(&self.dir, remote.ulid);
        self.disk.create_dir_all(&dir)?;
        for name in BlockMeta::FILES {
            let mut file =
                Limited { file: self.disk.create(&dir.join(name))?, left_bytes: remote.size_bytes.max(META_BYTES_MAX) };
            fetch(name, &mut |piece| file.put(&piece))?;
        }
        Block::open(&*self.disk, &dir)
    }
}

/// Takes a piece of a file.
pub(super) type TakePiece<'a> = dyn FnMut(Bytes) -> Result<()> + 'a;

/// Hands out the pieces of the file of a name.
pub(super) type Fetch<'a> = dyn FnMut(&'static str, &mut TakePiece<'_>) -> Result<()> + 'a;

/// A file that does not grow beyond what was announced.
struct Limited {
    file: Box<dyn DiskFile>,
    left_bytes: u64,
}

impl Limited {
    fn put(&mut self, piece: &[u8]) -> Result<()> {
        let left = self.left_bytes.checked_sub(piece.len() as u64);
        self.left_bytes = left.ok_or_else(|| Error::Limit("a storage node sends more than its block holds".into()))?;
        self.file.write_all(piece)
    }
}
