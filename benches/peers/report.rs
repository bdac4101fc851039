//! Prints what came of the runs, and keeps it as lines of JSON.

use std::fs::{self, File};
use std::io::Write;
use std::path::PathBuf;

use serde_json::json;

use crate::entropy::Entropy;
use crate::load::Amount;
use crate::run::Outcome;
use crate::server::System;
use crate::support::now_ms;

const MIB: f64 = (1 << 20) as f64;

/// Of one run of the benchmark.
pub(crate) struct Report {
    lines: File,
    path: PathBuf,
    group: Vec<Outcome>,
    all: Vec<Outcome>,
}

impl Report {
    /// Prints what is compared.
    pub(crate) fn new(systems: &[(System, PathBuf)]) -> Report {
        let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).with_file_name("bench-peers");
        fs::create_dir_all(&folder).unwrap();
        let path = folder.join(format!("{}.jsonl", now_ms() / 1000));
        let mut lines = File::create(&path).unwrap();
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        println!("{cores} cores");
        for (system, binary) in systems {
            let version = system.version(binary);
            println!("{}: {version}", system.name());
            writeln!(lines, "{}", json!({"kind": "system", "system": system.name(), "version": version})).unwrap();
        }
        Report { lines, path, group: vec![], all: vec![] }
    }

    /// Begins a workload.
    pub(crate) fn begin(&mut self, name: &str, amount: Amount, series: u64) {
        let per_sample = |bytes: u64| bytes as f64 / amount.samples as f64;
        let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
        let load = load.split_whitespace().next().unwrap_or("unknown");
        println!(
            "\n== {name}: {series} series; a body has {:.1} bytes a sample, {:.2} after Snappy; load average {load}",
            per_sample(amount.raw_bytes),
            per_sample(amount.body_bytes)
        );
        let line = json!({"kind": "load", "workload": name, "series": series, "raw_bytes": per_sample(amount.raw_bytes),
            "body_bytes": per_sample(amount.body_bytes), "load_average": load});
        writeln!(self.lines, "{line}").unwrap();
    }

    /// Takes what came of a run, and says so at once.
    pub(crate) fn add(&mut self, outcomes: Vec<Outcome>) {
        for outcome in outcomes {
            let mut line = serde_json::to_value(&outcome).unwrap();
            line["kind"] = json!("outcome");
            writeln!(self.lines, "{line}").unwrap();
            print_outcome(&outcome);
            self.group.push(outcome);
        }
    }

    /// Ends a workload with the ratios to the peers.
    pub(crate) fn end(&mut self) {
        let group = std::mem::take(&mut self.group);
        for own in group.iter().filter(|outcome| outcome.system == System::Marigram.name()) {
            for peer in group.iter().filter(|peer| peer.workload == own.workload && peer.system != own.system) {
                print_ratios(own, peer);
            }
        }
        self.all.extend(group);
    }

    /// The floor below the bytes at rest.
    pub(crate) fn entropies(&mut self, workload: &str, entropies: &[Entropy]) {
        println!(
            "entropy of the values' differences, {workload}, bytes/sample (one code for the class; one for each column):"
        );
        for entropy in entropies {
            let Entropy { class, share, class_bytes, column_bytes } = entropy;
            println!("  {class:<10} {:>5.1} % of samples  {class_bytes:>6.3}  {column_bytes:>6.3}", share * 100.0);
            writeln!(self.lines, "{}", json!({"kind": "entropy", "workload": workload, "entropy": entropy})).unwrap();
        }
        let at_rest = self.all.iter().filter(|outcome| outcome.workload == workload).filter_map(|outcome| {
            Some(format!("{} {:.3}", outcome.system, outcome.data_bytes? as f64 / outcome.samples as f64))
        });
        println!("  beside it, data at rest: {}", at_rest.collect::<Vec<_>>().join(", "));
    }

    /// Prints everything once more as a table, and says where the lines are.
    pub(crate) fn finish(self) {
        println!(
            "\n| run | system | wall k/s | k per CPU-s, at rest | p50 / p99 ms | peak MiB | RSS kB/series | \
             written B/sample | at rest B/sample (data + index) |\n|---|---|---|---|---|---|---|---|---|"
        );
        self.all.iter().for_each(print_row);
        println!("\nas lines of JSON: {}", self.path.display());
    }
}

fn print_row(outcome: &Outcome) {
    let Outcome { workload, system, samples, .. } = outcome;
    let each = |bytes: u64| bytes as f64 / *samples as f64;
    let settled =
        outcome.cpu_rest_s.or(outcome.cpu_settled_s).map_or("-".into(), |s| format!("{:.0}", rate(*samples, s)));
    let written = outcome.written_rest_bytes.or(outcome.written_settled_bytes);
    let written = written.map_or("-".into(), |bytes| format!("{:.1}", each(bytes)));
    let at_rest = match (outcome.data_bytes, outcome.index_bytes, outcome.other_bytes) {
        (Some(data), Some(index), Some(other)) => {
            format!("{:.3} ({:.3} + {:.3})", each(data + index + other), each(data), each(index))
        }
        _ => "-".into(),
    };
    println!(
        "| {workload} | {system} | {:.0} | {:.0}, {settled} | {:.1} / {:.1} | {:.0} | {:.2} | {written} | {at_rest} |",
        rate(*samples, outcome.wall_s),
        rate(*samples, outcome.cpu_answer_s),
        outcome.p50_ms,
        outcome.p99_ms,
        outcome.peak_bytes as f64 / MIB,
        outcome.resident_bytes as f64 / 1000.0 / outcome.series as f64
    );
}

/// Thousands of samples per second.
fn rate(samples: u64, seconds: f64) -> f64 {
    samples as f64 / 1000.0 / seconds
}

fn print_outcome(outcome: &Outcome) {
    let Outcome { workload, system, samples, series, .. } = outcome;
    let per_sample =
        |bytes: Option<u64>| bytes.map_or("-".into(), |bytes| format!("{:.3}", bytes as f64 / *samples as f64));
    let cpu_rate =
        |seconds: Option<f64>| seconds.map_or("-".into(), |seconds| format!("{:.0}", rate(*samples, seconds)));
    println!(
        "{workload} {system}: {:.0} k/s wall; k per CPU-s: {:.0} at the last answer, {} settled, {} at rest; request p50 {:.1} \
         p99 {:.1} max {:.0} ms",
        rate(*samples, outcome.wall_s),
        rate(*samples, outcome.cpu_answer_s),
        cpu_rate(outcome.cpu_settled_s),
        cpu_rate(outcome.cpu_rest_s),
        outcome.p50_ms,
        outcome.p99_ms,
        outcome.max_ms
    );
    println!(
        "    peak RSS {:.0} MiB; per series RSS {:.2} kB, anonymous {:.2} kB",
        outcome.peak_bytes as f64 / MIB,
        outcome.resident_bytes as f64 / 1000.0 / *series as f64,
        outcome.anonymous_bytes as f64 / 1000.0 / *series as f64
    );
    if outcome.device_settled_bytes.is_some() || outcome.written_settled_bytes.is_some() {
        println!(
            "    written/sample: device {} settled, {} at rest (of it idle {:.3}); process {} settled, {} at rest",
            per_sample(outcome.device_settled_bytes),
            per_sample(outcome.device_rest_bytes),
            outcome.device_idle_bytes / *samples as f64,
            per_sample(outcome.written_settled_bytes),
            per_sample(outcome.written_rest_bytes)
        );
    }
    if let (Some(data), Some(index), Some(other)) = (outcome.data_bytes, outcome.index_bytes, outcome.other_bytes) {
        println!(
            "    at rest: {} bytes/sample = data {} + index {} + other {}; log before: {}",
            per_sample(Some(data + index + other)),
            per_sample(Some(data)),
            per_sample(Some(index)),
            per_sample(Some(other)),
            per_sample(outcome.log_settled_bytes)
        );
    }
    if let Some(crash) = &outcome.crash {
        println!(
            "    kill -9: ready after {:.2} s ({:.2} CPU-s, peak {:.0} MiB), counted after {:.2} s",
            crash.ready_s,
            crash.ready_cpu_s,
            crash.peak_bytes as f64 / MIB,
            crash.counted_s
        );
        if let Some(seconds) = crash.cut_s {
            println!(
                "    while a block is cut ({seconds:.2} s, {} requests): p50 {:.1} p99 {:.1} max {:.0} ms",
                crash.cut_requests, crash.cut_p50_ms, crash.cut_p99_ms, crash.cut_max_ms
            );
        }
    }
    if let Some(lost) = outcome.lost {
        let later = outcome.crash.as_ref().and_then(|crash| crash.lost_later);
        let later = later.map_or(String::new(), |lost| format!("; 15 s later {lost}"));
        println!("    acknowledged samples not found: {lost} of {samples}{later}");
    }
}

fn print_ratios(own: &Outcome, peer: &Outcome) {
    let mut ratios = vec![];
    let mut push = |what: &str, own: Option<f64>, peer: Option<f64>| {
        if let (Some(own), Some(peer)) = (own, peer)
            && peer > 0.0
        {
            ratios.push(format!("{what} {:.2}", own / peer));
        }
    };
    push("CPU at last answer", Some(own.cpu_answer_s), Some(peer.cpu_answer_s));
    let done = |outcome: &Outcome| outcome.cpu_rest_s.or(outcome.cpu_settled_s);
    push("CPU own at rest : peer settled", done(own), peer.cpu_settled_s);
    push("CPU at rest", own.cpu_rest_s, peer.cpu_rest_s);
    push("wall", Some(own.wall_s), Some(peer.wall_s));
    push("p99", Some(own.p99_ms), Some(peer.p99_ms));
    push("peak RSS", Some(own.peak_bytes as f64), Some(peer.peak_bytes as f64));
    push("RSS", Some(own.resident_bytes as f64), Some(peer.resident_bytes as f64));
    let of = |bytes: Option<u64>| bytes.map(|bytes| bytes as f64);
    push("written (process)", of(own.written_rest_bytes), of(peer.written_rest_bytes));
    push("data", of(own.data_bytes), of(peer.data_bytes));
    push("index", of(own.index_bytes), of(peer.index_bytes));
    let sum = |outcome: &Outcome| Some((outcome.data_bytes? + outcome.index_bytes? + outcome.other_bytes?) as f64);
    push("at rest", sum(own), sum(peer));
    if let (Some(own), Some(peer)) = (&own.crash, &peer.crash) {
        push("ready", Some(own.ready_s), Some(peer.ready_s));
        push("ready CPU", Some(own.ready_cpu_s), Some(peer.ready_cpu_s));
    }
    println!("  {} / {} of {} (less is better): {}", own.system, peer.system, own.workload, ratios.join(", "));
}
