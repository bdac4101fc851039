//! The disk, as little of it as the store needs. [`RealDisk`] is the machine's; tests bring one that loses what was
//! not synced.

mod real;

pub use real::RealDisk;

use std::any::Any;
use std::ffi::OsString;
use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

use bytes::Bytes;

use crate::error::Result;

/// An entry of a directory.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct DirEntry {
    /// The name, without the directory.
    pub name: String,
    /// Whether it is a directory.
    pub is_dir: bool,
    /// Size of a file in bytes.
    pub size_bytes: u64,
}

/// A disk. All errors are [`crate::error::Error::Disk`]. After a crash a file holds at least what was written before its last
/// successful [`DiskFile::sync`]; a name exists durably once its directory was synced after it was made.
pub trait Disk: Send + Sync + fmt::Debug {
    /// Makes a new file for writing; fails if the name exists.
    fn create(&self, path: &Path) -> Result<Box<dyn DiskFile>>;
    /// The whole file; `Ok(None)` if there is none.
    fn read(&self, path: &Path) -> Result<Option<Bytes>>;
    /// The bytes of `range` of a file, fewer where the file ends before; `Ok(None)` if there is none.
    fn read_range(&self, path: &Path, range: Range<u64>) -> Result<Option<Bytes>>;
    /// The whole of a file that will never change, memory-mapped where the disk can.
    fn map(&self, path: &Path) -> Result<Bytes>;
    /// The entries of a directory, sorted by name; none if the directory does not exist.
    fn list(&self, dir: &Path) -> Result<Vec<DirEntry>>;
    /// Makes a directory and its parents, durably; fine if it exists.
    fn create_dir_all(&self, dir: &Path) -> Result<()>;
    /// Renames a file or directory; the target must not exist as a directory.
    fn rename(&self, from: &Path, to: &Path) -> Result<()>;
    /// Gives a file a second name unless that name exists, atomically: the put-if-absent of a directory. `false`: it exists.
    fn link_new(&self, from: &Path, to: &Path) -> Result<bool>;
    /// Removes a file; fine if there is none.
    fn remove_file(&self, path: &Path) -> Result<()>;
    /// Removes a directory and all below it; fine if there is none.
    fn remove_dir_all(&self, dir: &Path) -> Result<()>;
    /// Makes the names in a directory durable.
    fn sync_dir(&self, dir: &Path) -> Result<()>;
    /// Cuts a file to `len_bytes` and makes that durable.
    fn truncate(&self, path: &Path, len_bytes: u64) -> Result<()>;
    /// Bytes that a process may still write below `dir`.
    fn free_bytes(&self, dir: &Path) -> Result<u64>;
    /// Takes an exclusive lock on a file (made if absent), held until the guard is dropped.
    ///
    /// # Errors
    /// [`crate::error::Error::Locked`] if another process holds it.
    fn lock(&self, path: &Path) -> Result<Box<dyn Any + Send + Sync>>;
}

/// A file that is being written, from its start, by one writer.
pub trait DiskFile: Send {
    /// Appends.
    fn write_all(&mut self, bytes: &[u8]) -> Result<()>;
    /// Makes everything written so far durable.
    fn sync(&mut self) -> Result<()>;
}

/// Replaces the contents of a small file, or makes it: written beside it, fsynced, renamed, and the directory fsynced. A crash
/// leaves the old contents or the new ones, whole. For one writer at a time.
///
/// # Errors
/// The disk's; the file then holds the old contents or the new ones.
pub(crate) fn replace_file(disk: &dyn Disk, path: &Path, bytes: &[u8]) -> Result<()> {
    let mut name = OsString::from(path);
    name.push(".tmp");
    let unfinished = PathBuf::from(name);
    disk.remove_file(&unfinished)?;
    let mut file = disk.create(&unfinished)?;
    file.write_all(bytes)?;
    file.sync()?;
    disk.rename(&unfinished, path)?;
    disk.sync_dir(path.parent().unwrap_or(Path::new(".")))
}
