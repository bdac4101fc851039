//! A real Prometheus and a real node_exporter, on ports of the kernel's choice.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::Signal;

use super::http::Http;
use super::ports::free_address;
use super::process::Process;

/// A Prometheus, running or not.
pub(crate) struct Prometheus {
    binary: PathBuf,
    folder: PathBuf,
    listen: String,
    flags: Vec<String>,
    process: Option<Process>,
    http: Http,
    address: String,
    global: String,
}

/// A running node_exporter.
pub(crate) struct NodeExporter {
    _process: Process,
    address: String,
}

/// The address in the line that both print when their socket is open.
fn listening(output: &str) -> Option<String> {
    let line = output.lines().find(|line| line.contains("msg=\"Listening on\""))?;
    let address = line.split_once("address=")?.1.split_whitespace().next()?;
    Some(address.to_string())
}

impl NodeExporter {
    /// Starts one.
    pub(crate) fn start(binary: &Path, folder: &Path) -> NodeExporter {
        let mut command = Command::new(binary);
        command.arg("--web.listen-address=127.0.0.1:0");
        let mut process = Process::start("node_exporter", &mut command, &folder.join("node_exporter.log"));
        let address = process.wait_for("its address", 0, listening);
        NodeExporter { _process: process, address }
    }

    /// Host and port.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }
}

impl Prometheus {
    /// Starts one that scrapes nothing yet, and sends what it will scrape to the Marigram at `marigram`.
    pub(crate) fn start(binary: &Path, folder: &Path, marigram: &str) -> Prometheus {
        Prometheus::start_at(binary, folder, "127.0.0.1:0", "", marigram)
    }

    /// Starts one with a configuration and flags of its own, on a port of the kernel's choice.
    pub(crate) fn start_with(binary: &Path, folder: &Path, config: &str, flags: &[&str]) -> Prometheus {
        fs::create_dir_all(folder).unwrap();
        fs::write(folder.join("prometheus.yml"), config).unwrap();
        let flags: Vec<String> = flags.iter().map(|flag| flag.to_string()).collect();
        let (process, address) = launch(binary, folder, "127.0.0.1:0", &flags);
        let http = Http::new(&address);
        let (binary, folder, listen) = (binary.into(), folder.into(), "127.0.0.1:0".into());
        Prometheus { binary, folder, listen, flags, process: Some(process), http, address, global: config.into() }
    }

    /// The same as one of an HA pair, with a folder of its own in `folder` and a port that it keeps through restarts.
    pub(crate) fn start_replica(binary: &Path, folder: &Path, replica: &str, marigram: &str) -> Prometheus {
        let folder = folder.join(format!("prometheus-{replica}"));
        fs::create_dir_all(&folder).unwrap();
        let labels = format!("external_labels: {{cluster: pair, replica: {replica}}}, ");
        Prometheus::start_at(binary, &folder, &free_address(), &labels, marigram)
    }

    fn start_at(binary: &Path, folder: &Path, listen: &str, labels: &str, marigram: &str) -> Prometheus {
        // Small batches at once: the test waits for every sample.
        let global = format!(
            "global: {{{labels}scrape_interval: 1s, scrape_timeout: 1s}}\n\
             remote_write:\n- url: http://{marigram}/api/v1/write\n  queue_config: {{batch_send_deadline: 500ms}}\n  \
             metadata_config: {{send_interval: 5s}}\n"
        );
        fs::write(folder.join("prometheus.yml"), &global).unwrap();
        let (process, address) = launch(binary, folder, listen, &[]);
        let http = Http::new(&address);
        let (binary, folder, listen) = (binary.into(), folder.into(), listen.into());
        Prometheus { binary, folder, listen, flags: vec![], process: Some(process), http, address, global }
    }

    /// Begins to scrape, every second: the node_exporter as job `node`, and itself as job `prometheus`.
    pub(crate) fn scrape(&mut self, node_exporter: &str) {
        let own = self.address.clone();
        self.scrape_jobs(&[("node", &[node_exporter]), ("prometheus", &[&own])]);
    }

    /// Begins to scrape, every second: the targets (host and port) of jobs.
    pub(crate) fn scrape_jobs(&mut self, jobs: &[(&str, &[&str])]) {
        let job = |(job, targets): &(&str, &[&str])| {
            format!("- job_name: {job}\n  static_configs: [{{targets: [\"{}\"]}}]\n", targets.join("\", \""))
        };
        let jobs: Vec<String> = jobs.iter().map(job).collect();
        let process = self.process.as_mut().expect("prometheus runs");
        let before = process.output().len();
        let config = format!("{}scrape_configs:\n{}", self.global, jobs.concat());
        fs::write(self.folder.join("prometheus.yml"), config).unwrap();
        process.signal(Signal::HUP);
        let loaded = |output: &str| output.contains("Completed loading of configuration file").then_some(());
        process.wait_for("the new configuration", before, loaded);
    }

    /// SIGTERM, and waits for the end.
    pub(crate) fn stop(&mut self) {
        self.process.take().expect("prometheus runs").terminate();
    }

    /// Starts it again with its data and what it scraped; not for one whose port the kernel chose.
    pub(crate) fn start_again(&mut self) {
        assert!(self.process.is_none(), "prometheus runs already");
        self.process = Some(launch(&self.binary, &self.folder, &self.listen, &self.flags).0);
    }

    /// The client of its API.
    pub(crate) fn http(&self) -> &Http {
        &self.http
    }

    /// Host and port.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }
}

fn launch(binary: &Path, folder: &Path, listen: &str, flags: &[String]) -> (Process, String) {
    let log = folder.join("prometheus.log");
    let before = fs::metadata(&log).map_or(0, |meta| meta.len() as usize);
    let mut command = Command::new(binary);
    command.args(flags).arg(format!("--web.listen-address={listen}"));
    command.arg(format!("--config.file={}", folder.join("prometheus.yml").display()));
    command.arg(format!("--storage.tsdb.path={}", folder.join("prometheus").display()));
    let mut process = Process::start("prometheus", &mut command, &log);
    let address = process.wait_for("its address", before, listening);
    process.wait_for("to be ready", before, |output| output.contains("ready to receive web requests").then_some(()));
    (process, address)
}
