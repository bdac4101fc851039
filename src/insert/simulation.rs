//! Storage nodes without sockets: they refuse, hang, forget, lose answers, go and come back as a test tells them.

use std::collections::HashSet;
use std::future::Future;
use std::sync::Arc;

use marigram_storage::env::{Random, SeededRandom};
use marigram_storage::model::labels::{Labels, SeriesId};
use marigram_storage::model::member::{Member, MemberList};
use marigram_storage::model::sample::Sample;
use marigram_storage::write::{FamilyMetadata, MetadataEntry, MetadataKind, WriteBatch, WriteSeries};
use parking_lot::Mutex;
use tokio::sync::watch;

use super::transport::{Call, Cluster, Transport};
use crate::ring::NodeSet;

/// How a node treats the next calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mood {
    /// Stores and says so.
    Well,
    /// Stores nothing and says that it failed.
    Refuses,
    /// Stores, and the answer is lost.
    LosesAnswers,
    /// Stores and answers when the test lets it.
    Hangs,
}

/// A sample as a disk holds it.
pub(super) type Stored = (SeriesId, i64, u64);

#[derive(Default)]
struct Disk {
    series: HashSet<SeriesId>,
    samples: HashSet<Stored>,
    families: HashSet<String>,
}

struct SimNode {
    mood: Mood,
    /// What health checks say.
    live: bool,
    disk: Disk,
    calls: usize,
    labelled: usize,
}

/// The nodes of a cluster.
pub(super) struct Simulation {
    cluster: Arc<Cluster>,
    nodes: Arc<Mutex<Vec<SimNode>>>,
    random: Arc<SeededRandom>,
    /// How often calls that hang were let go.
    released: watch::Sender<u64>,
}

impl Simulation {
    pub(super) fn new(nodes: usize, copies: u32, zones: usize, seed: u64) -> Self {
        let member = |place: usize| Member {
            node_name: format!("node-{place}"),
            disk_id: place as u128 + 100,
            zone: if zones == 0 { String::new() } else { format!("zone-{}", place % zones) },
        };
        let list = MemberList {
            catalog_number: 1,
            cluster_id: 5,
            replication_factor: copies,
            members: (0..nodes).map(member).collect(),
            query_timeout_max_ms: 120_000,
        };
        let node = |_| SimNode { mood: Mood::Well, live: true, disk: Disk::default(), calls: 0, labelled: 0 };
        Simulation {
            cluster: Arc::new(Cluster::new(list).unwrap()),
            nodes: Arc::new(Mutex::new((0..nodes).map(node).collect())),
            random: Arc::new(SeededRandom::new(seed)),
            released: watch::channel(0).0,
        }
    }

    pub(super) fn below(&self, end: usize) -> usize {
        (self.random.next_u128() % end as u128) as usize
    }

    pub(super) fn members(&self) -> &Cluster {
        &self.cluster
    }

    pub(super) fn set_mood(&self, node: usize, mood: Mood) {
        self.nodes.lock()[node].mood = mood;
    }

    pub(super) fn set_live(&self, node: usize, live: bool) {
        self.nodes.lock()[node].live = live;
    }

    /// The node keeps its samples and has the labels of no series in its head any more.
    pub(super) fn forget_series(&self, node: usize) {
        self.nodes.lock()[node].disk.series.clear();
    }

    /// Lets calls that hang now come to their end.
    pub(super) fn release(&self) {
        self.released.send_modify(|times| *times += 1);
    }

    /// Calls so far, over all nodes.
    pub(super) fn calls(&self) -> usize {
        self.nodes.lock().iter().map(|node| node.calls).sum()
    }

    /// Series sent with labels so far, over all nodes.
    pub(super) fn labelled(&self) -> usize {
        self.nodes.lock().iter().map(|node| node.labelled).sum()
    }

    /// Which nodes hold all samples of a series of a batch.
    pub(super) fn holders(&self, batch: &WriteBatch, series: &WriteSeries) -> NodeSet {
        let nodes = self.nodes.lock();
        let stored = |sample: &Sample| (series.id, sample.timestamp_ms, sample.value.to_bits());
        let samples = &batch.samples[series.samples.clone()];
        let holds = |node: &SimNode| samples.iter().all(|sample| node.disk.samples.contains(&stored(sample)));
        nodes.iter().enumerate().filter(|(_, node)| holds(node)).map(|(place, _)| place).collect()
    }

    /// Which nodes know a family.
    pub(super) fn family_holders(&self, family: &str) -> NodeSet {
        let nodes = self.nodes.lock();
        nodes
            .iter()
            .enumerate()
            .filter(|(_, node)| node.disk.families.contains(family))
            .map(|(place, _)| place)
            .collect()
    }
}

impl Disk {
    /// What a real node does: series without labels are looked up, and the unknown ones are left out.
    fn append(&mut self, call: &Call) -> Vec<SeriesId> {
        let batch = &call.batch;
        let mut unknown = Vec::new();
        for (place, labelled) in
            call.known.iter().map(|place| (place, false)).chain(call.labelled.iter().map(|place| (place, true)))
        {
            let series = &batch.series[*place as usize];
            if labelled {
                assert_eq!(SeriesId::of(&batch.arena[series.labels.clone()]), series.id);
                self.series.insert(series.id);
            }
            if !self.series.contains(&series.id) {
                unknown.push(series.id);
                continue;
            }
            let samples = batch.samples[series.samples.clone()].iter();
            self.samples.extend(samples.map(|sample| (series.id, sample.timestamp_ms, sample.value.to_bits())));
        }
        self.families.extend(call.families.iter().map(|place| batch.metadata[*place as usize].family.clone()));
        unknown
    }
}

impl Transport for Arc<Simulation> {
    fn cluster(&self) -> Result<Arc<Cluster>, String> {
        Ok(Arc::clone(&self.cluster))
    }

    fn live(&self, _cluster: &Cluster) -> NodeSet {
        let nodes = self.nodes.lock();
        nodes.iter().enumerate().filter(|(_, node)| node.live).map(|(place, _)| place).collect()
    }

    fn why_down(&self, _cluster: &Cluster, _node: usize) -> String {
        "it was stopped".to_owned()
    }

    fn append(
        &self,
        _cluster: &Arc<Cluster>,
        node: usize,
        call: Arc<Call>,
    ) -> impl Future<Output = Result<Vec<SeriesId>, String>> + Send + 'static {
        let (nodes, mut released, turns) = (Arc::clone(&self.nodes), self.released.subscribe(), self.below(5));
        let before = *released.borrow();
        async move {
            for _ in 0..turns {
                tokio::task::yield_now().await;
            }
            let mood = {
                let node = &mut nodes.lock()[node];
                node.calls += 1;
                node.labelled += call.labelled.len();
                node.mood
            };
            if mood == Mood::Hangs {
                let _ = released.wait_for(|times| *times > before).await;
            }
            if mood == Mood::Refuses {
                return Err("the disk is full".to_owned());
            }
            let unknown = nodes.lock()[node].disk.append(&call);
            match mood {
                Mood::LosesAnswers => Err("connection reset".to_owned()),
                _ => Ok(unknown),
            }
        }
    }

    fn slow(&self, _cluster: &Cluster, _node: usize) {}
}

/// A batch of `count` series named from `first` on, a sample or two of each at `time_ms`; some series come twice.
pub(super) fn batch(first: usize, count: usize, time_ms: i64) -> WriteBatch {
    let mut batch = WriteBatch::default();
    for number in (first..first + count).chain((first..first + count).step_by(7)) {
        let labels = Labels::from_pairs([("__name__", "requests"), ("n", &number.to_string())]);
        let (at, from) = (batch.arena.len(), batch.samples.len());
        batch.arena.extend_from_slice(labels.as_bytes());
        let samples = 1 + batch.series.len() % 2;
        let offset = batch.series.len() as i64;
        batch
            .samples
            .extend((0..samples).map(|n| Sample { timestamp_ms: time_ms + offset + n as i64, value: n as f64 }));
        batch.series.push(WriteSeries::new(labels.id(), at..batch.arena.len(), from..batch.samples.len()));
    }
    let entry = MetadataEntry { kind: MetadataKind::Counter, help: "h".to_owned(), unit: String::new() };
    batch.metadata.push(FamilyMetadata { family: format!("family_{first}"), entry });
    batch
}
