//! Priorities of threads: some work must not take the processor from writes.

/// How much lower than the process' own that of such work is.
const NICE: i32 = 10;

/// A thread's priority; on systems without such a thing all are alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Priority(i32);

impl Priority {
    /// That of the current thread. A new thread begins with that of the thread that starts it.
    pub fn current() -> Self {
        Priority(rustix::process::getpriority_process(None).unwrap_or(0))
    }

    /// The one of work that must not keep work of this one waiting.
    #[must_use]
    pub fn lowered(self) -> Self {
        Priority((self.0 + NICE).min(19))
    }

    /// Gives it to the current thread, which can not be raised again. Where this fails the thread is merely not polite.
    pub fn lower_current(self) {
        // On Linux this is the thread's own.
        let _ = rustix::process::setpriority_process(None, self.0);
    }
}

/// Runs `work` on a thread of its own, of low priority, and waits for it. A panic of it goes on here.
pub(crate) fn at_low_priority<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let lowered = Priority::current().lowered();
        let work = move || {
            lowered.lower_current();
            work()
        };
        match scope.spawn(work).join() {
            Ok(done) => done,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_thread_is_lowered_and_its_caller_is_not() {
        let own = Priority::current();
        assert_eq!(at_low_priority(Priority::current), own.lowered());
        assert_eq!(Priority::current(), own);
    }
}
