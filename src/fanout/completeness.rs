//! Whether an answer has everything that was acknowledged, from who answered; no network, no time.
//!
//! 1. A sample is acknowledged when it lies on W disks (in a zoned cluster: in W zones), so an answer that lacks fewer
//!    than W of the listed members (zones) reaches at least one of its copies, or a node that has dropped its copy.
//! 2. A node drops a copy only once the bucket has it, and tells its drop mark: everything that it took with a later
//!    timestamp is still on it. So the bucket is needed up to the greatest mark among the nodes that answer, and no
//!    further.
//!
//! The sentences that operators read are made here.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::sync::Arc;

use marigram_storage::model::member::{Member, MemberList};
use marigram_storage::model::time::TimeRange;

/// A sentence names so many missing members at most.
const NAMED_MAX: usize = 8;

/// The roll call of one answer: who of the listed members is missing from it, and why.
#[derive(Clone, Debug)]
pub struct RollCall {
    list: Arc<MemberList>,
    /// Why, by node name.
    missing: BTreeMap<String, String>,
}

impl RollCall {
    /// Nobody is missing yet.
    pub fn new(list: Arc<MemberList>) -> Self {
        RollCall { list, missing: BTreeMap::new() }
    }

    /// The list that is called.
    pub fn list(&self) -> &Arc<MemberList> {
        &self.list
    }

    /// Notes that a member's copies are not in the answer. Of several reasons the first stays.
    pub fn miss(&mut self, node_name: &str, why: impl Into<String>) {
        if self.list.find(node_name).is_some() {
            self.missing.entry(node_name.to_owned()).or_insert_with(|| why.into());
        }
    }

    /// How many members are missing.
    pub fn missing(&self) -> usize {
        self.missing.len()
    }

    /// Why a member is missing, if it is.
    pub fn why(&self, node_name: &str) -> Option<&str> {
        self.missing.get(node_name).map(String::as_str)
    }

    /// Whether the answer has everything.
    ///
    /// # Errors
    /// A sentence that says who is missing, why, and how many may be.
    pub fn verdict(&self) -> Result<(), String> {
        let list = &*self.list;
        if list.members.is_empty() {
            return Err(format!("catalog {} lists no storage node", list.catalog_number));
        }
        let zones = zones(list);
        let is_missing = |member: &Member| self.missing.contains_key(&member.node_name);
        let (units, lacking, unit) = match &zones {
            Some(zones) => {
                let lacking = list.members.iter().filter(|m| is_missing(m)).map(|m| &*m.zone).collect::<BTreeSet<_>>();
                (zones.len(), lacking.len(), "zones")
            }
            None => (list.members.len(), self.missing.len(), "members"),
        };
        // With fewer members than copies, one that answers must remain.
        let needed = list.write_quorum().min(units);
        if lacking < needed {
            return Ok(());
        }
        let mut sentence = match &zones {
            Some(_) => format!("{lacking} of {units} zones have missing members ("),
            None => format!("{lacking} of {units} members are missing ("),
        };
        for (i, (name, why)) in self.missing.iter().take(NAMED_MAX).enumerate() {
            let between = if i > 0 { "; " } else { "" };
            let zone = match (&zones, list.find(name)) {
                (Some(_), Some(member)) => format!(" in {}", member.zone),
                _ => String::new(),
            };
            // Writing to a string cannot fail.
            let _ = match why.strip_prefix(&format!("storage node {name} ")) {
                Some(rest) => write!(sentence, "{between}{name}{zone} {rest}"),
                None => write!(sentence, "{between}{name}{zone}: {why}"),
            };
        }
        if self.missing.len() > NAMED_MAX {
            let _ = write!(sentence, "; and {} more", self.missing.len() - NAMED_MAX);
        }
        let _ = match unit {
            "zones" => write!(sentence, "); an answer needs fewer than {needed} such zones"),
            _ => write!(sentence, "); an answer needs fewer than {needed} missing"),
        };
        Err(sentence)
    }
}

/// The zones by which copies are counted; `None`: they are counted by member. Fewer zones than copies cannot have held
/// the copies apart.
fn zones(list: &MemberList) -> Option<BTreeSet<&str>> {
    let zones = list.members.iter().map(|member| &*member.zone).collect::<BTreeSet<_>>();
    (!zones.contains("") && zones.len() >= list.write_quorum()).then_some(zones)
}

/// The part of `range` for which the bucket is needed, given the drop marks of the nodes that answer; `None`: the nodes
/// have all of it.
pub fn bucket_part(range: TimeRange, drop_marks_ms: impl IntoIterator<Item = Option<i64>>) -> Option<TimeRange> {
    let mark_ms = drop_marks_ms.into_iter().flatten().max()?;
    let part = TimeRange { start_ms: range.start_ms, end_ms: range.end_ms.min(mark_ms) };
    (!part.is_empty()).then_some(part)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn list(replication_factor: u32, zones: &[&str]) -> Arc<MemberList> {
        let members = zones.iter().zip('a'..).zip(1..).map(|((zone, name), disk_id)| Member {
            node_name: name.to_string(),
            disk_id,
            zone: (*zone).to_owned(),
        });
        Arc::new(MemberList {
            catalog_number: 7,
            cluster_id: 1,
            replication_factor,
            members: members.collect(),
            query_timeout_max_ms: 1000,
        })
    }

    fn verdict(replication_factor: u32, zones: &[&str], missing: &[&str]) -> Result<(), String> {
        let mut call = RollCall::new(list(replication_factor, zones));
        for name in missing {
            call.miss(name, "connection refused");
        }
        call.verdict()
    }

    #[test]
    fn complete_while_fewer_than_a_write_quorum_are_missing() {
        let three = ["", "", ""];
        assert_eq!(verdict(2, &three, &[]), Ok(()));
        assert_eq!(verdict(2, &three, &["b"]), Ok(()));
        assert!(verdict(2, &three, &["a", "c"]).is_err());
        assert!(verdict(1, &three, &["a"]).is_err());
        assert_eq!(verdict(3, &["", "", "", "", ""], &["e"]), Ok(()));
        assert!(verdict(3, &["", "", "", "", ""], &["a", "e"]).is_err());
        assert_eq!(verdict(5, &["", "", "", "", ""], &["a", "e"]), Ok(()));
    }

    #[test]
    fn in_zones_a_zone_counts_once() {
        let zones = ["x", "x", "y", "z"];
        assert_eq!(verdict(2, &zones, &["a", "b"]), Ok(()));
        assert_eq!(
            verdict(2, &zones, &["b", "c"]).unwrap_err(),
            "2 of 3 zones have missing members (b in x: connection refused; c in y: connection refused); an answer needs fewer \
             than 2 such zones"
        );
        // Zones that cannot have held the copies apart, or that not all members have, do not count.
        assert!(verdict(2, &["x", "x", "x"], &["a", "b"]).is_err());
        assert!(verdict(2, &["x", "x", ""], &["a", "b"]).is_err());
    }

    #[test]
    fn somebody_must_answer() {
        assert!(verdict(2, &[""], &["a"]).is_err());
        assert_eq!(verdict(2, &[], &[]).unwrap_err(), "catalog 7 lists no storage node");
    }

    #[test]
    fn the_sentence_names_who_and_why() {
        let mut call = RollCall::new(list(2, &["", "", ""]));
        call.miss("c", "storage node c (c:1) is down: timeout");
        call.miss("b", "connection refused");
        call.miss("b", "a later reason");
        call.miss("nobody", "not listed");
        assert_eq!(
            call.verdict().unwrap_err(),
            "2 of 3 members are missing (b: connection refused; c (c:1) is down: timeout); an answer needs fewer than 2 missing"
        );
        assert_eq!((call.missing(), call.why("b"), call.why("a")), (2, Some("connection refused"), None));
    }

    #[test]
    fn a_long_sentence_ends() {
        let mut call = RollCall::new(list(2, &[""; 20]));
        for name in 'a'..='t' {
            call.miss(&name.to_string(), "gone");
        }
        let sentence = call.verdict().unwrap_err();
        assert!(sentence.ends_with("h: gone; and 12 more); an answer needs fewer than 2 missing"), "{sentence}");
    }

    #[test]
    fn the_bucket_is_needed_up_to_the_greatest_mark() {
        let range = |start_ms, end_ms| TimeRange { start_ms, end_ms };
        assert_eq!(bucket_part(range(10, 20), [None, None]), None);
        assert_eq!(bucket_part(range(10, 20), [Some(9), None]), None);
        assert_eq!(bucket_part(range(10, 20), [Some(10), Some(3)]), Some(range(10, 10)));
        assert_eq!(bucket_part(range(10, 20), [None, Some(15), Some(12)]), Some(range(10, 15)));
        assert_eq!(bucket_part(range(10, 20), [Some(40)]), Some(range(10, 20)));
        assert_eq!(bucket_part(TimeRange::ALL, [Some(i64::MIN)]), Some(range(i64::MIN, i64::MIN)));
    }

    proptest! {
        /// Whatever W members (zones) took a sample, a complete answer reaches one of them.
        #[test]
        fn a_complete_answer_reaches_every_acknowledged_sample(
            replication_factor in 1u32..6,
            zones in prop::collection::vec(prop::sample::select(vec!["x", "y", "z", "w"]), 1..9),
            zoned: bool,
            missing in prop::collection::vec(any::<bool>(), 9),
            holders in prop::collection::vec(any::<bool>(), 9),
        ) {
            let zones = if zoned { zones } else { vec![""; zones.len()] };
            let list = list(replication_factor, &zones);
            let mut call = RollCall::new(Arc::clone(&list));
            for (member, _) in list.members.iter().zip(&missing).filter(|(_, missing)| **missing) {
                call.miss(&member.node_name, "down");
            }
            let holders = list.members.iter().zip(&holders).filter(|(_, holds)| **holds).map(|(m, _)| m).collect::<Vec<_>>();
            let apart = match zoned {
                true => holders.iter().map(|m| &m.zone).collect::<BTreeSet<_>>().len(),
                false => holders.len(),
            };
            let acknowledged = apart >= list.write_quorum();
            if acknowledged && call.verdict().is_ok() {
                prop_assert!(holders.iter().any(|m| call.why(&m.node_name).is_none()));
            }
        }
    }
}
