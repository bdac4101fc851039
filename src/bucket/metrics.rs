//! What reading the bucket costs, as metrics.

use std::fmt::Write;

use marigram_storage::bucket::BucketStats;

/// Adds the metrics of a query node's bucket to `out`, in the classic text format.
pub fn write(out: &mut String, stats: &BucketStats) {
    let mut family = |name: &str, kind: &str, help: &str, values: &[(&str, u64)]| {
        let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}");
        for (labels, value) in values {
            let _ = writeln!(out, "{name}{labels} {value}");
        }
    };
    family(
        "marigram_bucket_requests_total",
        "counter",
        "Ranges that were asked of the bucket for queries.",
        &[("", stats.requests)],
    );
    family(
        "marigram_bucket_fetched_bytes_total",
        "counter",
        "Bytes that came from the bucket for queries.",
        &[("", stats.fetched_bytes)],
    );
    family(
        "marigram_bucket_cache_hits_total",
        "counter",
        "Look-ups that the cache of the bucket answered.",
        &[("{kind=\"index\"}", stats.index_hits), ("{kind=\"page\"}", stats.page_hits)],
    );
    family(
        "marigram_bucket_cache_misses_total",
        "counter",
        "Look-ups that the cache of the bucket did not answer.",
        &[("{kind=\"index\"}", stats.index_misses), ("{kind=\"page\"}", stats.page_misses)],
    );
    family(
        "marigram_bucket_cache_bytes",
        "gauge",
        "Bytes that the cache of the bucket holds.",
        &[("", stats.cached_bytes)],
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_metrics_parse() {
        let stats = BucketStats { requests: 7, page_hits: 3, ..BucketStats::default() };
        let mut out = String::new();
        write(&mut out, &stats);
        let lines = out.lines().map(|line| Ok(line.to_owned()));
        let samples = prometheus_parse::Scrape::parse(lines).unwrap().samples;
        let value = |metric: &str, kind: Option<&str>| {
            let found = samples.iter().find(|sample| sample.metric == metric && sample.labels.get("kind") == kind);
            found.map(|sample| sample.value.clone())
        };
        assert_eq!(samples.len(), 7);
        assert_eq!(value("marigram_bucket_requests_total", None), Some(prometheus_parse::Value::Counter(7.0)));
        assert_eq!(
            value("marigram_bucket_cache_hits_total", Some("page")),
            Some(prometheus_parse::Value::Counter(3.0))
        );
    }
}
