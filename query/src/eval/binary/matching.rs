//! How the series of two vectors find each other, and what labels their result has.

use hashbrown::HashSet;
use marigram_storage::model::labels::{Labels, METRIC_NAME};

use crate::names::is_metadata;
use crate::parse::ast::{Cardinality, Matching};

/// A matching with its labels as a set.
pub(super) struct Matcher<'q> {
    matching: &'q Matching,
    names: HashSet<&'q str>,
}

impl<'q> Matcher<'q> {
    pub(super) fn new(matching: &'q Matching) -> Self {
        Matcher { matching, names: matching.labels.iter().map(String::as_str).collect() }
    }

    /// The labels by which a series is matched.
    pub(super) fn signature(&self, labels: &Labels) -> Labels {
        if self.matching.on {
            labels.without(|name| !self.names.contains(name))
        } else {
            labels.without(|name| name == METRIC_NAME || self.names.contains(name))
        }
    }

    /// The labels of the result of a series of the many side and one of the one side.
    pub(super) fn result(&self, many: &Labels, one: &Labels, drop_name: bool) -> Labels {
        let one_to_one = self.matching.cardinality == Cardinality::OneToOne;
        let labels = many.without(|name| {
            drop_name && is_metadata(name) || one_to_one && self.matching.on != self.names.contains(name)
        });
        let include = &self.matching.include;
        if include.is_empty() {
            return labels;
        }
        labels.with_from(one, |name| include.iter().any(|included| included.as_bytes() == name))
    }
}
