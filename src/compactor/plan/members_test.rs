//! Every mistake that an operator can make ends in one sentence; every node that may join does.

use super::*;

fn member(name: &str, disk_id: u128) -> Member {
    Member { node_name: name.into(), disk_id, zone: String::new() }
}

fn heard(name: &str, disk_id: u128) -> Heard {
    Heard { address: format!("{name}:1"), member: member(name, disk_id), state: NodeState::Unlisted, list: None }
}

fn in_zone(node: Heard, zone: &str) -> Heard {
    Heard { member: Member { zone: zone.into(), ..node.member }, ..node }
}

fn told(node: Heard, number: u64) -> Heard {
    Heard { list: Some((7, number)), ..node }
}

/// A catalog with these members; `number` is also that of the list.
fn catalog(number: u64, members: &[Member], joining: &[&str]) -> Catalog {
    let contents = Contents {
        cluster_id: Some(7),
        replication_factor: Some(2),
        members: members.to_vec(),
        joining: joining.iter().map(|name| (*name).to_owned()).collect(),
        ..Contents::default()
    };
    Catalog { number, members_number: number, contents, ..Catalog::none() }
}

fn plan(catalog: &Catalog, nodes: &[Heard]) -> Result<MembersPlan, String> {
    plan_with(catalog, nodes, Some(2))
}

fn plan_with(catalog: &Catalog, nodes: &[Heard], replication_factor: Option<u32>) -> Result<MembersPlan, String> {
    plan_members(Situation {
        catalog,
        nodes,
        strangers: &[],
        replication_factor,
        query_timeout_max_ms: 5,
        new_cluster_id: 9,
    })
}

fn names(contents: &Contents) -> (Vec<&str>, Vec<&str>) {
    let members = contents.members.iter().map(|member| member.node_name.as_str()).collect();
    (members, contents.joining.iter().map(String::as_str).collect())
}

#[test]
fn the_first_list_waits_for_as_many_disks_as_copies() {
    let none = Catalog::none();
    let said = |nodes: &[Heard]| plan(&none, nodes).unwrap().waiting.unwrap();
    assert_eq!(said(&[]), "0 of the 2 storage nodes that the first catalog needs answer");
    assert_eq!(said(&[heard("a", 1)]), "1 of the 2 storage nodes that the first catalog needs answer");
    assert!(said(&[heard("a", 1), heard("a", 2)]).starts_with("0 of the 2"), "one name is one node");
    assert!(said(&[heard("a", 1), heard("b", 1)]).starts_with("0 of the 2"), "one disk is one copy");
    let replaying = Heard { state: NodeState::Replaying, ..heard("b", 2) };
    assert!(said(&[heard("a", 1), replaying]).starts_with("1 of the 2"));
    assert!(plan_with(&none, &[heard("a", 1)], None).unwrap().waiting.unwrap().contains("--replication-factor"));

    let again = Heard { address: "other:1".into(), ..heard("a", 1) };
    let plan = plan(&none, &[heard("b", 2), heard("a", 1), again]).unwrap();
    let next = plan.next.unwrap();
    assert_eq!(names(&next), (vec!["a", "b"], vec!["a", "b"]), "a node at two addresses is one");
    assert_eq!((next.cluster_id, next.replication_factor, next.query_timeout_max_ms), (Some(9), Some(2), Some(5)));
    assert_eq!((plan.waiting, plan.problems), (None, vec![]));
}

#[test]
fn zones_are_for_all_or_for_none_and_enough_for_a_write() {
    let none = Catalog::none();
    let mixed = plan(&none, &[in_zone(heard("a", 1), "x"), heard("b", 2)]).unwrap();
    assert!(mixed.waiting.unwrap().contains("all or none"));
    let one = plan(&none, &[in_zone(heard("a", 1), "x"), in_zone(heard("b", 2), "x")]).unwrap();
    assert!(one.waiting.unwrap().contains("lie in 1 zones, and a write needs 2"));
    assert!(plan(&none, &[in_zone(heard("a", 1), "x"), in_zone(heard("b", 2), "y")]).unwrap().next.is_some());
    let listed = catalog(3, &[member("a", 1), member("b", 2)], &[]);
    let zoned = plan(&listed, &[in_zone(heard("c", 3), "x")]).unwrap();
    assert_eq!(zoned.next, None);
    assert_eq!(zoned.problems, ["storage node c has a zone, unlike the members: it does not become one"]);
}

#[test]
fn a_bucket_that_does_not_belong_to_the_nodes_is_refused() {
    let said = |catalog: &Catalog, nodes: &[Heard]| plan(catalog, nodes).unwrap_err();
    let ours = [told(heard("a", 1), 3), heard("b", 2)];
    assert!(said(&Catalog::none(), &ours).contains("the bucket has no catalog"));
    let mut other = catalog(4, &[member("a", 1), member("b", 2)], &[]);
    other.contents.cluster_id = Some(8);
    assert!(said(&other, &ours).starts_with("--bucket: it holds cluster 00000000000000000000000000000008"));
    let old = catalog(2, &[member("a", 1), member("b", 2)], &[]);
    assert!(said(&old, &ours).contains("was told of catalog 3, but the newest in the bucket is 2"));
    let three = plan_with(&catalog(4, &[], &[]), &ours, Some(3)).unwrap_err();
    assert!(three.starts_with("--replication-factor 3: the catalog in the bucket says 2"), "{three}");
}

#[test]
fn a_stray_node_of_another_cluster_is_named_and_left_alone() {
    let catalog = catalog(4, &[member("a", 1), member("b", 2)], &[]);
    let stray = Heard { list: Some((8, 99)), ..heard("c", 3) };
    let plan = plan(&catalog, &[told(heard("a", 1), 4), stray.clone()]).unwrap();
    assert_eq!(plan.next, None);
    assert!(plan.problems[0].starts_with("storage node c:1 belongs to another cluster"), "{plan:?}");
    assert_eq!(plan_telling(&catalog, &[stray]), []);
    let strangers = [("d:1".to_owned(), 8)];
    let situation = Situation {
        catalog: &catalog,
        nodes: &[],
        strangers: &strangers,
        replication_factor: None,
        query_timeout_max_ms: 5,
        new_cluster_id: 9,
    };
    assert!(plan_members(situation).unwrap_err().contains("so says d:1"));
}

#[test]
fn new_names_join_and_known_names_with_new_disks_do_not() {
    let catalog = catalog(3, &[member("a", 1), member("b", 2)], &[]);
    let nodes = [told(heard("a", 1), 3), told(heard("b", 5), 3), heard("c", 3), heard("d", 4), heard("d", 6)];
    let plan1 = plan(&catalog, &nodes).unwrap();
    assert_eq!(names(&plan1.next.unwrap()), (vec!["a", "b", "c"], vec!["c"]));
    assert_eq!(plan1.problems.len(), 2, "{:?}", plan1.problems);
    assert!(plan1.problems[0].starts_with("several storage nodes are called d"), "{:?}", plan1.problems);
    assert!(plan1.problems[1].starts_with("storage node b answers with another disk"), "{:?}", plan1.problems);
    let copied = plan(&catalog, &[heard("c", 1)]).unwrap();
    assert_eq!((copied.next, copied.problems.len()), (None, 1));
}

#[test]
fn a_joining_node_waits_until_a_quorum_of_the_active_ones_has_the_list() {
    let catalog = catalog(5, &[member("a", 1), member("b", 2), member("c", 3), member("d", 4)], &["c", "d"]);
    let by = |nodes: &[Heard]| plan(&catalog, nodes).unwrap().next;
    assert_eq!(by(&[told(heard("a", 1), 5), told(heard("c", 3), 5), told(heard("d", 4), 5)]), None);
    assert_eq!(by(&[told(heard("a", 1), 5), told(heard("b", 2), 4)]), None, "an older list does not name it");
    assert_eq!(by(&[told(heard("a", 1), 5), told(heard("b", 9), 5)]), None, "another disk has no vote");
    let next = by(&[told(heard("a", 1), 5), told(heard("b", 2), 5)]).unwrap();
    assert_eq!(names(&next), (vec!["a", "b", "c", "d"], vec![]));

    let first = Catalog {
        contents: Contents { joining: ["a", "b", "c", "d"].map(String::from).into(), ..catalog.contents },
        ..catalog
    };
    assert!(plan(&first, &[told(heard("c", 3), 5), told(heard("d", 4), 5)]).unwrap().next.is_some(), "all count");
}

#[test]
fn in_zones_the_quorum_is_one_of_zones() {
    let zoned = |name: &str, disk_id, zone: &str| Member { zone: zone.into(), ..member(name, disk_id) };
    let members = [zoned("a", 1, "x"), zoned("b", 2, "x"), zoned("c", 3, "y"), zoned("d", 4, "z")];
    let catalog = catalog(5, &members, &["d"]);
    let x = [told(in_zone(heard("a", 1), "x"), 5), told(in_zone(heard("b", 2), "x"), 5)];
    assert_eq!(plan(&catalog, &x).unwrap().next, None);
    let both = [x[0].clone(), told(in_zone(heard("c", 3), "y"), 5)];
    assert!(plan(&catalog, &both).unwrap().next.is_some());
}

#[test]
fn nodes_that_are_behind_are_told_and_only_active_ones_may_write() {
    let catalog = catalog(5, &[member("a", 1), member("b", 2), member("c", 3)], &["c"]);
    let ready = |node: Heard| Heard { state: NodeState::Ready, ..node };
    let nodes = [
        ready(told(heard("a", 1), 4)),
        ready(told(heard("b", 2), 5)),
        heard("c", 3),
        told(heard("c", 3), 5),
        Heard { state: NodeState::Unconfirmed, ..told(heard("a", 1), 5) },
        Heard { state: NodeState::Replaying, ..heard("a", 1) },
        heard("e", 9),
        Heard { state: NodeState::ReadOnly, ..told(heard("a", 1), 5) },
    ];
    assert_eq!(plan_telling(&catalog, &nodes), [(0, true), (2, false), (4, true), (6, false)]);
    assert_eq!(plan_telling(&Catalog::none(), &nodes), []);
}
