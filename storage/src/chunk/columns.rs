//! Long chunks as two columns, either of which can be read alone, so that series of one target share the times.
//!
//! 1. Times: count, first, then changes of the step as zigzag varints; a zero change is followed by how many more follow.
//! 2. Values: one value for all, or the XOR bits of a float chunk.

use super::xor::{self, ValueColumn};
use super::{KIND_COLUMNS, KIND_VALUES};
use crate::error::{Error, Result};
use crate::format::varint::{push_uvarint, take_uvarint, unzigzag, zigzag};

/// A column holds at most this many samples; decoders refuse more.
pub const COLUMN_SAMPLES_MAX: usize = 8192;

const VALUES_CONSTANT: u8 = 0;
const VALUES_XOR: u8 = 1;

/// How much work an encoder may do for fewer bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Effort {
    /// As fast as a head is sealed.
    #[default]
    Sealed,
    /// As small as can be: for what is written once more and then stays.
    Cold,
}

/// Encodes columns of values, and keeps its buffers between them.
#[derive(Debug, Default)]
pub struct ValueEncoder {}

impl ValueEncoder {
    /// Appends the encoded column to `out`.
    pub fn encode(&mut self, values: &[f64], _effort: Effort, out: &mut Vec<u8>) {
        let first = values.first().map_or(0, |value| value.to_bits());
        if values.iter().all(|value| value.to_bits() == first) {
            out.push(VALUES_CONSTANT);
            out.extend_from_slice(&first.to_le_bytes());
            return;
        }
        let mut column = ValueColumn::default();
        values.iter().for_each(|value| column.push(value.to_bits()));
        out.push(VALUES_XOR);
        out.extend_from_slice(column.as_bytes());
    }
}

/// Appends a column of timestamps, which strictly ascend, at most [`COLUMN_SAMPLES_MAX`].
pub fn encode_times(times: &[i64], out: &mut Vec<u8>) {
    push_uvarint(out, times.len() as u64);
    let (mut previous, mut step, mut same) = (0i64, 0i64, 0u64);
    for (at, &time) in times.iter().enumerate() {
        let next = time.wrapping_sub(previous);
        let change = next.wrapping_sub(step);
        step = if at == 0 { 0 } else { next };
        previous = time;
        if change == 0 && at > 0 {
            same += 1;
            continue;
        }
        push_same(&mut same, out);
        push_uvarint(out, zigzag(change));
        if change == 0 {
            push_uvarint(out, 0);
        }
    }
    push_same(&mut same, out);
}

fn push_same(same: &mut u64, out: &mut Vec<u8>) {
    if let Some(more) = std::mem::take(same).checked_sub(1) {
        out.push(0);
        push_uvarint(out, more);
    }
}

/// Appends the timestamps of a column.
///
/// # Errors
/// [`Error::Corrupt`] on bytes that no encoder makes; `times` may then hold a part.
pub fn decode_times(bytes: &[u8], times: &mut Vec<i64>) -> Result<()> {
    take_times(bytes, times).ok_or_else(|| Error::corrupt("chunk", "its timestamps do not decode"))
}

fn take_times(mut bytes: &[u8], times: &mut Vec<i64>) -> Option<()> {
    let count = usize::try_from(take_uvarint(&mut bytes)?).ok().filter(|c| (1..=COLUMN_SAMPLES_MAX).contains(c))?;
    let end = times.len() + count;
    let (mut previous, mut step, mut first) = (0i64, 0i64, true);
    times.reserve(count);
    while times.len() < end {
        let change = unzigzag(take_uvarint(&mut bytes)?);
        let more = if change == 0 { usize::try_from(take_uvarint(&mut bytes)?).ok()? } else { 0 };
        if more >= end - times.len() {
            return None;
        }
        for _ in 0..=more {
            let next = step.wrapping_add(change);
            let time = previous.wrapping_add(next);
            if !first && time <= previous {
                return None;
            }
            step = if first { 0 } else { next };
            (previous, first) = (time, false);
            times.push(time);
        }
    }
    bytes.is_empty().then_some(())
}

/// Appends the `count` values of a column.
///
/// # Errors
/// [`Error::Corrupt`] on bytes that no encoder makes of so many values; `values` may then hold a part.
pub fn decode_values(bytes: &[u8], count: usize, values: &mut Vec<f64>) -> Result<()> {
    take_values(bytes, count, values).ok_or_else(|| Error::corrupt("chunk", "its values do not decode"))
}

fn take_values(bytes: &[u8], count: usize, values: &mut Vec<f64>) -> Option<()> {
    if !(1..=COLUMN_SAMPLES_MAX).contains(&count) {
        return None;
    }
    match bytes.split_first()? {
        (&VALUES_CONSTANT, bits) => {
            let value = f64::from_bits(u64::from_le_bytes(bits.try_into().ok()?));
            values.resize(values.len() + count, value);
            Some(())
        }
        (&VALUES_XOR, bits) => xor::decode_values(bits, count, values),
        _ => None,
    }
}

/// Appends a chunk of values whose timestamps stand elsewhere.
pub fn encode_values_chunk(encoder: &mut ValueEncoder, values: &[f64], effort: Effort, out: &mut Vec<u8>) {
    out.push(KIND_VALUES);
    encoder.encode(values, effort, out);
}

/// Appends a chunk with both its columns.
pub fn encode_chunk(encoder: &mut ValueEncoder, times: &[i64], values: &[f64], effort: Effort, out: &mut Vec<u8>) {
    let mut column = Vec::new();
    encode_times(times, &mut column);
    out.push(KIND_COLUMNS);
    push_uvarint(out, column.len() as u64);
    out.extend_from_slice(&column);
    encoder.encode(values, effort, out);
}

/// Both columns of a chunk that [`encode_chunk`] made, without its kind.
pub(super) fn decode_both(mut rest: &[u8], times: &mut Vec<i64>, values: &mut Vec<f64>) -> Result<()> {
    let length = take_uvarint(&mut rest).and_then(|length| usize::try_from(length).ok());
    let split = length.and_then(|length| rest.split_at_checked(length));
    let (column, rest) = split.ok_or_else(|| Error::corrupt("chunk", "its columns do not decode"))?;
    let before = times.len();
    decode_times(column, times)?;
    decode_values(rest, times.len() - before, values)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn columns_read_back_bit_for_bit(
            steps in proptest::collection::vec(prop_oneof![Just(15i64), 1i64..30], 1..200), first in any::<i32>(),
            bits in proptest::collection::vec(prop_oneof![any::<u64>(), Just(5)], 200), constant in any::<bool>(),
        ) {
            let mut time = i64::from(first);
            let times: Vec<i64> = steps.iter().map(|step| { time += step; time }).collect();
            let bits: Vec<u64> = if constant { vec![bits[0]; times.len()] } else { bits[..times.len()].to_vec() };
            let values: Vec<f64> = bits.iter().map(|b| f64::from_bits(*b)).collect();
            let (mut column, mut shared, mut alone) = (Vec::new(), Vec::new(), Vec::new());
            let mut encoder = ValueEncoder::default();
            encode_times(&times, &mut column);
            encode_values_chunk(&mut encoder, &values, Effort::Sealed, &mut shared);
            encode_chunk(&mut encoder, &times, &values, Effort::Cold, &mut alone);
            for (column, bytes) in [(&column[..], &shared), (&[][..], &alone)] {
                let (mut got_times, mut got_values) = (Vec::new(), Vec::new());
                super::super::decode(column, bytes, &mut got_times, &mut got_values).unwrap();
                prop_assert_eq!(&got_times, &times);
                prop_assert_eq!(got_values.iter().map(|v| v.to_bits()).collect::<Vec<_>>(), bits.clone());
            }
        }

        #[test]
        fn arbitrary_columns_never_panic(column in proptest::collection::vec(any::<u8>(), 0..60), kind in 0u8..6, mut bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
            bytes.insert(0, kind);
            let (mut times, mut values) = (Vec::new(), Vec::new());
            let _ = super::super::decode(&column, &bytes, &mut times, &mut values);
        }
    }
}
