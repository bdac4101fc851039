//! `count_values`: a series for each value that occurs in a group, labelled with it.

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
    // The label of the value is one of those that are grouped by.
    let mut grouping: Grouping = node.grouping.clone();
    if !grouping.without {
        grouping.labels.push(label.to_owned());
    }
    let groups = Groups::new(&grouping);
    let mut counts: HashMap<Labels, Column> = HashMap::new();
    let mut input = open(exec, &node.input, grid)?;
    while let Some(series) = input.next()? {
        exec.check()?;
        let floats = series.column.samples().map(|(step, value)| (step, number::go_f(value)));
        let histograms = series.column.histograms().map(|(step, histogram)| (step, to_text(histogram)));
        for (step, value) in floats.chain(histograms) {
            let labels = LabelsBuilder::from_labels(&series.labels).set(label, &value).build();
            let key = groups.labels(&labels);
            let column = match counts.entry(key) {
                hashbrown::hash_map::Entry::Occupied(entry) => entry.into_mut(),
                hashbrown::hash_map::Entry::Vacant(entry) => {
                    exec.keep_labels(entry.key())?;
                    entry.insert(exec.column(grid)?)
                }
            };
            let before = if column.present.get(step) { column.values.get(step).copied().unwrap_or(0.0) } else { 0.0 };
            column.put(step, before + 1.0);
        }
    }
    let mut out: Vec<_> = counts.into_iter().map(|(labels, column)| SeriesColumn::new(labels, column)).collect();
    // As with groups that are folded.
    out.sort_by(|a, b| a.labels.cmp(&b.labels));
    Ok(out)
}
