//! Range vectors: windows of raw samples before each step, and the functions that turn a window into a value.
//!
//! 1. The samples of a series are decoded once, for all steps, without staleness markers.
//! 2. Two cursors mark the window `(moment - range, moment]` of the current step; both only move forward.
//! 3. The function sees the window as two slices. Most functions of floats see all windows at once instead (`sweep`).

use hashbrown::HashSet;
use marigram_storage::context::Reservation;
use marigram_storage::model::histogram::HistogramSample;
use marigram_storage::model::labels::{Labels, SeriesId};
use marigram_storage::model::sample::is_stale;
use marigram_storage::model::start::StartTime;

use super::column::{Column, Steps};
use super::function::extended;
use super::function::smoothing::check_factors;
use super::function::{Check, Window, WindowFunction, start};
use super::leaf::{Evaluate, Leaf};
use super::notes::Notes;
use super::reader::{Samples, SeriesReader};
use super::scalar::{self, ScalarColumn};
use super::subquery::Subquery;
use super::sweep::{self, SAMPLES_BETWEEN_CHECKS, Slide};
use super::{BoxedOperator, EvalContext, Exec, Grid, Operator, SeriesColumn};
use crate::error::QueryError;
use crate::histogram::size_in_samples;
use crate::names::without_metadata;
use crate::parse::ast::Boundary;
use crate::parse::strings::quote;
use crate::plan::{MatrixNode, Moment, ScalarNode};
use crate::value::{SampleValue, Series};

/// As how many samples a histogram counts.
const SAMPLES_PER_HISTOGRAM: usize = 64;

/// Which samples the steps see.
#[derive(Clone, Copy)]
struct Reach {
    window: Moment,
    range_ms: i64,
    /// How far samples before the start and behind the end of the range are seen, too.
    beyond_ms: (i64, i64),
}

impl Reach {
    fn of(eval: &EvalContext, node: &MatrixNode) -> Self {
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
        Reach { window, range_ms, beyond_ms }
    }

    /// After which moment, and until which, all steps together see samples.
    fn of_all_steps_ms(&self, grid: Grid) -> (i64, i64) {
        let after_ms = self.window.of(grid.start_ms).saturating_sub(self.range_ms).saturating_sub(self.beyond_ms.0);
        (after_ms, self.window.of(grid.last_ms()).saturating_add(self.beyond_ms.1))
    }

    /// How the windows move, where a series is swept: it has floats and nothing else, and no window reaches beyond its ends.
    fn slide(&self, samples: Samples<'_>, grid: Grid) -> Option<Slide> {
        let plain = samples.histograms.is_empty() && samples.starts.is_empty() && self.beyond_ms == (0, 0);
        let numbered = u32::try_from(samples.times.len()).is_ok();
        if plain && numbered { Slide::new(grid, self.window, self.range_ms) } else { None }
    }

    /// Calls `f` with the window of every step that holds a sample.
    fn windows(
        &self,
        eval: &EvalContext,
        samples: Samples<'_>,
        grid: Grid,
        mut f: impl FnMut(usize, Window<'_>) -> Result<(), QueryError>,
    ) -> Result<(), QueryError> {
        let (mut from, mut to) = (0, 0);
        let (mut from_histogram, mut to_histogram) = (0, 0);
        let mut seen = 0;
        let (mut looked_at, mut read, mut read_to) = (0, 0, 0);
        for step in 0..grid.steps {
            let time_ms = grid.time_ms(step);
            let end_ms = self.window.of(time_ms);
            let start_ms = end_ms.saturating_sub(self.range_ms);
            let (after_ms, until_ms) =
                (start_ms.saturating_sub(self.beyond_ms.0), end_ms.saturating_add(self.beyond_ms.1));
            while samples.times.get(to).is_some_and(|&t| t <= until_ms) {
                to += 1;
            }
            while from < to && samples.times.get(from).is_some_and(|&t| t <= after_ms) {
                from += 1;
            }
            if !samples.histograms.is_empty() {
                let time_ms = |at: usize| samples.histograms.get(at).map(|sample| sample.timestamp_ms);
                while time_ms(to_histogram).is_some_and(|t| t <= until_ms) {
                    to_histogram += 1;
                }
                while from_histogram < to_histogram && time_ms(from_histogram).is_some_and(|t| t <= after_ms) {
                    from_histogram += 1;
                }
            }
            let (Some(times), Some(values)) = (samples.times.get(from..to), samples.values.get(from..to)) else {
                continue;
            };
            let histograms = samples.histograms.get(from_histogram..to_histogram).unwrap_or_default();
            looked_at += times.len() + histograms.len() * SAMPLES_PER_HISTOGRAM;
            read += to - read_to.max(from);
            read_to = to;
            if !times.is_empty() || !histograms.is_empty() {
                // Long windows at many steps are work that no series count bounds.
                seen += times.len() + histograms.len() * SAMPLES_PER_HISTOGRAM;
                if seen > SAMPLES_BETWEEN_CHECKS {
                    seen = 0;
                    eval.check_now()?;
                }
                let (range_ms, starts, args) = (self.range_ms, samples.starts, [0.0; 2]);
                f(step, Window { times, values, histograms, starts, start_ms, end_ms, range_ms, time_ms, args })?;
            }
        }
        eval.tally.add(looked_at as u64, read as u64);
        Ok(())
    }
}

/// The raw samples of a series, without staleness markers.
#[derive(Default)]
struct RawSamples {
    times: Vec<i64>,
    values: Vec<f64>,
    histograms: Vec<HistogramSample>,
    /// Start timestamps, where they are wanted.
    starts: Vec<StartTime>,
    /// The memory of the histograms.
    reserved: Option<Reservation>,
}

impl RawSamples {
    fn clear(&mut self) {
        self.times.clear();
        self.values.clear();
        self.histograms.clear();
        self.starts.clear();
        self.reserved = None;
    }

    /// Takes over what is no staleness marker.
    fn take(&mut self, samples: Samples<'_>, wants_starts: bool) {
        let floats = samples.times.iter().zip(samples.values);
        for (&time_ms, &value) in floats.filter(|(_, value)| !is_stale(**value)) {
            self.times.push(time_ms);
            self.values.push(value);
        }
        let histograms = samples.histograms.iter().filter(|sample| !sample.histogram.is_stale());
        self.histograms.extend(histograms.cloned());
        if wants_starts {
            self.starts.extend_from_slice(samples.starts);
        }
    }

    /// Counts the histograms, which stay until the next series and can be much larger than floats.
    fn reserve(&mut self, eval: &EvalContext) -> Result<(), QueryError> {
        if !self.histograms.is_empty() {
            let samples: usize = self.histograms.iter().map(|sample| size_in_samples(&sample.histogram)).sum();
            self.reserved = Some(eval.context.reserve(16 * samples as u64)?);
        }
        Ok(())
    }

    fn samples(&self) -> Samples<'_> {
        let RawSamples { times, values, histograms, starts, .. } = self;
        Samples { times, values, histograms, starts }
    }
}

/// The raw samples of series after series.
struct SampleReader<'q> {
    exec: &'q Exec<'q>,
    from: From<'q>,
    reach: Reach,
    raw: RawSamples,
    /// Whether the name of the current series goes at the end.
    drops_name: bool,
}

enum From<'q> {
    Nothing,
    Store(Box<SeriesReader>),
    Subquery(Box<Subquery<'q>>),
}

impl<'q> SampleReader<'q> {
    /// Opens a range vector for all steps of `grid`.
    fn open(exec: &'q Exec<'q>, node: &'q MatrixNode, grid: Grid) -> Result<Self, QueryError> {
        let reach = Reach::of(exec, node);
        let (after_ms, until_ms) = reach.of_all_steps_ms(grid);
        let from = match node {
            _ if grid.steps == 0 => From::Nothing,
            MatrixNode::Select { select, .. } => {
                From::Store(Box::new(SeriesReader::open(exec, select, after_ms, until_ms)?))
            }
            MatrixNode::Subquery { inner, step_ms, .. } => {
                From::Subquery(Box::new(Subquery::open(exec, inner, after_ms, until_ms, *step_ms)?))
            }
        };
        Ok(SampleReader { exec, from, reach, raw: RawSamples::default(), drops_name: false })
    }

    /// Loads the samples of the next series; `None` at the end.
    fn next(&mut self) -> Result<Option<Labels>, QueryError> {
        self.raw.clear();
        let next = self.load()?;
        self.raw.reserve(self.exec)?;
        Ok(next)
    }

    fn load(&mut self) -> Result<Option<Labels>, QueryError> {
        let raw = &mut self.raw;
        match &mut self.from {
            From::Nothing => Ok(None),
            From::Store(reader) => reader.next(self.exec, |series, samples| {
                raw.take(samples, false);
                Ok(series.labels.clone())
            }),
            From::Subquery(subquery) => {
                self.exec.check()?;
                let next = subquery.next(&mut raw.times, &mut raw.values, &mut raw.histograms)?;
                Ok(next.map(|(labels, drops_name)| {
                    self.drops_name = drops_name;
                    labels
                }))
            }
        }
    }

    /// Calls `f` with the window of every step that holds a sample.
    fn windows(
        &self,
        grid: Grid,
        f: impl FnMut(usize, Window<'_>) -> Result<(), QueryError>,
    ) -> Result<(), QueryError> {
        self.reach.windows(self.exec, self.raw.samples(), grid, f)
    }
}

/// A function of a range vector. Not inlined: queries are opened level by level, and a level should take little of the stack.
#[inline(never)]
pub(super) fn open<'q>(
    exec: &'q Exec<'q>,
    function: &'q WindowFunction,
    input: &'q MatrixNode,
    args: &'q [ScalarNode],
    grid: Grid,
) -> Result<BoxedOperator<'q>, QueryError> {
    Ok(Box::new(RangeFunction::new(exec, function, input, args, grid)?))
}

/// A function of a range vector.
pub(super) struct RangeFunction<'q> {
    exec: &'q Exec<'q>,
    input: Input<'q>,
    /// Names go, and with them, perhaps, what kept two series apart; that is an error even where they never meet.
    seen: HashSet<SeriesId>,
}

enum Input<'q> {
    /// Raw samples: each series is worked on by itself.
    Store(Leaf<'q, OverWindows>),
    Other(SampleReader<'q>, OverWindows, sweep::Scratch),
}

impl<'q> RangeFunction<'q> {
    pub(super) fn new(
        exec: &'q Exec<'q>,
        function: &'q WindowFunction,
        input: &'q MatrixNode,
        args: &'q [ScalarNode],
        grid: Grid,
    ) -> Result<Self, QueryError> {
        let args = args.iter().map(|arg| scalar::evaluate(exec, arg, grid)).collect::<Result<_, _>>()?;
        let reach = Reach::of(exec, input);
        let wants_starts = function.uses_starts && exec.options.use_start_timestamps;
        let work = OverWindows { function: *function, args, reach, grid, wants_starts };
        let input = match input {
            MatrixNode::Select { select, .. } if grid.steps > 0 => {
                Input::Store(Leaf::open(exec, select, reach.of_all_steps_ms(grid), work)?)
            }
            _ => Input::Other(SampleReader::open(exec, input, grid)?, work, sweep::Scratch::default()),
        };
        Ok(RangeFunction { exec, input, seen: HashSet::new() })
    }

    fn evaluated(&mut self) -> Result<Option<SeriesColumn>, QueryError> {
        let (reader, work, scratch) = match &mut self.input {
            Input::Store(leaf) => return leaf.next(),
            Input::Other(reader, work, scratch) => (reader, work, scratch),
        };
        while let Some(labels) = reader.next()? {
            if let Some(series) = work.column(self.exec, scratch, &labels, reader.raw.samples())? {
                return Ok(Some(SeriesColumn { drops_name: series.drops_name || reader.drops_name, ..series }));
            }
        }
        Ok(None)
    }
}

impl Operator for RangeFunction<'_> {
    fn next(&mut self) -> Result<Option<SeriesColumn>, QueryError> {
        let Some(series) = self.evaluated()? else { return Ok(None) };
        self.exec.keep_bytes(32)?;
        if !self.seen.insert(series.labels.id()) && !self.exec.options.delayed_name_removal {
            return Err(QueryError::same_labelset());
        }
        Ok(Some(series))
    }
}

/// What a function makes of the windows of a series.
struct OverWindows {
    function: WindowFunction,
    args: Vec<ScalarColumn>,
    reach: Reach,
    grid: Grid,
    wants_starts: bool,
}

/// Memory that is used again for the next series.
#[derive(Default)]
struct Scratch {
    raw: RawSamples,
    sweep: sweep::Scratch,
}

impl Evaluate for OverWindows {
    type Scratch = Scratch;

    const STEP_COST: u64 = 5;

    fn steps(&self) -> usize {
        self.grid.steps
    }

    fn evaluate(
        &self,
        eval: &EvalContext,
        Scratch { raw, sweep }: &mut Scratch,
        labels: &Labels,
        samples: Samples<'_>,
    ) -> Result<Option<SeriesColumn>, QueryError> {
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
    /// The function's values at all steps; `None` if it has none.
    fn column(
        &self,
        eval: &EvalContext,
        scratch: &mut sweep::Scratch,
        labels: &Labels,
        samples: Samples<'_>,
    ) -> Result<Option<SeriesColumn>, QueryError> {
        let mut column = eval.column(self.grid)?;
        let mut notes = Notes::default();
        let mut overlaps = 0;
        if !self.sweep(eval, scratch, samples, &mut column)? {
            overlaps = self.look(eval, samples, &mut column, &mut notes)?;
        }
        let name = labels.metric_name().unwrap_or("");
        notes.write(eval, name, self.function.span);
        if overlaps > 0 {
            eval.remarks.borrow_mut().overlapping_starts(name, self.function.span, overlaps);
        }
        if column.present.is_empty() {
            return Ok(None);
        }
        if !column.has_histograms() || !column.float_steps().is_empty() {
            self.remark(eval, labels);
        }
        let mut series = SeriesColumn::new(labels.clone(), column);
        if !self.function.keeps_name {
            series.drop_name(eval);
        }
        Ok(Some(series))
    }

    /// Evaluates all windows in one pass, if that is possible. Whether it was.
    fn sweep(
        &self,
        eval: &EvalContext,
        scratch: &mut sweep::Scratch,
        samples: Samples<'_>,
        column: &mut Column,
    ) -> Result<bool, QueryError> {
        let (Some(sweep), Some(slide)) = (self.function.sweep, self.reach.slide(samples, self.grid)) else {
            return Ok(false);
        };
        let floats = (samples.times, samples.values);
        let coverage = sweep.evaluate(&eval.context, floats, slide, &self.args, scratch, column)?;
        eval.tally.add(coverage.looked_at, coverage.read);
        if let (Check::Quantile, Some(quantile)) = (self.function.check, self.args.first()) {
            for step in column.present.iter() {
                super::function::check_quantile(eval, quantile.at(step), self.function.span);
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
    ) -> Result<u64, QueryError> {
        let (function, args) = (&self.function, &self.args);
        let mut overlaps = 0;
        self.reach.windows(eval, samples, self.grid, |step, mut window| {
            for (slot, arg) in window.args.iter_mut().zip(args) {
                *slot = arg.at(step);
            }
            match function.check {
                Check::Quantile if window.values.is_empty() => {}
                Check::Quantile => super::function::check_quantile(eval, window.args[0], function.span),
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
        let text = if eval.options.type_labels {
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

/// `absent_over_time`: one series, present where no series has a sample in its window.
pub(super) struct AbsentOverTime<'q> {
    exec: &'q Exec<'q>,
    input: &'q MatrixNode,
    labels: &'q Labels,
    grid: Grid,
    done: bool,
}

impl<'q> AbsentOverTime<'q> {
    pub(super) fn new(exec: &'q Exec<'q>, input: &'q MatrixNode, labels: &'q Labels, grid: Grid) -> Self {
        AbsentOverTime { exec, input, labels, grid, done: false }
    }
}

impl Operator for AbsentOverTime<'_> {
    fn next(&mut self) -> Result<Option<SeriesColumn>, QueryError> {
        if std::mem::replace(&mut self.done, true) {
            return Ok(None);
        }
        let mut missing = Steps::all(self.grid.steps);
        let mut reader = SampleReader::open(self.exec, self.input, self.grid)?;
        while !missing.is_empty() && reader.next()?.is_some() {
            reader.windows(self.grid, |step, _| {
                missing.unset(step);
                Ok(())
            })?;
        }
        if missing.is_empty() {
            return Ok(None);
        }
        let mut column = self.exec.column(self.grid)?;
        column.values.fill(1.0);
        column.present = missing;
        Ok(Some(SeriesColumn::new(self.labels.clone(), column)))
    }
}

/// The range vector at one evaluation time, as an instant query for it yields it; by labels.
pub(super) fn materialise(exec: &Exec<'_>, node: &MatrixNode, time_ms: i64) -> Result<Vec<Series>, QueryError> {
    let grid = Grid::instant(time_ms);
    let mut reader = SampleReader::open(exec, node, grid)?;
    let mut held = exec.limit.hold(0)?;
    let mut out = Vec::new();
    while let Some(labels) = reader.next()? {
        if node.boundary() != Boundary::Samples {
            if !reader.raw.histograms.is_empty() {
                let word = node.boundary().as_str();
                return Err(QueryError::execution(format!("{word} modifier is not supported with histograms")));
            }
            let mut ends = (Vec::new(), Vec::new());
            reader.windows(grid, |_, window| {
                ends = extended::with_ends(&window, node.boundary());
                Ok(())
            })?;
            (reader.raw.times, reader.raw.values) = ends;
        }
        if reader.raw.times.is_empty() && reader.raw.histograms.is_empty() {
            continue;
        }
        let histograms = reader.raw.histograms.iter().map(|sample| size_in_samples(&sample.histogram)).sum::<usize>();
        let samples = reader.raw.times.len() + histograms;
        exec.limit.hold_more(&mut held, samples)?;
        exec.tally.add(samples as u64, samples as u64);
        exec.keep_labels(&labels)?;
        let labels = if reader.drops_name { without_metadata(&labels) } else { labels };
        let (times_ms, values) = (reader.raw.times.clone(), reader.raw.values.clone());
        out.push(Series { labels, times_ms, values, histograms: reader.raw.histograms.clone() });
    }
    out.sort_by(|a, b| a.labels.cmp(&b.labels));
    Ok(out)
}
