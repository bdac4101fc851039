//! The chunk that grows: values sample by sample into one byte stream, cheap to append to and small while it is open.
//!
//! Values:
//! 1. While every value is a decimal of few places (`12.34` is 1234 of exponent 2), the stream holds the differences of
//!    the integers, as varints. A counter that stands still costs a byte, a busy one two.
//! 2. Code 0 escapes: to a greater exponent, to one value bit for bit (a staleness marker), or for the rest of the chunk to
//!    raw mode, where each value is XORed with the one before and written without its leading and trailing zero bytes.
//!
//! Timestamps: as long as they keep their step, the first, the step and the count say all. What deviates is written as
//! changes of the step, into bytes of its own.
//!
//! `docs/format/chunk.md` has the bytes.

use super::column::decimal::{power, scale, unscale, whole};
use super::{COLUMN_SAMPLES_MAX, KIND_STREAM};
use crate::format::varint::{push_uvarint, take_uvarint, unzigzag, zigzag};

/// Greatest exponent of ten that is tried.
pub(crate) const EXPONENT_MAX: u8 = 9;
/// Stands for raw mode where an exponent is expected.
pub(crate) const RAW: u8 = 15;
/// After so many values in a row that are no decimals the rest of the chunk is raw.
const ESCAPES_BEFORE_RAW: u8 = 2;
/// Most bytes that one value takes: escape, kind, 8 bytes; or escape, exponent, 10 bytes of varint.
pub(crate) const VALUE_BYTES_MAX: usize = 12;

const ESCAPE_BITS: u8 = 0x20;
const ESCAPE_EXPONENT: u8 = 0x10;

/// Integers up to here are exact as floats, and so is a difference of two as `i64`.
const INTEGER_MAX: u64 = 1 << 53;

/// What the writer of a stream remembers between two values. Copied with the series, so it is small.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct ValueState {
    /// The last integer, or in raw mode the bits of the last value.
    previous: u64,
    /// Exponent at the beginning of the chunk.
    first_exponent: u8,
    exponent: u8,
    escapes: u8,
    /// Whether the last value is not told by `previous`: it was escaped.
    aside: bool,
}

/// The integer that stands for `value` at an exponent, if it does so bit for bit.
#[inline]
pub(crate) fn to_decimal(value: f64, exponent: u8) -> Option<i64> {
    match exponent {
        0 => whole(value).filter(|integer| integer.unsigned_abs() < INTEGER_MAX),
        exponent => scale(value, power(exponent.into())),
    }
}

/// The value of an integer at an exponent.
#[inline]
pub(crate) fn from_decimal(integer: i64, exponent: u8) -> f64 {
    match exponent {
        0 => integer as f64,
        exponent => unscale(integer, power(exponent.into())),
    }
}

/// A small buffer that a value is written to before it is known where it goes.
pub(crate) struct ValueBytes {
    bytes: [u8; 16],
    len: usize,
}

impl ValueBytes {
    #[inline]
    fn new() -> Self {
        ValueBytes { bytes: [0; 16], len: 0 }
    }

    #[inline]
    fn push(&mut self, byte: u8) {
        self.bytes[self.len & 15] = byte;
        self.len += 1;
    }

    #[inline]
    fn push_uvarint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.push(value as u8);
    }

    /// The bytes that were written.
    #[inline]
    pub(crate) fn as_slice(&self) -> &[u8] {
        &self.bytes[..self.len.min(16)]
    }
}

impl ValueState {
    /// The state before the first value of the chunk that follows this one's.
    pub(crate) fn next_chunk(self) -> Self {
        ValueState { previous: 0, first_exponent: self.exponent, exponent: self.exponent, escapes: 0, aside: false }
    }

    /// The exponent at the beginning of the chunk, or [`RAW`].
    pub(crate) fn first_exponent(&self) -> u8 {
        self.first_exponent
    }

    /// Whether the last value that was pushed was surely this one, bit for bit.
    pub(crate) fn ends_with(&self, value: f64) -> bool {
        let last = match self.exponent {
            RAW => f64::from_bits(self.previous),
            exponent => from_decimal(self.previous.cast_signed(), exponent),
        };
        !self.aside && last.to_bits() == value.to_bits()
    }

    /// The code of the next value.
    #[inline]
    pub(crate) fn push(&mut self, value: f64) -> ValueBytes {
        let mut out = ValueBytes::new();
        if self.exponent != RAW
            && let Some(integer) = to_decimal(value, self.exponent)
        {
            let difference = integer.wrapping_sub(self.previous.cast_signed());
            out.push_uvarint(zigzag(difference) + 1);
            self.previous = integer.cast_unsigned();
            self.escapes = 0;
            self.aside = false;
            return out;
        }
        self.push_other(value, &mut out);
        out
    }

    #[inline(never)]
    fn push_other(&mut self, value: f64, out: &mut ValueBytes) {
        self.aside = false;
        if self.exponent == RAW {
            return self.push_raw(value, out);
        }
        for exponent in self.exponent + 1..=EXPONENT_MAX {
            let Some(integer) = to_decimal(value, exponent) else { continue };
            let Some(previous) = rescaled(self.previous.cast_signed(), exponent - self.exponent) else { break };
            out.push(0);
            out.push(ESCAPE_EXPONENT | exponent);
            out.push_uvarint(zigzag(integer.wrapping_sub(previous)));
            (self.previous, self.exponent, self.escapes) = (integer.cast_unsigned(), exponent, 0);
            return;
        }
        out.push(0);
        // Markers and infinities are alone; numbers that are no decimals come in rows.
        if value.is_finite() {
            self.escapes += 1;
            if self.escapes >= ESCAPES_BEFORE_RAW {
                out.push(ESCAPE_EXPONENT | RAW);
                self.exponent = RAW;
                self.previous = 0;
                return self.push_raw(value, out);
            }
        }
        self.aside = true;
        out.push(ESCAPE_BITS);
        value.to_bits().to_le_bytes().into_iter().for_each(|byte| out.push(byte));
    }

    fn push_raw(&mut self, value: f64, out: &mut ValueBytes) {
        let xor = value.to_bits() ^ self.previous;
        self.previous = value.to_bits();
        let trailing = (xor.trailing_zeros() / 8).min(7);
        let length = if xor == 0 { 0 } else { 8 - xor.leading_zeros() / 8 - trailing };
        out.push((trailing << 4 | length) as u8);
        (xor >> (8 * trailing)).to_le_bytes().into_iter().take(length as usize).for_each(|byte| out.push(byte));
    }
}

/// The integer of the same value at an exponent that is greater by `by`.
fn rescaled(integer: i64, by: u8) -> Option<i64> {
    integer.checked_mul(10i64.checked_pow(u32::from(by))?).filter(|scaled| scaled.unsigned_abs() < 1 << 62)
}

/// The timestamps of a stream: strictly ascending.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StreamTimes<'a> {
    /// First timestamp.
    pub(crate) first_ms: i64,
    /// From one to the next, as long as that holds.
    pub(crate) step_ms: u64,
    /// How many keep the step, the first two included.
    pub(crate) regular: usize,
    /// Changes of the step of all others, zigzag varints.
    pub(crate) rest: &'a [u8],
}

/// A stream as a chunk.
pub(crate) fn encode(count: usize, times: StreamTimes<'_>, first_exponent: u8, values: &[u8], out: &mut Vec<u8>) {
    out.reserve(24 + times.rest.len() + values.len());
    out.push(KIND_STREAM);
    push_uvarint(out, count as u64);
    push_uvarint(out, zigzag(times.first_ms));
    push_uvarint(out, times.step_ms);
    push_uvarint(out, (count - times.regular) as u64);
    if count > times.regular {
        push_uvarint(out, times.rest.len() as u64);
        out.extend_from_slice(times.rest);
    }
    out.push(first_exponent);
    out.extend_from_slice(values);
}

/// Decodes a stream behind its kind; `None` for bytes that no writer makes.
pub(super) fn decode(mut bytes: &[u8], times: &mut Vec<i64>, values: &mut Vec<f64>) -> Option<()> {
    let bytes = &mut bytes;
    let count = usize::try_from(take_uvarint(bytes)?).ok()?;
    // A value takes at least a byte.
    if count == 0 || count > COLUMN_SAMPLES_MAX || count > bytes.len() {
        return None;
    }
    decode_times(bytes, count, times)?;
    decode_values(bytes, count, values)
}

fn decode_times(bytes: &mut &[u8], count: usize, times: &mut Vec<i64>) -> Option<()> {
    let first_ms = unzigzag(take_uvarint(bytes)?);
    let step_ms = i64::try_from(take_uvarint(bytes)?).ok()?;
    let irregular = usize::try_from(take_uvarint(bytes)?).ok()?;
    let regular = count.checked_sub(irregular).filter(|regular| *regular > 0)?;
    if regular > 1 && step_ms == 0 {
        return None;
    }
    first_ms.checked_add(step_ms.checked_mul(regular as i64 - 1)?)?;
    times.reserve(count);
    times.extend((0..regular as i64).map(|i| first_ms + i * step_ms));
    if irregular == 0 {
        return Some(());
    }
    let length = usize::try_from(take_uvarint(bytes)?).ok()?;
    let (mut rest, after) = bytes.split_at_checked(length)?;
    *bytes = after;
    let mut time = first_ms + step_ms * (regular as i64 - 1);
    let mut step = if regular > 1 { step_ms } else { 0 };
    for _ in 0..irregular {
        step = step.wrapping_add(unzigzag(take_uvarint(&mut rest)?));
        let next = time.wrapping_add(step);
        if next <= time {
            return None;
        }
        time = next;
        times.push(time);
    }
    rest.is_empty().then_some(())
}

fn decode_values(bytes: &mut &[u8], count: usize, values: &mut Vec<f64>) -> Option<()> {
    let mut exponent = take_byte(bytes)?;
    if exponent > EXPONENT_MAX && exponent != RAW {
        return None;
    }
    let mut previous = 0u64;
    values.reserve(count);
    for _ in 0..count {
        if exponent == RAW {
            previous ^= take_raw(bytes)?;
            values.push(f64::from_bits(previous));
            continue;
        }
        let code = take_uvarint(bytes)?;
        if code != 0 {
            previous = previous.wrapping_add(unzigzag(code - 1).cast_unsigned());
            values.push(from_decimal(previous.cast_signed(), exponent));
            continue;
        }
        match take_byte(bytes)? {
            ESCAPE_BITS => {
                let (bits, rest) = bytes.split_first_chunk::<8>()?;
                *bytes = rest;
                values.push(f64::from_bits(u64::from_le_bytes(*bits)));
            }
            kind if kind == ESCAPE_EXPONENT | RAW => {
                exponent = RAW;
                previous = take_raw(bytes)?;
                values.push(f64::from_bits(previous));
            }
            kind => {
                let greater = kind.checked_sub(ESCAPE_EXPONENT)?;
                let by = greater.checked_sub(exponent).filter(|by| *by > 0 && greater <= EXPONENT_MAX)?;
                let difference = unzigzag(take_uvarint(bytes)?);
                previous = rescaled(previous.cast_signed(), by)?.wrapping_add(difference).cast_unsigned();
                exponent = greater;
                values.push(from_decimal(previous.cast_signed(), exponent));
            }
        }
    }
    bytes.is_empty().then_some(())
}

#[inline]
fn take_byte(bytes: &mut &[u8]) -> Option<u8> {
    let (&byte, rest) = bytes.split_first()?;
    *bytes = rest;
    Some(byte)
}

/// The XOR with the value before, in raw mode.
fn take_raw(bytes: &mut &[u8]) -> Option<u64> {
    let head = take_byte(bytes)?;
    let (trailing, length) = (u32::from(head >> 4), usize::from(head & 15));
    if trailing as usize + length > 8 {
        return None;
    }
    let (taken, rest) = bytes.split_at_checked(length)?;
    *bytes = rest;
    let mut word = [0u8; 8];
    word[..length].copy_from_slice(taken);
    Some(u64::from_le_bytes(word).checked_shl(8 * trailing).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::chunk::decode;

    fn value() -> impl Strategy<Value = f64> {
        prop_oneof![
            4 => (-1000i64..100_000).prop_map(|v| v as f64),
            4 => (0i64..100_000).prop_map(|v| v as f64 / 100.0),
            1 => any::<u64>().prop_map(f64::from_bits),
            1 => Just(f64::from_bits(0x7ff0_0000_0000_0002)),
            1 => Just(-0.0),
            1 => (0u32..50).prop_map(|v| f64::from(v) / 7.0),
        ]
    }

    proptest! {
        #[test]
        fn every_stream_reads_back_bit_for_bit(values in proptest::collection::vec(value(), 1..200), before in value()) {
            let mut state = ValueState::default();
            state.push(before);
            let mut state = state.next_chunk();
            let (first_exponent, mut body) = (state.first_exponent(), Vec::new());
            for value in &values {
                let bytes = state.push(*value);
                prop_assert!(bytes.as_slice().len() <= VALUE_BYTES_MAX);
                body.extend_from_slice(bytes.as_slice());
            }
            let times = StreamTimes { first_ms: -5, step_ms: 15_000, regular: values.len(), rest: &[] };
            let mut chunk = Vec::new();
            encode(values.len(), times, first_exponent, &body, &mut chunk);
            let (mut got_times, mut got_values) = (Vec::new(), Vec::new());
            decode(&[], &chunk, &mut got_times, &mut got_values).unwrap();
            let bits = |values: &[f64]| values.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
            prop_assert_eq!(bits(&got_values), bits(&values));
            prop_assert_eq!(got_times, (0..values.len() as i64).map(|i| i * 15_000 - 5).collect::<Vec<_>>());
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(prop_oneof![any::<u8>(), 0u8..40], 0..200)) {
            let (mut times, mut values) = (Vec::new(), Vec::new());
            let _ = super::decode(&bytes, &mut times, &mut values);
        }
    }

    #[test]
    fn a_quiet_counter_costs_a_byte_and_a_decimal_little() {
        let cost = |values: &[f64]| {
            let mut state = ValueState::default();
            values.iter().map(|v| state.push(*v).as_slice().len()).sum::<usize>()
        };
        assert_eq!(cost(&[5.0; 100]), 100);
        let decimals: Vec<f64> = (0..100).map(|i| f64::from(1000 + i) / 100.0).collect();
        assert!(cost(&decimals) <= 104, "{}", cost(&decimals));
        let ratios: Vec<f64> = (1..=100).map(|i| f64::from(i) / 7.0).collect();
        assert!(cost(&ratios) < 900, "{}", cost(&ratios));
    }
}
