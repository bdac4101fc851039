//! `marigram compact`: keeps the list of members, and moves sealed blocks into the bucket.
//!
//! Each pass, every `--compact-interval`:
//! 1. (First only.) Ask the bucket whether its put-if-absent can be trusted; read the catalog; begin to watch the nodes.
//! 2. Hear the nodes, read the newest catalog, choose who is a member ([`plan::members`]), commit that, and tell the list
//!    to every node that is behind.
//! 3. Tell the nodes which of their blocks the catalog covers, and hear what they have dropped.
//! 4. List the sealed blocks of all live members, choose what is due ([`plan::blocks`]); fetch, join, upload, check,
//!    commit ([`marigram_storage::compact::publish`]), and tell what is covered.
//!
//! Any number of compactors may run at once, without leases: the catalog decides. To save double work each reads the
//! catalog again before it fetches and before it uploads, takes what is due in an order of its own, and waits a little
//! more or less than the interval. A process may die at any moment: nothing is dropped anywhere before a catalog that
//! covers it was read back.

pub mod plan;
mod probe;
mod scratch;
mod status;
mod worker;

use std::sync::Arc;
use std::sync::mpsc;
use std::time::Duration;

use marigram_storage::{Error, Result};

use crate::app::{App, Event, Failure};
use crate::background::Background;
use crate::bucket;
use crate::peers::Address;
use crate::service::Service;
use scratch::Scratch;
use status::Status;
use worker::Worker;

/// How long a stop waits for what is under way. Nothing depends on it.
const STOP_TIMEOUT: Duration = Duration::from_secs(2);
/// How often the word to stop is looked for.
const STOP_INTERVAL: Duration = Duration::from_millis(100);

/// Why a pass ended early.
#[derive(Debug)]
enum Halt {
    /// It is tried again.
    Failed(String),
    /// The process must not go on.
    Contradiction(String),
    /// It is time to end.
    Stopped,
}

impl From<Error> for Halt {
    fn from(error: Error) -> Self {
        match error {
            Error::Cancelled => Halt::Stopped,
            error => Halt::Failed(error.to_string()),
        }
    }
}

/// A compactor as requests see it.
struct Compactor {
    app: Arc<App>,
    status: Arc<Status>,
}

/// Starts the threads.
pub(crate) fn start(background: &mut Background) -> Result<(), String> {
    let app = Arc::clone(background.app());
    for address in &app.settings.cluster.storage_nodes {
        Address::parse(address)?;
    }
    let url = app.settings.cluster.bucket.as_deref().ok_or("--bucket must be given")?;
    let bucket = bucket::open(url, &app.env, background.runtime())?;
    let scratch =
        Scratch::open(&app.env.disk, &app.settings.data_dir).map_err(|error| format!("--data-dir: {error}"))?;
    let status = Arc::new(Status::default());
    let (runtime, stopped) = (background.runtime().clone(), background.stopped());
    let worker = Worker::new(Arc::clone(&app), runtime, stopped, bucket, scratch, Arc::clone(&status));
    background.spawn("compact", move |app, stop| {
        app.serve(Arc::new(Compactor { app: Arc::clone(app), status }));
        // A thread of its own, which a stop does not wait for: a call on the bucket may take long.
        let (ended, end) = mpsc::channel();
        let started = std::thread::Builder::new().name("compact-work".to_owned()).spawn(move || {
            worker.run();
            // Nobody may be waiting any more.
            let _ = ended.send(());
        });
        if let Err(error) = started {
            return app.tell(Event::Failed(Failure::Internal(format!("a thread cannot be started: {error}"))));
        }
        while !stop.wait(STOP_INTERVAL) {
            match end.try_recv() {
                Err(mpsc::TryRecvError::Empty) => {}
                Ok(()) => return,
                Err(mpsc::TryRecvError::Disconnected) => {
                    return app
                        .tell(Event::Failed(Failure::Internal("the compactor's thread has panicked".to_owned())));
                }
            }
        }
        let _ = end.recv_timeout(STOP_TIMEOUT);
    })
}

impl Service for Compactor {
    fn readiness(&self) -> Result<(), String> {
        self.status.readiness(self.app.env.clock.monotonic())
    }

    fn seal(&self) -> Result<()> {
        Err(Error::BadInput("a compactor has nothing to seal; ask an insert, query or storage node".into()))
    }

    fn cluster_status(&self) -> serde_json::Value {
        self.status.document(self.readiness(), &*self.app.env.clock)
    }

    fn metrics(&self, out: &mut String) {
        self.status.metrics(out);
    }
}

#[cfg(test)]
mod tests;
