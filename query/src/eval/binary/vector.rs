//! Arithmetic and comparison between two vectors.
//!
//! 1. The side of which at most one series may match (the *one* side: the right, or the left with `group_right`) is taken
//!    in, hashed by the labels that are matched by. Series with the same ones must not meet at a step.
//! 2. The other side (*many*) streams. Each of its series is combined with the entries of its hash slot at the steps that
//!    both have.
//! 3. Without grouping, a second series of the many side at a slot's step is an error; with it, a second result with the
//!    same labels is.

use std::collections::VecDeque;

use hashbrown::HashMap;
use marigram_storage::model::labels::{Labels, SeriesId};

use super::matching::Matcher;
use crate::error::QueryError;
use crate::eval::column::{Column, Steps};
use crate::eval::function::math::binary_operation;
use crate::eval::{self, BoxedOperator, Exec, Grid, Operator, SeriesColumn};
use crate::parse::ast::Cardinality;
use crate::plan::BinaryNode;
use crate::text;

/// Series of the one side with the same signature.
struct Slot {
    entries: Vec<SeriesColumn>,
    /// Steps at which an entry has a sample.
    taken: Steps,
    /// Steps at which the many side has matched already; only without grouping.
    matched: Option<Steps>,
}

/// Samples of the one side that would match the same.
struct Conflict {
    /// Where there are any.
    steps: Steps,
    /// Tells of the first group, in the order of the texts, so that it is the same each time.
    message: String,
}

struct VectorBinary<'q> {
    exec: &'q Exec<'q>,
    node: &'q BinaryNode,
    matcher: Matcher<'q>,
    grid: Grid,
    one: Option<BoxedOperator<'q>>,
    many: BoxedOperator<'q>,
    slots: HashMap<Labels, Slot>,
    conflict: Option<Conflict>,
    /// With grouping: at which steps each (signature, result) was made.
    results: HashMap<(SeriesId, SeriesId), Steps>,
    ready: VecDeque<SeriesColumn>,
}

/// The operator of a binary node.
pub(in crate::eval) fn open<'q>(
    exec: &'q Exec<'q>,
    node: &'q BinaryNode,
    grid: Grid,
) -> Result<BoxedOperator<'q>, QueryError> {
    let (many, one) = match node.matching.cardinality {
        Cardinality::OneToMany => (&node.rhs, &node.lhs),
        _ => (&node.lhs, &node.rhs),
    };
    Ok(Box::new(VectorBinary {
        exec,
        node,
        matcher: Matcher::new(&node.matching),
        grid,
        one: Some(eval::open(exec, one, grid)?),
        many: eval::open(exec, many, grid)?,
        slots: HashMap::new(),
        conflict: None,
        results: HashMap::new(),
        ready: VecDeque::new(),
    }))
}

impl Operator for VectorBinary<'_> {
    fn next(&mut self) -> Result<Option<SeriesColumn>, QueryError> {
        if let Some(mut one) = self.one.take() {
            while let Some(series) = one.next()? {
                self.exec.check()?;
                self.exec.keep_labels(&series.labels)?;
                self.take_in(series);
            }
        }
        while self.ready.is_empty() {
            self.exec.check()?;
            let Some(series) = self.many.next()? else { return Ok(None) };
            self.combine(&series)?;
        }
        Ok(self.ready.pop_front())
    }
}

impl VectorBinary<'_> {
    /// Adds a series to the one side.
    fn take_in(&mut self, series: SeriesColumn) {
        let signature = self.matcher.signature(&series.labels);
        let steps = self.grid.steps;
        let slot = self.slots.entry(signature.clone()).or_insert_with(|| Slot {
            entries: Vec::new(),
            taken: Steps::none(steps),
            matched: None,
        });
        let both = slot.taken.intersection(&series.column.present);
        if !both.is_empty() {
            let other = slot.entries.iter().find(|entry| entry.column.present.intersects(&both));
            let left = self.node.matching.cardinality == Cardinality::OneToMany;
            let message = duplicates(&signature, left, other.map(|entry| &entry.labels), &series.labels);
            match &mut self.conflict {
                None => self.conflict = Some(Conflict { steps: both, message }),
                Some(conflict) => {
                    conflict.steps.unite(&both);
                    if message < conflict.message {
                        conflict.message = message;
                    }
                }
            }
        }
        slot.taken.unite(&series.column.present);
        slot.entries.push(series);
    }

    /// Combines a series of the many side with what it matches.
    fn combine(&mut self, many: &SeriesColumn) -> Result<(), QueryError> {
        let present = &many.column.present;
        // Two that would match the same are an error only at steps at which there is something to match.
        if let Some(conflict) = self.conflict.as_ref().filter(|conflict| conflict.steps.intersects(present)) {
            return Err(QueryError::execution(conflict.message.clone()));
        }
        let signature = self.matcher.signature(&many.labels);
        let Some(slot) = self.slots.get_mut(&signature) else { return Ok(()) };
        if self.node.matching.cardinality == Cardinality::OneToOne {
            let new = slot.taken.intersection(present);
            let matched = slot.matched.get_or_insert_with(|| Steps::none(self.grid.steps));
            if matched.intersects(&new) {
                return Err(QueryError::execution(
                    "multiple matches for labels: many-to-one matching must be explicit (group_left/group_right)",
                ));
            }
            matched.unite(&new);
        }
        let comparison = self.node.op.is_comparison();
        let drop_name = !comparison || self.node.return_bool;
        let mut made: Vec<SeriesColumn> = Vec::new();
        for entry in slot.entries.iter().filter(|entry| entry.column.present.intersects(present)) {
            let labels = self.matcher.result(&many.labels, &entry.labels, drop_name);
            if self.node.matching.cardinality != Cardinality::OneToOne {
                let met = entry.column.present.intersection(present);
                let key = (signature.id(), labels.id());
                self.exec.keep_bytes(64 + met.size_bytes())?;
                let before = self.results.entry(key).or_insert_with(|| Steps::none(self.grid.steps));
                if before.intersects(&met) {
                    return Err(QueryError::execution(
                        "multiple matches for labels: grouping labels must ensure unique matches",
                    ));
                }
                before.unite(&met);
            }
            let at = match made.iter().position(|series| series.labels == labels) {
                Some(at) => at,
                None => {
                    made.push(SeriesColumn { labels, column: self.exec.column(self.grid)? });
                    made.len() - 1
                }
            };
            if let Some(series) = made.get_mut(at) {
                calculate(self.node, &many.column, &entry.column, &mut series.column);
            }
        }
        self.ready.extend(made.into_iter().filter(|series| !series.column.present.is_empty()));
        Ok(())
    }
}

/// Writes the result at the steps that both sides have.
fn calculate(node: &BinaryNode, many: &Column, one: &Column, out: &mut Column) {
    let operation = binary_operation(node.op);
    let many_is_right = node.matching.cardinality == Cardinality::OneToMany;
    let filters = node.op.is_comparison() && !node.return_bool;
    for (step, value) in many.samples() {
        if !one.present.get(step) {
            continue;
        }
        let other = one.values.get(step).copied().unwrap_or(f64::NAN);
        let (lhs, rhs) = if many_is_right { (other, value) } else { (value, other) };
        let result = operation(lhs, rhs);
        if !filters {
            out.put(step, result);
        } else if result != 0.0 {
            // A filter keeps the value of the left side.
            out.put(step, lhs);
        }
    }
}

fn duplicates(signature: &Labels, left: bool, first: Option<&Labels>, second: &Labels) -> String {
    let mut pair = [text::labels(first.unwrap_or(second)), text::labels(second)];
    pair.sort();
    let [first, second] = pair;
    format!(
        "found duplicate series for the match group {} on the {} hand-side of the operation: [{first}, {second}];\
         many-to-many matching not allowed: matching labels must be unique on one side",
        text::labels(signature),
        if left { "left" } else { "right" },
    )
}
