//! Which selects a query makes, and in which order.

use std::collections::BTreeMap;

use marigram_storage::Result;
use marigram_storage::context::Context;
use marigram_storage::model::labels::{Labels, METRIC_NAME};
use marigram_storage::model::matcher::Matcher;
use marigram_storage::model::time::TimeRange;
use marigram_storage::select::{SelectRequest, SeriesStream};
use marigram_storage::write::MetadataEntry;
use parking_lot::Mutex;

use crate::source::Source;
use crate::testing::{Memory, context_of};
use crate::value::Value;
use crate::{Engine, EngineOptions, Parallelism};

/// Notes selects by the names that they ask for.
struct Noting {
    memory: Memory,
    selects: Mutex<Vec<String>>,
}

impl Source for Noting {
    fn select(&self, context: &Context, request: SelectRequest<'_>) -> Result<Box<dyn SeriesStream>> {
        let name = request.matchers.iter().find(|matcher| matcher.name() == METRIC_NAME);
        self.selects.lock().extend(name.map(|name| name.value().to_owned()));
        self.memory.select(context, request)
    }

    fn series(&self, context: &Context, of: &[Vec<Matcher>], range: TimeRange, limit: usize) -> Result<Vec<Labels>> {
        self.memory.series(context, of, range, limit)
    }

    fn label_names(&self, _: &Context, _: &[Vec<Matcher>], _: TimeRange, _: usize) -> Result<Vec<String>> {
        Ok(Vec::new())
    }

    fn label_values(&self, _: &Context, _: &str, _: &[Vec<Matcher>], _: TimeRange, _: usize) -> Result<Vec<String>> {
        Ok(Vec::new())
    }

    fn metadata(&self, context: &Context) -> Result<BTreeMap<String, Vec<MetadataEntry>>> {
        self.memory.metadata(context)
    }
}

fn memory() -> Memory {
    let mut memory = Memory::default();
    for i in 0..10_i32 {
        let values: Vec<f64> = (0..100).map(|t| f64::from(t * (i + 1))).collect();
        for name in ["a", "b", "c", "d"] {
            memory = memory.all(&[("__name__", name), ("i", &i.to_string())], 15_000, &values);
        }
    }
    memory
}

/// The selects that a query makes on so many threads, and its answer.
fn asked_on(workers: usize, query: &str, budget_bytes: u64) -> (Vec<String>, String) {
    let source = Noting { memory: memory(), selects: Mutex::default() };
    let context = context_of(budget_bytes);
    let parallelism = Parallelism { workers, cost_min: 0, ..Parallelism::default() };
    let engine = Engine::new(EngineOptions { parallelism, ..EngineOptions::default() });
    let answer = engine.range(&source, &context, query, 300_000, 1_200_000, 60_000).unwrap();
    assert_eq!(context.budget_left(), budget_bytes, "{query}: all of the memory is given back");
    let Value::Matrix(series) = answer.value else { panic!("{query} is no matrix") };
    assert!(!series.is_empty(), "{query}");
    (source.selects.into_inner(), format!("{series:?}"))
}

/// How many selects a query makes, and its answer.
fn asked(query: &str, budget_bytes: u64) -> (usize, String) {
    let (selects, answer) = asked_on(1, query, budget_bytes);
    // Others that help change nothing of that.
    let (again, same) = asked_on(3, query, budget_bytes);
    assert_eq!((again.len(), &same), (selects.len(), &answer), "{query}");
    (selects.len(), answer)
}

#[test]
fn what_is_asked_for_several_times_is_read_once() {
    for (query, selects) in [
        ("a / a", 1),
        ("(a - b) / a", 2),
        ("a + a + a + a", 1),
        ("sum(rate(a[5m])) / count(rate(a[5m]))", 1),
        ("max_over_time(a[5m]) - min_over_time(a[5m])", 1),
        ("sum_over_time(a[5m:1m]) / count_over_time(a[5m:1m])", 1),
        ("a @ 600 + a @ 600", 1),
        ("a and on(i) (a > 3)", 1),
        // Not the same.
        ("a / b", 2),
        ("rate(a[5m]) / rate(a[4m])", 2),
        ("a - a offset 1m", 2),
        ("a @ 600 + a", 2),
        (r#"a{i="1"} + a{i=~"1"}"#, 2),
        ("sum_over_time(a[5m:1m]) / on(i) group_left() a", 2),
    ] {
        let (made, answer) = asked(query, 1 << 30);
        assert_eq!(made, selects, "{query}");
        // Where there is no room for what would be kept, nothing is, and the answer is the same.
        let (made, alone) = asked(query, 200 << 10);
        assert!(made >= selects, "{query}");
        assert_eq!(answer, alone, "{query}");
    }
    assert_eq!(asked("a / a", 200 << 10).0, 2);
}

#[test]
fn others_begin_with_one_select_at_a_time_while_the_other_side_is_read() {
    for (query, alone, with_others) in [
        ("a * b", "b a", "a b"),
        ("rate(a[5m]) * 2 > bool on (i) rate(b[5m])", "b a", "a b"),
        ("a and b", "b a", "a b"),
        ("a unless on () nothing", "nothing a", "a nothing"),
        ("a * on (i) group_right () b", "a b", "b a"),
        ("a * (b * (c * d))", "d c b a", "a d c b"),
        ("a * b * c * d", "d c b a", "d c a b"),
        // Something has to be read first to be kept, or there is more to it than a select.
        ("a * (a > 3)", "a", "a"),
        ("sum by (i) (a) * b", "b a", "b a"),
        ("quantile_over_time(scalar(c), a[5m]) * b", "b c a", "b c a"),
    ] {
        let selects = |workers| asked_on(workers, query, 1 << 30).0.join(" ");
        assert_eq!((&*selects(1), &*selects(2)), (alone, with_others), "{query}");
    }
}
