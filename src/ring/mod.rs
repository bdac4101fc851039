//! Where a series lives: rendezvous hashing over the names of the members. Pure, and the same in every version.
//!
//! 1. `name_hash` of a member is XXH3-64 (seed 0) of its name's UTF-8 bytes.
//! 2. The score of a member for a series is XXH3-64 of the 16 bytes of the series' id, little-endian, with `name_hash`
//!    as the seed. For the metadata of a metric family the id is XXH3-128 (seed 0) of the family's name.
//! 3. A series' order of members is by descending score; equal scores by ascending name.
//! 4. Copies are placed one after the other, each on the first member of that order that lives, holds no copy yet and lies in
//!    a zone without a copy. Where every zone has one, the zone does not matter any more: such a copy is one more, but
//!    does not count for the quorum, which counts zones. In a cluster without zones each member is a zone of its own.
//!
//! So the first RF that live own a series and the next ones stand in, a member that comes or goes moves only its own share,
//! and the share of one that is down spreads over all others.

mod node_set;
#[cfg(test)]
mod ring_test;

pub use node_set::{MEMBERS_MAX, NodeSet};

use marigram_storage::model::labels::SeriesId;
use marigram_storage::model::member::Member;
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed, xxh3_128};

/// The members of one list, by their place in it.
#[derive(Clone, Debug)]
pub struct Ring {
    nodes: Vec<Node>,
    zones: usize,
    zoned: bool,
}

#[derive(Clone, Copy, Debug)]
struct Node {
    name_hash: u64,
    /// Number of its zone.
    zone: usize,
}

/// Why a list cannot place anything.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RingError {
    /// Some members are in a zone, others are not.
    #[error("{with} is in a zone and {without} is in none: all members need a --zone, or none may have one")]
    MixedZones {
        /// A member with a zone.
        with: String,
        /// One without.
        without: String,
    },
    /// Names that are not ascending, empty or not unique, or a disk that is listed twice.
    #[error("the list of members is malformed at {0:?}")]
    Malformed(String),
    /// More than [`MEMBERS_MAX`].
    #[error("{0} storage nodes are listed, at most {MEMBERS_MAX} can be")]
    TooMany(usize),
}

/// The id by which the metadata of a metric family is placed.
pub fn family_id(family: &str) -> SeriesId {
    SeriesId(xxh3_128(family.as_bytes()))
}

/// The score of a member, by the hash of its name, for a series.
#[inline]
fn score(id: SeriesId, name_hash: u64) -> u64 {
    xxh3_64_with_seed(&id.0.to_le_bytes(), name_hash)
}

impl Ring {
    /// The ring of a list of members, which is ascending by name.
    ///
    /// # Errors
    /// [`RingError`] says why the list cannot place anything.
    pub fn new(members: &[Member]) -> Result<Self, RingError> {
        if members.len() > MEMBERS_MAX {
            return Err(RingError::TooMany(members.len()));
        }
        let mut previous = "";
        for (place, member) in members.iter().enumerate() {
            let again = members.iter().take(place).any(|other| other.disk_id == member.disk_id);
            if again || member.node_name.as_str() <= previous {
                return Err(RingError::Malformed(member.node_name.clone()));
            }
            previous = &member.node_name;
        }
        let with = members.iter().find(|member| !member.zone.is_empty());
        let without = members.iter().find(|member| member.zone.is_empty());
        if let (Some(with), Some(without)) = (with, without) {
            let (with, without) = (with.node_name.clone(), without.node_name.clone());
            return Err(RingError::MixedZones { with, without });
        }
        let mut zones: Vec<&str> = members.iter().map(|member| member.zone.as_str()).collect();
        zones.sort_unstable();
        zones.dedup();
        let node = |(place, member): (usize, &Member)| Node {
            name_hash: xxh3_64(member.node_name.as_bytes()),
            zone: match with {
                Some(_) => zones.binary_search(&member.zone.as_str()).unwrap_or(0),
                None => place,
            },
        };
        let nodes = members.iter().enumerate().map(node).collect();
        let zoned = with.is_some();
        Ok(Ring { nodes, zones: if zoned { zones.len() } else { members.len() }, zoned })
    }

    /// How many members there are.
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Whether there is no member.
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// Whether the members are in zones.
    pub fn is_zoned(&self) -> bool {
        self.zoned
    }

    /// How many zones there are; without zones, each member is one.
    pub fn zones(&self) -> usize {
        self.zones
    }

    /// All members.
    pub fn all(&self) -> NodeSet {
        NodeSet::first(self.nodes.len())
    }

    /// What the quorum counts: in how many zones `nodes` are; without zones, how many they are.
    #[inline]
    pub fn spread(&self, nodes: NodeSet) -> usize {
        if self.zoned { self.zones_of(nodes).len() } else { nodes.len() }
    }

    #[inline]
    fn zones_of(&self, nodes: NodeSet) -> NodeSet {
        if !self.zoned {
            return nodes;
        }
        nodes.iter().filter_map(|node| self.nodes.get(node)).map(|node| node.zone).collect()
    }

    /// Places series; keeps the buffer of the scores from one to the next.
    pub fn placer(&self) -> Placer<'_> {
        Placer { ring: self, scores: [0; MEMBERS_MAX] }
    }
}

/// Places one series after the other, without allocating.
#[derive(Debug)]
pub struct Placer<'a> {
    ring: &'a Ring,
    scores: [u64; MEMBERS_MAX],
}

impl Placer<'_> {
    /// Turns to a series.
    #[inline]
    pub fn turn_to(&mut self, id: SeriesId) {
        for (out, node) in self.scores.iter_mut().zip(&self.ring.nodes) {
            *out = score(id, node.name_hash);
        }
    }

    /// Where the next copy goes: the first in the series' order among `candidates`, outside of the zones of `holders` as
    /// long as there is such a candidate; `None` if there is no candidate.
    #[inline]
    pub fn next(&self, candidates: NodeSet, holders: NodeSet) -> Option<usize> {
        let taken = self.ring.zones_of(holders);
        let fresh = |node: &usize| self.ring.nodes.get(*node).is_some_and(|node| !taken.contains(node.zone));
        let elsewhere = self.first(candidates.iter().filter(fresh));
        elsewhere.or_else(|| self.first(candidates.without(holders).iter()))
    }

    /// Where `copies` copies go when `live` live; fewer where fewer live.
    #[inline]
    pub fn place(&self, live: NodeSet, copies: usize) -> NodeSet {
        let mut holders = NodeSet::EMPTY;
        for _ in 0..copies {
            match self.next(live.without(holders), holders) {
                Some(node) => holders.insert(node),
                None => break,
            }
        }
        holders
    }

    /// The highest score wins; among equal ones the first, whose name is the lesser.
    #[inline]
    fn first(&self, candidates: impl Iterator<Item = usize>) -> Option<usize> {
        let mut best: Option<(u64, usize)> = None;
        for node in candidates {
            let score = self.scores.get(node).copied().unwrap_or(0);
            if best.is_none_or(|(highest, _)| score > highest) {
                best = Some((score, node));
            }
        }
        best.map(|(_, node)| node)
    }
}
