//! A source in memory for tests: series as lists of samples, handed out in small chunks and batches.

use std::collections::BTreeMap;
use std::sync::Arc;

use marigram_storage::Result;
use marigram_storage::chunk::{self, ChunkBuilder, Effort};
use marigram_storage::context::Context;
use marigram_storage::env::ManualClock;
use marigram_storage::model::histogram::{Histogram, HistogramSample};
use marigram_storage::model::labels::Labels;
use marigram_storage::model::matcher::{Matcher, matches_all};
use marigram_storage::model::tenant::TenantId;
use marigram_storage::model::time::TimeRange;
use marigram_storage::select::{EncodedChunk, SelectRequest, SelectedSeries, SeriesBatch, SeriesStream};
use marigram_storage::write::MetadataEntry;

use crate::error::QueryError;
use crate::source::Source;
use crate::value::{QueryOutput, SampleValue, Value};
use crate::{Engine, EngineOptions, Features};

/// Samples of a chunk, and series of a batch: few, so that tests cross their borders.
const SMALL: usize = 3;

/// Series in memory.
#[derive(Clone, Debug)]
pub(crate) struct Memory {
    series: Vec<(Labels, Vec<(i64, f64)>)>,
    /// Of series that may be among `series`, too.
    histograms: Vec<(Labels, Vec<HistogramSample>)>,
    chunk_samples: usize,
    batch_series: usize,
}

impl Default for Memory {
    fn default() -> Self {
        Memory { series: Vec::new(), histograms: Vec::new(), chunk_samples: SMALL, batch_series: SMALL }
    }
}

impl Memory {
    /// Adds a series with these samples.
    pub(crate) fn samples(mut self, labels: &[(&str, &str)], samples: &[(i64, f64)]) -> Self {
        self.series.push((Labels::from_pairs(labels.iter().copied()), samples.to_vec()));
        self
    }

    /// Adds histograms, one every `step_ms` from 0 on, to a series.
    pub(crate) fn histograms(mut self, labels: &[(&str, &str)], step_ms: i64, histograms: &[Histogram]) -> Self {
        let labels = Labels::from_pairs(labels.iter().copied());
        let samples = (0..).zip(histograms).map(|(i, histogram)| HistogramSample {
            timestamp_ms: i * step_ms,
            histogram: Arc::new(histogram.clone()),
        });
        if !self.series.iter().any(|(known, _)| *known == labels) {
            self.series.push((labels.clone(), Vec::new()));
        }
        self.histograms.push((labels, samples.collect()));
        self
    }

    /// Writes a sample into one of the series; one at the same time is replaced.
    pub(crate) fn write(&mut self, series: usize, time_ms: i64, value: f64) {
        let at = series % self.series.len();
        let (_, samples) = &mut self.series[at];
        match samples.binary_search_by_key(&time_ms, |(time_ms, _)| *time_ms) {
            Ok(at) => samples[at].1 = value,
            Err(at) => samples.insert(at, (time_ms, value)),
        }
    }

    /// The same series in chunks and batches of these sizes.
    pub(crate) fn cut(self, chunk_samples: usize, batch_series: usize) -> Self {
        Memory { chunk_samples, batch_series, ..self }
    }

    /// Adds a series with a sample every `step_ms` from 0 on; `None` leaves one out.
    pub(crate) fn with(mut self, labels: &[(&str, &str)], step_ms: i64, values: &[Option<f64>]) -> Self {
        let samples = (0..).zip(values).filter_map(|(i, value)| Some((i * step_ms, (*value)?))).collect();
        self.series.push((Labels::from_pairs(labels.iter().copied()), samples));
        self
    }

    /// The same, with every sample there.
    pub(crate) fn all(self, labels: &[(&str, &str)], step_ms: i64, values: &[f64]) -> Self {
        let values: Vec<Option<f64>> = values.iter().copied().map(Some).collect();
        self.with(labels, step_ms, &values)
    }

    /// Evaluates an instant query.
    pub(crate) fn instant(&self, query: &str, time_ms: i64) -> std::result::Result<QueryOutput, QueryError> {
        engine().instant(self, &context(), query, time_ms)
    }

    /// Evaluates a range query.
    pub(crate) fn range(
        &self,
        query: &str,
        (start_ms, end_ms, step_ms): (i64, i64, i64),
    ) -> std::result::Result<QueryOutput, QueryError> {
        engine().range(self, &context(), query, start_ms, end_ms, step_ms)
    }

    /// The result of an instant query, a line for each series: `{labels} value`.
    pub(crate) fn lines(&self, query: &str, time_ms: i64) -> Vec<String> {
        match self.instant(query, time_ms).unwrap().value {
            Value::Vector(samples) => {
                let value = |value: &SampleValue| match value {
                    SampleValue::Float(value) => value.to_string(),
                    SampleValue::Histogram(histogram) => crate::histogram::to_text(histogram),
                };
                samples.iter().map(|s| format!("{} {}", crate::text::labels(&s.labels), value(&s.value))).collect()
            }
            other => panic!("{query} is no vector but {other:?}"),
        }
    }

    /// The result of a range query, a line for each series: `{labels} value@seconds …`.
    pub(crate) fn range_lines(&self, query: &str, range: (i64, i64, i64)) -> Vec<String> {
        match self.range(query, range).unwrap().value {
            Value::Matrix(series) => series
                .iter()
                .map(|s| {
                    let samples = s.times_ms.iter().zip(&s.values).map(|(t, v)| format!(" {v}@{}", t / 1000));
                    crate::text::labels(&s.labels) + &samples.collect::<String>()
                })
                .collect(),
            other => panic!("{query} is no matrix but {other:?}"),
        }
    }
}

/// An engine that knows the experimental functions, too.
pub(crate) fn engine() -> Engine {
    let features = Features { experimental_functions: true, ..Features::default() };
    Engine::new(EngineOptions { features, ..EngineOptions::default() })
}

/// A context without a deadline.
pub(crate) fn context() -> Context {
    context_of(1 << 30)
}

/// One with so much memory.
pub(crate) fn context_of(budget_bytes: u64) -> Context {
    Context::new(TenantId::default(), Arc::new(ManualClock::default()), None, budget_bytes)
}

struct Batches(std::vec::IntoIter<SeriesBatch>);

impl SeriesStream for Batches {
    fn next_batch(&mut self) -> Result<Option<SeriesBatch>> {
        Ok(self.0.next())
    }
}

impl Source for Memory {
    fn select(&self, context: &Context, request: SelectRequest<'_>) -> Result<Box<dyn SeriesStream>> {
        let dropped = |name: &str| request.drop_labels.iter().any(|label| label == name);
        let matching = self.series.iter().filter(|(labels, _)| matches_all(request.matchers, labels));
        let mut selected: Vec<SelectedSeries> = matching
            .map(|(labels, samples)| SelectedSeries {
                id: labels.without(dropped).id(),
                labels: labels.without(dropped),
                replica: labels.without(|name| !dropped(name)),
                chunks: samples
                    .chunks(self.chunk_samples)
                    .map(encoded)
                    .chain(
                        self.histograms.iter().filter(|(of, _)| of == labels).map(|(_, all)| encoded_histograms(all)),
                    )
                    .filter(|c| request.range.overlaps(TimeRange { start_ms: c.min_ms, end_ms: c.max_ms }))
                    .collect(),
            })
            .filter(|series| !series.chunks.is_empty())
            .collect();
        selected.sort_by(|a, b| (a.id, &a.replica).cmp(&(b.id, &b.replica)));
        let mut batches = Vec::new();
        for series in selected.chunks(self.batch_series) {
            let bytes = series.iter().map(SelectedSeries::held_bytes).sum::<usize>() as u64;
            batches.push(SeriesBatch { series: series.to_vec(), reservation: context.reserve(bytes)? });
        }
        Ok(Box::new(Batches(batches.into_iter())))
    }

    fn series(&self, _: &Context, _: &[Vec<Matcher>], _: TimeRange, _: usize) -> Result<Vec<Labels>> {
        Ok(self.series.iter().map(|(labels, _)| labels.clone()).collect())
    }

    fn label_names(&self, _: &Context, _: &[Vec<Matcher>], _: TimeRange, _: usize) -> Result<Vec<String>> {
        Ok(Vec::new())
    }

    fn label_values(&self, _: &Context, _: &str, _: &[Vec<Matcher>], _: TimeRange, _: usize) -> Result<Vec<String>> {
        Ok(Vec::new())
    }

    fn metadata(&self, _: &Context) -> Result<BTreeMap<String, Vec<MetadataEntry>>> {
        Ok(BTreeMap::new())
    }
}

fn encoded_histograms(samples: &[HistogramSample]) -> EncodedChunk {
    let mut bytes = Vec::new();
    chunk::encode_histograms(samples, Effort::Sealed, &mut bytes);
    EncodedChunk {
        min_ms: samples.first().unwrap().timestamp_ms,
        max_ms: samples.last().unwrap().timestamp_ms,
        times: Default::default(),
        bytes: bytes.into(),
    }
}

pub(crate) fn encoded(samples: &[(i64, f64)]) -> EncodedChunk {
    let mut builder = ChunkBuilder::default();
    for (time_ms, value) in samples {
        builder.push(*time_ms, *value);
    }
    EncodedChunk {
        min_ms: builder.first_ms(),
        max_ms: builder.last_ms(),
        times: Default::default(),
        bytes: builder.encode().into(),
    }
}
