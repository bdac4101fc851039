//! A real S3 server as the bucket: it keeps a bucket's promises, and its death or silence is an error in good time.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use marigram::bucket::s3;
use marigram_storage::bucket::Bucket;
use marigram_storage::{Error, ErrorKind};
use tokio::runtime::Runtime;

use support::minio::Minio;
use support::needs;
use support::process::Folder;

#[path = "../storage/src/bucket/promises.rs"]
mod promises;

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

fn open(minio: &Minio, bucket_and_prefix: &str, runtime: &Runtime) -> Arc<dyn Bucket> {
    s3::open(bucket_and_prefix, minio.variables().into_iter(), runtime.handle()).unwrap()
}

#[test]
fn minio_keeps_a_buckets_promises() {
    let Some(binary) = needs::MINIO.path_or_skip("minio_keeps_a_buckets_promises") else { return };
    let (folder, runtime) = (Folder::new("bucket-promises"), runtime());
    let minio = Minio::start(&binary, folder.path());
    for prefix in ["", "/some/prefix"] {
        promises::keeps_its_promises(&*open(&minio, &format!("metrics{prefix}"), &runtime));
    }
    let bucket = open(&minio, "metrics/more", &runtime);
    promises::large_objects_come_back_whole(&*bucket);
    promises::of_many_writers_of_a_name_one_wins(&*bucket);
    let missing = open(&minio, "no-such-bucket", &runtime);
    assert_eq!(missing.list("catalog/").unwrap_err().kind(), ErrorKind::Unavailable);
    assert_eq!(missing.put_if_absent("catalog/x", Bytes::new()).unwrap_err().kind(), ErrorKind::Unavailable);
}

#[test]
fn a_dead_minio_is_an_error_and_a_silent_one_costs_a_query_its_own_time() {
    let test = "a_dead_minio_is_an_error_and_a_silent_one_costs_a_query_its_own_time";
    let Some(binary) = needs::MINIO.path_or_skip(test) else { return };
    let (folder, runtime) = (Folder::new("bucket-dies"), runtime());
    let mut minio = Minio::start(&binary, folder.path());
    let bucket = open(&minio, "metrics", &runtime);
    assert!(bucket.put_if_absent("catalog/1", Bytes::from_static(b"one")).unwrap());
    minio.pause();
    let outcome = bucket.get_ranges("catalog/1", &[0..1, 1..3], Some(Duration::from_millis(100)));
    assert!(matches!(outcome, Err(Error::Timeout)), "{outcome:?}");
    minio.resume();
    assert_eq!(bucket.get("catalog/1").unwrap().unwrap(), "one");
    minio.kill();
    assert_eq!(bucket.get("catalog/1").unwrap_err().kind(), ErrorKind::Unavailable);
    minio.start_again();
    assert_eq!(bucket.get("catalog/1").unwrap().unwrap(), "one");
    assert!(!bucket.put_if_absent("catalog/1", Bytes::from_static(b"two")).unwrap());
}
