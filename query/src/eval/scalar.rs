//! Scalars: one number at every step.

use super::column::Steps;
use super::memory::Held;
use super::{Exec, Grid, open};
use crate::error::QueryError;
use crate::eval::function::math::{self, binary_operation};
use crate::plan::{ScalarFold, ScalarNode, VectorNode};

/// A number per step.
#[derive(Debug)]
pub(crate) enum ScalarColumn {
    /// The same at all steps.
    Constant(f64),
    /// One per step.
    Values(Vec<f64>, #[expect(dead_code, reason = "counts the values while they live")] Held),
}

impl ScalarColumn {
    /// The number at `step`.
    #[inline]
    pub(crate) fn at(&self, step: usize) -> f64 {
        match self {
            ScalarColumn::Constant(value) => *value,
            ScalarColumn::Values(values, _) => values.get(step).copied().unwrap_or(f64::NAN),
        }
    }

    /// The number at each of `steps` steps.
    pub(crate) fn iter(&self, steps: usize) -> impl Iterator<Item = f64> + '_ {
        (0..steps).map(|step| self.at(step))
    }
}

/// Evaluates a scalar at all steps.
pub(super) fn evaluate(exec: &Exec<'_>, node: &ScalarNode, grid: Grid) -> Result<ScalarColumn, QueryError> {
    match node {
        ScalarNode::Number(value) => Ok(ScalarColumn::Constant(*value)),
        ScalarNode::Time => fill(exec, grid, |step| grid.time_ms(step) as f64 / 1000.0),
        ScalarNode::Date(part) => fill(exec, grid, |step| part.of((grid.time_ms(step) / 1000) as f64)),
        ScalarNode::Negate(inner) => {
            let inner = evaluate(exec, inner, grid)?;
            fill(exec, grid, |step| -inner.at(step))
        }
        ScalarNode::Binary { op, lhs, rhs } => {
            let (lhs, rhs) = (evaluate(exec, lhs, grid)?, evaluate(exec, rhs, grid)?);
            let operation = binary_operation(*op);
            fill(exec, grid, |step| operation(lhs.at(step), rhs.at(step)))
        }
        ScalarNode::Fold(fold, both) => {
            let [a, b] = &**both;
            let (a, b) = (evaluate(exec, a, grid)?, evaluate(exec, b, grid)?);
            let fold = match fold {
                ScalarFold::Max => math::max,
                ScalarFold::Min => math::min,
            };
            fill(exec, grid, |step| fold(a.at(step), b.at(step)))
        }
        ScalarNode::OfVector(vector) => of_vector(exec, vector, grid),
        ScalarNode::Invariant(inner) => Ok(match evaluate(exec, inner, exec.scopes.first_step(grid))? {
            ScalarColumn::Values(values, _) => ScalarColumn::Constant(values.first().copied().unwrap_or(f64::NAN)),
            constant => constant,
        }),
    }
}

fn fill(exec: &Exec<'_>, grid: Grid, f: impl Fn(usize) -> f64) -> Result<ScalarColumn, QueryError> {
    let held = exec.limit.hold(grid.steps)?;
    Ok(ScalarColumn::Values((0..grid.steps).map(f).collect(), held))
}

/// `scalar(v)`: the value of the only series that has one, else NaN. Histograms are no values.
fn of_vector(exec: &Exec<'_>, vector: &VectorNode, grid: Grid) -> Result<ScalarColumn, QueryError> {
    let held = exec.limit.hold(grid.steps)?;
    let mut values = vec![f64::NAN; grid.steps];
    let mut seen = Steps::none(grid.steps);
    let mut operator = open(exec, vector, grid)?;
    while let Some(series) = operator.next()? {
        for (step, value) in series.column.samples() {
            if let Some(slot) = values.get_mut(step) {
                *slot = if seen.get(step) { f64::NAN } else { value };
            }
        }
        seen.unite(&series.column.float_steps());
    }
    Ok(ScalarColumn::Values(values, held))
}
