//! The scripts of `deploy/` start a cluster that takes writes and answers, stop it, and find its data again.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::path::Path;
use std::process::{Command, Output};

use support::http::Http;
use support::process::Folder;
use support::{needs, now_ms, poll_until, remote};

/// Ports of the script, counted from its base.
const INSERT: u16 = 1;
const QUERY: u16 = 2;
const LAST: u16 = 31;

/// Stops what was started, whatever happens.
struct Deployed<'a> {
    dir: &'a Path,
    base: u16,
}

impl Deployed<'_> {
    fn run(&self, script: &str) -> Output {
        let mut command = Command::new("bash");
        for (name, _) in std::env::vars_os() {
            let text = name.to_string_lossy();
            if text.starts_with("MARIGRAM_") && text != needs::MINIO.variable || text.starts_with("AWS_") {
                command.env_remove(&name);
            }
        }
        command.env("MARIGRAM_BINARY", env!("CARGO_BIN_EXE_marigram"));
        command.env("CLUSTER_DIR", self.dir).env("CLUSTER_PORT", self.base.to_string());
        if needs::MINIO.path().is_none() {
            command.env("MARIGRAM_BUCKET", format!("file://{}", self.dir.join("bucket").display()));
        }
        command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy").join(script));
        command.output().unwrap()
    }

    /// Runs a script that must succeed; gives what it printed.
    fn run_well(&self, script: &str) -> String {
        let output = self.run(script);
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let (out, err) = (text(&output.stdout), text(&output.stderr));
        assert!(output.status.success(), "{script}: {}\n{out}\n{err}", output.status);
        out
    }

    fn http(&self, port: u16) -> Http {
        Http::new(&format!("127.0.0.1:{}", self.base + port))
    }
}

impl Drop for Deployed<'_> {
    fn drop(&mut self) {
        let _ = self.run("cluster-down.sh");
    }
}

/// A base whose ports are all free now.
fn free_base() -> u16 {
    poll_until("free ports in a row", || {
        let base = support::ports::free_address().rsplit_once(':')?.1.parse::<u16>().ok()?;
        let free = |port| std::net::TcpListener::bind(("127.0.0.1", base + port)).is_ok();
        (0..=LAST).all(free).then_some(base)
    })
}

#[test]
fn one_script_starts_a_cluster_and_one_stops_it() {
    let folder = Folder::new("deploy");
    let dir = folder.path().join("a cluster");
    let deployed = Deployed { dir: &dir, base: free_base() };
    let said = deployed.run_well("cluster-up.sh");
    for part in [format!(":{}/api/v1/write", deployed.base + INSERT), format!("{}/data", dir.display())] {
        assert!(said.contains(&part), "{part} is not in\n{said}");
    }
    let series = remote::series(&[("__name__", "deployed"), ("replica", "a")], &[(now_ms(), 7.0)]);
    remote::send(&deployed.http(INSERT), &remote::request(vec![series]));
    let value = || {
        let (status, answer) = deployed.http(QUERY).json("/api/v1/query", &[("query", "deployed")]);
        assert_eq!(status, 200, "{answer}");
        answer["data"]["result"].clone()
    };
    let before = value();
    assert_eq!(before[0]["value"][1], "7", "{before}");
    assert_eq!(before[0]["metric"], serde_json::json!({"__name__": "deployed"}), "replicas are one series");

    let again = deployed.run("cluster-up.sh");
    assert!(!again.status.success(), "two clusters do not share a folder");
    let said = deployed.run_well("cluster-down.sh");
    assert!(said.contains(&format!("{}/data", dir.display())), "{said}");
    assert!(deployed.http(QUERY).get("/-/healthy").is_err(), "nobody listens any more");

    deployed.run_well("cluster-up.sh");
    assert_eq!(value()[0]["value"][1], "7", "the data is still there");
}
