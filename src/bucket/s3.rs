//! A bucket that speaks S3, found and opened by the usual `AWS_*` variables.

use std::sync::Arc;
use std::time::Duration;

use marigram_storage::bucket::Bucket;
use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
use object_store::{BackoffConfig, ClientConfigKey, RetryConfig};
use tokio::runtime::Handle;

use super::object::ObjectStoreBucket;

/// A query waits for the bucket, and a catalog that was not confirmed for 30 s counts as lost: a request that fails is
/// repeated for a few seconds only.
const RETRY: RetryConfig = RetryConfig {
    backoff: BackoffConfig { init_backoff: Duration::from_millis(100), max_backoff: Duration::from_secs(2), base: 2.0 },
    max_retries: 3,
    retry_timeout: Duration::from_secs(8),
};
/// No request moves more than a part of 16 MiB or a few pages.
const REQUEST_TIMEOUT: &str = "20 seconds";
const CONNECT_TIMEOUT: &str = "3 seconds";

/// Opens `bucket/prefix` with what `variables` say, of which those that begin with `AWS_` count. Nothing is asked of it yet.
///
/// # Errors
/// Half a sentence that says what is wrong with the name or the variables.
pub fn open(
    bucket_and_prefix: &str,
    variables: impl Iterator<Item = (String, String)>,
    runtime: &Handle,
) -> Result<Arc<dyn Bucket>, String> {
    let (bucket, prefix) = bucket_and_prefix.split_once('/').unwrap_or((bucket_and_prefix, ""));
    if bucket.is_empty() {
        return Err("it names no bucket: s3://bucket/prefix".to_owned());
    }
    // One crypto library for the whole process; it may have been installed before.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = AmazonS3ConfigKey::Client;
    let mut builder = AmazonS3Builder::new()
        .with_retry(RETRY)
        .with_config(client(ClientConfigKey::Timeout), REQUEST_TIMEOUT)
        .with_config(client(ClientConfigKey::ConnectTimeout), CONNECT_TIMEOUT);
    for (name, value) in variables.filter(|(name, value)| name.starts_with("AWS_") && !value.is_empty()) {
        if let Ok(key) = name.to_ascii_lowercase().parse::<AmazonS3ConfigKey>() {
            builder = builder.with_config(key, value);
        }
    }
    let endpoint = [AmazonS3ConfigKey::S3Endpoint, AmazonS3ConfigKey::Endpoint];
    let endpoint = endpoint.iter().find_map(|key| builder.get_config_value(key));
    if endpoint.is_some_and(|endpoint| endpoint.starts_with("http://")) {
        builder = builder.with_config(client(ClientConfigKey::AllowHttp), "true");
    }
    let store = builder.with_bucket_name(bucket).build().map_err(|error| error.to_string())?;
    Ok(Arc::new(ObjectStoreBucket::new(Arc::new(store), prefix, runtime)?))
}
