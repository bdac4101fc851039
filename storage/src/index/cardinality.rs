//! Which names and values have the most series: the ends of long lists, found without keeping the lists.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::model::labels::METRIC_NAME;

/// A name or a value and how much there is of it.
pub type Count = (String, u64);

/// What makes an index large. Each list descends, and holds as many entries as were asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cardinality {
    /// Pairs of label name and value.
    pub label_pairs: u64,
    /// Series by their metric's name.
    pub series_by_metric: Vec<Count>,
    /// Values by label name.
    pub values_by_label: Vec<Count>,
    /// Bytes of the values by label name, each counted for every series that has it.
    pub bytes_by_label: Vec<Count>,
    /// Series by `name=value`.
    pub series_by_pair: Vec<Count>,
}

/// Puts a [`Cardinality`] together, name by name.
#[derive(Debug)]
pub struct CardinalityBuilder {
    label_pairs: u64,
    metrics: Largest,
    labels: Largest,
    bytes: Largest,
    pairs: Largest,
}

impl CardinalityBuilder {
    /// Lists of at most `limit` entries.
    pub fn new(limit: usize) -> Self {
        let list = || Largest { limit, heap: BinaryHeap::new() };
        CardinalityBuilder { label_pairs: 0, metrics: list(), labels: list(), bytes: list(), pairs: list() }
    }

    /// Adds a label name with its values, and how many series have each.
    pub fn add<'a>(&mut self, name: &str, values: impl Iterator<Item = (&'a str, u64)>) {
        let (mut count, mut bytes) = (0, 0u64);
        for (value, series) in values {
            count += 1;
            bytes = bytes.saturating_add((value.len() as u64).saturating_mul(series));
            if name == METRIC_NAME {
                self.metrics.add(series, || value.to_owned());
            }
            self.pairs.add(series, || format!("{name}={value}"));
        }
        self.label_pairs += count;
        if count > 0 {
            self.labels.add(count, || name.to_owned());
            self.bytes.add(bytes, || name.to_owned());
        }
    }

    /// All that was added.
    pub fn finish(self) -> Cardinality {
        Cardinality {
            label_pairs: self.label_pairs,
            series_by_metric: self.metrics.into_list(),
            values_by_label: self.labels.into_list(),
            bytes_by_label: self.bytes.into_list(),
            series_by_pair: self.pairs.into_list(),
        }
    }
}

/// The largest of many counts; of equal ones those with the first names.
#[derive(Debug)]
struct Largest {
    limit: usize,
    /// The smallest on top.
    heap: BinaryHeap<Reverse<(u64, Reverse<String>)>>,
}

impl Largest {
    fn add(&mut self, count: u64, name: impl FnOnce() -> String) {
        let is_full = self.heap.len() >= self.limit;
        if is_full && self.heap.peek().is_none_or(|Reverse((smallest, _))| count < *smallest) {
            return;
        }
        self.heap.push(Reverse((count, Reverse(name()))));
        if is_full {
            self.heap.pop();
        }
    }

    fn into_list(self) -> Vec<Count> {
        let sorted = self.heap.into_sorted_vec();
        sorted.into_iter().map(|Reverse((count, Reverse(name)))| (name, count)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_are_kept() {
        let mut builder = CardinalityBuilder::new(2);
        builder.add("__name__", [("up", 3), ("down", 5), ("a", 3), ("z", 1)].into_iter());
        builder.add("job", [("x", 12)].into_iter());
        builder.add("none", std::iter::empty());
        let list =
            |list: &[(&str, u64)]| list.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect::<Vec<_>>();
        let cardinality = builder.finish();
        assert_eq!(cardinality.label_pairs, 5);
        assert_eq!(cardinality.series_by_metric, list(&[("down", 5), ("a", 3)]));
        assert_eq!(cardinality.values_by_label, list(&[("__name__", 4), ("job", 1)]));
        assert_eq!(cardinality.bytes_by_label, list(&[("__name__", 6 + 20 + 3 + 1), ("job", 12)]));
        assert_eq!(cardinality.series_by_pair, list(&[("job=x", 12), ("__name__=down", 5)]));
        assert_eq!(CardinalityBuilder::new(0).finish(), Cardinality::default());
    }
}
