//! The document of a catalog.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use ulid::Ulid;

use super::ANCESTORS_MAX;
use crate::block::{BlockMeta, parse_ulid};
use crate::error::{Error, Result};
use crate::format::json;
use crate::model::member::{Member, MemberList, QUERY_TIMEOUT_MAX_MS};
use crate::model::time::TimeRange;

const FORMAT: &str = "marigram-catalog";
const VERSION: u32 = 1;

/// One state of the catalog.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Catalog {
    /// Its number; 0 is the state before the first catalog.
    pub number: u64,
    /// What its writer drew at random.
    pub commit: u128,
    /// The commits before it, newest first, at most 1,000.
    pub ancestors: Vec<u128>,
    /// The writer's clock, milliseconds since the Unix epoch.
    pub created_ms: i64,
    /// Number of the catalog that last changed anything in the list of members: the number of that list. 0: there was none.
    pub members_number: u64,
    /// What it says.
    pub contents: Contents,
}

/// What a catalog says, and a commit changes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Contents {
    /// The cluster's id, once there is one.
    pub cluster_id: Option<u128>,
    /// Copies that the cluster writes of every sample, once there is a cluster.
    pub replication_factor: Option<u32>,
    /// Longest query timeout, which every grace counts with; unset: the default.
    pub query_timeout_max_ms: Option<u64>,
    /// The blocks that count, ascending by ULID.
    pub blocks: Vec<CatalogBlock>,
    /// The storage nodes, ascending by name; each name and each disk once. With members there are a cluster id and a
    /// replication factor of at least 1.
    pub members: Vec<Member>,
    /// Names of the members that no quorum of the others is known to have heard of; they take no writes yet.
    pub joining: BTreeSet<String>,
}

/// A block that counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CatalogBlock {
    /// Its name.
    pub ulid: Ulid,
    /// First and last timestamp.
    pub range: TimeRange,
    /// 1: sealed from a head.
    pub level: u8,
    /// Series of all tenants.
    pub series: u64,
    /// Samples of all series.
    pub samples: u64,
    /// Length of its index and chunks.
    pub size_bytes: u64,
    /// What it was made from.
    pub sources: Vec<String>,
}

impl From<&BlockMeta> for CatalogBlock {
    fn from(meta: &BlockMeta) -> Self {
        CatalogBlock {
            ulid: meta.ulid,
            range: meta.range,
            level: meta.level,
            series: meta.series,
            samples: meta.samples,
            size_bytes: meta.size_bytes,
            sources: meta.sources.clone(),
        }
    }
}

/// As it stands in the file. What this version does not use yet is there, empty; a catalog where it is not empty says
/// something that must not be ignored, and is refused.
#[derive(Serialize, Deserialize)]
struct Document {
    number: u64,
    commit: String,
    ancestors: Vec<String>,
    created_ms: i64,
    cluster_id: Option<String>,
    replication_factor: Option<u32>,
    query_timeout_max_ms: Option<u64>,
    blocks: Vec<BlockLine>,
    /// Absent in catalogs that were written before there were members.
    #[serde(default)]
    members_number: u64,
    members: Vec<MemberLine>,
    tombstones: Vec<Value>,
    pins: Vec<Value>,
    condemned: Vec<Value>,
}

#[derive(Serialize, Deserialize)]
struct MemberLine {
    node_name: String,
    disk_id: String,
    zone: String,
    state: MemberState,
}

#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum MemberState {
    Joining,
    Active,
}

#[derive(Serialize, Deserialize)]
struct BlockLine {
    ulid: String,
    min_ms: i64,
    max_ms: i64,
    level: u8,
    series: u64,
    samples: u64,
    size_bytes: u64,
    sources: Vec<String>,
}

impl Catalog {
    /// The state before the first catalog.
    pub fn none() -> Self {
        let contents = Contents::default();
        Catalog { number: 0, commit: 0, ancestors: Vec::new(), created_ms: 0, members_number: 0, contents }
    }

    /// The catalog that would follow this one.
    pub(super) fn next(&self, commit: u128, created_ms: i64, mut contents: Contents) -> Result<Self> {
        contents.blocks.sort_unstable_by_key(|block| block.ulid);
        if let Some(pair) = contents.blocks.windows(2).find(|pair| pair[0].ulid == pair[1].ulid) {
            return Err(Error::BadInput(format!("block {} would be in the catalog twice", pair[0].ulid)));
        }
        contents.members.sort_unstable();
        check_members(&contents).map_err(|why| Error::BadInput(format!("the catalog would be wrong: {why}")))?;
        let mut ancestors = Vec::with_capacity(ANCESTORS_MAX);
        if self.number > 0 {
            ancestors.push(self.commit);
            ancestors.extend(self.ancestors.iter().take(ANCESTORS_MAX - 1));
        }
        let number = self.number.saturating_add(1);
        let members_number = if self.contents.same_list(&contents) { self.members_number } else { number };
        Ok(Catalog { number, commit, ancestors, created_ms, members_number, contents })
    }

    /// The list of members as nodes are told it; `None` before there is a cluster with members. Its number is that of the
    /// catalog that last changed it, so that commits of blocks give nobody a new list to learn.
    pub fn member_list(&self) -> Option<MemberList> {
        let contents = &self.contents;
        if contents.members.is_empty() {
            return None;
        }
        Some(MemberList {
            catalog_number: self.members_number,
            cluster_id: contents.cluster_id?,
            replication_factor: contents.replication_factor.filter(|copies| *copies > 0)?,
            members: contents.members.clone(),
            query_timeout_max_ms: contents.query_timeout_max_ms.unwrap_or(QUERY_TIMEOUT_MAX_MS),
        })
    }

    /// Whether a commit is this catalog or one of those that it was made from.
    pub fn includes(&self, commit: u128) -> bool {
        self.number > 0 && (self.commit == commit || self.ancestors.contains(&commit))
    }

    /// The bytes of the file.
    ///
    /// # Errors
    /// None that a catalog of this crate can cause.
    pub fn encode(&self) -> Result<Vec<u8>> {
        let hex = |id: &u128| format!("{id:032x}");
        let blocks = self.contents.blocks.iter().map(|block| BlockLine {
            ulid: block.ulid.to_string(),
            min_ms: block.range.start_ms,
            max_ms: block.range.end_ms,
            level: block.level,
            series: block.series,
            samples: block.samples,
            size_bytes: block.size_bytes,
            sources: block.sources.clone(),
        });
        let document = Document {
            number: self.number,
            commit: hex(&self.commit),
            ancestors: self.ancestors.iter().map(hex).collect(),
            created_ms: self.created_ms,
            cluster_id: self.contents.cluster_id.as_ref().map(hex),
            replication_factor: self.contents.replication_factor,
            query_timeout_max_ms: self.contents.query_timeout_max_ms,
            blocks: blocks.collect(),
            members_number: self.members_number,
            members: self.contents.members.iter().map(|member| self.contents.line(member)).collect(),
            tombstones: Vec::new(),
            pins: Vec::new(),
            condemned: Vec::new(),
        };
        json::seal(FORMAT, VERSION, &document)
    }

    /// Reads the bytes of a file; `what` names it in errors.
    ///
    /// # Errors
    /// [`Error::Corrupt`], or [`Error::UnknownVersion`].
    pub fn decode(what: &str, bytes: &[u8]) -> Result<Self> {
        let document: Document = json::open(what, FORMAT, VERSION, bytes)?;
        let unused = [&document.tombstones, &document.pins, &document.condemned];
        if unused.iter().any(|list| !list.is_empty()) {
            let what = format!("{what}, which lists tombstones, pins or condemned blocks,");
            return Err(Error::UnknownVersion { what, version: VERSION });
        }
        let damaged = |detail: &str| Error::corrupt(what, detail);
        let id = |text: &String| parse_id(text).ok_or_else(|| damaged("a commit or cluster id is malformed"));
        let blocks = document.blocks.into_iter().map(|line| line.read().ok_or_else(|| damaged("a block is malformed")));
        let joining = document.members.iter().filter(|line| line.state == MemberState::Joining);
        let joining = joining.map(|line| line.node_name.clone()).collect();
        let members =
            document.members.into_iter().map(|line| line.read().ok_or_else(|| damaged("a member is malformed")));
        let contents = Contents {
            cluster_id: document.cluster_id.as_ref().map(id).transpose()?,
            replication_factor: document.replication_factor,
            query_timeout_max_ms: document.query_timeout_max_ms,
            blocks: blocks.collect::<Result<_>>()?,
            members: members.collect::<Result<_>>()?,
            joining,
        };
        if !contents.blocks.is_sorted_by(|a, b| a.ulid < b.ulid) {
            return Err(damaged("the blocks are not in order"));
        }
        check_members(&contents).map_err(damaged)?;
        let ancestors = document.ancestors.iter().map(id).collect::<Result<Vec<_>>>()?;
        if document.number == 0 || ancestors.len() > ANCESTORS_MAX {
            return Err(damaged("it has number 0, or too many ancestors"));
        }
        let (number, created_ms, members_number) = (document.number, document.created_ms, document.members_number);
        if members_number > number || (members_number == 0 && !contents.members.is_empty()) {
            return Err(damaged("the number of its list of members is not that of a catalog up to it"));
        }
        Ok(Catalog { number, commit: id(&document.commit)?, ancestors, created_ms, members_number, contents })
    }
}

impl Contents {
    /// Whether both tell nodes the same list of members.
    fn same_list(&self, other: &Contents) -> bool {
        self.cluster_id == other.cluster_id
            && self.replication_factor == other.replication_factor
            && self.query_timeout_max_ms == other.query_timeout_max_ms
            && self.members == other.members
    }

    fn line(&self, member: &Member) -> MemberLine {
        let joining = self.joining.contains(&member.node_name);
        MemberLine {
            node_name: member.node_name.clone(),
            disk_id: format!("{:032x}", member.disk_id),
            zone: member.zone.clone(),
            state: if joining { MemberState::Joining } else { MemberState::Active },
        }
    }
}

/// What must hold of the members before a catalog is written, and after one was read.
fn check_members(contents: &Contents) -> Result<(), &'static str> {
    let members = &contents.members;
    if members.iter().any(|member| member.node_name.is_empty()) {
        return Err("a member has no name");
    }
    if !members.is_sorted_by(|a, b| a.node_name < b.node_name) {
        return Err("the members are not in order of distinct names");
    }
    let disks: BTreeSet<u128> = members.iter().map(|member| member.disk_id).collect();
    if disks.len() != members.len() {
        return Err("two members have one disk");
    }
    if !contents.joining.iter().all(|name| members.iter().any(|member| member.node_name == *name)) {
        return Err("who joins is no member");
    }
    let of_cluster = contents.cluster_id.is_some() && contents.replication_factor.is_some_and(|copies| copies > 0);
    match members.is_empty() || of_cluster {
        true => Ok(()),
        false => Err("there are members without a cluster id or a replication factor"),
    }
}

impl MemberLine {
    fn read(self) -> Option<Member> {
        Some(Member { node_name: self.node_name, disk_id: parse_id(&self.disk_id)?, zone: self.zone })
    }
}

impl BlockLine {
    fn read(self) -> Option<CatalogBlock> {
        let range = TimeRange { start_ms: self.min_ms, end_ms: self.max_ms };
        if range.is_empty() {
            return None;
        }
        Some(CatalogBlock {
            ulid: parse_ulid(&self.ulid)?,
            range,
            level: self.level,
            series: self.series,
            samples: self.samples,
            size_bytes: self.size_bytes,
            sources: self.sources,
        })
    }
}

fn parse_id(text: &str) -> Option<u128> {
    let id = u128::from_str_radix(text, 16).ok()?;
    (format!("{id:032x}") == text).then_some(id)
}
