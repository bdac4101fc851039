//! `sort`, `sort_desc`, `sort_by_label`, `sort_by_label_desc`: the order of an instant vector. A range query's result is
//! ordered by labels in any case.

use std::cmp::Ordering;

use crate::error::QueryError;
use crate::eval::function::{computed, each};
use crate::eval::{BoxedOperator, Exec, Grid, SeriesColumn, open};
use crate::plan::{SortBy, SortOrder, VectorNode};

/// Orders an instant vector; in a range query it only warns.
pub(crate) fn sort<'q>(
    exec: &'q Exec<'q>,
    order: &'q SortOrder,
    input: &'q VectorNode,
    grid: Grid,
) -> Result<BoxedOperator<'q>, QueryError> {
    let mut input = open(exec, input, grid)?;
    if matches!(order.by, SortBy::Value | SortBy::ValueDescending) {
        // A histogram has no value to be sorted by.
        input = each(exec, input, |series| {
            series.column.drop_histograms();
            Ok(())
        });
    }
    if grid.steps != 1 {
        let text = "sort is ineffective for range queries since results are always ordered by labels";
        exec.remarks.borrow_mut().warn(text.to_owned(), order.span);
        return Ok(input);
    }
    Ok(computed(move || {
        let mut series = Vec::new();
        while let Some(next) = input.next()? {
            exec.check()?;
            exec.keep_labels(&next.labels)?;
            series.push(next);
        }
        // What is equal otherwise comes in the order of labels, so that an answer is the same each time.
        series.sort_by(|a, b| a.labels.cmp(&b.labels));
        match &order.by {
            SortBy::Value => series.sort_by(|a, b| by_value(a, b, false)),
            SortBy::ValueDescending => series.sort_by(|a, b| by_value(a, b, true)),
            SortBy::Labels(names) => series.sort_by(|a, b| by_labels(a, b, names)),
            SortBy::LabelsDescending(names) => {
                series.reverse();
                series.sort_by(|a, b| by_labels(b, a, names));
            }
        }
        Ok(series)
    }))
}

/// By value; NaN comes last in both directions.
fn by_value(a: &SeriesColumn, b: &SeriesColumn, descending: bool) -> Ordering {
    let value = |series: &SeriesColumn| series.column.values.first().copied().unwrap_or(f64::NAN);
    let (a, b) = (value(a), value(b));
    match (a.is_nan(), b.is_nan()) {
        (false, false) if descending => b.partial_cmp(&a).unwrap_or(Ordering::Equal),
        (false, false) => a.partial_cmp(&b).unwrap_or(Ordering::Equal),
        (a, b) => a.cmp(&b),
    }
}

/// By the values of these labels, one after the other.
fn by_labels(a: &SeriesColumn, b: &SeriesColumn, names: &[String]) -> Ordering {
    let mut orders =
        names.iter().map(|name| natural(a.labels.get(name).unwrap_or(""), b.labels.get(name).unwrap_or("")));
    orders.find(|order| order.is_ne()).unwrap_or(Ordering::Equal)
}

/// The order in which people list things: runs of digits compare as numbers.
fn natural(a: &str, b: &str) -> Ordering {
    let (mut a_rest, mut b_rest) = (a, b);
    while !a_rest.is_empty() && !b_rest.is_empty() {
        let (a_run, b_run) = (first_run(a_rest), first_run(b_rest));
        (a_rest, b_rest) = (&a_rest[a_run.len()..], &b_rest[b_run.len()..]);
        let order = match (a_run.parse::<i64>(), b_run.parse::<i64>()) {
            (Ok(a), Ok(b)) => a.cmp(&b),
            _ => a_run.cmp(b_run),
        };
        if order.is_ne() {
            return order;
        }
    }
    // `01` and `1` are equal numbers, but not the same text.
    a_rest.len().cmp(&b_rest.len()).then_with(|| a.cmp(b))
}

/// The longest start of `text` that is all digits or has none.
fn first_run(text: &str) -> &str {
    let digits = text.starts_with(|c: char| c.is_ascii_digit());
    let end = text.find(|c: char| c.is_ascii_digit() != digits).unwrap_or(text.len());
    &text[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_compare_as_numbers() {
        let mut names = ["cpu10", "cpu2", "cpu", "cpu2-b", "a100", "é1", "", "cpu02"];
        names.sort_by(|a, b| natural(a, b));
        assert_eq!(names, ["", "a100", "cpu", "cpu02", "cpu2", "cpu2-b", "cpu10", "é1"]);
        assert_eq!(natural("99999999999999999999", "99999999999999999998"), Ordering::Greater);
    }
}
