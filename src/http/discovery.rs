//! What a Prometheus has and this server has not: targets, rules, alerts, Alertmanagers, exemplars, notifications. The answers
//! are truthfully empty; parameters are checked as Prometheus checks them.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use marigram_query::parse::ast::{Expr, ExprKind};
use marigram_query::parse::{self, strings::quote};
use marigram_storage::model::time::TimeRange;
use serde_json::json;

use super::answer;
use super::error::ApiError;
use super::params::{Params, integer, invalid};
use super::request::read_request;
use crate::app::App;

/// `/api/v1/targets`: nothing is scraped for others.
pub async fn targets(State(app): State<Arc<App>>, request: Request) -> Result<Response, ApiError> {
    let (_, params) = read_request(&app, request).await?;
    let state = params.get("state").unwrap_or_default().to_lowercase();
    // Prometheus leaves the counts out, as `null`, where dropped targets are not asked for.
    let counts = matches!(state.as_str(), "" | "any" | "dropped").then(|| json!({}));
    let targets = json!({"activeTargets": [], "droppedTargets": [], "droppedTargetCounts": counts});
    Ok(answer::fixed(&targets.to_string()))
}

/// `/api/v1/targets/metadata`
pub async fn targets_metadata(State(app): State<Arc<App>>, request: Request) -> Result<Response, ApiError> {
    let (_, params) = read_request(&app, request).await?;
    if params.get("limit").is_some_and(|limit| integer(limit, "Atoi").is_err()) {
        return Err(ApiError::bad_data("limit must be a number"));
    }
    if let Some(selector) = params.get("match_target") {
        parse::parse_selector(selector).map_err(|error| invalid("match_target", &error.to_string()))?;
    }
    Ok(answer::fixed("[]"))
}

/// `/api/v1/targets/relabel_steps`: there is no scrape pool.
pub async fn relabel_steps(State(app): State<Arc<App>>, request: Request) -> Result<Response, ApiError> {
    let (_, params) = read_request(&app, request).await?;
    let Some(pool) = params.get("scrapePool") else {
        return Err(ApiError::bad_data("no scrapePool parameter provided"));
    };
    let Some(labels) = params.get("labels") else {
        return Err(ApiError::bad_data("no labels parameter provided"));
    };
    if let Err(error) = serde_json::from_str::<std::collections::BTreeMap<String, String>>(labels) {
        return Err(ApiError::bad_data(format!("error parsing labels: {error}")));
    }
    let pool = quote(pool);
    Err(ApiError::bad_data(format!("error retrieving scrape config: scrape pool {pool} not found")))
}

/// `/api/v1/scrape_pools`
pub async fn scrape_pools() -> Response {
    answer::fixed(r#"{"scrapePools":[]}"#)
}

/// `/api/v1/alertmanagers`
pub async fn alertmanagers() -> Response {
    answer::fixed(r#"{"activeAlertmanagers":[],"droppedAlertmanagers":[]}"#)
}

/// `/api/v1/alerts`
pub async fn alerts() -> Response {
    answer::fixed(r#"{"alerts":[]}"#)
}

/// `/api/v1/rules`
pub async fn rules(State(app): State<Arc<App>>, request: Request) -> Result<Response, ApiError> {
    let (_, params) = read_request(&app, request).await?;
    params.selectors()?;
    let kind = params.get("type").unwrap_or_default().to_lowercase();
    if !matches!(kind.as_str(), "" | "alert" | "record") {
        return Err(invalid("type", &format!("not supported value {}", quote(&kind))));
    }
    exclude_alerts(&params)?;
    if let Some(token) = page(&params)? {
        // A token names the group at which a page begins, and there is none.
        let reason = format!("invalid group_next_token '{token}'. were rule groups changed?");
        return Err(invalid("group_next_token", &reason));
    }
    Ok(answer::fixed(r#"{"groups":[]}"#))
}

fn exclude_alerts(params: &Params) -> Result<(), ApiError> {
    let text = params.get("exclude_alerts").unwrap_or_default().to_lowercase();
    if matches!(text.as_str(), "" | "1" | "t" | "true" | "0" | "f" | "false") {
        return Ok(());
    }
    let reason =
        format!("error converting exclude_alerts: strconv.ParseBool: parsing {}: invalid syntax", quote(&text));
    Err(invalid("exclude_alerts", &reason))
}

/// The group from which on groups are asked for, if any.
fn page(params: &Params) -> Result<Option<&str>, ApiError> {
    let token = params.get("group_next_token");
    let Some(limit) = params.get("group_limit") else {
        return match token {
            None => Ok(None),
            Some(_) => {
                let reason = "group_limit needs to be present in order to paginate over the groups";
                Err(invalid("group_next_token", reason))
            }
        };
    };
    let not_a_number = |reason| invalid("group_limit", &format!("group_limit needs to be a valid number: {reason}"));
    let groups = integer(limit, "ParseInt").map_err(not_a_number)?;
    if groups > i64::from(i32::MAX) {
        return Err(not_a_number(format!("strconv.ParseInt: parsing {}: value out of range", quote(limit))));
    }
    match groups > 0 {
        true => Ok(token),
        false => Err(invalid("group_limit", "group_limit needs to be greater than 0")),
    }
}

/// `/api/v1/query_exemplars`: exemplars are not stored.
pub async fn exemplars(State(app): State<Arc<App>>, request: Request) -> Result<Response, ApiError> {
    let (_, params) = read_request(&app, request).await?;
    let start_ms = params.time_ms("start", TimeRange::ALL.start_ms)?;
    let end_ms = params.time_ms("end", TimeRange::ALL.end_ms)?;
    if end_ms < start_ms {
        return Err(ApiError::bad_data("end timestamp must not be before start timestamp"));
    }
    let query = params.get("query").unwrap_or_default();
    let query =
        parse::parse_with(query, app.settings.query.features).map_err(|error| ApiError::bad_data(error.to_string()))?;
    match selects(&query) {
        true => Ok(answer::fixed("[]")),
        false => Ok(StatusCode::NO_CONTENT.into_response()),
    }
}

/// Whether an expression holds a selector. The parser bounds its depth.
fn selects(expr: &Expr) -> bool {
    match &expr.kind {
        ExprKind::Selector(_) | ExprKind::Matrix { .. } => true,
        ExprKind::Subquery { expr, .. } | ExprKind::Unary { expr, .. } | ExprKind::Paren(expr) => selects(expr),
        ExprKind::Call { args, .. } => args.iter().any(selects),
        ExprKind::Aggregate { expr, param, .. } => selects(expr) || param.as_ref().is_some_and(|param| selects(param)),
        ExprKind::Binary { first, links } => selects(first) || links.iter().any(|link| selects(&link.rhs)),
        _ => false,
    }
}

/// `/api/v1/notifications`
pub async fn notifications() -> Response {
    answer::fixed("[]")
}

/// `/api/v1/notifications/live`: nothing will ever come, which Prometheus says with this status when it takes no subscriber.
pub async fn live_notifications() -> StatusCode {
    StatusCode::NO_CONTENT
}
