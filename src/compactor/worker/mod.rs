//! Does what was chosen, pass after pass.

mod blocks;
mod members;

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use marigram_storage::bucket::Bucket;
use marigram_storage::bucket::catalog::{Catalog, CatalogStore};
use marigram_storage::compact::publish::Leftover;
use marigram_storage::{Error, Result};
use tokio::runtime::Handle;
use tokio::sync::watch;
use ulid::Ulid;

use super::scratch::Scratch;
use super::status::Status;
use super::{Halt, probe};
use crate::app::{App, Event, Failure};
use crate::peers::Peers;

/// How long the nodes' first answers are waited for.
const FIRST_ANSWERS: Duration = Duration::from_secs(5);
/// Time between two looks for them.
const FIRST_ANSWERS_INTERVAL: Duration = Duration::from_millis(50);

/// The compactor's thread.
pub(super) struct Worker {
    app: Arc<App>,
    runtime: Handle,
    stopped: watch::Receiver<bool>,
    bucket: Arc<dyn Bucket>,
    catalogs: CatalogStore,
    scratch: Scratch,
    status: Arc<Status>,
    /// Once the first catalog was read: what nodes say is judged by it.
    peers: Option<Arc<Peers>>,
    /// Number of the newest catalog that was seen.
    newest_number: u64,
    /// Drawn once, so that a first catalog that is tried again is the same.
    new_cluster_id: u128,
    /// Since when each block that waits is known.
    seen: BTreeMap<Ulid, Duration>,
    /// On which disk each source was listed.
    holders: BTreeMap<Ulid, u128>,
    /// Sources whose node has dropped them: the next commit takes them out.
    forget: BTreeSet<String>,
    /// Objects that may have to be removed.
    leftovers: Vec<Leftover>,
}

impl Worker {
    pub(super) fn new(
        app: Arc<App>,
        runtime: Handle,
        stopped: watch::Receiver<bool>,
        bucket: Arc<dyn Bucket>,
        scratch: Scratch,
        status: Arc<Status>,
    ) -> Self {
        Worker {
            catalogs: CatalogStore::new(Arc::clone(&bucket), app.env.clone()),
            new_cluster_id: app.env.random.next_u128(),
            app,
            runtime,
            stopped,
            bucket,
            scratch,
            status,
            peers: None,
            newest_number: 0,
            seen: BTreeMap::new(),
            holders: BTreeMap::new(),
            forget: BTreeSet::new(),
            leftovers: Vec::new(),
        }
    }

    /// Works until it is time to end; with `--once`, for one pass.
    pub(super) fn run(mut self) {
        loop {
            let outcome = self.pass();
            let failed = match &outcome {
                Err(Halt::Stopped) => return,
                Err(Halt::Contradiction(reason)) => {
                    return self.app.tell(Event::Failed(Failure::Contradiction(reason.clone())));
                }
                Err(Halt::Failed(reason)) => Some(reason.clone()),
                Ok(()) => None,
            };
            self.status.tried("a pass", failed);
            let failure = self.status.fails();
            self.status.count(|counters| {
                counters.passes += 1;
                counters.passes_failed += u64::from(failure.is_some());
            });
            if self.app.settings.cluster.compact.once {
                return self.app.tell(match failure.or_else(|| self.status.waiting()) {
                    None => Event::Stop,
                    Some(reason) => Event::Failed(Failure::Internal(reason)),
                });
            }
            if self.rest(self.about(self.app.settings.cluster.compact.interval)) {
                return;
            }
        }
    }

    fn pass(&mut self) -> Result<(), Halt> {
        let peers = match &self.peers {
            Some(peers) => Arc::clone(peers),
            None => self.begin()?,
        };
        // First the nodes, then the catalog: no list that a node was told can be newer.
        let view = peers.view();
        let catalog = self.read_catalog()?;
        self.leftovers.retain(|leftover| !leftover.settle_by(&*self.bucket, &catalog));
        let catalog = self.keep_members(&view, catalog)?;
        let Some(list) = catalog.member_list() else { return Ok(()) };
        peers.learn(list).map_err(|reason| Halt::Failed(format!("the list of members is not believed: {reason}")))?;
        self.move_blocks(&peers, &catalog)
    }

    /// Probes the bucket and begins to watch the nodes.
    fn begin(&mut self) -> Result<Arc<Peers>, Halt> {
        probe::probe(&*self.bucket, &*self.app.env.random)?;
        let catalog = self.read_catalog()?;
        let addresses = &self.app.settings.cluster.storage_nodes;
        let peers = Peers::watch(&self.runtime, self.stopped.clone(), addresses).map_err(Halt::Failed)?;
        if let Some(list) = catalog.member_list()
            && let Err(reason) = peers.learn(list)
        {
            tracing::warn!(reason, "a storage node was faster than the catalog");
        }
        let give_up = self.now().saturating_add(FIRST_ANSWERS);
        while (peers.view().nodes.is_empty() || !peers.view().is_settled()) && self.now() < give_up {
            if self.rest(FIRST_ANSWERS_INTERVAL) {
                return Err(Halt::Stopped);
            }
        }
        self.status.watches(&peers);
        self.peers = Some(Arc::clone(&peers));
        Ok(peers)
    }

    /// The newest catalog, or that before the first.
    fn read_catalog(&mut self) -> Result<Catalog, Halt> {
        let catalog = self.catalogs.load()?.unwrap_or_else(Catalog::none);
        self.note(&catalog)?;
        Ok(catalog)
    }

    /// Takes note of the newest catalog.
    fn note(&mut self, catalog: &Catalog) -> Result<(), Halt> {
        if catalog.number < self.newest_number {
            return Err(Halt::Contradiction(format!(
                "--bucket: the newest catalog is {}, and a moment ago it was {}: catalogs were lost",
                catalog.number, self.newest_number
            )));
        }
        self.newest_number = catalog.number;
        self.status.catalog_is(catalog, self.now());
        Ok(())
    }

    fn now(&self) -> Duration {
        self.app.env.clock.monotonic()
    }

    fn is_stopped(&self) -> bool {
        *self.stopped.borrow()
    }

    /// Waits; `true` if it is time to end.
    fn rest(&self, time: Duration) -> bool {
        let mut stopped = self.stopped.clone();
        let word = async { tokio::time::timeout(time, stopped.wait_for(|stop| *stop)).await.is_ok() };
        self.runtime.block_on(word)
    }

    /// Runs a call to its end, or until it is time to end.
    fn call<T>(&self, call: impl Future<Output = Result<T>>) -> Result<T> {
        let mut stopped = self.stopped.clone();
        self.runtime.block_on(async {
            tokio::select! {
                outcome = call => outcome,
                _ = stopped.wait_for(|stop| *stop) => Err(Error::Cancelled),
            }
        })
    }

    /// Three quarters to five quarters of a time, so that compactors do not march in step.
    fn about(&self, time: Duration) -> Duration {
        let thousandths = 750 + u32::try_from(self.app.env.random.next_u128() % 500).unwrap_or(0);
        time.saturating_mul(thousandths) / 1000
    }
}
