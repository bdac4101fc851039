//! Time: `i64` milliseconds since the Unix epoch, ranges of it, and the 2 h windows aligned to UTC.

/// Length of a head window and of a sealed block.
pub const WINDOW_MS: i64 = 2 * 3_600_000;
/// How long after its end a window stays open for ordinary writes.
pub const WINDOW_GRACE_MS: i64 = 15 * 60_000;

/// A range of timestamps, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeRange {
    /// First millisecond.
    pub start_ms: i64,
    /// Last millisecond.
    pub end_ms: i64,
}

/// No timestamp.
impl Default for TimeRange {
    fn default() -> Self {
        TimeRange::EMPTY
    }
}

impl TimeRange {
    /// Every timestamp there is.
    pub const ALL: TimeRange = TimeRange { start_ms: i64::MIN, end_ms: i64::MAX };
    /// No timestamp; the neutral element of [`TimeRange::including`].
    pub const EMPTY: TimeRange = TimeRange { start_ms: i64::MAX, end_ms: i64::MIN };

    /// Whether the two ranges share a millisecond.
    pub fn overlaps(&self, other: TimeRange) -> bool {
        self.start_ms <= other.end_ms && other.start_ms <= self.end_ms
    }

    /// Whether `timestamp_ms` lies in the range.
    pub fn contains(&self, timestamp_ms: i64) -> bool {
        self.start_ms <= timestamp_ms && timestamp_ms <= self.end_ms
    }

    /// The smallest range that also holds `timestamp_ms`.
    #[must_use]
    pub fn including(self, timestamp_ms: i64) -> TimeRange {
        TimeRange { start_ms: self.start_ms.min(timestamp_ms), end_ms: self.end_ms.max(timestamp_ms) }
    }

    /// The smallest range that holds both.
    #[must_use]
    pub fn union(self, other: TimeRange) -> TimeRange {
        TimeRange { start_ms: self.start_ms.min(other.start_ms), end_ms: self.end_ms.max(other.end_ms) }
    }

    /// Whether the range holds no timestamp.
    pub fn is_empty(&self) -> bool {
        self.start_ms > self.end_ms
    }
}

/// Start of the 2 h window that holds `timestamp_ms`; saturates at the ends of time.
pub fn window_start(timestamp_ms: i64) -> i64 {
    timestamp_ms.saturating_sub(timestamp_ms.rem_euclid(WINDOW_MS))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_are_aligned_before_and_after_the_epoch() {
        assert_eq!(window_start(0), 0);
        assert_eq!(window_start(WINDOW_MS - 1), 0);
        assert_eq!(window_start(-1), -WINDOW_MS);
        assert_eq!(window_start(i64::MIN), i64::MIN);
    }
}
