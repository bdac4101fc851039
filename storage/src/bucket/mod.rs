//! The bucket: the long-term store of blocks, and of the catalog that says which of them count. [`Bucket`] is what the
//! core needs of an object store, blocking; [`DirectoryBucket`] is a directory that keeps its promises.

pub mod blocks;
pub mod catalog;
mod directory;

pub use blocks::{BucketBlocks, BucketStats};
pub use directory::DirectoryBucket;

use std::fmt;
use std::ops::Range;
use std::time::Duration;

use bytes::Bytes;
use ulid::Ulid;

use crate::error::Result;

/// The key of a file of a block.
pub fn block_key(ulid: Ulid, file: &str) -> String {
    format!("blocks/{ulid}/{file}")
}

/// An object of a listing.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ObjectMeta {
    /// Its whole key.
    pub key: String,
    /// Its length.
    pub size_bytes: u64,
}

/// An object store. Keys are parts separated by `/`. Objects never change. What was put or listed with success is durable,
/// whoever put it, and every later call shows it.
pub trait Bucket: Send + Sync + fmt::Debug {
    /// Stores a small object unless the key is taken. `true`: stored, durably; `false`: taken. After an error it may be
    /// stored, not stored, or be stored later.
    fn put_if_absent(&self, key: &str, bytes: Bytes) -> Result<bool>;
    /// Stores an object, durably, under a key that nobody else ever uses. It may be large, and a mapped file: memory is taken
    /// for parts of it only. After an error it may be stored or not; a repeat with the same bytes is fine.
    fn put(&self, key: &str, bytes: Bytes) -> Result<()> {
        self.put_if_absent(key, bytes).map(drop)
    }
    /// The whole object; `Ok(None)` if there is none.
    fn get(&self, key: &str) -> Result<Option<Bytes>>;
    /// The bytes of `range`, which is not empty, of an object, fewer where the object ends before; `Ok(None)` if there
    /// is no such object.
    fn get_range(&self, key: &str, range: Range<u64>) -> Result<Option<Bytes>>;
    /// Several ranges of one object, at the same time where that is faster. Gives up after `timeout` where it can.
    ///
    /// # Errors
    /// [`crate::error::Error::Timeout`].
    fn get_ranges(&self, key: &str, ranges: &[Range<u64>], timeout: Option<Duration>) -> Result<Option<Vec<Bytes>>> {
        let _ = timeout;
        ranges.iter().map(|range| self.get_range(key, range.clone())).collect()
    }
    /// All objects whose key begins with `prefix`, in any order. A prefix ends with `/`.
    fn list(&self, prefix: &str) -> Result<Vec<ObjectMeta>>;
    /// Removes an object; fine if there is none.
    fn delete(&self, key: &str) -> Result<()>;
}

#[cfg(test)]
mod promises;
#[cfg(test)]
pub(crate) mod simulated;
#[cfg(test)]
pub(crate) mod suite;
