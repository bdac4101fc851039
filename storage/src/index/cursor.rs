//! Walks the series of a tenant's index: labels and chunks, quick where they ascend.
//!
//! 1. A group is taken apart when the walk enters it.
//! 2. The texts of labels come out of a table of those that were wanted lately, each as the bytes that a canonical label
//!    set holds. One that is missing is decoded together with its neighbours, which the next series are likely to have.

use bytes::Bytes;

use super::ChunkRef;
use super::groups::{ChunkWalk, GROUP_SERIES, Group};
use super::labels::{GROUP_PAIRS, TextGroup};
use super::reader::{Index, TenantIndex};
use super::v2::TenantIndexV2;
use crate::error::Result;
use crate::model::labels::{Labels, SeriesId, push_label_bytes};
use crate::model::time::TimeRange;

/// For so many series each label is decoded alone: the table would cost more than it saves.
const ALONE_MAX: u32 = 4;
/// Labels that the table holds.
const SLOTS_MAX: usize = 1 << 15;
/// Bytes of labels, the ones that were replaced included, at which the table is emptied.
const TEXTS_BYTES_MAX: usize = 8 << 20;

/// A walk over the series of a tenant's index.
#[derive(Debug)]
pub(crate) struct SeriesCursor<'a> {
    index: &'a TenantIndex,
    series: u32,
    /// Of version 2: the group that the walk is in, and where.
    number: Option<u32>,
    group: Group<'a>,
    walk: ChunkWalk<'a>,
    pairs: Vec<u32>,
    texts: Texts,
    bytes: Vec<u8>,
}

impl<'a> SeriesCursor<'a> {
    /// A walk that is nowhere yet.
    pub(crate) fn over(index: &'a TenantIndex) -> Self {
        SeriesCursor {
            index,
            series: 0,
            number: None,
            group: Group::default(),
            walk: ChunkWalk::default(),
            pairs: Vec::new(),
            texts: Texts::default(),
            bytes: Vec::new(),
        }
    }

    /// Goes to a series.
    ///
    /// # Errors
    /// There is none of that number; damage.
    pub(crate) fn seek(&mut self, series: u32) -> Result<()> {
        self.series = series;
        let Index::V2(index) = self.index.index() else { return Ok(()) };
        let number = series / GROUP_SERIES;
        if self.number != Some(number) {
            self.number = None;
            self.group.parse(&index.groups, &index.labels, number).ok_or_else(|| index.damaged("series"))?;
            self.walk = self.group.walk();
            self.number = Some(number);
        }
        match series % GROUP_SERIES < self.group.rows() {
            true => Ok(()),
            false => Err(index.damaged("series")),
        }
    }

    /// The canonical bytes of the series' labels. Valid until the next call.
    ///
    /// # Errors
    /// Damage.
    pub(crate) fn label_bytes(&mut self) -> Result<&[u8]> {
        self.bytes.clear();
        match self.index.index() {
            Index::V1(index) => self.bytes.extend_from_slice(index.labels(self.series)?.0.as_bytes()),
            Index::V2(index) => {
                self.pairs.clear();
                let row = self.series % GROUP_SERIES;
                let found = self.number.and_then(|_| self.group.row(&index.labels, row, &mut self.pairs));
                let written = found.and_then(|()| self.texts.push(index, &self.pairs, &mut self.bytes));
                written.ok_or_else(|| index.damaged("labels"))?;
            }
        }
        Ok(&self.bytes)
    }

    /// Labels and id of the series.
    ///
    /// # Errors
    /// Damage.
    pub(crate) fn labels(&mut self) -> Result<(Labels, SeriesId)> {
        if let Index::V1(index) = self.index.index() {
            return index.labels(self.series);
        }
        let bytes = self.label_bytes()?;
        Ok((Labels::of_canonical(bytes), SeriesId::of(bytes)))
    }

    /// The chunks of the series that overlap `range`, in ascending order: put into `chunks`, which is cleared first.
    ///
    /// # Errors
    /// Damage.
    pub(crate) fn chunks(&mut self, range: TimeRange, chunks: &mut Vec<ChunkRef>) -> Result<()> {
        chunks.clear();
        self.visit_chunks(range, |chunk| chunks.push(chunk))
    }

    /// Whether a chunk of the series overlaps `range`.
    ///
    /// # Errors
    /// Damage.
    pub(crate) fn overlaps(&mut self, range: TimeRange) -> Result<bool> {
        let mut found = false;
        self.visit_chunks(range, |_| found = true)?;
        Ok(found)
    }

    fn visit_chunks(&mut self, range: TimeRange, mut visit: impl FnMut(ChunkRef)) -> Result<()> {
        let overlaps = |chunk: &ChunkRef| range.overlaps(TimeRange { start_ms: chunk.min_ms, end_ms: chunk.max_ms });
        match self.index.index() {
            Index::V1(index) => index.chunks(self.series)?.filter(overlaps).for_each(visit),
            Index::V2(index) => {
                let row = self.series % GROUP_SERIES;
                let found = self.number.and_then(|_| {
                    self.walk.seek(row)?;
                    self.walk.take_row(&self.group, &index.times, |chunk| {
                        if overlaps(&chunk) {
                            visit(chunk);
                        }
                        Some(())
                    })
                });
                found.ok_or_else(|| index.damaged("series"))?;
            }
        }
        Ok(())
    }

    /// The shared timestamps of a chunk of this index; empty if it holds its own. They share the index's memory.
    ///
    /// # Errors
    /// Damage.
    pub(crate) fn times(&self, chunk: &ChunkRef) -> Result<Bytes> {
        self.index.times(chunk.times)
    }
}

/// Labels that were wanted lately.
#[derive(Debug, Default)]
struct Texts {
    /// Series so far.
    served: u32,
    /// By the low bits of the pair: the pair, and where its bytes lie.
    slots: Vec<(u32, u32, u32)>,
    bytes: Vec<u8>,
    group: TextGroup,
    value: Vec<u8>,
}

/// A slot that holds nothing.
const FREE: (u32, u32, u32) = (u32::MAX, 0, 0);

impl Texts {
    /// Appends the canonical bytes of the pairs.
    fn push(&mut self, index: &TenantIndexV2, pairs: &[u32], out: &mut Vec<u8>) -> Option<()> {
        if self.served < ALONE_MAX {
            self.served += 1;
            return self.push_alone(index, pairs, out);
        }
        if self.slots.is_empty() || self.bytes.len() > TEXTS_BYTES_MAX {
            let slots = (index.labels.pairs as usize).next_power_of_two().clamp(GROUP_PAIRS as usize, SLOTS_MAX);
            self.bytes.clear();
            self.slots.clear();
            self.slots.resize(slots, FREE);
        }
        let mask = self.slots.len() - 1;
        for pair in pairs {
            let mut slot = *self.slots.get(*pair as usize & mask)?;
            if slot.0 != *pair {
                self.decode(index, pair / GROUP_PAIRS)?;
                slot = *self.slots.get(*pair as usize & mask)?;
            }
            out.extend_from_slice(self.bytes.get(slot.1 as usize..slot.2 as usize)?);
        }
        Some(())
    }

    fn push_alone(&mut self, index: &TenantIndexV2, pairs: &[u32], out: &mut Vec<u8>) -> Option<()> {
        let mut names = index.labels.names().iter();
        for pair in pairs {
            let name = names.by_ref().find(|name| *pair < name.end())?;
            self.value.clear();
            index.labels.push_value(*pair, &mut self.value)?;
            push_label_bytes(out, index.labels.name_text(name), &self.value);
        }
        Some(())
    }

    /// Puts a group of pairs into the slots.
    fn decode(&mut self, index: &TenantIndexV2, number: u32) -> Option<()> {
        index.labels.decode_group(number, &mut self.group)?;
        let mask = self.slots.len() - 1;
        let first = number * GROUP_PAIRS;
        let names = index.labels.names();
        let mut name = names.partition_point(|name| name.end() <= first);
        for (pair, value) in (first..).zip(self.group.texts()) {
            while names.get(name)?.end() <= pair {
                name += 1;
            }
            let start = self.bytes.len() as u32;
            push_label_bytes(&mut self.bytes, index.labels.name_text(names.get(name)?), value);
            *self.slots.get_mut(pair as usize & mask)? = (pair, start, self.bytes.len() as u32);
        }
        Some(())
    }
}
