//! Several compactors publish at the same time, over a bucket that loses answers, delays puts and lets writers stand still.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use super::*;
use crate::bucket::simulated::{Change, Objects, SimulatedBucket, World};
use crate::bucket::suite::{directory, env};
use crate::env::Env;
use crate::model::time::TimeRange;

/// Where a storage node's block is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Life {
    Held,
    Covered,
    Dropped,
}

/// The sealed blocks of all nodes, by name.
type Nodes = Arc<Mutex<BTreeMap<String, Life>>>;

fn new_block(ulid: u128, sources: &[String]) -> NewBlock {
    let objects = BlockMeta::FILES.map(|name| (name, Bytes::from(format!("{name} of {ulid}")))).to_vec();
    let entry = CatalogBlock {
        ulid: Ulid(ulid),
        range: TimeRange { start_ms: 0, end_ms: 1 },
        level: 1,
        series: 1,
        samples: 2,
        size_bytes: 3,
        sources: sources.to_vec(),
    };
    NewBlock { entry, objects }
}

/// One compactor with a bucket of its own into the world.
struct Compactor {
    bucket: Arc<SimulatedBucket>,
    catalogs: CatalogStore,
    env: Env,
    nodes: Nodes,
    leftovers: Vec<Leftover>,
    /// Sources whose node said that it has dropped them.
    forget: BTreeSet<String>,
    given_up: usize,
    errors: usize,
    /// Whether objects may have been left behind on purpose.
    lost_track: bool,
}

impl Compactor {
    fn new(world: &Arc<World>, writer: usize, seed: u64, nodes: &Nodes) -> Self {
        let bucket = Arc::new(world.writer(writer));
        let env = env(seed * 64 + writer as u64 + 1).0;
        Compactor {
            catalogs: CatalogStore::new(bucket.clone(), env.clone()),
            bucket,
            env,
            nodes: nodes.clone(),
            leftovers: Vec::new(),
            forget: BTreeSet::new(),
            given_up: 0,
            errors: 0,
            lost_track: false,
        }
    }

    fn draw(&self, below: u128) -> u128 {
        self.env.random.next_u128() % below
    }

    /// As a compactor does: list, fetch, publish, tell. Answers whether everything is covered.
    fn pass(&mut self) -> Result<bool> {
        let catalog = self.catalogs.load()?.unwrap_or_else(Catalog::none);
        self.leftovers.retain(|leftover| !leftover.settle_by(&*self.bucket, &catalog));
        self.tell(&catalog);
        self.bucket.turn();
        let covered = sources(&catalog);
        let listed: Vec<String> = {
            let nodes = self.nodes.lock().unwrap();
            let held = nodes.iter().filter(|(source, life)| **life == Life::Held && !covered.contains(*source));
            held.map(|(source, _)| source.clone()).collect()
        };
        if listed.is_empty() {
            return Ok(self.nodes.lock().unwrap().values().all(|life| *life == Life::Dropped));
        }
        // Some node may be down, and a plan may be of another moment than another compactor's.
        let group: Vec<String> = listed.iter().filter(|_| self.draw(4) > 0).cloned().collect();
        if group.is_empty() {
            return Ok(false);
        }
        self.bucket.turn();
        let block = new_block(self.env.random.next_u128(), &group);
        let nodes = self.nodes.clone();
        let bucket = self.bucket.clone();
        let publication = publish(&*self.bucket, &self.catalogs, &block, &self.forget, &mut |_| {
            bucket.turn();
            let nodes = nodes.lock().unwrap();
            Ok(group.iter().all(|source| nodes.get(source).is_some_and(|life| *life != Life::Dropped)))
        });
        self.leftovers.extend(publication.leftover);
        match publication.outcome {
            Ok(Published::Named(catalog)) => {
                assert!(catalog.contents.blocks.iter().any(|b| b.ulid == block.entry.ulid));
                self.tell(&catalog);
            }
            Ok(Published::GivenUp(_)) => self.given_up += 1,
            Err(error) => {
                self.lost_track = true;
                return Err(error);
            }
        }
        Ok(false)
    }

    /// Tells the nodes what is covered; hears what they have dropped.
    fn tell(&mut self, catalog: &Catalog) {
        self.bucket.turn();
        let mut nodes = self.nodes.lock().unwrap();
        for source in sources(catalog) {
            let life = nodes.get_mut(&source).unwrap();
            match *life {
                Life::Held => *life = Life::Covered,
                Life::Covered if self.draw(2) == 0 => *life = Life::Dropped,
                Life::Covered => {}
                Life::Dropped => drop(self.forget.insert(source)),
            }
        }
    }

    fn run(mut self) -> (usize, usize, bool) {
        // What nodes seal while the compactors are at work.
        for wave in 0..3 {
            let name = format!("late-{}-{wave}", self.env.random.next_u128());
            self.nodes.lock().unwrap().insert(name, Life::Held);
            for _ in 0..6 {
                self.errors += usize::from(self.pass().is_err());
            }
        }
        while !matches!(self.pass(), Ok(true)) {
            self.errors += 1;
        }
        (self.given_up, self.errors, self.lost_track || !self.leftovers.is_empty())
    }
}

fn sources(catalog: &Catalog) -> BTreeSet<String> {
    catalog.contents.blocks.iter().flat_map(|block| block.sources.iter().cloned()).collect()
}

/// Checks at every change that what a catalog has named is there.
fn watch(world: &World) {
    let mut named: BTreeSet<String> = BTreeSet::new();
    world.watch(Box::new(move |objects: &Objects, change| match change {
        Change::Stored(key) if key.starts_with("catalog/") => {
            let catalog = Catalog::decode(key, &objects[key]).unwrap();
            for block in &catalog.contents.blocks {
                named.extend(BlockMeta::FILES.map(|name| object_key(block.ulid, name)));
            }
            for key in &named {
                assert!(objects.contains_key(key), "{key} is named and absent");
            }
        }
        Change::Stored(_) => {}
        Change::Removed(key) => assert!(!named.contains(key), "{key} is named and was removed"),
    }));
}

/// Checks that the catalogs are one history in which every source came into one block.
fn check_history(objects: &Objects, all_sources: &BTreeSet<String>) -> Catalog {
    let mut commits = Vec::new();
    let mut newest = Catalog::none();
    let mut block_of: BTreeMap<String, Ulid> = BTreeMap::new();
    for (key, bytes) in objects.range("catalog/".to_owned().."catalog0".to_owned()) {
        let catalog = Catalog::decode(key, bytes).unwrap();
        assert_eq!(catalog.number, newest.number + 1, "numbers without a gap");
        assert_eq!(catalog.ancestors, commits, "each was made from the one before");
        commits.insert(0, catalog.commit);
        for block in &catalog.contents.blocks {
            for source in &block.sources {
                let first = *block_of.entry(source.clone()).or_insert(block.ulid);
                assert_eq!(first, block.ulid, "{source} is in two blocks");
            }
        }
        let blocks = |c: &Catalog| c.contents.blocks.iter().map(|b| b.ulid).collect::<BTreeSet<_>>();
        assert!(blocks(&newest).is_subset(&blocks(&catalog)) && blocks(&catalog).len() <= blocks(&newest).len() + 1);
        newest = catalog;
    }
    assert_eq!(block_of.into_keys().collect::<BTreeSet<_>>(), *all_sources, "every source came into the bucket");
    newest
}

/// What a race came to: commits given up, failed passes, and objects in the bucket that no catalog names.
fn race(seed: u64, compactors: usize, faults: u128, pauses: u128) -> (usize, usize, usize) {
    let world = World::new(seed, compactors, faults);
    world.pause_often(pauses);
    watch(&world);
    let held = (0..6).map(|n| (format!("source-{n}"), Life::Held)).collect();
    let nodes: Nodes = Arc::new(Mutex::new(held));
    let outcomes: Vec<_> = std::thread::scope(|scope| {
        let all: Vec<_> = (0..compactors).map(|writer| Compactor::new(&world, writer, seed, &nodes)).collect();
        let threads: Vec<_> = all.into_iter().map(|compactor| scope.spawn(move || compactor.run())).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let objects = world.objects();
    let all_sources = nodes.lock().unwrap().keys().cloned().collect();
    let newest = check_history(&objects, &all_sources);
    let named = newest.contents.blocks.len() * BlockMeta::FILES.len();
    let orphans = objects.keys().filter(|key| key.starts_with("blocks/")).count() - named;
    let lost_track = outcomes.iter().any(|(_, _, lost_track)| *lost_track);
    assert!(orphans == 0 || lost_track || faults > 0, "{orphans} objects of nobody");
    let given_up = outcomes.iter().map(|(given_up, ..)| given_up).sum();
    (given_up, outcomes.iter().map(|(_, errors, _)| errors).sum(), orphans)
}

#[test]
fn racing_compactors_bring_every_source_once_and_name_nothing_that_is_absent() {
    let (mut given_up, mut errors) = (0, 0);
    for seed in 0..1000 {
        let faults = [0, 3, 15][seed as usize % 3];
        let pauses = [0, 30][seed as usize % 2];
        let outcome = race(seed, 2 + seed as usize % 2, faults, pauses);
        given_up += outcome.0;
        errors += outcome.1;
        if faults == 0 {
            assert_eq!(outcome.2, 0, "without faults everything that was not needed is removed");
        }
    }
    assert!(given_up > 1000 && errors > 1000, "races and faults were felt: {given_up} given up, {errors} errors");
}

#[test]
fn a_late_put_keeps_the_objects_that_it_names() {
    /// Takes the first put of a catalog for later, and answers it and what follows with errors until it is healed.
    #[derive(Debug)]
    struct Late {
        inner: crate::bucket::DirectoryBucket,
        kept: Mutex<Option<(String, Bytes)>>,
        broken: std::sync::atomic::AtomicBool,
    }
    impl Bucket for Late {
        fn put_if_absent(&self, key: &str, bytes: Bytes) -> Result<bool> {
            if key.starts_with("catalog/") && self.broken.load(std::sync::atomic::Ordering::SeqCst) {
                self.kept.lock().unwrap().get_or_insert((key.to_owned(), bytes));
                return Err(Error::Overloaded("lost".into()));
            }
            self.inner.put_if_absent(key, bytes)
        }
        fn get(&self, key: &str) -> Result<Option<Bytes>> {
            self.inner.get(key)
        }
        fn get_range(&self, key: &str, range: std::ops::Range<u64>) -> Result<Option<Bytes>> {
            self.inner.get_range(key, range)
        }
        fn list(&self, prefix: &str) -> Result<Vec<crate::bucket::ObjectMeta>> {
            self.inner.list(prefix)
        }
        fn delete(&self, key: &str) -> Result<()> {
            self.inner.delete(key)
        }
    }
    for arrives in [true, false] {
        let temp = tempfile::tempdir().unwrap();
        let inner = directory(temp.path());
        let late = Arc::new(Late { inner: inner.clone(), kept: Mutex::default(), broken: true.into() });
        let catalogs = CatalogStore::new(late.clone(), env(3).0);
        let block = new_block(1, &["s".to_owned()]);
        let none = BTreeSet::new();
        let publication = publish(&*late, &catalogs, &block, &none, &mut |_| Ok(true));
        assert!(publication.outcome.is_err());
        let leftover = publication.leftover.expect("nobody knows yet");
        assert!(!leftover.settle_by(&*late, &Catalog::none()));
        assert_eq!(inner.list("blocks/").unwrap().len(), 3);
        if arrives {
            let (key, bytes) = late.kept.lock().unwrap().take().unwrap();
            assert!(inner.put_if_absent(&key, bytes).unwrap());
        }
        late.broken.store(false, std::sync::atomic::Ordering::SeqCst);
        let other = publish(&*late, &catalogs, &new_block(2, &["t".to_owned()]), &none, &mut |_| Ok(true));
        let Ok(Published::Named(newest)) = other.outcome else { panic!("{other:?}") };
        assert!(leftover.settle_by(&*late, &newest));
        let blocks = if arrives { 2 } else { 1 };
        assert_eq!((newest.contents.blocks.len(), inner.list("blocks/").unwrap().len()), (blocks, 3 * blocks));
    }
}

#[test]
fn damaged_uploads_are_not_named() {
    /// Stores other bytes than it is given.
    #[derive(Debug)]
    struct Damages(crate::bucket::DirectoryBucket);
    impl Bucket for Damages {
        fn put_if_absent(&self, key: &str, bytes: Bytes) -> Result<bool> {
            let stored = if key.ends_with("chunks") { bytes.slice(1..) } else { bytes };
            self.0.put_if_absent(key, stored)
        }
        fn get(&self, key: &str) -> Result<Option<Bytes>> {
            self.0.get(key)
        }
        fn get_range(&self, key: &str, range: std::ops::Range<u64>) -> Result<Option<Bytes>> {
            self.0.get_range(key, range)
        }
        fn list(&self, prefix: &str) -> Result<Vec<crate::bucket::ObjectMeta>> {
            self.0.list(prefix)
        }
        fn delete(&self, key: &str) -> Result<()> {
            self.0.delete(key)
        }
    }
    let temp = tempfile::tempdir().unwrap();
    let bucket = Arc::new(Damages(directory(temp.path())));
    let catalogs = CatalogStore::new(bucket.clone(), env(4).0);
    let publication = publish(&*bucket, &catalogs, &new_block(1, &[]), &BTreeSet::new(), &mut |_| Ok(true));
    assert!(matches!(publication.outcome, Err(Error::Corrupt { .. })) && publication.leftover.is_none());
    assert!(bucket.list("blocks/").unwrap().is_empty() && catalogs.load().unwrap().is_none());
}

#[test]
fn sources_are_taken_out_only_with_another_commit_and_only_those_asked_for() {
    let temp = tempfile::tempdir().unwrap();
    let bucket = Arc::new(directory(temp.path()));
    let catalogs = CatalogStore::new(bucket.clone(), env(5).0);
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    let publish_one = |ulid, sources: &[&str], forget: &[&str]| {
        let forget = names(forget).into_iter().collect();
        publish(&*bucket, &catalogs, &new_block(ulid, &names(sources)), &forget, &mut |_| Ok(true)).outcome.unwrap()
    };
    assert!(matches!(publish_one(1, &["a", "b"], &[]), Published::Named(_)));
    assert!(matches!(publish_one(2, &["b", "c"], &["a"]), Published::GivenUp(_)));
    assert_eq!(bucket.list("blocks/").unwrap().len(), 3, "the objects of what was given up are gone");
    let Published::Named(catalog) = publish_one(3, &["c"], &["a"]) else { panic!() };
    let sources: Vec<_> = catalog.contents.blocks.iter().map(|block| block.sources.clone()).collect();
    assert_eq!(sources, [names(&["b"]), names(&["c"])]);
}
