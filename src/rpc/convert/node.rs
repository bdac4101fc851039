//! What a storage node tells of itself and of its blocks.

use marigram_proto::cluster as proto;
use marigram_storage::model::member::{Member, MemberList};
use marigram_storage::model::time::TimeRange;
use ulid::Ulid;

pub use marigram_proto::cluster::NodeState;

use super::{Malformed, member};

/// How a storage node is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Handshake {
    /// Who it is.
    pub member: Member,
    /// What it does now.
    pub state: NodeState,
    /// For people: why the state is what it is.
    pub detail: String,
    /// The newest list of members that it was told.
    pub members: Option<MemberList>,
    /// Everything that it took with later timestamps is still on it.
    pub drop_mark_ms: Option<i64>,
    /// Timestamp of its newest sample.
    pub newest_sample_ms: Option<i64>,
    /// Sealed blocks that it was not told to be covered.
    pub unshipped_blocks: u64,
    /// Their size, bytes.
    pub unshipped_bytes: u64,
    /// When the oldest of them was made.
    pub oldest_unshipped_ms: Option<i64>,
    /// Losses that were found and not accepted.
    pub damage: u64,
    /// Ranges of those losses.
    pub damaged: Vec<TimeRange>,
    /// Series in its head.
    pub head_series: u64,
    /// Version of its program.
    pub version: String,
}

/// Ranges that are sent at most; more are told as one range around them all.
const DAMAGED_RANGES_MAX: usize = 1000;

impl Handshake {
    /// Whether it answers queries.
    pub fn answers_queries(&self) -> bool {
        !matches!(self.state, NodeState::Unspecified | NodeState::Replaying)
    }

    /// Its state in one word.
    pub fn state_name(&self) -> &'static str {
        match self.state {
            NodeState::Unspecified => "unknown",
            NodeState::Replaying => "replaying",
            NodeState::Unlisted => "unlisted",
            NodeState::Unconfirmed => "unconfirmed",
            NodeState::Ready => "ready",
            NodeState::ReadOnly => "read-only",
        }
    }

    /// Whether it takes writes.
    pub fn takes_writes(&self) -> bool {
        self.state == NodeState::Ready
    }
}

/// As it travels.
pub fn encode_handshake(handshake: &Handshake) -> proto::HandshakeResponse {
    let mut damaged = handshake.damaged.clone();
    if damaged.len() > DAMAGED_RANGES_MAX {
        damaged = vec![damaged.iter().fold(TimeRange::EMPTY, |all, range| all.union(*range))];
    }
    proto::HandshakeResponse {
        identity: Some(member::encode(&handshake.member)),
        state: handshake.state.into(),
        detail: handshake.detail.clone(),
        members: handshake.members.as_ref().map(member::encode_list),
        drop_mark_ms: handshake.drop_mark_ms,
        newest_sample_ms: handshake.newest_sample_ms,
        unshipped_blocks: handshake.unshipped_blocks,
        unshipped_bytes: handshake.unshipped_bytes,
        oldest_unshipped_ms: handshake.oldest_unshipped_ms,
        damage: handshake.damage,
        head_series: handshake.head_series,
        version: handshake.version.clone(),
        damaged: damaged
            .iter()
            .map(|range| proto::DamagedRange { start_ms: range.start_ms, end_ms: range.end_ms })
            .collect(),
    }
}

/// One that came.
///
/// # Errors
/// No identity, or a list that no catalog holds.
pub fn decode_handshake(response: &proto::HandshakeResponse) -> Result<Handshake, Malformed> {
    Ok(Handshake {
        member: member::decode_present(response.identity.as_ref())?,
        state: response.state(),
        detail: response.detail.clone(),
        members: response.members.as_ref().map(member::decode_list).transpose()?,
        drop_mark_ms: response.drop_mark_ms,
        newest_sample_ms: response.newest_sample_ms,
        unshipped_blocks: response.unshipped_blocks,
        unshipped_bytes: response.unshipped_bytes,
        oldest_unshipped_ms: response.oldest_unshipped_ms,
        damage: response.damage,
        damaged: response
            .damaged
            .iter()
            .map(|range| TimeRange { start_ms: range.start_ms, end_ms: range.end_ms })
            .collect(),
        head_series: response.head_series,
        version: response.version.clone(),
    })
}

/// A sealed block on a storage node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemoteBlock {
    /// Its name.
    pub ulid: Ulid,
    /// When it was made.
    pub created_ms: i64,
    /// Range of its samples.
    pub range: TimeRange,
    /// Series in it.
    pub series: u64,
    /// Samples in it.
    pub samples: u64,
    /// Size of its files, bytes.
    pub size_bytes: u64,
    /// Whether the node was told that a catalog covers it.
    pub covered: bool,
}

/// As it travels.
pub fn encode_block(block: &RemoteBlock) -> proto::BlockInfo {
    proto::BlockInfo {
        ulid: block.ulid.to_string(),
        created_ms: block.created_ms,
        min_ms: block.range.start_ms,
        max_ms: block.range.end_ms,
        series: block.series,
        samples: block.samples,
        size_bytes: block.size_bytes,
        covered: block.covered,
    }
}

/// One that came.
///
/// # Errors
/// A name that is no ULID, a range that ends before it begins.
pub fn decode_block(block: &proto::BlockInfo) -> Result<RemoteBlock, Malformed> {
    if block.min_ms > block.max_ms {
        return Err(Malformed::new("a block's range ends before it begins"));
    }
    Ok(RemoteBlock {
        ulid: decode_ulid(&block.ulid)?,
        created_ms: block.created_ms,
        range: TimeRange { start_ms: block.min_ms, end_ms: block.max_ms },
        series: block.series,
        samples: block.samples,
        size_bytes: block.size_bytes,
        covered: block.covered,
    })
}

/// A ULID in its canonical text: nothing else, so that it is safe as the name of a directory.
///
/// # Errors
/// Any other text.
pub fn decode_ulid(text: &str) -> Result<Ulid, Malformed> {
    let parsed = Ulid::from_string(text).ok().filter(|ulid| ulid.to_string() == text);
    parsed.ok_or_else(|| Malformed::new("the name of a block is no ULID"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_canonical_ulids_name_blocks() {
        let text = "01HF7YAT00000000000000001A";
        assert_eq!(decode_ulid(text).unwrap().to_string(), text);
        for other in ["", "../../../../etc/passwd", "01hf7yat00000000000000001a", "8ZZZZZZZZZZZZZZZZZZZZZZZZZ"] {
            assert!(decode_ulid(other).is_err(), "{other}");
        }
    }
}
