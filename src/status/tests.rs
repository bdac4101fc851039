use std::sync::Arc;

use marigram_storage::bucket::catalog::Catalog;
use marigram_storage::model::member::{Member, MemberList};

use super::*;
use crate::rpc::client::NodeClient;

const NOW_MS: i64 = 1_700_000_000_000;

fn member(name: &str) -> Member {
    Member { node_name: name.to_owned(), disk_id: u128::from(name.as_bytes()[0]), zone: String::new() }
}

fn said(name: &str, state: NodeState) -> Handshake {
    Handshake {
        member: member(name),
        state,
        detail: String::new(),
        members: None,
        drop_mark_ms: Some(5),
        newest_sample_ms: Some(NOW_MS - 2000),
        unshipped_blocks: 2,
        unshipped_bytes: 100,
        oldest_unshipped_ms: Some(NOW_MS - 60_000),
        damage: 0,
        damaged: Vec::new(),
        head_series: 10,
        version: "1".to_owned(),
    }
}

fn node(runtime: &tokio::runtime::Runtime, address: &str, said: Option<Handshake>, down: Option<&str>) -> Node {
    Node {
        address: address.to_owned(),
        client: NodeClient::new(address, runtime.handle().clone()).unwrap(),
        handshake: said.map(Arc::new),
        down: down.map(str::to_owned),
        stranger: None,
    }
}

fn view(nodes: Vec<Node>) -> View {
    let members = ["a", "b", "c"].map(member).to_vec();
    let list =
        MemberList { catalog_number: 3, cluster_id: 7, replication_factor: 2, members, query_timeout_max_ms: 1000 };
    View { list: Some(list), nodes, problems: Vec::new() }
}

fn status(view: &View) -> ClusterStatus {
    let catalog = Catalog { number: 4, created_ms: NOW_MS - 1000, ..Catalog::none() };
    of(&Known {
        role: Role::Query,
        readiness: Ok(()),
        view,
        catalog: Some(&catalog),
        confirmed_ago: Some(Duration::from_secs(1)),
        now_ms: NOW_MS,
    })
}

fn state(status: &ClusterStatus, name: &str) -> MemberState {
    status.members.iter().find(|member| member.node_name == name).unwrap().state
}

#[test]
fn a_healthy_cluster() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let nodes =
        ["a", "b", "c"].map(|name| node(&runtime, &format!("{name}:1"), Some(said(name, NodeState::Ready)), None));
    let status = status(&view(nodes.to_vec()));
    assert!(status.complete == Some(true) && status.ready);
    assert_eq!(status.health, Some(Health::of(3, 3)));
    assert_eq!(status.under_replicated, None);
    assert_eq!(status.newest_sample_age_ms, Some(2000));
    let waiting = Waiting { blocks: 6, bytes: 300, oldest_age_ms: Some(60_000) };
    assert_eq!(status.waiting_for_upload, waiting);
    assert_eq!(status.catalog.as_ref().map(|catalog| (catalog.number, catalog.age_ms)), Some((4, 1000)));
    // What is answered is what the command reads.
    let json = serde_json::to_string(&status).unwrap();
    assert_eq!(serde_json::from_str::<ClusterStatus>(&json).unwrap(), status);
    let text = table::render(&status);
    for part in ["excellent (100 %, 3 of 3 members)", "2 s ago", "6 blocks, 300 B", "complete", "b:1"] {
        assert!(text.contains(part), "{part} in {text}");
    }
}

#[test]
fn who_is_missing_and_why() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let mut other_disk = said("c", NodeState::Unlisted);
    other_disk.member.disk_id = 1;
    let nodes = vec![
        node(&runtime, "a:1", Some(said("a", NodeState::Ready)), None),
        node(&runtime, "b:1", Some(said("b", NodeState::Ready)), Some("connection refused")),
        node(&runtime, "c:1", Some(other_disk), None),
        node(&runtime, "d:1", None, Some("no such host")),
    ];
    let status = status(&view(nodes));
    assert_eq!(status.complete, Some(false));
    assert!(status.incomplete_because.as_ref().unwrap().starts_with("2 of 3 members are missing (b "), "{status:?}");
    assert_eq!(status.health.as_ref().map(|health| (health.share_percent, &*health.class)), Some((33, "critical")));
    assert_eq!(status.under_replicated, Some(UnderReplicated { members_missing: 2, after_ms: Some(5), copies_min: 0 }));
    assert_eq!((state(&status, "a"), state(&status, "b")), (MemberState::Healthy, MemberState::Missing));
    let c = status.members.iter().filter(|member| member.node_name == "c").collect::<Vec<_>>();
    assert_eq!(
        c.iter().map(|c| (c.state, c.listed)).collect::<Vec<_>>(),
        [(MemberState::Missing, true), (MemberState::Unlisted, false)]
    );
    assert_eq!(state(&status, ""), MemberState::Missing);
    assert!(table::render(&status).contains("NOT COMPLETE"));
}

#[test]
fn states_are_those_of_the_nodes() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let damaged = Handshake { damage: 1, ..said("c", NodeState::Ready) };
    let nodes = vec![
        node(&runtime, "a:1", Some(said("a", NodeState::Replaying)), None),
        node(&runtime, "b:1", Some(said("b", NodeState::ReadOnly)), None),
        node(&runtime, "c:1", Some(damaged), None),
    ];
    let status = status(&view(nodes));
    assert_eq!(status.complete, Some(true));
    let states = ["a", "b", "c"].map(|name| state(&status, name));
    assert_eq!(states, [MemberState::Replaying, MemberState::ReadOnly, MemberState::Damaged]);
}

#[test]
fn a_storage_node_tells_of_itself() {
    let list = view(Vec::new()).list;
    let told = Handshake { members: list, ..said("a", NodeState::Ready) };
    let status = of_storage_node(&told, Ok(()), NOW_MS);
    assert_eq!((status.complete, status.ready, status.members.len()), (None, true, 1));
    assert_eq!((state(&status, "a"), status.waiting_for_upload.blocks), (MemberState::Healthy, 2));
    let stranger = of_storage_node(&said("a", NodeState::Unlisted), Err("no list names it".to_owned()), NOW_MS);
    assert_eq!((state(&stranger, "a"), stranger.ready), (MemberState::Unlisted, false));
    assert!(table::render(&stranger).contains("no list names it"));
}

#[test]
fn without_a_list_nothing_is_complete() {
    let status = status(&View::default());
    assert!(status.complete == Some(false) && status.health.is_none());
    assert!(status.incomplete_because.unwrap().contains("compactor"));
}

#[test]
fn classes_of_health() {
    let class = |healthy, listed| Health::of(healthy, listed).class;
    let classes =
        [class(10, 10), class(9, 10), class(8, 10), class(7, 10), class(2, 3), class(5, 10), class(1, 3), class(0, 0)];
    assert_eq!(classes, ["excellent", "excellent", "good", "good", "warning", "warning", "critical", "critical"]);
}
