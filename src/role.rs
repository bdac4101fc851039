//! What a process does.

use std::io::Write;
use std::process::ExitCode;
use std::sync::Arc;

use marigram_storage::disk::RealDisk;
use marigram_storage::env::{Env, OsRandom, SystemClock};

use crate::app::{Event, Failure};
use crate::config::Settings;
use crate::config::args::{Command, SingleArgs};
use crate::run::Server;
use crate::{promqltest, telemetry};

/// Exit code of a wrong command line.
pub const EXIT_USAGE: u8 = 2;
/// Exit code of a server that stopped itself after a failed disk operation; starting it again recovers.
pub const EXIT_RESTART: u8 = 3;

/// Does what was asked for.
pub fn run(command: Command) -> ExitCode {
    match command {
        Command::Single(args) => single(*args),
        Command::Promqltest { dir, verbose } => promqltest::command(&dir, verbose).unwrap_or_else(|error| {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }),
    }
}

fn single(args: SingleArgs) -> ExitCode {
    let env = Env { clock: Arc::new(SystemClock::default()), random: Arc::new(OsRandom), disk: Arc::new(RealDisk) };
    if let Err(line) = telemetry::log::start(&args.log_level, Arc::clone(&env.clock)) {
        return usage(&line);
    }
    let settings = match Settings::from_args(args) {
        Ok(settings) => settings,
        Err(error) => return usage(&error.to_string()),
    };
    let server = match Server::start(settings, env) {
        Ok(server) => server,
        Err(line) => {
            eprintln!("error: {line}");
            return ExitCode::FAILURE;
        }
    };
    if let Err(error) = server.stop_on_signals() {
        eprintln!("error: signals cannot be caught: {error}");
        return ExitCode::FAILURE;
    }
    print_banner(&server.url());
    let code = attend(&server);
    server.shutdown();
    tracing::info!("stopped");
    code
}

/// Waits until the server is asked to stop, or cannot go on.
fn attend(server: &Server) -> ExitCode {
    loop {
        match server.next_event() {
            Event::Ready => tracing::info!(url = server.url(), "ready"),
            Event::Stop => {
                tracing::info!("stopping");
                return ExitCode::SUCCESS;
            }
            Event::Failed(failure) => {
                eprintln!("error: {failure}");
                return match failure {
                    Failure::Poisoned(_) => ExitCode::from(EXIT_RESTART),
                    Failure::Open(_) | Failure::Internal(_) => ExitCode::FAILURE,
                };
            }
        }
    }
}

fn usage(line: &str) -> ExitCode {
    eprintln!("{line}");
    ExitCode::from(EXIT_USAGE)
}

/// Says where to write and where to query, with what to paste. A closed stdout is no reason to stop.
fn print_banner(url: &str) {
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(banner(url).as_bytes());
    let _ = out.flush();
}

fn banner(url: &str) -> String {
    format!(
        "listening on {url}

  write   {url}/api/v1/write   (Prometheus remote write)
  query   {url}/api/v1/query   (Prometheus HTTP API)

In prometheus.yml:

remote_write:
  - url: {url}/api/v1/write

In Grafana, provisioning/datasources/marigram.yaml:

apiVersion: 1
datasources:
  - name: Marigram
    type: prometheus
    access: proxy
    url: {url}
    jsonData:
      httpMethod: POST
      prometheusType: Prometheus

"
    )
}
