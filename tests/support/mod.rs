//! What the whole-system tests share: real processes on ports that the kernel chooses, an HTTP client, recorded traffic,
//! and what a store must hold after it took that.
#![allow(dead_code, reason = "each test binary uses its part")]

pub(crate) mod answers;
pub(crate) mod chunks;
pub(crate) mod cluster;
pub(crate) mod http;
pub(crate) mod load;
pub(crate) mod minio;
pub(crate) mod needs;
pub(crate) mod ports;
pub(crate) mod process;
pub(crate) mod prometheus;
pub(crate) mod remote;
pub(crate) mod samples;
pub(crate) mod single;
pub(crate) mod traffic;

use std::sync::mpsc;
use std::time::Duration;

use marigram_storage::env::{Clock, OsRandom, Random, SystemClock};

/// Far more than anything waited for takes, even on a busy machine: only a hang reaches it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(180);
const POLL_INTERVAL: Duration = Duration::from_millis(50);

/// Asks again and again until `ask` has an answer.
pub(crate) fn poll_until<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let clock = SystemClock::default();
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(clock.monotonic() < PATIENCE, "gave up waiting for: {what}");
        pause(POLL_INTERVAL);
    }
}

/// Lets time pass where nothing can be waited for: between two polls, and before a kill at a random moment.
pub(crate) fn pause(duration: Duration) {
    let (_sender, receiver) = mpsc::channel::<()>();
    let _ = receiver.recv_timeout(duration);
}

/// The machine's clock.
pub(crate) fn now_ms() -> i64 {
    SystemClock::default().now_ms()
}

/// The seed of this run's random choices: printed, and taken from MARIGRAM_TEST_SEED to repeat a run.
pub(crate) fn seed() -> u64 {
    let given = std::env::var("MARIGRAM_TEST_SEED").ok().and_then(|text| text.parse().ok());
    let seed = given.unwrap_or_else(|| OsRandom.next_u128() as u64);
    eprintln!("MARIGRAM_TEST_SEED={seed}");
    seed
}

/// A number below `end` (which is not 0).
pub(crate) fn below(random: &dyn Random, end: usize) -> usize {
    (random.next_u128() % end as u128) as usize
}

/// Puts `items` in a random order.
pub(crate) fn shuffle<T>(items: &mut [T], random: &dyn Random) {
    for last in (1..items.len()).rev() {
        items.swap(last, below(random, last + 1));
    }
}
