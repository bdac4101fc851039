//! Numbers of one width, one after another, least significant bit first.

/// Bytes of `count` numbers of `width` bits.
pub(super) fn packed_bytes(count: usize, width: u32) -> usize {
    (count * width as usize).div_ceil(8)
}

/// Appends the low `width` bits (0..=64) of each number; the bits above must be zero.
pub(super) fn pack(numbers: &[u64], width: u32, out: &mut Vec<u8>) {
    if width == 0 {
        return;
    }
    let (mut pending, mut pending_bits) = (0u64, 0u32);
    out.reserve(packed_bytes(numbers.len(), width) + 8);
    for &number in numbers {
        pending |= number << pending_bits;
        let bits = pending_bits + width;
        if bits >= 64 {
            out.extend_from_slice(&pending.to_le_bytes());
            // What did not fit: nothing when the word was empty before and is full now.
            pending = if pending_bits == 0 { 0 } else { number >> (64 - pending_bits) };
        }
        pending_bits = bits % 64;
    }
    out.extend_from_slice(&pending.to_le_bytes()[..pending_bits.div_ceil(8) as usize]);
}

/// Unpacks a block of 64 numbers of `W` bits from its `8 * W` bytes, eight bytes a word.
#[inline(always)]
fn unpack_block<const W: usize>(bytes: &[u8], out: &mut [u64; 64]) {
    let mut words = [0u64; 65];
    for (word, eight) in words.iter_mut().zip(bytes.chunks_exact(8)).take(W) {
        *word = u64::from_le_bytes(eight.try_into().unwrap_or_default());
    }
    let mask = if W == 64 { u64::MAX } else { (1u64 << W) - 1 };
    for (i, number) in out.iter_mut().enumerate() {
        let (word, shift) = (i * W / 64, (i * W % 64) as u32);
        // Shifting by 63 and then by 1 gives nothing of the next word where nothing of it belongs to the number.
        let pair = words[word] >> shift | words[word + 1] << 1 << (63 - shift);
        *number = pair & mask;
    }
}

fn unpack_blocks<const W: usize>(bytes: &[u8], out: &mut [u64]) {
    let (blocks, tail) = out.as_chunks_mut::<64>();
    let whole = blocks.len() * 8 * W;
    for (block, bytes) in blocks.iter_mut().zip(bytes.chunks_exact(8 * W)) {
        unpack_block::<W>(bytes, block);
    }
    if !tail.is_empty() {
        let mut padded = [0u8; 512];
        let rest = bytes.get(whole..).unwrap_or(&[]);
        let length = rest.len().min(8 * W);
        padded[..length].copy_from_slice(&rest[..length]);
        let mut block = [0u64; 64];
        unpack_block::<W>(&padded[..8 * W], &mut block);
        tail.copy_from_slice(&block[..tail.len()]);
    }
}

macro_rules! by_width {
    ($width:expr, $bytes:expr, $out:expr; $($w:literal)*) => {
        match $width {
            0 => $out.fill(0),
            $($w => unpack_blocks::<$w>($bytes, $out),)*
            _ => return None,
        }
    };
}

/// Takes as many numbers of `width` bits off the front as `out` holds; `None` where the bytes end, or for a width above 64.
pub(super) fn unpack(bytes: &mut &[u8], width: u32, out: &mut [u64]) -> Option<()> {
    let (packed, rest) = bytes.split_at_checked(packed_bytes(out.len(), width.min(65)))?;
    by_width!(width, packed, out;
        1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30 31 32
        33 34 35 36 37 38 39 40 41 42 43 44 45 46 47 48 49 50 51 52 53 54 55 56 57 58 59 60 61 62 63 64);
    *bytes = rest;
    Some(())
}
