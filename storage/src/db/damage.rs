//! What the store has lost and knows of: stretches of the log and blocks that fail their checksums.
//!
//! The list lies in `quarantine/damage.json`; the unreadable bytes are kept beside it. A range with damage is not answered
//! for until the loss is accepted (`--accept-loss`).

use std::path::Path;

use serde::{Deserialize, Serialize};
use ulid::Ulid;

use crate::disk::{Disk, replace_file};
use crate::error::{Error, Result};
use crate::format::json;
use crate::model::time::TimeRange;

const FILE: &str = "damage.json";
const FORMAT: &str = "marigram-damage";
const VERSION: u32 = 1;

/// One loss.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Damage {
    /// What is damaged, such as `wal/00000000000000000003.wal, bytes 48 to 1024`.
    pub what: String,
    /// No sample outside of it was lost: first millisecond.
    pub start_ms: i64,
    /// Last millisecond.
    pub end_ms: i64,
    /// Whether the loss was accepted; queries then answer without it.
    pub accepted: bool,
}

impl Damage {
    /// The range that it touches.
    pub fn range(&self) -> TimeRange {
        TimeRange { start_ms: self.start_ms, end_ms: self.end_ms }
    }
}

#[derive(Serialize, Deserialize)]
struct DamageList {
    damage: Vec<Damage>,
}

/// How the damage of a block is called.
pub(super) fn of_block(ulid: Ulid) -> String {
    format!("block {ulid}")
}

/// Reads the list; empty without a file.
pub(super) fn load(disk: &dyn Disk, quarantine: &Path) -> Result<Vec<Damage>> {
    let path = quarantine.join(FILE);
    let Some(bytes) = disk.read(&path)? else { return Ok(Vec::new()) };
    let list: DamageList = json::open(&path.display().to_string(), FORMAT, VERSION, &bytes)?;
    Ok(list.damage)
}

/// Replaces the list, durably.
pub(super) fn store(disk: &dyn Disk, quarantine: &Path, damage: &[Damage]) -> Result<()> {
    let bytes = json::seal(FORMAT, VERSION, &DamageList { damage: damage.to_vec() })?;
    replace_file(disk, &quarantine.join(FILE), &bytes)
}

/// Refuses a range that damage touches.
pub(super) fn check(damage: &[Damage], range: TimeRange) -> Result<()> {
    match damage.iter().find(|d| !d.accepted && d.range().overlaps(range)) {
        Some(d) => Err(Error::corrupt(
            d.what.clone(),
            "samples of this range are lost; an answer would be short (a restart with --accept-loss answers without them)",
        )),
        None => Ok(()),
    }
}
