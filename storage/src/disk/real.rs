//! The machine's disk.

use std::any::Any;
use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Read, Seek, SeekFrom, Write};
use std::ops::Range;
use std::path::Path;

use bytes::Bytes;
use memmap2::Mmap;

use super::{DirEntry, Disk, DiskFile};
use crate::error::{Error, Result};

/// The machine's disk, through the standard library and memory maps.
#[derive(Debug, Clone, Copy, Default)]
pub struct RealDisk;

fn failed(operation: &'static str, path: &Path, error: std::io::Error) -> Error {
    Error::Disk { operation, path: path.to_owned(), message: error.to_string() }
}

struct RealFile {
    file: File,
    path: std::path::PathBuf,
}

impl DiskFile for RealFile {
    fn write_all(&mut self, bytes: &[u8]) -> Result<()> {
        self.file.write_all(bytes).map_err(|e| failed("write", &self.path, e))
    }

    fn sync(&mut self) -> Result<()> {
        self.file.sync_data().map_err(|e| failed("fsync", &self.path, e))
    }
}

impl Disk for RealDisk {
    fn create(&self, path: &Path) -> Result<Box<dyn DiskFile>> {
        let file = OpenOptions::new().write(true).create_new(true).open(path).map_err(|e| failed("create", path, e))?;
        Ok(Box::new(RealFile { file, path: path.to_owned() }))
    }

    fn read(&self, path: &Path) -> Result<Option<Bytes>> {
        match fs::read(path) {
            Ok(bytes) => Ok(Some(bytes.into())),
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
            Err(e) => Err(failed("read", path, e)),
        }
    }

    fn read_range(&self, path: &Path, range: Range<u64>) -> Result<Option<Bytes>> {
        let mut file = match File::open(path) {
            Ok(file) => file,
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(failed("open", path, e)),
        };
        let size_bytes = file.metadata().map_err(|e| failed("stat", path, e))?.len();
        let wanted_bytes = range.end.min(size_bytes).saturating_sub(range.start);
        let mut bytes = Vec::with_capacity(usize::try_from(wanted_bytes).unwrap_or(0));
        file.seek(SeekFrom::Start(range.start))
            .and_then(|_| file.take(wanted_bytes).read_to_end(&mut bytes))
            .map_err(|e| failed("read", path, e))?;
        Ok(Some(bytes.into()))
    }

    fn map(&self, path: &Path) -> Result<Bytes> {
        let file = File::open(path).map_err(|e| failed("open", path, e))?;
        if file.metadata().map_err(|e| failed("stat", path, e))?.len() == 0 {
            return Ok(Bytes::new());
        }
        // SAFETY: only files are mapped that are never written again: those of published blocks, full pages of the head, and
        // segments of an earlier life of the log. They are at most unlinked, which leaves the mapping valid; a segment's torn
        // tail is cut off, and whoever cuts it keeps only slices of what stays.
        let map = unsafe { Mmap::map(&file) }.map_err(|e| failed("map", path, e))?;
        Ok(Bytes::from_owner(map))
    }

    fn list(&self, dir: &Path) -> Result<Vec<DirEntry>> {
        let entries = match fs::read_dir(dir) {
            Ok(entries) => entries,
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            Err(e) => return Err(failed("list", dir, e)),
        };
        let mut listed = Vec::new();
        for entry in entries {
            let entry = entry.map_err(|e| failed("list", dir, e))?;
            let metadata = match entry.metadata() {
                Ok(metadata) => metadata,
                Err(e) if e.kind() == ErrorKind::NotFound => continue, // removed meanwhile
                Err(e) => return Err(failed("stat", &entry.path(), e)),
            };
            let name = entry.file_name().to_string_lossy().into_owned();
            listed.push(DirEntry { name, is_dir: metadata.is_dir(), size_bytes: metadata.len() });
        }
        listed.sort();
        Ok(listed)
    }

    fn create_dir_all(&self, dir: &Path) -> Result<()> {
        if dir.is_dir() {
            return Ok(());
        }
        let parent = match dir.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        self.create_dir_all(parent)?;
        match fs::create_dir(dir) {
            Err(e) if e.kind() != ErrorKind::AlreadyExists => Err(failed("create directory", dir, e)),
            _ => self.sync_dir(parent),
        }
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<()> {
        fs::rename(from, to).map_err(|e| failed("rename", from, e))
    }

    fn link_new(&self, from: &Path, to: &Path) -> Result<bool> {
        match fs::hard_link(from, to) {
            Ok(()) => Ok(true),
            Err(e) if e.kind() == ErrorKind::AlreadyExists => Ok(false),
            Err(e) => Err(failed("link", to, e)),
        }
    }

    fn remove_file(&self, path: &Path) -> Result<()> {
        match fs::remove_file(path) {
            Err(e) if e.kind() != ErrorKind::NotFound => Err(failed("remove", path, e)),
            _ => Ok(()),
        }
    }

    fn remove_dir_all(&self, dir: &Path) -> Result<()> {
        match fs::remove_dir_all(dir) {
            Err(e) if e.kind() != ErrorKind::NotFound => Err(failed("remove", dir, e)),
            _ => Ok(()),
        }
    }

    fn sync_dir(&self, dir: &Path) -> Result<()> {
        File::open(dir).and_then(|d| d.sync_all()).map_err(|e| failed("fsync", dir, e))
    }

    fn truncate(&self, path: &Path, len_bytes: u64) -> Result<()> {
        OpenOptions::new()
            .write(true)
            .open(path)
            .and_then(|file| file.set_len(len_bytes).and_then(|()| file.sync_all()))
            .map_err(|e| failed("truncate", path, e))
    }

    fn free_bytes(&self, dir: &Path) -> Result<u64> {
        let stat = rustix::fs::statvfs(dir).map_err(|e| failed("statvfs", dir, e.into()))?;
        Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
    }

    fn lock(&self, path: &Path) -> Result<Box<dyn Any + Send + Sync>> {
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)
            .map_err(|e| failed("open", path, e))?;
        match file.try_lock() {
            Ok(()) => Ok(Box::new(file)),
            Err(fs::TryLockError::WouldBlock) => Err(Error::Locked(path.to_owned())),
            Err(fs::TryLockError::Error(e)) => Err(failed("lock", path, e)),
        }
    }
}
