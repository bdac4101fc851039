//! What a role tells of the cluster: one document for `/api/v1/status/cluster` of every role, and for
//! `marigram status`.
//!
//! 1. Every listed member is looked up among the nodes that were seen: it answers with its disk, or is missing, and why.
//! 2. The roll call of the queries says whether answers are complete.
//! 3. What each node said of itself is added up: the newest sample, what waits for upload.

pub mod command;
mod document;
mod table;

pub use document::{CatalogStatus, ClusterStatus, Health, MemberState, MemberStatus, UnderReplicated, Waiting};

use std::sync::Arc;
use std::time::Duration;

use marigram_storage::bucket::catalog::Catalog;
use marigram_storage::db::Db;
use marigram_storage::model::member::{Member, MemberList};

use crate::fanout::completeness::RollCall;
use crate::peers::{Node, View};
use crate::role::Role;
use crate::rpc::convert::node::{Handshake, NodeState};

/// What a role knows of the cluster.
pub struct Known<'a> {
    /// Which role tells it.
    pub role: Role,
    /// Whether it is ready, and why not.
    pub readiness: Result<(), String>,
    /// The storage nodes.
    pub view: &'a View,
    /// The newest catalog, for roles that read the bucket.
    pub catalog: Option<&'a Catalog>,
    /// How long ago it was known to be the newest.
    pub confirmed_ago: Option<Duration>,
    /// The wall clock.
    pub now_ms: i64,
}

/// The document.
pub fn of(known: &Known<'_>) -> ClusterStatus {
    let view = known.view;
    let list = view.list.as_ref();
    let mut call = list.map(|list| RollCall::new(Arc::new(list.clone())));
    let mut members = Vec::new();
    for member in list.into_iter().flat_map(|list| &list.members) {
        let live = view.live(member);
        if let (Err(why), Some(call)) = (&live, &mut call) {
            call.miss(&member.node_name, why);
        }
        members.push(listed(member, live, view, known.now_ms));
    }
    members.extend(unlisted(view, list, known.now_ms));
    let verdict = call.as_ref().map_or_else(
        || {
            Err("no list of members is known yet: a compactor makes the first once enough storage nodes answer"
                .to_owned())
        },
        RollCall::verdict,
    );
    let healthy = members.iter().filter(|member| member.state == MemberState::Healthy).count();
    let newest_sample_ms = members.iter().filter_map(|member| member.newest_sample_ms).max();
    ClusterStatus {
        role: known.role.as_str().to_owned(),
        ready: known.readiness.is_ok(),
        not_ready_because: known.readiness.clone().err(),
        cluster_id: list.map(|list| hex(list.cluster_id)),
        replication_factor: list.map(|list| list.replication_factor),
        write_quorum: list.map(|list| list.write_quorum() as u64),
        complete: Some(verdict.is_ok()),
        incomplete_because: verdict.err(),
        health: list.map(|list| Health::of(healthy, list.members.len())),
        newest_sample_ms,
        newest_sample_age_ms: newest_sample_ms.map(|ms| known.now_ms.saturating_sub(ms)),
        waiting_for_upload: Waiting::of(&members),
        under_replicated: call.as_ref().and_then(|call| under_replicated(call, view)),
        catalog: known.catalog.map(|catalog| CatalogStatus {
            number: catalog.number,
            age_ms: known.now_ms.saturating_sub(catalog.created_ms),
            blocks: catalog.contents.blocks.len() as u64,
            bytes: catalog.contents.blocks.iter().map(|block| block.size_bytes).sum(),
            confirmed_ago_ms: known.confirmed_ago.map(|ago| u64::try_from(ago.as_millis()).unwrap_or(u64::MAX)),
        }),
        problems: view.problems.clone(),
        members,
    }
}

/// The document of a storage node: itself, and the list that it was told.
pub fn of_storage_node(said: &Handshake, readiness: Result<(), String>, now_ms: i64) -> ClusterStatus {
    let list = said.members.as_ref();
    let mut own = MemberStatus::new(&said.member.node_name, state_of(said), readiness.clone().err());
    own = own.saying(Some(said), now_ms);
    own.listed = list.is_some_and(|list| list.lists(&said.member.node_name, said.member.disk_id));
    if !own.listed && said.answers_queries() {
        own.state = MemberState::Unlisted;
    }
    own.disk_id = Some(hex(said.member.disk_id));
    own.zone = said.member.zone.clone();
    ClusterStatus {
        role: Role::Storage.as_str().to_owned(),
        ready: readiness.is_ok(),
        not_ready_because: readiness.err(),
        cluster_id: list.map(|list| hex(list.cluster_id)),
        replication_factor: list.map(|list| list.replication_factor),
        write_quorum: list.map(|list| list.write_quorum() as u64),
        newest_sample_ms: own.newest_sample_ms,
        newest_sample_age_ms: own.newest_sample_age_ms,
        waiting_for_upload: Waiting::of(std::slice::from_ref(&own)),
        members: vec![own],
        ..ClusterStatus::default()
    }
}

/// The document of a process that is all roles: its store is its only member and its bucket.
pub fn of_single(db: &Db, now_ms: i64) -> ClusterStatus {
    let (stats, newest_sample_ms) = (db.stats(), db.newest_sample_ms());
    let state = match (db.poisoned(), stats.damage) {
        (Some(_), _) => MemberState::ReadOnly,
        (None, 0) => MemberState::Healthy,
        (None, _) => MemberState::Damaged,
    };
    let newest_sample_age_ms = newest_sample_ms.map(|ms| now_ms.saturating_sub(ms));
    let own = MemberStatus {
        listed: true,
        newest_sample_ms,
        newest_sample_age_ms,
        head_series: Some(stats.head_series),
        damage: Some(stats.damage),
        version: Some(env!("CARGO_PKG_VERSION").to_owned()),
        ..MemberStatus::new("single", state, db.poisoned())
    };
    ClusterStatus {
        role: Role::Single.as_str().to_owned(),
        ready: true,
        complete: Some(true),
        health: Some(Health::of(usize::from(state == MemberState::Healthy), 1)),
        newest_sample_ms,
        newest_sample_age_ms,
        members: vec![own],
        ..ClusterStatus::default()
    }
}

fn hex(id: u128) -> String {
    format!("{id:032x}")
}

fn listed(member: &Member, live: Result<&Node, String>, view: &View, now_ms: i64) -> MemberStatus {
    let Member { node_name, disk_id, zone } = member;
    let is_meant = |node: &&Node| {
        node.handshake
            .as_ref()
            .is_some_and(|said| said.member.node_name == *node_name && said.member.disk_id == *disk_id)
    };
    // What a node that is down said last still tells what may wait on it.
    let node = live.as_ref().ok().copied().or_else(|| view.nodes.iter().find(is_meant));
    let said = node.and_then(|node| node.handshake.as_deref());
    let state = match (&live, said) {
        (Ok(_), Some(said)) => state_of(said),
        (Err(_), Some(said)) if node.is_some_and(|node| node.down.is_none()) && !said.answers_queries() => {
            MemberState::Replaying
        }
        _ => MemberState::Missing,
    };
    let detail = said.map(|said| said.detail.clone()).filter(|detail| !detail.is_empty());
    let why = live.as_ref().err().cloned().or_else(|| detail.filter(|_| state != MemberState::Healthy));
    let mut status = MemberStatus::new(node_name, state, why).saying(said, now_ms);
    status.listed = true;
    status.missing = live.is_err();
    status.disk_id = Some(hex(*disk_id));
    status.zone = zone.clone();
    status.address = node.map(|node| node.address.clone());
    status
}

fn state_of(said: &Handshake) -> MemberState {
    match said.state {
        NodeState::Ready if said.damage > 0 => MemberState::Damaged,
        NodeState::Ready => MemberState::Healthy,
        NodeState::ReadOnly => MemberState::ReadOnly,
        NodeState::Unconfirmed | NodeState::Unlisted => MemberState::Joining,
        NodeState::Replaying | NodeState::Unspecified => MemberState::Replaying,
    }
}

/// Nodes that answer but are not listed, and addresses where nobody was met.
fn unlisted(view: &View, list: Option<&MemberList>, now_ms: i64) -> Vec<MemberStatus> {
    let is_listed = |member: &Member| list.is_some_and(|list| list.lists(&member.node_name, member.disk_id));
    let mut found = Vec::new();
    for node in &view.nodes {
        let said = node.handshake.as_deref();
        let mut status = match said {
            Some(said) if is_listed(&said.member) => continue,
            Some(said) => {
                let why = node.down.clone().unwrap_or_else(|| said.detail.clone());
                let state = if node.down.is_some() { MemberState::Missing } else { MemberState::Unlisted };
                let mut status = MemberStatus::new(&said.member.node_name, state, Some(why)).saying(Some(said), now_ms);
                status.disk_id = Some(hex(said.member.disk_id));
                status.zone = said.member.zone.clone();
                status
            }
            None => MemberStatus::new("", MemberState::Missing, node.down.clone()),
        };
        status.address = Some(node.address.clone());
        found.push(status);
    }
    found
}

/// What has fewer copies within reach than were written, as far as it is known without asking for every series.
fn under_replicated(call: &RollCall, view: &View) -> Option<UnderReplicated> {
    let missing = call.missing();
    if missing == 0 {
        return None;
    }
    let list = call.list();
    let marks = list.members.iter().filter_map(|member| view.live(member).ok()?.answering()?.drop_mark_ms);
    Some(UnderReplicated {
        members_missing: missing as u64,
        after_ms: marks.max(),
        copies_min: list.write_quorum().saturating_sub(missing) as u64,
    })
}

#[cfg(test)]
mod tests;
