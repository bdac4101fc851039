//! Delivers one write.
//!
//! 1. The calls to all nodes go out at once. An item (a series, or the metadata of a family) has a copy on each node whose call came
//!    back without naming it as unknown; what counts are distinct disks, and zones where there are some.
//! 2. An unknown series is sent again to the same node, with its labels.
//! 3. When a call fails, when it takes longer than [`Timing::attempt_max`] or its node is marked down meanwhile, each of its items
//!    goes to the next live node of its order at once. A slow call may still count when it comes back.
//! 4. When every item has its quorum, the write is acknowledged; the delivery goes on until every item has RF copies or no
//!    node is left that could take one. Nothing is acknowledged that no answer stands for.
//! 5. When an item has too few copies and no call that could bring one, or after [`Timing::write_max`], the write is
//!    refused and what is under way is given up. The sender repeats it, which is harmless.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use marigram_storage::model::labels::SeriesId;
use marigram_storage::write::WriteBatch;
use marigram_storage::{Error, Result};
use tokio::sync::oneshot;
use tokio::time::{Instant, MissedTickBehavior, interval_at};

use super::budget::DeliveryShare;
use super::known::{Fingerprints, KnownTable};
use super::metrics::Outcome;
use super::replicate::{Grouping, Replicator, item_id};
use super::transport::{Call, Cluster, Transport};
use crate::ring::{NodeSet, Ring};

/// How long things may take.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    /// How long a node may take before another is asked too.
    pub attempt_max: Duration,
    /// How long a write may take, all attempts together.
    pub write_max: Duration,
    /// How often calls under way are looked at.
    pub look_interval: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Timing {
            // Far more than an fsync takes, short against a sender's patience.
            attempt_max: Duration::from_secs(2),
            // Below the 30 s of Prometheus' `remote_timeout`.
            write_max: Duration::from_secs(10),
            look_interval: Duration::from_millis(100),
        }
    }
}

/// Where the copies of a series, or of a family's metadata, are.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Item {
    /// Who was asked.
    tried: NodeSet,
    /// Who has been asked and is expected to answer.
    open: NodeSet,
    /// Who has been asked and takes too long.
    slow: NodeSet,
    /// Who has it.
    stored: NodeSet,
}

impl Item {
    /// Copies on the way to these nodes.
    pub(super) fn sent_to(holders: NodeSet) -> Self {
        Item { tried: holders, open: holders, ..Item::default() }
    }

    /// Whether the quorum is there.
    #[inline]
    fn is_safe(&self, ring: &Ring, quorum: usize) -> bool {
        ring.spread(self.stored) >= quorum
    }

    /// Whether the quorum can be had without asking anybody else.
    fn may_become_safe(&self, ring: &Ring, quorum: usize) -> bool {
        ring.spread(self.stored.union(self.open).union(self.slow)) >= quorum
    }
}

/// A call under way.
struct OpenCall {
    node: usize,
    call: Arc<Call>,
    since: Instant,
    slow: bool,
}

type CallResult = (usize, Result<Vec<SeriesId>, String>);
type CallFuture = Pin<Box<dyn Future<Output = CallResult> + Send>>;

/// A write on its way.
pub struct Delivery<T> {
    replicator: Arc<Replicator<T>>,
    cluster: Arc<Cluster>,
    batch: Arc<WriteBatch>,
    tables: Vec<Arc<KnownTable>>,
    items: Vec<Item>,
    /// Items without a quorum.
    unsafe_items: usize,
    /// Items with fewer copies than the replication factor.
    short_items: usize,
    /// By number; `None` once it has ended.
    calls: Vec<Option<OpenCall>>,
    running: FuturesUnordered<CallFuture>,
    /// What nodes said last.
    reasons: BTreeMap<usize, String>,
    answer: Option<oneshot::Sender<Result<()>>>,
    /// Given back with the rest.
    _share: DeliveryShare,
}

impl<T: Transport> Delivery<T> {
    pub(super) fn new(
        replicator: Arc<Replicator<T>>,
        cluster: Arc<Cluster>,
        batch: Arc<WriteBatch>,
        tables: Vec<Arc<KnownTable>>,
        items: Vec<Item>,
        answer: oneshot::Sender<Result<()>>,
        share: DeliveryShare,
    ) -> Self {
        Delivery {
            replicator,
            cluster,
            batch,
            tables,
            unsafe_items: items.len(),
            short_items: items.len(),
            items,
            calls: Vec::new(),
            running: FuturesUnordered::new(),
            reasons: BTreeMap::new(),
            answer: Some(answer),
            _share: share,
        }
    }

    /// Delivers; ends when nothing more can be done.
    pub async fn run(mut self) {
        let (begun, timing) = (Instant::now(), self.replicator.timing);
        let mut look = interval_at(begun + timing.look_interval, timing.look_interval);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut in_time = true;
        loop {
            if self.unsafe_items == 0 {
                self.answer(Ok(()));
            }
            if self.short_items == 0 || self.running.is_empty() {
                break;
            }
            let going_on = tokio::select! {
                Some((number, result)) = self.running.next() => self.settle(number, result),
                now = look.tick() => {
                    in_time = now < begun + timing.write_max;
                    in_time && self.look_around(now)
                }
            };
            if !going_on {
                break;
            }
        }
        if self.unsafe_items > 0 {
            let refusal = self.refusal(in_time);
            self.answer(Err(Error::Unavailable(refusal)));
        } else {
            self.replicator.metrics.short(self.short_items);
        }
    }

    /// The first answer counts.
    fn answer(&mut self, result: Result<()>) {
        let Some(answer) = self.answer.take() else { return };
        if result.is_err() {
            self.replicator.metrics.no_quorum();
        }
        // Nobody may be waiting any more.
        let _ = answer.send(result);
    }

    /// Names who refused, and who has not answered where that was waited for.
    fn refusal(&self, in_time: bool) -> String {
        let needed = self.cluster.list.write_quorum();
        let mut text = format!("no write quorum: {needed} copies on distinct disks are needed");
        let reason = |node: &usize, said: &String| format!("; {}: {said}", self.cluster.name(*node));
        text.extend(self.reasons.iter().map(|(node, said)| reason(node, said)));
        let waited =
            self.calls.iter().flatten().filter(|call| call.slow || !in_time).map(|call| call.node).collect::<NodeSet>();
        for node in waited.iter().filter(|node| !self.reasons.contains_key(node)) {
            text.push_str(&format!("; {}: has not answered", self.cluster.name(node)));
        }
        text
    }

    /// Makes a call; it is sent when the delivery runs.
    pub(super) fn send(&mut self, node: usize, call: Call, slow: bool) {
        self.replicator.metrics.sent(
            self.cluster.name(node),
            call.known.len() + call.labelled.len(),
            call.labelled.len(),
        );
        let (number, call) = (self.calls.len(), Arc::new(call));
        let sent = self.replicator.transport.append(&self.cluster, node, Arc::clone(&call));
        self.running.push(Box::pin(async move { (number, sent.await) }));
        self.calls.push(Some(OpenCall { node, call, since: Instant::now(), slow }));
    }

    /// A call has ended. `false`: the quorum cannot be had any more.
    fn settle(&mut self, number: usize, result: Result<Vec<SeriesId>, String>) -> bool {
        let Some(OpenCall { node, call, slow, .. }) = self.calls.get_mut(number).and_then(Option::take) else {
            return true;
        };
        match result {
            Ok(mut unknown) => {
                unknown.sort_unstable();
                let outcome = if unknown.is_empty() { Outcome::Stored } else { Outcome::Unknown };
                self.replicator.metrics.ended(self.cluster.name(node), outcome);
                self.stored(node, &call, &unknown, slow);
                true
            }
            Err(reason) => {
                self.replicator.metrics.ended(self.cluster.name(node), Outcome::Failed);
                self.reasons.insert(node, reason);
                self.pass_on(node, &call, false)
            }
        }
    }

    /// A node has stored a call, but for the `unknown` series (ascending) that came without labels.
    fn stored(&mut self, node: usize, call: &Arc<Call>, unknown: &[SeriesId], slow: bool) {
        let Some(table) = self.tables.get(node).map(Arc::clone) else { return };
        let fingerprints = Fingerprints::of(&self.batch.tenant);
        table.reserve(call.labelled.len());
        let table = table.read();
        let mut again = Vec::new();
        for &place in &call.known {
            let Some(series) = self.batch.series.get(place as usize) else { continue };
            if unknown.binary_search(&series.id).is_ok() {
                table.remove(fingerprints.series(series.id));
                again.push(place);
            } else {
                self.has(place as usize, node);
            }
        }
        for &place in &call.labelled {
            let Some(series) = self.batch.series.get(place as usize) else { continue };
            table.insert(fingerprints.series(series.id));
            self.has(place as usize, node);
        }
        drop(table);
        for &place in &call.families {
            self.has(self.batch.series.len() + place as usize, node);
        }
        if !again.is_empty() {
            let batch = Arc::clone(&self.batch);
            self.send(node, Call { batch, known: Vec::new(), labelled: again, families: Vec::new() }, slow);
        }
    }

    /// A node has an item.
    #[inline]
    fn has(&mut self, place: usize, node: usize) {
        let (quorum, copies) = (self.cluster.list.write_quorum(), self.cluster.copies());
        let Some(item) = self.items.get_mut(place) else { return };
        let (was_safe, was_short) = (item.is_safe(&self.cluster.ring, quorum), item.stored.len() < copies);
        item.open.remove(node);
        item.slow.remove(node);
        item.stored.insert(node);
        self.unsafe_items -= usize::from(!was_safe && item.is_safe(&self.cluster.ring, quorum));
        self.short_items -= usize::from(was_short && item.stored.len() >= copies);
    }

    /// Calls that take too long, or whose node is down now, are passed on. `false`: the quorum cannot be had any more.
    fn look_around(&mut self, now: Instant) -> bool {
        let live = self.replicator.transport.live(&self.cluster);
        let mut late = Vec::new();
        for open in self.calls.iter_mut().flatten().filter(|open| !open.slow) {
            let timed_out = now.duration_since(open.since) >= self.replicator.timing.attempt_max;
            if timed_out {
                self.replicator.metrics.slow(self.cluster.name(open.node));
                self.replicator.transport.slow(&self.cluster, open.node);
            }
            if timed_out || !live.contains(open.node) {
                open.slow = true;
                late.push((open.node, Arc::clone(&open.call)));
            }
        }
        late.into_iter().all(|(node, call)| self.pass_on(node, &call, true))
    }

    /// The items of a call go to other nodes; the call has failed, or (`slow`) may still come back. `false`: of some item the quorum
    /// cannot be had any more.
    fn pass_on(&mut self, from: usize, call: &Call, slow: bool) -> bool {
        let (quorum, copies) = (self.cluster.list.write_quorum(), self.cluster.copies());
        let (cluster, batch) = (Arc::clone(&self.cluster), Arc::clone(&self.batch));
        let (replicator, tables) = (Arc::clone(&self.replicator), std::mem::take(&mut self.tables));
        let (ring, live) = (&cluster.ring, replicator.transport.live(&cluster));
        let mut grouping = Grouping::new(&replicator, &cluster, &batch, &tables);
        let mut placer = ring.placer();
        let mut possible = true;
        for place in call.items() {
            let (Some(item), Some(id)) = (self.items.get_mut(place), item_id(&batch, place)) else { continue };
            item.open.remove(from);
            item.slow.remove(from);
            if item.stored.contains(from) {
                continue;
            }
            if slow {
                item.slow.insert(from);
            }
            placer.turn_to(id);
            loop {
                let holders = item.stored.union(item.open);
                let (enough, safe) = (holders.len() >= copies, ring.spread(holders) >= quorum);
                if enough && safe {
                    break;
                }
                let Some(node) = placer.next(live.without(item.tried), holders) else { break };
                let with = holders.union([node].into_iter().collect());
                if enough && ring.spread(with) == ring.spread(holders) {
                    break;
                }
                item.tried.insert(node);
                item.open.insert(node);
                grouping.add(node, place, true);
            }
            possible &= item.may_become_safe(ring, quorum);
        }
        let calls = grouping.calls();
        self.tables = tables;
        if possible {
            for (node, call) in calls {
                self.send(node, call, false);
            }
        }
        possible
    }
}
