//! Blocks on a real disk: what is written is read, by the same suite as a head; what is damaged is refused by name.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use proptest::prelude::*;
use ulid::Ulid;

use super::*;
use crate::disk::RealDisk;
use crate::error::Error;
use crate::index::suite::{Searchable, answers_as_brute_force_does, label_sets, matchers};
use crate::model::labels::Labels;
use crate::model::matcher::{MatchOp, Matcher, matches_all};
use crate::model::tenant::TenantId;
use crate::model::time::TimeRange;
use crate::select::SeriesDecoder;

pub(crate) type Column = (Vec<i64>, Vec<u64>);
pub(crate) type Tenants = BTreeMap<TenantId, BTreeMap<Labels, Column>>;

pub(crate) fn disk() -> Arc<dyn Disk> {
    Arc::new(RealDisk)
}

pub(crate) fn tenant(name: &str) -> TenantId {
    TenantId::parse(name).unwrap()
}

pub(crate) fn write(disk: &Arc<dyn Disk>, dir: &Path, ulid: Ulid, tenants: &Tenants) -> BlockMeta {
    let mut writer = BlockWriter::create(disk, dir, ulid).unwrap();
    for (tenant, series) in tenants {
        writer.begin_tenant(tenant).unwrap();
        for (labels, (times, bits)) in series {
            let values: Vec<f64> = bits.iter().map(|b| f64::from_bits(*b)).collect();
            writer.add_series(labels, times, &values).unwrap();
        }
    }
    writer.finish(vec!["node-a".into()], 7).unwrap()
}

/// A column of `len` samples from `start_ms` on, every 15 s.
fn column(start_ms: i64, len: i64) -> Column {
    (0..len).map(|i| (start_ms + i * 15_000, (i as f64).sqrt().to_bits())).unzip()
}

fn some_tenants() -> Tenants {
    let series = |count: i64, start: i64| {
        (0..count)
            .map(|i| {
                let labels =
                    [("__name__", "m"), ("pod", &*format!("pod-{i}")), ("odd", if i % 2 == 1 { "yes" } else { "" })];
                (Labels::from_pairs(labels), column(start + i, 100 + i * 140))
            })
            .collect()
    };
    BTreeMap::from([(tenant("a"), series(3, -1000)), (tenant("b"), series(12, 50_000))])
}

fn all_samples(block: &TenantBlock, series: BlockSeriesRef, range: TimeRange) -> Column {
    let chunks = block.chunks(series, range).unwrap();
    let mut decoder = SeriesDecoder::default();
    let (times, values) = decoder.decode(&chunks, range).unwrap();
    (times.to_vec(), values.iter().map(|v| v.to_bits()).collect())
}

fn read_all(block: &Block) -> Tenants {
    let of_tenant = |block: TenantBlock| {
        let refs = block.select(&[], TimeRange::ALL).unwrap();
        refs.iter().map(|r| (block.series(*r).unwrap().0, all_samples(&block, *r, TimeRange::ALL))).collect()
    };
    block.tenants().map(|tenant| (tenant.clone(), of_tenant(block.tenant(tenant).unwrap()))).collect()
}

#[test]
fn a_block_reads_back_and_describes_itself() {
    let (temp, disk) = (tempfile::tempdir().unwrap(), disk());
    let tenants = some_tenants();
    let meta = write(&disk, temp.path(), Ulid(42), &tenants);
    assert_eq!(list_blocks(&*disk, temp.path()).unwrap(), [Ulid(42)]);
    let block = Block::open(&*disk, &block_dir(temp.path(), Ulid(42))).unwrap();
    assert_eq!(*block.meta(), meta);
    assert_eq!((meta.series, meta.created_ms, &*meta.sources), (15, 7, &["node-a".to_owned()][..]));
    assert_eq!(meta.samples, tenants.values().flat_map(|t| t.values()).map(|c| c.0.len() as u64).sum::<u64>());
    assert_eq!(meta.range.start_ms, -1000);
    assert_eq!(read_all(&block), tenants);
    assert!(block.tenant(&tenant("c")).is_none());
}

#[test]
fn ranges_and_tenants_limit_what_is_found() {
    let (temp, disk) = (tempfile::tempdir().unwrap(), disk());
    write(&disk, temp.path(), Ulid(1), &some_tenants());
    let block = Block::open(&*disk, &block_dir(temp.path(), Ulid(1))).unwrap();
    let b = block.tenant(&tenant("b")).unwrap();
    let pods = |matchers: &[Matcher], range| b.label_values("pod", matchers, range).unwrap();
    let late = TimeRange { start_ms: 50_000 + 239 * 15_000 + 12, end_ms: i64::MAX };
    assert_eq!(pods(&[], TimeRange::ALL).len(), 12);
    assert_eq!(pods(&[], late).len(), 10, "pods 0 and 1 end before");
    assert_eq!(pods(&[Matcher::equal("odd", "yes")], late), ["pod-11", "pod-3", "pod-5", "pod-7", "pod-9"]);
    assert_eq!(b.label_names(&[Matcher::equal("odd", "")], TimeRange::ALL).unwrap(), ["__name__", "pod"]);
    let early = TimeRange { start_ms: i64::MIN, end_ms: 49_999 };
    assert!(b.select(&[], early).unwrap().is_empty());
    let refs = b.select(&[Matcher::equal("pod", "pod-11")], late).unwrap();
    let end = TimeRange { start_ms: 50_000 + 1100 * 15_000, end_ms: i64::MAX };
    let chunks = b.chunks(refs[0], end).unwrap();
    assert!(chunks.len() < b.chunks(refs[0], TimeRange::ALL).unwrap().len(), "chunks outside are skipped");
    let (labels, id) = b.series(refs[0]).unwrap();
    assert_eq!((labels.id(), b.id(refs[0]).unwrap()), (id, id));
    assert!(b.series(BlockSeriesRef(12)).is_err() && b.chunks(BlockSeriesRef(u32::MAX), late).is_err());
}

#[test]
fn a_range_between_two_chunks_finds_no_series() {
    let (temp, disk) = (tempfile::tempdir().unwrap(), disk());
    let series = |i: i64| (Labels::from_pairs([("__name__", "m"), ("pod", &*format!("pod-{i:02}"))]), column(i, 2000));
    write(&disk, temp.path(), Ulid(1), &BTreeMap::from([(tenant("t"), (0..70).map(series).collect())]));
    let block = Block::open(&*disk, &block_dir(temp.path(), Ulid(1))).unwrap().tenant(&tenant("t")).unwrap();
    let second_ms = COLUMN_SAMPLES_MAX_IN_BLOCK as i64 * 15_000;
    let found = |start_ms, end_ms| block.select(&[], TimeRange { start_ms, end_ms }).unwrap().len();
    assert_eq!(block.chunks(BlockSeriesRef(0), TimeRange::ALL).unwrap().len(), 2);
    assert_eq!(found(second_ms - 14_000, second_ms - 1), 0);
    assert_eq!(found(second_ms - 14_000, second_ms), 1);
    assert_eq!(found(second_ms - 14_960, second_ms + 10), 30 + 11, "those that end late, and those that begin early");
    assert_eq!(found(second_ms - 15_000, second_ms), 70);
    assert_eq!(found(second_ms - 15_069, second_ms + 60), 70);
    assert_eq!(found(1_000_000, 1_000_001), 70, "short, but within the first chunk of each");
}

#[test]
fn a_removed_block_stays_readable_for_who_has_it_open() {
    let (temp, disk) = (tempfile::tempdir().unwrap(), disk());
    let tenants = some_tenants();
    write(&disk, temp.path(), Ulid(1), &tenants);
    let block = Block::open(&*disk, &block_dir(temp.path(), Ulid(1))).unwrap();
    remove_block(&*disk, temp.path(), Ulid(1)).unwrap();
    assert!(disk.list(temp.path()).unwrap().is_empty());
    assert_eq!(read_all(&block), tenants);
}

#[test]
fn an_unfinished_block_is_none() {
    let (temp, disk) = (tempfile::tempdir().unwrap(), disk());
    let mut writer = BlockWriter::create(&disk, temp.path(), Ulid(1)).unwrap();
    writer.begin_tenant(&tenant("a")).unwrap();
    let labels = |name: &str| Labels::from_pairs([("__name__", name)]);
    writer.add_series(&labels("b"), &[1, 2], &[0.0, 0.0]).unwrap();
    assert!(writer.add_series(&labels("b"), &[3], &[0.0]).is_err(), "the same series again");
    assert!(writer.add_series(&labels("a"), &[3], &[0.0]).is_err(), "not in label order");
    assert!(writer.add_series(&labels("c"), &[3, 3], &[0.0, 0.0]).is_err(), "a timestamp twice");
    assert!(writer.add_series(&labels("c"), &[], &[]).is_err(), "no sample");
    assert!(writer.begin_tenant(&tenant("a")).is_err(), "the same tenant again");
    drop(writer);
    assert!(list_blocks(&*disk, temp.path()).unwrap().is_empty());
    remove_unfinished(&*disk, temp.path()).unwrap();
    assert!(disk.list(temp.path()).unwrap().is_empty());
    assert!(BlockWriter::create(&disk, temp.path(), Ulid(1)).unwrap().finish(vec![], 0).is_err(), "no series");
}

/// A block whose series all have one sample.
struct OnDisk {
    block: TenantBlock,
}

impl Searchable for OnDisk {
    fn over(series: &[Labels]) -> Self {
        let (temp, disk) = (tempfile::tempdir().unwrap(), disk());
        let columns = series.iter().map(|labels| (labels.clone(), (vec![5], vec![0]))).collect();
        write(&disk, temp.path(), Ulid(9), &BTreeMap::from([(tenant("t"), columns)]));
        let block = Block::open(&*disk, &block_dir(temp.path(), Ulid(9))).unwrap();
        OnDisk { block: block.tenant(&tenant("t")).unwrap() }
    }

    fn select(&self, matchers: &[Matcher]) -> Vec<u32> {
        self.block.select(matchers, TimeRange::ALL).unwrap().iter().map(|r| r.0).collect()
    }

    fn label_names(&self, within: &[Matcher]) -> Vec<String> {
        self.block.label_names(within, TimeRange::ALL).unwrap()
    }

    fn label_values(&self, name: &str, within: &[Matcher]) -> Vec<String> {
        self.block.label_values(name, within, TimeRange::ALL).unwrap()
    }
}

pub(crate) fn random_tenants() -> impl Strategy<Value = Tenants> {
    let times = proptest::collection::btree_set(prop_oneof![any::<i64>(), 0i64..100_000], 1..300);
    let column = times.prop_map(|times| {
        let bits = times.iter().map(|t| if t % 3 == 0 { 0x7ff0_0000_0000_0002 } else { *t as u64 });
        (times.iter().copied().collect(), bits.collect())
    });
    let series = (label_sets(), proptest::collection::vec(column, 40))
        .prop_map(|(labels, columns)| labels.into_iter().zip(columns).collect());
    proptest::collection::btree_map("[a-c]{1,2}".prop_map(|name| tenant(&name)), series, 1..3)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]
    #[test]
    fn a_block_answers_as_brute_force_does(series in label_sets(), matchers in matchers()) {
        answers_as_brute_force_does::<OnDisk>(&series, &matchers);
    }

    #[test]
    fn every_block_reads_back_bit_for_bit(tenants in random_tenants()) {
        let (temp, disk) = (tempfile::tempdir().unwrap(), disk());
        write(&disk, temp.path(), Ulid(3), &tenants);
        let block = Block::open(&*disk, &block_dir(temp.path(), Ulid(3))).unwrap();
        prop_assert_eq!(read_all(&block), tenants);
    }
}

/// Copies a block into a directory of its own.
fn copy(block_dir: &Path) -> (tempfile::TempDir, PathBuf) {
    let temp = tempfile::tempdir().unwrap();
    let copy = temp.path().join(block_dir.file_name().unwrap());
    std::fs::create_dir(&copy).unwrap();
    for name in [META_FILE, INDEX_FILE, CHUNKS_FILE] {
        std::fs::copy(block_dir.join(name), copy.join(name)).unwrap();
    }
    (temp, copy)
}

/// Opens a block and reads all of it.
fn open_and_read(dir: &Path) -> Result<(), Error> {
    let block = Block::open(&RealDisk, dir)?;
    for tenant in block.tenants() {
        let tenant = block.tenant(tenant).unwrap();
        for series in tenant.select(&[], TimeRange::ALL)? {
            tenant.series(series)?;
            tenant.chunks(series, TimeRange::ALL)?;
        }
    }
    Ok(())
}

#[test]
fn every_flipped_byte_is_refused_and_the_file_named() {
    let (temp, disk) = (tempfile::tempdir().unwrap(), disk());
    let mut tenants = some_tenants();
    tenants
        .values_mut()
        .for_each(|series| series.values_mut().for_each(|c| *c = (c.0[..3].to_vec(), c.1[..3].to_vec())));
    write(&disk, temp.path(), Ulid(3), &tenants);
    let dir = block_dir(temp.path(), Ulid(3));
    for file in [META_FILE, INDEX_FILE, CHUNKS_FILE] {
        let (_kept, copy) = copy(&dir);
        open_and_read(&copy).unwrap();
        let original = std::fs::read(dir.join(file)).unwrap();
        for at in 0..original.len() {
            let mut damaged = original.clone();
            damaged[at] ^= 1 << (at % 8);
            std::fs::write(copy.join(file), &damaged).unwrap();
            match open_and_read(&copy) {
                Err(Error::Corrupt { what, .. }) => assert!(what.ends_with(file), "{what} for byte {at} of {file}"),
                other => panic!("byte {at} of {file}: {other:?}"),
            }
        }
        for length in (0..original.len()).step_by(7) {
            std::fs::write(copy.join(file), &original[..length]).unwrap();
            assert!(matches!(open_and_read(&copy), Err(Error::Corrupt { .. })), "{file} cut to {length}");
        }
        std::fs::remove_file(copy.join(file)).unwrap();
        assert!(matches!(open_and_read(&copy), Err(Error::Corrupt { .. })), "without {file}");
    }
}

#[test]
fn a_block_under_another_name_is_refused() {
    let (temp, disk) = (tempfile::tempdir().unwrap(), disk());
    write(&disk, temp.path(), Ulid(3), &some_tenants());
    disk.rename(&block_dir(temp.path(), Ulid(3)), &block_dir(temp.path(), Ulid(4))).unwrap();
    assert!(matches!(Block::open(&*disk, &block_dir(temp.path(), Ulid(4))), Err(Error::Corrupt { .. })));
}

#[test]
fn the_fuzzing_door_takes_a_real_index() {
    let (temp, disk) = (tempfile::tempdir().unwrap(), disk());
    write(&disk, temp.path(), Ulid(3), &some_tenants());
    crate::fuzzing::index(&std::fs::read(block_dir(temp.path(), Ulid(3)).join(INDEX_FILE)).unwrap());
}

/// Where the sections of an index file lie, found by its footer and directory.
fn sections(index: &[u8]) -> Vec<std::ops::Range<usize>> {
    let number = |at: usize| u64::from_le_bytes(index[at..at + 8].try_into().unwrap()) as usize;
    let footer = index.len() - 24;
    let directory = number(footer)..number(footer) + number(footer + 8);
    let mut at = directory.start + 4;
    let mut sections = vec![directory.clone(), footer..index.len()];
    while at < directory.end - 4 {
        at += 1 + usize::from(index[at]);
        sections.extend((0..4).map(|s| number(at + s * 16)..number(at + s * 16) + number(at + s * 16 + 8)));
        at += 64;
    }
    sections
}

#[test]
fn a_wrong_index_with_right_checksums_harms_nobody() {
    let (temp, disk) = (tempfile::tempdir().unwrap(), disk());
    write(&disk, temp.path(), Ulid(3), &some_tenants());
    let index = std::fs::read(block_dir(temp.path(), Ulid(3)).join(INDEX_FILE)).unwrap();
    assert_eq!(sections(&index).len(), 2 + 2 * 4);
    harm(&index, 1);
}

/// Changes every so many bytes of an index in several ways, makes the checksums right, and uses all that opens.
fn harm(index: &[u8], step: usize) {
    for section in sections(index) {
        let payload = section.start..section.end - 4;
        for at in payload.clone().step_by(step) {
            for changed in [0, 0xff, index[at] ^ 1, index[at] ^ 0x80, index[at].wrapping_add(1)] {
                let mut wrong = index.to_vec();
                wrong[at] = changed;
                let crc = crc32c::crc32c(&wrong[payload.clone()]);
                wrong[payload.end..section.end].copy_from_slice(&crc.to_le_bytes());
                crate::fuzzing::index(&wrong);
            }
        }
    }
}

/// Series as a fleet has them: labels that go along with a target, scrape times that its series share; and exceptions from all of it.
fn fleet(targets: u64, metrics: u64, seed: u64) -> BTreeMap<Labels, Column> {
    let mut state = seed | 1;
    let mut one_in = move |n: u64| {
        state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        (state >> 33).is_multiple_of(n)
    };
    let mut series = BTreeMap::new();
    for target in 0..targets {
        for metric in (0..metrics).filter(|_| !one_in(9)).collect::<Vec<_>>() {
            let scrambled = target * 37 % 101;
            let mut labels = vec![
                ("__name__", format!("metric_{metric}")),
                ("instance", format!("10.0.0.{scrambled}:80")),
                ("namespace", format!("ns-{}", if one_in(60) { 9 } else { target % 3 })),
                ("node", format!("node-{}", target / 4)),
            ];
            if !one_in(40) {
                labels.push(("pod", format!("pod-{target}")));
            }
            if metric % 3 == 0 {
                labels.push(("le", format!("{}", target % 5)));
            }
            let labels = Labels::from_pairs(labels.iter().map(|(name, value)| (*name, value.as_str())));
            let (from, len) = if one_in(10) { (7, 20) } else { (0, 30) };
            let times: Vec<i64> =
                (from..from + len).map(|i| target as i64 * 13 + i * 15_000 + i * target as i64 % 3).collect();
            let constant = one_in(3);
            let value = |time: &i64| if constant { 7 } else { ((time % 1000) as f64 * 0.37).to_bits() };
            let bits = times.iter().map(value).collect();
            series.insert(labels, (times, bits));
        }
    }
    series
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]
    #[test]
    fn fleets_are_found_and_read_back_in_any_order(targets in 1u64..90, metrics in 1u64..9, seed in any::<u64>(), order in any::<u64>()) {
        let series = fleet(targets, metrics, seed);
        prop_assume!(!series.is_empty());
        let (temp, disk) = (tempfile::tempdir().unwrap(), disk());
        let tenants = BTreeMap::from([(tenant("t"), series.clone())]);
        write(&disk, temp.path(), Ulid(3), &tenants);
        let block = Block::open(&*disk, &block_dir(temp.path(), Ulid(3))).unwrap();
        prop_assert_eq!(read_all(&block), tenants);

        let block = block.tenant(&tenant("t")).unwrap();
        let all: Vec<(&Labels, &Column)> = series.iter().collect();
        let (mut cursor, mut decoder) = (block.cursor(), SeriesDecoder::default());
        let mut shared = std::collections::HashSet::new();
        for step in 0..all.len() as u64 * 2 {
            // First as they lie, then here and there.
            let at = if step < all.len() as u64 { step } else { step.wrapping_mul(order | 1) % all.len() as u64 };
            let (labels, column) = all[at as usize];
            cursor.seek(BlockSeriesRef(at as u32)).unwrap();
            prop_assert_eq!(cursor.labels().unwrap(), (labels.clone(), labels.id()));
            let chunks = cursor.chunks(TimeRange::ALL).unwrap();
            let mut refs = Vec::new();
            cursor.chunk_refs(TimeRange::ALL, &mut refs).unwrap();
            let later: Vec<_> = refs.iter().map(|chunk| block.chunk(chunk).unwrap()).collect();
            prop_assert!(later.iter().map(|c| (&c.times, &c.bytes)).eq(chunks.iter().map(|c| (&c.times, &c.bytes))));
            let (times, values) = decoder.decode(&chunks, TimeRange::ALL).unwrap();
            prop_assert_eq!(times, &column.0);
            prop_assert!(values.iter().map(|v| v.to_bits()).eq(column.1.iter().copied()));
            shared.extend(chunks.iter().map(|chunk| (chunk.times.as_ptr(), chunk.times.len())));
        }
        prop_assert!(shared.len() as u64 <= 2 * targets, "two kinds of columns for each target");

        let single: Vec<Matcher> = [
            ("__name__", MatchOp::Equal, "metric_0"), ("pod", MatchOp::Equal, "pod-7"), ("pod", MatchOp::Equal, ""),
            ("node", MatchOp::Regex, "node-1.*"), ("namespace", MatchOp::NotEqual, "ns-1"), ("le", MatchOp::NotRegex, "[0-2]"),
            ("instance", MatchOp::Regex, ".*7:80|10.0.0.1:80"), ("nothing", MatchOp::Equal, ""), ("namespace", MatchOp::Regex, "ns-[012]"),
        ].into_iter().map(|(name, op, value)| Matcher::new(name, op, value).unwrap()).collect();
        // Two at a time, so that few series meet many postings.
        for (one, other) in single.iter().flat_map(|one| single.iter().map(move |other| (one, other))) {
            let matchers = [one.clone(), other.clone()];
            let expected: Vec<u32> = (0..).zip(&all).filter(|(_, (l, _))| matches_all(&matchers, l)).map(|(i, _)| i).collect();
            let found: Vec<u32> = block.select(&matchers, TimeRange::ALL).unwrap().iter().map(|r| r.0).collect();
            prop_assert_eq!(&found, &expected, "{} {}", one, other);
            for name in ["pod", "le", "node"] {
                let mut values: Vec<&str> = expected.iter().filter_map(|at| all[*at as usize].0.get(name)).collect();
                values.sort_unstable();
                values.dedup();
                prop_assert_eq!(block.label_values(name, &matchers, TimeRange::ALL).unwrap(), values, "{} {}", one, other);
            }
        }
        // All series overlap some of these ranges, none others; of the rest whole groups do, and single series.
        for (start_ms, end_ms) in [(i64::MIN, 90_000), (i64::MIN, 900), (445_000, i64::MAX), (400_000, 410_000), (200_000, 200_000), (1, 0)] {
            let range = TimeRange { start_ms, end_ms };
            let overlaps = |c: &Column| c.0[0] <= end_ms && *c.0.last().unwrap() >= start_ms;
            let expected: Vec<u32> = (0..).zip(&all).filter(|(_, (_, c))| overlaps(c)).map(|(i, _)| i).collect();
            let found: Vec<u32> = block.select(&[], range).unwrap().iter().map(|r| r.0).collect();
            prop_assert_eq!(&found, &expected, "{:?}", range);
            let mut pods: Vec<&str> = expected.iter().filter_map(|at| all[*at as usize].0.get("pod")).collect();
            pods.sort_unstable();
            pods.dedup();
            prop_assert_eq!(block.label_values("pod", &[], range).unwrap(), pods, "{:?}", range);
        }
    }
}

#[test]
fn a_fleet_takes_few_bytes() {
    let (temp, disk) = (tempfile::tempdir().unwrap(), disk());
    let series = fleet(100, 8, 1);
    let (count, raw) = (series.len(), series.keys().map(|labels| labels.as_bytes().len()).sum::<usize>());
    write(&disk, temp.path(), Ulid(3), &BTreeMap::from([(tenant("t"), series)]));
    let block = Block::open(&*disk, &block_dir(temp.path(), Ulid(3))).unwrap();
    let index = block.file(BlockFile::Index).len();
    assert!(index < 30 * count && index < raw / 3, "{index} bytes for {count} series with labels of {raw} bytes");
}

#[test]
fn a_wrong_index_of_a_fleet_with_right_checksums_harms_nobody() {
    let (temp, disk) = (tempfile::tempdir().unwrap(), disk());
    write(&disk, temp.path(), Ulid(3), &BTreeMap::from([(tenant("t"), fleet(30, 5, 5))]));
    let index = std::fs::read(block_dir(temp.path(), Ulid(3)).join(INDEX_FILE)).unwrap();
    harm(&index, 3);
}

/// An index that an earlier version wrote.
fn old_index() -> Vec<u8> {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/v1/blocks/01HF7YAT00000000000000001A");
    std::fs::read(golden.join(INDEX_FILE)).unwrap()
}

#[test]
fn a_wrong_old_index_with_right_checksums_harms_nobody() {
    crate::fuzzing::index(&old_index());
    harm(&old_index(), 3);
}

#[test]
fn every_flipped_byte_of_an_old_index_is_refused() {
    let index = old_index();
    for at in 0..index.len() {
        let mut damaged = index.clone();
        damaged[at] ^= 1 << (at % 8);
        let opened = crate::index::IndexFile::open("index", &damaged.into(), 1 << 20);
        assert!(matches!(opened, Err(Error::Corrupt { .. })), "byte {at}");
    }
}
