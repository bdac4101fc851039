//! `marigram query`: PromQL over all storage nodes and the bucket.
//!
//! 1. The storage nodes are watched, and the bucket's catalog is followed. Neither has to be there at the start: until a
//!    list of members is known and a catalog is confirmed the node is not ready, and says what it waits for.
//! 2. The catalog's list of members is taken note of, beside those of the nodes' handshakes; the newest counts.
//! 3. A cluster that writes another number of copies than `--replication-factor` says ends the process: somebody is
//!    wrong about which cluster this is.

mod service;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use marigram_storage::bucket::blocks::BucketBlocks;

use crate::app::{App, Event, Failure};
use crate::background::{Background, StopFlag};
use crate::bucket::{self, Follower};
use crate::fanout::Followed;
use crate::peers::Peers;

use service::QueryNode;

/// Time between two looks at the list of members.
const WATCH_INTERVAL: Duration = Duration::from_secs(1);

/// Starts the threads and tasks.
pub(crate) fn start(background: &mut Background) -> Result<(), String> {
    let app = Arc::clone(background.app());
    let cluster = &app.settings.cluster;
    let url = cluster.bucket.as_deref().unwrap_or_default();
    let bucket = bucket::open(url, &app.env, background.runtime())?;
    let blocks = BucketBlocks::new(Arc::clone(&bucket), cluster.bucket_cache_bytes);
    let follower = Follower::start(background, bucket, cluster.catalog_interval)?;
    let peers = Peers::start(background, &cluster.storage_nodes)?;
    let node = Arc::new(QueryNode::new(&app, peers, Followed { follower, blocks }, background.runtime()));
    let watched = Arc::clone(&node);
    background.spawn("members", move |app, stop| watch(app, &watched, stop))?;
    app.serve(node);
    Ok(())
}

/// Looks at the list of members until it is time to end.
fn watch(app: &Arc<App>, node: &QueryNode, stop: &StopFlag) {
    loop {
        if let Err(sentence) = node.take_note() {
            return app.tell(Event::Failed(Failure::Contradiction(sentence)));
        }
        if stop.wait(WATCH_INTERVAL) {
            return;
        }
    }
}
