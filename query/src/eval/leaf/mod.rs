//! The leaves of a query: series out of a select, each evaluated by itself, in the order in which they come.
//!
//! 1. A batch that costs little is evaluated series by series, as they are asked for.
//! 2. From the batch on with which the query turns out to be a dear one, and while it may use more threads, the series go to a [`Team`].
//! 3. Where there is a [`Sink`], the team puts series there, and only those that it does not take are asked for.

mod portion;
mod team;

#[cfg(test)]
mod leaf_test;

use std::sync::Arc;

use marigram_storage::model::labels::Labels;
use marigram_storage::select::{SeriesBatch, SeriesStream};

use super::counts::{Looked, Scope};
use super::reader::{SampleDecoder, Samples};
use super::{EvalContext, Exec, SeriesColumn, Sink};
use crate::error::QueryError;
use crate::plan::Select;
use portion::{Turn, cost};
use team::{Step, Team};

/// What a leaf makes of one series; nothing that it does depends on other series, so that any thread may do it.
pub(super) trait Evaluate: Send + Sync + 'static {
    /// Memory that is used again for the next series.
    type Scratch: Default + Send;

    /// About how long a step takes, ns.
    const STEP_COST: u64;

    /// How many steps there are.
    fn steps(&self) -> usize;

    /// Where samples count that are looked at.
    fn scope(&self) -> &Scope;

    /// The series over the grid, `None` where it has no sample there; and what was looked at.
    fn evaluate(
        &self,
        eval: &EvalContext,
        scratch: &mut Self::Scratch,
        labels: &Labels,
        samples: Samples<'_>,
    ) -> Result<(Option<SeriesColumn>, Looked), QueryError>;
}

/// Reads a select and evaluates its series.
pub(super) struct Leaf<'q, E: Evaluate> {
    exec: &'q Exec<'q>,
    stream: Box<dyn SeriesStream>,
    /// How the stream ended, once it has; an error is told after the series before it.
    end: Option<Result<(), QueryError>>,
    work: Arc<E>,
    decoder: SampleDecoder,
    scratch: E::Scratch,
    turn: Turn,
    /// About what the batches so far cost, ns, as long as there is no team.
    cost: u64,
    /// Where a team puts series.
    sink: Option<Arc<dyn Sink>>,
    team: Option<Team<'q, E>>,
}

impl<'q, E: Evaluate> Leaf<'q, E> {
    /// Opens a select over `(after_ms, until_ms]`.
    pub(super) fn open(
        exec: &'q Exec<'q>,
        select: &Select,
        (after_ms, until_ms): (i64, i64),
        work: E,
    ) -> Result<Self, QueryError> {
        let (stream, range) = exec.select(&select.matchers, after_ms, until_ms)?;
        Ok(Leaf {
            exec,
            stream,
            end: None,
            work: Arc::new(work),
            decoder: SampleDecoder::new(select, range),
            scratch: E::Scratch::default(),
            turn: Turn::default(),
            cost: 0,
            sink: None,
            team: None,
        })
    }

    /// See [`Operator::share`](super::Operator::share).
    pub(super) fn share(&mut self, sink: Arc<dyn Sink>) {
        self.sink = Some(sink);
    }

    /// See [`Operator::begin`](super::Operator::begin): reads the first batch, which is evaluated here and now by others, or later.
    pub(super) fn begin(&mut self) {
        match self.stream.next_batch() {
            Ok(Some(batch)) => match self.team_for(&batch) {
                Some(team) => team.add(batch),
                None => self.turn = Turn::of_batch(batch),
            },
            Ok(None) => self.end = Some(Ok(())),
            Err(error) => self.end = Some(Err(error.into())),
        }
    }

    /// The next series that has samples; `None` at the end.
    pub(super) fn next(&mut self) -> Result<Option<SeriesColumn>, QueryError> {
        let eval = &self.exec.eval;
        eval.check()?;
        loop {
            if let Some(series) = self.turn.next(eval, &*self.work)? {
                return Ok(Some(series));
            }
            for series in self.turn.series.by_ref() {
                let (work, scratch) = (&self.work, &mut self.scratch);
                let labels = &series.labels;
                let (found, looked) =
                    self.decoder.decode(eval, &series, |samples| work.evaluate(eval, scratch, labels, samples))?;
                eval.counts.add(work.scope(), &looked);
                if found.is_some() {
                    return Ok(found);
                }
                eval.check()?;
            }
            match self.next_turn()? {
                Some(turn) => self.turn = turn,
                None => return Ok(None),
            }
        }
    }

    fn next_turn(&mut self) -> Result<Option<Turn>, QueryError> {
        // The old one goes first: its memory counts against the budget of the next.
        self.turn = Turn::default();
        loop {
            while self.end.is_none() && self.team.as_ref().is_none_or(|team| team.is_idle() || team.wants_more()) {
                match self.stream.next_batch() {
                    Ok(Some(batch)) => match self.team_for(&batch) {
                        Some(team) => team.add(batch),
                        None => return Ok(Some(Turn::of_batch(batch))),
                    },
                    Ok(None) => self.end = Some(Ok(())),
                    Err(error) => self.end = Some(Err(error.into())),
                }
            }
            match self.team.as_ref().map_or(Step::Idle, |team| team.step(&self.exec.eval)) {
                Step::Turn(turn) => return Ok(Some(turn)),
                Step::Helped => {}
                // Others have put all that there was into the sink.
                Step::Idle if self.end.is_none() => {}
                Step::Idle => {
                    // After an error the stream is over.
                    return self.end.replace(Ok(())).unwrap_or(Ok(())).map(|()| None);
                }
            }
        }
    }

    /// The team that evaluates a batch, if one does.
    fn team_for(&mut self, batch: &SeriesBatch) -> Option<&Team<'q, E>> {
        let parallel = self.exec.parallel?;
        if self.team.is_none() {
            self.cost += batch.series.iter().map(|series| cost(&*self.work, series)).sum::<u64>();
            if self.cost < parallel.options.cost_min {
                return None;
            }
            self.team = Team::new(parallel, &self.exec.eval, &self.work, &self.decoder, self.sink.clone());
        }
        self.team.as_ref()
    }
}
