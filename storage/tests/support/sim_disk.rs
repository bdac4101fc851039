//! A disk in memory that can lose its power.
//!
//! It keeps what is *live* (what a running process reads) apart from what is *durable*. Every mutating call is one step;
//! at the chosen step the power goes, that call and all later ones fail, and [`SimDisk::after_power_loss`] gives the disk as a
//! machine would find it: synced bytes are all there; of the others any prefix, its last sector torn; of the names changed
//! in a directory since its last sync, those of the first few changes.

use std::any::Any;
use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;
use marigram_storage::disk::{DirEntry, Disk, DiskFile};
use marigram_storage::{Error, Result};

const SECTOR_BYTES: usize = 512;

#[derive(Clone, Default)]
struct File {
    live: Vec<u8>,
    durable: Vec<u8>,
}

/// A change of a name: `None` removes it.
#[derive(Clone)]
struct NameChange {
    path: PathBuf,
    target: Option<u64>,
}

#[derive(Clone, Default)]
struct State {
    files: BTreeMap<u64, File>,
    /// Files by name, and directories as `None`-less inode 0.
    names: BTreeMap<PathBuf, u64>,
    durable_names: BTreeMap<PathBuf, u64>,
    pending: Vec<NameChange>,
    next_inode: u64,
    step: u64,
    dies_at: Option<u64>,
    syncs_lie: bool,
}

/// Directories are names with this inode.
const DIRECTORY: u64 = 0;

/// The simulated disk. Clones share it.
#[derive(Clone, Default)]
pub struct SimDisk {
    state: Arc<Mutex<State>>,
    locks: Arc<AtomicU64>,
}

impl fmt::Debug for SimDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SimDisk")
    }
}

/// A small generator, so that every run of a seed is the same.
pub struct Lcg(pub u64);

impl Lcg {
    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 33) % bound.max(1)
    }
}

fn dead(path: &Path) -> Error {
    Error::Disk { operation: "power", path: path.to_owned(), message: "the power is gone".into() }
}

fn failed(operation: &'static str, path: &Path, message: &str) -> Error {
    Error::Disk { operation, path: path.to_owned(), message: message.into() }
}

impl State {
    /// Counts a mutating call; fails once the power is gone.
    fn step(&mut self, path: &Path) -> Result<()> {
        self.step += 1;
        match self.dies_at {
            Some(at) if self.step >= at => Err(dead(path)),
            _ => Ok(()),
        }
    }

    fn rename_one(&mut self, path: PathBuf, target: Option<u64>) {
        match target {
            Some(inode) => self.names.insert(path.clone(), inode),
            None => self.names.remove(&path),
        };
        self.pending.push(NameChange { path, target });
    }

    fn below(&self, dir: &Path) -> Vec<(PathBuf, u64)> {
        self.names.iter().filter(|(path, _)| path.starts_with(dir)).map(|(p, i)| (p.clone(), *i)).collect()
    }
}

impl SimDisk {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// Steps done so far.
    pub fn steps(&self) -> u64 {
        self.state().step
    }

    /// Lets the power go at a step.
    pub fn die_at(&self, step: u64) {
        self.state().dies_at = Some(step);
    }

    /// From now on syncs answer without doing anything: the fault that the power-loss test must find.
    pub fn lie_about_syncs(&self) {
        self.state().syncs_lie = true;
    }

    /// The disk as it is found after the power was lost.
    pub fn after_power_loss(&self, seed: u64) -> SimDisk {
        let mut random = Lcg(seed);
        let state = self.state();
        let mut names = state.durable_names.clone();
        // Names reach the disk in the order of their changes in each directory; how far they got differs.
        let mut left: BTreeMap<PathBuf, u64> = BTreeMap::new();
        for change in &state.pending {
            let dir = change.path.parent().unwrap_or(Path::new("/")).to_owned();
            let changes = state.pending.iter().filter(|c| c.path.parent() == Some(&dir)).count() as u64;
            let left = left.entry(dir).or_insert_with(|| random.below(changes + 1));
            if *left > 0 {
                *left -= 1;
                match change.target {
                    Some(inode) => names.insert(change.path.clone(), inode),
                    None => names.remove(&change.path),
                };
            }
        }
        let files = state.files.iter().map(|(inode, file)| (*inode, file.torn(&mut random))).collect();
        let found =
            State { files, durable_names: names.clone(), names, next_inode: state.next_inode, ..State::default() };
        SimDisk { state: Arc::new(Mutex::new(found)), locks: Arc::default() }
    }
}

impl File {
    fn torn(&self, random: &mut Lcg) -> File {
        let mut bytes = self.durable.clone();
        if self.live.len() > bytes.len() && self.live.starts_with(&bytes) {
            let kept = bytes.len() + random.below((self.live.len() - bytes.len()) as u64 + 1) as usize;
            let synced = bytes.len();
            bytes.extend_from_slice(&self.live[synced..kept]);
            // The last sector may hold anything, and a file may have grown before its bytes arrived.
            match random.below(3) {
                0 => {
                    let from = synced.max(kept.saturating_sub(SECTOR_BYTES));
                    bytes[from..].iter_mut().for_each(|byte| *byte = random.below(256) as u8);
                }
                1 => bytes.resize(self.live.len(), 0),
                _ => {}
            }
        }
        File { live: bytes.clone(), durable: bytes }
    }
}

struct SimFile {
    disk: SimDisk,
    inode: u64,
    path: PathBuf,
}

impl DiskFile for SimFile {
    fn write_all(&mut self, bytes: &[u8]) -> Result<()> {
        let mut state = self.disk.state();
        let alive = state.step(&self.path);
        let file = state.files.get_mut(&self.inode).unwrap();
        match alive {
            Ok(()) => file.live.extend_from_slice(bytes),
            // The write that was under way when the power went may have got anywhere.
            Err(_) => file.live.extend_from_slice(&bytes[..bytes.len() / 2]),
        }
        alive
    }

    fn sync(&mut self) -> Result<()> {
        let mut state = self.disk.state();
        state.step(&self.path)?;
        if !state.syncs_lie {
            let file = state.files.get_mut(&self.inode).unwrap();
            file.durable = file.live.clone();
        }
        Ok(())
    }
}

struct Lock(Arc<AtomicU64>);

impl Drop for Lock {
    fn drop(&mut self) {
        self.0.store(0, Ordering::SeqCst);
    }
}

impl Disk for SimDisk {
    fn create(&self, path: &Path) -> Result<Box<dyn DiskFile>> {
        let mut state = self.state();
        state.step(path)?;
        if state.names.contains_key(path) {
            return Err(failed("create", path, "exists"));
        }
        if path.parent().is_none_or(|dir| state.names.get(dir) != Some(&DIRECTORY)) {
            return Err(failed("create", path, "no such directory"));
        }
        state.next_inode += 1;
        let inode = state.next_inode;
        state.files.insert(inode, File::default());
        state.rename_one(path.to_owned(), Some(inode));
        Ok(Box::new(SimFile { disk: self.clone(), inode, path: path.to_owned() }))
    }

    fn read(&self, path: &Path) -> Result<Option<Bytes>> {
        let state = self.state();
        Ok(state.names.get(path).and_then(|inode| state.files.get(inode)).map(|f| Bytes::from(f.live.clone())))
    }

    fn read_range(&self, path: &Path, range: std::ops::Range<u64>) -> Result<Option<Bytes>> {
        let whole = self.read(path)?;
        Ok(whole.map(|bytes| {
            let end = (range.end as usize).min(bytes.len());
            bytes.slice((range.start as usize).min(end)..end)
        }))
    }

    fn map(&self, path: &Path) -> Result<Bytes> {
        self.read(path)?.ok_or_else(|| failed("map", path, "no such file"))
    }

    fn list(&self, dir: &Path) -> Result<Vec<DirEntry>> {
        let state = self.state();
        let entries = state.names.iter().filter(|(path, _)| path.parent() == Some(dir));
        Ok(entries
            .map(|(path, inode)| DirEntry {
                name: path.file_name().unwrap().to_string_lossy().into_owned(),
                is_dir: *inode == DIRECTORY,
                size_bytes: state.files.get(inode).map_or(0, |f| f.live.len() as u64),
            })
            .collect())
    }

    fn create_dir_all(&self, dir: &Path) -> Result<()> {
        let mut state = self.state();
        let missing: Vec<_> = dir.ancestors().filter(|d| !state.names.contains_key(*d)).map(Path::to_owned).collect();
        for path in missing.into_iter().rev() {
            state.step(&path)?;
            state.names.insert(path.clone(), DIRECTORY);
            state.durable_names.insert(path, DIRECTORY);
        }
        Ok(())
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<()> {
        let mut state = self.state();
        state.step(from)?;
        let moved = state.below(from);
        if moved.is_empty() {
            return Err(failed("rename", from, "no such file"));
        }
        // A directory moves as one name; what lies below moves with it, durable or not.
        let durable: Vec<_> =
            state.durable_names.iter().filter(|(p, _)| p.starts_with(from)).map(|(p, i)| (p.clone(), *i)).collect();
        let target = |path: &Path| match path.strip_prefix(from) {
            Ok(rest) if rest.as_os_str().is_empty() => to.to_owned(),
            Ok(rest) => to.join(rest),
            Err(_) => path.to_owned(),
        };
        for (path, inode) in &moved {
            if path == from {
                state.rename_one(path.clone(), None);
                state.rename_one(target(path), Some(*inode));
            } else {
                state.names.remove(path);
                state.names.insert(target(path), *inode);
            }
        }
        for (path, inode) in durable.into_iter().filter(|(path, _)| path != from) {
            state.durable_names.insert(target(&path), inode);
        }
        Ok(())
    }

    fn link_new(&self, from: &Path, to: &Path) -> Result<bool> {
        let mut state = self.state();
        state.step(to)?;
        if state.names.contains_key(to) {
            return Ok(false);
        }
        let Some(inode) = state.names.get(from).copied() else { return Err(failed("link", from, "no such file")) };
        state.rename_one(to.to_owned(), Some(inode));
        Ok(true)
    }

    fn remove_file(&self, path: &Path) -> Result<()> {
        let mut state = self.state();
        state.step(path)?;
        if state.names.contains_key(path) {
            state.rename_one(path.to_owned(), None);
        }
        Ok(())
    }

    fn remove_dir_all(&self, dir: &Path) -> Result<()> {
        let mut state = self.state();
        for (path, _) in state.below(dir).into_iter().rev() {
            state.step(&path)?;
            state.rename_one(path, None);
        }
        Ok(())
    }

    fn sync_dir(&self, dir: &Path) -> Result<()> {
        let mut state = self.state();
        state.step(dir)?;
        if state.syncs_lie {
            return Ok(());
        }
        let (done, left) = std::mem::take(&mut state.pending).into_iter().partition(|c| c.path.parent() == Some(dir));
        state.pending = left;
        let done: Vec<NameChange> = done;
        for change in done {
            match change.target {
                Some(inode) => state.durable_names.insert(change.path, inode),
                None => state.durable_names.remove(&change.path),
            };
        }
        Ok(())
    }

    fn truncate(&self, path: &Path, len_bytes: u64) -> Result<()> {
        let mut state = self.state();
        state.step(path)?;
        let inode = *state.names.get(path).ok_or_else(|| failed("truncate", path, "no such file"))?;
        let lies = state.syncs_lie;
        let file = state.files.get_mut(&inode).unwrap();
        file.live.resize(len_bytes as usize, 0);
        if !lies {
            file.durable = file.live.clone();
        }
        Ok(())
    }

    fn free_bytes(&self, _dir: &Path) -> Result<u64> {
        Ok(u64::MAX)
    }

    fn lock(&self, path: &Path) -> Result<Box<dyn Any + Send + Sync>> {
        if self.locks.swap(1, Ordering::SeqCst) != 0 {
            return Err(Error::Locked(path.to_owned()));
        }
        Ok(Box::new(Lock(Arc::clone(&self.locks))))
    }
}
