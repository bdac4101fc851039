//! Sealed JSON: `format` and `version` are the first members, `crc32c` is the last.
//!
//! ```text
//! {"format":"…","version":1, … ,"crc32c":"0a1b2c3d"}⏎
//! └────── checksummed text ─────┘└──── 22 bytes ────┘
//! ```
//!
//! The checksum is the CRC32C, in eight lower-case hexadecimal digits, of all bytes before the comma that precedes the
//! member `crc32c`. So it can be checked without parsing.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

const CRC_BEGIN: &[u8] = b",\"crc32c\":\"";
const CRC_DIGITS: usize = 8;
const CRC_END: &[u8] = b"\"}\n";

#[derive(Serialize)]
struct Sealed<'a, T> {
    format: &'a str,
    version: u32,
    #[serde(flatten)]
    body: &'a T,
}

#[derive(Deserialize)]
struct Head {
    format: String,
    version: u32,
}

/// Writes `body`, a struct, as a sealed document.
pub(crate) fn seal<T: Serialize>(format: &str, version: u32, body: &T) -> Result<Vec<u8>> {
    let mut text = serde_json::to_vec(&Sealed { format, version, body })
        .map_err(|error| Error::BadInput(format!("{format} cannot be written as JSON: {error}")))?;
    let brace = text.pop();
    debug_assert_eq!(brace, Some(b'}'));
    let crc = crc32c::crc32c(&text);
    text.extend_from_slice(CRC_BEGIN);
    text.extend_from_slice(format!("{crc:08x}").as_bytes());
    text.extend_from_slice(CRC_END);
    Ok(text)
}

/// Checks and reads a sealed document. `what` names the file in errors.
pub(crate) fn open<T: DeserializeOwned>(what: &str, format: &str, version: u32, bytes: &[u8]) -> Result<T> {
    let damaged = |detail: &str| Error::corrupt(what, detail);
    let (body, digits) = split(bytes).ok_or_else(|| damaged("it does not end with a checksum"))?;
    let crc = u32::from_str_radix(digits, 16).map_err(|_| damaged("its checksum is not a number"))?;
    if !super::checksum_holds(body, crc) {
        return Err(damaged("the checksum does not match"));
    }
    let mut text = body.to_vec();
    text.push(b'}');
    let head: Head = serde_json::from_slice(&text).map_err(|e| Error::corrupt(what, e))?;
    if head.format != format {
        return Err(damaged(&format!("its format is {:?}", head.format)));
    }
    if head.version != version {
        return Err(Error::UnknownVersion { what: what.to_owned(), version: head.version });
    }
    serde_json::from_slice(&text).map_err(|e| Error::corrupt(what, e))
}

fn split(bytes: &[u8]) -> Option<(&[u8], &str)> {
    let rest = bytes.strip_suffix(CRC_END)?;
    let (rest, digits) = rest.split_at_checked(rest.len().checked_sub(CRC_DIGITS)?)?;
    let digits = std::str::from_utf8(digits).ok()?;
    let canonical = digits.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    canonical.then_some((rest.strip_suffix(CRC_BEGIN)?, digits))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Serialize, Deserialize, PartialEq, Debug)]
    struct Body {
        number: i64,
        text: String,
    }

    #[test]
    fn every_flipped_bit_and_every_cut_is_noticed() {
        let body = Body { number: i64::MIN, text: "a\"}\n".into() };
        let bytes = seal("test", 3, &body).unwrap();
        assert!(bytes.starts_with(b"{\"format\":\"test\",\"version\":3,\"number\":-92233"));
        assert_eq!(open::<Body>("file", "test", 3, &bytes).unwrap(), body);
        for bit in 0..bytes.len() * 8 {
            let mut damaged = bytes.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(matches!(open::<Body>("file", "test", 3, &damaged), Err(Error::Corrupt { .. })), "bit {bit}");
        }
        for len in 0..bytes.len() {
            assert!(matches!(open::<Body>("file", "test", 3, &bytes[..len]), Err(Error::Corrupt { .. })));
        }
        assert!(matches!(open::<Body>("file", "test", 2, &bytes), Err(Error::UnknownVersion { version: 3, .. })));
        assert!(matches!(open::<Body>("file", "rest", 3, &bytes), Err(Error::Corrupt { .. })));
    }
}
