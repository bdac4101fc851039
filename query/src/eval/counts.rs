//! Samples that are looked at, and where they count.
//!
//! 1. Each operator that looks at samples says how many at each of its steps, or only how many in all ([`Looked`]).
//! 2. Its steps are those of the query, those of a sub-query, or the only one of what is the same at all steps. A [`Scope`] says what that
//!    means for the query: a sample that is the same at all steps is looked at at each of them, but read at the first; what a sub-query looks
//!    at is read at the step that needs it first, and looked at only by the windows of the outer function.
//! 3. [`Counts`] takes it in.
//!
//! Steps are told apart only where somebody asked for figures per step, or where a sub-query evaluates steps that no window sees.

use std::cell::RefCell;
use std::sync::Arc;

use marigram_storage::context::Tally;
use parking_lot::Mutex;

use super::Grid;
use crate::value::StepSamples;

/// What of a query is evaluated at the steps of a grid.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ScopeId(usize);

/// The scopes of a query; the first is the query itself.
#[derive(Debug)]
pub(crate) struct Scopes(RefCell<Vec<Scope>>);

/// Where samples count that are looked at at the steps of a grid.
#[derive(Clone, Debug)]
pub(crate) struct Scope {
    looked_at: LookedAt,
    read: Read,
    /// Whether the query's steps are told apart.
    by_step: bool,
}

/// At which steps of the query a sample is looked at.
#[derive(Clone, Copy, Debug)]
enum LookedAt {
    /// At the same step.
    Same,
    /// At each of so many.
    Each(usize),
    /// At the only one, so many times.
    Only(u64),
    /// The result is looked at, not the sample.
    Nowhere,
}

/// At which step of the query a sample is read.
#[derive(Clone, Debug)]
enum Read {
    /// At the same step.
    Same,
    At(usize),
    Nowhere,
    Subquery(Arc<ReadBySubquery>),
}

#[derive(Debug)]
struct ReadBySubquery {
    inner: Grid,
    outer: Grid,
    windows: SubqueryWindows,
    /// Where what the outer steps read counts.
    read: Read,
}

/// Which results of a sub-query an outer step sees.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SubqueryWindows {
    pub(crate) offset_ms: i64,
    pub(crate) range_ms: i64,
    /// Whether the windows of all steps are one, pinned with `@`.
    pub(crate) pinned: bool,
}

impl Scopes {
    /// Those of a query of which nothing is known yet.
    pub(crate) fn new(by_step: bool) -> Self {
        Scopes(RefCell::new(vec![Scope { looked_at: LookedAt::Same, read: Read::Same, by_step }]))
    }

    /// The scope of a grid.
    pub(crate) fn of(&self, grid: Grid) -> Scope {
        let nowhere = || Scope { looked_at: LookedAt::Nowhere, read: Read::Nowhere, by_step: false };
        self.0.borrow().get(grid.scope.0).cloned().unwrap_or_else(nowhere)
    }

    fn add(&self, scope: Scope) -> ScopeId {
        let mut scopes = self.0.borrow_mut();
        scopes.push(scope);
        ScopeId(scopes.len() - 1)
    }

    /// The first step of a grid, for what is the same at all of its steps.
    pub(crate) fn first_step(&self, grid: Grid) -> Grid {
        if grid.steps <= 1 {
            return grid;
        }
        let scope = self.of(grid);
        let looked_at = match scope.looked_at {
            LookedAt::Same => LookedAt::Each(grid.steps),
            LookedAt::Only(times) => LookedAt::Only(times.saturating_mul(grid.steps as u64)),
            once @ (LookedAt::Each(_) | LookedAt::Nowhere) => once,
        };
        let scope = self.add(Scope { looked_at, read: scope.read.first(), ..scope });
        Grid { steps: 1, scope, ..grid }
    }

    /// The grid of a sub-query whose windows a function looks at at the steps of `outer`.
    pub(crate) fn subquery(&self, outer: Grid, inner: Grid, windows: SubqueryWindows) -> Grid {
        let scope = self.of(outer);
        // Between windows that touch, nothing is left out.
        let all_seen = outer.steps <= 1 || !windows.pinned && windows.range_ms >= outer.step_ms;
        let read = match scope.read {
            read if outer.steps <= 1 => read.first(),
            Read::Nowhere => Read::Nowhere,
            Read::At(at) if all_seen => Read::At(at),
            Read::Same if all_seen && !scope.by_step => Read::Same,
            read => Read::Subquery(Arc::new(ReadBySubquery { inner, outer, windows, read })),
        };
        Grid { scope: self.add(Scope { looked_at: LookedAt::Nowhere, read, ..scope }), ..inner }
    }

    /// The grid of a sub-query whose results are the answer at the only step of `outer`.
    pub(crate) fn answer(&self, outer: Grid, inner: Grid) -> Grid {
        let scope = self.of(outer);
        let scope = self.add(Scope { looked_at: LookedAt::Only(1), read: scope.read.first(), ..scope });
        Grid { scope, ..inner }
    }
}

impl Scope {
    /// Whether it matters at which step samples are looked at.
    pub(crate) fn tells_steps(&self) -> bool {
        let moves = matches!(self.looked_at, LookedAt::Same) || matches!(self.read, Read::Same);
        matches!(self.read, Read::Subquery(_)) || self.by_step && moves
    }

    /// Nothing, over so many steps.
    pub(crate) fn looked(&self, steps: usize) -> Looked {
        let by_step = if self.tells_steps() { vec![(0, 0); steps] } else { Vec::new() };
        Looked { queryable: 0, read: 0, by_step }
    }

    /// As how many samples one that is looked at counts.
    fn times(&self) -> u64 {
        match self.looked_at {
            LookedAt::Same => 1,
            LookedAt::Each(steps) => steps as u64,
            LookedAt::Only(times) => times,
            LookedAt::Nowhere => 0,
        }
    }
}

impl Read {
    /// Where counts what the first step reads.
    fn first(&self) -> Read {
        self.step(0).map_or(Read::Nowhere, Read::At)
    }

    /// Where counts what a step reads.
    fn step(&self, step: usize) -> Option<usize> {
        match self {
            Read::Same => Some(step),
            Read::At(at) => Some(*at),
            Read::Nowhere => None,
            Read::Subquery(subquery) => subquery.read.step(subquery.outer_step(step)?),
        }
    }
}

impl ReadBySubquery {
    /// The first outer step whose window is behind an inner one, if it reaches back to that.
    fn outer_step(&self, inner: usize) -> Option<usize> {
        let Grid { start_ms, step_ms, steps, .. } = self.outer;
        let time_ms = self.inner.time_ms(inner).saturating_add(self.windows.offset_ms);
        let behind_ms = time_ms.saturating_sub(start_ms);
        let step = match usize::try_from(behind_ms) {
            Ok(_) => behind_ms.div_euclid(step_ms) + i64::from(behind_ms.rem_euclid(step_ms) > 0),
            Err(_) => 0,
        };
        let step = usize::try_from(step).unwrap_or(usize::MAX).min(steps.saturating_sub(1));
        (time_ms > self.outer.time_ms(step).saturating_sub(self.windows.range_ms)).then_some(step)
    }
}

/// Samples that were looked at, and those of them that were new.
#[derive(Debug, Default)]
pub(crate) struct Looked {
    queryable: u64,
    read: u64,
    /// The same at each step; empty where steps are not told apart.
    by_step: Vec<(u64, u64)>,
}

impl Looked {
    /// Whether steps are told apart.
    pub(crate) fn tells_steps(&self) -> bool {
        !self.by_step.is_empty()
    }

    /// Samples that were looked at at a step.
    #[inline]
    pub(crate) fn at(&mut self, step: usize, queryable: u64, read: u64) {
        self.queryable += queryable;
        self.read += read;
        if let Some((queryable_there, read_there)) = self.by_step.get_mut(step) {
            *queryable_there += queryable;
            *read_there += read;
        }
    }

    /// Samples that were looked at at any step, where steps are not told apart.
    pub(crate) fn somewhere(&mut self, queryable: u64, read: u64) {
        debug_assert!(!self.tells_steps());
        self.queryable += queryable;
        self.read += read;
    }
}

/// Where samples are counted that were looked at; clones count together.
#[derive(Clone, Debug, Default)]
pub(crate) struct Counts {
    tally: Arc<Tally>,
    by_step: Option<Arc<Mutex<ByStep>>>,
}

/// What was looked at at each step of the query.
#[derive(Debug, Default)]
struct ByStep {
    /// At each of them.
    each: u64,
    steps: Vec<(u64, u64)>,
}

impl Counts {
    /// In a tally that others see, and for each step.
    pub(crate) fn new(tally: Arc<Tally>, by_step: bool) -> Self {
        Counts { tally, by_step: by_step.then(Arc::default) }
    }

    /// Whether each step is counted for itself, as if it were the only one: then no operator ends early because it knows enough.
    pub(crate) fn tells_steps(&self) -> bool {
        self.by_step.is_some()
    }

    /// Counts what was looked at in a scope.
    pub(crate) fn add(&self, scope: &Scope, looked: &Looked) {
        let read = match &scope.read {
            Read::Nowhere => 0,
            Read::Same | Read::At(_) => looked.read,
            Read::Subquery(_) => {
                let seen = looked.by_step.iter().enumerate().filter(|(step, _)| scope.read.step(*step).is_some());
                seen.map(|(_, (_, read))| read).sum()
            }
        };
        self.tally.add(looked.queryable.saturating_mul(scope.times()), read);
        if let Some(by_step) = &self.by_step {
            by_step.lock().add(scope, looked);
        }
    }

    /// What was counted at each step of the query; `None` where that was not asked for.
    pub(crate) fn by_step(&self, grid: Grid) -> Option<Vec<StepSamples>> {
        let by_step = self.by_step.as_ref()?.lock();
        let at = |step: usize| {
            let (queryable, read) = by_step.steps.get(step).copied().unwrap_or_default();
            StepSamples { time_ms: grid.time_ms(step), queryable: queryable + by_step.each, read }
        };
        Some((0..grid.steps).map(at).collect())
    }
}

impl ByStep {
    fn at(&mut self, step: usize) -> &mut (u64, u64) {
        if self.steps.len() <= step {
            self.steps.resize(step + 1, (0, 0));
        }
        &mut self.steps[step]
    }

    #[cold]
    fn add(&mut self, scope: &Scope, looked: &Looked) {
        match scope.looked_at {
            LookedAt::Same => {
                for (step, (queryable, _)) in looked.by_step.iter().enumerate() {
                    self.at(step).0 += queryable;
                }
            }
            LookedAt::Each(_) => self.each += looked.queryable,
            LookedAt::Only(times) => self.at(0).0 += looked.queryable.saturating_mul(times),
            LookedAt::Nowhere => {}
        }
        match &scope.read {
            Read::Nowhere => {}
            Read::At(at) => self.at(*at).1 += looked.read,
            read @ (Read::Same | Read::Subquery(_)) => {
                for (step, (_, new)) in looked.by_step.iter().enumerate() {
                    if let Some(at) = read.step(step) {
                        self.at(at).1 += new;
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;

    use super::*;

    /// What is counted of one sample at each of the inner steps: at the query's steps, and in all.
    fn counted(scopes: &Scopes, outer: Grid, inner: Grid) -> (Vec<(u64, u64)>, (u64, u64)) {
        let (tally, scope) = (Arc::<Tally>::default(), scopes.of(inner));
        let counts = Counts::new(Arc::clone(&tally), true);
        let mut looked = scope.looked(inner.steps);
        (0..inner.steps).for_each(|step| looked.at(step, 1, 1));
        counts.add(&scope, &looked);
        let by_step = counts.by_step(outer).unwrap().iter().map(|step| (step.queryable, step.read)).collect();
        (by_step, (tally.samples_queryable.load(Ordering::Relaxed), tally.samples_read.load(Ordering::Relaxed)))
    }

    fn windows(range_ms: i64, offset_ms: i64) -> SubqueryWindows {
        SubqueryWindows { offset_ms, range_ms, pinned: false }
    }

    #[test]
    fn what_is_the_same_at_all_steps_is_looked_at_at_each_and_read_at_the_first() {
        let (scopes, grid) = (Scopes::new(true), Grid::range(0, 20, 10));
        assert_eq!(counted(&scopes, grid, grid), (vec![(1, 1); 3], (3, 3)));
        let first = scopes.first_step(grid);
        assert_eq!(counted(&scopes, grid, first), (vec![(1, 1), (1, 0), (1, 0)], (3, 1)));
        assert!(!scopes.of(first).tells_steps());
    }

    #[test]
    fn what_a_subquery_reads_counts_at_the_first_step_that_sees_it() {
        let (scopes, outer) = (Scopes::new(true), Grid::range(100, 120, 10));
        let inner = |after_ms, until_ms| Grid::range(after_ms, until_ms, 4);
        // 88, 92, …, 120: with windows of 15 all are seen.
        let whole = scopes.subquery(outer, inner(88, 120), windows(15, 0));
        assert_eq!(counted(&scopes, outer, whole), (vec![(0, 4), (0, 2), (0, 3)], (0, 9)));
        // With windows of 5 those at 104, 112 and 88, 92 are not.
        let gaps = scopes.subquery(outer, inner(88, 120), windows(5, 0));
        assert_eq!(counted(&scopes, outer, gaps), (vec![(0, 2), (0, 1), (0, 2)], (0, 5)));
        let shifted = scopes.subquery(outer, inner(68, 100), windows(15, 20));
        assert_eq!(counted(&scopes, outer, shifted), (vec![(0, 4), (0, 2), (0, 3)], (0, 9)));
        let invariant = scopes.first_step(gaps);
        assert_eq!(counted(&scopes, outer, invariant), (vec![(0, 0); 3], (0, 0)));
        let nested = scopes.subquery(whole, Grid::range(80, 120, 2), windows(4, 0));
        assert_eq!(counted(&scopes, outer, nested).1, (0, 18));
        let answer = scopes.answer(Grid::instant(120), inner(88, 120));
        assert_eq!(counted(&scopes, Grid::instant(120), answer), (vec![(9, 9)], (9, 9)));
    }

    #[test]
    fn steps_are_told_apart_only_where_that_matters() {
        let (scopes, outer) = (Scopes::new(false), Grid::range(100, 120, 10));
        let inner = Grid::range(88, 120, 4);
        let tells = |grid| scopes.of(grid).tells_steps();
        assert!(!tells(outer) && !tells(scopes.first_step(outer)));
        assert!(!tells(scopes.subquery(outer, inner, windows(10, 0))));
        assert!(tells(scopes.subquery(outer, inner, windows(9, 0))));
        assert!(!tells(scopes.subquery(Grid::instant(120), inner, windows(9, 0))));
    }
}
