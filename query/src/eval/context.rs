//! What evaluating series needs of the query: one for each thread that does it, so that threads share no lock.

use std::cell::{Cell, RefCell};

use marigram_storage::context::Context;
use marigram_storage::turns;

use super::Grid;
use super::column::Column;
use super::counts::Counts;
use super::memory::SampleLimit;
use crate::annotations::Remarks;
use crate::error::QueryError;
use crate::parse::Features;

/// So many calls of [`EvalContext::check`] cost one look at the clock.
const CHECKS_PER_LOOK: u32 = 16;

/// How a query is evaluated.
#[derive(Clone, Copy, Debug)]
pub(crate) struct EvalOptions {
    pub(crate) lookback_ms: i64,
    pub(crate) features: Features,
}

/// What evaluating series needs of the query.
#[derive(Debug)]
pub(crate) struct EvalContext {
    pub(crate) context: Context,
    pub(crate) options: EvalOptions,
    pub(crate) limit: SampleLimit,
    /// Where samples are counted that were looked at.
    pub(crate) counts: Counts,
    pub(crate) remarks: RefCell<Remarks>,
    checks: Cell<u32>,
}

impl EvalContext {
    /// One without remarks yet.
    pub(crate) fn new(context: Context, options: EvalOptions, limit: SampleLimit, counts: Counts) -> Self {
        EvalContext { context, options, limit, counts, remarks: RefCell::default(), checks: Cell::new(0) }
    }

    /// An empty column over a grid, counted against the sample limit while it lives.
    pub(crate) fn column(&self, grid: Grid) -> Result<Column, QueryError> {
        Ok(Column::empty(grid.steps, self.limit.hold(grid.steps)?))
    }

    /// Ends the query when its deadline has passed or it was cancelled, and lets others compute when it has done so for long
    /// enough. To be called for every series: only the first call, and
    /// then one of [`CHECKS_PER_LOOK`], looks.
    pub(crate) fn check(&self) -> Result<(), QueryError> {
        let checks = self.checks.get();
        self.checks.set(checks.wrapping_add(1));
        if checks.is_multiple_of(CHECKS_PER_LOOK) { self.check_now() } else { Ok(()) }
    }

    /// The same, after work that took long.
    pub(crate) fn check_now(&self) -> Result<(), QueryError> {
        turns::let_others();
        Ok(self.context.check()?)
    }
}
