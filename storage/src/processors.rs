//! On which processor a thread wakes up.
//!
//! The kernel likes to wake a thread where the one runs that wakes it, if no other processor is idle. In virtual machines one that has
//! nothing to do can look to it as if the host had taken it away, and two threads that were to work side by side then take turns on one.
//! Whoever wakes a thread to get help therefore says that it is to wake up elsewhere. It may run everywhere again as soon as it does.

/// A thread that others wake.
#[derive(Debug)]
pub struct Sleeper {
    #[cfg(target_os = "linux")]
    thread: rustix::thread::Pid,
    /// Where it might run before it was told to wake up elsewhere.
    #[cfg(target_os = "linux")]
    before: parking_lot::Mutex<Option<rustix::thread::CpuSet>>,
}

#[cfg(target_os = "linux")]
impl Sleeper {
    /// The current thread.
    pub fn current() -> Self {
        Sleeper { thread: rustix::thread::gettid(), before: parking_lot::Mutex::default() }
    }

    /// Has the thread, which sleeps, wake up on another processor than that of this thread, if it may run on others.
    pub fn move_elsewhere(&self) {
        let Ok(may) = rustix::thread::sched_getaffinity(Some(self.thread)) else { return };
        let mut others = may;
        others.unset(rustix::thread::sched_getcpu());
        if others != may && others.count() > 0 && rustix::thread::sched_setaffinity(Some(self.thread), &others).is_ok()
        {
            *self.before.lock() = Some(may);
        }
    }

    /// Lets the current thread, which has woken up, run where it might before.
    pub fn settle(&self) {
        if let Some(may) = self.before.lock().take() {
            let _ = rustix::thread::sched_setaffinity(None, &may);
        }
    }
}

/// Without such a system the kernel alone decides.
#[cfg(not(target_os = "linux"))]
impl Sleeper {
    /// The current thread.
    pub fn current() -> Self {
        Sleeper {}
    }

    /// Has the thread, which sleeps, wake up on another processor than that of this thread, if it may run on others.
    pub fn move_elsewhere(&self) {}

    /// Lets the current thread, which has woken up, run where it might before.
    pub fn settle(&self) {}
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::sync::mpsc;

    use rustix::thread::{CpuSet, sched_getaffinity, sched_getcpu, sched_setaffinity};

    use super::*;

    #[test]
    fn a_thread_wakes_up_elsewhere_and_then_may_run_everywhere() {
        let all = sched_getaffinity(None).unwrap();
        let (tell, told) = mpsc::channel();
        let (wake, woken) = mpsc::channel();
        let thread = std::thread::spawn(move || {
            let sleeper = std::sync::Arc::new(Sleeper::current());
            tell.send(std::sync::Arc::clone(&sleeper)).unwrap();
            woken.recv().unwrap();
            let (awake_at, may) = (sched_getcpu(), sched_getaffinity(None).unwrap());
            sleeper.settle();
            (awake_at, may, sched_getaffinity(None).unwrap())
        });
        let sleeper = told.recv().unwrap();
        // This thread stays where it is.
        let here = sched_getcpu();
        let mut only = CpuSet::new();
        only.set(here);
        sched_setaffinity(None, &only).unwrap();
        sleeper.move_elsewhere();
        wake.send(()).unwrap();
        let (awake_at, may, after) = thread.join().unwrap();
        assert_eq!(after, all);
        match all.count() {
            1 => assert_eq!(may, all, "there is no other one"),
            _ => assert!(awake_at != here && !may.is_set(here), "{awake_at}"),
        }
    }
}
