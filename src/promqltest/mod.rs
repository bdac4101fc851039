//! `marigram promqltest DIR`: runs test scripts of the PromQL test language against the real store and engine.
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

/// Runs every `*.test` file of a folder, in the order of their names.
///
/// # Errors
/// A folder that cannot be read or holds no script. A script that cannot be run is named in the summary.
pub fn run_dir(dir: &Path, placement: Placement) -> Result<Summary> {
    let features = features::Features::beside(dir)?;
    let mut summary = Summary::default();
    for path in scripts(dir)? {
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        match run::run_file(&path, &name, &features, placement) {
            Ok(cases) => summary.cases.extend(cases),
            Err(e) => summary.broken.push(format!("{e:#}")),
        }
    }
    Ok(summary)
}

/// The command: prints the summary (and the failures if asked for); fails when a case failed.
///
/// # Errors
/// As [`run_dir`].
pub fn command(dir: &Path, failing: bool) -> Result<ExitCode> {
    let summary = run_dir(dir, Placement::Head)?;
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

fn scripts(dir: &Path) -> Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(dir).with_context(|| format!("read the folder {}", dir.display()))?;
    let mut paths = entries.map(|entry| entry.map(|entry| entry.path())).collect::<Result<Vec<_>, _>>()?;
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "test"));
    paths.sort();
    if paths.is_empty() {
        bail!("{} holds no *.test file", dir.display());
    }
    Ok(paths)
}
