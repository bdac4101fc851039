//! `marigram insert`: takes writes and places them on storage nodes.
//!
//! 1. [`Peers`] watches the storage nodes and learns the list of members from them.
//! 2. A write that `ingest` has decoded is placed ([`replicate`]), delivered ([`delivery`]) over gRPC ([`over_peers`]), and
//!    answered when every sample is durable on a write quorum of distinct disks.
//! 3. The process keeps nothing but what is under way: stopping waits for the copies beyond the quorum.

pub mod budget;
pub mod delivery;
pub mod known;
pub mod metrics;
pub mod over_peers;
pub mod quorum;
pub mod replicate;
pub mod transport;

#[cfg(test)]
mod cluster_test;
#[cfg(test)]
mod simulation;
#[cfg(test)]
mod simulation_test;

use std::sync::Arc;
use std::time::Duration;

use marigram_storage::env::Clock;
use marigram_storage::write::WriteBatch;
use marigram_storage::{Error, Result};
use tokio::runtime::Handle;

use crate::app::{App, Event, Failure};
use crate::background::{Background, StopFlag};
use crate::peers::Peers;
use crate::role::Role;
use crate::service::{Service, Sink};
use crate::{fanout, status};
use delivery::Timing;
use over_peers::OverPeers;
use replicate::Replicator;
use transport::Transport;

/// How often the thread that waits for deliveries looks whether it is time to end.
const STOP_INTERVAL: Duration = Duration::from_secs(3600);

/// An insert node.
struct Insert {
    peers: Arc<Peers>,
    replicator: Arc<Replicator<OverPeers>>,
    runtime: Handle,
    clock: Arc<dyn Clock>,
}

/// Starts the tasks.
pub(crate) fn start(background: &mut Background) -> Result<(), String> {
    let app = Arc::clone(background.app());
    let (peers, cluster) = (Peers::start(background, &app.settings.cluster.storage_nodes)?, &app.settings.cluster);
    let transport = OverPeers::new(Arc::clone(&peers), cluster.replication_factor);
    let replicator = Replicator::new(transport, cluster.delivery_max_bytes, Timing::default());
    let runtime = background.runtime().clone();
    runtime.spawn(watch_lists(Arc::clone(&app), Arc::clone(&peers), Arc::clone(&replicator)));
    let budget = Arc::clone(&replicator.budget);
    background.spawn("deliveries", move |_, stop| finish_deliveries(stop, &budget))?;
    let clock = Arc::clone(&app.env.clock);
    app.serve(Arc::new(Insert { peers, replicator, runtime, clock }));
    Ok(())
}

/// Ends the process when a list of members contradicts its flags; forgets what disks knew that have gone.
async fn watch_lists(app: Arc<App>, peers: Arc<Peers>, replicator: Arc<Replicator<OverPeers>>) {
    let mut changes = peers.changes();
    drop(peers);
    let mut seen = 0;
    loop {
        let list = changes.borrow_and_update().list.clone();
        if let Some(list) = list.filter(|list| list.catalog_number != seen) {
            if let Some(sentence) = replicator.transport.contradiction(&list) {
                return app.tell(Event::Failed(Failure::Contradiction(sentence)));
            }
            seen = list.catalog_number;
            replicator.known.retain(&list.members);
        }
        if changes.changed().await.is_err() {
            return;
        }
    }
}

/// When the server stops, copies beyond the quorum are still delivered.
fn finish_deliveries(stop: &StopFlag, budget: &budget::DeliveryBudget) {
    while !stop.wait(STOP_INTERVAL) {}
    if !budget.wait_idle(Timing::default().write_max) {
        tracing::warn!(bytes = budget.used(), "stopped before all copies beyond the write quorum were delivered");
    }
}

impl Sink for Insert {
    fn append(&self, batch: WriteBatch) -> Result<()> {
        let (delivery, answered) = self.replicator.prepare(batch)?;
        self.runtime.spawn(delivery.run());
        answered.blocking_recv().unwrap_or_else(|_| Err(Error::Unavailable("the server is stopping".to_owned())))
    }
}

impl Service for Insert {
    fn readiness(&self) -> Result<(), String> {
        let transport = &self.replicator.transport;
        let cluster = transport.cluster()?;
        quorum::check(&cluster, transport.live(&cluster), |node| transport.why_down(&cluster, node))
    }

    fn sink(&self) -> Option<&dyn Sink> {
        Some(self)
    }

    fn seal(&self) -> Result<()> {
        fanout::seal(&self.peers, &self.runtime)
    }

    fn cluster_status(&self) -> serde_json::Value {
        status::of(&status::Known {
            role: Role::Insert,
            readiness: self.readiness(),
            view: &self.peers.view(),
            catalog: None,
            confirmed_ago: None,
            now_ms: self.clock.now_ms(),
        })
        .to_json()
    }

    fn metrics(&self, out: &mut String) {
        self.replicator.metrics.write(out, &self.replicator.budget);
    }
}
