//! A sequence of integers of a known count, in the cheapest of a few forms.
//!
//! 1. All equal: the number.
//! 2. Sparse: one number that is the rule; the gaps between the exceptions and the exceptions are two sequences.
//! 3. Otherwise each number is `base + factor * u` (modulo 2^64, `factor` being what all differences have in common), and `u`
//!    is packed at one width, or coded by classes ([`coded`]), either counted up from the least number or zigzag around
//!    the middle one, or it is one of few distinct numbers: these, the most frequent first, and their ranks are two
//!    sequences.
//!
//! A sparse sequence may hold ranked ones, and both may hold simple ones; nothing goes deeper.

use super::coded::{self, Histogram, Plan, Writers};
use super::distinct::{DISTINCT_MAX, Distinct};
use super::huffman::Table;
use super::packing::{pack, packed_bytes, unpack};
use crate::format::varint::{push_uvarint, take_uvarint, unzigzag, zigzag};

const FORM_BITS: u32 = 3;
const FORM_EQUAL: u8 = 0;
const FORM_LIST: u8 = 1;
const FORM_PACKED: u8 = 2;
const FORM_CODED_UP: u8 = 3;
const FORM_CODED_AROUND: u8 = 4;
const FORM_SPARSE: u8 = 5;
const FORM_RANKED: u8 = 6;
/// A factor other than 1 follows the base.
const FLAG_FACTOR: u8 = 1 << 3;
/// The base is not 0 and follows.
const FLAG_BASE: u8 = 1 << 4;

/// Fewer numbers than this are not worth a code's header.
const CODED_COUNT_MIN: usize = 12;
/// As many numbers at most are tried as a plain list.
const LIST_COUNT_MAX: usize = 24;
/// Offsets below this have classes of their own anyway.
const RANKED_RANGE_MIN: u64 = 8;
/// Packed numbers are decoded several times faster than coded ones: this much larger they may be, in 64ths.
const PACKED_PREFERENCE: usize = 2;

/// What a sequence may be, by what it is part of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Depth {
    Any,
    NotSparse,
    Simple,
}

/// Buffers of the encoder, reused.
#[derive(Default)]
pub(super) struct SequenceEncoder {
    distinct: Distinct,
    ranks: Vec<i64>,
    offsets: Vec<u64>,
    up: Histogram,
    around: Histogram,
    writers: Writers,
    gaps: Vec<i64>,
    exceptions: Vec<i64>,
    part: Vec<u8>,
}

/// Greatest common divisor; the other number where one is 0.
fn gcd(mut a: u64, mut b: u64) -> u64 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

/// What all offsets have in common; `or` is all of them or-ed together and not 0.
fn common_factor(offsets: &[u64], or: u64) -> u64 {
    let twos = or.trailing_zeros();
    let mut odd = 0u64;
    for &offset in offsets {
        let part = offset >> twos;
        if odd == 0 || !part.is_multiple_of(odd) {
            odd = gcd(part, odd);
            if odd == 1 {
                break;
            }
        }
    }
    odd << twos
}

/// A middle one of `count` numbers, from a sample of them. The places follow the golden ratio, so that they keep no step
/// with whatever repeats in the column.
pub(super) fn middle(count: usize, number: impl Fn(usize) -> i64) -> i64 {
    let mut sample = [0i64; 15];
    if count == 0 {
        return 0;
    }
    for (at, slot) in sample.iter_mut().enumerate() {
        let fraction = (at as u32).wrapping_mul(0x9e37_79b9);
        *slot = number(((u64::from(fraction) * count as u64) >> 32) as usize);
    }
    sample.sort_unstable();
    sample[sample.len() / 2]
}

impl SequenceEncoder {
    /// Appends the numbers; nothing for none.
    pub(super) fn encode(&mut self, numbers: &[i64], out: &mut Vec<u8>) {
        self.encode_form(numbers, Depth::Any, out);
    }

    fn encode_form(&mut self, numbers: &[i64], depth: Depth, out: &mut Vec<u8>) {
        let Some(&first) = numbers.first() else { return };
        let (mut min, mut max) = (first, first);
        for &number in numbers {
            (min, max) = (min.min(number), max.max(number));
        }
        if min == max {
            push_base(FORM_EQUAL, min, out);
            return;
        }
        let usual = middle(numbers.len(), |at| numbers[at]);
        let exceptions = numbers.iter().filter(|&&number| number != usual).count();
        // The wider the numbers, the more a shorter sequence of them is worth.
        let wide = max.wrapping_sub(min) as u64 >> 32 != 0;
        let worth_a_try = if wide { 4 * exceptions <= 3 * numbers.len() } else { 2 * exceptions <= numbers.len() };
        if depth > Depth::Any || !worth_a_try {
            return self.encode_dense(numbers, min, max, usual, depth, out);
        }
        let start = out.len();
        self.encode_sparse(numbers, usual, out);
        if 8 * exceptions > numbers.len() {
            let made = out.len();
            self.encode_dense(numbers, min, max, usual, depth, out);
            keep_shorter(start, made, out);
        }
    }

    fn encode_sparse(&mut self, numbers: &[i64], usual: i64, out: &mut Vec<u8>) {
        let (mut gaps, mut exceptions) = (std::mem::take(&mut self.gaps), std::mem::take(&mut self.exceptions));
        gaps.clear();
        exceptions.clear();
        let mut from = 0;
        for (at, &number) in numbers.iter().enumerate() {
            if number != usual {
                gaps.push((at - from) as i64);
                exceptions.push(number);
                from = at + 1;
            }
        }
        push_base(FORM_SPARSE, usual, out);
        push_uvarint(out, gaps.len() as u64);
        let mut part = std::mem::take(&mut self.part);
        part.clear();
        self.encode_form(&gaps, Depth::Simple, &mut part);
        push_uvarint(out, part.len() as u64);
        out.extend_from_slice(&part);
        self.part = part;
        self.encode_form(&exceptions, Depth::NotSparse, out);
        (self.gaps, self.exceptions) = (gaps, exceptions);
    }

    fn encode_dense(&mut self, numbers: &[i64], min: i64, max: i64, usual: i64, depth: Depth, out: &mut Vec<u8>) {
        let start = out.len();
        let offsets = &mut self.offsets;
        offsets.clear();
        let mut or = 0;
        offsets.extend(numbers.iter().map(|&number| {
            let offset = number.wrapping_sub(min) as u64;
            or |= offset;
            offset
        }));
        let factor = common_factor(offsets, or);
        let range = max.wrapping_sub(min) as u64 / factor;
        if factor.is_power_of_two() {
            let shift = factor.trailing_zeros();
            offsets.iter_mut().for_each(|offset| *offset >>= shift);
        } else {
            offsets.iter_mut().for_each(|offset| *offset /= factor);
        }
        let width = u64::BITS - range.leading_zeros();
        let packed = packed_bytes(numbers.len(), width) + 1;
        // The middle number, in offsets: it is one of the numbers, so the factor divides it.
        let centre = (usual.wrapping_sub(min) as u64) / factor;
        let around = |offset: u64| zigzag(offset.wrapping_sub(centre) as i64);
        let mut chosen = (FORM_PACKED, packed, Plan::default());
        if numbers.len() >= CODED_COUNT_MIN {
            self.up.count(offsets.iter().copied());
            self.around.count(offsets.iter().map(|&offset| around(offset)));
            for (form, histogram) in [(FORM_CODED_UP, &self.up), (FORM_CODED_AROUND, &self.around)] {
                let plan = histogram.plan();
                let bytes = (plan.bits / 8.0) as usize;
                if plan.bits.is_finite()
                    && bytes + bytes * PACKED_PREFERENCE / 64 < packed
                    && (chosen.0 == FORM_PACKED || bytes < chosen.1)
                {
                    chosen = (form, bytes, plan);
                }
            }
            if depth < Depth::Simple && range >= RANKED_RANGE_MIN && self.up.classes() <= DISTINCT_MAX {
                let distinct_max = numbers.len() / 4;
                if self.distinct.count(offsets, distinct_max) {
                    let ranked = &self.distinct.ranked;
                    let ranks_bits = coded::entropy_bits(ranked.iter().map(|&(_, count)| count));
                    let bytes = (ranks_bits as usize + ranked.len() * (width as usize + 2)) / 8 + 6;
                    if bytes < chosen.1 {
                        chosen = (FORM_RANKED, bytes, Plan::default());
                    }
                }
            }
        }
        let (form, _, plan) = chosen;
        let (base, flag) =
            (if form == FORM_CODED_AROUND { usual } else { min }, if factor == 1 { 0 } else { FLAG_FACTOR });
        push_base(form | flag, base, out);
        if factor != 1 {
            push_uvarint(out, factor);
        }
        match form {
            FORM_CODED_UP => coded::encode(offsets.iter().copied(), plan.division, &mut self.writers, out),
            FORM_CODED_AROUND => {
                coded::encode(offsets.iter().map(|&offset| around(offset)), plan.division, &mut self.writers, out);
            }
            FORM_RANKED => self.encode_ranked(out),
            _ => {
                out.push(width as u8);
                pack(offsets, width, out);
            }
        }
        if numbers.len() <= LIST_COUNT_MAX {
            let made = out.len();
            out.push(FORM_LIST);
            for &number in numbers {
                push_uvarint(out, zigzag(number));
            }
            keep_shorter(start, made, out);
        }
    }

    /// Appends the distinct numbers that were counted, and the ranks of the offsets.
    fn encode_ranked(&mut self, out: &mut Vec<u8>) {
        let (mut ranks, mut part) = (std::mem::take(&mut self.ranks), std::mem::take(&mut self.part));
        ranks.clear();
        ranks.extend(self.distinct.ranked.iter().map(|&(number, _)| number as i64));
        push_uvarint(out, ranks.len() as u64);
        part.clear();
        // The offsets are needed after this, and encoding uses the buffer that they are in.
        let offsets = std::mem::take(&mut self.offsets);
        self.encode_form(&ranks, Depth::Simple, &mut part);
        push_uvarint(out, part.len() as u64);
        out.extend_from_slice(&part);
        ranks.clear();
        ranks.extend(offsets.iter().map(|&offset| i64::from(self.distinct.rank(offset))));
        self.encode_form(&ranks, Depth::Simple, out);
        (self.ranks, self.part, self.offsets) = (ranks, part, offsets);
    }
}

/// Of two encodings, one from `start` to `made` and one from there on, keeps the shorter one; none is no encoding.
pub(super) fn keep_shorter(start: usize, made: usize, out: &mut Vec<u8>) {
    if made == start || out.len() - made < made - start {
        out.drain(start..made);
    } else {
        out.truncate(made);
    }
}

fn push_base(form: u8, base: i64, out: &mut Vec<u8>) {
    if base == 0 {
        out.push(form);
    } else {
        out.push(form | FLAG_BASE);
        push_uvarint(out, zigzag(base));
    }
}

/// Buffers of the decoder, reused.
#[derive(Default)]
pub(super) struct SequenceDecoder {
    table: Table,
    gaps: Vec<u64>,
    exceptions: Vec<u64>,
    distinct: Vec<u64>,
}

impl SequenceDecoder {
    /// Decodes `bytes`, all of it, into the numbers, as many as `out` holds; `None` for bytes that no encoder makes.
    pub(super) fn decode(&mut self, bytes: &[u8], out: &mut [u64]) -> Option<()> {
        self.decode_form(bytes, Depth::Any, None, out)
    }

    /// Decodes as [`SequenceDecoder::decode`] does, each number added to the one before, the first to `start`.
    pub(super) fn decode_sums(&mut self, bytes: &[u8], start: u64, out: &mut [u64]) -> Option<()> {
        self.decode_form(bytes, Depth::Any, Some(start), out)
    }

    fn decode_form(&mut self, bytes: &[u8], depth: Depth, sums: Option<u64>, out: &mut [u64]) -> Option<()> {
        if out.is_empty() {
            return bytes.is_empty().then_some(());
        }
        let (&head, mut rest) = bytes.split_first()?;
        let form = head & ((1 << FORM_BITS) - 1);
        if head >> 5 != 0 {
            return None;
        }
        let base = if head & FLAG_BASE != 0 { unzigzag(take_uvarint(&mut rest)?) as u64 } else { 0 };
        let factor = if head & FLAG_FACTOR != 0 { take_uvarint(&mut rest)? } else { 1 };
        let up = move |number: u64| number.wrapping_mul(factor).wrapping_add(base);
        let around = move |number: u64| up(unzigzag(number) as u64);
        match (form, sums) {
            (FORM_EQUAL, None) => out.fill(base),
            (FORM_EQUAL, Some(start)) => {
                for (at, number) in out.iter_mut().enumerate() {
                    *number = start.wrapping_add(base.wrapping_mul(at as u64 + 1));
                }
            }
            (FORM_CODED_UP, None) => return coded::decode(rest, &mut self.table, out, up),
            (FORM_CODED_UP, Some(start)) => return coded::decode(rest, &mut self.table, out, summed(start, up)),
            (FORM_CODED_AROUND, None) => return coded::decode(rest, &mut self.table, out, around),
            (FORM_CODED_AROUND, Some(start)) => {
                return coded::decode(rest, &mut self.table, out, summed(start, around));
            }
            (FORM_PACKED, _) => {
                let (&width, packed) = rest.split_first()?;
                rest = packed;
                unpack(&mut rest, u32::from(width), out)?;
                finish(out, sums, up);
            }
            (FORM_LIST, _) => {
                for number in out.iter_mut() {
                    *number = unzigzag(take_uvarint(&mut rest)?) as u64;
                }
                finish(out, sums, |number| number);
            }
            (FORM_RANKED, _) if depth < Depth::Simple => {
                self.decode_ranked(rest, out)?;
                rest = &[];
                finish(out, sums, up);
            }
            (FORM_SPARSE, _) if depth == Depth::Any => {
                self.decode_sparse(rest, base, out)?;
                rest = &[];
                finish(out, sums, |number| number);
            }
            _ => return None,
        }
        rest.is_empty().then_some(())
    }

    fn decode_ranked(&mut self, mut rest: &[u8], out: &mut [u64]) -> Option<()> {
        let count =
            usize::try_from(take_uvarint(&mut rest)?).ok().filter(|count| (1..=DISTINCT_MAX).contains(count))?;
        let (distinct_bytes, ranks) = take_part(rest)?;
        let mut distinct = std::mem::take(&mut self.distinct);
        distinct.resize(count, 0);
        self.decode_form(distinct_bytes, Depth::Simple, None, &mut distinct)?;
        self.decode_form(ranks, Depth::Simple, None, out)?;
        for number in out.iter_mut() {
            *number = *distinct.get(usize::try_from(*number).ok()?)?;
        }
        self.distinct = distinct;
        Some(())
    }

    fn decode_sparse(&mut self, mut rest: &[u8], base: u64, out: &mut [u64]) -> Option<()> {
        let count = usize::try_from(take_uvarint(&mut rest)?).ok().filter(|&count| count <= out.len())?;
        let (gap_bytes, exception_bytes) = take_part(rest)?;
        let (mut gaps, mut exceptions) = (std::mem::take(&mut self.gaps), std::mem::take(&mut self.exceptions));
        gaps.resize(count, 0);
        exceptions.resize(count, 0);
        self.decode_form(gap_bytes, Depth::Simple, None, &mut gaps)?;
        self.decode_form(exception_bytes, Depth::NotSparse, None, &mut exceptions)?;
        out.fill(base);
        let mut at = 0usize;
        for (&gap, &exception) in gaps.iter().zip(&exceptions) {
            at = usize::try_from(gap).ok().and_then(|gap| at.checked_add(gap))?;
            *out.get_mut(at)? = exception;
            at += 1;
        }
        (self.gaps, self.exceptions) = (gaps, exceptions);
        Some(())
    }
}

/// Splits off a part that its length precedes.
fn take_part(mut bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let length = usize::try_from(take_uvarint(&mut bytes)?).ok()?;
    bytes.split_at_checked(length)
}

/// What `map` makes of each number, added to the sum of those before.
#[inline(always)]
fn summed(start: u64, map: impl Fn(u64) -> u64) -> impl FnMut(u64) -> u64 {
    let mut sum = start;
    move |number| {
        sum = sum.wrapping_add(map(number));
        sum
    }
}

#[inline(always)]
fn finish(out: &mut [u64], sums: Option<u64>, map: impl Fn(u64) -> u64) {
    match sums {
        None => out.iter_mut().for_each(|number| *number = map(*number)),
        Some(start) => {
            let mut add = summed(start, map);
            out.iter_mut().for_each(|number| *number = add(*number));
        }
    }
}
