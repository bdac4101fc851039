//! The few distinct numbers of a sequence, where there are few.

use std::cmp::Reverse;

/// Distinct numbers at most.
pub(super) const DISTINCT_MAX: usize = 64;
const SLOTS: usize = 256;

/// A small table of numbers and how often they occur.
pub(super) struct Distinct {
    /// One more than the place in `found`; 0: empty.
    slots: [u8; SLOTS],
    found: Vec<(u64, u32)>,
    /// Rank by place in `found`.
    ranks: [u8; DISTINCT_MAX],
    /// The numbers, the most frequent first.
    pub(super) ranked: Vec<(u64, u32)>,
}

impl Default for Distinct {
    fn default() -> Self {
        Distinct { slots: [0; SLOTS], found: Vec::new(), ranks: [0; DISTINCT_MAX], ranked: Vec::new() }
    }
}

impl Distinct {
    /// Counts the numbers, and ranks them by how often they occur; `false` where more than `limit` are distinct.
    pub(super) fn count(&mut self, numbers: &[u64], limit: usize) -> bool {
        self.slots.fill(0);
        self.found.clear();
        for &number in numbers {
            let slot = self.slot(number);
            match usize::from(self.slots[slot]).checked_sub(1) {
                Some(place) => self.found[place].1 += 1,
                None if self.found.len() >= limit.min(DISTINCT_MAX) => return false,
                None => {
                    self.found.push((number, 1));
                    self.slots[slot] = self.found.len() as u8;
                }
            }
        }
        self.ranked.clear();
        self.ranked.extend_from_slice(&self.found);
        self.ranked.sort_unstable_by_key(|&(number, count)| (Reverse(count), number));
        for rank in 0..self.ranked.len() {
            let slot = self.slot(self.ranked[rank].0);
            self.ranks[usize::from(self.slots[slot] - 1)] = rank as u8;
        }
        true
    }

    /// Where a number is or would be: the table is never more than a quarter full.
    fn slot(&self, number: u64) -> usize {
        let mut slot = (number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as usize;
        while self.slots[slot] != 0 && self.found[usize::from(self.slots[slot] - 1)].0 != number {
            slot = (slot + 1) % SLOTS;
        }
        slot
    }

    /// The rank of a number that was counted.
    pub(super) fn rank(&self, number: u64) -> u8 {
        let place = self.slots[self.slot(number)];
        self.ranks[usize::from(place.saturating_sub(1)) % DISTINCT_MAX]
    }
}
