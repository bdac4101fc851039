//! The commit protocol under races and faults; damage; the sweep.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use proptest::prelude::*;
use ulid::Ulid;

use super::*;
use crate::bucket::simulated::World;
use crate::bucket::suite::{directory, env};
use crate::bucket::{Bucket, DirectoryBucket};
use crate::error::Error;
use crate::model::member::Member;
use crate::model::time::TimeRange;

fn block(ulid: u128) -> CatalogBlock {
    CatalogBlock {
        ulid: Ulid(ulid),
        range: TimeRange { start_ms: -5, end_ms: i64::MAX },
        level: 1,
        series: 2,
        samples: 3,
        size_bytes: u64::MAX,
        sources: vec!["\"}\n".into()],
    }
}

/// Adds a block unless it is there.
fn adding(ulid: u128) -> impl FnMut(&Contents) -> crate::Result<Option<Contents>> {
    move |contents| {
        let mut next = contents.clone();
        next.blocks.push(block(ulid));
        Ok((!contents.blocks.iter().any(|b| b.ulid == Ulid(ulid))).then_some(next))
    }
}

fn ulids(catalog: &Catalog) -> BTreeSet<u128> {
    catalog.contents.blocks.iter().map(|block| block.ulid.0).collect()
}

/// All catalogs of a bucket by number, checked to be one history.
fn history(world: &World) -> Vec<Catalog> {
    let decode = |(key, bytes): (String, Bytes)| Catalog::decode(&key, &bytes).unwrap();
    let catalogs: Vec<Catalog> = world.objects().into_iter().map(decode).collect();
    for (at, catalog) in catalogs.iter().enumerate() {
        assert_eq!(catalog.number, at as u64 + 1, "numbers without a gap");
        let before: Vec<u128> = catalogs[..at].iter().rev().map(|c| c.commit).collect();
        assert_eq!(catalog.ancestors, before, "each was made from the one before");
    }
    for pair in catalogs.windows(2) {
        let (before, after) = (ulids(&pair[0]), ulids(&pair[1]));
        assert!(before.is_subset(&after) && after.len() == before.len() + 1, "each commit changed what it meant to");
    }
    catalogs
}

/// Writers that commit blocks of their own at the same time; answers how many commits came back with an error first.
fn race(seed: u64, writers: usize, commits: u128, faults: u128) -> usize {
    let world = World::new(seed, writers, faults);
    let errors: usize = std::thread::scope(|scope| {
        let run = |writer: usize| {
            let bucket = world.writer(writer);
            scope.spawn(move || {
                let store = CatalogStore::new(Arc::new(bucket), env(seed * 64 + writer as u64 + 1).0);
                let mut errors = 0;
                for commit in 0..commits {
                    let ulid = writer as u128 * 1000 + commit;
                    let catalog = loop {
                        match store.commit(adding(ulid)) {
                            Ok(catalog) => break catalog,
                            Err(error) => errors += usize::from(matches!(error, Error::Overloaded(_))),
                        }
                    };
                    assert!(ulids(&catalog).contains(&ulid), "what is answered includes the change");
                }
                errors
            })
        };
        let threads: Vec<_> = (0..writers).map(run).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    let newest = history(&world).pop().unwrap();
    let expected = (0..writers as u128).flat_map(|writer| (0..commits).map(move |c| writer * 1000 + c)).collect();
    assert_eq!(ulids(&newest), expected, "no commit is lost, none counts twice");
    errors
}

#[test]
fn racing_writers_make_one_history() {
    for seed in 0..100 {
        assert_eq!(race(seed, 3, 4, 0), 0, "without faults every commit succeeds");
    }
}

#[test]
fn lost_answers_and_late_puts_lose_no_commit() {
    let mut errors = 0;
    for seed in 0..400 {
        errors += race(seed, 2 + seed as usize % 3, 5, 20);
    }
    assert!(errors > 100, "the faults were felt: {errors}");
}

#[test]
fn a_put_whose_answer_is_lost_counts_once() {
    // Every put fails in one of three ways; all else works.
    #[derive(Debug)]
    struct LosesAnswers(DirectoryBucket, std::sync::atomic::AtomicU32);
    impl Bucket for LosesAnswers {
        fn put_if_absent(&self, key: &str, bytes: Bytes) -> crate::Result<bool> {
            if self.1.fetch_add(1, std::sync::atomic::Ordering::SeqCst) % 2 == 1 {
                self.0.put_if_absent(key, bytes)?;
            }
            Err(Error::Overloaded("lost".into()))
        }
        fn get(&self, key: &str) -> crate::Result<Option<Bytes>> {
            self.0.get(key)
        }
        fn get_range(&self, key: &str, range: std::ops::Range<u64>) -> crate::Result<Option<Bytes>> {
            self.0.get_range(key, range)
        }
        fn list(&self, prefix: &str) -> crate::Result<Vec<crate::bucket::ObjectMeta>> {
            self.0.list(prefix)
        }
        fn delete(&self, key: &str) -> crate::Result<()> {
            self.0.delete(key)
        }
    }
    let temp = tempfile::tempdir().unwrap();
    let store = CatalogStore::new(Arc::new(LosesAnswers(directory(temp.path()), 0.into())), env(3).0);
    for count in 1..=20 {
        let catalog = store.commit(counting).unwrap();
        assert_eq!((catalog.number, catalog.contents.replication_factor), (u64::from(count), Some(count)));
    }
}

/// A change that would show if it was made twice.
fn counting(contents: &Contents) -> crate::Result<Option<Contents>> {
    let count = contents.replication_factor.unwrap_or(0) + 1;
    Ok(Some(Contents { replication_factor: Some(count), ..contents.clone() }))
}

#[test]
fn a_put_on_a_number_that_was_swept_has_not_won() {
    let temp = tempfile::tempdir().unwrap();
    let (slow, quick) = (store_in(temp.path()), CatalogStore::new(Arc::new(directory(temp.path())), env(6).0));
    slow.commit(counting).unwrap();
    let mut overtaken = false;
    let catalog = slow.commit(|contents| {
        if !std::mem::replace(&mut overtaken, true) {
            (0..3).for_each(|_| drop(quick.commit(counting).unwrap()));
            std::fs::remove_file(temp.path().join("catalog/00000000000000000002.json")).unwrap();
        }
        counting(contents)
    });
    assert_eq!(catalog.unwrap(), quick.load().unwrap().unwrap());
    let newest = quick.load().unwrap().unwrap();
    assert_eq!((newest.number, newest.contents.replication_factor), (5, Some(5)));
}

fn store_in(root: &std::path::Path) -> CatalogStore {
    CatalogStore::new(Arc::new(directory(root)), env(5).0)
}

#[test]
fn a_commit_without_a_change_writes_nothing() {
    let temp = tempfile::tempdir().unwrap();
    let store = store_in(temp.path());
    assert_eq!(store.load().unwrap(), None);
    assert_eq!(store.commit(|_| Ok(None)).unwrap(), Catalog::none());
    let first = store.commit(adding(1)).unwrap();
    assert_eq!((first.number, first.created_ms, first.contents.blocks.clone()), (1, 1_000_000, vec![block(1)]));
    assert_eq!(store.commit(adding(1)).unwrap(), first);
    assert_eq!(store.load().unwrap(), Some(first.clone()));
    let twice = store.commit(|c| Ok(Some(Contents { blocks: vec![block(1), block(1)], ..c.clone() })));
    assert!(twice.is_err());
    assert!(matches!(store.commit(|_| Err(Error::Cancelled)), Err(Error::Cancelled)));
    assert_eq!(store.load().unwrap(), Some(first));
}

#[test]
fn a_damaged_newest_catalog_is_an_error_and_not_skipped() {
    let temp = tempfile::tempdir().unwrap();
    let store = store_in(temp.path());
    store.commit(adding(1)).unwrap();
    store.commit(adding(2)).unwrap();
    let path = temp.path().join("catalog/00000000000000000002.json");
    let good = std::fs::read(&path).unwrap();
    for at in 0..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 1 << (at % 8);
        std::fs::write(&path, &bad).unwrap();
        let failed = |result: crate::Result<Option<Catalog>>| match result {
            Err(Error::Corrupt { what, .. }) => assert_eq!(what, "catalog/00000000000000000002.json"),
            other => panic!("byte {at}: {other:?}"),
        };
        failed(store.load());
        failed(store.commit(adding(3)).map(Some));
    }
    std::fs::write(&path, &good[..good.len() / 2]).unwrap();
    assert!(matches!(store.load(), Err(Error::Corrupt { .. })));
    std::fs::write(&path, &good).unwrap();
    assert_eq!(store.load().unwrap().unwrap().number, 2);
    std::fs::rename(&path, temp.path().join("catalog/00000000000000000007.json")).unwrap();
    assert!(matches!(store.load(), Err(Error::Corrupt { .. })), "a catalog under another number");
}

#[test]
fn a_catalog_with_what_this_version_ignores_is_refused() {
    let catalog = Catalog::none().next(1, 2, Contents::default()).unwrap();
    let text = String::from_utf8(catalog.encode().unwrap()).unwrap();
    let body = text.rsplit_once(",\"crc32c\"").unwrap().0.replace("\"tombstones\":[]", "\"tombstones\":[{}]");
    let sealed = format!("{body},\"crc32c\":\"{:08x}\"}}\n", crc32c::crc32c(body.as_bytes()));
    assert!(matches!(Catalog::decode("c", sealed.as_bytes()), Err(Error::UnknownVersion { .. })));
}

fn member(name: &str, disk_id: u128) -> Member {
    Member { node_name: name.into(), disk_id, zone: "z\"1".into() }
}

fn cluster(members: &[Member], joining: &[&str]) -> Contents {
    Contents {
        cluster_id: Some(7),
        replication_factor: Some(2),
        members: members.to_vec(),
        joining: joining.iter().map(|name| (*name).to_owned()).collect(),
        ..Contents::default()
    }
}

#[test]
fn members_come_back_in_order_and_their_list_has_the_number_of_its_last_change() {
    let temp = tempfile::tempdir().unwrap();
    let store = store_in(temp.path());
    let first = store.commit(adding(1)).unwrap();
    assert_eq!((first.member_list(), first.members_number), (None, 0));
    let two = [member("b", 2), member("a", 1)];
    let second = store.commit(|c| Ok(Some(Contents { blocks: c.blocks.clone(), ..cluster(&two, &["b"]) }))).unwrap();
    assert_eq!(store.load().unwrap().unwrap(), second);
    let list = second.member_list().unwrap();
    assert_eq!((list.catalog_number, list.cluster_id, list.replication_factor), (2, 7, 2));
    assert_eq!(list.members, [member("a", 1), member("b", 2)]);
    assert_eq!(list.query_timeout_max_ms, 120_000);
    assert_eq!(second.contents.joining.iter().collect::<Vec<_>>(), ["b"]);
    // Blocks, and who is joining, change nothing in what nodes are told.
    store.commit(adding(2)).unwrap();
    let fourth = store.commit(|c| Ok(Some(Contents { joining: BTreeSet::new(), ..c.clone() }))).unwrap();
    assert_eq!((fourth.number, fourth.member_list().unwrap()), (4, list));
    let fifth = store.commit(|c| Ok(Some(Contents { query_timeout_max_ms: Some(5), ..c.clone() }))).unwrap();
    assert_eq!(fifth.member_list().unwrap().catalog_number, 5);
    assert_eq!(store.load().unwrap().unwrap(), fifth);
}

#[test]
fn members_that_contradict_each_other_are_neither_written_nor_read() {
    let temp = tempfile::tempdir().unwrap();
    let store = store_in(temp.path());
    let good = cluster(&[member("a", 1), member("b", 2)], &[]);
    let wrong = [
        (cluster(&[member("a", 1), member("a", 2)], &[]), "distinct names"),
        (cluster(&[member("a", 1), member("b", 1)], &[]), "one disk"),
        (cluster(&[member("", 1)], &[]), "no name"),
        (Contents { cluster_id: None, ..good.clone() }, "without a cluster id"),
        (Contents { replication_factor: Some(0), ..good.clone() }, "replication factor"),
    ];
    for (contents, why) in wrong {
        let said = store.commit(|_| Ok(Some(contents.clone()))).unwrap_err().to_string();
        assert!(said.contains(why), "{said}");
        let unchecked = Catalog { number: 1, members_number: 1, contents, ..Catalog::none() };
        let said = Catalog::decode("c", &unchecked.encode().unwrap()).unwrap_err().to_string();
        assert!(said.contains(why), "{said}");
    }
    let stranger = store.commit(|_| Ok(Some(cluster(&[member("a", 1)], &["b"])))).unwrap_err().to_string();
    assert!(stranger.contains("no member"), "{stranger}");
    for members_number in [0, 2] {
        let lies = Catalog { number: 1, members_number, contents: good.clone(), ..Catalog::none() };
        assert!(matches!(Catalog::decode("c", &lies.encode().unwrap()), Err(Error::Corrupt { .. })));
    }
    assert_eq!(store.load().unwrap(), None);
}

#[test]
fn the_sweep_keeps_a_thousand_and_the_last_hour() {
    let world = World::new(1, 1, 0);
    let (env, clock) = env(9);
    let store = CatalogStore::new(Arc::new(world.writer(0)), env);
    // Catalogs of one minute each; the contents do not matter.
    for _ in 0..1100 {
        clock.set(crate::env::Clock::now_ms(&*clock) + 60_000);
        let flip = |c: &Contents| {
            Ok(Some(Contents { replication_factor: Some(c.replication_factor.unwrap_or(0) ^ 1), ..c.clone() }))
        };
        store.commit(flip).unwrap();
    }
    let newest = store.load().unwrap().unwrap();
    assert_eq!((newest.number, newest.ancestors.len()), (1100, 1000));
    assert_eq!(store.sweep().unwrap(), 100, "the newest thousand stay");
    assert_eq!(store.sweep().unwrap(), 0);
    let key = |number: u64| format!("catalog/{number:020}.json");
    assert!(!world.objects().contains_key(&key(100)) && world.objects().contains_key(&key(101)));
    // More than a thousand within the last hour: all that was the newest within it stays.
    for _ in 0..1050 {
        let flip = |c: &Contents| Ok(Some(Contents { cluster_id: Some(c.cluster_id.unwrap_or(0) ^ 1), ..c.clone() }));
        store.commit(flip).unwrap();
    }
    clock.set(crate::env::Clock::now_ms(&*clock) + 1_800_000);
    // Number n was made at minute n and superseded at n + 1; now it is minute 1130.
    assert_eq!(store.sweep().unwrap(), 968, "101 to 1068: those superseded more than an hour ago");
    assert_eq!(store.load().unwrap().unwrap().number, 2150);
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(Catalog::decode("c", &bytes).is_err());
    }
}
