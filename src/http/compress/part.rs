//! Parts of a DEFLATE stream (RFC 1951), each compressed by itself.
//!
//! libdeflate is the fastest, but knows only whole streams. What it makes of a part is opened again: the block is no longer the last
//! one, and an empty stored block is put behind it, which ends at a byte's end, so that the next part begins there.
//!
//! ```text
//!  whole    │1│10│ codes │ literals and matches │ end of block │ 0 … 0 │
//!  opened   │0│10│ codes │ literals and matches │ end of block │0│00│ 0 … 0 │ 00 00 FF FF │
//! ```
//!
//! Where the block ends in its last byte nobody tells. But behind the code that ends a block all bits are 0, so the last bit that is 1 is
//! one of that code, and how many 0 the code has behind it follows from the lengths of the codes, with which the block begins. What is
//! not a single block with codes of its own is compressed by flate2.

use std::cell::RefCell;

use flate2::{Compress, Compression, FlushCompress};
use libdeflater::{CompressionError, CompressionLvl, Compressor};

/// The order in which the lengths of the codes for lengths stand (RFC 1951, 3.2.7).
const LENGTHS_ORDER: [usize; 19] = [16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15];
/// The symbol that ends a block.
const END_OF_BLOCK: usize = 256;
/// The longest code, bits.
const CODE_BITS_MAX: usize = 15;

thread_local! {
    /// Answers are long rows of digits: what higher levels save is little beside the time that they take. Both have tables of some
    /// 100 KiB.
    static STREAM: RefCell<Compress> = RefCell::new(Compress::new(Compression::fast(), false));
    /// Level 1 is the fastest one that compresses.
    static COMPRESSOR: RefCell<Compressor> =
        RefCell::new(Compressor::new(CompressionLvl::new(1).unwrap_or_default()));
}

/// A gzip file in one piece.
pub(super) fn gzip(bytes: &[u8]) -> Vec<u8> {
    whole(bytes, Compressor::gzip_compress_bound, Compressor::gzip_compress)
}

/// The part that ends the stream.
pub(super) fn deflate_last(bytes: &[u8]) -> Vec<u8> {
    whole(bytes, Compressor::deflate_compress_bound, Compressor::deflate_compress)
}

/// A part behind which others come. Ends with a byte.
pub(super) fn deflate(bytes: &[u8]) -> Vec<u8> {
    let mut stream = deflate_last(bytes);
    if open(&mut stream).is_some() { stream } else { deflate_blocks(bytes) }
}

/// What one of the compressor's formats makes of bytes; `bound` is how long that may be.
fn whole(
    bytes: &[u8],
    bound: impl Fn(&mut Compressor, usize) -> usize,
    compress: impl Fn(&mut Compressor, &[u8], &mut [u8]) -> Result<usize, CompressionError>,
) -> Vec<u8> {
    COMPRESSOR.with_borrow_mut(|compressor| {
        let mut out = vec![0; bound(compressor, bytes.len())];
        // There is room for whatever it becomes.
        let written = compress(compressor, bytes, &mut out).unwrap_or_default();
        out.truncate(written);
        out
    })
}

/// The same as [`deflate`], in however many blocks of whatever kinds.
fn deflate_blocks(mut bytes: &[u8]) -> Vec<u8> {
    STREAM.with_borrow_mut(|stream| {
        stream.reset();
        let mut out = Vec::with_capacity(bytes.len() / 2 + 64);
        loop {
            let before = stream.total_in();
            // Compression as such has no errors.
            let _ = stream.compress_vec(bytes, &mut out, FlushCompress::Sync);
            bytes = bytes.get((stream.total_in() - before) as usize..).unwrap_or_default();
            if bytes.is_empty() && out.len() < out.capacity() {
                return out;
            }
            out.reserve(out.len().max(64));
        }
    })
}

/// Lets other parts follow a whole stream; `None`, and nothing has changed, if that is not a single block with codes of its own.
fn open(stream: &mut Vec<u8>) -> Option<()> {
    let end_zeros = end_of_block(stream)?.trailing_zeros() as usize;
    let last = stream.iter().rposition(|byte| *byte != 0)?;
    let last_one = 8 * last + stream.get(last)?.ilog2() as usize;
    let end = last_one + 1 + end_zeros;
    if end.div_ceil(8) != stream.len() {
        return None;
    }
    *stream.first_mut()? &= !1;
    // The three bits before a stored block are zeros, as those that fill up a byte are.
    stream.resize((end + 3).div_ceil(8), 0);
    stream.extend_from_slice(&[0, 0, 0xff, 0xff]);
    Some(())
}

/// The code that ends the only block of a stream; its last bit is the lowest one. `None` where it is but zeros, and for streams that
/// are something else.
fn end_of_block(stream: &[u8]) -> Option<u32> {
    let mut bits = Bits { bytes: stream, at: 0 };
    let (is_last, kind) = (bits.take(1)?, bits.take(2)?);
    if (is_last, kind) != (1, 2) {
        return None;
    }
    let (literals, _distances) = (bits.take(5)? as usize + 257, bits.take(5)?);
    let mut lengths = [0u8; LENGTHS_ORDER.len()];
    for &symbol in LENGTHS_ORDER.iter().take(bits.take(4)? as usize + 4) {
        *lengths.get_mut(symbol)? = bits.take(3)? as u8;
    }
    let codes = Codes::new(&lengths);
    let mut lengths: Vec<u8> = Vec::with_capacity(literals);
    while lengths.len() < literals {
        let (length, times) = match codes.read(&mut bits)? {
            16 => (*lengths.last()?, 3 + bits.take(2)?),
            17 => (0, 3 + bits.take(3)?),
            18 => (0, 11 + bits.take(7)?),
            length => (length as u8, 1),
        };
        lengths.extend(std::iter::repeat_n(length, times as usize));
    }
    // The last repetition can go on into the lengths of the codes for distances.
    lengths.truncate(literals);
    Codes::new(&lengths).code_of(END_OF_BLOCK, &lengths).filter(|code| *code != 0)
}

/// Reads bits, the lowest of a byte first.
struct Bits<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Bits<'_> {
    fn next(&mut self) -> Option<u32> {
        let byte = self.bytes.get(self.at / 8)?;
        let bit = byte >> (self.at % 8) & 1;
        self.at += 1;
        Some(u32::from(bit))
    }

    /// A number of so many bits, the lowest one first.
    fn take(&mut self, count: u32) -> Option<u32> {
        (0..count).try_fold(0, |number, place| Some(number | self.next()? << place))
    }
}

/// Huffman codes that are told by their lengths (RFC 1951, 3.2.2): shorter ones come before longer ones, and those of the same length
/// are in the order of their symbols.
struct Codes {
    /// How many there are of each length.
    counts: [u32; CODE_BITS_MAX + 1],
    /// Which symbols they stand for.
    symbols: Vec<usize>,
}

impl Codes {
    /// The codes of symbols 0, 1, …, of these lengths; a length of 0 is none.
    fn new(lengths: &[u8]) -> Self {
        let mut counts = [0; CODE_BITS_MAX + 1];
        let mut symbols: Vec<usize> = Vec::with_capacity(lengths.len());
        for (length, count) in counts.iter_mut().enumerate().skip(1) {
            let of_length = lengths.iter().enumerate().filter(|(_, of)| usize::from(**of) == length);
            let before = symbols.len();
            symbols.extend(of_length.map(|(symbol, _)| symbol));
            *count = (symbols.len() - before) as u32;
        }
        Codes { counts, symbols }
    }

    /// The symbol of the next code.
    fn read(&self, bits: &mut Bits<'_>) -> Option<usize> {
        let (mut code, mut first, mut before) = (0, 0, 0);
        for count in self.counts.into_iter().skip(1) {
            code = code << 1 | bits.next()?;
            first <<= 1;
            // The codes of this length begin with `first`.
            if let Some(nth) = code.checked_sub(first).filter(|nth| *nth < count) {
                return self.symbols.get(before + nth as usize).copied();
            }
            first += count;
            before += count as usize;
        }
        None
    }

    /// The code of a symbol.
    fn code_of(&self, symbol: usize, lengths: &[u8]) -> Option<u32> {
        let length = usize::from(*lengths.get(symbol).filter(|length| **length > 0)?);
        let first = self.counts.get(1..length)?.iter().fold(0, |first, count| (first + count) << 1);
        let before = lengths.get(..symbol)?.iter().filter(|of| usize::from(**of) == length).count();
        Some(first + before as u32)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use proptest::prelude::*;

    use super::*;

    /// What the parts become again, and how long each was.
    fn unpacked(parts: &[Vec<u8>]) -> Vec<u8> {
        let mut back = Vec::new();
        let file = parts.concat();
        let mut stream = flate2::bufread::DeflateDecoder::new(&file[..]);
        stream.read_to_end(&mut back).unwrap();
        assert!(stream.into_inner().is_empty());
        back
    }

    fn is_opened(bytes: &[u8]) -> bool {
        open(&mut deflate_last(bytes)).is_some()
    }

    fn digits(count: usize) -> Vec<u8> {
        (0..count)
            .map(|i| format!("[{},\"{}\"],", 1_700_000_000 + i * 15, i * 7919 % 100_003))
            .collect::<String>()
            .into_bytes()
    }

    #[test]
    fn answers_are_parts_of_one_block() {
        for count in [4, 100, 1000, 1700] {
            assert!(is_opened(&digits(count)), "{count}");
        }
        // No block, a block with codes that everybody knows, stored ones, many blocks.
        let noise: Vec<u8> =
            (0..40_000u64).flat_map(|i| xxhash_rust::xxh3::xxh3_64(&i.to_le_bytes()).to_le_bytes()).collect();
        for other in [&b""[..], b"a", &noise, &digits(20_000)] {
            assert!(!is_opened(other), "{}", other.len());
            assert_eq!(unpacked(&[deflate(other), deflate_last(b"end")]), [other, b"end"].concat());
        }
    }

    fn texts() -> impl Strategy<Value = Vec<u8>> {
        let symbols = proptest::sample::select(vec![
            &b"0123456789"[..],
            b"01",
            b"0123456789\",[].",
            b"abcdefghijklmnopqrstuvwxyz{}_=",
        ]);
        let text = (symbols, proptest::collection::vec(any::<u8>(), 0..3000), 1usize..9).prop_map(
            |(symbols, picks, times)| {
                let text: Vec<u8> = picks.iter().map(|pick| symbols[usize::from(*pick) % symbols.len()]).collect();
                text.repeat(times)
            },
        );
        prop_oneof![3 => text, 1 => proptest::collection::vec(any::<u8>(), 0..3000)]
    }

    proptest! {
        #[test]
        fn parts_come_back_in_their_order(parts in proptest::collection::vec(texts(), 1..5)) {
            let (last, others) = parts.split_last().unwrap();
            let made: Vec<Vec<u8>> = others.iter().map(|part| deflate(part)).chain([deflate_last(last)]).collect();
            prop_assert!(unpacked(&made) == parts.concat());
        }

        /// Streams of strangers never come here; but nothing panics if a library changes what it makes.
        #[test]
        fn whatever_is_not_understood_stays_as_it_is(bytes in proptest::collection::vec(any::<u8>(), 0..300), first in 0u8..8) {
            let mut stream = bytes;
            stream.splice(..0, [0b101 | first << 3]);
            let before = stream.clone();
            if open(&mut stream).is_none() {
                prop_assert_eq!(stream, before);
            }
        }
    }
}
