//! The end of an index file: a footer that points to the directory, which says where each tenant's sections lie. A
//! reader that has not the whole file reads the end first, and then the sections of one tenant in one piece.

use std::ops::Range;

use bytes::Bytes;

use super::reader::TenantIndex;
use super::{FOOTER_MAGIC, MAGIC, SECTIONS, VERSION, VERSION_OLD};
use crate::error::{Error, Result};
use crate::format::binary::{CRC_BYTES, HEADER_BYTES, header_version, open, u64_at};
use crate::format::varint::take_uvarint;
use crate::model::tenant::TenantId;

/// Length of the footer.
const FOOTER_BYTES: usize = 20 + CRC_BYTES;

/// Offset and length of each of a tenant's sections.
pub(super) type Places = [(u64, u64); SECTIONS];

/// Which tenants an index file holds, and where.
#[derive(Debug)]
pub(crate) struct IndexDirectory {
    /// Of the file.
    version: u32,
    /// Ascending by tenant; the sections lie one behind the other.
    lines: Vec<(TenantId, Places)>,
}

impl IndexDirectory {
    /// Checks the first bytes of the file; answers its version.
    pub(crate) fn check_header(what: &str, start: &[u8]) -> Result<u32> {
        header_version(what, start, MAGIC, VERSION_OLD..=VERSION)
    }

    /// Where the directory of a file of `file_bytes` lies that ends with `tail`.
    pub(crate) fn place(what: &str, file_bytes: u64, tail: &[u8]) -> Result<Range<u64>> {
        let footer = tail.last_chunk::<FOOTER_BYTES>().filter(|_| file_bytes >= (HEADER_BYTES + FOOTER_BYTES) as u64);
        let footer = footer.ok_or_else(|| Error::corrupt(what, "the file ends within its footer"))?;
        let footer = open(what, "footer", footer)?;
        let place = u64_at(footer, 0).zip(u64_at(footer, 8)).filter(|_| footer.ends_with(&FOOTER_MAGIC));
        let place = place.and_then(|(start, length)| Some(start..start.checked_add(length)?));
        let place = place.filter(|place| place.end <= file_bytes);
        place.ok_or_else(|| Error::corrupt(what, "footer: it points outside of the file"))
    }

    /// Reads the directory, which lies at `start` in a file of `version`.
    pub(crate) fn open(what: &str, version: u32, start: u64, section: &[u8]) -> Result<Self> {
        let payload = open(what, "directory", section)?;
        let damaged = || Error::corrupt(what, "directory: its lines do not decode");
        let (count, mut rest) = payload.split_first_chunk().ok_or_else(damaged)?;
        let mut lines: Vec<(TenantId, Places)> = Vec::new();
        let mut position = HEADER_BYTES as u64;
        for _ in 0..u32::from_le_bytes(*count) {
            let (tenant, places) = take_line(&mut rest).ok_or_else(damaged)?;
            if lines.last().is_some_and(|(before, _)| *before >= tenant) {
                return Err(Error::corrupt(what, "directory: the tenants are not in order"));
            }
            for (offset, length) in places {
                if offset != position {
                    return Err(Error::corrupt(what, "directory: the sections do not lie one behind the other"));
                }
                position = position.checked_add(length).ok_or_else(damaged)?;
            }
            lines.push((tenant, places));
        }
        match (rest, position <= start) {
            ([], true) => Ok(IndexDirectory { version, lines }),
            ([], false) => Err(Error::corrupt(what, "directory: a section lies outside of the file")),
            _ => Err(damaged()),
        }
    }

    /// The tenants in ascending order.
    pub(crate) fn tenants(&self) -> impl Iterator<Item = &TenantId> {
        self.lines.iter().map(|(tenant, _)| tenant)
    }

    /// Where the sections of a tenant lie; `None`: it has no series here.
    pub(crate) fn sections(&self, tenant: &TenantId) -> Option<Range<u64>> {
        let [first, .., last] = self.places(tenant)?;
        Some(first.0..last.0.saturating_add(last.1))
    }

    /// Opens the index of a tenant over the bytes that [`IndexDirectory::sections`] names.
    pub(crate) fn open_tenant(
        &self,
        what: &str,
        tenant: &TenantId,
        sections: &Bytes,
        chunks_bytes: u64,
    ) -> Result<TenantIndex> {
        let places = self.places(tenant).ok_or_else(|| Error::corrupt(what, "directory: the tenant is not there"))?;
        let base = places[0].0;
        let places = places.map(|(offset, length)| (offset - base, length));
        TenantIndex::open(what, self.version, sections, places, chunks_bytes)
    }

    fn places(&self, tenant: &TenantId) -> Option<&Places> {
        let at = self.lines.binary_search_by(|(id, _)| id.cmp(tenant)).ok()?;
        self.lines.get(at).map(|(_, places)| places)
    }

    /// About what it takes in memory.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.lines.len() * (size_of::<(TenantId, Places)>() + 32)
    }
}

/// A tenant, and offset and length of its sections.
fn take_line(rest: &mut &[u8]) -> Option<(TenantId, Places)> {
    let length = usize::try_from(take_uvarint(rest)?).ok()?;
    let (name, after) = rest.split_at_checked(length)?;
    let tenant = TenantId::parse(std::str::from_utf8(name).ok()?).ok()?;
    let (places, after) = after.split_at_checked(SECTIONS * 16)?;
    *rest = after;
    let mut sections = [(0, 0); SECTIONS];
    for (at, section) in sections.iter_mut().enumerate() {
        *section = (u64_at(places, at * 16)?, u64_at(places, at * 16 + 8)?);
    }
    Some((tenant, sections))
}
