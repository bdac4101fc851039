//! Which sealed blocks are joined into one, and when.
//!
//! 1. What the catalog names as a source, and what its node was told to be covered, is done.
//! 2. The others are grouped: those within one 2 h window by that window; those that span several, late ones, by overlap.
//! 3. A group is due when every live member has a block in it, or its oldest has been seen for the delay. A member that
//!    is down is waited for no longer than that; its blocks come into a block of their own later.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use marigram_storage::model::member::Member;
use marigram_storage::model::time::{TimeRange, window_start};
use ulid::Ulid;

use crate::rpc::convert::node::RemoteBlock;

/// The sealed blocks of one live member.
#[derive(Clone, Debug)]
pub struct Listing {
    /// Whose they are.
    pub member: Member,
    /// All that are still on it.
    pub blocks: Vec<RemoteBlock>,
}

/// Blocks that are to become one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// Range of all samples.
    pub range: TimeRange,
    /// The blocks by name: index of the listing, and what it says.
    pub blocks: BTreeMap<Ulid, (usize, RemoteBlock)>,
}

/// What waits, and what of it is due.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BlocksPlan {
    /// The groups to be joined now, oldest data first.
    pub due: Vec<Group>,
    /// Blocks that no catalog names, those of due groups too.
    pub waiting: usize,
    /// Their size, bytes.
    pub waiting_bytes: u64,
}

/// Chooses. `named` are the sources in the catalog, `seen` says since when each block is known, on the clock of `now`.
pub fn plan_blocks(
    listings: &[Listing],
    named: &BTreeSet<Ulid>,
    seen: &BTreeMap<Ulid, Duration>,
    now: Duration,
    delay: Duration,
) -> BlocksPlan {
    let mut windows: BTreeMap<i64, Group> = BTreeMap::new();
    let mut late: Vec<(usize, RemoteBlock)> = Vec::new();
    for (at, listing) in listings.iter().enumerate() {
        for block in listing.blocks.iter().filter(|block| !block.covered && !named.contains(&block.ulid)) {
            let window = window_start(block.range.start_ms);
            match window == window_start(block.range.end_ms) {
                true => windows.entry(window).or_default().push(at, block.clone()),
                false => late.push((at, block.clone())),
            }
        }
    }
    let mut groups: Vec<Group> = windows.into_values().chain(by_overlap(late)).collect();
    groups.sort_by_key(|group| (group.range.start_ms, group.range.end_ms));
    let all = groups.iter().flat_map(|group| group.blocks.values());
    let (waiting, waiting_bytes) = (all.clone().count(), all.map(|(_, block)| block.size_bytes).sum());
    groups.retain(|group| group.is_due(listings.len(), seen, now, delay));
    BlocksPlan { due: groups, waiting, waiting_bytes }
}

/// Groups blocks so that those of different groups do not overlap.
fn by_overlap(mut blocks: Vec<(usize, RemoteBlock)>) -> Vec<Group> {
    blocks.sort_by_key(|(_, block)| (block.range.start_ms, block.ulid));
    let mut groups: Vec<Group> = Vec::new();
    for (at, block) in blocks {
        match groups.last_mut() {
            Some(group) if group.range.overlaps(block.range) => group.push(at, block),
            _ => {
                let mut group = Group::default();
                group.push(at, block);
                groups.push(group);
            }
        }
    }
    groups
}

impl Default for Group {
    fn default() -> Self {
        Group { range: TimeRange::EMPTY, blocks: BTreeMap::new() }
    }
}

impl Group {
    fn push(&mut self, listing: usize, block: RemoteBlock) {
        self.range = self.range.union(block.range);
        self.blocks.entry(block.ulid).or_insert((listing, block));
    }

    fn is_due(&self, live: usize, seen: &BTreeMap<Ulid, Duration>, now: Duration, delay: Duration) -> bool {
        let contributed: BTreeSet<usize> = self.blocks.values().map(|(listing, _)| *listing).collect();
        let waited = |ulid: &Ulid| now.saturating_sub(seen.get(ulid).copied().unwrap_or(now)) >= delay;
        contributed.len() == live || self.blocks.keys().any(waited)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use marigram_storage::model::time::WINDOW_MS;

    const DELAY: Duration = Duration::from_secs(60);

    fn block(ulid: u128, start_ms: i64, end_ms: i64) -> RemoteBlock {
        RemoteBlock {
            ulid: Ulid(ulid),
            created_ms: 0,
            range: TimeRange { start_ms, end_ms },
            series: 1,
            samples: 1,
            size_bytes: 10,
            covered: false,
        }
    }

    fn listing(name: &str, blocks: &[RemoteBlock]) -> Listing {
        let member = Member { node_name: name.into(), disk_id: 1, zone: String::new() };
        Listing { member, blocks: blocks.to_vec() }
    }

    /// The names of the blocks of each due group, where all blocks were seen at 100 s.
    fn due(listings: &[Listing], named: &[u128], now_s: u64) -> Vec<Vec<u128>> {
        let named = named.iter().map(|ulid| Ulid(*ulid)).collect();
        let seen = listings.iter().flat_map(|l| l.blocks.iter().map(|b| (b.ulid, Duration::from_secs(100)))).collect();
        let plan = plan_blocks(listings, &named, &seen, Duration::from_secs(now_s), DELAY);
        plan.due.iter().map(|group| group.blocks.keys().map(|ulid| ulid.0).collect()).collect()
    }

    #[test]
    fn replicas_of_a_window_wait_for_each_other_but_not_for_ever() {
        let a = listing("a", &[block(1, 10, 20), block(3, WINDOW_MS, WINDOW_MS + 5)]);
        let b = listing("b", &[block(2, 15, WINDOW_MS - 1)]);
        assert_eq!(due(&[a.clone(), b.clone()], &[], 100), [[1, 2]], "both members have the first window");
        assert_eq!(due(&[a.clone(), b.clone(), listing("c", &[])], &[], 159), Vec::<Vec<u128>>::new());
        assert_eq!(due(&[a.clone(), b.clone(), listing("c", &[])], &[], 160), [vec![1, 2], vec![3]]);
        assert_eq!(due(&[a.clone(), b], &[1], 160), [vec![2], vec![3]], "what is named is done");
        assert_eq!(due(&[a], &[], 100), [vec![1], vec![3]], "who is down is not counted");
    }

    #[test]
    fn late_blocks_go_by_overlap_and_covered_ones_not_at_all() {
        let covered = RemoteBlock { covered: true, ..block(9, 10, 20) };
        let blocks = [
            block(1, -5, WINDOW_MS),
            block(2, WINDOW_MS - 1, 3 * WINDOW_MS),
            block(3, 4 * WINDOW_MS - 1, 4 * WINDOW_MS),
            block(4, i64::MIN, i64::MIN + WINDOW_MS * 2),
            block(5, 10, 20),
            covered,
        ];
        assert_eq!(due(&[listing("a", &blocks)], &[], 100), [vec![4], vec![1, 2], vec![5], vec![3]]);
        let plan =
            plan_blocks(&[listing("a", &blocks), listing("b", &[])], &BTreeSet::new(), &BTreeMap::new(), DELAY, DELAY);
        assert_eq!((plan.due.len(), plan.waiting, plan.waiting_bytes), (0, 5, 50));
    }
}
