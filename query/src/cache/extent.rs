//! Answers at consecutive steps as they are kept, and how such are put together.
//!
//! Steps are numbered from the epoch on: the step `n` of a grid is at `n * step + phase`. So grids of one step and phase share their
//! numbers, wherever they begin.

use std::ops::Range;
use std::sync::Arc;

use marigram_storage::model::histogram::{Histogram, HistogramSample};
use marigram_storage::model::labels::Labels;

use crate::annotations::Remarks;
use crate::histogram::size_in_samples;
use crate::value::Series;

/// Where the steps lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Ruler {
    pub(super) step_ms: i64,
    pub(super) phase_ms: i64,
}

impl Ruler {
    /// That of a range query.
    pub(super) fn new(start_ms: i64, step_ms: i64) -> Self {
        Ruler { step_ms, phase_ms: start_ms.rem_euclid(step_ms) }
    }

    /// The last step at or before a time.
    pub(super) fn at_or_before(self, time_ms: i64) -> i64 {
        time_ms.saturating_sub(self.phase_ms).div_euclid(self.step_ms)
    }

    /// The first step at or after a time.
    pub(super) fn at_or_after(self, time_ms: i64) -> i64 {
        let before = self.at_or_before(time_ms);
        if self.time_ms(before) < time_ms { before.saturating_add(1) } else { before }
    }

    /// The time of a step.
    pub(super) fn time_ms(self, step: i64) -> i64 {
        step.saturating_mul(self.step_ms).saturating_add(self.phase_ms)
    }
}

/// The answer at the steps of a range, as it was when the newest change of the data was that of a number.
#[derive(Debug)]
pub(super) struct Extent {
    pub(super) steps: Range<i64>,
    pub(super) number: u64,
    /// By labels.
    rows: Box<[Row]>,
    /// What holds for any part of it.
    pub(super) remarks: Remarks,
    /// Memory that it takes.
    pub(super) bytes: usize,
}

/// A series of an extent. Steps are counted from the extent's first.
#[derive(Debug)]
struct Row {
    labels: Labels,
    /// Steps that have a float; `None`: all of the extent's.
    steps: Option<Box<[u32]>>,
    values: Box<[f64]>,
    histograms: Box<[(u32, Arc<Histogram>)]>,
}

impl Row {
    /// Of a series whose samples all lie at the steps of a range.
    fn new(series: &Series, ruler: Ruler, steps: &Range<i64>) -> Self {
        let place = |time_ms: i64| u32::try_from(ruler.at_or_before(time_ms) - steps.start).unwrap_or(u32::MAX);
        let is_full = series.times_ms.len() as i64 == steps.end - steps.start;
        let histograms = series.histograms.iter();
        Row {
            labels: series.labels.clone(),
            steps: (!is_full).then(|| series.times_ms.iter().map(|time_ms| place(*time_ms)).collect()),
            values: series.values.as_slice().into(),
            histograms: histograms.map(|sample| (place(sample.timestamp_ms), Arc::clone(&sample.histogram))).collect(),
        }
    }

    /// Memory that it takes, as if nobody else held its labels and histograms.
    fn bytes(&self) -> usize {
        /// The two counts of an `Arc`.
        const SHARED_BYTES: usize = 2 * size_of::<usize>();
        let steps = self.steps.as_ref().map_or(0, |steps| size_of_val(&**steps));
        let histograms = self.histograms.iter().map(|(_, histogram)| histogram.held_bytes()).sum::<usize>();
        let lists = size_of_val(&*self.values) + steps + size_of_val(&*self.histograms) + histograms;
        size_of::<Self>() + SHARED_BYTES + self.labels.as_bytes().len() + lists
    }
}

impl Extent {
    fn new(steps: Range<i64>, number: u64, rows: Vec<Row>, remarks: Remarks) -> Self {
        let rows = rows.into_boxed_slice();
        let bytes = size_of::<Self>() + rows.iter().map(Row::bytes).sum::<usize>() + remarks.held_bytes();
        Extent { steps, number, rows, remarks, bytes }
    }
}

/// A part of an answer: that of an extent, or what was evaluated now.
#[derive(Clone, Copy)]
pub(super) enum Part<'a> {
    Kept(&'a Extent),
    Evaluated(&'a [Series]),
}

/// Some steps of a part.
#[derive(Clone)]
pub(super) struct Piece<'a> {
    pub(super) steps: Range<i64>,
    pub(super) part: Part<'a>,
}

impl Piece<'_> {
    fn labels(&self, at: usize) -> Option<&Labels> {
        match self.part {
            Part::Kept(extent) => extent.rows.get(at).map(|row| &row.labels),
            Part::Evaluated(series) => series.get(at).map(|series| &series.labels),
        }
    }

    /// Adds the samples of a row to a series.
    fn append(&self, at: usize, ruler: Ruler, to: &mut Series) {
        match self.part {
            Part::Kept(extent) => {
                if let Some(row) = extent.rows.get(at) {
                    append_row(row, extent.steps.start, &self.steps, ruler, to);
                }
            }
            Part::Evaluated(series) => {
                if let Some(series) = series.get(at) {
                    append_series(series, &self.steps, ruler, to);
                }
            }
        }
    }
}

fn append_row(row: &Row, first: i64, steps: &Range<i64>, ruler: Ruler, to: &mut Series) {
    let place = |step: i64| u32::try_from(step.saturating_sub(first)).unwrap_or(0);
    let (from, until) = (place(steps.start), place(steps.end));
    let time_ms = |place: u32| ruler.time_ms(first + i64::from(place));
    let floats = match &row.steps {
        None => {
            to.times_ms.extend((from..until).map(time_ms));
            from as usize..until as usize
        }
        Some(places) => {
            let floats = places.partition_point(|at| *at < from)..places.partition_point(|at| *at < until);
            let places = places.get(floats.clone()).unwrap_or_default();
            to.times_ms.extend(places.iter().map(|place| time_ms(*place)));
            floats
        }
    };
    to.values.extend_from_slice(row.values.get(floats).unwrap_or_default());
    let histograms = row.histograms.iter().filter(|(place, _)| (from..until).contains(place));
    to.histograms.extend(
        histograms.map(|(place, histogram)| HistogramSample {
            timestamp_ms: time_ms(*place),
            histogram: Arc::clone(histogram),
        }),
    );
}

fn append_series(series: &Series, steps: &Range<i64>, ruler: Ruler, to: &mut Series) {
    let (from_ms, until_ms) = (ruler.time_ms(steps.start), ruler.time_ms(steps.end));
    let times = &series.times_ms;
    let floats = times.partition_point(|t| *t < from_ms)..times.partition_point(|t| *t < until_ms);
    to.times_ms.extend_from_slice(times.get(floats.clone()).unwrap_or_default());
    to.values.extend_from_slice(series.values.get(floats).unwrap_or_default());
    let within = |sample: &&HistogramSample| (from_ms..until_ms).contains(&sample.timestamp_ms);
    to.histograms.extend(series.histograms.iter().filter(within).cloned());
}

/// Hands over each series of the pieces, by labels, with its samples from all of them. The pieces ascend in time and share no step.
fn each_series(pieces: &[Piece<'_>], ruler: Ruler, mut take: impl FnMut(Series)) {
    let mut at = vec![0; pieces.len()];
    while let Some(labels) = pieces.iter().zip(&at).filter_map(|(piece, at)| piece.labels(*at)).min().cloned() {
        let mut series = Series { labels, ..Series::default() };
        for (piece, at) in pieces.iter().zip(&mut at) {
            if piece.labels(*at) == Some(&series.labels) {
                piece.append(*at, ruler, &mut series);
                *at += 1;
            }
        }
        if !series.times_ms.is_empty() || !series.histograms.is_empty() {
            take(series);
        }
    }
}

/// The series of all pieces, by labels.
pub(super) fn answer(pieces: &[Piece<'_>], ruler: Ruler) -> Vec<Series> {
    let mut out = Vec::new();
    each_series(pieces, ruler, |series| out.push(series));
    out
}

/// An extent of all pieces, which adjoin each other; `None` where it would take more than `bytes_max`.
pub(super) fn extent(
    pieces: &[Piece<'_>],
    ruler: Ruler,
    number: u64,
    remarks: Remarks,
    bytes_max: usize,
) -> Option<Extent> {
    let steps = pieces.first()?.steps.start..pieces.last()?.steps.end;
    debug_assert!(pieces.windows(2).all(|pair| pair[0].steps.end == pair[1].steps.start));
    let (mut rows, mut bytes) = (Vec::new(), 0);
    each_series(pieces, ruler, |series| {
        if bytes <= bytes_max {
            let row = Row::new(&series, ruler, &steps);
            bytes += row.bytes();
            rows.push(row);
        }
    });
    if bytes > bytes_max {
        return None;
    }
    Some(Extent::new(steps, number, rows, remarks)).filter(|extent| extent.bytes <= bytes_max)
}

/// How many samples series hold, as the limit of samples counts them.
pub(super) fn samples_of(series: &[Series]) -> usize {
    let of_histograms =
        |one: &Series| one.histograms.iter().map(|sample| size_in_samples(&sample.histogram)).sum::<usize>();
    series.iter().map(|one| one.times_ms.len() + of_histograms(one)).sum()
}
