//! The role over storage nodes inside of the test, on clocks that the test moves, and a bucket in a directory.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::Parser;
use marigram_storage::block::{Block, BlockSeriesRef, block_dir};
use marigram_storage::bucket::catalog::{Catalog, CatalogStore};
use marigram_storage::bucket::{Bucket, DirectoryBucket};
use marigram_storage::db::Db;
use marigram_storage::disk::RealDisk;
use marigram_storage::env::{Clock, Env, ManualClock, OsRandom, SystemClock};
use marigram_storage::model::labels::Labels;
use marigram_storage::model::sample::Sample;
use marigram_storage::model::time::{TimeRange, WINDOW_MS};
use marigram_storage::select::SeriesDecoder;
use marigram_storage::write::{WriteBatch, WriteSeries};

use crate::app::{Event, Failure};
use crate::config::Settings;
use crate::config::args::{Cli, Command};
use crate::run::Server;

/// Noon of some day, at the begin of a window.
const START_MS: i64 = 1_700_006_400_000;
/// Longer than any pass of a compactor takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);

/// Value bits by series and timestamp.
type Data = BTreeMap<(String, i64), u64>;

/// Asks until there is an answer.
fn wait_for<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let clock = SystemClock::default();
    let pause = parking_lot::Mutex::new(());
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(clock.monotonic() < PATIENCE, "waited too long for {what}");
        parking_lot::Condvar::new().wait_for(&mut pause.lock(), Duration::from_millis(10));
    }
}

fn settings(flags: &[String]) -> Settings {
    let fixed = ["marigram".to_owned(), flags[0].clone(), "--http-listen=127.0.0.1:0".to_owned()];
    match Cli::try_parse_from(fixed.iter().chain(&flags[1..])).unwrap().command {
        Command::Storage(args) => Settings { maintenance_interval: None, ..Settings::storage(*args).unwrap() },
        Command::Compact(args) => Settings::compact(*args).unwrap(),
        _ => unreachable!("no other role is started here"),
    }
}

/// A storage node.
struct Node {
    server: Server,
    clock: Arc<ManualClock>,
}

impl Node {
    fn start(folder: &Path, name: &str, listen: &str) -> Node {
        let flags = [
            "storage".to_owned(),
            format!("--node-name={name}"),
            format!("--grpc-listen={listen}"),
            format!("--data-dir={}", folder.join(name).display()),
            "--disk-reserve=0".to_owned(),
        ];
        let clock = Arc::new(ManualClock::new(START_MS));
        let env = Env { clock: clock.clone(), random: Arc::new(OsRandom), disk: Arc::new(RealDisk) };
        let server = Server::start(settings(&flags), env).unwrap();
        server.wait_started().unwrap();
        Node { server, clock }
    }

    fn address(&self) -> String {
        self.server.grpc_addr().unwrap().to_string()
    }

    fn db(&self) -> &Arc<Db> {
        self.server.app().store().unwrap()
    }

    /// Stores one sample per series, and seals.
    fn seal(&self, samples: &[(&str, i64, f64)]) {
        let mut batch = WriteBatch::default();
        for (name, timestamp_ms, value) in samples {
            let labels = Labels::from_pairs([("__name__", "m"), ("series", name)]);
            let (from, at) = (batch.arena.len(), batch.samples.len());
            batch.arena.extend_from_slice(labels.as_bytes());
            batch.samples.push(Sample { timestamp_ms: *timestamp_ms, value: *value });
            batch.series.push(WriteSeries::new(labels.id(), from..batch.arena.len(), at..at + 1));
        }
        self.db().append(batch).unwrap();
        self.db().seal().unwrap();
    }

    /// Lets the grace pass, and drops what is covered.
    fn let_go(&self) {
        self.clock.set(self.clock.now_ms() + 3_600_000);
        self.db().maintain().unwrap();
    }

    fn is_ready(&self) -> bool {
        self.server.app().readiness().is_ok()
    }
}

/// The folder of a cluster, and its bucket.
struct Cluster {
    folder: tempfile::TempDir,
    nodes: Vec<Node>,
}

impl Cluster {
    fn start(nodes: usize) -> Cluster {
        let folder = tempfile::tempdir().unwrap();
        let nodes = (0..nodes).map(|at| Node::start(folder.path(), &format!("node-{at}"), "127.0.0.1:0")).collect();
        Cluster { folder, nodes }
    }

    fn bucket_dir(&self) -> PathBuf {
        self.folder.path().join("bucket")
    }

    fn bucket(&self) -> DirectoryBucket {
        DirectoryBucket::open(&system(), &self.bucket_dir()).unwrap()
    }

    /// A compactor with a data directory of its own.
    fn compactor(&self, name: &str, more: &[&str]) -> Server {
        let addresses: Vec<String> = self.nodes.iter().map(Node::address).collect();
        let mut flags = vec![
            "compact".to_owned(),
            format!("--storage-node={}", addresses.join(",")),
            format!("--bucket=file://{}", self.bucket_dir().display()),
            format!("--data-dir={}", self.folder.path().join(name).display()),
            "--compact-interval=50ms".to_owned(),
        ];
        flags.extend(more.iter().map(|flag| (*flag).to_owned()));
        Server::start(settings(&flags), system()).unwrap()
    }

    fn newest(&self) -> Catalog {
        let store = CatalogStore::new(Arc::new(self.bucket()), system());
        store.load().unwrap().unwrap_or_else(Catalog::none)
    }

    /// Waits for a catalog, and checks that every block of it is whole.
    fn wait_catalog(&self, what: &str, is_meant: impl Fn(&Catalog) -> bool) -> Catalog {
        let catalog = wait_for(what, || Some(self.newest()).filter(&is_meant));
        for block in &catalog.contents.blocks {
            Block::open(&RealDisk, &block_dir(&self.bucket_dir().join("blocks"), block.ulid)).unwrap();
        }
        catalog
    }

    /// What the blocks of a catalog hold.
    fn data(&self, catalog: &Catalog) -> Data {
        let mut data = Data::new();
        let mut decoder = SeriesDecoder::default();
        for block in &catalog.contents.blocks {
            let block = Block::open(&RealDisk, &block_dir(&self.bucket_dir().join("blocks"), block.ulid)).unwrap();
            for tenant in block.tenants() {
                let part = block.tenant(tenant).unwrap();
                for series in (0..part.series_count()).map(BlockSeriesRef) {
                    let name = part.series(series).unwrap().0.get("series").unwrap().to_owned();
                    let chunks = part.chunks(series, TimeRange::ALL).unwrap();
                    let (times, values) = decoder.decode(&chunks, TimeRange::ALL).unwrap();
                    data.extend(times.iter().zip(values).map(|(time, value)| ((name.clone(), *time), value.to_bits())));
                }
            }
        }
        data
    }

    fn sealed(&self) -> BTreeSet<String> {
        let sealed = self.nodes.iter().flat_map(|node| node.db().sealed_blocks());
        sealed.map(|block| block.meta.ulid.to_string()).collect()
    }
}

fn system() -> Env {
    Env { clock: Arc::new(SystemClock::default()), random: Arc::new(OsRandom), disk: Arc::new(RealDisk) }
}

fn sources(catalog: &Catalog) -> Vec<String> {
    let mut sources: Vec<String> = catalog.contents.blocks.iter().flat_map(|block| block.sources.clone()).collect();
    sources.sort_unstable();
    sources
}

fn expected(samples: &[(&str, i64, f64)]) -> Data {
    samples.iter().map(|(name, time, value)| (((*name).to_owned(), *time), value.to_bits())).collect()
}

fn ready(server: &Server) {
    wait_for("readiness", || server.app().readiness().ok());
}

/// Why a server ended itself.
fn contradiction(server: Server) -> String {
    let said = loop {
        match server.next_event() {
            Event::Started => {}
            Event::Failed(Failure::Contradiction(said)) => break said,
            other => panic!("{other:?}"),
        }
    };
    server.shutdown();
    said
}

#[test]
fn members_are_listed_and_blocks_come_into_the_bucket_once() {
    let cluster = Cluster::start(3);
    let compactor = cluster.compactor("c", &["--replication-factor=2", "--compact-delay=1h"]);
    ready(&compactor);
    let catalog = cluster.wait_catalog("three members", |catalog| {
        catalog.contents.members.len() == 3 && catalog.contents.joining.is_empty()
    });
    assert_eq!(catalog.contents.replication_factor, Some(2));
    wait_for("nodes that take writes", || cluster.nodes.iter().all(Node::is_ready).then_some(()));

    // The copies of a window on three nodes become one block.
    let samples = [("a", START_MS, 1.0), ("b", START_MS + 1, 2.0), ("c", START_MS + WINDOW_MS - 1, 3.0)];
    cluster.nodes[0].seal(&samples[..2]);
    cluster.nodes[1].seal(&samples[1..]);
    cluster.nodes[2].seal(&[samples[0], samples[2]]);
    let first = cluster.wait_catalog("a block", |catalog| !catalog.contents.blocks.is_empty());
    assert_eq!(first.contents.blocks.len(), 1);
    assert_eq!(sources(&first), Vec::from_iter(cluster.sealed()));
    assert_eq!(cluster.data(&first), expected(&samples));
    let covered = |node: &Node| node.db().sealed_blocks().iter().all(|block| block.covered);
    wait_for("nodes that know", || cluster.nodes.iter().all(covered).then_some(()));

    // Two nodes drop; the third is asked in vain. The next commit carries only its source on.
    let kept = cluster.nodes[2].db().sealed_blocks()[0].meta.ulid.to_string();
    cluster.nodes[..2].iter().for_each(Node::let_go);
    assert_eq!(cluster.sealed(), BTreeSet::from([kept.clone()]));
    let passes = || {
        let mut text = String::new();
        compactor.app().service().unwrap().metrics(&mut text);
        let line = text.lines().find_map(|line| line.strip_prefix("marigram_compact_passes_total ")).unwrap();
        line.parse::<u64>().unwrap()
    };
    let before = passes();
    wait_for("two more passes", || (passes() >= before + 2).then_some(()));
    let later = [("a", START_MS + WINDOW_MS, 4.0)];
    cluster.nodes.iter().for_each(|node| node.seal(&later));
    let second = cluster.wait_catalog("another block", |catalog| catalog.contents.blocks.len() == 2);
    assert_eq!(second.contents.blocks[0].sources, [kept]);
    assert_eq!(cluster.data(&second), expected(&[&samples[..], &later].concat()));
    compactor.shutdown();
}

#[test]
fn compactors_side_by_side_bring_every_block_once() {
    let cluster = Cluster::start(2);
    let flags = ["--replication-factor=2", "--compact-delay=1h"];
    let compactors = [cluster.compactor("c", &flags), cluster.compactor("d", &flags)];
    compactors.iter().for_each(ready);
    let mut all = Vec::new();
    for window in 0..12 {
        let samples = [("a", START_MS + window * WINDOW_MS, 1.0), ("b", START_MS + window * WINDOW_MS, window as f64)];
        cluster.nodes.iter().for_each(|node| node.seal(&samples));
        all.extend(samples);
    }
    let catalog = cluster.wait_catalog("all windows", |catalog| sources(catalog).len() >= 24);
    assert_eq!(sources(&catalog), Vec::from_iter(cluster.sealed()), "every source once");
    assert_eq!(catalog.contents.blocks.len(), 12);
    assert_eq!(cluster.data(&catalog), expected(&all));
    compactors.into_iter().for_each(Server::shutdown);
    let objects = cluster.bucket().list("blocks/").unwrap();
    assert_eq!(objects.len(), 36, "nothing that no catalog names stays: {objects:?}");
    for name in ["c", "d"] {
        assert_eq!(std::fs::read_dir(cluster.folder.path().join(name).join("compact")).unwrap().count(), 0);
    }
}

#[test]
fn a_node_that_is_down_is_not_waited_for_and_brings_its_blocks_later() {
    let mut cluster = Cluster::start(3);
    let flags = ["--replication-factor=2", "--compact-delay=200ms"];
    let compactor = cluster.compactor("c", &flags);
    ready(&compactor);
    cluster.wait_catalog("three members", |catalog| {
        catalog.contents.members.len() == 3 && catalog.contents.joining.is_empty()
    });
    compactor.shutdown();
    let samples = [("a", START_MS, 1.0), ("b", START_MS, 2.0), ("c", START_MS, 3.0)];
    let last = cluster.nodes.pop().unwrap();
    let address = last.address();
    last.seal(&samples[1..]);
    last.server.shutdown();
    cluster.nodes[0].seal(&samples[..2]);
    let compactor = cluster.compactor("c", &flags);
    let catalog = cluster.wait_catalog("a block of who answers", |catalog| !catalog.contents.blocks.is_empty());
    assert_eq!(cluster.data(&catalog), expected(&samples[..2]));
    compactor.shutdown();
    cluster.nodes.push(Node::start(cluster.folder.path(), "node-2", &address));
    let compactor = cluster.compactor("c", &flags);
    let catalog = cluster.wait_catalog("the block of who was down", |catalog| catalog.contents.blocks.len() == 2);
    assert_eq!(cluster.data(&catalog), expected(&samples));
    compactor.shutdown();
}

#[test]
fn mistakes_end_in_one_sentence() {
    let mut cluster = Cluster::start(2);
    // Without the flag there is no first catalog.
    let compactor = cluster.compactor("c", &[]);
    let waits = |words: &str| {
        wait_for(words, || compactor.app().readiness().err().filter(|said| said.contains(words)));
    };
    waits("--replication-factor must be given once");
    compactor.shutdown();
    assert_eq!(cluster.newest().number, 0);

    let once = cluster.compactor("c", &["--replication-factor=2", "--once"]);
    once.wait_started().unwrap();
    assert!(matches!(once.next_event(), Event::Stop), "one pass, and all is well");
    once.shutdown();
    let catalog = cluster.newest();
    assert!(catalog.contents.members.len() == 2 && catalog.contents.joining.is_empty(), "{catalog:?}");

    let said = contradiction(cluster.compactor("c", &["--replication-factor=3"]));
    assert!(said.starts_with("--replication-factor 3: the catalog in the bucket says 2"), "{said}");

    // The bucket of nobody: no second history begins.
    let moved = cluster.folder.path().join("moved");
    std::fs::rename(cluster.bucket_dir(), &moved).unwrap();
    let said = contradiction(cluster.compactor("c", &["--replication-factor=2"]));
    assert!(said.contains("the bucket has no catalog"), "{said}");
    assert_eq!(cluster.newest().number, 0);

    // The bucket of somebody else.
    let other = Cluster::start(2);
    let compactor = other.compactor("c", &["--replication-factor=2"]);
    ready(&compactor);
    compactor.shutdown();
    std::fs::remove_dir_all(cluster.bucket_dir()).unwrap();
    std::fs::rename(other.bucket_dir(), cluster.bucket_dir()).unwrap();
    let said = contradiction(cluster.compactor("c", &["--replication-factor=2"]));
    assert!(said.contains("belong to another cluster"), "{said}");

    // A new disk under a known name stays out, and the others go on.
    std::fs::remove_dir_all(cluster.bucket_dir()).unwrap();
    std::fs::rename(&moved, cluster.bucket_dir()).unwrap();
    let replaced = cluster.nodes.pop().unwrap();
    let address = replaced.address();
    replaced.server.shutdown();
    std::fs::remove_dir_all(cluster.folder.path().join("node-1")).unwrap();
    cluster.nodes.push(Node::start(cluster.folder.path(), "node-1", &address));
    let compactor = cluster.compactor("c", &[]);
    wait_for("the problem", || {
        let status = compactor.app().service()?.cluster_status();
        let mut problems = status["problems"].as_array()?.iter().filter_map(serde_json::Value::as_str);
        problems.any(|said| said.starts_with("storage node node-1 answers with another disk")).then_some(())
    });
    assert_eq!(cluster.newest().contents.members, catalog.contents.members);
    assert!(!cluster.nodes[1].is_ready());
    compactor.shutdown();
}

#[test]
fn a_bucket_that_fails_is_said_and_the_work_done_when_it_is_back() {
    let cluster = Cluster::start(1);
    let compactor = cluster.compactor("c", &["--replication-factor=1", "--compact-delay=1h"]);
    ready(&compactor);
    // A file in the place of the blocks' directory: nothing can be put.
    std::fs::write(cluster.bucket_dir().join("blocks"), b"in the way").unwrap();
    cluster.nodes[0].seal(&[("a", START_MS, 1.0)]);
    wait_for("the failure", || {
        let status = compactor.app().service()?.cluster_status();
        (!status["compactor"]["failures"].as_object()?.is_empty()).then_some(())
    });
    assert!(cluster.newest().contents.blocks.is_empty());
    assert!(cluster.nodes[0].db().sealed_blocks().iter().all(|block| !block.covered), "nothing may be dropped");
    std::fs::remove_file(cluster.bucket_dir().join("blocks")).unwrap();
    let catalog = cluster.wait_catalog("the block", |catalog| !catalog.contents.blocks.is_empty());
    assert_eq!(cluster.data(&catalog), expected(&[("a", START_MS, 1.0)]));
    wait_for("no failure", || {
        let status = compactor.app().service()?.cluster_status();
        status["compactor"]["failures"].as_object()?.is_empty().then_some(())
    });
    compactor.shutdown();
}
