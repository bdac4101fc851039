//! Between what travels and what the store speaks.
//!
//! Whatever arrives is checked before it becomes a type of the store: lengths of ids, canonical labels, sums of
//! lengths and counts, order. Bytes that no sender makes are [`Malformed`]: a server answers `InvalidArgument`, a
//! client takes them for a corrupt answer. Nothing here allocates more than a small multiple of the message.

pub mod append;
pub mod lookup;
pub mod member;
pub mod node;
pub mod select;
pub mod settle;
mod starts;
pub mod status;

use marigram_storage::Error;
use marigram_storage::model::labels::{Labels, SeriesId};
use tonic::Status;

/// Bytes of an id of a series, a disk or a cluster.
pub(crate) const ID_BYTES: usize = 16;

/// A message that no sender makes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("malformed message: {0}")]
pub struct Malformed(pub String);

impl Malformed {
    pub(crate) fn new(what: impl Into<String>) -> Self {
        Malformed(what.into())
    }

    /// What it means in the answer of `address`.
    pub fn in_answer_of(self, address: &str) -> Error {
        Error::corrupt(format!("an answer of {address}"), self.0)
    }
}

impl From<Malformed> for Status {
    fn from(malformed: Malformed) -> Self {
        Status::invalid_argument(malformed.to_string())
    }
}

/// Sixteen bytes, little-endian.
pub(crate) fn id(bytes: &[u8], what: &str) -> Result<u128, Malformed> {
    let bytes: [u8; ID_BYTES] =
        bytes.try_into().map_err(|_| Malformed(format!("{what} has {} bytes instead of {ID_BYTES}", bytes.len())))?;
    Ok(u128::from_le_bytes(bytes))
}

/// Labels in their canonical form.
pub(crate) fn labels(bytes: &[u8]) -> Result<Labels, Malformed> {
    Labels::from_canonical(bytes).map_err(|error| Malformed(error.to_string()))
}

/// Labels in their canonical form, which must have this id.
pub(crate) fn labels_of(id: SeriesId, bytes: &[u8]) -> Result<Labels, Malformed> {
    if SeriesId::of(bytes) != id {
        return Err(Malformed::new("labels do not have the id that came with them"));
    }
    labels(bytes)
}
