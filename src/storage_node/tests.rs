//! Whole storage nodes in this process, asked as other roles ask them.

use std::path::Path;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use clap::Parser;
use marigram_proto::cluster::AppendPiece;
use marigram_storage::context::Context;
use marigram_storage::disk::RealDisk;
use marigram_storage::env::{Env, ManualClock, OsRandom};
use marigram_storage::model::histogram::{Buckets, Histogram, HistogramSample};
use marigram_storage::model::labels::{Labels, SeriesId};
use marigram_storage::model::matcher::Matcher;
use marigram_storage::model::member::{Member, MemberList};
use marigram_storage::model::sample::Sample;
use marigram_storage::model::tenant::TenantId;
use marigram_storage::model::time::TimeRange;
use marigram_storage::select::{SelectRequest, SelectedSeries, SeriesDecoder, SeriesStream};
use marigram_storage::write::{FamilyMetadata, MetadataEntry, MetadataKind, WriteBatch, WriteSeries};
use marigram_storage::{ErrorKind, Result};
use tokio::runtime::Runtime;
use tokio::sync::watch;

use crate::config::Settings;
use crate::config::args::{Cli, Command};
use crate::peers::{Peers, View};
use crate::rpc::client::{NodeClient, RemoteStream};
use crate::rpc::convert::append::{AppendHeader, Appended, ChosenSeries, pieces};
use crate::rpc::convert::node::{Handshake, NodeState};
use crate::rpc::convert::select::AnswerHeader;
use crate::run::Server;

const START_MS: i64 = 1_700_000_000_000;
const CLUSTER: u128 = 77;
const TIMEOUT: Duration = Duration::from_secs(60);

/// A storage node, and a client of it.
struct Node {
    server: Server,
    clock: Arc<ManualClock>,
    client: NodeClient,
}

fn settings(dir: &Path, flags: &[&str]) -> Settings {
    let fixed = ["marigram", "storage", "--http-listen", "127.0.0.1:0", "--data-dir", dir.to_str().unwrap()];
    let cli = Cli::try_parse_from(fixed.iter().chain(flags)).unwrap();
    let Command::Storage(args) = cli.command else { unreachable!("storage was asked for") };
    Settings { maintenance_interval: None, ..Settings::storage(*args).unwrap() }
}

fn try_start(dir: &Path, name: &str, listen: &str) -> Result<(Server, Arc<ManualClock>), String> {
    let clock = Arc::new(ManualClock::new(START_MS));
    let env = Env { clock: Arc::clone(&clock) as _, random: Arc::new(OsRandom), disk: Arc::new(RealDisk) };
    let flags = ["--grpc-listen", listen, "--node-name", name, "--drop-grace", "10s"];
    Ok((Server::start(settings(dir, &flags), env)?, clock))
}

fn start(runtime: &Runtime, dir: &Path, name: &str, listen: &str) -> Node {
    let (server, clock) = try_start(dir, name, listen).unwrap();
    server.wait_started().unwrap();
    let client = NodeClient::new(&server.grpc_addr().unwrap().to_string(), runtime.handle().clone()).unwrap();
    Node { server, clock, client }
}

fn list(catalog_number: u64, members: &[&Member]) -> MemberList {
    let mut members: Vec<Member> = members.iter().map(|member| (*member).clone()).collect();
    members.sort();
    MemberList { catalog_number, cluster_id: CLUSTER, replication_factor: 1, members, query_timeout_max_ms: 120_000 }
}

fn batch(series: &[(&str, Vec<Sample>)]) -> WriteBatch {
    let mut batch = WriteBatch::default();
    for (name, samples) in series {
        let labels = Labels::from_pairs([("__name__", *name), ("job", "test")]);
        let (labels_at, samples_at) = (batch.arena.len(), batch.samples.len());
        batch.arena.extend_from_slice(labels.as_bytes());
        batch.samples.extend_from_slice(samples);
        let (labels_at, samples_at) = (labels_at..batch.arena.len(), samples_at..batch.samples.len());
        batch.series.push(WriteSeries::new(labels.id(), labels_at, samples_at));
    }
    batch
}

fn sample(i: i64) -> Sample {
    // Values without a pattern: a column of them stays large.
    let bits = SeriesId::of(&i.to_le_bytes()).0 as u64 >> 2;
    Sample { timestamp_ms: START_MS - 1_000_000 + i, value: f64::from_bits(bits) }
}

fn all(batch: &WriteBatch, with_labels: bool) -> Vec<AppendPiece> {
    let chosen = (0..batch.series.len()).map(|index| ChosenSeries { index, with_labels });
    pieces(batch, chosen, &batch.metadata).unwrap()
}

impl Node {
    fn handshake(&self) -> Handshake {
        self.client.wait(self.client.handshake(TIMEOUT)).unwrap()
    }

    fn append(&self, disk_id: u128, cluster_id: u128, pieces: Vec<AppendPiece>) -> Result<Appended> {
        let header = AppendHeader { disk_id, cluster_id, tenant: TenantId::default() };
        self.client.wait(self.client.append(&header, pieces))
    }

    /// Lists the node, so that it takes writes.
    fn enlist(&self) -> Member {
        let member = self.handshake().member;
        self.client.wait(self.client.tell_members(&list(1, &[&member]), true)).unwrap();
        member
    }

    fn context(&self, budget_bytes: u64) -> Context {
        Context::new(TenantId::default(), Arc::clone(&self.clock) as _, Some(TIMEOUT), budget_bytes)
    }

    fn select(&self, context: &Context) -> Result<(AnswerHeader, RemoteStream)> {
        let matchers = [Matcher::equal("job", "test")];
        let request = SelectRequest { matchers: &matchers, range: TimeRange::ALL, drop_labels: &[] };
        self.client.wait(self.client.select(context, request, 0))
    }

    /// All series with their samples, ascending by id.
    fn read(&self) -> Vec<(SeriesId, Vec<Sample>)> {
        self.read_in(&self.context(1 << 30)).unwrap()
    }

    fn read_in(&self, context: &Context) -> Result<Vec<(SeriesId, Vec<Sample>)>> {
        let (_, mut stream) = self.select(context)?;
        let mut read = Vec::new();
        while let Some(batch) = stream.next_batch()? {
            read.extend(batch.series.iter().map(|series| (series.id, samples(series))));
        }
        Ok(read)
    }
}

fn samples(series: &SelectedSeries) -> Vec<Sample> {
    let mut decoder = SeriesDecoder::default();
    let (times, values) = decoder.decode(&series.chunks, TimeRange::ALL).unwrap();
    times.iter().zip(values).map(|(&timestamp_ms, &value)| Sample { timestamp_ms, value }).collect()
}

fn written(batch: &WriteBatch) -> Vec<(SeriesId, Vec<Sample>)> {
    let series = batch.series.iter().map(|series| (series.id, batch.samples[series.samples.clone()].to_vec()));
    let mut written: Vec<_> = series.collect();
    written.sort_by_key(|(id, _)| *id);
    written
}

#[test]
fn a_node_takes_writes_once_a_confirmed_list_names_it() {
    let (dir, runtime) = (tempfile::tempdir().unwrap(), Runtime::new().unwrap());
    let node = start(&runtime, dir.path(), "a", "127.0.0.1:0");
    let first = node.handshake();
    assert_eq!((first.member.node_name.as_str(), first.state), ("a", NodeState::Unlisted));
    let own = first.member.clone();
    let other = Member { disk_id: own.disk_id ^ 1, ..own.clone() };
    let whole = batch(&[("m", vec![sample(0)])]);
    let refused = |disk_id, cluster_id, why: &str| {
        let error = node.append(disk_id, cluster_id, all(&whole, true)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
        assert!(error.to_string().contains(why), "{error}");
    };
    let tell = |list: &MemberList, confirmed| node.client.wait(node.client.tell_members(list, confirmed));

    refused(own.disk_id, CLUSTER, "no compactor has told it a list of members yet");
    assert!(node.server.app().readiness().unwrap_err().contains("no compactor"));
    tell(&list(1, &[&other]), true).unwrap();
    refused(own.disk_id, CLUSTER, "has another disk under its name");
    assert_eq!(tell(&list(2, &[&own]), false).unwrap(), (2, own.clone()));
    assert_eq!(node.handshake().state, NodeState::Unconfirmed);
    refused(own.disk_id, CLUSTER, "is not confirmed by enough members yet");
    tell(&list(2, &[&own]), true).unwrap();
    assert_eq!((node.handshake().state, node.server.app().readiness()), (NodeState::Ready, Ok(())));
    refused(other.disk_id, CLUSTER, "has the disk");
    refused(own.disk_id, CLUSTER + 1, "belongs to the cluster");
    assert_eq!(node.append(own.disk_id, CLUSTER, all(&whole, true)).unwrap().catalog_number, 2);

    assert_eq!(tell(&list(1, &[]), true).unwrap().0, 2, "an older list changes nothing");
    let foreign = tell(&MemberList { cluster_id: 1, ..list(9, &[&own]) }, true).unwrap_err();
    assert!(foreign.to_string().contains("belongs to the cluster"), "{foreign}");
    node.server.shutdown();

    let again = start(&runtime, dir.path(), "a", "127.0.0.1:0");
    let handshake = again.handshake();
    assert_eq!((handshake.member, handshake.state), (own.clone(), NodeState::Ready));
    assert_eq!(handshake.members, Some(list(2, &[&own])));
    assert_eq!(again.read(), written(&whole));
    again.server.shutdown();
}

#[test]
fn histograms_travel_to_the_node_and_back() {
    let (dir, runtime) = (tempfile::tempdir().unwrap(), Runtime::new().unwrap());
    let node = start(&runtime, dir.path(), "a", "127.0.0.1:0");
    let disk_id = node.enlist().disk_id;
    let mut whole = batch(&[("plain", vec![sample(0)]), ("mixed", vec![sample(0)]), ("alone", vec![])]);
    for i in 1..40 {
        let positive = Buckets::from_ascending([(0, i as f64), (5, 2.0)]);
        let histogram = Histogram { count: i as f64 + 2.0, positive, ..Histogram::default() };
        whole.histograms.push(HistogramSample { timestamp_ms: START_MS - i, histogram: Arc::new(histogram) });
    }
    whole.series[1].histograms = 0..10;
    whole.series[2].histograms = 10..39;
    assert_eq!(node.append(disk_id, CLUSTER, all(&whole, false)).unwrap().unknown.len(), 3);
    assert_eq!(node.append(disk_id, CLUSTER, all(&whole, true)).unwrap().unknown, []);
    let (_, mut stream) = node.select(&node.context(1 << 30)).unwrap();
    let mut decoder = SeriesDecoder::default();
    let mut found = Vec::new();
    while let Some(batch) = stream.next_batch().unwrap() {
        for series in &batch.series {
            let (times, _, histograms) = decoder.decode_both(&series.chunks, TimeRange::ALL).unwrap();
            let told = histograms.iter().map(|h| (h.timestamp_ms, h.histogram.count)).collect::<Vec<_>>();
            found.push((series.id, times.len(), told));
        }
    }
    let mut expected: Vec<_> = whole
        .series
        .iter()
        .map(|series| {
            let own = whole.histograms_of(series).unwrap().iter().rev();
            (series.id, series.samples.len(), own.map(|h| (h.timestamp_ms, h.histogram.count)).collect::<Vec<_>>())
        })
        .collect();
    expected.sort_by_key(|(id, ..)| *id);
    assert_eq!(found, expected);
    node.server.shutdown();
}

#[test]
fn labels_are_sent_once_and_lookups_know_them() {
    let (dir, runtime) = (tempfile::tempdir().unwrap(), Runtime::new().unwrap());
    let node = start(&runtime, dir.path(), "a", "127.0.0.1:0");
    let disk_id = node.enlist().disk_id;
    let metadata = FamilyMetadata {
        family: "known".into(),
        entry: MetadataEntry { kind: MetadataKind::Counter, help: "helps".into(), unit: String::new() },
    };
    let known = batch(&[("known", vec![sample(0), sample(1)])]);
    let known = WriteBatch { metadata: vec![metadata.clone()], ..known };
    assert_eq!(node.append(disk_id, CLUSTER, all(&known, true)).unwrap().unknown, []);

    let both = batch(&[("known", vec![sample(2)]), ("new", vec![sample(2)])]);
    let new_id = both.series[1].id;
    assert_eq!(node.append(disk_id, CLUSTER, all(&both, false)).unwrap().unknown, [new_id]);
    assert_eq!(node.read().len(), 1, "nothing of an unknown series is stored");
    assert_eq!(node.append(disk_id, CLUSTER, all(&both, true)).unwrap().unknown, []);
    let expected = written(&batch(&[("known", (0..3).map(sample).collect()), ("new", vec![sample(2)])]));
    assert_eq!(node.read(), expected);

    let context = node.context(1 << 20);
    let client = &node.client;
    let names = client.wait(client.label_names(&context, &[], TimeRange::ALL, 0, 0)).unwrap();
    assert_eq!(names.items, ["__name__", "job"]);
    assert_eq!(names.header.cluster_id, Some(CLUSTER));
    assert_eq!(names.header.members.map(|list| list.catalog_number), Some(1), "the asker knew none");
    let selectors = [vec![Matcher::equal("job", "test")]];
    let values = client.label_values(&context, "__name__", &selectors, TimeRange::ALL, 0, 1);
    let values = client.wait(values).unwrap();
    assert_eq!((values.items, values.header.members), (vec!["known".to_owned(), "new".to_owned()], None));
    let series = client.wait(client.series(&context, &selectors, TimeRange::ALL, 1, 0)).unwrap();
    assert_eq!(series.items, [Labels::from_pairs([("__name__", "known"), ("job", "test")])]);
    assert_eq!(client.wait(client.metadata(&context, 0)).unwrap().items, [metadata]);
    node.server.shutdown();
}

#[test]
fn large_answers_come_in_pieces_within_budget_and_end_when_cancelled_or_stopped() {
    let (dir, runtime) = (tempfile::tempdir().unwrap(), Runtime::new().unwrap());
    let node = start(&runtime, dir.path(), "a", "127.0.0.1:0");
    let disk_id = node.enlist().disk_id;
    let mut series: Vec<(String, Vec<Sample>)> = (0..1000).map(|i| (format!("small_{i}"), vec![sample(i)])).collect();
    series.extend((0..4).map(|i| (format!("large_{i}"), (0..200_000).map(sample).collect())));
    let series: Vec<(&str, Vec<Sample>)> = series.iter().map(|(name, samples)| (&**name, samples.clone())).collect();
    let whole = batch(&series);
    let sent = all(&whole, true);
    assert!(sent.len() > 4, "{} pieces", sent.len());
    node.append(disk_id, CLUSTER, sent).unwrap();
    assert!(node.read() == written(&whole), "from the head");
    node.client.wait(node.client.seal()).unwrap();
    assert!(node.read() == written(&whole), "from a block");

    let outcome = node.select(&node.context(100_000)).and_then(|(_, mut stream)| {
        while stream.next_batch()?.is_some() {}
        Ok(())
    });
    assert_eq!(outcome.unwrap_err().kind(), ErrorKind::LimitExceeded);

    let context = node.context(1 << 30);
    let (_, mut stream) = node.select(&context).unwrap();
    assert!(stream.next_batch().unwrap().is_some());
    context.cancel();
    assert_eq!(stream.next_batch().unwrap_err().kind(), ErrorKind::Cancelled);
    assert!(stream.next_batch().unwrap().is_none(), "after an error the stream is over");

    let (_, mut stream) = node.select(&node.context(1 << 30)).unwrap();
    assert!(stream.next_batch().unwrap().is_some());
    node.server.shutdown();
    let broken_off = loop {
        match stream.next_batch() {
            Ok(Some(_)) => {}
            Ok(None) => panic!("a part was taken for the whole"),
            Err(error) => break error,
        }
    };
    assert_eq!(broken_off.kind(), ErrorKind::Unavailable, "{broken_off}");
}

/// A query that reads one select after another keeps the second one waiting.
#[test]
fn selects_that_nobody_reads_yet_hold_up_no_other_one() {
    let (dir, runtime) = (tempfile::tempdir().unwrap(), Runtime::new().unwrap());
    let node = start(&runtime, dir.path(), "a", "127.0.0.1:0");
    let disk_id = node.enlist().disk_id;
    let whole = batch(&[("large", (0..400_000).map(sample).collect())]);
    node.append(disk_id, CLUSTER, all(&whole, true)).unwrap();
    let context = node.context(1 << 30);
    let (tell, told) = mpsc::channel();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let read = || {
                // Together they are more than a connection and its sockets hold.
                let waiting = (0..40).map(|_| node.select(&context)).collect::<Result<Vec<_>>>()?;
                let answers = (0..5).map(|_| node.read_in(&context)).collect::<Result<Vec<_>>>()?;
                drop(waiting);
                Ok(answers)
            };
            tell.send(read()).unwrap();
        });
        let answers: Result<Result<Vec<_>>, _> = told.recv_timeout(TIMEOUT);
        context.cancel();
        let answers = answers.expect("they hold it up").unwrap();
        assert!(answers.iter().all(|answer| *answer == written(&whole)));
    });
    node.server.shutdown();
}

#[test]
fn sealed_blocks_are_fetched_covered_and_dropped_behind_a_mark() {
    let (dir, runtime) = (tempfile::tempdir().unwrap(), Runtime::new().unwrap());
    let node = start(&runtime, dir.path(), "a", "127.0.0.1:0");
    let disk_id = node.enlist().disk_id;
    let client = &node.client;
    node.append(disk_id, CLUSTER, all(&batch(&[("m", (0..5000).map(sample).collect())]), true)).unwrap();
    client.wait(client.seal()).unwrap();
    let blocks = client.wait(client.list_blocks()).unwrap();
    let [block] = &blocks[..] else { panic!("one block: {blocks:?}") };
    assert_eq!((block.samples, block.covered, node.handshake().unshipped_blocks), (5000, false, 1));
    for file in ["meta.json", "index", "chunks"] {
        let path = dir.path().join("blocks").join(block.ulid.to_string()).join(file);
        let mut bytes = Vec::new();
        let pieces = client.wait(client.fetch_file(block.ulid, file)).unwrap();
        let length = pieces.take_all(|piece| {
            bytes.extend_from_slice(&piece);
            Ok(())
        });
        assert!(bytes == std::fs::read(path).unwrap(), "{file}");
        assert_eq!(length.unwrap(), bytes.len() as u64);
    }
    assert!(client.wait(client.fetch_file(block.ulid, "../../node.json")).is_err());
    assert!(client.wait(client.fetch_file(ulid::Ulid::from_parts(1, 1), "index")).is_err());

    let ulids = [block.ulid, ulid::Ulid::from_parts(1, 1)];
    let tell = |cluster_id| client.wait(client.tell_covered(3, cluster_id, &ulids, 1));
    assert!(tell(CLUSTER + 1).is_err());
    assert_eq!(tell(CLUSTER).unwrap(), [ulids[1]], "one was never here, the other waits for the grace");
    assert_eq!((node.handshake().unshipped_blocks, node.handshake().drop_mark_ms), (0, None));
    let db = Arc::clone(node.server.app().store().unwrap());
    db.maintain().unwrap();
    assert_eq!(node.read().len(), 1);
    node.clock.set(START_MS + 10_001);
    db.maintain().unwrap();
    drop(db);
    assert_eq!(tell(CLUSTER).unwrap(), ulids);
    assert_eq!(node.handshake().drop_mark_ms, Some(sample(4999).timestamp_ms));
    let (header, mut stream) = node.select(&node.context(1 << 20)).unwrap();
    assert_eq!(header.drop_mark_ms, Some(sample(4999).timestamp_ms));
    assert!(stream.next_batch().unwrap().is_none());
    node.server.shutdown();
}

#[test]
fn a_wrong_name_and_a_taken_port_are_one_line() {
    let (dir, runtime) = (tempfile::tempdir().unwrap(), Runtime::new().unwrap());
    let node = start(&runtime, dir.path(), "a", "127.0.0.1:0");
    let address = node.server.grpc_addr().unwrap().to_string();
    let other = tempfile::tempdir().unwrap();
    let taken = try_start(other.path(), "b", &address).unwrap_err();
    assert_eq!(taken, format!("--grpc-listen {address}: the port is taken by another process"));
    node.server.shutdown();
    let renamed = try_start(dir.path(), "b", "127.0.0.1:0").unwrap_err();
    assert!(renamed.contains("--node-name") && !renamed.contains('\n'), "{renamed}");
}

/// Waits until a view is as it should be.
fn until(runtime: &Runtime, peers: &Peers, wanted: impl FnMut(&Arc<View>) -> bool) -> Arc<View> {
    let mut changes = peers.changes();
    let found = runtime.block_on(async { tokio::time::timeout(TIMEOUT, changes.wait_for(wanted)).await });
    Arc::clone(&found.expect("the view did not become as it should").unwrap())
}

#[test]
fn peers_see_nodes_come_go_and_clash() {
    let (dirs, runtime) = ([(); 3].map(|()| tempfile::tempdir().unwrap()), Runtime::new().unwrap());
    let a = start(&runtime, dirs[0].path(), "a", "127.0.0.1:0");
    let twin = start(&runtime, dirs[1].path(), "a", "127.0.0.1:0");
    let foreign = start(&runtime, dirs[2].path(), "f", "127.0.0.1:0");
    let own = a.enlist();
    let address = |node: &Node| node.server.grpc_addr().unwrap().to_string();
    let addresses = [address(&a), address(&twin), address(&foreign), "dns+no-such-host.invalid:9292".to_owned()];
    let (_stop, stopped) = watch::channel(false);
    let peers = Peers::watch(runtime.handle(), stopped, &addresses).unwrap();

    let view = until(&runtime, &peers, |view| view.live(&own).is_ok() && view.problems.len() == 2);
    assert_eq!(view.catalog_number(), 1);
    assert_eq!(view.writable(&own).unwrap().address, addresses[0]);
    assert!(view.problems[0].starts_with("--storage-node dns+no-such-host.invalid:9292: "), "{:?}", view.problems);
    assert!(view.problems[1].starts_with("two live storage nodes are named a: "), "{:?}", view.problems);
    let stranger = Member { node_name: "z".into(), ..own.clone() };
    assert!(view.live(&stranger).unwrap_err().contains("storage node z "));
    let replaced = Member { disk_id: 1, ..own.clone() };
    assert!(view.live(&replaced).unwrap_err().contains("another disk"));

    let theirs = MemberList { cluster_id: CLUSTER + 1, ..list(9, &[&foreign.handshake().member]) };
    assert!(peers.learn(theirs.clone()).unwrap_err().contains("belongs to another cluster"));
    foreign.client.wait(foreign.client.tell_members(&theirs, true)).unwrap();
    let is_foreign = |view: &Arc<View>| {
        let node = view.nodes.iter().find(|node| node.address == addresses[2]).unwrap();
        node.down.as_ref().is_some_and(|reason| reason.contains("belongs to another cluster"))
    };
    assert_eq!(until(&runtime, &peers, is_foreign).catalog_number(), 1);

    peers.mark_down(&addresses[0], "a call failed");
    until(&runtime, &peers, |view| view.live(&own).is_ok());
    a.server.shutdown();
    let view = until(&runtime, &peers, |view| view.live(&own).is_err_and(|reason| reason.contains("is down")));
    assert_eq!(view.problems.len(), 1, "{:?}", view.problems);
    let a = start(&runtime, dirs[0].path(), "a", &addresses[0]);
    until(&runtime, &peers, |view| view.writable(&own).is_ok());
    for node in [a, twin, foreign] {
        node.server.shutdown();
    }
}
