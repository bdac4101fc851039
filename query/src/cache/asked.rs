//! What is asked of the cache, and which of the steps that it has are good for that.

use std::ops::Range;
use std::sync::Arc;

use marigram_storage::db::Settled;

use super::extent::{Extent, Ruler};
use super::reads::Reads;
use super::shelf::Key;
use super::{Times, ends};
use crate::engine::Engine;
use crate::error::QueryError;
use crate::parse::ast::Expr;
use crate::plan::{self, Node};

/// Times beyond which nothing is kept, so that sums of times need no care.
const FAR_MS: i64 = i64::MAX / 8;

/// Steps of an extent.
pub(super) type OfExtent = (Arc<Extent>, Range<i64>);

/// What is asked of the cache.
pub(super) struct Asked {
    pub(super) key: Key,
    pub(super) reads: Reads,
    pub(super) steps: Range<i64>,
}

impl Asked {
    /// `None`: nothing of it can be kept.
    ///
    /// # Errors
    /// Those of planning.
    pub(super) fn new(engine: &Engine, expr: &Expr, query: &str, times: Times) -> Result<Option<Self>, QueryError> {
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
    pub(super) fn good(&self, extent: &Extent, settled: &Settled) -> Vec<Range<i64>> {
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
    pub(super) fn worthwhile(&self, good: &[OfExtent]) -> Vec<OfExtent> {
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
    pub(super) fn missing(&self, pieces: &[OfExtent]) -> Vec<Range<i64>> {
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
