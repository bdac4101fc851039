//! `query` and `query_range`.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::response::Response;
use marigram_query::{Engine, QueryError, QueryErrorKind, QueryOutput, StepSamples, Value, json};
use marigram_storage::context::Tally;
use marigram_storage::model::tenant::TenantId;

use super::answer;
use super::compress::Packed;
use super::error::ApiError;
use super::params::{Params, invalid};
use super::request::{self, read_request};
use super::work::{self, ReadOptions, Work};
use crate::app::App;

/// Most points of a range query per series.
const MAX_POINTS: i128 = 11_000;

/// The value of `stats` that also asks for figures of every step.
const STATS_ALL: &str = "all";

/// The remark of an answer that `limit` cut.
pub const TRUNCATED: &str = "results truncated due to limit";

/// `/api/v1/query`
pub async fn instant(State(app): State<Arc<App>>, request: Request) -> Result<Response, ApiError> {
    let (tenant, params) = read_request(&app, request).await?;
    let limit = params.limit("limit")?;
    let time_ms = params.time_ms("time", app.env.clock.now_ms())?;
    evaluate(&app, tenant, &params, "/api/v1/query", limit, move |work, engine, query| {
        engine.instant(work.source, work.context, query, time_ms)
    })
    .await
}

/// `/api/v1/query_range`
pub async fn range(State(app): State<Arc<App>>, request: Request) -> Result<Response, ApiError> {
    let no_store = request::no_store(request.headers());
    let (tenant, params) = read_request(&app, request).await?;
    let asks_cache = !params.flag("nocache", false)? && !no_store;
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
    evaluate(&app, tenant, &params, "/api/v1/query_range", limit, move |work, engine, query| {
        match work.cache.filter(|_| asks_cache && !engine.counts_steps()) {
            Some(cache) => cache.range(engine, work.source, work.context, query, (start_ms, end_ms, step_ms)),
            None => engine.range(work.source, work.context, query, start_ms, end_ms, step_ms),
        }
    })
    .await
}

/// What the two have in common: the parameters that both take, a place, the answer.
async fn evaluate(
    app: &Arc<App>,
    tenant: TenantId,
    params: &Params,
    endpoint: &'static str,
    limit: usize,
    ask: impl FnOnce(&Work<'_>, &Engine, &str) -> Result<QueryOutput, QueryError> + Send + 'static,
) -> Result<Response, ApiError> {
    let options = ReadOptions::new(app, tenant, params)?.of(endpoint);
    let lookback_ms = params.lookback_ms()?;
    let query = params.get("query").unwrap_or_default().to_owned();
    let stats = params.get("stats").map(str::to_owned);
    let clock = Arc::clone(&app.env.clock);
    let body = work::run(
        app,
        |app| &app.queries,
        options,
        move |work| {
            let started = clock.monotonic();
            let asks_steps = stats.as_deref() == Some(STATS_ALL);
            let engine = work.engine.with_lookback(lookback_ms).counting_steps(asks_steps);
            let mut output = ask(work, &engine, &query).map_err(query_error)?;
            let samples_by_step = output.samples_by_step.take();
            let evaluation = clock.monotonic().saturating_sub(started);
            let tally = Arc::clone(work.context.tally());
            let stats = stats.map(|wanted| Stats { queue: work.waited, evaluation, tally, samples_by_step, wanted });
            Ok(render(output, limit, work, stats))
        },
    );
    let body = body.await;
    app.telemetry.query_done(body.is_ok());
    body.map(answer::packed)
}

/// A query that is wrong is a wrong parameter.
fn query_error(error: QueryError) -> ApiError {
    match error.kind {
        QueryErrorKind::BadData => invalid("query", &error.message),
        _ => error.into(),
    }
}

/// What a query took.
struct Stats {
    queue: Duration,
    evaluation: Duration,
    tally: Arc<Tally>,
    samples_by_step: Option<Vec<StepSamples>>,
    /// What the request gave as `stats`.
    wanted: String,
}

impl Stats {
    /// Preparing is part of the evaluation here, and not told apart.
    fn json(&self) -> String {
        let load = |figure: &std::sync::atomic::AtomicU64| figure.load(Ordering::Relaxed);
        let (queue, evaluation) = (self.queue.as_secs_f64(), self.evaluation.as_secs_f64());
        let total = (self.queue + self.evaluation).as_secs_f64();
        let sorting = Duration::from_nanos(load(&self.tally.sorting_ns));
        let (sorting, inner) = (sorting.as_secs_f64(), self.evaluation.saturating_sub(sorting).as_secs_f64());
        format!(
            "{{\"timings\":{{\"evalTotalTime\":{evaluation},\"resultSortTime\":{sorting},\"queryPreparationTime\":0,\
             \"innerEvalTime\":{inner},\"execQueueTime\":{queue},\"execTotalTime\":{total}}},\
             \"samples\":{{{}\"totalQueryableSamples\":{},{}\"samplesRead\":{},\"peakSamples\":{}}}}}",
            self.steps("totalQueryableSamplesPerStep", |step| step.queryable),
            load(&self.tally.samples_queryable),
            self.steps("samplesReadPerStep", |step| step.read),
            load(&self.tally.samples_read),
            load(&self.tally.samples_peak),
        )
    }

    /// A figure of every step with the step's time, where steps were told apart.
    fn steps(&self, name: &str, figure: impl Fn(&StepSamples) -> u64) -> String {
        let pair = |step: &StepSamples| format!("[{},{}]", step.time_ms as f64 / 1000.0, figure(step));
        let pairs = self.samples_by_step.as_ref().map(|steps| steps.iter().map(pair).collect::<Vec<_>>().join(","));
        pairs.map_or_else(String::new, |pairs| format!("\"{name}\":[{pairs}],"))
    }

    /// What Prometheus says to values that it will not take for ever.
    fn warning(&self) -> Option<String> {
        let wanted = marigram_query::parse::strings::quote(&self.wanted);
        (!matches!(self.wanted.as_str(), "true" | STATS_ALL)).then(|| {
            format!(
                "value {wanted} for parameter \"stats\" is deprecated and will be rejected in the next major release, use \
                 \"true\" or \"all\""
            )
        })
    }
}

/// The answer's body; vectors and matrices keep at most `limit` series (0: all).
fn render(mut output: QueryOutput, limit: usize, work: &Work<'_>, stats: Option<Stats>) -> Packed {
    let cut = limit > 0
        && match &mut output.value {
            Value::Vector(samples) => truncate(samples, limit),
            Value::Matrix(series) => truncate(series, limit),
            Value::Scalar { .. } | Value::String { .. } => false,
        };
    // Why the answer is short, if it is.
    let mut warnings = work.context.warnings();
    warnings.extend(output.annotations.shown_warnings());
    warnings.extend(cut.then(|| TRUNCATED.to_owned()));
    warnings.extend(stats.as_ref().and_then(Stats::warning));
    let infos = output.annotations.shown_infos();
    let value = output.value;
    let count = json::rows(&value);
    let lengths: Vec<usize> = (0..count).map(|row| json::row_bytes(&value, row)).collect();
    work.packer.pack_rows(work.engine, &lengths, move |out, rows| {
        let is_last = rows.end == count;
        if rows.start == 0 {
            json::begin_success(out);
            json::begin_value(out, &value);
        }
        json::write_rows(out, &value, rows);
        if is_last {
            json::end_value(out, &value);
            if let Some(stats) = &stats {
                out.extend_from_slice(b",\"stats\":");
                out.extend_from_slice(stats.json().as_bytes());
            }
            out.push(b'}');
            json::end_success(out, &warnings, &infos);
        }
    })
}

/// Cuts a list to `limit` entries; says whether there were more.
pub fn truncate<T>(list: &mut Vec<T>, limit: usize) -> bool {
    let more = limit > 0 && list.len() > limit;
    if more {
        list.truncate(limit);
    }
    more
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn times_and_figures_add_up() {
        let tally = Arc::<Tally>::default();
        tally.add(7, 5);
        tally.sorting_ns.store(2_000_000, Ordering::Relaxed);
        let step = |time_ms, queryable, read| StepSamples { time_ms, queryable, read };
        let stats = Stats {
            queue: Duration::from_millis(1),
            evaluation: Duration::from_millis(6),
            tally,
            samples_by_step: Some(vec![step(1_500, 4, 4), step(2_000, 3, 1)]),
            wanted: STATS_ALL.to_owned(),
        };
        let json: Value = serde_json::from_str(&stats.json()).unwrap();
        let timings = json!({
            "evalTotalTime": 0.006, "resultSortTime": 0.002, "queryPreparationTime": 0, "innerEvalTime": 0.004,
            "execQueueTime": 0.001, "execTotalTime": 0.007,
        });
        let samples = json!({
            "totalQueryableSamplesPerStep": [[1.5, 4], [2, 3]], "totalQueryableSamples": 7,
            "samplesReadPerStep": [[1.5, 4], [2, 1]], "samplesRead": 5, "peakSamples": 0,
        });
        assert_eq!(json, json!({"timings": timings, "samples": samples}));
    }
}
