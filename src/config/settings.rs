//! What the roles take: everything checked, every unit in the name.

use std::path::PathBuf;
use std::time::Duration;

use marigram_storage::db::DbOptions;

use super::args::SingleArgs;
use super::units::as_ms;

/// Settings of one process.
#[derive(Debug, Clone)]
pub struct Settings {
    /// `HOST:PORT` of the HTTP API.
    pub http_listen: String,
    /// Connections at once.
    pub http_max_connections: usize,
    /// Where all data lies.
    pub data_dir: PathBuf,
    /// Whether the admin API is served.
    pub admin_api: bool,
    /// How often the own metrics are stored; `None`: never.
    pub self_scrape_interval: Option<Duration>,
    /// How often the store looks for due work (sealing, retention, truncation of the log); `None`: only when a test
    /// calls for it.
    pub maintenance_interval: Option<Duration>,
    /// Queries.
    pub query: QuerySettings,
    /// Writes.
    pub write: WriteSettings,
    /// The store.
    pub store: DbOptions,
}

/// Limits of queries.
#[derive(Debug, Clone)]
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
    /// Bytes of fetched data per query.
    pub memory_budget_bytes: u64,
}

/// Limits of writes.
#[derive(Debug, Clone)]
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

/// A flag whose value does not make sense.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("error: invalid value for --{flag}: {reason}")]
pub struct SettingsError {
    flag: &'static str,
    reason: String,
}

impl Settings {
    /// Checks what was typed.
    ///
    /// # Errors
    /// One line that names the flag.
    pub fn from_args(args: SingleArgs) -> Result<Self, SettingsError> {
        let at_least_one = |flag, n: usize| match n {
            0 => Err(SettingsError { flag, reason: "must be at least 1".to_owned() }),
            n => Ok(n),
        };
        let positive = |flag, duration: Duration| match duration {
            Duration::ZERO => Err(SettingsError { flag, reason: "must be longer than 0".to_owned() }),
            duration => Ok(duration),
        };
        let size = |flag, bytes: u64| match usize::try_from(bytes) {
            Ok(0) | Err(_) => {
                Err(SettingsError { flag, reason: "must be at least 1 byte, and fit in memory".to_owned() })
            }
            Ok(bytes) => Ok(bytes),
        };
        if args.data_dir.as_os_str().is_empty() {
            return Err(SettingsError { flag: "data-dir", reason: "must not be empty".to_owned() });
        }
        let (query, write, store) = (args.query, args.write, args.store);
        let max_request_bytes = size("write-max-request-bytes", write.write_max_request_bytes)?;
        let max_inflight_bytes = size("write-max-inflight-bytes", write.write_max_inflight_bytes)?;
        // The body, decompressed, and what it decodes to: with less, the largest request would be put off for ever.
        if max_inflight_bytes < max_request_bytes.saturating_mul(3) {
            let reason = "must hold one request three times (see --write-max-request-bytes)".to_owned();
            return Err(SettingsError { flag: "write-max-inflight-bytes", reason });
        }
        Ok(Settings {
            http_listen: args.http_listen,
            http_max_connections: at_least_one("http-max-connections", args.http_max_connections)?,
            data_dir: args.data_dir,
            admin_api: args.enable_admin_api,
            self_scrape_interval: Some(args.self_scrape_interval).filter(|interval| !interval.is_zero()),
            maintenance_interval: Some(MAINTENANCE_INTERVAL),
            query: QuerySettings {
                timeout: positive("query-timeout", query.query_timeout)?,
                max_concurrency: at_least_one("query-max-concurrency", query.query_max_concurrency)?,
                max_waiting: query.query_max_waiting,
                max_samples: at_least_one("query-max-samples", query.query_max_samples)?,
                lookback_ms: as_ms(positive("query-lookback-delta", query.query_lookback_delta)?),
                memory_budget_bytes: query.query_memory_budget,
            },
            write: WriteSettings {
                max_labels: at_least_one("write-max-labels", write.write_max_labels)?,
                max_name_bytes: size("write-max-label-name-bytes", write.write_max_label_name_bytes)?,
                max_value_bytes: size("write-max-label-value-bytes", write.write_max_label_value_bytes)?,
                max_request_bytes,
                max_concurrency: at_least_one("write-max-concurrency", write.write_max_concurrency)?,
                max_inflight_bytes,
                body_timeout: positive("write-body-timeout", write.write_body_timeout)?,
            },
            store: DbOptions {
                retention_ms: as_ms(args.retention),
                head_series_max: at_least_one("max-series", store.max_series)?,
                tenants_max: at_least_one("max-tenants", store.max_tenants)?,
                disk_reserve_bytes: store.disk_reserve,
                accept_loss: args.accept_loss,
                ..DbOptions::default()
            },
        })
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
            Command::Single(args) => Settings::from_args(*args),
            Command::Promqltest { .. } => unreachable!("single was asked for"),
        }
    }

    #[test]
    fn defaults_are_those_of_prometheus() {
        let settings = settings(&[]).unwrap();
        assert_eq!(settings.store.retention_ms, 15 * 24 * 3_600_000);
        assert_eq!(settings.query.timeout, Duration::from_secs(120));
        assert_eq!((settings.query.max_concurrency, settings.query.max_samples), (20, 50_000_000));
        assert_eq!(settings.query.lookback_ms, 300_000);
    }

    #[test]
    fn zero_is_for_ever_or_never_where_it_makes_sense_and_refused_elsewhere() {
        let off = settings(&["--retention", "0", "--self-scrape-interval", "0"]).unwrap();
        assert_eq!(off.store.retention_ms, 0);
        assert_eq!(off.self_scrape_interval, None);
        for flag in ["query-timeout", "query-max-concurrency", "max-series", "write-max-request-bytes"] {
            let error = settings(&[&format!("--{flag}"), "0"]).unwrap_err();
            assert_eq!(error.flag, flag);
        }
    }
}
