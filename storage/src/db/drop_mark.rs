//! The drop mark: everything that the node took with later timestamps is still on it.
//!
//! It is the greatest timestamp of all blocks that were ever dropped because the bucket covers them. The file is durable
//! before the first of their bytes goes, so after a crash either a block is there or the mark covers it.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::disk::{Disk, replace_file};
use crate::error::Result;
use crate::format::json;

/// Name of the file in the data directory.
pub(crate) const FILE: &str = "drop_mark.json";
const FORMAT: &str = "marigram-drop-mark";
const VERSION: u32 = 1;

#[derive(Serialize, Deserialize)]
struct Document {
    drop_mark_ms: i64,
}

/// Reads the mark; `None` before the first drop.
///
/// # Errors
/// [`crate::Error::Corrupt`]: without it nobody knows what the node lacks. The disk's.
pub(super) fn load(disk: &dyn Disk, root: &Path) -> Result<Option<i64>> {
    let path = root.join(FILE);
    let Some(bytes) = disk.read(&path)? else { return Ok(None) };
    // The name may have been made by a process that died before its fsync; what is told to others must not vanish.
    disk.sync_dir(root)?;
    let document: Document = json::open(&path.display().to_string(), FORMAT, VERSION, &bytes)?;
    Ok(Some(document.drop_mark_ms))
}

/// Replaces the mark, durably.
///
/// # Errors
/// The disk's; the file then holds the old mark or the new one.
pub(super) fn store(disk: &dyn Disk, root: &Path, drop_mark_ms: i64) -> Result<()> {
    replace_file(disk, &root.join(FILE), &json::seal(FORMAT, VERSION, &Document { drop_mark_ms })?)
}
