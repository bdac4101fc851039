//! Functions of range vectors as operators.

use std::sync::Arc;

use hashbrown::HashSet;
use marigram_storage::model::labels::SeriesId;
use parking_lot::Mutex;

use super::reach::Reach;
use super::samples::SampleReader;
use super::windows::OverWindows;
use crate::error::QueryError;
use crate::eval::function::WindowFunction;
use crate::eval::leaf::Leaf;
use crate::eval::{BoxedOperator, Exec, Grid, Kept, Operator, SeriesColumn, Sink, scalar, sweep};
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
    seen: Arc<Mutex<Seen>>,
}

/// The series so far. Names go, and with them, perhaps, what kept two series apart; that is an error even where they never meet.
struct Seen {
    series: HashSet<SeriesId>,
    /// Names go later, and two series that are the same then are looked for later.
    may_repeat: bool,
    kept: Kept,
}

/// Sees series before another sink takes them.
struct Watched {
    seen: Arc<Mutex<Seen>>,
    sink: Arc<dyn Sink>,
}

enum Input<'q> {
    /// Raw samples: each series is worked on by itself.
    Store(Box<Leaf<'q, OverWindows>>),
    Other(Box<(SampleReader<'q>, OverWindows, sweep::Scratch)>),
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
        let work = OverWindows { function: *function, args, reach, grid, scope: exec.scope(grid), wants_starts };
        let input = match input {
            MatrixNode::Select { select, .. } if grid.steps > 0 => {
                Input::Store(Box::new(Leaf::open(exec, select, reach.of_all_steps_ms(grid), work)?))
            }
            _ => Input::Other(Box::new((SampleReader::open(exec, input, grid)?, work, sweep::Scratch::default()))),
        };
        let may_repeat = exec.options.features.delayed_name_removal;
        let seen = Seen { series: HashSet::new(), may_repeat, kept: exec.kept.clone() };
        Ok(RangeFunction { exec, input, seen: Arc::new(Mutex::new(seen)) })
    }

    fn evaluated(&mut self) -> Result<Option<SeriesColumn>, QueryError> {
        let (reader, work, scratch) = match &mut self.input {
            Input::Store(leaf) => return leaf.next(),
            Input::Other(other) => (&mut other.0, &mut other.1, &mut other.2),
        };
        while let Some(labels) = reader.next()? {
            let (series, looked) = work.column(self.exec, scratch, &labels, reader.raw.samples())?;
            self.exec.counts.add(&work.scope, &looked);
            if let Some(series) = series {
                return Ok(Some(SeriesColumn { drops_name: series.drops_name || reader.drops_name, ..series }));
            }
        }
        Ok(None)
    }
}

impl Operator for RangeFunction<'_> {
    fn next(&mut self) -> Result<Option<SeriesColumn>, QueryError> {
        let Some(series) = self.evaluated()? else { return Ok(None) };
        self.seen.lock().see(series.labels.id())?;
        Ok(Some(series))
    }

    fn share(&mut self, sink: Arc<dyn Sink>) {
        if let Input::Store(leaf) = &mut self.input {
            leaf.share(Arc::new(Watched { seen: Arc::clone(&self.seen), sink }));
        }
    }

    fn begin(&mut self) {
        if let Input::Store(leaf) = &mut self.input {
            leaf.begin();
        }
    }
}

impl Seen {
    fn see(&mut self, series: SeriesId) -> Result<(), QueryError> {
        self.kept.keep_bytes(32)?;
        if !self.series.insert(series) && !self.may_repeat {
            return Err(QueryError::same_labelset());
        }
        Ok(())
    }
}

impl Sink for Watched {
    fn put(&self, series: &SeriesColumn) -> bool {
        let id = series.labels.id();
        if self.seen.lock().see(id).is_err() {
            return false;
        }
        let taken = self.sink.put(series);
        if !taken {
            self.seen.lock().series.remove(&id);
        }
        taken
    }
}
