//! `/federate`: the newest sample of every series that a client asks for, as text that another Prometheus scrapes.
//!
//! 1. Each `match[]` is a select over the lookback before now; of every series the newest sample is kept. A staleness
//!    marker means that the series has ended, and a histogram has no place in this format: both are left out.
//! 2. Families are sorted by name, and all of no known type. A series without `instance` gets an empty one, so that the
//!    scraper does not put its own there.

use std::borrow::Cow;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use marigram_storage::context::Reservation;
use marigram_storage::model::labels::{Labels, METRIC_NAME};
use marigram_storage::model::matcher::Matcher;
use marigram_storage::model::sample::is_stale;
use marigram_storage::model::time::TimeRange;
use marigram_storage::select::{SelectRequest, SeriesDecoder};

use super::compress::Packed;
use super::error::{ApiError, WriteError};
use super::request::read_request;
use super::text_format::{self, Escaping};
use super::work::{self, ReadOptions, Work};
use crate::app::App;

/// The label that every federated series has.
const INSTANCE: &str = "instance";
/// What a series costs in memory beside its labels, until the text is written.
const SERIES_BYTES: u64 = 128;

/// `/federate`. Errors are plain text, as a scraper expects.
pub async fn federate(State(app): State<Arc<App>>, request: Request) -> Response {
    let escaping = Escaping::negotiate(&accept(request.headers()));
    match answer(&app, request, escaping).await {
        Ok(text) => text.into_response(escaping.content_type()),
        Err(error) => {
            let status = error.status.unwrap_or_else(|| error.error_type.status());
            WriteError::new(status, error.message).into_response()
        }
    }
}

fn accept(headers: &HeaderMap) -> String {
    let values = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    values.collect::<Vec<_>>().join(",")
}

async fn answer(app: &Arc<App>, request: Request, escaping: Escaping) -> Result<Packed, ApiError> {
    let (tenant, params) = read_request(app, request).await?;
    let selectors = params.selectors_of_all()?;
    // The format has no place for warnings, so no answer is short.
    let options = ReadOptions { partial: false, ..ReadOptions::new(app, tenant, &params)? };
    let now_ms = app.env.clock.now_ms();
    let range = TimeRange { start_ms: now_ms.saturating_sub(app.settings.query.lookback_ms), end_ms: now_ms };
    work::run(
        app,
        |app| &app.lookups,
        options.of("/federate"),
        move |work| {
            let newest = Newest::of(work, &selectors, range)?;
            Ok(work.pack(newest.text(escaping).into_bytes()))
        },
    )
    .await
}

/// The newest samples of series.
struct Newest {
    samples: Vec<Sample>,
    _held: Vec<Reservation>,
}

struct Sample {
    labels: Labels,
    time_ms: i64,
    value: f64,
}

impl Newest {
    /// Of all series that any of the selectors matches; sorted by name, then by labels.
    fn of(work: &Work<'_>, selectors: &[Vec<Matcher>], range: TimeRange) -> Result<Self, ApiError> {
        let mut newest = Newest { samples: Vec::new(), _held: Vec::new() };
        let mut decoder = SeriesDecoder::default();
        for matchers in selectors {
            let mut stream = work.source.select(work.context, SelectRequest { matchers, range, drop_labels: &[] })?;
            while let Some(batch) = stream.next_batch()? {
                work.context.check()?;
                let before = newest.samples.len();
                let mut bytes = 0;
                for series in &batch.series {
                    let (times, values) = decoder.decode(&series.chunks, range)?;
                    let Some((&time_ms, &value)) = times.last().zip(values.last()) else { continue };
                    let histogram_is_newer =
                        decoder.histograms().last().is_some_and(|histogram| histogram.timestamp_ms > time_ms);
                    if is_stale(value) || histogram_is_newer || series.labels.metric_name().is_none() {
                        continue;
                    }
                    bytes += SERIES_BYTES + 3 * series.labels.as_bytes().len() as u64;
                    newest.samples.push(Sample { labels: series.labels.clone(), time_ms, value });
                }
                if newest.samples.len() > before {
                    newest._held.push(work.context.reserve(bytes)?);
                }
            }
        }
        // Several selectors may match one series; its newest sample stays.
        newest.samples.sort_by(|a, b| {
            let by_name = a.labels.metric_name().cmp(&b.labels.metric_name());
            by_name.then_with(|| a.labels.cmp(&b.labels)).then_with(|| b.time_ms.cmp(&a.time_ms))
        });
        newest.samples.dedup_by(|later, kept| later.labels == kept.labels);
        Ok(newest)
    }

    fn text(&self, escaping: Escaping) -> String {
        let mut out = String::new();
        let mut family = None;
        for Sample { labels, time_ms, value } in &self.samples {
            let Some(name) = labels.metric_name() else { continue };
            let written = escaping.apply(name);
            if family != Some(name) {
                text_format::write_untyped(&mut out, &written);
                family = Some(name);
            }
            let own = labels.iter().filter(|(label, _)| *label != METRIC_NAME);
            let own = own.map(|(label, value)| (escaping.apply(label), value));
            let added = labels.get(INSTANCE).is_none().then_some((Cow::Borrowed(INSTANCE), ""));
            text_format::write_sample(&mut out, &written, own.chain(added), *value, *time_ms);
        }
        out
    }
}
