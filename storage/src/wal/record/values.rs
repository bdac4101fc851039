//! Values in a record: mostly as the change since the series' value before, in the same segment.
//!
//! 1. While a series' values are decimals of one exponent, the difference of two neighbours as integers is written: a byte or two.
//! 2. Every [`CHANGES_MAX`] changes, and wherever a difference does not say it, a value stands for itself: an integer and its exponent,
//!    or the bits. So what a broken frame takes with it is itself and, of each of its series, at most so many values behind it.
//!
//! ```text
//! 0 … 175                         the difference, zigzag
//! 176 + 4 (k − 1) + l, k bytes    1 ≤ k ≤ 6, l < 4: the difference, zigzag, is 176 + l + 4 × the k bytes
//! 200 + 8 e + k, k bytes          e ≤ 5, k ≤ 7: the value is the integer of the k bytes, zigzag, divided by 10^e
//! 248, 8 bytes                    the value's bits; the next difference is to the value before
//! ```

use crate::chunk::stream::{from_decimal, to_decimal};
use crate::format::varint::{unzigzag, zigzag};
use crate::rooms::Rooms;

/// So many values of a series in a row are written as changes.
const CHANGES_MAX: u8 = 15;
/// Greatest exponent.
const EXPONENT_MAX: u8 = 5;

const ONE_BYTE: u64 = 176;
const DIFFERENCE: u8 = 176;
const INTEGER: u8 = 200;
const BITS: u8 = 248;
const _: () = assert!(DIFFERENCE as u32 + 4 * DIFFERENCE_BYTES_MAX == INTEGER as u32);
const _: () = assert!(INTEGER + 8 * (EXPONENT_MAX + 1) == BITS);
const DIFFERENCE_BYTES_MAX: u32 = 6;
const INTEGER_BYTES_MAX: u32 = 7;

/// The last value of a series in a segment. By default there is none.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Last {
    integer: i64,
    /// Plus 1; 0: there is no last value.
    exponent: u8,
    changes: u8,
}

/// The last values of the series of a tenant in a segment, by their references.
#[derive(Debug, Default)]
pub struct LastValues {
    last: Rooms<Last>,
}

impl LastValues {
    /// Appends the value that comes next in a series.
    #[inline]
    pub(super) fn push(&mut self, reference: u32, value: f64, out: &mut Vec<u8>) {
        let last = self.last.get(reference);
        if last.changes < CHANGES_MAX
            && let Some(exponent) = last.exponent.checked_sub(1)
            && let Some(integer) = to_decimal(value, exponent)
        {
            let difference = zigzag(integer.wrapping_sub(last.integer));
            if difference < ONE_BYTE {
                out.push(difference as u8);
                self.last.set(reference, Last { integer, changes: last.changes + 1, ..last });
                return;
            }
            let rest = difference - ONE_BYTE;
            let length = bytes_of(rest >> 2).max(1);
            if length <= DIFFERENCE_BYTES_MAX {
                push_word(out, DIFFERENCE + 4 * (length as u8 - 1) + (rest & 3) as u8, rest >> 2, length);
                self.last.set(reference, Last { integer, changes: last.changes + 1, ..last });
                return;
            }
        }
        self.push_alone(reference, value, out);
    }

    fn push_alone(&mut self, reference: u32, value: f64, out: &mut Vec<u8>) {
        for exponent in 0..=EXPONENT_MAX {
            let Some(integer) = to_decimal(value, exponent) else { continue };
            let coded = zigzag(integer);
            let length = bytes_of(coded);
            if length > INTEGER_BYTES_MAX {
                break;
            }
            push_word(out, INTEGER + 8 * exponent + length as u8, coded, length);
            self.last.set(reference, Last { integer, exponent: exponent + 1, changes: 0 });
            return;
        }
        out.push(BITS);
        out.extend_from_slice(&value.to_bits().to_le_bytes());
    }

    /// Splits the value that comes next in a series off the front. `None`: no writer makes such bytes. `Some(None)`: it is the change
    /// of a value that is not known.
    #[inline]
    pub fn take(&mut self, reference: u32, bytes: &mut &[u8]) -> Option<Option<f64>> {
        let (&code, rest) = bytes.split_first()?;
        *bytes = rest;
        if code < DIFFERENCE {
            return Some(self.changed(reference, u64::from(code)));
        }
        if code < INTEGER {
            let rest = take_word(bytes, u32::from((code - DIFFERENCE) / 4) + 1)?;
            return Some(self.changed(reference, ONE_BYTE + u64::from((code - DIFFERENCE) % 4) + (rest << 2)));
        }
        if code < BITS {
            let (exponent, length) = ((code - INTEGER) / 8, (code - INTEGER) % 8);
            let integer = unzigzag(take_word(bytes, u32::from(length))?);
            self.last.set(reference, Last { integer, exponent: exponent + 1, changes: 0 });
            return Some(Some(from_decimal(integer, exponent)));
        }
        let (bits, rest) = bytes.split_first_chunk::<8>().filter(|_| code == BITS)?;
        *bytes = rest;
        Some(Some(f64::from_bits(u64::from_le_bytes(*bits))))
    }

    #[inline]
    fn changed(&mut self, reference: u32, difference: u64) -> Option<f64> {
        let last = self.last.get(reference);
        let exponent = last.exponent.checked_sub(1)?;
        let integer = last.integer.wrapping_add(unzigzag(difference));
        self.last.set(reference, Last { integer, ..last });
        Some(from_decimal(integer, exponent))
    }
}

/// How many bytes hold a number; 0 needs none.
#[inline]
fn bytes_of(word: u64) -> u32 {
    (64 - word.leading_zeros()).div_ceil(8)
}

#[inline]
fn push_word(out: &mut Vec<u8>, code: u8, word: u64, length: u32) {
    let all = u128::from(word) << 8 | u128::from(code);
    out.extend_from_slice(&all.to_le_bytes()[..1 + length as usize]);
}

#[inline]
fn take_word(bytes: &mut &[u8], length: u32) -> Option<u64> {
    let length = length as usize;
    let word = match bytes.first_chunk::<8>() {
        Some(word) => u64::from_le_bytes(*word) & ((1u64 << (8 * length)) - 1),
        None => {
            let mut word = [0u8; 8];
            word[..length].copy_from_slice(bytes.get(..length)?);
            u64::from_le_bytes(word)
        }
    };
    *bytes = &bytes[length..];
    Some(word)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn value() -> impl Strategy<Value = f64> {
        prop_oneof![
            4 => (-1000i64..100_000).prop_map(|v| v as f64),
            2 => (0i64..100_000).prop_map(|v| v as f64 / 100.0),
            1 => any::<u64>().prop_map(f64::from_bits),
            1 => any::<i64>().prop_map(|v| v as f64),
            1 => (any::<i64>(), 0u32..64, 0i32..4).prop_map(|(v, shift, e)| (v >> shift) as f64 / 10f64.powi(e)),
        ]
    }

    proptest! {
        #[test]
        fn values_read_back_bit_for_bit(values in proptest::collection::vec((0u32..3, value()), 1..200)) {
            let (mut writer, mut reader) = (LastValues::default(), LastValues::default());
            let mut bytes = Vec::new();
            values.iter().for_each(|(reference, value)| writer.push(*reference, *value, &mut bytes));
            let mut rest = &bytes[..];
            for (reference, value) in values {
                prop_assert_eq!(reader.take(reference, &mut rest).map(|v| v.map(f64::to_bits)), Some(Some(value.to_bits())));
            }
            prop_assert!(rest.is_empty());
        }

        #[test]
        fn whoever_begins_in_the_middle_soon_knows_the_values_and_is_never_wrong(values in proptest::collection::vec((0u32..2, value()), 1..200), skip in 0usize..200) {
            let (mut writer, mut reader, mut late) = (LastValues::default(), LastValues::default(), LastValues::default());
            let mut bytes = Vec::new();
            values.iter().for_each(|(reference, value)| writer.push(*reference, *value, &mut bytes));
            let mut rest = &bytes[..];
            let mut unknown = [0u8; 2];
            for (at, (reference, value)) in values.iter().enumerate() {
                let mut same = rest;
                prop_assert!(reader.take(*reference, &mut rest).is_some());
                if at < skip {
                    continue;
                }
                match late.take(*reference, &mut same) {
                    Some(Some(found)) => prop_assert_eq!(found.to_bits(), value.to_bits()),
                    Some(None) => unknown[*reference as usize] += 1,
                    None => prop_assert!(false, "the bytes are whole"),
                }
                prop_assert_eq!(same.len(), rest.len());
            }
            prop_assert!(unknown.iter().all(|unknown| *unknown <= CHANGES_MAX));
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let (mut values, mut rest) = (LastValues::default(), &bytes[..]);
            while values.take(1, &mut rest).is_some() {}
        }
    }

    #[test]
    fn changes_are_short() {
        let mut values = LastValues::default();
        let mut lengths = |numbers: &[f64]| -> Vec<usize> {
            let length = |value: &f64| {
                let mut bytes = Vec::new();
                values.push(7, *value, &mut bytes);
                bytes.len()
            };
            numbers.iter().map(length).collect()
        };
        assert_eq!(lengths(&[100_000.0, 100_000.0, 100_080.0, 100_600.0, 200_000.0]), [4, 1, 1, 2, 3]);
        assert_eq!(lengths(&[12.34, 12.35, 13.0, f64::NAN, 13.0]), [3, 1, 1, 9, 1]);
    }
}
