//! The columns of timestamps that chunks of a tenant share, each once.
//!
//! ```text
//! ┌────────────┬───────────────────────────────────────────────────────────────┬──────────────────────────┐
//! │ count u32  │ count × { end u32, samples u32, first i64 ms, last i64 ms }   │ columns, end behind end  │
//! └────────────┴───────────────────────────────────────────────────────────────┴──────────────────────────┘
//! ```
//!
//! Numbers of columns count from 1, in the order in which they first came; 0 says that a chunk holds its own.
//! A builder recognises a column by a 128-bit hash with a secret seed. So that what nothing shares does not fill the index, the
//! columns may take only so many bytes per series; what finds no room stays with its chunk.

use bytes::Bytes;
use hashbrown::HashMap;
use std::hash::BuildHasher;
use xxhash_rust::xxh3::xxh3_128_with_seed;

use crate::chunk::{COLUMN_SAMPLES_MAX, encode_times};
use crate::format::binary::{u32_at, u64_at};
use crate::model::time::TimeRange;

const RECORD_BYTES: usize = 24;
/// Columns may always take this much.
const FREE_BYTES: usize = 1 << 20;
/// And this much for each chunk that came.
const BYTES_PER_CHUNK: usize = 32;

/// Columns in the making.
#[derive(Default)]
pub(super) struct TimesBuilder {
    numbers: HashMap<u128, u32, foldhash::fast::RandomState>,
    records: Vec<u8>,
    columns: Vec<u8>,
    chunks: usize,
    seed: Option<u64>,
}

impl TimesBuilder {
    /// The number of a column, which is put down if it is new; 0: there is no room for it.
    pub(super) fn number(&mut self, times: &[i64]) -> u32 {
        self.chunks += 1;
        let (Some(first), Some(last)) = (times.first(), times.last()) else { return 0 };
        let seed = *self.seed.get_or_insert_with(|| self.numbers.hasher().hash_one(0u64));
        let key = hash(times, seed);
        if let Some(number) = self.numbers.get(&key) {
            return *number;
        }
        if self.columns.len() > FREE_BYTES + self.chunks * BYTES_PER_CHUNK {
            return 0;
        }
        encode_times(times, &mut self.columns);
        self.records.extend_from_slice(&(self.columns.len() as u32).to_le_bytes());
        self.records.extend_from_slice(&(times.len() as u32).to_le_bytes());
        self.records.extend_from_slice(&first.to_le_bytes());
        self.records.extend_from_slice(&last.to_le_bytes());
        let number = (self.records.len() / RECORD_BYTES) as u32;
        self.numbers.insert(key, number);
        number
    }

    /// How many columns there are.
    pub(super) fn count(&self) -> u32 {
        (self.records.len() / RECORD_BYTES) as u32
    }

    /// The payload of the section; `None` beyond 4 GiB.
    pub(super) fn payload(self) -> Option<Vec<u8>> {
        u32::try_from(self.columns.len()).ok()?;
        let mut out = self.count().to_le_bytes().to_vec();
        out.extend_from_slice(&self.records);
        out.extend_from_slice(&self.columns);
        Some(out)
    }
}

fn hash(times: &[i64], seed: u64) -> u128 {
    // SAFETY: every byte of an `i64` is a valid `u8` and the length is that of the same memory; the borrow is the same.
    let bytes = unsafe { std::slice::from_raw_parts(times.as_ptr().cast::<u8>(), size_of_val(times)) };
    xxh3_128_with_seed(bytes, seed)
}

/// Columns in place.
#[derive(Clone, Debug)]
pub(super) struct TimesTable {
    records: Bytes,
    columns: Bytes,
}

impl TimesTable {
    /// Checks the payload of a section: ends in order, not more samples than a column may have, first not after last.
    pub(super) fn open(payload: Bytes) -> Option<Self> {
        let count = u32_at(&payload, 0)? as usize;
        let columns_at = count.checked_mul(RECORD_BYTES)?.checked_add(4)?;
        if payload.len() < columns_at {
            return None;
        }
        let table = TimesTable { records: payload.slice(4..columns_at), columns: payload.slice(columns_at..) };
        let mut end = 0;
        for number in 1..=count as u32 {
            let record = table.record(number)?;
            let next = u32_at(record, 0)?;
            let samples = u32_at(record, 4)? as usize;
            let range = table.range(number)?;
            if next <= end || !(1..=COLUMN_SAMPLES_MAX).contains(&samples) || range.is_empty() {
                return None;
            }
            end = next;
        }
        (end as usize == table.columns.len()).then_some(table)
    }

    /// First and last timestamp of a column.
    #[inline]
    pub(super) fn range(&self, number: u32) -> Option<TimeRange> {
        let record = self.record(number)?;
        Some(TimeRange { start_ms: u64_at(record, 8)? as i64, end_ms: u64_at(record, 16)? as i64 })
    }

    /// The encoded column, which shares the index's memory.
    pub(super) fn column(&self, number: u32) -> Option<Bytes> {
        let end = u32_at(self.record(number)?, 0)? as usize;
        let start = match number {
            1 => 0,
            _ => u32_at(self.record(number - 1)?, 0)? as usize,
        };
        (start <= end && end <= self.columns.len()).then(|| self.columns.slice(start..end))
    }

    #[inline]
    fn record(&self, number: u32) -> Option<&[u8; RECORD_BYTES]> {
        let at = (number as usize).checked_sub(1)?.checked_mul(RECORD_BYTES)?;
        self.records.get(at..)?.first_chunk()
    }
}
