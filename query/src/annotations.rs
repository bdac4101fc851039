//! Remarks that go with an answer: warnings and infos, each once, with the place in the query that caused them.

use std::cmp::Reverse;

use crate::calendar;
use crate::number;
use crate::parse::ast::Span;
use crate::parse::strings::quote;

/// How many of each kind the API shows.
pub const SHOWN_MAX: usize = 10;
/// How many of each kind are kept at all.
const KEPT_MAX: usize = 1000;

/// Warnings and infos without duplicates, in the order in which they came up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Annotations {
    warnings: Vec<String>,
    infos: Vec<String>,
    warnings_dropped: usize,
    infos_dropped: usize,
}

/// Remarks under way: as in Prometheus, the same text from two places of a query counts once, at the place that
/// is evaluated last.
#[derive(Clone, Debug, Default)]
pub(crate) struct Remarks {
    warnings: Vec<(String, Span)>,
    infos: Vec<(String, Span)>,
    not_monotonic: Vec<NotMonotonic>,
    overlapping_starts: Vec<OverlappingStarts>,
    dropped: (usize, usize),
    compares_histograms: bool,
}

/// What `histogram_quantile` tells about buckets whose counts went down, summed up over all series of a metric and all steps.
#[derive(Clone, Debug)]
pub(crate) struct NotMonotonic {
    pub(crate) span: Span,
    /// The metric's name, where it is still known; else empty.
    pub(crate) metric: String,
    pub(crate) first_ms: i64,
    pub(crate) last_ms: i64,
    pub(crate) lowest_bucket: f64,
    pub(crate) highest_bucket: f64,
    pub(crate) widest_diff: f64,
    pub(crate) samples: u64,
}

/// Start timestamps within the time that the sample before has counted, in so many windows of all series of a metric.
#[derive(Clone, Debug)]
struct OverlappingStarts {
    span: Span,
    metric: String,
    windows: u64,
}

impl Remarks {
    /// Adds `PromQL warning: text`, unless it is there already.
    pub(crate) fn warn(&mut self, text: String, span: Span) {
        push(&mut self.warnings, &mut self.dropped.0, text, span);
    }

    /// Adds `PromQL info: text`, unless it is there already.
    pub(crate) fn info(&mut self, text: String, span: Span) {
        push(&mut self.infos, &mut self.dropped.1, text, span);
    }

    /// Adds a correction of bucket counts to those so far.
    pub(crate) fn not_monotonic(&mut self, new: NotMonotonic) {
        let Some(all) = self.not_monotonic.iter_mut().find(|known| known.metric == new.metric) else {
            if self.not_monotonic.len() < KEPT_MAX {
                self.not_monotonic.push(new);
            }
            return;
        };
        all.first_ms = all.first_ms.min(new.first_ms);
        all.last_ms = all.last_ms.max(new.last_ms);
        all.lowest_bucket = all.lowest_bucket.min(new.lowest_bucket);
        all.highest_bucket = all.highest_bucket.max(new.highest_bucket);
        all.widest_diff = all.widest_diff.max(new.widest_diff);
        all.samples += new.samples;
    }

    /// Adds windows in which start timestamps overlap with samples to those so far.
    pub(crate) fn overlapping_starts(&mut self, metric: &str, span: Span, windows: u64) {
        if let Some(known) = self.overlapping_starts.iter_mut().find(|known| known.metric == metric) {
            known.windows += windows;
        } else if self.overlapping_starts.len() < KEPT_MAX {
            self.overlapping_starts.push(OverlappingStarts { span, metric: metric.to_owned(), windows });
        }
    }

    /// Whether there is nothing to absorb.
    pub(crate) fn is_empty(&self) -> bool {
        self.warnings.is_empty()
            && self.infos.is_empty()
            && self.not_monotonic.is_empty()
            && self.overlapping_starts.is_empty()
            && !self.compares_histograms
    }

    /// Notes that reset hints of histograms were compared, which depend on the sample before, and so on where the reading began.
    pub(crate) fn compares_histograms(&mut self) {
        self.compares_histograms = true;
    }

    /// Whether the remarks read the same for fewer steps, and so does the answer: nothing in them is counted or cut.
    pub(crate) fn hold_for_parts(&self) -> bool {
        let counted = !self.not_monotonic.is_empty() || !self.overlapping_starts.is_empty();
        !counted && self.dropped == (0, 0) && !self.compares_histograms
    }

    /// Adds remarks that came up later, or about other steps of the same query.
    pub(crate) fn absorb(&mut self, other: Remarks) {
        other.warnings.into_iter().for_each(|(text, span)| self.warn(text, span));
        other.infos.into_iter().for_each(|(text, span)| self.info(text, span));
        other.not_monotonic.into_iter().for_each(|new| self.not_monotonic(new));
        for new in other.overlapping_starts {
            self.overlapping_starts(&new.metric, new.span, new.windows);
        }
        self.dropped = (self.dropped.0 + other.dropped.0, self.dropped.1 + other.dropped.1);
        self.compares_histograms |= other.compares_histograms;
    }

    /// Memory of the texts.
    pub(crate) fn held_bytes(&self) -> usize {
        let texts = self.warnings.iter().chain(&self.infos);
        texts.map(|(text, _)| size_of::<(String, Span)>() + text.len()).sum()
    }

    /// The finished list, with positions in `query`.
    pub(crate) fn finish(self, query: &str) -> Annotations {
        let text =
            |kind: &str, (text, span): &(String, Span)| format!("PromQL {kind}: {text} ({})", position(query, *span));
        let mut infos: Vec<String> = self.infos.iter().map(|remark| text("info", remark)).collect();
        for remark in self.not_monotonic {
            infos.push(text("info", &(remark.to_string(), remark.span)));
        }
        let mut warnings: Vec<String> = self.warnings.iter().map(|remark| text("warning", remark)).collect();
        for remark in self.overlapping_starts {
            warnings.push(text("warning", &(remark.to_string(), remark.span)));
        }
        Annotations { warnings, infos, warnings_dropped: self.dropped.0, infos_dropped: self.dropped.1 }
    }
}

impl std::fmt::Display for NotMonotonic {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let metric =
            if self.metric.is_empty() { String::new() } else { format!(" for metric name {}", quote(&self.metric)) };
        write!(
            f,
            "input to histogram_quantile needed to be fixed for monotonicity (see \
             https://prometheus.io/docs/prometheus/latest/querying/functions/#histogram_quantile){metric}, from buckets \
             {} to {}, with a max diff of {}, over {} samples from {} to {}",
            number::go_g(self.lowest_bucket),
            number::go_g(self.highest_bucket),
            number::go_g_rounded(self.widest_diff, 2),
            self.samples,
            calendar::rfc3339_utc(self.first_ms),
            calendar::rfc3339_utc(self.last_ms),
        )
    }
}

impl std::fmt::Display for OverlappingStarts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let metric = quote(&self.metric);
        write!(f, "sample has start time that overlaps with previous sample timestamp for metric {metric}")?;
        if self.windows > 1 { write!(f, " ({} occurrences)", self.windows) } else { Ok(()) }
    }
}

impl Annotations {
    /// All warnings.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// All infos.
    pub fn infos(&self) -> &[String] {
        &self.infos
    }

    /// The warnings as the API shows them: at most [`SHOWN_MAX`], then a line that counts the rest.
    pub fn shown_warnings(&self) -> Vec<String> {
        shown(&self.warnings, self.warnings_dropped, "warning")
    }

    /// The infos as the API shows them: at most [`SHOWN_MAX`], then a line that counts the rest.
    pub fn shown_infos(&self) -> Vec<String> {
        shown(&self.infos, self.infos_dropped, "info")
    }
}

fn push(list: &mut Vec<(String, Span)>, dropped: &mut usize, text: String, span: Span) {
    if let Some((_, place)) = list.iter_mut().find(|(known, _)| *known == text) {
        // A call is evaluated after its arguments, the right side of an operator after the left.
        if (span.end, Reverse(span.start)) > (place.end, Reverse(place.start)) {
            *place = span;
        }
        return;
    }
    if list.len() < KEPT_MAX {
        list.push((text, span));
    } else {
        *dropped += 1;
    }
}

fn shown(list: &[String], dropped: usize, kind: &str) -> Vec<String> {
    let mut out: Vec<String> = list.iter().take(SHOWN_MAX).cloned().collect();
    let omitted = list.len() - out.len() + dropped;
    if omitted > 0 {
        out.push(format!("{omitted} more {kind} annotations omitted"));
    }
    out
}

/// `line:column` of the start of a span, both counted from 1, the column in bytes.
pub fn position(query: &str, span: Span) -> String {
    let before = query.as_bytes().get(..span.start).unwrap_or(query.as_bytes());
    let line = 1 + before.iter().filter(|&&b| b == b'\n').count();
    let column = before.len() - before.iter().rposition(|&b| b == b'\n').map_or(0, |at| at + 1) + 1;
    format!("{line}:{column}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_count_from_one() {
        let at = |start| position("ab\ncd", Span { start, end: start });
        assert_eq!(at(0), "1:1");
        assert_eq!(at(1), "1:2");
        assert_eq!(at(3), "2:1");
        assert_eq!(at(99), "2:3");
    }

    #[test]
    fn overlapping_starts_are_counted_by_metric() {
        let mut remarks = Remarks::default();
        for (metric, start) in [("a", 5), ("b", 5), ("a", 9)] {
            remarks.overlapping_starts(metric, Span { start, end: start + 1 }, 2 - u64::from(metric == "b"));
        }
        let text = "PromQL warning: sample has start time that overlaps with previous sample timestamp for metric";
        let expected = [format!("{text} \"a\" (4 occurrences) (1:6)"), format!("{text} \"b\" (1:6)")];
        assert_eq!(remarks.finish("rate(a)").warnings(), expected);
    }

    #[test]
    fn ten_are_shown_and_the_rest_is_counted() {
        let mut remarks = Remarks::default();
        for i in 0..12 {
            remarks.warn(format!("w{i}"), Span::default());
            remarks.warn(format!("w{i}"), Span { start: 3, end: 4 });
        }
        let annotations = remarks.finish("some query");
        assert_eq!(annotations.warnings()[3], "PromQL warning: w3 (1:4)");
        assert_eq!(annotations.warnings().len(), 12);
        let shown = annotations.shown_warnings();
        assert_eq!(shown.len(), 11);
        assert_eq!(shown[10], "2 more warning annotations omitted");
        assert!(annotations.shown_infos().is_empty());
    }
}
