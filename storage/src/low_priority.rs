//! Work that must not take the processor from requests.

/// How much lower than the process' own its priority is.
const NICE: i32 = 10;

/// Runs `work` on a thread of its own, of low priority where the system has such a thing, and waits for it. A panic of it
/// goes on here.
pub(crate) fn at_low_priority<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let lowered = move || {
            // On Linux this is the thread's own. Where it fails the work is merely not polite.
            let own = rustix::process::getpriority_process(None).unwrap_or(0);
            let _ = rustix::process::setpriority_process(None, own + NICE);
            work()
        };
        match scope.spawn(lowered).join() {
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
        let own = rustix::process::getpriority_process(None).unwrap();
        let lowered = at_low_priority(|| rustix::process::getpriority_process(None).unwrap());
        assert_eq!(lowered, (own + NICE).min(19));
        assert_eq!(rustix::process::getpriority_process(None).unwrap(), own);
    }
}
