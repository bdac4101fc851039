//! A storage node: its identity, the members that it was told, and its store once that is recovered.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use marigram_storage::db::Db;
use marigram_storage::env::Env;
use marigram_storage::model::member::{Member, QUERY_TIMEOUT_MAX_MS};
use marigram_storage::model::time::TimeRange;
use marigram_storage::node::members::{KnownMembers, MembersFile, Standing};
use marigram_storage::{Error, Result};

use crate::config::Settings;
use crate::rpc::convert::node::{Handshake, NodeState};
use crate::rpc::convert::select::{AnswerHeader, Scope};
use crate::rpc::convert::settle::SettledNode;
use crate::service::Service;
use crate::status;

/// How long a query node may go on with an old catalog; and room for clocks and slow threads.
const GRACE: Duration = Duration::from_secs(30);
const GRACE_MARGIN: Duration = Duration::from_secs(30);

/// Shared by the RPC and the HTTP API.
pub(crate) struct StorageNode {
    env: Env,
    settings: Settings,
    member: Member,
    members: MembersFile,
    db: OnceLock<Arc<Db>>,
    /// Drawn anew by each process.
    incarnation: u64,
}

impl StorageNode {
    /// A node whose store is not open yet.
    pub(crate) fn new(env: Env, settings: Settings, member: Member, members: MembersFile) -> Self {
        let incarnation = env.random.next_u128() as u64;
        StorageNode { env, settings, member, members, db: OnceLock::new(), incarnation }
    }

    /// The store is recovered.
    pub(crate) fn opened(&self, db: Arc<Db>) {
        let _ = self.db.set(db);
    }

    /// Who it is.
    pub(crate) fn member(&self) -> &Member {
        &self.member
    }

    /// Time, randomness, disk.
    pub(crate) fn env(&self) -> &Env {
        &self.env
    }

    /// The lists of members that it is told.
    pub(crate) fn members(&self) -> &MembersFile {
        &self.members
    }

    /// The store.
    ///
    /// # Errors
    /// It is not recovered yet.
    pub(crate) fn db(&self) -> Result<&Arc<Db>> {
        let recovering = || format!("storage node {} is recovering its data", self.member.node_name);
        self.db.get().ok_or_else(|| Error::Unavailable(recovering()))
    }

    /// Longest time of a query, as its newest list of members says.
    pub(crate) fn query_timeout_max(&self) -> Duration {
        let known = self.members.known();
        Duration::from_millis(known.map_or(QUERY_TIMEOUT_MAX_MS, |known| known.list.query_timeout_max_ms))
    }

    /// How long a covered block stays, where queries take at most this long.
    pub(crate) fn drop_grace(&self, query_timeout_max: Duration) -> Duration {
        let queries = query_timeout_max.max(self.query_timeout_max());
        self.settings.cluster.drop_grace.unwrap_or(GRACE.saturating_add(queries).saturating_add(GRACE_MARGIN))
    }

    /// Whether it takes writes now, and if not, why.
    pub(crate) fn state(&self) -> (NodeState, String) {
        let Some(db) = self.db.get() else {
            return (NodeState::Replaying, "its data is being recovered".to_owned());
        };
        if let Some(reason) = db.poisoned() {
            return (NodeState::ReadOnly, format!("a write or fsync failed ({reason}); a restart recovers"));
        }
        if let Err(detail) = self.check_listed() {
            return detail;
        }
        let reserve_bytes = self.settings.store.disk_reserve_bytes;
        match self.env.disk.free_bytes(&self.settings.data_dir) {
            Ok(free_bytes) if reserve_bytes > 0 && free_bytes < reserve_bytes => {
                (NodeState::ReadOnly, Error::DiskFull { free_bytes, reserve_bytes }.to_string())
            }
            _ => (NodeState::Ready, String::new()),
        }
    }

    /// Whether the newest list of members lets it take writes.
    fn check_listed(&self) -> Result<Arc<KnownMembers>, (NodeState, String)> {
        let unlisted = |detail: String| Err((NodeState::Unlisted, detail));
        let Some(known) = self.members.known() else {
            return unlisted("no compactor has told it a list of members yet".to_owned());
        };
        let number = known.list.catalog_number;
        match self.members.standing() {
            Standing::Confirmed => Ok(known),
            Standing::Unconfirmed => {
                let detail = format!(
                    "the list of members that names it (catalog {number}) is not confirmed by enough members yet"
                );
                Err((NodeState::Unconfirmed, detail))
            }
            Standing::Unlisted => match known.list.find(&self.member.node_name) {
                Some(listed) => unlisted(format!(
                    "the list of members (catalog {number}) has another disk under its name: {:032x}, not {:032x}",
                    listed.disk_id, self.member.disk_id
                )),
                None => unlisted(format!("the list of members (catalog {number}) does not name it")),
            },
        }
    }

    /// Lets a write in that was sent to this disk of this cluster.
    ///
    /// # Errors
    /// A sentence that says why it is not stored here.
    pub(crate) fn check_write(&self, disk_id: u128, cluster_id: u128) -> Result<u64> {
        self.db()?;
        let name = &self.member.node_name;
        if disk_id != self.member.disk_id {
            return Err(Error::Unavailable(format!(
                "storage node {name} has the disk {:032x}, not {disk_id:032x}",
                self.member.disk_id
            )));
        }
        let known = self
            .check_listed()
            .map_err(|(_, detail)| Error::Unavailable(format!("storage node {name} takes no writes: {detail}")))?;
        if known.list.cluster_id != cluster_id {
            return Err(Error::Unavailable(format!(
                "storage node {name} belongs to the cluster {:032x}, not {cluster_id:032x}",
                known.list.cluster_id
            )));
        }
        Ok(known.list.catalog_number)
    }

    /// What an answer to somebody who knows the list of `catalog_number` begins with. To be asked for after the answer's
    /// data was taken hold of: a drop in between then shows in it.
    pub(crate) fn answer_header(&self, catalog_number: u64) -> Result<AnswerHeader> {
        let drop_mark_ms = self.db()?.drop_mark_ms();
        let known = self.members.known();
        Ok(AnswerHeader {
            member: self.member.clone(),
            drop_mark_ms,
            cluster_id: known.as_ref().map(|known| known.list.cluster_id),
            members: known.filter(|known| known.list.catalog_number > catalog_number).map(|known| known.list.clone()),
        })
    }

    /// Settles the tenant's samples up to a time: see [`Db::settle`].
    ///
    /// # Errors
    /// Its data is not recovered yet.
    pub(crate) fn settle(&self, scope: &Scope, up_to_ms: i64) -> Result<(AnswerHeader, SettledNode)> {
        let settled = self.db()?.settle(&scope.tenant, up_to_ms);
        let header = self.answer_header(scope.catalog_number)?;
        Ok((header, SettledNode { incarnation: self.incarnation, settled }))
    }

    /// How it is.
    pub(crate) fn handshake(&self) -> Handshake {
        let (state, detail) = self.state();
        let mut handshake = Handshake {
            member: self.member.clone(),
            state,
            detail,
            members: self.members.known().map(|known| known.list.clone()),
            drop_mark_ms: None,
            newest_sample_ms: None,
            unshipped_blocks: 0,
            unshipped_bytes: 0,
            oldest_unshipped_ms: None,
            damage: 0,
            damaged: Vec::new(),
            head_series: 0,
            version: env!("CARGO_PKG_VERSION").to_owned(),
        };
        let Some(db) = self.db.get() else { return handshake };
        handshake.drop_mark_ms = db.drop_mark_ms();
        handshake.newest_sample_ms = db.newest_sample_ms();
        let unshipped = db.unshipped();
        handshake.unshipped_blocks = unshipped.blocks;
        handshake.unshipped_bytes = unshipped.bytes;
        handshake.oldest_unshipped_ms = unshipped.oldest_ms;
        let damaged = db.damage().into_iter().filter(|damage| !damage.accepted);
        handshake.damaged = damaged.map(|damage| damage.range()).collect::<Vec<TimeRange>>();
        handshake.damage = handshake.damaged.len() as u64;
        handshake.head_series = db.stats().head_series;
        handshake
    }
}

/// The node behind its HTTP API, from when its store is open.
pub(crate) struct NodeService {
    node: Arc<StorageNode>,
    db: Arc<Db>,
}

impl NodeService {
    /// The service of a node with this store.
    pub(crate) fn new(node: Arc<StorageNode>, db: Arc<Db>) -> Self {
        NodeService { node, db }
    }
}

impl Service for NodeService {
    fn readiness(&self) -> Result<(), String> {
        match self.node.state() {
            (NodeState::Ready, _) => Ok(()),
            (_, detail) => Err(detail),
        }
    }

    fn store(&self) -> Option<&Arc<Db>> {
        Some(&self.db)
    }

    fn seal(&self) -> Result<()> {
        self.db.seal()
    }

    fn cluster_status(&self) -> serde_json::Value {
        let now_ms = self.node.env().clock.now_ms();
        status::of_storage_node(&self.node.handshake(), self.readiness(), now_ms).to_json()
    }
}
