//! Select over head and blocks.
//!
//! 1. Take the partitions of the head, resolve the matchers in its index, and only then take the list of blocks: the
//!    direction in which data moves. What leaves the head in between is in both, and joined; what had left its index
//!    before is in a block that the list already has.
//! 2. Resolve the matchers in each block, and note where the chunks of each series are, which costs little while series come in
//!    the index's order. All entries (id after `drop_labels`, dropped labels, place) are sorted by id.
//! 3. Yield batch by batch: for each series the chunks of all sources.

use std::sync::Arc;

use ulid::Ulid;

use super::{Db, damage};
use crate::block::{Block, BlockChunkRef, TenantBlock};
use crate::context::{Context, Reservation};
use crate::error::Result;
use crate::head::{Partition, TakenChunks, TenantChunks};
use crate::model::time::TimeRange;
use crate::select::{BATCH_TARGET_BYTES, EncodedChunk, SelectRequest, SelectedSeries, SeriesBatch, SeriesStream};

/// Entries are counted against the query's budget in steps of this size.
const RESERVE_STEP_BYTES: usize = 64 << 10;
/// Series whose labels are taken out of the head's index before those who add series have their turn.
const SERIES_AT_ONCE: usize = 1024;

/// One series in one source.
struct Entry {
    /// Without its chunks, which are read when it is its turn.
    series: SelectedSeries,
    place: Place,
}

enum Place {
    Head {
        dense: u32,
    },
    /// From one to another of the chunks that were noted of a block.
    Block {
        block: u32,
        from: u32,
        to: u32,
    },
}

/// The tenant's part of a block, and where the chunks of its series are.
struct BlockPart {
    part: TenantBlock,
    chunks: Vec<BlockChunkRef>,
}

/// A running select. What it holds stays readable whatever is sealed or dropped meanwhile.
struct Stream {
    context: Context,
    partitions: Vec<TenantChunks>,
    blocks: Vec<BlockPart>,
    range: TimeRange,
    entries: std::iter::Peekable<std::vec::IntoIter<Entry>>,
    _entries_reservations: Vec<Reservation>,
}

impl Db {
    /// The blocks that may hold samples of `range`. To be asked for only after the head was looked at.
    pub(super) fn blocks_in(&self, range: TimeRange) -> Vec<Block> {
        self.blocks.load().iter().filter(|b| b.meta().range.overlaps(range)).cloned().collect()
    }

    /// The series that match, with all chunks that overlap the range. See [`SeriesStream`].
    ///
    /// # Errors
    /// The context's; damage that touches the range.
    pub fn select(&self, context: &Context, request: SelectRequest<'_>) -> Result<Box<dyn SeriesStream>> {
        context.check()?;
        damage::check(&self.damage.lock(), request.range)?;
        let partitions = self.head.partitions_in(request.range);
        let mut entries = Entries::new(context);
        self.head_entries(&partitions, request, &mut entries)?;
        let mut blocks = Vec::new();
        for part in self.blocks_in(request.range).iter().filter_map(|block| block.tenant(context.tenant())) {
            context.check()?;
            let chunks = block_entries(&part, blocks.len() as u32, request, &mut entries)?;
            blocks.push(BlockPart { part, chunks });
        }
        let Entries { mut list, reservations, .. } = entries;
        list.sort_unstable_by(|a, b| a.series.order(&b.series));
        Ok(Box::new(Stream {
            context: context.clone(),
            partitions: partitions.iter().filter_map(|partition| partition.of_tenant(context.tenant())).collect(),
            blocks,
            range: request.range,
            entries: list.into_iter().peekable(),
            _entries_reservations: reservations,
        }))
    }

    fn head_entries(
        &self,
        partitions: &[Arc<Partition>],
        request: SelectRequest<'_>,
        entries: &mut Entries<'_>,
    ) -> Result<()> {
        let tenant = entries.context.tenant();
        let Some(head) = self.head.tenant(tenant) else { return Ok(()) };
        let matching = head.index().postings().select(request.matchers);
        let mut present = roaring::RoaringBitmap::new();
        for partition in partitions {
            present |= partition.overlapping(tenant, &matching, request.range);
        }
        let present: Vec<u32> = present.iter().collect();
        for few in present.chunks(SERIES_AT_ONCE) {
            let index = head.lookup();
            for dense in few {
                // What the index has forgotten meanwhile is in a block, and blocks are looked at after this.
                if let Some((labels, id)) = index.labels(*dense).zip(index.id(*dense)) {
                    let series = SelectedSeries::new(labels, request.drop_labels, Some(id));
                    entries.push(series, Place::Head { dense: *dense })?;
                }
            }
        }
        Ok(())
    }
}

/// Entries in the making, and the memory that they take out of the query's budget.
struct Entries<'a> {
    context: &'a Context,
    list: Vec<Entry>,
    reservations: Vec<Reservation>,
    unreserved_bytes: usize,
}

impl<'a> Entries<'a> {
    fn new(context: &'a Context) -> Self {
        Entries { context, list: Vec::new(), reservations: Vec::new(), unreserved_bytes: 0 }
    }

    fn push(&mut self, series: SelectedSeries, place: Place) -> Result<()> {
        self.unreserved_bytes += size_of::<Entry>() + series.labels.as_bytes().len();
        if let Place::Block { from, to, .. } = place {
            self.unreserved_bytes += (to - from) as usize * size_of::<BlockChunkRef>();
        }
        self.list.push(Entry { series, place });
        if self.unreserved_bytes >= RESERVE_STEP_BYTES {
            self.context.check()?;
            self.reservations.push(self.context.reserve(std::mem::take(&mut self.unreserved_bytes) as u64)?);
        }
        Ok(())
    }
}

/// Notes the series of a block, which is to have this number; answers their chunks.
fn block_entries(
    part: &TenantBlock,
    block: u32,
    request: SelectRequest<'_>,
    entries: &mut Entries<'_>,
) -> Result<Vec<BlockChunkRef>> {
    let (mut cursor, mut chunks) = (part.cursor(), Vec::new());
    let found = part.select(request.matchers, request.range)?;
    entries.list.reserve(found.len());
    for series in found {
        let from = chunks.len() as u32;
        cursor.seek(series)?;
        cursor.chunk_refs(request.range, &mut chunks)?;
        let (labels, id) = cursor.labels()?;
        let place = Place::Block { block, from, to: chunks.len() as u32 };
        entries.push(SelectedSeries::new(labels, request.drop_labels, Some(id)), place)?;
    }
    Ok(chunks)
}

impl Stream {
    /// Appends the chunks of an entry, or takes them out of the head.
    fn push_chunks(&self, place: &Place, chunks: &mut Vec<EncodedChunk>, taken: &mut TakenChunks) -> Result<()> {
        match place {
            Place::Head { dense } => {
                self.partitions.iter().for_each(|partition| partition.take(*dense, self.range, taken));
            }
            Place::Block { block, from, to } => {
                let Some(BlockPart { part, chunks: refs }) = self.blocks.get(*block as usize) else { return Ok(()) };
                let refs = refs.get(*from as usize..*to as usize).unwrap_or_default();
                chunks.reserve_exact(refs.len());
                for chunk in refs {
                    chunks.push(part.chunk(chunk)?);
                }
            }
        }
        Ok(())
    }

    /// The next series: all entries of one id and replica. Its chunks from the head are the last that were taken.
    fn next_series(&mut self, taken: &mut TakenChunks) -> Result<Option<SelectedSeries>> {
        let Some(first) = self.entries.next() else { return Ok(None) };
        let Entry { mut series, place } = first;
        self.push_chunks(&place, &mut series.chunks, taken)?;
        while let Some(more) = self.entries.next_if(|entry| entry.series.order(&series).is_eq()) {
            self.push_chunks(&more.place, &mut series.chunks, taken)?;
        }
        Ok(Some(series))
    }
}

impl SeriesStream for Stream {
    fn next_batch(&mut self) -> Result<Option<SeriesBatch>> {
        let mut found = Vec::new();
        let mut taken = TakenChunks::default();
        let mut bytes = 0;
        while bytes < BATCH_TARGET_BYTES {
            self.context.check()?;
            let taken_before = taken.len();
            let Some(next) = self.next_series(&mut taken)? else { break };
            let of_head = taken.len() - taken_before;
            if next.chunks.is_empty() && of_head == 0 {
                continue;
            }
            bytes += next.held_bytes() + taken.held_bytes(taken_before);
            found.push((next, of_head));
        }
        if found.is_empty() {
            return Ok(None);
        }
        let reservation = self.context.reserve(bytes as u64)?;
        let mut taken = taken.finish();
        let finish = |(mut series, of_head): (SelectedSeries, usize)| {
            series.chunks.reserve_exact(of_head);
            series.chunks.extend(taken.by_ref().take(of_head));
            series.chunks.sort_by_key(|chunk| chunk.min_ms);
            series
        };
        let series = found.into_iter().map(finish).collect();
        Ok(Some(SeriesBatch { series, reservation }))
    }
}

impl super::Db {
    /// A new ULID: the time, and 80 random bits.
    pub(super) fn new_ulid(&self) -> Ulid {
        let now_ms = u64::try_from(self.env.clock.now_ms()).unwrap_or(0);
        Ulid::from_parts(now_ms, self.env.random.next_u128())
    }
}
