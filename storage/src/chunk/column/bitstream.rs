//! Two streams of bits in one run of bytes, so that a decoder has two independent chains of work.
//!
//! 1. The forward stream begins at the first byte, least significant bit first.
//! 2. The backward stream begins at the last byte: it is a forward stream whose bytes lie in reverse order.
//! 3. Nothing says where they meet. Each fills whole bytes; the reader counts what it consumed of both, and the sum must
//!    be the length of the run.

/// Bits that a refilled [`Lane`] holds at least.
pub(super) const REFILL_BITS: u32 = 56;

/// Appends bits to a buffer that it owns.
#[derive(Debug, Default)]
pub(super) struct LaneWriter {
    bytes: Vec<u8>,
    pending: u64,
    pending_bits: u32,
}

impl LaneWriter {
    pub(super) fn clear(&mut self) {
        self.bytes.clear();
        (self.pending, self.pending_bits) = (0, 0);
    }

    /// Appends the low `count` (at most 56) bits of `value`; the bits above must be zero.
    #[inline]
    pub(super) fn push(&mut self, value: u64, count: u32) {
        debug_assert!(count <= 56 && value >> count == 0);
        self.pending |= value << self.pending_bits;
        self.pending_bits += count;
        let whole = self.pending_bits / 8;
        // Up to 7 bits were pending, so at most 63 are now, and at most 7 bytes are whole.
        let length = self.bytes.len() + whole as usize;
        self.bytes.extend_from_slice(&self.pending.to_le_bytes());
        self.bytes.truncate(length);
        self.pending >>= 8 * whole;
        self.pending_bits %= 8;
    }

    /// Appends the low `count` (at most 64) bits.
    #[inline]
    pub(super) fn push_wide(&mut self, value: u64, count: u32) {
        if count > 32 {
            self.push(value & 0xffff_ffff, 32);
            self.push(value >> 32, count - 32);
        } else {
            self.push(value, count);
        }
    }

    /// Ends the stream: the last byte is padded with zeros.
    pub(super) fn finish(&mut self) -> &mut [u8] {
        if self.pending_bits > 0 {
            self.bytes.push(self.pending as u8);
            (self.pending, self.pending_bits) = (0, 0);
        }
        &mut self.bytes
    }
}

/// One stream while it is read: a window of bits and where the next byte comes from.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Lane {
    window: u64,
    window_bits: u32,
    /// Bytes taken from the run so far; beyond its end, zeros were taken.
    taken: usize,
}

impl Lane {
    /// Fills the window to at least [`REFILL_BITS`] where eight more bytes lie in the run; `false` where they do not.
    #[inline(always)]
    pub(super) fn refill<const BACKWARD: bool>(&mut self, run: &[u8]) -> bool {
        let word = if BACKWARD {
            let Some(end) = run.len().checked_sub(self.taken) else { return false };
            let Some(bytes) = run.get(..end).and_then(|rest| rest.last_chunk::<8>()) else { return false };
            u64::from_be_bytes(*bytes)
        } else {
            let Some(bytes) = run.get(self.taken..).and_then(|rest| rest.first_chunk::<8>()) else { return false };
            u64::from_le_bytes(*bytes)
        };
        self.window |= word << self.window_bits;
        self.taken += (63 - self.window_bits as usize) / 8;
        self.window_bits |= 56;
        true
    }

    /// Fills the window as [`Lane::refill`] does, byte by byte, with zeros beyond the end.
    #[cold]
    pub(super) fn refill_at_end<const BACKWARD: bool>(&mut self, run: &[u8]) {
        // A refill leaves copies of bits above the counted ones; they would be in the way of what is not a copy.
        self.window &= (1u64 << self.window_bits.min(63)) - 1;
        while self.window_bits < REFILL_BITS {
            let at = if BACKWARD { run.len().checked_sub(self.taken + 1) } else { Some(self.taken) };
            let byte = at.and_then(|at| run.get(at)).copied().unwrap_or(0);
            self.window |= u64::from(byte) << self.window_bits;
            self.window_bits += 8;
            self.taken += 1;
        }
    }

    /// The bits to come, the next one lowest; as many as the last refill gave, less those consumed.
    #[inline(always)]
    pub(super) fn peek(&self) -> u64 {
        self.window
    }

    /// Drops bits of the window, of which there must be so many.
    #[inline(always)]
    pub(super) fn consume(&mut self, count: u32) {
        self.window >>= count;
        self.window_bits -= count;
    }

    /// Whole bytes that were consumed, the last one perhaps in part.
    pub(super) fn consumed_bytes(&self) -> usize {
        (8 * self.taken).saturating_sub(self.window_bits as usize).div_ceil(8)
    }
}

/// Reads a single forward stream by small steps, for headers.
pub(super) struct HeaderBits<'a> {
    bytes: &'a [u8],
    position: usize,
}

impl<'a> HeaderBits<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        HeaderBits { bytes, position: 0 }
    }

    /// The next `count` (at most 8) bits; `None` past the end.
    #[inline]
    pub(super) fn take(&mut self, count: usize) -> Option<u8> {
        let at = self.position / 8;
        let low = u16::from(*self.bytes.get(at)?);
        let high = self.bytes.get(at + 1).map_or(0, |&byte| u16::from(byte));
        let end = self.position + count;
        if end > 8 * self.bytes.len() {
            return None;
        }
        let bits = (low | high << 8) >> (self.position % 8);
        self.position = end;
        Some((bits & ((1 << count) - 1)) as u8)
    }

    /// Takes ones up to the first zero, which is taken too, but no more than `max` (at most 8) bits; how many ones there were.
    #[inline]
    pub(super) fn take_ones(&mut self, max: u32) -> Option<u32> {
        let at = self.position / 8;
        let byte = |at: usize| self.bytes.get(at).map_or(0, |&byte| u16::from(byte));
        let bits = (byte(at) | byte(at + 1) << 8) >> (self.position % 8);
        let ones = bits.trailing_ones().min(max);
        let end = self.position + ones as usize + usize::from(ones < max);
        if end > 8 * self.bytes.len() {
            return None;
        }
        self.position = end;
        Some(ones)
    }

    /// What follows the last byte that was begun.
    pub(super) fn rest(self) -> &'a [u8] {
        self.bytes.get(self.position.div_ceil(8)..).unwrap_or(&[])
    }
}
