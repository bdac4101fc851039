//! Joins blocks into one.
//!
//! 1. The inputs are put in the order of their ULIDs, so that they may come in any.
//! 2. Tenants in ascending order; within a tenant the inputs' series, each in label order already, are merged k ways.
//! 3. Each series is decoded from every input that has it, and the columns are joined; the writer takes the result. So
//!    memory holds one series at a time, beside what the index of the current tenant needs.
//!
//! Copies that replicas hold become one copy, and what only one of them holds is kept. Since the join is commutative,
//! associative and idempotent, the samples do not depend on which block was joined with which, or how often.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap};
use std::path::Path;
use std::sync::Arc;

use ulid::Ulid;

use crate::block::{Block, BlockMeta, BlockSeriesRef, BlockWriter, SeriesCursor, TenantBlock};
use crate::chunk::Effort;
use crate::disk::Disk;
use crate::error::{Error, Result};
use crate::model::histogram::HistogramSample;
use crate::model::joined::join_kinds;
use crate::model::labels::Labels;
use crate::model::sample::join_columns;
use crate::model::start::{StartTime, join_starts};
use crate::model::tenant::TenantId;
use crate::model::time::TimeRange;
use crate::select::SeriesDecoder;

/// Where a joined block goes, and what it says of itself.
#[derive(Clone, Debug)]
pub struct JoinTarget<'a> {
    /// The directory that will hold its directory.
    pub blocks_dir: &'a Path,
    /// Its name.
    pub ulid: Ulid,
    /// What it was made from, for its `meta.json`.
    pub sources: Vec<String>,
    /// When, milliseconds since the Unix epoch.
    pub created_ms: i64,
}

/// Writes one block with the samples of all `blocks`. `check` is asked once per series whether to go on; its error ends the
/// work. After an error `<ULID>.tmp/` may stay behind, which [`crate::block::remove_unfinished`] removes.
///
/// # Errors
/// [`Error::BadInput`] without blocks; an input that is damaged; the disk's; the error of `check`.
pub fn join_blocks(
    disk: &Arc<dyn Disk>,
    blocks: &[Block],
    target: JoinTarget<'_>,
    check: &mut dyn FnMut() -> Result<()>,
) -> Result<BlockMeta> {
    if blocks.is_empty() {
        return Err(Error::BadInput("there is no block to join".into()));
    }
    let mut blocks: Vec<&Block> = blocks.iter().collect();
    blocks.sort_unstable_by_key(|block| block.meta().ulid);
    let tenants: BTreeSet<&TenantId> = blocks.iter().flat_map(|block| block.tenants()).collect();
    let mut writer = BlockWriter::create(disk, target.blocks_dir, target.ulid)?.with_effort(Effort::Cold);
    for tenant in tenants {
        writer.begin_tenant(tenant)?;
        join_tenant(blocks.iter().filter_map(|block| block.tenant(tenant)).collect(), &mut writer, check)?;
    }
    writer.finish(target.sources, target.created_ms)
}

/// The next series of an input, in the order in which they are merged.
type Head = Reverse<(Labels, usize, BlockSeriesRef)>;

fn join_tenant(
    inputs: Vec<TenantBlock>,
    writer: &mut BlockWriter,
    check: &mut dyn FnMut() -> Result<()>,
) -> Result<()> {
    let mut heads: BinaryHeap<Head> = BinaryHeap::with_capacity(inputs.len());
    let mut cursors: Vec<(SeriesCursor<'_>, u32)> =
        inputs.iter().map(|tenant| (tenant.cursor(), tenant.series_count())).collect();
    for (input, cursor) in cursors.iter_mut().enumerate() {
        heads.extend(head(cursor, input, 0)?);
    }
    let mut columns = Columns::default();
    while let Some(Reverse((labels, input, series))) = heads.pop() {
        check()?;
        columns.clear();
        let mut next = Some((input, series));
        while let Some((input, series)) = next {
            columns.join(&mut cursors[input].0)?;
            heads.extend(head(&mut cursors[input], input, series.0 + 1)?);
            let same = heads.peek().is_some_and(|Reverse((other, ..))| *other == labels);
            next = if same { heads.pop().map(|Reverse((_, input, series))| (input, series)) } else { None };
        }
        columns.end();
        let samples = (&*columns.times, &*columns.values, &*columns.histograms);
        writer.add_series_with_starts(&labels, samples, &columns.starts)?;
    }
    Ok(())
}

/// Leaves the cursor at the series, if there is one.
fn head((cursor, count): &mut (SeriesCursor<'_>, u32), input: usize, series: u32) -> Result<Option<Head>> {
    if series >= *count {
        return Ok(None);
    }
    let series = BlockSeriesRef(series);
    cursor.seek(series)?;
    Ok(Some(Reverse((cursor.labels()?.0, input, series))))
}

/// The samples of one series so far, and buffers that are used again.
#[derive(Default)]
struct Columns {
    decoder: SeriesDecoder,
    times: Vec<i64>,
    values: Vec<f64>,
    histograms: Vec<HistogramSample>,
    starts: Vec<StartTime>,
    joined_times: Vec<i64>,
    joined_values: Vec<f64>,
}

impl Columns {
    fn clear(&mut self) {
        self.times.clear();
        self.values.clear();
        self.histograms.clear();
        self.starts.clear();
    }

    /// Joins floats with histograms, once all inputs are in.
    fn end(&mut self) {
        if !self.histograms.is_empty() {
            join_kinds(&mut self.times, &mut self.values, &mut self.histograms);
        }
        join_starts(&mut self.starts);
    }

    fn join(&mut self, cursor: &mut SeriesCursor<'_>) -> Result<()> {
        let chunks = cursor.chunks(TimeRange::ALL)?;
        let ((times, values, histograms), starts) = self.decoder.decode_with_starts(&chunks, TimeRange::ALL)?;
        self.histograms.extend_from_slice(histograms);
        self.starts.extend_from_slice(starts);
        if self.times.is_empty() {
            self.times.extend_from_slice(times);
            self.values.extend_from_slice(values);
            return Ok(());
        }
        let own = (self.times.as_slice(), self.values.as_slice());
        join_columns(own, (times, values), &mut self.joined_times, &mut self.joined_values);
        std::mem::swap(&mut self.times, &mut self.joined_times);
        std::mem::swap(&mut self.values, &mut self.joined_values);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::block::block_dir;
    use crate::disk::RealDisk;
    use crate::model::sample::{STALE_NAN_BITS, Sample, join_in_place};

    /// Samples as (timestamp, bits), by tenant and series.
    type Data = BTreeMap<(TenantId, Labels), Vec<(i64, u64)>>;

    fn sorted(samples: &[(i64, u64)]) -> Vec<(i64, u64)> {
        let mut samples: Vec<Sample> =
            samples.iter().map(|(t, bits)| Sample { timestamp_ms: *t, value: f64::from_bits(*bits) }).collect();
        join_in_place(&mut samples);
        samples.iter().map(|sample| (sample.timestamp_ms, sample.value.to_bits())).collect()
    }

    fn joined(parts: &[Data]) -> Data {
        let mut all = Data::new();
        for (series, samples) in parts.iter().flatten() {
            all.entry(series.clone()).or_default().extend(samples);
        }
        all.values_mut().for_each(|samples| *samples = sorted(samples));
        all
    }

    fn write(dir: &Path, ulid: u128, data: &Data) -> Block {
        let disk: Arc<dyn Disk> = Arc::new(RealDisk);
        let mut writer = BlockWriter::create(&disk, dir, Ulid(ulid)).unwrap();
        let mut current = None;
        for ((tenant, labels), samples) in data {
            if current.replace(tenant) != Some(tenant) {
                writer.begin_tenant(tenant).unwrap();
            }
            let (times, values): (Vec<_>, Vec<_>) =
                sorted(samples).iter().map(|(t, bits)| (*t, f64::from_bits(*bits))).unzip();
            writer.add_series(labels, &times, &values).unwrap();
        }
        writer.finish(vec!["partition".into()], 1).unwrap();
        open(dir, ulid)
    }

    fn open(dir: &Path, ulid: u128) -> Block {
        Block::open(&RealDisk, &block_dir(dir, Ulid(ulid))).unwrap()
    }

    fn join(dir: &Path, ulid: u128, blocks: &[Block]) -> Block {
        let target = JoinTarget { blocks_dir: dir, ulid: Ulid(ulid), sources: vec!["s".into()], created_ms: 5 };
        join_blocks(&(Arc::new(RealDisk) as Arc<dyn Disk>), blocks, target, &mut || Ok(())).unwrap();
        open(dir, ulid)
    }

    fn read(block: &Block) -> Data {
        let mut data = Data::new();
        let mut decoder = SeriesDecoder::default();
        for tenant in block.tenants() {
            let part = block.tenant(tenant).unwrap();
            for series in (0..part.series_count()).map(BlockSeriesRef) {
                let chunks = part.chunks(series, TimeRange::ALL).unwrap();
                let (times, values) = decoder.decode(&chunks, TimeRange::ALL).unwrap();
                let samples = times.iter().zip(values).map(|(t, v)| (*t, v.to_bits())).collect();
                data.insert((tenant.clone(), part.series(series).unwrap().0), samples);
            }
        }
        data
    }

    /// The bytes of the index and of the chunks.
    fn bytes(dir: &Path, ulid: u128) -> [Vec<u8>; 2] {
        ["index", "chunks"].map(|file| std::fs::read(block_dir(dir, Ulid(ulid)).join(file)).unwrap())
    }

    fn bits() -> impl Strategy<Value = u64> {
        prop_oneof![
            (0u32..4).prop_map(|n| f64::from(n).to_bits()),
            Just(STALE_NAN_BITS),
            Just(0x7ff8_0000_0000_0001),
            Just((-0.0f64).to_bits()),
        ]
    }

    fn data() -> impl Strategy<Value = Data> {
        let key = (0..3u8, 0..6u8).prop_map(|(tenant, series)| {
            let labels = Labels::from_pairs([("__name__", "m"), ("series", &*series.to_string())]);
            (TenantId::parse(&format!("t{tenant}")).unwrap(), labels)
        });
        // Long enough for several chunks, and close enough to meet.
        let samples = proptest::collection::vec((0i64..400, bits()), 1..200);
        proptest::collection::btree_map(key, samples, 1..8)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]
        #[test]
        fn joining_blocks_is_joining_all_their_samples_in_any_order_and_any_number_of_times(
            parts in proptest::collection::vec(data(), 1..5), rotation in 0usize..5,
        ) {
            let temp = tempfile::tempdir().unwrap();
            let dir = temp.path();
            let blocks: Vec<Block> = parts.iter().zip(1..).map(|(part, ulid)| write(dir, ulid, part)).collect();
            let whole = join(dir, 100, &blocks);
            prop_assert_eq!(read(&whole), joined(&parts));
            prop_assert_eq!(whole.meta().samples, joined(&parts).values().map(|s| s.len() as u64).sum::<u64>());

            let mut other = blocks.clone();
            other.rotate_left(rotation % blocks.len());
            other.reverse();
            join(dir, 101, &other);
            prop_assert_eq!(bytes(dir, 100), bytes(dir, 101), "the order does not matter");

            let again: Vec<Block> = blocks.iter().chain([&whole]).cloned().collect();
            join(dir, 102, &again);
            prop_assert_eq!(bytes(dir, 100), bytes(dir, 102), "what is in twice is in once");
        }
    }

    #[test]
    fn the_joined_block_says_what_it_was_made_from_and_stops_when_asked() {
        let temp = tempfile::tempdir().unwrap();
        let labels = Labels::from_pairs([("__name__", "up")]);
        let data = Data::from([((TenantId::default(), labels), vec![(7, 1.0f64.to_bits())])]);
        let block = write(temp.path(), 1, &data);
        let joined = join(temp.path(), 2, &[block.clone(), block.clone()]);
        let meta = joined.meta();
        assert_eq!((meta.level, meta.series, meta.samples, meta.created_ms), (1, 1, 1, 5));
        assert_eq!(meta.sources, ["s"]);
        let disk: Arc<dyn Disk> = Arc::new(RealDisk);
        let target =
            |ulid| JoinTarget { blocks_dir: temp.path(), ulid: Ulid(ulid), sources: Vec::new(), created_ms: 5 };
        let stopped = join_blocks(&disk, &[block], target(3), &mut || Err(Error::Cancelled));
        assert!(matches!(stopped, Err(Error::Cancelled)));
        assert!(!block_dir(temp.path(), Ulid(3)).exists());
        assert!(matches!(join_blocks(&disk, &[], target(4), &mut || Ok(())), Err(Error::BadInput(_))));
    }
}
