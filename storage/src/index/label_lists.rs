//! The labels of series as lists of numbers, one behind the other: four bytes a label.

use crate::rooms::Rooms;

/// Numbers per page; no list is longer.
const PAGE: usize = 1 << 15;

/// Lists by series.
#[derive(Debug, Default)]
pub(super) struct LabelLists {
    /// Place of each list, plus 1.
    starts: Rooms<u32>,
    /// Length, then the numbers.
    pages: Vec<Vec<u32>>,
    /// Numbers of lists that have gone.
    garbage: usize,
    held: usize,
}

impl LabelLists {
    /// The list of a series.
    #[inline]
    pub(super) fn get(&self, series: u32) -> Option<&[u32]> {
        let start = self.starts.get(series).checked_sub(1)? as usize;
        let (length, rest) = self.pages.get(start / PAGE)?.get(start % PAGE..)?.split_first()?;
        rest.get(..*length as usize)
    }

    /// Adds the list of a series that has none; `false` if it is too long, or there is no room for another.
    pub(super) fn push(&mut self, series: u32, list: &[u32]) -> bool {
        if list.len() >= PAGE || self.pages.len() >= u32::MAX as usize / PAGE {
            return false;
        }
        if self.pages.last().is_none_or(|page| page.len() + list.len() + 1 > PAGE) {
            self.pages.push(Vec::with_capacity(PAGE));
        }
        let at = (self.pages.len() - 1) * PAGE;
        let Some(page) = self.pages.last_mut() else { return false };
        self.starts.set(series, (at + page.len() + 1) as u32);
        page.push(list.len() as u32);
        page.extend_from_slice(list);
        self.held += list.len() + 1;
        true
    }

    /// Forgets the list of a series.
    pub(super) fn remove(&mut self, series: u32) {
        if let Some(list) = self.get(series) {
            self.garbage += list.len() + 1;
            self.starts.set(series, 0);
        }
    }

    /// Packs the lists of `live`, which are all that are left, if much is garbage.
    pub(super) fn pack(&mut self, live: impl Iterator<Item = u32>) {
        if self.garbage < 2 * PAGE || self.garbage * 2 < self.held {
            return;
        }
        let mut packed = LabelLists::default();
        for series in live {
            if let Some(list) = self.get(series) {
                packed.push(series, list);
            }
        }
        *self = packed;
    }

    /// Bytes that it takes, about.
    pub(super) fn memory_bytes(&self) -> usize {
        (self.held - self.garbage) * 4
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_stay_whole_while_others_go() {
        let mut lists = LabelLists::default();
        let list = |series: u32| (0..series % 40).map(|i| series + i).collect::<Vec<_>>();
        for series in 0..20_000 {
            assert!(lists.push(series, &list(series)));
        }
        for series in (0..20_000).filter(|series| series % 5 != 0) {
            lists.remove(series);
        }
        let pages = lists.pages.len();
        lists.pack((0..20_000).step_by(5));
        assert!(lists.pages.len() < pages / 3);
        for series in 0..20_001 {
            let expected = (series % 5 == 0 && series < 20_000).then(|| list(series));
            assert_eq!(lists.get(series).map(<[u32]>::to_vec), expected);
        }
        assert!(!lists.push(20_001, &vec![0; PAGE]));
    }
}
