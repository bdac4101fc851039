//! The storage nodes as a query sees them. In a server they are [`Peers`] and the clients that it holds; the
//! simulated cluster of the tests has its own.

use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use marigram_storage::Result;
use marigram_storage::context::Context;
use marigram_storage::model::labels::Labels;
use marigram_storage::model::matcher::Matcher;
use marigram_storage::model::member::{Member, MemberList};
use marigram_storage::model::time::TimeRange;
use marigram_storage::select::{SelectRequest, SeriesStream};
use marigram_storage::write::FamilyMetadata;

use crate::peers::Peers;
use crate::rpc::client::{Answer, NodeClient};
use crate::rpc::convert::select::AnswerHeader;
use crate::rpc::convert::settle::SettledNode;

/// Who is listed, and who of them answers.
pub trait Members: Send + Sync {
    /// The newest list of members that was seen.
    fn list(&self) -> Option<MemberList>;

    /// Takes note of a list.
    ///
    /// # Errors
    /// A sentence: it is of another cluster.
    fn learn(&self, list: MemberList) -> Result<(), String>;

    /// The node that answers for a member, with its disk.
    ///
    /// # Errors
    /// A sentence that says why the member is missing.
    fn live(&self, member: &Member) -> Result<Arc<dyn Node>, String>;

    /// Takes note that a node does not answer.
    fn mark_down(&self, address: &str, reason: &str);
}

/// What a select of a node begins with: its header, and the series to come.
pub type Opened = (AnswerHeader, Box<dyn SeriesStream>);

/// One storage node. Futures run on the runtime; streams are read from threads that may block. `catalog_number` is that
/// of the newest list that the asker knows.
pub trait Node: Send + Sync {
    /// Where it is.
    fn address(&self) -> &str;

    /// Opens a select: then the node holds on to all data of its answer.
    fn select<'a>(
        &'a self,
        context: &'a Context,
        request: SelectRequest<'a>,
        catalog_number: u64,
    ) -> BoxFuture<'a, Result<Opened>>;

    /// Label sets.
    fn series<'a>(&'a self, lookup: Lookup<'a>, catalog_number: u64) -> BoxFuture<'a, Result<Answer<Labels>>>;

    /// Label names.
    fn label_names<'a>(&'a self, lookup: Lookup<'a>, catalog_number: u64) -> BoxFuture<'a, Result<Answer<String>>>;

    /// Values of the label `name`.
    fn label_values<'a>(
        &'a self,
        name: &'a str,
        lookup: Lookup<'a>,
        catalog_number: u64,
    ) -> BoxFuture<'a, Result<Answer<String>>>;

    /// Metadata of the tenant's families.
    fn metadata<'a>(
        &'a self,
        context: &'a Context,
        catalog_number: u64,
    ) -> BoxFuture<'a, Result<Answer<FamilyMetadata>>>;

    /// Has the tenant's samples up to a time settled, and tells what has changed.
    fn settle<'a>(
        &'a self,
        context: &'a Context,
        up_to_ms: i64,
        catalog_number: u64,
    ) -> BoxFuture<'a, Result<(AnswerHeader, SettledNode)>>;
}

/// What a label request asks for.
#[derive(Clone, Copy, Debug)]
pub struct Lookup<'a> {
    /// Whose.
    pub context: &'a Context,
    /// Series that match any of them.
    pub selectors: &'a [Vec<Matcher>],
    /// With samples near it.
    pub range: TimeRange,
    /// At most so many; 0: all.
    pub limit: usize,
}

impl Members for Peers {
    fn list(&self) -> Option<MemberList> {
        self.view().list.clone()
    }

    fn learn(&self, list: MemberList) -> Result<(), String> {
        Peers::learn(self, list)
    }

    fn live(&self, member: &Member) -> Result<Arc<dyn Node>, String> {
        Ok(Arc::new(self.view().live(member)?.client.clone()))
    }

    fn mark_down(&self, address: &str, reason: &str) {
        Peers::mark_down(self, address, reason);
    }
}

impl Node for NodeClient {
    fn address(&self) -> &str {
        NodeClient::address(self)
    }

    fn select<'a>(
        &'a self,
        context: &'a Context,
        request: SelectRequest<'a>,
        catalog_number: u64,
    ) -> BoxFuture<'a, Result<Opened>> {
        let opened = NodeClient::select(self, context, request, catalog_number);
        opened.map(|opened| opened.map(|(header, stream)| (header, Box::new(stream) as Box<dyn SeriesStream>))).boxed()
    }

    fn series<'a>(&'a self, lookup: Lookup<'a>, catalog_number: u64) -> BoxFuture<'a, Result<Answer<Labels>>> {
        let Lookup { context, selectors, range, limit } = lookup;
        NodeClient::series(self, context, selectors, range, limit, catalog_number).boxed()
    }

    fn label_names<'a>(&'a self, lookup: Lookup<'a>, catalog_number: u64) -> BoxFuture<'a, Result<Answer<String>>> {
        let Lookup { context, selectors, range, limit } = lookup;
        NodeClient::label_names(self, context, selectors, range, limit, catalog_number).boxed()
    }

    fn label_values<'a>(
        &'a self,
        name: &'a str,
        lookup: Lookup<'a>,
        catalog_number: u64,
    ) -> BoxFuture<'a, Result<Answer<String>>> {
        let Lookup { context, selectors, range, limit } = lookup;
        NodeClient::label_values(self, context, name, selectors, range, limit, catalog_number).boxed()
    }

    fn metadata<'a>(
        &'a self,
        context: &'a Context,
        catalog_number: u64,
    ) -> BoxFuture<'a, Result<Answer<FamilyMetadata>>> {
        NodeClient::metadata(self, context, catalog_number).boxed()
    }

    fn settle<'a>(
        &'a self,
        context: &'a Context,
        up_to_ms: i64,
        catalog_number: u64,
    ) -> BoxFuture<'a, Result<(AnswerHeader, SettledNode)>> {
        NodeClient::settle(self, context, up_to_ms, catalog_number).boxed()
    }
}
