//! `fill`, `fill_left`, `fill_right`: a number stands in where one side has no series for the other's.
//!
//! The right value stands for the *one* side, the left value for the *many* side, also with `group_right`: that is how
//! Prometheus does it. The series that stands in has the labels that are matched by, and nothing else.

use marigram_storage::model::labels::Labels;

use super::vector::{Slot, VectorBinary, calculate};
use crate::error::QueryError;
use crate::eval::SeriesColumn;
use crate::eval::column::{Column, Steps};

impl VectorBinary<'_> {
    /// Series of the one side that match the same are an error even where nothing meets them, if something is filled in.
    pub(super) fn check_before_filling(&self) -> Result<(), QueryError> {
        match &self.conflict {
            Some(conflict) if !self.node.matching.fill.is_none() => {
                Err(QueryError::execution(conflict.message.clone()))
            }
            _ => Ok(()),
        }
    }

    /// Whether a series of the many side has something to be combined with; the slot is made where only a number does.
    pub(super) fn make_slot_to_fill(&mut self, signature: &Labels) -> Result<bool, QueryError> {
        if self.node.matching.fill.right.is_none() || self.slots.contains_key(signature) {
            return Ok(self.slots.contains_key(signature));
        }
        self.exec.keep_labels(signature)?;
        let taken = Steps::none(self.grid.steps);
        self.slots.insert(signature.clone(), Slot { entries: Vec::new(), taken, matched: None });
        Ok(true)
    }

    /// The result of a series of the many side at the steps where the one side has nothing.
    pub(super) fn fill_one(
        &mut self,
        signature: &Labels,
        many: &SeriesColumn,
    ) -> Result<Option<SeriesColumn>, QueryError> {
        let Some(value) = self.node.matching.fill.right else { return Ok(None) };
        let mut missing = many.column.present.clone();
        if let Some(slot) = self.slots.get(signature) {
            missing.subtract(&slot.taken);
        }
        if missing.is_empty() {
            return Ok(None);
        }
        let labels = self.matcher.result(&many.labels, signature, self.drops_name());
        let one = self.constant(value, missing)?;
        self.calculated(signature, labels, &many.column, &one).map(Some)
    }

    /// Once the many side is through: results for what of the one side met nothing. `false` the second time.
    pub(super) fn fill_many(&mut self) -> Result<bool, QueryError> {
        if std::mem::replace(&mut self.filled, true) {
            return Ok(false);
        }
        let Some(value) = self.node.matching.fill.left else { return Ok(false) };
        for (signature, slot) in std::mem::take(&mut self.slots) {
            self.exec.check()?;
            for one in &slot.entries {
                let mut missing = one.column.present.clone();
                if let Some(matched) = &slot.matched {
                    missing.subtract(matched);
                }
                if missing.is_empty() {
                    continue;
                }
                let labels = self.matcher.result(&signature, &one.labels, self.drops_name());
                let many = self.constant(value, missing)?;
                let made = self.calculated(&signature, labels, &many, &one.column)?;
                self.ready.extend((!made.column.present.is_empty()).then_some(made));
            }
        }
        Ok(true)
    }

    /// A column with the same number at some steps.
    fn constant(&self, value: f64, steps: Steps) -> Result<Column, QueryError> {
        let mut column = self.exec.column(self.grid)?;
        steps.iter().for_each(|step| column.put(step, value));
        Ok(column)
    }

    fn calculated(
        &mut self,
        signature: &Labels,
        labels: Labels,
        many: &Column,
        one: &Column,
    ) -> Result<SeriesColumn, QueryError> {
        let mut column = self.exec.column(self.grid)?;
        let matched = calculate(self.node, many, one, &mut column, &mut self.notes)?;
        self.note_result(signature, &labels, &matched)?;
        Ok(SeriesColumn { labels, column, drops_name: self.drops_late() })
    }

    /// Whether names go at the end of the query only.
    pub(super) fn drops_late(&self) -> bool {
        self.node.return_bool && self.exec.options.features.delayed_name_removal
    }

    /// Whether names go at once.
    pub(super) fn drops_name(&self) -> bool {
        let keeps_name = self.node.op.is_comparison() || self.node.op.is_trim();
        !keeps_name || self.node.return_bool && !self.drops_late()
    }
}
