//! The three systems, each a process of its own with a fresh data directory.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;

use crate::clock::Behind;
use crate::measure::{Gauge, files, sleep};
use crate::sender::now;
use crate::support::http::Http;
use crate::support::needs;
use crate::support::ports::free_address;
use crate::support::process::Process;

/// Longer than any start or forced merge takes.
const PATIENCE: Duration = Duration::from_secs(600);

/// What is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum System {
    Marigram,
    VictoriaMetrics,
    Prometheus,
}

impl System {
    /// All of them, the one that matters first.
    pub(crate) const ALL: [System; 3] = [System::Marigram, System::VictoriaMetrics, System::Prometheus];

    /// As it is written on the command line and in reports.
    pub(crate) fn name(self) -> &'static str {
        match self {
            System::Marigram => "marigram",
            System::VictoriaMetrics => "victoria-metrics",
            System::Prometheus => "prometheus",
        }
    }

    /// Where its program is; `None`, and a line about it, if that is not known.
    pub(crate) fn binary(self) -> Option<PathBuf> {
        let variable = match self {
            System::Marigram => {
                let given = std::env::var_os("MARIGRAM_BINARY").filter(|value| !value.is_empty());
                return Some(given.map_or_else(|| env!("CARGO_BIN_EXE_marigram").into(), PathBuf::from));
            }
            System::VictoriaMetrics => "MARIGRAM_VICTORIA_METRICS",
            System::Prometheus => needs::PROMETHEUS.variable,
        };
        let path = std::env::var_os(variable).filter(|value| !value.is_empty());
        if path.is_none() {
            println!("LEFT OUT: {}: {variable} is not set to its binary (`just bench-peers` fetches it)", self.name());
        }
        path.map(PathBuf::from)
    }

    /// What it answers to `--version`, one line.
    pub(crate) fn version(self, binary: &Path) -> String {
        let output = Command::new(binary).arg("--version").output().unwrap();
        let text = [output.stdout, output.stderr].concat();
        String::from_utf8_lossy(&text)
            .lines()
            .find(|line| !line.is_empty())
            .unwrap_or("(does not tell its version)")
            .to_owned()
    }
}

/// A running server.
pub(crate) struct Server {
    system: System,
    binary: PathBuf,
    folder: PathBuf,
    address: String,
    behind: Behind,
    http: Http,
    process: Process,
}

/// Bytes at rest.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct AtRest {
    /// Values and timestamps.
    pub(crate) data: u64,
    /// What finds them.
    pub(crate) index: u64,
    /// Catalogs and the like.
    pub(crate) other: u64,
    /// Logs of what is not in blocks yet, and chunks of the head: not part of the sum.
    pub(crate) log: u64,
}

impl AtRest {
    /// Without the log.
    pub(crate) fn sum(self) -> u64 {
        self.data + self.index + self.other
    }
}

impl Server {
    /// Starts one on fresh data in `folder` and waits until it is ready. `behind`: how far Marigram's clock is behind.
    pub(crate) fn start(system: System, binary: &Path, folder: &Path, behind: Behind) -> Server {
        fs::create_dir_all(folder).unwrap();
        let address = free_address();
        let process = launch(system, binary, folder, &address, &behind);
        let http = Http::with_timeout(&address, PATIENCE);
        let (binary, folder) = (binary.into(), folder.into());
        let mut server = Server { system, binary, folder, address, behind, http, process };
        server.wait_ready();
        server
    }

    /// SIGKILL, and a new start on the same data; gives the seconds of wall and CPU time until it is ready.
    pub(crate) fn kill_and_start(&mut self) -> (f64, f64) {
        self.process.kill();
        let begin = now();
        self.process = launch(self.system, &self.binary, &self.folder, &self.address, &self.behind);
        self.http = Http::with_timeout(&self.address, PATIENCE);
        self.wait_ready();
        (begin.elapsed().as_secs_f64(), self.gauge().cpu_seconds())
    }

    fn wait_ready(&mut self) {
        let path = if self.system == System::VictoriaMetrics { "/health" } else { "/-/ready" };
        let begin = now();
        while self.http.get(path).ok().is_none_or(|answer| answer.status != 200) {
            assert!(self.process.runs(), "{} has ended:\n{}", self.system.name(), self.process.output());
            assert!(begin.elapsed() < PATIENCE, "{} is not ready", self.system.name());
            sleep(Duration::from_millis(5));
        }
    }

    /// Host and port.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// Has it do nothing at all until [`Server::resume`].
    pub(crate) fn pause(&self) {
        self.process.signal(Signal::STOP);
    }

    /// See [`Server::pause`].
    pub(crate) fn resume(&self) {
        self.process.signal(Signal::CONT);
    }

    /// What it has taken so far.
    pub(crate) fn gauge(&self) -> Gauge {
        Gauge::new(self.process.id())
    }

    /// Brings all data into the form in which it stays: Marigram seals, VictoriaMetrics flushes and merges all parts,
    /// Prometheus makes a snapshot, which holds the head as a block.
    pub(crate) fn rest(&self) {
        match self.system {
            System::Marigram => self.must(self.http.post("/api/v1/admin/tsdb/seal", &[], b"")),
            System::VictoriaMetrics => {
                self.must(self.http.get("/internal/force_flush"));
                self.must(self.http.get("/internal/force_merge"));
                self.wait_stable();
            }
            System::Prometheus => self.must(self.http.post("/api/v1/admin/tsdb/snapshot", &[], b"")),
        }
    }

    /// Asks for the same as `rest`, to see how it disturbs writes. `false`: the work goes on in the background.
    pub(crate) fn cut(&self) -> bool {
        if self.system == System::VictoriaMetrics {
            self.must(self.http.get("/internal/force_flush"));
            self.must(self.http.get("/internal/force_merge"));
            return false;
        }
        self.rest();
        true
    }

    fn must(&self, answer: Result<crate::support::http::Answer, crate::support::http::Broken>) {
        let answer = answer.unwrap();
        assert!((200..300).contains(&answer.status), "{}: {} {}", self.system.name(), answer.status, answer.text());
    }

    /// Forced merges run in the background, and what they have read is removed later still.
    fn wait_stable(&self) {
        let (begin, mut since, mut before) = (now(), now(), self.at_rest());
        while since.elapsed() < Duration::from_secs(4) && begin.elapsed() < PATIENCE {
            sleep(Duration::from_millis(500));
            self.gauge().wait_idle(Duration::ZERO);
            let after = self.at_rest();
            if after.sum() != before.sum() {
                since = now();
            }
            before = after;
        }
    }

    /// Bytes in its files. Of Prometheus those of the snapshot that `rest` made.
    pub(crate) fn at_rest(&self) -> AtRest {
        let mut sizes = AtRest::default();
        let root = self.data_dir();
        for (path, len) in files(&root) {
            let path = path.strip_prefix(&root).unwrap().to_string_lossy().into_owned();
            let Some(place) = self.place(&path, &mut sizes) else { continue };
            *place += len;
        }
        sizes
    }

    fn place<'a>(&self, path: &str, sizes: &'a mut AtRest) -> Option<&'a mut u64> {
        let name = path.rsplit('/').next().unwrap();
        let place = match self.system {
            System::Marigram if path.starts_with("wal") => &mut sizes.log,
            System::Marigram if name.contains("chunks") => &mut sizes.data,
            System::Marigram if name.contains("index") => &mut sizes.index,
            System::Marigram => &mut sizes.other,
            System::VictoriaMetrics if path.starts_with("data/") => match name {
                "timestamps.bin" | "values.bin" => &mut sizes.data,
                "index.bin" | "metaindex.bin" => &mut sizes.index,
                _ => &mut sizes.other,
            },
            System::VictoriaMetrics if path.starts_with("indexdb/") => &mut sizes.index,
            // Caches are files, too, but only after a stop.
            System::VictoriaMetrics => return None,
            System::Prometheus if path.starts_with("snapshots/") => match name {
                "index" => &mut sizes.index,
                _ if path.contains("/chunks/") => &mut sizes.data,
                _ => &mut sizes.other,
            },
            System::Prometheus if path.starts_with("wal") || path.starts_with("chunks_head") => &mut sizes.log,
            System::Prometheus => return None,
        };
        Some(place)
    }

    /// How many samples lie within `range_ms` before (and at) `time_ms`, of the metrics with these names. One query for each
    /// name: a query of several names would lose the label that tells their series apart.
    ///
    /// # Errors
    /// What the server answers instead.
    pub(crate) fn count<'a>(
        &self,
        mut names: impl Iterator<Item = &'a str>,
        time_ms: i64,
        range_ms: i64,
    ) -> Result<u64, String> {
        names.try_fold(0, |sum, name| Ok(sum + self.count_one(name, time_ms, range_ms)?))
    }

    fn count_one(&self, name: &str, time_ms: i64, range_ms: i64) -> Result<u64, String> {
        let query = format!("sum(count_over_time({name}[{range_ms}ms]))");
        let time = format!("{}.{:03}", time_ms / 1000, time_ms % 1000);
        let parameters = [("query", query.as_str()), ("time", &time), ("nocache", "1"), ("timeout", "120s")];
        let (status, answer) = self.http.json_post("/api/v1/query", &parameters);
        if status != 200 {
            return Err(format!("{}: {status} to {query}: {answer}", self.system.name()));
        }
        let value = &answer["data"]["result"][0]["value"][1];
        Ok(if *value == Value::Null { 0 } else { value.as_str().unwrap().parse::<f64>().unwrap() as u64 })
    }

    fn data_dir(&self) -> PathBuf {
        self.folder.join("data")
    }
}

fn launch(system: System, binary: &Path, folder: &Path, address: &str, behind: &Behind) -> Process {
    let mut command = Command::new(binary);
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        // Marigram takes settings from there, and VictoriaMetrics and Prometheus are not to get any either.
        if text.starts_with("MARIGRAM_") || text.starts_with("GO") {
            command.env_remove(&name);
        }
    }
    let data = folder.join("data");
    match system {
        System::Marigram => {
            command.args(["single", "--enable-admin-api", "--self-scrape-interval=0", "--max-series=20000000"]);
            command.args(["--retention=0", "--log-level=warn", "--http-listen", address]).arg("--data-dir").arg(data);
            behind.apply(&mut command);
        }
        System::VictoriaMetrics => {
            command.arg(format!("-storageDataPath={}", data.display())).arg(format!("-httpListenAddr={address}"));
            command.args(["-search.latencyOffset=0s", "-search.maxUniqueTimeseries=20000000"]);
            command.args(["-search.maxQueryDuration=300s", "-loggerLevel=WARN"]);
        }
        System::Prometheus => {
            let config = folder.join("prometheus.yml");
            fs::write(&config, "global: {scrape_interval: 1h}\n").unwrap();
            command.arg(format!("--config.file={}", config.display()));
            command.arg(format!("--storage.tsdb.path={}", data.display()));
            command.args(["--web.enable-remote-write-receiver", "--web.enable-admin-api", "--log.level=warn"]);
            command.args(["--query.max-samples=200000000", &format!("--web.listen-address={address}")]);
        }
    }
    Process::start(system.name(), &mut command, &folder.join("log"))
}
