//! Values that stand beside a column of integers: NaN with its payload, infinities, outliers. Runs of equal bits.
//!
//! The column holds something cheap in their places.

use crate::format::varint::{push_uvarint, take_uvarint};

/// Bits of values that are stored as their place in this table.
const KNOWN: [u64; 5] = [
    0x7ff0_0000_0000_0002, // the staleness marker
    0x7ff8_0000_0000_0001, // the NaN of Prometheus
    0x7ff8_0000_0000_0000,
    0x7ff0_0000_0000_0000,
    0xfff0_0000_0000_0000,
];
/// The bits follow.
const OTHER: u8 = 0xff;

/// Appends places (ascending) and bits.
pub(super) fn encode(specials: &[(u32, u64)], out: &mut Vec<u8>) {
    let runs = || specials.chunk_by(|a, b| a.0 + 1 == b.0 && a.1 == b.1);
    push_uvarint(out, runs().count() as u64);
    let mut from = 0;
    for run in runs() {
        let (place, bits) = run[0];
        push_uvarint(out, u64::from(place - from));
        push_uvarint(out, run.len() as u64);
        from = place + run.len() as u32;
        match KNOWN.iter().position(|&known| known == bits) {
            Some(known) => out.push(known as u8),
            None => {
                out.push(OTHER);
                out.extend_from_slice(&bits.to_le_bytes());
            }
        }
    }
}

/// Takes the specials off the front, and gives each run to `put` as first place, count and bits; `None` for bytes that no
/// encoder makes and where `put` says so.
pub(super) fn decode(bytes: &mut &[u8], mut put: impl FnMut(usize, usize, u64) -> Option<()>) -> Option<()> {
    let runs = take_uvarint(bytes)?;
    let mut from = 0usize;
    for _ in 0..runs {
        let place = from.checked_add(usize::try_from(take_uvarint(bytes)?).ok()?)?;
        let count = usize::try_from(take_uvarint(bytes)?).ok().filter(|&count| count > 0)?;
        let (&code, rest) = bytes.split_first()?;
        *bytes = rest;
        let bits = match KNOWN.get(usize::from(code)) {
            Some(&known) => known,
            None if code == OTHER => {
                let (bits, rest) = bytes.split_first_chunk::<8>()?;
                *bytes = rest;
                u64::from_le_bytes(*bits)
            }
            None => return None,
        };
        put(place, count, bits)?;
        from = place.checked_add(count)?;
    }
    Some(())
}
