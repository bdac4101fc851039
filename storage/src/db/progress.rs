//! How far the replay of the log has come, for whoever waits for it.

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

/// Shared between the one who opens a store and those who wait for it.
#[derive(Debug, Default)]
pub struct ReplayProgress {
    first: AtomicU64,
    last: AtomicU64,
    current: AtomicU64,
    state: AtomicU8,
}

/// What a replay is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplayState {
    /// It has not begun.
    Waiting,
    /// Segments are being replayed.
    InProgress,
    /// The head is as it was.
    Done,
}

/// A moment's figures: numbers of segments, all 0 without any.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReplayedSoFar {
    /// First segment.
    pub first: u64,
    /// Last segment.
    pub last: u64,
    /// The one that is being replayed, or was last.
    pub current: u64,
    /// What it is doing.
    pub state: ReplayState,
}

impl ReplayProgress {
    pub(super) fn begin(&self, first: u64, last: u64) {
        self.first.store(first, Ordering::Relaxed);
        self.last.store(last, Ordering::Relaxed);
        self.current.store(first, Ordering::Relaxed);
        self.state.store(1, Ordering::Release);
    }

    pub(super) fn at(&self, segment: u64) {
        self.current.store(segment, Ordering::Relaxed);
    }

    pub(super) fn end(&self) {
        self.state.store(2, Ordering::Release);
    }

    /// How far it is.
    pub fn so_far(&self) -> ReplayedSoFar {
        let state = match self.state.load(Ordering::Acquire) {
            0 => ReplayState::Waiting,
            1 => ReplayState::InProgress,
            _ => ReplayState::Done,
        };
        let load = |number: &AtomicU64| number.load(Ordering::Relaxed);
        ReplayedSoFar { first: load(&self.first), last: load(&self.last), current: load(&self.current), state }
    }
}
