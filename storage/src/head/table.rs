//! The series of one tenant in one partition, by their dense numbers.
//!
//! Series that were first met together, such as those of one target, have neighbouring numbers and are written together. A
//! table of pages keeps neighbours beside each other, where a hash map would scatter them: a known sample then mostly finds
//! its series in the cache.

use super::series::SeriesChunks;

/// Numbers per page: a lone series costs one page (1 KiB), and a billion forgotten ones 31 MiB of empty places.
const PAGE: usize = 256;
/// No series.
const NONE: u32 = u32::MAX;

/// Chunks of series.
#[derive(Debug, Default)]
pub(super) struct SeriesTable {
    /// Places in `series`, by dense number.
    pages: Vec<Option<Box<[u32; PAGE]>>>,
    series: Vec<SeriesChunks>,
}

impl SeriesTable {
    /// The chunks of a series, if it is here.
    pub(super) fn get(&self, dense: u32) -> Option<&SeriesChunks> {
        let page = self.pages.get(dense as usize / PAGE)?.as_ref()?;
        // `NONE` lies beyond the end.
        self.series.get(page[dense as usize % PAGE] as usize)
    }

    /// The chunks of a series, made if it is not here; then `made` is called.
    #[inline]
    pub(super) fn get_or_insert(&mut self, dense: u32, made: impl FnOnce()) -> &mut SeriesChunks {
        let number = dense as usize / PAGE;
        if number >= self.pages.len() {
            self.pages.resize_with(number + 1, || None);
        }
        let page = self.pages[number].get_or_insert_with(|| Box::new([NONE; PAGE]));
        let place = &mut page[dense as usize % PAGE];
        if *place == NONE {
            *place = self.series.len() as u32;
            self.series.push(SeriesChunks::default());
            made();
        }
        &mut self.series[*place as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::sample::Sample;
    use crate::model::time::TimeRange;

    #[test]
    fn every_number_has_its_own_chunks() {
        let mut table = SeriesTable::default();
        let numbers = [0, 1, 255, 256, 100_000, 10_000_000, 257];
        let mut made = 0;
        for _ in 0..2 {
            for number in numbers {
                let sample = Sample { timestamp_ms: i64::from(number), value: 1.0 };
                table.get_or_insert(number, || made += 1).push(sample);
            }
        }
        assert_eq!(made, numbers.len());
        for number in numbers {
            let chunks = table.get(number).unwrap().chunks(TimeRange::ALL);
            assert_eq!((chunks.len(), chunks[0].min_ms, chunks[0].max_ms), (1, i64::from(number), i64::from(number)));
        }
        assert!([2, 254, 258, 99_999, 3_000_000].iter().all(|number| table.get(*number).is_none()));
    }
}
