//! One block: its codes and what they say.

use std::sync::LazyLock;

use super::codes::Codes;
use super::matches::Step;

/// Bytes, the end of a block, and lengths of matches; two more have a place among the codes that everybody knows, and no meaning.
const LITERALS: usize = 288;
/// Distances of matches; here, too, two have no meaning.
const DISTANCES: usize = 32;
const END_OF_BLOCK: usize = 256;
/// The longest codes here. Four of them and what is left of a byte fit into 64 bits; 15 are allowed.
const CODE_BITS: usize = 14;
/// Bits of a match beside its codes, at most.
const EXTRA_BITS: usize = 5 + 13;
/// The longest codes of lengths.
const LENGTH_CODE_BITS: usize = 7;
/// Codes tell of a length, that it repeats itself, or of zeros.
const LENGTHS: usize = 19;
/// The order in which the lengths of the codes for lengths stand (RFC 1951, 3.2.7).
const LENGTHS_ORDER: [usize; LENGTHS] = [16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15];

/// The codes that need not be told (RFC 1951, 3.2.6).
static KNOWN: LazyLock<(Codes<LITERALS>, Codes<DISTANCES>)> = LazyLock::new(|| {
    let lengths = std::array::from_fn(|symbol| match symbol {
        0..144 => 8,
        144..256 => 9,
        256..280 => 7,
        _ => 8,
    });
    (Codes::of_lengths(lengths), Codes::of_lengths([5; DISTANCES]))
});

/// Appends a block and an empty stored one behind it, which ends with a byte. The steps are all of the text.
pub(super) fn write(text: &[u8], steps: &[Step], out: &mut Vec<u8>) {
    let (literals, distances) = frequencies(text, steps);
    let literal_codes = Codes::of_frequencies(&literals, CODE_BITS);
    let distance_codes = Codes::of_frequencies(&distances, CODE_BITS);
    let lengths = Lengths::new(&literal_codes, &distance_codes);
    let told = lengths.bits() + literal_codes.bits(&literals) + distance_codes.bits(&distances);
    let known = KNOWN.0.bits(&literals) + KNOWN.1.bits(&distances);

    let mut bits = Bits::new(std::mem::take(out), told.min(known) + steps.len() * EXTRA_BITS);
    // Not the last block; then its kind.
    bits.push((0, 1));
    if told < known {
        bits.push((2, 2));
        lengths.write(&mut bits);
        write_steps(text, steps, &literal_codes, &distance_codes, &mut bits);
    } else {
        bits.push((1, 2));
        write_steps(text, steps, &KNOWN.0, &KNOWN.1, &mut bits);
    }
    *out = bits.end();
}

/// How often each symbol of literals and lengths occurs, and each of distances.
fn frequencies(text: &[u8], steps: &[Step]) -> ([u32; LITERALS], [u32; DISTANCES]) {
    // Neighbours are often the same, and a counter that has just been written is not to be had at once: each has counters of its own.
    let mut counts = [[0u32; LITERALS]; 4];
    let mut distances = [0; DISTANCES];
    for (literals, step) in stretches(text, steps) {
        let mut fours = literals.chunks_exact(counts.len());
        for four in &mut fours {
            counts.iter_mut().zip(four).for_each(|(counts, byte)| counts[usize::from(*byte)] += 1);
        }
        fours.remainder().iter().for_each(|byte| counts[0][usize::from(*byte)] += 1);
        if step.length > 0 {
            counts[0][length_symbol(step.length).0] += 1;
            distances[distance_symbol(step.distance).0] += 1;
        }
    }
    let [mut literals, others @ ..] = counts;
    others.iter().flatten().zip((0..LITERALS).cycle()).for_each(|(count, symbol)| literals[symbol] += count);
    literals[END_OF_BLOCK] = 1;
    (literals, distances)
}

fn write_steps(
    text: &[u8],
    steps: &[Step],
    literal_codes: &Codes<LITERALS>,
    distance_codes: &Codes<DISTANCES>,
    bits: &mut Bits,
) {
    for (literals, step) in stretches(text, steps) {
        let mut fours = literals.chunks_exact(4);
        for four in &mut fours {
            four.iter().for_each(|byte| bits.push(literal_codes.get(usize::from(*byte))));
            bits.flush();
        }
        fours.remainder().iter().for_each(|byte| bits.push(literal_codes.get(usize::from(*byte))));
        bits.flush();
        if step.length > 0 {
            let (symbol, extra) = length_symbol(step.length);
            bits.push(literal_codes.get(symbol));
            bits.push(extra);
            let (symbol, extra) = distance_symbol(step.distance);
            bits.push(distance_codes.get(symbol));
            bits.push(extra);
            bits.flush();
        }
    }
    bits.push(literal_codes.get(END_OF_BLOCK));
    bits.flush();
}

/// Each step with its literals.
fn stretches<'a>(text: &'a [u8], steps: &'a [Step]) -> impl Iterator<Item = (&'a [u8], &'a Step)> {
    steps.iter().scan(text, |text, step| {
        let (literals, rest) = text.split_at(usize::from(step.literals));
        *text = &rest[usize::from(step.length)..];
        Some((literals, step))
    })
}

/// The symbol of a length, and the bits behind it with their number (RFC 1951, 3.2.5): four symbols for each power of two.
fn length_symbol(length: u16) -> (usize, (u32, u32)) {
    let over = u32::from(length) - 3;
    if length == 258 {
        return (285, (0, 0));
    }
    let extra = over.max(4).ilog2() - 2;
    ((257 + 4 * extra + (over >> extra)) as usize, (over & ((1 << extra) - 1), extra))
}

/// The same of a distance: two symbols for each power of two.
fn distance_symbol(distance: u16) -> (usize, (u32, u32)) {
    let over = u32::from(distance) - 1;
    let extra = over.max(2).ilog2() - 1;
    ((2 * extra + (over >> extra)) as usize, (over & ((1 << extra) - 1), extra))
}

/// The lengths of a block's own codes as they are told.
struct Lengths {
    /// How many symbols are told of.
    literals: usize,
    distances: usize,
    /// Symbols of lengths, each with the bits behind it and their number.
    symbols: Vec<(usize, (u32, u32))>,
    codes: Codes<LENGTHS>,
    /// How many of the lengths of `codes` are told.
    told: usize,
}

impl Lengths {
    fn new(literal_codes: &Codes<LITERALS>, distance_codes: &Codes<DISTANCES>) -> Self {
        // At least one distance is told of, even if there is none.
        let (literals, distances) = (literal_codes.used(), distance_codes.used().max(1));
        let all = [&literal_codes.lengths[..literals], &distance_codes.lengths[..distances]].concat();
        let mut symbols = Vec::with_capacity(all.len());
        for run in all.chunk_by(|a, b| a == b) {
            match run[0] {
                0 => zeros(run.len(), &mut symbols),
                length => symbols.extend(std::iter::repeat_n((usize::from(length), (0, 0)), run.len())),
            }
        }
        let mut frequencies = [0; LENGTHS];
        symbols.iter().for_each(|(symbol, _)| frequencies[*symbol] += 1);
        let codes = Codes::of_frequencies(&frequencies, LENGTH_CODE_BITS);
        let last = LENGTHS_ORDER.iter().rposition(|symbol| codes.lengths[*symbol] > 0);
        let told = last.map_or(0, |last| last + 1).max(4);
        Lengths { literals, distances, symbols, codes, told }
    }

    fn bits(&self) -> usize {
        let symbol = |(symbol, (_, extra)): &(usize, (u32, u32))| (self.codes.get(*symbol).1 + extra) as usize;
        5 + 5 + 4 + 3 * self.told + self.symbols.iter().map(symbol).sum::<usize>()
    }

    fn write(&self, bits: &mut Bits) {
        bits.push((self.literals as u32 - 257, 5));
        bits.push((self.distances as u32 - 1, 5));
        bits.push((self.told as u32 - 4, 4));
        bits.flush();
        for symbol in LENGTHS_ORDER.iter().take(self.told) {
            bits.push((u32::from(self.codes.lengths[*symbol]), 3));
            bits.flush();
        }
        for (symbol, extra) in &self.symbols {
            bits.push(self.codes.get(*symbol));
            bits.push(*extra);
            bits.flush();
        }
    }
}

/// The symbols of so many zeros: there is one for 3 to 10 and one for 11 to 138.
fn zeros(mut count: usize, symbols: &mut Vec<(usize, (u32, u32))>) {
    while count > 0 {
        let (symbol, of_it) = match count {
            0..3 => ((0, (0, 0)), 1),
            3..11 => ((17, (count as u32 - 3, 3)), count),
            _ => ((18, (count.min(138) as u32 - 11, 7)), count.min(138)),
        };
        symbols.push(symbol);
        count -= of_it;
    }
}

/// Writes bits, the lowest of a byte first.
struct Bits {
    /// Whole bytes, up to `written`, and room behind them.
    bytes: Vec<u8>,
    written: usize,
    /// Bits that are not written, the first one lowest, and how many they are.
    pending: u64,
    count: u32,
}

impl Bits {
    /// Appends at most about so many bits to bytes.
    fn new(mut bytes: Vec<u8>, bits: usize) -> Self {
        let written = bytes.len();
        // The three bits of the block's beginning, what stands behind it, and whole words.
        bytes.resize(written + bits / 8 + 24, 0);
        Bits { bytes, written, pending: 0, count: 0 }
    }

    /// Adds so many bits. Those that have been added since [`Self::flush`] are at most 57.
    #[inline]
    fn push(&mut self, (bits, count): (u32, u32)) {
        self.pending |= u64::from(bits) << self.count;
        self.count += count;
    }

    /// Writes what is whole bytes.
    #[inline]
    fn flush(&mut self) {
        self.bytes[self.written..self.written + 8].copy_from_slice(&self.pending.to_le_bytes());
        self.written += (self.count / 8) as usize;
        self.pending >>= self.count & !7;
        self.count &= 7;
    }

    /// The bytes, with an empty stored block at the end: zeros to the end of a byte, its length, and that once more, inverted.
    fn end(mut self) -> Vec<u8> {
        self.push((0, 3));
        self.count = self.count.next_multiple_of(8);
        self.flush();
        self.bytes.truncate(self.written);
        self.bytes.extend_from_slice(&[0, 0, 0xff, 0xff]);
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_and_distances_as_in_the_specifications_tables() {
        for (length, expected) in [
            (3, (257, (0, 0))),
            (10, (264, (0, 0))),
            (11, (265, (0, 1))),
            (12, (265, (1, 1))),
            (13, (266, (0, 1))),
            (18, (268, (1, 1))),
            (19, (269, (0, 2))),
            (130, (280, (15, 4))),
            (131, (281, (0, 5))),
            (257, (284, (30, 5))),
            (258, (285, (0, 0))),
        ] {
            assert_eq!(length_symbol(length), expected, "{length}");
        }
        for (distance, expected) in [
            (1, (0, (0, 0))),
            (4, (3, (0, 0))),
            (5, (4, (0, 1))),
            (8, (5, (1, 1))),
            (9, (6, (0, 2))),
            (24_576, (28, (8191, 13))),
            (24_577, (29, (0, 13))),
            (32_768, (29, (8191, 13))),
        ] {
            assert_eq!(distance_symbol(distance), expected, "{distance}");
        }
    }

    #[test]
    fn zeros_are_told_together() {
        for count in 0..1000 {
            let mut symbols = Vec::new();
            zeros(count, &mut symbols);
            let told = |(symbol, (extra, _)): &(usize, (u32, u32))| match symbol {
                17 => 3 + *extra as usize,
                18 => 11 + *extra as usize,
                _ => 1,
            };
            assert_eq!(symbols.iter().map(told).sum::<usize>(), count);
            assert!(symbols.len() <= 3 + count / 138);
        }
    }
}
