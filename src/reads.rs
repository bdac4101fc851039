//! Threads that answer reads. They have a lower priority than those that take writes: a write takes little time and its
//! sender waits for it, a heavy query takes all that there is.

use std::time::Duration;

use marigram_storage::priority::Priority;
use tokio::runtime::{Builder, Handle, Runtime};

/// The threads, on a runtime of their own: those of the main one serve sockets and writes.
#[derive(Debug)]
pub(crate) struct ReadThreads(Runtime);

impl ReadThreads {
    /// At most so many; they start when they are needed.
    ///
    /// # Errors
    /// The system's.
    pub(crate) fn start(threads_max: usize) -> std::io::Result<Self> {
        // Not relative to the thread that starts it, which may be a lowered one.
        let lowered = Priority::current().lowered();
        let mut builder = Builder::new_multi_thread();
        builder.worker_threads(1).max_blocking_threads(threads_max).enable_time();
        builder.thread_name("read").on_thread_start(move || lowered.lower_current());
        builder.build().map(ReadThreads)
    }

    /// Through which work gets to them.
    pub(crate) fn handle(&self) -> Handle {
        self.0.handle().clone()
    }

    /// Waits a little for what still runs.
    pub(crate) fn shutdown(self, patience: Duration) {
        self.0.shutdown_timeout(patience);
    }
}
