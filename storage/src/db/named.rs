//! Which dense numbers the current segment has named.

/// A set of small numbers: one bit for each number up to the greatest.
#[derive(Debug, Default)]
pub(super) struct NamedSeries {
    words: Vec<u64>,
}

impl NamedSeries {
    /// Adds a number; `false` if it was there.
    #[inline]
    pub(super) fn insert(&mut self, dense: u32) -> bool {
        let (word, bit) = (dense as usize / 64, 1u64 << (dense % 64));
        if word >= self.words.len() {
            self.grow(word);
        }
        let new = self.words[word] & bit == 0;
        self.words[word] |= bit;
        new
    }

    #[cold]
    fn grow(&mut self, word: usize) {
        self.words.resize((word + 1).next_power_of_two(), 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_new_once() {
        let mut named = NamedSeries::default();
        let numbers = [5, 0, 63, 64, 1_000_000, 65];
        assert!(numbers.iter().all(|number| named.insert(*number)));
        assert!(!numbers.iter().any(|number| named.insert(*number)));
        assert!(named.insert(66));
    }
}
