//! Start timestamps: since when a sample counts.
//!
//! A counter's start timestamp is the moment at which it was zero. Few senders tell it, so start timestamps do not lie in samples but
//! beside them, by the samples' times. They are joined by these times: the later one is kept, whichever sample it came with.

/// The start timestamp of the sample at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct StartTime {
    /// The sample's own time, milliseconds since the Unix epoch.
    pub timestamp_ms: i64,
    /// Since when it counts, milliseconds since the Unix epoch. Zero would be unknown, and is not kept.
    pub start_ms: i64,
}

/// Joins start timestamps in place: sorts them by the samples' times and keeps the latest of each.
pub(crate) fn join_starts(starts: &mut Vec<StartTime>) {
    if starts.is_sorted_by(|a, b| a.timestamp_ms < b.timestamp_ms) {
        return;
    }
    starts.sort_unstable_by(|a, b| a.timestamp_ms.cmp(&b.timestamp_ms).then(b.start_ms.cmp(&a.start_ms)));
    starts.dedup_by_key(|start| start.timestamp_ms);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn starts() -> impl Strategy<Value = Vec<StartTime>> {
        let start = (0i64..8, -3i64..3).prop_map(|(timestamp_ms, start_ms)| StartTime { timestamp_ms, start_ms });
        proptest::collection::vec(start, 0..12)
    }

    fn join(parts: &[&[StartTime]]) -> Vec<StartTime> {
        let mut all = parts.concat();
        join_starts(&mut all);
        all
    }

    proptest! {
        #[test]
        fn the_join_is_commutative_associative_idempotent(a in starts(), b in starts(), c in starts()) {
            prop_assert_eq!(join(&[&a, &b]), join(&[&b, &a]));
            prop_assert_eq!(join(&[&join(&[&a, &b]), &c]), join(&[&a, &join(&[&b, &c])]));
            prop_assert_eq!(join(&[&a, &a]), join(&[&a]));
            let joined = join(&[&a]);
            prop_assert!(joined.is_sorted_by(|a, b| a.timestamp_ms < b.timestamp_ms));
            let latest = |kept: &StartTime| {
                let same = a.iter().filter(|start| start.timestamp_ms == kept.timestamp_ms);
                same.map(|start| start.start_ms).max() == Some(kept.start_ms)
            };
            prop_assert!(joined.iter().all(latest));
        }
    }
}
