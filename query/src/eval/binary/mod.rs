//! Binary operators whose result is a vector.

mod fill;
mod histograms;
mod matching;
mod set;
mod vector;

pub(super) use set::open_set;
pub(super) use vector::open;

use std::sync::Arc;

use marigram_storage::model::histogram::Histogram;

use histograms::{Operand, Outcome, combined};

use super::column::Column;
use super::function::each;
use super::function::math::binary_operation;
use super::notes::{Note, Notes};
use super::scalar::{self, ScalarColumn};
use super::{BoxedOperator, Exec, Grid};
use crate::error::QueryError;
use crate::plan::WithScalarNode;

/// An operator between each sample of a vector and a scalar.
pub(super) fn with_scalar<'q>(
    exec: &'q Exec<'q>,
    node: &'q WithScalarNode,
    grid: Grid,
) -> Result<BoxedOperator<'q>, QueryError> {
    let scalar = scalar::evaluate(exec, &node.scalar, grid)?;
    let input = super::open(exec, &node.vector, grid)?;
    let operation = binary_operation(node.op);
    let filters = node.op.is_comparison() && !node.return_bool;
    Ok(each(exec, input, move |series| {
        let of_histograms = histograms_with_scalar(exec, node, &scalar, &mut series.column);
        let column = &mut series.column;
        let of = |value: f64, scalar: f64| {
            if node.scalar_is_left { operation(scalar, value) } else { operation(value, scalar) }
        };
        if filters {
            for step in 0..grid.steps {
                let value = column.values.get(step).copied().unwrap_or(f64::NAN);
                if of(value, scalar.at(step)) == 0.0 {
                    column.present.unset(step);
                }
            }
            return Ok(());
        }
        if !node.op.is_trim() || node.return_bool {
            series.drop_name(exec);
        }
        let column = &mut series.column;
        match &scalar {
            ScalarColumn::Constant(scalar) => column.map(|value| of(value, *scalar)),
            ScalarColumn::Values(scalars, _) => {
                column.values.iter_mut().zip(scalars).for_each(|(value, scalar)| *value = of(*value, *scalar));
            }
        }
        of_histograms.into_iter().try_for_each(|(step, histogram)| column.put_histogram(step, histogram))
    }))
}

/// Takes all histograms out, and answers what the operator makes of them. No comparison with a number has a result.
fn histograms_with_scalar(
    exec: &Exec<'_>,
    node: &WithScalarNode,
    scalar: &ScalarColumn,
    column: &mut Column,
) -> Vec<(usize, Arc<Histogram>)> {
    let mut results = Vec::new();
    let mut notes = Notes::default();
    if node.op.is_trim() {
        notes.add_if(!column.float_steps().is_empty(), Note::FloatWithFloat);
        column.drop_floats();
    }
    let taken: Vec<(usize, Arc<Histogram>)> =
        column.histograms().map(|(step, histogram)| (step, Arc::clone(histogram))).collect();
    column.drop_histograms();
    for (step, histogram) in taken {
        let (scalar, histogram) = (Operand::Float(scalar.at(step)), Operand::Histogram(&histogram));
        let (lhs, rhs) = if node.scalar_is_left { (scalar, histogram) } else { (histogram, scalar) };
        if let Outcome::Histogram(result) = combined(node.op, lhs, rhs, &mut notes) {
            results.push((step, result));
        }
    }
    notes.write(exec, node.op.as_str(), node.span);
    results
}
