//! Reads the index file of a block in place, whatever its version.

use std::ops::Range;

use bytes::Bytes;

use super::cursor::SeriesCursor;
use super::directory::{IndexDirectory, Places};
use super::v1::TenantIndexV1;
use super::v2::TenantIndexV2;
use super::{SECTIONS, VERSION_OLD};
use crate::error::{Error, Result};
use crate::format::binary::open;
use crate::model::labels::{Labels, SeriesId};
use crate::model::tenant::TenantId;
use crate::model::time::TimeRange;

/// The payloads of a tenant's sections, their checksums verified.
pub(super) type Sections = [Bytes; SECTIONS];

/// An index file.
#[derive(Debug)]
pub(crate) struct IndexFile {
    /// Ascending by tenant.
    tenants: Vec<(TenantId, TenantIndex)>,
}

impl IndexFile {
    /// Opens the file `what`, whose chunks lie in a file of `chunks_bytes`.
    pub(crate) fn open(what: &str, file: &Bytes, chunks_bytes: u64) -> Result<Self> {
        let version = IndexDirectory::check_header(what, file)?;
        let place = IndexDirectory::place(what, file.len() as u64, file)?;
        let outside = || Error::corrupt(what, "directory: a section lies outside of the file");
        let section = span(&place).and_then(|place| file.get(place)).ok_or_else(outside)?;
        let directory = IndexDirectory::open(what, version, place.start, section)?;
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
pub(crate) struct TenantIndex(Index);

/// It, by version.
#[derive(Debug)]
pub(super) enum Index {
    V1(TenantIndexV1),
    V2(TenantIndexV2),
}

impl TenantIndex {
    /// Opens the sections that lie in `bytes` at `places`, of a file of `version`.
    pub(super) fn open(what: &str, version: u32, bytes: &Bytes, places: Places, chunks_bytes: u64) -> Result<Self> {
        let names = match version {
            VERSION_OLD => ["symbols", "series", "labels", "postings"],
            _ => ["labels", "postings", "times", "series"],
        };
        let mut sections = Sections::default();
        for ((section, name), (start, length)) in sections.iter_mut().zip(names).zip(places) {
            let whole = span(&(start..start.saturating_add(length)))
                .filter(|span| span.end <= bytes.len())
                .map(|span| bytes.slice(span))
                .ok_or_else(|| Error::corrupt(what, format!("directory: section {name} lies outside of the file")))?;
            let length = open(what, name, &whole)?.len();
            *section = whole.slice(..length);
        }
        Ok(TenantIndex(match version {
            VERSION_OLD => Index::V1(TenantIndexV1::open(what, sections, chunks_bytes)?),
            _ => Index::V2(TenantIndexV2::open(what, sections, chunks_bytes)?),
        }))
    }

    pub(super) fn index(&self) -> &Index {
        &self.0
    }

    /// How many series the tenant has.
    pub(crate) fn series_count(&self) -> u32 {
        match &self.0 {
            Index::V1(index) => index.series_count(),
            Index::V2(index) => index.series_count(),
        }
    }

    /// The time that its chunks cover.
    pub(crate) fn range(&self) -> TimeRange {
        match &self.0 {
            Index::V1(index) => index.range(),
            Index::V2(index) => index.range(),
        }
    }

    /// A walk over the series.
    pub(crate) fn cursor(&self) -> SeriesCursor<'_> {
        SeriesCursor::over(self)
    }

    /// The id of a series.
    pub(crate) fn id(&self, series: u32) -> Result<SeriesId> {
        match &self.0 {
            Index::V1(index) => index.id(series),
            Index::V2(_) => self.labels(series).map(|(_, id)| id),
        }
    }

    /// Labels and id of a series.
    pub(crate) fn labels(&self, series: u32) -> Result<(Labels, SeriesId)> {
        let mut cursor = self.cursor();
        cursor.seek(series)?;
        cursor.labels()
    }

    /// A column of timestamps by its number; empty for number 0. It shares the index's memory.
    pub(crate) fn times(&self, number: u32) -> Result<Bytes> {
        match &self.0 {
            Index::V2(index) if number > 0 => index.times.column(number).ok_or_else(|| index.damaged("times")),
            _ => Ok(Bytes::new()),
        }
    }
}
