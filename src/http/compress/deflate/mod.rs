//! DEFLATE (RFC 1951) for answers. What their texts are is known, and that makes it twice as fast as libraries, which look for
//! repetitions at every byte and find the short ones of random digits, which save nothing:
//!
//! 1. What repeats in JSON begins with a quotation mark, in lines of text also with a line: [`Finder`] looks nowhere else.
//! 2. All between is left to the codes of each block, which are made for its digits: [`codes::Codes`].
//!
//! ```text
//!  block  │0│kind│ codes │ literals and matches │ end of block │0│00│ 0 … 0 │ 00 00 FF FF │
//! ```
//!
//! Behind each block stands an empty stored one, which ends with a byte, so that blocks can be made by themselves and put one after the
//! other. None is the last one: that is [`END`].

mod block;
mod codes;
mod matches;

use std::cell::RefCell;

use matches::{Finder, Step};

/// The empty block that ends a stream.
pub(super) const END: [u8; 5] = [1, 0, 0, 0xff, 0xff];
/// The longest block: places in it have two bytes.
const BLOCK_BYTES: usize = u16::MAX as usize;

thread_local! {
    static SCRATCH: RefCell<(Finder, Vec<Step>)> = RefCell::default();
}

/// Compresses a part of a stream, of any length. Others and [`END`] can follow.
pub(super) fn deflate(part: &[u8]) -> Vec<u8> {
    SCRATCH.with_borrow_mut(|(finder, steps)| {
        let mut out = Vec::new();
        for bytes in part.chunks(BLOCK_BYTES) {
            finder.find(bytes, steps);
            block::write(bytes, steps, &mut out);
        }
        out
    })
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use proptest::prelude::*;

    use super::*;

    /// What the parts become again.
    fn inflated(parts: &[Vec<u8>]) -> Vec<u8> {
        let mut back = Vec::new();
        let file = [parts.concat(), END.to_vec()].concat();
        let mut stream = flate2::bufread::DeflateDecoder::new(&file[..]);
        stream.read_to_end(&mut back).unwrap();
        assert!(stream.into_inner().is_empty());
        back
    }

    fn comes_back(text: &[u8]) -> usize {
        let part = deflate(text);
        assert!(inflated(std::slice::from_ref(&part)) == text, "{}", text.len());
        part.len()
    }

    fn answer(series: usize, steps: usize) -> String {
        let samples = |series: usize| {
            let sample = |step: usize| {
                let digits =
                    xxhash_rust::xxh3::xxh3_64(&(series * steps + step).to_le_bytes()) % 10_000_000_000_000_000;
                format!("[{},\"0.{digits:016}\"]", 1_700_000_000 + step * 60)
            };
            (0..steps).map(sample).collect::<Vec<_>>().join(",")
        };
        let one = |i: usize| format!("{{\"metric\":{{\"pod\":\"checkout-{i}\"}},\"values\":[{}]}}", samples(i));
        (0..series).map(one).collect::<Vec<_>>().join(",")
    }

    #[test]
    fn digits_take_little_more_than_they_tell() {
        let (series, steps) = (60, 61);
        let text = answer(series, steps);
        let bits = 8.0 * comes_back(text.as_bytes()) as f64 / (series * steps) as f64;
        // 16 digits of log2(10) bits each, and where the rest has been before.
        assert!(bits < 16.0 * 10f64.log2() + 33.0, "{bits}");
    }

    #[test]
    fn short_texts_have_the_codes_that_need_not_be_told() {
        for text in [
            "a",
            "{\"status\":\"success\"}",
            "{\"status\":\"success\",\"data\":{\"resultType\":\"vector\",\"result\":[]}}",
        ] {
            let bytes = comes_back(text.as_bytes());
            assert!(bytes <= text.len() + 6, "{bytes} of {}", text.len());
        }
    }

    #[test]
    fn long_matches_and_long_parts_come_back() {
        let line = "\"0123456789abcdef\":".repeat(20);
        for length in (250..300).chain([1000, 40_000, BLOCK_BYTES - 1, BLOCK_BYTES, BLOCK_BYTES + 1, 200_000]) {
            let text: Vec<u8> = line.bytes().chain(std::iter::repeat(b'x')).take(length).collect();
            comes_back(&[&text[..], b"\n", &text].concat());
            let text: Vec<u8> = line.bytes().cycle().take(length).collect();
            comes_back(&text);
        }
        // Farther away than a match may be.
        let (far, text) = (answer(20, 61), "\"something that is there twice\"");
        for distance in (32_700..32_820).chain([60_000]) {
            comes_back(format!("{text}{}{text}", &far[..(distance - text.len()).min(far.len())]).as_bytes());
        }
    }

    /// All symbols alike, one alone, and frequencies with which codes would become longer than they may.
    #[test]
    fn every_distribution_of_bytes_has_codes() {
        comes_back(&(0..=255).cycle().take(60_000).collect::<Vec<u8>>());
        comes_back(&[b'x'; 60_000]);
        let (mut skewed, mut a, mut b) = (Vec::new(), 1, 1);
        for symbol in 0..22 {
            skewed.extend(std::iter::repeat_n(symbol, a));
            (a, b) = (b, a + b);
        }
        comes_back(&skewed);
    }

    fn texts() -> impl Strategy<Value = Vec<u8>> {
        let symbols = proptest::sample::select(vec![
            &b"0123456789"[..],
            b"01\"",
            b"0123456789\",[].",
            b"abcdefghijklmnopqrstuvwxyz{}_=\"\n",
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
            let made: Vec<Vec<u8>> = parts.iter().map(|part| deflate(part)).collect();
            prop_assert!(inflated(&made) == parts.concat());
            for (part, made) in parts.iter().zip(made) {
                prop_assert!(made.len() <= part.len() + part.len() / 100 + 200, "{} of {}", made.len(), part.len());
            }
        }
    }
}
