//! Which features of PromQL a case needs, from a table `cases.tsv` beside the scripts or one folder above.

use std::collections::HashMap;
use std::path::Path;

use anyhow::{Context as _, Result};

/// The feature of cases that need nothing beyond floats and classic histograms.
pub(super) const CLASSIC: &str = "classic";

/// File and line of a case to its features, comma-separated.
#[derive(Default)]
pub(super) struct Features {
    of_case: HashMap<(String, usize), String>,
}

impl Features {
    /// Reads the table if there is one; without it every case counts as classic.
    pub(super) fn beside(dir: &Path) -> Result<Self> {
        let candidates = [dir.join("cases.tsv"), dir.join("../cases.tsv")];
        let Some(path) = candidates.iter().find(|path| path.is_file()) else { return Ok(Features::default()) };
        let text = std::fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
        let mut of_case = HashMap::new();
        for row in text.lines().skip(1) {
            let mut columns = row.split('\t');
            if let (Some(file), Some(line), Some(_kind), Some(features)) =
                (columns.next(), columns.next(), columns.next(), columns.next())
                && let Ok(line) = line.parse()
            {
                of_case.insert((file.to_owned(), line), features.to_owned());
            }
        }
        Ok(Features { of_case })
    }

    pub(super) fn of(&self, file: &str, line: usize) -> &str {
        self.of_case.get(&(file.to_owned(), line)).map_or(CLASSIC, String::as_str)
    }
}
