use proptest::prelude::*;

use super::*;

fn members(names: &[&str], zones: &[&str]) -> Vec<Member> {
    let zone = |place: usize| zones.get(place).copied().unwrap_or_default().to_owned();
    let member = |(place, name): (usize, &&str)| Member {
        node_name: (*name).to_owned(),
        disk_id: place as u128,
        zone: zone(place),
    };
    names.iter().enumerate().map(member).collect()
}

fn numbered(count: usize, zones: usize) -> Vec<Member> {
    let member = |place: usize| Member {
        node_name: format!("node-{place:03}"),
        disk_id: place as u128 + 1,
        zone: if zones == 0 { String::new() } else { format!("zone-{}", place % zones) },
    };
    (0..count).map(member).collect()
}

fn ids(count: u32) -> impl Iterator<Item = SeriesId> {
    (0..count).map(|n| SeriesId::of(&n.to_le_bytes()))
}

/// Names of the holders of a series, so that rings of different lists compare.
fn holders(members: &[Member], id: SeriesId, live: NodeSet, copies: usize) -> Vec<String> {
    let ring = Ring::new(members).unwrap();
    let mut placer = ring.placer();
    placer.turn_to(id);
    placer.place(live, copies).iter().map(|node| members[node].node_name.clone()).collect()
}

#[test]
fn scores_are_frozen() {
    // A change of these numbers would place every series anew.
    let id = SeriesId(0x0102_0304_0506_0708_090a_0b0c_0d0e_0f10);
    let found = ["a", "storage-1", "störung"].map(|name| score(id, xxh3_64(name.as_bytes())));
    assert_eq!(found, [15444415940183648850, 13523129319388148030, 3326929793696033385]);
    assert_eq!(family_id("up").0, 273780935763430704690954162590769672548);
}

#[test]
fn shares_are_even() {
    for (nodes, copies) in [(3, 2), (5, 3), (12, 2), (40, 3)] {
        let ring = Ring::new(&numbered(nodes, 0)).unwrap();
        let mut placer = ring.placer();
        let mut shares = vec![0u32; nodes];
        let count = 40_000;
        for id in ids(count) {
            placer.turn_to(id);
            let placed = placer.place(ring.all(), copies);
            assert_eq!(placed.len(), copies);
            placed.iter().for_each(|node| shares[node] += 1);
        }
        let fair = f64::from(count) * copies as f64 / nodes as f64;
        for share in shares {
            // Five standard deviations of a binomial share.
            assert!((f64::from(share) - fair).abs() < 5.0 * fair.sqrt(), "{nodes} nodes: {share} instead of {fair}");
        }
    }
}

#[test]
fn the_share_of_a_node_that_is_down_spreads_over_all_others() {
    let nodes = 9;
    let ring = Ring::new(&numbered(nodes, 0)).unwrap();
    let mut placer = ring.placer();
    let mut live = ring.all();
    live.remove(4);
    let mut gained = vec![0u32; nodes];
    for id in ids(36_000) {
        placer.turn_to(id);
        let before = placer.place(ring.all(), 2);
        let after = placer.place(live, 2);
        if before.contains(4) {
            after.without(before).iter().for_each(|node| gained[node] += 1);
        } else {
            assert_eq!(before, after);
        }
    }
    // Each of the 8 others takes an eighth of the 8,000.
    for (node, gained) in gained.into_iter().enumerate().filter(|(node, _)| *node != 4) {
        assert!((850..1150).contains(&gained), "node {node} gained {gained}");
    }
}

#[test]
fn lists_that_cannot_place_are_refused_with_a_sentence() {
    let mixed = Ring::new(&members(&["a", "b", "c"], &["x", "y"])).unwrap_err();
    let sentence = "a is in a zone and c is in none: all members need a --zone, or none may have one";
    assert_eq!(mixed.to_string(), sentence);
    assert!(matches!(Ring::new(&members(&["b", "a"], &[])), Err(RingError::Malformed(name)) if name == "a"));
    assert!(matches!(Ring::new(&members(&["a", "a"], &[])), Err(RingError::Malformed(_))));
    assert!(matches!(Ring::new(&members(&[""], &[])), Err(RingError::Malformed(_))));
    let mut one_disk = members(&["a", "b"], &[]);
    one_disk[1].disk_id = one_disk[0].disk_id;
    assert!(matches!(Ring::new(&one_disk), Err(RingError::Malformed(name)) if name == "b"));
    assert_eq!(Ring::new(&numbered(129, 0)).unwrap_err(), RingError::TooMany(129));
    assert!(Ring::new(&numbered(128, 7)).is_ok());
}

#[test]
fn a_copy_beyond_the_zones_goes_to_a_zone_that_has_one() {
    let ring = Ring::new(&members(&["a", "b", "c"], &["x", "x", "y"])).unwrap();
    assert_eq!((ring.zones(), ring.is_zoned()), (2, true));
    let mut placer = ring.placer();
    for id in ids(1000) {
        placer.turn_to(id);
        let two = placer.place(ring.all(), 2);
        assert_eq!((ring.spread(two), two.contains(2)), (2, true));
        let three = placer.place(ring.all(), 3);
        assert_eq!((ring.spread(three), three.len()), (2, 3));
        assert_eq!(placer.place(ring.all(), 4), three);
    }
}

proptest! {
    #[test]
    fn a_node_that_comes_takes_its_share_and_moves_nothing_else(
        seed in any::<u128>(), nodes in 1usize..30, zones in 0usize..5, copies in 1usize..4, new in 0usize..30,
    ) {
        let after = numbered(nodes + 1, zones);
        let mut before = after.clone();
        let new = before.remove(new % (nodes + 1)).node_name;
        let id = SeriesId(seed);
        let old = holders(&before, id, NodeSet::first(before.len()), copies);
        let now = holders(&after, id, NodeSet::first(after.len()), copies);
        let moved: Vec<_> = now.iter().filter(|name| !old.contains(name)).collect();
        if zones == 0 {
            prop_assert!(moved.is_empty() || moved == [&new], "{old:?} became {now:?} when {new} came");
            prop_assert!(old.iter().filter(|name| !now.contains(name)).count() <= 1);
        } else if moved.is_empty() {
            prop_assert_eq!(old, now);
        } else {
            prop_assert!(now.contains(&new), "{:?} became {:?} without {}", old, now, new);
        }
    }

    #[test]
    fn copies_lie_on_distinct_live_nodes_and_in_as_many_zones_as_can_be(
        seed in any::<u128>(), nodes in 1usize..40, zones in 0usize..6, copies in 1usize..6, dead in any::<u128>(),
    ) {
        let ring = Ring::new(&numbered(nodes, zones)).unwrap();
        let live: NodeSet = ring.all().iter().filter(|node| dead >> node & 1 == 0).collect();
        let mut placer = ring.placer();
        placer.turn_to(SeriesId(seed));
        let placed = placer.place(live, copies);
        prop_assert!(placed.without(live).is_empty());
        prop_assert_eq!(placed.len(), copies.min(live.len()));
        prop_assert_eq!(ring.spread(placed), copies.min(ring.spread(live)));
        // Fewer copies are a prefix of more.
        prop_assert!(placer.place(live, copies - 1).without(placed).is_empty());
    }

    #[test]
    fn who_stands_in_depends_on_nothing_but_who_lives(
        seed in any::<u128>(), nodes in 2usize..20, order in any::<u64>(),
    ) {
        // Owners that fail one after the other lead to the same holders as a start without them.
        let ring = Ring::new(&numbered(nodes, 0)).unwrap();
        let mut placer = ring.placer();
        placer.turn_to(SeriesId(seed));
        let mut live = ring.all();
        let mut holders = placer.place(live, 2);
        for step in 0..nodes - 1 {
            let fails = holders.iter().nth((order >> step) as usize & 1).or(holders.iter().next());
            let Some(fails) = fails else { break };
            live.remove(fails);
            holders.remove(fails);
            let stand_in = placer.next(live.without(holders), holders);
            stand_in.into_iter().for_each(|node| holders.insert(node));
            prop_assert_eq!(holders, placer.place(live, 2));
        }
    }
}
