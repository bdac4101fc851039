//! Members and lists of members.

use bytes::Bytes;
use marigram_proto::cluster as proto;
use marigram_storage::model::member::{Member, MemberList, is_member_name};

use super::{Malformed, id};

/// Sixteen bytes of an id.
pub(crate) fn encode_id(id: u128) -> Bytes {
    Bytes::copy_from_slice(&id.to_le_bytes())
}

/// A member as it travels.
pub fn encode(member: &Member) -> proto::Identity {
    proto::Identity {
        node_name: member.node_name.clone(),
        disk_id: encode_id(member.disk_id),
        zone: member.zone.clone(),
    }
}

/// A member that came.
///
/// # Errors
/// A name that cannot be one, a disk id of another length.
pub fn decode(member: &proto::Identity) -> Result<Member, Malformed> {
    if !is_member_name(&member.node_name) || !(member.zone.is_empty() || is_member_name(&member.zone)) {
        return Err(Malformed::new("a node has an impossible name or zone"));
    }
    Ok(Member {
        node_name: member.node_name.clone(),
        disk_id: id(&member.disk_id, "a disk id")?,
        zone: member.zone.clone(),
    })
}

/// A member that must be there.
pub(crate) fn decode_present(member: Option<&proto::Identity>) -> Result<Member, Malformed> {
    decode(member.ok_or_else(|| Malformed::new("the node does not say who it is"))?)
}

/// A list as it travels.
pub fn encode_list(list: &MemberList) -> proto::MemberList {
    proto::MemberList {
        catalog_number: list.catalog_number,
        cluster_id: encode_id(list.cluster_id),
        replication_factor: list.replication_factor,
        members: list.members.iter().map(encode).collect(),
        query_timeout_max_ms: list.query_timeout_max_ms,
    }
}

/// A list that came.
///
/// # Errors
/// Ids of another length, or what [`MemberList::check`] refuses.
pub fn decode_list(list: &proto::MemberList) -> Result<MemberList, Malformed> {
    let list = MemberList {
        catalog_number: list.catalog_number,
        cluster_id: id(&list.cluster_id, "a cluster id")?,
        replication_factor: list.replication_factor,
        members: list.members.iter().map(decode).collect::<Result<_, _>>()?,
        query_timeout_max_ms: list.query_timeout_max_ms,
    };
    list.check().map_err(Malformed)?;
    Ok(list)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(name: &str, disk_id: u128) -> Member {
        Member { node_name: name.into(), disk_id, zone: "z1".into() }
    }

    fn list() -> MemberList {
        MemberList {
            catalog_number: 7,
            cluster_id: 1 << 100,
            replication_factor: 2,
            members: vec![member("a", 1), member("b", u128::MAX)],
            query_timeout_max_ms: 120_000,
        }
    }

    #[test]
    fn a_list_survives_the_way() {
        assert_eq!(decode_list(&encode_list(&list())), Ok(list()));
    }

    #[test]
    fn lists_that_no_catalog_holds_are_refused() {
        let broken: [fn(&mut proto::MemberList); 6] = [
            |list| list.members.swap(0, 1),
            |list| list.members[1].node_name = "a".into(),
            |list| list.members[1].disk_id = list.members[0].disk_id.clone(),
            |list| list.members[0].node_name.clear(),
            |list| list.cluster_id = Bytes::from_static(b"short"),
            |list| list.replication_factor = 0,
        ];
        for (i, spoil) in broken.iter().enumerate() {
            let mut list = encode_list(&list());
            spoil(&mut list);
            assert!(decode_list(&list).is_err(), "case {i}");
        }
    }
}
