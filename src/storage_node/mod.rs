//! `marigram storage`: keeps the newest hours, and answers for them.
//!
//! 1. The gRPC address is bound and the node's identity read, so that a taken port or a wrong name is said at once.
//! 2. The other roles are answered from then on; while the store is recovered they hear just that.
//! 3. The store thread opens the data directory, and looks every few seconds for due work: sealing, cutting the log,
//!    dropping covered blocks whose grace has passed.
//! 4. Stopping: running streams end with a word, then connections are closed, for a few seconds at most.

pub(crate) mod host_name;
pub(crate) mod node;

use std::sync::Arc;
use std::time::Duration;

use marigram_storage::db::Db;
use marigram_storage::node::identity;
use marigram_storage::node::members::MembersFile;
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;

use crate::app::{App, Event, Failure};
use crate::background::{Background, StopFlag};
use crate::rpc::server::{self, Rpc};
use crate::run;
use crate::single::{maintain, sync_log};
use node::{NodeService, StorageNode};

/// How long running calls may take to end when the server stops.
const FINISH_TIMEOUT: Duration = Duration::from_secs(3);

/// Binds the address for other roles and starts the threads.
pub(crate) fn start(background: &mut Background) -> Result<(), String> {
    let app = Arc::clone(background.app());
    let cluster = &app.settings.cluster;
    let (listener, address) = run::bind("grpc-listen", &cluster.grpc_listen)?;
    let name = host_name::get();
    let dir = &app.settings.data_dir;
    let member = identity::open(&app.env, dir, cluster.node_name.as_deref(), &name, &cluster.zone)
        .map_err(|error| error.to_string())?;
    let members = MembersFile::open(&app.env, dir, &member).map_err(|error| error.to_string())?;
    tracing::info!(node_name = member.node_name, disk_id = format!("{:032x}", member.disk_id), "this storage node");
    background.set_grpc_addr(address);
    let node = Arc::new(StorageNode::new(app.env.clone(), app.settings.clone(), member, members));
    let rpc = Rpc::new(Arc::clone(&app), Arc::clone(&node), background.stopped());
    let health = HealthReporter::new();
    let runtime = background.runtime().clone();
    runtime.block_on(health.set_service_status("", ServingStatus::NotServing));
    let serving = runtime.spawn(server::serve(rpc, listener, health.clone()));
    sync_log(background)?;
    background.spawn("store", move |app, stop| {
        keep_store(app, &node, stop, || runtime.block_on(health.set_service_status("", ServingStatus::Serving)));
        if runtime.block_on(async { tokio::time::timeout(FINISH_TIMEOUT, serving).await }).is_err() {
            tracing::warn!("calls of other roles that did not finish were cut off");
        }
    })
}

/// Opens the store, then looks for due work until it is time to end.
fn keep_store(app: &Arc<App>, node: &Arc<StorageNode>, stop: &StopFlag, opened: impl FnOnce()) {
    let db = match Db::open(app.settings.data_dir.clone(), app.env.clone(), app.settings.store.clone()) {
        Ok(db) => Arc::new(db),
        Err(error) => return app.tell(Event::Failed(Failure::Open(error))),
    };
    node.opened(Arc::clone(&db));
    opened();
    app.serve(Arc::new(NodeService::new(Arc::clone(node), Arc::clone(&db))));
    maintain(app, &db, stop);
    // Without a maintenance interval a test looks for due work; the thread then waits for the end of the server.
    while !stop.wait(Duration::from_secs(3600)) {}
}

#[cfg(test)]
mod tests;
