//! The index of a head: label name → value → the series that have it, and series → labels.
//!
//! 1. Every pair of name and value is kept once ([`super::pairs`]), with the series that have it; a series is a list of
//!    pairs ([`super::label_lists`]). So a new series of known pairs costs a look-up and a posting per label, and its labels
//!    are put together again from the pairs' bytes.
//! 2. A name knows its values. New ones are only noted; before somebody reads, [`PostingsIndex::prepare`] puts them in order.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::convert::Infallible;

use roaring::RoaringBitmap;

use super::cardinality::{Cardinality, CardinalityBuilder};
use super::label_lists::LabelLists;
use super::matching::{self, Postings};
use super::pairs::{Pair, Pairs};
use crate::model::labels::{FieldIter, LabelIter, Labels, field_of};
use crate::model::matcher::Matcher;

/// What a pair costs beside its text, roughly: its record, its place in tables, a bitmap with one container.
const PAIR_OVERHEAD_BYTES: usize = 140;

/// The postings of one tenant's head. Series are dense numbers that the head gives out.
#[derive(Debug, Default)]
pub struct PostingsIndex {
    all: RoaringBitmap,
    /// Names by text: their numbers.
    names: BTreeMap<Box<str>, u32>,
    by_number: Vec<NamePostings>,
    /// Numbers of names that have gone.
    free: Vec<u32>,
    /// Names with values that are not in order yet.
    unsorted: Vec<u32>,
    pairs: Pairs,
    labels: LabelLists,
    list: Vec<u32>,
    /// Bytes of texts, and entries; kept up to date so that an estimate costs nothing.
    text_bytes: usize,
    entries: usize,
    /// Pairs of series and label; a posting takes about two bytes.
    postings: usize,
}

#[derive(Debug, Default)]
pub(crate) struct NamePostings {
    any: RoaringBitmap,
    /// Pairs in ascending order of the values.
    values: Vec<u32>,
    /// Pairs that are not among them yet.
    fresh: Vec<u32>,
}

impl PostingsIndex {
    /// Makes a series findable that has the canonical label bytes `canonical`. Adding it again with the same labels changes
    /// nothing. `false` if it has more labels than an index can hold.
    pub fn add(&mut self, series: u32, canonical: &[u8]) -> bool {
        if self.all.contains(series) {
            return true;
        }
        let mut list = std::mem::take(&mut self.list);
        list.clear();
        for field in FieldIter::over(canonical) {
            let pair = match self.pairs.find(field) {
                Some(pair) => {
                    self.postings += usize::from(self.pairs.add_series(pair, series));
                    pair
                }
                None => self.add_pair(field, series),
            };
            if let Some(name) = self.pairs.get(pair).and_then(|pair| self.by_number.get_mut(pair.name as usize)) {
                name.any.insert(series);
            }
            list.push(pair);
        }
        let added = self.labels.push(series, &list);
        if added {
            self.all.insert(series);
        } else {
            for pair in &list {
                self.pairs.remove_series(*pair, series);
            }
        }
        self.list = list;
        added
    }

    #[cold]
    fn add_pair(&mut self, field: &[u8], series: u32) -> u32 {
        let (name, value) = LabelIter::over(field).next().unwrap_or_default();
        let number = match self.names.get(name) {
            Some(number) => *number,
            None => self.add_name(name),
        };
        let pair = self.pairs.insert(field, number, series);
        let entry = &mut self.by_number[number as usize];
        if entry.fresh.is_empty() {
            self.unsorted.push(number);
        }
        entry.fresh.push(pair);
        self.text_bytes += value.len();
        self.entries += 1;
        self.postings += 1;
        pair
    }

    fn add_name(&mut self, name: &str) -> u32 {
        let number = self.free.pop().unwrap_or_else(|| {
            self.by_number.push(NamePostings::default());
            (self.by_number.len() - 1) as u32
        });
        self.names.insert(name.into(), number);
        self.text_bytes += name.len();
        self.entries += 1;
        number
    }

    /// Whether nothing is left to put in order.
    pub fn is_prepared(&self) -> bool {
        self.unsorted.is_empty()
    }

    /// Puts new values in their order. To be called before anything is selected or listed.
    pub fn prepare(&mut self) {
        for number in std::mem::take(&mut self.unsorted) {
            let Some(name) = self.by_number.get_mut(number as usize) else { continue };
            let pairs = &self.pairs;
            let value = |pair: &u32| pairs.get(*pair).map_or("", Pair::value);
            let sorted = name.values.len();
            name.values.append(&mut name.fresh);
            name.values[sorted..].sort_unstable_by(|a, b| value(a).cmp(value(b)));
            // Two runs, which the stable sort merges.
            name.values.sort_by(|a, b| value(a).cmp(value(b)));
        }
    }

    /// Forgets series, and the names and values that only they had.
    pub fn remove(&mut self, dead: &RoaringBitmap) {
        self.prepare();
        let mut gone = Vec::new();
        let mut names = RoaringBitmap::new();
        for series in dead {
            for pair in self.labels.get(series).unwrap_or_default() {
                let (was_there, empty) = self.pairs.remove_series(*pair, series);
                self.postings -= usize::from(was_there);
                if let Some(found) = self.pairs.get(*pair) {
                    names.insert(found.name);
                    if empty {
                        self.text_bytes -= found.value().len();
                        self.entries -= 1;
                        gone.push(*pair);
                    }
                }
            }
            self.labels.remove(series);
        }
        self.all -= dead;
        self.labels.pack(self.all.iter());
        let gone_set: RoaringBitmap = gone.iter().copied().collect();
        for number in &names {
            let name = &mut self.by_number[number as usize];
            name.any -= dead;
            name.values.retain(|pair| !gone_set.contains(*pair));
        }
        self.pairs.remove(&gone);
        let PostingsIndex { names: texts, by_number, free, text_bytes, entries, .. } = self;
        if names.iter().any(|number| by_number[number as usize].values.is_empty()) {
            texts.retain(|text, number| {
                let keep = !by_number[*number as usize].values.is_empty();
                if !keep {
                    by_number[*number as usize] = NamePostings::default();
                    free.push(*number);
                    *text_bytes -= text.len();
                    *entries -= 1;
                }
                keep
            });
        }
    }

    /// How many series are findable.
    pub fn len(&self) -> u64 {
        self.all.len()
    }

    /// Whether no series is findable.
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// All series.
    pub fn all_series(&self) -> &RoaringBitmap {
        &self.all
    }

    /// The labels of a series.
    pub fn labels(&self, series: u32) -> Option<Labels> {
        let list = self.labels.get(series)?;
        Some(Labels::from_fields(list.iter().filter_map(|pair| self.pairs.get(*pair)).map(Pair::field)))
    }

    /// The series of `wanted`, in ascending order of their labels.
    pub fn in_label_order(&self, wanted: &RoaringBitmap) -> Vec<u32> {
        let mut ranks = vec![0u32; self.pairs.end()];
        let mut rank = 0;
        for number in self.names.values() {
            for pair in self.by_number.get(*number as usize).iter().flat_map(|name| &name.values) {
                if let Some(place) = ranks.get_mut(*pair as usize) {
                    *place = rank;
                    rank += 1;
                }
            }
        }
        let ranks_of = |series: u32| {
            let list = self.labels.get(series).unwrap_or_default();
            list.iter().map(|pair| ranks.get(*pair as usize).copied().unwrap_or(u32::MAX))
        };
        let mut series: Vec<(u64, u32)> = wanted
            .iter()
            .map(|series| {
                let mut ranks = ranks_of(series);
                let mut next = || u64::from(ranks.next().map_or(0, |rank| rank + 1));
                (next() << 32 | next(), series)
            })
            .collect();
        series.sort_unstable_by(|a, b| a.0.cmp(&b.0).then_with(|| ranks_of(a.1).cmp(ranks_of(b.1))));
        series.into_iter().map(|(_, series)| series).collect()
    }

    /// The series that pass all matchers. A matcher that accepts the empty value also selects series without the label.
    pub fn select(&self, matchers: &[Matcher]) -> RoaringBitmap {
        let Ok(selected) = matching::select(self, matchers);
        selected
    }

    /// The label names (of the series `within`) in ascending order.
    pub fn label_names(&self, within: Option<&RoaringBitmap>) -> Vec<String> {
        let Ok(names) = matching::label_names(self, within);
        names
    }

    /// The values of a label (of the series `within`) in ascending order.
    pub fn label_values(&self, name: &str, within: Option<&RoaringBitmap>) -> Vec<String> {
        let Ok(values) = matching::label_values(self, name, within);
        values
    }

    /// Which names and values have the most series: lists of at most `limit` entries. Needs no [`PostingsIndex::prepare`].
    pub fn cardinality(&self, limit: usize) -> Cardinality {
        let mut builder = CardinalityBuilder::new(limit);
        for (text, number) in &self.names {
            let Some(name) = self.named(*number) else { continue };
            let pairs = name.values.iter().chain(&name.fresh).filter_map(|pair| self.pairs.get(*pair));
            builder.add(text, pairs.map(|pair| (pair.value(), pair.series.len())));
        }
        builder.finish()
    }

    /// About how much memory the index takes.
    pub fn memory_bytes(&self) -> usize {
        self.text_bytes
            + self.entries * PAIR_OVERHEAD_BYTES
            + self.postings * 2
            + self.labels.memory_bytes()
            + self.all.serialized_size()
    }

    fn named(&self, number: u32) -> Option<&NamePostings> {
        self.by_number.get(number as usize)
    }
}

/// A label name: its text and what is known of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NameHandle<'a> {
    text: &'a str,
    postings: &'a NamePostings,
}

impl Postings for PostingsIndex {
    type Error = Infallible;
    type Name<'a> = NameHandle<'a>;
    type Value<'a> = &'a Pair;

    fn all(&self) -> Cow<'_, RoaringBitmap> {
        Cow::Borrowed(&self.all)
    }

    fn visit_names<'a>(
        &'a self,
        mut visit: impl FnMut(&str, Self::Name<'a>) -> Result<bool, Infallible>,
    ) -> Result<(), Infallible> {
        for (text, number) in &self.names {
            if let Some(postings) = self.named(*number)
                && !visit(text, NameHandle { text, postings })?
            {
                break;
            }
        }
        Ok(())
    }

    fn name(&self, name: &str) -> Result<Option<Self::Name<'_>>, Infallible> {
        let found = self.names.get_key_value(name);
        Ok(found.and_then(|(text, number)| Some(NameHandle { text, postings: self.named(*number)? })))
    }

    fn name_series<'a>(&'a self, name: Self::Name<'a>) -> Result<Cow<'a, RoaringBitmap>, Infallible> {
        Ok(Cow::Borrowed(&name.postings.any))
    }

    fn visit_values<'a>(
        &'a self,
        name: Self::Name<'a>,
        from: &str,
        mut visit: impl FnMut(&str, Self::Value<'a>) -> Result<bool, Infallible>,
    ) -> Result<(), Infallible> {
        debug_assert!(name.postings.fresh.is_empty(), "values are put in order before they are read");
        let values = &name.postings.values;
        let start = values.partition_point(|pair| self.pairs.get(*pair).is_some_and(|pair| pair.value() < from));
        for pair in values.get(start..).unwrap_or_default().iter().filter_map(|pair| self.pairs.get(*pair)) {
            if !visit(pair.value(), pair)? {
                break;
            }
        }
        Ok(())
    }

    fn value<'a>(&'a self, name: Self::Name<'a>, value: &str) -> Result<Option<Self::Value<'a>>, Infallible> {
        Ok(self.pairs.find(&field_of(name.text, value)).and_then(|pair| self.pairs.get(pair)))
    }

    fn value_series<'a>(&'a self, value: Self::Value<'a>) -> Result<Cow<'a, RoaringBitmap>, Infallible> {
        Ok(value.series.bitmap())
    }

    fn value_count(&self, value: Self::Value<'_>) -> u64 {
        value.series.len()
    }
}
