//! The bucket as a query sees it: a catalog that is new enough, and the blocks that it names.

use std::sync::Arc;

use marigram_storage::Result;
use marigram_storage::bucket::blocks::BucketBlocks;
use marigram_storage::bucket::catalog::{Catalog, CatalogBlock};
use marigram_storage::context::Context;
use marigram_storage::model::labels::Labels;
use marigram_storage::select::{SelectRequest, SeriesStream};

use super::members::Lookup;
use crate::bucket::Follower;

/// The bucket. Calls block.
pub trait Archive: Send + Sync {
    /// The newest catalog that was seen, however long ago. Does not block.
    fn seen(&self) -> Option<Arc<Catalog>>;

    /// The newest catalog, if it was known to be the newest not long ago. Does not block.
    ///
    /// # Errors
    /// A sentence that says why it is not known.
    fn confirmed(&self) -> Result<Arc<Catalog>, String>;

    /// Looks for the newest catalog now.
    ///
    /// # Errors
    /// A sentence that says why it is not known.
    fn refresh(&self) -> Result<Arc<Catalog>, String>;

    /// The series of the blocks.
    fn select(
        &self,
        context: &Context,
        blocks: &[CatalogBlock],
        request: SelectRequest<'_>,
    ) -> Result<Box<dyn SeriesStream>>;

    /// Label sets of the blocks.
    fn series(&self, lookup: Lookup<'_>, blocks: &[CatalogBlock]) -> Result<Vec<Labels>>;

    /// Label names of the blocks.
    fn label_names(&self, lookup: Lookup<'_>, blocks: &[CatalogBlock]) -> Result<Vec<String>>;

    /// Values of the label `name` in the blocks.
    fn label_values(&self, name: &str, lookup: Lookup<'_>, blocks: &[CatalogBlock]) -> Result<Vec<String>>;
}

/// The bucket of a server: its catalog is followed, its blocks are read where they lie. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Followed {
    /// The newest catalog.
    pub follower: Arc<Follower>,
    /// The blocks.
    pub blocks: BucketBlocks,
}

impl Archive for Followed {
    fn seen(&self) -> Option<Arc<Catalog>> {
        self.follower.newest()
    }

    fn confirmed(&self) -> Result<Arc<Catalog>, String> {
        self.follower.current()
    }

    fn refresh(&self) -> Result<Arc<Catalog>, String> {
        self.follower.refresh()
    }

    fn select(
        &self,
        context: &Context,
        blocks: &[CatalogBlock],
        request: SelectRequest<'_>,
    ) -> Result<Box<dyn SeriesStream>> {
        self.blocks.select(context, request, blocks)
    }

    fn series(&self, lookup: Lookup<'_>, blocks: &[CatalogBlock]) -> Result<Vec<Labels>> {
        let Lookup { context, selectors, range, limit } = lookup;
        self.blocks.series(context, blocks, selectors, range, limit)
    }

    fn label_names(&self, lookup: Lookup<'_>, blocks: &[CatalogBlock]) -> Result<Vec<String>> {
        let Lookup { context, selectors, range, limit } = lookup;
        self.blocks.label_names(context, blocks, selectors, range, limit)
    }

    fn label_values(&self, name: &str, lookup: Lookup<'_>, blocks: &[CatalogBlock]) -> Result<Vec<String>> {
        let Lookup { context, selectors, range, limit } = lookup;
        self.blocks.label_values(context, blocks, name, selectors, range, limit)
    }
}
