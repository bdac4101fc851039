//! Columns of timestamps that chunks share, decoded: series come in the order of their ids, so that a column is wanted again
//! and again with others between.

use bytes::Bytes;
use hashbrown::HashMap;

use crate::chunk;
use crate::error::Result;

/// Timestamps that are kept: 1 MiB of them. When there would be more, all are forgotten.
const TIMES_MAX: usize = 128 << 10;

/// Columns that were wanted lately, by where their encoded bytes lie. These are held, so that no others can come to lie there.
#[derive(Default)]
pub(super) struct SharedTimes {
    columns: HashMap<(usize, usize), (Bytes, Vec<i64>)>,
    times: usize,
}

impl SharedTimes {
    /// What a column decodes to.
    pub(super) fn get(&mut self, column: &Bytes) -> Result<&[i64]> {
        let key = (column.as_ptr() as usize, column.len());
        if !self.columns.contains_key(&key) {
            let mut times = Vec::new();
            chunk::decode_times(column, &mut times)?;
            if self.times + times.len() > TIMES_MAX {
                self.columns.clear();
                self.times = 0;
            }
            self.times += times.len();
            self.columns.insert(key, (column.clone(), times));
        }
        Ok(self.columns.get(&key).map(|(_, times)| &times[..]).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn column(times: &[i64]) -> Bytes {
        let mut bytes = Vec::new();
        chunk::encode_times(times, &mut bytes);
        bytes.into()
    }

    #[test]
    fn columns_come_back_and_memory_has_a_bound() {
        let lists: Vec<Vec<i64>> = (1..60).map(|step| (0..5000).map(|i| i * step).collect()).collect();
        let columns: Vec<Bytes> = lists.iter().map(|times| column(times)).collect();
        let mut shared = SharedTimes::default();
        for _ in 0..2 {
            for (bytes, times) in columns.iter().zip(&lists) {
                assert_eq!(shared.get(bytes).unwrap(), times);
                assert_eq!(shared.get(bytes).unwrap().as_ptr(), shared.get(&bytes.clone()).unwrap().as_ptr());
                let held: usize = shared.columns.values().map(|(_, times)| times.len()).sum();
                assert!(held == shared.times && held <= TIMES_MAX);
            }
        }
        assert!(shared.columns.len() > 1);
        assert!(shared.get(&Bytes::from_static(&[9])).is_err());
    }
}
