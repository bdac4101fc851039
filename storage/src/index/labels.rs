//! The label names of a tenant in a block, the values of each, and where their postings are.
//!
//! A *pair* is a name with one of its values; pairs are numbered in the order of names, then of values. The texts of
//! values are front-coded in groups of 16 pairs, whose postings' places follow. Layout: `docs/format/index.md`.

use std::ops::Range;

use bytes::Bytes;

use super::lists::Place;
use super::packed::WIDTH_MAX;
use crate::format::binary::u32_at;
use crate::format::varint::{push_uvarint, take_uvarint};

/// Pairs of a group.
pub(super) const GROUP_PAIRS: u32 = 16;
const HEADER_BYTES: usize = 20;
const GROUP_RECORD_BYTES: usize = 8;
/// A nibble of this value says that a varint with the rest follows.
const NIBBLE_MAX: usize = 15;

/// A name as it is written.
pub(super) struct NameToWrite<'a> {
    pub(super) text: &'a str,
    /// How many values.
    pub(super) pairs: u32,
    /// Width of the column that predicts it from the root; 0 if there is none.
    pub(super) width: u8,
    /// Encoded place of the postings.
    pub(super) place: Vec<u8>,
}

/// Writes the section.
#[derive(Default)]
pub(super) struct LabelsWriter {
    names: Vec<u8>,
    name_count: u32,
    records: Vec<u8>,
    groups: Vec<u8>,
    places: Vec<u8>,
    previous: Vec<u8>,
    pairs: u32,
}

impl LabelsWriter {
    pub(super) fn push_name(&mut self, name: &NameToWrite<'_>) {
        push_uvarint(&mut self.names, name.text.len() as u64);
        self.names.extend_from_slice(name.text.as_bytes());
        push_uvarint(&mut self.names, name.pairs.into());
        self.names.push(name.width);
        self.names.extend_from_slice(&name.place);
        self.name_count += 1;
    }

    /// Adds the next value. Payloads of postings before it end at `payload_at`; `place` appends its own place.
    pub(super) fn push_value(&mut self, value: &str, payload_at: u64, place: impl FnOnce(&mut Vec<u8>)) -> Option<()> {
        if self.pairs.is_multiple_of(GROUP_PAIRS) {
            self.end_group()?;
            self.records.extend_from_slice(&[0; 4]);
            self.records.extend_from_slice(&u32::try_from(payload_at).ok()?.to_le_bytes());
            self.previous.clear();
        }
        let value = value.as_bytes();
        let shared = self.previous.iter().zip(value).take_while(|(a, b)| a == b).count();
        let suffix = &value[shared..];
        self.groups.push((shared.min(NIBBLE_MAX) << 4 | suffix.len().min(NIBBLE_MAX)) as u8);
        for length in [shared, suffix.len()] {
            if let Some(more) = length.checked_sub(NIBBLE_MAX) {
                push_uvarint(&mut self.groups, more as u64);
            }
        }
        self.groups.extend_from_slice(suffix);
        self.previous.clear();
        self.previous.extend_from_slice(value);
        place(&mut self.places);
        self.pairs += 1;
        Some(())
    }

    fn end_group(&mut self) -> Option<()> {
        self.groups.append(&mut self.places);
        let end = u32::try_from(self.groups.len()).ok()?;
        if let Some(at) = self.records.len().checked_sub(GROUP_RECORD_BYTES) {
            self.records[at..at + 4].copy_from_slice(&end.to_le_bytes());
        }
        Some(())
    }

    /// The payload of the section; `None` beyond 4 GiB. `root` is the name that predicts others, counted from 1.
    pub(super) fn payload(mut self, series: u32, root: u32) -> Option<Vec<u8>> {
        self.end_group()?;
        let mut out = Vec::with_capacity(HEADER_BYTES + self.names.len() + self.records.len() + self.groups.len());
        for number in [series, self.name_count, self.pairs, root, u32::try_from(self.names.len()).ok()?] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        for part in [&self.names, &self.records, &self.groups] {
            out.extend_from_slice(part);
        }
        Some(out)
    }
}

/// A name.
#[derive(Clone, Debug)]
pub(super) struct Name {
    /// Where its text lies in the payload.
    text: Range<u32>,
    pub(super) first_pair: u32,
    pub(super) pairs: u32,
    /// Width of the column that predicts it from the root.
    pub(super) width: u8,
    pub(super) any: Place,
}

impl Name {
    pub(super) fn end(&self) -> u32 {
        self.first_pair + self.pairs
    }
}

/// Names and pairs in place; only the names, which are few, are held apart.
#[derive(Debug)]
pub(super) struct LabelsTable {
    payload: Bytes,
    names: Vec<Name>,
    pub(super) series: u32,
    pub(super) pairs: u32,
    /// The name that predicts others, counted from 1; 0: none.
    pub(super) root: u32,
    records_at: usize,
    groups_at: usize,
}

impl LabelsTable {
    /// Checks the payload of the section: texts UTF-8, not empty, ascending; places within `postings_bytes`.
    pub(super) fn open(payload: Bytes, postings_bytes: u64) -> Option<Self> {
        let header = |at: usize| u32_at(&payload, at * 4);
        let (series, name_count, pairs, root) = (header(0)?, header(1)?, header(2)?, header(3)?);
        let names_end = HEADER_BYTES.checked_add(header(4)? as usize)?;
        let mut rest = payload.get(HEADER_BYTES..names_end)?;
        let (mut names, mut first_pair, mut payload_at): (Vec<Name>, u32, u64) = (Vec::new(), 0, 0);
        let mut previous: &[u8] = &[];
        for _ in 0..name_count {
            let length = usize::try_from(take_uvarint(&mut rest)?).ok()?;
            let start = names_end - rest.len();
            let (text, after) = rest.split_at_checked(length)?;
            rest = after;
            let count = u32::try_from(take_uvarint(&mut rest)?).ok().filter(|count| *count > 0)?;
            let (&width, after) = rest.split_first()?;
            rest = after;
            let any = Place::take(&mut rest, &mut payload_at)?;
            let holds = text > previous
                && std::str::from_utf8(text).is_ok()
                && u32::from(width) <= WIDTH_MAX
                && any.copy_of().is_none()
                && any.fits(series);
            if !holds {
                return None;
            }
            let text = u32::try_from(start).ok()?..u32::try_from(start + length).ok()?;
            names.push(Name { text, first_pair, pairs: count, width, any });
            first_pair = first_pair.checked_add(count)?;
            previous = &payload[start..start + length];
        }
        let groups = pairs.div_ceil(GROUP_PAIRS) as usize;
        let groups_at = names_end.checked_add(groups.checked_mul(GROUP_RECORD_BYTES)?)?;
        if !rest.is_empty() || first_pair != pairs || groups_at > payload.len() || root > name_count {
            return None;
        }
        let table = LabelsTable { payload, names, series, pairs, root, records_at: names_end, groups_at };
        (table.check(payload_at)? == postings_bytes).then_some(table)
    }

    /// Checks all groups; answers where the payloads of the postings end.
    fn check(&self, mut payload_at: u64) -> Option<u64> {
        let mut end = 0;
        let mut group = TextGroup::default();
        let mut previous = Vec::new();
        let mut names = self.names.iter().map(Name::end).peekable();
        for number in 0..self.pairs.div_ceil(GROUP_PAIRS) {
            let bytes = self.group_bytes(number, end)?;
            end = self.group_record(number)?.0;
            if u64::from(self.group_record(number)?.1) != payload_at {
                return None;
            }
            let first = number * GROUP_PAIRS;
            let mut rest = group.decode(bytes, (self.pairs - first).min(GROUP_PAIRS))?;
            for (pair, text) in (first..).zip(group.texts()) {
                if names.next_if(|end| *end <= pair).is_some() {
                    previous.clear();
                }
                if text <= &previous[..] || std::str::from_utf8(text).is_err() {
                    return None;
                }
                previous.clear();
                previous.extend_from_slice(text);
                let place = Place::take(&mut rest, &mut payload_at)?;
                if !place.fits(self.series) || place.copy_of().is_some_and(|copied| copied >= pair) {
                    return None;
                }
            }
            if !rest.is_empty() {
                return None;
            }
        }
        (end as usize == self.payload.len() - self.groups_at).then_some(payload_at)
    }

    /// End of a group, and where the payloads of its postings begin.
    fn group_record(&self, group: u32) -> Option<(u32, u32)> {
        let at = self.records_at + group as usize * GROUP_RECORD_BYTES;
        let record = self.payload.get(at..self.groups_at)?;
        Some((u32_at(record, 0)?, u32_at(record, 4)?))
    }

    fn group_bytes(&self, group: u32, start: u32) -> Option<&[u8]> {
        let end = self.group_record(group)?.0;
        self.payload.get(self.groups_at..)?.get(start as usize..end as usize)
    }

    fn group(&self, group: u32) -> Option<&[u8]> {
        let start = match group.checked_sub(1) {
            Some(before) => self.group_record(before)?.0,
            None => 0,
        };
        self.group_bytes(group, start)
    }

    /// The names, ascending.
    pub(super) fn names(&self) -> &[Name] {
        &self.names
    }

    /// The text of a name.
    pub(super) fn name_text(&self, name: &Name) -> &[u8] {
        self.payload.get(name.text.start as usize..name.text.end as usize).unwrap_or_default()
    }

    /// The number of the name of that text.
    pub(super) fn find_name(&self, text: &str) -> Option<u32> {
        self.names.binary_search_by(|name| self.name_text(name).cmp(text.as_bytes())).ok().map(|at| at as u32)
    }

    /// Appends the text of a pair's value.
    pub(super) fn push_value(&self, pair: u32, out: &mut Vec<u8>) -> Option<()> {
        let start = out.len();
        let mut rest = self.group(pair / GROUP_PAIRS)?;
        for _ in 0..=pair % GROUP_PAIRS {
            let (shared, suffix) = take_text(&mut rest)?;
            if shared > out.len() - start {
                return None;
            }
            out.truncate(start + shared);
            out.extend_from_slice(suffix);
        }
        Some(())
    }

    /// Decodes the texts of the group with this number.
    pub(super) fn decode_group(&self, number: u32, group: &mut TextGroup) -> Option<()> {
        let count = self.pairs.checked_sub(number.checked_mul(GROUP_PAIRS)?)?.min(GROUP_PAIRS);
        group.decode(self.group(number)?, count).map(drop)
    }

    /// The first pair of a name whose value is not less than `value`; the name's end if there is none.
    pub(super) fn lower_bound(&self, name: &Name, value: &str) -> Option<u32> {
        // The last group that begins within the name with a value that is not greater; else the one the name begins in.
        let (mut low, mut high) = (name.first_pair / GROUP_PAIRS, (name.end() - 1) / GROUP_PAIRS);
        while low < high {
            let middle = low + (high - low).div_ceil(2);
            let (_, head) = take_text(&mut self.group(middle)?)?;
            match head <= value.as_bytes() {
                true => low = middle,
                false => high = middle - 1,
            }
        }
        let first = low * GROUP_PAIRS;
        let mut group = TextGroup::default();
        self.decode_group(low, &mut group)?;
        let pairs = (first..name.end()).zip(group.texts()).filter(|(pair, _)| *pair >= name.first_pair);
        let found = pairs.into_iter().find(|(_, text)| *text >= value.as_bytes()).map(|(pair, _)| pair);
        Some(found.unwrap_or_else(|| name.end().min(first + GROUP_PAIRS)))
    }

    /// Calls `visit` with the pairs from `first` to `end`, their texts and places, until it answers `false`; `None` where
    /// the bytes do not decode.
    pub(super) fn visit<E>(
        &self,
        pairs: Range<u32>,
        mut visit: impl FnMut(&str, u32, Place) -> Result<bool, E>,
    ) -> Option<Result<(), E>> {
        let mut group = TextGroup::default();
        let mut pair = pairs.start;
        while pair < pairs.end {
            let number = pair / GROUP_PAIRS;
            let first = number * GROUP_PAIRS;
            let mut rest = group.decode(self.group(number)?, (self.pairs - first).min(GROUP_PAIRS))?;
            let mut payload_at = u64::from(self.group_record(number)?.1);
            for (at, text) in (first..pairs.end).zip(group.texts()) {
                let place = Place::take(&mut rest, &mut payload_at)?;
                if at < pair {
                    continue;
                }
                match visit(std::str::from_utf8(text).ok()?, at, place) {
                    Ok(true) => {}
                    Ok(false) => return Some(Ok(())),
                    Err(error) => return Some(Err(error)),
                }
            }
            pair = first + GROUP_PAIRS;
        }
        Some(Ok(()))
    }

    /// Where the postings of a pair are.
    pub(super) fn place(&self, pair: u32) -> Option<Place> {
        let mut found = None;
        let end = pair.checked_add(1).filter(|end| *end <= self.pairs)?;
        let visited = self.visit(pair..end, |_, _, place| {
            found = Some(place);
            Ok::<_, std::convert::Infallible>(false)
        });
        visited?.ok()?;
        found
    }
}

/// How much a text shares with the one before, and what follows.
fn take_text<'a>(rest: &mut &'a [u8]) -> Option<(usize, &'a [u8])> {
    let (&head, after) = rest.split_first()?;
    *rest = after;
    let mut length = |nibble: u8| match usize::from(nibble) {
        NIBBLE_MAX => usize::try_from(take_uvarint(rest)?).ok()?.checked_add(NIBBLE_MAX),
        length => Some(length),
    };
    let (shared, length) = (length(head >> 4)?, length(head & 15)?);
    let (suffix, after) = rest.split_at_checked(length)?;
    *rest = after;
    Some((shared, suffix))
}

/// The texts of one group, decoded.
#[derive(Debug, Default)]
pub(super) struct TextGroup {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl TextGroup {
    /// Decodes so many texts; answers what follows them.
    fn decode<'a>(&mut self, mut rest: &'a [u8], count: u32) -> Option<&'a [u8]> {
        self.bytes.clear();
        self.ends.clear();
        let mut start = 0;
        for _ in 0..count {
            let (shared, suffix) = take_text(&mut rest)?;
            let end = self.bytes.len();
            if shared > end - start {
                return None;
            }
            self.bytes.extend_from_within(start..start + shared);
            self.bytes.extend_from_slice(suffix);
            start = end;
            self.ends.push(self.bytes.len());
        }
        Some(rest)
    }

    /// The texts in order.
    pub(super) fn texts(&self) -> impl Iterator<Item = &[u8]> {
        let mut start = 0;
        self.ends.iter().map(move |end| &self.bytes[std::mem::replace(&mut start, *end)..*end])
    }
}
