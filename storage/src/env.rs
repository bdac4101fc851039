//! What the core takes from outside: time, randomness and the disk. Tests pass their own and thereby drive a day
//! in seconds, or pull the plug at any step.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use crate::disk::Disk;

/// The time.
pub trait Clock: Send + Sync + fmt::Debug {
    /// Wall clock, milliseconds since the Unix epoch.
    fn now_ms(&self) -> i64;
    /// Time since some fixed moment; never runs backwards. Deadlines are counted in it.
    fn monotonic(&self) -> Duration;
}

/// Random numbers, for ids that must be unique.
pub trait Random: Send + Sync + fmt::Debug {
    /// 128 random bits.
    fn next_u128(&self) -> u128;
}

/// The world as the core sees it.
#[derive(Clone, Debug)]
pub struct Env {
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Random numbers.
    pub random: Arc<dyn Random>,
    /// The disk.
    pub disk: Arc<dyn Disk>,
}

/// The machine's clocks.
#[derive(Clone, Copy, Debug)]
pub struct SystemClock {
    started: std::time::Instant,
}

impl Default for SystemClock {
    fn default() -> Self {
        #[expect(clippy::disallowed_methods, reason = "the one place where the machine's clock enters")]
        let started = std::time::Instant::now();
        SystemClock { started }
    }
}

impl Clock for SystemClock {
    fn now_ms(&self) -> i64 {
        #[expect(clippy::disallowed_methods, reason = "the one place where the machine's clock enters")]
        let now = std::time::SystemTime::now();
        match now.duration_since(std::time::UNIX_EPOCH) {
            Ok(since) => i64::try_from(since.as_millis()).unwrap_or(i64::MAX),
            Err(before) => i64::try_from(before.duration().as_millis()).map_or(i64::MIN, |ms| -ms),
        }
    }

    fn monotonic(&self) -> Duration {
        self.started.elapsed()
    }
}

/// A clock that stands still until it is moved.
#[derive(Debug, Default)]
pub struct ManualClock {
    now_ms: AtomicI64,
    /// How far jumps have carried the wall clock away from the monotonic one.
    jumped_ms: AtomicI64,
}

impl ManualClock {
    /// A clock that shows `now_ms`.
    pub fn new(now_ms: i64) -> Self {
        ManualClock { now_ms: AtomicI64::new(now_ms), jumped_ms: AtomicI64::new(0) }
    }

    /// Lets time pass until the clock shows `now_ms`, forwards or backwards.
    pub fn set(&self, now_ms: i64) {
        self.now_ms.store(now_ms, Ordering::SeqCst);
    }

    /// Sets the wall clock ahead (or back) without time passing.
    pub fn jump(&self, by_ms: i64) {
        self.jumped_ms.fetch_add(by_ms, Ordering::SeqCst);
        self.now_ms.fetch_add(by_ms, Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now_ms(&self) -> i64 {
        self.now_ms.load(Ordering::SeqCst)
    }

    fn monotonic(&self) -> Duration {
        let passed_ms = self.now_ms().saturating_sub(self.jumped_ms.load(Ordering::SeqCst));
        Duration::from_millis(u64::try_from(passed_ms).unwrap_or(0))
    }
}

/// The kernel's random numbers.
#[derive(Clone, Copy, Debug, Default)]
pub struct OsRandom;

impl Random for OsRandom {
    fn next_u128(&self) -> u128 {
        let mut bytes = [0u8; 16];
        let mut filled = 0;
        while filled < bytes.len() {
            // Interrupted calls are repeated; the kernel's pool has no other failure once it is initialised.
            filled += rustix::rand::getrandom(&mut bytes[filled..], rustix::rand::GetRandomFlags::empty()).unwrap_or(0);
        }
        u128::from_le_bytes(bytes)
    }
}

/// Pseudo-random numbers from a seed, the same on every run.
#[derive(Debug, Default)]
pub struct SeededRandom {
    state: AtomicU64,
}

impl SeededRandom {
    /// Starts from `seed`.
    pub fn new(seed: u64) -> Self {
        SeededRandom { state: AtomicU64::new(seed) }
    }
}

impl Random for SeededRandom {
    fn next_u128(&self) -> u128 {
        let step = self.state.fetch_add(1, Ordering::SeqCst);
        xxhash_rust::xxh3::xxh3_128(&step.to_le_bytes())
    }
}
