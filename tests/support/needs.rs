//! What whole-system tests need besides Rust and a C compiler, and where it is: paths in environment variables.

use std::path::PathBuf;

/// One thing that may be absent.
pub(crate) struct Need {
    /// Names the path.
    pub(crate) variable: &'static str,
    /// What lies there.
    pub(crate) what: &'static str,
    /// Which tests are left out without it.
    pub(crate) tests: &'static str,
}

/// A real Prometheus.
pub(crate) const PROMETHEUS: Need = Need {
    variable: "MARIGRAM_PROMETHEUS",
    what: "a Prometheus binary",
    tests: "real_prometheus, prometheus_reads, federate, native_histograms, same_answers, cluster_prometheus",
};
/// Prometheus' tool.
pub(crate) const PROMTOOL: Need =
    Need { variable: "MARIGRAM_PROMTOOL", what: "a promtool binary", tests: "promtool in prometheus_reads" };
/// A real node_exporter.
pub(crate) const NODE_EXPORTER: Need = Need {
    variable: "MARIGRAM_NODE_EXPORTER",
    what: "a node_exporter binary",
    tests: "real_prometheus, cluster_prometheus",
};
/// A real S3 server.
pub(crate) const MINIO: Need = Need {
    variable: "MARIGRAM_MINIO",
    what: "a MinIO binary",
    tests: "bucket, cluster_prometheus, cluster_replay, and what stops MinIO in cluster_too_much_dies",
};
/// Recorded traffic.
pub(crate) const REAL_SCRAPES: Need = Need {
    variable: "MARIGRAM_REAL_SCRAPES",
    what: "a folder of recorded remote-write traffic (*.rw1.zst)",
    tests: "replay, replay_driven, recorded_requests, cluster_replay",
};
/// Prometheus' own test scripts.
pub(crate) const PROMQLTEST: Need = Need {
    variable: "PROMQLTEST_DIR",
    what: "the folder of Prometheus' promqltest scripts (*.test)",
    tests: "the tests that count passing promqltest cases",
};

/// All of them.
#[allow(dead_code, reason = "used by left_out alone")]
pub(crate) const ALL: [&Need; 6] = [&PROMETHEUS, &PROMTOOL, &NODE_EXPORTER, &MINIO, &REAL_SCRAPES, &PROMQLTEST];

impl Need {
    /// Where it is; `None` if the variable is unset or empty.
    pub(crate) fn path(&self) -> Option<PathBuf> {
        std::env::var_os(self.variable).filter(|value| !value.is_empty()).map(PathBuf::from)
    }

    /// Where it is; without it says which test is left out.
    #[allow(dead_code, reason = "not used by left_out")]
    pub(crate) fn path_or_skip(&self, test: &str) -> Option<PathBuf> {
        let path = self.path();
        if path.is_none() {
            eprintln!("LEFT OUT: {test}: {} is not set to {}", self.variable, self.what);
        }
        path
    }
}
