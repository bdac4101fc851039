//! The labels of the series that `absent` and `absent_over_time` make up.

use marigram_storage::model::labels::{Labels, LabelsBuilder, METRIC_NAME};
use marigram_storage::model::matcher::{MatchOp, Matcher};

/// Every label that the selector pins with one `=`; a label that is matched twice, or otherwise, is left out.
pub(super) fn absent_labels(matchers: &[Matcher]) -> Labels {
    let mut labels = LabelsBuilder::default();
    let mut pinned: Vec<&str> = Vec::new();
    for matcher in matchers.iter().filter(|m| m.name() != METRIC_NAME) {
        if matcher.op() == MatchOp::Equal && !pinned.contains(&matcher.name()) {
            labels.set(matcher.name(), matcher.value());
            pinned.push(matcher.name());
        } else {
            labels.remove(matcher.name());
        }
    }
    labels.build()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_pinned_once() {
        let matchers = [
            Matcher::equal("__name__", "up"),
            Matcher::equal("job", "a"),
            Matcher::equal("zone", "x"),
            Matcher::equal("zone", "y"),
            Matcher::new("dc", MatchOp::Regex, "a.*").unwrap(),
        ];
        assert_eq!(absent_labels(&matchers), Labels::from_pairs([("job", "a")]));
    }
}
