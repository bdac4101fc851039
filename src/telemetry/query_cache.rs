//! How the cache of range queries is doing.

use std::fmt::Write;

use marigram_query::cache::CacheStats;

use super::single;

/// Writes the cache's metrics.
pub(crate) fn write(out: &mut String, stats: &CacheStats) {
    let name = "marigram_query_cache_requests_total";
    let help = "Range queries that asked the cache, by how much of their answers it had";
    let _ = writeln!(out, "# HELP {name} {help}.\n# TYPE {name} counter");
    for (result, count) in stats.requests {
        let _ = writeln!(out, "{name}{{result=\"{}\"}} {count}", result.as_str());
    }
    single(out, "marigram_query_cache_bytes", "gauge", "Memory of the answers that are kept", stats.bytes);
    single(out, "marigram_query_cache_queries", "gauge", "Range queries of which answers are kept", stats.entries);
    let help = "Range queries whose answers were pushed out by others";
    single(out, "marigram_query_cache_evictions_total", "counter", help, stats.evictions);
}
