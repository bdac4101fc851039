//! The start timestamps of a record, one behind the other.
//!
//! ```text
//! ┌──────────┬───────────────────────────────────────────────────────────────────┐
//! │ count uv │ count × { reference zz, timestamp zz, timestamp less its start zz } │
//! └──────────┴───────────────────────────────────────────────────────────────────┘
//! ```
//!
//! `reference` and `timestamp` are the differences to those before (the first to 0).

use crate::format::varint::{push_uvarint, take_uvarint, unzigzag, zigzag};
use crate::model::start::StartTime;

/// Appends start timestamps by the references of their series.
pub(super) fn encode(out: &mut Vec<u8>, count: usize, starts: impl Iterator<Item = (u32, StartTime)>) {
    push_uvarint(out, count as u64);
    let (mut reference_before, mut time_before_ms) = (0i64, 0i64);
    for (reference, StartTime { timestamp_ms, start_ms }) in starts {
        push_uvarint(out, zigzag(i64::from(reference) - reference_before));
        push_uvarint(out, zigzag(timestamp_ms.wrapping_sub(time_before_ms)));
        push_uvarint(out, zigzag(timestamp_ms.wrapping_sub(start_ms)));
        (reference_before, time_before_ms) = (reference.into(), timestamp_ms);
    }
}

/// Takes start timestamps off the front; `None` for bytes that no writer makes.
pub(super) fn decode(rest: &mut &[u8]) -> Option<Vec<(u32, StartTime)>> {
    let mut starts = Vec::new();
    let (mut reference, mut timestamp_ms) = (0i64, 0i64);
    for _ in 0..take_uvarint(rest)? {
        reference = reference.checked_add(unzigzag(take_uvarint(rest)?))?;
        timestamp_ms = timestamp_ms.wrapping_add(unzigzag(take_uvarint(rest)?));
        let start_ms = timestamp_ms.wrapping_sub(unzigzag(take_uvarint(rest)?));
        starts.push((u32::try_from(reference).ok()?, StartTime { timestamp_ms, start_ms }));
    }
    Some(starts)
}
