//! Requests of query nodes and answers of storage nodes of any bytes. Whatever is accepted is in order, and its chunks
//! lie within the message.
#![no_main]

use libfuzzer_sys::fuzz_target;
use marigram::rpc::convert::{lookup, member, node, select, settle};
use marigram_proto::cluster as proto;
use marigram_storage::model::labels::Labels;
use prost::Message;

fuzz_target!(|bytes: &[u8]| {
    let Some((kind, bytes)) = bytes.split_first() else { return };
    match kind % 7 {
        0 => answer(bytes),
        1 => {
            let Ok(request) = proto::SelectRequest::decode(bytes) else { return };
            let _ = select::decode_request(request);
        }
        2 => {
            let Ok(request) = proto::LookupRequest::decode(bytes) else { return };
            let _ = lookup::decode_request(request);
        }
        3 => {
            let Ok(piece) = proto::LookupPiece::decode(bytes) else { return };
            let _ = select::decode_header(piece.header.as_ref());
            if let Ok(texts) = lookup::decode_items::<String>(&piece, None) {
                assert!(texts.is_sorted_by(|a, b| a < b));
            }
            if let Ok(labels) = lookup::decode_items::<Labels>(&piece, None) {
                assert!(labels.is_sorted_by(|a, b| a < b));
            }
        }
        4 => {
            let Ok(response) = proto::HandshakeResponse::decode(bytes) else { return };
            if let Ok(handshake) = node::decode_handshake(&response) {
                assert!(handshake.members.is_none_or(|list| list.check().is_ok()));
            }
        }
        5 => {
            if let Ok(request) = proto::SettleRequest::decode(bytes) {
                let _ = settle::decode_request(&request);
            }
            if let Ok(response) = proto::SettleResponse::decode(bytes)
                && let Ok((_, told)) = settle::decode_response(&response, 0)
            {
                assert!(told.settled.up_to_ms >= 0 && told.settled.since(told.settled.number).next().is_none());
            }
        }
        _ => {
            if let Ok(list) = proto::MemberList::decode(bytes)
                && let Ok(list) = member::decode_list(&list)
            {
                assert_eq!(member::decode_list(&member::encode_list(&list)), Ok(list));
            }
            if let Ok(block) = proto::BlockInfo::decode(bytes) {
                let _ = node::decode_block(&block);
            }
        }
    }
});

fn answer(bytes: &[u8]) {
    let Ok(piece) = proto::SelectPiece::decode(bytes) else { return };
    let mut joiner = select::Joiner::default();
    let Ok(mut series) = joiner.push(piece.clone()) else { return };
    let _ = joiner.push(piece);
    series.extend(joiner.finish());
    assert!(series.is_sorted_by(|a, b| (a.id, &a.replica) < (b.id, &b.replica)));
    for one in &series {
        assert_eq!(one.labels.id(), one.id);
        assert!(one.chunks.iter().all(|chunk| chunk.min_ms <= chunk.max_ms));
    }
}
