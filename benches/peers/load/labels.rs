//! The labels of a series: those of its pod, a metric name, and up to two of its own, sorted by name as Prometheus sends
//! them, already in the wire format.
//!
//! There are five applications with 56 metric names each, 280 in all. Every pod is of one application.

use super::{BUCKETS, Class, POD_SERIES, class};

const APPLICATIONS: [(&str, &str); 5] =
    [("checkout", "shop"), ("search", "shop"), ("ledger", "payments"), ("gateway", "edge"), ("mailer", "notify")];
const CODES: [&str; 4] = ["200", "404", "429", "500"];
const METHODS: [&str; 3] = ["GET", "POST", "PUT"];
const BOUNDS: [&str; BUCKETS] = ["0.005", "0.01", "0.025", "0.05", "0.1", "0.25", "0.5", "1", "2.5", "+Inf"];
/// What integer counters count; each has several series.
const COUNTED: [&str; 9] = [
    "http_requests_total",
    "grpc_server_handled_total",
    "cache_lookups_total",
    "broker_queue_messages_total",
    "database_prepared_queries_total",
    "outgoing_call_retries_total",
    "network_bytes_total",
    "disk_operations_total",
    "structured_log_lines_total",
];
const TIMED: [&str; 2] = ["http_request_duration_seconds_bucket", "database_query_duration_seconds_bucket"];
const GAUGES: [&str; 25] = [
    "dispatch_queue_length_average",
    "open_connections_average",
    "board_temperature_celsius",
    "request_latency_seconds_mean",
    "write_batch_size_mean",
    "worker_thread_load_percent",
    "replication_lag_seconds",
    "oldest_backlog_entry_age_seconds",
    "pipeline_throughput_items",
    "pool_utilization_percent",
    "memory_resident_bytes",
    "memory_heap_bytes",
    "goroutine_stack_bytes",
    "memory_cached_bytes",
    "index_files_mapped_bytes",
    "volume_filesystem_used_bytes",
    "receive_window_bytes",
    "allocator_arena_reserved_bytes",
    "query_plan_cache_hit_ratio",
    "downstream_error_ratio",
    "memory_usage_ratio",
    "cpu_usage_ratio",
    "executor_saturation_ratio",
    "compression_ratio",
    "checkout_success_ratio",
];
const SECONDS: [&str; 10] = [
    "process_cpu_seconds_total",
    "cpu_user_seconds_total",
    "cpu_system_seconds_total",
    "cpu_throttled_seconds_total",
    "garbage_collection_pause_seconds_total",
    "io_wait_seconds_total",
    "mutex_contention_wait_seconds_total",
    "runnable_scheduler_delay_seconds_total",
    "tls_handshake_seconds_total",
    "upstream_response_wait_seconds_total",
];
const FIXED: [&str; 10] = [
    "binary_build_information_info",
    "process_start_time_seconds",
    "memory_limit_bytes",
    "container_cpu_limit_cores",
    "descriptors_max_open_files",
    "config_last_reload_successful",
    "autoscaler_replicas_desired",
    "connection_pool_size_max",
    "target_liveness_probe_up",
    "schema_migration_version_major",
];

/// All metric names.
pub(crate) fn names() -> Vec<String> {
    let metrics = COUNTED.iter().chain(&TIMED).chain(&GAUGES).chain(&SECONDS).chain(&FIXED);
    metrics.flat_map(|metric| APPLICATIONS.map(|(application, _)| format!("{application}_{metric}"))).collect()
}

/// The label `pod` of the pod with this number, as a replica set names its pods: a hash of the set, and a suffix.
pub(crate) fn pod_name(pod: u64) -> String {
    let (application, _) = APPLICATIONS[pod as usize % APPLICATIONS.len()];
    let set = (pod / 40 + 7).wrapping_mul(0x9e37_79b9_7f4a) & 0xf_ffff_ffff;
    format!("{application}-{set:09x}-{:05x}", (pod + 3).wrapping_mul(0x5bd1_e995) & 0xf_ffff)
}

/// Writes one label pair as a field of a series.
fn push(out: &mut Vec<u8>, name: &str, value: &[&str]) {
    let value_len: usize = value.iter().map(|part| part.len()).sum();
    // All lengths are below 128, so each takes one byte.
    out.extend_from_slice(&[0x0a, (name.len() + value_len + 4) as u8, 0x0a, name.len() as u8]);
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(&[0x12, value_len as u8]);
    value.iter().for_each(|part| out.extend_from_slice(part.as_bytes()));
}

/// The labels that all series of a pod share, in the wire format, cut where labels of a single series go between.
pub(crate) struct PodLabels {
    application: &'static str,
    cluster: Vec<u8>,
    container_to_job: Vec<u8>,
    namespace_to_pod: Vec<u8>,
}

impl PodLabels {
    /// Of the pod with this number.
    pub(crate) fn new(pod: u64) -> PodLabels {
        let (application, namespace) = APPLICATIONS[pod as usize % APPLICATIONS.len()];
        let node = pod / 30;
        let mut labels = PodLabels { application, cluster: vec![], container_to_job: vec![], namespace_to_pod: vec![] };
        push(&mut labels.cluster, "cluster", &["eu-west-1-prod"]);
        push(&mut labels.container_to_job, "container", &[application]);
        let host = format!("10.{}.{}.{}:8080", 32 + (pod >> 16), pod >> 8 & 255, pod & 255);
        push(&mut labels.container_to_job, "instance", &[&host]);
        push(&mut labels.container_to_job, "job", &[application]);
        push(&mut labels.namespace_to_pod, "namespace", &[namespace]);
        push(&mut labels.namespace_to_pod, "node", &[&format!("worker-{node:05}")]);
        push(&mut labels.namespace_to_pod, "pod", &[&pod_name(pod)]);
        labels
    }

    /// Appends the labels of series `at` of the pod.
    pub(crate) fn push_series(&self, at: usize, out: &mut Vec<u8>) {
        debug_assert!(at < POD_SERIES);
        let (class, nth) = class(at);
        let name = match class {
            Class::Counter => COUNTED[nth % COUNTED.len()],
            Class::Bucket => TIMED[nth / BUCKETS],
            Class::Walk | Class::Bytes | Class::Ratio | Class::Quotient => GAUGES[nth],
            Class::Seconds => SECONDS[nth],
            Class::Constant => FIXED[nth],
        };
        push(out, "__name__", &[self.application, "_", name]);
        out.extend_from_slice(&self.cluster);
        if class == Class::Counter {
            push(out, "code", &[CODES[nth / COUNTED.len()]]);
        }
        out.extend_from_slice(&self.container_to_job);
        match class {
            Class::Counter => push(out, "method", &[METHODS[nth % METHODS.len()]]),
            Class::Bucket => push(out, "le", &[BOUNDS[nth % BUCKETS]]),
            _ => {}
        }
        out.extend_from_slice(&self.namespace_to_pod);
    }
}
