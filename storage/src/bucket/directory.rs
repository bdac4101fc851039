//! A bucket in a directory: an object is a file.
//!
//! Put-if-absent: the bytes go into a temporary file in the bucket's root, which is fsynced, then linked to its final
//! name, which fails if the name exists; the directories up to the root are fsynced, the temporary name removed. So a name shows whole
//! objects only, and one of several writers wins. A listing fsyncs the directory before it reads it: a name that another
//! writer made but had not yet made durable must not be acted upon and then be lost.

use std::ops::Range;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;

use super::{Bucket, ObjectMeta};
use crate::disk::Disk;
use crate::env::{Env, Random};
use crate::error::{Error, Result};

const TEMPORARY_PREFIX: &str = ".put-";

/// A bucket in a directory.
#[derive(Clone, Debug)]
pub struct DirectoryBucket {
    disk: Arc<dyn Disk>,
    random: Arc<dyn Random>,
    root: PathBuf,
}

impl DirectoryBucket {
    /// The bucket in `root`, which is made if it does not exist.
    ///
    /// # Errors
    /// The disk's.
    pub fn open(env: &Env, root: &Path) -> Result<Self> {
        env.disk.create_dir_all(root)?;
        Ok(DirectoryBucket { disk: Arc::clone(&env.disk), random: Arc::clone(&env.random), root: root.to_owned() })
    }

    /// Removes what interrupted puts left. Only for a process that has the directory to itself.
    ///
    /// # Errors
    /// The disk's.
    pub fn remove_leftovers(&self) -> Result<()> {
        for entry in self.disk.list(&self.root)? {
            if !entry.is_dir && entry.name.starts_with(TEMPORARY_PREFIX) {
                self.disk.remove_file(&self.root.join(entry.name))?;
            }
        }
        Ok(())
    }

    /// The file of a key. Refuses keys that would leave the root.
    fn path(&self, key: &str) -> Result<PathBuf> {
        let path = Path::new(key);
        let plain = path.components().all(|part| matches!(part, Component::Normal(_)));
        if !plain || key.is_empty() || key.starts_with('.') || key.contains("//") {
            return Err(Error::BadInput(format!("{key:?} is not a key")));
        }
        Ok(self.root.join(path))
    }

    fn write_temporary(&self, path: &Path, bytes: &[u8]) -> Result<()> {
        let mut file = self.disk.create(path)?;
        file.write_all(bytes)?;
        file.sync()
    }

    fn list_into(&self, dir: &Path, prefix: &str, listed: &mut Vec<ObjectMeta>) -> Result<()> {
        let entries = self.disk.list(dir)?;
        if !entries.is_empty() {
            self.disk.sync_dir(dir)?;
        }
        for entry in entries {
            let key = format!("{prefix}{}", entry.name);
            match entry.is_dir {
                true => self.list_into(&dir.join(&entry.name), &format!("{key}/"), listed)?,
                false => listed.push(ObjectMeta { key, size_bytes: entry.size_bytes }),
            }
        }
        Ok(())
    }
}

impl Bucket for DirectoryBucket {
    fn put_if_absent(&self, key: &str, bytes: Bytes) -> Result<bool> {
        let path = self.path(key)?;
        let dir = path.parent().unwrap_or(&self.root).to_owned();
        self.disk.create_dir_all(&dir)?;
        let temporary = self.root.join(format!("{TEMPORARY_PREFIX}{:032x}", self.random.next_u128()));
        let written = self.write_temporary(&temporary, &bytes);
        let outcome = written.and_then(|()| self.disk.link_new(&temporary, &path)).and_then(|new| {
            // Another writer may have made the directories without having made them durable yet.
            for dir in dir.ancestors().take_while(|dir| dir.starts_with(&self.root)) {
                self.disk.sync_dir(dir)?;
            }
            Ok(new)
        });
        let removed = self.disk.remove_file(&temporary);
        if let Err(error) = removed {
            tracing::warn!(%error, "a temporary file of the bucket stays behind");
        }
        outcome
    }

    fn get(&self, key: &str) -> Result<Option<Bytes>> {
        self.disk.read(&self.path(key)?)
    }

    fn get_range(&self, key: &str, range: Range<u64>) -> Result<Option<Bytes>> {
        self.disk.read_range(&self.path(key)?, range)
    }

    fn list(&self, prefix: &str) -> Result<Vec<ObjectMeta>> {
        let dir = self.path(prefix.trim_end_matches('/'))?;
        let mut listed = Vec::new();
        self.list_into(&dir, prefix, &mut listed)?;
        Ok(listed)
    }

    fn delete(&self, key: &str) -> Result<()> {
        let path = self.path(key)?;
        self.disk.remove_file(&path)
    }
}
