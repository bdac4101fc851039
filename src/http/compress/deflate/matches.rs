//! Where a text repeats itself.

use memchr::memchr2_iter;

/// How far back a match may be.
const DISTANCE_MAX: usize = 32 << 10;
/// The longest match.
const LENGTH_MAX: usize = 258;
/// The shortest one.
const LENGTH_MIN: usize = 3;
/// Places are remembered in this many slots.
const SLOT_BITS: u32 = 12;
/// Bytes from a quotation mark on that tell places apart: those of a whole time stamp, `"],[1700000000,"`, by which the same step of the
/// series before is found, and of half of it, by which the step before is.
const LONG: usize = 16;
const SHORT: usize = 8;

/// A stretch of a text: bytes as they are, and behind them some that have been before. A match is at most 258 bytes long; a length of 0 is
/// none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Step {
    pub(super) literals: u16,
    pub(super) length: u16,
    pub(super) distance: u16,
}

/// Finds repetitions. A slot has the last place whose bytes have its hash.
#[derive(Debug)]
pub(super) struct Finder {
    long: Vec<u16>,
    short: Vec<u16>,
}

impl Default for Finder {
    fn default() -> Self {
        Finder { long: vec![0; 1 << SLOT_BITS], short: vec![0; 1 << SLOT_BITS] }
    }
}

impl Finder {
    /// Cuts a text into stretches. It has at most 65,535 bytes.
    pub(super) fn find(&mut self, text: &[u8], steps: &mut Vec<Step>) {
        steps.clear();
        // An empty slot is a place like others: the text's beginning.
        self.long.fill(0);
        self.short.fill(0);
        let mut done = 0;
        for at in memchr2_iter(b'"', b'\n', text).take_while(|at| at + LONG <= text.len()) {
            let (word, next) = (word(text, at), word(text, at + SHORT));
            let long = self.long.get_mut(slot(word ^ next.rotate_left(29).wrapping_mul(NEXT)));
            let long = long.map(|slot| usize::from(std::mem::replace(slot, at as u16)));
            let short = self.short.get_mut(slot(word));
            let short = short.map(|slot| usize::from(std::mem::replace(slot, at as u16)));
            if at < done {
                continue;
            }
            let is_alike =
                |before: &usize| *before < at && at - before <= DISTANCE_MAX && self::word(text, *before) == word;
            let long = long.filter(|before| is_alike(before) && self::word(text, before + SHORT) == next);
            let Some(before) = long.or(short.filter(is_alike)) else { continue };
            let back = common_end(&text[..before], &text[done..at]);
            let length = back + SHORT + common_start(&text[before + SHORT..], &text[at + SHORT..]);
            push(steps, at - back - done, length, at - before);
            done = at - back + length;
        }
        steps.push(Step { literals: (text.len() - done) as u16, length: 0, distance: 0 });
    }
}

/// Two odd numbers without a pattern.
const WORD: u64 = 0x9e37_79b9_7f4a_7c15;
const NEXT: u64 = 0x9fb2_1c65_1e98_df25;

/// The slot of places where these bytes are: the product's highest bits depend on all of them.
fn slot(word: u64) -> usize {
    (word.wrapping_mul(WORD) >> (u64::BITS - SLOT_BITS)) as usize
}

/// Eight bytes, the first one lowest; they are there.
fn word(text: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(text[at..at + SHORT].try_into().unwrap_or_default())
}

/// How many bytes both begin with; the second is the shorter one.
fn common_start(before: &[u8], text: &[u8]) -> usize {
    let words = before.chunks_exact(SHORT).zip(text.chunks_exact(SHORT));
    let mut length = 0;
    for (before, text) in words {
        let differing = word(before, 0) ^ word(text, 0);
        if differing != 0 {
            return length + (differing.trailing_zeros() / u8::BITS) as usize;
        }
        length += SHORT;
    }
    length + before[length..].iter().zip(&text[length..]).take_while(|(before, text)| before == text).count()
}

/// How many bytes both end with.
fn common_end(before: &[u8], text: &[u8]) -> usize {
    before.iter().rev().zip(text.iter().rev()).take_while(|(before, text)| before == text).count()
}

/// A long match is several: none of them shorter than one may be.
fn push(steps: &mut Vec<Step>, mut literals: usize, mut length: usize, distance: usize) {
    while length > 0 {
        let rest = length.saturating_sub(LENGTH_MAX);
        let piece = length.min(LENGTH_MAX) - if (1..LENGTH_MIN).contains(&rest) { LENGTH_MIN - rest } else { 0 };
        steps.push(Step { literals: literals as u16, length: piece as u16, distance: distance as u16 });
        (literals, length) = (0, length - piece);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn steps(text: &str) -> Vec<(u16, u16, u16)> {
        let mut steps = Vec::new();
        Finder::default().find(text.as_bytes(), &mut steps);
        steps.iter().map(|step| (step.literals, step.length, step.distance)).collect()
    }

    #[test]
    fn times_are_found_where_the_series_before_has_them() {
        let first = "[1700000000,\"0.25\"],[1700000060,\"0.7531\"],[1700000120,\"0.9\"],";
        let second = "[1700000000,\"0.38\"],[1700000060,\"0.6802\"],[1700000120,\"0.4\"],";
        let (time, half) = ("\"],[1700000060,\"0.".len() as u16, "\"],[1700000".len() as u16);
        assert_eq!(
            steps(&format!("{first}{second}")),
            [
                // The step before, of which this one differs in its last digits.
                ("[1700000000,\"0.25\"],[1700000060,\"0.7531".len() as u16, half, 22),
                ("120,\"0.9".len() as u16, half, 19),
                // The series before.
                ("000,\"0.38".len() as u16, time, first.len() as u16),
                ("6802".len() as u16, time, first.len() as u16),
                ("4\"],".len() as u16, 0, 0),
            ]
        );
    }

    #[test]
    fn long_matches_are_several_none_too_short() {
        for length in 3..2000 {
            let mut steps = Vec::new();
            push(&mut steps, 7, length, 9);
            let lengths: Vec<usize> = steps.iter().map(|step| usize::from(step.length)).collect();
            assert_eq!(lengths.iter().sum::<usize>(), length);
            assert!(lengths.iter().all(|length| (LENGTH_MIN..=LENGTH_MAX).contains(length)), "{lengths:?}");
            assert_eq!(steps.iter().map(|step| step.literals).sum::<u16>(), 7);
        }
    }
}
