//! What a function makes of the windows of a series.

use marigram_storage::model::labels::Labels;
use marigram_storage::model::sample::is_stale;

use super::reach::Reach;
use super::samples::RawSamples;
use crate::error::QueryError;
use crate::eval::column::Column;
use crate::eval::counts::{Looked, Scope};
use crate::eval::function::smoothing::check_factors;
use crate::eval::function::{Check, WindowFunction, check_quantile, start};
use crate::eval::leaf::Evaluate;
use crate::eval::notes::Notes;
use crate::eval::reader::Samples;
use crate::eval::scalar::ScalarColumn;
use crate::eval::{EvalContext, Grid, SeriesColumn, sweep};
use crate::parse::strings::quote;
use crate::value::SampleValue;

/// What a function makes of the windows of a series.
pub(super) struct OverWindows {
    pub(super) function: WindowFunction,
    pub(super) args: Vec<ScalarColumn>,
    pub(super) reach: Reach,
    pub(super) grid: Grid,
    pub(super) scope: Scope,
    pub(super) wants_starts: bool,
}

/// Memory that is used again for the next series.
#[derive(Default)]
pub(super) struct Scratch {
    raw: RawSamples,
    sweep: sweep::Scratch,
}

impl Evaluate for OverWindows {
    type Scratch = Scratch;

    const STEP_COST: u64 = 5;

    fn steps(&self) -> usize {
        self.grid.steps
    }

    fn scope(&self) -> &Scope {
        &self.scope
    }

    fn evaluate(
        &self,
        eval: &EvalContext,
        Scratch { raw, sweep }: &mut Scratch,
        labels: &Labels,
        samples: Samples<'_>,
    ) -> Result<(Option<SeriesColumn>, Looked), QueryError> {
        // Staleness markers are NaN, which a loop without branches tells fast.
        let any_nan = samples.values.iter().fold(false, |any, value| any | value.is_nan());
        let stale = any_nan && samples.values.iter().any(|value| is_stale(*value))
            || samples.histograms.iter().any(|sample| sample.histogram.is_stale());
        if !stale {
            let starts = if self.wants_starts { samples.starts } else { &[] };
            return self.column(eval, sweep, labels, Samples { starts, ..samples });
        }
        raw.clear();
        raw.take(samples, self.wants_starts);
        raw.reserve(eval)?;
        self.column(eval, sweep, labels, raw.samples())
    }
}

impl OverWindows {
    /// The function's values at all steps, `None` if it has none; and what was looked at.
    pub(super) fn column(
        &self,
        eval: &EvalContext,
        scratch: &mut sweep::Scratch,
        labels: &Labels,
        samples: Samples<'_>,
    ) -> Result<(Option<SeriesColumn>, Looked), QueryError> {
        let mut column = eval.column(self.grid)?;
        let mut notes = Notes::default();
        let mut looked = self.scope.looked(self.grid.steps);
        let mut overlaps = 0;
        if !self.sweep(eval, scratch, samples, &mut column, &mut looked)? {
            overlaps = self.look(eval, samples, &mut column, &mut notes, &mut looked)?;
        }
        let name = labels.metric_name().unwrap_or("");
        notes.write(eval, name, self.function.span);
        if overlaps > 0 {
            eval.remarks.borrow_mut().overlapping_starts(name, self.function.span, overlaps);
        }
        if column.present.is_empty() {
            return Ok((None, looked));
        }
        if !column.has_histograms() || !column.float_steps().is_empty() {
            self.remark(eval, labels);
        }
        let mut series = SeriesColumn::new(labels.clone(), column);
        if !self.function.keeps_name {
            series.drop_name(eval);
        }
        Ok((Some(series), looked))
    }

    /// Evaluates all windows in one pass, if that is possible. Whether it was.
    fn sweep(
        &self,
        eval: &EvalContext,
        scratch: &mut sweep::Scratch,
        samples: Samples<'_>,
        column: &mut Column,
        looked: &mut Looked,
    ) -> Result<bool, QueryError> {
        let (Some(sweep), Some(slide)) = (self.function.sweep, self.reach.slide(samples, self.grid)) else {
            return Ok(false);
        };
        let floats = (samples.times, samples.values);
        let coverage = sweep.evaluate(&eval.context, floats, slide, &self.args, scratch, column)?;
        let reads = |samples: u64| if self.reach.reads { samples } else { 0 };
        if looked.tells_steps() {
            let mut read_to = 0;
            for (step, (from, to)) in scratch.windows().enumerate() {
                looked.at(step, (to - from) as u64, reads((to - from.max(read_to)) as u64));
                read_to = to;
            }
        } else {
            looked.somewhere(coverage.looked_at, reads(coverage.read));
        }
        if let (Check::Quantile, Some(quantile)) = (self.function.check, self.args.first()) {
            for step in column.present.iter() {
                check_quantile(eval, quantile.at(step), self.function.span);
            }
        }
        Ok(true)
    }

    /// Evaluates window by window. How many windows have samples whose start timestamps contradict.
    fn look(
        &self,
        eval: &EvalContext,
        samples: Samples<'_>,
        column: &mut Column,
        notes: &mut Notes,
        looked: &mut Looked,
    ) -> Result<u64, QueryError> {
        let (function, args) = (&self.function, &self.args);
        let mut overlaps = 0;
        self.reach.windows(eval, samples, self.grid, looked, |step, mut window| {
            for (slot, arg) in window.args.iter_mut().zip(args) {
                *slot = arg.at(step);
            }
            match function.check {
                Check::Quantile if window.values.is_empty() => {}
                Check::Quantile => check_quantile(eval, window.args[0], function.span),
                Check::Factors => check_factors(window.args)?,
                Check::Nothing | Check::Counter => {}
            }
            if window.histograms.is_empty() && window.starts.is_empty() {
                if let Some(value) = (function.kernel)(&window) {
                    column.put(step, value);
                }
                return Ok(());
            }
            let value = match window.histograms.is_empty() {
                true => (function.kernel)(&window).map(SampleValue::Float),
                false => function.of_histograms(&window, notes),
            };
            let Some(value) = value else { return Ok(()) };
            if matches!(function.check, Check::Counter) && start::overlapping(&window) {
                overlaps += 1;
            }
            column.put_sample(step, value)
        })?;
        Ok(overlaps)
    }

    fn remark(&self, eval: &EvalContext, labels: &Labels) {
        let (Check::Counter, Some(name)) = (self.function.check, labels.metric_name()) else { return };
        let text = if eval.options.features.type_and_unit_labels {
            let kind = labels.get("__type__").unwrap_or("");
            if matches!(kind, "counter" | "histogram") {
                return;
            }
            let wanted = "__type__ label is not set to \"counter\" or \"histogram\"";
            format!("metric might not be a counter, {wanted}, got {}: {}", quote(kind), quote(name))
        } else {
            if ["_total", "_sum", "_count", "_bucket"].iter().any(|suffix| name.ends_with(suffix)) {
                return;
            }
            let wanted = "name does not end in _total/_sum/_count/_bucket";
            format!("metric might not be a counter, {wanted}: {}", quote(name))
        };
        eval.remarks.borrow_mut().info(text, self.function.span);
    }
}
