//! Walks the chunks of a group's series in order: where each lies follows from the lengths of those before.

use super::INLINE_BYTES_MAX;
use super::reader::{Chunks, Group};
use crate::format::varint::{take_uvarint, unzigzag};
use crate::index::times::TimesTable;
use crate::index::{CHUNK_GAP_BYTES, ChunkPlace, ChunkRef};
use crate::model::time::TimeRange;

/// Where a walk is.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::index) struct ChunkWalk<'a> {
    chunks: Chunks<'a>,
    /// The series that comes next.
    row: u32,
    /// The chunk that comes next.
    chunk: usize,
    offset: u64,
    selves: &'a [u8],
    inline: &'a [u8],
}

impl<'a> ChunkWalk<'a> {
    pub(super) fn over(chunks: Chunks<'a>) -> Self {
        let Chunks { offset, selves, inline, .. } = chunks;
        ChunkWalk { chunks, row: 0, chunk: 0, offset, selves, inline }
    }

    /// Where the next chunk lies in the file.
    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    /// Goes on to a series; back to the start first where it has passed it.
    pub(in crate::index) fn seek(&mut self, row: u32) -> Option<()> {
        if row < self.row {
            *self = Self::over(self.chunks);
        }
        while self.row < row {
            for _ in 0..self.chunks.counts.get(self.row as usize) {
                self.skip_chunk()?;
            }
            self.row += 1;
        }
        Some(())
    }

    /// Takes the chunks of the next series, in order; `None` where one does not exist.
    pub(in crate::index) fn take_row(
        &mut self,
        group: &Group<'a>,
        times: &TimesTable,
        mut take: impl FnMut(ChunkRef) -> Option<()>,
    ) -> Option<()> {
        let predicted = match self.chunks.times_predicted {
            true => Some(self.chunks.times.get(group.root_row(self.row)? as usize)),
            false => None,
        };
        for at in 0..self.chunks.counts.get(self.row as usize) {
            let number = match predicted {
                // Number 0 is no column: there is no prediction.
                Some(first) => first.checked_add(at).filter(|_| first > 0)?,
                None => self.chunks.times.get(self.chunk),
            };
            take(self.next_chunk(times, number)?)?;
        }
        self.row += 1;
        Some(())
    }

    /// Passes over the next chunk.
    #[inline]
    fn skip_chunk(&mut self) -> Option<()> {
        let length = self.chunks.lengths.get(self.chunk) as usize;
        if !self.chunks.times_predicted && self.chunks.times.get(self.chunk) == 0 {
            self.take_own_range()?;
        }
        self.chunk += 1;
        match length {
            short if short <= INLINE_BYTES_MAX => self.inline = self.inline.get(short..)?,
            length => self.offset = self.offset.checked_add(length as u64 + CHUNK_GAP_BYTES)?,
        }
        Some(())
    }

    /// The next chunk, which goes with the times column `number`.
    fn next_chunk(&mut self, times: &TimesTable, number: u32) -> Option<ChunkRef> {
        let length = Some(self.chunks.lengths.get(self.chunk)).filter(|length| *length > 0)?;
        let range = match number {
            0 => self.take_own_range()?,
            number => times.range(number)?,
        };
        self.chunk += 1;
        let place = match length as usize {
            short if short <= INLINE_BYTES_MAX => {
                let (bytes, rest) = self.inline.split_at_checked(short)?;
                self.inline = rest;
                let mut inline = [0; INLINE_BYTES_MAX];
                inline[..short].copy_from_slice(bytes);
                ChunkPlace::Inline { bytes: inline, length: short as u8 }
            }
            _ => {
                let place = ChunkPlace::File { offset: self.offset, length };
                self.offset = place.end()?;
                place
            }
        };
        Some(ChunkRef { min_ms: range.start_ms, max_ms: range.end_ms, times: number, place })
    }

    fn take_own_range(&mut self) -> Option<TimeRange> {
        let start_ms = unzigzag(take_uvarint(&mut self.selves)?);
        let end_ms = start_ms.checked_add_unsigned(take_uvarint(&mut self.selves)?)?;
        Some(TimeRange { start_ms, end_ms })
    }

    /// Takes the chunks of the next series and checks that there is one, that they ascend in time, and lie in the file. Answers
    /// the time from the first to the last, and the longest between one and the next.
    pub(super) fn check_row(
        &mut self,
        group: &Group<'a>,
        times: &TimesTable,
        chunks_bytes: u64,
    ) -> Option<(TimeRange, u64)> {
        let (mut covered, mut gap_ms): (Option<TimeRange>, u64) = (None, 0);
        self.take_row(group, times, |chunk| {
            let range = TimeRange { start_ms: chunk.min_ms, end_ms: chunk.max_ms };
            let later = covered.is_none_or(|before| before.end_ms < range.start_ms);
            gap_ms = gap_ms.max(covered.map_or(0, |before| range.start_ms.abs_diff(before.end_ms)));
            covered = Some(covered.map_or(range, |before| before.union(range)));
            (later && chunk.place.end().is_none_or(|end| end <= chunks_bytes)).then_some(())
        })?;
        covered.map(|covered| (covered, gap_ms))
    }

    /// Where the last chunk ends in the file; `None` if bytes are left over.
    pub(super) fn end(&self) -> Option<u64> {
        (self.selves.is_empty() && self.inline.is_empty()).then_some(self.offset)
    }
}
