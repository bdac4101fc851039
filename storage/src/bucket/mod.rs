//! The bucket: the long-term store of blocks, and of the catalog that says which of them count. [`Bucket`] is what the
//! core needs of an object store, blocking; [`DirectoryBucket`] is a directory that keeps its promises.

pub mod catalog;
mod directory;

pub use directory::DirectoryBucket;

use std::fmt;

use bytes::Bytes;

use crate::error::Result;

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
    /// Stores an object unless the key is taken. `true`: stored, durably; `false`: taken. After an error it may be
    /// stored, not stored, or be stored later.
    fn put_if_absent(&self, key: &str, bytes: Bytes) -> Result<bool>;
    /// The object; `Ok(None)` if there is none.
    fn get(&self, key: &str) -> Result<Option<Bytes>>;
    /// All objects whose key begins with `prefix`, in any order. A prefix ends with `/`.
    fn list(&self, prefix: &str) -> Result<Vec<ObjectMeta>>;
    /// Removes an object; fine if there is none.
    fn delete(&self, key: &str) -> Result<()>;
}

#[cfg(test)]
mod simulated;
#[cfg(test)]
mod suite;
