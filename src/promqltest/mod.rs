//! `marigram promqltest DIR…`: runs test scripts of the PromQL test language against the real store and engine.
//!
//! Each script gets a store of its own in a temporary folder. Every feature is on and every case is asked: what needs
//! something that is not there fails.

mod at_time;
mod compare;
mod features;
mod got;
mod nhcb;
mod run;
mod script;
mod store;
mod summary;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};

pub use summary::{CaseReport, Count, Summary, Verdict};

/// Where the samples lie while queries are asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Placement {
    /// In the head, as they were written.
    Head,
    /// In blocks: everything is sealed after each `load`.
    Blocks,
}

/// Runs every `*.test` file of each folder, in the order of their names, and scripts that are named themselves.
///
/// # Errors
/// A folder that cannot be read or holds no script. A script that cannot be run is named in the summary.
pub fn run(paths: &[PathBuf], placement: Placement) -> Result<Summary> {
    let mut summary = Summary::default();
    for path in paths {
        let folder = if path.is_dir() { path } else { path.parent().unwrap_or(path) };
        let features = features::Features::beside(folder)?;
        for script in scripts(path)? {
            let name = script.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            match run::run_file(&script, &name, &features, placement) {
                Ok(cases) => summary.add(cases, if paths.len() > 1 { &script } else { Path::new(&name) }),
                Err(e) => summary.broken.push(format!("{e:#}")),
            }
        }
    }
    Ok(summary)
}

/// The command: prints the summary (and the failures if asked for); fails when a case failed.
///
/// # Errors
/// As [`run()`].
pub fn command(paths: &[PathBuf], failing: bool) -> Result<ExitCode> {
    let summary = run(paths, Placement::Head)?;
    if failing {
        for failure in summary.failures() {
            println!("{failure}");
        }
        println!();
    }
    println!("{summary}");
    let good = summary.own().failed == 0 && summary.broken.is_empty();
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn scripts(path: &Path) -> Result<Vec<PathBuf>> {
    if path.is_file() {
        return Ok(vec![path.to_owned()]);
    }
    let entries = std::fs::read_dir(path).with_context(|| format!("read the folder {}", path.display()))?;
    let mut paths = entries.map(|entry| entry.map(|entry| entry.path())).collect::<Result<Vec<_>, _>>()?;
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "test"));
    paths.sort();
    if paths.is_empty() {
        bail!("{} holds no *.test file", path.display());
    }
    Ok(paths)
}
