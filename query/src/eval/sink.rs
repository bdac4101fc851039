//! Where series go that whoever evaluated them also works on further.
//!
//! A column that one thread writes and another one reads, and frees, moves from processor to processor, which takes about as long as
//! making it does. A thread that puts its series into the sink itself keeps them where they are.

use super::SeriesColumn;

/// Takes series, one after the other, on whichever thread has the next one.
pub(crate) trait Sink: Send + Sync {
    /// Takes a series, or gives it back, and has not changed then: the query's own thread works on it, which meets the same obstacle
    /// where it can be told.
    fn put(&self, series: SeriesColumn) -> Result<(), SeriesColumn>;
}
