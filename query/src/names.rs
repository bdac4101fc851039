//! The labels that say what a series measures. Whatever changes the meaning of the values drops them.

use marigram_storage::model::labels::{Labels, METRIC_NAME};

/// Whether a label names the metric, its type or its unit.
pub(crate) fn is_metadata(name: &str) -> bool {
    name == METRIC_NAME || name == "__type__" || name == "__unit__"
}

/// The labels without those.
pub(crate) fn without_metadata(labels: &Labels) -> Labels {
    labels.without(is_metadata)
}
