//! A column: one value per step of a grid, and a bitmap that says at which steps there is one.
//!
//! Values at absent steps are arbitrary (they are computed along because a loop without branches is faster), so every
//! reader asks the bitmap. Native histograms stand in a sparse column beside the floats, which most series do not have; the
//! bitmap is of both, so that whoever asks only whether there is a sample (set operators, say) need not know them.

use std::borrow::Cow;
use std::sync::Arc;

use marigram_storage::model::histogram::Histogram;

use super::memory::{Held, SampleLimit};
use crate::error::QueryError;
use crate::histogram::size_in_samples;
use crate::value::SampleValue;

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

    /// The steps in words of 64, the least in the lowest bit.
    pub(crate) fn words(&self) -> &[u64] {
        &self.words
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

/// The samples of one series over a grid.
#[derive(Debug)]
pub(crate) struct Column {
    /// One per step; arbitrary where `present` says no, and where there is a histogram.
    pub(crate) values: Vec<f64>,
    /// Where there is a sample.
    pub(crate) present: Steps,
    /// The histograms, if there are any.
    histograms: Option<Box<Histograms>>,
    /// Its share of the query's sample limit.
    held: Held,
}

/// The histograms of a column.
#[derive(Debug)]
struct Histograms {
    /// One slot per step; what is in it counts only where `steps` says so.
    slots: Vec<Option<Arc<Histogram>>>,
    /// Where the sample, if it is present, is a histogram.
    steps: Steps,
}

impl Column {
    /// A column without samples.
    pub(crate) fn empty(steps: usize, held: Held) -> Self {
        Column { values: vec![0.0; steps], present: Steps::none(steps), histograms: None, held }
    }

    /// Counts the samples that it holds against this limit from now on.
    ///
    /// # Errors
    /// They are too many.
    pub(crate) fn count_against(&mut self, limit: &SampleLimit) -> Result<(), QueryError> {
        self.held.move_to(limit)
    }

    /// Puts a sample at `step`.
    #[inline]
    pub(crate) fn put(&mut self, step: usize, value: f64) {
        if let Some(slot) = self.values.get_mut(step) {
            *slot = value;
            self.present.set(step);
            if let Some(histograms) = &mut self.histograms {
                histograms.steps.unset(step);
            }
        }
    }

    /// Puts a float at each step for which there is one, into a column without samples.
    pub(crate) fn fill(&mut self, mut value_at: impl FnMut(usize) -> Option<f64>) {
        for (at, (values, word)) in self.values.chunks_mut(64).zip(&mut self.present.words).enumerate() {
            let mut present = 0;
            for (i, slot) in values.iter_mut().enumerate() {
                if let Some(value) = value_at(at * 64 + i) {
                    *slot = value;
                    present |= 1 << i;
                }
            }
            *word = present;
        }
    }

    /// Puts a histogram at `step`, and counts it.
    ///
    /// # Errors
    /// It is one too many.
    pub(crate) fn put_histogram(&mut self, step: usize, histogram: Arc<Histogram>) -> Result<(), QueryError> {
        self.held.hold_more(size_in_samples(&histogram))?;
        let steps = self.values.len();
        let histograms = match &mut self.histograms {
            Some(histograms) => histograms,
            empty => {
                // A slot takes half of what a sample does, but it is there at every step.
                self.held.hold_more(steps / 2)?;
                empty.insert(Box::new(Histograms { slots: vec![None; steps], steps: Steps::none(steps) }))
            }
        };
        if let Some(slot) = histograms.slots.get_mut(step) {
            *slot = Some(histogram);
            histograms.steps.set(step);
            self.present.set(step);
        }
        Ok(())
    }

    /// Puts either at `step`.
    ///
    /// # Errors
    /// As [`Column::put_histogram`].
    pub(crate) fn put_sample(&mut self, step: usize, value: SampleValue) -> Result<(), QueryError> {
        match value {
            SampleValue::Float(value) => {
                self.put(step, value);
                Ok(())
            }
            SampleValue::Histogram(histogram) => self.put_histogram(step, histogram),
        }
    }

    /// Whether there can be histograms.
    #[inline]
    pub(crate) fn has_histograms(&self) -> bool {
        self.histograms.is_some()
    }

    /// The histogram at `step`, if there is one.
    #[inline]
    pub(crate) fn histogram(&self, step: usize) -> Option<&Arc<Histogram>> {
        let histograms = self.histograms.as_deref()?;
        if !histograms.steps.get(step) || !self.present.get(step) {
            return None;
        }
        histograms.slots.get(step)?.as_ref()
    }

    /// The histograms: (step, histogram), ascending.
    pub(crate) fn histograms(&self) -> impl Iterator<Item = (usize, &Arc<Histogram>)> + '_ {
        let steps = self.histograms.iter().flat_map(|histograms| histograms.steps.iter());
        steps.filter_map(|step| Some((step, self.histogram(step)?)))
    }

    /// Takes the histogram at `step` out, if there is one.
    pub(crate) fn take_histogram(&mut self, step: usize) -> Option<Arc<Histogram>> {
        let present = self.present.get(step);
        let histograms = self.histograms.as_deref_mut()?;
        if !present || !histograms.steps.get(step) {
            return None;
        }
        histograms.steps.unset(step);
        self.present.unset(step);
        let taken = histograms.slots.get_mut(step)?.take()?;
        self.held.release(size_in_samples(&taken));
        Some(taken)
    }

    /// Puts into the place of each histogram what `f` makes of it.
    ///
    /// # Errors
    /// As [`Column::put_histogram`].
    pub(crate) fn replace_histograms(
        &mut self,
        mut f: impl FnMut(usize, Arc<Histogram>) -> Option<SampleValue>,
    ) -> Result<(), QueryError> {
        let Some(histograms) = self.histograms.as_deref() else { return Ok(()) };
        for step in histograms.steps.intersection(&self.present).iter() {
            if let Some(made) = self.take_histogram(step).and_then(|histogram| f(step, histogram)) {
                self.put_sample(step, made)?;
            }
        }
        Ok(())
    }

    /// Forgets which samples are histograms: their values are arbitrary then.
    pub(crate) fn forget_kinds(&mut self) {
        self.histograms = None;
    }

    /// Takes all histograms out. Whether there was one.
    pub(crate) fn drop_histograms(&mut self) -> bool {
        let Some(histograms) = self.histograms.take() else { return false };
        // What they counted is given back with the slots.
        let counted = histograms.slots.iter().flatten().map(|histogram| size_in_samples(histogram)).sum::<usize>();
        self.held.release(counted + self.values.len() / 2);
        let any = histograms.steps.intersects(&self.present);
        self.present.subtract(&histograms.steps);
        any
    }

    /// Takes all floats out.
    pub(crate) fn drop_floats(&mut self) {
        match &self.histograms {
            Some(histograms) => self.present.intersect(&histograms.steps),
            None => self.present = Steps::none(self.values.len()),
        }
    }

    /// Where there is a float.
    pub(crate) fn float_steps(&self) -> Cow<'_, Steps> {
        match &self.histograms {
            None => Cow::Borrowed(&self.present),
            Some(histograms) => {
                let mut steps = self.present.clone();
                steps.subtract(&histograms.steps);
                Cow::Owned(steps)
            }
        }
    }

    /// Applies `f` to every value; absent ones do not matter.
    pub(crate) fn map(&mut self, f: impl Fn(f64) -> f64) {
        self.values.iter_mut().for_each(|value| *value = f(*value));
    }

    /// The floats: (step, value), ascending.
    pub(crate) fn samples(&self) -> impl Iterator<Item = (usize, f64)> + '_ {
        let histograms = self.histograms.as_deref();
        let is_float = move |step: &usize| histograms.is_none_or(|histograms| !histograms.steps.get(*step));
        self.present.iter().filter(is_float).filter_map(|step| Some((step, *self.values.get(step)?)))
    }

    /// The float at `step`, if there is one.
    #[inline]
    pub(crate) fn float(&self, step: usize) -> Option<f64> {
        let is_histogram = self.histograms.as_deref().is_some_and(|histograms| histograms.steps.get(step));
        if is_histogram || !self.present.get(step) { None } else { self.values.get(step).copied() }
    }

    /// The sample at `step`, if there is one.
    pub(crate) fn sample(&self, step: usize) -> Option<SampleValue> {
        match self.histogram(step) {
            Some(histogram) => Some(SampleValue::Histogram(Arc::clone(histogram))),
            None => self.float(step).map(SampleValue::Float),
        }
    }

    /// Takes over the samples of `other`. Where both have one, that of `other` is taken.
    ///
    /// # Errors
    /// As [`Column::put_histogram`].
    pub(crate) fn absorb(&mut self, other: &Column) -> Result<(), QueryError> {
        for (step, value) in other.samples() {
            self.put(step, value);
        }
        for (step, histogram) in other.histograms() {
            self.put_histogram(step, Arc::clone(histogram))?;
        }
        Ok(())
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
