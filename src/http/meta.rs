//! What series there are: `labels`, `label/<name>/values`, `series`, `metadata`.

use std::sync::Arc;

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use axum::response::Response;
use marigram_query::json;
use marigram_query::parse::strings::quote_bytes;
use marigram_storage::write::MetadataEntry;

use super::answer;
use super::error::ApiError;
use super::params::{invalid, unescape_label_name};
use super::query::truncate;
use super::request::read_request;
use super::work::{self, ReadOptions};
use crate::app::App;

/// One more than the limit, so that a cut is noticed; 0 stays "all".
fn one_more(limit: usize) -> usize {
    if limit == 0 { 0 } else { limit.saturating_add(1) }
}

/// `/api/v1/labels`
pub async fn label_names(State(app): State<Arc<App>>, request: Request) -> Result<Response, ApiError> {
    let (tenant, params) = read_request(&app, request).await?;
    let (limit, range, selectors) = (params.limit("limit")?, params.range()?, params.selectors()?);
    if range.is_empty() {
        return Ok(answer::fixed("[]"));
    }
    let options = ReadOptions::new(&app, tenant, &params)?.of("/api/v1/labels");
    work::run(
        &app,
        |app| &app.lookups,
        options,
        move |work| {
            let mut names = work.source.label_names(work.context, &selectors, range, one_more(limit))?;
            let cut = truncate(&mut names, limit);
            Ok(work.pack(answer::success(work.context.warnings(), cut, |out| {
                json::write_texts(out, names.iter().map(String::as_str))
            })))
        },
    )
    .await
    .map(answer::packed)
}

/// `/api/v1/label/<name>/values`
pub async fn label_values(
    State(app): State<Arc<App>>,
    name: Result<Path<String>, PathRejection>,
    request: Request,
) -> Result<Response, ApiError> {
    let Path(name) = name.map_err(|_| invalid_name(&raw_name(request.uri().path())))?;
    let name = unescape_label_name(&name);
    if name.is_empty() {
        return Err(invalid_name(b""));
    }
    let (tenant, params) = read_request(&app, request).await?;
    let (limit, range, selectors) = (params.limit("limit")?, params.range()?, params.selectors()?);
    if range.is_empty() {
        return Ok(answer::fixed("[]"));
    }
    let options = ReadOptions::new(&app, tenant, &params)?.of("/api/v1/label/<name>/values");
    work::run(
        &app,
        |app| &app.lookups,
        options,
        move |work| {
            let mut values = work.source.label_values(work.context, &name, &selectors, range, one_more(limit))?;
            let cut = truncate(&mut values, limit);
            Ok(work.pack(answer::success(work.context.warnings(), cut, |out| {
                json::write_texts(out, values.iter().map(String::as_str))
            })))
        },
    )
    .await
    .map(answer::packed)
}

fn invalid_name(name: &[u8]) -> ApiError {
    ApiError::bad_data(format!("invalid label name: {}", quote_bytes(name)))
}

/// The last but one part of a path, as bytes.
fn raw_name(path: &str) -> Vec<u8> {
    let mut rest = path.rsplit('/').nth(1).unwrap_or_default().as_bytes();
    let mut out = Vec::new();
    while let [first, after @ ..] = rest {
        let hex = after.get(..2).filter(|_| *first == b'%').and_then(|hex| std::str::from_utf8(hex).ok());
        let byte = hex.and_then(|hex| u8::from_str_radix(hex, 16).ok());
        out.push(byte.unwrap_or(*first));
        rest = if byte.is_some() { after.get(2..).unwrap_or_default() } else { after };
    }
    out
}

/// `/api/v1/series`
pub async fn series(State(app): State<Arc<App>>, request: Request) -> Result<Response, ApiError> {
    let (tenant, params) = read_request(&app, request).await?;
    if params.all("match[]").next().is_none() {
        return Err(ApiError::bad_data("no match[] parameter provided"));
    }
    let (limit, range) = (params.limit("limit")?, params.range()?);
    let selectors = params.selectors().map_err(|error| invalid("match[]", &error.message))?;
    if range.is_empty() {
        return Ok(answer::fixed("[]"));
    }
    let options = ReadOptions::new(&app, tenant, &params)?.of("/api/v1/series");
    work::run(
        &app,
        |app| &app.lookups,
        options,
        move |work| {
            let mut series = work.source.series(work.context, &selectors, range, one_more(limit))?;
            let cut = truncate(&mut series, limit);
            Ok(work.pack(answer::success(work.context.warnings(), cut, |out| json::write_label_sets(out, &series))))
        },
    )
    .await
    .map(answer::packed)
}

/// `/api/v1/metadata`
pub async fn metadata(State(app): State<Arc<App>>, request: Request) -> Result<Response, ApiError> {
    let (tenant, params) = read_request(&app, request).await?;
    // A negative limit means "all" here, as in Prometheus.
    let limit = |name: &str| match params.get(name).map(str::parse::<i64>) {
        None => Ok(usize::MAX),
        Some(Ok(n)) => Ok(usize::try_from(n).ok().filter(|n| *n > 0).unwrap_or(usize::MAX)),
        Some(Err(_)) => Err(ApiError::bad_data(format!("{name} must be a number"))),
    };
    let (families, per_family) = (limit("limit")?, limit("limit_per_metric")?);
    let metric = params.get("metric").map(str::to_owned);
    let options = ReadOptions::new(&app, tenant, &params)?.of("/api/v1/metadata");
    work::run(
        &app,
        |app| &app.lookups,
        options,
        move |work| {
            let mut all = work.source.metadata(work.context)?;
            if let Some(metric) = metric {
                all.retain(|family, _| *family == metric);
            }
            Ok(work.pack(answer::success(work.context.warnings(), false, |out| {
                write_list(out, b"{}", all.iter().take(families), |out, (family, entries)| {
                    json::write_text(out, family);
                    out.push(b':');
                    write_list(out, b"[]", entries.iter().take(per_family), write_entry);
                });
            })))
        },
    )
    .await
    .map(answer::packed)
}

fn write_list<T>(
    out: &mut Vec<u8>,
    brackets: &[u8; 2],
    items: impl Iterator<Item = T>,
    mut write: impl FnMut(&mut Vec<u8>, T),
) {
    out.push(brackets[0]);
    for (i, item) in items.enumerate() {
        if i > 0 {
            out.push(b',');
        }
        write(out, item);
    }
    out.push(brackets[1]);
}

fn write_entry(out: &mut Vec<u8>, entry: &MetadataEntry) {
    for (key, value) in
        [(r#"{"type":"#, entry.kind.as_str()), (r#","help":"#, &entry.help), (r#","unit":"#, &entry.unit)]
    {
        out.extend_from_slice(key.as_bytes());
        json::write_text(out, value);
    }
    out.push(b'}');
}
