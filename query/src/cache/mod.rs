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
//! yield there in any other range, but for `sum_over_time` and `avg_over_time` where a sample lies in more than 64 windows, which are
//! within 1e-11 of it (`eval::sweep`). Only remarks may be more than they would be: those of a part that was cut tell of all of it.

mod asked;
mod ends;
mod extent;
mod reads;
mod request;
mod shelf;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use marigram_storage::context::Context;
use marigram_storage::env::Clock;
use parking_lot::Mutex;

use crate::deep;
use crate::engine::Engine;
use crate::error::QueryError;
use crate::source::{Changes, Source};
use crate::value::{QueryOutput, Value};
use request::Request;
use shelf::Shelf;

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
        // Kept steps were not read, and have no figures.
        if step_ms <= 0 || engine.counts_steps() {
            return engine.range_expr(source, context, &expr, query, start_ms, end_ms, step_ms);
        }
        let request = Request { cache: self, engine, source, context, expr: &expr };
        deep::with_room(expr.depth(), || {
            let (series, remarks) = request.answer(query, (start_ms, end_ms, step_ms))?;
            let annotations = remarks.finish(query);
            Ok(QueryOutput { value: Value::Matrix(series), annotations, samples_by_step: None })
        })?
    }

    fn count(&self, result: CacheResult) {
        self.requests[result as usize].fetch_add(1, Ordering::Relaxed);
    }
}
