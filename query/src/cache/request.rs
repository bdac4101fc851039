//! A request at work: from what is kept and what is evaluated to the answer, and to what is kept from then on.

use std::ops::Range;
use std::sync::Arc;

use marigram_storage::context::Context;
use marigram_storage::db::Settled;

use super::asked::{Asked, OfExtent};
use super::extent::{self, Extent, Part, Piece, samples_of};
use super::shelf::Kept;
use super::{CacheResult, RangeCache, Times};
use crate::annotations::Remarks;
use crate::engine::{Engine, Evaluated};
use crate::error::QueryError;
use crate::eval::SampleLimit;
use crate::parse::ast::Expr;
use crate::source::Source;
use crate::value::Series;

/// Extents of one query: ranges that somebody looked at in turn.
const EXTENTS_MAX: usize = 4;
/// What is kept of one query takes no more than this part of all.
const SHARE: usize = 4;
/// Good pieces that are looked at: changes can cut an extent into many.
const PIECES_MAX: usize = 8;
/// As long as the new steps behind the kept ones are less than this part of all, they are evaluated again rather than kept.
const WORTH_KEEPING: i64 = 16;

/// What was evaluated for the steps that were missing.
struct New {
    steps: Range<i64>,
    series: Vec<Series>,
}

/// A request at work.
pub(super) struct Request<'a> {
    pub(super) cache: &'a RangeCache,
    pub(super) engine: &'a Engine,
    pub(super) source: &'a dyn Source,
    pub(super) context: &'a Context,
    pub(super) expr: &'a Expr,
}

impl Request<'_> {
    /// The series of the answer, by labels, and what is to be remarked.
    ///
    /// # Errors
    /// Those of the evaluation.
    pub(super) fn answer(&self, query: &str, times: Times) -> Result<(Vec<Series>, Remarks), QueryError> {
        let Some(asked) = Asked::new(self.engine, self.expr, query, times)? else { return self.pass(times) };
        let ruler = asked.key.ruler;
        let horizon_ms = self.cache.clock.now_ms().saturating_sub(self.cache.options.min_age_ms);
        // Only what can be kept is worth asking for changes.
        let keep_until = |up_to_ms| {
            let newest_ms = asked.reads.newest_step_ms(up_to_ms)?;
            let until = ruler.at_or_before(newest_ms).saturating_add(1).min(asked.steps.end);
            (until > asked.steps.start).then_some(until)
        };
        let settle = |_| self.cache.changes.settle(self.context, horizon_ms);
        let Some(settled) = keep_until(horizon_ms).and_then(settle) else { return self.pass(times) };
        let Some(keep_until) = keep_until(settled.up_to_ms) else { return self.pass(times) };

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
        let Evaluated { series, remarks, .. } =
            self.engine.evaluate_range(self.source, self.context, self.expr, times)?;
        Ok((series, remarks))
    }

    /// Evaluates the steps that are missing.
    fn evaluate(&self, asked: &Asked, missing: &[Range<i64>]) -> Result<(Vec<New>, Remarks), QueryError> {
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
            let Evaluated { series, remarks: new, .. } =
                self.engine.evaluate_range(self.source, self.context, self.expr, times)?;
            held.hold_more(samples_of(&series))?;
            remarks.absorb(new);
            all.push(New { steps: steps.clone(), series });
        }
        Ok((all, remarks))
    }

    fn limit(&self) -> SampleLimit {
        SampleLimit::counted(self.engine.options().max_samples, Arc::clone(self.context.tally()))
    }

    /// The whole answer.
    fn together(&self, asked: &Asked, pieces: &[OfExtent], mut evaluated: Vec<New>) -> Result<Vec<Series>, QueryError> {
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
        good: &[OfExtent],
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
