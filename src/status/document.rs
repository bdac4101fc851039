//! The document: what `/api/v1/status/cluster` answers, and `marigram status` reads. Ages are milliseconds.

use serde::{Deserialize, Serialize};

use crate::rpc::convert::node::Handshake;

/// The cluster as one role sees it. What it does not know is absent.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ClusterStatus {
    /// The role that tells it.
    pub role: String,
    /// Whether that role does its work.
    pub ready: bool,
    /// Why not.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub not_ready_because: Option<String>,
    /// Which cluster.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub cluster_id: Option<String>,
    /// Copies that are written of every sample.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub replication_factor: Option<u32>,
    /// Copies that make a write durable; an answer is complete while fewer members (zones) are missing.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub write_quorum: Option<u64>,
    /// Whether everything that was acknowledged is within reach of queries, damage and the bucket aside. Absent from a
    /// storage node, which does not watch the others.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub complete: Option<bool>,
    /// Why not.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub incomplete_because: Option<String>,
    /// Of the listed members.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub health: Option<Health>,
    /// Timestamp of the newest sample that any node holds.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub newest_sample_ms: Option<i64>,
    /// Its age; negative when it is ahead of the clock.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub newest_sample_age_ms: Option<i64>,
    /// Over all nodes; every copy counts.
    pub waiting_for_upload: Waiting,
    /// Absent while all members answer.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub under_replicated: Option<UnderReplicated>,
    /// The newest catalog; of roles that read the bucket.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub catalog: Option<CatalogStatus>,
    /// What is wrong with the given addresses, one sentence each.
    pub problems: Vec<String>,
    /// The listed ones first.
    pub members: Vec<MemberStatus>,
}

impl ClusterStatus {
    /// As it is answered.
    pub fn to_json(&self) -> serde_json::Value {
        serde_json::to_value(self).unwrap_or_default()
    }
}

/// The share of healthy members.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Health {
    /// Listed members that answer, take writes and have no damage.
    pub healthy_members: u64,
    /// All that are listed.
    pub listed_members: u64,
    /// The share, rounded down.
    pub share_percent: u64,
    /// `excellent` (90 to 100), `good` (70 to 89), `warning` (50 to 69), `critical` (below).
    pub class: String,
}

impl Health {
    pub(super) fn of(healthy: usize, listed: usize) -> Health {
        let share_percent = (100 * healthy).checked_div(listed).unwrap_or(0) as u64;
        let class = match share_percent {
            90.. => "excellent",
            70.. => "good",
            50.. => "warning",
            _ => "critical",
        };
        Health {
            healthy_members: healthy as u64,
            listed_members: listed as u64,
            share_percent,
            class: class.to_owned(),
        }
    }
}

/// What is sealed on the nodes and not in the bucket yet.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Waiting {
    /// How many blocks.
    pub blocks: u64,
    /// Their size.
    pub bytes: u64,
    /// Age of the oldest.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub oldest_age_ms: Option<i64>,
}

/// While members are missing, samples of which they had a copy have fewer within reach.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct UnderReplicated {
    /// Listed members that are missing.
    pub members_missing: u64,
    /// Samples up to this time may be in the bucket; all later ones rely on the nodes. Absent: all samples do.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub after_ms: Option<i64>,
    /// So many copies are within reach of every sample that was acknowledged and is not in the bucket, at the least.
    pub copies_min: u64,
}

/// A catalog.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CatalogStatus {
    /// Its number.
    pub number: u64,
    /// Since it was written.
    pub age_ms: i64,
    /// Blocks that it names.
    pub blocks: u64,
    /// Their size.
    pub bytes: u64,
    /// Since it was known to be the newest.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub confirmed_ago_ms: Option<u64>,
}

/// How a storage node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MemberState {
    /// Listed, answers with its disk, takes writes.
    Healthy,
    /// The same, but a part of its data is damaged.
    Damaged,
    /// Listed and answers; takes no writes before its list is confirmed.
    Joining,
    /// Listed and answers; takes no writes until a restart or until there is space.
    ReadOnly,
    /// It recovers its data.
    Replaying,
    /// It does not answer, or with another disk than the listed one.
    Missing,
    /// It answers, but no list names it.
    Unlisted,
}

impl MemberState {
    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            MemberState::Healthy => "healthy",
            MemberState::Damaged => "damaged",
            MemberState::Joining => "joining",
            MemberState::ReadOnly => "read-only",
            MemberState::Replaying => "replaying",
            MemberState::Missing => "missing",
            MemberState::Unlisted => "unlisted",
        }
    }
}

/// One storage node. Of one that is missing: what it said last.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MemberStatus {
    /// Empty for an address where nobody was met.
    pub node_name: String,
    /// How it is.
    pub state: MemberState,
    /// Whether the newest list names it.
    pub listed: bool,
    /// Whether it is listed and its copies are not within reach.
    pub missing: bool,
    /// Why it is not healthy.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub why: Option<String>,
    /// Where it was met.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub address: Option<String>,
    /// Empty where there are no zones.
    pub zone: String,
    /// The listed disk, or that of a node that is not listed.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub disk_id: Option<String>,
    /// Of its program.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub version: Option<String>,
    /// Timestamp of its newest sample.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub newest_sample_ms: Option<i64>,
    /// Its age.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub newest_sample_age_ms: Option<i64>,
    /// Everything with later timestamps is still on it; absent: everything is.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub drop_mark_ms: Option<i64>,
    /// Sealed blocks that the bucket does not have yet.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub unshipped_blocks: Option<u64>,
    /// Their size.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub unshipped_bytes: Option<u64>,
    /// Age of the oldest.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub oldest_unshipped_age_ms: Option<i64>,
    /// Losses that were found and not accepted.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub damage: Option<u64>,
    /// Series in memory.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub head_series: Option<u64>,
}

impl Waiting {
    /// Over these members.
    pub(super) fn of(members: &[MemberStatus]) -> Waiting {
        Waiting {
            blocks: members.iter().map(|member| member.unshipped_blocks.unwrap_or(0)).sum(),
            bytes: members.iter().map(|member| member.unshipped_bytes.unwrap_or(0)).sum(),
            oldest_age_ms: members.iter().filter_map(|member| member.oldest_unshipped_age_ms).max(),
        }
    }
}

impl MemberStatus {
    pub(super) fn new(node_name: &str, state: MemberState, why: Option<String>) -> Self {
        MemberStatus {
            node_name: node_name.to_owned(),
            state,
            listed: false,
            missing: false,
            why: why.filter(|why| !why.is_empty()),
            address: None,
            zone: String::new(),
            disk_id: None,
            version: None,
            newest_sample_ms: None,
            newest_sample_age_ms: None,
            drop_mark_ms: None,
            unshipped_blocks: None,
            unshipped_bytes: None,
            oldest_unshipped_age_ms: None,
            damage: None,
            head_series: None,
        }
    }

    /// With what it said of itself.
    pub(super) fn saying(self, said: Option<&Handshake>, now_ms: i64) -> Self {
        let Some(said) = said else { return self };
        let age_ms = |ms: i64| now_ms.saturating_sub(ms);
        MemberStatus {
            version: Some(said.version.clone()),
            newest_sample_ms: said.newest_sample_ms,
            newest_sample_age_ms: said.newest_sample_ms.map(age_ms),
            drop_mark_ms: said.drop_mark_ms,
            unshipped_blocks: Some(said.unshipped_blocks),
            unshipped_bytes: Some(said.unshipped_bytes),
            oldest_unshipped_age_ms: said.oldest_unshipped_ms.map(age_ms),
            damage: Some(said.damage),
            head_series: Some(said.head_series),
            ..self
        }
    }
}
