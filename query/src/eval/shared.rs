//! Selects that a query makes several times are read once: `(a - b) / a`, `sum(rate(x[5m])) / count(rate(x[5m]))`.
//!
//! 1. The first of them keeps what it yields, the chunks as they are; once it has been read to its end the others are
//!    given that. One that is opened before then reads by itself.
//! 2. What is kept counts against the query's memory. Where it would take much of that nothing is kept, and all read by
//!    themselves.

use std::cell::RefCell;
use std::sync::Arc;
use std::vec::IntoIter;

use marigram_storage::Result;
use marigram_storage::context::Context;
use marigram_storage::model::matcher::Matcher;
use marigram_storage::model::time::TimeRange;
use marigram_storage::select::{SelectRequest, SelectedSeries, SeriesBatch, SeriesStream};
use parking_lot::Mutex;

use crate::plan::are_same;
use crate::source::Source;

/// All that is kept takes no more than so many bytes, …
const KEPT_BYTES_MAX: u64 = 64 << 20;
/// … and no more than such a part of what is left of the query's memory.
const KEPT_PART: u64 = 8;

/// The selects of a query.
pub(crate) struct SharedSelects<'q> {
    source: &'q dyn Source,
    /// The matchers of selects that are made several times, with how often.
    repeated: Vec<(&'q [Matcher], usize)>,
    made: RefCell<Vec<Made>>,
}

/// A select that was made, and will be made again.
struct Made {
    matchers: Vec<Matcher>,
    range: TimeRange,
    /// How often it may still be made.
    left: usize,
    place: Place,
}

/// Where the batches of a select are, once all are there.
type Place = Arc<Mutex<Option<Vec<Kept>>>>;

/// A batch, without what it holds of the query's memory for whoever reads it.
struct Kept {
    batch: SeriesBatch,
    bytes: u64,
}

impl<'q> SharedSelects<'q> {
    /// Those out of a source, of which these [are made several times](crate::plan::repeated).
    pub(crate) fn new(source: &'q dyn Source, repeated: Vec<(&'q [Matcher], usize)>) -> Self {
        SharedSelects { source, repeated, made: RefCell::default() }
    }

    /// Whether the query makes selects with these matchers several times.
    pub(crate) fn is_repeated(&self, matchers: &[Matcher]) -> bool {
        self.repeated.iter().any(|(repeated, _)| are_same(repeated, matchers))
    }

    /// Makes a select, or reads again what it yielded.
    pub(crate) fn select(
        &self,
        context: &Context,
        matchers: &[Matcher],
        range: TimeRange,
    ) -> Result<Box<dyn SeriesStream>> {
        let request = SelectRequest { matchers, range, drop_labels: &[] };
        let same = self.repeated.iter().filter(|(repeated, _)| are_same(repeated, matchers));
        let Some(times) = same.map(|(_, times)| *times).max() else { return self.source.select(context, request) };
        let mut made = self.made.borrow_mut();
        if let Some(found) = made.iter_mut().find(|made| made.range == range && are_same(&made.matchers, matchers)) {
            return match found.again(context)? {
                Some(batches) => Ok(Box::new(Again(batches.into_iter()))),
                None => self.source.select(context, request),
            };
        }
        let stream = self.source.select(context, request)?;
        let place = Place::default();
        made.push(Made { matchers: matchers.to_vec(), range, left: times - 1, place: Arc::clone(&place) });
        Ok(Box::new(Keeping { stream, context: context.clone(), so_far: Some(Vec::new()), bytes: 0, place }))
    }
}

impl Made {
    /// What was kept; `None` where nothing is.
    fn again(&mut self, context: &Context) -> Result<Option<Vec<SeriesBatch>>> {
        self.left = self.left.saturating_sub(1);
        let mut kept = self.place.lock();
        match &*kept {
            None => Ok(None),
            Some(_) if self.left == 0 => Ok(kept.take().map(|all| all.into_iter().map(|kept| kept.batch).collect())),
            Some(all) => all.iter().map(|kept| kept.copy(context)).collect::<Result<_>>().map(Some),
        }
    }
}

impl Kept {
    fn copy(&self, context: &Context) -> Result<SeriesBatch> {
        let reservation = context.reserve(self.bytes)?;
        Ok(SeriesBatch { series: self.batch.series.clone(), reservation })
    }
}

/// A stream that keeps what it yields.
struct Keeping {
    stream: Box<dyn SeriesStream>,
    context: Context,
    /// `None` once it has become too much.
    so_far: Option<Vec<Kept>>,
    bytes: u64,
    /// Where it goes at the end.
    place: Place,
}

impl Keeping {
    fn keep(&mut self, series: &[SelectedSeries]) {
        let Some(so_far) = &mut self.so_far else { return };
        let bytes = series.iter().map(|series| series.held_bytes() as u64).sum::<u64>();
        self.bytes += bytes;
        let bytes_max = KEPT_BYTES_MAX.min(self.context.budget_left() / KEPT_PART);
        let reservation = if self.bytes <= bytes_max { self.context.reserve(bytes).ok() } else { None };
        match reservation {
            Some(reservation) => {
                so_far.push(Kept { batch: SeriesBatch { series: series.to_vec(), reservation }, bytes })
            }
            None => self.so_far = None,
        }
    }
}

impl SeriesStream for Keeping {
    fn next_batch(&mut self) -> Result<Option<SeriesBatch>> {
        let next = self.stream.next_batch()?;
        match &next {
            Some(batch) => self.keep(&batch.series),
            None => {
                if let Some(all) = self.so_far.take() {
                    *self.place.lock() = Some(all);
                }
            }
        }
        Ok(next)
    }
}

/// What was kept, once more.
struct Again(IntoIter<SeriesBatch>);

impl SeriesStream for Again {
    fn next_batch(&mut self) -> Result<Option<SeriesBatch>> {
        Ok(self.0.next())
    }
}
