//! Reads chunks of one block in the order in which they lie in its file.
//!
//! 1. Pages that hold the next chunks are looked for in the cache. Of those that are missing, this query becomes the one
//!    who fetches them, or waits for another query that does so already.
//! 2. Once so many pages are together, the missing ones are fetched in few ranges, and put into the cache.
//! 3. The chunks are checked and copied out, so that what a query holds is what it asked for, not whole pages.

use bytes::Bytes;

use super::cache::{PAGE_BYTES, Page, PageGuard};
use super::plan::{bytes_of, coalesce, pages};
use super::{BLOCKS_AT_ONCE, Part, Shared};
use crate::block::{CHUNKS_FILE, check_chunk};
use crate::bucket::block_key;
use crate::context::Context;
use crate::error::{Error, Result};
use crate::index::CHUNK_GAP_BYTES;
use crate::select::EncodedChunk;

/// Pages are held in groups of so many bytes, over all blocks that are read at once.
const GROUPS_BYTES_MAX: u64 = 64 << 20;
/// The groups may take this part of what the query may still hold.
const GROUPS_BUDGET_SHARE: u64 = 4;

/// With less than this for its pages, a thread would do more harm than good.
const GROUP_BYTES_MIN: u64 = 4 * PAGE_BYTES;

/// How many of so many blocks to read at once.
pub(super) fn threads(context: &Context, blocks: usize) -> usize {
    let affordable = context.budget_left() / GROUPS_BUDGET_SHARE / GROUP_BYTES_MIN;
    blocks.min(BLOCKS_AT_ONCE).min(usize::try_from(affordable).unwrap_or(usize::MAX)).max(1)
}

/// A chunk that a window needs.
pub(super) struct Wanted {
    /// Where it lies in the chunks file.
    pub(super) offset: u64,
    /// Without its checksum.
    pub(super) length: u32,
    /// The chunk, without its bytes.
    pub(super) chunk: EncodedChunk,
    /// The series' place in the window.
    pub(super) series: usize,
}

impl Shared {
    /// The chunks `wanted` of a block, which ascend by offset, each with its series' place. `threads` do the same at once.
    pub(super) fn chunks(
        &self,
        context: &Context,
        part: &Part,
        wanted: &[Wanted],
        threads: usize,
    ) -> Result<Vec<(usize, EncodedChunk)>> {
        let limit = (context.budget_left() / GROUPS_BUDGET_SHARE).min(GROUPS_BYTES_MAX) / threads as u64;
        let mut group = Group { part, key: block_key(part.ulid, CHUNKS_FILE), pages: Vec::new() };
        let mut read = Vec::with_capacity(wanted.len());
        let mut from = 0;
        for (at, next) in wanted.iter().enumerate() {
            for page in next.pages() {
                if group.pages.last().is_none_or(|(last, _)| *last < page) {
                    group.pages.push((page, Held::from(self.cache.page(part.ulid, page, context)?)));
                }
            }
            if group.pages.len() as u64 * PAGE_BYTES >= limit || at + 1 == wanted.len() {
                group.read(self, context, &wanted[from..=at], &mut read)?;
                from = at + 1;
            }
        }
        Ok(read)
    }
}

impl Wanted {
    fn sealed_bytes(&self) -> u64 {
        u64::from(self.length) + CHUNK_GAP_BYTES
    }

    fn pages(&self) -> std::ops::Range<u32> {
        pages(self.offset, self.sealed_bytes())
    }
}

/// Pages that are held at the same time.
struct Group<'a> {
    part: &'a Part,
    key: String,
    /// Ascending.
    pages: Vec<(u32, Held<'a>)>,
}

enum Held<'a> {
    Page(Bytes),
    ToFetch(PageGuard<'a>),
}

impl<'a> From<Page<'a>> for Held<'a> {
    fn from(page: Page<'a>) -> Self {
        match page {
            Page::Found(bytes) => Held::Page(bytes),
            Page::ToFetch(guard) => Held::ToFetch(guard),
        }
    }
}

impl Group<'_> {
    /// Fetches what is missing, takes the chunks out, and keeps the last page, which the next chunk may begin in.
    fn read(
        &mut self,
        shared: &Shared,
        context: &Context,
        wanted: &[Wanted],
        read: &mut Vec<(usize, EncodedChunk)>,
    ) -> Result<()> {
        let _held = context.reserve(self.pages.len() as u64 * PAGE_BYTES)?;
        self.fetch(shared, context)?;
        for wanted in wanted {
            let sealed = self.bytes(wanted)?;
            let bytes = Bytes::copy_from_slice(check_chunk(&self.key, wanted.offset, wanted.length, &sealed)?);
            read.push((wanted.series, EncodedChunk { bytes, ..wanted.chunk.clone() }));
        }
        let all_but_last = self.pages.len().saturating_sub(1);
        self.pages.drain(..all_but_last);
        Ok(())
    }

    fn fetch(&mut self, shared: &Shared, context: &Context) -> Result<()> {
        let missing = self.pages.iter().filter(|(_, held)| matches!(held, Held::ToFetch(_))).map(|(page, _)| *page);
        let ranges = coalesce(missing);
        if ranges.is_empty() {
            return Ok(());
        }
        let file_bytes = self.part.layout.meta.chunks_bytes;
        let in_bytes: Vec<_> = ranges.iter().map(|range| bytes_of(range, file_bytes)).collect();
        let fetched = shared.fetch(context, &self.key, &in_bytes)?;
        let mut fetched = ranges.iter().zip(fetched).peekable();
        for (page, held) in &mut self.pages {
            if matches!(held, Held::Page(_)) {
                continue;
            }
            while fetched.next_if(|(range, _)| range.end <= *page).is_some() {}
            let Some((range, bytes)) = fetched.peek() else { break };
            let start = ((*page - range.start) as usize).saturating_mul(PAGE_BYTES as usize).min(bytes.len());
            let end = start.saturating_add(PAGE_BYTES as usize).min(bytes.len());
            // A copy: a slice would keep the whole range in memory for as long as the page is in the cache.
            let bytes = Bytes::copy_from_slice(&bytes[start..end]);
            if let Held::ToFetch(guard) = std::mem::replace(held, Held::Page(bytes.clone())) {
                guard.fill(bytes);
            }
        }
        Ok(())
    }

    /// The bytes of a chunk and its checksum.
    fn bytes(&self, wanted: &Wanted) -> Result<Bytes> {
        let range = wanted.pages();
        let first = self.pages.partition_point(|(page, _)| *page < range.start);
        let offset = (wanted.offset - u64::from(range.start) * PAGE_BYTES) as usize;
        let length = usize::try_from(wanted.sealed_bytes()).unwrap_or(usize::MAX);
        let mut sealed = Vec::new();
        for (_, held) in self.pages[first..].iter().take(range.len()) {
            let Held::Page(page) = held else { return Err(self.lost(wanted)) };
            let start = if range.len() > 1 && !sealed.is_empty() { 0 } else { offset };
            if range.len() == 1 {
                let end = start.saturating_add(length).min(page.len());
                return Ok(page.slice(start.min(end)..end));
            }
            let rest = &page[start.min(page.len())..];
            sealed.extend_from_slice(&rest[..rest.len().min(length - sealed.len())]);
        }
        Ok(sealed.into())
    }

    #[cold]
    fn lost(&self, wanted: &Wanted) -> Error {
        Error::corrupt(&*self.key, format!("chunk at {}: its page was not read", wanted.offset))
    }
}
