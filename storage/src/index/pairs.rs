//! Pairs of label name and value, each kept once, and the series that have it.
//!
//! A pair is known by the bytes of its `labels` field in the canonical form ([`crate::model::labels`]). A new series is so
//! taken apart field by field, each hashed where it lies, and put together again by copying fields one behind the other.

use std::borrow::Cow;

use roaring::RoaringBitmap;

use crate::model::labels::LabelIter;
use crate::striped::Striped;

/// Pairs, by number. Numbers of pairs that have gone are used again.
#[derive(Debug, Default)]
pub(super) struct Pairs {
    list: Vec<Option<Pair>>,
    free: Vec<u32>,
    by_field: Striped,
    hasher: foldhash::fast::RandomState,
}

/// A pair.
#[derive(Debug)]
pub(crate) struct Pair {
    field: Box<[u8]>,
    /// Number of its name.
    pub(super) name: u32,
    pub(super) series: PairSeries,
}

/// The series with a pair. Many labels are those of one series only.
#[derive(Debug)]
pub(super) enum PairSeries {
    One(u32),
    Many(RoaringBitmap),
}

impl Pair {
    /// The bytes of the field.
    pub(super) fn field(&self) -> &[u8] {
        &self.field
    }

    /// The label's value.
    pub(super) fn value(&self) -> &str {
        LabelIter::over(&self.field).next().map_or("", |(_, value)| value)
    }
}

impl PairSeries {
    /// Adds a series; `false` if it was there.
    #[inline]
    fn insert(&mut self, series: u32) -> bool {
        match self {
            PairSeries::Many(all) => all.insert(series),
            PairSeries::One(only) if *only == series => false,
            PairSeries::One(only) => {
                *self = PairSeries::Many(RoaringBitmap::from_iter([*only, series]));
                true
            }
        }
    }

    /// Takes a series away; whether it was there, and whether none is left.
    fn remove(&mut self, series: u32) -> (bool, bool) {
        match self {
            PairSeries::Many(all) => (all.remove(series), all.is_empty()),
            PairSeries::One(only) => (*only == series, *only == series),
        }
    }

    pub(super) fn len(&self) -> u64 {
        match self {
            PairSeries::Many(all) => all.len(),
            PairSeries::One(_) => 1,
        }
    }

    pub(super) fn bitmap(&self) -> Cow<'_, RoaringBitmap> {
        match self {
            PairSeries::Many(all) => Cow::Borrowed(all),
            PairSeries::One(only) => Cow::Owned(RoaringBitmap::from_iter([*only])),
        }
    }
}

impl Pairs {
    /// The pair with a number.
    #[inline]
    pub(super) fn get(&self, number: u32) -> Option<&Pair> {
        self.list.get(number as usize)?.as_ref()
    }

    /// One more than the greatest number.
    pub(super) fn end(&self) -> usize {
        self.list.len()
    }

    #[inline]
    fn hash(&self, field: &[u8]) -> u64 {
        use std::hash::BuildHasher;
        self.hasher.hash_one(field)
    }

    /// The number of the pair with these bytes.
    #[inline]
    pub(super) fn find(&self, field: &[u8]) -> Option<u32> {
        self.by_field.find(self.hash(field), |number| self.get(number).is_some_and(|pair| *pair.field == *field))
    }

    /// Adds a series to a pair; `false` if it was there.
    #[inline]
    pub(super) fn add_series(&mut self, number: u32, series: u32) -> bool {
        match self.list.get_mut(number as usize) {
            Some(Some(pair)) => pair.series.insert(series),
            _ => false,
        }
    }

    /// Adds a pair that is not there, of one series.
    pub(super) fn insert(&mut self, field: &[u8], name: u32, series: u32) -> u32 {
        let pair = Pair { field: field.into(), name, series: PairSeries::One(series) };
        let number = match self.free.pop() {
            Some(number) => number,
            None => {
                self.list.push(None);
                (self.list.len() - 1) as u32
            }
        };
        self.list[number as usize] = Some(pair);
        let hash = self.hash(field);
        let Pairs { list, by_field, hasher, .. } = self;
        by_field.insert(hash, number, |number| hash_of(list, hasher, number));
        number
    }

    /// Takes a series away from a pair; whether it was there, and whether the pair has no series any more.
    pub(super) fn remove_series(&mut self, number: u32, series: u32) -> (bool, bool) {
        match self.list.get_mut(number as usize) {
            Some(Some(pair)) => pair.series.remove(series),
            _ => (false, false),
        }
    }

    /// Removes pairs that nobody refers to any more.
    pub(super) fn remove(&mut self, numbers: &[u32]) {
        for number in numbers {
            if let Some(pair) = self.get(*number) {
                let hash = self.hash(&pair.field);
                self.by_field.remove(hash, *number);
                self.list[*number as usize] = None;
                self.free.push(*number);
            }
        }
        let Pairs { list, by_field, hasher, .. } = self;
        by_field.shrink(|number| hash_of(list, hasher, number));
    }
}

fn hash_of(list: &[Option<Pair>], hasher: &foldhash::fast::RandomState, number: u32) -> u64 {
    use std::hash::BuildHasher;
    list.get(number as usize).and_then(Option::as_ref).map_or(0, |pair| hasher.hash_one(&*pair.field))
}
