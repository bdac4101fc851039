//! The storage nodes as the replicator sees them: over gRPC, as far as [`Peers`] knows them.

use std::future::Future;
use std::sync::Arc;

use marigram_storage::model::labels::SeriesId;
use marigram_storage::model::member::MemberList;
use marigram_storage::{Error, Result};
use parking_lot::Mutex;

use super::transport::{Call, Cluster, Transport};
use crate::peers::{Peers, View};
use crate::ring::NodeSet;
use crate::rpc::client::NodeClient;
use crate::rpc::convert::append::{AppendHeader, ChosenSeries, pieces};

/// The storage nodes of `--storage-node`.
pub struct OverPeers {
    peers: Arc<Peers>,
    /// `--replication-factor`, where given.
    replication_factor: Option<u32>,
    now: Mutex<Now>,
}

/// What follows from one view. Cheap to clone.
#[derive(Clone)]
struct Now {
    view: Arc<View>,
    cluster: Result<Arc<Cluster>, String>,
    live: NodeSet,
}

impl OverPeers {
    /// Over the nodes that `peers` watches.
    pub fn new(peers: Arc<Peers>, replication_factor: Option<u32>) -> Self {
        let now = Now { view: Arc::default(), cluster: Err(String::new()), live: NodeSet::EMPTY };
        OverPeers { peers, replication_factor, now: Mutex::new(now) }
    }

    /// The sentence for a replication factor that is not the list's.
    pub fn contradiction(&self, list: &MemberList) -> Option<String> {
        let given = self.replication_factor.filter(|given| *given != list.replication_factor)?;
        Some(format!("--replication-factor {given} differs from the cluster's {}", list.replication_factor))
    }

    /// Worked out once per view.
    fn now(&self) -> Now {
        let view = self.peers.view();
        let mut now = self.now.lock();
        if !Arc::ptr_eq(&now.view, &view) || now.cluster.as_ref().is_err_and(String::is_empty) {
            let cluster = match (&view.list, &now.cluster) {
                (Some(list), Ok(cluster)) if cluster.list == *list => Ok(Arc::clone(cluster)),
                (Some(list), _) => self.cluster_of(list),
                (None, _) => Err(self.no_list(&view)),
            };
            let live = cluster.as_ref().map(|cluster| writable(&view, &cluster.list)).unwrap_or_default();
            *now = Now { view, cluster, live };
        }
        now.clone()
    }

    fn cluster_of(&self, list: &MemberList) -> Result<Arc<Cluster>, String> {
        match self.contradiction(list) {
            Some(sentence) => Err(sentence),
            None => Cluster::new(list.clone()).map(Arc::new).map_err(|error| error.to_string()),
        }
    }

    fn no_list(&self, view: &View) -> String {
        let silent = |node: &crate::peers::Node| Some(format!("{}: {}", node.address, node.down.as_ref()?));
        let mut text = if view.nodes.iter().any(|node| node.down.is_none()) {
            let enough = self.replication_factor.map_or("enough".to_owned(), |copies| copies.to_string());
            format!(
                "no storage node has a list of members yet: a compactor writes the first one when {enough} storage nodes answer"
            )
        } else {
            "no storage node answers".to_owned()
        };
        for reason in view.nodes.iter().filter_map(silent).chain(view.problems.iter().cloned()) {
            text.push_str("; ");
            text.push_str(&reason);
        }
        text
    }
}

fn writable(view: &View, list: &MemberList) -> NodeSet {
    let takes = |(place, member)| view.writable(member).is_ok().then_some(place);
    list.members.iter().enumerate().filter_map(takes).collect()
}

impl Transport for OverPeers {
    fn cluster(&self) -> Result<Arc<Cluster>, String> {
        self.now().cluster
    }

    fn live(&self, cluster: &Cluster) -> NodeSet {
        let now = self.now();
        match &now.cluster {
            Ok(newest) if std::ptr::eq(&**newest, cluster) => now.live,
            // A write that began under an older list: its members count while they answer with the same disks.
            _ => writable(&now.view, &cluster.list),
        }
    }

    fn why_down(&self, cluster: &Cluster, node: usize) -> String {
        let Some(member) = cluster.list.members.get(node) else { return "it is not listed".to_owned() };
        match self.now().view.writable(member) {
            Ok(_) => "it has come back meanwhile".to_owned(),
            Err(reason) => reason,
        }
    }

    fn append(
        &self,
        cluster: &Arc<Cluster>,
        node: usize,
        call: Arc<Call>,
    ) -> impl Future<Output = Result<Vec<SeriesId>, String>> + Send + 'static {
        // Encoded here, on the thread of the write, not where sockets are served.
        let ready = self.ready(cluster, node, &call);
        let peers = Arc::clone(&self.peers);
        async move {
            let (client, header, pieces) = ready?;
            match client.append(&header, pieces).await {
                Ok(appended) => Ok(appended.unknown),
                Err(error) => {
                    // A node that gave a reason answers; one that gave none is asked for a sign of life.
                    if matches!(error, Error::Unavailable(_)) {
                        peers.mark_down(client.address(), &error.to_string());
                    }
                    Err(error.to_string())
                }
            }
        }
    }

    fn slow(&self, cluster: &Cluster, node: usize) {
        let Some(member) = cluster.list.members.get(node) else { return };
        if let Ok(node) = self.now().view.writable(member) {
            self.peers.mark_down(&node.address, "it did not answer a write in time");
        }
    }
}

type Ready = (NodeClient, AppendHeader, Vec<marigram_proto::cluster::AppendPiece>);

impl OverPeers {
    fn ready(&self, cluster: &Cluster, node: usize, call: &Call) -> Result<Ready, String> {
        let member = cluster.list.members.get(node).ok_or("it is not listed")?;
        let client = self.now().view.writable(member)?.client.clone();
        let header = AppendHeader {
            disk_id: member.disk_id,
            cluster_id: cluster.list.cluster_id,
            tenant: call.batch.tenant.clone(),
        };
        let chosen = |with_labels| move |place: &u32| ChosenSeries { index: *place as usize, with_labels };
        let series = call.known.iter().map(chosen(false)).chain(call.labelled.iter().map(chosen(true)));
        let metadata = call.families.iter().filter_map(|place| call.batch.metadata.get(*place as usize));
        let pieces = pieces(&call.batch, series, metadata).map_err(|error| error.to_string())?;
        Ok((client, header, pieces))
    }
}
