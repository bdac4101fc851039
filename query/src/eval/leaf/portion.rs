//! Portions of a batch, and what becomes of them.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::{self, ThreadId};
use std::vec::IntoIter;

use marigram_storage::context::{Context, Reservation};
use marigram_storage::select::{SelectedSeries, SeriesBatch};

use super::Evaluate;
use crate::annotations::Remarks;
use crate::error::QueryError;
use crate::eval::counts::{Counts, Looked, Scope};
use crate::eval::memory::SampleLimit;
use crate::eval::reader::SampleDecoder;
use crate::eval::{EvalContext, EvalOptions, SeriesColumn, Sink};

/// Series with the memory that they hold out of the query's budget.
pub(super) struct Portion {
    series: IntoIter<SelectedSeries>,
    reservation: Reservation,
}

/// What comes next: series that were evaluated ahead, and behind them such that are not evaluated yet.
///
/// The query's thread frees the series that it has read, evaluated ahead or not, and what is in the sink is freed by the thread that
/// made it: an allocator that keeps a lock for each thread that allocates (glibc's does) has threads wait for each other when one frees
/// what the other allocated.
#[derive(Default)]
pub(super) struct Turn {
    evaluated: IntoIter<Evaluated>,
    /// Which thread evaluated them.
    by: Option<ThreadId>,
    /// First those that were evaluated.
    pub(super) series: IntoIter<SelectedSeries>,
    _reservation: Option<Reservation>,
}

/// Series that are in the sink, of one thread.
pub(super) struct Spent {
    by: Option<ThreadId>,
    _evaluated: IntoIter<Evaluated>,
}

/// A series that was evaluated ahead: what it is over the grid, if anything, and what is remarked.
struct Evaluated {
    series: Option<SeriesColumn>,
    remarks: Option<Box<Remarks>>,
    looked: Looked,
}

/// What a thread needs to evaluate series.
pub(super) struct Desk<E: Evaluate> {
    eval: EvalContext,
    decoder: SampleDecoder,
    scratch: E::Scratch,
}

/// About how long evaluating a series takes, ns.
pub(super) fn cost<E: Evaluate>(work: &E, series: &SelectedSeries) -> u64 {
    const SERIES_COST: u64 = 300;
    // Of a sample about five, most of them for decoding it out of two bytes.
    let bytes = series.held_bytes() as u64;
    SERIES_COST + 2 * bytes + E::STEP_COST * work.steps() as u64
}

/// A batch cut into portions that cost about `cost_max` each, and of no more than `series_max` series.
pub(super) fn cut<E: Evaluate>(work: &E, batch: SeriesBatch, cost_max: u64, series_max: usize) -> Vec<Portion> {
    let SeriesBatch { series, mut reservation } = batch;
    let mut portions = Vec::new();
    let mut series = series.into_iter();
    while !series.as_slice().is_empty() {
        let (mut count, mut costs, mut bytes) = (0, 0, 0);
        for next in series.as_slice().iter().take(series_max.max(1)) {
            count += 1;
            costs += cost(work, next);
            bytes += next.held_bytes() as u64;
            if costs >= cost_max {
                break;
            }
        }
        let part: Vec<SelectedSeries> = series.by_ref().take(count).collect();
        portions.push(Portion { series: part.into_iter(), reservation: reservation.split(bytes) });
    }
    if let Some(last) = portions.last_mut() {
        last.reservation.absorb(reservation);
    }
    portions
}

impl<E: Evaluate> Desk<E> {
    /// A place to work at, for series of the same select as `decoder`'s.
    pub(super) fn new(context: &Context, options: EvalOptions, decoder: &SampleDecoder) -> Self {
        let eval =
            EvalContext::new(context.clone(), options, SampleLimit::counted(0, Arc::default()), Counts::default());
        Desk { eval, decoder: decoder.again(), scratch: E::Scratch::default() }
    }

    /// Evaluates a portion, as long as what it makes holds no more than `samples_max` samples.
    ///
    /// A series at which anything goes wrong is left, and those behind it: it is evaluated again when it is its turn, on the query's own
    /// thread. So errors come when they would have come without other threads, a panic panics where it is seen, and what has no room ahead
    /// has it then. Whether the desk is still good.
    pub(super) fn evaluate(&mut self, work: &E, portion: Portion, samples_max: usize) -> (Turn, bool) {
        self.eval.limit = SampleLimit::counted(samples_max, Arc::default());
        let Portion { series, reservation } = portion;
        let mut evaluated = Vec::with_capacity(series.len());
        let intact = catch_unwind(AssertUnwindSafe(|| {
            while let Some(next) = series.as_slice().get(evaluated.len())
                && let Ok(done) = self.evaluate_one(work, next)
            {
                evaluated.push(done);
            }
        }));
        let (evaluated, by) = (evaluated.into_iter(), Some(thread::current().id()));
        (Turn { evaluated, by, series, _reservation: Some(reservation) }, intact.is_ok())
    }

    fn evaluate_one(&mut self, work: &E, series: &SelectedSeries) -> Result<Evaluated, QueryError> {
        let Desk { eval, decoder, scratch } = self;
        let eval = &*eval;
        eval.check()?;
        let found = decoder.decode(eval, series, |samples| work.evaluate(eval, scratch, &series.labels, samples));
        let remarks = eval.remarks.take();
        let (series, looked) = found?;
        Ok(Evaluated { looked, series, remarks: (!remarks.is_empty()).then(|| Box::new(remarks)) })
    }
}

impl Turn {
    /// A batch of which nothing was evaluated yet.
    pub(super) fn of_batch(batch: SeriesBatch) -> Self {
        let _reservation = Some(batch.reservation);
        Turn { series: batch.series.into_iter(), _reservation, ..Turn::default() }
    }

    /// A portion of which nothing was evaluated yet.
    pub(super) fn of_portion(portion: Portion) -> Self {
        let Portion { series, reservation } = portion;
        Turn { series, _reservation: Some(reservation), ..Turn::default() }
    }

    /// The next series that was evaluated ahead and has samples; from here on it counts as if it had been evaluated now.
    pub(super) fn next<E: Evaluate>(
        &mut self,
        eval: &EvalContext,
        work: &E,
    ) -> Result<Option<SeriesColumn>, QueryError> {
        for Evaluated { series, remarks, looked } in self.evaluated.by_ref() {
            eval.counts.add(work.scope(), &looked);
            drop(self.series.next());
            if let Some(remarks) = remarks {
                eval.remarks.borrow_mut().absorb(*remarks);
            }
            match series {
                Some(mut series) => {
                    series.column.count_against(&eval.limit)?;
                    return Ok(Some(series));
                }
                // A column without samples needs room until that is known.
                None => drop(eval.limit.hold(work.steps())?),
            }
        }
        Ok(None)
    }

    /// Puts the series that were evaluated ahead into a sink, until one of them, or one that was not evaluated, needs the query's thread.
    /// Whether none does. What was remarked comes to `remarks`.
    pub(super) fn put_into(&mut self, sink: &dyn Sink, to: &Counted<'_>, remarks: &mut Remarks) -> bool {
        let mut put = 0;
        for next in self.evaluated.as_mut_slice() {
            // While it is put it counts, with samples or without.
            let held = to.limit.hold(to.steps);
            if held.is_err() || next.series.as_ref().is_some_and(|series| !sink.put(series)) {
                break;
            }
            to.counts.add(to.scope, &next.looked);
            if let Some(made) = next.remarks.take() {
                remarks.absorb(*made);
            }
            put += 1;
        }
        if put == self.evaluated.len() && put == self.series.len() {
            return true;
        }
        self.evaluated.by_ref().take(put).for_each(drop);
        self.series.by_ref().take(put).for_each(drop);
        false
    }

    /// What its thread is to free when all is in the sink.
    pub(super) fn spent(&mut self) -> Spent {
        Spent { by: self.by, _evaluated: std::mem::take(&mut self.evaluated) }
    }
}

impl Spent {
    /// Whether this thread has made it.
    pub(super) fn is_of(&self, thread: ThreadId) -> bool {
        self.by == Some(thread)
    }
}

/// Against what series count that are put into a sink: what they count against when the query's thread reads them.
pub(super) struct Counted<'a> {
    pub(super) limit: &'a SampleLimit,
    pub(super) counts: &'a Counts,
    pub(super) scope: &'a Scope,
    /// Of a column.
    pub(super) steps: usize,
}
