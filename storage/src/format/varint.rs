//! Variable-length integers: seven bits per byte, least significant first, the top bit says that more follow.

pub(crate) fn push_uvarint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Takes an integer off the front; `None` where the bytes end or do not fit 64 bits.
#[inline]
pub(crate) fn take_uvarint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0u64;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f).checked_shl(shift)?;
        if byte & 0x80 == 0 {
            return (shift < 63 || byte <= 1).then_some(value);
        }
    }
    None
}

/// Small numbers of either sign become small numbers.
pub(crate) fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)) as u64
}

pub(crate) fn unzigzag(value: u64) -> i64 {
    (value >> 1) as i64 ^ -((value & 1) as i64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn integers_read_back(value in any::<i64>(), small in -70i64..70) {
            for value in [value, small] {
                let mut bytes = Vec::new();
                push_uvarint(&mut bytes, zigzag(value));
                let mut rest = &bytes[..];
                prop_assert_eq!(take_uvarint(&mut rest).map(unzigzag), Some(value));
                prop_assert!(rest.is_empty());
                prop_assert_eq!(take_uvarint(&mut &bytes[..bytes.len() - 1]), None);
            }
        }
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        assert_eq!(take_uvarint(&mut &[0xff; 11][..]), None);
        assert_eq!(take_uvarint(&mut &[&[0xff; 9][..], &[2]].concat()[..]), None);
    }
}
