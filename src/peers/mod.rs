//! The storage nodes as the other roles see them.
//!
//! 1. Each address that was given is resolved, and again from time to time.
//! 2. One task per resolved address asks for a handshake every second. An answer marks the node up, a failure or
//!    [`Peers::mark_down`] marks it down, at once.
//! 3. Every handshake carries the node's newest list of members: the one with the highest number is kept. The first
//!    list that is seen says which cluster this is; nodes and lists of another are not believed.
//! 4. Whatever changes makes a new [`View`]. Readers take the newest, or wait for the next ([`Peers::changes`]).

mod address;
mod view;

pub use address::Address;
pub use view::{Node, View};

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use marigram_storage::model::member::MemberList;
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;

use crate::background::Background;
use crate::rpc::client::NodeClient;
use crate::rpc::convert::node::Handshake;

/// Time between two handshakes with a node.
const HANDSHAKE_INTERVAL: Duration = Duration::from_secs(1);
/// How long a node may take to answer one.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(2);
/// Time between two looks at names that stand for addresses.
const RESOLVE_INTERVAL: Duration = Duration::from_secs(10);
/// How long a look may take.
const RESOLVE_TIMEOUT: Duration = Duration::from_secs(5);
/// What is said of a node before its first answer.
const NOT_ASKED_YET: &str = "it has not answered yet";

/// The storage nodes, watched.
pub struct Peers {
    runtime: Handle,
    known: Mutex<Known>,
    views: watch::Sender<Arc<View>>,
}

/// What is known now; a view is made of it.
#[derive(Default)]
struct Known {
    list: Option<MemberList>,
    /// By resolved address.
    nodes: BTreeMap<String, Watched>,
    /// By address as it was given: why it could not be resolved.
    unresolved: BTreeMap<String, String>,
}

/// A resolved address, and the task that asks it.
struct Watched {
    node: Node,
    /// The given addresses that stand for it.
    given: Vec<String>,
    /// Asks again at once.
    again: Arc<Notify>,
    task: JoinHandle<()>,
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Peers {
    /// Begins to watch the storage nodes at these addresses (`--storage-node`).
    ///
    /// # Errors
    /// One line that names an address of no known form.
    pub fn start(background: &Background, addresses: &[String]) -> Result<Arc<Peers>, String> {
        Peers::watch(background.runtime(), background.stopped(), addresses)
    }

    /// The same on a runtime, until `stopped` becomes `true` or its sender is gone.
    ///
    /// # Errors
    /// As for [`Peers::start`].
    pub fn watch(runtime: &Handle, stopped: watch::Receiver<bool>, addresses: &[String]) -> Result<Arc<Peers>, String> {
        let parsed = addresses.iter().map(|text| Address::parse(text)).collect::<Result<Vec<_>, _>>()?;
        let (views, _) = watch::channel(Arc::default());
        let peers = Arc::new(Peers { runtime: runtime.clone(), known: Mutex::default(), views });
        for address in parsed {
            match address.fixed() {
                Some(fixed) => peers.resolved(address.as_str(), vec![fixed.to_owned()])?,
                None => drop(runtime.spawn(keep_resolving(Arc::downgrade(&peers), address, stopped.clone()))),
            }
        }
        let ending = Arc::downgrade(&peers);
        let mut stopped = stopped;
        runtime.spawn(async move {
            let _ = stopped.wait_for(|stop| *stop).await;
            if let Some(peers) = ending.upgrade() {
                peers.known.lock().nodes.values().for_each(|watched| watched.task.abort());
            }
        });
        Ok(peers)
    }

    /// What is known now.
    pub fn view(&self) -> Arc<View> {
        Arc::clone(&self.views.borrow())
    }

    /// The views to come; each receiver sees the newest.
    pub fn changes(&self) -> watch::Receiver<Arc<View>> {
        self.views.subscribe()
    }

    /// Takes note of a list of members that came another way: with an answer, or from a catalog.
    ///
    /// # Errors
    /// It is of another cluster than the nodes; it was not taken note of.
    pub fn learn(&self, list: MemberList) -> Result<(), String> {
        let mut known = self.known.lock();
        let newer = known.believe(&list)?;
        if newer {
            known.list = Some(list);
            self.publish(&known);
        }
        Ok(())
    }

    /// Takes note of a failed call: the node counts as down until its next handshake, which is asked for at once.
    pub fn mark_down(&self, address: &str, reason: &str) {
        let mut known = self.known.lock();
        let Some(watched) = known.nodes.get_mut(address) else { return };
        watched.again.notify_one();
        if watched.node.down.is_none() {
            watched.node.down = Some(reason.to_owned());
            tracing::warn!(address, reason, "a storage node is down");
            self.publish(&known);
        }
    }

    /// What a handshake brought.
    fn heard(&self, address: &str, outcome: Result<Handshake, String>) {
        let mut known = self.known.lock();
        let told = outcome.as_ref().ok().and_then(|handshake| handshake.members.as_ref());
        let stranger = told.filter(|list| known.believe(list).is_err()).map(|list| list.cluster_id);
        let outcome = outcome.and_then(|handshake| {
            if let Some(list) = &handshake.members
                && known.believe(list)?
            {
                known.list = Some(list.clone());
            }
            Ok(handshake)
        });
        let Some(watched) = known.nodes.get_mut(address) else { return };
        let was_down = watched.node.down.take();
        watched.node.stranger = stranger;
        match outcome {
            Ok(handshake) => {
                if was_down.is_some() {
                    let name = &handshake.member.node_name;
                    tracing::info!(
                        address,
                        node_name = name,
                        state = handshake.state.as_str_name(),
                        "a storage node is up"
                    );
                }
                watched.node.handshake = Some(Arc::new(handshake));
            }
            Err(reason) => {
                if was_down.as_ref() != Some(&reason) {
                    tracing::warn!(address, reason, "a storage node is down");
                }
                watched.node.down = Some(reason);
            }
        }
        self.publish(&known);
    }

    /// What a given address stands for now. Nodes that nothing stands for any more are let go.
    fn resolved(self: &Arc<Self>, given: &str, addresses: Vec<String>) -> Result<(), String> {
        let mut known = self.known.lock();
        known.unresolved.remove(given);
        for address in &addresses {
            if !known.nodes.contains_key(address) {
                let watched = self.begin(address)?;
                known.nodes.insert(address.clone(), watched);
            }
        }
        for (address, watched) in &mut known.nodes {
            watched.given.retain(|other| other != given);
            if addresses.contains(address) {
                watched.given.push(given.to_owned());
            }
        }
        known.nodes.retain(|_, watched| !watched.given.is_empty());
        self.publish(&known);
        Ok(())
    }

    /// A given address could not be resolved: what it stood for stays.
    fn unresolved(&self, given: &str, reason: String) {
        let mut known = self.known.lock();
        if known.unresolved.get(given) != Some(&reason) {
            tracing::warn!(address = given, reason, "storage nodes cannot be found");
            known.unresolved.insert(given.to_owned(), reason);
            self.publish(&known);
        }
    }

    fn begin(self: &Arc<Self>, address: &str) -> Result<Watched, String> {
        let client = NodeClient::new(address, self.runtime.clone())?;
        let node = Node {
            address: address.to_owned(),
            client: client.clone(),
            handshake: None,
            down: Some(NOT_ASKED_YET.to_owned()),
            stranger: None,
        };
        let again = Arc::new(Notify::new());
        let task = self.runtime.spawn(keep_asking(Arc::downgrade(self), client, Arc::clone(&again)));
        Ok(Watched { node, given: Vec::new(), again, task })
    }

    fn publish(&self, known: &Known) {
        let nodes = known.nodes.values().map(|watched| watched.node.clone()).collect();
        let problems = known.unresolved.values().cloned().collect();
        self.views.send_replace(Arc::new(View::new(known.list.clone(), nodes, problems)));
    }
}

impl Known {
    /// Whether a list is newer than the one that is held.
    fn believe(&self, list: &MemberList) -> Result<bool, String> {
        match &self.list {
            None => Ok(true),
            Some(held) if held.cluster_id == list.cluster_id => Ok(held.catalog_number < list.catalog_number),
            Some(held) => {
                Err(format!("it belongs to another cluster ({:032x}, not {:032x})", list.cluster_id, held.cluster_id))
            }
        }
    }
}

/// Asks a node for handshakes until it is let go.
async fn keep_asking(peers: std::sync::Weak<Peers>, client: NodeClient, again: Arc<Notify>) {
    let mut due = tokio::time::interval(HANDSHAKE_INTERVAL);
    due.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = due.tick() => {}
            () = again.notified() => {}
        }
        let outcome = client.handshake(HANDSHAKE_TIMEOUT).await.map_err(|error| error.to_string());
        let Some(peers) = peers.upgrade() else { return };
        peers.heard(client.address(), outcome);
    }
}

/// Resolves an address from time to time.
async fn keep_resolving(peers: std::sync::Weak<Peers>, address: Address, mut stopped: watch::Receiver<bool>) {
    let mut due = tokio::time::interval(RESOLVE_INTERVAL);
    due.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = due.tick() => {}
            _ = stopped.wait_for(|stop| *stop) => return,
        }
        let outcome = tokio::time::timeout(RESOLVE_TIMEOUT, address.resolve()).await;
        let outcome = outcome.unwrap_or_else(|_| Err(format!("{address}: no answer within {RESOLVE_TIMEOUT:?}")));
        let Some(peers) = peers.upgrade() else { return };
        match outcome.and_then(|found| peers.resolved(address.as_str(), found)) {
            Ok(()) => {}
            Err(reason) => peers.unresolved(address.as_str(), reason),
        }
    }
}
