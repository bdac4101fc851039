//! Writes.
//!
//! 1. Pieces are gathered until they are worth a commit; most writes are one.
//! 2. On a blocking thread: the header is checked against the node, the pieces are checked and become a batch, and the
//!    batch is stored.
//! 3. The answer comes when everything is durable, and names the series that the node does not know.

use std::sync::Arc;

use marigram_proto::cluster as proto;
use marigram_proto::cluster::ingest_server::Ingest;
use marigram_storage::model::labels::SeriesId;
use marigram_storage::{Error, Result};
use prost::Message;
use tonic::{Request, Response, Status, Streaming, async_trait};

use super::{Rpc, overloaded, stopping};
use crate::rpc::convert::append::{self, AppendHeader, Appended, Assembler};
use crate::storage_node::node::StorageNode;

/// Pieces are stored when they have this many bytes together.
const COMMIT_BYTES: usize = 4 << 20;
/// How much more memory a piece takes when it is decoded: itself, and the samples of its deltas.
const DECODED_FACTOR: usize = 5;

#[async_trait]
impl Ingest for Rpc {
    async fn append(
        &self,
        request: Request<Streaming<proto::AppendPiece>>,
    ) -> Result<Response<proto::AppendResponse>, Status> {
        let _place = self.writes.try_enter().ok_or_else(|| overloaded("too many writes at once"))?;
        let mut share = self.write_bytes.share();
        let mut stream = request.into_inner();
        let mut header = None;
        let mut appended = Appended::default();
        let (mut pieces, mut bytes, mut ended) = (Vec::new(), 0, false);
        while !ended {
            match stream.message().await? {
                Some(mut piece) => {
                    if let Some(given) = piece.header.take() {
                        if header.is_some() {
                            return Err(Status::invalid_argument("a write has one header, in its first piece"));
                        }
                        header = Some(Arc::new(append::decode_header(&given)?));
                    }
                    bytes += piece.encoded_len();
                    pieces.push(piece);
                    if !share.grow_to(bytes * DECODED_FACTOR) {
                        return Err(overloaded("the writes under way take too much memory"));
                    }
                }
                None => ended = true,
            }
            if ended || bytes >= COMMIT_BYTES {
                self.app.reads.note_write();
                let header =
                    header.clone().ok_or_else(|| Status::invalid_argument("a write begins with its header"))?;
                let some = std::mem::take(&mut pieces);
                let thread = self.write_threads.acquire().await.map_err(|_| stopping())?;
                let stored = self.blocking(move |node| store(node, &header, some)).await;
                drop(thread);
                self.app.check_poison();
                let (unknown, catalog_number) = stored?;
                appended.unknown.extend(unknown);
                appended.catalog_number = catalog_number;
                bytes = 0;
            }
        }
        Ok(Response::new(append::encode_appended(&appended)))
    }
}

/// Stores pieces; answers the series that are not known, and the number of the newest list of members.
fn store(node: &StorageNode, header: &AppendHeader, pieces: Vec<proto::AppendPiece>) -> Result<(Vec<SeriesId>, u64)> {
    let catalog_number = node.check_write(header.disk_id, header.cluster_id)?;
    let mut assembler = Assembler::new(header.tenant.clone());
    for piece in pieces {
        assembler.push(piece).map_err(|malformed| Error::BadInput(malformed.to_string()))?;
    }
    if assembler.is_empty() {
        return Ok((Vec::new(), catalog_number));
    }
    Ok((node.db()?.append_known(assembler.take())?, catalog_number))
}
