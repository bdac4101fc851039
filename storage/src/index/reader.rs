//! Reads the index file of a block in place.
//!
//! Opening verifies every checksum and every table once: orders, bounds, cross references. Afterwards look-ups are
//! binary searches over the mapped bytes, and postings are read when they are asked for.

use std::borrow::Cow;
use std::ops::Range;

use bytes::Bytes;
use roaring::RoaringBitmap;

use super::ChunkRef;
use super::directory::{IndexDirectory, Places};
use super::labels_table::{LabelsTable, NameRecord, ValueRecord};
use super::matching::Postings;
use super::series_table::SeriesTable;
use super::symbols::Symbols;
use crate::error::{Error, Result};
use crate::format::binary::open;
use crate::model::labels::{Labels, SeriesId};
use crate::model::tenant::TenantId;
use crate::model::time::TimeRange;

/// An index file.
#[derive(Debug)]
pub(crate) struct IndexFile {
    /// Ascending by tenant.
    tenants: Vec<(TenantId, TenantIndex)>,
}

impl IndexFile {
    /// Opens the file `what`, whose chunks lie in a file of `chunks_bytes`.
    pub(crate) fn open(what: &str, file: &Bytes, chunks_bytes: u64) -> Result<Self> {
        IndexDirectory::check_header(what, file)?;
        let place = IndexDirectory::place(what, file.len() as u64, file)?;
        let outside = || Error::corrupt(what, "directory: a section lies outside of the file");
        let section = span(&place).and_then(|place| file.get(place)).ok_or_else(outside)?;
        let directory = IndexDirectory::open(what, place.start, section)?;
        let open = |tenant: &TenantId| {
            let sections = directory.sections(tenant).and_then(|sections| span(&sections)).ok_or_else(outside)?;
            let index = directory.open_tenant(what, tenant, &file.slice(sections), chunks_bytes)?;
            Ok((tenant.clone(), index))
        };
        Ok(IndexFile { tenants: directory.tenants().map(open).collect::<Result<_>>()? })
    }

    /// The tenants in ascending order.
    pub(crate) fn tenants(&self) -> &[(TenantId, TenantIndex)] {
        &self.tenants
    }
}

/// A range within memory.
fn span(range: &Range<u64>) -> Option<Range<usize>> {
    Some(usize::try_from(range.start).ok()?..usize::try_from(range.end).ok()?)
}

/// The index of one tenant.
#[derive(Debug)]
pub(crate) struct TenantIndex {
    what: Box<str>,
    symbols: Symbols,
    series: SeriesTable,
    labels: LabelsTable,
    range: TimeRange,
}

impl TenantIndex {
    /// Opens the sections that lie in `bytes` at `places`.
    pub(super) fn open(what: &str, bytes: &Bytes, places: Places, chunks_bytes: u64) -> Result<Self> {
        let payload = |at: usize, name: &str| {
            let (start, length) = places[at];
            let section = span(&(start..start.saturating_add(length)))
                .filter(|span| span.end <= bytes.len())
                .map(|span| bytes.slice(span))
                .ok_or_else(|| Error::corrupt(what, format!("directory: section {name} lies outside of the file")))?;
            let length = open(what, name, &section)?.len();
            Ok::<_, Error>(section.slice(..length))
        };
        let broken = |name: &'static str| move || Error::corrupt(what, format!("{name}: the table is not well-formed"));
        let symbols = Symbols::open(payload(0, "symbols")?).ok_or_else(broken("symbols"))?;
        let series = SeriesTable::open(payload(1, "series")?).ok_or_else(broken("series"))?;
        let range = series.check(symbols.count(), chunks_bytes).ok_or_else(broken("series"))?;
        let labels = LabelsTable::open(payload(2, "labels")?, payload(3, "postings")?, symbols.count(), series.count())
            .ok_or_else(broken("labels"))?;
        Ok(TenantIndex { what: what.into(), symbols, series, labels, range })
    }

    /// How many series the tenant has.
    pub(crate) fn series_count(&self) -> u32 {
        self.series.count()
    }

    /// The time that its chunks cover.
    pub(crate) fn range(&self) -> TimeRange {
        self.range
    }

    /// The id of a series.
    pub(crate) fn id(&self, series: u32) -> Result<SeriesId> {
        self.series.id(series).ok_or_else(|| self.damaged("series"))
    }

    /// The labels of a series, checked against its id.
    pub(crate) fn labels(&self, series: u32) -> Result<(Labels, SeriesId)> {
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
    pub(crate) fn chunks(&self, series: u32) -> Result<impl Iterator<Item = ChunkRef>> {
        self.series.chunks(series).ok_or_else(|| self.damaged("series"))
    }

    fn damaged(&self, section: &str) -> Error {
        Error::corrupt(&*self.what, format!("{section}: it does not decode"))
    }

    fn read(&self, place: super::labels_table::PostingsPlace) -> Result<Cow<'_, RoaringBitmap>> {
        self.labels.postings(place).map(Cow::Owned).ok_or_else(|| self.damaged("postings"))
    }
}

impl Postings for TenantIndex {
    type Error = Error;
    type Name<'a> = NameRecord;
    type Value<'a> = ValueRecord;

    fn all(&self) -> Cow<'_, RoaringBitmap> {
        let mut all = RoaringBitmap::new();
        all.insert_range(0..self.series.count());
        Cow::Owned(all)
    }

    fn names(&self) -> impl Iterator<Item = Result<(&str, NameRecord)>> {
        (0..self.labels.name_count()).map(|at| {
            let name = self.labels.name(at);
            name.and_then(|name| Some((self.symbols.get(name.symbol)?, name))).ok_or_else(|| self.damaged("labels"))
        })
    }

    fn name(&self, name: &str) -> Result<Option<NameRecord>> {
        Ok(self.symbols.find(name).and_then(|symbol| self.labels.find_name(symbol)))
    }

    fn name_series(&self, name: NameRecord) -> Result<Cow<'_, RoaringBitmap>> {
        self.read(name.any)
    }

    fn values_from<'a>(&'a self, name: NameRecord, from: &str) -> impl Iterator<Item = Result<(&'a str, ValueRecord)>> {
        let first = self.labels.value_from(name, self.symbols.lower_bound(from));
        (first..name.first_value + name.values).map(|at| {
            let value = self.labels.value(at);
            value.and_then(|value| Some((self.symbols.get(value.symbol)?, value))).ok_or_else(|| self.damaged("labels"))
        })
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
