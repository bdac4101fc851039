//! The members of the cluster, as a storage node was last told them.
//!
//! Of two lists the one with the higher catalog number is the newer; the node keeps the newest, on disk before it answers,
//! and tells it to whoever asks. The first list decides which cluster the node belongs to.
//!
//! `confirmed` says whether the node may take writes. It is told once W of the members that were listed before hold the list
//! that names the node, since from then on every complete answer reaches one of them and learns of the node. Later lists
//! that go on naming the node need no new confirmation. (A disk that a list dropped is never listed again.)

use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use crate::disk::replace_file;
use crate::env::Env;
use crate::error::{Error, Result};
use crate::format::{id_text, json, parse_id};
use crate::model::member::{Member, MemberList};

/// Name of the file in the data directory.
pub(super) const FILE: &str = "members.json";
const FORMAT: &str = "marigram-members";
const VERSION: u32 = 1;

/// What a node knows of its cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownMembers {
    /// The newest list that it was told.
    pub list: MemberList,
    /// Whether this list, or an earlier one since which every list names the node, is confirmed.
    pub confirmed: bool,
}

/// Whether a node may take writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It was told no list, or the newest one does not name it.
    Unlisted,
    /// The newest list names it and is not confirmed yet.
    Unconfirmed,
    /// It may.
    Confirmed,
}

/// Keeps a node's [`KnownMembers`] in its data directory.
#[derive(Debug)]
pub struct MembersFile {
    env: Env,
    path: PathBuf,
    own: Member,
    /// `None` before the first list.
    known: Mutex<Option<Arc<KnownMembers>>>,
    /// Held while a list goes to disk, so that nobody who asks waits for that.
    telling: Mutex<()>,
}

#[derive(Serialize, Deserialize)]
struct Document {
    confirmed: bool,
    catalog_number: u64,
    cluster_id: String,
    replication_factor: u32,
    query_timeout_max_ms: u64,
    members: Vec<MemberLine>,
}

#[derive(Serialize, Deserialize)]
struct MemberLine {
    node_name: String,
    disk_id: String,
    zone: String,
}

impl MembersFile {
    /// Reads what the data directory `dir` of the node `own` keeps.
    ///
    /// # Errors
    /// [`Error::Corrupt`]; the disk's. Nothing is forgotten over damage: who has confirmed a list must go on knowing it.
    pub fn open(env: &Env, dir: &Path, own: &Member) -> Result<Self> {
        let path = dir.join(FILE);
        let known = match env.disk.read(&path)? {
            None => None,
            Some(bytes) => {
                // The name may have been made by a process that died before its fsync.
                env.disk.sync_dir(dir)?;
                Some(Arc::new(decode(&path.display().to_string(), &bytes)?))
            }
        };
        Ok(MembersFile {
            env: env.clone(),
            path,
            own: own.clone(),
            known: Mutex::new(known),
            telling: Mutex::default(),
        })
    }

    /// What the node knows; `None` before the first list.
    pub fn known(&self) -> Option<Arc<KnownMembers>> {
        self.known.lock().clone()
    }

    /// Whether the node may take writes.
    pub fn standing(&self) -> Standing {
        match self.known() {
            Some(known) if known.lists(&self.own) && known.confirmed => Standing::Confirmed,
            Some(known) if known.lists(&self.own) => Standing::Unconfirmed,
            _ => Standing::Unlisted,
        }
    }

    /// Takes a list that the node is told. Answers what the node knows now, which is on disk: this list, or a newer one.
    ///
    /// # Errors
    /// [`crate::ErrorKind::BadInput`]: the list is another cluster's, contradicts one of the same number, or is malformed.
    /// The disk's; then the node knows what it knew.
    pub fn tell(&self, list: MemberList, confirmed: bool) -> Result<Arc<KnownMembers>> {
        list.check().map_err(Error::BadInput)?;
        let _one_at_a_time = self.telling.lock();
        let known = self.known();
        let next = match known.as_deref() {
            None => KnownMembers { list, confirmed },
            Some(old) => old.followed_by(list, confirmed, &self.own)?,
        };
        let next = match known {
            Some(old) if *old == next => return Ok(old),
            _ => Arc::new(next),
        };
        replace_file(&*self.env.disk, &self.path, &encode(&next)?)?;
        *self.known.lock() = Some(Arc::clone(&next));
        Ok(next)
    }
}

impl KnownMembers {
    /// Whether the list names this node with this disk.
    fn lists(&self, node: &Member) -> bool {
        self.list.lists(&node.node_name, node.disk_id)
    }

    /// What the node `own` knows after it was told `list`.
    fn followed_by(&self, list: MemberList, confirmed: bool, own: &Member) -> Result<KnownMembers> {
        let old = &self.list;
        if list.cluster_id != old.cluster_id {
            return Err(Error::BadInput(format!(
                "the storage node {:?} belongs to the cluster {:032x}; the list of members is that of the cluster {:032x}",
                own.node_name, old.cluster_id, list.cluster_id
            )));
        }
        if list.catalog_number < old.catalog_number {
            return Ok(self.clone());
        }
        if list.catalog_number == old.catalog_number {
            if list != *old {
                let number = list.catalog_number;
                return Err(Error::BadInput(format!("there are two different lists of members in catalog {number}")));
            }
            return Ok(KnownMembers { list, confirmed: confirmed || self.confirmed });
        }
        let next = KnownMembers { list, confirmed };
        let goes_on = self.confirmed && self.lists(own) && next.lists(own);
        Ok(KnownMembers { confirmed: confirmed || goes_on, ..next })
    }
}

fn encode(known: &KnownMembers) -> Result<Vec<u8>> {
    let list = &known.list;
    let members = list.members.iter().map(|member| MemberLine {
        node_name: member.node_name.clone(),
        disk_id: id_text(member.disk_id),
        zone: member.zone.clone(),
    });
    let document = Document {
        confirmed: known.confirmed,
        catalog_number: list.catalog_number,
        cluster_id: id_text(list.cluster_id),
        replication_factor: list.replication_factor,
        query_timeout_max_ms: list.query_timeout_max_ms,
        members: members.collect(),
    };
    json::seal(FORMAT, VERSION, &document)
}

fn decode(what: &str, bytes: &[u8]) -> Result<KnownMembers> {
    let document: Document = json::open(what, FORMAT, VERSION, bytes)?;
    let id = |text: &str| parse_id(text).ok_or_else(|| Error::corrupt(what, "a disk or cluster id is malformed"));
    let member = |line: MemberLine| -> Result<Member> {
        Ok(Member { disk_id: id(&line.disk_id)?, node_name: line.node_name, zone: line.zone })
    };
    let list = MemberList {
        catalog_number: document.catalog_number,
        cluster_id: id(&document.cluster_id)?,
        replication_factor: document.replication_factor,
        members: document.members.into_iter().map(member).collect::<Result<_>>()?,
        query_timeout_max_ms: document.query_timeout_max_ms,
    };
    list.check().map_err(|detail| Error::corrupt(what, detail))?;
    Ok(KnownMembers { list, confirmed: document.confirmed })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ErrorKind;
    use crate::disk::RealDisk;
    use crate::env::{ManualClock, OsRandom};
    use crate::model::member::QUERY_TIMEOUT_MAX_MS;

    fn member(name: &str, disk_id: u128) -> Member {
        Member { node_name: name.into(), disk_id, zone: String::new() }
    }

    fn list(catalog_number: u64, members: &[(&str, u128)]) -> MemberList {
        let members = members.iter().map(|(name, disk_id)| member(name, *disk_id)).collect();
        let query_timeout_max_ms = QUERY_TIMEOUT_MAX_MS;
        MemberList { catalog_number, cluster_id: 7, replication_factor: 2, members, query_timeout_max_ms }
    }

    fn open(dir: &Path) -> MembersFile {
        let env = Env { clock: Arc::new(ManualClock::new(0)), random: Arc::new(OsRandom), disk: Arc::new(RealDisk) };
        MembersFile::open(&env, dir, &member("a", u128::MAX)).unwrap()
    }

    const A: (&str, u128) = ("a", u128::MAX);

    #[test]
    fn the_newest_list_stays_over_restarts_and_older_ones_change_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let file = open(dir.path());
        assert_eq!((file.known(), file.standing()), (None, Standing::Unlisted));
        let five = KnownMembers { list: list(5, &[A, ("b", 2)]), confirmed: false };
        assert_eq!(*file.tell(five.list.clone(), false).unwrap(), five);
        for old in [list(4, &[("c", 3)]), list(0, &[])] {
            assert_eq!(*file.tell(old, true).unwrap(), five, "not even its confirmation counts");
        }
        let again = open(dir.path());
        assert_eq!((again.known().as_deref(), again.standing()), (Some(&five), Standing::Unconfirmed));
        again.tell(five.list.clone(), true).unwrap();
        again.tell(five.list.clone(), false).unwrap();
        assert_eq!(open(dir.path()).standing(), Standing::Confirmed);
    }

    #[test]
    fn a_confirmed_node_stays_so_while_it_is_listed() {
        let dir = tempfile::tempdir().unwrap();
        let file = open(dir.path());
        file.tell(list(1, &[A]), true).unwrap();
        file.tell(list(2, &[A, ("b", 2)]), false).unwrap();
        assert_eq!(file.standing(), Standing::Confirmed);
        file.tell(list(3, &[("a", 9), ("b", 2)]), true).unwrap();
        assert_eq!(file.standing(), Standing::Unlisted, "another disk bears the name");
        file.tell(list(4, &[A]), false).unwrap();
        assert_eq!(file.standing(), Standing::Unconfirmed);
    }

    #[test]
    fn other_clusters_and_contradictions_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let file = open(dir.path());
        let kept = file.tell(list(5, &[A]), true).unwrap();
        let refused = file.tell(MemberList { cluster_id: 8, ..list(6, &[A]) }, true).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::BadInput);
        let ids = [id_text(7), id_text(8)];
        assert!(ids.iter().all(|id| refused.to_string().contains(id)), "{refused}");
        let malformed = [
            list(5, &[("b", 2)]),
            list(6, &[("b", 2), A]),
            list(6, &[A, A]),
            list(6, &[A, ("b", A.1)]),
            list(6, &[("", 1)]),
            MemberList { replication_factor: 0, ..list(6, &[A]) },
        ];
        for list in malformed {
            let refused = file.tell(list, true).unwrap_err();
            assert_eq!(refused.kind(), ErrorKind::BadInput, "{refused}");
        }
        assert_eq!(open(dir.path()).known(), Some(kept));
    }

    #[test]
    fn damage_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let file = open(dir.path());
        file.tell(list(5, &[A]), true).unwrap();
        let path = dir.path().join(FILE);
        let mut bytes = std::fs::read(&path).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        std::fs::write(&path, bytes).unwrap();
        let damaged = MembersFile::open(&file.env, dir.path(), &file.own).unwrap_err();
        assert_eq!(damaged.kind(), ErrorKind::Corrupt);
    }
}
