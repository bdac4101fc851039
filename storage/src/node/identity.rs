//! Who a storage node is: a name, and a disk id that was drawn when its data directory was made.
//!
//! 1. `node.json` is put if absent, whole and fsynced, so that of two processes that start on a fresh directory at once one
//!    draws the id for both.
//! 2. From then on it is only read. What it says stands, whatever the machine is called now.
//! 3. Where it is damaged, or missing beside files that only a node writes, nothing is drawn: another disk id would be
//!    another node, and what was promised on this disk would be missing for ever.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::bucket::{Bucket, DirectoryBucket};
use crate::env::Env;
use crate::error::{Error, Result};
use crate::format::{id_text, json, parse_id};
use crate::model::member::{MEMBER_NAME_BYTES_MAX, Member, is_member_name};

/// Name of the file in the data directory.
const FILE: &str = "node.json";
const FORMAT: &str = "marigram-node";
const VERSION: u32 = 1;

#[derive(Serialize, Deserialize)]
struct Document {
    node_name: String,
    disk_id: String,
}

/// The identity that the data directory `dir` keeps; a new one is drawn for a directory that has none, named `node_name` or
/// else `default_name`. The zone is not kept: it may change with the flag.
///
/// # Errors
/// [`crate::ErrorKind::BadInput`]: the directory belongs to a node of another name than `node_name`, or a name is none.
/// [`Error::Corrupt`]: what the directory keeps is damaged or gone. The disk's.
pub fn open(env: &Env, dir: &Path, node_name: Option<&str>, default_name: &str, zone: &str) -> Result<Member> {
    if !zone.is_empty() {
        check_name("zone", zone)?;
    }
    let directory = DirectoryBucket::open(env, dir)?;
    let path = dir.join(FILE);
    if directory.get(FILE)?.is_none() {
        let name = node_name.unwrap_or(default_name);
        check_name("name of a storage node", name)?;
        if let Some(witness) = written_by_a_node(env, dir)? {
            let detail = format!(
                "it is missing, but {witness} shows that the directory belongs to a storage node; \
                 under a new identity its data would count as lost"
            );
            return Err(Error::corrupt(path.display().to_string(), detail));
        }
        let document = Document { node_name: name.to_owned(), disk_id: id_text(env.random.next_u128()) };
        directory.put_if_absent(FILE, json::seal(FORMAT, VERSION, &document)?.into())?;
    }
    // What is told to others must not vanish: whoever made the name may have died before its fsync.
    env.disk.sync_dir(dir)?;
    let what = path.display().to_string();
    let bytes = directory.get(FILE)?.ok_or_else(|| Error::corrupt(&*what, "it vanished"))?;
    let kept: Document = json::open(&what, FORMAT, VERSION, &bytes)?;
    let disk_id = parse_id(&kept.disk_id).ok_or_else(|| Error::corrupt(&*what, "its disk id is malformed"))?;
    if !is_member_name(&kept.node_name) {
        return Err(Error::corrupt(what, "its node name is malformed"));
    }
    match node_name {
        Some(asked) if asked != kept.node_name => Err(Error::BadInput(format!(
            "the data directory {} belongs to the storage node {:?}, so --node-name {asked:?} cannot use it",
            dir.display(),
            kept.node_name
        ))),
        _ => Ok(Member { node_name: kept.node_name, disk_id, zone: zone.to_owned() }),
    }
}

/// A file that only a node with an identity can have written.
fn written_by_a_node(env: &Env, dir: &Path) -> Result<Option<String>> {
    let witness = |name: &str| name == super::members::FILE || name == crate::db::DROP_MARK_FILE;
    Ok(env.disk.list(dir)?.into_iter().map(|entry| entry.name).find(|name| witness(name)))
}

fn check_name(what: &str, name: &str) -> Result<()> {
    match is_member_name(name) {
        true => Ok(()),
        false => Err(Error::BadInput(format!(
            "the {what} must have 1 to {MEMBER_NAME_BYTES_MAX} bytes and no control characters, unlike {name:?}"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::ErrorKind;
    use crate::disk::RealDisk;
    use crate::env::{ManualClock, OsRandom};

    fn env() -> Env {
        Env { clock: Arc::new(ManualClock::new(0)), random: Arc::new(OsRandom), disk: Arc::new(RealDisk) }
    }

    #[test]
    fn the_first_start_decides_and_later_ones_only_read() {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("not/yet/there");
        let first = open(&env(), &data, None, "host-1", "").unwrap();
        assert_eq!((first.node_name.as_str(), first.zone.as_str()), ("host-1", ""));
        // The host was renamed, and the zone is now told.
        let again = open(&env(), &data, None, "host-2", "zone-a").unwrap();
        assert_eq!(again, Member { zone: "zone-a".into(), ..first.clone() });
        assert_eq!(open(&env(), &data, Some("host-1"), "host-2", "").unwrap(), first);
        let other = open(&env(), &dir.path().join("other"), Some("n"), "host-1", "").unwrap();
        assert_eq!(other.node_name, "n");
        assert_ne!(other.disk_id, first.disk_id);
    }

    #[test]
    fn another_name_is_refused_in_a_sentence_that_names_both() {
        let dir = tempfile::tempdir().unwrap();
        open(&env(), dir.path(), Some("node-a"), "host", "").unwrap();
        let refused = open(&env(), dir.path(), Some("node-b"), "host", "").unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::BadInput);
        let text = refused.to_string();
        assert!(text.contains("\"node-a\"") && text.contains("\"node-b\""), "{text}");
    }

    #[test]
    fn impossible_names_make_nothing() {
        let dir = tempfile::tempdir().unwrap();
        for (name, zone) in [("", ""), ("a\nb", ""), (&*"n".repeat(256), ""), ("n", "z\0")] {
            let refused = open(&env(), dir.path(), Some(name), "host", zone).unwrap_err();
            assert_eq!(refused.kind(), ErrorKind::BadInput, "{refused}");
        }
        assert!(!dir.path().join(FILE).exists());
    }

    #[test]
    fn damage_is_an_error_and_never_a_new_identity() {
        let dir = tempfile::tempdir().unwrap();
        open(&env(), dir.path(), Some("n"), "host", "").unwrap();
        let path = dir.path().join(FILE);
        let whole = std::fs::read(&path).unwrap();
        let mut flipped = whole.clone();
        flipped[whole.len() / 2] ^= 1;
        for damaged in [&whole[..0], &whole[..whole.len() - 1], &flipped] {
            std::fs::write(&path, damaged).unwrap();
            assert_eq!(open(&env(), dir.path(), None, "host", "").unwrap_err().kind(), ErrorKind::Corrupt);
            assert_eq!(std::fs::read(&path).unwrap(), damaged, "left as it was found");
        }
        std::fs::remove_file(&path).unwrap();
        std::fs::write(dir.path().join("members.json"), "anything").unwrap();
        let refused = open(&env(), dir.path(), None, "host", "").unwrap_err();
        assert!(refused.to_string().contains("members.json"), "{refused}");
        assert!(!path.exists());
    }

    #[test]
    fn of_many_starts_at_once_one_draws_the_id_for_all() {
        let dir = tempfile::tempdir().unwrap();
        let found: Vec<Member> = std::thread::scope(|scope| {
            let starts: Vec<_> =
                (0..8).map(|_| scope.spawn(|| open(&env(), dir.path(), None, "host", "").unwrap())).collect();
            starts.into_iter().map(|start| start.join().unwrap()).collect()
        });
        assert!(found.iter().all(|member| *member == found[0]), "{found:?}");
    }
}
