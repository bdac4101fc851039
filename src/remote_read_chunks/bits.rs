//! Bits one behind the other, from the highest of each byte on, and the numbers that Prometheus' chunks are made of.

/// Takes bits.
pub(super) struct Bits {
    bytes: Vec<u8>,
    /// Bits of the last byte that are not taken.
    free: u32,
}

/// Lengths of the numbers that [`Bits::push_signed`] and [`Bits::push_unsigned`] write, each behind as many ones as its place,
/// and a zero; the last without.
const LENGTHS: [u32; 9] = [0, 3, 6, 9, 12, 18, 25, 56, 64];

/// Whether a number has so many bits, as the chunks count: one more of the positive ones than of the negative.
pub(super) fn fits(number: i64, bits: u32) -> bool {
    (-((1 << (bits - 1)) - 1)..=1 << (bits - 1)).contains(&number)
}

impl Bits {
    /// Bits that follow whole bytes.
    pub(super) fn after(bytes: &[u8]) -> Self {
        Bits { bytes: bytes.to_vec(), free: 0 }
    }

    /// All bytes; what the last has too much is zero.
    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    /// Writes the lowest `count` bits, at most 64.
    pub(super) fn push(&mut self, bits: u64, count: u32) {
        let mut left = count;
        while left > 0 {
            if self.free == 0 {
                self.bytes.push(0);
                self.free = 8;
            }
            let take = left.min(self.free);
            let part = (bits >> (left - take)) & ((1 << take) - 1);
            if let Some(last) = self.bytes.last_mut() {
                *last |= (part as u8) << (self.free - take);
            }
            self.free -= take;
            left -= take;
        }
    }

    /// Writes the 64 bits of a float.
    pub(super) fn push_float(&mut self, value: f64) {
        self.push(value.to_bits(), 64);
    }

    /// Writes a number in groups of seven bits, the lowest first, as protobuf does.
    pub(super) fn push_varint(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.push((number & 0x7f) | 0x80, 8);
            number >>= 7;
        }
        self.push(number, 8);
    }

    /// Writes a number in one of nine lengths.
    pub(super) fn push_signed(&mut self, number: i64) {
        self.push_sized(number as u64, |bits| if bits == 0 { number == 0 } else { fits(number, bits) });
    }

    /// The same for one without a sign.
    pub(super) fn push_unsigned(&mut self, number: u64) {
        self.push_sized(number, |bits| number < 1 << bits);
    }

    fn push_sized(&mut self, bits: u64, fits: impl Fn(u32) -> bool) {
        let last = LENGTHS.len() - 1;
        for (place, length) in LENGTHS.into_iter().enumerate() {
            if place == last {
                self.push(0xff, 8);
                return self.push(bits, length);
            }
            if fits(length) {
                self.push(0b1111_1110, place as u32 + 1);
                return self.push(bits, length);
            }
        }
    }
}
