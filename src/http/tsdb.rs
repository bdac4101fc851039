//! `/api/v1/status/tsdb` and `/api/v1/status/tsdb/blocks`: what is stored, in Prometheus' form.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::response::Response;
use marigram_storage::bucket::catalog::CatalogBlock;
use marigram_storage::db::HeadOverview;
use marigram_storage::index::{CardinalityBuilder, Count};
use marigram_storage::model::labels::Labels;
use marigram_storage::model::time::TimeRange;
use serde_json::{Value, json};

use super::answer;
use super::error::ApiError;
use super::params::integer;
use super::request::read_request;
use super::work::{self, ReadOptions, Work};
use crate::app::App;
use crate::service::Service;

/// Entries of each list, unless the request says otherwise.
const LIMIT_DEFAULT: usize = 10;
/// Most entries of each list.
const LIMIT_MAX: usize = 10_000;
/// A query node has no head: it looks at the series of so many milliseconds before now.
const HEAD_MS: i64 = 2 * 3_600_000;

/// `/api/v1/status/tsdb`: the tenant's open data. A query node, which has none, counts the series of the last two hours.
pub async fn status(State(app): State<Arc<App>>, request: Request) -> Result<Response, ApiError> {
    let (tenant, params) = read_request(&app, request).await?;
    let limit = match params.get("limit").map(|text| integer(text, "Atoi")) {
        None => LIMIT_DEFAULT,
        Some(Ok(limit @ 1..)) if limit <= LIMIT_MAX as i64 => limit as usize,
        Some(Ok(1..)) => return Err(ApiError::bad_data(format!("limit must not exceed {LIMIT_MAX}"))),
        Some(_) => return Err(ApiError::bad_data("limit must be a positive number")),
    };
    let now_ms = app.env.clock.now_ms();
    let range = TimeRange { start_ms: now_ms.saturating_sub(HEAD_MS), end_ms: now_ms };
    let store = app.store().cloned();
    // The document has no place for warnings, so it is never short.
    let options = ReadOptions { partial: false, ..ReadOptions::new(&app, tenant, &params)? };
    let overview = work::run(
        &app,
        |app| &app.lookups,
        options.of("/api/v1/status/tsdb"),
        move |work| match store {
            Some(db) => Ok(db.head_overview(work.context.tenant(), limit)),
            None => counted(work, range, limit),
        },
    );
    Ok(answer::fixed(&document(&overview.await?).to_string()))
}

/// The overview of the series of a range of time.
fn counted(work: &Work<'_>, range: TimeRange, limit: usize) -> Result<HeadOverview, ApiError> {
    /// What a label costs while it is counted: its place in a map, as if all were different.
    const LABEL_BYTES: u64 = 64;
    let series = work.source.series(work.context, &[], range, 0)?;
    let bytes = |labels: &Labels| labels.as_bytes().len() as u64 + LABEL_BYTES * labels.iter().count() as u64;
    let _held = work.context.reserve(series.iter().map(bytes).sum())?;
    let mut counts: BTreeMap<&str, BTreeMap<&str, u64>> = BTreeMap::new();
    for labels in &series {
        work.context.check()?;
        for (name, value) in labels.iter() {
            *counts.entry(name).or_default().entry(value).or_default() += 1;
        }
    }
    let mut builder = CardinalityBuilder::new(limit);
    for (name, values) in &counts {
        builder.add(name, values.iter().map(|(value, series)| (*value, *series)));
    }
    let count = series.len() as u64;
    Ok(HeadOverview { series: count, open_chunks: count, range, cardinality: builder.finish() })
}

fn document(overview: &HeadOverview) -> Value {
    let list = |counts: &[Count]| -> Value {
        counts.iter().map(|(name, count)| json!({"name": name, "value": count})).collect()
    };
    let cardinality = &overview.cardinality;
    json!({
        "headStats": {
            "numSeries": overview.series,
            "numLabelPairs": cardinality.label_pairs,
            "chunkCount": overview.open_chunks,
            "minTime": overview.range.start_ms,
            "maxTime": overview.range.end_ms,
        },
        "seriesCountByMetricName": list(&cardinality.series_by_metric),
        "labelValueCountByLabelName": list(&cardinality.values_by_label),
        "memoryInBytesByLabelName": list(&cardinality.bytes_by_label),
        "seriesCountByLabelValuePair": list(&cardinality.series_by_pair),
    })
}

/// `/api/v1/status/tsdb/blocks`: the blocks of the newest catalog, of all tenants.
pub async fn blocks(State(app): State<Arc<App>>) -> Result<Response, ApiError> {
    let Some(service) = app.service() else {
        return Err(ApiError::unavailable("the store is still being recovered"));
    };
    let blocks: Vec<Value> = Service::blocks(service).iter().map(block).collect();
    Ok(answer::fixed(&json!({ "blocks": blocks }).to_string()))
}

/// A block as Prometheus describes its own; there the end of the range is not part of it.
fn block(block: &CatalogBlock) -> Value {
    json!({
        "ulid": block.ulid.to_string(),
        "minTime": block.range.start_ms,
        "maxTime": block.range.end_ms.saturating_add(1),
        "stats": {"numSamples": block.samples, "numSeries": block.series},
        "compaction": {"level": block.level, "sources": block.sources},
        "version": 1,
    })
}
