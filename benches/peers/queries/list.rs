//! What is asked: the queries of dashboards and alerts over the load `main` (50,000 series, two hours at 15 s).

use super::Ask;

/// The end of the data is `end`; ranges end there.
const HOUR_S: i64 = 3600;

/// A query, by the name under which it is reported.
pub(super) struct Listed {
    pub(super) name: &'static str,
    pub(super) ask: Ask,
}

/// All of them, cheap ones first within a kind.
pub(super) fn all(pod: &str) -> Vec<Listed> {
    let range = |name, query: &str, range_s, step_s| Listed {
        name,
        ask: Ask::Range { query: query.replace("$pod", pod), range_s, step_s },
    };
    let instant = |name, query: &str| Listed { name, ask: Ask::Instant { query: query.replace("$pod", pod) } };
    let lookup = |name, path: &str, parameters: &[(&'static str, &str)]| Listed {
        name,
        ask: Ask::Lookup {
            path: path.into(),
            parameters: parameters.iter().map(|(key, value)| (*key, value.replace("$pod", pod))).collect(),
        },
    };
    let no_pod = "by (namespace, job)";
    vec![
        range("01_single_series", r#"checkout_memory_resident_bytes{pod="$pod"}"#, HOUR_S, 15),
        range("02_single_rate", r#"rate(checkout_process_cpu_seconds_total{pod="$pod"}[5m])"#, HOUR_S, 15),
        range("03_sum_by_rate_1h", "sum by (code) (rate(checkout_http_requests_total[5m]))", HOUR_S, 15),
        range("04_sum_by_rate_all", r#"sum by (job) (rate({__name__=~".+_http_requests_total"}[5m]))"#, HOUR_S, 60),
        range(
            "05_histogram_quantile",
            "histogram_quantile(0.99, sum by (le) (rate(search_http_request_duration_seconds_bucket[5m])))",
            HOUR_S,
            15,
        ),
        instant("06_topk", "topk(10, gateway_memory_resident_bytes)"),
        range("07_avg_over_time", "avg_over_time(ledger_cpu_usage_ratio[10m])", HOUR_S, 60),
        range("08_regex_two", r#"sum(mailer_open_connections_average{node=~"worker-0000[12]"})"#, HOUR_S, 15),
        range("09_regex_pod", r#"checkout_memory_heap_bytes{pod=~"$pod|nothing.*"}"#, HOUR_S, 15),
        range(
            "10_join_group_left",
            "search_memory_resident_bytes * on (pod) group_left (node) search_binary_build_information_info",
            HOUR_S,
            60,
        ),
        range(
            "11_ratio",
            r#"sum by (job) (rate(gateway_http_requests_total{code=~"5.."}[5m])) / sum by (job) (rate(gateway_http_requests_total[5m]))"#,
            HOUR_S,
            15,
        ),
        range("12_max_subquery", "max_over_time(sum(rate(ledger_http_requests_total[1m]))[10m:1m])", HOUR_S, 60),
        instant("13_count_by", r#"count by (namespace) ({__name__=~"checkout_.+"})"#),
        range("14_quantile_over_time", "quantile_over_time(0.9, mailer_memory_usage_ratio[30m])", HOUR_S, 60),
        range("15_absent", r#"absent(checkout_nothing_of_this_name{pod="$pod"})"#, HOUR_S, 15),
        instant("16_job_everything", r#"count({job="checkout"})"#),
        range(
            "17_memory_saturation",
            &format!("max {no_pod} (checkout_memory_resident_bytes / checkout_memory_limit_bytes)"),
            HOUR_S,
            60,
        ),
        lookup("18_label_values_pod", "/api/v1/label/pod/values", &[]),
        lookup("19_label_values_matched", "/api/v1/label/pod/values", &[("match[]", r#"{namespace="shop"}"#)]),
        lookup("20_labels", "/api/v1/labels", &[]),
        lookup("21_series", "/api/v1/series", &[("match[]", r#"{pod="$pod"}"#)]),
        range("22_sum_of_all", r#"sum({namespace="shop"})"#, HOUR_S, 60),
        range("23_stddev_2h", "stddev by (node) (gateway_request_latency_seconds_mean)", 2 * HOUR_S, 15),
        range("24_increase_day_like", "sum(increase(search_grpc_server_handled_total[1h]))", 2 * HOUR_S, 60),
        range(
            "25_offset_compare",
            "sum(mailer_memory_heap_bytes) / sum(mailer_memory_heap_bytes offset 30m)",
            HOUR_S,
            15,
        ),
        range("26_predict_linear", "predict_linear(ledger_volume_filesystem_used_bytes[30m], 3600)", HOUR_S, 60),
        range(
            "27_and_filter",
            "checkout_cpu_usage_ratio > 0.5 and on (pod) checkout_memory_usage_ratio > 0.5",
            HOUR_S,
            60,
        ),
        range("28_count_values", r#"count_values("v", checkout_target_liveness_probe_up)"#, HOUR_S, 60),
    ]
}
