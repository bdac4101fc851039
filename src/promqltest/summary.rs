//! What a run has shown, and how it is printed.

use std::collections::BTreeMap;
use std::fmt::{self, Display, Formatter};
use std::path::Path;

use super::script::Case;

/// How a case went.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub enum Verdict {
    /// Not asked: this run does not apply to the case.
    #[default]
    Skipped,
    /// As expected.
    Passed,
    /// Not as expected, and why.
    Failed(String),
}

/// One case.
#[derive(Clone, Debug)]
pub struct CaseReport {
    /// Name of the script.
    pub file: String,
    /// Line of the `eval`.
    pub line: usize,
    /// The query.
    pub query: String,
    /// What it needs, comma-separated.
    pub features: String,
    /// The case itself.
    pub own: Verdict,
    /// The query nailed to its time by `@`, asked at other times.
    pub nailed: Verdict,
    /// Both as one step of a range query.
    pub stepped: Verdict,
}

impl CaseReport {
    pub(super) fn new(file: &str, case: &Case, features: String) -> Self {
        CaseReport {
            file: file.to_owned(),
            line: case.line,
            query: case.query.clone(),
            features,
            own: Verdict::Skipped,
            nailed: Verdict::Skipped,
            stepped: Verdict::Skipped,
        }
    }
}

/// Passed, failed, skipped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// As expected.
    pub passed: usize,
    /// Not as expected.
    pub failed: usize,
    /// Not asked.
    pub skipped: usize,
}

impl Count {
    /// All cases, however they went.
    pub fn all(&self) -> usize {
        self.passed + self.failed + self.skipped
    }

    fn add(&mut self, verdict: &Verdict) {
        match verdict {
            Verdict::Passed => self.passed += 1,
            Verdict::Failed(_) => self.failed += 1,
            Verdict::Skipped => self.skipped += 1,
        }
    }
}

impl Display for Count {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{} passed, {} failed, {} skipped", self.passed, self.failed, self.skipped)
    }
}

/// All cases of a run.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    /// In the order of files and lines.
    pub cases: Vec<CaseReport>,
    /// Scripts that could not be run, and why.
    pub broken: Vec<String>,
}

impl Summary {
    /// Adds the cases of a script, which is shown under this name.
    pub(super) fn add(&mut self, cases: Vec<CaseReport>, shown: &Path) {
        let file = shown.display().to_string();
        self.cases.extend(cases.into_iter().map(|case| CaseReport { file: file.clone(), ..case }));
    }

    /// The cases themselves.
    pub fn own(&self) -> Count {
        self.count(|case| &case.own)
    }

    /// Counts one kind of run.
    pub fn count<'a>(&'a self, verdict: impl Fn(&'a CaseReport) -> &'a Verdict) -> Count {
        let mut count = Count::default();
        self.cases.iter().for_each(|case| count.add(verdict(case)));
        count
    }

    /// The failures, one per line: which run, where, and why.
    pub fn failures(&self) -> Vec<String> {
        let mut out = Vec::new();
        for case in &self.cases {
            for (run, verdict) in [("case", &case.own), ("with @", &case.nailed), ("as a step", &case.stepped)] {
                if let Verdict::Failed(why) = verdict {
                    out.push(format!("{}:{} [{}] {run}: {why}", case.file, case.line, case.features));
                }
            }
        }
        out
    }

    /// Counts the cases by a key; one may have several.
    fn by<'a, K: Iterator<Item = &'a str>>(&'a self, keys: impl Fn(&'a CaseReport) -> K) -> BTreeMap<&'a str, Count> {
        let mut counts: BTreeMap<&str, Count> = BTreeMap::new();
        for case in &self.cases {
            keys(case).for_each(|key| counts.entry(key).or_default().add(&case.own));
        }
        counts
    }
}

impl Display for Summary {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let of = |count: Count| format!("{} passed of {}", count.passed, count.all());
        for (name, count) in self.by(|case| std::iter::once(case.file.as_str())) {
            writeln!(f, "{name:<28} {}", of(count))?;
        }
        writeln!(f)?;
        // A case counts under each feature that it needs.
        for (name, count) in self.by(|case| case.features.split(',')) {
            writeln!(f, "{name:<28} {}", of(count))?;
        }
        writeln!(f)?;
        for broken in &self.broken {
            writeln!(f, "not run: {broken}")?;
        }
        writeln!(f, "with @ at other times:      {}", self.count(|case| &case.nailed))?;
        writeln!(f, "as a step of a range query: {}", self.count(|case| &case.stepped))?;
        write!(f, "{}", self.own())
    }
}
