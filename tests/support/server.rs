//! A whole server inside of the test, on a clock that the test moves, and a client for it.

#![allow(clippy::unwrap_used, dead_code, unreachable_pub, reason = "each test includes this file and uses its part")]

use std::io::{Read, Write};
use std::sync::Arc;

use marigram::config::Settings;
use marigram::config::args::{Cli, Command};
use marigram::run::Server;
use marigram_storage::disk::RealDisk;
use marigram_storage::env::{Env, ManualClock, SeededRandom};
use serde_json::Value;

/// What the clock shows at first, ms.
pub const START_MS: i64 = 1_700_003_600_000;

/// A server with its folder and clock.
pub struct TestServer {
    pub server: Server,
    pub clock: Arc<ManualClock>,
    agent: ureq::Agent,
    _dir: tempfile::TempDir,
}

/// An answer.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub content_type: String,
    pub body: Vec<u8>,
}

impl Answer {
    /// The body as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// `data` of an answer that must have succeeded.
    pub fn data(&self) -> Value {
        let json = self.json();
        assert_eq!((self.status, json["status"].as_str()), (200, Some("success")), "{json}");
        json["data"].clone()
    }
}

impl TestServer {
    /// Starts with further flags, self-scrape off, and waits until the store is open.
    pub fn start(flags: &[&str]) -> TestServer {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("data");
        let fixed = ["marigram", "single", "--http-listen", "127.0.0.1:0", "--self-scrape-interval", "0"];
        let data_dir = ["--data-dir", data.to_str().unwrap()];
        let cli = Cli::read(fixed.iter().chain(&data_dir).chain(flags)).unwrap();
        let Command::Single(args) = cli.command else { unreachable!("single was asked for") };
        let settings = Settings { maintenance_interval: None, ..Settings::single(*args).unwrap() };
        let clock = Arc::new(ManualClock::new(START_MS));
        let random = Arc::new(SeededRandom::new(7));
        let env = Env { clock: Arc::clone(&clock) as _, random, disk: Arc::new(RealDisk) };
        let server = Server::start(settings, env).unwrap();
        server.wait_started().unwrap();
        let agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
        TestServer { server, clock, agent, _dir: dir }
    }

    pub fn url(&self, path: &str) -> String {
        format!("{}{path}", self.server.url())
    }

    /// GET with the query string as it stands.
    pub fn get(&self, tenant: Option<&str>, path: &str) -> Answer {
        let mut request = self.agent.get(self.url(path));
        if let Some(tenant) = tenant {
            request = request.header("X-Scope-OrgID", tenant);
        }
        answer(request.call())
    }

    /// GET with headers.
    pub fn get_with(&self, path: &str, headers: &[(&str, &str)]) -> Answer {
        let mut request = self.agent.get(self.url(path));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        answer(request.call())
    }

    /// POST of a form.
    pub fn form(&self, tenant: Option<&str>, path: &str, form: &[(&str, &str)]) -> Answer {
        let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish();
        self.post(path, &headers(tenant, &[("Content-Type", "application/x-www-form-urlencoded")]), body.as_bytes())
    }

    /// GET of the same parameters.
    pub fn get_form(&self, tenant: Option<&str>, path: &str, form: &[(&str, &str)]) -> Answer {
        let query = form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish();
        self.get(tenant, &format!("{path}?{query}"))
    }

    /// POST of anything.
    pub fn post(&self, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        let mut request = self.agent.post(self.url(path));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        answer(request.send(body))
    }

    /// Stores a text exposition.
    pub fn import(&self, tenant: Option<&str>, text: &str) {
        let answer = self.post("/api/v1/import/prometheus", &headers(tenant, &[]), text.as_bytes());
        assert_eq!(answer.status, 204, "{}", answer.text());
    }

    /// Head and body as they come over the wire.
    pub fn raw(&self, request: &str) -> String {
        let mut stream = std::net::TcpStream::connect(self.server.local_addr()).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut out = Vec::new();
        stream.read_to_end(&mut out).unwrap();
        String::from_utf8_lossy(&out).into_owned()
    }
}

/// Headers with the tenant's, if any.
pub fn headers<'a>(tenant: Option<&'a str>, more: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    tenant.map(|tenant| ("X-Scope-OrgID", tenant)).into_iter().chain(more.iter().copied()).collect()
}

fn answer(response: Result<ureq::http::Response<ureq::Body>, ureq::Error>) -> Answer {
    let mut response = response.unwrap();
    let body = response.body_mut().read_to_vec().unwrap();
    let content_type = response.headers().get("content-type").map(|value| value.to_str().unwrap().to_owned());
    Answer { status: response.status().as_u16(), content_type: content_type.unwrap_or_default(), body }
}
