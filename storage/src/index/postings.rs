//! The index of a head: label name → value → the series that have it.
//!
//! Every text is kept once per use: names once, values once per name. Names and values are in order, so that prefixes
//! are ranges and listings need no sort.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::ops::Bound;

use roaring::RoaringBitmap;

use super::matching::{self, Postings};
use crate::model::labels::Labels;
use crate::model::matcher::Matcher;

/// What a map entry and an empty bitmap cost beside their texts, roughly: node share, pointers, one container.
const ENTRY_OVERHEAD_BYTES: usize = 112;

/// The postings of one tenant's head. Series are dense numbers that the head gives out.
#[derive(Debug, Default)]
pub struct PostingsIndex {
    all: RoaringBitmap,
    names: BTreeMap<Box<str>, NamePostings>,
    /// Bytes of texts, and entries; kept up to date so that an estimate costs nothing.
    text_bytes: usize,
    entries: usize,
    /// Pairs of series and label; a posting takes about two bytes.
    postings: usize,
}

#[derive(Debug, Default)]
pub(crate) struct NamePostings {
    any: RoaringBitmap,
    values: BTreeMap<Box<str>, RoaringBitmap>,
}

impl PostingsIndex {
    /// Makes a series findable. Adding it again with the same labels changes nothing.
    pub fn add(&mut self, series: u32, labels: &Labels) {
        self.all.insert(series);
        for (name, value) in labels.iter() {
            if !self.names.contains_key(name) {
                self.names.insert(name.into(), NamePostings::default());
                self.text_bytes += name.len();
                self.entries += 1;
            }
            let Some(entry) = self.names.get_mut(name) else { continue };
            entry.any.insert(series);
            match entry.values.get_mut(value) {
                Some(postings) => self.postings += usize::from(postings.insert(series)),
                None => {
                    entry.values.insert(value.into(), RoaringBitmap::from_iter([series]));
                    self.text_bytes += value.len();
                    self.entries += 1;
                    self.postings += 1;
                }
            }
        }
    }

    /// Forgets series, and the names and values that only they had.
    pub fn remove(&mut self, dead: &RoaringBitmap) {
        self.all -= dead;
        let (text_bytes, entries, removed) = (&mut self.text_bytes, &mut self.entries, &mut self.postings);
        self.names.retain(|name, postings| {
            if !postings.any.is_disjoint(dead) {
                postings.any -= dead;
                postings.values.retain(|value, series| {
                    let before = series.len();
                    *series -= dead;
                    *removed -= (before - series.len()) as usize;
                    let keep = !series.is_empty();
                    if !keep {
                        *text_bytes -= value.len();
                        *entries -= 1;
                    }
                    keep
                });
            }
            let keep = !postings.values.is_empty();
            if !keep {
                *text_bytes -= name.len();
                *entries -= 1;
            }
            keep
        });
    }

    /// How many series are findable.
    pub fn len(&self) -> u64 {
        self.all.len()
    }

    /// Whether no series is findable.
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
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

    /// About how much memory the index takes.
    pub fn memory_bytes(&self) -> usize {
        self.text_bytes + self.entries * ENTRY_OVERHEAD_BYTES + self.postings * 2 + self.all.serialized_size()
    }
}

impl Postings for PostingsIndex {
    type Error = Infallible;
    type Name<'a> = &'a NamePostings;
    type Value<'a> = &'a RoaringBitmap;

    fn all(&self) -> Cow<'_, RoaringBitmap> {
        Cow::Borrowed(&self.all)
    }

    fn visit_names<'a>(
        &'a self,
        mut visit: impl FnMut(&str, Self::Name<'a>) -> Result<bool, Infallible>,
    ) -> Result<(), Infallible> {
        for (name, postings) in &self.names {
            if !visit(name, postings)? {
                break;
            }
        }
        Ok(())
    }

    fn name(&self, name: &str) -> Result<Option<Self::Name<'_>>, Infallible> {
        Ok(self.names.get(name))
    }

    fn name_series<'a>(&'a self, name: Self::Name<'a>) -> Result<Cow<'a, RoaringBitmap>, Infallible> {
        Ok(Cow::Borrowed(&name.any))
    }

    fn visit_values<'a>(
        &'a self,
        name: Self::Name<'a>,
        from: &str,
        mut visit: impl FnMut(&str, Self::Value<'a>) -> Result<bool, Infallible>,
    ) -> Result<(), Infallible> {
        for (value, series) in name.values.range::<str, _>((Bound::Included(from), Bound::Unbounded)) {
            if !visit(value, series)? {
                break;
            }
        }
        Ok(())
    }

    fn value<'a>(&'a self, name: Self::Name<'a>, value: &str) -> Result<Option<Self::Value<'a>>, Infallible> {
        Ok(name.values.get(value))
    }

    fn value_series<'a>(&'a self, value: Self::Value<'a>) -> Result<Cow<'a, RoaringBitmap>, Infallible> {
        Ok(Cow::Borrowed(value))
    }

    fn value_count(&self, value: Self::Value<'_>) -> u64 {
        value.len()
    }
}
