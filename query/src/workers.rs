//! Threads that help queries: one pool for all queries of an engine.
//!
//! 1. A query runs on its own thread. Where it has work that others can do, it calls: its task goes to the end of the queue.
//! 2. A thread of the pool takes the first task, does a portion of it, and puts it back behind the others, so that queries share the
//!    pool evenly.
//! 3. Nobody waits for a thread to come: who calls works on, and does what nobody has begun. So queries, however many and
//!    however nested, neither start more threads than the pool has nor block each other.
//! 4. Where queries compute in [turns](Turns), a thread of the pool takes one for each portion.
//!
//! A thread of the pool has the priority of the query's thread that started it, and wakes up [on another processor](processors) than the
//! one that calls it.
//!
//! A general pool of work-stealing threads (rayon's) would do, but its threads look for work a while before they sleep, and queries
//! of some milliseconds go to sleep too often for that.

use std::collections::VecDeque;
use std::sync::Arc;
use std::thread::JoinHandle;

use marigram_storage::processors;
use marigram_storage::turns::Turns;
use parking_lot::{Condvar, Mutex, MutexGuard};

/// How far a query spreads over threads. Costs are estimates, ns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parallelism {
    /// Threads that work on one query at once, its own included. With 1 it stays on that.
    pub workers: usize,
    /// A select's series are evaluated by the query's own thread until they have cost so much: calling another one and moving what it
    /// makes from one processor's cache to the other's costs a part of what it saves, and of a cheap query all.
    pub cost_min: u64,
    /// What a thread takes at a time.
    pub portion_cost: u64,
}

impl Default for Parallelism {
    fn default() -> Self {
        Parallelism { workers: 1, cost_min: 100_000, portion_cost: 30_000 }
    }
}

impl Parallelism {
    /// As many workers as there are processors.
    pub fn processors() -> usize {
        std::thread::available_parallelism().map_or(1, usize::from)
    }

    /// The threads of the pool: with those of the queries enough to keep all processors busy.
    pub(crate) fn pool_threads(self) -> usize {
        self.workers.max(Self::processors()) - 1
    }
}

/// The threads that a query may call.
#[derive(Clone, Copy)]
pub(crate) struct Parallel<'q> {
    pub(crate) options: Parallelism,
    pub(crate) pool: &'q Workers,
}

/// Work of a query, taken portion by portion.
pub(crate) trait Task: Send + Sync {
    /// Does a portion; does not panic. Whether there may be another one: if not, the task leaves the pool.
    fn help(&self) -> bool;
}

/// The pool. Threads start when they are first needed, and end with it.
pub(crate) struct Workers {
    pool: Arc<Pool>,
}

struct Pool {
    threads_max: usize,
    turns: Option<Arc<Turns>>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    tasks: VecDeque<Arc<dyn Task>>,
    threads: Vec<JoinHandle<()>>,
    /// Threads that wait for a task and were not called yet; the last one has waited the least.
    idle: Vec<Arc<Idle>>,
    closed: bool,
}

/// A thread that waits.
struct Idle {
    sleeper: processors::Sleeper,
    called: Condvar,
}

impl Workers {
    /// A pool of at most `threads_max` threads, which compute in turns with others where there are such.
    pub(crate) fn new(threads_max: usize, turns: Option<Arc<Turns>>) -> Self {
        Workers { pool: Arc::new(Pool { threads_max, turns, state: Mutex::default() }) }
    }

    /// How many threads have been started.
    #[cfg(test)]
    pub(crate) fn started(&self) -> usize {
        self.pool.state.lock().threads.len()
    }

    /// Asks one thread to help with a task. It comes when it has time.
    pub(crate) fn call(&self, task: Arc<dyn Task>) {
        let mut state = self.pool.state.lock();
        state.tasks.push_back(task);
        let idle = state.idle.pop();
        if idle.is_none() && state.threads.len() < self.pool.threads_max {
            let pool = Arc::clone(&self.pool);
            // Without another thread the task waits for those that there are, and its query does the work.
            let started = std::thread::Builder::new().name("query-worker".into()).spawn(move || pool.work());
            state.threads.extend(started);
        }
        drop(state);
        if let Some(idle) = idle {
            idle.sleeper.move_elsewhere();
            idle.called.notify_one();
        }
    }
}

impl Pool {
    fn work(&self) {
        let own = Arc::new(Idle { sleeper: processors::Sleeper::current(), called: Condvar::new() });
        let mut state = self.state.lock();
        while !state.closed {
            let Some(task) = state.tasks.pop_front() else {
                state.idle.push(Arc::clone(&own));
                own.called.wait(&mut state);
                MutexGuard::unlocked(&mut state, || own.sleeper.settle());
                continue;
            };
            drop(state);
            let more = {
                // The query's own thread may wait for the portion.
                let _turn = self.turns.as_ref().map(Turns::take_undivided);
                task.help()
            };
            state = self.state.lock();
            if more {
                state.tasks.push_back(task);
            } else {
                // What it holds is freed outside of the lock.
                drop(state);
                drop(task);
                state = self.state.lock();
            }
        }
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        let (threads, idle) = {
            let mut state = self.pool.state.lock();
            state.closed = true;
            state.tasks.clear();
            (std::mem::take(&mut state.threads), std::mem::take(&mut state.idle))
        };
        for idle in idle {
            idle.called.notify_one();
        }
        for thread in threads {
            // It has not panicked: tasks do not.
            let _ = thread.join();
        }
    }
}

impl std::fmt::Debug for Workers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Workers").field("threads_max", &self.pool.threads_max).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc;

    use super::*;

    /// Tells of each portion; the last one ends the task.
    struct Portions {
        name: usize,
        left: AtomicUsize,
        done: mpsc::Sender<usize>,
        /// Where the first portion waits.
        gate: Option<Barrier>,
    }

    impl Task for Portions {
        fn help(&self) -> bool {
            if let Some(gate) = &self.gate {
                gate.wait();
            }
            let _ = self.done.send(self.name);
            self.left.fetch_sub(1, Ordering::Relaxed) > 1
        }
    }

    #[test]
    fn tasks_take_turns_on_no_more_threads_than_there_may_be() {
        let workers = Workers::new(1, None);
        let (done, portions) = mpsc::channel();
        let task = |name, portions, gate| {
            let gate = if gate { Some(Barrier::new(2)) } else { None };
            Arc::new(Portions { name, left: AtomicUsize::new(portions), done: done.clone(), gate })
        };
        let blocker = task(0, 1, true);
        workers.call(Arc::clone(&blocker) as Arc<dyn Task>);
        workers.call(task(1, 3, false));
        workers.call(task(2, 2, false));
        blocker.gate.as_ref().unwrap().wait();
        assert_eq!(portions.iter().take(6).collect::<Vec<_>>(), [0, 1, 2, 1, 2, 1]);
        assert_eq!(workers.started(), 1);
    }

    #[test]
    fn a_pool_without_threads_starts_none_and_ends_with_tasks_waiting() {
        let workers = Workers::new(0, None);
        let (done, portions) = mpsc::channel();
        workers.call(Arc::new(Portions { name: 0, left: AtomicUsize::new(1), done, gate: None }));
        assert_eq!(workers.started(), 0);
        drop(workers);
        assert!(portions.recv().is_err(), "the task was done, or is still held");
    }
}
