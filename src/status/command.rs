//! `marigram status`: asks a node for the status of its cluster, and prints it for people.

use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use serde::Deserialize;

use super::document::ClusterStatus;
use super::table;

/// How long the node may take.
const TIMEOUT: Duration = Duration::from_secs(10);
/// An answer is read up to this size; a cluster of thousands of members has less.
const ANSWER_BYTES_MAX: u64 = 16 << 20;

/// The answer's envelope.
#[derive(Deserialize)]
struct Envelope {
    data: Option<ClusterStatus>,
    error: Option<String>,
}

/// Prints the status that the node at `url` tells. Fails when it cannot be had, and when answers are not complete.
pub fn command(url: &str) -> ExitCode {
    match ask(url) {
        Ok(status) => {
            // A closed stdout is no failure of the cluster.
            let _ = std::io::stdout().lock().write_all(table::render(&status).as_bytes());
            if status.complete != Some(false) && status.ready { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(reason) => {
            eprintln!("error: {url}: {reason}");
            ExitCode::FAILURE
        }
    }
}

fn ask(url: &str) -> Result<ClusterStatus, String> {
    let config = ureq::Agent::config_builder().timeout_global(Some(TIMEOUT)).http_status_as_error(false).build();
    let url = format!("{}/api/v1/status/cluster", url.trim_end_matches('/'));
    let mut response = ureq::Agent::new_with_config(config).get(&url).call().map_err(|error| error.to_string())?;
    let status = response.status();
    let body = response.body_mut().with_config().limit(ANSWER_BYTES_MAX).read_to_string();
    let body = body.map_err(|error| format!("the answer cannot be read: {error}"))?;
    read(status.as_u16(), &body)
}

fn read(code: u16, body: &str) -> Result<ClusterStatus, String> {
    match serde_json::from_str::<Envelope>(body) {
        Ok(Envelope { data: Some(status), .. }) => Ok(status),
        Ok(Envelope { error: Some(error), .. }) => Err(error),
        _ => Err(format!("the answer (status {code}) is not that of a Marigram node of this version")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_status_is_said_in_one_line() {
        let not_started = r#"{"status":"error","errorType":"unavailable","error":"the role has not started yet"}"#;
        assert_eq!(read(503, not_started).unwrap_err(), "the role has not started yet");
        for other in ["", "<html>", "{}", r#"{"data":{"role":1}}"#] {
            let error = read(404, other).unwrap_err();
            assert!(error.contains("404") && !error.contains('\n'), "{error}");
        }
        let error = ask("http://127.0.0.1:1").unwrap_err();
        assert!(!error.contains('\n'), "{error}");
    }
}
