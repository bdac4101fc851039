//! The simulated cluster behind the traits of the fan-out.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use marigram_storage::bucket::catalog::{Catalog, CatalogBlock};
use marigram_storage::chunk::ChunkBuilder;
use marigram_storage::context::Context;
use marigram_storage::env::Clock;
use marigram_storage::model::labels::Labels;
use marigram_storage::model::member::{Member, MemberList};
use marigram_storage::model::time::TimeRange;
use marigram_storage::select::{EncodedChunk, SelectRequest, SelectedSeries, SeriesBatch, SeriesStream};
use marigram_storage::write::FamilyMetadata;
use marigram_storage::{Error, ErrorKind, Result};
use parking_lot::Mutex;

use super::world::{CONFIRMED_MAX, Samples, State, World};
use crate::fanout::{Archive, Lookup, Members, Node, Opened};
use crate::rpc::client::Answer;
use crate::rpc::convert::select::AnswerHeader;
use crate::rpc::convert::settle::SettledNode;

#[derive(Clone)]
pub(super) struct Sim(pub Arc<Mutex<World>>);

pub(super) fn labels(series: u64) -> Labels {
    Labels::from_pairs([("__name__", "m"), ("series", &*series.to_string())])
}

pub(super) fn value((series, t): (u64, i64)) -> f64 {
    series as f64 * 1e6 + t as f64
}

impl Sim {
    /// While a query runs, the world goes on.
    fn disturb(&self) {
        let mut world = self.0.lock();
        if world.restless {
            for _ in 0..world.below(4) {
                world.step();
            }
        }
    }
}

/// Time stands still between two steps of the world.
impl Clock for Sim {
    fn now_ms(&self) -> i64 {
        self.0.lock().now
    }

    fn monotonic(&self) -> Duration {
        Duration::from_millis(self.now_ms() as u64)
    }
}

impl std::fmt::Debug for Sim {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Sim")
    }
}

impl Members for Sim {
    fn list(&self) -> Option<MemberList> {
        self.0.lock().known.clone()
    }

    fn learn(&self, list: MemberList) -> Result<(), String> {
        let known = &mut self.0.lock().known;
        if known.as_ref().is_none_or(|known| known.catalog_number < list.catalog_number) {
            *known = Some(list);
        }
        Ok(())
    }

    fn live(&self, member: &Member) -> Result<Arc<dyn Node>, String> {
        let world = self.0.lock();
        let index = world.nodes.iter().position(|node| node.member == *member);
        let index = index.ok_or("it is at none of the given addresses")?;
        // What is known of a node may be old.
        match world.nodes[index].state {
            State::Up => {}
            _ if world.below(3) == 0 => {}
            State::Replaying => return Err("it is recovering its data".to_owned()),
            State::Down => return Err("connection refused".to_owned()),
        }
        Ok(Arc::new(SimClient { sim: self.clone(), index, address: format!("address-{index}") }))
    }

    fn mark_down(&self, _: &str, _: &str) {}
}

struct SimClient {
    sim: Sim,
    index: usize,
    address: String,
}

impl SimClient {
    /// The node's samples of the range, all at one moment, with the header.
    fn answer(&self, range: TimeRange, catalog_number: u64) -> Result<(AnswerHeader, Samples)> {
        self.sim.disturb();
        let world = self.sim.0.lock();
        let node = &world.nodes[self.index];
        match node.state {
            State::Up => {}
            State::Replaying => {
                return Err(Error::Remote { kind: ErrorKind::Unavailable, message: "recovering".to_owned() });
            }
            State::Down => return Err(Error::Unavailable("connection refused".to_owned())),
        }
        if node.damaged.is_some_and(|damaged| damaged.overlaps(range)) {
            return Err(Error::Remote { kind: ErrorKind::Corrupt, message: "a block is corrupt".to_owned() });
        }
        let header = AnswerHeader {
            member: node.member.clone(),
            drop_mark_ms: node.drop_mark,
            members: node.told.clone().filter(|told| told.catalog_number > catalog_number),
            cluster_id: node.told.as_ref().map(|told| told.cluster_id),
        };
        Ok((header, node.samples(range)))
    }
}

impl Node for SimClient {
    fn address(&self) -> &str {
        &self.address
    }

    fn select<'a>(
        &'a self,
        context: &'a Context,
        request: SelectRequest<'a>,
        catalog_number: u64,
    ) -> BoxFuture<'a, Result<Opened>> {
        async move {
            let (header, samples) = self.answer(request.range, catalog_number)?;
            let source = Origin::Node(self.index);
            Ok((header, stream(&self.sim, context, source, samples)))
        }
        .boxed()
    }

    fn series<'a>(&'a self, lookup: Lookup<'a>, catalog_number: u64) -> BoxFuture<'a, Result<Answer<Labels>>> {
        async move {
            let (header, samples) = self.answer(lookup.range, catalog_number)?;
            Ok(Answer { header, items: label_sets(&samples) })
        }
        .boxed()
    }

    fn label_names<'a>(&'a self, lookup: Lookup<'a>, catalog_number: u64) -> BoxFuture<'a, Result<Answer<String>>> {
        async move {
            let (header, samples) = self.answer(lookup.range, catalog_number)?;
            let names = ["__name__", "series"].map(str::to_owned);
            Ok(Answer { header, items: if samples.is_empty() { Vec::new() } else { names.to_vec() } })
        }
        .boxed()
    }

    fn label_values<'a>(
        &'a self,
        _: &'a str,
        lookup: Lookup<'a>,
        catalog_number: u64,
    ) -> BoxFuture<'a, Result<Answer<String>>> {
        async move {
            let (header, samples) = self.answer(lookup.range, catalog_number)?;
            Ok(Answer { header, items: values(&samples) })
        }
        .boxed()
    }

    fn metadata<'a>(&'a self, _: &'a Context, catalog_number: u64) -> BoxFuture<'a, Result<Answer<FamilyMetadata>>> {
        async move {
            let (header, _) = self.answer(TimeRange::EMPTY, catalog_number)?;
            Ok(Answer { header, items: Vec::new() })
        }
        .boxed()
    }

    fn settle<'a>(
        &'a self,
        _: &'a Context,
        up_to_ms: i64,
        catalog_number: u64,
    ) -> BoxFuture<'a, Result<(AnswerHeader, SettledNode)>> {
        async move { self.settle_now(up_to_ms, catalog_number) }.boxed()
    }
}

/// For those who keep answers.
impl SimClient {
    fn settle_now(&self, up_to_ms: i64, catalog_number: u64) -> Result<(AnswerHeader, SettledNode)> {
        // Damage keeps a node from reading, not from noting.
        let (header, _) = self.answer(TimeRange::EMPTY, catalog_number)?;
        let mut world = self.sim.0.lock();
        Ok((header, world.nodes[self.index].settle(up_to_ms)))
    }
}

fn label_sets(samples: &Samples) -> Vec<Labels> {
    let mut sets = samples.iter().map(|(series, _)| labels(*series)).collect::<Vec<_>>();
    sets.sort();
    sets.dedup();
    sets
}

fn values(samples: &Samples) -> Vec<String> {
    let mut values = samples.iter().map(|(series, _)| series.to_string()).collect::<Vec<_>>();
    values.sort();
    values.dedup();
    values
}

impl Sim {
    /// The samples of blocks; an error when one is not there.
    fn read(&self, range: TimeRange, blocks: &[CatalogBlock]) -> Result<Samples> {
        self.disturb();
        let world = self.0.lock();
        let mut samples = Samples::new();
        for block in blocks {
            let object = world.objects.get(&block.ulid).filter(|_| world.bucket_up);
            let object = object.ok_or_else(|| Error::Unavailable(format!("block {} is not there", block.ulid)))?;
            samples.extend(object.iter().filter(|(_, t)| range.contains(*t)));
        }
        Ok(samples)
    }
}

impl Archive for Sim {
    fn seen(&self) -> Option<Arc<Catalog>> {
        self.0.lock().seen.clone()
    }

    fn confirmed(&self) -> Result<Arc<Catalog>, String> {
        self.disturb();
        let world = self.0.lock();
        let seen = world.seen.clone().filter(|_| world.confirmed_at + CONFIRMED_MAX >= world.now);
        seen.ok_or_else(|| "the catalog was not confirmed for too long".to_owned())
    }

    fn refresh(&self) -> Result<Arc<Catalog>, String> {
        let mut world = self.0.lock();
        world.look();
        let seen = world.seen.clone().filter(|_| world.bucket_up);
        seen.ok_or_else(|| "the bucket does not answer".to_owned())
    }

    fn select(
        &self,
        context: &Context,
        blocks: &[CatalogBlock],
        request: SelectRequest<'_>,
    ) -> Result<Box<dyn SeriesStream>> {
        let samples = self.read(request.range, blocks)?;
        Ok(stream(self, context, Origin::Bucket(blocks.to_vec()), samples))
    }

    fn series(&self, lookup: Lookup<'_>, blocks: &[CatalogBlock]) -> Result<Vec<Labels>> {
        Ok(label_sets(&self.read(lookup.range, blocks)?))
    }

    fn label_names(&self, _: Lookup<'_>, _: &[CatalogBlock]) -> Result<Vec<String>> {
        Ok(Vec::new())
    }

    fn label_values(&self, _: &str, lookup: Lookup<'_>, blocks: &[CatalogBlock]) -> Result<Vec<String>> {
        Ok(values(&self.read(lookup.range, blocks)?))
    }
}

enum Origin {
    Node(usize),
    Bucket(Vec<CatalogBlock>),
}

/// Gives one series at a time; fails when the node has died since, or an object of the bucket is gone.
struct SimStream {
    sim: Sim,
    origin: Origin,
    batches: std::vec::IntoIter<SeriesBatch>,
}

fn stream(sim: &Sim, context: &Context, origin: Origin, samples: Samples) -> Box<dyn SeriesStream> {
    let mut all = Vec::new();
    for series in samples.iter().map(|(series, _)| *series).collect::<std::collections::BTreeSet<_>>() {
        let own = samples.range((series, i64::MIN)..=(series, i64::MAX)).copied().collect::<Vec<_>>();
        let labels = labels(series);
        let chunks = own.chunks(7).map(encoded).collect();
        all.push(SelectedSeries { id: labels.id(), labels, replica: Labels::default(), chunks });
    }
    all.sort_by_key(|series| series.id);
    let batch = |series| SeriesBatch { series: vec![series], reservation: context.reserve(1).unwrap() };
    let batches = all.into_iter().map(batch).collect::<Vec<_>>().into_iter();
    Box::new(SimStream { sim: sim.clone(), origin, batches })
}

fn encoded(samples: &[(u64, i64)]) -> EncodedChunk {
    let mut builder = ChunkBuilder::default();
    for sample in samples {
        builder.push(sample.1, value(*sample));
    }
    EncodedChunk {
        min_ms: builder.first_ms(),
        max_ms: builder.last_ms(),
        times: Default::default(),
        bytes: builder.encode().into(),
    }
}

impl SeriesStream for SimStream {
    fn next_batch(&mut self) -> Result<Option<SeriesBatch>> {
        self.sim.disturb();
        let world = self.sim.0.lock();
        match &self.origin {
            Origin::Node(index) if world.nodes[*index].state != State::Up => {
                Err(Error::Unavailable("connection reset".to_owned()))
            }
            Origin::Bucket(blocks) if blocks.iter().any(|block| !world.objects.contains_key(&block.ulid)) => {
                Err(Error::Unavailable("an object is gone".to_owned()))
            }
            _ => Ok(self.batches.next()),
        }
    }
}
