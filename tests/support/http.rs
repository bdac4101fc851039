//! A blocking HTTP client that hands back every status, also those of failures.

use std::fmt::Write as _;
use std::time::Duration;

use serde_json::Value;
use ureq::Agent;
use ureq::http::Response;

/// Larger than any answer of a test.
const ANSWER_BYTES_MAX: u64 = 1 << 30;

/// Speaks to one server.
#[derive(Clone)]
pub(crate) struct Http {
    agent: Agent,
    base: String,
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: ureq::http::HeaderMap,
    pub(crate) body: Vec<u8>,
}

/// The connection broke, or the server is not there.
pub(crate) type Broken = ureq::Error;

impl Http {
    /// Speaks to `http://address`.
    pub(crate) fn new(address: &str) -> Http {
        Http::with_timeout(address, Duration::from_secs(170))
    }

    /// The same, with less patience.
    pub(crate) fn with_timeout(address: &str, timeout: Duration) -> Http {
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(timeout))
            .max_idle_connections_per_host(16)
            .build();
        Http { agent: config.new_agent(), base: format!("http://{address}") }
    }

    /// GET.
    pub(crate) fn get(&self, path: &str) -> Result<Answer, Broken> {
        self.agent.get(format!("{}{path}", self.base)).call().and_then(Answer::read)
    }

    /// POST with headers.
    pub(crate) fn post(&self, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Result<Answer, Broken> {
        let mut request = self.agent.post(format!("{}{path}", self.base));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.send(body).and_then(Answer::read)
    }

    /// GET with parameters; the answer, which must be JSON, and its status.
    pub(crate) fn json(&self, path: &str, parameters: &[(&str, &str)]) -> (u16, Value) {
        let answer = self.get(&format!("{path}?{}", form(parameters))).unwrap();
        (answer.status, answer.json())
    }

    /// The same by POST of a form.
    pub(crate) fn json_post(&self, path: &str, parameters: &[(&str, &str)]) -> (u16, Value) {
        let kind = [("content-type", "application/x-www-form-urlencoded")];
        let answer = self.post(path, &kind, form(parameters).as_bytes()).unwrap();
        (answer.status, answer.json())
    }
}

impl Answer {
    fn read(mut response: Response<ureq::Body>) -> Result<Answer, Broken> {
        let body = response.body_mut().with_config().limit(ANSWER_BYTES_MAX).read_to_vec()?;
        Ok(Answer { status: response.status().as_u16(), headers: response.headers().clone(), body })
    }

    /// The body as text.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error} in the answer {}: {}", self.status, self.text()))
    }
}

/// Parameters as a form writes them.
pub(crate) fn form(parameters: &[(&str, &str)]) -> String {
    let mut out = String::new();
    for (name, value) in parameters {
        if !out.is_empty() {
            out.push('&');
        }
        escape(name, &mut out);
        out.push('=');
        escape(value, &mut out);
    }
    out
}

fn escape(text: &str, out: &mut String) {
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => out.push(byte.into()),
            _ => write!(out, "%{byte:02X}").unwrap(),
        }
    }
}
