//! Binary operators whose result is a vector.

mod matching;
mod set;
mod vector;

pub(super) use set::open_set;
pub(super) use vector::open;

use super::function::each;
use super::function::math::binary_operation;
use super::scalar::{self, ScalarColumn};
use super::{BoxedOperator, Exec, Grid};
use crate::error::QueryError;
use crate::names::without_metadata;
use crate::plan::WithScalarNode;

/// An operator between each value of a vector and a scalar.
pub(super) fn with_scalar<'q>(
    exec: &'q Exec<'q>,
    node: &'q WithScalarNode,
    grid: Grid,
) -> Result<BoxedOperator<'q>, QueryError> {
    let scalar = scalar::evaluate(exec, &node.scalar, grid)?;
    let input = super::open(exec, &node.vector, grid)?;
    let operation = binary_operation(node.op);
    let scalar_is_left = node.scalar_is_left;
    let filters = node.op.is_comparison() && !node.return_bool;
    Ok(each(exec, input, move |series| {
        let column = &mut series.column;
        let of = |value: f64, scalar: f64| {
            if scalar_is_left { operation(scalar, value) } else { operation(value, scalar) }
        };
        if filters {
            for step in 0..grid.steps {
                let value = column.values.get(step).copied().unwrap_or(f64::NAN);
                if of(value, scalar.at(step)) == 0.0 {
                    column.present.unset(step);
                }
            }
            return;
        }
        series.labels = without_metadata(&series.labels);
        match &scalar {
            ScalarColumn::Constant(scalar) => column.map(|value| of(value, *scalar)),
            ScalarColumn::Values(scalars, _) => {
                column.values.iter_mut().zip(scalars).for_each(|(value, scalar)| *value = of(*value, *scalar));
            }
        }
    }))
}
