//! Turns: of the threads that work on reads only so many compute at once, each for some milliseconds before it is another
//! one's turn.
//!
//! More threads than processors would share those just as well, but not the locks: one that is put aside by the system
//! while it holds a lock for a microsecond keeps writes waiting until all the others have had their share of time. With no
//! more threads than processors it goes on as soon as the write that took its place waits for something.
//!
//! While writes come in, one turn fewer is given, where there are several: so there is a processor for them that no read
//! has to be driven from.
//!
//! A thread takes a turn ([`Turns::take`]), and offers it to others at places where it holds no locks ([`let_others`]). It
//! does not keep it while it waits for a client ([`without`]), and passes it on to a thread that it waits for ([`carry`]).

use std::cell::RefCell;
use std::collections::VecDeque;
use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use crate::env::Clock;

/// How long a turn lasts while others wait.
const LENGTH: Duration = Duration::from_millis(5);
/// Writes come in as long as the last one began no longer ago than this.
const WRITES_WITHIN: Duration = Duration::from_millis(20);

/// The turns of a process' reads.
#[derive(Debug)]
pub struct Turns {
    clock: Arc<dyn Clock>,
    at_once: usize,
    /// When the last write began, ms of the monotonic clock, counted from 1.
    last_write: AtomicU64,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    taken: usize,
    queue: VecDeque<Arc<Waiter>>,
}

#[derive(Debug, Default)]
struct Waiter {
    has_turn: Mutex<bool>,
    changed: Condvar,
}

/// The turn of this thread; given back on drop.
#[derive(Debug)]
#[must_use]
pub struct Turn {
    is_own: bool,
    /// It belongs to the thread.
    _here: PhantomData<*const ()>,
}

struct Taken {
    turns: Arc<Turns>,
    /// None: it is not offered to others.
    since: Option<Duration>,
}

thread_local! {
    static TAKEN: RefCell<Option<Taken>> = const { RefCell::new(None) };
}

impl Turns {
    /// So many at once, at least one.
    pub fn new(at_once: usize, clock: Arc<dyn Clock>) -> Arc<Self> {
        let state = State { taken: 0, queue: VecDeque::new() };
        Arc::new(Turns { clock, at_once: at_once.max(1), last_write: AtomicU64::new(0), state: Mutex::new(state) })
    }

    /// Notes that a write comes in.
    pub fn note_write(&self) {
        self.last_write.store(self.now(), Ordering::Relaxed);
    }

    fn now(&self) -> u64 {
        self.clock.monotonic().as_millis() as u64 + 1
    }

    /// How many may be taken now.
    fn allowed(&self) -> usize {
        let last_write = self.last_write.load(Ordering::Relaxed);
        let writes = last_write > 0 && self.now().saturating_sub(last_write) <= WRITES_WITHIN.as_millis() as u64;
        if writes { (self.at_once - 1).max(1) } else { self.at_once }
    }

    /// Waits for a turn: those who came before have theirs first. A thread that has one keeps it.
    pub fn take(self: &Arc<Self>) -> Turn {
        self.take_from(|| Some(self.clock.monotonic()))
    }

    /// The same for a short piece of work that a thread with a turn may come to wait for: it is not offered to others before it is given
    /// back. Else both could wait, one for the work and the other for its turn.
    pub fn take_undivided(self: &Arc<Self>) -> Turn {
        self.take_from(|| None)
    }

    fn take_from(self: &Arc<Self>, since: impl FnOnce() -> Option<Duration>) -> Turn {
        let is_own = TAKEN.with_borrow(Option::is_none);
        if is_own {
            self.wait();
            TAKEN.set(Some(Taken { turns: Arc::clone(self), since: since() }));
        }
        Turn { is_own, _here: PhantomData }
    }

    fn wait(&self) {
        let waiter = {
            let mut state = self.state.lock();
            // Whoever waits comes first.
            if state.queue.is_empty() && state.taken < self.allowed() {
                state.taken += 1;
                return;
            }
            let waiter = Arc::new(Waiter::default());
            state.queue.push_back(Arc::clone(&waiter));
            waiter
        };
        let mut has_turn = waiter.has_turn.lock();
        waiter.changed.wait_while(&mut has_turn, |has_turn| !*has_turn);
    }

    fn give(&self) {
        self.state.lock().taken -= 1;
        self.give_to_waiting();
    }

    /// Whether somebody waits for a turn of those that are taken, or too many are.
    fn wants_back(&self) -> bool {
        // More may be given than when they came.
        self.give_to_waiting();
        let state = self.state.lock();
        !state.queue.is_empty() || state.taken > self.allowed()
    }

    /// Gives those who wait what may be given.
    fn give_to_waiting(&self) {
        let allowed = self.allowed();
        let mut state = self.state.lock();
        while state.taken < allowed
            && let Some(next) = state.queue.pop_front()
        {
            state.taken += 1;
            *next.has_turn.lock() = true;
            next.changed.notify_one();
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if self.is_own
            && let Some(taken) = TAKEN.take()
        {
            taken.turns.give();
        }
    }
}

/// Lets others have their turn if this thread's has lasted long enough and somebody waits. Not to be called with a lock held.
pub fn let_others() {
    TAKEN.with_borrow_mut(|taken| {
        let Some(Taken { turns, since: Some(since) }) = taken else { return };
        let now = turns.clock.monotonic();
        if now.saturating_sub(*since) < LENGTH {
            return;
        }
        *since = now;
        if turns.wants_back() {
            turns.give();
            turns.wait();
            *since = turns.clock.monotonic();
        }
    });
}

/// Does what waits for something else than a processor, without keeping the turn meanwhile.
pub fn without<T>(work: impl FnOnce() -> T) -> T {
    /// Takes the turn again, also when the work panics.
    struct Away(Option<Taken>);
    impl Drop for Away {
        fn drop(&mut self) {
            if let Some(mut taken) = self.0.take() {
                taken.turns.wait();
                taken.since = taken.since.map(|_| taken.turns.clock.monotonic());
                TAKEN.set(Some(taken));
            }
        }
    }
    let away = Away(TAKEN.take());
    if let Some(taken) = &away.0 {
        taken.turns.give();
    }
    work()
}

/// The turn of a thread that waits for another one, which has it meanwhile. Given back on drop, by the thread that carried it.
pub struct Carried(Option<Taken>);

/// Takes this thread's turn along, if it has one.
pub fn carry() -> Carried {
    Carried(TAKEN.take())
}

impl Carried {
    /// Does work on this thread with the turn.
    pub fn during<T>(&mut self, work: impl FnOnce() -> T) -> T {
        /// Carries it on, also when the work panics.
        struct Here<'c>(&'c mut Carried);
        impl Drop for Here<'_> {
            fn drop(&mut self) {
                self.0.0 = TAKEN.take();
            }
        }
        TAKEN.set(self.0.take());
        let _here = Here(self);
        work()
    }
}

impl Drop for Carried {
    fn drop(&mut self) {
        if let Some(taken) = self.0.take() {
            TAKEN.set(Some(taken));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;
    use crate::env::ManualClock;

    fn turns(at_once: usize) -> (Arc<Turns>, Arc<ManualClock>) {
        let clock = Arc::new(ManualClock::default());
        (Turns::new(at_once, Arc::clone(&clock) as _), clock)
    }

    /// Waits until so many wait for a turn.
    fn wait_for(turns: &Turns, waiting: usize) {
        while turns.state.lock().queue.len() != waiting {
            std::thread::yield_now();
        }
    }

    #[test]
    fn the_first_to_come_is_the_first_to_go() {
        let (turns, clock) = turns(1);
        let (tell, told) = mpsc::channel();
        std::thread::scope(|scope| {
            let first = turns.take();
            for number in 0..3 {
                let (turns, tell) = (&turns, tell.clone());
                scope.spawn(move || {
                    let _turn = turns.take();
                    tell.send(number).unwrap();
                });
                wait_for(turns, number + 1);
            }
            // It has not lasted long enough.
            let_others();
            assert!(told.try_recv().is_err());
            clock.set(LENGTH.as_millis() as i64);
            let_others();
            assert_eq!(told.try_iter().collect::<Vec<_>>(), [0, 1, 2]);
            drop(first);
        });
        assert_eq!(turns.state.lock().taken, 0);
    }

    #[test]
    fn a_processor_is_left_to_writes_while_they_come_in() {
        let (turns, clock) = turns(2);
        turns.note_write();
        std::thread::scope(|scope| {
            let first = turns.take();
            let second = scope.spawn(|| drop(turns.take()));
            wait_for(&turns, 1);
            clock.set((LENGTH + WRITES_WITHIN).as_millis() as i64 + 1);
            let_others();
            second.join().unwrap();
            drop(first);
        });
        let (alone, _) = self::turns(1);
        alone.note_write();
        drop(alone.take());
        assert_eq!((turns.state.lock().taken, alone.state.lock().taken), (0, 0));
    }

    /// A query that has a turn waits for a thread that helps it; while writes come in, no second turn is given.
    #[test]
    fn who_is_waited_for_keeps_its_turn() {
        let (turns, clock) = turns(2);
        let query = turns.take();
        std::thread::scope(|scope| {
            let (begin, begun) = mpsc::channel();
            let (tell, told) = mpsc::channel();
            let helper = scope.spawn({
                let turns = &turns;
                move || {
                    let _turn = turns.take_undivided();
                    tell.send(()).unwrap();
                    begun.recv().unwrap();
                    let_others();
                }
            });
            told.recv().unwrap();
            clock.set(LENGTH.as_millis() as i64);
            turns.note_write();
            begin.send(()).unwrap();
            helper.join().unwrap();
        });
        drop(query);
        assert_eq!(turns.state.lock().taken, 0);
    }

    #[test]
    fn who_waits_for_something_else_has_no_turn() {
        let (turns, _) = turns(1);
        let outer = turns.take();
        let inner = turns.take();
        without(|| {
            assert_eq!(turns.state.lock().taken, 0);
            std::thread::scope(|scope| scope.spawn(|| drop(turns.take())).join().unwrap());
        });
        assert_eq!(turns.state.lock().taken, 1);
        let lost = std::panic::catch_unwind(|| without(|| panic!("the work fails")));
        assert!(lost.is_err() && turns.state.lock().taken == 1);
        drop(inner);
        assert_eq!(turns.state.lock().taken, 1, "the outer one still lasts");
        drop(outer);
        assert_eq!(turns.state.lock().taken, 0);
        // Without a turn there is nothing to give.
        let_others();
        assert_eq!(without(|| 7), 7);
    }
}
