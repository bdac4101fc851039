//! A cluster in memory: nodes that take writes, seal, drop with a grace, die, replay and find damage; a bucket that is
//! away at times, whose objects go as soon as no catalog names them; a query node that looks for catalogs now and then.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use marigram_storage::bucket::catalog::{Catalog, CatalogBlock, Contents};
use marigram_storage::db::{Change, Recent, Settled};
use marigram_storage::env::{Random, SeededRandom};
use marigram_storage::model::member::{Member, MemberList};
use marigram_storage::model::time::TimeRange;
use ulid::Ulid;

use crate::rpc::convert::settle::SettledNode;

/// A catalog that was not confirmed for so long is not used.
pub(super) const CONFIRMED_MAX: i64 = 30;
/// A covered block stays so long; longer than a catalog is trusted.
const GRACE: i64 = CONFIRMED_MAX + 1;
pub(super) const SERIES: u64 = 4;

/// By series and timestamp; the value follows from both.
pub(super) type Samples = BTreeSet<(u64, i64)>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Up,
    Replaying,
    Down,
}

pub(super) struct SimNode {
    pub member: Member,
    pub state: State,
    /// The newest list that it was told, if any.
    pub told: Option<MemberList>,
    pub drop_mark: Option<i64>,
    pub damaged: Option<TimeRange>,
    head: Samples,
    blocks: BTreeMap<Ulid, SimBlock>,
    /// What it tells those who keep answers; forgotten when it dies.
    changes: SimChanges,
}

#[derive(Default)]
struct SimChanges {
    incarnation: u64,
    mark: Option<i64>,
    number: u64,
    recent: Recent,
}

struct SimBlock {
    samples: Samples,
    /// When the node learned that the bucket has it.
    covered_at: Option<i64>,
}

impl SimNode {
    fn new(member: Member) -> Self {
        let (head, blocks, changes) = Default::default();
        SimNode { member, state: State::Up, told: None, drop_mark: None, damaged: None, head, blocks, changes }
    }

    fn take(&mut self, samples: &Samples) {
        self.head.extend(samples);
        let range = samples.iter().map(|(_, t)| *t).fold(TimeRange::EMPTY, TimeRange::including);
        let changes = &mut self.changes;
        if changes.mark.is_some_and(|mark| range.start_ms <= mark) {
            changes.number += 1;
            changes.recent.push(Change { number: changes.number, range });
        }
    }

    pub(super) fn settle(&mut self, up_to: i64) -> SettledNode {
        let SimChanges { incarnation, mark, number, recent } = &mut self.changes;
        let up_to = *mark.insert(mark.unwrap_or(up_to).max(up_to));
        let settled = Settled::new(up_to, *number, recent.changes().collect());
        SettledNode { incarnation: *incarnation, settled }
    }

    /// As another process, from its disk.
    fn restart(&mut self) {
        self.changes = SimChanges { incarnation: self.changes.incarnation + 1, ..SimChanges::default() };
    }

    /// Everything that it has in the range.
    pub(super) fn samples(&self, range: TimeRange) -> Samples {
        let all = self.blocks.values().flat_map(|block| &block.samples).chain(&self.head);
        all.filter(|(_, t)| range.contains(*t)).copied().collect()
    }
}

pub(super) struct World {
    random: SeededRandom,
    pub now: i64,
    pub nodes: Vec<SimNode>,
    pub bucket_up: bool,
    pub objects: BTreeMap<Ulid, Samples>,
    /// What was acknowledged.
    pub acknowledged: Samples,
    /// What was sent.
    pub written: Samples,
    /// The newest catalog.
    catalog: Catalog,
    /// The storage blocks that the bucket has.
    covered: BTreeSet<Ulid>,
    /// The newest catalog that the query node has seen, and when it was confirmed.
    pub seen: Option<Arc<Catalog>>,
    pub confirmed_at: i64,
    /// The newest list that the query node has seen.
    pub known: Option<MemberList>,
    /// Whether things happen while a query runs.
    pub restless: bool,
    /// Whether the query node nearly always relies on an old catalog.
    looks_rarely: bool,
    ulids: u128,
}

impl World {
    pub(super) fn new(seed: u64) -> World {
        let mut world = World {
            random: SeededRandom::new(seed.wrapping_mul(1 << 32)),
            now: 1000,
            nodes: Vec::new(),
            bucket_up: true,
            objects: BTreeMap::new(),
            acknowledged: Samples::new(),
            written: Samples::new(),
            catalog: Catalog::none(),
            covered: BTreeSet::new(),
            seen: None,
            confirmed_at: i64::MIN / 2,
            known: None,
            restless: true,
            looks_rarely: seed % 2 == 1,
            ulids: 0,
        };
        let replication_factor = 1 + world.below(3) as u32;
        let zoned = world.below(2) == 0;
        let contents =
            Contents { cluster_id: Some(7), replication_factor: Some(replication_factor), ..Contents::default() };
        for i in 0..3 {
            let zone = if zoned { format!("zone-{i}") } else { String::new() };
            world.nodes.push(SimNode::new(Member { node_name: format!("n{i}"), disk_id: 100 + i, zone }));
        }
        let members = world.nodes.iter().map(|node| node.member.clone()).collect();
        world.commit(Contents { members, ..contents });
        world.tell(3);
        world
    }

    /// A random number below `n`.
    pub(super) fn below(&self, n: u64) -> u64 {
        (self.random.next_u128() % u128::from(n)) as u64
    }

    pub(super) fn list(&self) -> MemberList {
        self.catalog.member_list().unwrap()
    }

    /// Something happens.
    pub(super) fn step(&mut self) {
        match self.below(16) {
            0..=3 => self.write(),
            4 => self.seal(),
            5 => self.upload(),
            6 => self.compact(),
            7 => {
                let nodes = self.below(4) as usize;
                self.tell(nodes);
            }
            8 | 9 => self.drop_covered(),
            10 => self.now += self.below(20) as i64,
            11 => self.suffer(),
            12 | 13 if !self.looks_rarely || self.below(16) == 0 => self.look(),
            14 if self.below(4) == 0 => self.bucket_up = !self.bucket_up,
            15 if self.below(3) == 0 => self.join(),
            _ => self.recover(),
        }
    }

    /// Nobody is down, the bucket is there and its newest catalog is seen.
    pub(super) fn calm(&mut self) {
        for node in &mut self.nodes {
            node.state = State::Up;
            node.damaged = None;
        }
        self.bucket_up = true;
        self.look();
        self.restless = false;
    }

    /// The query node looks for a new catalog.
    pub(super) fn look(&mut self) {
        if self.bucket_up {
            self.seen = Some(Arc::new(self.catalog.clone()));
            self.confirmed_at = self.now;
        }
    }

    fn commit(&mut self, contents: Contents) {
        let number = self.catalog.number + 1;
        let changed = self.catalog.contents.members != contents.members;
        let members_number = if changed { number } else { self.catalog.members_number };
        self.catalog = Catalog { number, members_number, contents, ..self.catalog.clone() };
    }

    fn next_ulid(&mut self) -> Ulid {
        self.ulids += 1;
        Ulid(self.ulids)
    }

    fn random_node(&mut self) -> usize {
        self.below(self.nodes.len() as u64) as usize
    }

    /// Samples of one series go to RF nodes that take writes; they are acknowledged when W disks (zones) have them.
    fn write(&mut self) {
        let list = self.list();
        let mut takers = (0..self.nodes.len()).filter(|i| self.takes_writes(*i, &list)).collect::<Vec<_>>();
        while takers.len() > list.replication_factor as usize {
            let left_out = self.below(takers.len() as u64) as usize;
            takers.swap_remove(left_out);
        }
        let late = if self.below(4) == 0 { self.below(500) as i64 } else { 0 };
        let series = self.below(SERIES);
        let samples = (0..5).map(|i| (series, self.now - late - i)).collect::<Samples>();
        for taker in &takers {
            self.nodes[*taker].take(&samples);
        }
        let apart = takers.iter().map(|i| match &*self.nodes[*i].member.zone {
            "" => self.nodes[*i].member.node_name.clone(),
            zone => zone.to_owned(),
        });
        if apart.collect::<BTreeSet<_>>().len() >= list.write_quorum() {
            self.acknowledged.extend(&samples);
        }
        self.written.extend(&samples);
    }

    /// A node takes writes once W of the others have heard of the list that names it.
    fn takes_writes(&self, index: usize, list: &MemberList) -> bool {
        let node = &self.nodes[index];
        let Some(told) = &node.told else { return false };
        let member = &node.member;
        let is_founder = index < 3;
        let heard = self.nodes.iter().filter(|other| {
            let lists = |list: &MemberList| list.lists(&member.node_name, member.disk_id);
            other.member != *member && other.told.as_ref().is_some_and(lists)
        });
        node.state == State::Up
            && told.lists(&member.node_name, member.disk_id)
            && (is_founder || heard.count() >= list.write_quorum())
    }

    fn seal(&mut self) {
        let (index, ulid) = (self.random_node(), self.next_ulid());
        let node = &mut self.nodes[index];
        let samples = std::mem::take(&mut node.head);
        if node.state == State::Up && !samples.is_empty() {
            node.blocks.insert(ulid, SimBlock { samples, covered_at: None });
        } else {
            node.head = samples;
        }
    }

    /// A compactor joins some sealed blocks, of some nodes, into one.
    fn upload(&mut self) {
        if !self.bucket_up {
            return;
        }
        let mut sources = Vec::new();
        let mut joined = Samples::new();
        for node in self.nodes.iter().filter(|node| node.state == State::Up) {
            for (ulid, block) in &node.blocks {
                if !self.covered.contains(ulid) && self.below(3) > 0 {
                    sources.push(*ulid);
                    joined.extend(&block.samples);
                }
            }
        }
        if joined.is_empty() {
            return;
        }
        let mut contents = self.catalog.contents.clone();
        contents.blocks.push(self.put(joined));
        self.commit(contents);
        self.covered.extend(sources);
    }

    /// A compactor makes one block of two; the two go.
    fn compact(&mut self) {
        let mut contents = self.catalog.contents.clone();
        if !self.bucket_up || contents.blocks.len() < 2 {
            return;
        }
        let old = contents.blocks.drain(..2).map(|block| block.ulid).collect::<Vec<_>>();
        let joined = old.iter().flat_map(|ulid| self.objects[ulid].clone()).collect();
        contents.blocks.push(self.put(joined));
        self.commit(contents);
        self.objects.retain(|ulid, _| !old.contains(ulid));
    }

    fn put(&mut self, samples: Samples) -> CatalogBlock {
        let ulid = self.next_ulid();
        let times = samples.iter().map(|(_, t)| *t);
        let range = times.fold(TimeRange::EMPTY, TimeRange::including);
        let block = CatalogBlock {
            ulid,
            range,
            level: 1,
            series: SERIES,
            samples: samples.len() as u64,
            size_bytes: 1,
            sources: Vec::new(),
        };
        self.objects.insert(ulid, samples);
        block
    }

    /// A compactor tells up to `count` nodes the members and what is covered.
    fn tell(&mut self, count: usize) {
        let (list, now, from) = (self.list(), self.now, self.random_node());
        let nodes = self.nodes.len();
        for i in 0..count.min(nodes) {
            let node = &mut self.nodes[(from + i) % nodes];
            if node.state != State::Up {
                continue;
            }
            node.told = Some(list.clone());
            for (ulid, block) in &mut node.blocks {
                if self.covered.contains(ulid) {
                    block.covered_at.get_or_insert(now);
                }
            }
        }
    }

    fn drop_covered(&mut self) {
        let index = self.random_node();
        let (node, now) = (&mut self.nodes[index], self.now);
        let due = |block: &SimBlock| block.covered_at.is_some_and(|at| at + GRACE <= now);
        let dropped = node.blocks.extract_if(.., |_, block| due(block)).collect::<Vec<_>>();
        let last = dropped.iter().flat_map(|(_, block)| &block.samples).map(|(_, t)| *t).max();
        node.drop_mark = node.drop_mark.max(last);
    }

    fn suffer(&mut self) {
        let (index, kind) = (self.random_node(), self.below(4));
        let start_ms = self.now - self.below(300) as i64;
        let node = &mut self.nodes[index];
        match kind {
            0 => node.damaged = Some(TimeRange { start_ms, end_ms: start_ms + 50 }),
            1 => {
                node.state = State::Replaying;
                node.restart();
            }
            _ => node.state = State::Down,
        }
    }

    fn recover(&mut self) {
        let (index, dead) = (self.random_node(), self.below(2) == 0);
        let node = &mut self.nodes[index];
        // What was down was dead, or could not be reached for a while.
        node.state = match node.state {
            State::Down if dead => {
                node.restart();
                State::Replaying
            }
            State::Down | State::Replaying | State::Up => State::Up,
        };
        node.damaged = None;
    }

    /// A node joins the cluster.
    fn join(&mut self) {
        let i = self.nodes.len();
        if !self.bucket_up || i >= 6 {
            return;
        }
        let mut contents = self.catalog.contents.clone();
        let zone = if contents.members[0].zone.is_empty() { String::new() } else { format!("zone-{}", i % 3) };
        let member = Member { node_name: format!("n{i}"), disk_id: 100 + i as u128, zone };
        contents.members.push(member.clone());
        self.nodes.push(SimNode::new(member));
        self.commit(contents);
    }
}
