//! One suite for every bucket.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;

use super::promises::{keeps_its_promises, large_objects_come_back_whole, of_many_writers_of_a_name_one_wins};
use super::simulated::World;
use super::{Bucket, DirectoryBucket};
use crate::disk::RealDisk;
use crate::env::{Env, ManualClock, SeededRandom};

pub(crate) fn env(seed: u64) -> (Env, Arc<ManualClock>) {
    let clock = Arc::new(ManualClock::new(1_000_000));
    let env = Env { clock: clock.clone(), random: Arc::new(SeededRandom::new(seed << 32)), disk: Arc::new(RealDisk) };
    (env, clock)
}

pub(crate) fn directory(root: &Path) -> DirectoryBucket {
    DirectoryBucket::open(&env(1).0, root).unwrap()
}

#[test]
fn a_directory_keeps_its_promises() {
    let temp = tempfile::tempdir().unwrap();
    let bucket = directory(&temp.path().join("new/bucket"));
    keeps_its_promises(&bucket);
    let left: Vec<_> = RealDisk.list_names(&temp.path().join("new/bucket"));
    assert_eq!(left, ["a", "ab", "b", "r"], "no temporary file stays");
    std::fs::write(temp.path().join("new/bucket/.put-00"), b"x").unwrap();
    bucket.remove_leftovers().unwrap();
    assert_eq!(RealDisk.list_names(&temp.path().join("new/bucket")), ["a", "ab", "b", "r"]);
}

#[test]
fn the_simulated_bucket_keeps_its_promises() {
    keeps_its_promises(&World::new(1, 1, 0).writer(0));
}

#[test]
fn in_a_directory_one_writer_of_a_name_wins() {
    let temp = tempfile::tempdir().unwrap();
    of_many_writers_of_a_name_one_wins(&directory(temp.path()));
    large_objects_come_back_whole(&directory(temp.path()));
}

#[test]
fn keys_stay_within_the_bucket() {
    let temp = tempfile::tempdir().unwrap();
    let bucket = directory(temp.path());
    for key in ["../x", "/etc/passwd", "a/../../x", "", ".put-1", "a//b"] {
        assert!(bucket.put_if_absent(key, Bytes::new()).is_err(), "{key}");
        assert!(bucket.get(key).is_err() && bucket.delete(key).is_err(), "{key}");
    }
}

trait ListNames {
    fn list_names(&self, dir: &Path) -> Vec<String>;
}

impl ListNames for RealDisk {
    fn list_names(&self, dir: &Path) -> Vec<String> {
        crate::disk::Disk::list(self, dir).unwrap().into_iter().map(|entry| entry.name).collect()
    }
}
