//! What a query node asks: selects and lookups.
//!
//! 1. Opening sends the request and waits for the answer's header. It is async, so that many nodes can be opened at
//!    once.
//! 2. The series are read from a thread that may block. Each piece is reserved in the query's budget before it is
//!    handed on; flow control keeps the node from sending more than a few MiB ahead.
//! 3. While it waits, the deadline and the cancel flag are looked at; dropping the stream ends the call, and the node
//!    stops its work.

use std::future::Future;
use std::time::Duration;

use marigram_proto::cluster as proto;
use marigram_storage::Result;
use marigram_storage::context::{Context, Reservation};
use marigram_storage::model::labels::Labels;
use marigram_storage::model::matcher::Matcher;
use marigram_storage::model::time::TimeRange;
use marigram_storage::select::{SelectRequest, SelectedSeries, SeriesBatch, SeriesStream};
use marigram_storage::write::FamilyMetadata;
use prost::Message;
use tonic::{Status, Streaming};

use super::NodeClient;
use crate::rpc::convert::Malformed;
use crate::rpc::convert::lookup::{self, Item};
use crate::rpc::convert::select::{self, AnswerHeader, Joiner, Scope, held_bytes};
use crate::rpc::convert::settle::{self, SettledNode};

/// How often a waiting call looks at its cancel flag.
const CHECK_INTERVAL: Duration = Duration::from_millis(50);

/// What a node answered to a lookup.
#[derive(Clone, Debug)]
pub struct Answer<T> {
    /// What the answer is worth.
    pub header: AnswerHeader,
    /// The items: sorted, each once (metadata: in no order).
    pub items: Vec<T>,
}

/// The series of a select, as they arrive. To be read from a thread that may block; dropping it ends the call.
pub struct RemoteStream {
    client: NodeClient,
    context: Context,
    stream: Streaming<proto::SelectPiece>,
    joiner: Joiner,
    /// For the series that the joiner holds back.
    held: Option<Reservation>,
    ended: bool,
}

impl NodeClient {
    /// Opens a select: when this returns, the node holds on to all data of its answer. `catalog_number` is that of the
    /// newest list of members that the asker has seen; 0: none.
    ///
    /// # Errors
    /// The context's; the node's; it does not answer.
    pub async fn select(
        &self,
        context: &Context,
        request: SelectRequest<'_>,
        catalog_number: u64,
    ) -> Result<(AnswerHeader, RemoteStream)> {
        let message = select::encode_request(&scope(context, catalog_number), request);
        let mut stub = self.select.clone();
        let mut stream = self.attended(context, stub.select(message)).await?.into_inner();
        let first = self.attended(context, stream.message()).await?;
        let header = self.header(first.map(|piece| (piece.header, piece.series.is_empty())))?;
        let remote = RemoteStream {
            client: self.clone(),
            context: context.clone(),
            stream,
            joiner: Joiner::default(),
            held: None,
            ended: false,
        };
        Ok((header, remote))
    }

    /// Label sets of the series that match any of `selectors`, as [`marigram_storage::db::Db::series`].
    ///
    /// # Errors
    /// The context's; the node's; it does not answer.
    pub async fn series(
        &self,
        context: &Context,
        selectors: &[Vec<Matcher>],
        range: TimeRange,
        limit: usize,
        catalog_number: u64,
    ) -> Result<Answer<Labels>> {
        let message = lookup::encode_request(&scope(context, catalog_number), selectors, range, limit, "");
        let mut stub = self.select.clone();
        let response = self.attended(context, stub.series(message)).await?;
        self.items(context, response.into_inner()).await
    }

    /// Names of the labels of those series.
    ///
    /// # Errors
    /// The context's; the node's; it does not answer.
    pub async fn label_names(
        &self,
        context: &Context,
        selectors: &[Vec<Matcher>],
        range: TimeRange,
        limit: usize,
        catalog_number: u64,
    ) -> Result<Answer<String>> {
        let message = lookup::encode_request(&scope(context, catalog_number), selectors, range, limit, "");
        let mut stub = self.select.clone();
        let response = self.attended(context, stub.label_names(message)).await?;
        self.items(context, response.into_inner()).await
    }

    /// Values of the label `name` of those series.
    ///
    /// # Errors
    /// The context's; the node's; it does not answer.
    pub async fn label_values(
        &self,
        context: &Context,
        name: &str,
        selectors: &[Vec<Matcher>],
        range: TimeRange,
        limit: usize,
        catalog_number: u64,
    ) -> Result<Answer<String>> {
        let message = lookup::encode_request(&scope(context, catalog_number), selectors, range, limit, name);
        let mut stub = self.select.clone();
        let response = self.attended(context, stub.label_values(message)).await?;
        self.items(context, response.into_inner()).await
    }

    /// Metadata of the tenant's metric families, in no order.
    ///
    /// # Errors
    /// The context's; the node's; it does not answer.
    pub async fn metadata(&self, context: &Context, catalog_number: u64) -> Result<Answer<FamilyMetadata>> {
        let message = proto::MetadataRequest { scope: Some(select::encode_scope(&scope(context, catalog_number))) };
        let mut stub = self.select.clone();
        let mut stream = self.attended(context, stub.metadata(message)).await?.into_inner();
        let first = self.attended(context, stream.message()).await?;
        let header = self.header(first.map(|piece| (piece.header, piece.metadata.is_empty())))?;
        let (mut items, mut reservations) = (Vec::new(), Vec::new());
        while let Some(piece) = self.attended(context, stream.message()).await? {
            reservations.push(context.reserve(piece.encoded_len() as u64)?);
            items.extend(lookup::decode_metadata(piece).map_err(|malformed| self.malformed(malformed))?);
        }
        Ok(Answer { header, items })
    }

    /// Has the tenant's samples up to a time settled, and hears what has changed: see [`marigram_storage::db::Db::settle`].
    ///
    /// # Errors
    /// The context's; the node's; it does not answer.
    pub async fn settle(
        &self,
        context: &Context,
        up_to_ms: i64,
        catalog_number: u64,
    ) -> Result<(AnswerHeader, SettledNode)> {
        let message = settle::encode_request(&scope(context, catalog_number), up_to_ms);
        let mut stub = self.select.clone();
        let response = self.attended(context, stub.settle(message)).await?;
        settle::decode_response(response.get_ref(), up_to_ms).map_err(|malformed| self.malformed(malformed))
    }

    async fn items<T: Item>(&self, context: &Context, mut stream: Streaming<proto::LookupPiece>) -> Result<Answer<T>> {
        let first = self.attended(context, stream.message()).await?;
        let header = self.header(first.map(|piece| (piece.header, piece.items.is_empty())))?;
        let (mut items, mut reservations) = (Vec::new(), Vec::new());
        while let Some(piece) = self.attended(context, stream.message()).await? {
            // What arrived, and what it becomes.
            reservations.push(context.reserve(2 * piece.encoded_len() as u64)?);
            let more = lookup::decode_items(&piece, items.last()).map_err(|malformed| self.malformed(malformed))?;
            items.extend(more);
        }
        Ok(Answer { header, items })
    }

    /// The header of an answer, from its first piece, in which it must be alone.
    fn header(&self, first: Option<(Option<proto::AnswerHeader>, bool)>) -> Result<AnswerHeader> {
        let (header, alone) = first.unwrap_or_default();
        let decoded = match alone || header.is_none() {
            true => select::decode_header(header.as_ref()),
            false => Err(Malformed::new("the header of the answer does not come alone")),
        };
        decoded.map_err(|malformed| self.malformed(malformed))
    }

    /// Waits for a call, and meanwhile looks at the deadline and the cancel flag.
    async fn attended<T>(&self, context: &Context, call: impl Future<Output = Result<T, Status>>) -> Result<T> {
        let mut call = std::pin::pin!(call);
        loop {
            context.check()?;
            let patience = context.time_left().unwrap_or(CHECK_INTERVAL).min(CHECK_INTERVAL);
            if let Ok(outcome) = tokio::time::timeout(patience, &mut call).await {
                return outcome.map_err(|status| self.failed(&status));
            }
        }
    }
}

/// Who asks, and what the answer may cost.
fn scope(context: &Context, catalog_number: u64) -> Scope {
    let timeout_ms = context.time_left().map_or(u64::MAX, |left| u64::try_from(left.as_millis()).unwrap_or(u64::MAX));
    Scope { tenant: context.tenant().clone(), timeout_ms, memory_budget_bytes: context.budget_left(), catalog_number }
}

impl RemoteStream {
    /// The series of the next piece that are complete; `None` at the end.
    fn next_series(&mut self) -> Result<Option<Vec<SelectedSeries>>> {
        let client = self.client.clone();
        let piece = client.wait(client.attended(&self.context, self.stream.message()))?;
        let Some(piece) = piece else {
            self.ended = true;
            return Ok(self.joiner.finish().map(|last| vec![last]));
        };
        let _arrived = self.context.reserve(piece.encoded_len() as u64)?;
        let complete = self.joiner.push(piece).map_err(|malformed| client.malformed(malformed))?;
        self.held = Some(self.context.reserve(self.joiner.held_bytes())?);
        Ok(Some(complete))
    }
}

impl SeriesStream for RemoteStream {
    fn next_batch(&mut self) -> Result<Option<SeriesBatch>> {
        while !self.ended {
            let next = self.next_series();
            if next.is_err() {
                self.ended = true;
            }
            let Some(series) = next? else { break };
            if !series.is_empty() {
                let reservation = self.context.reserve(series.iter().map(held_bytes).sum())?;
                return Ok(Some(SeriesBatch { series, reservation }));
            }
        }
        self.held = None;
        Ok(None)
    }
}
