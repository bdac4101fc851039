//! What all operators of one query share, and the grid of steps.

use std::cell::Cell;
use std::ops::Deref;

use marigram_storage::model::labels::Labels;
use marigram_storage::model::matcher::Matcher;
use marigram_storage::model::time::TimeRange;
use marigram_storage::select::SeriesStream;

use super::context::EvalContext;
use super::counts::{Scope, ScopeId, Scopes};
use super::memory::Kept;
use super::shared::SharedSelects;
use crate::error::QueryError;
use crate::workers::Parallel;

/// Evaluation times: `start_ms`, and every `step_ms` after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Grid {
    pub(crate) start_ms: i64,
    pub(crate) step_ms: i64,
    pub(crate) steps: usize,
    /// Where samples count that are looked at at the steps.
    pub(crate) scope: ScopeId,
}

impl Grid {
    /// So many steps of the query.
    pub(crate) fn new(start_ms: i64, step_ms: i64, steps: usize) -> Self {
        Grid { start_ms, step_ms, steps, scope: ScopeId::default() }
    }

    /// One step.
    pub(crate) fn instant(time_ms: i64) -> Self {
        Grid::new(time_ms, 1, 1)
    }

    /// From `start_ms` to `end_ms`, both included where the step reaches it; no step when the end is before the start.
    pub(crate) fn range(start_ms: i64, end_ms: i64, step_ms: i64) -> Self {
        let step_ms = step_ms.max(1);
        let steps = match end_ms.checked_sub(start_ms) {
            Some(length) if length >= 0 => {
                usize::try_from(length / step_ms).map_or(usize::MAX, |n| n.saturating_add(1))
            }
            Some(_) => 0,
            None if end_ms < start_ms => 0,
            None => usize::MAX,
        };
        Grid::new(start_ms, step_ms, steps)
    }

    /// The time of a step.
    pub(crate) fn time_ms(self, step: usize) -> i64 {
        let ahead = i64::try_from(step).unwrap_or(i64::MAX).saturating_mul(self.step_ms);
        self.start_ms.saturating_add(ahead)
    }

    /// The time of the last step, or of the first if there is none.
    pub(crate) fn last_ms(self) -> i64 {
        self.time_ms(self.steps.saturating_sub(1))
    }
}

/// Shared by all operators of a query.
pub(crate) struct Exec<'q> {
    pub(crate) selects: SharedSelects<'q>,
    pub(crate) kept: Kept,
    pub(crate) scopes: Scopes,
    /// Other threads, if it may use them.
    pub(crate) parallel: Option<Parallel<'q>>,
    /// Whether an operator has begun that is asked later.
    pub(crate) is_ahead: Cell<bool>,
    /// Of the query's own thread.
    pub(crate) eval: EvalContext,
}

/// The right to begin before one is asked; given back on drop.
pub(crate) struct Ahead<'q>(&'q Cell<bool>);

impl Drop for Ahead<'_> {
    fn drop(&mut self) {
        self.0.set(false);
    }
}

impl Deref for Exec<'_> {
    type Target = EvalContext;

    fn deref(&self) -> &EvalContext {
        &self.eval
    }
}

impl Exec<'_> {
    /// Where samples count that are looked at at the steps of a grid.
    pub(crate) fn scope(&self, grid: Grid) -> Scope {
        self.scopes.of(grid)
    }

    /// The right to begin before one is asked, if others can do the work and nobody else has begun.
    pub(crate) fn ahead(&self) -> Option<Ahead<'_>> {
        self.parallel?;
        (!self.is_ahead.replace(true)).then(|| Ahead(&self.is_ahead))
    }

    /// Counts bytes that are kept to the query's end against its memory budget.
    pub(crate) fn keep_bytes(&self, bytes: usize) -> Result<(), QueryError> {
        self.kept.keep_bytes(bytes)
    }

    /// Counts labels that are kept to the query's end.
    pub(crate) fn keep_labels(&self, labels: &Labels) -> Result<(), QueryError> {
        self.kept.keep_labels(labels)
    }

    /// Opens a select over `(after_ms, until_ms]`.
    pub(crate) fn select(
        &self,
        matchers: &[Matcher],
        after_ms: i64,
        until_ms: i64,
    ) -> Result<(Box<dyn SeriesStream>, TimeRange), QueryError> {
        let range = TimeRange { start_ms: after_ms.saturating_add(1), end_ms: until_ms };
        Ok((self.selects.select(&self.context, matchers, range)?, range))
    }
}
