//! What the roles take: everything checked, every unit in the name.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use marigram_query::cache::CacheOptions;
use marigram_query::{Features, Parallelism};
use marigram_storage::db::DbOptions;
use marigram_storage::model::labels::METRIC_NAME;

use super::args::{
    CacheArgs, CommonArgs, CompactArgs, InsertArgs, QueryArgs, QueryNodeArgs, SingleArgs, StorageArgs, StoreArgs,
    WriteArgs,
};
use super::units::as_ms;
use crate::role::Role;

/// Settings of one process. What its role does not use holds a default.
#[derive(Debug, Clone)]
pub struct Settings {
    /// What the process does.
    pub role: Role,
    /// `HOST:PORT` of the HTTP API.
    pub http_listen: String,
    /// Connections at once.
    pub http_max_connections: usize,
    /// Where all data lies.
    pub data_dir: PathBuf,
    /// Whether the admin API is served.
    pub admin_api: bool,
    /// Samples older than this are refused; 0: none is too old.
    pub retention_ms: i64,
    /// How often the own metrics are stored; `None`: never.
    pub self_scrape_interval: Option<Duration>,
    /// How often the store looks for due work (sealing, retention, truncation of the log); `None`: only when a test
    /// calls for it.
    pub maintenance_interval: Option<Duration>,
    /// Labels that tell HA replicas apart.
    pub replica_labels: Vec<String>,
    /// Queries.
    pub query: QuerySettings,
    /// Writes.
    pub write: WriteSettings,
    /// The store.
    pub store: DbOptions,
    /// The cluster.
    pub cluster: ClusterSettings,
    /// The value of every flag, as text by its name.
    pub flags: BTreeMap<String, String>,
}

/// How a process finds and joins its cluster.
#[derive(Debug, Clone, Default)]
pub struct ClusterSettings {
    /// `HOST:PORT` of a storage node's gRPC.
    pub grpc_listen: String,
    /// Name of a storage node, where one was given.
    pub node_name: Option<String>,
    /// Zone of a storage node; empty: none.
    pub zone: String,
    /// Where storage nodes are looked for: `host:port`, `dns+host:port`, `dnssrv+name`.
    pub storage_nodes: Vec<String>,
    /// Copies of every sample, where given; at least 1.
    pub replication_factor: Option<u32>,
    /// URL of the bucket, where given.
    pub bucket: Option<String>,
    /// How long a covered block stays on a storage node; `None`: what the catalog's settings ask for.
    pub drop_grace: Option<Duration>,
    /// Bytes that may wait for delivery on an insert node.
    pub delivery_max_bytes: usize,
    /// How often a query node looks for a new catalog.
    pub catalog_interval: Duration,
    /// Memory for the bucket's pages and indexes on a query node, bytes.
    pub bucket_cache_bytes: u64,
    /// The compactor.
    pub compact: CompactSettings,
}

/// How a compactor works.
#[derive(Debug, Clone, Default)]
pub struct CompactSettings {
    /// Ends after one pass.
    pub once: bool,
    /// Time between two passes.
    pub interval: Duration,
    /// How long a block waits for its replicas.
    pub delay: Duration,
    /// Longest query timeout, for the first catalog.
    pub query_timeout_max: Duration,
}

/// Limits of queries.
#[derive(Debug, Clone, Default)]
pub struct QuerySettings {
    /// Longest time of one query.
    pub timeout: Duration,
    /// Queries at once.
    pub max_concurrency: usize,
    /// Queries that may wait.
    pub max_waiting: usize,
    /// Samples in memory per query.
    pub max_samples: usize,
    /// Lookback of instant selectors.
    pub lookback_ms: i64,
    /// Experimental parts of PromQL.
    pub features: Features,
    /// Bytes of fetched data per query.
    pub memory_budget_bytes: u64,
    /// Threads that evaluate one query at once.
    pub max_workers: usize,
    /// Requests that take this long are logged; `None`: none are.
    pub log_slow: Option<Duration>,
    /// Whether there is the search API.
    pub search: bool,
    /// Most results that a search may ask for; 0: any number.
    pub search_limit_max: usize,
    /// The cache of range queries; `None`: there is none.
    pub cache: Option<CacheOptions>,
}

/// Limits of writes.
#[derive(Debug, Clone, Default)]
pub struct WriteSettings {
    /// Labels of one series.
    pub max_labels: usize,
    /// Longest label name.
    pub max_name_bytes: usize,
    /// Longest label value.
    pub max_value_bytes: usize,
    /// Largest body.
    pub max_request_bytes: usize,
    /// Requests at once.
    pub max_concurrency: usize,
    /// Bytes of all requests together.
    pub max_inflight_bytes: usize,
    /// Longest time for a body to arrive.
    pub body_timeout: Duration,
}

/// Time between two looks of the store for due work: short against the 15 minutes of a window's grace.
const MAINTENANCE_INTERVAL: Duration = Duration::from_secs(5);

/// Most that the labels of one series may take on their way to a storage node: a message of 1 MiB, with room to spare.
const SERIES_LABELS_BYTES_MAX: usize = 768 << 10;
/// Tags and lengths of a label.
const LABEL_OVERHEAD_BYTES: usize = 16;

/// Longest time for the body of a query to arrive at a role that takes no writes.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);

/// How long `single` keeps samples unless told otherwise, as Prometheus does.
const SINGLE_RETENTION: Duration = Duration::from_secs(15 * 24 * 3600);

/// The feature that is not one of the language.
const SEARCH_API: &str = "search-api";

/// A flag whose value does not make sense.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("error: invalid value for --{flag}: {reason}")]
pub struct SettingsError {
    flag: &'static str,
    reason: String,
}

impl Settings {
    /// Checks what was typed for `marigram single`.
    ///
    /// # Errors
    /// One line that names the flag.
    pub fn single(args: SingleArgs) -> Result<Self, SettingsError> {
        let mut settings = Settings::common(Role::Single, args.common, SINGLE_RETENTION)?;
        settings.self_scrape_interval = Some(args.self_scrape_interval).filter(|interval| !interval.is_zero());
        settings.query = QuerySettings::checked(args.query)?;
        settings.query.cache = cache(args.cache)?;
        settings.write = WriteSettings::checked(args.write)?;
        settings.store = store(args.store, settings.retention_ms)?;
        Ok(settings)
    }

    /// Checks what was typed for `marigram storage`. The node itself drops nothing by age.
    ///
    /// # Errors
    /// One line that names the flag.
    pub fn storage(args: StorageArgs) -> Result<Self, SettingsError> {
        let mut settings = Settings::common(Role::Storage, args.common, Duration::ZERO)?;
        settings.store = store(args.store, 0)?;
        settings.cluster.drop_grace = args.drop_grace;
        Ok(settings)
    }

    /// Checks what was typed for `marigram insert`.
    ///
    /// # Errors
    /// One line that names the flag.
    pub fn insert(args: InsertArgs) -> Result<Self, SettingsError> {
        let mut settings = Settings::common(Role::Insert, args.common, Duration::ZERO)?;
        settings.write = WriteSettings::checked(args.write)?;
        settings.cluster.delivery_max_bytes = size("delivery-max-bytes", args.delivery_max_bytes)?;
        settings.write.fit_into_messages()?;
        settings.need_storage_nodes()?;
        Ok(settings)
    }

    /// Checks what was typed for `marigram query`.
    ///
    /// # Errors
    /// One line that names the flag.
    pub fn query(args: QueryNodeArgs) -> Result<Self, SettingsError> {
        let mut settings = Settings::common(Role::Query, args.common, Duration::ZERO)?;
        settings.query = QuerySettings::checked(args.query)?;
        settings.query.cache = cache(args.cache)?;
        settings.cluster.catalog_interval = positive("catalog-interval", args.bucket.catalog_interval)?;
        settings.cluster.bucket_cache_bytes = args.bucket.bucket_cache;
        settings.need_storage_nodes()?;
        settings.need_bucket()?;
        Ok(settings)
    }

    /// Checks what was typed for `marigram compact`.
    ///
    /// # Errors
    /// One line that names the flag.
    pub fn compact(args: CompactArgs) -> Result<Self, SettingsError> {
        let mut settings = Settings::common(Role::Compact, args.common, Duration::ZERO)?;
        settings.cluster.compact = CompactSettings {
            once: args.once,
            interval: positive("compact-interval", args.compact_interval)?,
            delay: args.compact_delay,
            query_timeout_max: positive("query-timeout-max", args.query_timeout_max)?,
        };
        settings.need_storage_nodes()?;
        settings.need_bucket()?;
        Ok(settings)
    }

    fn common(role: Role, args: CommonArgs, default_retention: Duration) -> Result<Self, SettingsError> {
        if args.data_dir.as_os_str().is_empty() {
            return Err(SettingsError::new("data-dir", "must not be empty"));
        }
        if args.node_name.as_ref().is_some_and(String::is_empty) {
            return Err(SettingsError::new("node-name", "must not be empty"));
        }
        if args.replication_factor == Some(0) {
            return Err(SettingsError::new("replication-factor", "must be at least 1"));
        }
        if args.storage_node.iter().any(|address| address.trim().is_empty()) {
            return Err(SettingsError::new("storage-node", "must not be empty"));
        }
        if args.replica_label.iter().any(|label| label.is_empty() || label == METRIC_NAME) {
            return Err(SettingsError::new("replica-label", "must be the name of a label other than __name__"));
        }
        Ok(Settings {
            role,
            http_listen: args.http_listen,
            http_max_connections: at_least_one("http-max-connections", args.http_max_connections)?,
            data_dir: args.data_dir,
            admin_api: args.enable_admin_api,
            retention_ms: as_ms(args.retention.unwrap_or(default_retention)),
            self_scrape_interval: None,
            maintenance_interval: Some(MAINTENANCE_INTERVAL),
            replica_labels: args.replica_label,
            query: QuerySettings::default(),
            write: WriteSettings { body_timeout: BODY_TIMEOUT, ..WriteSettings::default() },
            store: DbOptions::default(),
            cluster: ClusterSettings {
                grpc_listen: args.grpc_listen,
                node_name: args.node_name,
                zone: args.zone.unwrap_or_default(),
                storage_nodes: args.storage_node.iter().map(|address| address.trim().to_owned()).collect(),
                replication_factor: args.replication_factor,
                bucket: args.bucket,
                ..ClusterSettings::default()
            },
            flags: args.flags,
        })
    }

    fn need_storage_nodes(&self) -> Result<(), SettingsError> {
        match self.cluster.storage_nodes.is_empty() {
            false => Ok(()),
            true => Err(SettingsError::new("storage-node", "must name at least one storage node")),
        }
    }

    fn need_bucket(&self) -> Result<(), SettingsError> {
        match &self.cluster.bucket {
            Some(_) => Ok(()),
            None => Err(SettingsError::new("bucket", "must be given: s3://bucket/prefix or file:///dir")),
        }
    }
}

impl SettingsError {
    fn new(flag: &'static str, reason: impl Into<String>) -> Self {
        SettingsError { flag, reason: reason.into() }
    }
}

impl QuerySettings {
    fn checked(query: QueryArgs) -> Result<Self, SettingsError> {
        let (features, search) = features(&query.enable_feature)?;
        Ok(QuerySettings {
            timeout: positive("query-timeout", query.query_timeout)?,
            max_concurrency: at_least_one("query-max-concurrency", query.query_max_concurrency)?,
            max_waiting: query.query_max_waiting,
            max_samples: at_least_one("query-max-samples", query.query_max_samples)?,
            lookback_ms: as_ms(positive("query-lookback-delta", query.query_lookback_delta)?),
            memory_budget_bytes: query.query_memory_budget,
            max_workers: match query.query_max_workers {
                0 => Parallelism::processors(),
                workers => workers,
            },
            log_slow: Some(query.query_log_slow).filter(|long| !long.is_zero()),
            features,
            search,
            search_limit_max: query.search_limit_max,
            cache: None,
        })
    }
}

fn cache(cache: CacheArgs) -> Result<Option<CacheOptions>, SettingsError> {
    if cache.query_cache_size == 0 {
        return Ok(None);
    }
    let bytes_max = size("query-cache-size", cache.query_cache_size)?;
    Ok(Some(CacheOptions { bytes_max, min_age_ms: as_ms(cache.query_cache_min_age) }))
}

/// What of PromQL is on, and whether the search API is.
fn features(names: &[String]) -> Result<(Features, bool), SettingsError> {
    let (mut features, mut search) = (Features::default(), false);
    for name in names.iter().map(|name| name.trim()).filter(|name| !name.is_empty()) {
        if name == SEARCH_API {
            search = true;
        } else if !features.enable(name) {
            let known = Features::NAMES.join(", ");
            let reason = format!("no feature is called {name:?}; there are {SEARCH_API}, {known}");
            return Err(SettingsError::new("enable-feature", reason));
        }
    }
    Ok((features, search))
}

impl WriteSettings {
    /// Between nodes a series' labels travel in one message: with more, its samples would be put off for ever.
    fn fit_into_messages(&self) -> Result<(), SettingsError> {
        let label_bytes = self.max_name_bytes.saturating_add(self.max_value_bytes).saturating_add(LABEL_OVERHEAD_BYTES);
        if label_bytes.saturating_mul(self.max_labels) <= SERIES_LABELS_BYTES_MAX {
            return Ok(());
        }
        let reason = "--write-max-labels times the longest name and value must stay below 768 KiB, what a message between nodes holds";
        Err(SettingsError::new("write-max-labels", reason))
    }

    fn checked(write: WriteArgs) -> Result<Self, SettingsError> {
        let max_request_bytes = size("write-max-request-bytes", write.write_max_request_bytes)?;
        let max_inflight_bytes = size("write-max-inflight-bytes", write.write_max_inflight_bytes)?;
        // The body, decompressed, and what it decodes to: with less, the largest request would be put off for ever.
        if max_inflight_bytes < max_request_bytes.saturating_mul(3) {
            let reason = "must hold one request three times (see --write-max-request-bytes)";
            return Err(SettingsError::new("write-max-inflight-bytes", reason));
        }
        Ok(WriteSettings {
            max_labels: at_least_one("write-max-labels", write.write_max_labels)?,
            max_name_bytes: size("write-max-label-name-bytes", write.write_max_label_name_bytes)?,
            max_value_bytes: size("write-max-label-value-bytes", write.write_max_label_value_bytes)?,
            max_request_bytes,
            max_concurrency: at_least_one("write-max-concurrency", write.write_max_concurrency)?,
            max_inflight_bytes,
            body_timeout: positive("write-body-timeout", write.write_body_timeout)?,
        })
    }
}

fn store(store: StoreArgs, retention_ms: i64) -> Result<DbOptions, SettingsError> {
    Ok(DbOptions {
        retention_ms,
        head_series_max: at_least_one("max-series", store.max_series)?,
        tenants_max: at_least_one("max-tenants", store.max_tenants)?,
        disk_reserve_bytes: store.disk_reserve,
        accept_loss: store.accept_loss,
        wal_fsync: store.wal_fsync,
        ..DbOptions::default()
    })
}

fn at_least_one(flag: &'static str, n: usize) -> Result<usize, SettingsError> {
    if n == 0 { Err(SettingsError::new(flag, "must be at least 1")) } else { Ok(n) }
}

fn positive(flag: &'static str, duration: Duration) -> Result<Duration, SettingsError> {
    if duration.is_zero() { Err(SettingsError::new(flag, "must be longer than 0")) } else { Ok(duration) }
}

fn size(flag: &'static str, bytes: u64) -> Result<usize, SettingsError> {
    match usize::try_from(bytes) {
        Ok(0) | Err(_) => Err(SettingsError::new(flag, "must be at least 1 byte, and fit in memory")),
        Ok(bytes) => Ok(bytes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::args::{Cli, Command};
    use clap::Parser;

    fn settings(flags: &[&str]) -> Result<Settings, SettingsError> {
        let cli = Cli::try_parse_from(["marigram", "single"].iter().chain(flags)).unwrap();
        match cli.command {
            Command::Single(args) => Settings::single(*args),
            _ => unreachable!("single was asked for"),
        }
    }

    #[test]
    fn defaults_are_those_of_prometheus() {
        let settings = settings(&[]).unwrap();
        assert_eq!(settings.store.retention_ms, 15 * 24 * 3_600_000);
        assert_eq!(settings.query.timeout, Duration::from_secs(120));
        assert_eq!((settings.query.max_concurrency, settings.query.max_samples), (20, 50_000_000));
        assert_eq!(settings.query.lookback_ms, 300_000);
        assert_eq!(settings.query.features, Features::default());
    }

    #[test]
    fn features_are_named_as_in_prometheus() {
        let settings_of = |names: &str| settings(&["--enable-feature", names]);
        let features = settings_of("promql-experimental-functions,promql-duration-expr").unwrap().query.features;
        assert_eq!(features, Features { experimental_functions: true, ..Features::default() });
        assert!(settings_of("search-api").unwrap().query.search && !settings(&[]).unwrap().query.search);
        let refused = settings_of("promql-everything").unwrap_err().to_string();
        assert!(refused.contains("enable-feature") && refused.contains("promql-everything"), "{refused}");
    }

    #[test]
    fn a_role_without_writes_waits_for_the_bodies_of_queries() {
        let args = ["marigram", "query", "--storage-node", "a:1", "--bucket", "file:///b"];
        let Command::Query(args) = Cli::try_parse_from(args).unwrap().command else {
            unreachable!("query was asked for")
        };
        assert!(Settings::query(*args).unwrap().write.body_timeout > Duration::from_secs(1));
    }

    #[test]
    fn zero_is_for_ever_or_never_where_it_makes_sense_and_refused_elsewhere() {
        let off = settings(&["--retention", "0", "--self-scrape-interval", "0"]).unwrap();
        assert_eq!(off.store.retention_ms, 0);
        assert_eq!(off.self_scrape_interval, None);
        let cache = |flags: &[&str]| settings(flags).unwrap().query.cache;
        assert_eq!(cache(&["--query-cache-size", "0"]), None);
        assert_eq!(cache(&[]), Some(CacheOptions { bytes_max: 64 << 20, min_age_ms: 300_000 }));
        for flag in ["query-timeout", "query-max-concurrency", "max-series", "write-max-request-bytes"] {
            let error = settings(&[&format!("--{flag}"), "0"]).unwrap_err();
            assert_eq!(error.flag, flag);
        }
    }
}
