//! Operators between samples of which one at least is a histogram.

use std::sync::Arc;

use marigram_storage::model::histogram::{Histogram, ResetHint};

use crate::eval::column::Column;
use crate::eval::notes::{Note, Notes};
use crate::histogram::{
    Combined, Incompatible, add, compact, divide, keep_above, keep_below, multiply, same_data, subtract,
};
use crate::parse::ast::BinaryOp;

/// One side of an operator.
#[derive(Clone, Copy, Debug)]
pub(super) enum Operand<'a> {
    Float(f64),
    Histogram(&'a Arc<Histogram>),
}

/// What an operator between histograms, or a histogram and a number, yields.
#[derive(Debug)]
pub(super) enum Outcome {
    /// No sample.
    Nothing,
    /// A comparison's result.
    Truth(bool),
    /// A histogram.
    Histogram(Arc<Histogram>),
}

impl<'a> Operand<'a> {
    /// The sample at a step, if there is one.
    pub(super) fn of(column: &'a Column, step: usize) -> Option<Self> {
        match column.histogram(step) {
            Some(histogram) => Some(Operand::Histogram(histogram)),
            None => column.float(step).map(Operand::Float),
        }
    }
}

/// Applies an operator; two floats are for the trim operators only, which have no result for them.
pub(super) fn combined(op: BinaryOp, lhs: Operand<'_>, rhs: Operand<'_>, notes: &mut Notes) -> Outcome {
    let changed = |histogram: &Arc<Histogram>, change: &dyn Fn(&mut Histogram)| {
        let mut result = Histogram::clone(histogram);
        change(&mut result);
        Outcome::Histogram(Arc::new(result))
    };
    let note = match (lhs, op, rhs) {
        (Operand::Float(factor), BinaryOp::Mul, Operand::Histogram(histogram))
        | (Operand::Histogram(histogram), BinaryOp::Mul, Operand::Float(factor)) => {
            return changed(histogram, &|histogram| {
                multiply(histogram, factor);
                compact(histogram);
            });
        }
        (Operand::Histogram(histogram), BinaryOp::Div, Operand::Float(divisor)) => {
            return changed(histogram, &|histogram| {
                divide(histogram, divisor);
                compact(histogram);
            });
        }
        (Operand::Histogram(histogram), BinaryOp::TrimUpper, Operand::Float(value)) => {
            return changed(histogram, &|histogram| keep_below(histogram, value));
        }
        (Operand::Histogram(histogram), BinaryOp::TrimLower, Operand::Float(value)) => {
            return changed(histogram, &|histogram| keep_above(histogram, value));
        }
        (Operand::Histogram(lhs), BinaryOp::Add, Operand::Histogram(rhs)) => {
            return summed(lhs, rhs, add, (Note::CollisionInAddition, Note::ReconciledInAddition), None, notes);
        }
        (Operand::Histogram(lhs), BinaryOp::Sub, Operand::Histogram(rhs)) => {
            let about = (Note::CollisionInSubtraction, Note::ReconciledInSubtraction);
            return summed(lhs, rhs, subtract, about, Some(ResetHint::Gauge), notes);
        }
        (Operand::Histogram(lhs), BinaryOp::Eql, Operand::Histogram(rhs)) => {
            return Outcome::Truth(same_data(lhs, rhs));
        }
        (Operand::Histogram(lhs), BinaryOp::Neq, Operand::Histogram(rhs)) => {
            return Outcome::Truth(!same_data(lhs, rhs));
        }
        (Operand::Float(_), _, Operand::Float(_)) => Note::FloatWithFloat,
        (Operand::Float(_), _, Operand::Histogram(_)) => Note::FloatWithHistogram,
        (Operand::Histogram(_), _, Operand::Float(_)) => Note::HistogramWithFloat,
        (Operand::Histogram(_), _, Operand::Histogram(_)) => Note::HistogramWithHistogram,
    };
    notes.add(note);
    Outcome::Nothing
}

fn summed(
    lhs: &Histogram,
    rhs: &Histogram,
    operation: fn(&mut Histogram, &Histogram) -> Result<Combined, Incompatible>,
    (collision, reconciled): (Note, Note),
    hint: Option<ResetHint>,
    notes: &mut Notes,
) -> Outcome {
    let mut result = lhs.clone();
    let Ok(combined) = operation(&mut result, rhs) else {
        notes.add(Note::IncompatibleBuckets);
        return Outcome::Nothing;
    };
    if combined.hints_collide {
        notes.add(collision);
        return Outcome::Nothing;
    }
    notes.add_if(combined.bounds_reconciled, reconciled);
    if let Some(hint) = hint {
        result.hint = hint;
    }
    compact(&mut result);
    Outcome::Histogram(Arc::new(result))
}
