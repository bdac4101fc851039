//! `query` and `query_range`.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::response::Response;
use marigram_query::{QueryOutput, Value, json};

use super::answer;
use super::error::ApiError;
use super::params::invalid;
use super::request::read_request;
use super::work::{self, ReadOptions};
use crate::app::App;

/// Most points of a range query per series.
const MAX_POINTS: i128 = 11_000;

/// The remark of an answer that `limit` cut.
pub const TRUNCATED: &str = "results truncated due to limit";

/// `/api/v1/query`
pub async fn instant(State(app): State<Arc<App>>, request: Request) -> Result<Response, ApiError> {
    let (tenant, params) = read_request(&app, request).await?;
    let limit = params.limit("limit")?;
    let time_ms = params.time_ms("time", app.env.clock.now_ms())?;
    let options = ReadOptions::new(&app, tenant, &params)?;
    let query = params.get("query").unwrap_or_default().to_owned();
    let body = work::run(
        &app,
        |app| &app.queries,
        options,
        move |work| {
            let output = work.engine.instant(work.source, work.context, &query, time_ms)?;
            Ok(render(output, limit, work.context.warnings()))
        },
    );
    counted(&app, body.await)
}

/// `/api/v1/query_range`
pub async fn range(State(app): State<Arc<App>>, request: Request) -> Result<Response, ApiError> {
    let (tenant, params) = read_request(&app, request).await?;
    let limit = params.limit("limit")?;
    let start_ms = params.required_time_ms("start")?;
    let end_ms = params.required_time_ms("end")?;
    if end_ms < start_ms {
        return Err(invalid("end", "end timestamp must not be before start time"));
    }
    let step_ms = params.required_duration_ms("step")?;
    if step_ms <= 0 {
        let reason = "zero or negative query resolution step widths are not accepted. Try a positive integer";
        return Err(invalid("step", reason));
    }
    if (i128::from(end_ms) - i128::from(start_ms)) / i128::from(step_ms) > MAX_POINTS {
        return Err(ApiError::bad_data(
            "exceeded maximum resolution of 11,000 points per timeseries. Try decreasing the query resolution (?step=XX)",
        ));
    }
    let options = ReadOptions::new(&app, tenant, &params)?;
    let query = params.get("query").unwrap_or_default().to_owned();
    let body = work::run(
        &app,
        |app| &app.queries,
        options,
        move |work| {
            let output = work.engine.range(work.source, work.context, &query, start_ms, end_ms, step_ms)?;
            Ok(render(output, limit, work.context.warnings()))
        },
    );
    counted(&app, body.await)
}

fn counted(app: &App, body: Result<Vec<u8>, ApiError>) -> Result<Response, ApiError> {
    app.telemetry.query_done(body.is_ok());
    body.map(answer::json)
}

/// The answer's body; vectors and matrices keep at most `limit` series (0: all). `missing` is why the answer is short, if it is.
fn render(mut output: QueryOutput, limit: usize, missing: Vec<String>) -> Vec<u8> {
    let cut = limit > 0
        && match &mut output.value {
            Value::Vector(samples) => truncate(samples, limit),
            Value::Matrix(series) => truncate(series, limit),
            Value::Scalar { .. } | Value::String { .. } => false,
        };
    let mut warnings = missing;
    warnings.extend(output.annotations.shown_warnings());
    warnings.extend(cut.then(|| TRUNCATED.to_owned()));
    let infos = output.annotations.shown_infos();
    let mut body = Vec::new();
    json::write_success(&mut body, &warnings, &infos, |out| json::write_value(out, &output.value));
    body
}

/// Cuts a list to `limit` entries; says whether there were more.
pub fn truncate<T>(list: &mut Vec<T>, limit: usize) -> bool {
    let more = limit > 0 && list.len() > limit;
    if more {
        list.truncate(limit);
    }
    more
}
