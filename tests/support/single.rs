//! The real `marigram single`, on a port of the kernel's choice.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::http::{Answer, Http};
use super::poll_until;
use super::process::Process;

/// A running server, and where its data lies.
pub(crate) struct Server {
    process: Process,
    http: Http,
    address: String,
    folder: PathBuf,
    flags: Vec<String>,
}

impl Server {
    /// Starts one whose data and log lie in `folder`, with nothing that writes by itself and no retention.
    pub(crate) fn start(folder: &Path) -> Server {
        Server::start_with(folder, &["--retention", "0"])
    }

    /// Starts one with further flags.
    pub(crate) fn start_with(folder: &Path, flags: &[&str]) -> Server {
        let flags: Vec<String> = flags.iter().map(|flag| flag.to_string()).collect();
        let (process, address) = launch(folder, &flags);
        let http = Http::new(&address);
        let server = Server { process, http, address, folder: folder.into(), flags };
        server.wait_until_ready();
        server
    }

    /// Starts it again on the same data, after it ended.
    pub(crate) fn start_again(&mut self) {
        (self.process, self.address) = launch(&self.folder, &self.flags);
        self.http = Http::new(&self.address);
        self.wait_until_ready();
    }

    /// SIGTERM, which must end it in good order, and a new start.
    pub(crate) fn restart(&mut self) {
        self.terminate();
        self.start_again();
    }

    /// SIGTERM, which must end it in good order.
    pub(crate) fn terminate(&mut self) {
        let status = self.process.terminate();
        assert!(status.success(), "marigram ended with {status} on SIGTERM");
        self.assert_no_panic();
    }

    /// SIGKILL.
    pub(crate) fn kill(&mut self) {
        self.process.kill();
    }

    /// The client of this server.
    pub(crate) fn http(&self) -> &Http {
        &self.http
    }

    /// Host and port.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// Cuts all open data into blocks.
    pub(crate) fn seal(&self) {
        let answer = self.http.post("/api/v1/admin/tsdb/seal", &[], b"").unwrap();
        assert!((200..300).contains(&answer.status), "seal: {} {}", answer.status, answer.text());
    }

    /// How many published blocks lie in the data directory.
    pub(crate) fn blocks(&self) -> usize {
        let entries = fs::read_dir(self.folder.join("data/blocks")).unwrap();
        entries.filter(|entry| entry.as_ref().unwrap().path().join("meta.json").exists()).count()
    }

    /// The process lives, and nothing of it has ever panicked.
    pub(crate) fn assert_sound(&mut self) {
        assert!(self.process.runs(), "marigram has ended");
        let Answer { status, .. } = self.http.get("/-/healthy").unwrap();
        assert_eq!(status, 200, "/-/healthy");
        self.assert_no_panic();
    }

    fn assert_no_panic(&self) {
        let output = self.process.output();
        assert!(!output.contains("panicked"), "marigram panicked:\n{output}");
    }

    fn wait_until_ready(&self) {
        poll_until("marigram to be ready", || self.http.get("/-/ready").ok().filter(|answer| answer.status == 200));
    }

    /// CPU time that the process has taken so far.
    pub(crate) fn cpu_time(&self) -> std::time::Duration {
        self.process.cpu_time()
    }

    /// Forgets the greatest resident memory so far.
    pub(crate) fn reset_peak_memory(&self) {
        fs::write(format!("/proc/{}/clear_refs", self.process.id()), "5").unwrap();
    }

    /// The greatest resident memory since, in bytes.
    pub(crate) fn peak_memory_bytes(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.process.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("VmHWM in the status");
        line.trim().trim_end_matches(" kB").trim().parse::<u64>().unwrap() * 1024
    }
}

fn launch(folder: &Path, flags: &[String]) -> (Process, String) {
    let log = folder.join("marigram.log");
    let before = fs::metadata(&log).map_or(0, |meta| meta.len() as usize);
    let mut command = Command::new(env!("CARGO_BIN_EXE_marigram"));
    command.args(["single", "--http-listen", "127.0.0.1:0", "--self-scrape-interval", "0", "--enable-admin-api"]);
    command.arg("--data-dir").arg(folder.join("data")).args(flags);
    let mut process = Process::start("marigram", &mut command, &log);
    let address = process.wait_for("the line with the address", before, |output| {
        let line = output.lines().find_map(|line| line.split_once("listening on http://"))?.1;
        // A line that is not whole yet is not read.
        output.ends_with('\n').then(|| line.split_whitespace().next().unwrap_or_default().to_string())
    });
    (process, address)
}
