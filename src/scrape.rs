//! The process stores its own metrics as a Prometheus would that scrapes it: same text, same labels, same extra series.

use marigram_storage::Result;
use marigram_storage::model::tenant::TenantId;

use crate::app::App;
use crate::http::write::{bounds, limits};
use crate::ingest::exposition::{self, TextOptions};
use crate::service::Sink;

/// The job under which the own metrics are found.
pub const JOB: &str = "marigram";

/// Stores the metrics of this moment for the default tenant.
///
/// # Errors
/// The store's.
pub fn once(app: &App, sink: &dyn Sink, instance: &str) -> Result<()> {
    let started = app.env.clock.monotonic();
    let now_ms = app.env.clock.now_ms();
    let mut text = app.telemetry.render(app);
    let scraped = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).count();
    let seconds = app.env.clock.monotonic().saturating_sub(started).as_secs_f64();
    text.push_str(&format!("up 1\nscrape_duration_seconds {seconds}\nscrape_samples_scraped {scraped}\n"));
    let target = [("job", JOB), ("instance", instance)];
    let options = TextOptions { default_timestamp_ms: now_ms, openmetrics: false, extra_labels: &target };
    let decoded = exposition::decode(TenantId::default(), text.as_bytes(), &limits(app), bounds(app), options);
    if !decoded.refused.is_empty() {
        tracing::warn!(refused = %decoded.refused, "some of the own metrics were not taken");
    }
    let samples = decoded.batch.samples.len() as u64;
    sink.append(decoded.batch).inspect_err(|_| app.check_poison())?;
    app.telemetry.stored(samples, 0);
    Ok(())
}
