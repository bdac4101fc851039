//! One workload on one system.
//!
//! 1. A server starts on a fresh directory and rests; what it takes then is what an idle one takes.
//! 2. Each phase is sent; at the last answer CPU and memory are read.
//! 3. The server settles: it works off what it has put off, by itself.
//! 4. It comes to rest: its data is brought into the form in which it stays (`Server::rest`). Bytes are counted.
//! 5. All samples are counted by queries.
//!
//! The other way, after 2: kill -9 at the last answer, start, count, and send on while a block is cut.

use std::path::Path;
use std::time::Duration;

use serde::Serialize;

use crate::clock::Behind;
use crate::load::{Amount, Generator};
use crate::measure::{Device, DeviceMark, Memory, sleep};
use crate::sender::{Request, Sent, now, send};
use crate::server::{AtRest, Server, System};
use crate::support::process::Folder;
use crate::workload::Workload;

/// VictoriaMetrics writes what it has taken at least this often.
const SETTLE_MIN: Duration = Duration::from_secs(7);
/// So many samples are made at once and kept for the other systems; a longer workload is made piece by piece.
const KEPT_SAMPLES_MAX: usize = 40_000_000;

/// Prepared requests.
pub(crate) enum Corpus {
    /// All rounds at once.
    Kept(Vec<Vec<Request>>),
    /// Made while the clock stands still.
    Piecewise(Generator, usize),
}

impl Corpus {
    /// Of a workload.
    pub(crate) fn of(workload: &Workload) -> (Corpus, Amount, u64) {
        let mut generator = Generator::new(workload.shape);
        let rounds_max = (KEPT_SAMPLES_MAX / workload.shape.series).max(1);
        if workload.rounds() > rounds_max {
            let series = generator.series_seen();
            let (_, amount) = Generator::new(workload.shape).next(1);
            return (Corpus::Piecewise(generator, (rounds_max / 4).max(1)), amount, series);
        }
        let (rounds, amount) = generator.next(workload.rounds());
        (Corpus::Kept(rounds), amount, generator.series_seen())
    }

    pub(crate) fn send(&mut self, address: &str, from: usize, rounds: usize) -> Sent {
        match self {
            Corpus::Kept(all) => send(address, &all[from..from + rounds]),
            Corpus::Piecewise(generator, piece) => {
                let (mut sent, mut left) = (Sent::default(), rounds);
                while left > 0 {
                    let now = left.min(*piece);
                    sent.add(send(address, &generator.next(now).0));
                    left -= now;
                }
                sent
            }
        }
    }

    pub(crate) fn restart(&mut self, workload: &Workload) {
        if let Corpus::Piecewise(generator, _) = self {
            *generator = Generator::new(workload.shape);
        }
    }
}

/// All figures of one phase on one system. Times in seconds, sizes in bytes.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Outcome {
    pub(crate) workload: String,
    pub(crate) system: String,
    pub(crate) samples: u64,
    /// Active at the end.
    pub(crate) series: u64,
    pub(crate) wall_s: f64,
    pub(crate) cpu_answer_s: f64,
    pub(crate) cpu_settled_s: Option<f64>,
    pub(crate) cpu_rest_s: Option<f64>,
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
    pub(crate) max_ms: f64,
    pub(crate) peak_bytes: u64,
    /// Beyond those of an idle server, at the last answer.
    pub(crate) resident_bytes: i64,
    pub(crate) anonymous_bytes: i64,
    /// By the device's counter and by the process', once the server has settled and once at rest.
    pub(crate) device_settled_bytes: Option<u64>,
    pub(crate) device_idle_bytes: f64,
    pub(crate) written_settled_bytes: Option<u64>,
    pub(crate) device_rest_bytes: Option<u64>,
    pub(crate) written_rest_bytes: Option<u64>,
    pub(crate) data_bytes: Option<u64>,
    pub(crate) index_bytes: Option<u64>,
    pub(crate) other_bytes: Option<u64>,
    pub(crate) log_settled_bytes: Option<u64>,
    /// Acknowledged samples that queries do not find (negative: too many); after a crash that of the first count.
    pub(crate) lost: Option<i64>,
    pub(crate) crash: Option<Crash>,
}

/// What a kill at the last answer came to.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Crash {
    pub(crate) ready_s: f64,
    pub(crate) ready_cpu_s: f64,
    pub(crate) peak_bytes: u64,
    /// From the start to the answer of a count of all samples.
    pub(crate) counted_s: f64,
    /// Acknowledged samples that are not there 15 s later.
    pub(crate) lost_later: Option<i64>,
    /// Requests that were under way while a block was cut, and how long the cut took.
    pub(crate) cut_s: Option<f64>,
    pub(crate) cut_requests: usize,
    pub(crate) cut_p50_ms: f64,
    pub(crate) cut_p99_ms: f64,
    pub(crate) cut_max_ms: f64,
}

/// A server that is being measured.
struct Bench {
    server: Server,
    device: Device,
    idle: Memory,
    idle_cpu_s: f64,
    idle_written: u64,
    mark: DeviceMark,
    _folder: Folder,
}

impl Bench {
    fn start(system: System, binary: &Path, behind: Behind) -> Bench {
        let folder = Folder::new(&format!("peers-{}", system.name()));
        let device = Device::of(folder.path(), Duration::from_secs(2));
        let server = Server::start(system, binary, folder.path(), behind);
        sleep(Duration::from_secs(2));
        let (gauge, mark) = (server.gauge(), device.mark());
        let (idle, idle_cpu_s, idle_written) = (gauge.memory(), gauge.cpu_seconds(), gauge.written_bytes());
        Bench { server, device, idle, idle_cpu_s, idle_written, mark, _folder: folder }
    }

    /// CPU since the start of the load or of the last phase.
    fn cpu_s(&self) -> f64 {
        self.server.gauge().cpu_seconds() - self.idle_cpu_s
    }

    fn outcome(&self, name: &str, system: System, sent: &Sent, series: u64) -> Outcome {
        let (memory, latencies) = (self.server.gauge().memory(), sent.latencies_ms());
        Outcome {
            workload: name.into(),
            system: system.name().into(),
            samples: sent.samples,
            series,
            wall_s: sent.wall.as_secs_f64(),
            cpu_answer_s: self.cpu_s(),
            p50_ms: quantile(&latencies, 0.5),
            p99_ms: quantile(&latencies, 0.99),
            max_ms: quantile(&latencies, 1.0),
            peak_bytes: memory.peak,
            resident_bytes: memory.resident as i64 - self.idle.resident as i64,
            anonymous_bytes: memory.anonymous as i64 - self.idle.anonymous as i64,
            ..Outcome::default()
        }
    }

    /// Lets the server settle and come to rest.
    fn finish(&self, outcome: &mut Outcome) {
        let gauge = self.server.gauge();
        gauge.wait_idle(SETTLE_MIN);
        outcome.cpu_settled_s = Some(self.cpu_s());
        outcome.device_settled_bytes = self.device.written(self.mark);
        outcome.device_idle_bytes = self.device.idle_bytes(self.mark);
        outcome.written_settled_bytes = Some(gauge.written_bytes() - self.idle_written);
        outcome.log_settled_bytes = Some(self.server.at_rest().log);
        self.server.rest();
        gauge.wait_idle(Duration::from_secs(2));
        outcome.cpu_rest_s = Some(self.cpu_s());
        outcome.device_rest_bytes = self.device.written(self.mark);
        outcome.written_rest_bytes = Some(gauge.written_bytes() - self.idle_written);
        let AtRest { data, index, other, .. } = self.server.at_rest();
        (outcome.data_bytes, outcome.index_bytes, outcome.other_bytes) = (Some(data), Some(index), Some(other));
        outcome.peak_bytes = gauge.memory().peak;
    }
}

/// Of sorted numbers; 0 if there are none.
pub(crate) fn quantile(sorted: &[f64], quantile: f64) -> f64 {
    let at = (sorted.len() as f64 * quantile).ceil() as usize;
    sorted.get(at.clamp(1, sorted.len().max(1)) - 1).copied().unwrap_or(0.0)
}

/// Counts all samples of the first `rounds` rounds.
fn count(server: &Server, workload: &Workload, rounds: usize) -> Result<u64, String> {
    let range_ms = rounds as i64 * workload.shape.interval_ms;
    let names = crate::load::names();
    server.count(names.iter().map(String::as_str), workload.shape.start_ms + range_ms - 1, range_ms)
}

/// `acknowledged` less what a count has found.
fn lost(acknowledged: u64, counted: Result<u64, String>) -> Option<i64> {
    counted
        .inspect_err(|error| println!("samples cannot be counted: {error}"))
        .ok()
        .map(|n| acknowledged as i64 - n as i64)
}

/// Runs a generated workload; gives an outcome for each of its phases.
pub(crate) fn generated(
    workload: &Workload,
    corpus: &mut Corpus,
    system: System,
    binary: &Path,
    behind: Behind,
) -> Vec<Outcome> {
    corpus.restart(workload);
    let mut bench = Bench::start(system, binary, behind);
    let (mut outcomes, mut from, mut acknowledged) = (vec![], 0, 0);
    for (phase, rounds) in &workload.phases {
        if from > 0 {
            // The next phase is charged with what is put off from now on, not with what the last one has left.
            bench.server.gauge().wait_idle(SETTLE_MIN);
            let outcome: &mut Outcome = outcomes.last_mut().unwrap();
            outcome.cpu_settled_s = Some(bench.cpu_s());
            outcome.device_settled_bytes = bench.device.written(bench.mark);
            outcome.device_idle_bytes = bench.device.idle_bytes(bench.mark);
            outcome.written_settled_bytes = Some(bench.server.gauge().written_bytes() - bench.idle_written);
            bench.idle_cpu_s += bench.cpu_s();
            bench.idle_written = bench.server.gauge().written_bytes();
            bench.mark = bench.device.mark();
        }
        let sent = corpus.send(bench.server.address(), from, *rounds);
        from += rounds;
        acknowledged += sent.samples;
        outcomes.push(bench.outcome(phase, system, &sent, workload.shape.series as u64));
    }
    let last = outcomes.last_mut().unwrap();
    if let Some(more) = workload.crash {
        crash(workload, corpus, &mut bench.server, last, (from, more));
    } else {
        bench.finish(last);
        last.lost = lost(acknowledged, count(&bench.server, workload, from));
    }
    outcomes
}

fn crash(workload: &Workload, corpus: &mut Corpus, server: &mut Server, outcome: &mut Outcome, rounds: (usize, usize)) {
    let begin = now();
    let (ready_s, ready_cpu_s) = server.kill_and_start();
    let peak_bytes = server.gauge().memory().peak;
    let counted = count(server, workload, rounds.0);
    outcome.lost = lost(outcome.samples, counted);
    let mut crash =
        Crash { ready_s, ready_cpu_s, peak_bytes, counted_s: begin.elapsed().as_secs_f64(), ..Crash::default() };
    if outcome.lost != Some(0) {
        sleep(Duration::from_secs(15));
        crash.lost_later = lost(outcome.samples, count(server, workload, rounds.0));
    }
    if rounds.1 > 0 {
        let address = server.address().to_owned();
        let server = &*server;
        let (cut, sent) = std::thread::scope(|scope| {
            let cutting = scope.spawn(|| {
                sleep(Duration::from_millis(300));
                let begin = now();
                let done = server.cut();
                (begin, now(), done)
            });
            let sent = corpus.send(&address, rounds.0, rounds.1);
            let (begin, end, done) = cutting.join().unwrap();
            // What goes on in the background may disturb all that follows.
            ((begin, if done { end } else { now() }), sent)
        });
        let latencies = sent.latencies_during_ms(cut);
        crash.cut_s = Some((cut.1 - cut.0).as_secs_f64());
        crash.cut_requests = latencies.len();
        crash.cut_p50_ms = quantile(&latencies, 0.5);
        crash.cut_p99_ms = quantile(&latencies, 0.99);
        crash.cut_max_ms = quantile(&latencies, 1.0);
    }
    outcome.crash = Some(crash);
}

/// A load that is no generated workload.
pub(crate) struct Given<'a> {
    pub(crate) name: &'a str,
    pub(crate) rounds: &'a [Vec<Request>],
    pub(crate) series: u64,
    /// Samples that a query must find.
    pub(crate) countable: u64,
    /// Time of the first and the last sample.
    pub(crate) range_ms: (i64, i64),
    /// Metric names.
    pub(crate) names: Vec<String>,
}

/// Runs it.
pub(crate) fn given(load: &Given<'_>, system: System, binary: &Path, behind: Behind) -> Outcome {
    let bench = Bench::start(system, binary, behind);
    let sent = send(bench.server.address(), load.rounds);
    let mut outcome = bench.outcome(load.name, system, &sent, load.series);
    bench.finish(&mut outcome);
    let (first_ms, last_ms) = load.range_ms;
    outcome.lost = lost(
        load.countable,
        bench.server.count(load.names.iter().map(String::as_str), last_ms, last_ms - first_ms + 1),
    );
    outcome
}
