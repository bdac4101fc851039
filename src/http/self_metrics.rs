//! `/api/v1/status/self_metrics`: the process's own metrics as JSON, one object for each family.
//!
//! The form is that of Prometheus: `MetricFamily` of its client model (`io.prometheus.client`, metrics.proto), written by
//! the JSON mapping of Protocol Buffers: numbers of 64 bits are strings, what is not finite is a word.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::response::Response;
use marigram_storage::model::labels::METRIC_NAME;
use marigram_storage::model::matcher::{MatchOp, Matcher};
use serde_json::{Map, Value, json};

use super::error::ApiError;
use super::request::read_request;
use super::{answer, status};
use crate::app::App;
use crate::ingest::exposition::line::{self, Line, MetadataLineKind, SampleLine};

/// All families, or those whose name matches `metric_name_pattern` as a whole.
pub async fn self_metrics(State(app): State<Arc<App>>, request: Request) -> Result<Response, ApiError> {
    let (_tenant, params) = read_request(&app, request).await?;
    let wanted = match params.get("metric_name_pattern").filter(|pattern| !pattern.is_empty()) {
        None => None,
        Some(pattern) => Some(
            Matcher::new(METRIC_NAME, MatchOp::Regex, pattern)
                .map_err(|error| ApiError::bad_data(format!("invalid metric_name_pattern: {error}")))?,
        ),
    };
    let text = status::own_metrics(app).await?;
    let families = families(&text).into_iter().filter(|(name, _)| wanted.as_ref().is_none_or(|m| m.matches(name)));
    let all: Vec<Value> = families.map(|(name, family)| family.into_json(&name)).collect();
    Ok(answer::fixed(&Value::Array(all).to_string()))
}

#[derive(Debug, Default)]
struct Family {
    help: String,
    kind: String,
    /// By their labels.
    metrics: BTreeMap<Vec<(String, String)>, Map<String, Value>>,
}

/// The families of a text in the classic format, by name.
fn families(text: &str) -> BTreeMap<String, Family> {
    let mut families: BTreeMap<String, Family> = BTreeMap::new();
    let mut sample = SampleLine::default();
    for bytes in text.as_bytes().split(|byte| *byte == b'\n') {
        match line::read(bytes, false, &mut sample) {
            Ok(Line::Metadata(line)) => {
                let family = families.entry(as_text(&line.family)).or_default();
                match line.kind {
                    MetadataLineKind::Help => family.help = as_text(&line::unescape_help(line.text)),
                    MetadataLineKind::Type => family.kind = as_text(line.text),
                    MetadataLineKind::Unit => {}
                }
            }
            Ok(Line::Sample) => add(&mut families, &sample),
            // The text is our own.
            Ok(Line::Blank | Line::End) | Err(_) => {}
        }
    }
    families.retain(|_, family| !family.metrics.is_empty());
    families
}

fn add(families: &mut BTreeMap<String, Family>, sample: &SampleLine) {
    let mut labels: Vec<(String, String)> =
        sample.labels().into_iter().map(|(name, value)| (as_text(name), as_text(value))).collect();
    let Some(at) = labels.iter().position(|(name, _)| name == METRIC_NAME) else { return };
    let (_, name) = labels.swap_remove(at);
    labels.sort();
    let part_of = |suffix: &str| {
        let family = name.strip_suffix(suffix)?;
        families.get(family).is_some_and(|family| family.kind == "histogram").then(|| family.to_owned())
    };
    let parts = ["_bucket", "_sum", "_count"].into_iter();
    let Some((suffix, family)) = parts.filter_map(|suffix| Some((suffix, part_of(suffix)?))).next() else {
        let family = families.entry(name).or_default();
        let kind = match &*family.kind {
            kind @ ("counter" | "gauge") => kind.to_owned(),
            _ => "untyped".to_owned(),
        };
        family.metrics.entry(labels).or_default().insert(kind, json!({ "value": number(sample.value) }));
        return;
    };
    let bound = labels.iter().position(|(name, _)| name == "le").map(|at| labels.remove(at).1);
    let metric = families.entry(family).or_default().metrics.entry(labels).or_default();
    let histogram = metric.entry("histogram").or_insert_with(|| json!({ "bucket": [] }));
    let whole = json!((sample.value as u64).to_string());
    match (suffix, bound) {
        ("_sum", _) => histogram["sampleSum"] = number(sample.value),
        ("_count", _) => histogram["sampleCount"] = whole,
        // The last bucket is the count.
        (_, Some(bound)) if bound != "+Inf" => {
            let bound = number(bound.parse().unwrap_or(f64::NAN));
            if let Some(buckets) = histogram["bucket"].as_array_mut() {
                buckets.push(json!({ "cumulativeCount": whole, "upperBound": bound }));
            }
        }
        _ => {}
    }
}

impl Family {
    fn into_json(self, name: &str) -> Value {
        let metrics = self.metrics.into_iter().map(|(labels, mut metric)| {
            if !labels.is_empty() {
                let label = |(name, value): (String, String)| json!({ "name": name, "value": value });
                metric.insert("label".into(), labels.into_iter().map(label).collect());
            }
            Value::Object(metric)
        });
        let kind = match &*self.kind {
            "counter" => "COUNTER",
            "gauge" => "GAUGE",
            "histogram" => "HISTOGRAM",
            _ => "UNTYPED",
        };
        json!({ "name": name, "help": self.help, "type": kind, "metric": metrics.collect::<Vec<_>>() })
    }
}

fn number(value: f64) -> Value {
    match value {
        value if value.is_nan() => json!("NaN"),
        f64::INFINITY => json!("Infinity"),
        f64::NEG_INFINITY => json!("-Infinity"),
        value => json!(value),
    }
}

fn as_text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_in_the_form_of_the_client_model() {
        let text = "# HELP b_total Of \\\\ b.\n# TYPE b_total counter\nb_total{x=\"2\",c=\"d,e=f\"} 3\nb_total{x=\"1\"} +Inf\n\
                    # TYPE empty gauge\n\
                    # HELP a A.\n# TYPE a histogram\na_bucket{le=\"0.5\",h=\"x\"} 1\na_bucket{le=\"+Inf\",h=\"x\"} 2\n\
                    a_sum{h=\"x\"} 7.5\na_count{h=\"x\"} 2\nplain_count NaN\n";
        let all: Vec<Value> = families(text).into_iter().map(|(name, family)| family.into_json(&name)).collect();
        let histogram = json!({
            "bucket": [{ "cumulativeCount": "1", "upperBound": 0.5 }], "sampleSum": 7.5, "sampleCount": "2",
        });
        let labelled = |label: Value, kind: &str, value: Value| json!({ "label": label, kind: value });
        assert_eq!(
            Value::Array(all),
            json!([
                {
                    "name": "a", "help": "A.", "type": "HISTOGRAM",
                    "metric": [labelled(json!([{ "name": "h", "value": "x" }]), "histogram", histogram)],
                },
                {
                    "name": "b_total", "help": "Of \\ b.", "type": "COUNTER",
                    "metric": [
                        labelled(
                            json!([{ "name": "c", "value": "d,e=f" }, { "name": "x", "value": "2" }]),
                            "counter",
                            json!({ "value": 3.0 }),
                        ),
                        labelled(json!([{ "name": "x", "value": "1" }]), "counter", json!({ "value": "Infinity" })),
                    ],
                },
                {
                    "name": "plain_count", "help": "", "type": "UNTYPED",
                    "metric": [{ "untyped": { "value": "NaN" } }],
                },
            ])
        );
    }
}
