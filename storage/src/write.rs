//! What a write hands to the store: normalised series and their samples, in memory that the request already owns.

mod arena;

pub use arena::{Arena, ArenaPool};

use std::ops::Range;

use crate::error::{Error, Result};
use crate::model::histogram::HistogramSample;
use crate::model::labels::SeriesId;
use crate::model::sample::Sample;
use crate::model::tenant::TenantId;

/// A decoded, validated request. Building one allocates nothing per label or per sample: label bytes lie in the
/// request's own body, samples in one vector.
///
/// Label bytes are validated unless the series has a [hint](WriteSeries::hint).
#[derive(Debug, Default, Clone)]
pub struct WriteBatch {
    /// Whose it is.
    pub tenant: TenantId,
    /// Holds the canonical label bytes of all series (among other bytes).
    pub arena: Arena,
    /// The series; the same one may come more than once.
    pub series: Vec<WriteSeries>,
    /// The samples of all series, in any order of time.
    pub samples: Vec<Sample>,
    /// The histograms of all series, in any order of time.
    pub histograms: Vec<HistogramSample>,
    /// Start timestamps of some of the samples and histograms.
    pub starts: WriteStarts,
    /// Metadata of metric families.
    pub metadata: Vec<FamilyMetadata>,
}

impl WriteBatch {
    /// Checks what a batch from another node promises: that ranges lie within, and that an id beside labels is theirs.
    ///
    /// # Errors
    /// [`Error::BadInput`].
    pub fn check(&self) -> Result<()> {
        for series in &self.series {
            let labels = self.arena.get(series.labels.clone());
            let samples = self.samples.get(series.samples.clone()).zip(self.histograms_of(series));
            let (Some(labels), Some(_)) = (labels, samples) else {
                return Err(Error::BadInput(
                    "a series of the write claims bytes or samples that it does not hold".into(),
                ));
            };
            if !labels.is_empty() && SeriesId::of(labels) != series.id {
                let id = series.id;
                return Err(Error::BadInput(format!("the write states the series id {id:?} for labels of another id")));
            }
        }
        Ok(())
    }

    /// The histograms of one of the series; `None` if it claims more than there are.
    pub fn histograms_of(&self, series: &WriteSeries) -> Option<&[HistogramSample]> {
        self.histograms.get(series.histograms.start as usize..series.histograms.end as usize)
    }

    /// How many samples of either kind there are.
    pub fn sample_count(&self) -> usize {
        self.samples.len() + self.histograms.len()
    }
}

/// Start timestamps (ms, 0: unknown) by the places of their samples, which ascend. Without any it takes no memory.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct WriteStarts {
    /// Places in [`WriteBatch::samples`], and when each begins to count.
    pub samples: Vec<(u32, i64)>,
    /// The same of [`WriteBatch::histograms`].
    pub histograms: Vec<(u32, i64)>,
}

impl WriteStarts {
    /// Whether there is none.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.samples.is_empty() && self.histograms.is_empty()
    }

    /// Those of the samples (or of the histograms) at the places of a range.
    pub fn within(starts: &[(u32, i64)], places: Range<usize>) -> &[(u32, i64)] {
        let from = starts.partition_point(|(place, _)| (*place as usize) < places.start);
        let behind = starts.get(from..).unwrap_or_default();
        behind.get(..behind.partition_point(|(place, _)| (*place as usize) < places.end)).unwrap_or_default()
    }
}

/// The [`WriteSeries::hint`] of a series that the store was not asked for, or does not know.
pub const NO_HINT: u32 = u32::MAX;

// A request has thousands of them.
const _: () = assert!(size_of::<WriteSeries>() == 64);

/// One series of a [`WriteBatch`].
#[derive(Debug, Clone)]
pub struct WriteSeries {
    /// [`SeriesId::of`] the label bytes.
    pub id: SeriesId,
    /// Where in the arena the canonical label bytes lie. Empty (such as `0..0`): the store is believed to know the series.
    pub labels: Range<usize>,
    /// Which of the samples are its own.
    pub samples: Range<usize>,
    /// Which of the histograms are its own.
    pub histograms: Range<u32>,
    /// Where the store found the series when [`Db::recognise`](crate::db::Db::recognise) was asked; [`NO_HINT`]: it did not.
    ///
    /// A hint may be out of date by the time it is used, so the store compares the id that it finds there. The label bytes
    /// beside a hint were not looked at beyond their hash, which is not one that withstands an adversary: only the labels that
    /// the store already holds for the series are to be kept, written or handed out.
    pub hint: u32,
}

impl WriteSeries {
    /// A series of floats that the store has not been asked for.
    pub fn new(id: SeriesId, labels: Range<usize>, samples: Range<usize>) -> Self {
        WriteSeries { id, labels, samples, histograms: 0..0, hint: NO_HINT }
    }

    /// The same series with histograms, too.
    #[must_use]
    pub fn with_histograms(self, histograms: Range<u32>) -> Self {
        WriteSeries { histograms, ..self }
    }
}

/// Type, help and unit of a metric family. Texts are bounded by the ingest limits.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FamilyMetadata {
    /// The family's name, such as `http_requests_total`.
    pub family: String,
    /// Type, help, unit.
    pub entry: MetadataEntry,
}

/// What is known of a family.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MetadataEntry {
    /// As the API names it: `counter`, `gauge`, `histogram`, `gaugehistogram`, `summary`, `info`, `stateset`, `unknown`.
    pub kind: MetadataKind,
    /// The HELP text.
    pub help: String,
    /// The unit, often empty.
    pub unit: String,
}

/// The type of a metric family; the numbers are those of remote write 1.0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs, reason = "named as the exposition formats name them")]
#[repr(u8)]
pub enum MetadataKind {
    Unknown = 0,
    Counter = 1,
    Gauge = 2,
    Histogram = 3,
    GaugeHistogram = 4,
    Summary = 5,
    Info = 6,
    StateSet = 7,
}

impl MetadataKind {
    /// From the number of remote write 1.0; unknown numbers are `Unknown`.
    pub fn from_number(number: u64) -> Self {
        use MetadataKind::*;
        [Unknown, Counter, Gauge, Histogram, GaugeHistogram, Summary, Info, StateSet]
            .into_iter()
            .find(|kind| *kind as u64 == number)
            .unwrap_or(Unknown)
    }

    /// As the metadata API writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            MetadataKind::Unknown => "unknown",
            MetadataKind::Counter => "counter",
            MetadataKind::Gauge => "gauge",
            MetadataKind::Histogram => "histogram",
            MetadataKind::GaugeHistogram => "gaugehistogram",
            MetadataKind::Summary => "summary",
            MetadataKind::Info => "info",
            MetadataKind::StateSet => "stateset",
        }
    }
}
