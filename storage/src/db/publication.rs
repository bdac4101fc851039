//! The node's own catalog: which blocks count. A data directory is its own bucket.

use std::path::Path;
use std::sync::Arc;

use parking_lot::Mutex;
use ulid::Ulid;

use crate::block::BlockMeta;
use crate::bucket::DirectoryBucket;
use crate::bucket::catalog::{Catalog, CatalogBlock, CatalogStore, Contents};
use crate::env::Env;
use crate::error::Result;

/// The catalog of a data directory, as it was last read or written.
pub(super) struct Publication {
    store: CatalogStore,
    current: Mutex<Catalog>,
}

impl Publication {
    /// Reads the newest catalog below `root`; writes the first one, of a cluster of one copy, if there is none.
    pub(super) fn open(env: &Env, root: &Path) -> Result<Self> {
        let bucket = DirectoryBucket::open(env, root)?;
        bucket.remove_leftovers()?;
        let store = CatalogStore::new(Arc::new(bucket), env.clone());
        let current = match store.load()? {
            Some(catalog) => catalog,
            None => {
                let cluster_id = env.random.next_u128();
                store.commit(|contents| {
                    let cluster_id = contents.cluster_id.or(Some(cluster_id));
                    Ok(Some(Contents { cluster_id, replication_factor: Some(1), ..contents.clone() }))
                })?
            }
        };
        Ok(Publication { store, current: Mutex::new(current) })
    }

    /// Names a block.
    pub(super) fn add_block(&self, meta: &BlockMeta) -> Result<()> {
        self.commit(|contents| {
            if contents.blocks.iter().any(|block| block.ulid == meta.ulid) {
                return None;
            }
            let mut next = contents.clone();
            next.blocks.push(CatalogBlock::from(meta));
            Some(next)
        })
    }

    /// Names blocks no more. Their directories are to be removed afterwards; one that a crash leaves behind is found, named
    /// again and dropped again at the next start.
    pub(super) fn remove_blocks(&self, ulids: &[Ulid]) -> Result<()> {
        self.commit(|contents| {
            let mut next = contents.clone();
            next.blocks.retain(|block| !ulids.contains(&block.ulid));
            (next != *contents).then_some(next)
        })
    }

    /// Removes catalogs that nobody can need any more.
    pub(super) fn sweep(&self) -> Result<()> {
        self.store.sweep().map(drop)
    }

    /// Whether the catalog names a block.
    pub(super) fn lists(&self, ulid: Ulid) -> bool {
        self.current.lock().contents.blocks.iter().any(|block| block.ulid == ulid)
    }

    /// The blocks that count.
    pub(super) fn blocks(&self) -> Vec<CatalogBlock> {
        self.current.lock().contents.blocks.clone()
    }

    /// Number of the newest catalog.
    pub(super) fn number(&self) -> u64 {
        self.current.lock().number
    }

    fn commit(&self, mut change: impl FnMut(&Contents) -> Option<Contents>) -> Result<()> {
        let mut current = self.current.lock();
        *current = self.store.commit(|contents| Ok(change(contents)))?;
        Ok(())
    }
}
