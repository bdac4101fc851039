//! A stream of bits, most significant first.

/// Appends bits to bytes.
#[derive(Clone, Debug, Default)]
pub(super) struct BitWriter {
    bytes: Vec<u8>,
    free: u32,
}

impl BitWriter {
    /// Appends the low `count` (at most 64) bits of `value`.
    pub(super) fn push(&mut self, value: u64, count: u32) {
        let mut left = count;
        if self.free > 0
            && left > 0
            && let Some(last) = self.bytes.last_mut()
        {
            let take = left.min(self.free);
            let part = (value >> (left - take)) & ((1u64 << take) - 1);
            *last |= (part << (self.free - take)) as u8;
            self.free -= take;
            left -= take;
        }
        if left > 0 {
            let rest = (value << (64 - left)).to_be_bytes();
            let count = left.div_ceil(8);
            self.bytes.extend_from_slice(&rest[..count as usize]);
            self.free = 8 * count - left;
        }
    }

    /// The bytes so far; the last one is padded with zero bits.
    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// Reads bits; `None` past the end.
pub(super) struct BitReader<'a> {
    bytes: &'a [u8],
    position: usize,
}

impl<'a> BitReader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        BitReader { bytes, position: 0 }
    }

    /// The next `count` (at most 64) bits.
    pub(super) fn take(&mut self, count: u32) -> Option<u64> {
        let mut value = 0u64;
        let mut left = count;
        while left > 0 {
            let byte = *self.bytes.get(self.position / 8)?;
            let available = 8 - (self.position % 8) as u32;
            let take = left.min(available);
            let part = (u64::from(byte) >> (available - take)) & ((1u64 << take) - 1);
            value = if take == 64 { part } else { (value << take) | part };
            self.position += take as usize;
            left -= take;
        }
        Some(value)
    }
}
