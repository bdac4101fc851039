//! The document for people.

use std::fmt::Write;

use comfy_table::{Table, presets};

use super::document::{CatalogStatus, ClusterStatus, MemberStatus};

/// A few lines, and a table of the members.
pub(super) fn render(status: &ClusterStatus) -> String {
    let mut text = String::new();
    // Writing to a string cannot fail.
    let mut line = |name: &str, value: String| {
        let _ = writeln!(text, "{name:<19} {value}");
    };
    if let (Some(id), Some(copies), Some(quorum)) = (&status.cluster_id, status.replication_factor, status.write_quorum)
    {
        line("cluster", format!("{id}, {copies} copies of every sample, {quorum} before a write is answered"));
    }
    match (&status.incomplete_because, status.complete) {
        (Some(why), _) => line("answers", format!("NOT COMPLETE: {why}")),
        (None, Some(_)) => line("answers", "complete".to_owned()),
        (None, None) => {}
    }
    if let Some(why) = &status.not_ready_because {
        line(&status.role, format!("not ready: {why}"));
    }
    if let Some(health) = &status.health {
        let (healthy, listed) = (health.healthy_members, health.listed_members);
        line("health", format!("{} ({} %, {healthy} of {listed} members)", health.class, health.share_percent));
    }
    if let Some(lack) = &status.under_replicated {
        let after = lack.after_ms.map_or(String::new(), |_| " that is not in the bucket".to_owned());
        line("copies in reach", format!("at least {} of every acknowledged sample{after}", lack.copies_min));
    }
    line("newest sample", status.newest_sample_age_ms.map_or("none".to_owned(), ago));
    line(
        "waiting for upload",
        match &status.waiting_for_upload {
            none if none.blocks == 0 => "nothing".to_owned(),
            some => {
                let oldest = some.oldest_age_ms.map_or(String::new(), |ms| format!(", the oldest sealed {}", ago(ms)));
                format!("{} blocks, {}{oldest}", some.blocks, bytes(some.bytes))
            }
        },
    );
    if let Some(catalog) = &status.catalog {
        line("catalog", catalog_line(catalog));
    }
    for problem in &status.problems {
        line("problem", problem.clone());
    }
    if !status.members.is_empty() {
        let _ = write!(text, "\n{}\n", members(&status.members));
    }
    text
}

fn catalog_line(catalog: &CatalogStatus) -> String {
    let confirmed = match catalog.confirmed_ago_ms {
        Some(ms) => format!("confirmed {}", ago(i64::try_from(ms).unwrap_or(i64::MAX))),
        None => "not confirmed".to_owned(),
    };
    format!(
        "{}, written {}, {confirmed}, {} blocks, {}",
        catalog.number,
        ago(catalog.age_ms),
        catalog.blocks,
        bytes(catalog.bytes)
    )
}

fn members(members: &[MemberStatus]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::UTF8_HORIZONTAL_ONLY);
    table.set_header(["member", "state", "address", "zone", "newest sample", "to upload", "series", "why"]);
    for member in members {
        let or_dash = |text: Option<String>| text.filter(|text| !text.is_empty()).unwrap_or_else(|| "-".to_owned());
        table.add_row([
            or_dash(Some(member.node_name.clone())),
            member.state.as_str().to_owned(),
            or_dash(member.address.clone()),
            or_dash(Some(member.zone.clone())),
            or_dash(member.newest_sample_age_ms.map(ago)),
            or_dash(member.unshipped_bytes.map(bytes)),
            or_dash(member.head_series.map(|series| series.to_string())),
            member.why.clone().unwrap_or_default(),
        ]);
    }
    table
}

fn ago(ms: i64) -> String {
    let (s, sign) = (ms.unsigned_abs() / 1000, if ms < 0 { "ahead" } else { "ago" });
    let (large, unit, small, small_unit) = match s {
        0..60 => return format!("{s} s {sign}"),
        60..3600 => (s / 60, "min", s % 60, "s"),
        3600..86_400 => (s / 3600, "h", s % 3600 / 60, "min"),
        _ => (s / 86_400, "d", s % 86_400 / 3600, "h"),
    };
    format!("{large} {unit} {small} {small_unit} {sign}")
}

fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut unit = 0;
    let mut scaled = bytes as f64;
    while scaled >= 1024.0 && unit + 1 < UNITS.len() {
        scaled /= 1024.0;
        unit += 1;
    }
    let digits = usize::from(unit > 0);
    format!("{scaled:.digits$} {}", UNITS[unit])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_and_sizes() {
        assert_eq!(ago(999), "0 s ago");
        assert_eq!(ago(-5000), "5 s ahead");
        assert_eq!(ago(61_000), "1 min 1 s ago");
        assert_eq!(ago(7_320_000), "2 h 2 min ago");
        assert_eq!(ago(90_000_000), "1 d 1 h ago");
        assert_eq!((bytes(0), bytes(1023), bytes(1536)), ("0 B".to_owned(), "1023 B".to_owned(), "1.5 KiB".to_owned()));
        assert!(bytes(u64::MAX).ends_with(" TiB"));
    }
}
