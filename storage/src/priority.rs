//! Priorities of threads: some work must not take the processor from writes.
//!
//! A low priority alone leaves a write that wakes up waiting until the slice of whoever computes is over, some milliseconds. Linux gives
//! the processor at once to a thread whose slice is shorter than that of the one that has it (since 6.12), so such work asks for a long one.

use std::time::Duration;

/// How much lower than the process' own that of such work is.
const NICE: i32 = 10;
/// The slice that such work asks for; those of others are about 3 ms. It shares a processor with its like in turns of this length.
const SLICE: Duration = Duration::from_millis(20);

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
        if !lower_with_slice(self.0) {
            // On Linux this is the thread's own.
            let _ = rustix::process::setpriority_process(None, self.0);
        }
    }
}

/// Gives the current thread this priority and the long slice. Kernels that know no slices take the priority alone.
#[cfg(target_os = "linux")]
fn lower_with_slice(nice: i32) -> bool {
    let attributes = libc::sched_attr {
        size: size_of::<libc::sched_attr>() as u32,
        sched_policy: 0,
        sched_flags: libc::SCHED_FLAG_KEEP_POLICY as u64,
        sched_nice: nice,
        sched_priority: 0,
        sched_runtime: SLICE.as_nanos() as u64,
        sched_deadline: 0,
        sched_period: 0,
    };
    // SAFETY: the call reads as many bytes as `attributes` says that it has, and is about the current thread (0).
    unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const attributes, 0) == 0 }
}

#[cfg(not(target_os = "linux"))]
fn lower_with_slice(_: i32) -> bool {
    false
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
