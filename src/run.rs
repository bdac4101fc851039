//! Starts a server, keeps it going, stops it.
//!
//! 1. The listener is bound first, so that a taken port is said at once; requests are answered 503 until step 2 is
//!    done.
//! 2. The role starts its threads and tasks, and offers itself to requests when it can serve them.
//! 3. Stopping: no new connections, running requests are finished (for a few seconds), threads are joined, the store
//!    is closed. Whatever was acknowledged is on disk at any moment, so nothing depends on a clean stop.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver};
use std::time::Duration;

use marigram_query::Parallelism;
use marigram_storage::env::Env;
use marigram_storage::turns::Turns;
use parking_lot::Mutex;
use tokio::runtime::Runtime;
use tokio::sync::watch;

use crate::app::{App, Event, Failure};
use crate::background::Background;
use crate::config::Settings;
use crate::http::{self, listener::Bounded};
use crate::reads::ReadThreads;
use crate::role;

/// How long running requests may take to finish when the server stops.
const FINISH_TIMEOUT: Duration = Duration::from_secs(5);
/// How long threads may take to end after that.
const THREADS_TIMEOUT: Duration = Duration::from_secs(1);
/// Threads beside those for writes: sealing, metrics, what other nodes write and ask for.
pub(crate) const SPARE_THREADS: usize = 64;
/// Threads beside those for queries and lookups: what other nodes read, and compression.
pub(crate) const READ_SPARE_THREADS: usize = 64;

/// A running server.
#[derive(Debug)]
pub struct Server {
    app: Arc<App>,
    local_addr: SocketAddr,
    runtime: Runtime,
    reads: ReadThreads,
    serving: tokio::task::JoinHandle<()>,
    background: Background,
    events: Mutex<Receiver<Event>>,
}

impl Server {
    /// Binds the listeners, begins to serve and starts the role; does not wait for a store to be recovered.
    ///
    /// # Errors
    /// One line that says what cannot be had.
    pub fn start(settings: Settings, env: Env) -> Result<Server, String> {
        let (listener, local_addr) = bind("http-listen", &settings.http_listen)?;
        let (events_in, events) = mpsc::channel();
        let no_threads = |error: std::io::Error| format!("threads cannot be started: {error}");
        let runtime = runtime(&settings).map_err(no_threads)?;
        let reads = ReadThreads::start(2 * settings.query.max_concurrency + READ_SPARE_THREADS).map_err(no_threads)?;
        let with_turns = settings.role.has_store();
        let turns = with_turns.then(|| Turns::new(Parallelism::processors(), Arc::clone(&env.clock)));
        let app = Arc::new(App::new(settings, env, reads.reads(turns), events_in));
        let mut background = Background::new(Arc::clone(&app), runtime.handle().clone(), local_addr);
        let serving = runtime.spawn(serve(Arc::clone(&app), listener, background.stopped()));
        role::start(&mut background)?;
        let events = Mutex::new(events);
        Ok(Server { app, local_addr, runtime, reads, serving, background, events })
    }

    /// The address that clients reach.
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// The address where other roles reach this node, if it serves them.
    pub fn grpc_addr(&self) -> Option<SocketAddr> {
        self.background.grpc_addr()
    }

    /// The async runtime, for tests that ask other roles.
    #[cfg(test)]
    pub(crate) fn runtime_handle(&self) -> tokio::runtime::Handle {
        self.runtime.handle().clone()
    }

    /// The HTTP address as a URL; a wildcard address becomes the loopback one.
    pub fn url(&self) -> String {
        let (ip, port) = (self.local_addr.ip(), self.local_addr.port());
        match (ip.is_unspecified(), ip.is_ipv6()) {
            (true, false) => format!("http://127.0.0.1:{port}"),
            (true, true) => format!("http://[::1]:{port}"),
            _ => format!("http://{}", self.local_addr),
        }
    }

    /// What handlers share; gives tests the store and the counters.
    pub fn app(&self) -> &Arc<App> {
        &self.app
    }

    /// Waits for the next event.
    pub fn next_event(&self) -> Event {
        let gone = || Event::Failed(Failure::Internal("the server's threads are gone".to_owned()));
        self.events.lock().recv().unwrap_or_else(|_| gone())
    }

    /// Waits until the role has started; a store is open then.
    ///
    /// # Errors
    /// Why it cannot start.
    pub fn wait_started(&self) -> Result<(), Failure> {
        match self.next_event() {
            Event::Started => Ok(()),
            Event::Failed(failure) => Err(failure),
            Event::Stop => Err(Failure::Internal("stopped before it had started".to_owned())),
        }
    }

    /// Makes SIGTERM and SIGINT an [`Event::Stop`].
    ///
    /// # Errors
    /// The system's.
    pub fn stop_on_signals(&self) -> std::io::Result<()> {
        use tokio::signal::unix::{SignalKind, signal};
        let _inside = self.runtime.enter();
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let app = Arc::clone(&self.app);
        self.runtime.spawn(async move {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            app.tell(Event::Stop);
        });
        Ok(())
    }

    /// Stops; returns when the store is closed.
    pub fn shutdown(self) {
        let Server { app, runtime, reads, serving, background, .. } = self;
        background.raise();
        let finished = runtime.block_on(async { tokio::time::timeout(FINISH_TIMEOUT, serving).await });
        if finished.is_err() {
            tracing::warn!("requests that did not finish were cut off");
        }
        background.join();
        reads.shutdown(THREADS_TIMEOUT);
        runtime.shutdown_timeout(THREADS_TIMEOUT);
        drop(app);
    }
}

/// Binds the address that was given with `--{flag}`.
pub(crate) fn bind(flag: &str, address: &str) -> Result<(TcpListener, SocketAddr), String> {
    let bound = TcpListener::bind(address).and_then(|listener| {
        listener.set_nonblocking(true)?;
        let local_addr = listener.local_addr()?;
        Ok((listener, local_addr))
    });
    bound.map_err(|error| match error.kind() {
        std::io::ErrorKind::AddrInUse => format!("--{flag} {address}: the port is taken by another process"),
        _ => format!("--{flag} {address}: {error}"),
    })
}

/// Threads that serve sockets are half as many as processors: they only pass on what others make, and each that wakes up wakes another
/// one to look for work, which costs a request more than it brings.
fn runtime(settings: &Settings) -> std::io::Result<Runtime> {
    let blocking = settings.write.max_concurrency + SPARE_THREADS;
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.worker_threads((Parallelism::processors() / 2).max(1)).max_blocking_threads(blocking);
    builder.enable_all().thread_name("http").build()
}

async fn serve(app: Arc<App>, listener: TcpListener, mut stopped: watch::Receiver<bool>) {
    let max_connections = app.settings.http_max_connections;
    let listener = match tokio::net::TcpListener::from_std(listener) {
        Ok(listener) => Bounded::new(listener, max_connections),
        Err(error) => return app.tell(Event::Failed(Failure::Internal(format!("cannot listen: {error}")))),
    };
    let until_stopped = async move {
        // The sender lives as long as the server.
        let _ = stopped.wait_for(|stop| *stop).await;
    };
    let served = axum::serve(listener, http::router(Arc::clone(&app))).with_graceful_shutdown(until_stopped).await;
    if let Err(error) = served {
        app.tell(Event::Failed(Failure::Internal(format!("serving ended: {error}"))));
    }
}
