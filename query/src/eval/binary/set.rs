//! Set operators. Only the *presence* of one side is kept, by the labels that are matched by: of the right side for
//! `and` and `unless`, of the left for `or`; the other side streams through the mask.

use hashbrown::HashMap;
use hashbrown::hash_map::Entry;
use marigram_storage::model::labels::Labels;

use super::matching::Matcher;
use crate::error::QueryError;
use crate::eval::column::Steps;
use crate::eval::{self, BoxedOperator, Exec, Grid, Operator, SeriesColumn};
use crate::parse::ast::BinaryOp;
use crate::plan::SetNode;

struct SetOperator<'q> {
    exec: &'q Exec<'q>,
    op: BinaryOp,
    matcher: Matcher<'q>,
    lhs: Option<BoxedOperator<'q>>,
    rhs: Option<BoxedOperator<'q>>,
    present: HashMap<Labels, Steps>,
}

/// The operator of `and`, `or`, `unless`.
pub(in crate::eval) fn open_set<'q>(
    exec: &'q Exec<'q>,
    node: &'q SetNode,
    grid: Grid,
) -> Result<BoxedOperator<'q>, QueryError> {
    Ok(Box::new(SetOperator {
        exec,
        op: node.op,
        matcher: Matcher::new(&node.matching),
        lhs: Some(eval::open_later(exec, &node.lhs, grid)),
        rhs: Some(eval::open_later(exec, &node.rhs, grid)),
        present: HashMap::new(),
    }))
}

impl Operator for SetOperator<'_> {
    fn next(&mut self) -> Result<Option<SeriesColumn>, QueryError> {
        match self.op {
            BinaryOp::Or => self.next_of_either(),
            _ => self.next_of_left(),
        }
    }
}

impl SetOperator<'_> {
    fn note(&mut self, series: &SeriesColumn) -> Result<(), QueryError> {
        let present = &series.column.present;
        match self.present.entry(self.matcher.signature(&series.labels)) {
            Entry::Occupied(mut entry) => entry.get_mut().unite(present),
            Entry::Vacant(entry) => {
                self.exec.keep_labels(entry.key())?;
                self.exec.keep_bytes(present.size_bytes())?;
                entry.insert(present.clone());
            }
        }
        Ok(())
    }

    /// `or`: all of the left, then what the left does not have.
    fn next_of_either(&mut self) -> Result<Option<SeriesColumn>, QueryError> {
        if let Some(lhs) = &mut self.lhs {
            self.exec.check()?;
            match lhs.next()? {
                Some(series) => {
                    self.note(&series)?;
                    return Ok(Some(series));
                }
                None => self.lhs = None,
            }
        }
        let Some(rhs) = &mut self.rhs else { return Ok(None) };
        while let Some(mut series) = rhs.next()? {
            self.exec.check()?;
            if let Some(left) = self.present.get(&self.matcher.signature(&series.labels)) {
                series.column.present.subtract(left);
            }
            if !series.column.present.is_empty() {
                return Ok(Some(series));
            }
        }
        Ok(None)
    }

    /// `and`, `unless`: the left, where the right has something, or has nothing.
    fn next_of_left(&mut self) -> Result<Option<SeriesColumn>, QueryError> {
        if let Some(mut rhs) = self.rhs.take() {
            self.lhs.iter_mut().for_each(|lhs| lhs.begin());
            while let Some(series) = rhs.next()? {
                self.exec.check()?;
                self.note(&series)?;
            }
        }
        let Some(lhs) = &mut self.lhs else { return Ok(None) };
        while let Some(mut series) = lhs.next()? {
            self.exec.check()?;
            let present = &mut series.column.present;
            match (self.op, self.present.get(&self.matcher.signature(&series.labels))) {
                (BinaryOp::And, Some(right)) => present.intersect(right),
                (BinaryOp::And, None) => continue,
                (_, Some(right)) => present.subtract(right),
                (_, None) => {}
            }
            if !series.column.present.is_empty() {
                return Ok(Some(series));
            }
        }
        Ok(None)
    }
}
