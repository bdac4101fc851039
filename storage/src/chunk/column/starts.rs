//! The column of start timestamps: integers, either the start timestamps themselves, which a counter keeps for long, or how long
//! before its sample each lies, which is what a counter of differences keeps.

use std::cell::RefCell;

use super::integers::{self, IntegerEncoder, ORDER_MAX};
use super::sequence::{SequenceDecoder, keep_shorter};

/// Flag beside the order: the integers are distances to the samples' times.
const FLAG_DISTANCES: u8 = 4;

thread_local! {
    static ENCODER: RefCell<(IntegerEncoder, Vec<i64>)> = RefCell::default();
    static DECODER: RefCell<(Vec<u64>, Box<SequenceDecoder>)> = RefCell::default();
}

/// Appends at least one start timestamp, one for each of the samples' times.
pub(in crate::chunk) fn encode(times: &[i64], starts: &[i64], out: &mut Vec<u8>) {
    debug_assert!(!starts.is_empty() && times.len() == starts.len());
    ENCODER.with_borrow_mut(|(encoder, distances)| {
        let start = out.len();
        encoder.encode_best(starts, out, |order, out| out.push(order));
        let made = out.len();
        distances.clear();
        distances.extend(times.iter().zip(starts).map(|(time, start)| time.wrapping_sub(*start)));
        encoder.encode_best(distances, out, |order, out| out.push(order | FLAG_DISTANCES));
        keep_shorter(start, made, out);
    });
}

/// Appends as many start timestamps as there are times; `None` for bytes that no encoder makes.
pub(in crate::chunk) fn decode(bytes: &[u8], times: &[i64], starts: &mut Vec<i64>) -> Option<()> {
    let (&head, rest) = bytes.split_first()?;
    let order = head & !FLAG_DISTANCES;
    if order > ORDER_MAX || times.is_empty() {
        return None;
    }
    DECODER.with_borrow_mut(|(numbers, decoder)| {
        numbers.resize(times.len(), 0);
        integers::decode(rest, order, decoder, numbers)?;
        match head & FLAG_DISTANCES {
            0 => starts.extend(numbers.iter().map(|number| *number as i64)),
            _ => starts.extend(numbers.iter().zip(times).map(|(number, time)| time.wrapping_sub(*number as i64))),
        }
        Some(())
    })
}
