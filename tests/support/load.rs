//! A steady load of fresh samples, sent as a Prometheus sends: what is not acknowledged is sent again until it is.
//!
//! Several senders have series of their own. A sender makes one request of all of its series per tick, whose samples carry
//! the tick's time, and counts it as acknowledged when the answer is 2xx. So the series of a sender all have the same
//! timestamps: at any moment they are known without keeping a sample.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use marigram_storage::env::{Clock, SystemClock};

use super::http::Http;
use super::samples::{Samples, SeriesKey};
use super::{pause, remote};

/// The name of all series.
pub(crate) const METRIC: &str = "load_total";
/// Senders, each with one request under way.
pub(crate) const SENDERS: usize = 5;
/// Series of each.
pub(crate) const SERIES: usize = 1000;
/// Time between two samples of a series.
pub(crate) const TICK_MS: i64 = 240;
/// Samples a second of all senders together.
pub(crate) const RATE: usize = SENDERS * SERIES * 1000 / TICK_MS as usize;
const RETRY_INTERVAL: Duration = Duration::from_millis(100);

/// What the senders have done so far.
pub(crate) struct Progress {
    /// Time of the first tick.
    start_ms: i64,
    /// Ticks that each sender has begun to send.
    begun: [AtomicUsize; SENDERS],
    /// Ticks of each sender that were acknowledged.
    acknowledged: [AtomicUsize; SENDERS],
    /// The longest time that a request, once it had failed, went on failing, and the first reasons.
    failures: Mutex<(Duration, Vec<String>)>,
}

/// Running senders.
pub(crate) struct Load {
    progress: Arc<Progress>,
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Load {
    /// Begins to send to the insert node (or single process) of `http`, from now on.
    pub(crate) fn start(http: &Http) -> Load {
        let progress = Arc::new(Progress {
            start_ms: super::now_ms(),
            begun: Default::default(),
            acknowledged: Default::default(),
            failures: Mutex::default(),
        });
        let stop = Arc::new(AtomicBool::new(false));
        let spawn = |sender| {
            let (http, progress, stop) = (http.clone(), Arc::clone(&progress), Arc::clone(&stop));
            std::thread::spawn(move || send(&http, sender, &progress, &stop))
        };
        let threads = (0..SENDERS).map(spawn).collect();
        Load { progress, stop, threads }
    }

    /// How far the senders are.
    pub(crate) fn progress(&self) -> &Arc<Progress> {
        &self.progress
    }

    /// Ends when what is under way is acknowledged.
    pub(crate) fn stop(self) -> Arc<Progress> {
        self.stop.store(true, Ordering::SeqCst);
        for thread in self.threads {
            if let Err(panic) = thread.join() {
                std::panic::resume_unwind(panic);
            }
        }
        self.progress
    }
}

impl Progress {
    /// Time of the first tick.
    pub(crate) fn start_ms(&self) -> i64 {
        self.start_ms
    }

    /// The ticks of a sender that were acknowledged.
    pub(crate) fn acknowledged(&self, sender: usize) -> usize {
        self.acknowledged[sender].load(Ordering::SeqCst)
    }

    /// The ticks of a sender that may be there: acknowledged ones, and one that may be under way.
    pub(crate) fn begun(&self, sender: usize) -> usize {
        self.begun[sender].load(Ordering::SeqCst)
    }

    /// All samples that were acknowledged.
    pub(crate) fn acknowledged_samples(&self) -> usize {
        (0..SENDERS).map(|sender| self.acknowledged(sender) * SERIES).sum()
    }

    /// The longest time for which a request failed again and again, and some reasons.
    pub(crate) fn longest_failure(&self) -> (Duration, Vec<String>) {
        self.failures.lock().unwrap().clone()
    }

    /// What a store must hold once the senders have stopped.
    pub(crate) fn samples(&self) -> Samples {
        let mut samples = Samples::default();
        for sender in 0..SENDERS {
            for series in 0..SERIES {
                let mut key: SeriesKey = labels(sender, series).map(|(name, value)| (name.into(), value)).into();
                key.sort();
                for tick in 0..self.acknowledged(sender) {
                    samples.add(&key, self.start_ms + tick as i64 * TICK_MS, value(series, tick).to_bits());
                }
            }
        }
        samples
    }

    fn note_failure(&self, lasted: Duration, reason: String) {
        let mut failures = self.failures.lock().unwrap();
        failures.0 = failures.0.max(lasted);
        if failures.1.len() < 5 {
            failures.1.push(reason);
        }
    }
}

fn labels(sender: usize, series: usize) -> [(&'static str, String); 4] {
    let instance = format!("10.0.{sender}.{}:9100", series % 50);
    [("__name__", METRIC.into()), ("sender", sender.to_string()), ("instance", instance), ("n", series.to_string())]
}

/// Differs between series and ticks; grows.
fn value(series: usize, tick: usize) -> f64 {
    (tick * 1000 + series) as f64 * 0.25
}

fn send(http: &Http, sender: usize, progress: &Progress, stop: &AtomicBool) {
    let clock = SystemClock::default();
    for tick in 0.. {
        let time_ms = progress.start_ms + tick as i64 * TICK_MS;
        let early_ms = time_ms - clock.now_ms();
        if early_ms > 0 {
            pause(Duration::from_millis(early_ms as u64));
        }
        if stop.load(Ordering::SeqCst) {
            return;
        }
        let series = (0..SERIES).map(|series| {
            let labels = labels(sender, series);
            let labels: Vec<(&str, &str)> = labels.iter().map(|(name, value)| (*name, value.as_str())).collect();
            remote::series(&labels, &[(time_ms, value(series, tick))])
        });
        let body = remote::body(series.collect());
        progress.begun[sender].fetch_add(1, Ordering::SeqCst);
        send_until_acknowledged(http, &body, progress, &clock);
        progress.acknowledged[sender].fetch_add(1, Ordering::SeqCst);
    }
}

fn send_until_acknowledged(http: &Http, body: &[u8], progress: &Progress, clock: &SystemClock) {
    let begun = clock.monotonic();
    loop {
        let reason = match remote::send_body(http, body) {
            Ok(answer) if (200..300).contains(&answer.status) => return,
            Ok(answer) => {
                assert_eq!(answer.status, 503, "a good write is never refused: {}", answer.text());
                assert!(answer.headers.contains_key("retry-after"), "503 comes with Retry-After");
                format!("503 {}", answer.text().trim())
            }
            Err(error) => error.to_string(),
        };
        let lasted = clock.monotonic() - begun;
        progress.note_failure(lasted, reason.clone());
        assert!(lasted < super::PATIENCE, "a write failed for {lasted:?}: {reason}");
        pause(RETRY_INTERVAL);
    }
}
