//! The bucket by its URL: `file:///dir`, a directory; `s3://bucket/prefix`, an object store that speaks S3.

mod follower;
#[cfg(test)]
mod follower_test;
pub mod metrics;
pub mod object;
pub mod s3;

pub use follower::{CONFIRMED_FOR, Follower};

use std::path::Path;
use std::sync::Arc;

use marigram_storage::bucket::{Bucket, DirectoryBucket};
use marigram_storage::env::Env;
use tokio::runtime::Handle;

/// Opens the bucket that `--bucket` names. Nothing is asked of it yet. Its calls block; they must not come from a thread
/// that runs the tasks of `runtime`.
///
/// # Errors
/// One sentence that names the flag.
pub fn open(url: &str, env: &Env, runtime: &Handle) -> Result<Arc<dyn Bucket>, String> {
    let refused = |reason: &str| format!("--bucket {url}: {reason}");
    if let Some(rest) = url.strip_prefix("s3://") {
        return s3::open(rest, variables(), runtime).map_err(|reason| refused(&reason));
    }
    let Some(path) = url.strip_prefix("file://") else {
        return Err(refused("a bucket is s3://bucket/prefix or file:///dir"));
    };
    if !path.starts_with('/') {
        return Err(refused("the path of a directory begins with a slash: file:///dir"));
    }
    let bucket = DirectoryBucket::open(env, Path::new(path)).map_err(|error| refused(&error.to_string()))?;
    Ok(Arc::new(bucket))
}

/// The environment, without what is not text.
fn variables() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
}

#[cfg(test)]
#[path = "../../storage/src/bucket/promises.rs"]
mod promises;
#[cfg(test)]
mod tests;
