//! The union of several streams: every series once, with the chunks of all of them.
//!
//! 1. Each input holds one batch; the first series of each that was not taken yet lies in a heap, by (id, replica).
//! 2. The least one is taken, and with it all pieces of the same (id, replica): of the other inputs, and further ones of
//!    the same input, which may split a long series over batches.
//! 3. Chunks of several pieces are put in order of time; copies of one chunk are kept once. Chunks that overlap without
//!    being equal stay: the decoder joins them.
//! 4. An input that fails, or that does not ascend, is left out from then on if `on_failure` lets it. What came of it before stays,
//!    which is harmless: the join knows no difference between a sample that came once and one that came from everybody.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use marigram_storage::context::{Context, Reservation};
use marigram_storage::select::{BATCH_TARGET_BYTES, EncodedChunk, SelectedSeries, SeriesBatch, SeriesStream};
use marigram_storage::{Error, ErrorKind, Result};

use super::feed::{Feed, Piece};

/// Told which input (by its place in the list) failed, and why. `Ok`: the union goes on without it; an error ends the union.
pub type OnFailure = Box<dyn FnMut(usize, Error) -> Result<()> + Send>;

/// All series of all `inputs`, each (id, replica) once, ascending. Inputs must ascend by (id, replica) and may give one pair in
/// several consecutive pieces. They are read one batch ahead, on the caller's thread: an input that waits for a network should
/// fetch by itself meanwhile.
///
/// The end of the query itself (cancelled, out of time or memory) is not an input's failure and is returned as it is.
pub fn union(context: &Context, inputs: Vec<Box<dyn SeriesStream>>, on_failure: OnFailure) -> Box<dyn SeriesStream> {
    let inputs = inputs.into_iter().map(Feed::new).collect();
    Box::new(Union { context: context.clone(), inputs, heads: BinaryHeap::new(), on_failure, state: State::Unread })
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Unread,
    Reading,
    Over,
}

struct Union {
    context: Context,
    inputs: Vec<Feed>,
    heads: BinaryHeap<Head>,
    on_failure: OnFailure,
    state: State,
}

/// The next series of an input.
struct Head {
    piece: Piece,
    input: usize,
}

/// Reversed, so that the greatest of the heap is the least series.
impl Ord for Head {
    fn cmp(&self, other: &Self) -> Ordering {
        key_order(&other.piece.series, &self.piece.series).then_with(|| other.input.cmp(&self.input))
    }
}

impl PartialOrd for Head {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Head {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Head {}

/// The order of a stream.
fn key_order(a: &SelectedSeries, b: &SelectedSeries) -> Ordering {
    a.id.cmp(&b.id).then_with(|| a.replica.cmp(&b.replica))
}

impl SeriesStream for Union {
    fn next_batch(&mut self) -> Result<Option<SeriesBatch>> {
        if self.state == State::Over {
            return Ok(None);
        }
        let batch = self.fill();
        if !matches!(batch, Ok(Some(_))) {
            // After an error, too, nothing more comes, and nothing is held any longer.
            self.state = State::Over;
            self.inputs.clear();
            self.heads.clear();
        }
        batch
    }
}

impl Union {
    fn fill(&mut self) -> Result<Option<SeriesBatch>> {
        self.context.check()?;
        if self.state == State::Unread {
            self.state = State::Reading;
            for input in 0..self.inputs.len() {
                if let Some(piece) = self.next_of(input, None)? {
                    self.heads.push(Head { piece, input });
                }
            }
        }
        let mut series = Vec::new();
        let mut bytes = 0;
        let mut reservation = self.context.reserve(0)?;
        while bytes < BATCH_TARGET_BYTES {
            let Some(next) = self.take_series(&mut reservation)? else { break };
            bytes += next.held_bytes();
            series.push(next);
        }
        Ok((!series.is_empty()).then_some(SeriesBatch { series, reservation }))
    }

    /// All pieces of the least series.
    fn take_series(&mut self, reservation: &mut Reservation) -> Result<Option<SelectedSeries>> {
        let Some(mut series) = self.take_head(reservation)? else { return Ok(None) };
        let mut pieces = 1;
        while self.heads.peek().is_some_and(|head| key_order(&head.piece.series, &series).is_eq()) {
            let Some(more) = self.take_head(reservation)? else { break };
            series.chunks.extend(more.chunks);
            pieces += 1;
        }
        if pieces > 1 {
            put_in_order(&mut series.chunks);
        }
        Ok(Some(series))
    }

    /// Takes the least head with what it has reserved, and puts the input's next series in its place.
    fn take_head(&mut self, reservation: &mut Reservation) -> Result<Option<SelectedSeries>> {
        let Some(Head { piece, input }) = self.heads.pop() else { return Ok(None) };
        reservation.absorb(piece.reservation);
        if let Some(next) = self.next_of(input, Some(&piece.series))? {
            self.heads.push(Head { piece: next, input });
        }
        Ok(Some(piece.series))
    }

    /// The next series of an input, which must not be less than the one `before`; `None` at its end, and after a failure that
    /// was let through.
    fn next_of(&mut self, index: usize, before: Option<&SelectedSeries>) -> Result<Option<Piece>> {
        let Some(input) = self.inputs.get_mut(index) else { return Ok(None) };
        let error = match input.next() {
            Ok(Some(piece)) if before.is_some_and(|before| key_order(before, &piece.series).is_gt()) => {
                Error::corrupt("a stream of series", "it does not ascend")
            }
            Ok(next) => return Ok(next),
            Err(error) => error,
        };
        input.close();
        self.context.check()?;
        match error.kind() {
            ErrorKind::LimitExceeded | ErrorKind::Cancelled => Err(error),
            _ => (self.on_failure)(index, error).map(|()| None),
        }
    }
}

/// Orders the chunks of several pieces by time, and keeps equal ones once.
fn put_in_order(chunks: &mut Vec<EncodedChunk>) {
    let order = |a: &EncodedChunk, b: &EncodedChunk| {
        (a.min_ms, a.max_ms).cmp(&(b.min_ms, b.max_ms)).then_with(|| (&a.bytes, &a.times).cmp(&(&b.bytes, &b.times)))
    };
    chunks.sort_unstable_by(order);
    chunks.dedup_by(|a, b| order(a, b).is_eq());
}
