//! Asking a storage node.
//!
//! A [`NodeClient`] is one HTTP/2 connection to one address, made when first needed and made anew when it breaks.
//! Calls are async; [`NodeClient::wait`] runs one from a thread that may block. Reads carry their query's
//! [`Context`](marigram_storage::context::Context): its deadline and cancel flag end the call, and what arrives is
//! reserved in its budget.

mod blocks;
mod read;

pub use blocks::FilePieces;
pub use read::{Answer, RemoteStream};

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream;
use marigram_proto::cluster as proto;
use marigram_proto::cluster::ingest_client::IngestClient;
use marigram_proto::cluster::node_client::NodeClient as NodeStub;
use marigram_proto::cluster::select_client::SelectClient;
use marigram_storage::model::member::{Member, MemberList};
use marigram_storage::{Error, Result};
use tokio::runtime::Handle;
use tonic::Status;
use tonic::transport::{Channel, Endpoint};

use super::convert::append::{self, AppendHeader, Appended};
use super::convert::node::{self, Handshake};
use super::convert::{Malformed, member, status};
use super::{MESSAGE_BYTES_MAX, STREAM_WINDOW_BYTES};

/// How long making a connection may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// A peer is asked for a sign of life when it was silent for this long, …
const PING_INTERVAL: Duration = Duration::from_secs(2);
/// … and its connection is given up when none comes in this time. (Handshakes notice a silent node earlier; this frees
/// what still waits for it.)
const PING_TIMEOUT: Duration = Duration::from_secs(5);
/// What all streams of a connection may have on their way: as much as HTTP/2 knows, so that each is held back by its own window alone.
/// Queries read several streams, of several nodes, one after the other: if those that wait could use up a window of all, queries would
/// wait for each other.
const CONNECTION_WINDOW_BYTES: u32 = i32::MAX as u32;
/// How long a call may take that only reads or writes a small file.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a node may take to cut all open data into blocks.
const SEAL_TIMEOUT: Duration = Duration::from_secs(600);
/// A storage node at one address. Cheap to clone; clones share the connection.
#[derive(Clone)]
pub struct NodeClient {
    address: Arc<str>,
    runtime: Handle,
    node: NodeStub<Channel>,
    ingest: IngestClient<Channel>,
    select: SelectClient<Channel>,
}

impl std::fmt::Debug for NodeClient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NodeClient").field("address", &self.address).finish_non_exhaustive()
    }
}

impl NodeClient {
    /// A client of `HOST:PORT`; connects when it is first used.
    ///
    /// # Errors
    /// A text that is no address.
    pub fn new(address: &str, runtime: Handle) -> Result<Self, String> {
        let endpoint = Endpoint::from_shared(format!("http://{address}"))
            .map_err(|_| format!("{address} is no address of the form host:port"))?
            .connect_timeout(CONNECT_TIMEOUT)
            .tcp_nodelay(true)
            .http2_keep_alive_interval(PING_INTERVAL)
            .keep_alive_timeout(PING_TIMEOUT)
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES);
        let channel = {
            let _inside = runtime.enter();
            endpoint.connect_lazy()
        };
        Ok(NodeClient {
            address: address.into(),
            runtime,
            node: NodeStub::new(channel.clone()).max_decoding_message_size(MESSAGE_BYTES_MAX),
            ingest: IngestClient::new(channel.clone()).max_decoding_message_size(MESSAGE_BYTES_MAX),
            select: SelectClient::new(channel).max_decoding_message_size(MESSAGE_BYTES_MAX),
        })
    }

    /// `HOST:PORT`.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Runs a call to its end on this thread, which must be one that may block.
    pub fn wait<T>(&self, call: impl Future<Output = T>) -> T {
        self.runtime.block_on(call)
    }

    /// Who the node is and how it is.
    ///
    /// # Errors
    /// It does not answer within `timeout`.
    pub async fn handshake(&self, timeout: Duration) -> Result<Handshake> {
        let mut node = self.node.clone();
        let response = self.within(timeout, node.handshake(proto::HandshakeRequest {})).await?;
        node::decode_handshake(&response).map_err(|malformed| self.malformed(malformed))
    }

    /// Stores the pieces of one write ([`append::pieces`] makes them). When this returns `Ok`, all samples but those
    /// of the unknown series are durable on the disk that the header names. No time limit: a node that dies is
    /// noticed by its silence; who cannot wait drops the call.
    ///
    /// # Errors
    /// Nothing is promised about the write, and it may be sent again.
    pub async fn append(&self, header: &AppendHeader, mut pieces: Vec<proto::AppendPiece>) -> Result<Appended> {
        if pieces.is_empty() {
            pieces.push(proto::AppendPiece::default());
        }
        if let Some(first) = pieces.first_mut() {
            first.header = Some(append::encode_header(header));
        }
        let mut ingest = self.ingest.clone();
        let response = ingest.append(stream::iter(pieces)).await.map_err(|status| self.failed(&status))?;
        append::decode_appended(response.get_ref()).map_err(|malformed| self.malformed(malformed))
    }

    /// Tells the newest list of members, and whether enough of them confirmed it. Answered when it is on the node's
    /// disk: with the number of the list that it holds now, and who it is.
    ///
    /// # Errors
    /// It does not answer, or belongs to another cluster.
    pub async fn tell_members(&self, list: &MemberList, confirmed: bool) -> Result<(u64, Member)> {
        let request = proto::TellMembersRequest { members: Some(member::encode_list(list)), confirmed };
        let mut node = self.node.clone();
        let response = self.within(CALL_TIMEOUT, node.tell_members(request)).await?;
        let identity = member::decode_present(response.identity.as_ref()).map_err(|m| self.malformed(m))?;
        Ok((response.catalog_number, identity))
    }

    /// Cuts all open data of the node into blocks; returns when they are on disk.
    ///
    /// # Errors
    /// Unless all of it is.
    pub async fn seal(&self) -> Result<()> {
        let mut node = self.node.clone();
        self.within(SEAL_TIMEOUT, node.seal(proto::SealRequest {})).await.map(drop)
    }

    /// The answer of a call, if it comes in time.
    async fn within<T>(
        &self,
        timeout: Duration,
        call: impl Future<Output = Result<tonic::Response<T>, Status>>,
    ) -> Result<T> {
        match tokio::time::timeout(timeout, call).await {
            Ok(Ok(response)) => Ok(response.into_inner()),
            Ok(Err(status)) => Err(self.failed(&status)),
            Err(_) => Err(Error::Unavailable(format!("{} does not answer within {timeout:?}", self.address))),
        }
    }

    /// A call that the other side ended. What it calls cancelled was not cancelled here.
    fn failed(&self, status: &Status) -> Error {
        match status::decode(&self.address, status) {
            Error::Remote { kind: marigram_storage::ErrorKind::Cancelled, message } => {
                Error::Unavailable(format!("{} ended the call: {message}", self.address))
            }
            error => error,
        }
    }

    fn malformed(&self, malformed: Malformed) -> Error {
        malformed.in_answer_of(&self.address)
    }
}
