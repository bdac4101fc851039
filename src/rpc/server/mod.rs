//! Answering the other roles on a storage node.
//!
//! 1. Sockets are served by tasks; everything that computes or waits for the disk runs on a blocking thread.
//! 2. Writes and reads take places of their own; beyond them the answer is "overloaded", and whoever asked goes
//!    elsewhere or comes again. A read that waits for its reader holds its place but no thread.
//! 3. When the node stops, streams end with a word instead of breaking off.

mod ingest;
mod node;
mod read;

use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream;
use marigram_proto::cluster::ingest_server::IngestServer;
use marigram_proto::cluster::node_server::NodeServer;
use marigram_proto::cluster::select_server::SelectServer;
use marigram_storage::{Error, Result};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinError;
use tonic::Status;
use tonic::transport::Server;
use tonic::transport::server::Connected;
use tonic_health::pb::health_server::HealthServer;
use tonic_health::server::{HealthReporter, HealthService};

use super::convert::status;
use super::{MESSAGE_BYTES_MAX, STREAM_WINDOW_BYTES};
use crate::app::{App, Event, Failure};
use crate::http::admission::{ByteBudget, Gate};
use crate::http::listener::{Bounded, Connection};
use crate::storage_node::node::StorageNode;

/// Writes at once.
const WRITES_MAX: usize = 256;
/// Bytes that all writes may hold, decoded.
const WRITE_BYTES_MAX: usize = 512 << 20;
/// Selects and lookups at once.
const READS_MAX: usize = 1024;
/// Threads that work on reads at once, …
const READ_THREADS: usize = 28;
const _: () = assert!(READ_THREADS < crate::run::READ_SPARE_THREADS);
/// … and on writes: some stay free for handshakes, so that a busy node is not taken for a dead one.
const WRITE_THREADS: usize = 28;
const _: () = assert!(WRITE_THREADS < crate::run::SPARE_THREADS);
/// Calls at once over one connection: many selects that wait for their reader must not keep a handshake waiting.
const CALLS_PER_CONNECTION_MAX: u32 = 2048;
/// What all writes of a connection may have on their way. Each is read to the next commit whatever the others do.
const CONNECTION_WINDOW_BYTES: u32 = 16 << 20;
/// A silent client is asked for a sign of life when it was silent for this long, …
const PING_INTERVAL: Duration = Duration::from_secs(5);
/// … and its connection is given up when none comes in this time.
const PING_TIMEOUT: Duration = Duration::from_secs(5);

/// What handlers share. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Rpc {
    app: Arc<App>,
    node: Arc<StorageNode>,
    stopped: watch::Receiver<bool>,
    writes: Arc<Gate>,
    write_bytes: Arc<ByteBudget>,
    write_threads: Arc<Semaphore>,
    reads: Arc<Gate>,
    read_threads: Arc<Semaphore>,
}

impl Rpc {
    /// Handlers over a node, until `stopped` becomes `true`.
    pub(crate) fn new(app: Arc<App>, node: Arc<StorageNode>, stopped: watch::Receiver<bool>) -> Self {
        Rpc {
            app,
            node,
            stopped,
            writes: Arc::new(Gate::new(WRITES_MAX, 0)),
            write_bytes: Arc::new(ByteBudget::new(WRITE_BYTES_MAX)),
            write_threads: Arc::new(Semaphore::new(WRITE_THREADS)),
            reads: Arc::new(Gate::new(READS_MAX, 0)),
            read_threads: Arc::new(Semaphore::new(READ_THREADS)),
        }
    }

    /// Becomes ready when the node stops.
    async fn stopping(&self) {
        let mut stopped = self.stopped.clone();
        // The sender lives as long as the server.
        let _ = stopped.wait_for(|stop| *stop).await;
    }

    /// Runs work of the node on a thread that may block.
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&StorageNode) -> Result<T> + Send + 'static,
    ) -> Result<T, Status> {
        let node = Arc::clone(&self.node);
        joined(tokio::task::spawn_blocking(move || work(&node)).await)
    }
}

/// What a thread's work came to.
fn joined<T>(outcome: std::result::Result<Result<T>, JoinError>) -> Result<T, Status> {
    outcome.map_err(|_| Status::internal("the call failed unexpectedly"))?.map_err(|error| status::encode(&error))
}

fn overloaded(what: &str) -> Status {
    status::encode(&Error::Overloaded(what.to_owned()))
}

fn stopping() -> Status {
    Status::unavailable("the storage node is stopping")
}

impl Connected for Connection {
    type ConnectInfo = ();

    fn connect_info(&self) {}
}

/// Serves until the node stops and the running calls have ended.
pub(crate) async fn serve(rpc: Rpc, listener: TcpListener, health: HealthReporter) {
    let app = Arc::clone(&rpc.app);
    if let Err(error) = try_serve(rpc, listener, health).await {
        app.tell(Event::Failed(Failure::Internal(format!("serving other roles ended: {error}"))));
    }
}

async fn try_serve(rpc: Rpc, listener: TcpListener, health: HealthReporter) -> anyhow::Result<()> {
    let listener = Bounded::new(tokio::net::TcpListener::from_std(listener)?, rpc.app.settings.http_max_connections);
    let incoming = stream::unfold(listener, |mut listener| async move {
        let (connection, _) = axum::serve::Listener::accept(&mut listener).await;
        Some((Ok::<_, std::io::Error>(connection), listener))
    });
    let health = HealthServer::new(HealthService::from_health_reporter(health));
    let until_stopped = {
        let rpc = rpc.clone();
        async move { rpc.stopping().await }
    };
    Server::builder()
        .max_concurrent_streams(CALLS_PER_CONNECTION_MAX)
        .http2_keepalive_interval(Some(PING_INTERVAL))
        .http2_keepalive_timeout(Some(PING_TIMEOUT))
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .add_service(health)
        .add_service(NodeServer::new(rpc.clone()).max_decoding_message_size(MESSAGE_BYTES_MAX))
        .add_service(IngestServer::new(rpc.clone()).max_decoding_message_size(MESSAGE_BYTES_MAX))
        .add_service(SelectServer::new(rpc).max_decoding_message_size(MESSAGE_BYTES_MAX))
        .serve_with_incoming_shutdown(incoming, until_stopped)
        .await?;
    Ok(())
}
