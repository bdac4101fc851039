//! What is read from a bucket equals what is read from the same blocks opened locally, whatever the cache and the budget;
//! few requests; clear errors.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use proptest::prelude::*;

use super::cache::PAGE_BYTES;
use super::*;
use crate::block::tests::{Tenants, disk, random_tenants, tenant, write};
use crate::block::{Block, BlockMeta, CHUNKS_FILE, META_FILE, block_dir};
use crate::bucket::suite::{directory, env};
use crate::bucket::{DirectoryBucket, ObjectMeta};
use crate::error::ErrorKind;
use crate::format::binary::HEADER_BYTES;
use crate::index::suite::matchers;
use crate::model::labels::SeriesId;
use crate::select::SeriesDecoder;

const BUDGET_BYTES: u64 = 1 << 30;

/// A directory that counts what is asked of it.
#[derive(Debug)]
struct Counted {
    inner: DirectoryBucket,
    ranges: AtomicUsize,
    bytes: AtomicUsize,
    /// So many of the next calls fail.
    failures: AtomicUsize,
}

impl Bucket for Counted {
    fn put_if_absent(&self, key: &str, bytes: Bytes) -> Result<bool> {
        self.inner.put_if_absent(key, bytes)
    }

    fn get(&self, key: &str) -> Result<Option<Bytes>> {
        self.inner.get(key)
    }

    fn get_range(&self, key: &str, range: Range<u64>) -> Result<Option<Bytes>> {
        if self.failures.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok() {
            return Err(Error::Unavailable("the test's bucket is down".into()));
        }
        assert!(range.start < range.end, "an empty range");
        let bytes = self.inner.get_range(key, range)?;
        self.ranges.fetch_add(1, Ordering::SeqCst);
        self.bytes.fetch_add(bytes.as_ref().map_or(0, Bytes::len), Ordering::SeqCst);
        Ok(bytes)
    }

    fn list(&self, prefix: &str) -> Result<Vec<ObjectMeta>> {
        self.inner.list(prefix)
    }

    fn delete(&self, key: &str) -> Result<()> {
        self.inner.delete(key)
    }
}

/// Blocks that lie in a bucket and on the local disk at once.
struct Fixture {
    bucket: Arc<Counted>,
    listed: Vec<CatalogBlock>,
    local: Vec<Block>,
    temp: tempfile::TempDir,
}

impl Fixture {
    fn new(blocks: &[Tenants]) -> Self {
        let temp = tempfile::tempdir().unwrap();
        let dir = temp.path().join("blocks");
        std::fs::create_dir(&dir).unwrap();
        let metas: Vec<BlockMeta> =
            (1..).zip(blocks).map(|(ulid, tenants)| write(&disk(), &dir, Ulid(ulid), tenants)).collect();
        let local = metas.iter().map(|meta| Block::open(&*disk(), &block_dir(&dir, meta.ulid)).unwrap()).collect();
        let bucket = Counted {
            inner: directory(temp.path()),
            ranges: AtomicUsize::new(0),
            bytes: AtomicUsize::new(0),
            failures: AtomicUsize::new(0),
        };
        let listed = metas.iter().map(CatalogBlock::from).collect();
        Fixture { bucket: Arc::new(bucket), listed, local, temp }
    }

    fn blocks(&self, cache_bytes: u64) -> BucketBlocks {
        BucketBlocks::new(self.bucket.clone(), cache_bytes)
    }

    fn ranges(&self) -> usize {
        self.bucket.ranges.load(Ordering::SeqCst)
    }

    fn file(&self, ulid: u128, file: &str) -> std::path::PathBuf {
        block_dir(&self.temp.path().join("blocks"), Ulid(ulid)).join(file)
    }

    /// All answers of a select over the same blocks, opened locally.
    fn expected(&self, tenant: &crate::model::tenant::TenantId, request: SelectRequest<'_>) -> Answer {
        let mut answer = Answer::new();
        for part in self.local.iter().filter_map(|block| block.tenant(tenant)) {
            for series in part.select(request.matchers, request.range).unwrap() {
                let (labels, id) = part.series(series).unwrap();
                let selected = crate::select::SelectedSeries::new(labels, request.drop_labels, Some(id));
                let chunks = answer.entry((selected.id, selected.replica)).or_insert((selected.labels, Vec::new()));
                let more = part.chunks(series, request.range).unwrap();
                chunks.1.extend(more.into_iter().map(|chunk| (chunk.min_ms, chunk.max_ms, chunk.bytes, chunk.times)));
            }
        }
        answer.values_mut().for_each(|(_, chunks)| chunks.sort());
        answer
    }
}

type Chunks = Vec<(i64, i64, Bytes, Bytes)>;
type Answer = BTreeMap<(SeriesId, Labels), (Labels, Chunks)>;

fn context(name: &str, budget_bytes: u64) -> Context {
    Context::new(tenant(name), env(1).1, None, budget_bytes)
}

fn everything() -> SelectRequest<'static> {
    SelectRequest { matchers: &[], range: TimeRange::ALL, drop_labels: &[] }
}

/// All of a select, in the order in which it came, which is checked.
fn select(
    blocks: &BucketBlocks,
    context: &Context,
    request: SelectRequest<'_>,
    listed: &[CatalogBlock],
) -> Result<Answer> {
    let mut stream = blocks.select(context, request, listed)?;
    let mut answer = Answer::new();
    while let Some(batch) = stream.next_batch()? {
        assert!(!batch.series.is_empty());
        for series in batch.series {
            assert!(series.chunks.is_sorted_by_key(|chunk| chunk.min_ms) && !series.chunks.is_empty());
            let key = (series.id, series.replica);
            assert!(answer.last_key_value().is_none_or(|(last, _)| *last < key), "not in order");
            let mut chunks: Chunks =
                series.chunks.into_iter().map(|c| (c.min_ms, c.max_ms, c.bytes, c.times)).collect();
            chunks.sort();
            answer.insert(key, (series.labels, chunks));
        }
    }
    assert!(stream.next_batch()?.is_none(), "it stays at its end");
    Ok(answer)
}

fn ranges() -> impl Strategy<Value = TimeRange> {
    prop_oneof![
        Just(TimeRange::ALL),
        (-1000i64..101_000, 0i64..50_000)
            .prop_map(|(start_ms, length)| TimeRange { start_ms, end_ms: start_ms + length }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn a_bucket_answers_as_the_same_blocks_do_locally(
        blocks in proptest::collection::vec(random_tenants(), 1..4),
        queries in proptest::collection::vec((matchers(), ranges(), "[a-c]", any::<bool>()), 1..5),
        cache_bytes in prop_oneof![Just(0u64), Just(2000), Just(1 << 30)],
    ) {
        let fixture = Fixture::new(&blocks);
        let bucket = fixture.blocks(cache_bytes);
        let drop = ["a".to_owned(), "c".to_owned()];
        for (matchers, range, name, dropped) in &queries {
            let context = context(name, BUDGET_BYTES);
            let drop_labels = if *dropped { &drop[..] } else { &[] };
            let request = SelectRequest { matchers, range: *range, drop_labels };
            let expected = fixture.expected(context.tenant(), request);
            prop_assert_eq!(select(&bucket, &context, request, &fixture.listed).unwrap(), expected);

            let parts: Vec<_> = fixture.local.iter().filter_map(|block| block.tenant(context.tenant())).collect();
            let selectors = [matchers.clone(), Vec::new()];
            let selectors = if *dropped { &selectors[..1] } else { &selectors[1..] };
            let within = &selectors[0];
            let names: BTreeSet<_> = parts.iter().flat_map(|p| p.label_names(within, *range).unwrap()).collect();
            let found = bucket.label_names(&context, &fixture.listed, selectors, *range, 0).unwrap();
            prop_assert!(found.iter().eq(&names), "{:?} instead of {:?}", found, names);
            let values: BTreeSet<_> = parts.iter().flat_map(|p| p.label_values("a", within, *range).unwrap()).collect();
            let found = bucket.label_values(&context, &fixture.listed, "a", selectors, *range, 0).unwrap();
            prop_assert!(found.iter().eq(&values), "{:?} instead of {:?}", found, values);
            let series: BTreeSet<_> = parts.iter().flat_map(|part| {
                part.select(within, *range).unwrap().into_iter().map(|series| part.series(series).unwrap().0)
            }).collect();
            let found = bucket.series(&context, &fixture.listed, selectors, *range, 2).unwrap();
            prop_assert!(found.iter().eq(series.iter().take(2)), "{:?} instead of {:?}", found, series);
            prop_assert_eq!(context.budget_left(), BUDGET_BYTES);
        }
    }
}

/// A block of many pages: so many series of 400 samples that do not compress.
fn large(series: u64) -> Tenants {
    let mut state = 1u64;
    let mut random = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        state
    };
    let columns = (0..series).map(|i| {
        let labels =
            [("__name__", "m"), ("pod", &*format!("pod-{i:05}")), ("even", if i % 2 == 0 { "yes" } else { "" })];
        (Labels::from_pairs(labels), (0..400).map(|t| (t * 15_000, random() & 0x7fef_ffff_ffff_ffff)).unzip())
    });
    BTreeMap::from([(tenant("t"), columns.collect())])
}

#[test]
fn few_requests_fetch_many_pages_and_the_cache_keeps_them() {
    let fixture = Fixture::new(&[large(800), large(10)]);
    let pages = std::fs::metadata(fixture.file(1, CHUNKS_FILE)).unwrap().len().div_ceil(PAGE_BYTES) as usize;
    assert!(pages > 30, "{pages} pages");
    let blocks = fixture.blocks(1 << 30);
    let context = context("t", BUDGET_BYTES);
    let expected = fixture.expected(context.tenant(), everything());
    assert_eq!(select(&blocks, &context, everything(), &fixture.listed).unwrap(), expected);
    // Of each block: meta.json, header and end of the index, the tenant's index, and runs of 64 pages.
    let cold = fixture.ranges();
    assert!(cold <= 4 * 2 + pages.div_ceil(64) + 1, "{cold} requests");
    assert_eq!(select(&blocks, &context, everything(), &fixture.listed).unwrap(), expected);
    assert_eq!(fixture.ranges(), cold, "everything is in the cache");
    let stats = blocks.stats();
    assert_eq!(
        (stats.requests as usize, stats.fetched_bytes as usize),
        (cold, fixture.bucket.bytes.load(Ordering::SeqCst))
    );
    assert!(stats.page_hits as usize >= pages && stats.page_misses as usize >= pages && stats.index_hits >= 4);
    assert!(stats.cached_bytes >= pages as u64 * PAGE_BYTES / 2);
    assert_eq!(context.budget_left(), BUDGET_BYTES);
}

#[test]
fn one_series_costs_few_pages() {
    let fixture = Fixture::new(&[large(800)]);
    let blocks = fixture.blocks(1 << 30);
    let context = context("t", BUDGET_BYTES);
    let matchers = [Matcher::equal("pod", "pod-00400")];
    let request = SelectRequest { matchers: &matchers, ..everything() };
    assert_eq!(select(&blocks, &context, request, &fixture.listed).unwrap().len(), 1);
    assert!(fixture.ranges() <= 5, "{} requests", fixture.ranges());
    let index_bytes = std::fs::metadata(fixture.file(1, "index")).unwrap().len() as usize;
    let fetched = fixture.bucket.bytes.load(Ordering::SeqCst);
    assert!(fetched <= 2 * index_bytes + 4 * PAGE_BYTES as usize, "{fetched} bytes");
    let early = TimeRange { start_ms: i64::MIN, end_ms: -1 };
    let outside = SelectRequest { range: early, ..everything() };
    let before = fixture.ranges();
    assert!(select(&blocks, &context, outside, &fixture.listed).unwrap().is_empty());
    assert_eq!(fixture.ranges(), before, "the catalog says enough");
}

#[test]
fn a_query_holds_no_more_than_its_budget() {
    let fixture = Fixture::new(&[large(600), large(600)]);
    let expected = fixture.expected(&tenant("t"), everything());
    let size_bytes: usize = expected.values().flat_map(|(_, chunks)| chunks).map(|chunk| chunk.2.len()).sum();
    let mut answered = 0;
    for cache_bytes in [0, 300_000, 1 << 30] {
        let blocks = fixture.blocks(cache_bytes);
        for budget_bytes in [0, 1000, 100_000, 1 << 20, 3 << 20, 4 << 20, 1 << 30] {
            let context = context("t", budget_bytes);
            match select(&blocks, &context, everything(), &fixture.listed) {
                Ok(answer) => {
                    assert!(answer == expected, "with {budget_bytes} bytes");
                    answered += u32::from(budget_bytes < size_bytes as u64);
                }
                Err(error) => assert_eq!(error.kind(), ErrorKind::LimitExceeded, "{error}"),
            }
            assert_eq!(context.budget_left(), budget_bytes);
            assert!(blocks.stats().cached_bytes <= cache_bytes);
        }
    }
    assert!(answered > 0, "some budget was smaller than the answer");
}

#[test]
fn a_directory_of_many_tenants_is_fetched_whole() {
    let one = large(1).remove(&tenant("t")).unwrap();
    let tenants: Tenants = (0..1500).map(|i| (tenant(&format!("tenant-{i:04}")), one.clone())).collect();
    let fixture = Fixture::new(&[tenants]);
    let blocks = fixture.blocks(1 << 30);
    for name in ["tenant-0000", "tenant-0777", "tenant-1499", "tenant-1500"] {
        let context = context(name, BUDGET_BYTES);
        let expected = fixture.expected(context.tenant(), everything());
        assert_eq!(expected.len(), usize::from(name != "tenant-1500"));
        assert_eq!(select(&blocks, &context, everything(), &fixture.listed).unwrap(), expected);
    }
}

#[test]
fn many_who_want_the_same_fetch_it_once() {
    let fixture = Fixture::new(&[large(300), large(200)]);
    let expected = fixture.expected(&tenant("t"), everything());
    select(&fixture.blocks(1 << 30), &context("t", BUDGET_BYTES), everything(), &fixture.listed).unwrap();
    let alone = fixture.ranges();
    let blocks = fixture.blocks(1 << 30);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let context = context("t", BUDGET_BYTES);
                assert!(select(&blocks, &context, everything(), &fixture.listed).unwrap() == expected);
            });
        }
    });
    assert_eq!(fixture.ranges(), 2 * alone);
}

#[test]
fn a_failed_fetch_fails_one_query_and_leaves_nothing_behind() {
    let fixture = Fixture::new(&[large(50)]);
    let expected = fixture.expected(&tenant("t"), everything());
    for failures in 1..6 {
        fixture.bucket.failures.store(failures, Ordering::SeqCst);
        let blocks = fixture.blocks(1 << 30);
        let context = context("t", BUDGET_BYTES);
        for _ in 0..failures {
            let error = select(&blocks, &context, everything(), &fixture.listed).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
        }
        assert!(select(&blocks, &context, everything(), &fixture.listed).unwrap() == expected);
        assert_eq!(context.budget_left(), BUDGET_BYTES);
    }
}

#[test]
fn a_cancelled_query_ends() {
    let fixture = Fixture::new(&[large(20)]);
    let blocks = fixture.blocks(1 << 30);
    let context = context("t", BUDGET_BYTES);
    let mut stream = blocks.select(&context, everything(), &fixture.listed).unwrap();
    context.cancel();
    assert!(matches!(stream.next_batch(), Err(Error::Cancelled)));
    assert!(matches!(stream.next_batch(), Ok(None)), "after an error the stream is over");
    assert!(matches!(blocks.select(&context, everything(), &fixture.listed), Err(Error::Cancelled)));
}

#[test]
fn a_missing_object_is_told_from_all_else() {
    for file in [META_FILE, INDEX_FILE, CHUNKS_FILE] {
        let fixture = Fixture::new(&[large(5)]);
        std::fs::remove_file(fixture.file(1, file)).unwrap();
        match select(&fixture.blocks(1 << 20), &context("t", BUDGET_BYTES), everything(), &fixture.listed) {
            Err(Error::MissingObject(key)) => assert_eq!(key, block_key(Ulid(1), file)),
            other => panic!("without {file}: {other:?}"),
        }
    }
}

/// Reads all of a bucket's blocks, down to the samples.
fn read_all(fixture: &Fixture) -> Result<()> {
    let answer = select(&fixture.blocks(1 << 20), &context("t", BUDGET_BYTES), everything(), &fixture.listed)?;
    let mut decoder = SeriesDecoder::default();
    for (_, chunks) in answer.values() {
        for (min_ms, max_ms, bytes, times) in chunks {
            let (times, bytes) = (times.clone(), bytes.clone());
            let chunk = crate::select::EncodedChunk { min_ms: *min_ms, max_ms: *max_ms, times, bytes };
            decoder.decode(&[chunk], TimeRange::ALL)?;
        }
    }
    Ok(())
}

#[test]
fn every_flipped_byte_is_refused_and_the_object_named() {
    let mut tenants = large(3);
    tenants.values_mut().flat_map(|series| series.values_mut()).for_each(|column| {
        column.0.truncate(4);
        column.1.truncate(4);
    });
    let fixture = Fixture::new(&[tenants]);
    read_all(&fixture).unwrap();
    for file in [META_FILE, INDEX_FILE, CHUNKS_FILE] {
        let path = fixture.file(1, file);
        let original = std::fs::read(&path).unwrap();
        let corrupt = |bytes: &[u8], what: &str| {
            replace(&path, bytes);
            match read_all(&fixture) {
                Err(Error::Corrupt { what, .. }) => assert_eq!(what, block_key(Ulid(1), file)),
                other => panic!("{what} of {file}: {other:?}"),
            }
        };
        // The header of the chunks file is not read.
        let first = if file == CHUNKS_FILE { HEADER_BYTES } else { 0 };
        for at in first..original.len() {
            let mut damaged = original.clone();
            damaged[at] ^= 1 << (at % 8);
            corrupt(&damaged, &format!("byte {at}"));
        }
        for length in (0..original.len()).step_by(5) {
            corrupt(&original[..length], &format!("the first {length} bytes"));
        }
        replace(&path, &original);
    }
    read_all(&fixture).unwrap();
}

/// Gives a file other bytes under a new inode: the old one is mapped.
fn replace(path: &Path, bytes: &[u8]) {
    std::fs::remove_file(path).unwrap();
    std::fs::write(path, bytes).unwrap();
}
