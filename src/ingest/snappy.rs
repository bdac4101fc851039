//! Snappy blocks from strangers: what a body announces is checked before any memory is taken for it.

use std::sync::Arc;

use marigram_storage::write::{Arena, ArenaPool};

use super::DecodeError;

/// No element of the format yields more than 64 bytes from fewer than two (a copy of up to 64 bytes takes three bytes, one of up
/// to 11 takes two), so a body of n bytes cannot expand to more than this many times n.
const EXPANSION_MAX: usize = 32;

/// Decompresses a block of at most `limit` bytes into memory of the pool.
///
/// # Errors
/// [`DecodeError::NotSnappy`], also for a length that the body cannot expand to; [`DecodeError::TooLarge`].
pub fn decompress(body: &[u8], limit: usize, arenas: &Arc<ArenaPool>) -> Result<Arena, DecodeError> {
    let announced = snap::raw::decompress_len(body).map_err(|error| DecodeError::NotSnappy(error.to_string()))?;
    if announced > body.len().saturating_mul(EXPANSION_MAX) {
        let text = format!("{} bytes announce {announced}, which they cannot expand to", body.len());
        return Err(DecodeError::NotSnappy(text));
    }
    if announced > limit {
        return Err(DecodeError::TooLarge { bytes: announced as u64, limit });
    }
    let mut decoder = snap::raw::Decoder::new();
    let mut plain = arenas.take(announced);
    let written = decoder.decompress(body, &mut plain).map_err(|error| DecodeError::NotSnappy(error.to_string()))?;
    // A block yields what it announces, or is an error; what an earlier request left behind is never handed on.
    plain.truncate(written);
    Ok(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_compresses_best_still_passes() {
        let plain = vec![7u8; 1 << 20];
        let body = snap::raw::Encoder::new().compress_vec(&plain).unwrap();
        assert_eq!(**decompress(&body, 1 << 20, &Arc::default()).unwrap(), plain);
        assert!(matches!(decompress(&body, (1 << 20) - 1, &Arc::default()), Err(DecodeError::TooLarge { .. })));
    }

    #[test]
    fn a_small_body_that_announces_much_is_refused() {
        let gigabytes = [0xff, 0xff, 0xff, 0xff, 0x0f, 0x00];
        assert!(matches!(decompress(&gigabytes, 1 << 30, &Arc::default()), Err(DecodeError::NotSnappy(_))));
        let megabytes = [0x80, 0x80, 0x80, 0x08, 0x00];
        assert!(matches!(decompress(&megabytes, 1 << 30, &Arc::default()), Err(DecodeError::NotSnappy(_))));
    }
}
