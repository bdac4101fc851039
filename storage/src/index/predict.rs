//! Chooses the name whose value says most about the other names and about the timestamps, and makes the tables of what goes
//! along with each of its values.
//!
//! 1. A field (a name, or the timestamps) costs where its value is another than in the series before. Those that rarely
//!    change are left alone.
//! 2. For each candidate, a name with many values but not one for each series, all series are walked: how often does a
//!    field not have the value that it had when the candidate last had its value? The candidate that spares most bits wins.
//! 3. Its tables hold for each of its values, and for series without it, the value that most often goes along.

use super::packed::{push_bits, width_of};

/// Candidates are the names with the most values, so many.
const CANDIDATES_MAX: usize = 4;
/// Tables of a candidate while it is tried, in numbers.
const TRIAL_CELLS_MAX: usize = 64 << 20;
/// A field that changes less often than once in so many series is not worth a table.
const CHANGE_MIN: u64 = 48;

/// The names as numbers: which pairs, which series have which.
#[derive(Clone, Copy)]
pub(super) struct Rows<'a> {
    /// Pairs of all series.
    pub(super) pairs: &'a [u32],
    /// Where those of each series end.
    pub(super) ends: &'a [usize],
    /// The number of the first times column of each series; 0 for none.
    pub(super) times: &'a [u32],
    /// The name of each pair.
    pub(super) pair_names: &'a [u32],
    /// The first pair of each name, and the number of pairs at the end.
    pub(super) first_pairs: &'a [u32],
    /// How many times columns there are.
    pub(super) times_count: u32,
}

impl<'a> Rows<'a> {
    fn each(self) -> impl Iterator<Item = (&'a [u32], u32)> {
        let mut start = 0;
        self.ends.iter().zip(self.times).map(move |(end, times)| {
            let from = std::mem::replace(&mut start, *end);
            (self.pairs.get(from..*end).unwrap_or_default(), *times)
        })
    }

    fn name_count(self) -> usize {
        self.first_pairs.len() - 1
    }

    /// How many values a field has.
    fn values(self, field: usize) -> u32 {
        match self.first_pairs.get(field..field + 2) {
            Some([first, end]) => end - first,
            _ => self.times_count,
        }
    }

    fn name(self, pair: u32) -> usize {
        self.pair_names[pair as usize] as usize
    }
}

/// One field's table: for each value of the root (0: none) the field's value plus one (0: no prediction).
struct Table {
    width: u32,
    cells: Vec<u32>,
}

/// What the root predicts.
#[derive(Default)]
pub(super) struct Predictions {
    /// First pair and end of the root's pairs; empty where there is no root.
    root: std::ops::Range<u32>,
    root_name: Option<u32>,
    /// By name; the last is that of the timestamps.
    tables: Vec<Option<Table>>,
}

impl Predictions {
    /// Chooses the root.
    pub(super) fn choose(rows: Rows<'_>) -> Self {
        let (changes, counts) = changes(rows);
        let series = rows.ends.len() as u64;
        let fields: Vec<usize> = (0..=rows.name_count())
            .filter(|field| rows.values(*field) > 1 && changes[*field] * CHANGE_MIN > series)
            .collect();
        let mut candidates: Vec<usize> = fields.iter().copied().filter(|field| *field < rows.name_count()).collect();
        candidates.retain(|name| u64::from(rows.values(*name)) * 4 <= counts[*name] && counts[*name] * 8 > series);
        candidates.sort_by_key(|name| (std::cmp::Reverse(rows.values(*name)), *name));
        candidates.truncate(CANDIDATES_MAX);
        let mut best: Option<(u64, usize)> = None;
        for root in candidates {
            if (rows.values(root) as usize + 1).saturating_mul(fields.len()) > TRIAL_CELLS_MAX {
                continue;
            }
            let misses = misses(rows, root, &fields);
            let spared = fields
                .iter()
                .zip(&misses)
                .map(|(field, misses)| spared(rows, root, *field, changes[*field], *misses))
                .sum();
            if spared > best.map_or(0, |(most, _)| most) {
                best = Some((spared, root));
            }
        }
        match best {
            Some((_, root)) => Self::tables(rows, root, &fields, &changes),
            None => Self::default(),
        }
    }

    fn tables(rows: Rows<'_>, root: usize, fields: &[usize], changes: &[u64]) -> Self {
        let misses = misses(rows, root, fields);
        let worth = fields
            .iter()
            .zip(&misses)
            .filter(|(field, misses)| **field != root && spared(rows, root, **field, changes[**field], **misses) > 0);
        let mut tables: Vec<Option<Table>> = (0..=rows.name_count()).map(|_| None).collect();
        for (field, _) in worth {
            tables[*field] = Some(table(rows, root, *field));
        }
        let root_pairs = rows.first_pairs[root]..rows.first_pairs[root + 1];
        Predictions { root: root_pairs, root_name: Some(root as u32), tables }
    }

    /// The root's name, counted from 1; 0 for none.
    pub(super) fn root_number(&self) -> u32 {
        self.root_name.map_or(0, |name| name + 1)
    }

    /// Which row of the tables a series has: 0, or the rank of its root's value plus one.
    pub(super) fn root_of(&self, pairs: &[u32]) -> u32 {
        root_row(pairs, &self.root)
    }

    /// The rank of the value of a name that goes along with a row.
    pub(super) fn value(&self, name: u32, row: u32) -> Option<u32> {
        self.tables.get(name as usize)?.as_ref()?.cells.get(row as usize)?.checked_sub(1)
    }

    /// The number of the first times column that goes along with a row.
    pub(super) fn times(&self, row: u32) -> Option<u32> {
        let table = self.tables.last()?.as_ref()?;
        table.cells.get(row as usize).copied().filter(|times| *times > 0)
    }

    /// The width of a name's table; 0 if it has none.
    pub(super) fn width(&self, name: usize) -> u8 {
        self.tables.get(name).and_then(Option::as_ref).map_or(0, |table| table.width as u8)
    }

    /// The width of the timestamps' table; 0 if there is none.
    pub(super) fn times_width(&self) -> u8 {
        self.width(self.tables.len().wrapping_sub(1))
    }

    /// Appends the tables.
    pub(super) fn push_tables(&self, out: &mut Vec<u8>) {
        for table in self.tables.iter().flatten() {
            push_bits(out, table.width, table.cells.iter().copied());
        }
    }
}

fn root_row(pairs: &[u32], root: &std::ops::Range<u32>) -> u32 {
    let at = pairs.partition_point(|pair| *pair < root.start);
    pairs.get(at).filter(|pair| root.contains(pair)).map_or(0, |pair| pair - root.start + 1)
}

/// How often each field's value is another than in the series before that has it; and how many series have it.
fn changes(rows: Rows<'_>) -> (Vec<u64>, Vec<u64>) {
    let fields = rows.name_count() + 1;
    let (mut changes, mut counts, mut last) = (vec![0; fields], vec![0; fields], vec![u32::MAX; fields]);
    for (pairs, times) in rows.each() {
        let mut see = |field: usize, value: u32| {
            counts[field] += 1;
            if std::mem::replace(&mut last[field], value) != value {
                changes[field] += 1;
            }
        };
        pairs.iter().for_each(|pair| see(rows.name(*pair), *pair));
        see(fields - 1, times);
    }
    (changes, counts)
}

/// How often each of the fields has another value than when the root last had its value.
fn misses(rows: Rows<'_>, root: usize, fields: &[usize]) -> Vec<u64> {
    let mut place = vec![usize::MAX; rows.name_count() + 1];
    fields.iter().enumerate().for_each(|(at, field)| place[*field] = at);
    let root = rows.first_pairs[root]..rows.first_pairs[root + 1];
    let mut last = vec![u32::MAX; (root.len() + 1) * fields.len()];
    let mut misses = vec![0; fields.len()];
    for (pairs, times) in rows.each() {
        let cells = root_row(pairs, &root) as usize * fields.len();
        let mut see = |field: usize, value: u32| {
            let at = place[field];
            if at != usize::MAX && std::mem::replace(&mut last[cells + at], value) != value {
                misses[at] += 1;
            }
        };
        pairs.iter().for_each(|pair| see(rows.name(*pair), *pair));
        see(rows.name_count(), times);
    }
    misses
}

/// Bits that a table spares beyond what it takes.
fn spared(rows: Rows<'_>, root: usize, field: usize, changes: u64, misses: u64) -> u64 {
    let bits = u64::from(width_of(rows.values(field)));
    let table = (u64::from(rows.values(root)) + 1) * bits;
    // A miss spoils the group that it is in.
    (bits * changes.saturating_sub(misses.saturating_mul(4))).saturating_sub(table)
}

/// The value that most often goes along: counted up while it comes, down while another does.
fn table(rows: Rows<'_>, root: usize, field: usize) -> Table {
    let first = rows.first_pairs.get(field).copied().filter(|_| field < rows.name_count());
    let root = rows.first_pairs[root]..rows.first_pairs[root + 1];
    let mut cells = vec![(0u32, 0u32); root.len() + 1];
    for (pairs, times) in rows.each() {
        let value = match first {
            None => times,
            Some(first) => {
                let end = rows.first_pairs[field + 1];
                let at = pairs.partition_point(|pair| *pair < first);
                pairs.get(at).filter(|pair| **pair < end).map_or(0, |pair| pair - first + 1)
            }
        };
        if value == 0 {
            continue;
        }
        let (most, lead) = &mut cells[root_row(pairs, &root) as usize];
        match (*most == value, *lead) {
            (true, _) => *lead = lead.saturating_add(1),
            (false, 0) => (*most, *lead) = (value, 1),
            (false, _) => *lead -= 1,
        }
    }
    let cells: Vec<u32> = cells.into_iter().map(|(most, _)| most).collect();
    Table { width: width_of(cells.iter().copied().max().unwrap_or(0)).max(1), cells }
}
