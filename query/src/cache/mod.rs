//! Answers of range queries at steps whose data is old, kept for the next time that they are asked for.
//!
//! 1. The plan says which samples a step looks at ([`reads`]). A query whose answer at a step depends on anything else, such as where the
//!    query begins or ends ([`ends`]), passes by.
//! 2. The data is settled up to a horizon ([`Changes`]): the source tells what has changed below it, and will tell of what changes from
//!    now on. Steps that look at nothing beyond the horizon can be kept.
//! 3. What is kept of the query ([`shelf`]) is good but for the steps that look at what has changed since. The steps that are missing are
//!    evaluated, as range queries of their own.
//! 4. All parts are put together ([`extent`]), and the steps below the horizon are kept, as of the number that the source told *before*
//!    anything was read.
//!
//! The answer is the one that would be given without: bit by bit, since every operator that is let through yields at a step what it would
//! yield there in any other range. Only remarks may be more than they would be: those of a part that was cut tell of all of it.

mod ends;
mod extent;
mod reads;
mod shelf;
#[cfg(test)]
mod tests;

use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use marigram_storage::context::Context;
use marigram_storage::db::Settled;
use marigram_storage::env::Clock;
use parking_lot::Mutex;

use crate::annotations::Remarks;
use crate::deep;
use crate::engine::Engine;
use crate::error::QueryError;
use crate::eval::SampleLimit;
use crate::parse::ast::Expr;
use crate::plan::{self, Node};
use crate::source::{Changes, Source};
use crate::value::{QueryOutput, Series, Value};
use extent::{Extent, Part, Piece, Ruler, samples_of};
use reads::Reads;
use shelf::{Kept, Key, Shelf};

/// Extents of one query: ranges that somebody looked at in turn.
const EXTENTS_MAX: usize = 4;
/// What is kept of one query takes no more than this part of all.
const SHARE: usize = 4;
/// Good pieces that are looked at: changes can cut an extent into many.
const PIECES_MAX: usize = 8;
/// As long as the new steps behind the kept ones are less than this part of all, they are evaluated again rather than kept.
const WORTH_KEEPING: i64 = 16;
/// Times beyond which nothing is kept, so that sums of times need no care.
const FAR_MS: i64 = i64::MAX / 8;

/// A cache of range queries' answers. One serves all threads, one engine's features, and one source of data.
pub struct RangeCache {
    options: CacheOptions,
    clock: Arc<dyn Clock>,
    changes: Arc<dyn Changes>,
    shelf: Mutex<Shelf>,
    requests: [AtomicU64; 4],
}

/// How much is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CacheOptions {
    /// Memory for all answers.
    pub bytes_max: usize,
    /// Samples that are younger are expected to change, and are not looked at by what is kept.
    pub min_age_ms: i64,
}

/// How the cache is doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CacheStats {
    /// Memory that is taken.
    pub bytes: usize,
    /// Queries of which something is kept.
    pub entries: usize,
    /// Queries that were pushed out by others.
    pub evictions: u64,
    /// Requests by how much of them was kept.
    pub requests: [(CacheResult, u64); 4],
}

/// How much of a request was kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CacheResult {
    /// All of it.
    Hit,
    /// A part.
    Partial,
    /// Nothing.
    Miss,
    /// Nothing of it can be kept.
    #[default]
    Passed,
}

impl CacheResult {
    /// All of them.
    pub const ALL: [CacheResult; 4] = [CacheResult::Hit, CacheResult::Partial, CacheResult::Miss, CacheResult::Passed];

    /// As metrics call it.
    pub fn as_str(self) -> &'static str {
        match self {
            CacheResult::Hit => "hit",
            CacheResult::Partial => "partial",
            CacheResult::Miss => "miss",
            CacheResult::Passed => "passed",
        }
    }
}

impl fmt::Debug for RangeCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RangeCache").field("options", &self.options).finish_non_exhaustive()
    }
}

/// First, last, step.
type Times = (i64, i64, i64);

/// What is asked of the cache.
struct Asked {
    key: Key,
    reads: Reads,
    steps: Range<i64>,
}

impl Asked {
    /// `None`: nothing of it can be kept.
    ///
    /// # Errors
    /// Those of planning.
    fn new(engine: &Engine, expr: &Expr, query: &str, times: Times) -> Result<Option<Self>, QueryError> {
        let (start_ms, end_ms, step_ms) = times;
        let near = -FAR_MS..FAR_MS;
        if !near.contains(&start_ms) || !near.contains(&end_ms) || !ends::asks_for_none(expr) {
            return Ok(None);
        }
        let ruler = Ruler::new(start_ms, step_ms);
        let steps = ruler.at_or_before(start_ms)..ruler.at_or_before(end_ms) + 1;
        // A single step has an order of its own: see `topk`.
        if steps.end - steps.start < 2 {
            return Ok(None);
        }
        let Node::Vector(node) = plan::build(expr, engine.build_options(start_ms, end_ms, step_ms))? else {
            return Ok(None);
        };
        let lookback_ms = engine.options().lookback_ms;
        let Some(reads) = Reads::of(&node, lookback_ms) else { return Ok(None) };
        Ok(Some(Asked { key: Key { query: query.into(), ruler, lookback_ms }, reads, steps }))
    }

    /// The steps of an extent that look at nothing that has changed.
    fn good(&self, extent: &Extent, settled: &Settled) -> Vec<Range<i64>> {
        let ruler = self.key.ruler;
        let mut good = vec![extent.steps.clone()];
        for change in settled.since(extent.number) {
            let times = self.reads.steps_at(change);
            let bad = ruler.at_or_after(times.start_ms)..ruler.at_or_before(times.end_ms).saturating_add(1);
            if !bad.is_empty() {
                let cut = |steps: Range<i64>| {
                    let (before, after) = (steps.start..steps.end.min(bad.start), steps.start.max(bad.end)..steps.end);
                    [before, after].into_iter().filter(|steps| !steps.is_empty())
                };
                good = good.into_iter().flat_map(cut).collect();
            }
        }
        good
    }

    /// Of good pieces those that are worth their place in the answer, cut to it. One in the middle makes two readings out of one, each of
    /// which reaches back on its own.
    fn worthwhile(&self, good: &[(Arc<Extent>, Range<i64>)]) -> Vec<(Arc<Extent>, Range<i64>)> {
        let within = |steps: &Range<i64>| steps.start.max(self.steps.start)..steps.end.min(self.steps.end);
        let inside = good.iter().map(|(extent, steps)| (Arc::clone(extent), within(steps)));
        let inside: Vec<_> = inside.filter(|(_, steps)| !steps.is_empty()).collect();
        let starts = |at: i64| at == self.steps.end || inside.iter().any(|(_, steps)| steps.start == at);
        let ends = |at: i64| at == self.steps.start || inside.iter().any(|(_, steps)| steps.end == at);
        let pays = |steps: &Range<i64>| {
            let length_ms = (steps.end - steps.start).saturating_mul(self.key.ruler.step_ms);
            ends(steps.start) || starts(steps.end) || length_ms > self.reads.length_ms()
        };
        inside.iter().filter(|(_, steps)| pays(steps)).cloned().collect()
    }

    /// The steps that no piece has.
    fn missing(&self, pieces: &[(Arc<Extent>, Range<i64>)]) -> Vec<Range<i64>> {
        let mut missing = Vec::new();
        let mut from = self.steps.start;
        for (_, steps) in pieces {
            missing.push(from..steps.start);
            from = steps.end;
        }
        missing.push(from..self.steps.end);
        missing.retain(|steps| !steps.is_empty());
        missing
    }
}

/// What was evaluated for the steps that were missing.
struct Evaluated {
    steps: Range<i64>,
    series: Vec<Series>,
}

impl RangeCache {
    /// An empty cache of answers that are made of a source that tells its changes.
    pub fn new(options: CacheOptions, clock: Arc<dyn Clock>, changes: Arc<dyn Changes>) -> Self {
        let shelf = Mutex::new(Shelf::new(options.bytes_max));
        RangeCache { options, clock, changes, shelf, requests: Default::default() }
    }

    /// How it is doing.
    pub fn stats(&self) -> CacheStats {
        let requests = CacheResult::ALL.map(|result| (result, self.requests[result as usize].load(Ordering::Relaxed)));
        let shelf = self.shelf.lock();
        CacheStats { bytes: shelf.bytes(), entries: shelf.entries(), evictions: shelf.evicted(), requests }
    }

    /// As [`Engine::range`] of the source whose changes the cache is told.
    ///
    /// # Errors
    /// The same.
    pub fn range(
        &self,
        engine: &Engine,
        source: &dyn Source,
        context: &Context,
        query: &str,
        (start_ms, end_ms, step_ms): (i64, i64, i64),
    ) -> Result<QueryOutput, QueryError> {
        let expr = engine.parsed(query)?;
        if step_ms <= 0 {
            return engine.range_expr(source, context, &expr, query, start_ms, end_ms, step_ms);
        }
        let request = Request { cache: self, engine, source, context, expr: &expr };
        deep::with_room(expr.depth(), || {
            let (series, remarks) = request.answer(query, (start_ms, end_ms, step_ms))?;
            Ok(QueryOutput { value: Value::Matrix(series), annotations: remarks.finish(query) })
        })?
    }

    fn count(&self, result: CacheResult) {
        self.requests[result as usize].fetch_add(1, Ordering::Relaxed);
    }
}

/// A request at work.
struct Request<'a> {
    cache: &'a RangeCache,
    engine: &'a Engine,
    source: &'a dyn Source,
    context: &'a Context,
    expr: &'a Expr,
}

impl Request<'_> {
    fn answer(&self, query: &str, times: Times) -> Result<(Vec<Series>, Remarks), QueryError> {
        let Some(asked) = Asked::new(self.engine, self.expr, query, times)? else { return self.pass(times) };
        let ruler = asked.key.ruler;
        let horizon_ms = self.cache.clock.now_ms().saturating_sub(self.cache.options.min_age_ms);
        let settled = self.cache.changes.settle(self.context.tenant(), horizon_ms);
        let newest_ms = asked.reads.newest_step_ms(settled.up_to_ms);
        let keep_until = newest_ms.map(|ms| ruler.at_or_before(ms).saturating_add(1).min(asked.steps.end));
        let Some(keep_until) = keep_until.filter(|until| *until > asked.steps.start) else { return self.pass(times) };

        let kept = self.cache.shelf.lock().get(self.context.tenant(), &asked.key);
        let mut good = Vec::new();
        for extent in &kept.extents {
            good.extend(asked.good(extent, &settled).into_iter().map(|steps| (Arc::clone(extent), steps)));
        }
        if good.len() > PIECES_MAX {
            good.sort_by_key(|(_, steps)| steps.start - steps.end);
            good.truncate(PIECES_MAX);
            good.sort_by_key(|(_, steps)| steps.start);
        }
        let pieces = asked.worthwhile(&good);
        let missing = asked.missing(&pieces);
        self.cache.count(match (missing.is_empty(), pieces.is_empty()) {
            (true, _) => CacheResult::Hit,
            (false, false) => CacheResult::Partial,
            (false, true) => CacheResult::Miss,
        });

        let (evaluated, mut remarks) = self.evaluate(&asked, &missing)?;
        let holds_for_parts = remarks.hold_for_parts();
        pieces.iter().for_each(|(extent, _)| remarks.absorb(extent.remarks.clone()));
        let series = self.together(&asked, &pieces, evaluated)?;
        let gained: i64 = missing.iter().map(|steps| (steps.end.min(keep_until) - steps.start).max(0)).sum();
        let little = gained.saturating_mul(WORTH_KEEPING) < asked.steps.end - asked.steps.start;
        let only_behind = !pieces.is_empty() && missing.len() == 1 && missing[0].end == asked.steps.end;
        if gained > 0 && !(little && only_behind) && holds_for_parts && self.context.warnings().is_empty() {
            self.keep(asked, keep_until, &settled, kept, &good, &series, &remarks);
        }
        Ok((series, remarks))
    }

    /// Evaluates as if there were no cache.
    fn pass(&self, times: Times) -> Result<(Vec<Series>, Remarks), QueryError> {
        self.cache.count(CacheResult::Passed);
        self.engine.evaluate_range(self.source, self.context, self.expr, times)
    }

    /// Evaluates the steps that are missing.
    fn evaluate(&self, asked: &Asked, missing: &[Range<i64>]) -> Result<(Vec<Evaluated>, Remarks), QueryError> {
        let ruler = asked.key.ruler;
        let mut held = self.limit().hold(0)?;
        let mut remarks = Remarks::default();
        let mut all = Vec::with_capacity(missing.len());
        for steps in missing {
            let (mut first, mut last) = (steps.start, steps.end - 1);
            if first == last && first > asked.steps.start {
                first -= 1;
            } else if first == last {
                last += 1;
            }
            let times = (ruler.time_ms(first), ruler.time_ms(last), ruler.step_ms);
            let (series, new) = self.engine.evaluate_range(self.source, self.context, self.expr, times)?;
            held.hold_more(samples_of(&series))?;
            remarks.absorb(new);
            all.push(Evaluated { steps: steps.clone(), series });
        }
        Ok((all, remarks))
    }

    fn limit(&self) -> SampleLimit {
        SampleLimit::counted(self.engine.options().max_samples, Arc::clone(self.context.tally()))
    }

    /// The whole answer.
    fn together(
        &self,
        asked: &Asked,
        pieces: &[(Arc<Extent>, Range<i64>)],
        mut evaluated: Vec<Evaluated>,
    ) -> Result<Vec<Series>, QueryError> {
        self.context.check()?;
        if let ([], [_]) = (pieces, &*evaluated) {
            return Ok(evaluated.swap_remove(0).series);
        }
        let of_kept = pieces.iter().map(|(extent, steps)| Piece { steps: steps.clone(), part: Part::Kept(extent) });
        let of_evaluated =
            evaluated.iter().map(|new| Piece { steps: new.steps.clone(), part: Part::Evaluated(&new.series) });
        let mut parts: Vec<Piece<'_>> = of_kept.chain(of_evaluated).collect();
        parts.sort_by_key(|piece| piece.steps.start);
        let _copied = self.context.reserve(pieces.iter().map(|(extent, _)| extent.bytes as u64).sum())?;
        let series = extent::answer(&parts, asked.key.ruler);
        drop(self.limit().hold(samples_of(&series))?);
        Ok(series)
    }

    /// Keeps the steps of an answer before `until`, in one extent with good steps before and after them; and other extents of the query.
    #[expect(clippy::too_many_arguments, reason = "all that came up on the way to the answer")]
    fn keep(
        &self,
        asked: Asked,
        until: i64,
        settled: &Settled,
        kept: Kept,
        good: &[(Arc<Extent>, Range<i64>)],
        series: &[Series],
        remarks: &Remarks,
    ) {
        let Asked { key, steps, .. } = asked;
        let span = (steps.end - steps.start).max(kept.span - kept.span / WORTH_KEEPING);
        let spare = span - (steps.end - steps.start);
        let new = steps.start..until;
        let mut parts = vec![Piece { steps: new.clone(), part: Part::Evaluated(series) }];
        let mut remarks = remarks.clone();
        if let Some((extent, good)) = good.iter().find(|(_, good)| good.start < new.start && good.end >= new.start) {
            let from = good.start.max(new.start - spare);
            if from < new.start {
                parts.insert(0, Piece { steps: from..new.start, part: Part::Kept(extent) });
                remarks.absorb(extent.remarks.clone());
            }
        }
        if let Some((extent, good)) = good.iter().find(|(_, good)| good.start <= new.end && good.end > new.end) {
            let to = good.end.min(new.end + spare);
            if until == steps.end && to > new.end {
                parts.push(Piece { steps: new.end..to, part: Part::Kept(extent) });
                remarks.absorb(extent.remarks.clone());
            }
        }
        let bytes_max = self.cache.options.bytes_max / SHARE;
        let Some(extent) = extent::extent(&parts, key.ruler, settled.number, remarks, bytes_max) else { return };
        let mut bytes = extent.bytes;
        let apart = |old: &Extent| old.steps.end < extent.steps.start || extent.steps.end < old.steps.start;
        let others = kept
            .extents
            .iter()
            .rev()
            .filter(|old| apart(old) && good.iter().any(|(of, good)| Arc::ptr_eq(of, old) && *good == old.steps));
        let mut extents: Vec<Arc<Extent>> = Vec::new();
        for old in others.take(EXTENTS_MAX - 1) {
            bytes += old.bytes;
            if bytes <= bytes_max {
                extents.push(Arc::clone(old));
            }
        }
        extents.push(Arc::new(extent));
        extents.sort_by_key(|extent| extent.steps.start);
        let gone = self.cache.shelf.lock().put(self.context.tenant(), key, Kept { extents, span });
        drop(gone);
    }
}
