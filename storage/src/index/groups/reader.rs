//! Groups of series in place.

use bytes::Bytes;

use super::walk::ChunkWalk;
use super::{GROUP_SERIES, HEADER_BYTES, PREDICTED};
use crate::format::binary::u32_at;
use crate::format::varint::take_uvarint;
use crate::index::labels::LabelsTable;
use crate::index::packed::{Packed, WIDTH_MAX, packed_bytes, width_of};
use crate::index::times::TimesTable;
use crate::model::time::TimeRange;

/// The section in place.
#[derive(Debug)]
pub(in crate::index) struct GroupsTable {
    payload: Bytes,
    shapes: u32,
    shapes_at: usize,
    /// Where the table of each predicted name begins, by name, and its width; the last is that of the timestamps.
    tables: Vec<Option<(usize, u32)>>,
    /// Rows of the tables.
    table_rows: u64,
    ends_at: usize,
    groups_at: usize,
    cores: Cores,
}

/// What is known of the times of many series without a look at each.
#[derive(Debug)]
struct Cores {
    by_group: Box<[Core]>,
    /// That of all groups.
    all: Core,
}

/// What the times of some series have in common.
#[derive(Clone, Copy, Debug)]
struct Core {
    /// From the latest first timestamp to the earliest last one. Where the end is before the start, a range that holds both and all
    /// between overlaps all series, too.
    range: TimeRange,
    /// The longest time from the end of a chunk to the start of the next one of the series.
    gap_ms: u64,
}

impl Core {
    /// Of no series.
    const NONE: Core = Core { range: TimeRange::ALL, gap_ms: 0 };

    /// Of the series of both.
    fn with(self, other: Core) -> Core {
        let range = TimeRange {
            start_ms: self.range.start_ms.max(other.range.start_ms),
            end_ms: self.range.end_ms.min(other.range.end_ms),
        };
        Core { range, gap_ms: self.gap_ms.max(other.gap_ms) }
    }

    /// Whether it is certain that each of the series has a chunk that overlaps `range`: it cannot lie between two chunks.
    fn overlaps(&self, range: TimeRange) -> bool {
        !range.is_empty() && self.range.overlaps(range) && range.end_ms.abs_diff(range.start_ms) >= self.gap_ms
    }
}

impl GroupsTable {
    /// Splits the payload of the section; [`GroupsTable::check`] looks at the groups.
    pub(in crate::index) fn open(payload: Bytes, labels: &LabelsTable) -> Option<Self> {
        let (shapes, shapes_bytes, times_width) = (u32_at(&payload, 0)?, u32_at(&payload, 4)?, u32_at(&payload, 8)?);
        let shapes_at = HEADER_BYTES.checked_add((shapes as usize).checked_mul(4)?)?;
        let mut at = shapes_at.checked_add(shapes_bytes as usize)?;
        let root = labels.root.checked_sub(1).and_then(|root| labels.names().get(root as usize));
        let table_rows = root.map_or(0, |root| u64::from(root.pairs) + 1);
        let mut tables = Vec::with_capacity(labels.names().len() + 1);
        for width in labels.names().iter().map(|name| u32::from(name.width)).chain([times_width]) {
            if width > WIDTH_MAX || (width > 0 && root.is_none()) {
                return None;
            }
            tables.push((width > 0).then_some((at, width)));
            at = at.checked_add(usize::try_from(packed_bytes(table_rows, width)).ok()?)?;
        }
        let groups = labels.series.div_ceil(GROUP_SERIES) as usize;
        let groups_at = at.checked_add(groups.checked_mul(4)?)?;
        if groups_at > payload.len() || u32_at(&payload, HEADER_BYTES + shapes as usize * 4 - 4)? != shapes_bytes {
            return None;
        }
        let cores = Cores { by_group: Box::default(), all: Core::NONE };
        Some(GroupsTable { payload, shapes, shapes_at, tables, table_rows, ends_at: at, groups_at, cores })
    }

    /// Checks every series: shapes and values exist, label order, chunks one behind the other in the file and in time. Answers
    /// the time that all chunks cover, and notes what they have in common.
    pub(in crate::index) fn check(
        &mut self,
        labels: &LabelsTable,
        times: &TimesTable,
        chunks_bytes: u64,
    ) -> Option<TimeRange> {
        let mut range = TimeRange::EMPTY;
        let groups = labels.series.div_ceil(GROUP_SERIES);
        let mut cores = Vec::with_capacity(groups as usize);
        let (mut group, mut offset, mut end) = (Group::default(), None, 0);
        let (mut before, mut pairs): (Vec<u32>, Vec<u32>) = (Vec::new(), Vec::new());
        for number in 0..groups {
            end = self.end(number).filter(|next| *next > end)?;
            group.parse(self, labels, number)?;
            let mut walk = group.walk();
            if offset.is_some_and(|offset| offset != walk.offset()) {
                return None;
            }
            let mut core = Core::NONE;
            for row in 0..group.rows() {
                pairs.clear();
                group.row(labels, row, &mut pairs)?;
                if number + row > 0 && before >= pairs {
                    return None;
                }
                std::mem::swap(&mut before, &mut pairs);
                let (covered, gap_ms) = walk.check_row(&group, times, chunks_bytes)?;
                core = core.with(Core { range: covered, gap_ms });
                range = range.union(covered);
            }
            offset = Some(walk.end()?);
            cores.push(core);
        }
        let holds = end as usize == self.payload.len() - self.groups_at;
        self.cores = Cores { all: cores.iter().copied().fold(Core::NONE, Core::with), by_group: cores.into() };
        holds.then_some(range)
    }

    /// Whether it is known without a look at them that all series have a chunk that overlaps `range`.
    pub(in crate::index) fn all_overlap(&self, range: TimeRange) -> bool {
        self.cores.all.overlaps(range)
    }

    /// The same of the series of one group.
    pub(in crate::index) fn group_overlaps(&self, number: u32, range: TimeRange) -> bool {
        self.cores.by_group.get(number as usize).is_some_and(|core| core.overlaps(range))
    }

    fn end(&self, group: u32) -> Option<u32> {
        u32_at(self.payload.get(..self.groups_at)?, self.ends_at + group as usize * 4)
    }

    fn bytes(&self, group: u32) -> Option<&[u8]> {
        let start = match group.checked_sub(1) {
            Some(before) => self.end(before)?,
            None => 0,
        };
        self.payload.get(self.groups_at..)?.get(start as usize..self.end(group)? as usize)
    }

    /// Appends the names of a shape, ascending, each less than `names`.
    fn push_shape(&self, shape: u32, names: u32, out: &mut Vec<u32>) -> Option<()> {
        let end_of = |shape: u32| u32_at(&self.payload, HEADER_BYTES + shape as usize * 4);
        let end = end_of(shape).filter(|_| shape < self.shapes)?;
        let start = if shape == 0 { 0 } else { end_of(shape - 1)? };
        let mut rest = self.payload.get(self.shapes_at..)?.get(start as usize..end as usize)?;
        let mut next = 0u32;
        while !rest.is_empty() {
            let name = next.checked_add(u32::try_from(take_uvarint(&mut rest)?).ok()?).filter(|name| *name < names)?;
            out.push(name);
            next = name + 1;
        }
        Some(())
    }

    fn table(&self, field: usize) -> Option<Packed<'_>> {
        let (at, width) = (*self.tables.get(field)?)?;
        Packed::over(self.payload.get(at..)?, self.table_rows, width)
    }
}

/// The values of one name in a group.
#[derive(Clone, Copy, Debug)]
struct Column<'a> {
    name: u32,
    predicted: bool,
    /// Ranks by row of the group; or ranks plus one by row of the root's table.
    values: Packed<'a>,
}

/// The chunks of a group.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Chunks<'a> {
    pub(super) offset: u64,
    pub(super) counts: Packed<'a>,
    pub(super) lengths: Packed<'a>,
    /// Numbers of times columns by chunk; or by row of the root's table, the first chunk's.
    pub(super) times: Packed<'a>,
    pub(super) times_predicted: bool,
    pub(super) selves: &'a [u8],
    pub(super) inline: &'a [u8],
}

/// One group, its columns found but not decoded. Used again for another.
#[derive(Debug, Default)]
pub(in crate::index) struct Group<'a> {
    rows: u32,
    /// Names of the shapes, one behind the other, and where each ends.
    shape_names: Vec<u32>,
    shape_ends: Vec<usize>,
    row_shapes: Packed<'a>,
    columns: Vec<Column<'a>>,
    /// Place of the root among the columns, if a series here has it.
    root: Option<usize>,
    pub(super) chunks: Chunks<'a>,
}

impl<'a> Group<'a> {
    /// Takes a group apart; `None` where its bytes do not decode.
    pub(in crate::index) fn parse(&mut self, table: &'a GroupsTable, labels: &LabelsTable, number: u32) -> Option<()> {
        let rest = &mut table.bytes(number)?;
        self.rows = labels.series.checked_sub(number.checked_mul(GROUP_SERIES)?)?.min(GROUP_SERIES);
        self.take_shapes(table, labels, rest)?;
        let root = labels.root.checked_sub(1);
        self.root = root.and_then(|root| self.columns.iter().position(|column| column.name == root));
        for at in 0..self.columns.len() {
            let name = self.columns[at].name;
            let (&head, after) = rest.split_first()?;
            *rest = after;
            let predicted = head == PREDICTED;
            // Otherwise the value of the root would be asked for to find the value of the root.
            if predicted && root == Some(name) {
                return None;
            }
            let values = match predicted {
                true => table.table(name as usize)?,
                false => Packed::take_behind(rest, head.into(), self.rows.into())?,
            };
            self.columns[at] = Column { name, predicted, values };
        }
        self.take_chunks(table, labels, rest)
    }

    fn take_shapes(&mut self, table: &'a GroupsTable, labels: &LabelsTable, rest: &mut &'a [u8]) -> Option<()> {
        let shapes = take_uvarint(rest)?;
        if !(1..=u64::from(self.rows)).contains(&shapes) {
            return None;
        }
        self.shape_names.clear();
        self.shape_ends.clear();
        for _ in 0..shapes {
            let shape = u32::try_from(take_uvarint(rest)?).ok()?;
            table.push_shape(shape, labels.names().len() as u32, &mut self.shape_names)?;
            self.shape_ends.push(self.shape_names.len());
        }
        let width = width_of(shapes as u32 - 1);
        self.row_shapes = Packed::over(rest, self.rows.into(), width)?;
        *rest = rest.get(packed_bytes(self.rows.into(), width) as usize..)?;
        let column = |name: &u32| Column { name: *name, predicted: false, values: Packed::default() };
        self.columns.clear();
        self.columns.extend(self.shape_names.iter().map(column));
        if shapes > 1 {
            self.columns.sort_unstable_by_key(|column| column.name);
            self.columns.dedup_by_key(|column| column.name);
        }
        Some(())
    }

    fn take_chunks(&mut self, table: &'a GroupsTable, labels: &LabelsTable, rest: &mut &'a [u8]) -> Option<()> {
        let offset = take_uvarint(rest)?;
        let counts = Packed::take(rest, self.rows.into())?;
        let total = (0..self.rows as usize).map(|row| u64::from(counts.get(row))).sum();
        let lengths = Packed::take(rest, total)?;
        let (&head, after) = rest.split_first()?;
        *rest = after;
        let times_predicted = head == PREDICTED;
        let times = match times_predicted {
            true => table.table(labels.names().len())?,
            false => Packed::take_behind(rest, head.into(), total)?,
        };
        let selves_bytes = usize::try_from(take_uvarint(rest)?).ok()?;
        let (selves, inline) = rest.split_at_checked(selves_bytes)?;
        self.chunks = Chunks { offset, counts, lengths, times, times_predicted, selves, inline };
        Some(())
    }

    /// How many series it has.
    pub(in crate::index) fn rows(&self) -> u32 {
        self.rows
    }

    fn shape(&self, row: u32) -> Option<&[u32]> {
        let shape = self.row_shapes.get(row as usize) as usize;
        let end = *self.shape_ends.get(shape)?;
        let start = shape.checked_sub(1).map_or(Some(0), |before| self.shape_ends.get(before).copied())?;
        self.shape_names.get(start..end)
    }

    /// The row of the root's tables that a series goes by; `None` where its value does not exist.
    pub(super) fn root_row(&self, row: u32) -> Option<u32> {
        let Some(column) = self.root.and_then(|at| self.columns.get(at)) else { return Some(0) };
        // Where all series have the same names, they have all that there are in the group.
        match self.shape_ends.len() == 1 || self.shape(row)?.binary_search(&column.name).is_ok() {
            true => column.values.get(row as usize).checked_add(1),
            false => Some(0),
        }
    }

    /// The rank of the value that a series has of a name, `Some(None)` if it has none; `None` where it does not decode.
    pub(in crate::index) fn rank(&self, row: u32, name: u32) -> Option<Option<u32>> {
        if self.shape(row)?.binary_search(&name).is_err() {
            return Some(None);
        }
        let at = self.columns.binary_search_by_key(&name, |column| column.name).ok()?;
        let column = self.columns.get(at)?;
        match column.predicted {
            false => Some(Some(column.values.get(row as usize))),
            true => column.values.get(self.root_row(row)? as usize).checked_sub(1).map(Some),
        }
    }

    /// Appends the pairs of a series, ascending; `None` where one does not exist.
    pub(in crate::index) fn row(&self, labels: &LabelsTable, row: u32, out: &mut Vec<u32>) -> Option<()> {
        let mut columns = self.columns.iter();
        let mut root_row = None;
        for name in self.shape(row)? {
            let column = columns.by_ref().find(|column| column.name == *name)?;
            let rank = match column.predicted {
                false => column.values.get(row as usize),
                true => {
                    let root_row = match root_row {
                        Some(row) => row,
                        None => *root_row.insert(self.root_row(row)?),
                    };
                    column.values.get(root_row as usize).checked_sub(1)?
                }
            };
            let name = labels.names().get(*name as usize)?;
            if rank >= name.pairs {
                return None;
            }
            out.push(name.first_pair + rank);
        }
        Some(())
    }

    /// A walk over the chunks from the first series on.
    pub(in crate::index) fn walk(&self) -> ChunkWalk<'a> {
        ChunkWalk::over(self.chunks)
    }
}
