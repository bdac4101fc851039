//! Queries beside the peers: the load `main` at rest in each system, then every query cold (the first time after a restart) and warm,
//! some times of each system in turn.
//!
//! Answers of Marigram and Prometheus must agree, or the figures are worth nothing; VictoriaMetrics' are not compared, since
//! it does not extrapolate. CPU is that of the server, over all repetitions; latency is the time to the last byte of the
//! answer.

mod list;

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};

use crate::clock::Behind;
use crate::measure::Gauge;
use crate::raw::{Raw, Received};
use crate::run::{Corpus, quantile};
use crate::sender::now;
use crate::server::{Server, System};
use crate::support::process::Folder;
use crate::workload::Workload;

/// Repetitions of a query whose median counts; dear ones end after [`PATIENCE`].
const REPETITIONS: usize = 40;
const REPETITIONS_MIN: usize = 10;
/// So many of them at a time, …
const ROUND: usize = 10;
/// … after some that are not counted: processors and their caches were others' before.
const AGAIN: usize = 3;
/// How long a query is asked again.
const PATIENCE: Duration = Duration::from_secs(4);
/// Of answers that are to be the same.
const TOLERANCE: f64 = 1e-9;

/// One request.
pub(crate) enum Ask {
    Range { query: String, range_s: i64, step_s: i64 },
    Instant { query: String },
    Lookup { path: String, parameters: Vec<(&'static str, String)> },
}

/// What a query took in one system; times in milliseconds.
#[derive(Clone, Debug)]
struct Taken {
    cold_ms: f64,
    cold_cpu_ms: f64,
    p50_ms: f64,
    p99_ms: f64,
    cpu_ms: f64,
    peak_mib: f64,
    answer: Value,
}

impl Ask {
    /// Path and parameters, for data that ends at `end_ms`.
    fn request(&self, start_ms: i64, end_ms: i64) -> (String, Vec<(&'static str, String)>) {
        let seconds = |ms: i64| format!("{}.{:03}", ms.div_euclid(1000), ms.rem_euclid(1000));
        let (path, mut parameters) = match self {
            Ask::Range { query, range_s, step_s } => (
                "/api/v1/query_range".into(),
                vec![
                    ("query", query.clone()),
                    ("start", seconds(end_ms - range_s * 1000)),
                    ("end", seconds(end_ms)),
                    ("step", step_s.to_string()),
                ],
            ),
            Ask::Instant { query } => {
                ("/api/v1/query".into(), vec![("query", query.clone()), ("time", seconds(end_ms))])
            }
            Ask::Lookup { path, parameters } => {
                let mut parameters = parameters.clone();
                parameters.extend([("start", seconds(start_ms)), ("end", seconds(end_ms))]);
                (path.clone(), parameters)
            }
        };
        parameters.push(("nocache", "1".into()));
        (path, parameters)
    }
}

/// Loads `workload` into each system and asks everything of all of them; prints a table.
pub(crate) fn run(
    workload: &Workload,
    corpus: &mut Corpus,
    systems: &[(System, PathBuf)],
    behind: impl Fn() -> Behind,
    only: Option<&str>,
) {
    let shape = workload.shape;
    let end_ms = shape.start_ms + (workload.rounds() as i64 - 1) * shape.interval_ms;
    let pod = crate::load::pod_name(0);
    let listed: Vec<_> =
        list::all(&pod).into_iter().filter(|query| only.is_none_or(|only| query.name.contains(only))).collect();
    let loaded: Vec<_> =
        systems.iter().map(|(system, binary)| load(*system, binary, corpus, workload, behind())).collect();
    println!("all are loaded, asking");
    let mut columns: Vec<(System, Vec<Taken>)> = systems.iter().map(|(system, _)| (*system, vec![])).collect();
    for query in &listed {
        let (path, parameters) = query.ask.request(shape.start_ms, end_ms);
        let parameters: Vec<(&str, &str)> = parameters.iter().map(|(key, value)| (*key, value.as_str())).collect();
        let mut asked: Vec<_> = loaded.iter().map(|(_, server)| Asked::new(server, &path, &parameters)).collect();
        // In turns: a machine that becomes slower does so for all. Whose turn it is not does nothing, not even for itself.
        while asked.iter().any(|asked| !asked.is_done()) {
            asked.iter_mut().filter(|asked| !asked.is_done()).for_each(Asked::round);
        }
        for ((_, column), asked) in columns.iter_mut().zip(asked) {
            column.push(asked.taken());
        }
    }
    print(&listed, &columns);
}

/// A system with everything on disk, in which no cache is warm but the kernel's.
fn load(system: System, binary: &Path, corpus: &mut Corpus, workload: &Workload, behind: Behind) -> (Folder, Server) {
    let folder = Folder::new(&format!("queries-{}", system.name()));
    let mut server = Server::start(system, binary, folder.path(), behind);
    corpus.restart(workload);
    corpus.send(server.address(), 0, workload.rounds());
    server.rest();
    server.gauge().wait_idle(Duration::from_secs(7));
    server.kill_and_start();
    server.gauge().wait_idle(Duration::from_secs(3));
    server.pause();
    println!("{}: loaded", system.name());
    (folder, server)
}

/// A query that is asked of one system.
struct Asked<'a> {
    server: &'a Server,
    gauge: Gauge,
    client: Raw,
    path: &'a str,
    parameters: &'a [(&'a str, &'a str)],
    cold_ms: f64,
    cold_cpu_ms: f64,
    answer: Value,
    latencies_ms: Vec<f64>,
    cpu_s: f64,
}

impl<'a> Asked<'a> {
    /// Asks for the first time.
    fn new(server: &'a Server, path: &'a str, parameters: &'a [(&'a str, &'a str)]) -> Self {
        server.resume();
        let gauge = server.gauge();
        gauge.forget_peak();
        let mut client = Raw::connect(server.address());
        let cpu_s = gauge.cpu_seconds();
        let (cold_ms, received) = once(&mut client, path, parameters);
        let cold_cpu_ms = (gauge.cpu_seconds() - cpu_s) * 1000.0;
        let answer = received.json()["data"].take();
        let (latencies_ms, cpu_s) = (vec![], 0.0);
        server.pause();
        Asked { server, gauge, client, path, parameters, cold_ms, cold_cpu_ms, answer, latencies_ms, cpu_s }
    }

    fn is_done(&self) -> bool {
        let asked = self.latencies_ms.len();
        let patient = self.latencies_ms.iter().sum::<f64>() < PATIENCE.as_secs_f64() * 1000.0;
        asked >= REPETITIONS || asked >= REPETITIONS_MIN && !patient
    }

    /// Asks some times more.
    fn round(&mut self) {
        self.server.resume();
        for _ in 0..AGAIN {
            once(&mut self.client, self.path, self.parameters);
        }
        let before = self.gauge.cpu_seconds();
        for _ in 0..ROUND {
            self.latencies_ms.push(once(&mut self.client, self.path, self.parameters).0);
        }
        self.cpu_s += self.gauge.cpu_seconds() - before;
        self.server.pause();
    }

    fn taken(mut self) -> Taken {
        self.latencies_ms.sort_by(f64::total_cmp);
        Taken {
            cold_ms: self.cold_ms,
            cold_cpu_ms: self.cold_cpu_ms,
            p50_ms: quantile(&self.latencies_ms, 0.5),
            p99_ms: quantile(&self.latencies_ms, 0.99),
            cpu_ms: self.cpu_s * 1000.0 / self.latencies_ms.len() as f64,
            peak_mib: self.gauge.memory().peak as f64 / f64::from(1 << 20),
            answer: self.answer,
        }
    }
}

/// Asks once: how long it took, ms, and what came.
fn once(client: &mut Raw, path: &str, parameters: &[(&str, &str)]) -> (f64, Received) {
    let begin = now();
    let received = client.get(path, parameters);
    let taken_ms = begin.elapsed().as_secs_f64() * 1000.0;
    assert_eq!(received.status, 200, "{parameters:?}: {}", received.json());
    (taken_ms, received)
}

fn print(listed: &[list::Listed], columns: &[(System, Vec<Taken>)]) {
    let names: Vec<_> = columns.iter().map(|(system, _)| system.name()).collect();
    println!("\nmedian / p99 / CPU ms warm; first time / its CPU; peak MiB");
    println!("| query | {} | to the faster peer: latency, CPU | answers |", names.join(" | "));
    println!("|---|{}---|---|", "---|".repeat(names.len()));
    for (at, query) in listed.iter().enumerate() {
        let cell = |taken: &Taken| {
            format!(
                "{:.2} / {:.1} / {:.2}; {:.1} / {:.0}; {:.0}",
                taken.p50_ms, taken.p99_ms, taken.cpu_ms, taken.cold_ms, taken.cold_cpu_ms, taken.peak_mib
            )
        };
        let cells: Vec<_> = columns.iter().map(|(_, taken)| cell(&taken[at])).collect();
        let of = |system| columns.iter().find(|(found, _)| *found == system).map(|(_, taken)| &taken[at]);
        let peers = columns.iter().filter(|(system, _)| *system != System::Marigram).map(|(_, taken)| &taken[at]);
        let least = |f: fn(&Taken) -> f64| peers.clone().map(f).fold(f64::INFINITY, f64::min);
        let ratios = of(System::Marigram).map_or("-".into(), |own| {
            format!("{:.2}, {:.2}", own.p50_ms / least(|t| t.p50_ms), own.cpu_ms / least(|t| t.cpu_ms))
        });
        let same = match (of(System::Marigram), of(System::Prometheus)) {
            (Some(own), Some(peer)) => difference(&own.answer, &peer.answer).unwrap_or("equal".into()),
            _ => "-".into(),
        };
        println!("| {} | {} | {ratios} | {same} |", query.name, cells.join(" | "));
    }
}

/// Where two answers differ beyond the tolerance; rows may come in any order.
fn difference(own: &Value, peer: &Value) -> Option<String> {
    match (own, peer) {
        (Value::Array(own), Value::Array(peer)) => {
            if own.len() != peer.len() {
                return Some(format!("{} against {} entries", own.len(), peer.len()));
            }
            let sorted = |list: &[Value]| {
                let mut list = list.to_vec();
                if list.iter().all(Value::is_object) {
                    list.sort_by_key(|entry| entry.get("metric").unwrap_or(entry).to_string());
                }
                list
            };
            sorted(own).iter().zip(&sorted(peer)).find_map(|(own, peer)| difference(own, peer))
        }
        (Value::Object(own), Value::Object(peer)) => {
            let keys = own.keys().chain(peer.keys());
            keys.filter(|key| *key != "stats")
                .find_map(|key| difference(own.get(key).unwrap_or(&Value::Null), peer.get(key).unwrap_or(&Value::Null)))
        }
        (Value::String(a), Value::String(b)) => match (a.parse::<f64>(), b.parse::<f64>()) {
            (Ok(x), Ok(y))
                if (x - y).abs() <= TOLERANCE * x.abs().max(y.abs()) || x == y || (x.is_nan() && y.is_nan()) =>
            {
                None
            }
            _ if a == b => None,
            _ => Some(format!("{a} against {b}")),
        },
        (a, b) if a == b => None,
        (a, b) => Some(json!([a, b]).to_string()),
    }
}
