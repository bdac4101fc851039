//! A sequence of integers of a known count, in the cheapest of a few forms.
//!
//! 1. All equal: the number.
//! 2. Sparse: one number that is the rule; the gaps between the exceptions and the exceptions are two sequences.
//! 3. Otherwise each number is `base + factor * u` (modulo 2^64, `factor` being what all differences have in common), and `u`
//!    is packed at one width, or coded by classes ([`coded`]), either counted up from the least number or zigzag around
//!    the middle one.

use super::coded::{self, Histogram, Plan, Writers};
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
/// A factor other than 1 follows the base.
const FLAG_FACTOR: u8 = 1 << 3;
/// The base is not 0 and follows.
const FLAG_BASE: u8 = 1 << 4;

/// Fewer numbers than this are not worth a code's header.
const CODED_COUNT_MIN: usize = 12;
/// As many numbers at most are tried as a plain list.
const LIST_COUNT_MAX: usize = 24;
/// Packed numbers are decoded several times faster than coded ones: this much larger they may be, in 64ths.
const PACKED_PREFERENCE: usize = 2;

/// Buffers of the encoder, reused.
#[derive(Default)]
pub(super) struct SequenceEncoder {
    offsets: Vec<u64>,
    up: Histogram,
    around: Histogram,
    writers: Writers,
    gaps: Vec<i64>,
    exceptions: Vec<i64>,
    sparse: Vec<u8>,
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
        if odd == 0 || part % odd != 0 {
            odd = gcd(part, odd);
            if odd == 1 {
                break;
            }
        }
    }
    odd << twos
}

/// A middle number, from a sample of them.
fn middle(numbers: &[i64]) -> i64 {
    let mut sample = [0i64; 15];
    let step = numbers.len().div_ceil(sample.len());
    let mut count = 0;
    for (slot, &number) in sample.iter_mut().zip(numbers.iter().step_by(step.max(1))) {
        *slot = number;
        count += 1;
    }
    let sample = &mut sample[..count];
    sample.sort_unstable();
    sample.get(count / 2).copied().unwrap_or(0)
}

impl SequenceEncoder {
    /// Appends the numbers; nothing for none.
    pub(super) fn encode(&mut self, numbers: &[i64], out: &mut Vec<u8>) {
        self.encode_form(numbers, true, out);
    }

    fn encode_form(&mut self, numbers: &[i64], may_be_sparse: bool, out: &mut Vec<u8>) {
        let Some(&first) = numbers.first() else { return };
        let (mut min, mut max) = (first, first);
        for &number in numbers {
            (min, max) = (min.min(number), max.max(number));
        }
        if min == max {
            push_base(FORM_EQUAL, min, out);
            return;
        }
        let usual = middle(numbers);
        let exceptions = numbers.iter().filter(|&&number| number != usual).count();
        if may_be_sparse && 2 * exceptions <= numbers.len() {
            let mut sparse = std::mem::take(&mut self.sparse);
            sparse.clear();
            self.encode_sparse(numbers, usual, &mut sparse);
            if 8 * exceptions > numbers.len() {
                // Between a half and an eighth of exceptions, either may be smaller.
                let start = out.len();
                self.encode_dense(numbers, min, max, usual, out);
                if out.len() - start > sparse.len() {
                    out.truncate(start);
                    out.extend_from_slice(&sparse);
                }
            } else {
                out.extend_from_slice(&sparse);
            }
            self.sparse = sparse;
            return;
        }
        self.encode_dense(numbers, min, max, usual, out);
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
        self.encode_form(&gaps, false, &mut part);
        push_uvarint(out, part.len() as u64);
        out.extend_from_slice(&part);
        self.part = part;
        self.encode_form(&exceptions, false, out);
        (self.gaps, self.exceptions) = (gaps, exceptions);
    }

    fn encode_dense(&mut self, numbers: &[i64], min: i64, max: i64, usual: i64, out: &mut Vec<u8>) {
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
            if out.len() - made < made - start {
                out.drain(start..made);
            } else {
                out.truncate(made);
            }
        }
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
}

impl SequenceDecoder {
    /// Decodes `bytes`, all of it, into the numbers, as many as `out` holds; `None` for bytes that no encoder makes.
    pub(super) fn decode(&mut self, bytes: &[u8], out: &mut [u64]) -> Option<()> {
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
        match form {
            FORM_EQUAL => out.fill(base),
            FORM_LIST => {
                for number in out.iter_mut() {
                    *number = unzigzag(take_uvarint(&mut rest)?) as u64;
                }
            }
            FORM_PACKED => {
                let (&width, packed) = rest.split_first()?;
                rest = packed;
                unpack(&mut rest, u32::from(width), out)?;
                scale(out, base, factor);
            }
            FORM_CODED_UP => {
                coded::decode(rest, &mut self.table, out)?;
                rest = &[];
                scale(out, base, factor);
            }
            FORM_CODED_AROUND => {
                coded::decode(rest, &mut self.table, out)?;
                rest = &[];
                for number in out.iter_mut() {
                    *number = (unzigzag(*number) as u64).wrapping_mul(factor).wrapping_add(base);
                }
            }
            FORM_SPARSE => {
                self.decode_sparse(&mut rest, base, out)?;
            }
            _ => return None,
        }
        rest.is_empty().then_some(())
    }

    fn decode_sparse(&mut self, rest: &mut &[u8], base: u64, out: &mut [u64]) -> Option<()> {
        let count = usize::try_from(take_uvarint(rest)?).ok().filter(|&count| count <= out.len())?;
        let length = usize::try_from(take_uvarint(rest)?).ok()?;
        let (gap_bytes, exception_bytes) = rest.split_at_checked(length)?;
        // Sequences within a sparse one are not sparse themselves, so this does not go deeper.
        let is_sparse = |bytes: &[u8]| bytes.first().is_some_and(|head| head & ((1 << FORM_BITS) - 1) == FORM_SPARSE);
        if is_sparse(gap_bytes) || is_sparse(exception_bytes) {
            return None;
        }
        let (mut gaps, mut exceptions) = (std::mem::take(&mut self.gaps), std::mem::take(&mut self.exceptions));
        gaps.resize(count, 0);
        exceptions.resize(count, 0);
        self.decode(gap_bytes, &mut gaps)?;
        self.decode(exception_bytes, &mut exceptions)?;
        out.fill(base);
        let mut at = 0usize;
        for (&gap, &exception) in gaps.iter().zip(&exceptions) {
            at = usize::try_from(gap).ok().and_then(|gap| at.checked_add(gap))?;
            *out.get_mut(at)? = exception;
            at += 1;
        }
        (self.gaps, self.exceptions) = (gaps, exceptions);
        *rest = &[];
        Some(())
    }
}

fn scale(out: &mut [u64], base: u64, factor: u64) {
    if factor == 1 {
        if base != 0 {
            out.iter_mut().for_each(|number| *number = number.wrapping_add(base));
        }
    } else {
        out.iter_mut().for_each(|number| *number = number.wrapping_mul(factor).wrapping_add(base));
    }
}
