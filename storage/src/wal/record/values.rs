//! Values in a record: each for itself, since a record refers to nothing outside of it.
//!
//! ```text
//! ┌─────────────────────────────────────────────┬────────────────┐
//! │ k u3 │ exponent u2 │ low bits of integer u3 │ k bytes        │   k ≤ 6: the value is integer / 10^exponent, zigzag, ≤ 51 bits
//! └─────────────────────────────────────────────┴────────────────┘   k = 7: 8 bytes, the value's bits
//! ```

use crate::chunk::stream::{from_decimal, to_decimal};
use crate::format::varint::{unzigzag, zigzag};

/// Says that the bits of the value follow.
const BITS: u8 = 7;
/// Greatest exponent.
const EXPONENT_MAX: u8 = 3;
/// Bits of the integer that lie in the first byte.
const LOW_BITS: u32 = 3;
/// Integers beyond are written as bits.
const INTEGER_BITS_MAX: u32 = LOW_BITS + 6 * 8;

/// Appends a value.
#[inline]
pub(super) fn push(out: &mut Vec<u8>, value: f64) {
    for exponent in 0..=EXPONENT_MAX {
        let Some(integer) = to_decimal(value, exponent) else { continue };
        let coded = zigzag(integer);
        if coded >> INTEGER_BITS_MAX != 0 {
            break;
        }
        let rest = coded >> LOW_BITS;
        let length = (64 - rest.leading_zeros()).div_ceil(8);
        let head = (coded as u8 & 7) << 5 | exponent << 3 | length as u8;
        let word = u128::from(rest) << 8 | u128::from(head);
        out.extend_from_slice(&word.to_le_bytes()[..1 + length as usize]);
        return;
    }
    out.push(BITS);
    out.extend_from_slice(&value.to_bits().to_le_bytes());
}

/// Splits a value off the front.
#[inline]
pub(super) fn take(bytes: &mut &[u8]) -> Option<f64> {
    let (&head, rest) = bytes.split_first()?;
    let length = usize::from(head & 7);
    if length == usize::from(BITS) {
        let (bits, rest) = rest.split_first_chunk::<8>()?;
        *bytes = rest;
        return Some(f64::from_bits(u64::from_le_bytes(*bits)));
    }
    let word = match rest.first_chunk::<8>() {
        Some(word) => u64::from_le_bytes(*word) & ((1u64 << (8 * length)) - 1),
        None => {
            let mut word = [0u8; 8];
            word[..length].copy_from_slice(rest.get(..length)?);
            u64::from_le_bytes(word)
        }
    };
    *bytes = &rest[length..];
    let coded = word << LOW_BITS | u64::from(head >> 5);
    Some(from_decimal(unzigzag(coded), head >> 3 & 3))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn values_read_back_bit_for_bit(values in proptest::collection::vec(prop_oneof![
            any::<f64>(), any::<u64>().prop_map(f64::from_bits), any::<i64>().prop_map(|v| v as f64),
            (any::<i64>(), 0u32..64, 0i32..4).prop_map(|(v, shift, e)| (v >> shift) as f64 / 10f64.powi(e)),
        ], 1..50)) {
            let mut bytes = Vec::new();
            values.iter().for_each(|value| push(&mut bytes, *value));
            let mut rest = &bytes[..];
            for value in values {
                prop_assert_eq!(take(&mut rest).map(f64::to_bits), Some(value.to_bits()));
            }
            prop_assert!(rest.is_empty());
        }
    }

    #[test]
    fn small_numbers_are_short() {
        let length = |value: f64| {
            let mut bytes = Vec::new();
            push(&mut bytes, value);
            bytes.len()
        };
        assert_eq!([0.0, 3.0, 1000.0, 12.34, 1e6].map(length), [1, 1, 2, 3, 4]);
        assert_eq!([-0.0, f64::NAN, 1.0 / 3.0, 1e300].map(length), [9; 4]);
    }
}
