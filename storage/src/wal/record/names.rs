//! The names of series in a record: references, and label bytes compressed together, since neighbours share most of them.

use crate::format::varint::{push_uvarint, take_uvarint, unzigzag, zigzag};

/// Snappy turns a byte into at most so many.
const EXPANSION_MAX: usize = 22;

/// Series that are named.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct SeriesNames {
    /// Their numbers within segment and tenant.
    pub references: Vec<u32>,
    /// Where the label bytes of each end.
    pub ends: Vec<u32>,
    /// Label bytes, not yet checked to be canonical.
    pub labels: Vec<u8>,
}

impl SeriesNames {
    /// Adds a series.
    pub fn push(&mut self, reference: u32, labels: &[u8]) {
        self.references.push(reference);
        self.labels.extend_from_slice(labels);
        self.ends.push(self.labels.len() as u32);
    }

    /// Each series' reference and label bytes.
    pub fn series(&self) -> impl Iterator<Item = (u32, &[u8])> {
        let mut start = 0;
        self.references.iter().zip(&self.ends).map(move |(reference, end)| {
            let from = std::mem::replace(&mut start, *end as usize);
            (*reference, self.labels.get(from..*end as usize).unwrap_or_default())
        })
    }

    /// Forgets all of them.
    pub fn clear(&mut self) {
        self.references.clear();
        self.ends.clear();
        self.labels.clear();
    }

    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        push_uvarint(out, self.references.len() as u64);
        let (mut previous, mut start) = (0i64, 0);
        for (reference, end) in self.references.iter().zip(&self.ends) {
            push_uvarint(out, zigzag(i64::from(*reference) - previous));
            push_uvarint(out, u64::from(end - start));
            (previous, start) = (i64::from(*reference), *end);
        }
        let length_at = out.len();
        out.extend_from_slice(&[0; 4]);
        let start = out.len();
        out.resize(start + snap::raw::max_compress_len(self.labels.len()), 0);
        // Fails only where there is less room than it asked for, or more than 4 GiB.
        let length = snap::raw::Encoder::new().compress(&self.labels, &mut out[start..]).unwrap_or(0);
        out.truncate(start + length);
        out[length_at..start].copy_from_slice(&(length as u32).to_le_bytes());
    }

    pub(super) fn decode(rest: &mut &[u8]) -> Option<Self> {
        let count = usize::try_from(take_uvarint(rest)?).ok()?;
        if count > rest.len() / 2 {
            return None;
        }
        let mut names = SeriesNames::default();
        let (mut previous, mut end) = (0i64, 0u32);
        for _ in 0..count {
            previous = previous.checked_add(unzigzag(take_uvarint(rest)?))?;
            end = end.checked_add(u32::try_from(take_uvarint(rest)?).ok()?)?;
            names.references.push(u32::try_from(previous).ok()?);
            names.ends.push(end);
        }
        let (length, after) = rest.split_first_chunk::<4>()?;
        let (compressed, after) = after.split_at_checked(u32::from_le_bytes(*length) as usize)?;
        *rest = after;
        let announced = snap::raw::decompress_len(compressed).ok()?;
        if announced != end as usize || announced > compressed.len().checked_mul(EXPANSION_MAX)? + 64 {
            return None;
        }
        names.labels = snap::raw::Decoder::new().decompress_vec(compressed).ok()?;
        Some(names)
    }
}
