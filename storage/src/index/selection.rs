//! What a block answers from a tenant's index alone: series, label names and values within a range of time.

use roaring::RoaringBitmap;

use super::ChunkRef;
use super::matching::{self, Postings};
use super::reader::TenantIndex;
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
        let mut selected = matching::select(self, matchers)?;
        if range.start_ms <= own.start_ms && own.end_ms <= range.end_ms {
            return Ok(selected);
        }
        let mut outside = RoaringBitmap::new();
        for series in &selected {
            if self.chunks_in(series, range)?.next().is_none() {
                outside.insert(series);
            }
        }
        selected -= outside;
        Ok(selected)
    }

    /// The chunks of a series that overlap `range`, in ascending order.
    pub(crate) fn chunks_in(&self, series: u32, range: TimeRange) -> Result<impl Iterator<Item = ChunkRef>> {
        let overlaps =
            move |chunk: &ChunkRef| range.overlaps(TimeRange { start_ms: chunk.min_ms, end_ms: chunk.max_ms });
        Ok(self.chunks(series)?.filter(overlaps))
    }

    /// The label names of those series, ascending.
    pub(crate) fn label_names(&self, matchers: &[Matcher], range: TimeRange) -> Result<Vec<String>> {
        matching::label_names(self, self.within(matchers, range)?.as_ref())
    }

    /// The values of a label of those series, ascending.
    pub(crate) fn label_values(&self, name: &str, matchers: &[Matcher], range: TimeRange) -> Result<Vec<String>> {
        matching::label_values(self, name, self.within(matchers, range)?.as_ref())
    }

    /// The series that listings are limited to; `None` where that is all of them.
    fn within(&self, matchers: &[Matcher], range: TimeRange) -> Result<Option<RoaringBitmap>> {
        let selected = self.select(matchers, range)?;
        let all = selected.len() == self.all().len();
        Ok((!all).then_some(selected))
    }
}
