//! Where series go that whoever evaluated them also works on further.
//!
//! A column that one thread writes and another one reads moves from processor to processor, which takes about as long as making it
//! does. A thread that puts its series into the sink itself keeps them where they are. And whoever made a series frees it.

use super::SeriesColumn;

/// Takes series, one after the other, on whichever thread has the next one.
pub(crate) trait Sink: Send + Sync {
    /// Takes what it needs of a series; `false`: it has not changed, and the query's own thread works on the series, which meets the same
    /// obstacle where it can be told.
    #[must_use]
    fn put(&self, series: &SeriesColumn) -> bool;
}
