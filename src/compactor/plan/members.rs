//! Who becomes a member, and who is told what.
//!
//! 1. What contradicts the catalog ends the compactor: nodes of another cluster than the bucket, nodes of a cluster
//!    before a bucket without a catalog, a list on a node that is newer than the catalog, another replication factor.
//! 2. Without members: as soon as so many nodes answer as copies are written, distinct by name and by disk (and in as many
//!    zones as the write quorum needs, where there are zones), they are the first members.
//! 3. With members: answering nodes of new names and disks are added. Two nodes with one name, a known name with another
//!    disk, a zone where the others have none: refused, and said.
//! 4. Who is new joins: it takes no writes. Once a write quorum of the active members (in as many zones) is known to have
//!    the list, everybody in it is active: whoever then has a complete answer has asked one of those, and so has heard of
//!    the new ones. Where nobody is active yet, all count.

use std::collections::{BTreeMap, BTreeSet};

use marigram_proto::cluster::NodeState;
use marigram_storage::bucket::catalog::{Catalog, Contents};
use marigram_storage::model::member::{Member, MemberList, write_quorum};

/// A storage node that answers, and what it said.
#[derive(Clone, Debug)]
pub struct Heard {
    /// `HOST:PORT`.
    pub address: String,
    /// Who it is.
    pub member: Member,
    /// What it does.
    pub state: NodeState,
    /// Cluster and number of the list that it was told.
    pub list: Option<(u128, u64)>,
}

/// What the choice is made from.
#[derive(Clone, Copy, Debug)]
pub struct Situation<'a> {
    /// The newest catalog, read after the nodes were heard.
    pub catalog: &'a Catalog,
    /// The nodes that answer.
    pub nodes: &'a [Heard],
    /// Nodes that are not believed because they belong to another cluster than the others: address and cluster id.
    pub strangers: &'a [(String, u128)],
    /// `--replication-factor`, where given.
    pub replication_factor: Option<u32>,
    /// For the first catalog.
    pub query_timeout_max_ms: u64,
    /// For the first catalog.
    pub new_cluster_id: u128,
}

/// What is to be done about members.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MembersPlan {
    /// What the catalog should say next, if anything else.
    pub next: Option<Contents>,
    /// Why there is no list yet.
    pub waiting: Option<String>,
    /// What is refused, one sentence each.
    pub problems: Vec<String>,
}

/// Chooses.
///
/// # Errors
/// One sentence: the compactor must not go on.
pub fn plan_members(situation: Situation<'_>) -> Result<MembersPlan, String> {
    let strangers = contradictions(situation)?;
    let contents = &situation.catalog.contents;
    let mut plan = MembersPlan { problems: strangers, ..MembersPlan::default() };
    let candidates = candidates(situation, &mut plan.problems);
    if contents.members.is_empty() {
        match first_members(situation, &candidates) {
            Ok(next) => plan.next = Some(next),
            Err(waiting) => plan.waiting = Some(waiting),
        }
        return Ok(plan);
    }
    let joiners = joiners(contents, &candidates, &mut plan.problems);
    plan.next = match joiners.is_empty() {
        true => all_active(situation),
        false => Some(with_joiners(contents, joiners)),
    };
    Ok(plan)
}

/// Finds what must not be; answers sentences about nodes that are not believed.
fn contradictions(situation: Situation<'_>) -> Result<Vec<String>, String> {
    let contents = &situation.catalog.contents;
    if let (Some(given), Some(written)) = (situation.replication_factor, contents.replication_factor)
        && given != written
    {
        return Err(format!(
            "--replication-factor {given}: the catalog in the bucket says {written}, and changing that is not possible yet"
        ));
    }
    let told = situation.nodes.iter().filter_map(|node| Some((&node.address, node.list?.0, node.list?.1)));
    let mut told: Vec<(&String, u128, u64)> = told.collect();
    told.extend(situation.strangers.iter().map(|(address, cluster_id)| (address, *cluster_id, 0)));
    let Some(own) = contents.cluster_id else {
        return match told.first() {
            None => Ok(Vec::new()),
            Some((address, cluster_id, _)) => Err(format!(
                "--bucket: the storage nodes belong to cluster {cluster_id:032x} (so says {address}), but the bucket has no \
                 catalog: it is the wrong bucket, or it was emptied"
            )),
        };
    };
    let (ours, others): (Vec<_>, Vec<_>) = told.into_iter().partition(|(_, cluster_id, _)| *cluster_id == own);
    if let (true, Some((address, cluster_id, _))) = (ours.is_empty(), others.first()) {
        return Err(format!(
            "--bucket: it holds cluster {own:032x}, but the storage nodes belong to another cluster, {cluster_id:032x} (so \
             says {address})"
        ));
    }
    if let Some((address, _, number)) = ours.iter().find(|(_, _, number)| *number > situation.catalog.number) {
        return Err(format!(
            "--bucket: storage node {address} was told of catalog {number}, but the newest in the bucket is {}: catalogs \
             were lost, or it is an old copy of the bucket",
            situation.catalog.number
        ));
    }
    let refused = |(address, cluster_id, _): (&String, u128, u64)| {
        format!("storage node {address} belongs to another cluster ({cluster_id:032x}, not {own:032x})")
    };
    Ok(others.into_iter().map(refused).collect())
}

/// The recovered nodes of this cluster or of none, by name; without those that cannot be told apart.
fn candidates(situation: Situation<'_>, problems: &mut Vec<String>) -> Vec<Member> {
    let own = situation.catalog.contents.cluster_id;
    let ours = |node: &&Heard| node.list.is_none_or(|(cluster_id, _)| own == Some(cluster_id));
    let recovered = |node: &&Heard| !matches!(node.state, NodeState::Unspecified | NodeState::Replaying);
    let nodes: Vec<&Heard> = situation.nodes.iter().filter(ours).filter(recovered).collect();
    let mut by_name: BTreeMap<&str, BTreeMap<u128, &Heard>> = BTreeMap::new();
    let mut names_of: BTreeMap<u128, BTreeSet<&str>> = BTreeMap::new();
    for node in nodes {
        let name = node.member.node_name.as_str();
        by_name.entry(name).or_default().entry(node.member.disk_id).or_insert(node);
        names_of.entry(node.member.disk_id).or_default().insert(name);
    }
    let mut candidates = Vec::new();
    for (name, disks) in &by_name {
        if disks.len() > 1 {
            let addresses: Vec<&str> = disks.values().map(|node| node.address.as_str()).collect();
            problems.push(format!("several storage nodes are called {name} ({})", addresses.join(", ")));
        }
        for node in disks.values() {
            let names = &names_of[&node.member.disk_id];
            if names.len() > 1 && names.first() == Some(name) {
                let names: Vec<&str> = names.iter().copied().collect();
                problems.push(format!("storage nodes {} have the same disk: one is a copy", names.join(" and ")));
            }
            if names.len() == 1 && disks.len() == 1 {
                candidates.push(node.member.clone());
            }
        }
    }
    candidates
}

fn first_members(situation: Situation<'_>, candidates: &[Member]) -> Result<Contents, String> {
    let contents = &situation.catalog.contents;
    let Some(copies) = situation.replication_factor.or(contents.replication_factor) else {
        return Err("--replication-factor must be given once, for the first catalog".to_owned());
    };
    let answering = candidates.len();
    if answering < copies as usize {
        return Err(format!("{answering} of the {copies} storage nodes that the first catalog needs answer"));
    }
    let zones: BTreeSet<&str> = candidates.iter().map(|member| member.zone.as_str()).collect();
    if zones.contains("") && zones.len() > 1 {
        return Err("some storage nodes have a zone and some have none; all or none must".to_owned());
    }
    let quorum = write_quorum(copies);
    if !zones.contains("") && zones.len() < quorum {
        return Err(format!("the storage nodes that answer lie in {} zones, and a write needs {quorum}", zones.len()));
    }
    Ok(Contents {
        cluster_id: contents.cluster_id.or(Some(situation.new_cluster_id)),
        replication_factor: Some(copies),
        query_timeout_max_ms: contents.query_timeout_max_ms.or(Some(situation.query_timeout_max_ms)),
        members: candidates.to_vec(),
        joining: candidates.iter().map(|member| member.node_name.clone()).collect(),
        ..contents.clone()
    })
}

/// The candidates that become members.
fn joiners(contents: &Contents, candidates: &[Member], problems: &mut Vec<String>) -> Vec<Member> {
    let zoned = contents.members.iter().any(|member| !member.zone.is_empty());
    let mut joiners = Vec::new();
    for candidate in candidates {
        let Member { node_name: name, disk_id, zone } = candidate;
        let known = contents.members.iter().find(|member| member.node_name == *name);
        let same_disk = contents.members.iter().find(|member| member.disk_id == *disk_id);
        match (known, same_disk) {
            (Some(known), _) if known.disk_id == *disk_id => {
                if known.zone != *zone {
                    problems.push(format!(
                        "storage node {name} says that it is in zone {zone:?}, but is listed in zone {:?}, which counts",
                        known.zone
                    ));
                }
            }
            (Some(known), _) => problems.push(format!(
                "storage node {name} answers with another disk ({disk_id:032x}) than the one that is listed ({:032x}): it \
                 stays missing, and the new disk takes no writes",
                known.disk_id
            )),
            (None, Some(other)) => problems.push(format!(
                "storage node {name} has the disk of the member {}: it is not taken for another node",
                other.node_name
            )),
            (None, None) if zone.is_empty() == zoned => problems.push(format!(
                "storage node {name} has {} zone, unlike the members: it does not become one",
                if zoned { "no" } else { "a" }
            )),
            (None, None) => joiners.push(candidate.clone()),
        }
    }
    joiners
}

fn with_joiners(contents: &Contents, joiners: Vec<Member>) -> Contents {
    let mut next = contents.clone();
    next.joining.extend(joiners.iter().map(|member| member.node_name.clone()));
    next.members.extend(joiners);
    next.members.sort_unstable();
    next
}

/// The contents with nobody joining any more, if enough members have the list.
fn all_active(situation: Situation<'_>) -> Option<Contents> {
    let contents = &situation.catalog.contents;
    let list = situation.catalog.member_list().filter(|_| !contents.joining.is_empty())?;
    let confirmed = |member: &Member| situation.nodes.iter().any(|node| node.has(member, &list));
    let active = contents.members.iter().filter(|member| !contents.joining.contains(&member.node_name));
    let mut voters: Vec<&Member> = active.collect();
    if voters.is_empty() {
        voters.extend(&contents.members);
    }
    voters.retain(|member| confirmed(member));
    (spread(voters) >= list.write_quorum()).then(|| Contents { joining: BTreeSet::new(), ..contents.clone() })
}

/// How many failures at once these outlast at least, and one more: zones where there are zones, else nodes.
pub fn spread<'a>(members: impl IntoIterator<Item = &'a Member>) -> usize {
    let places = members.into_iter().map(|member| match member.zone.as_str() {
        "" => (member.node_name.as_str(), ""),
        zone => ("", zone),
    });
    places.collect::<BTreeSet<_>>().len()
}

impl Heard {
    /// Whether it is this member, and has this list or a newer one.
    pub fn has(&self, member: &Member, list: &MemberList) -> bool {
        self.member.node_name == member.node_name
            && self.member.disk_id == member.disk_id
            && self
                .list
                .is_some_and(|(cluster_id, number)| cluster_id == list.cluster_id && number >= list.catalog_number)
    }
}

/// Whom to tell the list: indexes of `nodes`, and whether to say that it is confirmed, so that the node may take writes.
pub fn plan_telling(catalog: &Catalog, nodes: &[Heard]) -> Vec<(usize, bool)> {
    let Some(list) = catalog.member_list() else { return Vec::new() };
    let mut tell = Vec::new();
    for (at, node) in nodes.iter().enumerate() {
        if node.state == NodeState::Replaying || node.list.is_some_and(|(cluster_id, _)| cluster_id != list.cluster_id)
        {
            continue;
        }
        let name = &node.member.node_name;
        let active = list.lists(name, node.member.disk_id) && !catalog.contents.joining.contains(name);
        let behind = node.list.is_none_or(|(_, number)| number < list.catalog_number);
        let held_back = matches!(node.state, NodeState::Unlisted | NodeState::Unconfirmed);
        if behind || (active && held_back) {
            tell.push((at, active));
        }
    }
    tell
}

#[cfg(test)]
#[path = "members_test.rs"]
mod tests;
