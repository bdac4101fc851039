//! A few threads for work that waits for the network.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use parking_lot::Mutex;

use crate::error::Result;

/// Does `work` for every item, on the caller's thread and at most `threads - 1` others. Answers in the order of the items.
/// After an error no further item is begun.
pub(super) fn in_parallel<T: Sync, R: Send>(
    items: &[T],
    threads: usize,
    work: impl Fn(&T) -> Result<R> + Sync,
) -> Result<Vec<R>> {
    let threads = threads.min(items.len());
    if threads <= 1 {
        return items.iter().map(work).collect();
    }
    let (next, failed) = (AtomicUsize::new(0), AtomicBool::new(false));
    let done = Mutex::new(Vec::with_capacity(items.len()));
    let worker = || {
        while !failed.load(Ordering::Relaxed) {
            let at = next.fetch_add(1, Ordering::Relaxed);
            let Some(item) = items.get(at) else { return };
            let outcome = work(item);
            if outcome.is_err() {
                failed.store(true, Ordering::Relaxed);
            }
            done.lock().push((at, outcome));
        }
    };
    std::thread::scope(|scope| {
        for _ in 1..threads {
            // Where no more threads can be had, fewer do the work.
            if std::thread::Builder::new().name("bucket".to_owned()).spawn_scoped(scope, worker).is_err() {
                break;
            }
        }
        worker();
    });
    let mut done = done.into_inner();
    done.sort_unstable_by_key(|(at, _)| *at);
    done.into_iter().map(|(_, outcome)| outcome).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Error;

    #[test]
    fn answers_come_in_order_and_the_first_error_wins() {
        let items: Vec<u32> = (0..100).collect();
        for threads in [0, 1, 2, 7, 200] {
            let doubled = in_parallel(&items, threads, |item| Ok(item * 2)).unwrap();
            assert_eq!(doubled, items.iter().map(|item| item * 2).collect::<Vec<_>>());
            let failing = |item: &u32| if *item >= 50 { Err(Error::Cancelled) } else { Ok(()) };
            assert!(matches!(in_parallel(&items, threads, failing), Err(Error::Cancelled)));
        }
        assert!(in_parallel(&[0u32; 0], 4, |_| Ok(())).unwrap().is_empty());
    }
}
