//! Range vectors: windows of raw samples before each step, and the functions that turn a window into a value.
//!
//! 1. The samples of a series are decoded once, for all steps, without staleness markers.
//! 2. Two cursors mark the window `(moment - range, moment]` of the current step; both only move forward.
//! 3. The function sees the window as two slices.

use hashbrown::HashSet;
use marigram_storage::model::labels::{Labels, SeriesId};
use marigram_storage::model::sample::is_stale;

use super::column::Steps;
use super::function::smoothing::check_factors;
use super::function::{Check, Window, WindowFunction};
use super::scalar::{self, ScalarColumn};
use super::select::SeriesReader;
use super::subquery::Subquery;
use super::{Exec, Grid, Operator, SeriesColumn};
use crate::error::QueryError;
use crate::names::without_metadata;
use crate::parse::strings::quote;
use crate::plan::{MatrixNode, Moment, ScalarNode};
use crate::value::Series;

/// How many samples functions look at before the deadline is checked again.
const SAMPLES_BETWEEN_CHECKS: usize = 1 << 20;

/// The raw samples of series after series.
struct SampleReader<'q> {
    exec: &'q Exec<'q>,
    from: From<'q>,
    window: Moment,
    range_ms: i64,
    times: Vec<i64>,
    values: Vec<f64>,
}

enum From<'q> {
    Nothing,
    Store(Box<SeriesReader>),
    Subquery(Box<Subquery<'q>>),
}

impl<'q> SampleReader<'q> {
    /// Opens a range vector for all steps of `grid`.
    fn open(exec: &'q Exec<'q>, node: &'q MatrixNode, grid: Grid) -> Result<Self, QueryError> {
        let (window, range_ms) = match node {
            MatrixNode::Select { select, range_ms, .. } => (select.moment, *range_ms),
            MatrixNode::Subquery { window, range_ms, .. } => (*window, *range_ms),
        };
        let after_ms = window.of(grid.start_ms).saturating_sub(range_ms);
        let until_ms = window.of(grid.last_ms());
        let from = match node {
            _ if grid.steps == 0 => From::Nothing,
            MatrixNode::Select { select, .. } => {
                From::Store(Box::new(SeriesReader::open(exec, select, after_ms, until_ms)?))
            }
            MatrixNode::Subquery { inner, step_ms, .. } => {
                From::Subquery(Box::new(Subquery::open(exec, inner, after_ms, until_ms, *step_ms)?))
            }
        };
        Ok(SampleReader { exec, from, window, range_ms, times: Vec::new(), values: Vec::new() })
    }

    /// Loads the samples of the next series; `None` at the end.
    fn next(&mut self) -> Result<Option<Labels>, QueryError> {
        self.times.clear();
        self.values.clear();
        match &mut self.from {
            From::Nothing => Ok(None),
            From::Store(reader) => reader.next(self.exec, |series, times, values| {
                for (&time_ms, &value) in times.iter().zip(values).filter(|(_, value)| !is_stale(**value)) {
                    self.times.push(time_ms);
                    self.values.push(value);
                }
                Ok(series.labels.clone())
            }),
            From::Subquery(subquery) => {
                self.exec.check()?;
                subquery.next(&mut self.times, &mut self.values)
            }
        }
    }

    /// Calls `f` with the window of every step that holds a sample.
    fn windows(&self, grid: Grid, mut f: impl FnMut(usize, Window<'_>)) -> Result<(), QueryError> {
        let (mut from, mut to) = (0, 0);
        let mut seen = 0;
        let (mut looked_at, mut read, mut read_to) = (0, 0, 0);
        for step in 0..grid.steps {
            let time_ms = grid.time_ms(step);
            let end_ms = self.window.of(time_ms);
            let start_ms = end_ms.saturating_sub(self.range_ms);
            while self.times.get(to).is_some_and(|&t| t <= end_ms) {
                to += 1;
            }
            while from < to && self.times.get(from).is_some_and(|&t| t <= start_ms) {
                from += 1;
            }
            let (Some(times), Some(values)) = (self.times.get(from..to), self.values.get(from..to)) else { continue };
            looked_at += times.len();
            read += to - read_to.max(from);
            read_to = to;
            if !times.is_empty() {
                // Long windows at many steps are work that no series count bounds.
                seen += times.len();
                if seen > SAMPLES_BETWEEN_CHECKS {
                    seen = 0;
                    self.exec.check()?;
                }
                f(step, Window { times, values, start_ms, end_ms, range_ms: self.range_ms, time_ms, args: [0.0; 2] });
            }
        }
        self.exec.context.tally().add(looked_at as u64, read as u64);
        Ok(())
    }
}

/// A function of a range vector.
pub(super) struct RangeFunction<'q> {
    reader: SampleReader<'q>,
    function: &'q WindowFunction,
    args: Vec<ScalarColumn>,
    grid: Grid,
    /// Names go, and with them, perhaps, what kept two series apart; that is an error even where they never meet.
    seen: HashSet<SeriesId>,
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
        let reader = SampleReader::open(exec, input, grid)?;
        Ok(RangeFunction { reader, function, args, grid, seen: HashSet::new() })
    }

    fn remark(&self, name: Option<&str>) {
        if let (Check::Counter(span), Some(name)) = (self.function.check, name)
            && !["_total", "_sum", "_count", "_bucket"].iter().any(|suffix| name.ends_with(suffix))
        {
            let text = format!(
                "metric might not be a counter, name does not end in _total/_sum/_count/_bucket: {}",
                quote(name)
            );
            self.reader.exec.remarks.borrow_mut().info(text, span);
        }
    }
}

impl Operator for RangeFunction<'_> {
    fn next(&mut self) -> Result<Option<SeriesColumn>, QueryError> {
        while let Some(labels) = self.reader.next()? {
            let exec = self.reader.exec;
            let mut column = exec.column(self.grid)?;
            let (kernel, args, check) = (self.function.kernel, &self.args, self.function.check);
            let mut refused = None;
            self.reader.windows(self.grid, |step, mut window| {
                for (slot, arg) in window.args.iter_mut().zip(args) {
                    *slot = arg.at(step);
                }
                match check {
                    Check::Quantile(span) => super::function::check_quantile(exec, window.args[0], span),
                    Check::Factors => refused = refused.take().or(check_factors(window.args).err()),
                    Check::Nothing | Check::Counter(_) => {}
                }
                if let Some(value) = kernel(&window) {
                    column.put(step, value);
                }
            })?;
            if let Some(error) = refused {
                return Err(error);
            }
            if column.present.is_empty() {
                continue;
            }
            self.remark(labels.metric_name());
            let labels = if self.function.keeps_name { labels } else { without_metadata(&labels) };
            exec.keep_bytes(32)?;
            if !self.seen.insert(labels.id()) {
                return Err(QueryError::same_labelset());
            }
            return Ok(Some(SeriesColumn { labels, column }));
        }
        Ok(None)
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
            reader.windows(self.grid, |step, _| missing.unset(step))?;
        }
        if missing.is_empty() {
            return Ok(None);
        }
        let mut column = self.exec.column(self.grid)?;
        column.values.fill(1.0);
        column.present = missing;
        Ok(Some(SeriesColumn { labels: self.labels.clone(), column }))
    }
}

/// The range vector at one evaluation time, as an instant query for it yields it; by labels.
pub(super) fn materialise(exec: &Exec<'_>, node: &MatrixNode, time_ms: i64) -> Result<Vec<Series>, QueryError> {
    let mut reader = SampleReader::open(exec, node, Grid::instant(time_ms))?;
    let mut held = exec.limit.hold(0)?;
    let mut out = Vec::new();
    while let Some(labels) = reader.next()? {
        if reader.times.is_empty() {
            continue;
        }
        exec.limit.hold_more(&mut held, reader.times.len())?;
        exec.context.tally().add(reader.times.len() as u64, reader.times.len() as u64);
        exec.keep_labels(&labels)?;
        out.push(Series { labels, times_ms: reader.times.clone(), values: reader.values.clone() });
    }
    out.sort_by(|a, b| a.labels.cmp(&b.labels));
    Ok(out)
}
