//! The process's own metrics and log.
//!
//! Counters that requests move live here; what the store and the kernel know is read when somebody asks. The text is
//! the one that Prometheus scrapes (format 0.0.4).

pub mod log;
pub(crate) mod process;
pub(crate) mod query_cache;

use std::fmt::Write;
use std::time::Duration;

use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use crate::app::App;
use crate::http::admission::{Gate, Refused};

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct RequestLabels {
    handler: String,
    code: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct HandlerLabels {
    handler: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ResultLabels {
    result: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ReasonLabels {
    reason: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct BuildLabels {
    version: &'static str,
}

/// Upper bounds of the request durations, seconds.
const DURATION_BUCKETS: [f64; 12] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0, 30.0, 120.0];

/// The counters, and the registry that writes them.
#[derive(Debug)]
pub struct Telemetry {
    registry: Registry,
    started_ms: i64,
    requests: Family<RequestLabels, Counter>,
    durations: Family<HandlerLabels, Histogram, fn() -> Histogram>,
    samples: Counter,
    refused: Family<ReasonLabels, Counter>,
    exemplars_ignored: Counter,
    queries: Family<ResultLabels, Counter>,
    queries_refused: Family<ReasonLabels, Counter>,
    queries_slow: Counter,
    query_waits: Histogram,
}

impl Telemetry {
    /// All counters at zero.
    pub fn new(started_ms: i64) -> Self {
        let mut registry = Registry::default();
        let build: Family<BuildLabels, Gauge> = Family::default();
        build.get_or_create(&BuildLabels { version: env!("CARGO_PKG_VERSION") }).set(1);
        registry.register("marigram_build_info", "The version of the program", build);
        let new_histogram: fn() -> Histogram = || Histogram::new(DURATION_BUCKETS);
        let telemetry = Telemetry {
            registry: Registry::default(),
            started_ms,
            requests: Family::default(),
            durations: Family::new_with_constructor(new_histogram),
            samples: Counter::default(),
            refused: Family::default(),
            exemplars_ignored: Counter::default(),
            queries: Family::default(),
            queries_refused: Family::default(),
            queries_slow: Counter::default(),
            query_waits: Histogram::new(DURATION_BUCKETS),
        };
        registry.register("marigram_http_requests", "Requests answered", telemetry.requests.clone());
        let help = "Time from a request's head to its answer's head";
        registry.register("marigram_http_request_duration_seconds", help, telemetry.durations.clone());
        registry.register("marigram_ingest_samples", "Samples stored", telemetry.samples.clone());
        registry.register("marigram_ingest_refused_samples", "Samples refused", telemetry.refused.clone());
        let help = "Exemplars received; they are not stored";
        registry.register("marigram_ingest_exemplars_ignored", help, telemetry.exemplars_ignored.clone());
        registry.register("marigram_queries", "Queries evaluated", telemetry.queries.clone());
        let help = "Read requests that got no place: the queue was full, or they waited for too long";
        registry.register("marigram_queries_refused", help, telemetry.queries_refused.clone());
        let help = "Read requests that took longer than --query-log-slow";
        registry.register("marigram_queries_slow", help, telemetry.queries_slow.clone());
        let help = "Time that read requests waited for their place";
        registry.register("marigram_query_queue_duration_seconds", help, telemetry.query_waits.clone());
        for reason in ["queue_full", "timeout"] {
            drop(telemetry.queries_refused.get_or_create(&ReasonLabels { reason }));
        }
        for result in ["success", "error"] {
            drop(telemetry.queries.get_or_create(&ResultLabels { result }));
        }
        Telemetry { registry, ..telemetry }
    }

    /// When the server was started, milliseconds since the Unix epoch.
    pub fn started_ms(&self) -> i64 {
        self.started_ms
    }

    /// Counts an answered request.
    pub fn request_done(&self, handler: &str, code: u16, elapsed: Duration) {
        let labels = RequestLabels { handler: handler.to_owned(), code: code.to_string() };
        self.requests.get_or_create(&labels).inc();
        self.durations.get_or_create(&HandlerLabels { handler: handler.to_owned() }).observe(elapsed.as_secs_f64());
    }

    /// Counts a query.
    pub fn query_done(&self, success: bool) {
        let result = if success { "success" } else { "error" };
        self.queries.get_or_create(&ResultLabels { result }).inc();
    }

    /// Counts a read request that got no place.
    pub fn query_refused(&self, refused: Refused) {
        let reason = match refused {
            Refused::QueueFull => "queue_full",
            Refused::TimedOut => "timeout",
        };
        self.queries_refused.get_or_create(&ReasonLabels { reason }).inc();
    }

    /// Counts how long a read request waited for its place.
    pub fn query_waited(&self, waited: Duration) {
        self.query_waits.observe(waited.as_secs_f64());
    }

    /// Counts a read request that took long.
    pub fn slow_query(&self) {
        self.queries_slow.inc();
    }

    /// Counts a stored request's samples and ignored exemplars.
    pub fn stored(&self, samples: u64, exemplars_ignored: u64) {
        self.samples.inc_by(samples);
        self.exemplars_ignored.inc_by(exemplars_ignored);
    }

    /// Counts samples that were refused.
    pub fn refused(&self, reason: &'static str, samples: u64) {
        self.refused.get_or_create(&ReasonLabels { reason }).inc_by(samples);
    }

    /// All metrics as text.
    pub fn render(&self, app: &App) -> String {
        let mut open_metrics = String::new();
        // Writing to a string cannot fail.
        let _ = text::encode(&mut open_metrics, &self.registry);
        let mut out = to_classic_text(&open_metrics);
        if let Some(db) = app.store() {
            store_metrics(&mut out, &db.stats(), db.poisoned().is_some());
        }
        if let Some(service) = app.service() {
            service.metrics(&mut out);
        }
        if app.settings.role.answers_queries() {
            gate_metrics(&mut out, &[("queries", &app.queries), ("lookups", &app.lookups)]);
        }
        let ready = u64::from(app.readiness().is_ok());
        single(&mut out, "marigram_ready", "gauge", "Whether the process does its work", ready);
        process::write(&mut out, self.started_ms);
        out
    }
}

fn store_metrics(out: &mut String, stats: &marigram_storage::db::DbStats, poisoned: bool) {
    let mut metric = |name: &str, kind: &str, help: &str, value: u64| {
        single(out, &format!("marigram_storage_{name}"), kind, help, value);
    };
    metric("head_series", "gauge", "Series in memory", stats.head_series);
    metric("head_samples", "gauge", "Samples in memory, repeated ones included", stats.head_samples);
    metric("head_partitions", "gauge", "Open windows, the one for late samples included", stats.head_partitions);
    metric("tenants", "gauge", "Tenants with data in memory", stats.tenants);
    metric("series_created_total", "counter", "Series met for the first time", stats.series_created);
    metric("wal_bytes_total", "counter", "Bytes written to the write-ahead log", stats.wal_bytes);
    metric("wal_fsyncs_total", "counter", "Commit groups of the write-ahead log, one fsync each", stats.wal_commits);
    metric("wal_segments", "gauge", "Files of the write-ahead log", stats.wal_segments);
    metric("blocks", "gauge", "Blocks on disk", stats.blocks);
    metric("block_bytes", "gauge", "Size of the blocks on disk", stats.block_bytes);
    metric("block_samples", "gauge", "Samples in the blocks on disk", stats.block_samples);
    metric("blocks_sealed_total", "counter", "Blocks written", stats.blocks_sealed);
    metric("blocks_dropped_total", "counter", "Blocks dropped by retention", stats.blocks_dropped);
    metric("damage", "gauge", "Losses found and not accepted", stats.damage);
    metric("damage_accepted", "gauge", "Losses accepted by --accept-loss", stats.damage_accepted);
    metric("catalog_number", "gauge", "Number of the newest catalog", stats.catalog_number);
    metric("poisoned", "gauge", "1 once a failed disk operation has stopped writes", u64::from(poisoned));
}

/// How full the places for read requests are.
fn gate_metrics(out: &mut String, gates: &[(&str, &Gate)]) {
    let mut family = |name: &str, help: &str, value: &dyn Fn(&Gate) -> usize| {
        let _ = writeln!(out, "# HELP marigram_query_{name} {help}.\n# TYPE marigram_query_{name} gauge");
        for (kind, gate) in gates {
            let _ = writeln!(out, "marigram_query_{name}{{kind=\"{kind}\"}} {}", value(gate));
        }
    };
    family("running", "Read requests that are worked on", &Gate::running);
    family("waiting", "Read requests that wait for their place", &Gate::waiting);
}

/// Writes a metric that has no labels.
pub(crate) fn single(out: &mut String, name: &str, kind: &str, help: &str, value: impl std::fmt::Display) {
    let _ = writeln!(out, "# HELP {name} {help}.\n# TYPE {name} {kind}\n{name} {value}");
}

/// OpenMetrics to the classic text: a counter's family is named with its `_total`, and there is no unit and no end mark.
pub(crate) fn to_classic_text(open_metrics: &str) -> String {
    let mut out = String::with_capacity(open_metrics.len());
    let mut help = None;
    for line in open_metrics.lines() {
        if let Some(text) = line.strip_prefix("# HELP ") {
            help = text.split_once(' ');
        } else if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|text| text.split_once(' ')) {
            let suffix = if kind == "counter" { "_total" } else { "" };
            if let Some((_, help)) = help.take().filter(|(of, _)| *of == name) {
                let _ = writeln!(out, "# HELP {name}{suffix} {help}");
            }
            let _ = writeln!(out, "# TYPE {name}{suffix} {kind}");
        } else if !line.starts_with('#') {
            out.push_str(line);
            out.push('\n');
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_named_as_they_are_queried() {
        let open_metrics = "# HELP a_b Text: x y.\n# TYPE a_b counter\n# UNIT a_b bytes\na_b_total{c=\"d\"} 1\n# EOF\n";
        let classic = "# HELP a_b_total Text: x y.\n# TYPE a_b_total counter\na_b_total{c=\"d\"} 1\n";
        assert_eq!(to_classic_text(open_metrics), classic);
    }
}
