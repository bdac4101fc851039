//! A moment's picture of the storage nodes.

use std::sync::Arc;

use marigram_storage::model::member::{Member, MemberList};

use crate::rpc::client::NodeClient;
use crate::rpc::convert::node::{Handshake, NodeState};

/// The storage nodes at one moment.
#[derive(Clone, Debug, Default)]
pub struct View {
    /// The newest list of members that was seen.
    pub list: Option<MemberList>,
    /// One per resolved address.
    pub nodes: Vec<Node>,
    /// What is wrong with the addresses that were given or with the nodes behind them, one sentence each: names that
    /// cannot be resolved, two nodes with one name.
    pub problems: Vec<String>,
}

/// What answers at one address.
#[derive(Clone, Debug)]
pub struct Node {
    /// `HOST:PORT`.
    pub address: String,
    /// To ask it.
    pub client: NodeClient,
    /// What it said last; stays when it is down.
    pub handshake: Option<Arc<Handshake>>,
    /// Why it is down; `None`: it answers.
    pub down: Option<String>,
    /// The cluster that it says it belongs to, where that is another than the others'; it counts as down.
    pub stranger: Option<u128>,
}

impl Node {
    /// What it says, if it answers.
    pub fn answering(&self) -> Option<&Handshake> {
        match self.down {
            None => self.handshake.as_deref(),
            Some(_) => None,
        }
    }
}

impl View {
    /// Adds what is wrong with the nodes to the problems.
    pub(super) fn new(list: Option<MemberList>, nodes: Vec<Node>, problems: Vec<String>) -> Self {
        let mut view = View { list, nodes, problems };
        view.problems.extend(view.shared_names());
        view
    }

    /// The cluster of the newest list.
    pub fn cluster_id(&self) -> Option<u128> {
        self.list.as_ref().map(|list| list.cluster_id)
    }

    /// Number of the newest list; 0 without one.
    pub fn catalog_number(&self) -> u64 {
        self.list.as_ref().map_or(0, |list| list.catalog_number)
    }

    /// Whether every address has answered or failed at least once.
    pub fn is_settled(&self) -> bool {
        self.nodes.iter().all(|node| node.down.as_deref() != Some(super::NOT_ASKED_YET))
    }

    /// The cluster that the nodes belong to, where all of them belong to another one than the newest list: that came from
    /// somewhere else.
    pub fn strangers(&self) -> Option<u128> {
        let mut clusters = self.nodes.iter().map(|node| node.stranger);
        let first = clusters.next()??;
        clusters.all(|stranger| stranger.is_some()).then_some(first)
    }

    /// The node that answers with the member's name and disk, its data recovered.
    ///
    /// # Errors
    /// A sentence that says why the member is missing.
    pub fn live(&self, member: &Member) -> Result<&Node, String> {
        let name = &member.node_name;
        let is_meant = |handshake: &Handshake| handshake.member.node_name == *name;
        let (mut same_disk, mut other_disk) = (None, None);
        for node in &self.nodes {
            let Some(handshake) = node.handshake.as_deref().filter(|handshake| is_meant(handshake)) else { continue };
            if handshake.member.disk_id != member.disk_id {
                other_disk.get_or_insert_with(|| {
                    format!(
                        "storage node {name} ({}) has another disk ({:032x}) than the one that is listed ({:032x})",
                        node.address, handshake.member.disk_id, member.disk_id
                    )
                });
                continue;
            }
            let reason = match &node.down {
                Some(reason) => format!("storage node {name} ({}) is down: {reason}", node.address),
                None if handshake.answers_queries() => return Ok(node),
                None => format!("storage node {name} ({}) is recovering its data", node.address),
            };
            same_disk.get_or_insert(reason);
        }
        Err(same_disk.or(other_disk).unwrap_or_else(|| self.never_seen(name)))
    }

    /// The node of [`View::live`], if it takes writes now.
    ///
    /// # Errors
    /// A sentence that says why not.
    pub fn writable(&self, member: &Member) -> Result<&Node, String> {
        let node = self.live(member)?;
        match node.answering() {
            Some(handshake) if handshake.state == NodeState::Ready => Ok(node),
            Some(handshake) => Err(format!("storage node {} takes no writes: {}", member.node_name, handshake.detail)),
            None => Err(format!("storage node {} does not answer", member.node_name)),
        }
    }

    fn never_seen(&self, name: &str) -> String {
        let silent = self.nodes.iter().filter(|node| node.handshake.is_none());
        let silent = silent.filter_map(|node| Some(format!("{}: {}", node.address, node.down.as_ref()?)));
        match silent.collect::<Vec<_>>().join("; ") {
            reasons if reasons.is_empty() => format!("storage node {name} is at none of the given addresses"),
            reasons => format!("storage node {name} was not found ({reasons})"),
        }
    }

    /// Live nodes with one name and different disks.
    fn shared_names(&self) -> Vec<String> {
        let answering = || self.nodes.iter().filter_map(|node| Some((node, &node.answering()?.member)));
        let mut sentences = Vec::new();
        for (at, (node, member)) in answering().enumerate() {
            let twin = answering()
                .take(at)
                .find(|(_, other)| other.node_name == member.node_name && other.disk_id != member.disk_id);
            if let Some((other, _)) = twin {
                sentences.push(format!(
                    "two live storage nodes are named {}: {} and {}; give one of them another --node-name",
                    member.node_name, other.address, node.address
                ));
            }
        }
        sentences
    }
}
