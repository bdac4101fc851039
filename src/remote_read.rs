//! Remote read: Prometheus (and tools that move data) fetch raw samples. Here are the request, and answers of the *sampled*
//! kind: one message, Snappy-compressed, every sample bit for bit. [`crate::remote_read_chunks`] has the streamed kind.
//! Native histograms come in the form in which they were written; their reset hints say what the store knows
//! ([`SeriesDecoder::histograms`]).

use std::fmt::Display;
use std::sync::Arc;

use marigram_proto::prometheus::label_matcher::Type;
use marigram_proto::prometheus::read_request::ResponseType;
use marigram_proto::prometheus::{
    Label, LabelMatcher, Query, QueryResult, ReadRequest, ReadResponse, Sample, TimeSeries,
};
use marigram_proto::wire::{Cursor, WireError};
use marigram_query::source::Source;
use marigram_storage::context::Context;
use marigram_storage::model::histogram::HistogramSample;
use marigram_storage::model::labels::Labels;
use marigram_storage::model::matcher::{MatchOp, Matcher};
use marigram_storage::model::time::TimeRange;
use marigram_storage::select::{DecodedSeries, SelectRequest, SeriesDecoder};
use prost::Message;

use crate::histograms;
use crate::ingest::{DecodeError, snappy};

/// Largest request, decompressed: a handful of queries.
const REQUEST_BYTES_MAX: usize = 1 << 20;
/// Most queries of a request; Prometheus sends one.
const QUERIES_MAX: usize = 64;
/// Most matchers of all queries of a request.
const MATCHERS_MAX: usize = 1024;
/// What a sample costs while the answer is put together: in the message, encoded, and compressed.
const ANSWER_BYTES_PER_SAMPLE: u64 = 64;
/// What a histogram costs, as a multiple of what it takes in memory.
const ANSWER_BYTES_PER_HISTOGRAM_BYTE: u64 = 4;
/// What a label costs beside its bytes: two strings, each with its allocation.
const ANSWER_BYTES_PER_LABEL: u64 = 96;
/// What a series costs beside samples and labels.
const ANSWER_BYTES_PER_SERIES: u64 = 192;

/// Why a remote read is not answered.
#[derive(Debug, thiserror::Error)]
pub enum RemoteReadError {
    /// The body is not Snappy.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// The request cannot be answered as it is.
    #[error("{0}")]
    BadRequest(String),
    /// The store's.
    #[error(transparent)]
    Storage(#[from] marigram_storage::Error),
}

/// Reads a compressed `ReadRequest`.
///
/// # Errors
/// A body that is no request, or one with too many queries or matchers.
pub fn decode(body: &[u8]) -> Result<ReadRequest, RemoteReadError> {
    let plain = snappy::decompress(body, REQUEST_BYTES_MAX, &Arc::default())?;
    check_counts(&plain).map_err(not_a_request)??;
    ReadRequest::decode(&plain[..]).map_err(not_a_request)
}

/// The kind of answer that a client wants: the first that it accepts and that there is. Who says nothing wants samples.
///
/// # Errors
/// None of the accepted kinds exists.
pub fn response_type(request: &ReadRequest) -> Result<ResponseType, RemoteReadError> {
    let accepted = &request.accepted_response_types;
    if accepted.is_empty() {
        return Ok(ResponseType::Samples);
    }
    accepted.iter().find_map(|kind| ResponseType::try_from(*kind).ok()).ok_or_else(|| {
        let text = format!(
            "server does not support any of the requested response types: {accepted:?}; supported: SAMPLES, STREAMED_XOR_CHUNKS"
        );
        RemoteReadError::BadRequest(text)
    })
}

/// Answers a compressed `ReadRequest` with a compressed `ReadResponse`: samples, whatever kind the client prefers.
///
/// # Errors
/// A body that is no request; more samples than `samples_max` or than the context's memory budget holds; the store's errors.
pub fn answer(
    body: &[u8],
    source: &dyn Source,
    context: &Context,
    samples_max: u64,
) -> Result<Vec<u8>, RemoteReadError> {
    let request = decode(body)?;
    let mut left = samples_max;
    let mut reservations = Vec::new();
    let mut response = ReadResponse::default();
    for query in &request.queries {
        let mut timeseries = Vec::new();
        read(query, source, context, |labels, decoded| {
            let (times, values, histograms) = decoded;
            let count = (times.len() + histograms.len()) as u64;
            left = left.checked_sub(count).ok_or_else(|| {
                let text = format!("the answer would hold more than {samples_max} samples");
                RemoteReadError::Storage(marigram_storage::Error::Limit(text))
            })?;
            reservations.push(context.reserve(answer_bytes(labels, count) + histogram_bytes(histograms))?);
            timeseries.push((labels.clone(), series(labels, times, values, histograms)));
            Ok(())
        })?;
        timeseries.sort_by(|a, b| a.0.cmp(&b.0));
        response.results.push(QueryResult { timeseries: timeseries.into_iter().map(|(_, series)| series).collect() });
    }
    let encoded = response.encode_to_vec();
    drop(response);
    snap::raw::Encoder::new().compress_vec(&encoded).map_err(|error| RemoteReadError::BadRequest(error.to_string()))
}

fn not_a_request(error: impl Display) -> RemoteReadError {
    RemoteReadError::BadRequest(format!("the body is not a valid remote-read request: {error}"))
}

/// Counts queries and matchers before memory is taken for them: two bytes on the wire are a hundred decoded, and a whole
/// select.
fn check_counts(request: &[u8]) -> Result<Result<(), RemoteReadError>, WireError> {
    let (mut queries, mut matchers) = (0, 0);
    let mut fields = Cursor::new(request);
    while let Some((number, value)) = fields.next_field()? {
        if number != 1 {
            continue;
        }
        queries += 1;
        let mut fields = Cursor::new(value.bytes()?);
        while let Some((number, _)) = fields.next_field()? {
            matchers += usize::from(number == 3);
        }
    }
    let refuse = |text| Ok(Err(RemoteReadError::BadRequest(text)));
    if queries > QUERIES_MAX {
        return refuse(format!("the request holds {queries} queries, at most {QUERIES_MAX} are taken"));
    }
    if matchers > MATCHERS_MAX {
        return refuse(format!("the request holds {matchers} matchers, at most {MATCHERS_MAX} are taken"));
    }
    Ok(Ok(()))
}

fn answer_bytes(labels: &Labels, samples: u64) -> u64 {
    let label_bytes = labels.iter().count() as u64 * ANSWER_BYTES_PER_LABEL + 4 * labels.as_bytes().len() as u64;
    ANSWER_BYTES_PER_SERIES + label_bytes + samples * ANSWER_BYTES_PER_SAMPLE
}

fn histogram_bytes(histograms: &[HistogramSample]) -> u64 {
    let held: usize = histograms.iter().map(|sample| sample.histogram.held_bytes()).sum();
    ANSWER_BYTES_PER_HISTOGRAM_BYTE * held as u64
}

fn read(
    query: &Query,
    source: &dyn Source,
    context: &Context,
    mut each: impl FnMut(&Labels, DecodedSeries<'_>) -> Result<(), RemoteReadError>,
) -> Result<(), RemoteReadError> {
    let matchers = query.matchers.iter().map(matcher).collect::<Result<Vec<_>, _>>()?;
    let range = TimeRange { start_ms: query.start_timestamp_ms, end_ms: query.end_timestamp_ms };
    let mut stream = source.select(context, SelectRequest { matchers: &matchers, range, drop_labels: &[] })?;
    let mut decoder = SeriesDecoder::default();
    while let Some(batch) = stream.next_batch()? {
        for series in &batch.series {
            let decoded = decoder.decode_both(&series.chunks, range)?;
            if !decoded.0.is_empty() || !decoded.2.is_empty() {
                each(&series.labels, decoded)?;
            }
        }
    }
    Ok(())
}

/// A matcher as the store has it.
///
/// # Errors
/// An unknown kind, or a regular expression that is none.
pub(crate) fn matcher(matcher: &LabelMatcher) -> Result<Matcher, RemoteReadError> {
    let op = match Type::try_from(matcher.r#type) {
        Ok(Type::Eq) => MatchOp::Equal,
        Ok(Type::Neq) => MatchOp::NotEqual,
        Ok(Type::Re) => MatchOp::Regex,
        Ok(Type::Nre) => MatchOp::NotRegex,
        Err(_) => return Err(RemoteReadError::BadRequest(format!("there is no matcher type {}", matcher.r#type))),
    };
    let bad = |error| RemoteReadError::BadRequest(format!("matcher of {:?}: {error}", matcher.name));
    Matcher::new(&*matcher.name, op, &*matcher.value).map_err(bad)
}

fn series(labels: &Labels, times: &[i64], values: &[f64], histograms: &[HistogramSample]) -> TimeSeries {
    let labels = labels.iter().map(|(name, value)| Label { name: name.into(), value: value.into() }).collect();
    let samples = times.iter().zip(values).map(|(&timestamp, &value)| Sample { value, timestamp }).collect();
    let histograms = histograms.iter().map(histograms::encode).collect();
    TimeSeries { labels, samples, histograms, ..TimeSeries::default() }
}

#[cfg(test)]
#[path = "remote_read_test.rs"]
mod tests;
