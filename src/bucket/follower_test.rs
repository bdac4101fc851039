//! A follower over a bucket that fails when it is told to, on a clock that is driven.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use bytes::Bytes;
use marigram_storage::bucket::catalog::{CatalogStore, Contents};
use marigram_storage::bucket::{Bucket, DirectoryBucket, ObjectMeta};
use marigram_storage::disk::RealDisk;
use marigram_storage::env::{Clock, Env, ManualClock, OsRandom};
use marigram_storage::{Error, Result};
use parking_lot::Mutex;

use super::Follower;

/// What a test does between two calls of a follower.
type Interruption = Box<dyn FnOnce() + Send>;

/// A directory that counts calls, and fails when it is told to.
struct Faulty {
    inner: DirectoryBucket,
    broken: AtomicBool,
    gets: AtomicUsize,
    lists: AtomicUsize,
    /// Done before the next call.
    before_next: Mutex<Option<Interruption>>,
}

impl std::fmt::Debug for Faulty {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Faulty")
    }
}

impl Faulty {
    fn call(&self) -> Result<()> {
        let interruption = self.before_next.lock().take();
        if let Some(interruption) = interruption {
            interruption();
        }
        match self.broken.load(Ordering::SeqCst) {
            true => Err(Error::Unavailable("the test's bucket is down".into())),
            false => Ok(()),
        }
    }
}

impl Bucket for Faulty {
    fn put_if_absent(&self, key: &str, bytes: Bytes) -> Result<bool> {
        self.inner.put_if_absent(key, bytes)
    }

    fn get(&self, key: &str) -> Result<Option<Bytes>> {
        self.call()?;
        self.gets.fetch_add(1, Ordering::SeqCst);
        self.inner.get(key)
    }

    fn get_range(&self, key: &str, range: Range<u64>) -> Result<Option<Bytes>> {
        self.call()?;
        self.gets.fetch_add(1, Ordering::SeqCst);
        self.inner.get_range(key, range)
    }

    fn list(&self, prefix: &str) -> Result<Vec<ObjectMeta>> {
        self.call()?;
        self.lists.fetch_add(1, Ordering::SeqCst);
        self.inner.list(prefix)
    }

    fn delete(&self, key: &str) -> Result<()> {
        self.inner.delete(key)
    }
}

struct Fixture {
    bucket: Arc<Faulty>,
    /// Writes past the faults.
    writer: CatalogStore,
    clock: Arc<ManualClock>,
    follower: Arc<Follower>,
    _temp: tempfile::TempDir,
}

impl Fixture {
    fn new() -> Self {
        let temp = tempfile::tempdir().unwrap();
        let clock = Arc::new(ManualClock::new(1_000_000));
        let env = Env { clock: clock.clone(), random: Arc::new(OsRandom), disk: Arc::new(RealDisk) };
        let inner = DirectoryBucket::open(&env, temp.path()).unwrap();
        let writer = CatalogStore::new(Arc::new(inner.clone()), env.clone());
        let bucket = Arc::new(Faulty {
            inner,
            broken: AtomicBool::new(false),
            gets: AtomicUsize::new(0),
            lists: AtomicUsize::new(0),
            before_next: Mutex::default(),
        });
        let follower = Arc::new(Follower::new(bucket.clone(), &env));
        Fixture { bucket, writer, clock, follower, _temp: temp }
    }

    fn commit(&self, times: usize) {
        for _ in 0..times {
            let flip = |contents: &Contents| {
                let factor = contents.replication_factor.unwrap_or(0) ^ 1;
                Ok(Some(Contents { replication_factor: Some(factor), ..contents.clone() }))
            };
            self.writer.commit(flip).unwrap();
        }
    }

    fn pass(&self, seconds: i64) {
        self.clock.set(self.clock.now_ms() + seconds * 1000);
    }

    fn refreshed(&self) -> u64 {
        self.follower.refresh().unwrap().number
    }

    fn current(&self) -> Result<u64, String> {
        self.follower.current().map(|catalog| catalog.number)
    }

    fn lists(&self) -> usize {
        self.bucket.lists.load(Ordering::SeqCst)
    }

    /// Removes all catalogs before this one, as a sweep would long after.
    fn sweep_before(&self, number: u64) {
        for object in self.bucket.inner.list("catalog/").unwrap() {
            if object.key < format!("catalog/{number:020}.json") {
                self.bucket.delete(&object.key).unwrap();
            }
        }
    }
}

#[test]
fn it_lists_once_and_then_follows() {
    let fixture = Fixture::new();
    assert_eq!(fixture.current().unwrap_err(), "the bucket has not been asked for its catalog yet");
    let none = fixture.follower.refresh().unwrap_err();
    assert!(none.contains("no catalog yet"), "{none}");
    fixture.commit(3);
    assert_eq!(fixture.current().unwrap_err(), none);
    assert_eq!(fixture.refreshed(), 3);
    let lists = fixture.lists();
    for number in 4..20 {
        fixture.pass(5);
        assert_eq!(fixture.refreshed(), number - 1);
        let gets = fixture.bucket.gets.load(Ordering::SeqCst);
        fixture.commit(1);
        assert_eq!(fixture.refreshed(), number);
        assert_eq!(
            fixture.bucket.gets.load(Ordering::SeqCst),
            gets + 3,
            "the next, the one after it, and itself again"
        );
    }
    fixture.commit(40);
    assert_eq!(fixture.refreshed(), 59, "over many numbers at once");
    assert_eq!(fixture.lists(), lists);
}

#[test]
fn a_bucket_that_is_down_is_a_failure_after_thirty_seconds() {
    let fixture = Fixture::new();
    fixture.commit(1);
    assert_eq!(fixture.refreshed(), 1);
    fixture.bucket.broken.store(true, Ordering::SeqCst);
    fixture.commit(1);
    fixture.pass(30);
    assert_eq!(fixture.refreshed(), 1, "still confirmed");
    fixture.pass(1);
    let failure = fixture.follower.refresh().unwrap_err();
    assert!(failure.contains("for 31 s: the test's bucket is down"), "{failure}");
    fixture.bucket.broken.store(false, Ordering::SeqCst);
    let lists = fixture.lists();
    assert_eq!(fixture.refreshed(), 2);
    assert_eq!(fixture.lists(), lists + 1, "it lists again");
}

#[test]
fn numbers_that_were_swept_are_found_out() {
    let fixture = Fixture::new();
    fixture.commit(2);
    assert_eq!(fixture.refreshed(), 2);
    fixture.commit(3);
    // Both the catalog that it knows and the next one are gone: an absent number does not confirm.
    fixture.sweep_before(5);
    assert_eq!(fixture.refreshed(), 5);
}

#[test]
fn a_process_that_stood_still_does_not_confirm_an_old_state() {
    let fixture = Fixture::new();
    fixture.commit(2);
    assert_eq!(fixture.refreshed(), 2);
    // An hour passes after the look began; a writer that slept as long puts the number that was swept.
    let old = fixture.bucket.inner.get("catalog/00000000000000000002.json").unwrap().unwrap();
    fixture.commit(1);
    let next = fixture.bucket.inner.get("catalog/00000000000000000003.json").unwrap().unwrap();
    fixture.commit(5);
    fixture.sweep_before(8);
    let (bucket, clock) = (fixture.bucket.clone(), fixture.clock.clone());
    *fixture.bucket.before_next.lock() = Some(Box::new(move || {
        clock.set(clock.now_ms() + 3_600_000);
        assert!(bucket.put_if_absent("catalog/00000000000000000002.json", old).unwrap());
        assert!(bucket.put_if_absent("catalog/00000000000000000003.json", next).unwrap());
    }));
    let stale = fixture.follower.refresh().unwrap_err();
    assert!(stale.contains("could not be confirmed for 3600 s"), "{stale}");
    assert_eq!(fixture.refreshed(), 8);
}

#[test]
fn a_bucket_that_lost_its_history_is_not_believed() {
    let fixture = Fixture::new();
    fixture.commit(5);
    assert_eq!(fixture.refreshed(), 5);
    fixture.sweep_before(6);
    fixture.pass(31);
    let failure = fixture.follower.refresh().unwrap_err();
    assert!(failure.contains("lost all its catalogs"), "{failure}");
    fixture.commit(2);
    let failure = fixture.follower.refresh().unwrap_err();
    assert!(failure.contains("number 2, but number 5 was seen before"), "{failure}");
}

#[test]
fn a_damaged_catalog_is_an_error_until_another_follows() {
    let fixture = Fixture::new();
    fixture.commit(1);
    assert_eq!(fixture.refreshed(), 1);
    assert!(fixture.bucket.put_if_absent("catalog/00000000000000000002.json", Bytes::from_static(b"{}")).unwrap());
    assert_eq!(fixture.refreshed(), 1, "for 30 s the last good one is used");
    fixture.pass(31);
    let failure = fixture.follower.refresh().unwrap_err();
    assert!(failure.contains("00000000000000000002.json is corrupt"), "{failure}");
}
