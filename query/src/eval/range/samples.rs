//! The raw samples of a range vector, series by series.

use marigram_storage::context::Reservation;
use marigram_storage::model::histogram::HistogramSample;
use marigram_storage::model::labels::Labels;
use marigram_storage::model::sample::is_stale;
use marigram_storage::model::start::StartTime;

use super::reach::Reach;
use crate::error::QueryError;
use crate::eval::counts::{Looked, Scope, SubqueryWindows};
use crate::eval::function::Window;
use crate::eval::reader::{Samples, SeriesReader};
use crate::eval::subquery::Subquery;
use crate::eval::{EvalContext, Exec, Grid};
use crate::histogram::size_in_samples;
use crate::plan::{MatrixNode, Moment};

/// The raw samples of a series, without staleness markers.
#[derive(Default)]
pub(super) struct RawSamples {
    pub(super) times: Vec<i64>,
    pub(super) values: Vec<f64>,
    pub(super) histograms: Vec<HistogramSample>,
    /// Start timestamps, where they are wanted.
    starts: Vec<StartTime>,
    /// The memory of the histograms.
    reserved: Option<Reservation>,
}

impl RawSamples {
    pub(super) fn clear(&mut self) {
        self.times.clear();
        self.values.clear();
        self.histograms.clear();
        self.starts.clear();
        self.reserved = None;
    }

    /// Takes over what is no staleness marker.
    pub(super) fn take(&mut self, samples: Samples<'_>, wants_starts: bool) {
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
    pub(super) fn reserve(&mut self, eval: &EvalContext) -> Result<(), QueryError> {
        if !self.histograms.is_empty() {
            let samples: usize = self.histograms.iter().map(|sample| size_in_samples(&sample.histogram)).sum();
            self.reserved = Some(eval.context.reserve(16 * samples as u64)?);
        }
        Ok(())
    }

    pub(super) fn samples(&self) -> Samples<'_> {
        let RawSamples { times, values, histograms, starts, .. } = self;
        Samples { times, values, histograms, starts }
    }
}

/// The raw samples of series after series.
pub(super) struct SampleReader<'q> {
    exec: &'q Exec<'q>,
    from: From<'q>,
    reach: Reach,
    scope: Scope,
    pub(super) raw: RawSamples,
    /// Whether the name of the current series goes at the end.
    pub(super) drops_name: bool,
}

enum From<'q> {
    Nothing,
    Store(Box<SeriesReader>),
    Subquery(Box<Subquery<'q>>),
}

impl<'q> SampleReader<'q> {
    /// Opens a range vector for all steps of `grid`.
    pub(super) fn open(exec: &'q Exec<'q>, node: &'q MatrixNode, grid: Grid) -> Result<Self, QueryError> {
        SampleReader::open_for(exec, node, grid, false)
    }

    /// Opens a range vector that is the answer at the only step of `grid`.
    pub(super) fn open_answer(exec: &'q Exec<'q>, node: &'q MatrixNode, grid: Grid) -> Result<Self, QueryError> {
        SampleReader::open_for(exec, node, grid, true)
    }

    fn open_for(exec: &'q Exec<'q>, node: &'q MatrixNode, grid: Grid, is_answer: bool) -> Result<Self, QueryError> {
        let reach = Reach::of(exec, node);
        let (after_ms, until_ms) = reach.of_all_steps_ms(grid);
        let from = match node {
            _ if grid.steps == 0 => From::Nothing,
            MatrixNode::Select { select, .. } => {
                From::Store(Box::new(SeriesReader::open(exec, select, after_ms, until_ms)?))
            }
            MatrixNode::Subquery { inner, step_ms, range_ms, window } => {
                let Moment { at_ms, offset_ms } = *window;
                let windows = SubqueryWindows { offset_ms, range_ms: *range_ms, pinned: at_ms.is_some() };
                let inner_grid = Subquery::grid(after_ms, until_ms, *step_ms);
                let inner_grid = if is_answer {
                    exec.scopes.answer(grid, inner_grid)
                } else {
                    exec.scopes.subquery(grid, inner_grid, windows)
                };
                From::Subquery(Box::new(Subquery::open(exec, inner, inner_grid)?))
            }
        };
        Ok(SampleReader { exec, from, reach, scope: exec.scope(grid), raw: RawSamples::default(), drops_name: false })
    }

    /// Loads the samples of the next series; `None` at the end.
    pub(super) fn next(&mut self) -> Result<Option<Labels>, QueryError> {
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

    /// Calls `f` with the window of every step that holds a sample; answers what was looked at.
    pub(super) fn windows(
        &self,
        grid: Grid,
        f: impl FnMut(usize, Window<'_>) -> Result<(), QueryError>,
    ) -> Result<Looked, QueryError> {
        let mut looked = self.scope.looked(grid.steps);
        self.reach.windows(self.exec, self.raw.samples(), grid, &mut looked, f)?;
        Ok(looked)
    }

    /// Counts what was looked at.
    pub(super) fn count(&self, looked: &Looked) {
        self.exec.counts.add(&self.scope, looked);
    }

    /// Counts that all samples of the series were looked at at the only step, which reads them unless they come out of a sub-query.
    pub(super) fn count_all(&self, samples: u64) {
        if self.reach.reads {
            let mut looked = self.scope.looked(1);
            looked.at(0, samples, samples);
            self.count(&looked);
        }
    }
}
