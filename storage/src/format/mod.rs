//! What all file formats share: headers with magic and version, checksummed sections, sealed JSON. `docs/format/` has the
//! bytes. The checksum is verified at the door; what comes after reads bytes that some writer meant.

pub(crate) mod binary;
pub(crate) mod json;
pub(crate) mod varint;

/// Whether a checksum holds. Fuzzing builds let everything through, so that the decoders behind it are reached.
pub(crate) fn checksum_holds(bytes: &[u8], crc: u32) -> bool {
    cfg!(fuzzing) || crc32c::crc32c(bytes) == crc
}

/// How JSON files write 128-bit ids: 32 lower-case hexadecimal digits.
pub(crate) fn id_text(id: u128) -> String {
    format!("{id:032x}")
}

/// Reads what [`id_text`] wrote, and nothing else.
pub(crate) fn parse_id(text: &str) -> Option<u128> {
    u128::from_str_radix(text, 16).ok().filter(|id| id_text(*id) == text)
}
