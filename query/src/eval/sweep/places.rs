//! Where in a series something happens between a sample and the next one.

/// The later samples of such pairs, ascending, and which of them lie in the current window.
#[derive(Debug, Default)]
pub(super) struct Places {
    at: Vec<u32>,
    from: usize,
    to: usize,
}

impl Places {
    /// Finds all pairs `(before, after)` of which `happens` is true.
    pub(super) fn find<T: Copy>(&mut self, samples: &[T], happens: impl Fn(T, T) -> bool) {
        self.at.clear();
        (self.from, self.to) = (0, 0);
        let pairs = || samples.iter().zip(samples.iter().skip(1));
        // Mostly there is none, which a loop without branches tells fast.
        if pairs().fold(false, |any, (before, after)| any | happens(*before, *after)) {
            let after = (1..).zip(pairs()).filter(|(_, (before, after))| happens(**before, **after));
            self.at.extend(after.map(|(place, _)| place));
        }
    }

    /// Whether there is no such pair.
    pub(super) fn is_empty(&self) -> bool {
        self.at.is_empty()
    }

    /// The pairs within a window, by their later samples. Windows come in the order of the steps.
    #[inline]
    pub(super) fn within(&mut self, from: usize, to: usize) -> &[u32] {
        if self.at.is_empty() {
            return &[];
        }
        while self.at.get(self.from).is_some_and(|place| *place as usize <= from) {
            self.from += 1;
        }
        self.to = self.to.max(self.from);
        while self.at.get(self.to).is_some_and(|place| (*place as usize) < to) {
            self.to += 1;
        }
        self.at.get(self.from..self.to).unwrap_or_default()
    }
}

/// The latest sample, so far, at which something has happened.
#[derive(Debug, Default)]
pub(super) struct Latest {
    at: usize,
    next: usize,
}

impl Latest {
    /// The last of the samples before `to` of which `happens` is true, or the first sample. Windows come in the order of the steps.
    #[inline]
    pub(super) fn before(&mut self, to: usize, happens: impl Fn(usize) -> bool) -> usize {
        for at in self.next..to {
            if happens(at) {
                self.at = at;
            }
        }
        self.next = self.next.max(to);
        self.at
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pair_lies_in_a_window_with_both_its_samples() {
        let mut falls = Places::default();
        falls.find(&[3, 1, 2, 0, 5, 4], |before, after| after < before);
        assert_eq!(falls.within(0, 3), [1]);
        assert_eq!(falls.within(1, 4), [3]);
        assert_eq!(falls.within(1, 6), [3, 5]);
        assert_eq!(falls.within(3, 6), [5]);
        assert_eq!(falls.within(5, 6), [0; 0]);
        falls.find(&[1, 2, 3], |before, after| after < before);
        assert_eq!(falls.within(0, 3), [0; 0]);
    }
}
