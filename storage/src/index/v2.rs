//! The index of a tenant in place.
//!
//! Opening verifies every checksum and, in one walk over each section, all orders, bounds and cross references.
//! Afterwards look-ups are binary searches over the mapped bytes, and postings are read when they are asked for.

use std::borrow::Cow;
use std::collections::BTreeSet;

use bytes::Bytes;
use roaring::RoaringBitmap;

use super::groups::{GROUP_SERIES, Group, GroupsTable};
use super::labels::LabelsTable;
use super::lists::Place;
use super::matching::{POSTINGS_PER_LOOK, Postings};
use super::reader::Sections;
use super::times::TimesTable;
use crate::error::{Error, Result};
use crate::model::time::TimeRange;

/// One tenant's part of an index file of version 2.
#[derive(Debug)]
pub(super) struct TenantIndexV2 {
    what: Box<str>,
    pub(super) labels: LabelsTable,
    postings: Bytes,
    pub(super) times: TimesTable,
    pub(super) groups: GroupsTable,
    range: TimeRange,
}

/// A value of a name.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PairPlace {
    pair: u32,
    place: Place,
}

impl TenantIndexV2 {
    /// Opens the payloads of the sections.
    pub(super) fn open(what: &str, [labels, postings, times, groups]: Sections, chunks_bytes: u64) -> Result<Self> {
        let broken = |name: &'static str| move || Error::corrupt(what, format!("{name}: the table is not well-formed"));
        let labels = LabelsTable::open(labels, postings.len() as u64).ok_or_else(broken("labels"))?;
        let times = TimesTable::open(times).ok_or_else(broken("times"))?;
        let mut groups = GroupsTable::open(groups, &labels).ok_or_else(broken("series"))?;
        let range = groups.check(&labels, &times, chunks_bytes).ok_or_else(broken("series"))?;
        Ok(TenantIndexV2 { what: what.into(), labels, postings, times, groups, range })
    }

    pub(super) fn series_count(&self) -> u32 {
        self.labels.series
    }

    pub(super) fn range(&self) -> TimeRange {
        self.range
    }

    pub(super) fn damaged(&self, section: &str) -> Error {
        Error::corrupt(&*self.what, format!("{section}: it does not decode"))
    }

    /// Calls `see` with each series of `within` that has a name, and the rank of its value.
    fn look(&self, within: &RoaringBitmap, name: u32, mut see: impl FnMut(u32, u32)) -> Result<()> {
        let damaged = || self.damaged("series");
        let (mut group, mut number) = (Group::default(), None);
        for series in within {
            if number != Some(series / GROUP_SERIES) {
                group.parse(&self.groups, &self.labels, series / GROUP_SERIES).ok_or_else(damaged)?;
                number = Some(series / GROUP_SERIES);
            }
            if let Some(rank) = group.rank(series % GROUP_SERIES, name).ok_or_else(damaged)? {
                see(series, rank);
            }
        }
        Ok(())
    }

    fn read(&self, place: Place) -> Result<Cow<'_, RoaringBitmap>> {
        let series = self.original(place).and_then(|place| place.read(&self.postings, self.labels.series));
        series.map(Cow::Owned).ok_or_else(|| self.damaged("postings"))
    }

    /// Where the postings stand that a place is a copy of.
    fn original(&self, place: Place) -> Option<Place> {
        match place.copy_of() {
            None => Some(place),
            Some(other) => self.labels.place(other).filter(|copied| copied.count == place.count),
        }
    }
}

impl Postings for TenantIndexV2 {
    type Error = Error;
    /// By its place.
    type Name<'a> = u32;
    type Value<'a> = PairPlace;

    fn all(&self) -> Cow<'_, RoaringBitmap> {
        let mut all = RoaringBitmap::new();
        all.insert_range(0..self.labels.series);
        Cow::Owned(all)
    }

    fn visit_names<'a>(&'a self, mut visit: impl FnMut(&str, Self::Name<'a>) -> Result<bool>) -> Result<()> {
        for (number, name) in (0..).zip(self.labels.names()) {
            let text = std::str::from_utf8(self.labels.name_text(name)).map_err(|_| self.damaged("labels"))?;
            if !visit(text, number)? {
                break;
            }
        }
        Ok(())
    }

    fn name(&self, name: &str) -> Result<Option<u32>> {
        Ok(self.labels.find_name(name))
    }

    fn name_series(&self, name: u32) -> Result<Cow<'_, RoaringBitmap>> {
        let name = self.labels.names().get(name as usize).ok_or_else(|| self.damaged("labels"))?;
        self.read(name.any)
    }

    fn visit_values<'a>(
        &'a self,
        name: u32,
        from: &str,
        mut visit: impl FnMut(&str, Self::Value<'a>) -> Result<bool>,
    ) -> Result<()> {
        let damaged = || self.damaged("labels");
        let name = self.labels.names().get(name as usize).ok_or_else(damaged)?;
        let first = match from {
            "" => name.first_pair,
            from => self.labels.lower_bound(name, from).ok_or_else(damaged)?,
        };
        let visited = self.labels.visit(first..name.end(), |text, pair, place| visit(text, PairPlace { pair, place }));
        visited.ok_or_else(damaged)?
    }

    fn value(&self, name: u32, value: &str) -> Result<Option<PairPlace>> {
        let mut found = None;
        self.visit_values(name, value, |text, place| {
            found = (text == value).then_some(place);
            Ok(false)
        })?;
        Ok(found)
    }

    fn value_series(&self, value: PairPlace) -> Result<Cow<'_, RoaringBitmap>> {
        self.read(value.place)
    }

    fn among(&self, within: &RoaringBitmap, name: u32, values: &[PairPlace]) -> Result<Option<RoaringBitmap>> {
        let first = self.labels.names().get(name as usize).ok_or_else(|| self.damaged("labels"))?.first_pair;
        let mut ranks: Vec<u32> = values.iter().filter_map(|value| value.pair.checked_sub(first)).collect();
        ranks.sort_unstable();
        let mut found = Vec::new();
        self.look(within, name, |series, rank| {
            if ranks.binary_search(&rank).is_ok() {
                found.push(series);
            }
        })?;
        RoaringBitmap::from_sorted_iter(found).map(Some).map_err(|_| self.damaged("series"))
    }

    fn values_among(&self, within: &RoaringBitmap, name: u32) -> Result<Option<Vec<String>>> {
        let number = name;
        let name = self.labels.names().get(name as usize).ok_or_else(|| self.damaged("labels"))?;
        if u64::from(name.any.count) / POSTINGS_PER_LOOK <= within.len() {
            return Ok(None);
        }
        let mut pairs = BTreeSet::new();
        self.look(within, number, |_, rank| {
            pairs.insert(name.first_pair.saturating_add(rank));
        })?;
        let text = |pair| {
            let mut text = Vec::new();
            self.labels.push_value(pair, &mut text)?;
            String::from_utf8(text).ok()
        };
        pairs.into_iter().map(|pair| text(pair).ok_or_else(|| self.damaged("labels"))).collect::<Result<_>>().map(Some)
    }

    fn value_meets(&self, value: PairPlace, within: &RoaringBitmap) -> Result<bool> {
        let place = self.original(value.place);
        let meets = place.and_then(|place| place.meets(&self.postings, self.labels.series, within));
        meets.ok_or_else(|| self.damaged("postings"))
    }

    fn value_count(&self, value: PairPlace) -> u64 {
        u64::from(value.place.count)
    }
}
