//! A bucket over an object store of the `object_store` crate, whose calls are async: each is run on the runtime while the
//! calling thread waits.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};
use marigram_storage::bucket::{Bucket, ObjectMeta};
use marigram_storage::{Error, Result};
use object_store::path::Path;
use object_store::{GetOptions, ObjectStore, ObjectStoreExt, PutMode, PutOptions};
use tokio::runtime::Handle;

/// Larger objects are put in parts of this size, so that each request ends within its timeout.
const PART_BYTES: usize = 16 << 20;
/// Parts of one object under way.
const PARTS_AT_ONCE: usize = 4;
/// Ranges of one object under way.
const RANGES_AT_ONCE: usize = 8;

/// A bucket over an object store.
pub struct ObjectStoreBucket {
    store: Arc<dyn ObjectStore>,
    /// Begins every key; empty, or ends with `/`.
    prefix: String,
    runtime: Handle,
}

impl fmt::Debug for ObjectStoreBucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.store, self.prefix)
    }
}

impl ObjectStoreBucket {
    /// The objects of `store` below `prefix`.
    ///
    /// # Errors
    /// A prefix that is none.
    pub fn new(store: Arc<dyn ObjectStore>, prefix: &str, runtime: &Handle) -> Result<Self, String> {
        let prefix = match prefix.trim_end_matches('/') {
            "" => String::new(),
            prefix => format!("{prefix}/"),
        };
        let bucket = ObjectStoreBucket { store, prefix, runtime: runtime.clone() };
        bucket.path("x").map_err(|_| "the prefix is malformed".to_owned())?;
        Ok(bucket)
    }

    fn path(&self, key: &str) -> Result<Path> {
        let refused = || Error::BadInput(format!("{key:?} is not a key"));
        let whole = format!("{}{key}", self.prefix);
        let path = Path::parse(&whole).map_err(|_| refused())?;
        // What `Path` would have changed (a slash at an end) is refused too.
        if key.is_empty() || key.starts_with('.') || path.as_ref() != whole {
            return Err(refused());
        }
        Ok(path)
    }

    async fn get_one(&self, path: &Path, range: Range<u64>) -> object_store::Result<Bytes> {
        let options = GetOptions::new().with_range(Some(range.clone()));
        let outcome = match self.store.get_opts(path, options).await {
            Ok(found) => found.bytes().await,
            Err(error) => Err(error),
        };
        match outcome {
            // Stores say in various words that the object ends before the range begins; its length decides.
            Err(object_store::Error::Generic { store, source }) if speaks_of_ranges(&*source) => {
                match self.store.head(path).await?.size <= range.start {
                    true => Ok(Bytes::new()),
                    false => Err(object_store::Error::Generic { store, source }),
                }
            }
            outcome => outcome,
        }
    }

    async fn get_many(&self, path: &Path, ranges: &[Range<u64>]) -> object_store::Result<Vec<Bytes>> {
        let gets = ranges.iter().map(|range| self.get_one(path, range.clone()));
        stream::iter(gets).buffered(RANGES_AT_ONCE).try_collect().await
    }

    async fn put_parts(&self, path: &Path, bytes: &Bytes) -> object_store::Result<()> {
        let mut upload = self.store.put_multipart(path).await?;
        let parts = (0..bytes.len()).step_by(PART_BYTES).map(|start| {
            let end = bytes.len().min(start + PART_BYTES);
            upload.put_part(bytes.slice(start..end).into())
        });
        let sent: object_store::Result<()> = stream::iter(parts).buffer_unordered(PARTS_AT_ONCE).try_collect().await;
        let done = match sent {
            Ok(()) => upload.complete().await.map(drop),
            Err(error) => Err(error),
        };
        if done.is_err()
            && let Err(error) = upload.abort().await
        {
            tracing::warn!(%path, %error, "the parts of an interrupted upload stay behind");
        }
        done
    }

    async fn list_all(&self, prefix: &Path) -> object_store::Result<Vec<ObjectMeta>> {
        let objects = self.store.list(Some(prefix)).map_ok(|object| ObjectMeta {
            key: object.location.as_ref().strip_prefix(&self.prefix).unwrap_or_default().to_owned(),
            size_bytes: object.size,
        });
        objects.try_collect().await
    }
}

fn speaks_of_ranges(error: &(dyn std::error::Error + 'static)) -> bool {
    let text = error.to_string().to_ascii_lowercase();
    text.contains("416") || text.contains("range")
}

/// The error of a call on the object store.
fn failed(doing: &str, key: &str, error: &object_store::Error) -> Error {
    Error::Unavailable(format!("the bucket failed to {doing} {key}: {error}"))
}

/// Absence as `None`.
fn found<T>(doing: &str, key: &str, outcome: object_store::Result<T>) -> Result<Option<T>> {
    match outcome {
        Ok(value) => Ok(Some(value)),
        Err(object_store::Error::NotFound { .. }) => Ok(None),
        Err(error) => Err(failed(doing, key, &error)),
    }
}

impl Bucket for ObjectStoreBucket {
    fn put_if_absent(&self, key: &str, bytes: Bytes) -> Result<bool> {
        let path = self.path(key)?;
        let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
        match self.runtime.block_on(self.store.put_opts(&path, bytes.into(), options)) {
            Ok(_) => Ok(true),
            // Stores also say this while another put of the key is under way, which may still fail.
            Err(object_store::Error::AlreadyExists { .. } | object_store::Error::Precondition { .. }) => {
                match found("look at", key, self.runtime.block_on(self.store.head(&path)))? {
                    Some(_) => Ok(false),
                    None => Err(Error::Unavailable(format!("another put of {key} is under way in the bucket"))),
                }
            }
            Err(error) => Err(failed("store", key, &error)),
        }
    }

    fn put(&self, key: &str, bytes: Bytes) -> Result<()> {
        let path = self.path(key)?;
        let outcome = match bytes.len() <= PART_BYTES {
            true => self.runtime.block_on(self.store.put(&path, bytes.into())).map(drop),
            false => self.runtime.block_on(self.put_parts(&path, &bytes)),
        };
        outcome.map_err(|error| failed("store", key, &error))
    }

    fn get(&self, key: &str) -> Result<Option<Bytes>> {
        let path = self.path(key)?;
        let outcome = self.runtime.block_on(async { self.store.get(&path).await?.bytes().await });
        found("read", key, outcome)
    }

    fn get_range(&self, key: &str, range: Range<u64>) -> Result<Option<Bytes>> {
        let path = self.path(key)?;
        found("read", key, self.runtime.block_on(self.get_one(&path, range)))
    }

    fn get_ranges(&self, key: &str, ranges: &[Range<u64>], timeout: Option<Duration>) -> Result<Option<Vec<Bytes>>> {
        let path = self.path(key)?;
        let outcome = self.runtime.block_on(async {
            let gets = self.get_many(&path, ranges);
            match timeout {
                Some(timeout) => tokio::time::timeout(timeout, gets).await.map_err(|_| Error::Timeout),
                None => Ok(gets.await),
            }
        })?;
        found("read", key, outcome)
    }

    fn list(&self, prefix: &str) -> Result<Vec<ObjectMeta>> {
        let path = self.path(prefix.trim_end_matches('/'))?;
        self.runtime.block_on(self.list_all(&path)).map_err(|error| failed("list", prefix, &error))
    }

    fn delete(&self, key: &str) -> Result<()> {
        let path = self.path(key)?;
        match self.runtime.block_on(self.store.delete(&path)) {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(failed("delete", key, &error)),
        }
    }
}
