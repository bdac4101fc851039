//! A query node at work.

use std::sync::Arc;
use std::time::Duration;

use marigram_query::RangeCache;
use marigram_storage::Result;
use marigram_storage::bucket::catalog::CatalogBlock;
use marigram_storage::env::Clock;
use tokio::runtime::Handle;

use crate::app::App;
use crate::bucket;
use crate::fanout::{self, Archive, Cluster, ClusterChanges, Followed};
use crate::peers::Peers;
use crate::role::Role;
use crate::service::{Reader, Service};
use crate::status;
use crate::telemetry::{query_cache, single};

/// The node.
pub(super) struct QueryNode {
    peers: Arc<Peers>,
    bucket: Followed,
    cluster: Cluster,
    reader: Reader,
    runtime: Handle,
    clock: Arc<dyn Clock>,
    /// As it was given.
    replication_factor: Option<u32>,
}

impl QueryNode {
    pub(super) fn new(app: &App, peers: Arc<Peers>, bucket: Followed, runtime: &Handle) -> Self {
        let cluster = Cluster::new(Arc::clone(&peers) as _, Arc::new(bucket.clone()), runtime.clone());
        let new_cache = |options| {
            let changes = Arc::new(ClusterChanges::new(cluster.clone()));
            RangeCache::new(options, Arc::clone(&app.env.clock), changes)
        };
        let cache = app.settings.query.cache.map(new_cache);
        QueryNode {
            reader: Reader { source: Arc::new(cluster.clone()), engine: app.new_engine(), cache },
            peers,
            bucket,
            cluster,
            runtime: runtime.clone(),
            clock: Arc::clone(&app.env.clock),
            replication_factor: app.settings.cluster.replication_factor,
        }
    }

    /// Takes note of the catalog's list of members.
    ///
    /// # Errors
    /// The cluster is not the one that the settings describe.
    pub(super) fn take_note(&self) -> Result<(), String> {
        if let Some(list) = self.bucket.seen().and_then(|catalog| catalog.member_list())
            && let Err(why) = self.peers.learn(list)
        {
            tracing::warn!(why, "the catalog of --bucket is not that of the storage nodes");
        }
        match (self.replication_factor, &self.peers.view().list) {
            (Some(given), Some(list)) if given != list.replication_factor => Err(format!(
                "--replication-factor {given}: the cluster writes {} copies of every sample (catalog {})",
                list.replication_factor, list.catalog_number
            )),
            _ => Ok(()),
        }
    }
}

impl Service for QueryNode {
    fn readiness(&self) -> Result<(), String> {
        // Whoever was heard first, nodes or bucket, is believed; where it was the bucket, nothing else would tell.
        let view = self.peers.view();
        if let (Some(theirs), Some(own)) = (view.strangers(), view.cluster_id()) {
            let why = format!("it is of cluster {own:032x}, they are of {theirs:032x}");
            return Err(fanout::another_cluster(&why));
        }
        self.cluster.readiness()
    }

    fn reader(&self) -> Option<&Reader> {
        Some(&self.reader)
    }

    fn blocks(&self) -> Vec<CatalogBlock> {
        self.bucket.seen().map(|catalog| catalog.contents.blocks.clone()).unwrap_or_default()
    }

    fn query_timeout_max(&self) -> Option<Duration> {
        self.peers.view().list.as_ref().map(|list| Duration::from_millis(list.query_timeout_max_ms))
    }

    fn seal(&self) -> Result<()> {
        fanout::seal(&self.peers, &self.runtime)
    }

    fn cluster_status(&self) -> serde_json::Value {
        let catalog = self.bucket.seen();
        status::of(&status::Known {
            role: Role::Query,
            readiness: self.readiness(),
            view: &self.peers.view(),
            catalog: catalog.as_deref(),
            confirmed_ago: self.bucket.follower.confirmed_ago(),
            now_ms: self.clock.now_ms(),
        })
        .to_json()
    }

    fn metrics(&self, out: &mut String) {
        let view = self.peers.view();
        let members = view.list.as_ref().map_or(&[][..], |list| &list.members);
        let missing = members.iter().filter(|member| view.live(member).is_err()).count();
        let mut gauge =
            |name: &str, help: &str, value: u64| single(out, &format!("marigram_query_{name}"), "gauge", help, value);
        gauge("members", "Storage nodes that the newest list of members names", members.len() as u64);
        gauge("members_missing", "Of them, those that do not answer with their data", missing as u64);
        gauge(
            "members_list_number",
            "Number of the catalog that made the newest list of members",
            view.catalog_number(),
        );
        self.cluster.counters().write(out);
        bucket::metrics::write(out, &self.bucket.blocks.stats());
        if let Some(cache) = &self.reader.cache {
            query_cache::write(out, &cache.stats());
        }
    }
}
