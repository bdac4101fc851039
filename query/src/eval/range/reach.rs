//! Which samples a step sees.

use crate::error::QueryError;
use crate::eval::counts::Looked;
use crate::eval::function::Window;
use crate::eval::reader::Samples;
use crate::eval::sweep::{SAMPLES_BETWEEN_CHECKS, Slide};
use crate::eval::{EvalContext, Grid};
use crate::histogram::size_in_samples;
use crate::parse::ast::Boundary;
use crate::plan::{MatrixNode, Moment};

/// Which samples the steps see.
#[derive(Clone, Copy)]
pub(super) struct Reach {
    window: Moment,
    range_ms: i64,
    /// How far samples before the start and behind the end of the range are seen, too.
    beyond_ms: (i64, i64),
    /// Whether they are read from the store; the results of a sub-query are not.
    pub(super) reads: bool,
}

impl Reach {
    pub(super) fn of(eval: &EvalContext, node: &MatrixNode) -> Self {
        let (window, range_ms) = match node {
            MatrixNode::Select { select, range_ms, .. } => (select.moment, *range_ms),
            MatrixNode::Subquery { window, range_ms, .. } => (*window, *range_ms),
        };
        let lookback_ms = eval.options.lookback_ms;
        let beyond_ms = match node.boundary() {
            Boundary::Samples => (0, 0),
            Boundary::Anchored => (lookback_ms, 0),
            Boundary::Smoothed => (lookback_ms, lookback_ms),
        };
        Reach { window, range_ms, beyond_ms, reads: matches!(node, MatrixNode::Select { .. }) }
    }

    /// After which moment, and until which, all steps together see samples.
    pub(super) fn of_all_steps_ms(&self, grid: Grid) -> (i64, i64) {
        let after_ms = self.window.of(grid.start_ms).saturating_sub(self.range_ms).saturating_sub(self.beyond_ms.0);
        (after_ms, self.window.of(grid.last_ms()).saturating_add(self.beyond_ms.1))
    }

    /// How the windows move, where a series is swept: it has floats and nothing else, and no window reaches beyond its ends.
    pub(super) fn slide(&self, samples: Samples<'_>, grid: Grid) -> Option<Slide> {
        let plain = samples.histograms.is_empty() && samples.starts.is_empty() && self.beyond_ms == (0, 0);
        let numbered = u32::try_from(samples.times.len()).is_ok();
        if plain && numbered { Slide::new(grid, self.window, self.range_ms) } else { None }
    }

    /// Calls `f` with the window of every step that holds a sample.
    pub(super) fn windows(
        &self,
        eval: &EvalContext,
        samples: Samples<'_>,
        grid: Grid,
        looked: &mut Looked,
        mut f: impl FnMut(usize, Window<'_>) -> Result<(), QueryError>,
    ) -> Result<(), QueryError> {
        let (mut from, mut to) = (0, 0);
        let (mut from_histogram, mut to_histogram) = (0, 0);
        // Of the histograms in the window, in samples.
        let mut histogram_size = 0;
        let size = |at: usize| samples.histograms.get(at).map_or(0, |sample| size_in_samples(&sample.histogram));
        let mut seen = 0;
        for step in 0..grid.steps {
            let time_ms = grid.time_ms(step);
            let end_ms = self.window.of(time_ms);
            let start_ms = end_ms.saturating_sub(self.range_ms);
            let (after_ms, until_ms) =
                (start_ms.saturating_sub(self.beyond_ms.0), end_ms.saturating_add(self.beyond_ms.1));
            let read_to = to;
            let mut read_size = 0;
            while samples.times.get(to).is_some_and(|&t| t <= until_ms) {
                to += 1;
            }
            while from < to && samples.times.get(from).is_some_and(|&t| t <= after_ms) {
                from += 1;
            }
            if !samples.histograms.is_empty() {
                let time_ms = |at: usize| samples.histograms.get(at).map(|sample| sample.timestamp_ms);
                let read_to = to_histogram;
                while time_ms(to_histogram).is_some_and(|t| t <= until_ms) {
                    read_size += size(to_histogram);
                    to_histogram += 1;
                }
                histogram_size += read_size;
                while from_histogram < to_histogram && time_ms(from_histogram).is_some_and(|t| t <= after_ms) {
                    let left = size(from_histogram);
                    histogram_size -= left;
                    if from_histogram >= read_to {
                        read_size -= left;
                    }
                    from_histogram += 1;
                }
            }
            let (Some(times), Some(values)) = (samples.times.get(from..to), samples.values.get(from..to)) else {
                continue;
            };
            let histograms = samples.histograms.get(from_histogram..to_histogram).unwrap_or_default();
            let looked_at = times.len() + histogram_size;
            let read = if self.reads { to - read_to.max(from) + read_size } else { 0 };
            looked.at(step, looked_at as u64, read as u64);
            if !times.is_empty() || !histograms.is_empty() {
                // Long windows at many steps are work that no series count bounds.
                seen += looked_at;
                if seen > SAMPLES_BETWEEN_CHECKS {
                    seen = 0;
                    eval.check_now()?;
                }
                let (range_ms, starts, args) = (self.range_ms, samples.starts, [0.0; 2]);
                f(step, Window { times, values, histograms, starts, start_ms, end_ms, range_ms, time_ms, args })?;
            }
        }
        Ok(())
    }
}
