//! The node itself: handshakes, lists of members, blocks for the compactor.

use std::pin::Pin;
use std::time::Duration;

use futures_util::{Stream, stream};
use marigram_proto::cluster as proto;
use marigram_proto::cluster::node_server::Node;
use marigram_storage::block::BlockFile;
use marigram_storage::db::SealedBlock;
use marigram_storage::model::time::TimeRange;
use marigram_storage::{Error, Result};
use tonic::{Request, Response, Status, async_trait};

use super::Rpc;
use crate::rpc::PIECE_BYTES_MAX;
use crate::rpc::convert::node::{self, RemoteBlock};
use crate::rpc::convert::{id, member};

/// Blocks in one message.
const BLOCKS_PER_PIECE: usize = 4096;
/// Bytes of a file in one message: room is left for the tag and the length.
const FILE_PIECE_BYTES: usize = PIECE_BYTES_MAX - 64;

type Pieces<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[async_trait]
impl Node for Rpc {
    async fn handshake(
        &self,
        _request: Request<proto::HandshakeRequest>,
    ) -> Result<Response<proto::HandshakeResponse>, Status> {
        let handshake = self.blocking(|node| Ok(node.handshake())).await?;
        Ok(Response::new(node::encode_handshake(&handshake)))
    }

    async fn tell_members(
        &self,
        request: Request<proto::TellMembersRequest>,
    ) -> Result<Response<proto::TellMembersResponse>, Status> {
        let request = request.into_inner();
        let list = request.members.ok_or_else(|| Status::invalid_argument("there is no list of members"))?;
        let list = member::decode_list(&list)?;
        let known = self.blocking(move |node| node.members().tell(list, request.confirmed)).await?;
        Ok(Response::new(proto::TellMembersResponse {
            catalog_number: known.list.catalog_number,
            identity: Some(member::encode(self.node.member())),
        }))
    }

    type ListBlocksStream = Pieces<proto::ListBlocksResponse>;

    async fn list_blocks(
        &self,
        _request: Request<proto::ListBlocksRequest>,
    ) -> Result<Response<Self::ListBlocksStream>, Status> {
        let blocks = self.blocking(|node| Ok(node.db()?.sealed_blocks())).await?;
        let blocks: Vec<proto::BlockInfo> =
            blocks.iter().map(|block| node::encode_block(&remote_block(block))).collect();
        let pieces: Vec<_> = blocks
            .chunks(BLOCKS_PER_PIECE)
            .map(|blocks| Ok(proto::ListBlocksResponse { blocks: blocks.to_vec() }))
            .collect();
        Ok(Response::new(Box::pin(stream::iter(pieces))))
    }

    type FetchFileStream = Pieces<proto::FilePiece>;

    async fn fetch_file(
        &self,
        request: Request<proto::FetchFileRequest>,
    ) -> Result<Response<Self::FetchFileStream>, Status> {
        let request = request.into_inner();
        let ulid = node::decode_ulid(&request.ulid)?;
        let file = match request.file.as_str() {
            "meta.json" => BlockFile::Meta,
            "index" => BlockFile::Index,
            "chunks" => BlockFile::Chunks,
            _ => return Err(Status::invalid_argument("the files of a block are meta.json, index and chunks")),
        };
        let bytes = self.blocking(move |node| {
            let gone = || Error::Unavailable(format!("storage node {} has no block {ulid}", node.member().node_name));
            node.db()?.block_file(ulid, file).ok_or_else(gone)
        });
        let bytes = bytes.await?;
        let rpc = self.clone();
        // The bytes may be a memory map: reading them waits for the disk.
        let pieces = stream::try_unfold(bytes, move |mut left| {
            let rpc = rpc.clone();
            async move {
                if left.is_empty() {
                    return Ok(None);
                }
                let piece = left.split_to(left.len().min(FILE_PIECE_BYTES));
                let bytes = rpc.blocking(move |_| Ok(piece.to_vec().into())).await?;
                Ok(Some((proto::FilePiece { bytes }, left)))
            }
        });
        Ok(Response::new(Box::pin(pieces)))
    }

    async fn tell_covered(
        &self,
        request: Request<proto::TellCoveredRequest>,
    ) -> Result<Response<proto::TellCoveredResponse>, Status> {
        let request = request.into_inner();
        let cluster_id = id(&request.cluster_id, "a cluster id")?;
        let ulids = request.ulids.iter().map(|text| node::decode_ulid(text)).collect::<Result<Vec<_>, _>>()?;
        let query_timeout_max = Duration::from_millis(request.query_timeout_max_ms);
        let dropped = self.blocking(move |node| {
            let known = node.members().known();
            if known.is_none_or(|known| known.list.cluster_id != cluster_id) {
                let name = &node.member().node_name;
                return Err(Error::Unavailable(format!(
                    "storage node {name} does not belong to the cluster {cluster_id:032x}: it keeps its blocks"
                )));
            }
            Ok(node.db()?.covered(&ulids, node.drop_grace(query_timeout_max)))
        });
        let dropped = dropped.await?.iter().map(ToString::to_string).collect();
        Ok(Response::new(proto::TellCoveredResponse { dropped }))
    }

    async fn seal(&self, _request: Request<proto::SealRequest>) -> Result<Response<proto::SealResponse>, Status> {
        let sealed = self.blocking(|node| node.db()?.seal()).await;
        self.app.check_poison();
        sealed.map(|()| Response::new(proto::SealResponse {}))
    }
}

fn remote_block(block: &SealedBlock) -> RemoteBlock {
    let meta = &block.meta;
    RemoteBlock {
        ulid: meta.ulid,
        created_ms: meta.created_ms,
        range: TimeRange { start_ms: meta.range.start_ms, end_ms: meta.range.end_ms },
        series: meta.series,
        samples: meta.samples,
        size_bytes: meta.size_bytes,
        covered: block.covered,
    }
}
