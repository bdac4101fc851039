//! What has changed in the cluster's old data, told to the cache of range queries.
//!
//! 1. All members settle the time up to which answers are to be kept, and tell what has changed on them since they were heard last
//!    ([`marigram_storage::db::Db::settle`]). Samples are acknowledged when W disks have them, each of which has noted them; whoever hears
//!    all but fewer than W hears of every one. Without so many nothing is known, and nothing is taken from the cache or kept.
//! 2. A member's numbers can be compared while it is the same process and has settled every time. Of one that was silent in between, has
//!    restarted or is new, anything may have changed.
//! 3. What a member drops because the bucket has it is no change. A block that goes from the bucket is one.
//!
//! Changes of all of them are counted by numbers of this process, so that what is kept needs one number only.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use marigram_query::source::Changes;
use marigram_storage::bucket::catalog::Catalog;
use marigram_storage::context::Context;
use marigram_storage::db::{Change, Recent, Settled};
use marigram_storage::model::tenant::TenantId;
use marigram_storage::model::time::TimeRange;
use parking_lot::Mutex;
use ulid::Ulid;

use super::Cluster;
use super::ask::Answered;
use crate::rpc::convert::settle::SettledNode;

/// Tenants whose changes are followed; of those beyond, who asked longest ago is forgotten, and with it what was kept for them.
const TENANTS_MAX: usize = 1024;

/// Follows the changes of a cluster.
pub struct ClusterChanges {
    cluster: Cluster,
    heard: Mutex<Heard>,
}

/// What was heard so far.
#[derive(Default)]
struct Heard {
    /// Of the newest change.
    number: u64,
    tenants: HashMap<TenantId, OfTenant>,
    /// Counts settlements.
    used: u64,
    /// Changes of the bucket.
    of_all: Recent,
    catalog: Option<Arc<Catalog>>,
}

#[derive(Default)]
struct OfTenant {
    /// By disk, of all members that settled the last time: which process, and its newest change.
    members: HashMap<u128, (u64, u64)>,
    recent: Recent,
    used: u64,
}

impl ClusterChanges {
    /// Follows the changes of this cluster. Nothing was heard yet.
    pub fn new(cluster: Cluster) -> Self {
        ClusterChanges { cluster, heard: Mutex::default() }
    }
}

impl Changes for ClusterChanges {
    fn settle(&self, context: &Context, up_to_ms: i64) -> Option<Settled> {
        let settlement = self.cluster.settle(context, up_to_ms)?;
        let mut heard = self.heard.lock();
        heard.look_at(settlement.catalog);
        let settled = heard.hear(context.tenant(), &settlement.answers);
        settled.filter(|_| settlement.complete)
    }
}

/// What the members answered.
pub(super) struct Settlement {
    pub answers: Vec<Answered<SettledNode>>,
    /// Whether fewer than W are missing.
    pub complete: bool,
    /// The newest one that was seen.
    pub catalog: Arc<Catalog>,
}

impl Heard {
    /// Notes what is gone from the bucket.
    fn look_at(&mut self, newest: Arc<Catalog>) {
        let known = match &self.catalog {
            Some(known) if known.number >= newest.number => return,
            known => known.clone(),
        };
        let listed: HashSet<Ulid> = newest.contents.blocks.iter().map(|block| block.ulid).collect();
        let blocks = known.iter().flat_map(|known| &known.contents.blocks);
        for gone in blocks.filter(|block| !listed.contains(&block.ulid)) {
            self.number += 1;
            self.of_all.push(Change { number: self.number, range: gone.range });
        }
        self.catalog = Some(newest);
    }

    /// Notes what the members tell. `None`: nobody answered.
    fn hear(&mut self, tenant: &TenantId, answers: &[Answered<SettledNode>]) -> Option<Settled> {
        self.used += 1;
        if !self.tenants.contains_key(tenant) {
            self.make_room();
        }
        let of_tenant = self.tenants.entry(tenant.clone()).or_default();
        of_tenant.used = self.used;
        let before = std::mem::take(&mut of_tenant.members);
        let mut note = |range| {
            self.number += 1;
            of_tenant.recent.push(Change { number: self.number, range });
        };
        for Answered { disk_id, answer: SettledNode { incarnation, settled }, .. } in answers {
            let known = before.get(disk_id).filter(|(of, _)| of == incarnation).map(|(_, number)| *number);
            match known {
                Some(known) => settled.since(known).for_each(&mut note),
                None => note(TimeRange::ALL),
            }
            // Two settlements can come back in another order than they were answered in.
            of_tenant.members.insert(*disk_id, (*incarnation, settled.number.max(known.unwrap_or(0))));
        }
        let up_to_ms = answers.iter().map(|answered| answered.answer.settled.up_to_ms).min()?;
        let changes = of_tenant.recent.changes().chain(self.of_all.changes()).collect();
        Some(Settled::new(up_to_ms, self.number, changes))
    }

    /// Forgets a tenant where there are too many. Its numbers go on, so what was kept for it finds a change of everything.
    fn make_room(&mut self) {
        if self.tenants.len() >= TENANTS_MAX
            && let Some(oldest) = self.tenants.iter().min_by_key(|(_, of_tenant)| of_tenant.used)
        {
            let oldest = oldest.0.clone();
            self.tenants.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use marigram_storage::bucket::catalog::{CatalogBlock, Contents};

    use super::*;

    fn range(start_ms: i64, end_ms: i64) -> TimeRange {
        TimeRange { start_ms, end_ms }
    }

    /// What a member answers: its disk, its process, its newest change, and the changes since the first.
    fn answer(disk_id: u128, incarnation: u64, number: u64, changes: &[(u64, TimeRange)]) -> Answered<SettledNode> {
        let changes = changes.iter().map(|(number, range)| Change { number: *number, range: *range }).collect();
        let settled = Settled::new(100, number, changes);
        let (node_name, address) = (disk_id.to_string(), disk_id.to_string());
        Answered { node_name, disk_id, address, drop_mark_ms: None, answer: SettledNode { incarnation, settled } }
    }

    /// Where samples have changed since `before`.
    fn since(before: &Settled, now: &Settled) -> Vec<TimeRange> {
        now.since(before.number).collect()
    }

    #[test]
    fn a_change_is_told_once_and_of_who_was_away_anything_may_have_changed() {
        let (mut heard, tenant) = (Heard::default(), TenantId::default());
        let first = heard.hear(&tenant, &[answer(1, 7, 4, &[(4, range(0, 9))]), answer(2, 7, 0, &[])]).unwrap();
        let changes = [(4, range(0, 9)), (5, range(20, 30))];
        let second = heard.hear(&tenant, &[answer(1, 7, 5, &changes), answer(2, 7, 0, &[])]).unwrap();
        assert_eq!(since(&first, &second), [range(20, 30)], "what it told before is known");
        let late = heard.hear(&tenant, &[answer(1, 7, 4, &changes[..1]), answer(2, 7, 0, &[])]).unwrap();
        assert_eq!(since(&second, &late), [], "an older answer that comes later tells nothing new");
        let without = heard.hear(&tenant, &[answer(1, 7, 5, &changes)]).unwrap();
        assert_eq!(since(&late, &without), []);
        let back = heard.hear(&tenant, &[answer(1, 7, 5, &changes), answer(2, 7, 0, &[])]).unwrap();
        assert_eq!(since(&without, &back), [TimeRange::ALL], "it was away");
        let restarted = heard.hear(&tenant, &[answer(1, 8, 0, &[]), answer(2, 7, 0, &[])]).unwrap();
        assert_eq!(since(&back, &restarted), [TimeRange::ALL], "it is another process");
        assert_eq!(heard.hear(&tenant, &[]), None);
    }

    #[test]
    fn what_goes_from_the_bucket_is_a_change_for_every_tenant() {
        let catalog = |number, ulids: &[u128]| {
            let block = |ulid: &u128| CatalogBlock {
                ulid: Ulid(*ulid),
                range: range(*ulid as i64, *ulid as i64 + 10),
                level: 1,
                series: 1,
                samples: 1,
                size_bytes: 1,
                sources: Vec::new(),
            };
            let contents = Contents { blocks: ulids.iter().map(block).collect(), ..Contents::default() };
            Arc::new(Catalog { number, contents, ..Catalog::none() })
        };
        let (mut heard, tenant) = (Heard::default(), TenantId::default());
        heard.look_at(catalog(3, &[1, 20]));
        let before = heard.hear(&tenant, &[answer(1, 7, 0, &[])]).unwrap();
        heard.look_at(catalog(4, &[1, 20, 40]));
        // One that is older than what was seen tells nothing.
        heard.look_at(catalog(2, &[]));
        let more = heard.hear(&tenant, &[answer(1, 7, 0, &[])]).unwrap();
        assert_eq!(since(&before, &more), []);
        heard.look_at(catalog(5, &[20, 40]));
        let fewer = heard.hear(&tenant, &[answer(1, 7, 0, &[])]).unwrap();
        assert_eq!(since(&more, &fewer), [range(1, 11)]);
    }

    #[test]
    fn tenants_are_bounded_and_what_was_kept_for_one_that_is_forgotten_is_not_good() {
        let mut heard = Heard::default();
        let tenant = |number: usize| TenantId::parse(&number.to_string()).unwrap();
        let first = heard.hear(&tenant(0), &[answer(1, 7, 0, &[])]).unwrap();
        for number in 1..=TENANTS_MAX {
            heard.hear(&tenant(number), &[answer(1, 7, 0, &[])]);
            assert!(heard.tenants.len() <= TENANTS_MAX);
        }
        let again = heard.hear(&tenant(0), &[answer(1, 7, 0, &[])]).unwrap();
        assert_eq!(since(&first, &again), [TimeRange::ALL]);
    }
}
