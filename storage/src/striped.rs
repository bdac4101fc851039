//! A hash table of numbers whose keys lie elsewhere, in stripes: when one grows, only its share is hashed again, so no single
//! insert takes long.

use hashbrown::HashTable;

/// Stripes.
const STRIPES: usize = 64;

/// Numbers by the hash of what they stand for.
#[derive(Debug)]
pub(crate) struct Striped {
    stripes: [HashTable<u32>; STRIPES],
}

impl Default for Striped {
    fn default() -> Self {
        Striped { stripes: std::array::from_fn(|_| HashTable::new()) }
    }
}

impl Striped {
    /// Which stripe: by bits that the tables themselves use least.
    #[inline]
    fn stripe(hash: u64) -> usize {
        (hash >> 48) as usize % STRIPES
    }

    /// The number with this hash that `is` the one.
    #[inline]
    pub(crate) fn find(&self, hash: u64, mut is: impl FnMut(u32) -> bool) -> Option<u32> {
        self.stripes[Self::stripe(hash)].find(hash, |number| is(*number)).copied()
    }

    /// Adds a number that is not there.
    pub(crate) fn insert(&mut self, hash: u64, number: u32, hash_of: impl Fn(u32) -> u64) {
        self.stripes[Self::stripe(hash)].insert_unique(hash, number, |number| hash_of(*number));
    }

    /// Removes a number.
    pub(crate) fn remove(&mut self, hash: u64, number: u32) {
        if let Ok(entry) = self.stripes[Self::stripe(hash)].find_entry(hash, |other| *other == number) {
            entry.remove();
        }
    }

    /// Gives back what large tables no longer need.
    pub(crate) fn shrink(&mut self, hash_of: impl Fn(u32) -> u64) {
        for table in &mut self.stripes {
            if table.capacity() > 64 && table.len() < table.capacity() / 4 {
                table.shrink_to(table.len() * 2, |number| hash_of(*number));
            }
        }
    }
}
