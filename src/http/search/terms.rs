//! What a search looks for, and how well a text fits.

use super::fuzzy;

/// How texts are compared that do not begin with the term.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Algorithm {
    /// The term's characters in their order, with others between them.
    Subsequence,
    /// The term itself somewhere within, or a text that is like the term.
    JaroWinkler,
}

/// The terms, one of which has to fit.
#[derive(Clone, Debug)]
pub(super) struct Terms {
    terms: Vec<String>,
    algorithm: Algorithm,
    /// The least score that counts, 0 to 1.
    threshold: f64,
    case_sensitive: bool,
}

impl Terms {
    /// `None` where nothing is looked for: empty terms do not count.
    pub(super) fn new(terms: &[&str], algorithm: Algorithm, threshold: f64, case_sensitive: bool) -> Option<Self> {
        let terms = terms.iter().filter(|term| !term.is_empty());
        let terms: Vec<String> = terms.map(|term| folded(term, case_sensitive)).collect();
        (!terms.is_empty()).then_some(Terms { terms, algorithm, threshold, case_sensitive })
    }

    /// How well `text` fits the term that it fits best, 0 to 1; `None` where it fits none.
    pub(super) fn score(&self, text: &str) -> Option<f64> {
        let text = &folded(text, self.case_sensitive);
        let scores = self.terms.iter().filter_map(|term| match self.algorithm {
            Algorithm::Subsequence if text.starts_with(term) => Some(1.0),
            Algorithm::Subsequence => {
                let score = fuzzy::subsequence(term, text);
                (score > 0.0 && score >= self.threshold).then_some(score)
            }
            Algorithm::JaroWinkler => within(term, text).or_else(|| {
                let score = fuzzy::jaro_winkler(term, text);
                (self.threshold > 0.0 && score >= self.threshold).then_some(score)
            }),
        });
        scores.reduce(f64::max)
    }
}

fn folded(text: &str, case_sensitive: bool) -> String {
    if case_sensitive { text.to_owned() } else { text.to_lowercase() }
}

/// 1 where `text` begins with `term`, down to 0.1 where it ends with it; `None` where it does not hold it.
fn within(term: &str, text: &str) -> Option<f64> {
    let (before, _) = text.split_once(term)?;
    let (position, last) = (before.chars().count(), text.chars().count() - term.chars().count());
    Some(if position == 0 { 1.0 } else { 1.0 - 0.9 * position as f64 / last as f64 })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn score(terms: &[&str], algorithm: Algorithm, percent: u8, text: &str) -> Option<f64> {
        Terms::new(terms, algorithm, f64::from(percent) / 100.0, true)?.score(text)
    }

    #[test]
    fn a_term_within_a_text_counts_more_the_earlier_it_is() {
        let jaro_winkler = |term, text| score(&[term], Algorithm::JaroWinkler, 0, text);
        assert_eq!(jaro_winkler("http", "http_requests_total"), Some(1.0));
        assert_eq!(jaro_winkler("total", "http_requests_total"), Some(1.0 - 0.9));
        assert_eq!(jaro_winkler("b", "äbcde"), Some(1.0 - 0.9 / 4.0));
        // Nothing is only alike where no threshold is given.
        assert_eq!(jaro_winkler("htpt", "http_requests_total"), None);
    }

    #[test]
    fn texts_that_are_alike_count_from_the_threshold_on() {
        let alike = fuzzy::jaro_winkler("martha", "marhta");
        assert_eq!(score(&["martha"], Algorithm::JaroWinkler, 96, "marhta"), Some(alike));
        assert_eq!(score(&["martha"], Algorithm::JaroWinkler, 97, "marhta"), None);
        let gaps = fuzzy::subsequence("hrt", "http_requests_total");
        assert!(gaps > 0.0 && gaps < 0.5, "{gaps}");
        assert_eq!(score(&["hrt"], Algorithm::Subsequence, 0, "http_requests_total"), Some(gaps));
        assert_eq!(score(&["hrt"], Algorithm::Subsequence, 50, "http_requests_total"), None);
        assert_eq!(score(&["ht"], Algorithm::Subsequence, 100, "http_requests_total"), Some(1.0));
        assert_eq!(score(&["trh"], Algorithm::Subsequence, 0, "http_requests_total"), None);
    }

    #[test]
    fn the_term_that_fits_best_counts() {
        let both = score(&["tot", "http"], Algorithm::Subsequence, 0, "http_requests_total");
        assert_eq!(both, Some(1.0));
        assert_eq!(score(&["nothing", "else"], Algorithm::Subsequence, 0, "up"), None);
        let terms = Terms::new(&["HTTP", ""], Algorithm::Subsequence, 0.0, false).unwrap();
        assert_eq!(terms.score("Http_requests"), Some(1.0));
    }
}
