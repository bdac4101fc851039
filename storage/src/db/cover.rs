//! Sealed blocks as a compactor sees them, and how those go that the bucket covers.
//!
//! 1. A compactor fetches sealed blocks, and later tells which of them a catalog of the bucket covers. They are noted, in
//!    memory only: a restart forgets it, and the compactor says it again at its next pass.
//! 2. When the grace has passed, the drop mark is raised to the greatest timestamp of the blocks that are due: in its file,
//!    durably, then in memory.
//! 3. The local catalog forgets the blocks, then the list that selects read, and last their files go. Selects that hold them
//!    read on.
//!
//! So whoever opens a select, and *then* asks for the drop mark, gets one that covers every block that the select misses. And
//! a block is called gone only when not even a crash can bring it back.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use hashbrown::HashMap;
use ulid::Ulid;

use super::{Db, damage, drop_mark};
use crate::block::{BlockFile, BlockMeta, remove_block};
use crate::error::Result;

/// A block of this node that is not dropped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SealedBlock {
    /// What it is.
    pub meta: BlockMeta,
    /// Whether the node was told that the bucket covers it. Forgotten at a restart.
    pub covered: bool,
}

/// What is sealed and not known to be covered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Unshipped {
    /// How many blocks.
    pub blocks: u64,
    /// Their size.
    pub bytes: u64,
    /// When the oldest of them was made, milliseconds since the Unix epoch.
    pub oldest_ms: Option<i64>,
}

/// What is on its way out.
#[derive(Debug, Default)]
pub(super) struct Leaving {
    covered: HashMap<Ulid, Note>,
    /// Blocks that the catalog has forgotten and whose files may still be there.
    files: BTreeSet<Ulid>,
}

/// Why blocks are dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dropped {
    /// The bucket has their samples: who asks it, too, misses nothing.
    Covered,
    /// Their samples go with them.
    TooOld,
}

impl Dropped {
    fn reason(self) -> &'static str {
        match self {
            Dropped::Covered => "the bucket covers it",
            Dropped::TooOld => "it is older than the retention",
        }
    }
}

/// Both on the monotonic clock.
#[derive(Clone, Copy, Debug)]
struct Note {
    told: Duration,
    due: Duration,
}

impl Db {
    /// The blocks that are on this node and whole, ascending by ULID.
    pub fn sealed_blocks(&self) -> Vec<SealedBlock> {
        let leaving = self.leaving.lock();
        let blocks = self.blocks.load();
        let sealed = blocks.iter().map(|block| {
            let meta = block.meta().clone();
            SealedBlock { covered: leaving.covered.contains_key(&meta.ulid), meta }
        });
        let mut sealed: Vec<_> = sealed.collect();
        sealed.sort_unstable_by_key(|block| block.meta.ulid);
        sealed
    }

    /// What waits for a compactor.
    pub fn unshipped(&self) -> Unshipped {
        let leaving = self.leaving.lock();
        let blocks = self.blocks.load();
        let waiting = blocks.iter().map(|b| b.meta()).filter(|meta| !leaving.covered.contains_key(&meta.ulid));
        waiting.fold(Unshipped::default(), |sum, meta| Unshipped {
            blocks: sum.blocks + 1,
            bytes: sum.bytes + meta.size_bytes,
            oldest_ms: Some(sum.oldest_ms.map_or(meta.created_ms, |oldest| oldest.min(meta.created_ms))),
        })
    }

    /// The bytes of a file of a block, as they are on disk; `None` if the block is not on this node (any more). They stay
    /// readable when the block is dropped.
    pub fn block_file(&self, ulid: Ulid, file: BlockFile) -> Option<Bytes> {
        let blocks = self.blocks.load();
        blocks.iter().find(|block| block.meta().ulid == ulid).map(|block| block.file(file))
    }

    /// Timestamp of the newest sample in head and blocks, of whatever tenant.
    pub fn newest_sample_ms(&self) -> Option<i64> {
        let in_head = self.head.partitions().into_iter().map(|partition| partition.range());
        let newest = in_head.filter(|range| !range.is_empty()).map(|range| range.end_ms).max();
        newest.max(self.blocks.load().iter().map(|block| block.meta().range.end_ms).max())
    }

    /// Everything that this store took with later timestamps is still on it; `None`: nothing was dropped yet. Ask *after*
    /// opening a select, and it covers all that the select misses.
    pub fn drop_mark_ms(&self) -> Option<i64> {
        *self.drop_mark_ms.lock()
    }

    /// Notes blocks that a catalog of the bucket covers; [`Db::maintain`] drops them once `grace` has passed since they were
    /// first told. Answers those of them that are gone for good, or never were here.
    pub fn covered(&self, ulids: &[Ulid], grace: Duration) -> Vec<Ulid> {
        let now = self.env.clock.monotonic();
        let mut leaving = self.leaving.lock();
        let mut gone = Vec::new();
        for ulid in ulids {
            if self.catalog.lists(*ulid) {
                let note = leaving.covered.entry(*ulid).or_insert(Note { told: now, due: now });
                note.due = note.due.max(note.told.saturating_add(grace));
            } else if !leaving.files.contains(ulid) {
                gone.push(*ulid);
            }
        }
        gone
    }

    /// Drops the covered blocks that are due. Under the maintenance lock.
    pub(super) fn drop_covered(&self) -> Result<()> {
        self.remove_left_files()?;
        let now = self.env.clock.monotonic();
        let due: Vec<Ulid> =
            self.leaving.lock().covered.iter().filter(|(_, note)| note.due <= now).map(|(ulid, _)| *ulid).collect();
        if due.is_empty() {
            return Ok(());
        }
        let listed: Vec<_> = self.catalog.blocks().into_iter().filter(|block| due.contains(&block.ulid)).collect();
        if let Some(newest_ms) = listed.iter().map(|block| block.range.end_ms).max() {
            self.raise_drop_mark(newest_ms)?;
            let ulids: Vec<Ulid> = listed.iter().map(|block| block.ulid).collect();
            self.drop_blocks(&ulids, Dropped::Covered)?;
            self.forget_damage_of(&ulids)?;
        }
        self.leaving.lock().covered.retain(|ulid, _| !due.contains(ulid));
        Ok(())
    }

    /// In the file, then in memory, and before anything goes.
    fn raise_drop_mark(&self, newest_ms: i64) -> Result<()> {
        if self.drop_mark_ms().is_some_and(|mark_ms| newest_ms <= mark_ms) {
            return Ok(());
        }
        drop_mark::store(&*self.env.disk, &self.paths.root, newest_ms)?;
        *self.drop_mark_ms.lock() = Some(newest_ms);
        Ok(())
    }

    /// Drops blocks: from the catalog, from what selects read, from the disk. Under the maintenance lock.
    pub(super) fn drop_blocks(&self, ulids: &[Ulid], dropped: Dropped) -> Result<()> {
        {
            let mut leaving = self.leaving.lock();
            self.catalog.remove_blocks(ulids)?;
            leaving.files.extend(ulids);
        }
        let blocks = self.blocks.load_full();
        let note = || {
            let going = blocks.iter().filter(|block| ulids.contains(&block.meta().ulid));
            // What the bucket has is answered from there.
            let lost = going.filter(|_| dropped == Dropped::TooOld);
            lost.for_each(|block| self.changes.note_all(block.meta().range));
        };
        // Before and after, as with samples that come.
        note();
        self.blocks.rcu(|blocks| {
            let kept = blocks.iter().filter(|block| !ulids.contains(&block.meta().ulid));
            kept.cloned().collect::<Vec<_>>()
        });
        note();
        self.counters.blocks_dropped.fetch_add(ulids.len() as u64, Ordering::Relaxed);
        for ulid in ulids {
            tracing::info!(%ulid, reason = dropped.reason(), "dropped a block");
        }
        self.remove_left_files()
    }

    /// Running selects keep their memory maps; the names can go.
    fn remove_left_files(&self) -> Result<()> {
        let left: Vec<Ulid> = self.leaving.lock().files.iter().copied().collect();
        for ulid in left {
            remove_block(&*self.env.disk, &self.paths.blocks, ulid)?;
            self.leaving.lock().files.remove(&ulid);
        }
        Ok(())
    }

    /// A block that was quarantined is no loss any more once the bucket covers it and the drop mark says so.
    fn forget_damage_of(&self, ulids: &[Ulid]) -> Result<()> {
        let mut damage = self.damage.lock();
        let healed = |what: &str| ulids.iter().any(|ulid| damage::of_block(*ulid) == what);
        let left: Vec<_> = damage.iter().filter(|loss| !healed(&loss.what)).cloned().collect();
        if left.len() < damage.len() {
            damage::store(&*self.env.disk, &self.paths.quarantine, &left)?;
            *damage = left;
        }
        Ok(())
    }
}
