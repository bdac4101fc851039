//! Threads that answer reads. They have a lower priority than those that take writes: a write takes little time and its
//! sender waits for it, a heavy query takes all that there is.

use std::sync::Arc;
use std::time::Duration;

use marigram_storage::priority::Priority;
use marigram_storage::turns::Turns;
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::task::JoinHandle;

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

    /// Through which work gets to them, in turns where there are such.
    pub(crate) fn reads(&self, turns: Option<Arc<Turns>>) -> Reads {
        Reads::new(self.0.handle().clone(), turns)
    }

    /// Waits a little for what still runs.
    pub(crate) fn shutdown(self, patience: Duration) {
        self.0.shutdown_timeout(patience);
    }
}

/// Has threads work on reads. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Reads {
    threads: Handle,
    /// In which they compute where the store is in this process. Elsewhere they mostly wait for the network.
    turns: Option<Arc<Turns>>,
}

impl Reads {
    /// On the blocking threads of a runtime.
    pub fn new(threads: Handle, turns: Option<Arc<Turns>>) -> Self {
        Reads { threads, turns }
    }

    /// Runs `work` on a thread, when it is its turn.
    pub fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
        let turns = self.turns.clone();
        self.threads.spawn_blocking(move || {
            let _turn = turns.as_ref().map(Turns::take);
            work()
        })
    }

    /// Notes that a write comes in, to which reads give way.
    pub fn note_write(&self) {
        if let Some(turns) = &self.turns {
            turns.note_write();
        }
    }

    /// The turns, for threads that help.
    pub fn turns(&self) -> Option<Arc<Turns>> {
        self.turns.clone()
    }
}
