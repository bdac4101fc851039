//! Room for recursion: a chain of thousands of operators is planned and evaluated level by level.

use marigram_storage::turns;

use crate::error::QueryError;

/// Levels that fit on any thread's stack.
const SHALLOW: usize = 256;
/// Stack for what is not counted in levels, bytes.
const BASE_BYTES: usize = 2 << 20;
/// Stack of a level, bytes; a release build takes much less. Only what is touched costs memory.
const LEVEL_BYTES: usize = 24 << 10;

/// Runs `work`, which recurses as deep as `depth` levels, on a thread with enough stack for it, and with this thread's turn.
///
/// # Errors
/// The system gives no thread.
pub(crate) fn with_room<T: Send>(depth: usize, work: impl FnOnce() -> T + Send) -> Result<T, QueryError> {
    if depth <= SHALLOW {
        return Ok(work());
    }
    let stack_bytes = BASE_BYTES.saturating_add(depth.saturating_mul(LEVEL_BYTES));
    let mut turn = turns::carry();
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("deep-query".into()).stack_size(stack_bytes);
        let running = thread
            .spawn_scoped(scope, || turn.during(work))
            .map_err(|error| QueryError::internal(format!("no thread for a query of {depth} levels: {error}")))?;
        running.join().map_err(|panic| std::panic::resume_unwind(panic))
    })
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    use marigram_storage::env::{Clock, ManualClock};
    use marigram_storage::turns::Turns;

    use super::*;

    #[test]
    fn a_deep_query_lets_others_have_their_turn() {
        let clock = Arc::new(ManualClock::default());
        let turns = Turns::new(1, Arc::clone(&clock) as Arc<dyn Clock>);
        let had_turn = AtomicBool::new(false);
        let turn = turns.take();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let _turn = turns.take();
                had_turn.store(true, Ordering::Relaxed);
            });
            with_room(SHALLOW + 1, || {
                // The other one has come to wait, or comes now.
                while !had_turn.load(Ordering::Relaxed) {
                    clock.set(clock.now_ms() + 1000);
                    turns::let_others();
                    std::thread::yield_now();
                }
            })
            .unwrap();
        });
        let panic = catch_unwind(AssertUnwindSafe(|| with_room(SHALLOW + 1, || panic!("too deep"))));
        assert!(panic.is_err());
        drop(turn);
        // It was given back: another thread may have it.
        std::thread::scope(|scope| scope.spawn(|| drop(turns.take())).join().unwrap());
    }
}
