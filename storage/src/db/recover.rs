//! Opening a data directory.
//!
//! 1. Lock it, load the catalog (or write the first one).
//! 2. Blocks: remove unfinished ones; publish whole ones that no catalog names yet (a crash came between
//!    rename and catalog); open the rest. A damaged block is moved to `quarantine/`.
//! 3. WAL: find what is whole, cut the torn tail, keep damaged bytes in `quarantine/`.
//! 4. Replay into the head what no block holds yet.
//! 5. Begin a new segment.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use ulid::Ulid;

use super::commit::Writer;
use super::damage::{self, Damage};
use super::drop_mark;
use super::publication::Publication;
use super::replay::{self, Replayed};
use super::{Db, DbOptions, Paths};
use crate::block::{Block, block_dir, list_blocks, remove_unfinished};
use crate::disk::Disk;
use crate::env::Env;
use crate::error::{Error, Result};
use crate::head::{Head, SpillDir, SpillMemory};
use crate::wal::scan::{Gap, Scan, apply_cuts, scan};
use crate::wal::writer::WalWriter;

/// The blocks of a data directory, and what is wrong with them.
pub(super) struct OpenedBlocks {
    pub(super) blocks: Vec<Block>,
    damage: Vec<Damage>,
    lost: Vec<Ulid>,
}

/// Opens the data directory `paths`.
pub(super) fn open(paths: Paths, env: Env, options: DbOptions) -> Result<Db> {
    let disk = Arc::clone(&env.disk);
    for dir in [&paths.root, &paths.wal, &paths.blocks, &paths.catalog, &paths.quarantine, &paths.head] {
        disk.create_dir_all(dir)?;
    }
    let lock = disk.lock(&paths.root.join("lock"))?;
    disk.sync_dir(&paths.root)?;
    for leftover in disk.list(&paths.head)? {
        disk.remove_file(&paths.head.join(leftover.name))?;
    }
    let catalog = Publication::open(&env, &paths.root)?;
    let drop_mark_ms = drop_mark::load(&*disk, &paths.root)?;
    let mut damage = damage::load(&*disk, &paths.quarantine)?;
    let known = damage.len();
    let OpenedBlocks { blocks, damage: of_blocks, lost } = open_blocks(&env, &paths, &catalog)?;
    of_blocks.into_iter().for_each(|found| note(&mut damage, found));

    let found = scan(&*disk, &paths.wal)?;
    for gap in &found.gaps {
        note(&mut damage, quarantine_gap(&*disk, &paths, &found, gap)?);
    }
    if damage.len() != known {
        // Before the cut: what is cut may have been all that proved a gap to be damage and no torn tail.
        damage::store(&*disk, &paths.quarantine, &damage)?;
    }
    apply_cuts(&*disk, &paths.wal, &found)?;
    let head = Head::default();
    let spill = SpillDir {
        disk: Arc::clone(&env.disk),
        dir: paths.head.clone(),
        page_bytes: options.spill_page_bytes,
        memory: Arc::new(SpillMemory::new(options.spill_memory_bytes)),
    };
    let sealed = blocks.iter().flat_map(|b| &b.meta().sources).filter_map(|source| source.parse().ok()).collect();
    let Replayed { partitions_of, orphans, orphan_range } =
        replay::replay(&env, &head, &sealed, &found.segments, &spill, &options.replay)?;
    if orphans > 0 {
        let what = format!("{orphans} samples in the write-ahead log that refer to what is missing there");
        let (start_ms, end_ms) = (orphan_range.start_ms, orphan_range.end_ms);
        note(&mut damage, Damage { what, start_ms, end_ms, accepted: false });
    }
    if options.accept_loss {
        accept(&mut damage);
        catalog.remove_blocks(&lost)?;
    }
    if damage.len() != known || options.accept_loss {
        damage::store(&*disk, &paths.quarantine, &damage)?;
    }
    for loss in damage.iter().filter(|d| !d.accepted) {
        tracing::error!(what = %loss.what, start_ms = loss.start_ms, end_ms = loss.end_ms, "damage: this range is not answered for");
    }
    let wal = WalWriter::create(disk, &paths.wal, found.last_number + 1, found.end, found.last_range)?;
    let db =
        Db::assemble(paths, env, options, spill, lock, catalog, head, blocks, damage, Writer::new(wal, partitions_of));
    let series = db.head.tenants().iter().map(|(_, head)| head.lookup().len()).sum();
    db.head_series.store(series, Ordering::Relaxed);
    *db.drop_mark_ms.lock() = drop_mark_ms;
    db.write_metadata(&mut db.writer.lock())?;
    db.forget_sealed()?;
    db.options.replay.end();
    Ok(db)
}

/// Adds damage unless it is known.
fn note(damage: &mut Vec<Damage>, found: Damage) {
    if !damage.iter().any(|known| known.what == found.what) {
        damage.push(found);
    }
}

fn accept(damage: &mut [Damage]) {
    for loss in damage.iter_mut().filter(|d| !d.accepted) {
        tracing::warn!(what = %loss.what, start_ms = loss.start_ms, end_ms = loss.end_ms, "loss accepted");
        loss.accepted = true;
    }
}

fn open_blocks(env: &Env, paths: &Paths, catalog: &Publication) -> Result<OpenedBlocks> {
    let disk = &env.disk;
    let mut opened = OpenedBlocks { blocks: Vec::new(), damage: Vec::new(), lost: Vec::new() };
    remove_unfinished(&**disk, &paths.blocks)?;
    for ulid in list_blocks(&**disk, &paths.blocks)? {
        if !catalog.lists(ulid) {
            publish_found(env, paths, catalog, ulid)?;
        }
    }
    for listed in catalog.blocks() {
        let dir = block_dir(&paths.blocks, listed.ulid);
        match Block::open(&**disk, &dir) {
            Ok(block) => opened.blocks.push(block),
            Err(error @ Error::Corrupt { .. }) => {
                tracing::error!(ulid = %listed.ulid, %error, "a block cannot be read");
                quarantine_dir(&**disk, paths, &dir, listed.ulid)?;
                let what = damage::of_block(listed.ulid);
                let (start_ms, end_ms) = (listed.range.start_ms, listed.range.end_ms);
                opened.damage.push(Damage { what, start_ms, end_ms, accepted: false });
                opened.lost.push(listed.ulid);
            }
            Err(error) => return Err(error),
        }
    }
    Ok(opened)
}

/// A block that was renamed into place but not named by a catalog: its samples may be nowhere else by now.
fn publish_found(env: &Env, paths: &Paths, catalog: &Publication, ulid: Ulid) -> Result<()> {
    let dir = block_dir(&paths.blocks, ulid);
    match Block::open(&*env.disk, &dir) {
        Ok(block) => {
            tracing::info!(%ulid, "publishing a block that was finished before a crash");
            catalog.add_block(block.meta())
        }
        Err(error @ Error::Corrupt { .. }) => {
            // Its samples are still in the WAL: segments go only after the catalog names the block.
            tracing::warn!(%ulid, %error, "moving an unpublished block aside that cannot be read");
            quarantine_dir(&*env.disk, paths, &dir, ulid)
        }
        Err(error) => Err(error),
    }
}

fn quarantine_dir(disk: &dyn Disk, paths: &Paths, dir: &Path, ulid: Ulid) -> Result<()> {
    if list_blocks(disk, &paths.blocks)?.contains(&ulid) {
        let target = paths.quarantine.join(ulid.to_string());
        disk.remove_dir_all(&target)?;
        disk.rename(dir, &target)?;
        disk.sync_dir(&paths.quarantine)?;
        disk.sync_dir(&paths.blocks)?;
    }
    Ok(())
}

/// Keeps the unreadable bytes of the log beside the data.
fn quarantine_gap(disk: &dyn Disk, paths: &Paths, scan: &Scan, gap: &Gap) -> Result<Damage> {
    let name = format!("{:020}-{}-{}.wal", gap.segment, gap.bytes.start, gap.bytes.end);
    let path = paths.quarantine.join(&name);
    let segment = scan.segments.iter().find(|s| s.number == gap.segment);
    if let Some(bytes) = segment.and_then(|s| s.bytes.get(gap.bytes.clone()))
        && disk.read(&path)?.is_none()
    {
        let mut file = disk.create(&path)?;
        file.write_all(bytes)?;
        file.sync()?;
        disk.sync_dir(&paths.quarantine)?;
    }
    let what = format!("write-ahead log segment {}, bytes {} to {}", gap.segment, gap.bytes.start, gap.bytes.end);
    Ok(Damage { what, start_ms: gap.range.start_ms, end_ms: gap.range.end_ms, accepted: false })
}
