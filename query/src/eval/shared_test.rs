use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};

use marigram_storage::Result;
use marigram_storage::context::Context;
use marigram_storage::model::labels::Labels;
use marigram_storage::model::matcher::Matcher;
use marigram_storage::model::time::TimeRange;
use marigram_storage::select::{SelectRequest, SeriesStream};
use marigram_storage::write::MetadataEntry;

use crate::source::Source;
use crate::testing::{Memory, context_of, engine};
use crate::value::Value;

/// Counts selects.
struct Counted {
    memory: Memory,
    selects: AtomicUsize,
}

impl Source for Counted {
    fn select(&self, context: &Context, request: SelectRequest<'_>) -> Result<Box<dyn SeriesStream>> {
        self.selects.fetch_add(1, Ordering::Relaxed);
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
        for name in ["a", "b"] {
            memory = memory.all(&[("__name__", name), ("i", &i.to_string())], 15_000, &values);
        }
    }
    memory
}

/// How many selects a query makes, and its answer.
fn asked(query: &str, budget_bytes: u64) -> (usize, String) {
    let source = Counted { memory: memory(), selects: AtomicUsize::new(0) };
    let context = context_of(budget_bytes);
    let answer = engine().range(&source, &context, query, 300_000, 1_200_000, 60_000).unwrap();
    assert_eq!(context.budget_left(), budget_bytes, "{query}: all of the memory is given back");
    let Value::Matrix(series) = answer.value else { panic!("{query} is no matrix") };
    assert!(!series.is_empty(), "{query}");
    (source.selects.into_inner(), format!("{series:?}"))
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
