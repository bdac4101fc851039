//! Arithmetic and comparison between two vectors.
//!
//! 1. The side of which at most one series may match (the *one* side: the right, or the left with `group_right`) is taken
//!    in, hashed by the labels that are matched by. Series with the same ones must not meet at a step.
//! 2. The other side (*many*) streams. Each of its series is combined with the entries of its hash slot at the steps that
//!    both have.
//! 3. Without grouping, a second series of the many side at a slot's step is an error; with it, a second result with the
//!    same labels is.

use std::collections::VecDeque;
use std::sync::Arc;

use hashbrown::HashMap;
use marigram_storage::model::labels::{Labels, SeriesId};

use super::histograms::{Operand, Outcome, combined};
use super::matching::Matcher;
use crate::error::QueryError;
use crate::eval::column::{Column, Steps};
use crate::eval::function::math::binary_operation;
use crate::eval::notes::Notes;
use crate::eval::{self, BoxedOperator, Exec, Grid, Operator, SeriesColumn};
use crate::parse::ast::Cardinality;
use crate::plan::BinaryNode;
use crate::text;

/// Series of the one side with the same signature.
pub(super) struct Slot {
    pub(super) entries: Vec<SeriesColumn>,
    /// Steps at which an entry has a sample.
    pub(super) taken: Steps,
    /// Steps at which the many side has matched already; only without grouping, or where its absence is filled.
    pub(super) matched: Option<Steps>,
}

/// Samples of the one side that would match the same.
pub(super) struct Conflict {
    /// Where there are any.
    steps: Steps,
    /// Tells of the first group, in the order of the texts, so that it is the same each time.
    pub(super) message: String,
}

pub(super) struct VectorBinary<'q> {
    pub(super) exec: &'q Exec<'q>,
    pub(super) node: &'q BinaryNode,
    pub(super) matcher: Matcher<'q>,
    pub(super) grid: Grid,
    one: Option<BoxedOperator<'q>>,
    many: BoxedOperator<'q>,
    pub(super) slots: HashMap<Labels, Slot>,
    pub(super) conflict: Option<Conflict>,
    /// With grouping: at which steps each (signature, result) was made.
    pub(super) results: HashMap<(SeriesId, SeriesId), Steps>,
    pub(super) ready: VecDeque<SeriesColumn>,
    /// Whether what the many side lacks was filled in.
    pub(super) filled: bool,
    pub(super) notes: StepNotes,
}

/// What is to be remarked at each step: as in Prometheus, the last thing alone.
#[derive(Default)]
pub(super) struct StepNotes(Vec<Notes>);

impl StepNotes {
    fn put(&mut self, step: usize, notes: Notes) {
        if notes == Notes::default() {
            return;
        }
        if self.0.len() <= step {
            self.0.resize(step + 1, Notes::default());
        }
        if let Some(last) = self.0.get_mut(step) {
            *last = notes;
        }
    }

    /// All of them, which are none from then on.
    fn take(&mut self) -> Notes {
        let mut all = Notes::default();
        std::mem::take(&mut self.0).into_iter().for_each(|notes| all.merge(notes));
        all
    }
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
        one: Some(eval::open_later(exec, one, grid)),
        many: eval::open_later(exec, many, grid),
        slots: HashMap::new(),
        conflict: None,
        results: HashMap::new(),
        ready: VecDeque::new(),
        filled: false,
        notes: StepNotes::default(),
    }))
}

impl Operator for VectorBinary<'_> {
    fn next(&mut self) -> Result<Option<SeriesColumn>, QueryError> {
        if let Some(mut one) = self.one.take() {
            self.many.begin();
            while let Some(series) = one.next()? {
                self.exec.check()?;
                self.exec.keep_labels(&series.labels)?;
                self.take_in(series);
            }
            self.check_before_filling()?;
        }
        while self.ready.is_empty() {
            self.exec.check()?;
            match self.many.next()? {
                Some(series) => self.combine(&series)?,
                None if self.fill_many()? => {}
                None => {
                    self.notes.take().write(self.exec, self.node.op.as_str(), self.node.span);
                    return Ok(None);
                }
            }
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
        let (drops_late, drop_name) = (self.drops_late(), self.drops_name());
        if !self.make_slot_to_fill(&signature)? {
            return Ok(());
        }
        let entries = self.slots.get_mut(&signature).map(|slot| std::mem::take(&mut slot.entries)).unwrap_or_default();
        let mut made: Vec<SeriesColumn> = Vec::new();
        for entry in entries.iter().filter(|entry| entry.column.present.intersects(present)) {
            let labels = self.matcher.result(&many.labels, &entry.labels, drop_name);
            let at = match made.iter().position(|series| series.labels == labels) {
                Some(at) => at,
                None => {
                    made.push(SeriesColumn { labels, column: self.exec.column(self.grid)?, drops_name: drops_late });
                    made.len() - 1
                }
            };
            if let Some(series) = made.get_mut(at) {
                let matched = calculate(self.node, &many.column, &entry.column, &mut series.column, &mut self.notes)?;
                self.note_result(&signature, &series.labels, &matched)?;
            }
        }
        if let Some(slot) = self.slots.get_mut(&signature) {
            slot.entries = entries;
        }
        if many.column.has_histograms() {
            self.exec.remarks.borrow_mut().compares_histograms();
        }
        made.extend(self.fill_one(&signature, many)?);
        self.ready.extend(made.into_iter().filter(|series| !series.column.present.is_empty()));
        Ok(())
    }

    /// Notes at which steps a series of the many side has matched. Without grouping, a second one at a step is an error; with it, a
    /// second result with the same labels is.
    pub(super) fn note_result(&mut self, signature: &Labels, labels: &Labels, steps: &Steps) -> Result<(), QueryError> {
        let is_grouped = self.node.matching.cardinality != Cardinality::OneToOne;
        let mut meets = false;
        if is_grouped {
            self.exec.keep_bytes(64 + steps.size_bytes())?;
            let key = (signature.id(), labels.id());
            let before = self.results.entry(key).or_insert_with(|| Steps::none(self.grid.steps));
            meets = before.intersects(steps);
            before.unite(steps);
        }
        if let Some(slot) = self.slots.get_mut(signature)
            && (!is_grouped || self.node.matching.fill.left.is_some())
        {
            let before = slot.matched.get_or_insert_with(|| Steps::none(self.grid.steps));
            meets |= !is_grouped && before.intersects(steps);
            before.unite(steps);
        }
        match (meets, is_grouped) {
            (false, _) => Ok(()),
            (true, false) => Err(QueryError::execution(
                "multiple matches for labels: many-to-one matching must be explicit (group_left/group_right)",
            )),
            (true, true) => {
                Err(QueryError::execution("multiple matches for labels: grouping labels must ensure unique matches"))
            }
        }
    }
}

/// Writes the result at the steps that both sides have. Those that count as matched are all but the ones whose samples the operator
/// does not go together with, which are as if they had not met.
pub(super) fn calculate(
    node: &BinaryNode,
    many: &Column,
    one: &Column,
    out: &mut Column,
    notes: &mut StepNotes,
) -> Result<Steps, QueryError> {
    if many.has_histograms() || one.has_histograms() || node.op.is_trim() {
        return calculate_mixed(node, many, one, out, notes);
    }
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
    Ok(many.present.intersection(&one.present))
}

/// The same where there can be histograms.
fn calculate_mixed(
    node: &BinaryNode,
    many: &Column,
    one: &Column,
    out: &mut Column,
    notes: &mut StepNotes,
) -> Result<Steps, QueryError> {
    let operation = binary_operation(node.op);
    let many_is_right = node.matching.cardinality == Cardinality::OneToMany;
    let filters = node.op.is_comparison() && !node.return_bool;
    let met = many.present.intersection(&one.present);
    let mut matched = met.clone();
    for step in met.iter() {
        let (Some(many), Some(one)) = (Operand::of(many, step), Operand::of(one, step)) else { continue };
        let (lhs, rhs) = if many_is_right { (one, many) } else { (many, one) };
        let outcome = match (lhs, rhs) {
            (Operand::Float(lhs), Operand::Float(rhs)) if !node.op.is_trim() => {
                let result = operation(lhs, rhs);
                if !node.op.is_comparison() {
                    out.put(step, result);
                    continue;
                }
                Outcome::Truth(result != 0.0)
            }
            _ => {
                let mut last = Notes::default();
                let outcome = combined(node.op, lhs, rhs, &mut last);
                notes.put(step, last);
                outcome
            }
        };
        match (outcome, lhs) {
            (Outcome::Nothing, _) => matched.unset(step),
            (Outcome::Histogram(result), _) => out.put_histogram(step, result)?,
            (Outcome::Truth(truth), _) if !filters => out.put(step, f64::from(truth)),
            (Outcome::Truth(false), _) => {}
            (Outcome::Truth(true), Operand::Float(lhs)) => out.put(step, lhs),
            (Outcome::Truth(true), Operand::Histogram(lhs)) => out.put_histogram(step, Arc::clone(lhs))?,
        }
    }
    Ok(matched)
}

fn duplicates(signature: &Labels, left: bool, first: Option<&Labels>, second: &Labels) -> String {
    // As Prometheus has them where series come in the order of their labels: the later one first.
    let mut pair = [text::labels(first.unwrap_or(second)), text::labels(second)];
    pair.sort();
    let [second, first] = pair;
    format!(
        "found duplicate series for the match group {} on the {} hand-side of the operation: [{first}, {second}];\
         many-to-many matching not allowed: matching labels must be unique on one side",
        text::labels(signature),
        if left { "left" } else { "right" },
    )
}
