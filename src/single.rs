//! `marigram single`: all roles in one process, over one store. Its data directory is its own bucket.
//!
//! 1. The store thread opens the data directory and recovers it; then requests are served.
//! 2. It looks every few seconds for due work: sealing, retention, cutting the log.
//! 3. The self-scrape thread stores the own metrics.

use std::sync::Arc;
use std::time::Duration;

use marigram_query::RangeCache;
use marigram_query::source::Changes;
use marigram_storage::Result;
use marigram_storage::db::{Db, WalFsync};
use marigram_storage::env::Clock;
use marigram_storage::model::tenant::TenantId;
use marigram_storage::write::{WriteBatch, WriteSeries};

use crate::app::{App, Event, Failure};
use crate::background::{Background, StopFlag};
use crate::fanout::Local;
use crate::scrape;
use crate::service::{Reader, Service, Sink};
use crate::status;
use crate::telemetry;

/// How soon the self-scrape looks again for a store that is being opened.
const NOT_OPEN_PAUSE: Duration = Duration::from_millis(100);

/// The one process.
struct Single {
    db: Arc<Db>,
    clock: Arc<dyn Clock>,
    reader: Reader,
}

/// Starts the threads.
pub(crate) fn start(background: &mut Background) -> Result<(), String> {
    background.spawn("store", keep_store)?;
    sync_log(background)?;
    if background.app().settings.self_scrape_interval.is_some() {
        let instance = background.http_addr().to_string();
        background.spawn("self-scrape", move |app, stop| keep_scraping(app, stop, &instance))?;
    }
    Ok(())
}

impl Sink for Single {
    fn append(&self, batch: WriteBatch) -> Result<()> {
        self.db.append(batch)
    }

    fn recognise(&self, tenant: &TenantId, series: &mut [WriteSeries]) {
        self.db.recognise(tenant, series);
    }
}

impl Service for Single {
    fn readiness(&self) -> Result<(), String> {
        Ok(())
    }

    fn sink(&self) -> Option<&dyn Sink> {
        Some(self)
    }

    fn reader(&self) -> Option<&Reader> {
        Some(&self.reader)
    }

    fn store(&self) -> Option<&Arc<Db>> {
        Some(&self.db)
    }

    fn seal(&self) -> Result<()> {
        self.db.seal()
    }

    fn cluster_status(&self) -> serde_json::Value {
        status::of_single(&self.db, self.clock.now_ms()).to_json()
    }

    fn metrics(&self, out: &mut String) {
        if let Some(cache) = &self.reader.cache {
            telemetry::query_cache::write(out, &cache.stats());
        }
    }
}

/// Opens the store, then looks for due work until it is time to end.
fn keep_store(app: &Arc<App>, stop: &StopFlag) {
    let db = match Db::open(app.settings.data_dir.clone(), app.env.clone(), app.settings.store.clone()) {
        Ok(db) => Arc::new(db),
        Err(error) => return app.tell(Event::Failed(Failure::Open(error))),
    };
    let source = Arc::new(Local(Arc::clone(&db)));
    let new_cache =
        |options| RangeCache::new(options, Arc::clone(&app.env.clock), Arc::clone(&source) as Arc<dyn Changes>);
    let cache = app.settings.query.cache.map(new_cache);
    let reader = Reader { source, engine: app.new_engine(), cache };
    app.serve(Arc::new(Single { db: Arc::clone(&db), clock: Arc::clone(&app.env.clock), reader }));
    maintain(app, &db, stop);
}

/// Looks for due work of a store until it is time to end.
pub(crate) fn maintain(app: &App, db: &Db, stop: &StopFlag) {
    let Some(interval) = app.settings.maintenance_interval else { return };
    while !stop.wait(interval) {
        if let Err(error) = db.maintain() {
            tracing::error!(%error, "maintenance failed and will be tried again");
        }
        app.check_poison();
    }
}

/// Starts a thread that syncs the log, where writes do not wait for that.
pub(crate) fn sync_log(background: &mut Background) -> Result<(), String> {
    let WalFsync::Interval(interval) = background.app().settings.store.wal_fsync else { return Ok(()) };
    background.spawn("wal-fsync", move |app, stop| {
        while !stop.wait(interval) {
            if let Some(Err(error)) = app.store().map(|db| db.sync_log()) {
                tracing::error!(%error, "the write-ahead log was not synced");
            }
            app.check_poison();
        }
    })
}

fn keep_scraping(app: &App, stop: &StopFlag, instance: &str) {
    let Some(interval) = app.settings.self_scrape_interval else { return };
    loop {
        let pause = match app.sink() {
            Ok(sink) => {
                if let Err(error) = scrape::once(app, sink, instance) {
                    tracing::warn!(%error, "the own metrics were not stored");
                }
                interval
            }
            // The store is being opened: whoever has just started it wants to see something.
            Err(_) => interval.min(NOT_OPEN_PAUSE),
        };
        if stop.wait(pause) {
            return;
        }
    }
}
