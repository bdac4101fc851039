//! A column: one value per step of a grid, and a bitmap that says at which steps there is one.
//!
//! Values at absent steps are arbitrary (they are computed along because a loop without branches is faster), so every
//! reader asks the bitmap. A histogram column will stand beside the float column with a bitmap of its own.

use super::memory::Held;

/// A set of steps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Steps {
    words: Vec<u64>,
    len: usize,
}

impl Steps {
    /// No step out of `len`.
    pub(crate) fn none(len: usize) -> Self {
        Steps { words: vec![0; len.div_ceil(64)], len }
    }

    /// All of `len` steps.
    pub(crate) fn all(len: usize) -> Self {
        let mut steps = Steps { words: vec![u64::MAX; len.div_ceil(64)], len };
        if let Some(last) = steps.words.last_mut()
            && !len.is_multiple_of(64)
        {
            *last = (1 << (len % 64)) - 1;
        }
        steps
    }

    /// How much memory the set takes.
    pub(crate) fn size_bytes(&self) -> usize {
        self.words.len() * 8
    }

    /// Whether `step` is in the set.
    #[inline]
    pub(crate) fn get(&self, step: usize) -> bool {
        self.words.get(step / 64).is_some_and(|word| word >> (step % 64) & 1 == 1)
    }

    /// Adds `step`, which must be below the length.
    #[inline]
    pub(crate) fn set(&mut self, step: usize) {
        debug_assert!(step < self.len);
        if let Some(word) = self.words.get_mut(step / 64) {
            *word |= 1 << (step % 64);
        }
    }

    /// Takes `step` out.
    #[inline]
    pub(crate) fn unset(&mut self, step: usize) {
        if let Some(word) = self.words.get_mut(step / 64) {
            *word &= !(1 << (step % 64));
        }
    }

    /// Whether the set is empty.
    pub(crate) fn is_empty(&self) -> bool {
        self.words.iter().all(|&word| word == 0)
    }

    /// How many steps are in the set.
    pub(crate) fn count(&self) -> usize {
        self.words.iter().map(|word| word.count_ones() as usize).sum()
    }

    /// Whether both sets share a step.
    pub(crate) fn intersects(&self, other: &Steps) -> bool {
        self.words.iter().zip(&other.words).any(|(a, b)| a & b != 0)
    }

    /// Keeps the steps that `other` has too.
    pub(crate) fn intersect(&mut self, other: &Steps) {
        self.words.iter_mut().zip(&other.words).for_each(|(a, b)| *a &= b);
    }

    /// Adds the steps of `other`.
    pub(crate) fn unite(&mut self, other: &Steps) {
        self.words.iter_mut().zip(&other.words).for_each(|(a, b)| *a |= b);
    }

    /// Takes the steps of `other` out.
    pub(crate) fn subtract(&mut self, other: &Steps) {
        self.words.iter_mut().zip(&other.words).for_each(|(a, b)| *a &= !b);
    }

    /// The steps that both sets hold.
    pub(crate) fn intersection(&self, other: &Steps) -> Steps {
        let mut both = self.clone();
        both.intersect(other);
        both
    }

    /// The steps of the set, ascending.
    pub(crate) fn iter(&self) -> impl Iterator<Item = usize> + '_ {
        self.words.iter().enumerate().flat_map(|(i, &word)| {
            let mut rest = word;
            std::iter::from_fn(move || {
                if rest == 0 {
                    return None;
                }
                let bit = rest.trailing_zeros() as usize;
                rest &= rest - 1;
                Some(i * 64 + bit)
            })
        })
    }
}

/// The floats of one series over a grid.
#[derive(Debug)]
pub(crate) struct Column {
    /// One per step; arbitrary where `present` says no.
    pub(crate) values: Vec<f64>,
    /// Where there is a sample.
    pub(crate) present: Steps,
    /// Its share of the query's sample limit.
    #[expect(dead_code, reason = "counts the column while it lives")]
    pub(crate) held: Held,
}

impl Column {
    /// Puts a sample at `step`.
    #[inline]
    pub(crate) fn put(&mut self, step: usize, value: f64) {
        if let Some(slot) = self.values.get_mut(step) {
            *slot = value;
            self.present.set(step);
        }
    }

    /// Applies `f` to every value; absent ones do not matter.
    pub(crate) fn map(&mut self, f: impl Fn(f64) -> f64) {
        self.values.iter_mut().for_each(|value| *value = f(*value));
    }

    /// The samples: (step, value), ascending.
    pub(crate) fn samples(&self) -> impl Iterator<Item = (usize, f64)> + '_ {
        self.present.iter().filter_map(|step| Some((step, *self.values.get(step)?)))
    }

    /// Takes over the samples of `other`. Where both have one, that of `other` is taken.
    pub(crate) fn absorb(&mut self, other: &Column) {
        for (step, value) in other.samples() {
            self.put(step, value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_of_steps() {
        let mut a = Steps::none(130);
        for step in [0, 63, 64, 129] {
            a.set(step);
        }
        assert_eq!(a.iter().collect::<Vec<_>>(), [0, 63, 64, 129]);
        assert_eq!(Steps::all(130).count(), 130);
        let mut rest = Steps::all(130);
        rest.subtract(&a);
        assert_eq!(rest.count(), 126);
        assert!(!rest.intersects(&a));
        a.unset(63);
        assert!(!a.get(63) && a.get(64) && !a.get(1000));
        rest.unite(&a);
        assert_eq!(rest.count(), 129);
    }
}
