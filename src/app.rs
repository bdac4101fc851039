//! What all handlers share: settings, the opened store, the places for requests, the own metrics.

use std::sync::mpsc::Sender;
use std::sync::{Arc, OnceLock};

use marigram_query::source::Source;
use marigram_query::{Engine, EngineOptions};
use marigram_storage::db::Db;
use marigram_storage::env::Env;

use crate::config::Settings;
use crate::fanout::Local;
use crate::http::admission::{ByteBudget, Gate};
use crate::telemetry::Telemetry;

/// What happens to a running server, told to whoever waits for it.
#[derive(Debug)]
pub enum Event {
    /// The store is open and recovered.
    Ready,
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
    /// A thread that must not end has ended.
    #[error("{0}")]
    Internal(String),
}

/// Shared by all handlers and background threads of a server.
#[derive(Debug)]
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
    /// Places for writes.
    pub writes: Gate,
    /// Memory for writes.
    pub write_bytes: ByteBudget,
    node: OnceLock<Node>,
    events: Sender<Event>,
}

/// The opened store and what reads from it.
pub struct Node {
    /// The store.
    pub db: Arc<Db>,
    /// The store as the engine sees it.
    pub source: Arc<dyn Source>,
    /// The engine.
    pub engine: Engine,
}

impl std::fmt::Debug for Node {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Node").field("engine", &self.engine).finish_non_exhaustive()
    }
}

impl App {
    /// An app whose store is not open yet.
    pub fn new(settings: Settings, env: Env, events: Sender<Event>) -> Self {
        let started_ms = env.clock.now_ms();
        App {
            telemetry: Telemetry::new(started_ms),
            queries: Gate::new(settings.query.max_concurrency, settings.query.max_waiting),
            lookups: Gate::new(settings.query.max_concurrency, settings.query.max_waiting),
            writes: Gate::new(settings.write.max_concurrency, 0),
            write_bytes: ByteBudget::new(settings.write.max_inflight_bytes),
            node: OnceLock::new(),
            settings,
            env,
            events,
        }
    }

    /// The store, once it is open.
    pub fn node(&self) -> Option<&Node> {
        self.node.get()
    }

    /// Makes the store available to requests.
    pub fn opened(&self, db: Arc<Db>) {
        let engine = Engine::new(EngineOptions {
            lookback_ms: self.settings.query.lookback_ms,
            max_samples: self.settings.query.max_samples,
            ..EngineOptions::default()
        });
        let source = Arc::new(Local(Arc::clone(&db)));
        if self.node.set(Node { db, source, engine }).is_ok() {
            self.tell(Event::Ready);
        }
    }

    /// Tells whoever waits for the server; nobody may.
    pub fn tell(&self, event: Event) {
        let _ = self.events.send(event);
    }

    /// Tells once the store takes no writes any more.
    pub fn check_poison(&self) {
        if let Some(reason) = self.node().and_then(|node| node.db.poisoned()) {
            self.tell(Event::Failed(Failure::Poisoned(reason)));
        }
    }
}
