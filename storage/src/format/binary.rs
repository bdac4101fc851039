//! Headers and sections of binary files.
//!
//! A file begins with 12 bytes: four of magic, the version, the CRC32C of those eight. They keep this form in every
//! version, so that a damaged header and a newer file are told apart. A section is its payload and the CRC32C of it.

use std::ops::RangeInclusive;

use crate::error::{Error, Result};

/// Length of a file's header.
pub(crate) const HEADER_BYTES: usize = 12;
/// Length of a checksum.
pub(crate) const CRC_BYTES: usize = 4;

/// The header of a file.
pub(crate) fn header(magic: [u8; 4], version: u32) -> Vec<u8> {
    let mut bytes = magic.to_vec();
    bytes.extend_from_slice(&version.to_le_bytes());
    seal(&mut bytes);
    bytes
}

/// Checks a file's header; which of the `known` versions it has. `what` names the file in errors.
pub(crate) fn header_version(what: &str, file: &[u8], magic: [u8; 4], known: RangeInclusive<u32>) -> Result<u32> {
    let header = file.get(..HEADER_BYTES).ok_or_else(|| Error::corrupt(what, "the file ends within its header"))?;
    let fields = open(what, "header", header)?;
    if !fields.starts_with(&magic) {
        return Err(Error::corrupt(what, "the magic is that of another kind of file"));
    }
    match u32_at(fields, 4) {
        Some(found) if known.contains(&found) => Ok(found),
        found => Err(Error::UnknownVersion { what: what.to_owned(), version: found.unwrap_or(0) }),
    }
}

/// Makes bytes a section: appends their checksum.
pub(crate) fn seal(bytes: &mut Vec<u8>) {
    let crc = crc32c::crc32c(bytes);
    bytes.extend_from_slice(&crc.to_le_bytes());
}

/// The payload of a section, its checksum verified.
pub(crate) fn open<'a>(what: &str, section: &str, bytes: &'a [u8]) -> Result<&'a [u8]> {
    let (payload, crc) =
        bytes.split_last_chunk::<CRC_BYTES>().ok_or_else(|| Error::corrupt(what, format!("{section}: too short")))?;
    if !super::checksum_holds(payload, u32::from_le_bytes(*crc)) {
        return Err(Error::corrupt(what, format!("{section}: the checksum does not match")));
    }
    Ok(payload)
}

/// The little-endian `u32` at a byte offset.
#[inline]
pub(crate) fn u32_at(bytes: &[u8], offset: usize) -> Option<u32> {
    bytes.get(offset..)?.first_chunk().map(|chunk| u32::from_le_bytes(*chunk))
}

/// The little-endian `u64` at a byte offset.
#[inline]
pub(crate) fn u64_at(bytes: &[u8], offset: usize) -> Option<u64> {
    bytes.get(offset..)?.first_chunk().map(|chunk| u64::from_le_bytes(*chunk))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_tells_damage_from_another_version() {
        let bytes = header(*b"TEST", 1);
        assert_eq!(bytes.len(), HEADER_BYTES);
        header_version("file", &bytes, *b"TEST", 1..=1).unwrap();
        assert!(matches!(
            header_version("file", &bytes, *b"TEST", 2..=2),
            Err(Error::UnknownVersion { version: 1, .. })
        ));
        assert!(matches!(header_version("file", &bytes, *b"REST", 1..=1), Err(Error::Corrupt { .. })));
        for bit in 0..bytes.len() * 8 {
            let mut damaged = bytes.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(matches!(header_version("file", &damaged, *b"TEST", 1..=1), Err(Error::Corrupt { .. })));
        }
    }
}
