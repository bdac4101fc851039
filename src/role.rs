//! What a process does.

use std::io::Write;
use std::process::ExitCode;
use std::sync::Arc;

use marigram_storage::disk::RealDisk;
use marigram_storage::env::{Env, OsRandom, SystemClock};

use crate::app::{Event, Failure};
use crate::background::Background;
use crate::config::Settings;
use crate::config::args::Command;
use crate::config::settings::SettingsError;
use crate::run::Server;
use crate::{compactor, insert, promqltest, query_node, single, status, storage_node, telemetry};

/// Exit code of a wrong command line.
pub const EXIT_USAGE: u8 = 2;
/// Exit code of a server that stopped itself after a failed disk operation; starting it again recovers.
pub const EXIT_RESTART: u8 = 3;

/// What a server does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Everything, in one process.
    Single,
    /// Keeps the newest hours, and answers for them.
    Storage,
    /// Takes writes and places them on storage nodes.
    Insert,
    /// Answers PromQL over storage nodes and bucket.
    Query,
    /// Keeps the list of members, and moves sealed blocks into the bucket.
    Compact,
}

impl Role {
    /// The name of its subcommand.
    pub fn as_str(self) -> &'static str {
        match self {
            Role::Single => "single",
            Role::Storage => "storage",
            Role::Insert => "insert",
            Role::Query => "query",
            Role::Compact => "compact",
        }
    }

    /// Whether it takes writes over HTTP.
    pub fn takes_writes(self) -> bool {
        matches!(self, Role::Single | Role::Insert)
    }

    /// Whether it keeps samples on its own disk.
    pub fn has_store(self) -> bool {
        matches!(self, Role::Single | Role::Storage)
    }

    /// Whether it answers queries over HTTP.
    pub fn answers_queries(self) -> bool {
        matches!(self, Role::Single | Role::Query)
    }
}

/// Starts the role of the settings.
pub(crate) fn start(background: &mut Background) -> Result<(), String> {
    match background.app().settings.role {
        Role::Single => single::start(background),
        Role::Storage => storage_node::start(background),
        Role::Insert => insert::start(background),
        Role::Query => query_node::start(background),
        Role::Compact => compactor::start(background),
    }
}

/// Does what was asked for.
pub fn run(command: Command) -> ExitCode {
    match command {
        Command::Single(args) => serve(&args.common.log_level.clone(), Settings::single(*args)),
        Command::Storage(args) => serve(&args.common.log_level.clone(), Settings::storage(*args)),
        Command::Insert(args) => serve(&args.common.log_level.clone(), Settings::insert(*args)),
        Command::Query(args) => serve(&args.common.log_level.clone(), Settings::query(*args)),
        Command::Compact(args) => serve(&args.common.log_level.clone(), Settings::compact(*args)),
        Command::Status { url } => status::command::command(&url),
        Command::Promqltest { paths, verbose } => promqltest::command(&paths, verbose).unwrap_or_else(|error| {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }),
    }
}

fn serve(log_level: &str, settings: Result<Settings, SettingsError>) -> ExitCode {
    let env = Env { clock: Arc::new(SystemClock::default()), random: Arc::new(OsRandom), disk: Arc::new(RealDisk) };
    if let Err(line) = telemetry::log::start(log_level, Arc::clone(&env.clock)) {
        return usage(&line);
    }
    let settings = match settings {
        Ok(settings) => settings,
        Err(error) => return usage(&error.to_string()),
    };
    let role = settings.role;
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
    print_banner(&banner(role, &server));
    let code = attend(&server);
    server.shutdown();
    tracing::info!("stopped");
    code
}

/// Waits until the server is asked to stop, or cannot go on.
fn attend(server: &Server) -> ExitCode {
    loop {
        match server.next_event() {
            Event::Started => tracing::info!(url = server.url(), "serving"),
            Event::Stop => {
                tracing::info!("stopping");
                return ExitCode::SUCCESS;
            }
            Event::Failed(failure) => {
                eprintln!("error: {failure}");
                return match failure {
                    Failure::Poisoned(_) => ExitCode::from(EXIT_RESTART),
                    Failure::Open(_) | Failure::Contradiction(_) | Failure::Internal(_) => ExitCode::FAILURE,
                };
            }
        }
    }
}

fn usage(line: &str) -> ExitCode {
    eprintln!("{line}");
    ExitCode::from(EXIT_USAGE)
}

/// A closed stdout is no reason to stop.
fn print_banner(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(text.as_bytes());
    let _ = out.flush();
}

/// Says where to write and where to query; for `single` with what to paste.
fn banner(role: Role, server: &Server) -> String {
    let url = server.url();
    let mut text = format!("listening on {url}\n");
    if let Some(address) = server.grpc_addr() {
        text.push_str(&format!("serving other roles on {address}\n"));
    }
    if role == Role::Single {
        text.push_str(&what_to_paste(&url));
    }
    text
}

fn what_to_paste(url: &str) -> String {
    format!(
        "
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
