//! Brings a joined block into the bucket, and its name into the catalog, beside any number of others who do the same.
//!
//! 1. Upload its objects under a new ULID, which nobody else uses. A put whose answer was lost is repeated; that the key
//!    is taken then proves nothing, the check does.
//! 2. Check them: every object is listed, read back and compared. Only what is there, whole, may be named.
//! 3. Commit. In each round, from the newest catalog N: give up if a block of N has one of the sources, which somebody
//!    else has brought then. Ask the nodes whether they still have all sources, and give up if not. Put N+1.
//!    So a source is in one block only. That no block of N names it does not suffice, since sources are taken out of the
//!    catalog once their node has dropped them; but then the node says so, as it was asked after N was read.
//! 4. Whoever gave up removes its objects, if none of its puts can still arrive: else a catalog might come to name what
//!    is gone. Until that is known, the objects are a [`Leftover`], to be settled later. A process that dies in between
//!    leaves objects that no catalog will ever name; they cost space and nothing else.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use bytes::Bytes;
use ulid::Ulid;

use crate::block::{BlockMeta, block_dir};
use crate::bucket::Bucket;
use crate::bucket::catalog::{Attempt, Catalog, CatalogBlock, CatalogStore, Contents, Outcome};
use crate::disk::Disk;
use crate::error::{Error, Result};

/// A put that fails so many times in a row is given up.
const PUT_ATTEMPTS_MAX: usize = 3;
/// What was uploaded is read back in pieces of this size.
const READ_BYTES: usize = 4 << 20;
/// A leftover is only settled while the catalog surely carries the ids of its commit.
const SETTLE_CATALOGS_MAX: u64 = 900;

/// A block that is to be brought into the bucket.
#[derive(Clone, Debug)]
pub struct NewBlock {
    /// What the catalog will say of it.
    pub entry: CatalogBlock,
    /// Its objects, by name below `blocks/<ULID>/`.
    pub objects: Vec<(&'static str, Bytes)>,
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Published {
    /// This catalog, which is the newest, names the block.
    Named(Catalog),
    /// Somebody else brought one of its sources, or has made its node drop it. This catalog is the newest.
    GivenUp(Catalog),
}

/// How it went, and what is left to do.
#[derive(Debug)]
pub struct Publication {
    /// What came of it. After an error the block may be named now or later, or never.
    pub outcome: Result<Published>,
    /// Objects of which it is not known yet whether a catalog will name them.
    pub leftover: Option<Leftover>,
}

/// Objects that are to be removed unless a catalog names them.
#[derive(Debug)]
pub struct Leftover {
    ulid: Ulid,
    keys: Vec<String>,
    attempt: Attempt,
}

/// The key of an object of a block.
pub fn object_key(ulid: Ulid, name: &str) -> String {
    format!("blocks/{ulid}/{name}")
}

impl NewBlock {
    /// The block in the directory `blocks_dir`, made from the nodes' blocks `sources`.
    ///
    /// # Errors
    /// The disk's.
    pub fn open(disk: &dyn Disk, blocks_dir: &Path, meta: &BlockMeta, sources: Vec<String>) -> Result<Self> {
        let dir = block_dir(blocks_dir, meta.ulid);
        let mut objects = Vec::with_capacity(BlockMeta::FILES.len());
        for name in BlockMeta::FILES {
            objects.push((name, disk.map(&dir.join(name))?));
        }
        Ok(NewBlock { entry: CatalogBlock { sources, ..CatalogBlock::from(meta) }, objects })
    }

    fn keys(&self) -> Vec<String> {
        self.objects.iter().map(|(name, _)| object_key(self.entry.ulid, name)).collect()
    }

    fn upload(&self, bucket: &dyn Bucket) -> Result<()> {
        for (key, (_, bytes)) in self.keys().iter().zip(&self.objects) {
            put(bucket, key, bytes)?;
        }
        let mut listed: BTreeMap<String, u64> = BTreeMap::new();
        for object in bucket.list(&object_key(self.entry.ulid, ""))? {
            listed.insert(object.key, object.size_bytes);
        }
        for (key, (_, bytes)) in self.keys().iter().zip(&self.objects) {
            check(bucket, key, listed.get(key).copied(), bytes)?;
        }
        Ok(())
    }

    /// The contents with the block and without the sources in `forget`; `None` if a source is in another block.
    fn following(&self, contents: &Contents, forget: &BTreeSet<String>) -> Option<Contents> {
        let own: BTreeSet<&String> = self.entry.sources.iter().collect();
        if contents.blocks.iter().flat_map(|block| &block.sources).any(|source| own.contains(source)) {
            return None;
        }
        let mut next = contents.clone();
        for block in &mut next.blocks {
            block.sources.retain(|source| !forget.contains(source));
        }
        next.blocks.push(self.entry.clone());
        Some(next)
    }
}

/// Uploads, checks and names a block. `may_name` is asked, after a catalog was read and before the one that follows is
/// put, whether all sources are still on their nodes; its error ends the work. Sources in `forget` are taken out of the
/// catalog on the way: only such as their node has dropped.
pub fn publish(
    bucket: &dyn Bucket,
    catalogs: &CatalogStore,
    block: &NewBlock,
    forget: &BTreeSet<String>,
    may_name: &mut dyn FnMut(&Catalog) -> Result<bool>,
) -> Publication {
    if let Err(error) = block.upload(bucket) {
        remove(bucket, &block.keys());
        return Publication { outcome: Err(error), leftover: None };
    }
    let mut attempt = catalogs.attempt(|catalog| match block.following(&catalog.contents, forget) {
        Some(next) if may_name(catalog)? => Ok(Some(next)),
        _ => Ok(None),
    });
    let outcome = std::mem::replace(&mut attempt.outcome, Err(Error::Cancelled));
    let newest = match &outcome {
        Ok(Outcome::Won(catalog)) => {
            return Publication { outcome: Ok(Published::Named(catalog.clone())), leftover: None };
        }
        Ok(Outcome::Nothing(catalog)) => catalog.clone(),
        Err(_) => Catalog::none(),
    };
    let leftover = Leftover { ulid: block.entry.ulid, keys: block.keys(), attempt };
    let settled = leftover.settle_by(bucket, &newest);
    let outcome = outcome.map(|_| Published::GivenUp(newest));
    Publication { outcome, leftover: (!settled).then_some(leftover) }
}

impl Leftover {
    /// The block whose objects they are.
    pub fn ulid(&self) -> Ulid {
        self.ulid
    }

    /// Removes the objects if the newest catalog shows that none will ever name them. `true`: there is nothing left to do.
    pub fn settle_by(&self, bucket: &dyn Bucket, newest: &Catalog) -> bool {
        let named = newest.contents.blocks.iter().any(|block| block.ulid == self.ulid);
        if named || self.attempt.is_in(newest) {
            return true;
        }
        if !self.attempt.is_over(newest) {
            return false;
        }
        if newest.number.saturating_sub(self.attempt.tried_number()) > SETTLE_CATALOGS_MAX && !self.attempt.is_idle() {
            tracing::warn!(ulid = %self.ulid, "objects of a block that may or may not have been named stay in the bucket");
            return true;
        }
        remove(bucket, &self.keys);
        true
    }
}

fn put(bucket: &dyn Bucket, key: &str, bytes: &Bytes) -> Result<()> {
    let mut attempts = 0;
    loop {
        attempts += 1;
        match bucket.put(key, bytes.clone()) {
            Err(_) if attempts < PUT_ATTEMPTS_MAX => {}
            outcome => return outcome,
        }
    }
}

/// Compares an object, of which the listing tells the length, with what it must be.
fn check(bucket: &dyn Bucket, key: &str, listed_bytes: Option<u64>, bytes: &Bytes) -> Result<()> {
    let damaged = |detail: &str| Err(Error::corrupt(key, format!("it was uploaded, but {detail}")));
    match listed_bytes {
        None => return damaged("is not in the bucket"),
        Some(listed) if listed != bytes.len() as u64 => return damaged("has another length in the bucket"),
        Some(_) => {}
    }
    let mut offset = 0;
    for piece in bytes.chunks(READ_BYTES) {
        let end = offset + piece.len() as u64;
        match bucket.get_range(key, offset..end)? {
            Some(stored) if stored == *piece => offset = end,
            Some(_) => return damaged("the bucket holds other bytes"),
            None => return damaged("has gone from the bucket"),
        }
    }
    Ok(())
}

/// What cannot be removed stays as garbage that no catalog names.
fn remove(bucket: &dyn Bucket, keys: &[String]) {
    for key in keys {
        if let Err(error) = bucket.delete(key) {
            tracing::warn!(%error, key, "an object that is not needed stays in the bucket");
        }
    }
}

#[cfg(test)]
#[path = "publish_test.rs"]
mod tests;
