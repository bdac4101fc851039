//! Headers of segments and frames: fixed size, checksummed, and each knows its own position, so that a scan can find
//! the next whole frame behind a broken one.

use crc32c::crc32c;

use crate::error::{Error, Result};
use crate::format::{binary, checksum_holds};
use crate::model::time::TimeRange;

/// First bytes of a segment.
const SEGMENT_MAGIC: [u8; 4] = *b"MGWL";
/// Version of the segment format. Version 1 had samples row by row and labels as they are, version 2 no histograms; all are still
/// read.
const SEGMENT_VERSION: u32 = 3;
/// First bytes of a frame.
pub const FRAME_MAGIC: [u8; 4] = *b"MGWF";
/// Size of a segment's header.
pub const SEGMENT_HEADER_BYTES: usize = 48;
/// Size of a frame's header.
pub const FRAME_HEADER_BYTES: usize = 48;

/// Header of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentHeader {
    /// The number in its file name.
    pub number: u64,
    /// Position of the segment's first byte in the whole log. Everything below was durable when the segment was made.
    pub base: u64,
    /// Time range of the samples in the segment before, so that damage at that one's end has a range.
    pub previous_range: TimeRange,
}

/// Header of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameHeader {
    /// Length of the records behind the header.
    pub payload_bytes: u32,
    /// Position of the header's first byte in the whole log.
    pub position: u64,
    /// All below was durable when this was written.
    pub durable: u64,
    /// Time range of all samples in the segment, up to and with this frame.
    pub segment_range: TimeRange,
    /// CRC32C of the records.
    pub payload_crc: u32,
}

/// Splits a little-endian integer off the front.
macro_rules! take {
    ($bytes:expr, $type:ty) => {{
        let (head, rest) = $bytes.split_first_chunk::<{ size_of::<$type>() }>()?;
        $bytes = rest;
        <$type>::from_le_bytes(*head)
    }};
}

impl SegmentHeader {
    /// The header's bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = binary::header(SEGMENT_MAGIC, SEGMENT_VERSION);
        let mut fields = Vec::with_capacity(SEGMENT_HEADER_BYTES - out.len());
        fields.extend_from_slice(&self.number.to_le_bytes());
        fields.extend_from_slice(&self.base.to_le_bytes());
        fields.extend_from_slice(&self.previous_range.start_ms.to_le_bytes());
        fields.extend_from_slice(&self.previous_range.end_ms.to_le_bytes());
        binary::seal(&mut fields);
        out.extend_from_slice(&fields);
        debug_assert_eq!(out.len(), SEGMENT_HEADER_BYTES);
        out
    }

    /// The header at the front of a segment's bytes; `None` if it is not whole.
    ///
    /// # Errors
    /// [`Error::UnknownVersion`]: a newer program wrote the segment, and it must be left alone. `what` names it.
    pub fn decode(what: &str, bytes: &[u8]) -> Result<Option<Self>> {
        match binary::header_version(what, bytes, SEGMENT_MAGIC, 1..=SEGMENT_VERSION) {
            Err(error @ Error::UnknownVersion { .. }) => Err(error),
            Err(_) => Ok(None),
            Ok(_) => Ok(Self::decode_fields(bytes)),
        }
    }

    fn decode_fields(bytes: &[u8]) -> Option<Self> {
        let mut rest = binary::open("", "", bytes.get(binary::HEADER_BYTES..SEGMENT_HEADER_BYTES)?).ok()?;
        let number = take!(rest, u64);
        let base = take!(rest, u64);
        let previous_range = TimeRange { start_ms: take!(rest, i64), end_ms: take!(rest, i64) };
        rest.is_empty().then_some(SegmentHeader { number, base, previous_range })
    }
}

impl FrameHeader {
    /// The header's bytes.
    pub fn encode(&self) -> [u8; FRAME_HEADER_BYTES] {
        let mut out = [0; FRAME_HEADER_BYTES];
        out[..4].copy_from_slice(&FRAME_MAGIC);
        out[4..8].copy_from_slice(&self.payload_bytes.to_le_bytes());
        out[8..16].copy_from_slice(&self.position.to_le_bytes());
        out[16..24].copy_from_slice(&self.durable.to_le_bytes());
        out[24..32].copy_from_slice(&self.segment_range.start_ms.to_le_bytes());
        out[32..40].copy_from_slice(&self.segment_range.end_ms.to_le_bytes());
        out[40..44].copy_from_slice(&self.payload_crc.to_le_bytes());
        let crc = crc32c(&out[..44]);
        out[44..].copy_from_slice(&crc.to_le_bytes());
        out
    }

    /// The header at the front of `bytes`; `None` if it is not whole.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let header = bytes.get(..FRAME_HEADER_BYTES)?;
        let mut rest = header.strip_prefix(&FRAME_MAGIC)?;
        let (fields, crc) = header.split_last_chunk::<4>()?;
        if !checksum_holds(fields, u32::from_le_bytes(*crc)) {
            return None;
        }
        let payload_bytes = take!(rest, u32);
        let position = take!(rest, u64);
        let durable = take!(rest, u64);
        let segment_range = TimeRange { start_ms: take!(rest, i64), end_ms: take!(rest, i64) };
        let payload_crc = take!(rest, u32);
        (rest.len() == 4).then_some(FrameHeader { payload_bytes, position, durable, segment_range, payload_crc })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn headers_read_back_and_a_flipped_bit_is_seen(number: u64, base: u64, a: i64, b: i64, len: u32, at in 0usize..384) {
            let range = TimeRange { start_ms: a, end_ms: b };
            let segment = SegmentHeader { number, base, previous_range: range };
            let mut bytes = segment.encode();
            prop_assert_eq!(SegmentHeader::decode("", &bytes).unwrap(), Some(segment));
            bytes[at / 8] ^= 1 << (at % 8);
            prop_assert_eq!(SegmentHeader::decode("", &bytes).unwrap(), None);

            let frame = FrameHeader { payload_bytes: len, position: base, durable: number, segment_range: range, payload_crc: len ^ 1 };
            let mut bytes = frame.encode();
            prop_assert_eq!(FrameHeader::decode(&bytes), Some(frame));
            bytes[at / 8] ^= 1 << (at % 8);
            prop_assert_eq!(FrameHeader::decode(&bytes), None);
        }
    }

    #[test]
    fn a_newer_segment_is_refused_and_not_taken_for_damage() {
        let mut bytes = binary::header(SEGMENT_MAGIC, SEGMENT_VERSION + 1);
        bytes.extend_from_slice(&[0; 100]);
        assert!(matches!(SegmentHeader::decode("a", &bytes), Err(Error::UnknownVersion { version: 4, .. })));
    }
}
