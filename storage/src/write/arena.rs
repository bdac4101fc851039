//! The bytes behind a batch, and a pool that keeps a few of them for the next ones.
//!
//! 1. A buffer of half a megabyte comes from the system page by page, each zeroed in the kernel at its first touch, and goes
//!    back when it is freed: a tenth of what an ordinary request costs. So a request takes its buffer from the pool.
//! 2. When the [`Arena`] is dropped, wherever that happens, its buffer goes back to the pool it came from, unless it is larger
//!    than is kept, or enough are kept already. What a pool holds is therefore bounded, and a large request's memory is the
//!    system's again.
//! 3. A buffer keeps its old bytes, since zeroing it would cost almost as much; whoever takes one overwrites them.

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use parking_lot::Mutex;

/// Smallest buffer that is kept: smaller ones lie in the allocator's heaps, which do better, and a small request is not to hold a
/// large buffer.
const KEPT_BYTES_MIN: usize = 128 << 10;
/// Largest buffer that is kept: twice what Prometheus' default request of 2,000 samples decompresses to.
const KEPT_BYTES_MAX: usize = 1 << 20;
/// Most buffers that are kept: more requests than this rarely are between socket and log at once.
const KEPT_MAX: usize = 16;

/// Buffers that wait for their next use; at most 16 MiB.
#[derive(Default)]
pub struct ArenaPool {
    kept: Mutex<Vec<Vec<u8>>>,
}

impl fmt::Debug for ArenaPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ArenaPool").field("kept", &self.kept.lock().len()).finish()
    }
}

impl ArenaPool {
    /// An arena of `bytes` bytes whose content is arbitrary: what an earlier one held, or zero.
    pub fn take(self: &Arc<Self>, bytes: usize) -> Arena {
        let buffer = match (KEPT_BYTES_MIN..=KEPT_BYTES_MAX).contains(&bytes) {
            true => self.kept.lock().pop(),
            false => None,
        };
        let bytes = match buffer {
            Some(mut buffer) => {
                if buffer.capacity() < bytes {
                    // The old bytes need not be copied into the larger buffer.
                    buffer.clear();
                }
                buffer.resize(bytes, 0);
                buffer
            }
            None => vec![0; bytes],
        };
        Arena { bytes, pool: Some(Arc::clone(self)) }
    }

    fn put(&self, buffer: Vec<u8>) {
        if !(KEPT_BYTES_MIN..=KEPT_BYTES_MAX).contains(&buffer.capacity()) {
            return;
        }
        let mut kept = self.kept.lock();
        if kept.len() < KEPT_MAX {
            kept.push(buffer);
        }
    }
}

/// The label bytes of a [`WriteBatch`](super::WriteBatch), among other bytes: a `Vec` that may belong to a pool.
#[derive(Default)]
pub struct Arena {
    bytes: Vec<u8>,
    pool: Option<Arc<ArenaPool>>,
}

impl Drop for Arena {
    fn drop(&mut self) {
        if let Some(pool) = self.pool.take() {
            pool.put(std::mem::take(&mut self.bytes));
        }
    }
}

impl From<Vec<u8>> for Arena {
    fn from(bytes: Vec<u8>) -> Self {
        Arena { bytes, pool: None }
    }
}

/// A copy belongs to no pool.
impl Clone for Arena {
    fn clone(&self) -> Self {
        Arena::from(self.bytes.clone())
    }
}

impl fmt::Debug for Arena {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.bytes, f)
    }
}

impl Deref for Arena {
    type Target = Vec<u8>;

    fn deref(&self) -> &Vec<u8> {
        &self.bytes
    }
}

impl DerefMut for Arena {
    fn deref_mut(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_is_used_again_and_has_the_length_that_was_asked_for() {
        let pool = Arc::new(ArenaPool::default());
        let mut first = pool.take(2 * KEPT_BYTES_MIN);
        first.fill(7);
        let place = first.as_ptr();
        drop(first);
        let again = pool.take(KEPT_BYTES_MIN);
        assert_eq!((again.len(), again.as_ptr()), (KEPT_BYTES_MIN, place));
        drop(again);
        for bytes in [10, KEPT_BYTES_MIN + 1, 2 * KEPT_BYTES_MIN, 5 * KEPT_BYTES_MIN] {
            assert_eq!(pool.take(bytes).len(), bytes);
        }
    }

    #[test]
    fn what_is_kept_is_bounded_in_number_and_size() {
        let pool = Arc::new(ArenaPool::default());
        drop(pool.take(KEPT_BYTES_MAX + 1));
        drop(pool.take(KEPT_BYTES_MIN - 1));
        assert_eq!(pool.kept.lock().len(), 0);
        let mut grown = pool.take(KEPT_BYTES_MAX);
        grown.push(0);
        drop(grown);
        assert_eq!(pool.kept.lock().len(), 0);
        let many: Vec<Arena> = (0..3 * KEPT_MAX).map(|_| pool.take(KEPT_BYTES_MIN)).collect();
        drop(many);
        assert_eq!(pool.kept.lock().len(), KEPT_MAX);
        drop(pool.take(KEPT_BYTES_MIN).clone());
        assert_eq!(pool.kept.lock().len(), KEPT_MAX);
    }
}
