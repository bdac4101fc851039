//! Every bucket that a URL may name: a directory, and an object store in memory and behind a real S3 server's protocol.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::extract::Request;
use bytes::Bytes;
use marigram_storage::bucket::Bucket;
use marigram_storage::disk::RealDisk;
use marigram_storage::env::{Env, OsRandom, SystemClock};
use marigram_storage::{Error, ErrorKind};
use object_store::memory::InMemory;
use s3s::auth::SimpleAuth;
use s3s::service::S3ServiceBuilder;
use s3s_fs::FileSystem;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tower::ServiceExt;

use super::object::ObjectStoreBucket;
use super::promises::{keeps_its_promises, large_objects_come_back_whole, of_many_writers_of_a_name_one_wins};
use super::{open, s3};

fn env() -> Env {
    Env { clock: Arc::new(SystemClock::default()), random: Arc::new(OsRandom), disk: Arc::new(RealDisk) }
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

/// An S3 server on the loopback interface that keeps its objects in a directory.
struct S3Server {
    address: SocketAddr,
    _root: tempfile::TempDir,
}

impl S3Server {
    fn start(runtime: &Runtime) -> S3Server {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir(root.path().join("metrics")).unwrap();
        let mut builder = S3ServiceBuilder::new(FileSystem::new(root.path()).unwrap());
        builder.set_auth(SimpleAuth::from_single("key", "secret"));
        let service = builder.build();
        let listener = runtime.block_on(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))).unwrap();
        let address = listener.local_addr().unwrap();
        let answer = async move |request: Request| service.oneshot(request).await.unwrap().map(axum::body::Body::new);
        let router = axum::Router::new().fallback(answer);
        runtime.spawn(async move { axum::serve(listener, router).await.unwrap() });
        S3Server { address, _root: root }
    }

    fn open(&self, bucket_and_prefix: &str, runtime: &Runtime) -> Arc<dyn Bucket> {
        open_s3(self.address, bucket_and_prefix, runtime)
    }
}

fn open_s3(address: SocketAddr, bucket_and_prefix: &str, runtime: &Runtime) -> Arc<dyn Bucket> {
    let variables = [
        ("AWS_ENDPOINT_URL", format!("http://{address}")),
        ("AWS_ACCESS_KEY_ID", "key".to_owned()),
        ("AWS_SECRET_ACCESS_KEY", "secret".to_owned()),
        ("AWS_REGION", String::new()),
    ];
    let variables = variables.into_iter().map(|(name, value)| (name.to_owned(), value));
    s3::open(bucket_and_prefix, variables, runtime.handle()).unwrap()
}

#[test]
fn a_directory_keeps_its_promises() {
    let (temp, runtime) = (tempfile::tempdir().unwrap(), runtime());
    let url = format!("file://{}/bucket", temp.path().display());
    keeps_its_promises(&*open(&url, &env(), runtime.handle()).unwrap());
}

#[test]
fn an_object_store_keeps_its_promises() {
    let runtime = runtime();
    let store = Arc::new(InMemory::new());
    for prefix in ["", "a", "deep/prefix/"] {
        keeps_its_promises(&ObjectStoreBucket::new(store.clone(), prefix, runtime.handle()).unwrap());
    }
    assert!(ObjectStoreBucket::new(store, "a//b", runtime.handle()).is_err());
}

#[test]
fn an_s3_server_keeps_its_promises() {
    let runtime = runtime();
    let server = S3Server::start(&runtime);
    keeps_its_promises(&*server.open("metrics", &runtime));
    keeps_its_promises(&*server.open("metrics/some/prefix", &runtime));
}

#[test]
fn large_objects_go_in_parts() {
    let runtime = runtime();
    large_objects_come_back_whole(&ObjectStoreBucket::new(Arc::new(InMemory::new()), "", runtime.handle()).unwrap());
    large_objects_come_back_whole(&*S3Server::start(&runtime).open("metrics", &runtime));
}

#[test]
fn in_an_object_store_one_writer_of_a_name_wins() {
    let runtime = runtime();
    let bucket = ObjectStoreBucket::new(Arc::new(InMemory::new()), "p", runtime.handle()).unwrap();
    of_many_writers_of_a_name_one_wins(&bucket);
}

#[test]
fn keys_stay_below_the_prefix() {
    let runtime = runtime();
    let bucket = ObjectStoreBucket::new(Arc::new(InMemory::new()), "p", runtime.handle()).unwrap();
    for key in ["../x", "/etc/passwd", "a/../../x", "", ".put-1", "a//b", "a/"] {
        assert!(matches!(bucket.put_if_absent(key, Bytes::new()), Err(Error::BadInput(_))), "{key}");
        assert!(bucket.get(key).is_err() && bucket.delete(key).is_err(), "{key}");
    }
}

#[test]
fn an_s3_server_that_hangs_costs_a_query_its_own_time_only() {
    let runtime = runtime();
    // Takes connections and never answers.
    let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let bucket = open_s3(listener.local_addr().unwrap(), "metrics", &runtime);
    let outcome = bucket.get_ranges("a/x", &[0..1, 5..6], Some(Duration::from_millis(50)));
    assert!(matches!(outcome, Err(Error::Timeout)), "{outcome:?}");
}

#[test]
fn an_s3_server_that_is_down_is_an_error_that_says_so() {
    let runtime = runtime();
    let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let bucket = open_s3(address, "metrics", &runtime);
    for error in [
        bucket.get("catalog/x").unwrap_err(),
        bucket.list("catalog/").unwrap_err(),
        bucket.put_if_absent("catalog/x", Bytes::new()).unwrap_err(),
    ] {
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        let text = error.to_string();
        assert!(text.contains("catalog/") && text.contains(&address.to_string()), "{text}");
    }
}

#[test]
fn wrong_keys_and_missing_buckets_are_errors() {
    let runtime = runtime();
    let server = S3Server::start(&runtime);
    let missing = server.open("no-such-bucket", &runtime);
    assert_eq!(missing.list("catalog/").unwrap_err().kind(), ErrorKind::Unavailable);
    let variables = [
        ("AWS_ENDPOINT_URL_S3", format!("http://{}", server.address)),
        ("AWS_ACCESS_KEY_ID", "key".to_owned()),
        ("AWS_SECRET_ACCESS_KEY", "wrong".to_owned()),
    ];
    let variables = variables.into_iter().map(|(name, value)| (name.to_owned(), value));
    let stranger = s3::open("metrics", variables, runtime.handle()).unwrap();
    assert_eq!(stranger.get("catalog/x").unwrap_err().kind(), ErrorKind::Unavailable);
}

#[test]
fn without_an_endpoint_the_bucket_is_amazons() {
    let runtime = runtime();
    let bucket = s3::open("metrics/", std::iter::empty(), runtime.handle()).unwrap();
    assert_eq!(format!("{bucket:?}"), "AmazonS3(metrics)/");
    let variables = [("AWS_CONNECT_TIMEOUT", "soon"), ("AWS_TIMEOUT", "")];
    let variables = variables.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned()));
    let refused = s3::open("metrics", variables, runtime.handle()).unwrap_err();
    assert!(refused.contains("\"soon\""), "{refused}");
}

#[test]
fn what_is_no_bucket_is_refused_by_the_name_of_the_flag() {
    let runtime = runtime();
    for url in
        ["", "bucket", "/dir", "http://host/bucket", "file://dir", "file:/dir", "s3://", "s3:///prefix", "s3://b/a//b"]
    {
        let refused = open(url, &env(), runtime.handle()).unwrap_err();
        assert!(refused.starts_with(&format!("--bucket {url}: ")), "{refused}");
    }
}
