//! What is about the language alone and reads no data: `format_query`, `parse_query`, `features`.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::response::Response;
use marigram_query::parse::ast::{AggregateOp, BinaryOp, Expr};
use marigram_query::parse::functions::FUNCTIONS;
use marigram_query::parse::{Features, parse_with, pretty};
use marigram_query::{ast_json, json};
use serde_json::{Map, Value, json as object};

use super::answer;
use super::error::{ApiError, ErrorType};
use super::params::invalid;
use super::request::read_request;
use super::work;
use crate::app::App;
use crate::config::Settings;

/// `/api/v1/format_query`
pub async fn format_query(State(app): State<Arc<App>>, request: Request) -> Result<Response, ApiError> {
    of_query(app, request, |expr| {
        let text = pretty::pretty(&expr).ok_or_else(|| {
            let limit = pretty::PRETTY_BYTES_MAX;
            ApiError::bad_data(format!("the formatted query would be longer than {limit} bytes"))
        })?;
        Ok(answer::success(Vec::new(), false, |out| json::write_text(out, &text)))
    })
    .await
}

/// `/api/v1/parse_query`
pub async fn parse_query(State(app): State<Arc<App>>, request: Request) -> Result<Response, ApiError> {
    of_query(app, request, |expr| Ok(answer::success(Vec::new(), false, |out| ast_json::write_tree(out, &expr)))).await
}

/// Parses the parameter `query` and answers for it, on a thread that may block: a long text takes its time.
async fn of_query(
    app: Arc<App>,
    request: Request,
    write: impl FnOnce(Expr) -> Result<Vec<u8>, ApiError> + Send + 'static,
) -> Result<Response, ApiError> {
    let (_tenant, params) = read_request(&app, request).await?;
    let query = params.get("query").unwrap_or_default().to_owned();
    let (features, packer) = (app.settings.query.features, params.packer());
    let place = app.lookups.enter(params.timeout(app.settings.query.timeout)?).await.map_err(work::refused)?;
    let job = app.reads.run(move || {
        let _place = place;
        let expr = parse_with(&query, features).map_err(|error| invalid("query", &error.to_string()))?;
        write(expr).map(|body| packer.pack_whole(body))
    });
    let body = job.await.unwrap_or_else(|_| Err(ApiError::new(ErrorType::Internal, "the request failed unexpectedly")));
    body.map(answer::packed)
}

/// `/api/v1/features`: what is on, by category.
pub async fn features(State(app): State<Arc<App>>) -> Response {
    let mut all = by_category(app.settings.query.features);
    all.insert("api".into(), api(&app.settings));
    answer::fixed(&Value::Object(all).to_string())
}

/// What the HTTP API can do, by Prometheus' names.
fn api(settings: &Settings) -> Value {
    object!({
        "admin": settings.admin_api,
        "label_values_match": true,
        "lifecycle": false,
        "otlp_write_receiver": false,
        "query_stats": true,
        "query_warnings": true,
        "remote_write_receiver": settings.role.takes_writes(),
        "search": settings.query.search,
        "search_fuzz_alg_jarowinkler": true,
        "search_fuzz_alg_subsequence": true,
        "time_range_labels": true,
        "time_range_series": true,
    })
}

fn by_category(features: Features) -> Map<String, Value> {
    let language = object!({
        "anchored": features.extended_range_selectors,
        "at_modifier": true,
        "bool": true,
        "by": true,
        "delayed_name_removal": features.delayed_name_removal,
        "duration_expr": true,
        "fill": features.binop_fill_modifiers,
        "fill_left": features.binop_fill_modifiers,
        "fill_right": features.binop_fill_modifiers,
        "group_left": true,
        "group_right": true,
        "ignoring": true,
        "negative_offset": true,
        "offset": true,
        "on": true,
        "per_query_lookback_delta": true,
        "per_step_stats": features.per_step_stats,
        "smoothed": features.extended_range_selectors,
        "subqueries": true,
        "type_and_unit_labels": features.type_and_unit_labels,
        "without": true,
    });
    let operators = BinaryOp::ALL.map(|op| (op.as_str(), true));
    let others = [("=~", true), ("!~", true), ("@", true)];
    let aggregators =
        AggregateOp::ALL.map(|op| (op.as_str(), !op.is_experimental() || features.experimental_functions));
    let functions = FUNCTIONS.iter().map(|f| (f.name, !f.is_experimental() || features.experimental_functions));
    [
        ("promql".to_owned(), language),
        ("promql_functions".to_owned(), switches(functions)),
        ("promql_operators".to_owned(), switches(operators.into_iter().chain(others).chain(aggregators))),
    ]
    .into_iter()
    .collect()
}

fn switches(switches: impl Iterator<Item = (&'static str, bool)>) -> Value {
    Value::Object(switches.map(|(name, on)| (name.to_owned(), Value::Bool(on))).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn experimental_parts_are_listed_as_off_until_they_are_on() {
        let off = by_category(Features::default());
        assert_eq!(off["promql"]["fill"], false);
        assert_eq!(off["promql"]["duration_expr"], true);
        assert_eq!(
            (&off["promql"]["per_step_stats"], &by_category(Features::ALL)["promql"]["per_step_stats"]),
            (&Value::Bool(false), &Value::Bool(true))
        );
        assert_eq!(off["promql_functions"]["rate"], true);
        assert_eq!(off["promql_functions"]["info"], false);
        assert_eq!(off["promql_operators"]["</"], true);
        assert_eq!(off["promql_operators"]["limitk"], false);
        assert_eq!(off["promql_operators"]["sum"], true);
        let on = by_category(Features::ALL);
        assert_eq!(
            (&on["promql_functions"]["info"], &on["promql"]["smoothed"]),
            (&Value::Bool(true), &Value::Bool(true))
        );
    }
}
