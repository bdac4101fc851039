//! The storage core beside its peers: the same remote-write traffic into Marigram, VictoriaMetrics and Prometheus, in one
//! run on one machine; CPU, memory, disk and latency of each, and the ratios. benches/README.md says what each row means.
//!
//! 1. Every workload's requests are made before anything is measured (`load`, `real`).
//! 2. Each system in turn gets them on a fresh directory (`server`, `sender`, `run`).
//! 3. What came of it is printed, and kept as lines of JSON in `target/bench-peers` (`report`).

#![allow(clippy::unwrap_used, unused_imports, reason = "a benchmark fails by panicking")]
#![allow(missing_docs, reason = "a benchmark has no users of its items; names carry their units")]

#[path = "../../tests/support/mod.rs"]
mod support;

mod busy;
mod clock;
mod entropy;
mod load;
mod measure;
mod options;
mod queries;
mod raw;
mod real;
mod report;
mod run;
mod sender;
mod server;
mod unordered;
mod workload;

use std::path::PathBuf;

use clock::ClockShim;
use options::Options;
use report::Report;
use run::{Corpus, Given};
use server::System;
use support::needs;
use support::process::Folder;
use workload::Workload;

/// Columns whose entropy is taken: pods of the main workload.
const ENTROPY_PODS: usize = 50;

fn main() {
    let names: Vec<Workload> = Workload::all(1.0);
    let phases = names.iter().flat_map(|workload| workload.phases.iter().map(|(phase, _)| *phase));
    let known: Vec<&str> = phases.chain(workload::OTHERS).collect();
    let Some(options) = Options::parse(&known) else { return };
    let tools = Folder::new("peers-tools");
    let shim = ClockShim::build(tools.path());
    let found = options.systems.iter().filter_map(|system| Some((*system, system.binary()?)));
    let systems: Vec<(System, PathBuf)> = found.collect();
    let mut report = Report::new(&systems);
    for workload in Workload::all(options.scale).iter().filter(|workload| workload.wanted(&options.only)) {
        let (mut corpus, amount, series) = Corpus::of(workload);
        report.begin(workload.name, amount, series);
        for (system, binary) in systems.iter().filter(|(system, _)| !workload.alone || *system == System::Marigram) {
            let behind = shim.set_to(workload.clock_ms());
            report.add(run::generated(workload, &mut corpus, *system, binary, behind));
        }
        report.end();
        if workload.name == "main" {
            let columns = load::columns(ENTROPY_PODS, 480).into_iter();
            let columns: Vec<_> =
                columns.map(|(class, values)| (format!("{class:?}").to_lowercase(), values)).collect();
            report.entropies("main", &entropy::entropies(&columns));
        }
    }
    let wanted = |name: &str| options.only.is_empty() || options.only.iter().any(|only| only == name);
    if wanted("real")
        && let Some(dir) = needs::REAL_SCRAPES.path_or_skip("peers: real")
    {
        run_real(&dir, &systems, &shim, &mut report);
    }
    if wanted("unordered") {
        unordered::run(&systems, &shim, &mut report, options.scale);
    }
    for name in ["queries", "busy"].into_iter().filter(|name| options.only.iter().any(|only| only == name)) {
        let all = Workload::all(options.scale);
        let workload = all.iter().find(|workload| workload.name == "main").unwrap();
        let (mut corpus, amount, series) = Corpus::of(workload);
        report.begin(name, amount, series);
        let behind = || shim.set_to(workload.clock_ms());
        if name == "queries" {
            queries::run(workload, &mut corpus, &systems, behind, options.query.as_deref());
        } else if let Some((_, binary)) = systems.iter().find(|(system, _)| *system == System::Marigram) {
            busy::run(workload, &mut corpus, binary, behind());
        }
    }
    report.finish();
}

fn run_real(dir: &std::path::Path, systems: &[(System, PathBuf)], shim: &ClockShim, report: &mut Report) {
    let recorded = real::load(dir);
    report.begin("real", recorded.amount, recorded.series as u64);
    for (system, binary) in systems {
        let load = Given {
            name: "real",
            rounds: &recorded.rounds,
            series: recorded.series as u64,
            countable: recorded.countable - if *system == System::VictoriaMetrics { recorded.no_numbers } else { 0 },
            range_ms: recorded.range_ms,
            names: recorded.names.iter().cloned().collect(),
        };
        report.add(vec![run::given(&load, *system, binary, shim.set_to(recorded.range_ms.1 + 60_000))]);
    }
    report.end();
    let columns: Vec<_> = recorded.columns.into_iter().map(|values| (entropy::classify(&values), values)).collect();
    report.entropies("real", &entropy::entropies(&columns));
}
