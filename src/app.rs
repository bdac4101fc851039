//! What all handlers share: settings, the opened store, the places for requests, the own metrics.

use std::sync::mpsc::Sender;
use std::sync::{Arc, OnceLock};

use marigram_query::{Engine, EngineOptions, Parallelism};
use marigram_storage::db::Db;
use marigram_storage::env::Env;
use marigram_storage::write::ArenaPool;

use crate::config::Settings;
use crate::http::active::ActiveQueries;
use crate::http::admission::{ByteBudget, Gate};
use crate::reads::Reads;
use crate::service::{Reader, Service, Sink};
use crate::telemetry::Telemetry;

/// What requests are told before the role has started.
const STARTING: &str = "the store is still being recovered";

/// What happens to a running server, told to whoever waits for it.
#[derive(Debug)]
pub enum Event {
    /// The role serves requests; a store is open and recovered.
    Started,
    /// The server cannot go on.
    Failed(Failure),
    /// A signal asked it to stop.
    Stop,
}

/// Why a server cannot go on.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Failure {
    /// The data directory could not be opened.
    #[error("--data-dir: {0}")]
    Open(marigram_storage::Error),
    /// A write or fsync failed; only a restart, through recovery, takes writes again.
    #[error("the store stopped taking writes ({0}); a restart recovers everything that was acknowledged")]
    Poisoned(String),
    /// The settings contradict the cluster's.
    #[error("{0}")]
    Contradiction(String),
    /// A thread that must not end has ended.
    #[error("{0}")]
    Internal(String),
}

/// Shared by all handlers and background threads of a server.
pub struct App {
    /// Validated settings.
    pub settings: Settings,
    /// Time, randomness, disk.
    pub env: Env,
    /// The own metrics.
    pub telemetry: Telemetry,
    /// Places for queries.
    pub queries: Gate,
    /// Places for label requests and remote reads.
    pub lookups: Gate,
    /// Requests that read data and are not answered yet.
    pub active: ActiveQueries,
    /// Threads that work on reads.
    pub reads: Reads,
    /// Places for writes.
    pub writes: Gate,
    /// Memory for writes.
    pub write_bytes: ByteBudget,
    /// Buffers of writes for the next ones.
    pub arenas: Arc<ArenaPool>,
    service: OnceLock<Arc<dyn Service>>,
    events: Sender<Event>,
}

impl std::fmt::Debug for App {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("App").field("settings", &self.settings).finish_non_exhaustive()
    }
}

impl App {
    /// An app whose store is not open yet.
    pub fn new(settings: Settings, env: Env, reads: Reads, events: Sender<Event>) -> Self {
        let started_ms = env.clock.now_ms();
        App {
            telemetry: Telemetry::new(started_ms),
            queries: Gate::new(settings.query.max_concurrency, settings.query.max_waiting),
            lookups: Gate::new(settings.query.max_concurrency, settings.query.max_waiting),
            active: ActiveQueries::default(),
            reads,
            writes: Gate::new(settings.write.max_concurrency, 0),
            write_bytes: ByteBudget::new(settings.write.max_inflight_bytes),
            arenas: Arc::default(),
            service: OnceLock::new(),
            settings,
            env,
            events,
        }
    }

    /// The engine with the limits of the settings.
    pub fn new_engine(&self) -> Engine {
        let options = EngineOptions {
            lookback_ms: self.settings.query.lookback_ms,
            max_samples: self.settings.query.max_samples,
            features: self.settings.query.features,
            parallelism: Parallelism { workers: self.settings.query.max_workers, ..Parallelism::default() },
            ..EngineOptions::default()
        };
        Engine::in_turns(options, self.reads.turns())
    }

    /// Makes the role available to requests.
    pub fn serve(&self, service: Arc<dyn Service>) {
        if self.service.set(service).is_ok() {
            self.tell(Event::Started);
        }
    }

    /// The role, once it has started.
    pub fn service(&self) -> Option<&dyn Service> {
        self.service.get().map(|service| &**service)
    }

    /// Whether the role does its work now; the error is a sentence that says what it waits for.
    ///
    /// # Errors
    /// Why it is not ready.
    pub fn readiness(&self) -> Result<(), String> {
        self.service().ok_or_else(|| STARTING.to_owned())?.readiness()
    }

    /// Where writes go.
    ///
    /// # Errors
    /// Why there is no such place now.
    pub fn sink(&self) -> Result<&dyn Sink, String> {
        self.service().and_then(Service::sink).ok_or_else(|| STARTING.to_owned())
    }

    /// Where queries are answered.
    ///
    /// # Errors
    /// Why there is no such place now.
    pub fn reader(&self) -> Result<&Reader, String> {
        self.service().and_then(Service::reader).ok_or_else(|| STARTING.to_owned())
    }

    /// The store of this process, if it has one and it is open.
    pub fn store(&self) -> Option<&Arc<Db>> {
        self.service().and_then(Service::store)
    }

    /// Tells whoever waits for the server; nobody may.
    pub fn tell(&self, event: Event) {
        let _ = self.events.send(event);
    }

    /// Tells once the store takes no writes any more.
    pub fn check_poison(&self) {
        if let Some(reason) = self.store().and_then(|db| db.poisoned()) {
            self.tell(Event::Failed(Failure::Poisoned(reason)));
        }
    }
}
