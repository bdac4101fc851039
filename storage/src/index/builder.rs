//! Builds the index file of a block, tenant by tenant.
//!
//! 1. Series come in label order. Labels that a series shares with the one before are recognised by comparing bytes; the
//!    others get numbers by hash, in order of appearance.
//! 2. At the tenant's end the distinct labels are sorted, and the numbers replaced by ranks ([`super::labels`]).
//! 3. Postings are counted, laid out and filled in two walks over all labels, and each list takes its smallest form
//!    ([`super::lists`]); a list that another label of the same series has too is only named.
//! 4. The root is chosen ([`super::predict`]), and the series are written in groups ([`super::groups`]).
//! 5. Four sections are handed out to be written. What stays in memory of a tenant is a line of the directory, which
//!    comes last.

use std::hash::BuildHasher;

use hashbrown::HashMap;

use super::groups::{GROUP_SERIES, GroupsWriter, INLINE_BYTES_MAX, SeriesToWrite};
use super::intern::Interner;
use super::labels::{LabelsWriter, NameToWrite};
use super::lists::{push_copy, push_list};
use super::predict::{Predictions, Rows};
use super::times::TimesBuilder;
use super::{FOOTER_MAGIC, MAGIC, SECTIONS, VERSION};
use crate::error::{Error, Result};
use crate::format::binary::{HEADER_BYTES, header, seal};
use crate::format::varint::{push_uvarint, take_uvarint};
use crate::model::labels::{LabelIter, Labels};
use crate::model::tenant::TenantId;

/// A list that is shorter is not looked for among those before.
const COPY_SERIES_MIN: usize = 4;

/// The series of one tenant, as they are added.
pub(crate) struct TenantBuilder {
    labels: Interner,
    /// Numbers of the labels of all series, and where those of each end.
    pairs: Vec<u32>,
    ends: Vec<usize>,
    /// Canonical bytes of the series before.
    previous: Vec<u8>,
    times: TimesBuilder,
    /// Number of the times column, and length, of each chunk; where those of each series end.
    chunks: Vec<(u32, u32)>,
    chunk_ends: Vec<usize>,
    /// Bytes of the small chunks; first and last timestamp of those that hold their own.
    inline: Vec<u8>,
    selves: Vec<(i64, i64)>,
    /// Where the first chunk lies in the file.
    offset: u64,
}

impl TenantBuilder {
    /// The first chunk of the tenant in the chunks file will lie at `offset`.
    pub(crate) fn new(offset: u64) -> Self {
        TenantBuilder {
            labels: Interner::default(),
            pairs: Vec::new(),
            ends: Vec::new(),
            previous: Vec::new(),
            times: TimesBuilder::default(),
            chunks: Vec::new(),
            chunk_ends: Vec::new(),
            inline: Vec::new(),
            selves: Vec::new(),
            offset,
        }
    }

    /// The number of a column of timestamps, for [`TenantBuilder::add_chunk`]; 0: the chunk is to hold them itself.
    pub(crate) fn times(&mut self, times: &[i64]) -> u32 {
        self.times.number(times)
    }

    /// Adds a chunk of the series that is added next, in order of time. `range`: its first and last timestamp. Answers
    /// whether it must be written to the chunks file, behind those before; otherwise the index holds its bytes.
    pub(crate) fn add_chunk(&mut self, times: u32, range: (i64, i64), bytes: &[u8]) -> Result<bool> {
        let length = u32::try_from(bytes.len()).map_err(|_| Error::Limit("a chunk exceeds 4 GiB".into()))?;
        self.chunks.push((times, length));
        if times == 0 {
            self.selves.push(range);
        }
        let inline = bytes.len() <= INLINE_BYTES_MAX;
        if inline {
            self.inline.extend_from_slice(bytes);
        }
        Ok(!inline)
    }

    /// Adds a series, whose chunks were added; the caller has checked that it comes after those before.
    pub(crate) fn add(&mut self, labels: &Labels) -> Result<()> {
        if u32::try_from(self.ends.len() + 1).is_err() {
            return Err(too_large());
        }
        let bytes = labels.as_bytes();
        let same = self.previous.iter().zip(bytes).take_while(|(a, b)| a == b).count();
        let start = self.ends.len().checked_sub(2).map_or(0, |before| self.ends[before]);
        let (mut before, mut at) = (start, 0);
        while let Some(length) = label_bytes(&bytes[at..]) {
            let end = at + length;
            let pair = match end <= same {
                true => self.pairs[before],
                false => self.labels.number(&bytes[at..end]).ok_or_else(too_large)?,
            };
            self.pairs.push(pair);
            (before, at) = (before + 1, end);
        }
        debug_assert_eq!(at, bytes.len());
        self.ends.push(self.pairs.len());
        self.chunk_ends.push(self.chunks.len());
        self.previous.clear();
        self.previous.extend_from_slice(bytes);
        Ok(())
    }

    /// The sections, in their order in the file.
    fn sections(mut self) -> Result<[Vec<u8>; SECTIONS]> {
        let series = u32::try_from(self.ends.len()).map_err(|_| too_large())?;
        let labels = std::mem::take(&mut self.labels);
        let names = sort_labels(&labels, &mut self.pairs);
        let first_times: Vec<u32> = self.chunk_starts().map(|at| self.chunks.get(at).map_or(0, |c| c.0)).collect();
        let rows = Rows {
            pairs: &self.pairs,
            ends: &self.ends,
            times: &first_times,
            pair_names: &names.of_pairs,
            first_pairs: &names.first_pairs,
            times_count: self.times.count(),
        };
        let predictions = Predictions::choose(rows);
        let (labels, postings) =
            labels_and_postings(&labels, &names, rows, &predictions, series).ok_or_else(too_large)?;
        let groups = self.groups(&names, &predictions).ok_or_else(too_large)?;
        let times = self.times.payload().ok_or_else(too_large)?;
        let mut sections = [labels, postings, times, groups];
        sections.iter_mut().for_each(seal);
        Ok(sections)
    }

    fn chunk_starts(&self) -> impl Iterator<Item = usize> {
        std::iter::once(0).chain(self.chunk_ends.iter().copied()).take(self.chunk_ends.len())
    }

    fn groups(&self, names: &Names<'_>, predictions: &Predictions) -> Option<Vec<u8>> {
        let (of_pairs, first_pairs) = (&names.of_pairs, &names.first_pairs);
        let mut writer = GroupsWriter::new(predictions, of_pairs, first_pairs, self.offset, &self.inline, &self.selves);
        let mut group = Vec::with_capacity(GROUP_SERIES as usize);
        let mut start = (0, 0);
        for (series, end) in self.ends.iter().zip(&self.chunk_ends).enumerate() {
            let (from, to) = (std::mem::replace(&mut start, (*end.0, *end.1)), end);
            group
                .push(SeriesToWrite { pairs: self.pairs.get(from.0..*to.0)?, chunks: self.chunks.get(from.1..*to.1)? });
            if group.len() == GROUP_SERIES as usize || series + 1 == self.ends.len() {
                writer.push_group(&group)?;
                group.clear();
            }
        }
        writer.payload()
    }
}

/// Length of the first label of canonical bytes; `None` at their end.
fn label_bytes(bytes: &[u8]) -> Option<usize> {
    let mut rest = bytes.get(1..)?;
    let length = usize::try_from(take_uvarint(&mut rest)?).ok()?;
    Some(bytes.len() - rest.len() + length).filter(|end| *end <= bytes.len())
}

/// The distinct labels in order.
struct Names<'a> {
    texts: Vec<&'a str>,
    /// The value of each pair.
    values: Vec<&'a str>,
    /// The name of each pair.
    of_pairs: Vec<u32>,
    /// The first pair of each name, and the number of pairs.
    first_pairs: Vec<u32>,
}

/// Sorts the labels by name and value, and replaces their numbers in `pairs` by their ranks.
fn sort_labels<'a>(labels: &'a Interner, pairs: &mut [u32]) -> Names<'a> {
    let text = |number| (LabelIter::over(labels.get(number)).next().unwrap_or_default(), number);
    let mut sorted: Vec<((&str, &str), u32)> = (0..labels.len()).map(text).collect();
    sorted.sort_unstable();
    let mut ranks = vec![0u32; sorted.len()];
    let mut names = Names { texts: Vec::new(), values: Vec::new(), of_pairs: Vec::new(), first_pairs: Vec::new() };
    for (rank, ((name, value), number)) in (0u32..).zip(sorted) {
        if names.texts.last().is_none_or(|last| *last != name) {
            names.texts.push(name);
            names.first_pairs.push(rank);
        }
        names.values.push(value);
        names.of_pairs.push(names.texts.len() as u32 - 1);
        ranks[number as usize] = rank;
    }
    names.first_pairs.push(names.values.len() as u32);
    pairs.iter_mut().for_each(|pair| *pair = ranks[*pair as usize]);
    names
}

/// The two sections; `None` beyond 4 GiB.
fn labels_and_postings(
    labels: &Interner,
    names: &Names<'_>,
    rows: Rows<'_>,
    predictions: &Predictions,
    series: u32,
) -> Option<(Vec<u8>, Vec<u8>)> {
    debug_assert_eq!(labels.len() as usize, names.values.len());
    let (ends, lists) = invert(rows, names.values.len());
    let list = |pair: usize| &lists[pair.checked_sub(1).map_or(0, |before| ends[before])..ends[pair]];
    let (mut writer, mut postings) = (LabelsWriter::default(), Vec::new());
    let mut any = Vec::new();
    for (number, text) in names.texts.iter().enumerate() {
        let pairs = names.first_pairs[number] as usize..names.first_pairs[number + 1] as usize;
        any.clear();
        any.extend_from_slice(&lists[pairs.start.checked_sub(1).map_or(0, |before| ends[before])..ends[pairs.end - 1]]);
        if pairs.len() > 1 {
            sort(&mut any, series);
        }
        let mut place = Vec::new();
        push_list(&any, &mut place, &mut postings);
        writer.push_name(&NameToWrite { text, pairs: pairs.len() as u32, width: predictions.width(number), place });
    }
    let hasher = foldhash::fast::RandomState::default();
    let mut seen: HashMap<u64, u32, foldhash::fast::RandomState> = HashMap::default();
    for (pair, value) in names.values.iter().enumerate() {
        let numbers = list(pair);
        let at = postings.len() as u64;
        let is_run = (numbers[numbers.len() - 1] - numbers[0]) as usize + 1 == numbers.len();
        let mut copied = None;
        if numbers.len() >= COPY_SERIES_MIN && !is_run {
            let first = *seen.entry(hasher.hash_one(numbers)).or_insert(pair as u32);
            copied = (first != pair as u32 && list(first as usize) == numbers).then_some(first);
        }
        writer.push_value(value, at, |place| match copied {
            Some(other) => push_copy(numbers.len() as u32, other, place),
            None => push_list(numbers, place, &mut postings),
        })?;
    }
    Some((writer.payload(series, predictions.root_number())?, postings))
}

/// Sorts distinct numbers less than `bound`.
fn sort(numbers: &mut Vec<u32>, bound: u32) {
    if numbers.len() < bound as usize / 64 {
        numbers.sort_unstable();
        return;
    }
    let mut bits = vec![0u64; bound as usize / 64 + 1];
    numbers.iter().for_each(|number| bits[*number as usize / 64] |= 1 << (number % 64));
    numbers.clear();
    for (at, mut word) in (0u32..).zip(bits) {
        while word != 0 {
            numbers.push(at * 64 + word.trailing_zeros());
            word &= word - 1;
        }
    }
}

/// The series of each pair, ascending, one pair behind the other; where those of each end.
fn invert(rows: Rows<'_>, pairs: usize) -> (Vec<usize>, Vec<u32>) {
    let mut ends = vec![0usize; pairs];
    rows.pairs.iter().for_each(|pair| ends[*pair as usize] += 1);
    let mut sum = 0;
    // First where each begins; filling moves that to where it ends.
    for end in &mut ends {
        sum += std::mem::replace(end, sum);
    }
    let mut lists = vec![0u32; sum];
    let mut start = 0;
    for (series, end) in (0u32..).zip(rows.ends) {
        for pair in &rows.pairs[std::mem::replace(&mut start, *end)..*end] {
            let at = &mut ends[*pair as usize];
            lists[*at] = series;
            *at += 1;
        }
    }
    (ends, lists)
}

fn too_large() -> Error {
    Error::Limit("the index of one tenant in one block exceeds 4 GiB".into())
}

/// The file around the tenants.
pub(crate) struct IndexBuilder {
    position: u64,
    tenants: u32,
    directory: Vec<u8>,
}

impl IndexBuilder {
    /// Starts a file; the bytes are its header.
    pub(crate) fn begin() -> (Self, Vec<u8>) {
        (IndexBuilder { position: HEADER_BYTES as u64, tenants: 0, directory: Vec::new() }, header(MAGIC, VERSION))
    }

    /// The sections of a tenant, to be written in this order.
    pub(crate) fn add_tenant(&mut self, tenant: &TenantId, builder: TenantBuilder) -> Result<[Vec<u8>; SECTIONS]> {
        let sections = builder.sections()?;
        let name = tenant.as_str();
        push_uvarint(&mut self.directory, name.len() as u64);
        self.directory.extend_from_slice(name.as_bytes());
        for section in &sections {
            let length = section.len() as u64;
            self.directory.extend_from_slice(&self.position.to_le_bytes());
            self.directory.extend_from_slice(&length.to_le_bytes());
            self.position += length;
        }
        self.tenants += 1;
        Ok(sections)
    }

    /// The directory and the footer, which end the file.
    pub(crate) fn finish(self) -> Vec<u8> {
        let mut out = self.tenants.to_le_bytes().to_vec();
        out.extend_from_slice(&self.directory);
        seal(&mut out);
        let mut footer = self.position.to_le_bytes().to_vec();
        footer.extend_from_slice(&(out.len() as u64).to_le_bytes());
        footer.extend_from_slice(&FOOTER_MAGIC);
        seal(&mut footer);
        out.extend_from_slice(&footer);
        out
    }
}
