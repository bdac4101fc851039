//! The command line, as it is typed. Help texts here are the source of `docs/flags.md`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};

use super::units::{parse_bytes, parse_duration};

/// A Prometheus-compatible metrics store whose acknowledged samples are durable.
#[derive(Debug, Parser)]
#[command(name = "marigram", version, disable_help_subcommand = false, max_term_width = 110)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run everything in one process on a local disk.
    Single(Box<SingleArgs>),
    /// Run Prometheus' PromQL test scripts (*.test) of a directory and say how many cases pass.
    Promqltest {
        /// The directory that holds the scripts.
        dir: PathBuf,
        /// Print every case that does not pass.
        #[arg(short, long)]
        verbose: bool,
    },
}

/// The flags of `marigram single`.
#[derive(Debug, Clone, Args)]
pub struct SingleArgs {
    /// Address of the HTTP API; port 0 lets the system choose.
    #[arg(long, env = "MARIGRAM_HTTP_LISTEN", value_name = "HOST:PORT", default_value = "127.0.0.1:9291")]
    pub http_listen: String,

    /// Connections held at once; further clients wait to be accepted.
    #[arg(long, env = "MARIGRAM_HTTP_MAX_CONNECTIONS", value_name = "N", default_value_t = 512)]
    pub http_max_connections: usize,

    /// Directory that holds all data; made if absent, used by one process at a time.
    #[arg(long, env = "MARIGRAM_DATA_DIR", value_name = "DIR", default_value = "./marigram-data")]
    pub data_dir: PathBuf,

    /// How long samples are kept, such as 15d or 1y; 0 keeps them for ever. Older samples are refused.
    #[arg(long, env = "MARIGRAM_RETENTION", value_name = "DURATION", default_value = "15d", value_parser = parse_duration)]
    pub retention: Duration,

    /// Serve the admin API (/api/v1/admin/tsdb/...). It has no authentication of its own.
    #[arg(long, env = "MARIGRAM_ENABLE_ADMIN_API")]
    pub enable_admin_api: bool,

    /// How often the process stores its own /metrics; 0 never.
    #[arg(long, env = "MARIGRAM_SELF_SCRAPE_INTERVAL", value_name = "DURATION", default_value = "15s", value_parser = parse_duration)]
    pub self_scrape_interval: Duration,

    /// Start although data on disk is damaged and no other copy exists; what was lost is logged and counted.
    #[arg(long, env = "MARIGRAM_ACCEPT_LOSS")]
    pub accept_loss: bool,

    /// How much is logged to stderr: error, warn, info, debug, trace, or a filter as RUST_LOG takes it. RUST_LOG, if set, wins.
    #[arg(long, env = "MARIGRAM_LOG_LEVEL", value_name = "LEVEL", default_value = "info")]
    pub log_level: String,

    /// Limits of queries.
    #[command(flatten, next_help_heading = "Query limits")]
    pub query: QueryArgs,

    /// Limits of writes.
    #[command(flatten, next_help_heading = "Write limits")]
    pub write: WriteArgs,

    /// Limits of the store.
    #[command(flatten, next_help_heading = "Store limits")]
    pub store: StoreArgs,
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

    /// Bytes of compressed data that one query may hold at once.
    #[arg(long, env = "MARIGRAM_QUERY_MEMORY_BUDGET", value_name = "SIZE", default_value = "1GiB", value_parser = parse_bytes)]
    pub query_memory_budget: u64,

    /// Queries that may wait for their turn; one more is answered 503.
    #[arg(long, env = "MARIGRAM_QUERY_MAX_WAITING", value_name = "N", default_value_t = 1000)]
    pub query_max_waiting: usize,
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
    /// Series that may be in memory at once; samples of a new one beyond are answered 503.
    #[arg(long, env = "MARIGRAM_MAX_SERIES", value_name = "N", default_value_t = 5_000_000)]
    pub max_series: usize,

    /// Tenants that may exist; writes of a new one beyond are answered 503.
    #[arg(long, env = "MARIGRAM_MAX_TENANTS", value_name = "N", default_value_t = 1000)]
    pub max_tenants: usize,

    /// Free space below which writes are answered 503 while queries go on.
    #[arg(long, env = "MARIGRAM_DISK_RESERVE", value_name = "SIZE", default_value = "512MiB", value_parser = parse_bytes)]
    pub disk_reserve: u64,
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
    use clap::CommandFactory;

    fn error(args: &[&str]) -> String {
        one_line(&Cli::try_parse_from(args).unwrap_err())
    }

    #[test]
    fn the_command_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn mistakes_are_one_line_that_names_the_flag() {
        for (args, part) in [
            (&["marigram", "single", "--retention", "soon"][..], "--retention"),
            (&["marigram", "single", "--grpc-listen", "x"], "--grpc-listen"),
            (&["marigram", "single", "--max-series", "many"], "--max-series"),
            (&["marigram", "storage"], "storage"),
            (&["marigram", "promqltest"], "<DIR>"),
        ] {
            let line = error(args);
            assert!(line.starts_with("error: ") && line.contains(part) && !line.contains('\n'), "{line}");
        }
    }
}
