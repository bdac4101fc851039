//! The sample limit of a query: samples held at once, counted by the columns that hold them.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::error::QueryError;

/// How many samples a query holds, and may hold.
#[derive(Clone, Debug)]
pub(crate) struct SampleLimit {
    held: Arc<AtomicUsize>,
    max: usize,
}

/// A share of the limit, given back on drop.
#[derive(Debug)]
pub(crate) struct Held {
    held: Arc<AtomicUsize>,
    samples: usize,
}

impl SampleLimit {
    pub(crate) fn new(max: usize) -> Self {
        SampleLimit { held: Arc::new(AtomicUsize::new(0)), max }
    }

    /// Counts `samples` until the share is dropped.
    pub(crate) fn hold(&self, samples: usize) -> Result<Held, QueryError> {
        let mut held = Held { held: Arc::clone(&self.held), samples: 0 };
        self.hold_more(&mut held, samples)?;
        Ok(held)
    }

    /// Counts `samples` more in an existing share.
    pub(crate) fn hold_more(&self, held: &mut Held, samples: usize) -> Result<(), QueryError> {
        let before = self.held.fetch_add(samples, Ordering::Relaxed);
        held.samples += samples;
        if before.saturating_add(samples) > self.max {
            return Err(QueryError::too_many_samples());
        }
        Ok(())
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.held.fetch_sub(self.samples, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_come_back() {
        let limit = SampleLimit::new(10);
        let mut a = limit.hold(6).unwrap();
        assert!(limit.hold(5).is_err());
        limit.hold_more(&mut a, 4).unwrap();
        assert!(limit.hold(1).is_err());
        drop(a);
        assert!(limit.hold(10).is_ok());
    }
}
