//! Lookups: label sets, names, values, metadata.

use bytes::Bytes;
use marigram_proto::cluster as proto;
use marigram_storage::model::labels::Labels;
use marigram_storage::model::matcher::Matcher;
use marigram_storage::model::time::TimeRange;
use marigram_storage::write::FamilyMetadata;
use prost::Message;

use super::select::{AnswerHeader, Scope, decode_matchers, decode_scope, encode_matcher, encode_scope};
use super::{Malformed, append, labels, select};
use crate::rpc::PIECE_BYTES_MAX;

/// Tag and length of an item.
const ITEM_OVERHEAD_BYTES: usize = 10;
/// Selectors of one request.
const SELECTORS_MAX: usize = 1000;

/// What to look up.
#[derive(Debug)]
pub struct Lookup {
    /// Who asks.
    pub scope: Scope,
    /// Series that match any; none: all.
    pub selectors: Vec<Vec<Matcher>>,
    /// The range.
    pub range: TimeRange,
    /// Items at most; 0: all.
    pub limit: usize,
    /// The label whose values are asked for.
    pub label_name: String,
}

/// As it travels.
pub fn encode_request(
    scope: &Scope,
    selectors: &[Vec<Matcher>],
    range: TimeRange,
    limit: usize,
    label_name: &str,
) -> proto::LookupRequest {
    let selector =
        |matchers: &Vec<Matcher>| proto::Selector { matchers: matchers.iter().map(encode_matcher).collect() };
    proto::LookupRequest {
        scope: Some(encode_scope(scope)),
        selectors: selectors.iter().map(selector).collect(),
        start_ms: range.start_ms,
        end_ms: range.end_ms,
        limit: limit as u64,
        label_name: label_name.to_owned(),
    }
}

/// One that came.
///
/// # Errors
/// See [`decode_scope`] and [`decode_matchers`].
pub fn decode_request(request: proto::LookupRequest) -> Result<Lookup, Malformed> {
    if request.selectors.len() > SELECTORS_MAX {
        return Err(Malformed(format!("there are more than {SELECTORS_MAX} selectors")));
    }
    let selectors = request.selectors.iter().map(|selector| decode_matchers(&selector.matchers));
    Ok(Lookup {
        scope: decode_scope(request.scope.as_ref())?,
        selectors: selectors.collect::<Result<_, _>>()?,
        range: TimeRange { start_ms: request.start_ms, end_ms: request.end_ms },
        limit: usize::try_from(request.limit).unwrap_or(usize::MAX),
        label_name: request.label_name,
    })
}

/// What a lookup answers: something that travels as bytes.
pub trait Item: Sized + Ord {
    /// As it travels.
    fn encode(&self) -> Bytes;
    /// One that came.
    ///
    /// # Errors
    /// Bytes that no node sends.
    fn decode(bytes: &Bytes) -> Result<Self, Malformed>;
}

impl Item for Labels {
    fn encode(&self) -> Bytes {
        Bytes::copy_from_slice(self.as_bytes())
    }

    fn decode(bytes: &Bytes) -> Result<Self, Malformed> {
        labels(bytes)
    }
}

impl Item for String {
    fn encode(&self) -> Bytes {
        Bytes::copy_from_slice(self.as_bytes())
    }

    fn decode(bytes: &Bytes) -> Result<Self, Malformed> {
        let text = std::str::from_utf8(bytes).map_err(|_| Malformed::new("a name or value is not UTF-8"))?;
        Ok(text.to_owned())
    }
}

/// The pieces of an answer: the header alone, then the items.
///
/// # Errors
/// An item that does not fit into a message.
pub fn encode_items<T: Item>(header: &AnswerHeader, items: &[T]) -> Result<Vec<proto::LookupPiece>, Malformed> {
    let mut pieces =
        vec![proto::LookupPiece { header: Some(select::encode_header(header)), ..proto::LookupPiece::default() }];
    let encoded = items.iter().map(|item| {
        let bytes = item.encode();
        (bytes.len() + ITEM_OVERHEAD_BYTES, bytes)
    });
    for items in grouped(encoded)? {
        pieces.push(proto::LookupPiece { header: None, items });
    }
    Ok(pieces)
}

/// Items that came: in order, each once, also behind `last`.
///
/// # Errors
/// Items that no node sends.
pub fn decode_items<T: Item>(piece: &proto::LookupPiece, last: Option<&T>) -> Result<Vec<T>, Malformed> {
    let items = piece.items.iter().map(T::decode).collect::<Result<Vec<T>, _>>()?;
    if !last.into_iter().chain(&items).is_sorted_by(|a, b| a < b) {
        return Err(Malformed::new("the items of an answer are not in order"));
    }
    Ok(items)
}

/// The pieces of an answer: the header alone, then the metadata.
///
/// # Errors
/// Metadata that does not fit into a message.
pub fn encode_metadata(
    header: &AnswerHeader,
    metadata: impl Iterator<Item = FamilyMetadata>,
) -> Result<Vec<proto::MetadataPiece>, Malformed> {
    let mut pieces =
        vec![proto::MetadataPiece { header: Some(select::encode_header(header)), ..proto::MetadataPiece::default() }];
    let encoded = metadata.map(|family| {
        let encoded = append::encode_metadata(&family.family, &family.entry);
        (encoded.encoded_len() + ITEM_OVERHEAD_BYTES, encoded)
    });
    for metadata in grouped(encoded)? {
        pieces.push(proto::MetadataPiece { header: None, metadata });
    }
    Ok(pieces)
}

/// Metadata that came.
///
/// # Errors
/// Metadata that no node sends.
pub fn decode_metadata(piece: proto::MetadataPiece) -> Result<Vec<FamilyMetadata>, Malformed> {
    piece.metadata.into_iter().map(append::decode_metadata).collect()
}

/// Groups of at most one message's size.
fn grouped<T>(sized: impl Iterator<Item = (usize, T)>) -> Result<Vec<Vec<T>>, Malformed> {
    let mut groups: Vec<Vec<T>> = Vec::new();
    let mut left = 0;
    for (bytes, item) in sized {
        if bytes > PIECE_BYTES_MAX {
            return Err(Malformed::new("an item does not fit into a message"));
        }
        match groups.last_mut() {
            Some(group) if bytes <= left => group.push(item),
            _ => {
                groups.push(vec![item]);
                left = PIECE_BYTES_MAX;
            }
        }
        left -= bytes;
    }
    Ok(groups)
}

#[cfg(test)]
mod tests {
    use marigram_storage::model::member::Member;
    use proptest::prelude::*;

    use super::*;

    fn header() -> AnswerHeader {
        let member = Member { node_name: "a".into(), disk_id: 3, zone: String::new() };
        AnswerHeader { member, drop_mark_ms: None, members: None, cluster_id: None }
    }

    fn travelled<T: Item>(items: &[T]) -> Result<Vec<T>, Malformed> {
        let mut arrived: Vec<T> = Vec::new();
        for (at, piece) in encode_items(&header(), items).unwrap().into_iter().enumerate() {
            assert!(piece.encoded_len() <= PIECE_BYTES_MAX + 1024);
            assert_eq!(piece.header.is_some(), at == 0);
            let more = decode_items(&piece, arrived.last())?;
            arrived.extend(more);
        }
        Ok(arrived)
    }

    proptest! {
        #[test]
        fn texts_survive_the_way(texts in proptest::collection::btree_set(".{0,20}", 0..30)) {
            let texts: Vec<String> = texts.into_iter().collect();
            prop_assert_eq!(travelled(&texts), Ok(texts));
        }
    }

    #[test]
    fn many_items_take_several_pieces_and_their_order_is_checked() {
        let mut texts: Vec<String> = (0..4000).map(|i| format!("{i:01000}")).collect();
        assert_eq!(travelled(&texts), Ok(texts.clone()));
        texts.swap(3998, 3999);
        assert!(travelled(&texts).is_err());
        let labels = [Labels::from_pairs([("a", "1")]), Labels::from_pairs([("a", "2")])];
        assert_eq!(travelled(&labels), Ok(labels.to_vec()));
        assert!(encode_items(&header(), &["x".repeat(PIECE_BYTES_MAX)]).is_err());
    }
}
