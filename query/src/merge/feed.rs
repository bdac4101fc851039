//! A stream of batches, taken series by series.

use marigram_storage::Result;
use marigram_storage::context::Reservation;
use marigram_storage::select::{SelectedSeries, SeriesBatch, SeriesStream};

/// A series, and its share of what its batch reserved.
pub(super) struct Piece {
    pub(super) series: SelectedSeries,
    pub(super) reservation: Reservation,
}

/// One stream, and what is left of its last batch.
pub(super) struct Feed {
    /// `None` once it has ended or failed.
    stream: Option<Box<dyn SeriesStream>>,
    batch: Option<(std::vec::IntoIter<SelectedSeries>, Reservation)>,
}

impl Feed {
    pub(super) fn new(stream: Box<dyn SeriesStream>) -> Self {
        Feed { stream: Some(stream), batch: None }
    }

    /// The next series; `None` at the end.
    pub(super) fn next(&mut self) -> Result<Option<Piece>> {
        loop {
            if let Some((rest, held)) = &mut self.batch
                && let Some(series) = rest.next()
            {
                // The last series of a batch takes the whole rest along.
                let bytes = if rest.len() == 0 { u64::MAX } else { series.held_bytes() as u64 };
                return Ok(Some(Piece { series, reservation: held.split(bytes) }));
            }
            self.batch = None;
            let Some(stream) = &mut self.stream else { return Ok(None) };
            match stream.next_batch()? {
                Some(SeriesBatch { series, reservation }) => self.batch = Some((series.into_iter(), reservation)),
                None => self.stream = None,
            }
        }
    }

    /// Lets go of the stream and of what is left of it.
    pub(super) fn close(&mut self) {
        *self = Feed { stream: None, batch: None };
    }
}
