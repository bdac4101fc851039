//! What a query holds: samples, counted by the columns that hold them, and the bytes of what it keeps besides.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use marigram_storage::context::{Context, Reservation, Tally};
use marigram_storage::model::labels::Labels;
use parking_lot::Mutex;

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
        if !Arc::ptr_eq(&self.limit.tally, &limit.tally) {
            *self = limit.hold(self.samples)?;
        }
        Ok(())
    }

    /// Gives `samples` of this share back.
    pub(crate) fn release(&mut self, samples: usize) {
        let samples = samples.min(self.samples);
        self.samples -= samples;
        self.limit.tally.samples_held.fetch_sub(samples as u64, Ordering::Relaxed);
    }
}

/// Memory that a query keeps to its end besides samples: labels of results, of groups, of what is hashed. Clones are the same.
#[derive(Clone, Debug)]
pub(crate) struct Kept {
    context: Context,
    reserved: Arc<Mutex<Reserved>>,
}

#[derive(Debug, Default)]
struct Reserved {
    portions: Vec<Reservation>,
    left_bytes: u64,
}

impl Kept {
    /// Out of this budget; nothing yet.
    pub(crate) fn new(context: Context) -> Self {
        Kept { context, reserved: Arc::default() }
    }

    /// Counts bytes against the query's memory budget.
    pub(crate) fn keep_bytes(&self, bytes: usize) -> Result<(), QueryError> {
        /// Taken from the budget at a time, so that most calls cost a subtraction.
        const PORTION_BYTES: u64 = 64 << 10;
        let bytes = bytes as u64;
        let mut reserved = self.reserved.lock();
        if reserved.left_bytes < bytes {
            let portion = bytes.max(PORTION_BYTES);
            reserved.portions.push(self.context.reserve(portion)?);
            reserved.left_bytes += portion;
        }
        reserved.left_bytes -= bytes;
        Ok(())
    }

    /// Counts labels.
    pub(crate) fn keep_labels(&self, labels: &Labels) -> Result<(), QueryError> {
        /// About what a label set costs besides its bytes, in an `Arc` and in a slot of a map.
        const OVERHEAD_BYTES: usize = 64;
        self.keep_bytes(labels.as_bytes().len() + OVERHEAD_BYTES)
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
