//! The real program: how it starts, what it prints, how it stops.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};

struct Process {
    child: Child,
    address: String,
    stdout: BufReader<std::process::ChildStdout>,
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn command(dir: &std::path::Path, listen: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_marigram"));
    command.args(["single", "--http-listen", listen, "--data-dir"]).arg(dir);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn start(dir: &std::path::Path) -> Process {
    let mut child = command(dir, "127.0.0.1:0").spawn().unwrap();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    stdout.read_line(&mut line).unwrap();
    let address =
        line.trim_end().strip_prefix("listening on http://").expect("the first line is the address").to_owned();
    Process { child, address, stdout }
}

/// Asks until the store is open: a fresh one is within the client's own timeout.
fn wait_ready(address: &str) {
    let agent: ureq::Agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
    while agent.get(format!("http://{address}/-/ready")).call().unwrap().status() != 200 {
        std::thread::yield_now();
    }
}

fn terminate(child: &Child) {
    let pid = rustix::process::Pid::from_child(child);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
}

#[test]
fn it_tells_how_far_the_replay_of_its_log_is() {
    let dir = tempfile::tempdir().unwrap();
    let replayed = |process: &Process| {
        let address = &process.address;
        wait_ready(address);
        let answer = ureq::get(format!("http://{address}/api/v1/status/walreplay")).call().unwrap();
        let answer: serde_json::Value = serde_json::from_reader(answer.into_body().into_reader()).unwrap();
        let data = &answer["data"];
        assert_eq!(data["state"], "done", "{answer}");
        (data["min"].as_u64().unwrap(), data["current"].as_u64().unwrap(), data["max"].as_u64().unwrap())
    };
    let process = start(dir.path());
    assert_eq!(replayed(&process), (0, 0, 0));
    ureq::post(format!("http://{}/api/v1/import/prometheus", process.address)).send("kept 1\n").unwrap();
    drop(process);
    assert_eq!(replayed(&start(dir.path())), (1, 1, 1));
}

#[test]
fn it_says_where_it_listens_and_stops_cleanly_on_sigterm() {
    let dir = tempfile::tempdir().unwrap();
    let mut process = start(dir.path());
    wait_ready(&process.address);
    let write = ureq::post(format!("http://{}/api/v1/import/prometheus", process.address)).send("kept 1\n").unwrap();
    assert_eq!(write.status(), 204);
    terminate(&process.child);
    assert_eq!(process.child.wait().unwrap().code(), Some(0));
    let mut banner = String::new();
    process.stdout.read_to_string(&mut banner).unwrap();
    let url = format!("http://{}", process.address);
    for part in [format!("  - url: {url}/api/v1/write"), format!("    url: {url}\n"), "type: prometheus".to_owned()] {
        assert!(banner.contains(&part), "{part} is not in\n{banner}");
    }

    let again = start(dir.path());
    wait_ready(&again.address);
    let mut answer = ureq::get(format!("http://{}/api/v1/query?query=kept", again.address)).call().unwrap();
    let body = answer.body_mut().read_to_string().unwrap();
    assert!(body.contains(r#""__name__":"kept""#), "{body}");
}

#[test]
fn what_is_taken_is_said_in_one_line() {
    let dir = tempfile::tempdir().unwrap();
    let running = start(&dir.path().join("a"));
    wait_ready(&running.address);
    let output = command(&dir.path().join("b"), &running.address).output().unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success() && error.lines().count() == 1 && error.contains("--http-listen"), "{error}");

    let output = command(&dir.path().join("a"), "127.0.0.1:0").output().unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success() && error.contains("error: --data-dir: "), "{error}");
}

#[test]
fn a_wrong_command_line_is_one_line() {
    for args in [&["single", "--retention", "soon"][..], &["single", "--query-timeout", "0"], &["insert"]] {
        let output = Command::new(env!("CARGO_BIN_EXE_marigram")).args(args).output().unwrap();
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!((output.status.code(), error.lines().count()), (Some(2), 1), "{error}");
    }
}
