//! Functions of range vectors as operators.

use hashbrown::HashSet;
use marigram_storage::model::labels::SeriesId;

use super::reach::Reach;
use super::samples::SampleReader;
use super::windows::OverWindows;
use crate::error::QueryError;
use crate::eval::function::WindowFunction;
use crate::eval::leaf::Leaf;
use crate::eval::{BoxedOperator, Exec, Grid, Operator, SeriesColumn, scalar, sweep};
use crate::plan::{MatrixNode, ScalarNode};

/// A function of a range vector. Not inlined: queries are opened level by level, and a level should take little of the stack.
#[inline(never)]
pub(in crate::eval) fn open<'q>(
    exec: &'q Exec<'q>,
    function: &'q WindowFunction,
    input: &'q MatrixNode,
    args: &'q [ScalarNode],
    grid: Grid,
) -> Result<BoxedOperator<'q>, QueryError> {
    Ok(Box::new(RangeFunction::new(exec, function, input, args, grid)?))
}

/// A function of a range vector.
struct RangeFunction<'q> {
    exec: &'q Exec<'q>,
    input: Input<'q>,
    /// Names go, and with them, perhaps, what kept two series apart; that is an error even where they never meet.
    seen: HashSet<SeriesId>,
}

enum Input<'q> {
    /// Raw samples: each series is worked on by itself.
    Store(Leaf<'q, OverWindows>),
    Other(SampleReader<'q>, OverWindows, sweep::Scratch),
}

impl<'q> RangeFunction<'q> {
    fn new(
        exec: &'q Exec<'q>,
        function: &'q WindowFunction,
        input: &'q MatrixNode,
        args: &'q [ScalarNode],
        grid: Grid,
    ) -> Result<Self, QueryError> {
        let args = args.iter().map(|arg| scalar::evaluate(exec, arg, grid)).collect::<Result<_, _>>()?;
        let reach = Reach::of(exec, input);
        let wants_starts = function.uses_starts && exec.options.features.use_start_timestamps;
        let work = OverWindows { function: *function, args, reach, grid, wants_starts };
        let input = match input {
            MatrixNode::Select { select, .. } if grid.steps > 0 => {
                Input::Store(Leaf::open(exec, select, reach.of_all_steps_ms(grid), work)?)
            }
            _ => Input::Other(SampleReader::open(exec, input, grid)?, work, sweep::Scratch::default()),
        };
        Ok(RangeFunction { exec, input, seen: HashSet::new() })
    }

    fn evaluated(&mut self) -> Result<Option<SeriesColumn>, QueryError> {
        let (reader, work, scratch) = match &mut self.input {
            Input::Store(leaf) => return leaf.next(),
            Input::Other(reader, work, scratch) => (reader, work, scratch),
        };
        while let Some(labels) = reader.next()? {
            if let Some(series) = work.column(self.exec, scratch, &labels, reader.raw.samples())? {
                return Ok(Some(SeriesColumn { drops_name: series.drops_name || reader.drops_name, ..series }));
            }
        }
        Ok(None)
    }
}

impl Operator for RangeFunction<'_> {
    fn next(&mut self) -> Result<Option<SeriesColumn>, QueryError> {
        let Some(series) = self.evaluated()? else { return Ok(None) };
        self.exec.keep_bytes(32)?;
        if !self.seen.insert(series.labels.id()) && !self.exec.options.features.delayed_name_removal {
            return Err(QueryError::same_labelset());
        }
        Ok(Some(series))
    }
}
