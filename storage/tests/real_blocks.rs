//! Real scrapes as a block: read back bit for bit, and found by the matchers that dashboards use, by the index of a head
//! and by that of a block alike. `MARIGRAM_REAL_SCRAPES` names the directory with the `*.rw1.zst` recordings.

#![allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

#[path = "support/recordings.rs"]
mod recordings;

use std::path::Path;
use std::sync::Arc;

use marigram_storage::block::{Block, BlockWriter, TenantBlock, block_dir};
use marigram_storage::disk::{Disk, RealDisk};
use marigram_storage::index::PostingsIndex;
use marigram_storage::model::matcher::{MatchOp, Matcher, matches_all};
use marigram_storage::model::sample::Sample;
use marigram_storage::model::tenant::TenantId;
use marigram_storage::model::time::TimeRange;
use marigram_storage::select::SeriesDecoder;
use recordings::{Recorded, read_recordings};
use ulid::Ulid;

fn write(disk: &Arc<dyn Disk>, dir: &Path, recorded: &Recorded) {
    let mut writer = BlockWriter::create(disk, dir, Ulid(1)).unwrap();
    writer.begin_tenant(&TenantId::default()).unwrap();
    for (labels, samples) in recorded {
        let (times, values): (Vec<_>, Vec<_>) = samples.iter().map(|s| (s.timestamp_ms, s.value)).unzip();
        writer.add_series(labels, &times, &values).unwrap();
    }
    let meta = writer.finish(Vec::new(), 0).unwrap();
    let chunks = std::fs::metadata(block_dir(dir, Ulid(1)).join("chunks")).unwrap().len();
    eprintln!(
        "{} series, {} samples, {:.3} bytes per sample, of these {:.3} in the index",
        meta.series,
        meta.samples,
        meta.size_bytes as f64 / meta.samples as f64,
        (meta.size_bytes - chunks) as f64 / meta.samples as f64
    );
}

fn reads_back(block: &TenantBlock, recorded: &Recorded) {
    let refs = block.select(&[], TimeRange::ALL).unwrap();
    assert_eq!(refs.len(), recorded.len());
    let mut decoder = SeriesDecoder::default();
    for (found, (labels, samples)) in refs.into_iter().zip(recorded) {
        assert_eq!(&block.series(found).unwrap().0, labels);
        let chunks = block.chunks(found, TimeRange::ALL).unwrap();
        let (times, values) = decoder.decode(&chunks, TimeRange::ALL).unwrap();
        let got = times.iter().zip(values).map(|(t, v)| Sample { timestamp_ms: *t, value: *v });
        assert!(got.eq(samples.iter().copied()), "{labels}");
    }
}

/// Each line one selector: name, operator, value; and so on.
fn selectors() -> Vec<Vec<Matcher>> {
    use MatchOp::{Equal, NotEqual, NotRegex, Regex};
    let lines: &[&[(&str, MatchOp, &str)]] = &[
        &[("__name__", Equal, "up")],
        &[("__name__", Equal, "node_cpu_seconds_total"), ("mode", NotEqual, "idle")],
        &[("__name__", Equal, "node_cpu_seconds_total"), ("mode", Regex, "user|system|iowait")],
        &[("__name__", Regex, "node_.*")],
        &[("__name__", Regex, "node_(memory|disk)_.+_bytes")],
        &[("__name__", Regex, ".+_bucket"), ("le", Equal, "+Inf")],
        &[("__name__", NotRegex, "node_.*|prometheus_.*")],
        &[("__name__", Equal, "node_filesystem_avail_bytes"), ("fstype", NotRegex, "tmpfs|overlay")],
        &[("job", Regex, "node.*"), ("instance", Regex, ".*:9.+"), ("cpu", NotEqual, "")],
        &[("le", Equal, ""), ("quantile", Equal, ""), ("cpu", Equal, "")],
        &[("le", Regex, "|0\\..*")],
        &[("replica", Regex, "a|b"), ("handler", Regex, "/api/v1/.*")],
        &[("nothing", Equal, "x")],
        &[("nothing", NotEqual, "x")],
        &[("device", Regex, "[a-z]+[0-9]?"), ("__name__", Regex, "node_network_(receive|transmit)_bytes_total")],
        &[("__name__", Regex, "(?i)UP|go_.*")],
    ];
    let matcher = |(name, op, value): &(&str, MatchOp, &str)| Matcher::new(*name, *op, *value).unwrap();
    lines.iter().map(|line| line.iter().map(matcher).collect()).collect()
}

#[test]
fn real_scrapes_are_found_and_read_back() {
    let Some(dir) = std::env::var_os("MARIGRAM_REAL_SCRAPES") else {
        eprintln!("LEFT OUT: MARIGRAM_REAL_SCRAPES does not name the directory with the recordings");
        return;
    };
    let recorded = read_recordings(Path::new(&dir));
    let (temp, disk): (_, Arc<dyn Disk>) = (tempfile::tempdir().unwrap(), Arc::new(RealDisk));
    write(&disk, temp.path(), &recorded);
    let block = Block::open(&*disk, &block_dir(temp.path(), Ulid(1))).unwrap();
    let block = block.tenant(&TenantId::default()).unwrap();
    reads_back(&block, &recorded);
    let mut head = PostingsIndex::default();
    (0..).zip(recorded.keys()).for_each(|(series, labels)| assert!(head.add(series, labels.as_bytes())));
    head.prepare();
    eprintln!("the index of a head would take about {} bytes per series", head.memory_bytes() / recorded.len());
    let mut found = 0;
    for matchers in selectors() {
        let expected: Vec<u32> =
            (0..).zip(recorded.keys()).filter(|(_, labels)| matches_all(&matchers, labels)).map(|(s, _)| s).collect();
        found += usize::from(!expected.is_empty());
        assert_eq!(head.select(&matchers).iter().collect::<Vec<_>>(), expected, "{matchers:?}");
        let in_block: Vec<u32> = block.select(&matchers, TimeRange::ALL).unwrap().iter().map(|r| r.0).collect();
        assert_eq!(in_block, expected, "{matchers:?}");
        let names = head.label_names(Some(&head.select(&matchers)));
        assert_eq!(block.label_names(&matchers, TimeRange::ALL).unwrap(), names, "{matchers:?}");
    }
    assert!(found >= 13, "most selectors select something: {found}");
}
