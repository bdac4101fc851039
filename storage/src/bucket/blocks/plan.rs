//! Which ranges to ask for: pure functions over page numbers.

use std::ops::Range;

use super::cache::PAGE_BYTES;

/// So many pages between two wanted ones are fetched along, since that is cheaper than one more request.
const GAP_PAGES_MAX: u32 = 4;
/// No range is longer: several are fetched at the same time.
const RANGE_PAGES_MAX: u32 = 64;

/// The pages that `offset..offset + length` touches.
pub(super) fn pages(offset: u64, length: u64) -> Range<u32> {
    let page = |at: u64| u32::try_from(at / PAGE_BYTES).unwrap_or(u32::MAX);
    page(offset)..page(offset.saturating_add(length.max(1)) - 1).saturating_add(1)
}

/// Few ranges of pages that cover all `wanted`, which ascend.
pub(super) fn coalesce(wanted: impl IntoIterator<Item = u32>) -> Vec<Range<u32>> {
    let mut ranges: Vec<Range<u32>> = Vec::new();
    for page in wanted {
        match ranges.last_mut() {
            Some(last) if page - last.end <= GAP_PAGES_MAX && page - last.start < RANGE_PAGES_MAX => {
                last.end = page + 1
            }
            _ => ranges.push(page..page + 1),
        }
    }
    ranges
}

/// A range of pages as bytes of a file of so many bytes.
pub(super) fn bytes_of(pages: &Range<u32>, file_bytes: u64) -> Range<u64> {
    let at = |page: u32| (u64::from(page) * PAGE_BYTES).min(file_bytes);
    at(pages.start)..at(pages.end)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn chunks_lie_in_pages() {
        assert_eq!(pages(0, 1), 0..1);
        assert_eq!(pages(PAGE_BYTES - 1, 1), 0..1);
        assert_eq!(pages(PAGE_BYTES - 1, 2), 0..2);
        assert_eq!(pages(3 * PAGE_BYTES, PAGE_BYTES), 3..4);
        assert_eq!(bytes_of(&(1..3), 2 * PAGE_BYTES + 5), PAGE_BYTES..2 * PAGE_BYTES + 5);
    }

    #[test]
    fn neighbours_are_fetched_in_one() {
        let ranges = |wanted: &[u32]| -> Vec<(u32, u32)> {
            coalesce(wanted.iter().copied()).into_iter().map(|range| (range.start, range.end)).collect()
        };
        assert_eq!(ranges(&[0, 1, 2, 3]), [(0, 4)]);
        assert_eq!(ranges(&[0, 5, 11]), [(0, 6), (11, 12)], "four pages between are fetched along, five are not");
        assert_eq!(ranges(&(0..130).collect::<Vec<_>>()), [(0, 64), (64, 128), (128, 130)]);
        assert!(ranges(&[]).is_empty());
    }

    proptest! {
        #[test]
        fn all_that_is_wanted_is_covered_once(wanted in proptest::collection::btree_set(0u32..2000, 0..300)) {
            let ranges = coalesce(wanted.iter().copied());
            for page in &wanted {
                prop_assert_eq!(ranges.iter().filter(|range| range.contains(page)).count(), 1);
            }
            for range in &ranges {
                prop_assert!(wanted.contains(&range.start) && wanted.contains(&(range.end - 1)));
                prop_assert!(range.end - range.start <= RANGE_PAGES_MAX);
            }
        }
    }
}
