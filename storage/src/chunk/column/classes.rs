//! Numbers as a class and bits within the class: small classes near zero, wider ones farther away.
//!
//! 1. `low` bits of a number are left out of the class; let `q` be what is above them.
//! 2. `q` below `2^split` is a class of its own. Above, each octave of `q` has `2^split` classes of equal width.
//! 3. So a class is a range: its lower bound, and a number of bits that say where within.

/// `split` of the finest classes, from which the encoder computes what the coarser ones would cost.
pub(super) const SPLIT_MAX: u32 = 2;
/// Classes that there can be: the four numbers below 4, and four for each octave from 4 on.
pub(super) const CLASSES_MAX: usize = 4 + 4 * 62;

/// How numbers are divided into classes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Division {
    /// Low bits outside the class, 0..=63.
    pub(super) low: u32,
    /// Binary logarithm of the classes per octave, 0..=[`SPLIT_MAX`].
    pub(super) split: u32,
}

impl Division {
    /// The division with the most classes.
    pub(super) const FINEST: Division = Division { low: 0, split: SPLIT_MAX };

    /// The class of a number.
    #[inline(always)]
    pub(super) fn class(self, number: u64) -> usize {
        let q = number >> self.low;
        let octave = 63 - (q | 1).leading_zeros();
        // In the octave of 2^split the classes are the numbers themselves, so smaller q may join it.
        let shift = octave.saturating_sub(self.split);
        ((shift as usize) << self.split) + (q >> shift) as usize
    }

    /// Lower bound of a class, and how many bits say where within it a number lies. `None` for what lies beyond 64 bits.
    #[inline]
    pub(super) fn range(self, class: usize) -> Option<(u64, u32)> {
        let per_octave = 1usize << self.split;
        let shift = (class >> self.split).saturating_sub(1) as u32;
        let mantissa = (class - ((shift as usize) << self.split)) as u64;
        debug_assert!(mantissa < 2 * per_octave as u64);
        let up = shift + self.low;
        let lower = mantissa.checked_shl(up)?;
        (lower >> up == mantissa).then_some((lower, up))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_number_lies_in_the_range_of_its_class(number in any::<u64>(), shift in 0u32..64, low in 0u32..64, split in 0u32..=2) {
            let number = number >> shift;
            let division = Division { low, split };
            let class = division.class(number);
            let (lower, bits) = division.range(class).unwrap();
            prop_assert!(class < CLASSES_MAX && bits < 64);
            prop_assert!(number >= lower && number - lower < 1 << bits, "{number} {lower} {bits}");
            // Every class of the finest division lies within one class of any other.
            let fine = Division::FINEST.class(number);
            let (fine_lower, _) = Division::FINEST.range(fine).unwrap();
            prop_assert_eq!(division.class(fine_lower), class);
        }
    }
}
