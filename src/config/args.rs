//! The command line, as it is typed. Help texts here are the source of `docs/flags.md`.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgMatches, Args, CommandFactory, FromArgMatches, Parser, Subcommand};
use marigram_storage::db::WalFsync;

use super::units::{parse_bytes, parse_duration};

/// A Prometheus-compatible metrics store whose acknowledged samples are durable.
#[derive(Debug, Parser)]
#[command(name = "marigram", version, disable_help_subcommand = false, max_term_width = 110)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

impl Cli {
    /// Reads a command line, and notes the value of every flag of a server's role.
    ///
    /// # Errors
    /// A command line that is wrong, or that asks for help.
    pub fn read<T: Into<OsString> + Clone>(words: impl IntoIterator<Item = T>) -> Result<Self, clap::Error> {
        let matches = Cli::command().try_get_matches_from(words)?;
        let mut cli = Cli::from_arg_matches(&matches)?;
        if let Some((role, matches)) = matches.subcommand()
            && let Some(common) = cli.command.common_mut()
        {
            common.flags = flag_values(role, matches);
        }
        Ok(cli)
    }
}

/// The value of every flag of a role, as it was given or as it is by default.
fn flag_values(role: &str, matches: &ArgMatches) -> BTreeMap<String, String> {
    let command = Cli::command();
    let Some(role) = command.find_subcommand(role) else { return BTreeMap::new() };
    let value = |id: &str| match matches.try_get_raw(id) {
        Ok(Some(values)) => values.map(|value| value.to_string_lossy()).collect::<Vec<_>>().join(","),
        _ => String::new(),
    };
    let flags = role.get_arguments().filter_map(|arg| Some((arg.get_long()?.to_owned(), value(arg.get_id().as_str()))));
    flags.filter(|(name, _)| !matches!(name.as_str(), "help" | "version")).collect()
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run everything in one process on a local disk.
    Single(Box<SingleArgs>),
    /// Run a storage node of a cluster: it keeps the newest hours and answers for them.
    Storage(Box<StorageArgs>),
    /// Run an insert node of a cluster: it takes writes and places every series on several storage nodes.
    Insert(Box<InsertArgs>),
    /// Run a query node of a cluster: PromQL over all storage nodes and the bucket.
    Query(Box<QueryNodeArgs>),
    /// Run a compactor of a cluster: it keeps the list of members and moves sealed blocks into the bucket.
    Compact(Box<CompactArgs>),
    /// Print how the cluster is, as one of its nodes sees it; fails while answers are not complete.
    Status {
        /// HTTP address of any node.
        #[arg(long, env = "MARIGRAM_URL", value_name = "URL", default_value = "http://127.0.0.1:9291")]
        url: String,
    },
    /// Run Prometheus' PromQL test scripts (*.test) and say how many cases pass.
    Promqltest {
        /// Directories that hold scripts, or scripts.
        #[arg(required = true, value_name = "DIR")]
        paths: Vec<PathBuf>,
        /// Print every case that does not pass.
        #[arg(short, long)]
        verbose: bool,
    },
}

impl Command {
    /// The common flags of a server's role.
    fn common_mut(&mut self) -> Option<&mut CommonArgs> {
        match self {
            Command::Single(args) => Some(&mut args.common),
            Command::Storage(args) => Some(&mut args.common),
            Command::Insert(args) => Some(&mut args.common),
            Command::Query(args) => Some(&mut args.common),
            Command::Compact(args) => Some(&mut args.common),
            Command::Status { .. } | Command::Promqltest { .. } => None,
        }
    }
}

/// Flags that every role takes, so that one environment serves all processes of a cluster; what a role does not use, it ignores.
#[derive(Debug, Clone, Args)]
pub struct CommonArgs {
    /// Address of the HTTP API; port 0 lets the system choose.
    #[arg(long, env = "MARIGRAM_HTTP_LISTEN", value_name = "HOST:PORT", default_value = "127.0.0.1:9291")]
    pub http_listen: String,

    /// Connections held at once; further clients wait to be accepted.
    #[arg(long, env = "MARIGRAM_HTTP_MAX_CONNECTIONS", value_name = "N", default_value_t = 512)]
    pub http_max_connections: usize,

    /// Address where a storage node serves the other roles (gRPC); port 0 lets the system choose.
    #[arg(long, env = "MARIGRAM_GRPC_LISTEN", value_name = "HOST:PORT", default_value = "127.0.0.1:9292")]
    pub grpc_listen: String,

    /// Directory for data: of single and storage all of it, of compact what is under way. Made if absent, used by one process at a time.
    #[arg(long, env = "MARIGRAM_DATA_DIR", value_name = "DIR", default_value = "./marigram-data")]
    pub data_dir: PathBuf,

    /// Name of a storage node; it places series, and is kept in the data directory. Without the flag: the host's name.
    #[arg(long, env = "MARIGRAM_NODE_NAME", value_name = "NAME")]
    pub node_name: Option<String>,

    /// Zone of a storage node, such as a rack or an availability zone; copies lie in different zones. All nodes have one, or none has.
    #[arg(long, env = "MARIGRAM_ZONE", value_name = "ZONE")]
    pub zone: Option<String>,

    /// Addresses of the storage nodes, repeatable or separated by commas: host:port, dns+host:port (all addresses of a name) or dnssrv+name (its SRV records).
    #[arg(long, env = "MARIGRAM_STORAGE_NODE", value_name = "ADDRESS", value_delimiter = ',')]
    pub storage_node: Vec<String>,

    /// Copies that the cluster writes of every sample. Needed for the first start of a compactor; elsewhere only checked against the catalog.
    #[arg(long, env = "MARIGRAM_REPLICATION_FACTOR", value_name = "N")]
    pub replication_factor: Option<u32>,

    /// Where blocks and the catalog lie: s3://bucket/prefix or file:///dir. Credentials, region and endpoint of S3 come from the usual AWS_* variables.
    #[arg(long, env = "MARIGRAM_BUCKET", value_name = "URL")]
    pub bucket: Option<String>,

    /// A label that tells apart the replicas of a highly available Prometheus, repeatable or separated by commas: queries drop it and make one series of the replicas'.
    #[arg(long, env = "MARIGRAM_REPLICA_LABEL", value_name = "LABEL", value_delimiter = ',')]
    pub replica_label: Vec<String>,

    /// How long samples are kept, such as 15d or 1y; 0 keeps them for ever. Older samples are refused. Without the flag: 15d for single, 0 elsewhere.
    #[arg(long, env = "MARIGRAM_RETENTION", value_name = "DURATION", value_parser = parse_duration)]
    pub retention: Option<Duration>,

    /// Serve the admin API (/api/v1/admin/tsdb/...). It has no authentication of its own.
    #[arg(long, env = "MARIGRAM_ENABLE_ADMIN_API")]
    pub enable_admin_api: bool,

    /// How much is logged to stderr: error, warn, info, debug, trace, or a filter as RUST_LOG takes it. RUST_LOG, if set, wins.
    #[arg(long, env = "MARIGRAM_LOG_LEVEL", value_name = "LEVEL", default_value = "info")]
    pub log_level: String,

    /// The value of every flag of the role, by its name; empty unless read by [`Cli::read`].
    #[arg(skip)]
    pub flags: BTreeMap<String, String>,
}

/// The flags of `marigram single`.
#[derive(Debug, Clone, Args)]
pub struct SingleArgs {
    /// Common flags.
    #[command(flatten)]
    pub common: CommonArgs,

    /// How often the process stores its own /metrics; 0 never.
    #[arg(long, env = "MARIGRAM_SELF_SCRAPE_INTERVAL", value_name = "DURATION", default_value = "15s", value_parser = parse_duration)]
    pub self_scrape_interval: Duration,

    /// Limits of queries.
    #[command(flatten, next_help_heading = "Query limits")]
    pub query: QueryArgs,

    /// The cache of range queries.
    #[command(flatten, next_help_heading = "Query cache")]
    pub cache: CacheArgs,

    /// Limits of writes.
    #[command(flatten, next_help_heading = "Write limits")]
    pub write: WriteArgs,

    /// Limits of the store.
    #[command(flatten, next_help_heading = "Store")]
    pub store: StoreArgs,
}

/// The flags of `marigram storage`.
#[derive(Debug, Clone, Args)]
pub struct StorageArgs {
    /// Common flags.
    #[command(flatten)]
    pub common: CommonArgs,

    /// Limits of the store.
    #[command(flatten, next_help_heading = "Store")]
    pub store: StoreArgs,

    /// How long a block that the bucket covers stays on the node. Without the flag: a minute and the longest query timeout of the catalog; less is only safe when all query nodes see a new catalog and end their queries in less.
    #[arg(long, env = "MARIGRAM_DROP_GRACE", value_name = "DURATION", value_parser = parse_duration, help_heading = "Store")]
    pub drop_grace: Option<Duration>,
}

/// The flags of `marigram insert`.
#[derive(Debug, Clone, Args)]
pub struct InsertArgs {
    /// Common flags.
    #[command(flatten)]
    pub common: CommonArgs,

    /// Limits of writes.
    #[command(flatten, next_help_heading = "Write limits")]
    pub write: WriteArgs,

    /// Bytes that may wait for the delivery of copies beyond the quorum; beyond it writes are answered 503.
    #[arg(long, env = "MARIGRAM_DELIVERY_MAX_BYTES", value_name = "SIZE", default_value = "256MiB", value_parser = parse_bytes, help_heading = "Write limits")]
    pub delivery_max_bytes: u64,
}

/// The flags of `marigram query`.
#[derive(Debug, Clone, Args)]
pub struct QueryNodeArgs {
    /// Common flags.
    #[command(flatten)]
    pub common: CommonArgs,

    /// Limits of queries.
    #[command(flatten, next_help_heading = "Query limits")]
    pub query: QueryArgs,

    /// The cache of range queries.
    #[command(flatten, next_help_heading = "Query cache")]
    pub cache: CacheArgs,

    /// The bucket.
    #[command(flatten, next_help_heading = "Bucket")]
    pub bucket: BucketArgs,
}

/// How a query node reads the bucket.
#[derive(Debug, Clone, Args)]
pub struct BucketArgs {
    /// How often a new catalog is looked for.
    #[arg(long, env = "MARIGRAM_CATALOG_INTERVAL", value_name = "DURATION", default_value = "5s", value_parser = parse_duration)]
    pub catalog_interval: Duration,

    /// Memory for pages and indexes of the bucket's blocks.
    #[arg(long, env = "MARIGRAM_BUCKET_CACHE", value_name = "SIZE", default_value = "512MiB", value_parser = parse_bytes)]
    pub bucket_cache: u64,
}

/// The flags of `marigram compact`.
#[derive(Debug, Clone, Args)]
pub struct CompactArgs {
    /// Common flags.
    #[command(flatten)]
    pub common: CommonArgs,

    /// Do once what is due now, and end.
    #[arg(long, env = "MARIGRAM_ONCE", help_heading = "Compaction")]
    pub once: bool,

    /// How often the compactor looks for work.
    #[arg(long, env = "MARIGRAM_COMPACT_INTERVAL", value_name = "DURATION", default_value = "5s", value_parser = parse_duration, help_heading = "Compaction")]
    pub compact_interval: Duration,

    /// How long a sealed block waits for the other replicas' copies before it is joined and uploaded without them.
    #[arg(long, env = "MARIGRAM_COMPACT_DELAY", value_name = "DURATION", default_value = "1m", value_parser = parse_duration, help_heading = "Compaction")]
    pub compact_delay: Duration,

    /// The longest query timeout, written into the first catalog: query nodes cap theirs at it, and dropped blocks stay so much longer.
    #[arg(long, env = "MARIGRAM_QUERY_TIMEOUT_MAX", value_name = "DURATION", default_value = "2m", value_parser = parse_duration, help_heading = "Compaction")]
    pub query_timeout_max: Duration,
}

/// Limits of queries; the first four are Prometheus' flags and defaults.
#[derive(Debug, Clone, Args)]
pub struct QueryArgs {
    /// Longest time a query may take, waiting included; a request's own timeout can only shorten it.
    #[arg(long, env = "MARIGRAM_QUERY_TIMEOUT", value_name = "DURATION", default_value = "2m", value_parser = parse_duration)]
    pub query_timeout: Duration,

    /// Queries evaluated at once; others wait.
    #[arg(long, env = "MARIGRAM_QUERY_MAX_CONCURRENCY", value_name = "N", default_value_t = 20)]
    pub query_max_concurrency: usize,

    /// Samples that one query may hold in memory.
    #[arg(long, env = "MARIGRAM_QUERY_MAX_SAMPLES", value_name = "N", default_value_t = 50_000_000)]
    pub query_max_samples: usize,

    /// How far an instant selector looks back for a sample.
    #[arg(long, env = "MARIGRAM_QUERY_LOOKBACK_DELTA", value_name = "DURATION", default_value = "5m", value_parser = parse_duration)]
    pub query_lookback_delta: Duration,

    /// Experimental features, repeatable or separated by commas: promql-binop-fill-modifiers, promql-delayed-name-removal, promql-experimental-functions, promql-extended-range-selectors, promql-per-step-stats, search-api, type-and-unit-labels, use-start-timestamps. promql-duration-expr and st-storage are always on.
    #[arg(long, env = "MARIGRAM_ENABLE_FEATURE", value_name = "FEATURE", value_delimiter = ',')]
    pub enable_feature: Vec<String>,

    /// Bytes of compressed data that one query may hold at once.
    #[arg(long, env = "MARIGRAM_QUERY_MEMORY_BUDGET", value_name = "SIZE", default_value = "1GiB", value_parser = parse_bytes)]
    pub query_memory_budget: u64,

    /// Queries that may wait for their turn; one more is answered 503.
    #[arg(long, env = "MARIGRAM_QUERY_MAX_WAITING", value_name = "N", default_value_t = 1000)]
    pub query_max_waiting: usize,

    /// Most results that one request to the search API may ask for; 0 lets it ask for any number.
    #[arg(long, env = "MARIGRAM_SEARCH_LIMIT_MAX", value_name = "N", default_value_t = 10_000)]
    pub search_limit_max: usize,

    /// Threads that evaluate one query at once, its own included; cheap queries stay on their own. 0: as many as there are processors.
    #[arg(long, env = "MARIGRAM_QUERY_MAX_WORKERS", value_name = "N", default_value_t = 0)]
    pub query_max_workers: usize,

    /// Requests that read data and take this long are logged; 0 logs none.
    #[arg(long, env = "MARIGRAM_QUERY_LOG_SLOW", value_name = "DURATION", default_value = "10s", value_parser = parse_duration)]
    pub query_log_slow: Duration,
}

/// The cache of range queries.
#[derive(Debug, Clone, Args)]
pub struct CacheArgs {
    /// Memory for answers of range queries at steps whose data is old: of dashboards that reload, only the new steps are evaluated. 0 switches the cache off; a request does so for itself by nocache=1 or the header Cache-Control: no-store.
    #[arg(long, env = "MARIGRAM_QUERY_CACHE_SIZE", value_name = "SIZE", default_value = "64MiB", value_parser = parse_bytes)]
    pub query_cache_size: u64,

    /// Steps that look at younger samples are not kept. Samples that come later than this are seen at once, too, but answers that would have them are evaluated again.
    #[arg(long, env = "MARIGRAM_QUERY_CACHE_MIN_AGE", value_name = "DURATION", default_value = "5m", value_parser = parse_duration)]
    pub query_cache_min_age: Duration,
}

/// Limits of writes.
#[derive(Debug, Clone, Args)]
pub struct WriteArgs {
    /// Labels that one series may have, its name included.
    #[arg(long, env = "MARIGRAM_WRITE_MAX_LABELS", value_name = "N", default_value_t = 64)]
    pub write_max_labels: usize,

    /// Longest label name.
    #[arg(long, env = "MARIGRAM_WRITE_MAX_LABEL_NAME_BYTES", value_name = "SIZE", default_value = "1024", value_parser = parse_bytes)]
    pub write_max_label_name_bytes: u64,

    /// Longest label value.
    #[arg(long, env = "MARIGRAM_WRITE_MAX_LABEL_VALUE_BYTES", value_name = "SIZE", default_value = "4096", value_parser = parse_bytes)]
    pub write_max_label_value_bytes: u64,

    /// Largest body of a write request, before and after decompression.
    #[arg(long, env = "MARIGRAM_WRITE_MAX_REQUEST_BYTES", value_name = "SIZE", default_value = "16MiB", value_parser = parse_bytes)]
    pub write_max_request_bytes: u64,

    /// Write requests worked on at once; one more is answered 503.
    #[arg(long, env = "MARIGRAM_WRITE_MAX_CONCURRENCY", value_name = "N", default_value_t = 64)]
    pub write_max_concurrency: usize,

    /// Bytes that all write requests together may hold, compressed and decompressed; beyond it the answer is 503.
    #[arg(long, env = "MARIGRAM_WRITE_MAX_INFLIGHT_BYTES", value_name = "SIZE", default_value = "48MiB", value_parser = parse_bytes)]
    pub write_max_inflight_bytes: u64,

    /// Longest time in which the body of a request must arrive.
    #[arg(long, env = "MARIGRAM_WRITE_BODY_TIMEOUT", value_name = "DURATION", default_value = "30s", value_parser = parse_duration)]
    pub write_body_timeout: Duration,
}

/// Limits of the store.
#[derive(Debug, Clone, Args)]
pub struct StoreArgs {
    /// Start although data on disk is damaged and no other copy exists; what was lost is logged and counted.
    #[arg(long, env = "MARIGRAM_ACCEPT_LOSS")]
    pub accept_loss: bool,

    /// Series that may be in memory at once; samples of a new one beyond are answered 503.
    #[arg(long, env = "MARIGRAM_MAX_SERIES", value_name = "N", default_value_t = 5_000_000)]
    pub max_series: usize,

    /// Tenants that may exist; writes of a new one beyond are answered 503.
    #[arg(long, env = "MARIGRAM_MAX_TENANTS", value_name = "N", default_value_t = 1000)]
    pub max_tenants: usize,

    /// When the write-ahead log is fsynced: always, before a write is answered; or at an interval such as 1s, and a loss of power then costs what was acknowledged since.
    #[arg(long, env = "MARIGRAM_WAL_FSYNC", value_name = "always|DURATION", default_value = "always", value_parser = parse_wal_fsync)]
    pub wal_fsync: WalFsync,

    /// Free space below which writes are answered 503 while queries go on.
    #[arg(long, env = "MARIGRAM_DISK_RESERVE", value_name = "SIZE", default_value = "512MiB", value_parser = parse_bytes)]
    pub disk_reserve: u64,
}

/// `always`, or an interval.
fn parse_wal_fsync(text: &str) -> Result<WalFsync, String> {
    match parse_duration(text) {
        _ if text == "always" => Ok(WalFsync::BeforeAnswer),
        Ok(interval) if !interval.is_zero() => Ok(WalFsync::Interval(interval)),
        _ => Err(format!("{text:?} is neither `always` nor an interval such as 1s")),
    }
}

/// What a wrong command line is told: one line.
pub fn one_line(error: &clap::Error) -> String {
    let text = error.to_string();
    let first = text.lines().next().unwrap_or("error: the command line is wrong").trim().to_owned();
    // Of a list of missing arguments clap's first line names none.
    let more = text.lines().skip(1).map(str::trim).take_while(|line| !line.is_empty()).collect::<Vec<_>>();
    if more.is_empty() { first } else { format!("{first} {}", more.join(" ")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(args: &[&str]) -> String {
        one_line(&Cli::try_parse_from(args).unwrap_err())
    }

    #[test]
    fn the_command_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_values_of_all_flags_are_known() {
        let words = ["marigram", "single", "--retention", "30d", "--replica-label", "a,b", "--enable-admin-api"];
        let Command::Single(args) = Cli::read(words).unwrap().command else { unreachable!("single was asked for") };
        let flags = &args.common.flags;
        let value = |name: &str| flags.get(name).map(String::as_str);
        assert_eq!((value("retention"), value("query-timeout")), (Some("30d"), Some("2m")));
        assert_eq!((value("replica-label"), value("bucket")), (Some("a,b"), Some("")));
        assert_eq!((value("enable-admin-api"), value("accept-loss")), (Some("true"), Some("false")));
        assert_eq!((value("help"), value("catalog-interval")), (None, None));
    }

    #[test]
    fn mistakes_are_one_line_that_names_the_flag() {
        for (args, part) in [
            (&["marigram", "single", "--retention", "soon"][..], "--retention"),
            (&["marigram", "insert", "--max-series", "5"], "--max-series"),
            (&["marigram", "single", "--max-series", "many"], "--max-series"),
            (&["marigram", "store"], "store"),
            (&["marigram", "promqltest"], "<DIR>"),
        ] {
            let line = error(args);
            assert!(line.starts_with("error: ") && line.contains(part) && !line.contains('\n'), "{line}");
        }
    }
}
