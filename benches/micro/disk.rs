//! A disk in memory: syncs cost nothing, and what goes into the log is counted and thrown away.

use std::any::Any;
use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use marigram_storage::Result;
use marigram_storage::disk::{DirEntry, Disk, DiskFile};

type Files = Arc<Mutex<BTreeMap<PathBuf, Vec<u8>>>>;

/// See the module. Clones share it.
#[derive(Clone, Default)]
pub(crate) struct MemoryDisk {
    files: Files,
    log_bytes: Arc<AtomicU64>,
}

struct MemoryFile {
    path: PathBuf,
    files: Files,
    /// Counts instead of keeping.
    log_bytes: Option<Arc<AtomicU64>>,
}

impl MemoryDisk {
    /// Bytes written into the log so far.
    pub(crate) fn log_bytes(&self) -> u64 {
        self.log_bytes.load(Ordering::Relaxed)
    }
}

impl fmt::Debug for MemoryDisk {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("MemoryDisk")
    }
}

impl DiskFile for MemoryFile {
    fn write_all(&mut self, bytes: &[u8]) -> Result<()> {
        if let Some(log_bytes) = &self.log_bytes {
            log_bytes.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        } else if let Some(file) = self.files.lock().unwrap().get_mut(&self.path) {
            file.extend_from_slice(bytes);
        }
        Ok(())
    }

    fn sync(&mut self) -> Result<()> {
        Ok(())
    }
}

impl Disk for MemoryDisk {
    fn create(&self, path: &Path) -> Result<Box<dyn DiskFile>> {
        self.files.lock().unwrap().insert(path.into(), vec![]);
        let in_log = path.parent().is_some_and(|dir| dir.ends_with("wal"));
        let log_bytes = in_log.then(|| Arc::clone(&self.log_bytes));
        Ok(Box::new(MemoryFile { path: path.into(), files: Arc::clone(&self.files), log_bytes }))
    }

    fn read(&self, path: &Path) -> Result<Option<Bytes>> {
        Ok(self.files.lock().unwrap().get(path).map(|file| Bytes::copy_from_slice(file)))
    }

    fn read_range(&self, path: &Path, range: Range<u64>) -> Result<Option<Bytes>> {
        let whole = self.read(path)?;
        Ok(whole.map(|file| {
            let end = (range.end as usize).min(file.len());
            file.slice((range.start as usize).min(end)..end)
        }))
    }

    fn map(&self, path: &Path) -> Result<Bytes> {
        Ok(self.read(path)?.unwrap_or_default())
    }

    fn list(&self, dir: &Path) -> Result<Vec<DirEntry>> {
        let files = self.files.lock().unwrap();
        let mut entries: BTreeMap<String, DirEntry> = BTreeMap::new();
        for (path, file) in files.iter() {
            let Ok(below) = path.strip_prefix(dir) else { continue };
            let mut parts = below.components();
            let Some(name) = parts.next().map(|part| part.as_os_str().to_string_lossy().into_owned()) else { continue };
            let is_dir = parts.next().is_some();
            entries.insert(name.clone(), DirEntry { name, is_dir, size_bytes: file.len() as u64 });
        }
        Ok(entries.into_values().collect())
    }

    fn create_dir_all(&self, _dir: &Path) -> Result<()> {
        Ok(())
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<()> {
        let mut files = self.files.lock().unwrap();
        let moved: Vec<PathBuf> = files.keys().filter(|path| path.starts_with(from)).cloned().collect();
        for path in moved {
            let file = files.remove(&path).unwrap();
            // Joining nothing would put a slash behind the name of a file.
            let below = path.strip_prefix(from).unwrap();
            files.insert(if below.as_os_str().is_empty() { to.into() } else { to.join(below) }, file);
        }
        Ok(())
    }

    fn link_new(&self, from: &Path, to: &Path) -> Result<bool> {
        let mut files = self.files.lock().unwrap();
        if files.contains_key(to) {
            return Ok(false);
        }
        let file = files.get(from).cloned().unwrap_or_default();
        files.insert(to.into(), file);
        Ok(true)
    }

    fn remove_file(&self, path: &Path) -> Result<()> {
        self.files.lock().unwrap().remove(path);
        Ok(())
    }

    fn remove_dir_all(&self, dir: &Path) -> Result<()> {
        self.files.lock().unwrap().retain(|path, _| !path.starts_with(dir));
        Ok(())
    }

    fn sync_dir(&self, _dir: &Path) -> Result<()> {
        Ok(())
    }

    fn truncate(&self, path: &Path, len_bytes: u64) -> Result<()> {
        if let Some(file) = self.files.lock().unwrap().get_mut(path) {
            file.truncate(len_bytes as usize);
        }
        Ok(())
    }

    fn free_bytes(&self, _dir: &Path) -> Result<u64> {
        Ok(u64::MAX)
    }

    fn lock(&self, _path: &Path) -> Result<Box<dyn Any + Send + Sync>> {
        Ok(Box::new(()))
    }
}
