//! What the write path counts.

use std::sync::Arc;

use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

use super::budget::DeliveryBudget;
use crate::telemetry::{single, to_classic_text};

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct NodeLabels {
    node: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct CallLabels {
    node: String,
    outcome: &'static str,
}

/// How a call to a storage node ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// All of it is durable there.
    Stored,
    /// The node did not know some of the series, and gets their labels.
    Unknown,
    /// Refused, or not answered.
    Failed,
}

impl Outcome {
    fn as_str(self) -> &'static str {
        match self {
            Outcome::Stored => "stored",
            Outcome::Unknown => "unknown_series",
            Outcome::Failed => "failed",
        }
    }
}

/// The counters, and the registry that writes them.
#[derive(Debug)]
pub struct InsertMetrics {
    registry: Registry,
    calls: Family<CallLabels, Counter>,
    series: Family<NodeLabels, Counter>,
    labelled: Family<NodeLabels, Counter>,
    stand_ins: Family<NodeLabels, Counter>,
    slow: Family<NodeLabels, Counter>,
    quorum_failures: Counter,
    refused_for_budget: Counter,
    short: Counter,
}

impl Default for InsertMetrics {
    fn default() -> Self {
        let mut metrics = InsertMetrics {
            registry: Registry::default(),
            calls: Family::default(),
            series: Family::default(),
            labelled: Family::default(),
            stand_ins: Family::default(),
            slow: Family::default(),
            quorum_failures: Counter::default(),
            refused_for_budget: Counter::default(),
            short: Counter::default(),
        };
        let registry = &mut metrics.registry;
        let help = "Calls to storage nodes by how they ended";
        registry.register("marigram_insert_calls", help, metrics.calls.clone());
        let help = "Copies of series sent to storage nodes";
        registry.register("marigram_insert_series_sent", help, metrics.series.clone());
        let help = "Copies of series sent with their labels";
        registry.register("marigram_insert_labelled_series_sent", help, metrics.labelled.clone());
        let help = "Copies of series sent to a node that stands in for an owner";
        registry.register("marigram_insert_stand_in_series_sent", help, metrics.stand_ins.clone());
        let help = "Calls that were not answered in time, so that other nodes were asked too";
        registry.register("marigram_insert_slow_calls", help, metrics.slow.clone());
        let help = "Writes answered 503 because no write quorum could be had";
        registry.register("marigram_insert_quorum_failures", help, metrics.quorum_failures.clone());
        let help = "Writes answered 503 because too many bytes waited for delivery";
        registry.register("marigram_insert_delivery_refusals", help, metrics.refused_for_budget.clone());
        let help = "Acknowledged series of which fewer copies could be delivered than the replication factor";
        registry.register("marigram_insert_short_series", help, metrics.short.clone());
        metrics
    }
}

impl InsertMetrics {
    /// Counts a call that is sent.
    pub fn sent(&self, node: &str, series: usize, labelled: usize) {
        let labels = NodeLabels { node: node.to_owned() };
        self.series.get_or_create(&labels).inc_by(series as u64);
        self.labelled.get_or_create(&labels).inc_by(labelled as u64);
    }

    /// Counts copies that are sent to a stand-in.
    pub fn stood_in(&self, node: &str, series: usize) {
        self.stand_ins.get_or_create(&NodeLabels { node: node.to_owned() }).inc_by(series as u64);
    }

    /// Counts a call that ended.
    pub fn ended(&self, node: &str, outcome: Outcome) {
        self.calls.get_or_create(&CallLabels { node: node.to_owned(), outcome: outcome.as_str() }).inc();
    }

    /// Counts a call that takes too long.
    pub fn slow(&self, node: &str) {
        self.slow.get_or_create(&NodeLabels { node: node.to_owned() }).inc();
    }

    /// Counts a write for which there was no quorum.
    pub fn no_quorum(&self) {
        self.quorum_failures.inc();
    }

    /// Counts a write for which there was no room.
    pub fn no_room(&self) {
        self.refused_for_budget.inc();
    }

    /// Counts series with fewer copies than there should be.
    pub fn short(&self, series: usize) {
        self.short.inc_by(series as u64);
    }

    /// Adds all of them to `out`, in the classic text format.
    pub fn write(&self, out: &mut String, budget: &Arc<DeliveryBudget>) {
        let mut open_metrics = String::new();
        // Writing to a string cannot fail.
        let _ = text::encode(&mut open_metrics, &self.registry);
        out.push_str(&to_classic_text(&open_metrics));
        let help = "Bytes of writes whose copies are being delivered";
        single(out, "marigram_insert_delivery_bytes", "gauge", help, budget.used());
        let help = "Bytes of such writes that are held at most";
        single(out, "marigram_insert_delivery_bytes_max", "gauge", help, budget.bytes_max());
    }
}
