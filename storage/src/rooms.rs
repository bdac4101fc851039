//! A long array of small things that come and go at its front and grow at its end.
//!
//! It lies in rooms of fixed size: growing moves nothing, and a room whose last thing has gone is given back.

/// Things per room.
const ROOM: usize = 512;

/// Things by number; the default stands for nothing.
#[derive(Debug)]
pub(crate) struct Rooms<T> {
    rooms: Vec<Option<Box<Room<T>>>>,
}

#[derive(Debug)]
struct Room<T> {
    used: u32,
    things: [T; ROOM],
}

impl<T> Default for Rooms<T> {
    fn default() -> Self {
        Rooms { rooms: Vec::new() }
    }
}

impl<T: Copy + Default + PartialEq> Rooms<T> {
    /// The thing at a number; the default where there is none.
    #[inline]
    pub(crate) fn get(&self, number: u32) -> T {
        match self.rooms.get(number as usize / ROOM) {
            Some(Some(room)) => room.things[number as usize % ROOM],
            _ => T::default(),
        }
    }

    /// Puts a thing; the default takes away what is there.
    pub(crate) fn set(&mut self, number: u32, thing: T) {
        let (at, place) = (number as usize / ROOM, number as usize % ROOM);
        if at >= self.rooms.len() {
            if thing == T::default() {
                return;
            }
            self.rooms.resize_with(at + 1, || None);
        }
        let slot = &mut self.rooms[at];
        let room = slot.get_or_insert_with(|| Box::new(Room { used: 0, things: [T::default(); ROOM] }));
        room.used += u32::from(thing != T::default());
        room.used -= u32::from(room.things[place] != T::default());
        room.things[place] = thing;
        if room.used == 0 {
            *slot = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn empty_rooms_are_given_back() {
        let mut rooms = Rooms::<u32>::default();
        for number in [0, 5, 511, 512, 100_000] {
            rooms.set(number, number + 1);
            assert_eq!(rooms.get(number), number + 1);
        }
        assert_eq!((rooms.get(1), rooms.get(99_999), rooms.get(u32::MAX)), (0, 0, 0));
        rooms.set(5, 7);
        rooms.set(u32::MAX, 0);
        for number in [0, 5, 511, 512, 100_000, 4] {
            rooms.set(number, 0);
        }
        assert!(rooms.rooms.iter().all(Option::is_none));
    }
}
