//! The series of one shard of a tenant in one partition, by their dense numbers.
//!
//! Series that were first met together, such as those of one target, have neighbouring numbers and are written together. A
//! table of pages keeps neighbours beside each other, where a hash map would scatter them: a known sample then mostly finds
//! its series in the cache.

use super::series::SeriesState;

/// Numbers per page: a lone series costs one page (1 KiB), and a billion forgotten ones 31 MiB of empty places.
pub(super) const PAGE: usize = 256;
/// Series that are allocated together: growing never copies what is there.
const ROOM: usize = 512;
/// No series.
const NONE: u32 = u32::MAX;

/// Series, by number.
#[derive(Debug, Default)]
pub(super) struct SeriesTable {
    /// Places in `rooms`, by page and place in the page.
    pages: Vec<Option<Box<[u32; PAGE]>>>,
    rooms: Vec<Vec<SeriesState>>,
    count: u32,
}

impl SeriesTable {
    /// The series at a place of a page, if it is here.
    pub(super) fn get(&self, page: usize, place: usize) -> Option<&SeriesState> {
        let at = *self.pages.get(page)?.as_ref()?.get(place)? as usize;
        // `NONE` lies beyond the end.
        self.rooms.get(at / ROOM)?.get(at % ROOM)
    }

    /// The series at a place of a page, made if it is not here, and whether it was made.
    #[inline]
    pub(super) fn get_or_insert(&mut self, page: usize, place: usize) -> (&mut SeriesState, bool) {
        if page >= self.pages.len() {
            self.pages.resize_with(page + 1, || None);
        }
        let places = self.pages[page].get_or_insert_with(|| Box::new([NONE; PAGE]));
        let at = &mut places[place % PAGE];
        let made = *at == NONE;
        if made {
            *at = self.count;
            self.count += 1;
            let room = *at as usize / ROOM;
            if room >= self.rooms.len() {
                self.rooms.push(Vec::with_capacity(ROOM));
            }
            self.rooms[room].push(SeriesState::default());
        }
        let at = *at as usize;
        (&mut self.rooms[at / ROOM][at % ROOM], made)
    }
}
