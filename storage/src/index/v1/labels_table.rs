//! The label names of a tenant in a block, their values, and where the postings of each lie: fixed-size records in
//! ascending order.

use bytes::Bytes;
use roaring::RoaringBitmap;

use crate::format::binary::u32_at;

const NAME_BYTES: usize = 24;
const VALUE_BYTES: usize = 16;

/// Where postings lie: at `offset`, `length` bytes long; or, with length 0, `offset` is the one series itself.
#[derive(Clone, Copy, Debug)]
pub(in super::super) struct PostingsPlace {
    pub(super) count: u32,
    offset: u32,
    length: u32,
}

/// A label name.
#[derive(Clone, Copy, Debug)]
pub(in super::super) struct NameRecord {
    pub(super) symbol: u32,
    pub(super) first_value: u32,
    pub(super) values: u32,
    pub(super) any: PostingsPlace,
}

/// A value of a name.
#[derive(Clone, Copy, Debug)]
pub(in super::super) struct ValueRecord {
    pub(super) symbol: u32,
    pub(super) series: PostingsPlace,
}

/// Names, values and postings in place.
#[derive(Clone, Debug)]
pub(super) struct LabelsTable {
    names: Bytes,
    values: Bytes,
    postings: Bytes,
    series: u32,
}

impl LabelsTable {
    /// Checks the payloads of the two sections, against the numbers of symbols and series: records in order, postings
    /// within bounds. The postings themselves are checked when they are read.
    pub(super) fn open(labels: Bytes, postings: Bytes, symbols: u32, series: u32) -> Option<Self> {
        let (names, values) = (u32_at(&labels, 0)? as usize, u32_at(&labels, 4)? as usize);
        let values_at = names.checked_mul(NAME_BYTES)?.checked_add(8)?;
        let end = values.checked_mul(VALUE_BYTES)?.checked_add(values_at)?;
        if labels.len() != end {
            return None;
        }
        let (names, values) = (labels.slice(8..values_at), labels.slice(values_at..));
        let table = LabelsTable { names, values, postings, series };
        table.check(symbols)?;
        Some(table)
    }

    fn check(&self, symbols: u32) -> Option<()> {
        let mut next_value = 0u32;
        let mut previous = None;
        for at in 0..self.name_count() {
            let name = self.name(at)?;
            let ascending = previous.is_none_or(|p| p < name.symbol);
            if !ascending || name.symbol >= symbols || name.first_value != next_value || name.values == 0 {
                return None;
            }
            self.check_place(name.any)?;
            previous = Some(name.symbol);
            next_value = next_value.checked_add(name.values)?;
            let mut previous_value = None;
            for at in name.first_value..next_value {
                let value = self.value(at)?;
                if previous_value.is_some_and(|p| p >= value.symbol) || value.symbol >= symbols {
                    return None;
                }
                self.check_place(value.series)?;
                previous_value = Some(value.symbol);
            }
        }
        (next_value as usize * VALUE_BYTES == self.values.len()).then_some(())
    }

    fn check_place(&self, place: PostingsPlace) -> Option<()> {
        let holds = match place.length {
            0 => place.count == 1 && place.offset < self.series,
            length => {
                let end = u64::from(place.offset) + u64::from(length);
                (1..=self.series).contains(&place.count) && end <= self.postings.len() as u64
            }
        };
        holds.then_some(())
    }

    /// How many names there are.
    pub(super) fn name_count(&self) -> u32 {
        (self.names.len() / NAME_BYTES) as u32
    }

    /// The name at a place.
    pub(super) fn name(&self, at: u32) -> Option<NameRecord> {
        let record = self.names.get(at as usize * NAME_BYTES..)?.first_chunk::<NAME_BYTES>()?;
        Some(NameRecord {
            symbol: u32_at(record, 0)?,
            first_value: u32_at(record, 4)?,
            values: u32_at(record, 8)?,
            any: place(&record[12..])?,
        })
    }

    /// The value at a place.
    pub(super) fn value(&self, at: u32) -> Option<ValueRecord> {
        let record = self.values.get(at as usize * VALUE_BYTES..)?.first_chunk::<VALUE_BYTES>()?;
        Some(ValueRecord { symbol: u32_at(record, 0)?, series: place(&record[4..])? })
    }

    /// The name with a symbol.
    pub(super) fn find_name(&self, symbol: u32) -> Option<NameRecord> {
        let at = lower_bound(0, self.name_count(), symbol, |at| self.name(at).map(|n| n.symbol));
        self.name(at).filter(|name| name.symbol == symbol)
    }

    /// The place of the first value of a name whose symbol is not less.
    pub(super) fn value_from(&self, name: NameRecord, symbol: u32) -> u32 {
        let end = name.first_value + name.values;
        lower_bound(name.first_value, end, symbol, |at| self.value(at).map(|v| v.symbol))
    }

    /// Reads postings; `None` for bytes that no builder makes.
    pub(super) fn postings(&self, place: PostingsPlace) -> Option<RoaringBitmap> {
        if place.length == 0 {
            return Some(RoaringBitmap::from_iter([place.offset]));
        }
        let start = place.offset as usize;
        let bytes = self.postings.get(start..start.checked_add(place.length as usize)?)?;
        let series = RoaringBitmap::deserialize_from(bytes).ok()?;
        let holds = series.len() == u64::from(place.count) && series.max().is_some_and(|max| max < self.series);
        holds.then_some(series)
    }
}

fn place(record: &[u8]) -> Option<PostingsPlace> {
    Some(PostingsPlace { count: u32_at(record, 0)?, offset: u32_at(record, 4)?, length: u32_at(record, 8)? })
}

fn lower_bound(mut low: u32, mut high: u32, symbol: u32, symbol_at: impl Fn(u32) -> Option<u32>) -> u32 {
    while low < high {
        let middle = low + (high - low) / 2;
        match symbol_at(middle) {
            Some(found) if found < symbol => low = middle + 1,
            _ => high = middle,
        }
    }
    low
}
