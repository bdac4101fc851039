//! A block whose three files are cut out of the input: two lengths (`u16`), `meta.json`, `index`, and `chunks`.
#![no_main]

use std::any::Any;
use std::ops::Range;
use std::path::Path;

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use marigram_storage::block::Block;
use marigram_storage::disk::{DirEntry, Disk, DiskFile};
use marigram_storage::model::time::TimeRange;
use marigram_storage::select::SeriesDecoder;
use marigram_storage::{Error, Result};

/// Just the three files of one block.
#[derive(Debug)]
struct Files([(&'static str, Bytes); 3]);

fuzz_target!(|input: &[u8]| {
    let Some((lengths, rest)) = input.split_first_chunk::<4>() else { return };
    let length = |at: usize| usize::from(u16::from_le_bytes([lengths[at], lengths[at + 1]]));
    let Some((meta, rest)) = rest.split_at_checked(length(0)) else { return };
    let Some((index, chunks)) = rest.split_at_checked(length(2)) else { return };
    let bytes = Bytes::copy_from_slice;
    let disk = Files([("meta.json", bytes(meta)), ("index", bytes(index)), ("chunks", bytes(chunks))]);
    let Ok(block) = Block::open(&disk, Path::new("01HF7YAT00000000000000001A")) else { return };
    let mut decoder = SeriesDecoder::default();
    for tenant in block.tenants().filter_map(|tenant| block.tenant(tenant)) {
        let mut cursor = tenant.cursor();
        for series in tenant.select(&[], TimeRange::ALL).unwrap_or_default() {
            let _ = tenant.series(series);
            if cursor.seek(series).is_err() {
                continue;
            }
            let _ = cursor.label_bytes();
            if let Ok(chunks) = cursor.chunks(TimeRange::ALL) {
                let _ = decoder.decode(&chunks, TimeRange::ALL);
            }
        }
    }
});

impl Files {
    fn find(&self, path: &Path) -> Option<Bytes> {
        self.0.iter().find(|(name, _)| path.ends_with(name)).map(|(_, bytes)| bytes.clone())
    }
}

fn refused<T>() -> Result<T> {
    Err(Error::BadInput("this disk is only read".into()))
}

impl Disk for Files {
    fn create(&self, _: &Path) -> Result<Box<dyn DiskFile>> {
        refused()
    }
    fn read(&self, path: &Path) -> Result<Option<Bytes>> {
        Ok(self.find(path))
    }
    fn read_range(&self, path: &Path, range: Range<u64>) -> Result<Option<Bytes>> {
        let clip = |bytes: Bytes| {
            let end = usize::try_from(range.end).unwrap_or(usize::MAX).min(bytes.len());
            let start = usize::try_from(range.start).unwrap_or(usize::MAX).min(end);
            bytes.slice(start..end)
        };
        Ok(self.find(path).map(clip))
    }
    fn map(&self, path: &Path) -> Result<Bytes> {
        self.find(path).ok_or_else(|| Error::BadInput("no such file".into()))
    }
    fn list(&self, _: &Path) -> Result<Vec<DirEntry>> {
        let entry = |(name, bytes): &(&str, Bytes)| DirEntry {
            name: (*name).to_owned(),
            is_dir: false,
            size_bytes: bytes.len() as u64,
        };
        Ok(self.0.iter().map(entry).collect())
    }
    fn create_dir_all(&self, _: &Path) -> Result<()> {
        refused()
    }
    fn rename(&self, _: &Path, _: &Path) -> Result<()> {
        refused()
    }
    fn link_new(&self, _: &Path, _: &Path) -> Result<bool> {
        refused()
    }
    fn remove_file(&self, _: &Path) -> Result<()> {
        refused()
    }
    fn remove_dir_all(&self, _: &Path) -> Result<()> {
        refused()
    }
    fn sync_dir(&self, _: &Path) -> Result<()> {
        refused()
    }
    fn truncate(&self, _: &Path, _: u64) -> Result<()> {
        refused()
    }
    fn free_bytes(&self, _: &Path) -> Result<u64> {
        refused()
    }
    fn lock(&self, _: &Path) -> Result<Box<dyn Any + Send + Sync>> {
        refused()
    }
}
