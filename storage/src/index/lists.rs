//! Postings: the series of a label or of one of its values, as the smallest of a few forms.
//!
//! ```text
//! head uv: series × 4 + form
//! form 0   run       first uv                                       nothing else: `series` numbers from `first` on
//! form 1   sparse    first uv, span uv                              payload: see below
//! form 2   other     length uv × 2 + (0: Roaring, 1: runs)          payload of `length` bytes
//! form 3   copy      pair uv                                        the postings of that pair, which is before this one
//! ```
//!
//! Sparse is Elias and Fano's code of the numbers less `first`: of each the low `l` bits, packed, where 2^l is about the
//! mean gap; then the rest in unary, a one behind as many zeros as the rest has grown. It takes about 2 + l bits a
//! number however the gaps vary. Runs are pairs of varints: series left out, length less one. Roaring is the portable form.

use roaring::RoaringBitmap;

use super::packed::{Packed, packed_bytes, push_bits};
use crate::format::varint::{push_uvarint, take_uvarint};

/// Where the postings of a label or value stand.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    /// How many series.
    pub(super) count: u32,
    form: Form,
}

#[derive(Clone, Copy, Debug)]
enum Form {
    Run { first: u32 },
    Sparse { first: u32, span: u32, at: u64 },
    Roaring { at: u64, length: u32 },
    Runs { at: u64, length: u32 },
    Copy { pair: u32 },
}

/// Length of the low part of each number.
fn low_width(count: u32, span: u32) -> u32 {
    (span / count.max(1)).checked_ilog2().unwrap_or(0)
}

/// Bytes of the low parts, and of the high parts.
fn sparse_bytes(count: u32, span: u32) -> (u64, u64) {
    let width = low_width(count, span);
    (packed_bytes(count.into(), width), (u64::from(count) + u64::from(span >> width) + 1).div_ceil(8))
}

impl Place {
    /// Takes a place off the front; payloads lie one behind the other from `payload_at` on, which is moved.
    pub(super) fn take(rest: &mut &[u8], payload_at: &mut u64) -> Option<Self> {
        let head = take_uvarint(rest)?;
        let count = u32::try_from(head >> 2).ok().filter(|count| *count > 0)?;
        let mut number = || take_uvarint(rest).and_then(|n| u32::try_from(n).ok());
        let at = *payload_at;
        let form = match head & 3 {
            0 => Form::Run { first: number()? },
            1 => {
                let (first, span) = (number()?, number()?);
                let (low, high) = sparse_bytes(count, span);
                *payload_at = at.checked_add(low + high)?;
                Form::Sparse { first, span, at }
            }
            2 => {
                let length = number()?;
                *payload_at = at.checked_add(u64::from(length >> 1))?;
                match length & 1 {
                    0 => Form::Roaring { at, length: length >> 1 },
                    _ => Form::Runs { at, length: length >> 1 },
                }
            }
            _ => Form::Copy { pair: number()? },
        };
        Some(Place { count, form })
    }

    /// The pair whose postings these are, if it is another.
    pub(super) fn copy_of(&self) -> Option<u32> {
        match self.form {
            Form::Copy { pair } => Some(pair),
            _ => None,
        }
    }

    /// Whether a run lies within so many series. What has a payload is checked when it is read.
    pub(super) fn fits(&self, series: u32) -> bool {
        match self.form {
            Form::Run { first } => u64::from(first) + u64::from(self.count) <= u64::from(series),
            _ => self.count <= series,
        }
    }

    /// Reads the postings out of the payloads; `None` for bytes that no builder makes, and for copies.
    pub(super) fn read(&self, payloads: &[u8], series: u32) -> Option<RoaringBitmap> {
        let slice = |at: u64, length: u64| slice(payloads, at, length);
        let found = match self.form {
            Form::Copy { .. } => None,
            Form::Run { first } => {
                let end = first.checked_add(self.count)?;
                let mut run = RoaringBitmap::new();
                run.insert_range(first..end);
                Some(run)
            }
            Form::Sparse { first, span, at } => {
                let (low, high) = sparse_bytes(self.count, span);
                read_sparse(self.count, first, span, slice(at, low)?, slice(at + low, high)?)
            }
            Form::Runs { at, length } => read_runs(slice(at, length.into())?, series),
            Form::Roaring { at, length } => RoaringBitmap::deserialize_from(slice(at, length.into())?).ok(),
        }?;
        let holds = found.len() == u64::from(self.count) && found.max().is_some_and(|max| max < series);
        holds.then_some(found)
    }

    /// Whether one of the postings is among `within`: of sparse ones no more is read than it takes to know. `None` as for
    /// [`Place::read`].
    pub(super) fn meets(&self, payloads: &[u8], series: u32, within: &RoaringBitmap) -> Option<bool> {
        match self.form {
            Form::Run { first } => Some(within.range_cardinality(first..first.checked_add(self.count)?) > 0),
            Form::Sparse { first, span, at } => {
                let (low, high) = sparse_bytes(self.count, span);
                let (low, high) = (slice(payloads, at, low)?, slice(payloads, at + low, high)?);
                let mut found = false;
                visit_sparse(self.count, first, span, low, high, |number| {
                    found = within.contains(number);
                    !found
                })?;
                Some(found)
            }
            Form::Runs { .. } | Form::Roaring { .. } | Form::Copy { .. } => {
                self.read(payloads, series).map(|read| !read.is_disjoint(within))
            }
        }
    }
}

fn slice(payloads: &[u8], at: u64, length: u64) -> Option<&[u8]> {
    let at = usize::try_from(at).ok()?;
    payloads.get(at..at.checked_add(usize::try_from(length).ok()?)?)
}

fn read_sparse(count: u32, first: u32, span: u32, low: &[u8], high: &[u8]) -> Option<RoaringBitmap> {
    let mut numbers = Vec::with_capacity(count as usize);
    visit_sparse(count, first, span, low, high, |number| {
        numbers.push(number);
        true
    })?;
    RoaringBitmap::from_sorted_iter(numbers).ok()
}

/// Calls `visit` with the numbers in their order, until it answers `false`.
fn visit_sparse(
    count: u32,
    first: u32,
    span: u32,
    low: &[u8],
    high: &[u8],
    mut visit: impl FnMut(u32) -> bool,
) -> Option<()> {
    let width = low_width(count, span);
    let low = Packed::over(low, count.into(), width)?;
    let mut row = 0;
    for (at, chunk) in high.chunks(8).enumerate() {
        let mut word = [0; 8];
        word[..chunk.len()].copy_from_slice(chunk);
        let mut word = u64::from_le_bytes(word);
        while word != 0 {
            let bit = at as u64 * 64 + u64::from(word.trailing_zeros());
            word &= word - 1;
            let above = u32::try_from(bit.checked_sub(row as u64)?).ok()?;
            if row >= count as usize || above > u32::MAX >> width {
                return None;
            }
            if !visit(first.checked_add(above << width | low.get(row))?) {
                return Some(());
            }
            row += 1;
        }
    }
    Some(())
}

fn read_runs(mut payload: &[u8], series: u32) -> Option<RoaringBitmap> {
    let (mut runs, mut at) = (RoaringBitmap::new(), 0u32);
    while !payload.is_empty() {
        let mut number = || take_uvarint(&mut payload).and_then(|n| u32::try_from(n).ok());
        let start = at.checked_add(number()?)?;
        at = start.checked_add(number()?)?.checked_add(1).filter(|end| *end <= series)?;
        runs.insert_range(start..at);
    }
    Some(runs)
}

/// Encodes postings, which ascend: `place` gets what stands with the label, `payloads` the rest, if any.
pub(super) fn push_list(numbers: &[u32], place: &mut Vec<u8>, payloads: &mut Vec<u8>) {
    let (Some(&first), Some(&last)) = (numbers.first(), numbers.last()) else { return };
    let head = (numbers.len() as u64) << 2;
    if (last - first) as usize + 1 == numbers.len() {
        push_uvarint(place, head);
        push_uvarint(place, first.into());
        return;
    }
    let (count, span) = (numbers.len() as u32, last - first);
    let (low, high) = sparse_bytes(count, span);
    let runs = runs_bytes(numbers, (low + high) as usize);
    let dense = count as u64 * 8 > u64::from(span);
    let roaring = dense.then(|| {
        let mut bitmap = RoaringBitmap::from_sorted_iter(numbers.iter().copied()).unwrap_or_default();
        bitmap.optimize();
        bitmap
    });
    let roaring = roaring.filter(|bitmap| bitmap.serialized_size() as u64 + 2 < low + high && runs.is_none());
    match (runs, roaring) {
        (Some(bytes), _) => {
            push_uvarint(place, head | 2);
            push_uvarint(place, (bytes.len() as u64) << 1 | 1);
            payloads.extend_from_slice(&bytes);
        }
        (None, Some(bitmap)) => {
            let mut bytes = Vec::new();
            // Writing into a vector does not fail.
            let _ = bitmap.serialize_into(&mut bytes);
            push_uvarint(place, head | 2);
            push_uvarint(place, (bytes.len() as u64) << 1);
            payloads.extend_from_slice(&bytes);
        }
        (None, None) => {
            push_uvarint(place, head | 1);
            push_uvarint(place, first.into());
            push_uvarint(place, span.into());
            push_sparse(numbers, first, span, payloads);
        }
    }
}

/// Refers to the postings of an earlier pair that are the same.
pub(super) fn push_copy(series: u32, pair: u32, place: &mut Vec<u8>) {
    push_uvarint(place, u64::from(series) << 2 | 3);
    push_uvarint(place, pair.into());
}

/// The runs, if they take less than `limit` bytes.
fn runs_bytes(numbers: &[u32], limit: usize) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    let mut end = 0u32;
    let mut rest = numbers;
    while let Some(&start) = rest.first() {
        let length = rest.iter().zip(start..).take_while(|(number, expected)| **number == *expected).count();
        push_uvarint(&mut out, (start - end).into());
        push_uvarint(&mut out, length as u64 - 1);
        if out.len() >= limit {
            return None;
        }
        end = start + length as u32;
        rest = &rest[length..];
    }
    Some(out)
}

fn push_sparse(numbers: &[u32], first: u32, span: u32, out: &mut Vec<u8>) {
    let width = low_width(numbers.len() as u32, span);
    let low = (1u32 << width) - 1;
    push_bits(out, width, numbers.iter().map(|number| (number - first) & low));
    let (_, high) = sparse_bytes(numbers.len() as u32, span);
    let start = out.len();
    out.resize(start + high as usize, 0);
    for (row, number) in numbers.iter().enumerate() {
        let bit = ((number - first) >> width) as usize + row;
        out[start + bit / 8] |= 1 << (bit % 8);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read_back(numbers: &[u32]) {
        let (mut place, mut payloads) = (Vec::new(), vec![0xaa; 3]);
        push_list(numbers, &mut place, &mut payloads);
        let (mut rest, mut at) = (&place[..], 3);
        let place = Place::take(&mut rest, &mut at).unwrap();
        assert!(rest.is_empty() && at == payloads.len() as u64);
        let series = numbers.last().unwrap() + 1;
        assert!(place.fits(series) && place.count as usize == numbers.len());
        let read = place.read(&payloads, series).unwrap();
        assert_eq!(read.iter().collect::<Vec<_>>(), numbers);
        for one in [numbers[0], numbers[numbers.len() / 2], series - 1] {
            assert_eq!(place.meets(&payloads, series, &RoaringBitmap::from_iter([one])), Some(true));
        }
        let others = numbers.iter().flat_map(|n| [n.saturating_sub(1), n + 1]).filter(|n| !read.contains(*n));
        let others = RoaringBitmap::from_iter(others);
        assert_eq!(place.meets(&payloads, series, &others), Some(false));
        assert!(place.read(&payloads, series - 1).is_none(), "a series beyond the last");
        if !payloads[3..].is_empty() {
            assert!(place.read(&payloads[..payloads.len() - 1], series).is_none(), "bytes that are missing");
        }
    }

    proptest! {
        #[test]
        fn every_list_reads_back(numbers in prop_oneof![
            proptest::collection::btree_set(any::<u32>().prop_map(|n| n >> 1), 1..200),
            proptest::collection::btree_set(0u32..300, 1..300),
            proptest::collection::btree_set(100_000u32..200_000, 1..5000),
            (0u32..70_000, 1u32..5000, 1u32..70).prop_map(|(first, count, step)| (0..count).map(|i| first + i / 7 * step + i % 7).collect()),
        ]) {
            read_back(&numbers.into_iter().collect::<Vec<_>>());
        }

        #[test]
        fn any_bytes_are_refused_or_in_range(place in proptest::collection::vec(any::<u8>(), 1..12), payloads in proptest::collection::vec(any::<u8>(), 0..60)) {
            let mut at = 0;
            if let Some(place) = Place::take(&mut &place[..], &mut at)
                && place.fits(100)
                && let Some(found) = place.read(&payloads, 100)
            {
                prop_assert!(found.max().unwrap() < 100);
                prop_assert_eq!(place.meets(&payloads, 100, &found), Some(true));
            }
        }
    }

    #[test]
    fn the_smallest_form_is_chosen() {
        let size = |numbers: &[u32]| {
            let (mut place, mut payloads) = (Vec::new(), Vec::new());
            push_list(numbers, &mut place, &mut payloads);
            place.len() + payloads.len()
        };
        assert_eq!(size(&(5000..9000).collect::<Vec<_>>()), 2 + 2, "a run");
        let sparse: Vec<u32> = (0..1000).map(|i| i * 500 + i % 37).collect();
        assert!(size(&sparse) < 1000 * 12 / 8, "sparse ones take about eleven bits each");
        let half: Vec<u32> = (0..60_000).filter(|i| i % 7 % 2 == 0 || i % 11 == 3).collect();
        assert!(size(&half) < 65_536 / 8 + 50, "dense ones a bit for each series: {}", size(&half));
        let runs: Vec<u32> = (0..100).flat_map(|i| i * 1000..i * 1000 + 300).collect();
        assert!(size(&runs) < 100 * 4 + 8, "long runs four bytes each");
    }
}
