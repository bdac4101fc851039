//! The command line.

use crate::server::System;

/// What is to be run.
#[derive(Debug)]
pub(crate) struct Options {
    /// Workloads; empty: all that need not be named.
    pub(crate) only: Vec<String>,
    /// Systems, in the order in which they run.
    pub(crate) systems: Vec<System>,
    /// Factor of the number of series.
    pub(crate) scale: f64,
    /// Queries whose names hold it; all without.
    pub(crate) query: Option<String>,
}

const USAGE: &str =
    "cargo bench --bench peers -- [--only NAME,...] [--systems NAME,...] [--scale FACTOR] [--query PART]";

impl Options {
    /// Reads the arguments; `None` without `--bench`: only `cargo bench` asks for a measurement.
    pub(crate) fn parse(known: &[&str]) -> Option<Options> {
        let arguments: Vec<String> = std::env::args().skip(1).collect();
        if !arguments.iter().any(|argument| argument == "--bench") {
            return None;
        }
        let mut options = Options { only: vec![], systems: System::ALL.into(), scale: 1.0, query: None };
        let mut rest = arguments.iter().filter(|argument| *argument != "--bench");
        while let Some(argument) = rest.next() {
            let (flag, value) = match argument.split_once('=') {
                Some((flag, value)) => (flag, value.to_owned()),
                None => (argument.as_str(), rest.next().unwrap_or_else(|| panic!("{USAGE}")).clone()),
            };
            let names = || value.split(',').map(str::to_owned);
            match flag {
                "--only" => options.only = names().collect(),
                "--systems" => {
                    let system = |name: String| *System::ALL.iter().find(|system| system.name() == name).expect(USAGE);
                    options.systems = names().map(system).collect();
                }
                "--query" => options.query = Some(value),
                "--scale" => options.scale = value.parse().expect(USAGE),
                _ => panic!("{USAGE}"),
            }
        }
        let unknown = options.only.iter().find(|name| !known.contains(&name.as_str()));
        assert!(unknown.is_none(), "no workload {unknown:?}; there are {known:?}");
        Some(options)
    }
}
