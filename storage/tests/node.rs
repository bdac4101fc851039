//! What a storage node of a cluster needs of its store: appends by series id, sealed blocks to fetch, covered blocks that go.
#![allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

mod support;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use marigram_storage::ErrorKind;
use marigram_storage::block::{Block, BlockFile};
use marigram_storage::db::{Db, DbOptions};
use marigram_storage::disk::RealDisk;
use marigram_storage::env::ManualClock;
use marigram_storage::model::labels::SeriesId;
use marigram_storage::model::time::{TimeRange, WINDOW_MS};
use marigram_storage::select::{SelectRequest, SeriesDecoder};
use marigram_storage::write::WriteBatch;
use support::store::{Contents, batch, contents, context, env, open, options, send, series, without_labels};
use ulid::Ulid;

/// A window's start.
const START_MS: i64 = 1_700_006_400_000;
const GRACE: Duration = Duration::from_secs(150);

fn all(db: &Db, clock: &Arc<ManualClock>) -> Contents {
    contents(db, "a", clock, TimeRange::ALL).unwrap()
}

fn entry(instance: &str, after_ms: i64, value: f64) -> ((String, i64), u64) {
    ((instance.to_owned(), START_MS + after_ms), value.to_bits())
}

fn ulids(db: &Db) -> Vec<Ulid> {
    db.sealed_blocks().into_iter().map(|block| block.meta.ulid).collect()
}

fn block_dirs(dir: &Path) -> usize {
    std::fs::read_dir(dir.join("blocks")).unwrap().count()
}

#[test]
fn unknown_series_are_named_and_the_rest_is_stored() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualClock::new(START_MS));
    let db = open(dir.path(), &clock);
    assert_eq!(db.append_known(batch("a", &[("x", START_MS, 1.0)])).unwrap(), []);
    let mixed = batch("a", &[("y", START_MS, 2.0), ("x", START_MS + 1, 2.0), ("y", START_MS + 1, 2.0)]);
    assert_eq!(db.append_known(without_labels(&mixed)).unwrap(), [series("y").id()], "each once");
    assert_eq!(all(&db, &clock), Contents::from([entry("x", 0, 1.0), entry("x", 1, 2.0)]));
    assert_eq!(db.stats().head_series, 1);
    // Labels once are enough for the rest of the batch.
    let mut partly = mixed.clone();
    partly.series[2].labels = 0..0;
    assert_eq!(db.append_known(partly).unwrap(), []);
    let expected = Contents::from([entry("x", 0, 1.0), entry("x", 1, 2.0), entry("y", 0, 2.0), entry("y", 1, 2.0)]);
    assert_eq!(all(&db, &clock), expected);
    // Of another tenant nothing is known, and a write of this process without labels is a bug.
    let other = without_labels(&batch("b", &[("x", START_MS, 1.0)]));
    assert_eq!(db.append_known(other.clone()).unwrap(), [series("x").id()]);
    assert_eq!(db.append(other).unwrap_err().kind(), ErrorKind::BadInput);
}

#[test]
fn series_without_labels_survive_in_every_segment() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualClock::new(START_MS));
    let options = DbOptions { segment_bytes: 1, ..options() };
    let mut sent = Contents::new();
    for life in 0..3 {
        let db = Db::open(dir.path().to_owned(), env(&clock), options.clone()).unwrap();
        assert_eq!(all(&db, &clock), sent);
        for at in 0..5 {
            let time = START_MS + life * 100 + at;
            let unknown = send(&db, &batch("a", &[("x", time, at as f64), ("y", time, at as f64)]));
            assert_eq!(unknown, if life == 0 && at == 0 { 2 } else { 0 });
            sent.extend(["x", "y"].map(|instance| ((instance.to_owned(), time), (at as f64).to_bits())));
        }
    }
    assert_eq!(all(&open(dir.path(), &clock), &clock), sent);
}

#[test]
fn batches_that_contradict_themselves_are_refused_whole() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualClock::new(START_MS));
    let db = open(dir.path(), &clock);
    let good = batch("a", &[("x", START_MS, 1.0), ("y", START_MS, 1.0)]);
    type Change = fn(&mut WriteBatch);
    let changes: [Change; 6] = [
        |batch| batch.series[1].id = batch.series[0].id,
        |batch| batch.series[1].labels.end += 1,
        |batch| batch.series[1].labels.start = usize::MAX,
        |batch| batch.series[1].samples = 1..3,
        |batch| batch.series[1].samples = usize::MAX - 1..usize::MAX,
        |batch| {
            // Its own id, but not canonical.
            let bytes = b"\x0a\x01?".to_vec();
            batch.series[1].id = SeriesId::of(&bytes);
            batch.series[1].labels = 0..bytes.len();
            batch.arena = bytes.into();
            batch.series.remove(0);
        },
    ];
    for change in changes {
        let mut bad = good.clone();
        change(&mut bad);
        let refused = db.append_known(bad).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::BadInput, "{refused}");
        assert_eq!(all(&db, &clock), Contents::new());
    }
    assert_eq!(db.append_known(good).unwrap(), []);
    assert_eq!(all(&db, &clock).len(), 2);
}

#[test]
fn sealed_blocks_can_be_fetched_file_by_file() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualClock::new(START_MS));
    let db = open(dir.path(), &clock);
    assert_eq!((db.newest_sample_ms(), db.drop_mark_ms(), db.unshipped().oldest_ms), (None, None, None));
    db.append(batch("a", &[("x", START_MS, 1.0), ("y", START_MS + 5, 2.0)])).unwrap();
    assert_eq!((db.newest_sample_ms(), db.sealed_blocks().len()), (Some(START_MS + 5), 0));
    db.seal().unwrap();
    clock.set(START_MS + 9);
    db.append(batch("a", &[("x", START_MS + 3, 1.0)])).unwrap();
    assert_eq!(db.newest_sample_ms(), Some(START_MS + 5));
    db.seal().unwrap();

    let sealed = db.sealed_blocks();
    let waiting = db.unshipped();
    assert_eq!((waiting.blocks, waiting.oldest_ms), (2, Some(START_MS)));
    assert_eq!(waiting.bytes, sealed.iter().map(|block| block.meta.size_bytes).sum::<u64>());
    let copy = tempfile::tempdir().unwrap();
    for block in &sealed {
        let ulid = block.meta.ulid;
        let target = copy.path().join(ulid.to_string());
        std::fs::create_dir(&target).unwrap();
        for file in ["meta.json", "index", "chunks"] {
            let bytes = db.block_file(ulid, BlockFile::from_name(file).unwrap()).unwrap();
            let own = dir.path().join("blocks").join(ulid.to_string()).join(file);
            assert_eq!(bytes, std::fs::read(own).unwrap(), "{file}");
            std::fs::write(target.join(file), bytes).unwrap();
        }
        assert_eq!(*Block::open(&RealDisk, &target).unwrap().meta(), block.meta);
    }
    assert_eq!(BlockFile::from_name("../node.json"), None);
    assert_eq!(db.block_file(Ulid(1), BlockFile::Meta), None);
}

#[test]
fn covered_blocks_go_after_the_grace_behind_a_drop_mark() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualClock::new(START_MS));
    let db = open(dir.path(), &clock);
    db.append(batch("a", &[("x", START_MS, 1.0), ("x", START_MS + 7, 1.0)])).unwrap();
    db.seal().unwrap();
    let first = ulids(&db)[0];
    clock.set(START_MS + 1000);
    db.append(batch("a", &[("x", START_MS + 5, 2.0)])).unwrap();
    db.seal().unwrap();
    db.append(batch("a", &[("x", START_MS + 6, 3.0)])).unwrap();
    let everything = all(&db, &clock);

    let stranger = Ulid(5);
    assert_eq!(db.covered(&[first, stranger], GRACE), [stranger]);
    let covered: Vec<bool> = db.sealed_blocks().into_iter().map(|block| block.covered).collect();
    assert_eq!((covered, db.unshipped().blocks), (vec![true, false], 1));
    let told_ms = START_MS + 1000;
    clock.set(told_ms + 149_999);
    assert_eq!(db.covered(&[first], GRACE), [], "told again, which delays nothing");
    db.maintain().unwrap();
    assert_eq!((db.sealed_blocks().len(), db.drop_mark_ms()), (2, None));

    let request = SelectRequest { matchers: &[], range: TimeRange::ALL, drop_labels: &[] };
    let mut running = db.select(&context("a", &clock), request).unwrap();
    let file = db.block_file(first, BlockFile::Chunks).unwrap();
    let bytes = file.to_vec();
    clock.set(told_ms + 150_000);
    db.maintain().unwrap();
    assert_eq!((ulids(&db).contains(&first), db.drop_mark_ms()), (false, Some(START_MS + 7)));
    assert_eq!((block_dirs(dir.path()), db.stats().blocks_dropped), (1, 1));
    assert_eq!(db.block_file(first, BlockFile::Chunks), None);
    assert_eq!(db.covered(&[first], GRACE), [first]);
    let left = Contents::from([entry("x", 5, 2.0), entry("x", 6, 3.0)]);
    assert_eq!(all(&db, &clock), left);
    // Whoever holds it reads on.
    assert_eq!(file, bytes);
    let chunks = running.next_batch().unwrap().unwrap().series.remove(0).chunks;
    let mut decoder = SeriesDecoder::default();
    assert_eq!(decoder.decode(&chunks, TimeRange::ALL).unwrap().0.len(), everything.len());

    drop(running);
    drop(db);
    let db = open(dir.path(), &clock);
    assert_eq!((all(&db, &clock), db.drop_mark_ms()), (left, Some(START_MS + 7)));
    // An older block does not lower the mark.
    let second = ulids(&db);
    assert_eq!(db.covered(&second, Duration::ZERO), []);
    db.maintain().unwrap();
    assert_eq!((db.sealed_blocks().len(), db.drop_mark_ms()), (0, Some(START_MS + 7)));
    assert_eq!(all(&db, &clock), Contents::from([entry("x", 6, 3.0)]));
}

#[test]
fn a_restart_forgets_what_was_covered() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualClock::new(START_MS));
    let db = open(dir.path(), &clock);
    db.append(batch("a", &[("x", START_MS, 1.0)])).unwrap();
    db.seal().unwrap();
    db.covered(&ulids(&db), GRACE);
    drop(db);
    let db = open(dir.path(), &clock);
    clock.set(START_MS + WINDOW_MS);
    db.maintain().unwrap();
    assert_eq!((db.unshipped().blocks, db.drop_mark_ms()), (1, None));
}

#[test]
fn a_grace_that_grows_counts_from_when_it_was_first_told() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualClock::new(START_MS));
    let db = open(dir.path(), &clock);
    db.append(batch("a", &[("x", START_MS, 1.0)])).unwrap();
    db.seal().unwrap();
    db.covered(&ulids(&db), GRACE);
    clock.set(START_MS + 149_000);
    db.covered(&ulids(&db), 2 * GRACE);
    for (after_ms, blocks) in [(150_000, 1), (299_999, 1), (300_000, 0)] {
        clock.set(START_MS + after_ms);
        db.maintain().unwrap();
        assert_eq!(db.sealed_blocks().len(), blocks, "{after_ms}");
    }
}

#[test]
fn a_damaged_block_that_the_bucket_covers_is_no_loss_any_more() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualClock::new(START_MS));
    let db = open(dir.path(), &clock);
    db.append(batch("a", &[("x", START_MS, 1.0)])).unwrap();
    db.seal().unwrap();
    let ulid = ulids(&db)[0];
    drop(db);
    let index = dir.path().join("blocks").join(ulid.to_string()).join("index");
    let mut bytes = std::fs::read(&index).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x40;
    std::fs::write(&index, bytes).unwrap();

    let db = open(dir.path(), &clock);
    assert_eq!((db.damage().len(), db.sealed_blocks().len()), (1, 0));
    assert_eq!(db.covered(&[ulid], Duration::ZERO), []);
    db.maintain().unwrap();
    assert_eq!((db.damage().len(), db.drop_mark_ms()), (0, Some(START_MS)));
    assert_eq!(db.covered(&[ulid], Duration::ZERO), [ulid]);
    drop(db);
    let db = open(dir.path(), &clock);
    assert_eq!((db.damage().len(), all(&db, &clock)), (0, Contents::new()));
}

#[test]
fn a_damaged_drop_mark_stops_the_start() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualClock::new(START_MS));
    let db = open(dir.path(), &clock);
    db.append(batch("a", &[("x", START_MS, 1.0)])).unwrap();
    db.seal().unwrap();
    db.covered(&ulids(&db), Duration::ZERO);
    db.maintain().unwrap();
    drop(db);
    let path = dir.path().join("drop_mark.json");
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[20] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let refused = Db::open(dir.path().to_owned(), env(&clock), options()).err().unwrap();
    assert_eq!(refused.kind(), ErrorKind::Corrupt);
    assert!(refused.to_string().contains("drop_mark.json"), "{refused}");
}
