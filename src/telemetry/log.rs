//! The log: one line per event on stderr, `key=value`, times in UTC.

use std::fmt::{self, Write};
use std::sync::Arc;

use marigram_storage::env::Clock;
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

use crate::calendar::format_rfc3339;

/// Starts logging; `RUST_LOG` goes before `level`.
///
/// # Errors
/// One line that says which filter is wrong.
pub fn start(level: &str, clock: Arc<dyn Clock>) -> Result<(), String> {
    let (source, filter) = match std::env::var("RUST_LOG") {
        Ok(filter) if !filter.is_empty() => ("RUST_LOG", filter),
        _ => ("--log-level", level.to_owned()),
    };
    let filter = EnvFilter::try_new(&filter).map_err(|error| format!("error: invalid value for {source}: {error}"))?;
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .event_format(KeyValue { clock })
        .try_init()
        .map_err(|error| format!("error: {error}"))
}

struct KeyValue {
    clock: Arc<dyn Clock>,
}

impl<S, N> FormatEvent<S, N> for KeyValue
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, _: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let metadata = event.metadata();
        let level = metadata.level().as_str().to_ascii_lowercase();
        write!(writer, "ts={} level={level} target={}", format_rfc3339(self.clock.now_ms()), metadata.target())?;
        let mut fields = Fields { writer: &mut writer, result: Ok(()) };
        event.record(&mut fields);
        fields.result?;
        writeln!(writer)
    }
}

struct Fields<'a, 'w> {
    writer: &'a mut Writer<'w>,
    result: fmt::Result,
}

impl Visit for Fields<'_, '_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let text = format!("{value:?}");
        self.result = self.result.and_then(|()| write_pair(self.writer, field.name(), &text));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.result = self.result.and_then(|()| write_pair(self.writer, field.name(), value));
    }
}

fn write_pair(out: &mut impl Write, key: &str, value: &str) -> fmt::Result {
    let key = if key == "message" { "msg" } else { key };
    let plain =
        !value.is_empty() && value.chars().all(|c| !c.is_whitespace() && !c.is_control() && c != '"' && c != '=');
    if plain { write!(out, " {key}={value}") } else { write!(out, " {key}={value:?}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_quoted_where_they_must_be() {
        let mut out = String::new();
        for (key, value) in [("message", "it is up"), ("port", "80"), ("empty", ""), ("line", "a\nb"), ("q", "\"")] {
            write_pair(&mut out, key, value).unwrap();
        }
        assert_eq!(out, r#" msg="it is up" port=80 empty="" line="a\nb" q="\"""#);
    }
}
