//! A write-ahead log that an earlier version wrote must load for ever. `MARIGRAM_WRITE_GOLDEN=DIR` writes the log of the
//! present version to `DIR/wal` instead of reading.
#![allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

mod support;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use marigram_storage::db::Db;
use marigram_storage::env::ManualClock;
use marigram_storage::model::sample::STALE_NAN_BITS;
use marigram_storage::model::time::TimeRange;
use marigram_storage::write::{FamilyMetadata, MetadataEntry, MetadataKind};
use support::store::{Contents, add_histogram, batch, contents, histogram, histograms, open};

const NOW_MS: i64 = 1_700_006_400_000;

fn write(db: &Db) {
    let odd = f64::from_bits(0x7ff8_0000_dead_beef);
    db.append(batch("a", &[("x", NOW_MS, 1.5), ("y", NOW_MS + 1, odd), ("x", i64::MIN, -0.0)])).unwrap();
    let mut second = batch("b", &[("x", NOW_MS, f64::from_bits(STALE_NAN_BITS))]);
    let entry = MetadataEntry { kind: MetadataKind::Gauge, help: "é".into(), unit: "s".into() };
    second.metadata.push(FamilyMetadata { family: "up".into(), entry });
    db.append(second).unwrap();
    for (time, values) in changes() {
        db.append(batch("c", &[("x", time, values[0]), ("z", time, values[1])])).unwrap();
    }
    for seed in 0..3 {
        let mut batch = batch("d", &[("x", NOW_MS, 7.0)]);
        add_histogram(&mut batch, "x", NOW_MS + 1 + seed, histogram(seed));
        add_histogram(&mut batch, "h", i64::MIN + seed, histogram(10 + seed));
        db.append(batch).unwrap();
    }
}

/// Values that a log of version 2 tells by their changes, for longer than it does so in a row.
fn changes() -> impl Iterator<Item = (i64, [f64; 2])> {
    (0..40).map(|i| (NOW_MS + i, [(1000 + i * i * i) as f64, (i % 7) as f64 * 0.25]))
}

fn copy_log(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        std::fs::copy(&path, to.join(path.file_name().unwrap())).unwrap();
    }
}

#[test]
fn logs_of_all_versions_load() {
    let clock = Arc::new(ManualClock::new(NOW_MS));
    if let Some(golden) = std::env::var_os("MARIGRAM_WRITE_GOLDEN") {
        let dir = tempfile::tempdir().unwrap();
        write(&open(dir.path(), &clock));
        copy_log(&dir.path().join("wal"), &PathBuf::from(golden).join("wal"));
        return;
    }
    for version in ["v1", "v2", "v3"] {
        let dir = tempfile::tempdir().unwrap();
        let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(version);
        copy_log(&golden.join("wal"), &dir.path().join("wal"));
        read(&open(dir.path(), &clock), &clock, version);
    }
}

fn read(db: &Db, clock: &Arc<ManualClock>, version: &str) {
    let a = Contents::from([
        (("x".into(), NOW_MS), 1.5f64.to_bits()),
        (("x".into(), i64::MIN), (-0.0f64).to_bits()),
        (("y".into(), NOW_MS + 1), 0x7ff8_0000_dead_beef),
    ]);
    assert_eq!(contents(db, "a", clock, TimeRange::ALL).unwrap(), a);
    let b = Contents::from([(("x".into(), NOW_MS), STALE_NAN_BITS)]);
    assert_eq!(contents(db, "b", clock, TimeRange::ALL).unwrap(), b);
    let of_changes =
        |(time, [x, z]): (i64, [f64; 2])| [(("x".into(), time), x.to_bits()), (("z".into(), time), z.to_bits())];
    let c: Contents = if version == "v1" { Contents::new() } else { changes().flat_map(of_changes).collect() };
    assert_eq!(contents(db, "c", clock, TimeRange::ALL).unwrap(), c);
    let expected = (0..3)
        .flat_map(|seed| [(("x".to_owned(), NOW_MS + 1 + seed), seed), (("h".to_owned(), i64::MIN + seed), 10 + seed)]);
    let expected: Vec<_> = if version < "v3" { Vec::new() } else { expected.collect() };
    let found = histograms(db, "d", clock, TimeRange::ALL).unwrap();
    assert_eq!(found.len(), expected.len());
    for (key, seed) in expected {
        assert!(found[&key].join_order(&histogram(seed)).is_eq(), "{key:?}");
    }
    let metadata = db.metadata(&batch("b", &[]).tenant);
    assert_eq!((metadata["up"][0].help.as_str(), metadata["up"][0].kind), ("é", MetadataKind::Gauge));
    assert!(db.damage().is_empty());
}
