//! A leaf on several threads yields what it yields on one, in the same order, and ends with it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread::ThreadId;
use std::time::Duration;

use marigram_storage::model::labels::{Labels, METRIC_NAME};
use marigram_storage::model::matcher::Matcher;
use parking_lot::Mutex;

use super::{Evaluate, Leaf};
use crate::error::QueryError;
use crate::eval::counts::{Looked, Scope};
use crate::eval::reader::Samples;
use crate::eval::{EvalContext, Exec, Grid, SeriesColumn, SharedSelects, Sink};
use crate::parse::ast::{Boundary, Span};
use crate::plan::{Moment, Select};
use crate::testing::{Memory, context};
use crate::{Engine, EngineOptions, Parallelism};

/// How long to wait for a thread that must come.
const PATIENCE: Duration = Duration::from_secs(60);

fn engine(workers: usize) -> Engine {
    let parallelism = Parallelism { workers, cost_min: 0, portion_cost: 1 };
    Engine::new(EngineOptions { parallelism, ..EngineOptions::default() })
}

/// Series `x{i="…"}`, each with one sample whose value is its number.
fn memory(series: usize) -> Memory {
    (0..series).fold(Memory::default().cut(1, 10), |memory, i| {
        memory.samples(&[("__name__", "x"), ("i", &i.to_string())], &[(0, i as f64)])
    })
}

fn select() -> Select {
    Select {
        matchers: vec![Matcher::equal(METRIC_NAME, "x")],
        moment: Moment::default(),
        boundary: Boundary::Samples,
        span: Span::default(),
        only_statistics: false,
    }
}

/// The number of each series, after `seen` was told of it.
struct Seen<F>(F, Scope);

impl<F: Fn(&EvalContext, f64) -> Result<(), QueryError> + Send + Sync + 'static> Evaluate for Seen<F> {
    type Scratch = ();

    const STEP_COST: u64 = 1;

    fn steps(&self) -> usize {
        1
    }

    fn scope(&self) -> &Scope {
        &self.1
    }

    fn evaluate(
        &self,
        eval: &EvalContext,
        (): &mut (),
        labels: &Labels,
        samples: Samples<'_>,
    ) -> Result<(Option<SeriesColumn>, Looked), QueryError> {
        let value = samples.values[0];
        (self.0)(eval, value)?;
        let mut column = eval.column(Grid::instant(0))?;
        column.put(0, value);
        Ok((Some(SeriesColumn::new(labels.clone(), column)), Looked::default()))
    }
}

fn leaf<'q, F>(exec: &'q Exec<'q>, seen: F) -> Leaf<'q, Seen<F>>
where
    F: Fn(&EvalContext, f64) -> Result<(), QueryError> + Send + Sync + 'static,
{
    let seen = Seen(seen, exec.scope(Grid::instant(0)));
    Leaf::open(exec, &select(), (-1, 1), seen).unwrap()
}

/// The numbers until the end or an error.
fn numbers<E: Evaluate>(leaf: &mut Leaf<'_, E>) -> (Vec<f64>, Result<(), QueryError>) {
    let mut numbers = Vec::new();
    loop {
        match leaf.next() {
            Ok(Some(series)) => numbers.push(series.column.float(0).unwrap()),
            Ok(None) => return (numbers, Ok(())),
            Err(error) => return (numbers, Err(error)),
        }
    }
}

fn serial(memory: &Memory) -> Vec<f64> {
    let (engine, context) = (Engine::new(EngineOptions::default()), context());
    let exec = engine.exec(SharedSelects::new(memory, Vec::new()), &context);
    let (numbers, end) = numbers(&mut leaf(&exec, |_, _| Ok(())));
    end.unwrap();
    numbers
}

fn is_query_thread(own: ThreadId) -> bool {
    std::thread::current().id() == own
}

#[test]
fn another_thread_evaluates_while_the_query_is_at_work() {
    let (memory, engine, context) = (memory(100), engine(2), context());
    let exec = engine.exec(SharedSelects::new(&memory, Vec::new()), &context);
    let (came, helper) = mpsc::channel();
    let (own, helper, met) = (std::thread::current().id(), Mutex::new(helper), AtomicUsize::new(0));
    let mut leaf = leaf(&exec, move |_, _| {
        if is_query_thread(own) {
            if met.fetch_add(1, Ordering::Relaxed) == 0 {
                helper.lock().recv_timeout(PATIENCE).expect("nobody else evaluates");
            }
        } else {
            let _ = came.send(());
        }
        Ok(())
    });
    let (numbers, end) = numbers(&mut leaf);
    end.unwrap();
    assert_eq!(numbers, serial(&memory));
}

#[test]
fn others_evaluate_before_the_query_asks() {
    let (memory, engine, context) = (memory(100), engine(2), context());
    let exec = engine.exec(SharedSelects::new(&memory, Vec::new()), &context);
    let (came, helper) = mpsc::channel();
    let own = std::thread::current().id();
    let mut leaf = leaf(&exec, move |_, _| {
        if !is_query_thread(own) {
            let _ = came.send(());
        }
        Ok(())
    });
    leaf.begin();
    helper.recv_timeout(PATIENCE).expect("nobody has begun");
    let (numbers, end) = numbers(&mut leaf);
    end.unwrap();
    assert_eq!(numbers, serial(&memory));
}

#[test]
fn an_error_comes_after_the_series_before_it() {
    let memory = memory(100);
    let all = serial(&memory);
    for at in [0, 1, 57, 99] {
        let (engine, context) = (engine(3), context());
        let exec = engine.exec(SharedSelects::new(&memory, Vec::new()), &context);
        let bad = all[at];
        let mut leaf = leaf(&exec, move |_, value| match value == bad {
            true => Err(QueryError::execution("bad")),
            false => Ok(()),
        });
        assert_eq!(numbers(&mut leaf), (all[..at].to_vec(), Err(QueryError::execution("bad"))));
    }
}

#[test]
fn what_fails_only_on_another_thread_does_not_fail() {
    let (memory, engine, context) = (memory(100), engine(3), context());
    let exec = engine.exec(SharedSelects::new(&memory, Vec::new()), &context);
    let own = std::thread::current().id();
    let mut leaf = leaf(&exec, move |_, _| match is_query_thread(own) {
        true => Ok(()),
        false => Err(QueryError::execution("no room here")),
    });
    assert_eq!(numbers(&mut leaf), (serial(&memory), Ok(())));
}

#[test]
fn a_panic_comes_up_where_the_series_is_asked_for() {
    let (memory, engine, context) = (memory(100), engine(3), context());
    let exec = engine.exec(SharedSelects::new(&memory, Vec::new()), &context);
    let all = serial(&memory);
    let bad = all[40];
    let mut leaf = leaf(&exec, move |_, value| {
        assert!(value != bad, "series {value}");
        Ok(())
    });
    for number in &all[..40] {
        assert_eq!(leaf.next().unwrap().unwrap().column.float(0), Some(*number));
    }
    let panic = catch_unwind(AssertUnwindSafe(|| leaf.next())).unwrap_err();
    assert_eq!(panic.downcast_ref::<String>(), Some(&format!("series {bad}")));
    drop(leaf);
    // The threads of the pool are still there for others.
    assert_eq!(numbers(&mut self::leaf(&exec, |_, _| Ok(()))), (all, Ok(())));
}

#[test]
fn nothing_goes_on_after_the_leaf() {
    let (memory, engine, context) = (memory(100), engine(4), context());
    let exec = engine.exec(SharedSelects::new(&memory, Vec::new()), &context);
    let evaluating = Arc::new(AtomicUsize::new(0));
    let (came, helper) = mpsc::channel();
    let (own, first) = (std::thread::current().id(), serial(&memory)[0]);
    let mut leaf = {
        let evaluating = Arc::clone(&evaluating);
        leaf(&exec, move |eval, value| {
            if is_query_thread(own) || value == first {
                return Ok(());
            }
            evaluating.fetch_add(1, Ordering::SeqCst);
            let _ = came.send(());
            // As long as nobody tells it to stop, it works on.
            while eval.check_now().is_ok() {
                std::thread::yield_now();
            }
            evaluating.fetch_sub(1, Ordering::SeqCst);
            Ok(())
        })
    };
    leaf.next().unwrap().unwrap();
    helper.recv_timeout(PATIENCE).unwrap();
    drop(leaf);
    assert_eq!(evaluating.load(Ordering::SeqCst), 0);
    assert_eq!(context.tally().samples_held.load(Ordering::SeqCst), 0);
    assert_eq!(context.budget_used(), 0);
    assert!(context.check().is_ok(), "the query itself is not cancelled");
}

#[test]
fn a_cancelled_query_ends_although_threads_are_at_work() {
    let (memory, engine, context) = (memory(100), engine(4), context());
    let exec = engine.exec(SharedSelects::new(&memory, Vec::new()), &context);
    let (own, first) = (std::thread::current().id(), serial(&memory)[0]);
    let (came, helper) = mpsc::channel();
    let mut leaf = leaf(&exec, move |eval, value| {
        if !is_query_thread(own) && value != first {
            let _ = came.send(());
            while eval.check_now().is_ok() {
                std::thread::yield_now();
            }
        }
        eval.check_now()
    });
    leaf.next().unwrap().unwrap();
    helper.recv_timeout(PATIENCE).unwrap();
    context.cancel();
    let (_, end) = numbers(&mut leaf);
    assert_eq!(end.unwrap_err().kind, crate::QueryErrorKind::Canceled);
}

#[test]
fn with_little_memory_left_a_query_stays_on_its_thread() {
    let (memory, engine) = (memory(100), engine(4));
    let context = crate::testing::context_of(8 << 20);
    let exec = engine.exec(SharedSelects::new(&memory, Vec::new()), &context);
    let own = std::thread::current().id();
    let mut leaf = leaf(&exec, move |_, _| {
        assert!(is_query_thread(own));
        Ok(())
    });
    assert_eq!(numbers(&mut leaf), (serial(&memory), Ok(())));
}

/// Notes the numbers of the series that are put, and on which threads; gives some back.
struct Noting<F> {
    numbers: Mutex<Vec<f64>>,
    put_elsewhere: AtomicUsize,
    own: ThreadId,
    gives_back: F,
}

impl<F: Fn(f64) -> bool + Send + Sync> Sink for Noting<F> {
    fn put(&self, series: &SeriesColumn) -> bool {
        let number = series.column.float(0).unwrap();
        if (self.gives_back)(number) {
            return false;
        }
        self.numbers.lock().push(number);
        self.put_elsewhere.fetch_add(usize::from(!is_query_thread(self.own)), Ordering::Relaxed);
        true
    }
}

fn noting<F: Fn(f64) -> bool + Send + Sync>(gives_back: F) -> Arc<Noting<F>> {
    let own = std::thread::current().id();
    Arc::new(Noting { numbers: Mutex::default(), put_elsewhere: AtomicUsize::new(0), own, gives_back })
}

/// Has so many workers share their series with a sink that gives every one of so many back; how many of them other threads have put.
fn shared_with_a_sink(memory: &Memory, all: &[f64], workers: usize, every: usize) -> usize {
    let (engine, context) = (engine(workers), context());
    let exec = engine.exec(SharedSelects::new(memory, Vec::new()), &context);
    let sink = noting(move |number| (number as usize).is_multiple_of(every));
    let (came, helper) = mpsc::channel();
    let (own, helper, met) = (std::thread::current().id(), Mutex::new(helper), AtomicUsize::new(0));
    let mut leaf = leaf(&exec, move |_, _| {
        // Neither thread gets far without the other.
        if !is_query_thread(own) {
            let _ = came.send(());
        } else if met.fetch_add(1, Ordering::Relaxed) == 0 {
            helper.lock().recv_timeout(PATIENCE).expect("nobody else evaluates");
        }
        Ok(())
    });
    leaf.share(Arc::clone(&sink) as Arc<dyn Sink>);
    while let Some(series) = leaf.next().unwrap() {
        // Nobody puts anything while a series that came back is worked on.
        let before = sink.numbers.lock().len();
        std::thread::yield_now();
        let mut numbers = sink.numbers.lock();
        assert_eq!(numbers.len(), before);
        numbers.push(series.column.float(0).unwrap());
    }
    assert_eq!(*sink.numbers.lock(), all, "{workers} {every}");
    drop(leaf);
    assert_eq!(Arc::strong_count(&sink), 1, "somebody still has the sink");
    assert_eq!(context.tally().samples_held.load(Ordering::SeqCst), 0);
    assert_eq!(context.budget_used(), 0);
    sink.put_elsewhere.load(Ordering::Relaxed)
}

#[test]
fn series_keep_their_order_whether_they_are_put_or_given_back() {
    let memory = memory(300);
    let all = serial(&memory);
    for (workers, every) in [(2, 1), (2, 7), (3, 2), (4, 1000)] {
        shared_with_a_sink(&memory, &all, workers, every);
    }
    // Which thread puts them is chance.
    let elsewhere = (0..10_000).any(|_| shared_with_a_sink(&memory, &all, 3, 1000) > 0);
    assert!(elsewhere, "all of it was done by the query's thread");
}

#[test]
fn a_panic_of_the_sink_is_one_of_the_query() {
    let (memory, engine, context) = (memory(100), engine(3), context());
    let exec = engine.exec(SharedSelects::new(&memory, Vec::new()), &context);
    let bad = serial(&memory)[60];
    let sink = noting(move |number| {
        assert!(number != bad, "sink {number}");
        false
    });
    let mut leaf = leaf(&exec, |_, _| Ok(()));
    leaf.share(sink);
    let panic = catch_unwind(AssertUnwindSafe(|| leaf.next())).unwrap_err();
    assert_eq!(panic.downcast_ref::<String>(), Some(&format!("sink {bad}")));
    drop(leaf);
    assert_eq!(numbers(&mut self::leaf(&exec, |_, _| Ok(()))), (serial(&memory), Ok(())));
}
