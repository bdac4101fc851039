//! Takes a write and places its copies.
//!
//! 1. The newest list of members says who there is; without a list, or when fewer than a write quorum live, nothing is sent.
//! 2. The write takes its bytes from the delivery budget until its last copy is delivered or given up.
//! 3. Each series is placed on the first RF live members of its order ([`crate::ring`]), and the series are grouped by
//!    node: one call to each, all sharing the batch. A node that is believed to know a series ([`super::known`]) is not sent its
//!    labels.
//! 4. [`super::delivery`] sends the calls and answers at the quorum.

use std::sync::Arc;

use marigram_storage::model::labels::SeriesId;
use marigram_storage::model::sample::Sample;
use marigram_storage::write::{FamilyMetadata, WriteBatch, WriteSeries};
use marigram_storage::{Error, Result};
use tokio::sync::oneshot;

use super::budget::DeliveryBudget;
use super::delivery::{Delivery, Item, Timing};
use super::known::{Fingerprints, KnownSeries, KnownTable};
use super::metrics::InsertMetrics;
use super::quorum;
use super::transport::{Call, Cluster, Transport};
use crate::ring::{NodeSet, family_id};

/// Series that one call sends without labels, so that the answer, which may name all of them, fits into a message.
const KNOWN_SERIES_MAX: usize = 50_000;

/// Places writes on storage nodes.
pub struct Replicator<T> {
    pub(super) transport: T,
    pub(super) metrics: InsertMetrics,
    pub(super) known: KnownSeries,
    pub(super) budget: Arc<DeliveryBudget>,
    pub(super) timing: Timing,
}

impl<T: Transport> Replicator<T> {
    /// Writes under way hold at most `delivery_bytes_max`.
    pub fn new(transport: T, delivery_bytes_max: usize, timing: Timing) -> Arc<Self> {
        Arc::new(Replicator {
            transport,
            metrics: InsertMetrics::default(),
            known: KnownSeries::default(),
            budget: DeliveryBudget::new(delivery_bytes_max),
            timing,
        })
    }

    /// Places a write, and makes what is sent first. The delivery is to be run; it answers when every series has its quorum, and may go on after that.
    ///
    /// # Errors
    /// [`Error::Unavailable`]: nothing was sent.
    pub fn prepare(self: &Arc<Self>, batch: WriteBatch) -> Result<(Delivery<T>, oneshot::Receiver<Result<()>>)> {
        let cluster = self.transport.cluster().map_err(Error::Unavailable)?;
        let live = self.transport.live(&cluster);
        if let Err(sentence) = quorum::check(&cluster, live, |node| self.transport.why_down(&cluster, node)) {
            self.metrics.no_quorum();
            return Err(Error::Unavailable(sentence));
        }
        let Some(share) = self.budget.take(bytes_of(&batch, cluster.copies())) else {
            self.metrics.no_room();
            let text = "the writes whose copies are being delivered hold all the memory that they may";
            return Err(Error::Unavailable(text.to_owned()));
        };
        let batch = Arc::new(batch);
        let tables = self.known.tables(&cluster.list.members);
        let mut items = Vec::with_capacity(batch.series.len() + batch.metadata.len());
        let calls = self.place(&cluster, live, &batch, &tables, &mut items);
        let (answer, answered) = oneshot::channel();
        let mut delivery = Delivery::new(Arc::clone(self), cluster, batch, tables, items, answer, share);
        for (node, call) in calls {
            delivery.send(node, call, false);
        }
        Ok((delivery, answered))
    }

    /// Step 3 of the module.
    fn place(
        &self,
        cluster: &Cluster,
        live: NodeSet,
        batch: &Arc<WriteBatch>,
        tables: &[Arc<KnownTable>],
        items: &mut Vec<Item>,
    ) -> Vec<(usize, Call)> {
        let mut grouping = Grouping::new(self, cluster, batch, tables);
        let mut placer = cluster.ring.placer();
        let all = cluster.ring.all();
        for (place, id) in item_ids(batch).enumerate() {
            placer.turn_to(id);
            let holders = placer.place(live, cluster.copies());
            let owners = if live == all { holders } else { placer.place(all, cluster.copies()) };
            for node in holders.iter() {
                grouping.add(node, place, !owners.contains(node));
            }
            items.push(Item::sent_to(holders));
        }
        grouping.calls()
    }
}

/// The ids of a batch's items: series first, then metadata of families.
pub(super) fn item_ids(batch: &WriteBatch) -> impl Iterator<Item = SeriesId> {
    batch.series.iter().map(|series| series.id).chain(batch.metadata.iter().map(|family| family_id(&family.family)))
}

/// The id of one item.
pub(super) fn item_id(batch: &WriteBatch, place: usize) -> Option<SeriesId> {
    match batch.series.get(place) {
        Some(series) => Some(series.id),
        None => batch.metadata.get(place - batch.series.len()).map(|family| family_id(&family.family)),
    }
}

/// Sorts items into one call per node.
pub(super) struct Grouping<'a> {
    metrics: &'a InsertMetrics,
    cluster: &'a Cluster,
    batch: &'a Arc<WriteBatch>,
    fingerprints: Fingerprints,
    groups: Vec<Group<'a>>,
}

struct Group<'a> {
    known: super::known::KnownRead<'a>,
    call: Call,
    stand_ins: usize,
}

impl<'a> Grouping<'a> {
    pub(super) fn new<T>(
        replicator: &'a Replicator<T>,
        cluster: &'a Cluster,
        batch: &'a Arc<WriteBatch>,
        tables: &'a [Arc<KnownTable>],
    ) -> Self {
        let group = |table: &'a Arc<KnownTable>| Group {
            known: table.read(),
            call: Call { batch: Arc::clone(batch), known: Vec::new(), labelled: Vec::new(), families: Vec::new() },
            stand_ins: 0,
        };
        Grouping {
            metrics: &replicator.metrics,
            cluster,
            batch,
            fingerprints: Fingerprints::of(&batch.tenant),
            groups: tables.iter().map(group).collect(),
        }
    }

    /// Adds an item to the call of a node.
    #[inline]
    pub(super) fn add(&mut self, node: usize, place: usize, stands_in: bool) {
        let Some(group) = self.groups.get_mut(node) else { return };
        group.stand_ins += usize::from(stands_in);
        match self.batch.series.get(place) {
            Some(series) => match group.known.contains(self.fingerprints.series(series.id)) {
                true => group.call.known.push(place as u32),
                false => group.call.labelled.push(place as u32),
            },
            None => group.call.families.push((place - self.batch.series.len()) as u32),
        }
    }

    /// The calls that hold something, with their nodes.
    pub(super) fn calls(self) -> Vec<(usize, Call)> {
        let (metrics, cluster) = (self.metrics, self.cluster);
        let mut calls = Vec::new();
        for (node, Group { mut call, stand_ins, .. }) in self.groups.into_iter().enumerate() {
            if stand_ins > 0 {
                metrics.stood_in(cluster.name(node), stand_ins);
            }
            while call.known.len() > KNOWN_SERIES_MAX {
                let known = call.known.split_off(call.known.len() - KNOWN_SERIES_MAX);
                let batch = Arc::clone(&call.batch);
                calls.push((node, Call { batch, known, labelled: Vec::new(), families: Vec::new() }));
            }
            if !call.is_empty() {
                calls.push((node, call));
            }
        }
        calls
    }
}

impl Call {
    fn is_empty(&self) -> bool {
        self.known.is_empty() && self.labelled.is_empty() && self.families.is_empty()
    }

    /// The places of its items in the batch.
    pub(super) fn items(&self) -> impl Iterator<Item = usize> {
        let series = self.known.iter().chain(&self.labelled).map(|place| *place as usize);
        series.chain(self.families.iter().map(|place| self.batch.series.len() + *place as usize))
    }
}

/// What a write holds in memory until its last copy is delivered: the batch, where its items are, and what is sent to each
/// node.
fn bytes_of(batch: &WriteBatch, copies: usize) -> usize {
    let text = |family: &FamilyMetadata| family.family.len() + family.entry.help.len() + family.entry.unit.len();
    let metadata = batch.metadata.iter().map(text).sum::<usize>() + size_of::<FamilyMetadata>() * batch.metadata.len();
    let series = batch.series.capacity() * size_of::<WriteSeries>();
    let histograms = batch.histograms.iter().map(|h| size_of_val(h) + h.histogram.held_bytes()).sum::<usize>();
    let starts = (batch.starts.samples.capacity() + batch.starts.histograms.capacity()) * size_of::<(u32, i64)>();
    let samples = batch.samples.capacity() * size_of::<Sample>() + histograms + starts;
    let content = batch.arena.capacity() + series + samples + metadata;
    let items = batch.series.len() + batch.metadata.len();
    content + items * (size_of::<Item>() + copies * size_of::<u32>()) + copies * content
}
