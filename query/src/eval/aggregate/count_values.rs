//! `count_values`: a series for each value that occurs in a group, labelled with it.
//!
//! A value is looked up by its bits; it becomes a text and a label set only when it first occurs in a group.

use hashbrown::HashMap;
use marigram_storage::model::labels::{Labels, LabelsBuilder};

use super::Groups;
use crate::error::QueryError;
use crate::eval::column::Column;
use crate::eval::{Exec, Grid, SeriesColumn, open};
use crate::histogram::to_text;
use crate::number;
use crate::parse::ast::Grouping;
use crate::parse::strings::quote;
use crate::plan::AggregateNode;

/// Evaluates `count_values("label", v)`.
pub(super) fn evaluate(
    exec: &Exec<'_>,
    node: &AggregateNode,
    label: &str,
    grid: Grid,
) -> Result<Vec<SeriesColumn>, QueryError> {
    if label.is_empty() {
        return Err(QueryError::execution(format!("invalid label name {}", quote(label))));
    }
    // What the label was is not looked at: the value takes its place.
    let mut others: Grouping = node.grouping.clone();
    others.labels.retain(|name| node.grouping.without || name != label);
    if node.grouping.without {
        others.labels.push(label.to_owned());
    }
    let mut groups = Groups::new(&others);
    // Where the label is left out, all values of a group are one.
    let keeps_value = !node.grouping.without || Groups::new(&node.grouping).keeps()(label.as_bytes());
    let mut counts = Counts {
        exec,
        grid,
        label: keeps_value.then_some(label),
        groups: Vec::new(),
        by_value: HashMap::new(),
        by_labels: HashMap::new(),
        columns: Vec::new(),
    };
    let mut input = open(exec, &node.input, grid)?;
    while let Some(series) = input.next()? {
        exec.check()?;
        let (group, new) = groups.find(&series.labels);
        if let Some(labels) = new {
            exec.keep_labels(&labels)?;
            counts.groups.push(labels);
        }
        counts.add(group, &series.column)?;
    }
    // As with groups that are folded.
    counts.columns.sort_by(|a, b| a.0.cmp(&b.0));
    Ok(counts.columns.into_iter().map(|(labels, column)| SeriesColumn::new(labels, column)).collect())
}

/// How often each value occurs at each step.
struct Counts<'q> {
    exec: &'q Exec<'q>,
    grid: Grid,
    /// The label that takes the value, if groups keep it.
    label: Option<&'q str>,
    groups: Vec<Labels>,
    /// The column of a group's value, by the bits of that.
    by_value: HashMap<(usize, u64), usize>,
    /// The same by labels: values that look the same share a column, and so may groups.
    by_labels: HashMap<Labels, usize>,
    columns: Vec<(Labels, Column)>,
}

impl Counts<'_> {
    /// Counts the values of a series of a group.
    fn add(&mut self, group: usize, column: &Column) -> Result<(), QueryError> {
        // A value mostly is the one before.
        let mut last: Option<(u64, usize)> = None;
        for (step, value) in column.samples() {
            let bits = value.to_bits();
            let at = match last {
                Some((before, at)) if before == bits => at,
                _ => self.column_of_value(group, value)?,
            };
            last = Some((bits, at));
            self.count(at, step);
        }
        for (step, histogram) in column.histograms() {
            let at = self.column_of_text(group, &to_text(histogram))?;
            self.count(at, step);
        }
        Ok(())
    }

    fn count(&mut self, at: usize, step: usize) {
        if let Some((_, column)) = self.columns.get_mut(at) {
            let before = if column.present.get(step) { column.values.get(step).copied().unwrap_or(0.0) } else { 0.0 };
            column.put(step, before + 1.0);
        }
    }

    fn column_of_value(&mut self, group: usize, value: f64) -> Result<usize, QueryError> {
        let key = (group, value.to_bits());
        if let Some(at) = self.by_value.get(&key) {
            return Ok(*at);
        }
        let at = self.column_of_text(group, &number::go_f(value))?;
        self.exec.keep_bytes(2 * size_of::<((usize, u64), usize)>())?;
        self.by_value.insert(key, at);
        Ok(at)
    }

    fn column_of_text(&mut self, group: usize, text: &str) -> Result<usize, QueryError> {
        let group = self.groups.get(group).cloned().unwrap_or_default();
        let labels = match self.label {
            Some(label) => LabelsBuilder::from_labels(&group).set(label, text).build(),
            None => group,
        };
        if let Some(at) = self.by_labels.get(&labels) {
            return Ok(*at);
        }
        self.exec.keep_labels(&labels)?;
        let at = self.columns.len();
        self.columns.push((labels.clone(), self.exec.column(self.grid)?));
        self.by_labels.insert(labels, at);
        Ok(at)
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::Memory;

    const RANGE: (i64, i64, i64) = (0, 40_000, 10_000);

    fn builds() -> Memory {
        let series = |pod: &'static str, version: &'static str| [("__name__", "b"), ("pod", pod), ("v", version)];
        let another_nan = f64::from_bits(f64::NAN.to_bits() | 7);
        Memory::default()
            .all(&series("p", "old"), 10_000, &[1.0, 1.0, 2.0, f64::NAN, -0.0])
            .all(&series("p", "new"), 10_000, &[1.0, 2.0, 2.0, another_nan, 0.0])
            .all(&series("q", "new"), 10_000, &[1.0, 1.0, 1.0, 1.0, 0.0])
    }

    #[test]
    fn each_value_is_counted_step_by_step() {
        let counted = [
            r#"{v="-0"} 1@40"#,
            r#"{v="0"} 2@40"#,
            r#"{v="1"} 3@0 2@10 1@20 1@30"#,
            r#"{v="2"} 1@10 2@20"#,
            r#"{v="NaN"} 2@30"#,
        ];
        let counted_of = |query: &str| builds().range_lines(query, RANGE);
        assert_eq!(counted_of(r#"count_values("v", b)"#), counted);
        assert_eq!(counted_of(r#"count_values without (pod) ("v", b)"#), counted);
        assert_eq!(counted_of(r#"count_values by (v) ("v", b)"#), counted, "the value takes the label's place");
    }

    #[test]
    fn groups_count_for_themselves_and_may_leave_the_value_out() {
        assert_eq!(
            builds().range_lines(r#"count_values by (pod) ("x", b < 2)"#, RANGE),
            [
                r#"{pod="p", x="-0"} 1@40"#,
                r#"{pod="p", x="0"} 1@40"#,
                r#"{pod="p", x="1"} 2@0 1@10"#,
                r#"{pod="q", x="0"} 1@40"#,
                r#"{pod="q", x="1"} 1@0 1@10 1@20 1@30"#,
            ]
        );
        let all = ["{pod=\"p\"} 2@0 2@10 2@20 2@30 2@40", "{pod=\"q\"} 1@0 1@10 1@20 1@30 1@40"];
        assert_eq!(builds().range_lines(r#"count_values without (v) ("v", b)"#, RANGE), all);
        assert_eq!(builds().range_lines(r#"count_values without (v) ("__name__", b)"#, RANGE), all);
        let named = [r#"{__name__="1"} 1@0 1@10 1@20 1@30"#, r#"{__name__="0"} 1@40"#];
        let mut counted = builds().range_lines(r#"count_values("__name__", b{pod="q"})"#, RANGE);
        counted.reverse();
        assert_eq!(counted, named);
    }
}
