//! Starts a server, keeps it going, stops it.
//!
//! 1. The listener is bound first, so that a taken port is said at once; requests are answered 503 until step 3.
//! 2. The store thread opens the data directory and recovers it.
//! 3. It then looks every few seconds for due work: sealing, retention, cutting the log.
//! 4. The self-scrape thread stores the own metrics.
//! 5. Stopping: no new connections, running requests are finished (for a few seconds), threads are joined, the store
//!    is closed. Whatever was acknowledged is on disk at any moment, so nothing depends on a clean stop.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver};
use std::thread::JoinHandle;
use std::time::Duration;

use marigram_storage::db::Db;
use marigram_storage::env::Env;
use parking_lot::{Condvar, Mutex};
use tokio::runtime::Runtime;
use tokio::sync::watch;

use crate::app::{App, Event, Failure};
use crate::config::Settings;
use crate::http::{self, listener::Bounded};
use crate::scrape;

/// How long running requests may take to finish when the server stops.
const FINISH_TIMEOUT: Duration = Duration::from_secs(5);
/// Threads beside those for queries and writes: sealing, metrics.
const SPARE_THREADS: usize = 8;

/// A running server.
#[derive(Debug)]
pub struct Server {
    app: Arc<App>,
    local_addr: SocketAddr,
    runtime: Runtime,
    serving: tokio::task::JoinHandle<()>,
    stop_serving: watch::Sender<bool>,
    stop_threads: Arc<StopFlag>,
    threads: Vec<JoinHandle<()>>,
    events: Mutex<Receiver<Event>>,
}

impl Server {
    /// Binds the listener, begins to serve and to open the store; does not wait for the store.
    ///
    /// # Errors
    /// One line that says what cannot be had.
    pub fn start(settings: Settings, env: Env) -> Result<Server, String> {
        let (listener, local_addr) = bind(&settings.http_listen)?;
        let (events_in, events) = mpsc::channel();
        let app = Arc::new(App::new(settings, env, events_in));
        let runtime = runtime(&app.settings).map_err(|error| format!("threads cannot be started: {error}"))?;
        let (stop_serving, stopped) = watch::channel(false);
        let serving = runtime.spawn(serve(Arc::clone(&app), listener, stopped));
        let stop_threads = Arc::new(StopFlag::default());
        let mut threads = vec![spawn("store", &app, &stop_threads, keep_store)?];
        if app.settings.self_scrape_interval.is_some() {
            let instance = local_addr.to_string();
            threads
                .push(spawn("self-scrape", &app, &stop_threads, move |app, stop| keep_scraping(app, stop, &instance))?);
        }
        let events = Mutex::new(events);
        Ok(Server { app, local_addr, runtime, serving, stop_serving, stop_threads, threads, events })
    }

    /// The address that clients reach.
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// The same as a URL; a wildcard address becomes the loopback one.
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

    /// Waits until the store is open.
    ///
    /// # Errors
    /// Why it cannot be opened.
    pub fn wait_ready(&self) -> Result<(), Failure> {
        match self.next_event() {
            Event::Ready => Ok(()),
            Event::Failed(failure) => Err(failure),
            Event::Stop => Err(Failure::Internal("stopped before it was ready".to_owned())),
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
        let Server { app, runtime, serving, stop_serving, stop_threads, threads, .. } = self;
        let _ = stop_serving.send(true);
        stop_threads.raise();
        let finished = runtime.block_on(async { tokio::time::timeout(FINISH_TIMEOUT, serving).await });
        if finished.is_err() {
            tracing::warn!("requests that did not finish were cut off");
        }
        for thread in threads {
            if thread.join().is_err() {
                tracing::error!("a background thread has panicked");
            }
        }
        runtime.shutdown_timeout(Duration::from_secs(1));
        drop(app);
    }
}

fn bind(address: &str) -> Result<(TcpListener, SocketAddr), String> {
    let bound = TcpListener::bind(address).and_then(|listener| {
        listener.set_nonblocking(true)?;
        let local_addr = listener.local_addr()?;
        Ok((listener, local_addr))
    });
    bound.map_err(|error| match error.kind() {
        std::io::ErrorKind::AddrInUse => format!("--http-listen {address}: the port is taken by another process"),
        _ => format!("--http-listen {address}: {error}"),
    })
}

fn runtime(settings: &Settings) -> std::io::Result<Runtime> {
    let blocking = 2 * settings.query.max_concurrency + settings.write.max_concurrency + SPARE_THREADS;
    tokio::runtime::Builder::new_multi_thread().enable_all().thread_name("http").max_blocking_threads(blocking).build()
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

/// Says when background threads must end.
#[derive(Debug, Default)]
struct StopFlag {
    raised: Mutex<bool>,
    changed: Condvar,
}

impl StopFlag {
    fn raise(&self) {
        *self.raised.lock() = true;
        self.changed.notify_all();
    }

    /// Waits for `interval`; `true` if it is time to end.
    fn wait(&self, interval: Duration) -> bool {
        let mut raised = self.raised.lock();
        if !*raised {
            self.changed.wait_for(&mut raised, interval);
        }
        *raised
    }
}

fn spawn(
    name: &str,
    app: &Arc<App>,
    stop: &Arc<StopFlag>,
    body: impl FnOnce(&App, &StopFlag) + Send + 'static,
) -> Result<JoinHandle<()>, String> {
    let (app, stop) = (Arc::clone(app), Arc::clone(stop));
    let thread = std::thread::Builder::new().name(name.to_owned()).spawn(move || {
        let _watch = DeathWatch(&app);
        body(&app, &stop);
    });
    thread.map_err(|error| format!("the thread {name} cannot be started: {error}"))
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

/// Opens the store, then looks for due work until it is time to end.
fn keep_store(app: &App, stop: &StopFlag) {
    match Db::open(app.settings.data_dir.clone(), app.env.clone(), app.settings.store.clone()) {
        Ok(db) => app.opened(Arc::new(db)),
        Err(error) => return app.tell(Event::Failed(Failure::Open(error))),
    }
    let (Some(node), Some(interval)) = (app.node(), app.settings.maintenance_interval) else { return };
    while !stop.wait(interval) {
        if let Err(error) = node.db.maintain() {
            tracing::error!(%error, "maintenance failed and will be tried again");
        }
        app.check_poison();
    }
}

fn keep_scraping(app: &App, stop: &StopFlag, instance: &str) {
    let Some(interval) = app.settings.self_scrape_interval else { return };
    loop {
        if let Some(node) = app.node()
            && let Err(error) = scrape::once(app, node, instance)
        {
            tracing::warn!(%error, "the own metrics were not stored");
        }
        if stop.wait(interval) {
            return;
        }
    }
}
