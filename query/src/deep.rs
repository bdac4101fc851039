//! Room for recursion: a chain of thousands of operators is planned and evaluated level by level.

use crate::error::QueryError;

/// Levels that fit on any thread's stack.
const SHALLOW: usize = 256;
/// Stack for what is not counted in levels, bytes.
const BASE_BYTES: usize = 2 << 20;
/// Stack of a level, bytes; a release build takes much less. Only what is touched costs memory.
const LEVEL_BYTES: usize = 24 << 10;

/// Runs `work`, which recurses as deep as `depth` levels, on a thread with enough stack for it.
///
/// # Errors
/// The system gives no thread.
pub(crate) fn with_room<T: Send>(depth: usize, work: impl FnOnce() -> T + Send) -> Result<T, QueryError> {
    if depth <= SHALLOW {
        return Ok(work());
    }
    let stack_bytes = BASE_BYTES.saturating_add(depth.saturating_mul(LEVEL_BYTES));
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("deep-query".into()).stack_size(stack_bytes);
        let running = thread
            .spawn_scoped(scope, work)
            .map_err(|error| QueryError::internal(format!("no thread for a query of {depth} levels: {error}")))?;
        running.join().map_err(|panic| std::panic::resume_unwind(panic))
    })
}
