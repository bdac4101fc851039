//! Prometheus' XOR chunks, bit for bit.
//!
//! Two bytes hold the number of samples, big-endian. The first sample is its time (zigzag varint) and the 64 bits of its value;
//! the second the difference of the times (varint) and a value; every other one the change of that difference and a value.
//!
//! 1. A change is `0` where there is none, otherwise `10`, `110`, `1110` or `1111` and its 14, 17, 20 or 64 bits.
//! 2. A value is what it differs in from the one before, by XOR: `0` where in nothing; `10` and the bits in the window of the one
//!    before, where they fit in; else `11`, the zeros in front (5 bits, at most 31), the length of the window (6 bits, 64 as
//!    0) and the bits in it.

use super::bits::{Bits, fits};

/// Most zeros in front of a window.
const LEADING_MAX: u32 = 31;

/// Encodes a chunk of samples, as many times as values and at most 65,535.
pub(super) fn encode(times: &[i64], values: &[f64]) -> Vec<u8> {
    let count = times.len().min(values.len()).min(usize::from(u16::MAX));
    let mut out = Bits::after(&(count as u16).to_be_bytes());
    let (mut time_before, mut delta_before, mut bits_before) = (0i64, 0i64, 0u64);
    let mut window = None;
    for (at, (&time, &value)) in times.iter().zip(values).take(count).enumerate() {
        let (bits, delta) = (value.to_bits(), time.wrapping_sub(time_before));
        match at {
            0 => {
                out.push_varint(((time << 1) ^ (time >> 63)) as u64);
                out.push(bits, 64);
            }
            1 => out.push_varint(delta as u64),
            _ => push_change(&mut out, delta.wrapping_sub(delta_before)),
        }
        if at > 0 {
            push_value(&mut out, bits ^ bits_before, &mut window);
            delta_before = delta;
        }
        (time_before, bits_before) = (time, bits);
    }
    out.into_bytes()
}

/// Writes the change of the difference of times.
fn push_change(out: &mut Bits, change: i64) {
    let fits = |bits| fits(change, bits);
    let (prefix, prefix_bits, bits) = match () {
        () if change == 0 => (0, 1, 0),
        () if fits(14) => (0b10, 2, 14),
        () if fits(17) => (0b110, 3, 17),
        () if fits(20) => (0b1110, 4, 20),
        () => (0b1111, 4, 64),
    };
    out.push(prefix, prefix_bits);
    out.push(change as u64, bits);
}

/// Writes what a value differs in from the one before; `window` are the zeros in front of and behind the last window.
fn push_value(out: &mut Bits, different: u64, window: &mut Option<(u32, u32)>) {
    if different == 0 {
        return out.push(0, 1);
    }
    let (leading, trailing) = (different.leading_zeros().min(LEADING_MAX), different.trailing_zeros());
    if let Some((front, behind)) = *window
        && leading >= front
        && trailing >= behind
    {
        out.push(0b10, 2);
        return out.push(different >> behind, 64 - front - behind);
    }
    *window = Some((leading, trailing));
    let length = 64 - leading - trailing;
    out.push(0b11, 2);
    out.push(leading.into(), 5);
    // 64 does not fit, and becomes 0, which never is a length.
    out.push(length.into(), 6);
    out.push(different >> trailing, length);
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Reads a chunk: the format once more, from the other side.
    pub(crate) fn decode(bytes: &[u8]) -> Vec<(i64, u64)> {
        let count = u16::from_be_bytes([bytes[0], bytes[1]]);
        let mut at = 0usize;
        let mut take = |count: u32| {
            let mut out = 0u64;
            for _ in 0..count {
                out = out << 1 | u64::from(bytes[2 + at / 8] >> (7 - at % 8) & 1);
                at += 1;
            }
            out
        };
        let varint = |take: &mut dyn FnMut(u32) -> u64| {
            let (mut out, mut shift) = (0u64, 0);
            loop {
                let byte = take(8);
                out |= (byte & 0x7f) << shift;
                shift += 7;
                if byte & 0x80 == 0 {
                    return out;
                }
            }
        };
        let (mut time, mut delta, mut value, mut window) = (0i64, 0i64, 0u64, (0, 0));
        let mut samples = Vec::new();
        for i in 0..count {
            match i {
                0 => {
                    let zigzag = varint(&mut take);
                    time = (zigzag >> 1) as i64 ^ -((zigzag & 1) as i64);
                    value = take(64);
                    samples.push((time, value));
                    continue;
                }
                1 => delta = varint(&mut take) as i64,
                _ => {
                    let mut ones = 0;
                    while ones < 4 && take(1) == 1 {
                        ones += 1;
                    }
                    let bits = [0, 14, 17, 20, 64][ones];
                    let mut change = take(bits) as i64;
                    if (1..64).contains(&bits) && change > 1 << (bits - 1) {
                        change -= 1 << bits;
                    }
                    delta = delta.wrapping_add(change);
                }
            }
            time = time.wrapping_add(delta);
            if take(1) == 1 {
                if take(1) == 1 {
                    let leading = take(5) as u32;
                    let length = match take(6) as u32 {
                        0 => 64,
                        length => length,
                    };
                    window = (leading, 64 - leading - length);
                }
                value ^= take(64 - window.0 - window.1) << window.1;
            }
            samples.push((time, value));
        }
        samples
    }

    fn round_trip(samples: &[(i64, u64)]) -> Vec<u8> {
        let (times, values): (Vec<_>, Vec<_>) = samples.iter().map(|(t, bits)| (*t, f64::from_bits(*bits))).unzip();
        let bytes = encode(&times, &values);
        assert_eq!(decode(&bytes), samples);
        bytes
    }

    /// The bytes are those of Prometheus' own encoder.
    #[test]
    fn known_chunks() {
        let hex = |samples: &[(i64, f64)]| {
            let samples: Vec<_> = samples.iter().map(|(t, value)| (*t, value.to_bits())).collect();
            round_trip(&samples).iter().map(|byte| format!("{byte:02x}")).collect::<String>()
        };
        assert_eq!(encode(&[], &[]), [0, 0]);
        assert_eq!(hex(&[(1_700_000_000_000, 1.0)]), "000180a0abfef9623ff0000000000000");
        assert_eq!(
            hex(&[(1_700_000_000_000, 1.0), (1_700_000_015_000, 1.0)]),
            "000280a0abfef9623ff0000000000000987500"
        );
        let many = [
            (1_700_000_000_000, 1.0),
            (1_700_000_015_000, 1.5),
            (1_700_000_030_000, 1.5),
            (1_700_000_045_001, -3.0),
            (1_700_000_060_000, f64::from_bits(0x7ff8_0000_0000_0001)),
            (1_700_000_090_000, f64::from_bits(0x7ff0_0000_0000_0002)),
            (1_700_000_300_000, 0.1),
            (1_700_100_000_000, 12_345.678),
            (1_700_100_000_001, f64::INFINITY),
            (1_700_100_000_002, 5e-324),
        ];
        assert_eq!(
            hex(&many),
            concat!(
                "000a80a0abfef9623ff00000000000009875d80c8001c067ffdfff6002ffc00000000000070ea660008000000000003e2bf2090126666666666",
                "663c0000000017b863427f71854f512da0c2ffffffffffa0eb2e18fce0735b22d0e5613ff80000000000008"
            )
        );
        assert_eq!(
            hex(&[(-5, 0.0), (100, 1e300), (105, 1e300), (i64::MAX, 0.0)]),
            "000409000000000000000069c3efe37e43c8800759efe71effffffffffffff237e37e43c8800759c"
        );
    }

    #[test]
    fn changes_at_the_edges_of_their_lengths() {
        let edges = [14, 17, 20].map(|bits| 1i64 << (bits - 1));
        for change in edges.into_iter().flat_map(|edge| [edge - 1, edge, edge + 1, 1 - edge, -edge, -edge - 1]) {
            round_trip(&[(0, 0), (2_000_000, 1), (4_000_000 + change, 2)]);
        }
        round_trip(&[(i64::MIN, u64::MAX), (0, 0), (i64::MAX, u64::MAX)]);
    }

    proptest! {
        #[test]
        fn samples_come_back(
            start in any::<i64>(),
            steps in proptest::collection::vec((prop_oneof![1i64..20_000, 1i64..1 << 40], prop_oneof![any::<u64>(), (0u64..100).prop_map(|n| (n as f64).to_bits())]), 0..300),
        ) {
            let mut time = start;
            let samples: Vec<_> = steps.into_iter().map(|(step, bits)| { time = time.wrapping_add(step); (time, bits) }).collect();
            round_trip(&samples);
        }
    }
}
