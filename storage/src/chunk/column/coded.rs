//! Numbers as prefix codes of their classes and the bits within the class: for what is not spread evenly.
//!
//! Encoding:
//! 1. Count the finest classes ([`classes`](super::classes)). From these counts alone follows what each coarser division
//!    would cost: the entropy of its classes, the bits within them, the code lengths in the header.
//! 2. Take the cheapest division, and Huffman's code for its classes.
//! 3. Numbers at even places go to the forward stream, those at odd places to the backward one.
//!
//! Decoding: a table look-up by the next bits gives class, code length and the number of bits within; as many numbers per
//! refill as the longest one allows.

use std::sync::LazyLock;

use super::bitstream::{HeaderBits, Lane, LaneWriter, REFILL_BITS};
use super::classes::{CLASSES_MAX, Division, SPLIT_MAX};
use super::huffman::{self, CODE_BITS_MAX, Entry, Lengths, SYMBOLS_MAX, Table};
use crate::chunk::COLUMN_SAMPLES_MAX;

/// Counts of the finest classes.
pub(super) struct Histogram {
    counts: [u32; CLASSES_MAX],
    /// (lower bound, count) of the classes that occur, ascending.
    occurring: Vec<(u64, u32)>,
    total: u32,
}

impl Default for Histogram {
    fn default() -> Self {
        Histogram { counts: [0; CLASSES_MAX], occurring: Vec::new(), total: 0 }
    }
}

/// A division and what the numbers cost in it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Plan {
    pub(super) division: Division,
    /// Estimated bits, header included.
    pub(super) bits: f32,
}

/// `c * log2(c)` for all counts of a column.
static COUNT_BITS: LazyLock<Vec<f32>> = LazyLock::new(|| {
    (0..=COLUMN_SAMPLES_MAX).map(|c| if c == 0 { 0.0 } else { c as f32 * (c as f32).log2() }).collect()
});

fn count_bits(count: u32) -> f32 {
    COUNT_BITS.get(count as usize).copied().unwrap_or(f32::MAX)
}

/// Entropy of symbols that occur so often, in bits.
pub(super) fn entropy_bits(counts: impl Iterator<Item = u32>) -> f32 {
    let (mut total, mut bits) = (0, 0.0);
    for count in counts {
        total += count;
        bits -= count_bits(count);
    }
    bits + count_bits(total)
}

/// Bits of the header besides the code lengths, roughly.
const HEADER_BITS: f32 = 20.0;
/// Bits of a code length in the header, roughly.
const LENGTH_BITS: f32 = 2.0;

impl Histogram {
    /// Counts the classes of the numbers.
    pub(super) fn count(&mut self, numbers: impl Iterator<Item = u64>) {
        self.counts.fill(0);
        self.total = 0;
        for number in numbers {
            self.counts[Division::FINEST.class(number)] += 1;
            self.total += 1;
        }
        self.occurring.clear();
        for (class, &count) in self.counts.iter().enumerate() {
            if count > 0
                && let Some((lower, _)) = Division::FINEST.range(class)
            {
                self.occurring.push((lower, count));
            }
        }
    }

    /// How many of the finest classes occur.
    pub(super) fn classes(&self) -> usize {
        self.occurring.len()
    }

    /// What the numbers would cost in a division; infinite where it has too many classes for one code.
    fn cost(&self, division: Division) -> f32 {
        let Some(&(lowest, _)) = self.occurring.first() else { return 0.0 };
        let first = division.class(lowest);
        let mut bits = count_bits(self.total) + HEADER_BITS;
        let (mut class, mut count) = (first, 0);
        let mut finish = |class: usize, count: u32| {
            bits -= count_bits(count);
            bits += count as f32 * division.range(class).map_or(64, |(_, extra)| extra) as f32;
        };
        for &(lower, more) in &self.occurring {
            let next = division.class(lower);
            if next != class {
                finish(class, count);
                (class, count) = (next, 0);
            }
            count += more;
        }
        finish(class, count);
        let classes = class - first + 1;
        if classes > SYMBOLS_MAX {
            return f32::INFINITY;
        }
        bits + LENGTH_BITS * classes as f32
    }

    /// The division in which the numbers cost least, as far as a descent finds it.
    pub(super) fn plan(&self) -> Plan {
        let mut best = Plan { division: Division { low: 0, split: 0 }, bits: f32::INFINITY };
        let half = self.total / 2;
        let mut seen = 0;
        let median = self.occurring.iter().find(|(_, count)| {
            seen += count;
            seen > half
        });
        let octave = median.map_or(0, |(lower, _)| 64 - lower.leading_zeros());
        for split in 0..=2 {
            let mut before = f32::INFINITY;
            for low in (0..=octave.min(63)).rev() {
                let bits = self.cost(Division { low, split });
                if bits < best.bits {
                    best = Plan { division: Division { low, split }, bits };
                }
                if bits > before {
                    break;
                }
                before = bits;
            }
        }
        best
    }
}

/// Buffers of the encoder.
#[derive(Default)]
pub(super) struct Writers {
    header: LaneWriter,
    forward: LaneWriter,
    backward: LaneWriter,
}

/// Code length that short columns keep to: filling a larger table would cost more than decoding.
fn code_bits_limit(count: usize, classes: usize) -> u32 {
    let by_count = if count < 1024 { 8 } else { 10 };
    by_count.max(usize::BITS - classes.leading_zeros())
}

/// Appends the numbers in a division, which must be one that [`Histogram::plan`] found for them.
pub(super) fn encode(
    numbers: impl Iterator<Item = u64> + Clone,
    division: Division,
    writers: &mut Writers,
    out: &mut Vec<u8>,
) {
    let (mut first, mut last, mut count) = (usize::MAX, 0, 0);
    let mut counts = [0u32; CLASSES_MAX];
    for number in numbers.clone() {
        let class = division.class(number);
        counts[class] += 1;
        (first, last) = (first.min(class), last.max(class));
        count += 1;
    }
    let counts = &counts[first..=last];
    debug_assert!(counts.len() <= SYMBOLS_MAX);
    let lengths = huffman::lengths(counts, code_bits_limit(count, counts.len()).min(CODE_BITS_MAX));
    let codes = huffman::codes(&lengths);
    let Writers { header, forward, backward } = writers;
    header.clear();
    header.push(u64::from(division.low), 6);
    header.push(u64::from(division.split), 2);
    header.push(counts.len() as u64 - 1, 6);
    header.push(u64::from(first > 0), 1);
    if first > 0 {
        header.push(first as u64, 8);
    }
    huffman::write_lengths(&lengths[..counts.len()], header);
    out.extend_from_slice(header.finish());
    forward.clear();
    backward.clear();
    let mut symbols = [(0u64, 0u64, 0u32, 0u32); SYMBOLS_MAX];
    for (at, symbol) in symbols.iter_mut().enumerate().take(counts.len()) {
        let (lower, extra) = division.range(first + at).unwrap_or_default();
        *symbol = (lower, u64::from(codes[at]), u32::from(lengths[at]), extra);
    }
    let write = |lane: &mut LaneWriter, number: u64| {
        let (lower, code, code_bits, extra) = symbols[(division.class(number) - first) % SYMBOLS_MAX];
        if extra + code_bits <= 56 {
            lane.push(code | (number - lower) << code_bits, code_bits + extra);
        } else {
            lane.push(code, code_bits);
            lane.push_wide(number - lower, extra);
        }
    };
    for (at, number) in numbers.enumerate() {
        write(if at % 2 == 0 { forward } else { backward }, number);
    }
    out.extend_from_slice(forward.finish());
    out.extend(backward.finish().iter().rev());
}

/// Decodes a whole run of coded numbers, as many as `out` holds, each through `map`, in order; `None` for bytes that no
/// encoder makes.
pub(super) fn decode(bytes: &[u8], table: &mut Table, out: &mut [u64], map: impl FnMut(u64) -> u64) -> Option<()> {
    let mut header = HeaderBits::new(bytes);
    let division = Division { low: u32::from(header.take(6)?), split: u32::from(header.take(2)?) };
    let classes = usize::from(header.take(6)?) + 1;
    let first = if header.take(1)? == 1 { usize::from(header.take(8)?) } else { 0 };
    let lengths: Lengths = huffman::read_lengths(&mut header, classes)?;
    if division.split > SPLIT_MAX {
        return None;
    }
    table.fill(&lengths[..classes], |class| division.range(first + class).filter(|(_, extra)| *extra < 64))?;
    let run = header.rest();
    let mut lanes = Lanes { run, forward: Lane::default(), backward: Lane::default() };
    match table.all_bits_max {
        0..=14 => lanes.read::<4>(table, out, map),
        15..=18 => lanes.read::<3>(table, out, map),
        19..=28 => lanes.read::<2>(table, out, map),
        29..=REFILL_BITS => lanes.read::<1>(table, out, map),
        _ => lanes.read_wide(table, out, map),
    }
    (lanes.forward.consumed_bytes() + lanes.backward.consumed_bytes() == run.len()).then_some(())
}

struct Lanes<'a> {
    run: &'a [u8],
    forward: Lane,
    backward: Lane,
}

/// The next number of a lane, whose window must hold all bits of it.
#[inline(always)]
fn take(lane: &mut Lane, entries: &[Entry; 1 << CODE_BITS_MAX], mask: usize) -> u64 {
    let window = lane.peek();
    let entry = entries[window as usize & mask & ((1 << CODE_BITS_MAX) - 1)];
    let extra = (window >> entry.code_bits) & ((1u64 << entry.extra_bits) - 1);
    lane.consume(u32::from(entry.all_bits));
    entry.lower.wrapping_add(extra)
}

impl Lanes<'_> {
    /// `PER_REFILL` numbers of each lane fit a refilled window.
    #[inline(never)]
    fn read<const PER_REFILL: usize>(&mut self, table: &Table, out: &mut [u64], mut map: impl FnMut(u64) -> u64) {
        let mask = (1usize << table.bits) - 1;
        let (mut forward, mut backward) = (self.forward, self.backward);
        let mut left = out;
        while left.len() >= 2 * PER_REFILL {
            // Where one lane was refilled and the other cannot be, the first only holds more than it needs.
            if !(forward.refill::<false>(self.run) && backward.refill::<true>(self.run)) {
                break;
            }
            let (now, rest) = left.split_at_mut(2 * PER_REFILL);
            for pair in now.chunks_exact_mut(2) {
                pair[0] = map(take(&mut forward, &table.entries, mask));
                pair[1] = map(take(&mut backward, &table.entries, mask));
            }
            left = rest;
        }
        for pair in left.chunks_mut(2) {
            forward.refill_at_end::<false>(self.run);
            pair[0] = map(take(&mut forward, &table.entries, mask));
            if let Some(odd) = pair.get_mut(1) {
                backward.refill_at_end::<true>(self.run);
                *odd = map(take(&mut backward, &table.entries, mask));
            }
        }
        (self.forward, self.backward) = (forward, backward);
    }

    /// Numbers that do not fit a window: the code first, then its bits in two parts.
    #[inline(never)]
    fn read_wide(&mut self, table: &Table, out: &mut [u64], mut map: impl FnMut(u64) -> u64) {
        let entries = &table.entries[..1 << table.bits];
        for pair in out.chunks_mut(2) {
            pair[0] = map(take_wide::<false>(&mut self.forward, self.run, entries));
            if let Some(odd) = pair.get_mut(1) {
                *odd = map(take_wide::<true>(&mut self.backward, self.run, entries));
            }
        }
    }
}

fn take_wide<const BACKWARD: bool>(lane: &mut Lane, run: &[u8], entries: &[Entry]) -> u64 {
    let refill = |lane: &mut Lane| {
        if !lane.refill::<BACKWARD>(run) {
            lane.refill_at_end::<BACKWARD>(run);
        }
    };
    refill(lane);
    let entry = entries.get(lane.peek() as usize & (entries.len() - 1)).copied().unwrap_or_default();
    lane.consume(u32::from(entry.code_bits));
    let extra = u32::from(entry.extra_bits);
    // At least 56 bits less a code of at most 11 are left.
    let low = lane.peek() & ((1u64 << extra.min(40)) - 1);
    lane.consume(extra.min(40));
    if extra <= 40 {
        return entry.lower.wrapping_add(low);
    }
    refill(lane);
    let high = lane.peek() & ((1u64 << (extra - 40)) - 1);
    lane.consume(extra - 40);
    entry.lower.wrapping_add(high << 40 | low)
}
