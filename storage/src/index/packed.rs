//! Columns of numbers of equal width, packed bit behind bit from the lowest, each read in place.
//!
//! ```text
//! ┌───────────┬──────────┬──────────────────────────────────────────────────────┐
//! │ width u8  │ base uv  │ rows × `width` bits: number − base; padded with zeros │
//! └───────────┴──────────┴──────────────────────────────────────────────────────┘
//! ```

use crate::format::varint::{push_uvarint, take_uvarint};

/// No number is wider.
pub(super) const WIDTH_MAX: u32 = 32;

/// How many bits hold numbers up to `max`.
pub(super) fn width_of(max: u32) -> u32 {
    u32::BITS - max.leading_zeros()
}

/// Bytes of so many numbers.
pub(super) fn packed_bytes(rows: u64, width: u32) -> u64 {
    (rows * u64::from(width)).div_ceil(8)
}

/// Appends numbers of at most `width` bits each.
pub(super) fn push_bits(out: &mut Vec<u8>, width: u32, numbers: impl Iterator<Item = u32>) {
    let (mut pending, mut filled) = (0u64, 0u32);
    for number in numbers {
        pending |= u64::from(number) << filled;
        filled += width;
        while filled >= 8 {
            out.push(pending as u8);
            pending >>= 8;
            filled -= 8;
        }
    }
    if filled > 0 {
        out.push(pending as u8);
    }
}

/// Appends a column: width, base, numbers.
pub(super) fn push_column(out: &mut Vec<u8>, numbers: impl Iterator<Item = u32> + Clone) {
    let (mut min, mut max) = (u32::MAX, 0);
    for number in numbers.clone() {
        (min, max) = (min.min(number), max.max(number));
    }
    let base = min.min(max);
    let width = width_of(max - base);
    out.push(width as u8);
    push_uvarint(out, u64::from(base));
    push_bits(out, width, numbers.map(|number| number.wrapping_sub(base) & mask(width) as u32));
}

#[inline]
fn mask(width: u32) -> u64 {
    (1u64 << width) - 1
}

/// Numbers in place.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Packed<'a> {
    bits: &'a [u8],
    width: u32,
    base: u32,
}

impl<'a> Packed<'a> {
    /// Bits without width and base; `None` where the bytes are too few.
    pub(super) fn over(bits: &'a [u8], rows: u64, width: u32) -> Option<Self> {
        let bytes = usize::try_from(packed_bytes(rows, width)).ok()?;
        Some(Packed { bits: bits.get(..bytes).filter(|_| width <= WIDTH_MAX)?, width, base: 0 })
    }

    /// Takes a column of so many rows off the front of `rest`.
    pub(super) fn take(rest: &mut &'a [u8], rows: u64) -> Option<Self> {
        let (&width, after) = rest.split_first()?;
        *rest = after;
        Self::take_behind(rest, u32::from(width), rows)
    }

    /// Takes what stands behind the width.
    pub(super) fn take_behind(rest: &mut &'a [u8], width: u32, rows: u64) -> Option<Self> {
        if width > WIDTH_MAX || rows > u64::from(u32::MAX) {
            return None;
        }
        let base = u32::try_from(take_uvarint(rest)?).ok()?;
        let (bits, after) = rest.split_at_checked(usize::try_from(packed_bytes(rows, width)).ok()?)?;
        *rest = after;
        Some(Packed { bits, width, base })
    }

    /// The number of a row. Where no builder made the bytes it may be any number.
    #[inline]
    pub(super) fn get(&self, row: usize) -> u32 {
        if self.width == 0 {
            return self.base;
        }
        let bit = row as u64 * u64::from(self.width);
        let at = (bit / 8) as usize;
        let word = match self.bits.get(at..at + 8) {
            Some(bytes) => bytes.first_chunk().map_or(0, |chunk| u64::from_le_bytes(*chunk)),
            None => self.last_word(at),
        };
        self.base.wrapping_add(((word >> (bit % 8)) & mask(self.width)) as u32)
    }

    /// The eight bytes at the end, as if zeros followed.
    fn last_word(&self, at: usize) -> u64 {
        let mut word = [0; 8];
        let rest = self.bits.get(at..).unwrap_or_default();
        word.iter_mut().zip(rest).for_each(|(to, from)| *to = *from);
        u64::from_le_bytes(word)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn columns_read_back(numbers in proptest::collection::vec(prop_oneof![any::<u32>(), 0u32..9, Just(u32::MAX)], 1..100), small in any::<bool>()) {
            let numbers: Vec<u32> = numbers.iter().map(|n| if small { n % 7 + 1000 } else { *n }).collect();
            let mut bytes = Vec::new();
            push_column(&mut bytes, numbers.iter().copied());
            let whole = bytes.len();
            bytes.push(0xff);
            let mut rest = &bytes[..];
            let column = Packed::take(&mut rest, numbers.len() as u64).unwrap();
            prop_assert_eq!(rest.len(), 1);
            prop_assert!(numbers.iter().enumerate().all(|(row, n)| column.get(row) == *n));
            prop_assert!(Packed::take(&mut &bytes[..whole - 1], numbers.len() as u64).is_none());
            column.get(usize::from(u16::MAX));
        }
    }
}
