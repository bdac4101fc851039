//! An insert node over real storage nodes, all in this process.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::mpsc;
use std::time::Duration;

use clap::Parser;
use marigram_storage::context::Context;
use marigram_storage::disk::RealDisk;
use marigram_storage::env::{Clock, Env, OsRandom, SystemClock};
use marigram_storage::model::matcher::{MatchOp, Matcher};
use marigram_storage::model::member::{Member, MemberList};
use marigram_storage::model::tenant::TenantId;
use marigram_storage::model::time::TimeRange;
use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::app::{Event, Failure};
use crate::config::Settings;
use crate::config::args::{Cli, Command};
use crate::ring::{NodeSet, Ring, family_id};
use crate::rpc::client::NodeClient;
use crate::run::Server;

const NAMES: [&str; 3] = ["a", "b", "c"];

fn env() -> Env {
    Env { clock: Arc::new(SystemClock::default()), random: Arc::new(OsRandom), disk: Arc::new(RealDisk) }
}

fn start(flags: &[&str]) -> Server {
    let server = begin(flags);
    server.wait_started().unwrap();
    server
}

/// A server that may have started.
fn begin(flags: &[&str]) -> Server {
    let settings = match Cli::try_parse_from(["marigram"].iter().chain(flags)).unwrap().command {
        Command::Storage(args) => Settings::storage(*args).unwrap(),
        Command::Insert(args) => Settings::insert(*args).unwrap(),
        other => panic!("{other:?}"),
    };
    Server::start(settings, env()).unwrap()
}

/// Three storage nodes; stopped ones are `None`.
struct Nodes {
    dirs: Vec<TempDir>,
    addresses: Vec<String>,
    servers: Vec<Option<Server>>,
    members: Vec<Member>,
    runtime: Runtime,
}

impl Nodes {
    fn start() -> Nodes {
        let mut nodes = Nodes {
            dirs: NAMES.map(|_| tempfile::tempdir().unwrap()).into(),
            addresses: vec!["127.0.0.1:0".to_owned(); 3],
            servers: vec![None, None, None],
            members: Vec::new(),
            runtime: tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap(),
        };
        for node in 0..3 {
            nodes.start_one(node);
            let handshake = nodes.client(node).wait(nodes.client(node).handshake(Duration::from_secs(60))).unwrap();
            nodes.members.push(handshake.member);
        }
        nodes
    }

    fn start_one(&mut self, node: usize) {
        let dir = self.dirs[node].path().to_str().unwrap();
        let flags = ["storage", "--http-listen", "127.0.0.1:0", "--node-name", NAMES[node], "--data-dir", dir];
        let server = start(&[&flags[..], &["--grpc-listen", &self.addresses[node]]].concat());
        self.addresses[node] = server.grpc_addr().unwrap().to_string();
        self.servers[node] = Some(server);
    }

    fn stop(&mut self, node: usize) {
        self.servers[node].take().unwrap().shutdown();
    }

    fn client(&self, node: usize) -> NodeClient {
        NodeClient::new(&self.addresses[node], self.runtime.handle().clone()).unwrap()
    }

    fn list(&self) -> MemberList {
        MemberList {
            catalog_number: 1,
            cluster_id: 77,
            replication_factor: 2,
            members: self.members.clone(),
            query_timeout_max_ms: 120_000,
        }
    }

    fn tell(&self) {
        for node in 0..3 {
            let client = self.client(node);
            client.wait(client.tell_members(&self.list(), true)).unwrap();
        }
    }

    /// The values of label `n` of all series of a metric that a node holds.
    fn held(&self, node: usize, metric: &str) -> BTreeSet<String> {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::default());
        let context = Context::new(TenantId::default(), clock, None, 1 << 30);
        let selector = vec![Matcher::new("__name__", MatchOp::Equal, metric).unwrap()];
        let all = TimeRange { start_ms: i64::MIN, end_ms: i64::MAX };
        let store = self.servers[node].as_ref().unwrap().app().store().unwrap();
        let series = store.series(&context, &[selector], all, 0).unwrap();
        series.iter().map(|labels| labels.get("n").unwrap().to_owned()).collect()
    }

    /// What the ring says that they should hold while `live` live.
    fn placed(&self, live: NodeSet, metric: &str, count: usize) -> Vec<BTreeSet<String>> {
        let ring = Ring::new(&self.members).unwrap();
        let mut placer = ring.placer();
        let mut placed = vec![BTreeSet::new(); 3];
        for n in 0..count {
            let labels = [("__name__", metric), ("n", &n.to_string())];
            placer.turn_to(marigram_storage::model::labels::Labels::from_pairs(labels).id());
            placer.place(live, 2).iter().for_each(|node| assert!(placed[node].insert(n.to_string())));
        }
        placed
    }
}

struct Insert {
    server: Server,
    agent: ureq::Agent,
}

impl Insert {
    fn start(nodes: &Nodes) -> Insert {
        let addresses = nodes.addresses.join(",");
        let flags = ["insert", "--http-listen", "127.0.0.1:0", "--enable-admin-api", "--storage-node", &addresses];
        let server = start(&[&flags[..], &["--replication-factor", "2"]].concat());
        let agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
        Insert { server, agent }
    }

    /// Status, whether the sender is told when to try again, text.
    fn post(&self, path: &str, body: &str) -> (u16, bool, String) {
        let mut response = self.agent.post(format!("{}{path}", self.server.url())).send(body).unwrap();
        let retry = response.headers().contains_key("retry-after");
        (response.status().as_u16(), retry, response.body_mut().read_to_string().unwrap())
    }

    fn get(&self, path: &str) -> String {
        let mut response = self.agent.get(format!("{}{path}", self.server.url())).call().unwrap();
        response.body_mut().read_to_string().unwrap()
    }

    /// Writes a sample of each of `count` series of a metric.
    fn write(&self, metric: &str, count: usize) -> (u16, bool, String) {
        let lines: String = (0..count).map(|n| format!("{metric}{{n=\"{n}\"}} {n}\n")).collect();
        self.post("/api/v1/import/prometheus", &format!("# TYPE {metric} gauge\n{lines}"))
    }

    /// How many members it sees as live.
    fn healthy(&self) -> usize {
        self.get("/api/v1/status/cluster").matches("\"state\":\"healthy\"").count()
    }

    fn is_ready(&self) -> bool {
        self.get("/-/ready").starts_with("Marigram is ready")
    }

    /// The sum of a metric over its labels.
    fn sum(&self, metric: &str) -> f64 {
        let text = self.get("/metrics");
        let lines = text.lines().filter(|line| line.starts_with(metric));
        lines.map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()).sum()
    }
}

fn poll_until(what: &str, done: impl Fn() -> bool) {
    let clock = SystemClock::default();
    let (_sender, never) = mpsc::channel::<()>();
    while !done() {
        assert!(clock.monotonic() < Duration::from_secs(120), "gave up waiting for: {what}");
        let _ = never.recv_timeout(Duration::from_millis(20));
    }
}

#[test]
fn writes_reach_their_owners_stand_ins_and_nobody_without_a_quorum() {
    let mut nodes = Nodes::start();
    let insert = Insert::start(&nodes);

    // No compactor has run yet.
    let sentence =
        "no storage node has a list of members yet: a compactor writes the first one when 2 storage nodes answer";
    poll_until("the nodes are seen", || insert.get("/-/ready").contains(sentence));
    let (status, retry, text) = insert.write("up", 10);
    assert_eq!((status, retry, text.trim_end()), (503, true, sentence));

    nodes.tell();
    // It is ready with two of them.
    poll_until("all are live", || insert.healthy() == 3);
    assert!(insert.is_ready());
    let all = NodeSet::first(3);
    assert_eq!(insert.write("up", 200).0, 204);
    for (node, placed) in nodes.placed(all, "up", 200).into_iter().enumerate() {
        assert_eq!(nodes.held(node, "up"), placed, "{}", NAMES[node]);
    }
    let ring = Ring::new(&nodes.members).unwrap();
    let mut placer = ring.placer();
    placer.turn_to(family_id("up"));
    for node in 0..3 {
        let store = nodes.servers[node].as_ref().unwrap().app().store().unwrap();
        assert_eq!(store.metadata(&TenantId::default()).contains_key("up"), placer.place(all, 2).contains(node));
    }

    // Labels go to each owner once.
    assert_eq!(insert.write("up", 200).0, 204);
    assert_eq!(insert.sum("marigram_insert_labelled_series_sent_total"), 400.0);
    assert_eq!(insert.sum("marigram_insert_series_sent_total"), 800.0);
    assert_eq!(insert.post("/api/v1/admin/tsdb/seal", "").0, 204);

    // One is stopped: no write fails, and the two others hold everything.
    nodes.stop(2);
    assert_eq!(insert.write("stood_in", 100).0, 204);
    for (node, placed) in nodes.placed(NodeSet::first(2), "stood_in", 100).into_iter().take(2).enumerate() {
        assert_eq!((placed.len(), nodes.held(node, "stood_in")), (100, placed));
    }
    assert!(insert.sum("marigram_insert_stand_in_series_sent_total") > 0.0);
    assert_eq!(insert.post("/api/v1/admin/tsdb/seal", "").0, 204);

    // Two are stopped: there is no quorum.
    nodes.stop(1);
    let (status, retry, text) = insert.write("refused", 100);
    assert_eq!((status, retry), (503, true), "{text}");
    poll_until("both are seen as down", || {
        insert.get("/-/ready").contains("1 of 3 listed members is live (a), 2 are needed; b: ")
    });
    let (status, retry, text) = insert.post("/api/v1/admin/tsdb/seal", "");
    assert_eq!((status, retry), (503, true));
    assert!(text.contains("2 of 3 members are missing (b ") && text.contains("; c "), "{text}");
    assert!(insert.write("refused", 100).2.starts_with("1 of 3 listed members is live (a), 2 are needed; b: "));

    // They come back, with what they had.
    nodes.start_one(1);
    nodes.start_one(2);
    poll_until("all are live", || insert.healthy() == 3);
    assert_eq!(insert.write("back", 100).0, 204);
    for (node, placed) in nodes.placed(all, "back", 100).into_iter().enumerate() {
        assert_eq!(nodes.held(node, "back"), placed, "{}", NAMES[node]);
    }
    assert_eq!(nodes.held(2, "up"), nodes.placed(all, "up", 200)[2]);
    insert.server.shutdown();
}

#[test]
fn another_replication_factor_than_the_clusters_ends_the_process_with_a_sentence() {
    let nodes = Nodes::start();
    nodes.tell();
    let addresses = nodes.addresses.join(",");
    let flags = ["insert", "--http-listen", "127.0.0.1:0", "--storage-node", &addresses, "--replication-factor", "3"];
    let server = begin(&flags);
    // It may find out before it has started.
    let ends = std::iter::repeat_with(|| server.next_event()).find(|event| !matches!(event, Event::Started));
    match ends.unwrap() {
        Event::Failed(Failure::Contradiction(sentence)) => {
            assert_eq!(sentence, "--replication-factor 3 differs from the cluster's 2");
        }
        other => panic!("{other:?}"),
    }
}
