//! One suite for every index: whatever it is built on, it answers as a brute-force look at all label sets does.

use proptest::prelude::*;
use roaring::RoaringBitmap;

use super::PostingsIndex;
use crate::model::labels::Labels;
use crate::model::matcher::{MatchOp, Matcher, matches_all};

/// An index over label sets; series `i` has the labels `series[i]`.
pub(crate) trait Searchable {
    fn over(series: &[Labels]) -> Self;
    fn select(&self, matchers: &[Matcher]) -> Vec<u32>;
    fn label_names(&self, within: &[Matcher]) -> Vec<String>;
    fn label_values(&self, name: &str, within: &[Matcher]) -> Vec<String>;
}

/// Sorted, unique label sets: few names and values, so that matchers hit; with empty texts and shared prefixes.
pub(crate) fn label_sets() -> impl Strategy<Value = Vec<Labels>> {
    let label = ("[abc]", prop_oneof!["[xy]{1,3}", "x[0-9]{1,2}", "é?z"]);
    let set = proptest::collection::vec(label, 0..4).prop_map(|pairs| {
        let pairs = pairs.iter().map(|(n, v)| (n.as_str(), v.as_str()));
        Labels::from_pairs(pairs.chain([("__name__", "m")]))
    });
    proptest::collection::btree_set(set, 1..40).prop_map(|sets| sets.into_iter().collect())
}

pub(crate) fn matchers() -> impl Strategy<Value = Vec<Matcher>> {
    let op = prop_oneof![Just(MatchOp::Equal), Just(MatchOp::NotEqual), Just(MatchOp::Regex), Just(MatchOp::NotRegex)];
    let value = prop_oneof![
        "[xy]{0,2}",
        Just("x.*".to_owned()),
        Just("x.+".to_owned()),
        Just(".*".to_owned()),
        Just(".+".to_owned()),
        Just("x|y|xx".to_owned()),
        Just("x1.*|y|x.+|é.*".to_owned()),
        Just("|y.*".to_owned()),
        Just("|x".to_owned()),
        Just("x[0-9]+".to_owned()),
        Just("(x|y)*".to_owned()),
        Just(".*y".to_owned()),
        Just("é?z".to_owned()),
    ];
    let matcher = ("[abcd]|__name__", op, value).prop_map(|(n, op, v)| Matcher::new(n, op, v).unwrap());
    proptest::collection::vec(matcher, 0..4)
}

/// To be called in a property test with [`label_sets`] and two [`matchers`].
pub(crate) fn answers_as_brute_force_does<I: Searchable>(series: &[Labels], matchers: &[Matcher]) {
    let index = I::over(series);
    let hits: Vec<u32> = (0..).zip(series).filter(|(_, l)| matches_all(matchers, l)).map(|(i, _)| i).collect();
    assert_eq!(index.select(matchers), hits, "{matchers:?}");
    let mut names: Vec<&str> = hits.iter().flat_map(|i| series[*i as usize].iter()).map(|(n, _)| n).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(index.label_names(matchers), names, "{matchers:?}");
    for name in ["__name__", "a", "b", "c", "d"] {
        let mut values: Vec<&str> = hits.iter().filter_map(|i| series[*i as usize].get(name)).collect();
        values.sort_unstable();
        values.dedup();
        assert_eq!(index.label_values(name, matchers), values, "{name} of {matchers:?}");
    }
}

impl Searchable for PostingsIndex {
    fn over(series: &[Labels]) -> Self {
        let mut index = PostingsIndex::default();
        // More than is wanted, in another order, some of it twice: what is removed must leave no trace.
        for (i, labels) in series.iter().enumerate().rev() {
            let i = i as u32;
            index.add(i, labels.as_bytes());
            index.add(1000 + i, labels.as_bytes());
            index.add(i, labels.as_bytes());
        }
        index.add(70_000, Labels::from_pairs([("__name__", "gone"), ("d", "gone")]).as_bytes());
        index.remove(&(1000..80_000).collect());
        index.prepare();
        index
    }

    fn select(&self, matchers: &[Matcher]) -> Vec<u32> {
        self.select(matchers).iter().collect()
    }

    fn label_names(&self, within: &[Matcher]) -> Vec<String> {
        self.label_names(Some(&self.select(within)))
    }

    fn label_values(&self, name: &str, within: &[Matcher]) -> Vec<String> {
        self.label_values(name, Some(&self.select(within)))
    }
}

proptest! {
    #[test]
    fn a_head_knows_the_labels_of_its_series_and_their_order(series in label_sets(), removed in 0u32..40) {
        let mut index = PostingsIndex::default();
        for (i, labels) in series.iter().enumerate().rev() {
            index.add(i as u32, labels.as_bytes());
        }
        index.remove(&(0..removed).collect());
        index.prepare();
        let left: Vec<u32> = (removed..series.len() as u32).collect();
        for (i, labels) in (0u32..).zip(&series) {
            prop_assert_eq!(index.labels(i), (i >= removed).then(|| labels.clone()));
        }
        // The label sets are sorted, so their numbers tell the order.
        prop_assert_eq!(index.in_label_order(&left.iter().rev().copied().collect()), left);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]
    #[test]
    fn a_head_answers_as_brute_force_does(series in label_sets(), matchers in matchers()) {
        answers_as_brute_force_does::<PostingsIndex>(&series, &matchers);
    }
}

#[test]
fn memory_is_given_back_with_the_series() {
    let mut index = PostingsIndex::default();
    let empty = index.memory_bytes();
    for i in 0..1000u32 {
        index.add(i, Labels::from_pairs([("__name__", "m"), ("pod", format!("pod-{i}").as_str())]).as_bytes());
    }
    assert!(index.memory_bytes() > empty + 50_000);
    index.remove(&(0..1000).collect::<RoaringBitmap>());
    assert_eq!(index.memory_bytes(), empty);
    assert!(index.is_empty() && index.label_names(None).is_empty());
}
