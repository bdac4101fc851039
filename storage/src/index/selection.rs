//! What a block answers from a tenant's index alone: series, label names and values within a range of time.

use roaring::RoaringBitmap;

use super::groups::GROUP_SERIES;
use super::matching;
use super::reader::{Index, TenantIndex};
use crate::error::Result;
use crate::model::matcher::Matcher;
use crate::model::time::TimeRange;

impl TenantIndex {
    /// The series that pass all matchers and have a chunk that overlaps `range`, in label order.
    pub(crate) fn select(&self, matchers: &[Matcher], range: TimeRange) -> Result<RoaringBitmap> {
        let own = self.range();
        if !own.overlaps(range) {
            return Ok(RoaringBitmap::new());
        }
        let mut selected = match self.index() {
            Index::V1(index) => matching::select(index, matchers)?,
            Index::V2(index) => matching::select(index, matchers)?,
        };
        if range.start_ms <= own.start_ms && own.end_ms <= range.end_ms {
            return Ok(selected);
        }
        selected -= self.outside(&selected, range)?;
        Ok(selected)
    }

    /// The series of `selected` that have no chunk that overlaps `range`.
    fn outside(&self, selected: &RoaringBitmap, range: TimeRange) -> Result<RoaringBitmap> {
        let mut outside = RoaringBitmap::new();
        let groups = match self.index() {
            Index::V1(_) => None,
            Index::V2(index) if index.groups.all_overlap(range) => return Ok(outside),
            Index::V2(index) => Some(&index.groups),
        };
        let mut cursor = self.cursor();
        let mut series_left = selected.iter();
        while let Some(series) = series_left.next() {
            let number = series / GROUP_SERIES;
            if groups.is_some_and(|groups| groups.group_overlaps(number, range)) {
                series_left.advance_to((number + 1).saturating_mul(GROUP_SERIES));
                continue;
            }
            cursor.seek(series)?;
            if !cursor.overlaps(range)? {
                outside.insert(series);
            }
        }
        Ok(outside)
    }

    /// The label names of those series, ascending.
    pub(crate) fn label_names(&self, matchers: &[Matcher], range: TimeRange) -> Result<Vec<String>> {
        let within = self.within(matchers, range)?;
        match self.index() {
            Index::V1(index) => matching::label_names(index, within.as_ref()),
            Index::V2(index) => matching::label_names(index, within.as_ref()),
        }
    }

    /// The values of a label of those series, ascending.
    pub(crate) fn label_values(&self, name: &str, matchers: &[Matcher], range: TimeRange) -> Result<Vec<String>> {
        let within = self.within(matchers, range)?;
        match self.index() {
            Index::V1(index) => matching::label_values(index, name, within.as_ref()),
            Index::V2(index) => matching::label_values(index, name, within.as_ref()),
        }
    }

    /// The series that listings are limited to; `None` where that is all of them.
    fn within(&self, matchers: &[Matcher], range: TimeRange) -> Result<Option<RoaringBitmap>> {
        let selected = self.select(matchers, range)?;
        let all = selected.len() == u64::from(self.series_count());
        Ok((!all).then_some(selected))
    }
}
