//! A million samples of a day into Marigram alone: in order, in random order, and backwards.

use std::path::PathBuf;

use crate::clock::ClockShim;
use crate::load::{POD_SERIES, Random, columns, names, requests_of};
use crate::report::Report;
use crate::run::{Given, given};
use crate::server::System;
use crate::workload::WINDOW_MS;

const SAMPLES: usize = 1_000;
const DAY_MS: i64 = 12 * WINDOW_MS;
const REQUEST_SAMPLES: usize = 2_000;

/// Runs the three orders.
pub(crate) fn run(systems: &[(System, PathBuf)], shim: &ClockShim, report: &mut Report, scale: f64) {
    let Some((system, binary)) = systems.iter().find(|(system, _)| *system == System::Marigram) else { return };
    let pods = ((10.0 * scale).round() as usize).max(1);
    let end_ms = crate::support::now_ms();
    let start_ms = end_ms - DAY_MS;
    let columns = columns(pods, SAMPLES);
    let mut samples = vec![];
    for at in 0..SAMPLES {
        let time_ms = start_ms + at as i64 * DAY_MS / SAMPLES as i64;
        samples.extend(columns.iter().enumerate().map(|(series, (_, values))| (series, time_ms, values[at])));
    }
    let mut shuffled = samples.clone();
    let mut random = Random::new(1, 2);
    for last in (1..shuffled.len()).rev() {
        shuffled.swap(last, random.below(last as u64 + 1) as usize);
    }
    let reversed: Vec<_> = samples.iter().rev().copied().collect();
    let orders = [("in order", &samples), ("shuffled", &shuffled), ("reversed", &reversed)];
    for (at, (name, samples)) in orders.into_iter().enumerate() {
        let (rounds, amount) = requests_of(samples, REQUEST_SAMPLES);
        let series = (pods * POD_SERIES) as u64;
        if at == 0 {
            report.begin("unordered", amount, series);
        }
        let load = Given {
            name,
            rounds: &rounds,
            series,
            countable: amount.samples,
            range_ms: (start_ms, end_ms),
            names: names(),
        };
        report.add(vec![given(&load, *system, binary, shim.set_to(end_ms + 60_000))]);
    }
    report.end();
}
