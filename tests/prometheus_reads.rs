//! A real Prometheus reads from the real binary: by remote read and by federation. And its tool asks. Prometheus 3 reads streams
//! where it can, Prometheus 2 always samples.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::Command;

use marigram_proto::prometheus::ReadRequest;
use prost::Message;
use serde_json::Value;
use support::answers::time;
use support::http::Http;
use support::process::Folder;
use support::prometheus::Prometheus;
use support::single::Server;
use support::traffic::compress;
use support::{needs, now_ms, poll_until};

const SERIES: usize = 30;
/// Half an hour of samples every 5 s: several chunks for each series.
const SAMPLES: i64 = 360;
const STEP_MS: i64 = 5000;

/// A server with series up to a whole second of the near past, and that second, ms.
fn server(folder: &Folder) -> (Server, i64) {
    let server = Server::start(folder.path());
    let end_ms = now_ms().div_euclid(1000) * 1000 - 2000;
    for sample in 0..SAMPLES {
        let time_ms = end_ms - STEP_MS * (SAMPLES - 1 - sample);
        let mut text = String::new();
        for series in 0..SERIES as i64 {
            let value = ((sample * 37 + series * 101) % 1000) as f64 / 8.0;
            writeln!(text, "m{{series=\"{series:02}\",odd=\"a\\\"b\"}} {value} {time_ms}").unwrap();
        }
        writeln!(text, "c_total {} {time_ms}", sample * sample).unwrap();
        let answer = server.http().post("/api/v1/import/prometheus", &[], text.as_bytes()).unwrap();
        assert_eq!(answer.status, 204, "{}", answer.text());
    }
    (server, end_ms)
}

fn result(http: &Http, path: &str, parameters: &[(&str, &str)]) -> Value {
    let (status, mut answer) = http.json(path, parameters);
    assert_eq!((status, &answer["status"]), (200, &Value::from("success")), "{parameters:?}: {answer}");
    answer["data"]["result"].take()
}

/// Both give the same answers, which are not empty.
fn assert_same(prometheus: &Prometheus, marigram: &Server, end_ms: i64) {
    // Ranges touch no sample with their edges: Prometheus 2 and 3 differ there.
    let end_ms = end_ms - 500;
    for query in [
        "m",
        "m{series=~\"0.\"} offset 7m",
        "sum by (odd) (m)",
        "rate(c_total[1m])",
        "count_over_time(m[20m])",
        "max(m)",
    ] {
        let at = [("query", query), ("time", &time(end_ms))];
        let ours = result(marigram.http(), "/api/v1/query", &at);
        assert!(!ours.as_array().unwrap().is_empty(), "{query}");
        assert_eq!(result(prometheus.http(), "/api/v1/query", &at), ours, "{query}");
        let steps = [("query", query), ("start", &time(end_ms - 600_000)), ("end", &time(end_ms)), ("step", "15")];
        let ours = result(marigram.http(), "/api/v1/query_range", &steps);
        assert_eq!(result(prometheus.http(), "/api/v1/query_range", &steps), ours, "{query}");
    }
    let raw = [("query", "m[40m]"), ("time", &time(end_ms))];
    let ours = result(marigram.http(), "/api/v1/query", &raw);
    assert_eq!(result(prometheus.http(), "/api/v1/query", &raw), ours);
}

fn reader(folder: &Folder, name: &str, address: &str) -> Option<Prometheus> {
    let binary = needs::PROMETHEUS.path_or_skip(name)?;
    let config = format!("remote_read:\n- url: http://{address}/api/v1/read\n  read_recent: true\n");
    Some(Prometheus::start_with(&binary, &folder.path().join("prometheus"), &config, &[]))
}

#[test]
fn prometheus_reads_what_it_prefers() {
    let folder = Folder::new("reads-stream");
    if needs::PROMETHEUS.path_or_skip("prometheus_reads_what_it_prefers").is_none() {
        return;
    }
    let (mut marigram, end_ms) = server(&folder);
    let prometheus = reader(&folder, "prometheus_reads_what_it_prefers", marigram.address()).unwrap();
    assert_same(&prometheus, &marigram, end_ms);
    marigram.seal();
    assert_same(&prometheus, &marigram, end_ms);
    marigram.assert_sound();
}

#[test]
fn prometheus_reads_samples() {
    let folder = Folder::new("reads-samples");
    if needs::PROMETHEUS.path_or_skip("prometheus_reads_samples").is_none() {
        return;
    }
    let (mut marigram, end_ms) = server(&folder);
    let proxy = samples_only(marigram.address().to_owned());
    let prometheus = reader(&folder, "prometheus_reads_samples", &proxy).unwrap();
    assert_same(&prometheus, &marigram, end_ms);
    marigram.assert_sound();
}

/// A proxy for remote reads that asks for samples, whatever Prometheus prefers.
fn samples_only(marigram: String) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let http = Http::new(&marigram);
            std::thread::spawn(move || while forward(stream.as_ref().unwrap(), &http).is_some() {});
        }
    });
    address
}

/// One request and its answer; `None` when the client has gone.
fn forward(mut stream: &TcpStream, http: &Http) -> Option<()> {
    let mut reader = BufReader::new(stream);
    let mut length = 0;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        if let Some(text) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = text.trim().parse().unwrap();
        }
        if line == "\r\n" {
            break;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    let plain = snap::raw::Decoder::new().decompress_vec(&body).unwrap();
    let mut request = ReadRequest::decode(&plain[..]).unwrap();
    let accepted = &request.accepted_response_types;
    assert!(
        accepted.is_empty() || *accepted == [1, 0],
        "Prometheus 2 takes samples, 3 prefers the stream: {accepted:?}"
    );
    request.accepted_response_types = vec![0];
    let answer = http.post("/api/v1/read", &[], &compress(&request.encode_to_vec())).unwrap();
    assert_eq!((answer.status, &answer.headers["content-type"]), (200, &"application/x-protobuf".parse().unwrap()));
    let head = "HTTP/1.1 200 OK\r\nContent-Type: application/x-protobuf\r\nContent-Encoding: snappy\r\n";
    write!(stream, "{head}Content-Length: {}\r\n\r\n", answer.body.len()).ok()?;
    stream.write_all(&answer.body).ok()
}

#[test]
fn prometheus_federates() {
    let Some(binary) = needs::PROMETHEUS.path_or_skip("prometheus_federates") else { return };
    let folder = Folder::new("federates");
    let (mut marigram, end_ms) = server(&folder);
    let job = format!(
        "- job_name: marigram\n  honor_labels: true\n  metrics_path: /federate\n  params: {{'match[]': ['m', '{{__name__=~\"c_.*\"}}']}}\n  \
         static_configs: [{{targets: [\"{}\"]}}]\n",
        marigram.address()
    );
    let config = format!("global: {{scrape_interval: 1s, scrape_timeout: 1s}}\nscrape_configs:\n{job}");
    let prometheus = Prometheus::start_with(&binary, &folder.path().join("prometheus"), &config, &[]);
    let newest = [("query", "{__name__=~\"m|c_total\"}"), ("time", &time(end_ms))];
    let ours = result(marigram.http(), "/api/v1/query", &newest);
    assert_eq!(ours.as_array().unwrap().len(), SERIES + 1);
    // The job is the scraper's own; everything else is as it was.
    let theirs = "label_replace({__name__=~\"m|c_total\"}, \"job\", \"\", \"\", \"\")";
    let sorted = |mut list: Value| {
        list.as_array_mut().unwrap().sort_by_key(Value::to_string);
        list
    };
    let ours = sorted(ours);
    poll_until("the federated series", || {
        let found = result(prometheus.http(), "/api/v1/query", &[("query", theirs), newest[1]]);
        (sorted(found) == ours).then_some(())
    });
    let up = result(prometheus.http(), "/api/v1/query", &[("query", "up{job=\"marigram\"}")]);
    assert_eq!(up[0]["value"][1], "1");
    marigram.assert_sound();
}

#[test]
fn promtool_asks() {
    let Some(binary) = needs::PROMTOOL.path_or_skip("promtool_asks") else { return };
    let folder = Folder::new("promtool");
    let (mut marigram, end_ms) = server(&folder);
    let url = format!("http://{}", marigram.address());
    let (start, end) = (time(end_ms - 10_000), time(end_ms));
    let (from, to) = (format!("--start={start}"), format!("--end={end}"));
    let at = format!("--time={end}");
    let ask = |arguments: &[&str]| {
        let output = Command::new(&binary).arg("query").args(arguments).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success(), "{arguments:?}: {text}{}", String::from_utf8_lossy(&output.stderr));
        text
    };
    let last = SAMPLES - 1;
    let counted = ask(&["instant", &at, &url, "c_total"]);
    assert_eq!(counted.trim(), format!("c_total => {} @[{}]", last * last, end_ms / 1000));
    let json: Value = serde_json::from_str(&ask(&["instant", "-o", "json", &at, &url, "count(m)"])).unwrap();
    assert_eq!(json[0]["value"][1], SERIES.to_string());
    let range = ask(&["range", &from, &to, "--step=5s", &url, "c_total"]);
    let line = |sample: i64| format!("{} @[{}]", sample * sample, (end_ms - STEP_MS * (last - sample)) / 1000);
    assert_eq!(range.trim(), format!("c_total =>\n{}\n{}\n{}", line(last - 2), line(last - 1), line(last)));
    let series = ask(&["series", &from, &to, "--match=m{series=~\"0[01]\"}", "--match=c_total", &url]);
    let mut series: Vec<_> = series.lines().collect();
    series.sort_unstable();
    let named = |number: &str| format!("{{__name__=\"m\", odd=\"a\\\"b\", series=\"{number}\"}}");
    assert_eq!(series, ["{__name__=\"c_total\"}", &named("00"), &named("01")]);
    let labels = ask(&["labels", &from, &to, &url, "series"]);
    let labels: Vec<_> = labels.lines().collect();
    assert_eq!((labels.len(), labels[0], labels[SERIES - 1]), (SERIES, "00", "29"));
    let wrong = Command::new(&binary).args(["query", "instant", &url, "sum("]).output().unwrap();
    let told = String::from_utf8_lossy(&wrong.stderr).into_owned();
    assert!(!wrong.status.success() && told.contains("bad_data") && told.contains("parse error"), "{told}");
    marigram.assert_sound();
}
