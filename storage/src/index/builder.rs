//! Builds the index file of a block, tenant by tenant.
//!
//! 1. Series come in label order; their texts get temporary numbers in order of appearance.
//! 2. At the tenant's end the texts are sorted, the numbers replaced by their ranks, and postings collected.
//! 3. Four sections are handed out to be written: symbols, series, labels, postings. What stays in memory of a tenant
//!    is a line of the directory, which comes last.

use std::collections::BTreeMap;

use hashbrown::HashMap;
use roaring::RoaringBitmap;

use super::symbols;
use super::{CHUNK_GAP_BYTES, ChunkRef, FOOTER_MAGIC, MAGIC, SECTIONS, VERSION};
use crate::error::{Error, Result};
use crate::format::binary::{HEADER_BYTES, header, seal};
use crate::format::varint::{push_uvarint, zigzag};
use crate::model::labels::{Labels, SeriesId};
use crate::model::tenant::TenantId;

/// The series of one tenant, as they are added.
#[derive(Default)]
pub(crate) struct TenantBuilder {
    numbers: HashMap<Box<str>, u32, foldhash::fast::RandomState>,
    ids: Vec<SeriesId>,
    /// Where the labels and chunks of each series end.
    ends: Vec<(usize, usize)>,
    pairs: Vec<(u32, u32)>,
    chunks: Vec<ChunkRef>,
}

impl TenantBuilder {
    /// Adds a series; the caller has checked that it comes after those before.
    pub(crate) fn add(&mut self, labels: &Labels, chunks: &[ChunkRef]) -> Result<()> {
        if u32::try_from(self.ids.len() + 1).is_err() {
            return Err(too_large());
        }
        for (name, value) in labels.iter() {
            let pair = (self.number(name)?, self.number(value)?);
            self.pairs.push(pair);
        }
        self.chunks.extend_from_slice(chunks);
        self.ids.push(labels.id());
        self.ends.push((self.pairs.len(), self.chunks.len()));
        Ok(())
    }

    fn number(&mut self, text: &str) -> Result<u32> {
        if let Some(number) = self.numbers.get(text) {
            return Ok(*number);
        }
        let number = u32::try_from(self.numbers.len()).map_err(|_| too_large())?;
        self.numbers.insert(text.into(), number);
        Ok(number)
    }

    /// The sections, in their order in the file.
    fn sections(mut self) -> Result<[Vec<u8>; SECTIONS]> {
        let mut texts: Vec<(&str, u32)> = self.numbers.iter().map(|(text, number)| (&**text, *number)).collect();
        texts.sort_unstable();
        let mut ranks = vec![0u32; texts.len()];
        for (rank, (_, number)) in (0u32..).zip(&texts) {
            if let Some(slot) = ranks.get_mut(*number as usize) {
                *slot = rank;
            }
        }
        let symbols = symbols::encode(texts.iter().map(|(text, _)| *text))?;
        let rank = |number: u32| ranks.get(number as usize).copied().unwrap_or(u32::MAX);
        for pair in &mut self.pairs {
            *pair = (rank(pair.0), rank(pair.1));
        }
        let (labels, postings) = self.labels_and_postings()?;
        Ok([symbols, self.series()?, labels, postings])
    }

    fn each_series(&self) -> impl Iterator<Item = (&[(u32, u32)], &[ChunkRef])> {
        let mut start = (0, 0);
        self.ends.iter().map(move |end| {
            let (from, to) = (std::mem::replace(&mut start, *end), *end);
            (self.pairs.get(from.0..to.0).unwrap_or(&[]), self.chunks.get(from.1..to.1).unwrap_or(&[]))
        })
    }

    fn series(&self) -> Result<Vec<u8>> {
        let count = u32::try_from(self.ids.len()).map_err(|_| too_large())?;
        let mut out = count.to_le_bytes().to_vec();
        self.ids.iter().for_each(|id| out.extend_from_slice(&id.0.to_le_bytes()));
        let mut entries = Vec::new();
        out.extend_from_slice(&0u32.to_le_bytes());
        for (pairs, chunks) in self.each_series() {
            push_entry(&mut entries, pairs, chunks);
            let end = u32::try_from(entries.len()).map_err(|_| too_large())?;
            out.extend_from_slice(&end.to_le_bytes());
        }
        out.extend_from_slice(&entries);
        seal(&mut out);
        Ok(out)
    }

    fn labels_and_postings(&self) -> Result<(Vec<u8>, Vec<u8>)> {
        #[derive(Default)]
        struct Name {
            any: RoaringBitmap,
            values: BTreeMap<u32, RoaringBitmap>,
        }
        let mut names: BTreeMap<u32, Name> = BTreeMap::new();
        for (series, (pairs, _)) in (0u32..).zip(self.each_series()) {
            for (name, value) in pairs {
                let entry = names.entry(*name).or_default();
                entry.any.insert(series);
                entry.values.entry(*value).or_default().insert(series);
            }
        }
        let count = |n: usize| u32::try_from(n).map_err(|_| too_large());
        let value_count: usize = names.values().map(|name| name.values.len()).sum();
        let mut labels = count(names.len())?.to_le_bytes().to_vec();
        labels.extend_from_slice(&count(value_count)?.to_le_bytes());
        let (mut values, mut postings) = (Vec::new(), Vec::new());
        let mut first_value = 0u32;
        for (symbol, name) in &mut names {
            let length = count(name.values.len())?;
            push_u32s(&mut labels, [*symbol, first_value, length]);
            push_u32s(&mut labels, push_postings(&mut postings, &mut name.any)?);
            for (symbol, series) in &mut name.values {
                push_u32s(&mut values, [*symbol]);
                push_u32s(&mut values, push_postings(&mut postings, series)?);
            }
            first_value += length;
        }
        labels.extend_from_slice(&values);
        seal(&mut labels);
        seal(&mut postings);
        Ok((labels, postings))
    }
}

fn push_u32s<const N: usize>(out: &mut Vec<u8>, numbers: [u32; N]) {
    numbers.iter().for_each(|n| out.extend_from_slice(&n.to_le_bytes()));
}

/// Labels and chunks of one series. Chunks lie one behind the other in the file and in time, so gaps are enough.
fn push_entry(out: &mut Vec<u8>, pairs: &[(u32, u32)], chunks: &[ChunkRef]) {
    push_uvarint(out, pairs.len() as u64);
    for (name, value) in pairs {
        push_uvarint(out, u64::from(*name));
        push_uvarint(out, u64::from(*value));
    }
    push_uvarint(out, chunks.len() as u64);
    let mut previous: Option<&ChunkRef> = None;
    for chunk in chunks {
        match previous {
            None => {
                push_uvarint(out, chunk.offset);
                push_uvarint(out, zigzag(chunk.min_ms));
            }
            Some(before) => {
                debug_assert_eq!(chunk.offset, before.offset + u64::from(before.length) + CHUNK_GAP_BYTES);
                push_uvarint(out, chunk.min_ms.wrapping_sub(before.max_ms) as u64);
            }
        }
        push_uvarint(out, chunk.max_ms.wrapping_sub(chunk.min_ms) as u64);
        push_uvarint(out, u64::from(chunk.length));
        previous = Some(chunk);
    }
}

/// Appends a bitmap; answers count, offset and length. A single series stands in the offset itself, with length 0.
fn push_postings(out: &mut Vec<u8>, series: &mut RoaringBitmap) -> Result<[u32; 3]> {
    let count = u32::try_from(series.len()).map_err(|_| too_large())?;
    if let (1, Some(only)) = (count, series.min()) {
        return Ok([1, only, 0]);
    }
    series.optimize();
    let offset = out.len();
    series.serialize_into(&mut *out).map_err(|error| Error::Limit(format!("postings cannot be written: {error}")))?;
    let place = [offset, out.len() - offset].map(u32::try_from);
    let [Ok(offset), Ok(length)] = place else {
        return Err(too_large());
    };
    Ok([count, offset, length])
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
