//! A query node's view of the catalog.
//!
//! 1. At first the newest catalog is found by a listing.
//! 2. From then on, every few seconds: read number N+1, and what follows it, until a number is absent; then see that the
//!    last one that was found is still there. Only then it is confirmed: an absent number alone may have been swept.
//! 3. A catalog that was swept, or could not be confirmed for 30 s, is not followed: the next look begins with a listing.
//!
//! A catalog counts as confirmed from the moment at which the look that confirmed it began; so a process that stood still
//! in between does not take an old state for a new one. Old blocks stay in the bucket for longer than those 30 s and a
//! query together, which is why a query may go on with the catalog that it began with.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use marigram_storage::bucket::Bucket;
use marigram_storage::bucket::catalog::{Catalog, CatalogStore};
use marigram_storage::env::{Clock, Env};
use marigram_storage::{Error, Result};
use parking_lot::Mutex;

use crate::background::Background;

/// A catalog that could not be confirmed for so long is not used.
pub const CONFIRMED_FOR: Duration = Duration::from_secs(30);

/// Follows the newest catalog of a bucket.
#[derive(Debug)]
pub struct Follower {
    store: CatalogStore,
    clock: Arc<dyn Clock>,
    /// Held while the bucket is asked, so that one asks for all.
    looking: Mutex<()>,
    /// Looks that were begun.
    looks: AtomicU64,
    seen: Mutex<Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    /// The newest catalog that was seen, and since when it is confirmed.
    newest: Option<(Arc<Catalog>, Duration)>,
    /// Why the last look did not confirm one.
    failure: Option<String>,
}

impl Follower {
    /// Follows the catalogs of `bucket`, on a thread of `background` that looks every `interval`.
    ///
    /// # Errors
    /// One line that says that the thread cannot be started.
    pub fn start(
        background: &mut Background,
        bucket: Arc<dyn Bucket>,
        interval: Duration,
    ) -> Result<Arc<Self>, String> {
        let follower = Arc::new(Follower::new(bucket, &background.app().env));
        let following = Arc::clone(&follower);
        background.spawn("catalog", move |_, stop| {
            loop {
                let _ = following.refresh();
                if stop.wait(interval) {
                    return;
                }
            }
        })?;
        Ok(follower)
    }

    /// Follows the catalogs of `bucket`, looking only when [`Follower::refresh`] is called.
    pub fn new(bucket: Arc<dyn Bucket>, env: &Env) -> Self {
        Follower {
            store: CatalogStore::new(bucket, env.clone()),
            clock: Arc::clone(&env.clock),
            looking: Mutex::default(),
            looks: AtomicU64::new(0),
            seen: Mutex::default(),
        }
    }

    /// The newest catalog, confirmed within the last 30 s. Does not block.
    ///
    /// # Errors
    /// A sentence: there is none yet, or the bucket could not be asked.
    pub fn current(&self) -> Result<Arc<Catalog>, String> {
        let seen = self.seen.lock();
        let failure = seen.failure.as_deref();
        let Some((catalog, confirmed_at)) = &seen.newest else {
            return Err(failure.unwrap_or("the bucket has not been asked for its catalog yet").to_owned());
        };
        let age = self.clock.monotonic().saturating_sub(*confirmed_at);
        if age <= CONFIRMED_FOR {
            return Ok(Arc::clone(catalog));
        }
        let reason = failure.map(|failure| format!(": {failure}")).unwrap_or_default();
        Err(format!("the newest catalog of the bucket could not be confirmed for {} s{reason}", age.as_secs()))
    }

    /// The newest catalog that was seen, however long ago. Does not block.
    pub fn newest(&self) -> Option<Arc<Catalog>> {
        self.seen.lock().newest.as_ref().map(|(catalog, _)| Arc::clone(catalog))
    }

    /// How long ago the newest catalog was confirmed. Does not block.
    pub fn confirmed_ago(&self) -> Option<Duration> {
        let seen = self.seen.lock();
        seen.newest.as_ref().map(|(_, confirmed_at)| self.clock.monotonic().saturating_sub(*confirmed_at))
    }

    /// Looks for a newer catalog now, and answers as [`Follower::current`] does. Blocks while the bucket is asked. Of many
    /// who call at the same time, one asks.
    ///
    /// # Errors
    /// As [`Follower::current`].
    pub fn refresh(&self) -> Result<Arc<Catalog>, String> {
        let begun_before = self.looks.load(Ordering::SeqCst);
        let _looking = self.looking.lock();
        // A look that began after the call, and is over, is as good as one's own.
        if self.looks.load(Ordering::SeqCst) == begun_before {
            self.looks.fetch_add(1, Ordering::SeqCst);
            let began_at = self.clock.monotonic();
            self.note(began_at, self.look(began_at));
        }
        self.current()
    }

    /// The newest catalog, if there is one.
    fn look(&self, began_at: Duration) -> Result<Option<Arc<Catalog>>> {
        let seen = self.seen.lock().newest.clone();
        let Some((seen, confirmed_at)) = seen else {
            return Ok(self.store.load()?.map(Arc::new));
        };
        if began_at.saturating_sub(confirmed_at) <= CONFIRMED_FOR {
            let newest = self.follow(Arc::clone(&seen))?;
            if self.store.exists(newest.number)? {
                return Ok(Some(newest));
            }
        }
        let newest = self.store.load()?;
        match newest {
            Some(newest) if newest.number >= seen.number => Ok(Some(Arc::new(newest))),
            Some(older) => Err(Error::corrupt(
                "the bucket",
                format!("its newest catalog is number {}, but number {} was seen before", older.number, seen.number),
            )),
            None => {
                Err(Error::corrupt("the bucket", format!("it lost all its catalogs, of which {} was one", seen.number)))
            }
        }
    }

    /// The last of the catalogs that follow `newest` without a gap.
    fn follow(&self, mut newest: Arc<Catalog>) -> Result<Arc<Catalog>> {
        while let Some(next) = self.store.read(newest.number.saturating_add(1))? {
            if !next.includes(newest.commit) {
                let detail = format!("it does not follow the catalog {} that was seen before", newest.number);
                return Err(Error::corrupt(format!("catalog {}", next.number), detail));
            }
            newest = Arc::new(next);
        }
        Ok(newest)
    }

    fn note(&self, began_at: Duration, outcome: Result<Option<Arc<Catalog>>>) {
        let mut seen = self.seen.lock();
        let failure = match outcome {
            Ok(Some(catalog)) => {
                if seen.newest.as_ref().is_none_or(|(before, _)| before.number != catalog.number) {
                    tracing::debug!(number = catalog.number, "a newer catalog");
                }
                seen.newest = Some((catalog, began_at));
                None
            }
            Ok(None) => Some("the bucket holds no catalog yet; a compactor writes the first one".to_owned()),
            Err(error) => Some(error.to_string()),
        };
        match (&seen.failure, &failure) {
            (None, Some(reason)) => tracing::warn!(%reason, "the bucket's catalog cannot be confirmed"),
            (Some(_), None) => tracing::info!("the bucket's catalog is confirmed again"),
            _ => {}
        }
        seen.failure = failure;
    }
}
