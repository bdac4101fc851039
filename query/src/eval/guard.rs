//! Guards against two samples with the same labels at the same step, which operators can produce that change labels.

use hashbrown::HashMap;
use hashbrown::hash_map::Entry;
use marigram_storage::model::labels::SeriesId;

use super::column::Steps;
use super::{BoxedOperator, Exec, Operator, SeriesColumn};
use crate::error::QueryError;
use crate::plan::VectorNode;

/// Puts a guard around the operator of `node`, unless the plan shows that its labels stay apart.
pub(super) fn guarded<'q>(exec: &'q Exec<'q>, node: &VectorNode, operator: BoxedOperator<'q>) -> BoxedOperator<'q> {
    let safe = match node {
        VectorNode::Map { input, .. } | VectorNode::Negate(input) => input.is_bare(),
        VectorNode::WithScalar(binary) => binary.op.is_comparison() && !binary.return_bool || binary.vector.is_bare(),
        _ => false,
    };
    if safe { operator } else { Box::new(Guard { exec, input: operator, seen: HashMap::new() }) }
}

/// Remembers at which steps each label set has had a sample.
struct Guard<'q> {
    exec: &'q Exec<'q>,
    input: BoxedOperator<'q>,
    seen: HashMap<SeriesId, Steps>,
}

impl Operator for Guard<'_> {
    fn next(&mut self) -> Result<Option<SeriesColumn>, QueryError> {
        self.exec.check()?;
        let Some(series) = self.input.next()? else { return Ok(None) };
        match self.seen.entry(series.labels.id()) {
            Entry::Vacant(entry) => {
                self.exec.keep_bytes(32 + series.column.present.size_bytes())?;
                entry.insert(series.column.present.clone());
            }
            Entry::Occupied(mut entry) => {
                if entry.get().intersects(&series.column.present) {
                    return Err(QueryError::same_labelset());
                }
                entry.get_mut().unite(&series.column.present);
            }
        }
        Ok(Some(series))
    }

    fn begin(&mut self) {
        self.input.begin();
    }
}
