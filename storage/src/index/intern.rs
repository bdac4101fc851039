//! Numbers for byte strings in the order in which they first come, found by hash; the bytes lie in one piece.

use std::hash::BuildHasher;

use hashbrown::HashTable;

/// The strings so far.
#[derive(Default)]
pub(super) struct Interner {
    hasher: foldhash::fast::RandomState,
    table: HashTable<u32>,
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Interner {
    /// The number of a string; `None` if there are too many.
    pub(super) fn number(&mut self, string: &[u8]) -> Option<u32> {
        let Interner { hasher, table, bytes, ends } = self;
        let hash = hasher.hash_one(string);
        if let Some(number) = table.find(hash, |number| at(bytes, ends, *number) == string) {
            return Some(*number);
        }
        let number = u32::try_from(ends.len()).ok().filter(|number| *number < u32::MAX)?;
        bytes.extend_from_slice(string);
        ends.push(bytes.len());
        table.insert_unique(hash, number, |number| hasher.hash_one(at(bytes, ends, *number)));
        Some(number)
    }

    /// How many there are.
    pub(super) fn len(&self) -> u32 {
        self.ends.len() as u32
    }

    /// The string with a number.
    pub(super) fn get(&self, number: u32) -> &[u8] {
        at(&self.bytes, &self.ends, number)
    }
}

fn at<'a>(bytes: &'a [u8], ends: &[usize], number: u32) -> &'a [u8] {
    let number = number as usize;
    let start = number.checked_sub(1).map_or(0, |before| ends[before]);
    &bytes[start..ends[number]]
}
