//! The two columns of a float chunk: timestamps as zigzag varints of the change of the step, values as Gorilla XOR bits.

use super::bits::{BitReader, BitWriter};
use super::{COLUMN_SAMPLES_MAX, KIND_FLOAT_XOR};
use crate::format::varint::{push_uvarint, take_uvarint, unzigzag, zigzag};

/// Timestamps: the first as it is, then the first step, then changes of the step; wrapping, so that every `i64` fits.
#[derive(Clone, Debug, Default)]
pub(super) struct TimeColumn {
    bytes: Vec<u8>,
    previous: i64,
    step: i64,
    started: bool,
}

impl TimeColumn {
    pub(super) fn push(&mut self, time: i64) {
        let step = time.wrapping_sub(self.previous);
        push_uvarint(&mut self.bytes, zigzag(step.wrapping_sub(self.step)));
        self.step = if self.started { step } else { 0 };
        self.started = true;
        self.previous = time;
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// Values: XOR with the value before. `0`: the same; `10`: meaningful bits lie within the last window; `11`: a new
/// window, 6 bits of leading zeros, 6 bits of length less one.
#[derive(Clone, Debug, Default)]
pub(super) struct ValueColumn {
    bits: BitWriter,
    previous: u64,
    window: Option<(u32, u32)>,
    started: bool,
}

impl ValueColumn {
    pub(super) fn push(&mut self, value: u64) {
        if !self.started {
            self.started = true;
            self.previous = value;
            self.bits.push(value, 64);
            return;
        }
        let xor = value ^ self.previous;
        self.previous = value;
        if xor == 0 {
            self.bits.push(0, 1);
            return;
        }
        let (leading, trailing) = (xor.leading_zeros(), xor.trailing_zeros());
        match self.window {
            Some((l, t)) if leading >= l && trailing >= t => {
                self.bits.push(0b10, 2);
                self.bits.push(xor >> t, 64 - l - t);
            }
            _ => {
                let length = 64 - leading - trailing;
                self.bits.push(0b11, 2);
                self.bits.push(u64::from(leading), 6);
                self.bits.push(u64::from(length - 1), 6);
                self.bits.push(xor >> trailing, length);
                self.window = Some((leading, trailing));
            }
        }
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        self.bits.as_bytes()
    }
}

/// Decodes a whole float chunk; `None` for bytes that no builder makes.
pub(super) fn decode(bytes: &[u8], times: &mut Vec<i64>, values: &mut Vec<f64>) -> Option<()> {
    let (&kind, mut rest) = bytes.split_first()?;
    let len = usize::try_from(take_uvarint(&mut rest)?).ok()?;
    let times_len = usize::try_from(take_uvarint(&mut rest)?).ok()?;
    // A timestamp takes at least a byte, so a forged length cannot ask for more memory than the bytes are worth.
    if kind != KIND_FLOAT_XOR || len == 0 || len > times_len.min(COLUMN_SAMPLES_MAX) {
        return None;
    }
    let (mut time_bytes, value_bytes) = rest.split_at_checked(times_len)?;
    decode_times(&mut time_bytes, len, times)?;
    decode_values(value_bytes, len, values)
}

fn decode_times(bytes: &mut &[u8], len: usize, times: &mut Vec<i64>) -> Option<()> {
    times.reserve(len);
    let mut time = unzigzag(take_uvarint(bytes)?);
    times.push(time);
    let mut step = 0i64;
    for _ in 1..len {
        step = step.wrapping_add(unzigzag(take_uvarint(bytes)?));
        let next = time.wrapping_add(step);
        if next <= time {
            return None;
        }
        time = next;
        times.push(time);
    }
    bytes.is_empty().then_some(())
}

pub(super) fn decode_values(bytes: &[u8], len: usize, values: &mut Vec<f64>) -> Option<()> {
    values.reserve(len);
    let mut bits = BitReader::new(bytes);
    let mut value = bits.take(64)?;
    values.push(f64::from_bits(value));
    let (mut leading, mut length) = (0u32, 0u32);
    for _ in 1..len {
        if bits.take(1)? == 1 {
            if bits.take(1)? == 1 {
                leading = bits.take(6)? as u32;
                length = bits.take(6)? as u32 + 1;
            }
            if length == 0 || leading + length > 64 {
                return None;
            }
            value ^= bits.take(length)? << (64 - leading - length);
        }
        values.push(f64::from_bits(value));
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::super::{ChunkBuilder, decode};
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_chunk_reads_back_bit_for_bit(
            mut times in proptest::collection::vec(prop_oneof![any::<i64>(), 0i64..1000], 1..200),
            bits in proptest::collection::vec(prop_oneof![any::<u64>(), Just(0x7ff0_0000_0000_0002), (0u32..9).prop_map(|v| f64::from(v).to_bits())], 200),
        ) {
            times.sort_unstable();
            times.dedup();
            let mut builder = ChunkBuilder::default();
            for (&t, &b) in times.iter().zip(&bits) {
                builder.push(t, f64::from_bits(b));
            }
            let (mut got_times, mut got_values) = (Vec::new(), Vec::new());
            decode(&[], &builder.encode(), &mut got_times, &mut got_values).unwrap();
            prop_assert_eq!(&got_times, &times);
            let got_bits: Vec<u64> = got_values.iter().map(|v| v.to_bits()).collect();
            prop_assert_eq!(&got_bits[..], &bits[..times.len()]);
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let (mut times, mut values) = (Vec::new(), Vec::new());
            let _ = decode(&[], &bytes, &mut times, &mut values);
        }
    }
}
