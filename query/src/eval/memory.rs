//! The sample limit of a query: samples held at once, counted by the columns that hold them.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use marigram_storage::context::Tally;

use crate::error::QueryError;

/// How many samples a query holds, and may hold.
#[derive(Clone, Debug)]
pub(crate) struct SampleLimit {
    tally: Arc<Tally>,
    max: usize,
}

/// A share of the limit, given back on drop.
#[derive(Debug)]
pub(crate) struct Held {
    limit: SampleLimit,
    samples: usize,
}

impl SampleLimit {
    #[cfg(test)]
    pub(crate) fn new(max: usize) -> Self {
        SampleLimit::counted(max, Arc::default())
    }

    /// A limit whose samples are counted in a tally that others see.
    pub(crate) fn counted(max: usize, tally: Arc<Tally>) -> Self {
        SampleLimit { tally, max }
    }

    /// How many samples it may hold.
    pub(crate) fn max(&self) -> usize {
        self.max
    }

    /// Counts `samples` until the share is dropped.
    pub(crate) fn hold(&self, samples: usize) -> Result<Held, QueryError> {
        let mut held = Held { limit: self.clone(), samples: 0 };
        held.hold_more(samples)?;
        Ok(held)
    }

    /// Counts `samples` more in an existing share.
    pub(crate) fn hold_more(&self, held: &mut Held, samples: usize) -> Result<(), QueryError> {
        debug_assert!(Arc::ptr_eq(&self.tally, &held.limit.tally));
        held.hold_more(samples)
    }
}

impl Held {
    /// Counts `samples` more in this share.
    pub(crate) fn hold_more(&mut self, samples: usize) -> Result<(), QueryError> {
        let tally = &self.limit.tally;
        let before = tally.samples_held.fetch_add(samples as u64, Ordering::Relaxed);
        self.samples += samples;
        let now = before.saturating_add(samples as u64);
        if now > self.limit.max as u64 {
            return Err(QueryError::too_many_samples());
        }
        tally.samples_peak.fetch_max(now, Ordering::Relaxed);
        Ok(())
    }

    /// Counts the samples of this share against another limit instead.
    pub(crate) fn move_to(&mut self, limit: &SampleLimit) -> Result<(), QueryError> {
        *self = limit.hold(self.samples)?;
        Ok(())
    }

    /// Gives `samples` of this share back.
    pub(crate) fn release(&mut self, samples: usize) {
        let samples = samples.min(self.samples);
        self.samples -= samples;
        self.limit.tally.samples_held.fetch_sub(samples as u64, Ordering::Relaxed);
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.limit.tally.samples_held.fetch_sub(self.samples as u64, Ordering::Relaxed);
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
