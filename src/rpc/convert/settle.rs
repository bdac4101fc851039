//! Settling: what a node tells whoever keeps answers.

use marigram_proto::cluster as proto;
use marigram_storage::db::{Change, Settled};
use marigram_storage::model::time::TimeRange;

use super::Malformed;
use super::select::{AnswerHeader, Scope, decode_header, decode_scope, encode_header, encode_scope};

/// Changes of one answer: more than a node tells apart.
const CHANGES_MAX: usize = 1000;

/// What one node tells of its changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SettledNode {
    /// Which process of the node: numbers can only be compared within it.
    pub incarnation: u64,
    /// What has changed on it.
    pub settled: Settled,
}

/// As it travels.
pub fn encode_request(scope: &Scope, up_to_ms: i64) -> proto::SettleRequest {
    proto::SettleRequest { scope: Some(encode_scope(scope)), up_to_ms }
}

/// One that came: who asks, and up to which time.
///
/// # Errors
/// See [`decode_scope`].
pub fn decode_request(request: &proto::SettleRequest) -> Result<(Scope, i64), Malformed> {
    Ok((decode_scope(request.scope.as_ref())?, request.up_to_ms))
}

/// As it travels.
pub fn encode_response(header: &AnswerHeader, node: &SettledNode) -> proto::SettleResponse {
    let SettledNode { incarnation, settled } = node;
    let change = |change: &Change| proto::Change {
        number: change.number,
        start_ms: change.range.start_ms,
        end_ms: change.range.end_ms,
    };
    proto::SettleResponse {
        header: Some(encode_header(header)),
        incarnation: *incarnation,
        up_to_ms: settled.up_to_ms,
        number: settled.number,
        changes: settled.changes().iter().map(change).collect(),
    }
}

/// One that came, to a request up to `asked_ms`.
///
/// # Errors
/// No header; less is settled than was asked for; changes that no node tells.
pub fn decode_response(
    response: &proto::SettleResponse,
    asked_ms: i64,
) -> Result<(AnswerHeader, SettledNode), Malformed> {
    if response.up_to_ms < asked_ms {
        return Err(Malformed::new("less is settled than was asked for"));
    }
    if response.changes.len() > CHANGES_MAX {
        return Err(Malformed(format!("there are more than {CHANGES_MAX} changes")));
    }
    let decode = |change: &proto::Change| {
        let range = TimeRange { start_ms: change.start_ms, end_ms: change.end_ms };
        match range.is_empty() || change.number == 0 || change.number > response.number {
            true => Err(Malformed::new("a change is of no time, or of no number that was given")),
            false => Ok(Change { number: change.number, range }),
        }
    };
    let changes = response.changes.iter().map(decode).collect::<Result<_, _>>()?;
    let settled = Settled::new(response.up_to_ms, response.number, changes);
    Ok((decode_header(response.header.as_ref())?, SettledNode { incarnation: response.incarnation, settled }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use marigram_storage::model::member::Member;
    use proptest::prelude::*;
    use prost::Message;

    fn header() -> AnswerHeader {
        let member = Member { node_name: "a".into(), disk_id: 3, zone: String::new() };
        AnswerHeader { member, drop_mark_ms: Some(-5), members: None, cluster_id: Some(9) }
    }

    proptest! {
        #[test]
        fn what_a_node_tells_survives_the_way(
            incarnation: u64,
            up_to_ms in 0i64..,
            changes in prop::collection::vec((1u64..1000, any::<i64>(), any::<i64>()), 0..30),
        ) {
            let change = |(number, a, b): (u64, i64, i64)| {
                Change { number, range: TimeRange { start_ms: a.min(b), end_ms: a.max(b) } }
            };
            let settled = Settled::new(up_to_ms, 1000, changes.into_iter().map(change).collect());
            let node = SettledNode { incarnation, settled };
            let bytes = encode_response(&header(), &node).encode_to_vec();
            let arrived = proto::SettleResponse::decode(&*bytes).unwrap();
            prop_assert_eq!(decode_response(&arrived, 0), Ok((header(), node)));
        }
    }

    #[test]
    fn what_no_node_tells_is_refused() {
        let good = proto::SettleResponse {
            header: Some(encode_header(&header())),
            incarnation: 1,
            up_to_ms: 10,
            number: 2,
            changes: vec![proto::Change { number: 2, start_ms: 1, end_ms: 1 }],
        };
        assert!(decode_response(&good, 10).is_ok());
        assert!(decode_response(&good, 11).is_err());
        let bad: [fn(&mut proto::SettleResponse); 5] = [
            |response| response.header = None,
            |response| response.changes[0].end_ms = 0,
            |response| response.changes[0].number = 0,
            |response| response.number = 1,
            |response| response.changes = vec![response.changes[0]; CHANGES_MAX + 1],
        ];
        for change in bad {
            let mut response = good.clone();
            change(&mut response);
            assert!(decode_response(&response, 10).is_err(), "{response:?}");
        }
    }
}
