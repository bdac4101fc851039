//! `/api/v1/search/*`: names and values for whoever is typing, behind the feature `search-api`. The answer is lines of JSON: batches
//! of results, and one line that says whether there are more.

mod fuzzy;
mod params;
mod terms;

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::response::Response;
use marigram_storage::model::labels::METRIC_NAME;
use marigram_storage::write::MetadataEntry;
use serde::Serialize;

use super::error::{ApiError, ErrorType};
use super::params::Params;
use super::request::read_request;
use super::work::{self, ReadOptions, Work};
use crate::app::App;
use params::{Order, SearchParams};

/// What is looked through.
#[derive(Clone, Debug)]
enum Field {
    MetricNames { with_metadata: bool },
    LabelNames,
    LabelValues(String),
}

/// What was found, and how well it fits, 0 to 1.
type Found<'a> = (&'a str, f64);

/// A result. What was found is called `name`, or `value` where it is one.
#[derive(Default, Serialize)]
struct Hit<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    score: Option<f64>,
    #[serde(rename = "type", skip_serializing_if = "str::is_empty")]
    kind: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    help: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    unit: &'a str,
}

/// A line of results.
#[derive(Serialize)]
struct Batch<'a> {
    results: Vec<Hit<'a>>,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    warnings: &'a [String],
}

/// The last line.
#[derive(Serialize)]
struct Trailer {
    status: &'static str,
    has_more: bool,
}

/// `/api/v1/search/metric_names`
pub async fn metric_names(State(app): State<Arc<App>>, request: Request) -> Result<Response, ApiError> {
    search(app, request, "/api/v1/search/metric_names", |params| {
        Ok(Field::MetricNames { with_metadata: params::boolean(params, "include_metadata", false)? })
    })
    .await
}

/// `/api/v1/search/label_names`
pub async fn label_names(State(app): State<Arc<App>>, request: Request) -> Result<Response, ApiError> {
    search(app, request, "/api/v1/search/label_names", |_| Ok(Field::LabelNames)).await
}

/// `/api/v1/search/label_values`
pub async fn label_values(State(app): State<Arc<App>>, request: Request) -> Result<Response, ApiError> {
    search(app, request, "/api/v1/search/label_values", |params| {
        let label = params.get("label").map(|label| Field::LabelValues(label.to_owned()));
        label.ok_or_else(|| ApiError::bad_data("missing required parameter \"label\""))
    })
    .await
}

async fn search(
    app: Arc<App>,
    request: Request,
    endpoint: &'static str,
    field: impl FnOnce(&Params) -> Result<Field, ApiError>,
) -> Result<Response, ApiError> {
    if !app.settings.query.search {
        return Err(ApiError::unavailable("search API disabled (see --enable-feature=search-api)"));
    }
    let (tenant, params) = read_request(&app, request).await?;
    let search = SearchParams::new(&params, app.env.clock.now_ms(), app.settings.query.search_limit_max)?;
    let field = field(&params)?;
    let options = ReadOptions::new(&app, tenant, &params)?.of(endpoint);
    let body = work::run(
        &app,
        |app| &app.lookups,
        options,
        move |work| answer(work, &field, &search).map(|body| work.pack(body)),
    );
    Ok(body.await?.into_response("application/x-ndjson; charset=utf-8"))
}

/// The lines of the answer.
fn answer(work: &Work<'_>, field: &Field, search: &SearchParams) -> Result<Vec<u8>, ApiError> {
    let all = listed(work, field, search)?;
    let (found, has_more) = best(work, search, &all)?;
    let metadata = match field {
        Field::MetricNames { with_metadata: true } if !found.is_empty() => work.source.metadata(work.context)?,
        _ => BTreeMap::new(),
    };
    let mut warnings = &*work.context.warnings();
    let mut body = Vec::new();
    let mut batches = found.chunks(search.batch_size);
    // There is a line of results even where there are none: for the warnings.
    let mut batch = Some(batches.next().unwrap_or_default());
    while let Some(hits) = batch {
        let results = hits.iter().map(|&(text, score)| hit(field, text, search.with_score.then_some(score), &metadata));
        write_line(&mut body, &Batch { results: results.collect(), warnings: std::mem::take(&mut warnings) })?;
        batch = batches.next();
    }
    write_line(&mut body, &Trailer { status: "success", has_more })?;
    Ok(body)
}

/// Everything that may be found, in the order of the alphabet.
fn listed(work: &Work<'_>, field: &Field, search: &SearchParams) -> Result<Vec<String>, ApiError> {
    // Where the first ones are wanted, whatever they are, no more need to be listed; one more than wanted tells that there are more.
    let first = search.terms.is_none() && search.order == Order::Alphabetic;
    let limit = if first { search.limit.saturating_add(1) } else { 0 };
    let (source, context, selectors, range) = (work.source, work.context, &search.selectors, search.range);
    Ok(match field {
        Field::LabelNames => source.label_names(context, selectors, range, limit)?,
        Field::MetricNames { .. } => source.label_values(context, METRIC_NAME, selectors, range, limit)?,
        Field::LabelValues(label) => source.label_values(context, label, selectors, range, limit)?,
    })
}

/// As many of `all` as are wanted of those that match, with their scores, and whether there are more.
fn best<'a>(work: &Work<'_>, search: &SearchParams, all: &'a [String]) -> Result<(Vec<Found<'a>>, bool), ApiError> {
    let mut found = Vec::new();
    for text in all {
        // Long patterns and values can take a while.
        work.context.check()?;
        let score = match &search.terms {
            None => Some(1.0),
            Some(terms) => terms.score(text),
        };
        found.extend(score.map(|score| (text.as_str(), score)));
    }
    match search.order {
        Order::Alphabetic => {}
        Order::Reversed => found.reverse(),
        // Equally good ones stay in the order of the alphabet.
        Order::Score => found.sort_by(|a, b| b.1.total_cmp(&a.1)),
    }
    let has_more = found.len() > search.limit;
    found.truncate(search.limit);
    Ok((found, has_more))
}

fn hit<'a>(
    field: &Field,
    text: &'a str,
    score: Option<f64>,
    metadata: &'a BTreeMap<String, Vec<MetadataEntry>>,
) -> Hit<'a> {
    if matches!(field, Field::LabelValues(_)) {
        return Hit { value: Some(text), score, ..Hit::default() };
    }
    let hit = Hit { name: Some(text), score, ..Hit::default() };
    match metadata.get(text).and_then(|entries| entries.first()) {
        Some(entry) => Hit { kind: entry.kind.as_str(), help: &entry.help, unit: &entry.unit, ..hit },
        None => hit,
    }
}

fn write_line(body: &mut Vec<u8>, line: &impl Serialize) -> Result<(), ApiError> {
    serde_json::to_writer(&mut *body, line).map_err(|error| ApiError::new(ErrorType::Internal, error.to_string()))?;
    body.push(b'\n');
    Ok(())
}
