//! Which blocks are too old: a pure choice, from the catalog's blocks and two clocks.
//!
//! 1. Age counts from the earlier of the machine's clock and the newest sample. A clock that jumped ahead alone makes
//!    nothing old, nor does a single sample from the future.
//! 2. A block is old when all of its samples are older than the retention.
//! 3. A clock that jumps ahead *while samples come in* carries the newest sample with it, a little later. So once the clock
//!    has jumped, a pass drops at most a tenth of the blocks (but may always drop one); more is refused and reported,
//!    until a restart says that the time is right.

use ulid::Ulid;

use crate::bucket::catalog::CatalogBlock;

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RetentionChoice {
    /// Nothing is too old.
    Keep,
    /// Drop these, in one commit.
    Drop(Vec<Ulid>),
    /// Too much would go at once; drop nothing and report.
    Refuse {
        /// For people.
        reason: String,
    },
}

/// Chooses what to drop. `retention_ms` of 0 keeps everything; `clock_jumped` says that the machine's clock was set while the
/// process ran.
pub fn plan_retention(blocks: &[CatalogBlock], now_ms: i64, retention_ms: i64, clock_jumped: bool) -> RetentionChoice {
    let newest_ms = blocks.iter().map(|block| block.range.end_ms).max();
    let Some(newest_ms) = newest_ms.filter(|_| retention_ms > 0) else {
        return RetentionChoice::Keep;
    };
    let horizon_ms = now_ms.min(newest_ms).saturating_sub(retention_ms);
    let old: Vec<Ulid> =
        blocks.iter().filter(|block| block.range.end_ms < horizon_ms).map(|block| block.ulid).collect();
    if old.is_empty() {
        return RetentionChoice::Keep;
    }
    if clock_jumped && old.len() > (blocks.len() / 10).max(1) {
        let (old, all) = (old.len(), blocks.len());
        let reason = format!(
            "the clock has jumped, and {old} of {all} blocks would be dropped at once; restart if the time is right"
        );
        return RetentionChoice::Refuse { reason };
    }
    RetentionChoice::Drop(old)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::time::{TimeRange, WINDOW_MS};
    use proptest::prelude::*;

    const DAY_MS: i64 = 24 * 3_600_000;

    /// Blocks of 2 h, back to back from the epoch on.
    fn blocks(count: u64) -> Vec<CatalogBlock> {
        (0..count)
            .map(|i| CatalogBlock {
                ulid: Ulid(u128::from(i)),
                range: TimeRange { start_ms: i as i64 * WINDOW_MS, end_ms: (i as i64 + 1) * WINDOW_MS - 1 },
                level: 1,
                series: 1,
                samples: 1,
                size_bytes: 1,
                sources: Vec::new(),
            })
            .collect()
    }

    fn ulids(range: std::ops::Range<u64>) -> RetentionChoice {
        RetentionChoice::Drop(range.map(|i| Ulid(u128::from(i))).collect())
    }

    #[test]
    fn blocks_go_when_their_last_sample_is_too_old() {
        let blocks = blocks(24);
        let now_ms = 24 * WINDOW_MS;
        let plan = |retention_ms| plan_retention(&blocks, now_ms, retention_ms, false);
        assert_eq!(plan(DAY_MS), ulids(0..11), "the block that the horizon cuts stays");
        assert_eq!(plan(2 * DAY_MS), RetentionChoice::Keep);
        assert_eq!(plan(0), RetentionChoice::Keep);
        assert_eq!(plan_retention(&[], now_ms, 1, false), RetentionChoice::Keep);
    }

    #[test]
    fn a_jumping_clock_alone_makes_nothing_old() {
        let blocks = blocks(24);
        let far_ms = 1000 * DAY_MS;
        assert_eq!(plan_retention(&blocks, far_ms, 2 * DAY_MS, true), RetentionChoice::Keep);
        let mut with_future = blocks.clone();
        with_future[23].range.end_ms = far_ms;
        let now_ms = 24 * WINDOW_MS;
        assert_eq!(plan_retention(&with_future, now_ms, 2 * DAY_MS, true), RetentionChoice::Keep);
    }

    #[test]
    fn after_a_jump_of_clock_and_samples_the_pass_stops() {
        let mut blocks = blocks(24);
        let far_ms = 1000 * DAY_MS;
        blocks[23].range.end_ms = far_ms;
        let choice = plan_retention(&blocks, far_ms, DAY_MS, true);
        let RetentionChoice::Refuse { reason } = choice else { panic!("{choice:?}") };
        assert!(reason.contains("23 of 24"), "{reason}");
        assert_eq!(plan_retention(&blocks, far_ms, DAY_MS, false), ulids(0..23), "somebody said so");
    }

    #[test]
    fn a_tenth_or_one_may_always_go() {
        let few = blocks(5);
        let now_ms = 5 * WINDOW_MS;
        assert_eq!(plan_retention(&few, now_ms, 4 * WINDOW_MS - 2, true), ulids(0..1));
        assert!(matches!(plan_retention(&few, now_ms, 3 * WINDOW_MS - 2, true), RetentionChoice::Refuse { .. }));
        let many = blocks(40);
        let now_ms = 40 * WINDOW_MS;
        assert_eq!(plan_retention(&many, now_ms, 36 * WINDOW_MS - 2, true), ulids(0..4));
        assert!(matches!(plan_retention(&many, now_ms, 35 * WINDOW_MS - 2, true), RetentionChoice::Refuse { .. }));
    }

    proptest! {
        #[test]
        fn what_is_dropped_is_old_by_both_clocks_and_never_the_newest(
            count in 0u64..50, now in any::<i64>(), near in -10i64..60, retention in 0i64..40, jumped: bool,
        ) {
            let blocks = blocks(count);
            for now_ms in [now, near * WINDOW_MS] {
                if let RetentionChoice::Drop(dropped) = plan_retention(&blocks, now_ms, retention * WINDOW_MS, jumped) {
                    prop_assert!(retention > 0 && !dropped.is_empty() && (dropped.len() as u64) < count);
                    for block in blocks.iter().filter(|b| dropped.contains(&b.ulid)) {
                        prop_assert!(block.range.end_ms < now_ms.saturating_sub(retention * WINDOW_MS));
                    }
                }
            }
        }
    }
}
