//! What a compactor tells of itself.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use marigram_storage::bucket::catalog::Catalog;
use marigram_storage::env::Clock;
use parking_lot::Mutex;
use serde_json::json;

use crate::peers::Peers;
use crate::role::Role;
use crate::status;

/// A catalog that could not be read for so long is not known any more.
const CONFIRMED_WITHIN: Duration = Duration::from_secs(30);

/// Shared by the worker and whoever asks.
#[derive(Default)]
pub(super) struct Status {
    state: Mutex<State>,
    /// The storage nodes, once they are watched.
    peers: OnceLock<Arc<Peers>>,
}

#[derive(Debug, Default)]
struct State {
    catalog: Option<Catalog>,
    read_at: Option<Duration>,
    /// Why there are no members yet.
    waiting: Option<String>,
    /// How many members are known to have the newest list, counted by zones where there are zones, and how many must.
    told: (usize, usize),
    problems: Vec<String>,
    /// What fails now, by what was tried.
    failures: BTreeMap<&'static str, String>,
    waiting_blocks: usize,
    waiting_bytes: u64,
    counters: Counters,
}

/// What was done since the start.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counters {
    /// Blocks that this process uploaded and named.
    pub(super) blocks_uploaded: u64,
    /// Their size.
    pub(super) bytes_uploaded: u64,
    /// Nodes' blocks that were fetched.
    pub(super) blocks_fetched: u64,
    /// Joined blocks that were given up because another compactor was faster.
    pub(super) blocks_given_up: u64,
    /// Passes that ended.
    pub(super) passes: u64,
    /// Of them, those with a failure.
    pub(super) passes_failed: u64,
}

impl Status {
    /// The storage nodes are watched from now on.
    pub(super) fn watches(&self, peers: &Arc<Peers>) {
        let _ = self.peers.set(Arc::clone(peers));
    }

    /// The document that every role tells, with what the compactor knows beside it.
    pub(super) fn document(&self, readiness: Result<(), String>, clock: &dyn Clock) -> serde_json::Value {
        let view = self.peers.get().map(|peers| peers.view()).unwrap_or_default();
        let (catalog, read_at) = {
            let state = self.state.lock();
            (state.catalog.clone(), state.read_at)
        };
        let mut document = status::of(&status::Known {
            role: Role::Compact,
            readiness,
            view: &view,
            catalog: catalog.as_ref(),
            confirmed_ago: read_at.map(|at| clock.monotonic().saturating_sub(at)),
            now_ms: clock.now_ms(),
        });
        let mut problems = self.state.lock().problems.clone();
        problems.retain(|problem| !document.problems.contains(problem));
        document.problems.splice(0..0, problems);
        let mut document = document.to_json();
        if let Some(members) = document.as_object_mut() {
            members.insert("compactor".to_owned(), self.to_json());
        }
        document
    }

    pub(super) fn count(&self, change: impl FnOnce(&mut Counters)) {
        change(&mut self.state.lock().counters);
    }

    /// A catalog was read or written at `now`, and it is the newest.
    pub(super) fn catalog_is(&self, catalog: &Catalog, now: Duration) {
        let mut state = self.state.lock();
        state.read_at = Some(now);
        if state.catalog.as_ref().is_none_or(|known| known.number != catalog.number) {
            state.catalog = Some(catalog.clone());
        }
    }

    /// What the choice about members found. Logged when it changes.
    pub(super) fn members_are(&self, waiting: Option<String>, problems: Vec<String>, told: (usize, usize)) {
        let mut state = self.state.lock();
        if let Some(reason) = waiting.as_ref().filter(|_| state.waiting != waiting) {
            tracing::info!(reason, "the cluster has no members yet");
        }
        for problem in problems.iter().filter(|problem| !state.problems.contains(problem)) {
            tracing::warn!("{problem}");
        }
        state.waiting = waiting;
        state.problems = problems;
        state.told = told;
    }

    /// What waits for upload.
    pub(super) fn blocks_wait(&self, blocks: usize, bytes: u64) {
        let mut state = self.state.lock();
        (state.waiting_blocks, state.waiting_bytes) = (blocks, bytes);
    }

    /// Whether what was tried failed. Logged when it changes.
    pub(super) fn tried(&self, what: &'static str, failure: Option<String>) {
        let mut state = self.state.lock();
        match failure {
            None => {
                if state.failures.remove(what).is_some() {
                    tracing::info!("{what} works again");
                }
            }
            Some(reason) if state.failures.get(what) == Some(&reason) => {}
            Some(reason) => {
                tracing::warn!(reason, "{what} failed and will be tried again");
                state.failures.insert(what, reason);
            }
        }
    }

    /// Whether something fails now.
    pub(super) fn fails(&self) -> Option<String> {
        let state = self.state.lock();
        state.failures.iter().next().map(|(what, reason)| format!("{what}: {reason}"))
    }

    /// Why there are no members yet.
    pub(super) fn waiting(&self) -> Option<String> {
        self.state.lock().waiting.clone()
    }

    pub(super) fn readiness(&self, now: Duration) -> Result<(), String> {
        let state = self.state.lock();
        let fresh = state.read_at.is_some_and(|at| now.saturating_sub(at) <= CONFIRMED_WITHIN);
        if !fresh {
            let reason = state.failures.iter().next().map(|(what, reason)| format!("{what} failed: {reason}"));
            return Err(reason.unwrap_or_else(|| "the catalog has not been read yet".to_owned()));
        }
        if let Some(waiting) = &state.waiting {
            return Err(waiting.clone());
        }
        match state.told {
            (_, 0) => Err("there is no list of members yet".to_owned()),
            (told, needed) if told < needed => {
                Err(format!("{told} storage nodes (or zones) have the list of members, {needed} must"))
            }
            _ => Ok(()),
        }
    }

    /// What only a compactor knows.
    fn to_json(&self) -> serde_json::Value {
        let state = self.state.lock();
        json!({
            "waiting_for": state.waiting,
            "waiting_blocks": state.waiting_blocks,
            "waiting_bytes": state.waiting_bytes,
            "failures": state.failures,
        })
    }

    pub(super) fn metrics(&self, out: &mut String) {
        let state = self.state.lock();
        let counters = &state.counters;
        let catalog = state.catalog.as_ref().map_or(0, |catalog| catalog.number);
        let lines: [(&str, &str, &str, u64); 9] = [
            ("blocks_uploaded_total", "counter", "Blocks that were brought into the bucket.", counters.blocks_uploaded),
            ("bytes_uploaded_total", "counter", "Bytes of their indexes and chunks.", counters.bytes_uploaded),
            ("blocks_fetched_total", "counter", "Blocks fetched from storage nodes.", counters.blocks_fetched),
            (
                "blocks_given_up_total",
                "counter",
                "Blocks that another compactor brought first.",
                counters.blocks_given_up,
            ),
            ("passes_total", "counter", "Looks for work.", counters.passes),
            ("passes_failed_total", "counter", "Looks for work in which something failed.", counters.passes_failed),
            ("catalog_number", "gauge", "Number of the newest catalog that was read.", catalog),
            ("waiting_blocks", "gauge", "Sealed blocks that no catalog names yet.", state.waiting_blocks as u64),
            ("waiting_bytes", "gauge", "Their size.", state.waiting_bytes),
        ];
        for (name, kind, help, value) in lines {
            let name = format!("marigram_compact_{name}");
            let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}");
        }
    }
}
