//! The series of a tenant in a block, in label order: ids and entry offsets as arrays, entries with labels and chunks.

use std::cmp::Ordering;

use bytes::Bytes;

use super::super::{ChunkPlace, ChunkRef};
use crate::format::binary::u32_at;
use crate::format::varint::{take_uvarint, unzigzag};
use crate::model::labels::SeriesId;
use crate::model::time::TimeRange;

/// Series in place.
#[derive(Clone, Debug)]
pub(super) struct SeriesTable {
    count: u32,
    ids: Bytes,
    ends: Bytes,
    entries: Bytes,
}

impl SeriesTable {
    /// Splits the payload of a section; [`SeriesTable::check`] looks at the entries.
    pub(super) fn open(payload: Bytes) -> Option<Self> {
        let count = u32_at(&payload, 0)?;
        let ends_at = (count as usize).checked_mul(16)?.checked_add(4)?;
        let entries_at = (count as usize).checked_add(1)?.checked_mul(4)?.checked_add(ends_at)?;
        if payload.len() < entries_at {
            return None;
        }
        let (ids, ends) = (payload.slice(4..ends_at), payload.slice(ends_at..entries_at));
        Some(SeriesTable { count, ids, ends, entries: payload.slice(entries_at..) })
    }

    /// Checks every entry, against the number of symbols and the length of the chunks file; answers the time that all
    /// chunks cover.
    pub(super) fn check(&self, symbols: u32, chunks_bytes: u64) -> Option<TimeRange> {
        let mut range = TimeRange::EMPTY;
        let mut previous: Vec<(u32, u32)> = Vec::new();
        let mut pairs: Vec<(u32, u32)> = Vec::new();
        let mut end = 0;
        for series in 0..self.count {
            let (entry, entry_end) = self.entry_from(series)?;
            if entry_end < end {
                return None;
            }
            end = entry_end;
            pairs.clear();
            let mut labels = PairIter::over(entry)?;
            for pair in labels.by_ref() {
                let ascending = pairs.last().is_none_or(|(name, _)| *name < pair.0);
                if !ascending || pair.0 >= symbols || pair.1 >= symbols {
                    return None;
                }
                pairs.push(pair);
            }
            if series > 0 && previous.cmp(&pairs) != Ordering::Less {
                return None;
            }
            std::mem::swap(&mut previous, &mut pairs);
            let mut chunks = ChunkIter::over(labels.rest()?)?;
            for chunk in chunks.by_ref() {
                if chunk.place.end()? > chunks_bytes {
                    return None;
                }
                range = range.including(chunk.min_ms).including(chunk.max_ms);
            }
            chunks.is_complete().then_some(())?;
        }
        let last_end = u32_at(&self.ends, self.count as usize * 4)?;
        (u32_at(&self.ends, 0)? == 0 && last_end as usize == self.entries.len()).then_some(range)
    }

    /// How many there are.
    pub(super) fn count(&self) -> u32 {
        self.count
    }

    /// The id of a series.
    pub(super) fn id(&self, series: u32) -> Option<SeriesId> {
        let bytes = self.ids.get(series as usize * 16..)?.first_chunk()?;
        Some(SeriesId(u128::from_le_bytes(*bytes)))
    }

    /// Name and value of each label, as symbols.
    pub(super) fn labels(&self, series: u32) -> Option<PairIter<'_>> {
        PairIter::over(self.entry_from(series)?.0)
    }

    /// The chunks in ascending order of time and place.
    pub(super) fn chunks(&self, series: u32) -> Option<ChunkIter<'_>> {
        let mut labels = self.labels(series)?;
        labels.by_ref().for_each(drop);
        ChunkIter::over(labels.rest()?)
    }

    fn entry_from(&self, series: u32) -> Option<(&[u8], u32)> {
        let at = series as usize * 4;
        let (start, end) = (u32_at(&self.ends, at)?, u32_at(&self.ends, at + 4)?);
        Some((self.entries.get(start as usize..end as usize)?, end))
    }
}

/// Walks the labels of an entry; ends early on bytes that no builder makes.
pub(super) struct PairIter<'a> {
    left: u64,
    rest: Option<&'a [u8]>,
}

impl<'a> PairIter<'a> {
    fn over(mut entry: &'a [u8]) -> Option<Self> {
        let left = take_uvarint(&mut entry)?;
        Some(PairIter { left, rest: Some(entry) })
    }

    /// What follows the labels, once all were taken.
    fn rest(self) -> Option<&'a [u8]> {
        self.rest.filter(|_| self.left == 0)
    }
}

impl Iterator for PairIter<'_> {
    type Item = (u32, u32);

    fn next(&mut self) -> Option<Self::Item> {
        if self.left == 0 {
            return None;
        }
        let mut rest = self.rest.take()?;
        let name = u32::try_from(take_uvarint(&mut rest)?).ok()?;
        let value = u32::try_from(take_uvarint(&mut rest)?).ok()?;
        self.left -= 1;
        self.rest = Some(rest);
        Some((name, value))
    }
}

/// Walks the chunks of an entry; ends early on bytes that no builder makes.
pub(super) struct ChunkIter<'a> {
    left: u64,
    rest: &'a [u8],
    previous: Option<ChunkRef>,
}

impl<'a> ChunkIter<'a> {
    fn over(mut rest: &'a [u8]) -> Option<Self> {
        let left = take_uvarint(&mut rest)?;
        Some(ChunkIter { left, rest, previous: None })
    }

    /// Whether the walk ended where the entry ends, with at least one chunk.
    fn is_complete(&self) -> bool {
        self.left == 0 && self.rest.is_empty() && self.previous.is_some()
    }

    fn take(&mut self) -> Option<ChunkRef> {
        let (offset, min_ms) = match self.previous {
            None => (take_uvarint(&mut self.rest)?, unzigzag(take_uvarint(&mut self.rest)?)),
            Some(before) => {
                let gap = take_uvarint(&mut self.rest)?;
                (before.place.end()?, before.max_ms.checked_add_unsigned(gap).filter(|_| gap > 0)?)
            }
        };
        let max_ms = min_ms.checked_add_unsigned(take_uvarint(&mut self.rest)?)?;
        let length = u32::try_from(take_uvarint(&mut self.rest)?).ok()?;
        Some(ChunkRef { min_ms, max_ms, times: 0, place: ChunkPlace::File { offset, length } })
    }
}

impl Iterator for ChunkIter<'_> {
    type Item = ChunkRef;

    fn next(&mut self) -> Option<ChunkRef> {
        if self.left == 0 {
            return None;
        }
        let chunk = self.take()?;
        self.left -= 1;
        self.previous = Some(chunk);
        Some(chunk)
    }
}
