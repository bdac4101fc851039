//! Writes series group by group.

use hashbrown::HashMap;

use super::{GROUP_SERIES, HEADER_BYTES, INLINE_BYTES_MAX, PREDICTED};
use crate::format::varint::{push_uvarint, zigzag};
use crate::index::packed::{push_bits, push_column, width_of};
use crate::index::predict::Predictions;

/// One series as it is written.
#[derive(Clone, Copy)]
pub(in crate::index) struct SeriesToWrite<'a> {
    /// Its pairs, ascending.
    pub(in crate::index) pairs: &'a [u32],
    /// Number of the times column, and length, of each chunk.
    pub(in crate::index) chunks: &'a [(u32, u32)],
}

/// The section in the making.
pub(in crate::index) struct GroupsWriter<'a> {
    predictions: &'a Predictions,
    /// The name of each pair, and the first pair of each name.
    pair_names: &'a [u32],
    first_pairs: &'a [u32],
    shapes: HashMap<Vec<u32>, u32, foldhash::fast::RandomState>,
    shape_ends: Vec<u32>,
    shape_bytes: Vec<u8>,
    group_ends: Vec<u32>,
    groups: Vec<u8>,
    /// Where the next chunk lies.
    offset: u64,
    /// What the chunks so far left of these.
    inline: &'a [u8],
    selves: &'a [(i64, i64)],
    row_shapes: Vec<u32>,
    names: Vec<u32>,
    ranks: Vec<u32>,
}

impl<'a> GroupsWriter<'a> {
    /// `inline` and `selves`: the bytes of all small chunks, and first and last timestamps of those with times of their own.
    pub(in crate::index) fn new(
        predictions: &'a Predictions,
        pair_names: &'a [u32],
        first_pairs: &'a [u32],
        offset: u64,
        inline: &'a [u8],
        selves: &'a [(i64, i64)],
    ) -> Self {
        GroupsWriter {
            predictions,
            pair_names,
            first_pairs,
            shapes: HashMap::default(),
            shape_ends: Vec::new(),
            shape_bytes: Vec::new(),
            group_ends: Vec::new(),
            groups: Vec::new(),
            offset,
            inline,
            selves,
            row_shapes: Vec::new(),
            names: Vec::new(),
            ranks: Vec::new(),
        }
    }

    /// Adds the next group: up to 64 series. `None` beyond 4 GiB.
    pub(in crate::index) fn push_group(&mut self, rows: &[SeriesToWrite<'_>]) -> Option<()> {
        debug_assert!(rows.len() <= GROUP_SERIES as usize);
        self.push_shapes(rows)?;
        let mut names = std::mem::take(&mut self.names);
        for &name in &names {
            self.push_values(name, rows);
        }
        names.clear();
        self.names = names;
        self.push_chunks(rows);
        self.group_ends.push(u32::try_from(self.groups.len()).ok()?);
        Some(())
    }

    fn name(&self, pair: u32) -> u32 {
        self.pair_names.get(pair as usize).copied().unwrap_or(u32::MAX)
    }

    /// The shapes of the rows, and which row has which; leaves all their names in `names`.
    fn push_shapes(&mut self, rows: &[SeriesToWrite<'_>]) -> Option<()> {
        self.row_shapes.clear();
        let mut shape: Vec<u32> = Vec::new();
        let mut before: Option<(Vec<u32>, u32)> = None;
        let mut distinct: Vec<u32> = Vec::new();
        for row in rows {
            shape.clear();
            shape.extend(row.pairs.iter().map(|pair| self.name(*pair)));
            let number = match &before {
                Some((names, number)) if *names == shape => *number,
                _ => {
                    let number = self.shape_number(&shape)?;
                    self.names.extend_from_slice(&shape);
                    before = Some((shape.clone(), number));
                    number
                }
            };
            let at = distinct.iter().position(|other| *other == number).unwrap_or_else(|| {
                distinct.push(number);
                distinct.len() - 1
            });
            self.row_shapes.push(at as u32);
        }
        self.names.sort_unstable();
        self.names.dedup();
        push_uvarint(&mut self.groups, distinct.len() as u64);
        distinct.iter().for_each(|shape| push_uvarint(&mut self.groups, (*shape).into()));
        if distinct.len() > 1 {
            push_bits(&mut self.groups, width_of(distinct.len() as u32 - 1), self.row_shapes.iter().copied());
        }
        Some(())
    }

    fn shape_number(&mut self, shape: &[u32]) -> Option<u32> {
        if let Some(number) = self.shapes.get(shape) {
            return Some(*number);
        }
        let number = u32::try_from(self.shapes.len()).ok()?;
        let mut next = 0;
        for name in shape {
            push_uvarint(&mut self.shape_bytes, (name - next).into());
            next = name + 1;
        }
        self.shape_ends.push(u32::try_from(self.shape_bytes.len()).ok()?);
        self.shapes.insert(shape.to_vec(), number);
        Some(number)
    }

    fn push_values(&mut self, name: u32, rows: &[SeriesToWrite<'_>]) {
        let first = self.first_pairs.get(name as usize).copied().unwrap_or(0);
        self.ranks.clear();
        let (mut base, mut predicted) = (u32::MAX, true);
        for row in rows {
            let pair = row.pairs.binary_search_by(|pair| self.name(*pair).cmp(&name)).ok().map(|at| row.pairs[at]);
            // What a row without the name holds is never looked at.
            let rank = pair.map_or(u32::MAX, |pair| pair - first);
            if rank != u32::MAX {
                base = base.min(rank);
                predicted =
                    predicted && self.predictions.value(name, self.predictions.root_of(row.pairs)) == Some(rank);
            }
            self.ranks.push(rank);
        }
        if predicted {
            self.groups.push(PREDICTED);
            return;
        }
        push_column(&mut self.groups, self.ranks.iter().map(|rank| if *rank == u32::MAX { base } else { *rank }));
    }

    fn push_chunks(&mut self, rows: &[SeriesToWrite<'_>]) {
        push_uvarint(&mut self.groups, self.offset);
        push_column(&mut self.groups, rows.iter().map(|row| row.chunks.len() as u32));
        let chunks = || rows.iter().flat_map(|row| row.chunks.iter());
        push_column(&mut self.groups, chunks().map(|(_, length)| *length));
        let predicted = rows.iter().all(|row| {
            let first = self.predictions.times(self.predictions.root_of(row.pairs));
            first.is_some_and(|first| row.chunks.iter().zip(first..).all(|((times, _), number)| *times == number))
        });
        match predicted {
            true => self.groups.push(PREDICTED),
            false => push_column(&mut self.groups, chunks().map(|(times, _)| *times)),
        }
        let mut own = Vec::new();
        let mut inline_bytes = 0;
        for (times, length) in chunks() {
            if *times == 0
                && let Some(((first, last), rest)) = self.selves.split_first()
            {
                push_uvarint(&mut own, zigzag(*first));
                push_uvarint(&mut own, last.wrapping_sub(*first) as u64);
                self.selves = rest;
            }
            match *length as usize {
                length if length <= INLINE_BYTES_MAX => inline_bytes += length,
                length => self.offset += length as u64 + crate::index::CHUNK_GAP_BYTES,
            }
        }
        push_uvarint(&mut self.groups, own.len() as u64);
        self.groups.extend_from_slice(&own);
        let (inline, rest) = self.inline.split_at(inline_bytes.min(self.inline.len()));
        self.groups.extend_from_slice(inline);
        self.inline = rest;
    }

    /// The payload of the section; `None` beyond 4 GiB.
    pub(in crate::index) fn payload(self) -> Option<Vec<u8>> {
        let mut out = Vec::with_capacity(HEADER_BYTES + self.groups.len() + self.shape_bytes.len());
        let numbers = [self.shape_ends.len(), self.shape_bytes.len(), self.predictions.times_width() as usize];
        for number in numbers {
            out.extend_from_slice(&u32::try_from(number).ok()?.to_le_bytes());
        }
        self.shape_ends.iter().for_each(|end| out.extend_from_slice(&end.to_le_bytes()));
        out.extend_from_slice(&self.shape_bytes);
        self.predictions.push_tables(&mut out);
        self.group_ends.iter().for_each(|end| out.extend_from_slice(&end.to_le_bytes()));
        out.extend_from_slice(&self.groups);
        Some(out)
    }
}
