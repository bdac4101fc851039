//! The leaves of a query: series out of a select, each evaluated by itself, in the order in which they come.

use marigram_storage::context::Reservation;
use marigram_storage::model::labels::Labels;
use marigram_storage::select::{SelectedSeries, SeriesStream};

use super::reader::{SampleDecoder, Samples};
use super::{EvalContext, Exec, SeriesColumn};
use crate::error::QueryError;
use crate::plan::Select;

/// What a leaf makes of one series; nothing that it does depends on other series.
pub(super) trait Evaluate {
    /// Memory that is used again for the next series.
    type Scratch: Default;

    /// The series over the grid; `None` where it has no sample there.
    fn evaluate(
        &self,
        eval: &EvalContext,
        scratch: &mut Self::Scratch,
        labels: &Labels,
        samples: Samples<'_>,
    ) -> Result<Option<SeriesColumn>, QueryError>;
}

/// Reads a select and evaluates its series.
pub(super) struct Leaf<'q, E: Evaluate> {
    exec: &'q Exec<'q>,
    stream: Box<dyn SeriesStream>,
    work: E,
    decoder: SampleDecoder,
    scratch: E::Scratch,
    series: std::vec::IntoIter<SelectedSeries>,
    /// Of the batch that the series are of.
    reservation: Option<Reservation>,
}

impl<'q, E: Evaluate> Leaf<'q, E> {
    /// Opens a select over `(after_ms, until_ms]`.
    pub(super) fn open(
        exec: &'q Exec<'q>,
        select: &Select,
        (after_ms, until_ms): (i64, i64),
        work: E,
    ) -> Result<Self, QueryError> {
        let (stream, range) = exec.select(&select.matchers, after_ms, until_ms)?;
        let (decoder, scratch) = (SampleDecoder::new(select, range), E::Scratch::default());
        Ok(Leaf { exec, stream, work, decoder, scratch, series: Vec::new().into_iter(), reservation: None })
    }

    /// The next series that has samples; `None` at the end.
    pub(super) fn next(&mut self) -> Result<Option<SeriesColumn>, QueryError> {
        let eval = &self.exec.eval;
        eval.check()?;
        loop {
            for series in self.series.by_ref() {
                let (work, scratch) = (&self.work, &mut self.scratch);
                let found = self
                    .decoder
                    .decode(eval, &series, |samples| work.evaluate(eval, scratch, &series.labels, samples))?;
                if found.is_some() {
                    return Ok(found);
                }
                eval.check()?;
            }
            // The old batch goes first: its memory counts against the budget of the next.
            self.reservation = None;
            let Some(batch) = self.stream.next_batch()? else { return Ok(None) };
            (self.series, self.reservation) = (batch.series.into_iter(), Some(batch.reservation));
        }
    }
}
