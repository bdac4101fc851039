//! What all file formats share: headers with magic and version, checksummed sections, sealed JSON. `docs/format/` has the
//! bytes. The checksum is verified at the door; what comes after reads bytes that some writer meant.

pub(crate) mod binary;
pub(crate) mod json;
pub(crate) mod varint;

/// Whether a checksum holds. Fuzzing builds let everything through, so that the decoders behind it are reached.
pub(crate) fn checksum_holds(bytes: &[u8], crc: u32) -> bool {
    cfg!(fuzzing) || crc32c::crc32c(bytes) == crc
}
