//! Selects and lookups.
//!
//! 1. The request becomes a context: the asker's deadline and budget, capped by the node's own.
//! 2. On a blocking thread the store's select is opened; only then the header is made, so that its drop mark is never
//!    older than what the select misses.
//! 3. A task pulls one piece at a time on a blocking thread and sends it on. While the reader does not take it, the
//!    select holds memory but no thread.
//! 4. When the asker is gone, the deadline has passed or the node stops, the context is cancelled.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{Stream, stream};
use marigram_proto::cluster as proto;
use marigram_proto::cluster::select_server::Select;
use marigram_storage::context::{Context, Reservation};
use marigram_storage::select::SeriesStream;
use marigram_storage::write::FamilyMetadata;
use marigram_storage::{Error, Result};
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tonic::{Request, Response, Status, async_trait};

use super::{Rpc, joined, overloaded, stopping};
use crate::rpc::convert::lookup::{self, Item, Lookup};
use crate::rpc::convert::select::{self, Pieces, Scope};
use crate::rpc::convert::{Malformed, settle, status};
use crate::storage_node::node::StorageNode;

/// Memory that one read may hold, whatever its asker allows.
const READ_BUDGET_BYTES_MAX: u64 = 1 << 30;
/// Pieces that wait for the connection.
const PIECES_AHEAD: usize = 2;

type Place = OwnedSemaphorePermit;
type PieceStream = Pin<Box<dyn Stream<Item = Result<proto::SelectPiece, Status>> + Send>>;
type Answer<T> = Result<Response<T>, Status>;
type LookupStream = stream::Iter<std::vec::IntoIter<Result<proto::LookupPiece, Status>>>;
type MetadataStream = stream::Iter<std::vec::IntoIter<Result<proto::MetadataPiece, Status>>>;

/// What the task of a select hands to the connection.
enum Sent {
    Piece(Box<proto::SelectPiece>),
    Failed(Status),
    End,
}

/// The pieces as the connection takes them. An answer is whole only if its end was said: whatever else ends the task
/// makes it an error.
fn piece_stream(receiver: mpsc::Receiver<Sent>) -> PieceStream {
    let pieces = stream::unfold(Some(receiver), |receiver| async move {
        let mut receiver = receiver?;
        match receiver.recv().await {
            Some(Sent::Piece(piece)) => Some((Ok(*piece), Some(receiver))),
            Some(Sent::Failed(status)) => Some((Err(status), None)),
            Some(Sent::End) => None,
            None => Some((Err(Status::unavailable("the answer was cut off")), None)),
        }
    });
    Box::pin(pieces)
}

/// Cancels on drop: the task of a call is dropped when its client is gone.
struct CancelOnDrop(Context);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

/// A select under way.
struct Reading {
    stream: Box<dyn SeriesStream>,
    pieces: Pieces,
    _reservation: Option<Reservation>,
}

impl Reading {
    /// The next piece; `None` at the end.
    fn next_piece(&mut self) -> Result<Option<proto::SelectPiece>> {
        loop {
            if let Some(piece) = self.pieces.next() {
                return piece.map(Some).map_err(too_large);
            }
            let Some(batch) = self.stream.next_batch()? else { return Ok(None) };
            self.pieces = Pieces::new(batch.series);
            self._reservation = Some(batch.reservation);
        }
    }
}

fn bad_input(malformed: Malformed) -> Error {
    Error::BadInput(malformed.to_string())
}

fn too_large(malformed: Malformed) -> Error {
    Error::Limit(malformed.0)
}

impl Rpc {
    fn context(&self, scope: &Scope) -> Context {
        let timeout = Duration::from_millis(scope.timeout_ms).min(self.node.query_timeout_max());
        let clock = Arc::clone(&self.node.env().clock);
        Context::new(scope.tenant.clone(), clock, Some(timeout), scope.memory_budget_bytes.min(READ_BUDGET_BYTES_MAX))
    }

    fn read_place(&self) -> Result<Place, Status> {
        self.reads.try_enter().ok_or_else(|| overloaded("too many reads at once"))
    }

    /// Runs a part of a read on one of the threads for reads.
    async fn reading<T: Send + 'static>(
        &self,
        work: impl FnOnce(&StorageNode) -> Result<T> + Send + 'static,
    ) -> Result<T, Status> {
        let _thread = self.read_threads.acquire().await.map_err(|_| stopping())?;
        let node = Arc::clone(&self.node);
        joined(self.app.reads.run(move || work(&node)).await)
    }

    /// Sends the pieces of a select until its end, or until nobody wants them any more.
    async fn send(self, mut reading: Reading, context: CancelOnDrop, pieces: mpsc::Sender<Sent>, _place: Place) {
        loop {
            let step = self.reading(move |_| Ok((reading.next_piece(), reading)));
            let done = tokio::select! {
                done = step => done,
                () = pieces.closed() => return,
                () = self.stopping() => Err(stopping()),
            };
            let (next, back) = match done {
                Ok((Ok(Some(piece)), back)) => (Sent::Piece(Box::new(piece)), Some(back)),
                Ok((Ok(None), _)) => (Sent::End, None),
                Ok((Err(error), _)) => (Sent::Failed(status::encode(&error)), None),
                Err(status) => (Sent::Failed(status), None),
            };
            let patience = context.0.time_left().unwrap_or(Duration::MAX);
            let sent = tokio::select! {
                sent = tokio::time::timeout(patience, pieces.send(next)) => sent.is_ok_and(|sent| sent.is_ok()),
                () = self.stopping() => false,
            };
            match back {
                Some(back) if sent => reading = back,
                _ => return,
            }
        }
    }

    /// Answers a lookup with the items that `find` finds.
    async fn look_up<T: Item + 'static>(
        &self,
        request: proto::LookupRequest,
        find: fn(&StorageNode, &Context, &Lookup) -> Result<Vec<T>>,
    ) -> Answer<LookupStream> {
        let _place = self.read_place()?;
        let context = self.context(&select::decode_scope(request.scope.as_ref())?);
        let _cancel = CancelOnDrop(context.clone());
        let found = self.reading(move |node| {
            let lookup = lookup::decode_request(request).map_err(bad_input)?;
            let items = find(node, &context, &lookup)?;
            lookup::encode_items(&node.answer_header(lookup.scope.catalog_number)?, &items).map_err(too_large)
        });
        let pieces: Vec<_> = found.await?.into_iter().map(Ok).collect();
        Ok(Response::new(stream::iter(pieces)))
    }
}

#[async_trait]
impl Select for Rpc {
    type SelectStream = PieceStream;

    async fn select(&self, request: Request<proto::SelectRequest>) -> Answer<Self::SelectStream> {
        let place = self.read_place()?;
        let request = request.into_inner();
        let context = self.context(&select::decode_scope(request.scope.as_ref())?);
        let cancel = CancelOnDrop(context.clone());
        let opened = self.reading(move |node| {
            let request = select::decode_request(request).map_err(bad_input)?;
            let stream = node.db()?.select(&context, request.request())?;
            let header = node.answer_header(request.scope.catalog_number)?;
            Ok((header, Reading { stream, pieces: Pieces::new(Vec::new()), _reservation: None }))
        });
        let (header, reading) = opened.await?;
        let (sender, receiver) = mpsc::channel(PIECES_AHEAD);
        let first = proto::SelectPiece { header: Some(select::encode_header(&header)), ..Default::default() };
        // There is room for the first piece.
        let _ = sender.try_send(Sent::Piece(Box::new(first)));
        tokio::spawn(self.clone().send(reading, cancel, sender, place));
        Ok(Response::new(piece_stream(receiver)))
    }

    type SeriesStream = LookupStream;

    async fn series(&self, request: Request<proto::LookupRequest>) -> Answer<Self::SeriesStream> {
        let find = |node: &StorageNode, context: &Context, lookup: &Lookup| {
            node.db()?.series(context, &lookup.selectors, lookup.range, lookup.limit)
        };
        self.look_up(request.into_inner(), find).await
    }

    type LabelNamesStream = LookupStream;

    async fn label_names(&self, request: Request<proto::LookupRequest>) -> Answer<Self::LabelNamesStream> {
        let find = |node: &StorageNode, context: &Context, lookup: &Lookup| {
            node.db()?.label_names(context, &lookup.selectors, lookup.range, lookup.limit)
        };
        self.look_up(request.into_inner(), find).await
    }

    type LabelValuesStream = LookupStream;

    async fn label_values(&self, request: Request<proto::LookupRequest>) -> Answer<Self::LabelValuesStream> {
        let find = |node: &StorageNode, context: &Context, lookup: &Lookup| {
            node.db()?.label_values(context, &lookup.label_name, &lookup.selectors, lookup.range, lookup.limit)
        };
        self.look_up(request.into_inner(), find).await
    }

    type MetadataStream = MetadataStream;

    async fn metadata(&self, request: Request<proto::MetadataRequest>) -> Answer<Self::MetadataStream> {
        let _place = self.read_place()?;
        let scope = select::decode_scope(request.into_inner().scope.as_ref())?;
        let found = self.reading(move |node| {
            let families = node.db()?.metadata(&scope.tenant);
            let flat = families.into_iter().flat_map(|(family, entries)| {
                entries.into_iter().map(move |entry| FamilyMetadata { family: family.clone(), entry })
            });
            lookup::encode_metadata(&node.answer_header(scope.catalog_number)?, flat).map_err(too_large)
        });
        let pieces: Vec<_> = found.await?.into_iter().map(Ok).collect();
        Ok(Response::new(stream::iter(pieces)))
    }

    /// Takes no place and no thread: a few words under a lock that is held for as long.
    async fn settle(&self, request: Request<proto::SettleRequest>) -> Answer<proto::SettleResponse> {
        let (scope, up_to_ms) = settle::decode_request(request.get_ref())?;
        let (header, node) = self.node.settle(&scope, up_to_ms).map_err(|error| status::encode(&error))?;
        Ok(Response::new(settle::encode_response(&header, &node)))
    }
}
