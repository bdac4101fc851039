//! Reads the index of a tenant in a file of version 1 in place. Nothing writes it any more; `docs/format/index.md` has its bytes.
//!
//! Opening verifies every checksum and every table once: orders, bounds, cross references. Afterwards look-ups are
//! binary searches over the mapped bytes, and postings are read when they are asked for.

mod labels_table;
mod series_table;
mod symbols;

use std::borrow::Cow;

use roaring::RoaringBitmap;

use self::labels_table::{LabelsTable, PostingsPlace};
pub(super) use self::labels_table::{NameRecord, ValueRecord};
use self::series_table::SeriesTable;
use self::symbols::Symbols;
use super::ChunkRef;
use super::matching::Postings;
use super::reader::Sections;
use crate::error::{Error, Result};
use crate::model::labels::{Labels, SeriesId};
use crate::model::time::TimeRange;

/// The index of one tenant.
#[derive(Debug)]
pub(super) struct TenantIndexV1 {
    what: Box<str>,
    symbols: Symbols,
    series: SeriesTable,
    labels: LabelsTable,
    range: TimeRange,
}

impl TenantIndexV1 {
    /// Opens the payloads of the sections.
    pub(super) fn open(what: &str, [symbols, series, labels, postings]: Sections, chunks_bytes: u64) -> Result<Self> {
        let broken = |name: &'static str| move || Error::corrupt(what, format!("{name}: the table is not well-formed"));
        let symbols = Symbols::open(symbols).ok_or_else(broken("symbols"))?;
        let series = SeriesTable::open(series).ok_or_else(broken("series"))?;
        let range = series.check(symbols.count(), chunks_bytes).ok_or_else(broken("series"))?;
        let labels =
            LabelsTable::open(labels, postings, symbols.count(), series.count()).ok_or_else(broken("labels"))?;
        Ok(TenantIndexV1 { what: what.into(), symbols, series, labels, range })
    }

    /// How many series the tenant has.
    pub(super) fn series_count(&self) -> u32 {
        self.series.count()
    }

    /// The time that its chunks cover.
    pub(super) fn range(&self) -> TimeRange {
        self.range
    }

    /// The id of a series.
    pub(super) fn id(&self, series: u32) -> Result<SeriesId> {
        self.series.id(series).ok_or_else(|| self.damaged("series"))
    }

    /// The labels of a series, checked against its id.
    pub(super) fn labels(&self, series: u32) -> Result<(Labels, SeriesId)> {
        let damaged = || self.damaged("series");
        let pairs = self.series.labels(series).ok_or_else(damaged)?;
        let texts = pairs.map(|(name, value)| Some((self.symbols.get(name)?, self.symbols.get(value)?)));
        let labels = Labels::from_sorted(texts.map(|pair| pair.unwrap_or_default())).map_err(|_| damaged())?;
        let id = self.id(series)?;
        match labels.id() == id {
            true => Ok((labels, id)),
            false => Err(Error::corrupt(&*self.what, format!("series: the id of {labels} is another one"))),
        }
    }

    /// The chunks of a series in ascending order.
    pub(super) fn chunks(&self, series: u32) -> Result<impl Iterator<Item = ChunkRef>> {
        self.series.chunks(series).ok_or_else(|| self.damaged("series"))
    }

    fn damaged(&self, section: &str) -> Error {
        Error::corrupt(&*self.what, format!("{section}: it does not decode"))
    }

    fn read(&self, place: PostingsPlace) -> Result<Cow<'_, RoaringBitmap>> {
        self.labels.postings(place).map(Cow::Owned).ok_or_else(|| self.damaged("postings"))
    }
}

impl Postings for TenantIndexV1 {
    type Error = Error;
    type Name<'a> = NameRecord;
    type Value<'a> = ValueRecord;

    fn all(&self) -> Cow<'_, RoaringBitmap> {
        let mut all = RoaringBitmap::new();
        all.insert_range(0..self.series.count());
        Cow::Owned(all)
    }

    fn visit_names<'a>(&'a self, mut visit: impl FnMut(&str, Self::Name<'a>) -> Result<bool>) -> Result<()> {
        for at in 0..self.labels.name_count() {
            let name = self.labels.name(at).ok_or_else(|| self.damaged("labels"))?;
            let text = self.symbols.get(name.symbol).ok_or_else(|| self.damaged("labels"))?;
            if !visit(text, name)? {
                break;
            }
        }
        Ok(())
    }

    fn name(&self, name: &str) -> Result<Option<NameRecord>> {
        Ok(self.symbols.find(name).and_then(|symbol| self.labels.find_name(symbol)))
    }

    fn name_series(&self, name: NameRecord) -> Result<Cow<'_, RoaringBitmap>> {
        self.read(name.any)
    }

    fn visit_values<'a>(
        &'a self,
        name: NameRecord,
        from: &str,
        mut visit: impl FnMut(&str, Self::Value<'a>) -> Result<bool>,
    ) -> Result<()> {
        let first = self.labels.value_from(name, self.symbols.lower_bound(from));
        for at in first..name.first_value + name.values {
            let value = self.labels.value(at).ok_or_else(|| self.damaged("labels"))?;
            let text = self.symbols.get(value.symbol).ok_or_else(|| self.damaged("labels"))?;
            if !visit(text, value)? {
                break;
            }
        }
        Ok(())
    }

    fn value(&self, name: NameRecord, value: &str) -> Result<Option<ValueRecord>> {
        let Some(symbol) = self.symbols.find(value) else {
            return Ok(None);
        };
        let at = self.labels.value_from(name, symbol);
        let in_name = at < name.first_value + name.values;
        Ok(self.labels.value(at).filter(|value| in_name && value.symbol == symbol))
    }

    fn value_series(&self, value: ValueRecord) -> Result<Cow<'_, RoaringBitmap>> {
        self.read(value.series)
    }

    fn value_count(&self, value: ValueRecord) -> u64 {
        u64::from(value.series.count)
    }
}
