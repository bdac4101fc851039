//! Threads that evaluate the series of one leaf together.
//!
//! 1. The query's own thread reads batches and cuts them into portions. Each has a slot in a queue, in the order of the series.
//! 2. Threads of the pool begin with the first portion that nobody has begun, and leave in its slot what they made.
//! 3. The query's thread takes the first slot. If nobody has begun with it, it evaluates the series itself, one by one. If somebody has
//!    and is not done, it does what the others do meanwhile, and waits only when nothing is left to begin with.
//!
//! So the query sees the series in their order, and its result does not depend on who evaluated which. What is begun or done, but not
//! taken, is bounded in portions and in samples.
//!
//! Where the series go into a [sink](Sink), the query's thread evaluates portions as the others do, and whoever is done with the first
//! one puts its series there, and after them those of the next ones that are done. The query's thread gets what the sink gives back, and
//! nobody puts anything into the sink until it asks for more.

use std::any::Any;
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::thread::{self, ThreadId};

use marigram_storage::context::Context;
use marigram_storage::select::SeriesBatch;
use parking_lot::{Condvar, Mutex, MutexGuard};

use super::Evaluate;
use super::portion::{Counted, Desk, Portion, Spent, Turn, cut};
use crate::annotations::Remarks;
use crate::eval::reader::SampleDecoder;
use crate::eval::{Counts, EvalContext, EvalOptions, SampleLimit, Sink};
use crate::workers::{Parallel, Task};

/// Most samples in columns that were made ahead, together.
const AHEAD_SAMPLES_MAX: usize = 4 << 20;
/// Part of the query's sample limit that they may take, beside it.
const AHEAD_LIMIT_PART: usize = 8;
/// Begun or done portions for each thread: work for the time in which the query's own thread reads the next batch.
const AHEAD_PORTIONS: usize = 8;
/// The next batch is read when there are fewer portions than this for each thread that nobody has begun.
const WAITING_PORTIONS: usize = 4;
/// How much of the memory budget must be left, so that reading ahead does not use up what the query needs for itself.
const BUDGET_LEFT_BYTES: u64 = 16 << 20;

/// The query's end of a team.
pub(super) struct Team<'q, E: Evaluate> {
    parallel: Parallel<'q>,
    shared: Arc<Shared<E>>,
    /// Of a portion.
    series_max: usize,
}

struct Shared<E: Evaluate> {
    work: Arc<E>,
    /// Ends when the leaf does.
    context: Context,
    options: EvalOptions,
    decoder: SampleDecoder,
    /// Begun or done portions.
    portions_max: usize,
    /// In what is made of one of them.
    samples_max: usize,
    /// The query's, where the sink's series count.
    limit: SampleLimit,
    counts: Counts,
    state: Mutex<State<E>>,
    /// The first portion is done, or the last thread of the pool has left.
    changed: Condvar,
}

struct State<E: Evaluate> {
    slots: VecDeque<Slot>,
    /// The number of the first slot.
    first: u64,
    /// So many at the end wait; none waits before one that does not.
    waiting: usize,
    /// Threads that were called and have not left.
    helpers: usize,
    /// Those of them that are at work.
    active: usize,
    /// Desks at which nobody works. A thread comes back to its own: that knows timestamps which it has decoded.
    desks: Vec<(ThreadId, Desk<E>)>,
    /// Until the query has ended.
    sink: Option<Arc<dyn Sink>>,
    at_sink: AtSink,
    /// What was remarked of series that are in the sink.
    remarks: Remarks,
    /// Of the sink, for the query's thread to go on with.
    panic: Option<Box<dyn Any + Send>>,
    /// Series whose values are in the sink, for the query's thread to free, …
    read: Vec<Turn>,
    /// … and what was made of them, for those who made it.
    spent: Vec<Spent>,
}

/// Who may put series into the sink.
#[derive(Clone, Copy, PartialEq, Eq)]
enum AtSink {
    /// Whoever has the next ones.
    Nobody,
    /// A thread does it.
    Thread,
    /// The query's thread works on some that came back from it.
    Query,
}

enum Slot {
    Waiting(Portion),
    Begun,
    Done(Turn),
    /// With what the sink has given back.
    Back(Turn),
}

/// What the query's thread did.
pub(super) enum Step {
    /// It has the series that come next.
    Turn(Turn),
    /// It evaluated others.
    Helped,
    /// There are none.
    Idle,
}

impl<'q, E: Evaluate> Team<'q, E> {
    /// A team without work, if there is room for one.
    pub(super) fn new(
        parallel: Parallel<'q>,
        eval: &EvalContext,
        work: &Arc<E>,
        decoder: &SampleDecoder,
        sink: Option<Arc<dyn Sink>>,
    ) -> Option<Self> {
        let samples = AHEAD_SAMPLES_MAX.min(eval.limit.max() / AHEAD_LIMIT_PART);
        let portions_max = (AHEAD_PORTIONS * parallel.options.workers).min(samples / work.steps().max(1) / 2);
        if portions_max == 0 || eval.context.budget_left() < BUDGET_LEFT_BYTES {
            return None;
        }
        let samples_max = samples / portions_max;
        let shared = Arc::new(Shared {
            work: Arc::clone(work),
            context: eval.context.part(),
            options: eval.options,
            decoder: decoder.again(),
            portions_max,
            samples_max,
            limit: eval.limit.clone(),
            counts: eval.counts.clone(),
            state: Mutex::new(State {
                slots: VecDeque::new(),
                first: 0,
                waiting: 0,
                helpers: 0,
                active: 0,
                desks: Vec::new(),
                sink,
                at_sink: AtSink::Nobody,
                remarks: Remarks::default(),
                panic: None,
                read: Vec::new(),
                spent: Vec::new(),
            }),
            changed: Condvar::new(),
        });
        Some(Team { parallel, shared, series_max: (samples_max / work.steps().max(1)).max(1) })
    }

    /// Whether there is nothing to do.
    pub(super) fn is_idle(&self) -> bool {
        self.shared.state.lock().slots.is_empty()
    }

    /// Whether another batch should be read.
    pub(super) fn wants_more(&self) -> bool {
        self.shared.state.lock().waiting < WAITING_PORTIONS * self.parallel.options.workers
            && self.shared.context.budget_left() >= BUDGET_LEFT_BYTES
    }

    /// Takes a batch in.
    pub(super) fn add(&self, batch: SeriesBatch) {
        let portions = cut(&*self.shared.work, batch, self.parallel.options.portion_cost, self.series_max);
        let mut state = self.shared.state.lock();
        state.waiting += portions.len();
        state.slots.extend(portions.into_iter().map(Slot::Waiting));
        let called = self.helpers_to_call(&mut state);
        drop(state);
        self.call(called);
    }

    /// Comes closer to the next series.
    pub(super) fn step(&self, eval: &EvalContext) -> Step {
        let mut state = self.shared.state.lock();
        if state.at_sink == AtSink::Query {
            state.at_sink = AtSink::Nobody;
            state = self.shared.put(state);
        }
        let (read, spent) = (std::mem::take(&mut state.read), state.own_spent());
        if !read.is_empty() || !spent.is_empty() {
            MutexGuard::unlocked(&mut state, || drop((read, spent)));
        }
        loop {
            if let Some(panic) = state.panic.take() {
                drop(state);
                resume_unwind(panic);
            }
            let ahead = match state.slots.front() {
                _ if state.at_sink == AtSink::Thread => true,
                None => {
                    eval.remarks.borrow_mut().absorb(std::mem::take(&mut state.remarks));
                    return Step::Idle;
                }
                Some(Slot::Begun) => true,
                Some(Slot::Waiting(_)) => state.sink.is_some(),
                Some(Slot::Done(_) | Slot::Back(_)) => false,
            };
            if !ahead {
                break;
            }
            match self.shared.begin(&mut state) {
                Some(begun) => {
                    drop(state);
                    let mut state = self.shared.finish(begun);
                    let called = self.helpers_to_call(&mut state);
                    drop(state);
                    self.call(called);
                    return Step::Helped;
                }
                None => self.shared.changed.wait(&mut state),
            }
        }
        eval.remarks.borrow_mut().absorb(std::mem::take(&mut state.remarks));
        state.first += 1;
        let turn = match state.slots.pop_front() {
            Some(Slot::Waiting(portion)) => {
                state.waiting -= 1;
                Turn::of_portion(portion)
            }
            Some(Slot::Done(turn)) => turn,
            Some(Slot::Back(turn)) => {
                state.at_sink = AtSink::Query;
                turn
            }
            Some(Slot::Begun) | None => return Step::Idle,
        };
        let called = self.helpers_to_call(&mut state);
        drop(state);
        self.call(called);
        Step::Turn(turn)
    }

    /// Threads that have left because there was no room are called when there is room for some portions: waking one for each would cost
    /// more than it does.
    fn helpers_to_call(&self, state: &mut State<E>) -> usize {
        if state.begun_or_done() > self.shared.portions_max / 2 {
            return 0;
        }
        let wanted = state.waiting.min(self.parallel.options.workers.saturating_sub(1));
        let called = wanted.saturating_sub(state.helpers);
        state.helpers += called;
        called
    }

    fn call(&self, helpers: usize) {
        for _ in 0..helpers {
            self.parallel.pool.call(Arc::clone(&self.shared) as Arc<dyn Task>);
        }
    }
}

/// Whatever ends the query or the leaf: nothing of it goes on.
impl<E: Evaluate> Drop for Team<'_, E> {
    fn drop(&mut self) {
        self.shared.context.cancel();
        let mut state = self.shared.state.lock();
        state.waiting = 0;
        let slots = std::mem::take(&mut state.slots);
        while state.active > 0 {
            self.shared.changed.wait(&mut state);
        }
        let (desks, sink) = (std::mem::take(&mut state.desks), state.sink.take());
        let left = (std::mem::take(&mut state.read), std::mem::take(&mut state.spent));
        drop(state);
        drop((slots, left, desks, sink));
    }
}

impl<E: Evaluate> State<E> {
    fn begun_or_done(&self) -> usize {
        self.slots.len() - self.waiting
    }

    /// What this thread has made and is to free.
    fn own_spent(&mut self) -> Vec<Spent> {
        let this = thread::current().id();
        self.spent.extract_if(.., |spent| spent.is_of(this)).collect()
    }
}

/// A portion that is worked on.
struct Begun<E: Evaluate> {
    number: u64,
    portion: Portion,
    desk: Option<Desk<E>>,
}

impl<E: Evaluate> Shared<E> {
    /// Begins with the first portion that waits, if there is room for what it makes.
    fn begin(&self, state: &mut State<E>) -> Option<Begun<E>> {
        let at = state.begun_or_done();
        if at >= self.portions_max {
            return None;
        }
        let slot = state.slots.get_mut(at)?;
        match std::mem::replace(slot, Slot::Begun) {
            Slot::Waiting(portion) => {
                state.waiting -= 1;
                let this = thread::current().id();
                let own = state.desks.iter().position(|(of, _)| *of == this);
                let desk = own.map(|own| state.desks.swap_remove(own).1);
                Some(Begun { number: state.first + at as u64, portion, desk })
            }
            other => {
                *slot = other;
                None
            }
        }
    }

    /// Evaluates a portion and puts what it makes into its slot; answers the state after that.
    fn finish(&self, begun: Begun<E>) -> MutexGuard<'_, State<E>> {
        let Begun { number, portion, desk } = begun;
        let mut desk = desk.unwrap_or_else(|| Desk::new(&self.context, self.options, &self.decoder));
        let (turn, intact) = desk.evaluate(&*self.work, portion, self.samples_max);
        let mut state = self.state.lock();
        if intact {
            state.desks.push((thread::current().id(), desk));
        }
        let slot = number.checked_sub(state.first).and_then(|at| usize::try_from(at).ok());
        if let Some(slot) = slot.and_then(|at| state.slots.get_mut(at)) {
            *slot = Slot::Done(turn);
        }
        self.put(state)
    }

    /// Puts the series of the first portions into the sink, as far as they are done, if nobody else does.
    fn put<'s>(&'s self, mut state: MutexGuard<'s, State<E>>) -> MutexGuard<'s, State<E>> {
        let Some(sink) = state.sink.clone() else { return state };
        let Shared { work, limit, counts, .. } = self;
        let counted = Counted { limit, counts, scope: work.scope(), steps: work.steps() };
        while state.at_sink == AtSink::Nobody
            && state.panic.is_none()
            && let Some(Slot::Done(_)) = state.slots.front()
            && let Some(Slot::Done(mut turn)) = state.slots.pop_front()
        {
            state.first += 1;
            state.at_sink = AtSink::Thread;
            let mut remarks = std::mem::take(&mut state.remarks);
            drop(state);
            let all = catch_unwind(AssertUnwindSafe(|| turn.put_into(&*sink, &counted, &mut remarks)));
            // All that is left to free of its own is freed before the lock is taken.
            let this = thread::current().id();
            let spent = matches!(all, Ok(true)).then(|| turn.spent()).filter(|spent| !spent.is_of(this));
            state = self.state.lock();
            state.spent.extend(spent);
            state.remarks = remarks;
            state.at_sink = AtSink::Nobody;
            match all {
                Ok(true) => state.read.push(turn),
                Ok(false) => {
                    state.first -= 1;
                    state.slots.push_front(Slot::Back(turn));
                }
                Err(panic) => state.panic = Some(panic),
            }
        }
        state
    }
}

impl<E: Evaluate> Task for Shared<E> {
    fn help(&self) -> bool {
        let mut state = self.state.lock();
        let spent = state.own_spent();
        let Some(begun) = self.begin(&mut state) else {
            state.helpers -= 1;
            drop(state);
            drop(spent);
            return false;
        };
        state.active += 1;
        drop(state);
        drop(spent);
        let mut state = self.finish(begun);
        state.active -= 1;
        let more = state.waiting > 0 && state.begun_or_done() < self.portions_max;
        if !more {
            state.helpers -= 1;
        }
        let wakes = state.active == 0
            || state.panic.is_some()
            || state.at_sink != AtSink::Thread && !matches!(state.slots.front(), Some(Slot::Begun));
        drop(state);
        if wakes {
            self.changed.notify_one();
        }
        more
    }
}
