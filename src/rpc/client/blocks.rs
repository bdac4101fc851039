//! What a compactor asks: blocks, their files, and what is covered.

use std::time::Duration;

use bytes::Bytes;
use marigram_proto::cluster as proto;
use marigram_storage::{Error, Result};
use tonic::Streaming;
use ulid::Ulid;

use super::{CALL_TIMEOUT, NodeClient};
use crate::rpc::convert::member;
use crate::rpc::convert::node::{self, RemoteBlock};

/// How long a piece of a file may take.
const PIECE_TIMEOUT: Duration = Duration::from_secs(30);

/// A file on its way.
pub struct FilePieces {
    client: NodeClient,
    stream: Streaming<proto::FilePiece>,
}

impl NodeClient {
    /// The sealed blocks that are still on the node.
    ///
    /// # Errors
    /// It does not answer.
    pub async fn list_blocks(&self) -> Result<Vec<RemoteBlock>> {
        let mut node = self.node.clone();
        let mut stream = self.within(CALL_TIMEOUT, node.list_blocks(proto::ListBlocksRequest {})).await?;
        let mut blocks = Vec::new();
        while let Some(piece) = self.next_within(PIECE_TIMEOUT, &mut stream).await? {
            for block in &piece.blocks {
                blocks.push(node::decode_block(block).map_err(|malformed| self.malformed(malformed))?);
            }
        }
        Ok(blocks)
    }

    /// A file of a sealed block: `meta.json`, `index` or `chunks`.
    ///
    /// # Errors
    /// It does not answer, or has no such block.
    pub async fn fetch_file(&self, ulid: Ulid, file: &str) -> Result<FilePieces> {
        let request = proto::FetchFileRequest { ulid: ulid.to_string(), file: file.to_owned() };
        let mut node = self.node.clone();
        let stream = self.within(PIECE_TIMEOUT, node.fetch_file(request)).await?;
        Ok(FilePieces { client: self.clone(), stream })
    }

    /// Tells that a catalog covers these blocks; answers those that the node has dropped or never had.
    ///
    /// # Errors
    /// It does not answer, or belongs to another cluster.
    pub async fn tell_covered(
        &self,
        catalog_number: u64,
        cluster_id: u128,
        ulids: &[Ulid],
        query_timeout_max_ms: u64,
    ) -> Result<Vec<Ulid>> {
        let mut dropped = Vec::new();
        // A few hundred KiB of names at a time, so that no message grows too large.
        for some in ulids.chunks(10_000) {
            let request = proto::TellCoveredRequest {
                catalog_number,
                cluster_id: member::encode_id(cluster_id),
                ulids: some.iter().map(Ulid::to_string).collect(),
                query_timeout_max_ms,
            };
            let mut node = self.node.clone();
            let response = self.within(CALL_TIMEOUT, node.tell_covered(request)).await?;
            for text in &response.dropped {
                dropped.push(node::decode_ulid(text).map_err(|malformed| self.malformed(malformed))?);
            }
        }
        Ok(dropped)
    }

    async fn next_within<T>(&self, timeout: Duration, stream: &mut Streaming<T>) -> Result<Option<T>> {
        match tokio::time::timeout(timeout, stream.message()).await {
            Ok(Ok(piece)) => Ok(piece),
            Ok(Err(status)) => Err(self.failed(&status)),
            Err(_) => Err(Error::Unavailable(format!("{} does not answer within {timeout:?}", self.address()))),
        }
    }
}

impl FilePieces {
    /// The next piece, at most 1 MiB; `None` at the end of the file.
    ///
    /// # Errors
    /// The file was not sent to its end.
    pub async fn next(&mut self) -> Result<Option<Bytes>> {
        let piece = self.client.next_within(PIECE_TIMEOUT, &mut self.stream).await?;
        Ok(piece.map(|piece| piece.bytes))
    }

    /// Hands all pieces to `take`, from a thread that may block; answers the length of the file.
    ///
    /// # Errors
    /// The file was not sent to its end, or what `take` says.
    pub fn take_all(mut self, mut take: impl FnMut(Bytes) -> Result<()>) -> Result<u64> {
        let mut length = 0;
        let client = self.client.clone();
        while let Some(piece) = client.wait(self.next())? {
            length += piece.len() as u64;
            take(piece)?;
        }
        Ok(length)
    }
}
