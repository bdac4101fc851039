//! Whether enough members live for a write quorum, in sentences.

use super::transport::Cluster;
use crate::ring::NodeSet;

/// Whether a write can be acknowledged while `live` live.
///
/// # Errors
/// A sentence with who is live and why the others are not.
pub fn check(cluster: &Cluster, live: NodeSet, why_down: impl Fn(usize) -> String) -> Result<(), String> {
    let (ring, needed) = (&cluster.ring, cluster.list.write_quorum());
    if ring.spread(live) >= needed {
        return Ok(());
    }
    let names = |nodes: NodeSet| nodes.iter().map(|node| cluster.name(node)).collect::<Vec<_>>().join(", ");
    let mut text = if ring.is_zoned() {
        format!("live members are in {} of {} zones", ring.spread(live), ring.zones())
    } else {
        let verb = if live.len() == 1 { "is" } else { "are" };
        format!("{} of {} listed members {verb} live", live.len(), ring.len())
    };
    if !live.is_empty() {
        text.push_str(&format!(" ({})", names(live)));
    }
    let verb = if needed == 1 { "is" } else { "are" };
    text.push_str(&format!(", {needed} {verb} needed"));
    let down = ring.all().without(live);
    let reasons: Vec<_> = down.iter().map(|node| format!("{}: {}", cluster.name(node), why_down(node))).collect();
    if !reasons.is_empty() {
        text.push_str(&format!("; {}", reasons.join("; ")));
    }
    Err(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use marigram_storage::model::member::{Member, MemberList};

    fn cluster(zones: [&str; 3]) -> Cluster {
        let member = |(place, zone): (usize, &str)| Member {
            node_name: ["a", "b", "c"][place].to_owned(),
            disk_id: place as u128,
            zone: zone.to_owned(),
        };
        let members = zones.into_iter().enumerate().map(member).collect();
        let list = MemberList {
            catalog_number: 1,
            cluster_id: 9,
            replication_factor: 2,
            members,
            query_timeout_max_ms: 120_000,
        };
        Cluster::new(list).unwrap()
    }

    #[test]
    fn sentences_name_who_lives_and_who_does_not() {
        let refused =
            |zones, live: &[usize]| check(&cluster(zones), live.iter().copied().collect(), |_| "no answer".to_owned());
        assert_eq!(refused(["", "", ""], &[0, 2]), Ok(()));
        assert_eq!(
            refused(["", "", ""], &[1]).unwrap_err(),
            "1 of 3 listed members is live (b), 2 are needed; a: no answer; c: no answer"
        );
        assert_eq!(
            refused(["x", "x", "y"], &[0, 1]).unwrap_err(),
            "live members are in 1 of 2 zones (a, b), 2 are needed; c: no answer"
        );
        assert_eq!(
            refused(["x", "x", "x"], &[0, 1, 2]).unwrap_err(),
            "live members are in 1 of 1 zones (a, b, c), 2 are needed"
        );
    }
}
