//! Selects that a query makes several times are read once: `(a - b) / a`, `sum(rate(x[5m])) / count(rate(x[5m]))`.
//!
//! 1. The first of them keeps what it yields, the chunks as they are; once it has been read to its end the others are
//!    given that. One that is opened before then reads by itself.
//! 2. What is kept counts against the query's memory. Where it would take much of that nothing is kept, and all read by
//!    themselves.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::vec::IntoIter;

use marigram_storage::Result;
use marigram_storage::context::Context;
use marigram_storage::model::labels::Labels;
use marigram_storage::model::matcher::Matcher;
use marigram_storage::model::time::TimeRange;
use marigram_storage::select::{SelectRequest, SelectedSeries, SeriesBatch, SeriesStream};
use marigram_storage::write::MetadataEntry;
use parking_lot::Mutex;

use crate::plan::{Node, are_same, repeated};
use crate::source::Source;

/// All that is kept takes no more than so many bytes, …
const KEPT_BYTES_MAX: u64 = 64 << 20;
/// … and no more than such a part of what is left of the query's memory.
const KEPT_PART: u64 = 8;

/// A source as a query sees it that makes some selects several times.
pub(crate) struct SharedSelects<'q> {
    source: &'q dyn Source,
    /// The matchers of selects that are made several times, with how often.
    repeated: Vec<(&'q [Matcher], usize)>,
    made: Mutex<Vec<Made>>,
}

/// A select that was made, and will be made again.
struct Made {
    matchers: Vec<Matcher>,
    range: TimeRange,
    /// How often it may still be made.
    left: usize,
    /// Bytes and batches, once all are there.
    kept: Arc<Mutex<Option<Vec<Kept>>>>,
}

/// A batch, without what it holds of the query's memory for whoever reads it.
struct Kept {
    batch: SeriesBatch,
    bytes: u64,
}

impl<'q> SharedSelects<'q> {
    /// The source for a plan.
    pub(crate) fn new(source: &'q dyn Source, plan: &'q Node) -> Self {
        SharedSelects { source, repeated: repeated(plan), made: Mutex::default() }
    }

    /// What was kept of the same select.
    fn kept(&self, context: &Context, request: &SelectRequest<'_>) -> Result<Option<Box<dyn SeriesStream>>> {
        let mut made = self.made.lock();
        let is_same = |made: &Made| made.range == request.range && are_same(&made.matchers, request.matchers);
        let Some(found) = made.iter_mut().find(|made| is_same(made)) else { return Ok(None) };
        let mut kept = found.kept.lock();
        found.left = found.left.saturating_sub(1);
        let batches = match &*kept {
            None => return Ok(None),
            Some(_) if found.left == 0 => kept.take().into_iter().flatten().map(|kept| kept.batch).collect(),
            Some(kept) => kept.iter().map(|kept| kept.copy(context)).collect::<Result<Vec<_>>>()?,
        };
        Ok(Some(Box::new(Again(batches.into_iter()))))
    }

    /// Where a select is to keep what it yields, if it will be made again.
    fn keep(&self, request: &SelectRequest<'_>) -> Option<Arc<Mutex<Option<Vec<Kept>>>>> {
        let same = self.repeated.iter().filter(|(matchers, _)| are_same(matchers, request.matchers));
        let times = same.map(|(_, times)| *times).max()?;
        let mut made = self.made.lock();
        if made.iter().any(|made| made.range == request.range && are_same(&made.matchers, request.matchers)) {
            return None;
        }
        let kept = Arc::default();
        let (matchers, range) = (request.matchers.to_vec(), request.range);
        made.push(Made { matchers, range, left: times - 1, kept: Arc::clone(&kept) });
        Some(kept)
    }
}

impl Kept {
    fn copy(&self, context: &Context) -> Result<SeriesBatch> {
        let reservation = context.reserve(self.bytes)?;
        Ok(SeriesBatch { series: self.batch.series.clone(), reservation })
    }
}

impl Source for SharedSelects<'_> {
    fn select(&self, context: &Context, request: SelectRequest<'_>) -> Result<Box<dyn SeriesStream>> {
        if self.repeated.is_empty() || !request.drop_labels.is_empty() {
            return self.source.select(context, request);
        }
        if let Some(stream) = self.kept(context, &request)? {
            return Ok(stream);
        }
        let stream = self.source.select(context, request)?;
        Ok(match self.keep(&request) {
            Some(place) => {
                Box::new(Keeping { stream, context: context.clone(), so_far: Some(Vec::new()), bytes: 0, place })
            }
            None => stream,
        })
    }

    fn series(
        &self,
        context: &Context,
        selectors: &[Vec<Matcher>],
        range: TimeRange,
        limit: usize,
    ) -> Result<Vec<Labels>> {
        self.source.series(context, selectors, range, limit)
    }

    fn label_names(
        &self,
        context: &Context,
        selectors: &[Vec<Matcher>],
        range: TimeRange,
        limit: usize,
    ) -> Result<Vec<String>> {
        self.source.label_names(context, selectors, range, limit)
    }

    fn label_values(
        &self,
        context: &Context,
        name: &str,
        selectors: &[Vec<Matcher>],
        range: TimeRange,
        limit: usize,
    ) -> Result<Vec<String>> {
        self.source.label_values(context, name, selectors, range, limit)
    }

    fn metadata(&self, context: &Context) -> Result<BTreeMap<String, Vec<MetadataEntry>>> {
        self.source.metadata(context)
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
    place: Arc<Mutex<Option<Vec<Kept>>>>,
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
