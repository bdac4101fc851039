//! Prefix codes of classes, short ones for frequent classes.
//!
//! 1. Huffman's lengths, then limited to [`CODE_BITS_MAX`] by lengthening the rarest codes until they fit again.
//! 2. Only the lengths are stored. Codes are canonical: ascending by length, then by class; read from the lowest bit.

use super::bitstream::{HeaderBits, LaneWriter};

/// Longest code that a decoder takes; its table has two to the power of this entries.
pub(super) const CODE_BITS_MAX: u32 = 11;
/// Most classes of one code.
pub(super) const SYMBOLS_MAX: usize = 64;

/// Code lengths, 0 for a class that does not occur. One class that occurs alone has a code of no bits.
pub(super) type Lengths = [u8; SYMBOLS_MAX];

/// Lengths of the codes for classes that occur so often; at least one of `counts` must not be 0. No code is longer than
/// `limit`, which must allow a code for each class.
pub(super) fn lengths(counts: &[u32], limit: u32) -> Lengths {
    let mut lengths = [0u8; SYMBOLS_MAX];
    // (count, class), ascending: the leaves. Inner nodes come into being in ascending order too, behind the leaves.
    let mut weights = [0u32; 2 * SYMBOLS_MAX];
    let mut leaves = [0u8; SYMBOLS_MAX];
    let mut used = 0;
    for (class, &count) in counts.iter().enumerate().take(SYMBOLS_MAX) {
        if count > 0 {
            let mut at = used;
            while at > 0 && weights[at - 1] > count {
                (weights[at], leaves[at]) = (weights[at - 1], leaves[at - 1]);
                at -= 1;
            }
            (weights[at], leaves[at]) = (count, class as u8);
            used += 1;
        }
    }
    if used < 2 {
        return lengths;
    }
    let mut parents = [0u8; 2 * SYMBOLS_MAX];
    let (mut leaf, mut inner) = (0, used);
    let root = 2 * used - 2;
    for node in used..=root {
        weights[node] = 0;
        for _ in 0..2 {
            let take_leaf = leaf < used && (inner >= node || weights[leaf] <= weights[inner]);
            let child = if take_leaf { &mut leaf } else { &mut inner };
            parents[*child] = node as u8;
            weights[node] = weights[node].saturating_add(weights[*child]);
            *child += 1;
        }
    }
    let mut depths = [0u8; 2 * SYMBOLS_MAX];
    for node in (0..root).rev() {
        depths[node] = depths[usize::from(parents[node])] + 1;
    }
    limit_depths(&mut depths[..used], limit);
    for (leaf, depth) in leaves[..used].iter().zip(depths) {
        lengths[usize::from(*leaf)] = depth;
    }
    lengths
}

/// Cuts depths (of the rarest class first) to `limit`, and repairs the sum of `2^-depth` to be at most 1.
fn limit_depths(depths: &mut [u8], limit: u32) {
    let limit_depth = limit as u8;
    if depths.iter().all(|&depth| depth <= limit_depth) {
        return;
    }
    let mut sum = 0u32;
    for depth in depths.iter_mut() {
        *depth = (*depth).min(limit_depth);
        sum += 1 << (limit - u32::from(*depth));
    }
    let room = 1u32 << limit;
    while sum > room {
        // The rarest of the longest codes that may still grow.
        let mut best = None::<usize>;
        for (at, &depth) in depths.iter().enumerate() {
            if depth < limit_depth && best.is_none_or(|b| depth > depths[b]) {
                best = Some(at);
            }
        }
        let Some(at) = best else { return };
        depths[at] += 1;
        sum -= 1 << (limit - u32::from(depths[at]));
    }
    for depth in depths.iter_mut().rev() {
        while *depth > 1 && sum + (1 << (limit - u32::from(*depth))) <= room {
            sum += 1 << (limit - u32::from(*depth));
            *depth -= 1;
        }
    }
}

/// The canonical codes of lengths, to be written from the lowest bit.
pub(super) fn codes(lengths: &[u8]) -> [u16; SYMBOLS_MAX] {
    let mut codes = [0u16; SYMBOLS_MAX];
    let mut next = first_codes(lengths);
    for (code, &length) in codes.iter_mut().zip(lengths) {
        if length > 0 {
            let canonical = next[usize::from(length)];
            next[usize::from(length)] += 1;
            *code = canonical.reverse_bits() >> (16 - length);
        }
    }
    codes
}

fn first_codes(lengths: &[u8]) -> [u16; 16] {
    let mut counts = [0u16; 16];
    for &length in lengths.iter().filter(|&&length| length > 0) {
        counts[usize::from(length & 15)] += 1;
    }
    let mut next = [0u16; 16];
    let mut code = 0u16;
    for length in 1..16 {
        code = (code + counts[length - 1]) << 1;
        next[length] = code;
    }
    next
}

/// What the bits to come mean.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Entry {
    /// Lower bound of the class.
    pub(super) lower: u64,
    /// Bits of its code.
    pub(super) code_bits: u8,
    /// Bits after the code that say where in the class.
    pub(super) extra_bits: u8,
    /// Bits of both.
    pub(super) all_bits: u8,
}

impl Entry {
    fn new(lower: u64, code_bits: u8, extra_bits: u32) -> Self {
        let extra_bits = extra_bits as u8;
        Entry { lower, code_bits, extra_bits, all_bits: code_bits + extra_bits }
    }
}

/// Table of the entries for all values of the next `bits` bits.
pub(super) struct Table {
    pub(super) entries: [Entry; 1 << CODE_BITS_MAX],
    pub(super) bits: u32,
    /// Most bits of a code and what follows it.
    pub(super) all_bits_max: u32,
}

impl Default for Table {
    fn default() -> Self {
        Table { entries: [Entry::default(); 1 << CODE_BITS_MAX], bits: 0, all_bits_max: 0 }
    }
}

impl Table {
    /// Fills the table; `None` unless the lengths make a complete code. `range` gives lower bound and extra bits of a class.
    pub(super) fn fill(&mut self, lengths: &[u8], range: impl Fn(usize) -> Option<(u64, u32)>) -> Option<()> {
        self.bits = u32::from(lengths.iter().copied().max()?);
        if self.bits > CODE_BITS_MAX {
            return None;
        }
        if self.bits == 0 {
            let (lower, extra) = range(0)?;
            self.entries[0] = Entry::new(lower, 0, extra);
            self.all_bits_max = extra;
            return (lengths.len() == 1).then_some(());
        }
        let size = 1usize << self.bits;
        let mut filled = 0;
        for &length in lengths.iter().filter(|&&length| length > 0) {
            filled += size >> length;
        }
        if filled != size {
            return None;
        }
        let codes = codes(lengths);
        self.all_bits_max = 0;
        let entries = self.entries.get_mut(..size)?;
        for (class, (&length, &code)) in lengths.iter().zip(&codes).enumerate() {
            if length > 0 {
                let (lower, extra) = range(class)?;
                let entry = Entry::new(lower, length, extra);
                self.all_bits_max = self.all_bits_max.max(u32::from(entry.all_bits));
                for slot in entries.iter_mut().skip(usize::from(code)).step_by(1 << length) {
                    *slot = entry;
                }
            }
        }
        Some(())
    }
}

/// Writes the lengths of the classes: the first as it is, the others by their difference from the last one that occurred.
/// The first class must occur.
pub(super) fn write_lengths(lengths: &[u8], bits: &mut LaneWriter) {
    let Some((&first, others)) = lengths.split_first() else { return };
    if others.is_empty() {
        return;
    }
    bits.push(u64::from(first), 4);
    let mut before = first;
    for &length in others {
        if length == 0 {
            bits.push(0b0111, 4);
            continue;
        }
        match i16::from(length) - i16::from(before) {
            0 => bits.push(0, 1),
            1 => bits.push(0b01, 2),
            -1 => bits.push(0b011, 3),
            _ => bits.push(0b1111 | u64::from(length) << 4, 8),
        }
        before = length;
    }
}

/// Reads the lengths of `count` classes.
pub(super) fn read_lengths(bits: &mut HeaderBits<'_>, count: usize) -> Option<Lengths> {
    let mut lengths = [0u8; SYMBOLS_MAX];
    let (first, others) = lengths.get_mut(..count)?.split_first_mut()?;
    if others.is_empty() {
        return Some(lengths);
    }
    *first = bits.take(4)?;
    let mut before = *first;
    for length in others {
        let ones = bits.take_ones(4)?;
        *length = match ones {
            0 => before,
            1 => before.checked_add(1)?,
            2 => before.checked_sub(1)?,
            3 => 0,
            _ => bits.take(4)?,
        };
        if *length > CODE_BITS_MAX as u8 {
            return None;
        }
        if *length > 0 {
            before = *length;
        }
    }
    Some(lengths)
}
