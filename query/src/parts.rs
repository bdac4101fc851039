//! Work that is known to fall into parts, made by whoever has time: the pool's threads, and the one that wants them.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use parking_lot::{Condvar, Mutex, MutexGuard};

use crate::engine::Engine;
use crate::workers::Task;

struct Parts<T, F> {
    make: F,
    state: Mutex<State<T>>,
    /// The last part is done.
    changed: Condvar,
}

struct State<T> {
    /// Nobody has begun with this part and those behind it.
    next: usize,
    done: usize,
    /// What the parts became; nothing of those that are not done, and of those at which a thread of the pool panicked.
    made: Vec<Option<T>>,
}

impl Engine {
    /// What `make` makes of the numbers below `parts`, in their order. A panic of it is one of this thread.
    pub fn in_parts<T: Send + 'static>(
        &self,
        parts: usize,
        make: impl Fn(usize) -> T + Send + Sync + 'static,
    ) -> Vec<T> {
        let helpers = self.threads_max().min(parts).saturating_sub(1);
        if helpers == 0 {
            return (0..parts).map(make).collect();
        }
        let state = State { next: 0, done: 0, made: std::iter::repeat_with(|| None).take(parts).collect() };
        let work = Arc::new(Parts { make, state: Mutex::new(state), changed: Condvar::new() });
        for _ in 0..helpers {
            self.call(Arc::clone(&work) as Arc<dyn Task>);
        }
        while let Some(part) = work.begin() {
            let made = (work.make)(part);
            drop(work.done(part, Some(made)));
        }
        let mut state = work.state.lock();
        work.changed.wait_while(&mut state, |state| state.done < parts);
        let made = std::mem::take(&mut state.made);
        drop(state);
        made.into_iter().enumerate().map(|(part, made)| made.unwrap_or_else(|| (work.make)(part))).collect()
    }
}

impl<T, F: Fn(usize) -> T> Parts<T, F> {
    fn begin(&self) -> Option<usize> {
        let mut state = self.state.lock();
        let part = state.next;
        (part < state.made.len()).then(|| {
            state.next += 1;
            part
        })
    }

    fn done(&self, part: usize, made: Option<T>) -> MutexGuard<'_, State<T>> {
        let mut state = self.state.lock();
        state.done += 1;
        if let Some(slot) = state.made.get_mut(part) {
            *slot = made;
        }
        state
    }
}

impl<T: Send, F: Fn(usize) -> T + Send + Sync> Task for Parts<T, F> {
    fn help(&self) -> bool {
        let Some(part) = self.begin() else { return false };
        let made = catch_unwind(AssertUnwindSafe(|| (self.make)(part))).ok();
        let state = self.done(part, made);
        let (more, last) = (state.next < state.made.len(), state.done == state.made.len());
        drop(state);
        if last {
            self.changed.notify_one();
        }
        more
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;

    use super::*;
    use crate::{EngineOptions, Parallelism};

    fn engine(workers: usize) -> Engine {
        let parallelism = Parallelism { workers, ..Parallelism::default() };
        Engine::new(EngineOptions { parallelism, ..EngineOptions::default() })
    }

    #[test]
    fn parts_are_made_by_several_threads_and_come_in_their_order() {
        for workers in [1, 2, 4] {
            let made = engine(workers).in_parts(100, |part| part * part);
            assert!(made.into_iter().eq((0..100).map(|part| part * part)), "{workers}");
        }
        assert_eq!(engine(2).in_parts(0, |part| part), [0; 0]);
        // Neither thread gets on without the other.
        let both = Barrier::new(2);
        let threads = engine(2).in_parts(2, move |_| {
            both.wait();
            std::thread::current().id()
        });
        assert_ne!(threads[0], threads[1]);
    }

    #[test]
    fn a_panic_is_one_of_the_thread_that_wants_the_parts() {
        let engine = engine(3);
        let panicking = catch_unwind(AssertUnwindSafe(|| {
            engine.in_parts(50, |part| assert_ne!(part, 33, "not this one"));
        }));
        assert!(panicking.is_err());
        assert_eq!(engine.in_parts(2, |part| part), [0, 1], "the pool still works");
    }
}
