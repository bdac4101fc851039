//! What a role is behind its HTTP API: every role is one [`Service`], and handlers know nothing else of it.

use std::sync::Arc;
use std::time::Duration;

use marigram_query::source::Source;
use marigram_query::{Engine, RangeCache};
use marigram_storage::Result;
use marigram_storage::bucket::catalog::CatalogBlock;
use marigram_storage::db::Db;
use marigram_storage::model::tenant::TenantId;
use marigram_storage::write::{WriteBatch, WriteSeries};

/// Where writes go: the store of this process, or the replicas of a cluster.
pub trait Sink: Send + Sync {
    /// Stores a batch; when this returns `Ok`, all of it is as durable as the role promises. Blocks.
    ///
    /// # Errors
    /// [`marigram_storage::ErrorKind::Unavailable`]: nothing is promised about the batch, and it may be sent again.
    fn append(&self, batch: WriteBatch) -> Result<()>;

    /// Sets the [hint](WriteSeries::hint) of every series that the store knows by its id: the labels of those need no check. Does
    /// not wait for the disk. Who knows none leaves all as they are.
    fn recognise(&self, tenant: &TenantId, series: &mut [WriteSeries]) {
        let _ = (tenant, series);
    }
}

/// Where queries are answered.
pub struct Reader {
    /// The data as the engine sees it.
    pub source: Arc<dyn Source>,
    /// The engine.
    pub engine: Engine,
    /// Answers of range queries over the source, where some are kept.
    pub cache: Option<RangeCache>,
}

/// A role at work. Calls block, unless their doc says otherwise.
pub trait Service: Send + Sync {
    /// Whether it does its work now; the error is a sentence that says what it waits for. Does not block.
    ///
    /// # Errors
    /// Why it is not ready.
    fn readiness(&self) -> Result<(), String>;

    /// Where writes go; `None`: the role takes none. Does not block.
    fn sink(&self) -> Option<&dyn Sink> {
        None
    }

    /// Where queries are answered; `None`: the role answers none. Does not block.
    fn reader(&self) -> Option<&Reader> {
        None
    }

    /// The store of this process; `None`: the role has none. Does not block.
    fn store(&self) -> Option<&Arc<Db>> {
        None
    }

    /// The blocks that queries read besides open data. Does not block.
    fn blocks(&self) -> Vec<CatalogBlock> {
        self.store().map(|db| db.catalog_blocks()).unwrap_or_default()
    }

    /// The longest time that a query may take, where the cluster sets one. Does not block.
    fn query_timeout_max(&self) -> Option<Duration> {
        None
    }

    /// Cuts all open data into blocks: of this node, or of all members of the cluster.
    ///
    /// # Errors
    /// Unless all of it is on disk.
    fn seal(&self) -> Result<()>;

    /// What the role tells of the cluster, as JSON, for `/api/v1/status/cluster`.
    fn cluster_status(&self) -> serde_json::Value;

    /// Adds the role's own metrics to `out`, in the classic text format.
    fn metrics(&self, out: &mut String) {
        let _ = out;
    }
}
