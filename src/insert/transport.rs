//! How writes reach storage nodes: what the replicator needs of the network, so that it can be tested without one.

use std::future::Future;
use std::sync::Arc;

use marigram_storage::model::labels::SeriesId;
use marigram_storage::model::member::MemberList;
use marigram_storage::write::WriteBatch;

use crate::ring::{NodeSet, Ring, RingError};

/// The members of one list, ready for placing.
#[derive(Debug)]
pub struct Cluster {
    /// The list.
    pub list: MemberList,
    /// Its members, by their place in the list.
    pub ring: Ring,
}

impl Cluster {
    /// The ring of a list.
    ///
    /// # Errors
    /// [`RingError`] says why the list cannot place anything.
    pub fn new(list: MemberList) -> Result<Self, RingError> {
        let ring = Ring::new(&list.members)?;
        Ok(Cluster { list, ring })
    }

    /// Copies that are written of every sample.
    pub fn copies(&self) -> usize {
        self.list.replication_factor as usize
    }

    /// The name of a member.
    pub fn name(&self, node: usize) -> &str {
        self.list.members.get(node).map_or("?", |member| &member.node_name)
    }
}

/// What is sent to one node: places of series and metadata in a batch that all calls share.
#[derive(Debug)]
pub struct Call {
    /// The write.
    pub batch: Arc<WriteBatch>,
    /// Series that are sent without labels: the node is believed to know them.
    pub known: Vec<u32>,
    /// Series that are sent with their labels.
    pub labelled: Vec<u32>,
    /// Metadata of families.
    pub families: Vec<u32>,
}

/// Reaches storage nodes.
pub trait Transport: Send + Sync + 'static {
    /// The newest list of members.
    ///
    /// # Errors
    /// A sentence that says why there is none to go by.
    fn cluster(&self) -> Result<Arc<Cluster>, String>;

    /// Which members of that list take writes now.
    fn live(&self, cluster: &Cluster) -> NodeSet;

    /// Why a member takes no writes now.
    fn why_down(&self, cluster: &Cluster, node: usize) -> String;

    /// Sends a call. `Ok`: the node has made all of it durable except for the series that it names, of `known` alone, which it
    /// does not know.
    ///
    /// The error is a sentence; what became of the call is not known then.
    fn append(
        &self,
        cluster: &Arc<Cluster>,
        node: usize,
        call: Arc<Call>,
    ) -> impl Future<Output = Result<Vec<SeriesId>, String>> + Send + 'static;

    /// Hears that a node did not answer a call in time.
    fn slow(&self, cluster: &Cluster, node: usize);
}
