//! The bucket's series of a select, planned again once from the newest catalog when an object cannot be read.
//!
//! A newer catalog may have the same data in other blocks, never less of it. The stream ascends, so the second one is
//! read from the series on that the first gave last; what comes twice is joined.

use std::sync::Arc;

use marigram_storage::Error;
use marigram_storage::Result;
use marigram_storage::context::Context;
use marigram_storage::model::labels::{Labels, SeriesId};
use marigram_storage::model::matcher::Matcher;
use marigram_storage::model::time::TimeRange;
use marigram_storage::select::{SelectRequest, SeriesBatch, SeriesStream};

use super::archive::Archive;
use super::ask::is_the_querys_own;
use super::cluster::blocks_of;
use super::counters::Counters;

pub(super) struct BucketStream {
    stream: Box<dyn SeriesStream>,
    archive: Arc<dyn Archive>,
    context: Context,
    matchers: Vec<Matcher>,
    range: TimeRange,
    drop_labels: Vec<String>,
    counters: Arc<Counters>,
    /// The series that came last.
    last: Option<(SeriesId, Labels)>,
    replanned: bool,
}

impl BucketStream {
    /// Goes on from `stream`, which reads `range`.
    pub(super) fn new(
        stream: Box<dyn SeriesStream>,
        archive: Arc<dyn Archive>,
        context: &Context,
        request: SelectRequest<'_>,
        range: TimeRange,
        counters: &Arc<Counters>,
    ) -> Self {
        BucketStream {
            stream,
            archive,
            context: context.clone(),
            matchers: request.matchers.to_vec(),
            range,
            drop_labels: request.drop_labels.to_vec(),
            counters: Arc::clone(counters),
            last: None,
            replanned: false,
        }
    }

    fn replan(&mut self, error: &Error) -> Result<()> {
        self.replanned = true;
        self.counters.add_bucket_replan();
        let newest = self.archive.refresh().map_err(|why| Error::Unavailable(format!("{error}; {why}")))?;
        let request = SelectRequest { matchers: &self.matchers, range: self.range, drop_labels: &self.drop_labels };
        self.stream = self.archive.select(&self.context, &blocks_of(&newest, self.range), request)?;
        Ok(())
    }

    /// Takes away what came before the last series.
    fn resumed(&self, mut batch: SeriesBatch) -> SeriesBatch {
        if let Some((id, replica)) = &self.last {
            batch.series.retain(|series| (series.id, &series.replica) >= (*id, replica));
        }
        batch
    }
}

impl SeriesStream for BucketStream {
    fn next_batch(&mut self) -> Result<Option<SeriesBatch>> {
        loop {
            match self.stream.next_batch() {
                Ok(Some(batch)) => {
                    let batch = self.resumed(batch);
                    let Some(last) = batch.series.last() else { continue };
                    self.last = Some((last.id, last.replica.clone()));
                    return Ok(Some(batch));
                }
                Ok(None) => return Ok(None),
                Err(error) if self.replanned || is_the_querys_own(&error) => return Err(error),
                Err(error) => self.replan(&error)?,
            }
        }
    }
}
