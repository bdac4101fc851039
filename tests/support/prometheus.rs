//! A real Prometheus and a real node_exporter, on ports of the kernel's choice.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::Signal;

use super::http::Http;
use super::process::Process;

/// A running Prometheus.
pub(crate) struct Prometheus {
    process: Process,
    http: Http,
    address: String,
    config: PathBuf,
    remote_write: String,
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
        let config = folder.join("prometheus.yml");
        // Small batches at once: the test waits for every sample.
        let remote_write = format!(
            "global: {{scrape_interval: 1s, scrape_timeout: 1s}}\n\
             remote_write:\n- url: http://{marigram}/api/v1/write\n  queue_config: {{batch_send_deadline: 500ms}}\n  \
             metadata_config: {{send_interval: 5s}}\n"
        );
        fs::write(&config, &remote_write).unwrap();
        let mut command = Command::new(binary);
        command.arg("--web.listen-address=127.0.0.1:0");
        command.arg(format!("--config.file={}", config.display()));
        command.arg(format!("--storage.tsdb.path={}", folder.join("prometheus").display()));
        let mut process = Process::start("prometheus", &mut command, &folder.join("prometheus.log"));
        let address = process.wait_for("its address", 0, listening);
        process.wait_for("to be ready", 0, |output| output.contains("ready to receive web requests").then_some(()));
        Prometheus { process, http: Http::new(&address), address, config, remote_write }
    }

    /// Begins to scrape, every second: the node_exporter as job `node`, and itself as job `prometheus`.
    pub(crate) fn scrape(&mut self, node_exporter: &str) {
        let own = &self.address;
        let jobs = [("node", node_exporter), ("prometheus", own.as_str())];
        let jobs =
            jobs.map(|(job, target)| format!("- job_name: {job}\n  static_configs: [{{targets: [\"{target}\"]}}]\n"));
        let before = self.process.output().len();
        fs::write(&self.config, format!("{}scrape_configs:\n{}", self.remote_write, jobs.concat())).unwrap();
        self.process.signal(Signal::HUP);
        let loaded = |output: &str| output.contains("Completed loading of configuration file").then_some(());
        self.process.wait_for("the new configuration", before, loaded);
    }

    /// The client of its API.
    pub(crate) fn http(&self) -> &Http {
        &self.http
    }
}
