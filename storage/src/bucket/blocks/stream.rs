//! A select over blocks in a bucket: finds the series of all blocks, then yields them window by window.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;

use bytes::Bytes;

use super::window::{self, Wanted};
use super::{Part, Shared, in_parallel, index_threads};
use crate::context::{Context, Reservation};
use crate::error::Result;
use crate::index::{ChunkPlace, ChunkRef};
use crate::select::{BATCH_TARGET_BYTES, EncodedChunk, SelectRequest, SelectedSeries, SeriesBatch, SeriesStream};

/// Entries are counted against the query's budget in steps of this size.
const RESERVE_STEP_BYTES: usize = 64 << 10;
/// Chunks of a window: large, so that many lie in one page; but not more than this, so that the first answer comes soon.
const WINDOW_BYTES_MAX: u64 = 64 << 20;
/// A window may take this part of what the query may still hold.
const WINDOW_BUDGET_SHARE: u64 = 4;

/// One series in one block.
struct Entry {
    /// Without its chunks, which are read with its window.
    series: SelectedSeries,
    part: u32,
    chunks: Box<[ChunkRef]>,
}

/// A running select.
pub(super) struct Stream {
    shared: Arc<Shared>,
    context: Context,
    parts: Vec<Part>,
    /// The columns of timestamps that chunks of each part share, by number: copies, so that the indexes can be let go.
    times: Vec<HashMap<u32, Bytes>>,
    entries: std::iter::Peekable<std::vec::IntoIter<Entry>>,
    _entries_reservations: Vec<Reservation>,
    window: VecDeque<SelectedSeries>,
    window_reservation: Option<Reservation>,
    over: bool,
}

/// Finds the series of all parts.
pub(super) fn open(
    shared: &Arc<Shared>,
    context: &Context,
    request: SelectRequest<'_>,
    parts: Vec<Part>,
) -> Result<Stream> {
    let numbered: Vec<(u32, &Part)> = (0..).zip(&parts).collect();
    let found = in_parallel(&numbered, index_threads(context, &parts), |(number, part)| {
        entries_of(shared, context, request, *number, part)
    })?;
    let mut entries = Vec::with_capacity(found.iter().map(|found| found.entries.len()).sum());
    let (mut reservations, mut times) = (Vec::new(), Vec::with_capacity(found.len()));
    for found in found {
        entries.extend(found.entries);
        reservations.extend(found.reservations);
        times.push(found.times);
    }
    entries.sort_unstable_by(|a, b| a.series.order(&b.series));
    Ok(Stream {
        shared: Arc::clone(shared),
        context: context.clone(),
        parts,
        times,
        entries: entries.into_iter().peekable(),
        _entries_reservations: reservations,
        window: VecDeque::new(),
        window_reservation: None,
        over: false,
    })
}

/// The series of one part, and the memory that they take out of the query's budget.
#[derive(Default)]
struct FoundSeries {
    entries: Vec<Entry>,
    times: HashMap<u32, Bytes>,
    reservations: Vec<Reservation>,
}

fn entries_of(
    shared: &Shared,
    context: &Context,
    request: SelectRequest<'_>,
    number: u32,
    part: &Part,
) -> Result<FoundSeries> {
    let _index_held = context.reserve(part.index_bytes())?;
    let index = shared.index(context, part)?;
    let (mut found, mut unreserved_bytes) = (FoundSeries::default(), 0);
    let (mut cursor, mut chunks) = (index.cursor(), Vec::new());
    for series in &index.select(request.matchers, request.range)? {
        cursor.seek(series)?;
        let (labels, id) = cursor.labels()?;
        cursor.chunks(request.range, &mut chunks)?;
        for chunk in chunks.iter().filter(|chunk| chunk.times > 0) {
            if let std::collections::hash_map::Entry::Vacant(vacant) = found.times.entry(chunk.times) {
                let column = Bytes::copy_from_slice(&cursor.times(chunk)?);
                unreserved_bytes += size_of::<(u32, Bytes)>() + column.len();
                vacant.insert(column);
            }
        }
        let chunks: Box<[ChunkRef]> = chunks.as_slice().into();
        unreserved_bytes += size_of::<Entry>() + labels.as_bytes().len() + size_of_val(&*chunks);
        found.entries.push(Entry {
            series: SelectedSeries::new(labels, request.drop_labels, Some(id)),
            part: number,
            chunks,
        });
        if unreserved_bytes >= RESERVE_STEP_BYTES {
            context.check()?;
            found.reservations.push(context.reserve(std::mem::take(&mut unreserved_bytes) as u64)?);
        }
    }
    found.reservations.push(context.reserve(unreserved_bytes as u64)?);
    Ok(found)
}

impl Stream {
    /// Takes the next series, and reads their chunks.
    fn fill_window(&mut self) -> Result<()> {
        let target_bytes = (self.context.budget_left() / WINDOW_BUDGET_SHARE).min(WINDOW_BYTES_MAX);
        let mut wanted: Vec<Vec<Wanted>> = self.parts.iter().map(|_| Vec::new()).collect();
        let mut series: Vec<SelectedSeries> = Vec::new();
        let mut bytes = 0;
        let mut columns = HashSet::new();
        // At least one series; and all blocks' entries of the last one.
        while let Some(entry) = self.entries.next_if(|entry| match series.last() {
            Some(last) => bytes < target_bytes || last.order(&entry.series).is_eq(),
            None => true,
        }) {
            if series.last().is_none_or(|last| last.order(&entry.series).is_ne()) {
                bytes += entry.series.held_bytes() as u64;
                series.push(entry.series);
            }
            let at = series.len() - 1;
            let part = entry.part as usize;
            for chunk in &entry.chunks {
                bytes += (size_of::<EncodedChunk>() + size_of::<Wanted>()) as u64 + u64::from(chunk.place.length());
                let times = self.times.get(part).and_then(|times| times.get(&chunk.times)).cloned().unwrap_or_default();
                if columns.insert((part, chunk.times)) {
                    bytes += times.len() as u64;
                }
                let inline = chunk.place.inline().map(Bytes::copy_from_slice).unwrap_or_default();
                let bare = EncodedChunk { min_ms: chunk.min_ms, max_ms: chunk.max_ms, times, bytes: inline };
                match (chunk.place, wanted.get_mut(part)) {
                    (ChunkPlace::File { offset, length }, Some(wanted)) => {
                        wanted.push(Wanted { offset, length, chunk: bare, series: at });
                    }
                    _ => series[at].chunks.push(bare),
                }
            }
        }
        self.window_reservation = Some(self.context.reserve(bytes)?);
        let mut work: Vec<(&Part, Vec<Wanted>)> =
            self.parts.iter().zip(wanted).filter(|(_, w)| !w.is_empty()).collect();
        work.iter_mut().for_each(|(_, wanted)| wanted.sort_unstable_by_key(|wanted| wanted.offset));
        let threads = window::threads(&self.context, work.len());
        let read =
            in_parallel(&work, threads, |(part, wanted)| self.shared.chunks(&self.context, part, wanted, threads))?;
        for (at, chunk) in read.into_iter().flatten() {
            if let Some(series) = series.get_mut(at) {
                series.chunks.push(chunk);
            }
        }
        series.iter_mut().for_each(|series| series.chunks.sort_by_key(|chunk| chunk.min_ms));
        self.window = series.into();
        Ok(())
    }

    fn next_in_window(&mut self) -> Result<Option<SeriesBatch>> {
        self.context.check()?;
        if self.window.is_empty() {
            self.window_reservation = None;
            self.fill_window()?;
        }
        let (mut series, mut bytes) = (Vec::new(), 0);
        while bytes < BATCH_TARGET_BYTES {
            let Some(next) = self.window.pop_front() else { break };
            bytes += next.held_bytes();
            series.push(next);
        }
        if series.is_empty() {
            return Ok(None);
        }
        // What the window reserved goes over to its batches, the last one taking the rest.
        let share = if self.window.is_empty() { u64::MAX } else { bytes as u64 };
        let reservation = match &mut self.window_reservation {
            Some(window) => window.split(share),
            None => self.context.reserve(bytes as u64)?,
        };
        Ok(Some(SeriesBatch { series, reservation }))
    }
}

impl SeriesStream for Stream {
    fn next_batch(&mut self) -> Result<Option<SeriesBatch>> {
        if self.over {
            return Ok(None);
        }
        let batch = self.next_in_window();
        self.over = !matches!(batch, Ok(Some(_)));
        batch
    }
}
