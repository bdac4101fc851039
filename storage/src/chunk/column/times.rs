//! The times column: how many timestamps, then integers. A regular interval is one step that all differences equal.

use std::cell::RefCell;

use super::integers::{self, IntegerEncoder, ORDER_MAX};
use super::sequence::SequenceDecoder;
use crate::chunk::COLUMN_SAMPLES_MAX;
use crate::format::varint::{push_uvarint, take_uvarint};

thread_local! {
    static ENCODER: RefCell<IntegerEncoder> = RefCell::default();
    static DECODER: RefCell<(Vec<u64>, Box<SequenceDecoder>)> = RefCell::default();
}

/// Appends the timestamps, 1 to [`COLUMN_SAMPLES_MAX`], as a column.
pub(in crate::chunk) fn encode(times: &[i64], out: &mut Vec<u8>) {
    debug_assert!(!times.is_empty() && times.len() <= COLUMN_SAMPLES_MAX && times.is_sorted_by(|a, b| a < b));
    push_uvarint(out, times.len() as u64);
    ENCODER.with_borrow_mut(|encoder| encoder.encode_best(times, out, |order, out| out.push(order)));
}

/// Appends the timestamps and gives their count; `None` for bytes that no encoder makes.
pub(in crate::chunk) fn decode(bytes: &[u8], times: &mut Vec<i64>) -> Option<usize> {
    let mut rest = bytes;
    let count =
        usize::try_from(take_uvarint(&mut rest)?).ok().filter(|&count| (1..=COLUMN_SAMPLES_MAX).contains(&count))?;
    let (&order, rest) = rest.split_first()?;
    if order > ORDER_MAX {
        return None;
    }
    DECODER.with_borrow_mut(|(numbers, decoder)| {
        numbers.resize(count, 0);
        integers::decode(rest, order, decoder, numbers)?;
        let start = times.len();
        times.extend(numbers.iter().map(|&number| number as i64));
        times[start..].is_sorted_by(|a, b| a < b).then_some(count)
    })
}
