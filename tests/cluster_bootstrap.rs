//! How clusters begin, and what is commonly done wrong: each ends in readiness or in one clear sentence.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use support::cluster::{Cluster, Node, Plan};
use support::http::Answer;
use support::ports::free_address;
use support::{now_ms, poll_until, remote};

fn write(node: &Node, value: f64) -> Answer {
    let series = remote::series(&[("__name__", "beginning")], &[(now_ms(), value)]);
    remote::send_body(node.http(), &remote::body(vec![series])).unwrap()
}

fn assert_written(node: &Node) {
    let answer = write(node, 1.0);
    assert!((200..300).contains(&answer.status), "{} {}", answer.status, answer.text());
}

/// Both say, in one sentence, what they lack.
fn assert_put_off(node: &Node, words: &[&str]) {
    let answer = write(node, 1.0);
    let text = answer.text();
    assert_eq!(answer.status, 503, "{text}");
    assert!(answer.headers.contains_key("retry-after"), "with Retry-After: {text}");
    assert!(words.iter().all(|word| text.contains(word)), "{text} lacks one of {words:?}");
}

fn query(node: &Node) -> (u16, serde_json::Value) {
    node.http().json_post("/api/v1/query", &[("query", "count(beginning)")])
}

/// The same while it may not listen yet.
fn ask(node: &Node) -> Option<(u16, serde_json::Value)> {
    let answer = node.http().get("/api/v1/query?query=beginning").ok()?;
    Some((answer.status, answer.json()))
}

#[test]
fn everything_but_a_compactor_waits_for_one() {
    let mut cluster = Cluster::prepare("no-compactor", &Plan::default());
    cluster.storage.iter_mut().for_each(Node::start);
    cluster.insert.start();
    cluster.query.start();
    // An empty bucket, and nobody who makes the first catalog.
    for node in &mut cluster.storage {
        node.wait_complaint(&["compactor"]);
    }
    cluster.insert.wait_complaint(&["compactor"]);
    cluster.query.wait_complaint(&["catalog", "compactor"]);
    assert_put_off(&cluster.insert, &["compactor"]);
    let (status, answer) = query(&cluster.query);
    assert_eq!((status, answer["errorType"].as_str()), (503, Some("unavailable")), "{answer}");
    assert!(answer["error"].as_str().unwrap().contains("catalog"), "{answer}");

    cluster.compactors[0].start();
    cluster.wait_ready();
    assert_written(&cluster.insert);
    let (status, answer) = query(&cluster.query);
    assert_eq!((status, answer["data"]["result"][0]["value"][1].as_str()), (200, Some("1")), "{answer}");

    // It did its work: without it, nothing is worse for hours.
    cluster.compactors[0].stop();
    cluster.storage.iter_mut().for_each(|node| {
        node.stop();
        node.start();
        node.wait_ready();
    });
    poll_until("writes after restarts", || (write(&cluster.insert, 2.0).status < 300).then_some(()));
}

#[test]
fn the_first_catalog_waits_for_enough_disks() {
    let mut cluster = Cluster::prepare("one-disk", &Plan::default());
    cluster.compactors[0].start();
    cluster.storage[0].start();
    // Who is missing, and where it was looked for.
    cluster.compactors[0].wait_complaint(&["storage node"]);
    cluster.storage[1].start();
    cluster.insert.start();
    cluster.query.start();
    cluster.compactors[0].wait_ready();
    cluster.storage[0].wait_ready();
    cluster.storage[1].wait_ready();
    cluster.insert.wait_ready();
    cluster.query.wait_ready();
    assert_written(&cluster.insert);
    // The third is listed when it comes.
    cluster.storage[2].start();
    cluster.wait_ready();
    cluster.assert_sound();
}

#[test]
fn two_nodes_with_one_name() {
    let mut cluster = Cluster::start("one-name", &Plan { storage_nodes: 2, ..Plan::default() });
    let mut twin = Node::new("storage", "twin", cluster.folder()).flag("--node-name=node-1");
    twin.start();
    let all = [cluster.storage[0].grpc_address(), cluster.storage[1].grpc_address(), twin.grpc_address()].join(",");
    cluster.compactors[0].stop();
    cluster.compactors[0].set_flag("storage-node", &all);
    cluster.compactors[0].start();
    twin.wait_complaint(&["another disk under its name"]);
    // The one that is listed goes on.
    cluster.wait_ready();
    assert_written(&cluster.insert);
    assert_eq!(query(&cluster.query).0, 200);
    assert_ne!(twin.readiness().unwrap().status, 200);
    cluster.assert_sound();
}

#[test]
fn a_bucket_of_another_cluster() {
    let mut ours = Cluster::start("ours", &Plan { storage_nodes: 2, ..Plan::default() });
    let theirs = Cluster::start("theirs", &Plan { storage_nodes: 2, ..Plan::default() });
    let bucket = format!("file://{}", theirs.folder().join("bucket").display());
    for node in [&mut ours.query, &mut ours.compactors[0]] {
        node.stop();
        node.set_flag("bucket", &bucket);
        node.start();
        node.wait_complaint(&["--bucket", "cluster", "storage nodes"]);
    }
    let was_refused = match ours.query.has_ended() {
        true => true,
        false => query(&ours.query).0 == 503,
    };
    assert!(was_refused, "nothing is answered out of another cluster's bucket");
    // Neither has changed: both take writes.
    assert_written(&ours.insert);
    assert_written(&theirs.insert);
    assert_eq!(query(&theirs.query).0, 200);
}

#[test]
fn a_wrong_replication_factor() {
    let mut cluster = Cluster::start("wrong-rf", &Plan::default());
    let Cluster { insert, query, compactors, .. } = &mut cluster;
    for node in [insert, query, &mut compactors[0]] {
        node.stop();
        node.set_flag("replication-factor", "3");
        node.start();
        let sentence = node.wait_complaint(&["replication", "3", "2"]);
        eprintln!("{sentence}");
        if !node.has_ended() {
            node.stop();
        }
        node.clear();
        node.set_flag("replication-factor", "2");
        node.start();
        node.wait_ready();
    }
    cluster.wait_ready();
    assert_written(&cluster.insert);
}

#[test]
fn a_mistyped_address() {
    let mut cluster = Cluster::start("mistyped", &Plan::default());
    let nobody = free_address();
    let Cluster { storage, insert, query, compactors, .. } = &mut cluster;
    // None of the addresses is right: nobody, and the address of an HTTP API in the place of the gRPC one.
    for wrong in [nobody.as_str(), storage[0].address()] {
        insert.stop();
        insert.set_flag("storage-node", wrong);
        insert.start();
        insert.wait_complaint(&[wrong]);
        // A query node learns from the catalog whom it misses.
        query.stop();
        query.set_flag("storage-node", wrong);
        query.start();
        let error = poll_until("the query node to miss its members", || {
            let (status, answer) = ask(query)?;
            let error = answer["error"].as_str()?.to_owned();
            (status == 503 && error.contains("members are missing")).then_some(error)
        });
        assert!(error.contains(wrong), "it names the address {wrong}: {error}");
    }
    for node in [insert, query] {
        node.stop();
        // No address at all.
        node.set_flag("storage-node", "localhost");
        node.start();
        node.wait_complaint(&["--storage-node", "localhost"]);
        if !node.has_ended() {
            node.stop();
        }
        node.clear();
        let all: Vec<&str> = storage.iter().map(Node::grpc_address).collect();
        // One wrong address among right ones harms nobody.
        node.set_flag("storage-node", &[&all[..], &[&nobody]].concat().join(","));
        node.start();
        node.wait_ready();
    }
    let compactor = &mut compactors[0];
    compactor.stop();
    compactor.set_flag("bucket", "s3:/bucket");
    compactor.start();
    compactor.wait_complaint(&["--bucket", "s3:/bucket"]);
    assert_written(&cluster.insert);
    assert_eq!(self::query(&cluster.query).0, 200);
}
