//! Operators that are opened when they are first asked: what holds data from then on does so only while it is read.
//!
//! One that is but series out of a select may begin before, while the query's thread reads the other side of an operator: the other
//! threads would have nothing to do meanwhile. Only one of a query does so at a time, so that what they hold together does not depend on
//! how many the query has.

use super::exec::Ahead;
use super::{BoxedOperator, Exec, Grid, Operator, SeriesColumn, open};
use crate::error::QueryError;
use crate::plan::VectorNode;

struct Later<'q> {
    exec: &'q Exec<'q>,
    node: &'q VectorNode,
    grid: Grid,
    opened: Option<BoxedOperator<'q>>,
    /// While others have begun, and it has not been asked.
    ahead: Option<Ahead<'q>>,
}

/// The operator that evaluates `node` over `grid`, not opened yet.
pub(super) fn open_later<'q>(exec: &'q Exec<'q>, node: &'q VectorNode, grid: Grid) -> BoxedOperator<'q> {
    Box::new(Later { exec, node, grid, opened: None, ahead: None })
}

impl Operator for Later<'_> {
    fn next(&mut self) -> Result<Option<SeriesColumn>, QueryError> {
        self.ahead = None;
        let operator = match &mut self.opened {
            Some(operator) => operator,
            None => self.opened.insert(open(self.exec, self.node, self.grid)?),
        };
        operator.next()
    }

    fn begin(&mut self) {
        // A select that is made again is to be read first where it keeps what it yields.
        let begins = self.node.only_select().is_some_and(|select| !self.exec.selects.is_repeated(&select.matchers));
        if !begins || self.opened.is_some() {
            return;
        }
        let Some(ahead) = self.exec.ahead() else { return };
        // An error comes again when it is its turn.
        if let Ok(mut operator) = open(self.exec, self.node, self.grid) {
            operator.begin();
            (self.opened, self.ahead) = (Some(operator), Some(ahead));
        }
    }
}
