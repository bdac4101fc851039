//! What runs beside the requests: a role's threads and tasks, and the word to stop.

use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use tokio::runtime::Handle;
use tokio::sync::watch;

use crate::app::{App, Event, Failure};

/// The threads and tasks of a server.
#[derive(Debug)]
pub struct Background {
    app: Arc<App>,
    runtime: Handle,
    http_addr: SocketAddr,
    grpc_addr: Option<SocketAddr>,
    stop: Arc<StopFlag>,
    stop_tasks: watch::Sender<bool>,
    threads: Vec<JoinHandle<()>>,
}

impl Background {
    pub(crate) fn new(app: Arc<App>, runtime: Handle, http_addr: SocketAddr) -> Self {
        let (stop_tasks, _) = watch::channel(false);
        Background { app, runtime, http_addr, grpc_addr: None, stop: Arc::default(), stop_tasks, threads: Vec::new() }
    }

    /// What handlers share.
    pub fn app(&self) -> &Arc<App> {
        &self.app
    }

    /// The async runtime: sockets only; work that computes or waits for a disk goes to a thread.
    pub fn runtime(&self) -> &Handle {
        &self.runtime
    }

    /// Where the HTTP API listens.
    pub fn http_addr(&self) -> SocketAddr {
        self.http_addr
    }

    /// Where other roles reach this node.
    pub fn grpc_addr(&self) -> Option<SocketAddr> {
        self.grpc_addr
    }

    /// Notes where other roles reach this node.
    pub fn set_grpc_addr(&mut self, address: SocketAddr) {
        self.grpc_addr = Some(address);
    }

    /// Becomes `true` when tasks must end.
    pub fn stopped(&self) -> watch::Receiver<bool> {
        self.stop_tasks.subscribe()
    }

    /// Starts a thread that the server needs: if it panics, the server stops.
    ///
    /// # Errors
    /// One line that says that it cannot be started.
    pub fn spawn(
        &mut self,
        name: &str,
        body: impl FnOnce(&Arc<App>, &StopFlag) + Send + 'static,
    ) -> Result<(), String> {
        let (app, stop) = (Arc::clone(&self.app), Arc::clone(&self.stop));
        let thread = std::thread::Builder::new().name(name.to_owned()).spawn(move || {
            let _watch = DeathWatch(&app);
            body(&app, &stop);
        });
        self.threads.push(thread.map_err(|error| format!("the thread {name} cannot be started: {error}"))?);
        Ok(())
    }

    /// Tells threads and tasks to end.
    pub(crate) fn raise(&self) {
        self.stop_tasks.send_replace(true);
        self.stop.raise();
    }

    /// Waits for the end of all threads.
    pub(crate) fn join(self) {
        for thread in self.threads {
            if thread.join().is_err() {
                tracing::error!("a background thread has panicked");
            }
        }
    }
}

/// Says when background threads must end.
#[derive(Debug, Default)]
pub struct StopFlag {
    raised: Mutex<bool>,
    changed: Condvar,
}

impl StopFlag {
    fn raise(&self) {
        *self.raised.lock() = true;
        self.changed.notify_all();
    }

    /// Waits for `interval`; `true` if it is time to end.
    pub fn wait(&self, interval: Duration) -> bool {
        let mut raised = self.raised.lock();
        if !*raised {
            self.changed.wait_for(&mut raised, interval);
        }
        *raised
    }
}

/// Tells when a thread that the server needs panics.
struct DeathWatch<'a>(&'a App);

impl Drop for DeathWatch<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.tell(Event::Failed(Failure::Internal("a background thread has panicked".to_owned())));
        }
    }
}
