//! Real servers in this process: three storage nodes, an insert node, query nodes. Where no compactor runs, the test does
//! what it does first.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use clap::Parser;
use marigram_storage::bucket::DirectoryBucket;
use marigram_storage::bucket::catalog::{CatalogStore, Contents};
use marigram_storage::disk::RealDisk;
use marigram_storage::env::{Env, OsRandom, SystemClock};
use marigram_storage::model::member::MemberList;
use serde_json::Value;

use crate::app::{Event, Failure};
use crate::config::Settings;
use crate::config::args::{Cli, Command};
use crate::rpc::client::NodeClient;
use crate::run::Server;

fn env() -> Env {
    Env { clock: Arc::new(SystemClock::default()), random: Arc::new(OsRandom), disk: Arc::new(RealDisk) }
}

fn start(args: &[&str]) -> Server {
    let server = begin(args);
    server.wait_started().unwrap();
    server
}

/// A server that may have started.
fn begin(args: &[&str]) -> Server {
    let cli = Cli::try_parse_from(["marigram"].iter().chain(args).chain(&["--http-listen", "127.0.0.1:0"])).unwrap();
    let settings = match cli.command {
        Command::Storage(args) => Settings::storage(*args),
        Command::Insert(args) => Settings::insert(*args),
        Command::Query(args) => Settings::query(*args),
        Command::Compact(args) => Settings::compact(*args),
        _ => unreachable!("no such role is needed here"),
    };
    Server::start(settings.unwrap(), env()).unwrap()
}

/// Asks until the answer is the wanted one.
fn poll<T: std::fmt::Debug>(what: &str, mut ask: impl FnMut() -> T, is_wanted: impl Fn(&T) -> bool) -> T {
    for _ in 0..1200 {
        let answer = ask();
        if is_wanted(&answer) {
            return answer;
        }
        std::thread::park_timeout(Duration::from_millis(50));
    }
    panic!("{what}: {:?}", ask());
}

fn get(server: &Server, path: &str) -> (u16, String) {
    let agent: ureq::Agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
    let mut response = agent.get(format!("{}{path}", server.url())).call().unwrap();
    (response.status().as_u16(), response.body_mut().read_to_string().unwrap())
}

fn get_json(server: &Server, path: &str) -> (u16, Value) {
    let (code, body) = get(server, path);
    (code, serde_json::from_str(&body).unwrap_or_else(|error| panic!("{error}: {body}")))
}

/// A cluster in a folder.
struct Small {
    folder: tempfile::TempDir,
    nodes: Vec<Option<Server>>,
    addresses: Vec<String>,
}

impl Small {
    fn start() -> Small {
        let folder = tempfile::tempdir().unwrap();
        let mut small = Small { folder, nodes: vec![None, None, None], addresses: vec!["127.0.0.1:0".to_owned(); 3] };
        (0..3).for_each(|i| small.start_node(i));
        small
    }

    fn start_node(&mut self, i: usize) {
        let dir = self.folder.path().join(format!("node-{i}"));
        let name = format!("--node-name=n{i}");
        let fixed = ["storage", &name, "--drop-grace=1s", "--data-dir", dir.to_str().unwrap()];
        let server = start(&[&fixed[..], &["--grpc-listen", &self.addresses[i]]].concat());
        self.addresses[i] = server.grpc_addr().unwrap().to_string();
        self.nodes[i] = Some(server);
    }

    fn stop_node(&mut self, i: usize) {
        self.nodes[i].take().unwrap().shutdown();
    }

    fn bucket(&self, name: &str) -> (CatalogStore, String) {
        let path = self.folder.path().join(name);
        std::fs::create_dir_all(&path).unwrap();
        let bucket = Arc::new(DirectoryBucket::open(&env(), Path::new(&path)).unwrap());
        (CatalogStore::new(bucket, env()), format!("file://{}", path.display()))
    }

    fn query(&self, bucket: &str, more: &[&str]) -> Server {
        let server = self.begin_query(bucket, more);
        server.wait_started().unwrap();
        server
    }

    /// One that may have started.
    fn begin_query(&self, bucket: &str, more: &[&str]) -> Server {
        let nodes = self.addresses.join(",");
        let fixed = ["query", "--storage-node", &nodes, "--bucket", bucket, "--catalog-interval", "50ms"];
        begin(&[&fixed[..], more].concat())
    }

    /// What a compactor does first: lists the nodes, and tells them.
    fn list(&self, catalogs: &CatalogStore) -> MemberList {
        let client = |i: usize| {
            let runtime = self.nodes[i].as_ref().unwrap().runtime_handle();
            NodeClient::new(&self.addresses[i], runtime).unwrap()
        };
        let members = (0..3).map(|i| client(i).wait(client(i).handshake(Duration::from_secs(30))).unwrap().member);
        let members = members.collect::<Vec<_>>();
        let founded = |_: &Contents| {
            let contents = Contents { members: members.clone(), ..founding(7) };
            Ok(Some(contents))
        };
        let list = catalogs.commit(founded).unwrap().member_list().unwrap();
        for i in 0..3 {
            client(i).wait(client(i).tell_members(&list, true)).unwrap();
        }
        list
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        self.nodes.iter_mut().filter_map(Option::take).for_each(Server::shutdown);
    }
}

fn founding(cluster_id: u128) -> Contents {
    Contents { cluster_id: Some(cluster_id), replication_factor: Some(2), ..Contents::default() }
}

const QUERY: &str = "/api/v1/query?query=count(up)&timeout=20s";

fn is_three(answer: &(u16, Value)) -> bool {
    answer.0 == 200 && answer.1["data"]["result"][0]["value"][1] == "3" && answer.1.get("warnings").is_none()
}

#[test]
fn complete_while_one_node_is_missing_and_never_silently_short() {
    let mut small = Small::start();
    let (catalogs, bucket) = small.bucket("bucket");
    let query = small.query(&bucket, &[]);
    let (code, body) = get(&query, "/-/ready");
    assert!(code == 503 && body.contains("catalog"), "{body}");
    let (code, answer) = get_json(&query, QUERY);
    assert_eq!((code, &answer["errorType"]), (503, &Value::from("unavailable")), "{answer}");

    small.list(&catalogs);
    poll("the query node to be ready", || get(&query, "/-/ready"), |(code, _)| *code == 200);
    let insert = start(&["insert", "--storage-node", &small.addresses.join(",")]);
    poll("the insert node to be ready", || get(&insert, "/-/ready"), |(code, _)| *code == 200);
    let url = format!("{}/api/v1/import/prometheus", insert.url());
    let text = "up{job=\"a\"} 1\nup{job=\"b\"} 1\nup{job=\"c\"} 1\n";
    assert_eq!(ureq::post(url).send(text).unwrap().status().as_u16(), 204);
    poll("an answer", || get_json(&query, QUERY), is_three);
    let (_, labels) = get_json(&query, "/api/v1/label/job/values");
    assert_eq!(labels["data"], serde_json::json!(["a", "b", "c"]));
    let status = |part: &str| get_json(&query, "/api/v1/status/cluster").1["data"][part].clone();
    poll("all to be healthy", || status("health"), |health| health["class"] == "excellent");
    assert_eq!(status("complete"), true);

    // One is gone: every answer is complete, from the first on.
    small.stop_node(0);
    for _ in 0..5 {
        let answer = get_json(&query, QUERY);
        assert!(is_three(&answer), "{answer:?}");
    }
    poll("the health to show it", || status("health"), |health| health["class"] == "warning");

    // Two are gone: nothing is silently short.
    small.stop_node(1);
    for path in [QUERY, "/api/v1/label/job/values", "/api/v1/series?match[]=up", "/api/v1/metadata"] {
        let (code, answer) = get_json(&query, path);
        let error = answer["error"].as_str().unwrap_or_default();
        assert!(code == 503 && error.contains("2 of 3 members are missing"), "{path}: {answer}");
        let between = if path.contains('?') { '&' } else { '?' };
        let (code, answer) = get_json(&query, &format!("{path}{between}partial_response=true"));
        assert!(code == 200 && answer["warnings"][0].as_str().unwrap().contains("2 of 3"), "{path}: {answer}");
    }
    poll("the status to say so", || status("complete"), |complete| complete == false);
    let metrics = get(&query, "/metrics").1;
    assert!(metrics.contains("\nmarigram_query_members_missing 2\n"), "{metrics}");

    // They come back.
    small.start_node(0);
    poll("an answer again", || get_json(&query, QUERY), is_three);
    insert.shutdown();
    query.shutdown();
}

#[test]
fn another_cluster_and_another_number_of_copies_are_told_apart() {
    let small = Small::start();
    let (catalogs, bucket) = small.bucket("bucket");
    small.list(&catalogs);
    let (others, foreign) = small.bucket("foreign");
    others.commit(|_| Ok(Some(founding(8)))).unwrap();
    let query = small.query(&foreign, &[]);
    let is_told = |(code, body): &(u16, String)| *code == 503 && body.contains("not that of the storage nodes");
    poll("the query node to say why", || get(&query, "/-/ready"), is_told);
    let (code, answer) = get_json(&query, &format!("{QUERY}&partial_response=true"));
    assert!(code == 503 && answer["error"].as_str().unwrap().contains("not that of the storage nodes"), "{answer}");
    query.shutdown();

    let wrong = small.begin_query(&bucket, &["--replication-factor", "3"]);
    // It may find out before it has started.
    let ends = std::iter::repeat_with(|| wrong.next_event()).find(|event| !matches!(event, Event::Started));
    match ends.unwrap() {
        Event::Failed(Failure::Contradiction(sentence)) => {
            assert!(sentence.starts_with("--replication-factor 3: the cluster writes 2 copies"), "{sentence}");
        }
        other => panic!("{other:?}"),
    }
    wrong.shutdown();
}

#[test]
fn one_answer_while_data_moves_from_the_nodes_to_the_bucket() {
    let mut small = Small::start();
    let (_, bucket) = small.bucket("bucket");
    let (nodes, scratch) = (small.addresses.join(","), small.folder.path().join("compact"));
    let compact = ["compact", "--storage-node", &nodes, "--bucket", &bucket, "--data-dir", scratch.to_str().unwrap()];
    let quick = ["--replication-factor=2", "--compact-interval=100ms", "--compact-delay=100ms"];
    let compactor = start(&[&compact[..], &quick].concat());
    let query = small.query(&bucket, &["--enable-admin-api"]);
    let insert = start(&["insert", "--storage-node", &nodes]);
    for server in [&compactor, &query, &insert] {
        poll("all to be ready", || get(server, "/-/ready"), |(code, _)| *code == 200);
    }
    let text = "up{job=\"a\"} 1\nup{job=\"b\"} 1\nup{job=\"c\"} 1\n";
    let written = ureq::post(format!("{}/api/v1/import/prometheus", insert.url())).send(text).unwrap();
    assert_eq!(written.status().as_u16(), 204);
    let time = format!("{QUERY}&time={}", env().clock.now_ms() as f64 / 1000.0);
    poll("an answer", || get_json(&query, &time), is_three);

    let sealed = ureq::post(format!("{}/api/v1/admin/tsdb/seal", query.url())).send_empty().unwrap();
    assert_eq!(sealed.status().as_u16(), 204);
    let status = || {
        // Whatever has moved by now, it is there.
        let answer = get_json(&query, &time);
        assert!(is_three(&answer), "{answer:?}");
        get_json(&query, "/api/v1/status/cluster").1["data"].clone()
    };
    let has_moved = |status: &Value| {
        let members = status["members"].as_array().unwrap();
        let dropped = members.iter().filter(|member| member["drop_mark_ms"].is_i64()).count();
        dropped >= 2 && status["waiting_for_upload"]["blocks"] == 0 && status["catalog"]["blocks"].as_u64() > Some(0)
    };
    poll("the nodes to drop what the bucket has", status, has_moved);
    let metrics = get(&query, "/metrics").1;
    let reads = metrics.lines().find_map(|line| line.strip_prefix("marigram_query_bucket_reads_total "));
    assert!(reads.is_some_and(|reads| reads != "0"), "{metrics}");
    small.stop_node(1);
    let answer = get_json(&query, &time);
    assert!(is_three(&answer), "{answer:?}");
    let (_, labels) = get_json(&query, "/api/v1/label/job/values");
    assert_eq!(labels["data"], serde_json::json!(["a", "b", "c"]));
    [insert, query, compactor].into_iter().for_each(Server::shutdown);
}
