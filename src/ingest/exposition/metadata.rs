//! Collects what a text tells of its families.

use std::collections::BTreeMap;

use marigram_storage::write::MetadataKind;

use super::line::{MetadataLine, MetadataLineKind, unescape_help};
use crate::ingest::assemble::Assembly;

/// Most families of one text; an exporter has some hundreds.
const FAMILIES_MAX: usize = 20_000;

/// Type, help and unit by family.
#[derive(Default)]
pub(super) struct Families {
    families: BTreeMap<Vec<u8>, Family>,
}

struct Family {
    kind: MetadataKind,
    help: Vec<u8>,
    unit: Vec<u8>,
}

impl Families {
    /// Takes a metadata line; families behind the first so many are left out.
    pub(super) fn add(&mut self, line: MetadataLine<'_>) {
        if self.families.len() >= FAMILIES_MAX && !self.families.contains_key(&line.family) {
            return;
        }
        let family = self.families.entry(line.family).or_insert_with(|| Family {
            kind: MetadataKind::Unknown,
            help: Vec::new(),
            unit: Vec::new(),
        });
        match line.kind {
            MetadataLineKind::Type => family.kind = kind_of(line.text),
            MetadataLineKind::Help => family.help = unescape_help(line.text),
            MetadataLineKind::Unit => family.unit = line.text.trim_ascii().to_vec(),
        }
    }

    /// Puts everything into the batch.
    pub(super) fn finish(self, assembly: &mut Assembly<'_>) {
        for (name, family) in self.families {
            assembly.push_metadata(&name, family.kind, &family.help, &family.unit);
        }
    }
}

/// The type that a word names; `untyped` and whatever is not known are unknown.
fn kind_of(word: &[u8]) -> MetadataKind {
    use MetadataKind::*;
    let kinds = [Counter, Gauge, Histogram, GaugeHistogram, Summary, Info, StateSet];
    kinds.into_iter().find(|kind| kind.as_str().as_bytes() == word.trim_ascii()).unwrap_or(Unknown)
}
