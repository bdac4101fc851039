//! Finds what is whole in the log, and tells a torn tail from damage.
//!
//! 1. Every segment is walked frame by frame. Where no whole frame begins, the scan looks for the next offset at which
//!    one does; a frame knows its own position, so that old or foreign bytes cannot pass for one.
//! 2. The highest position that any header calls durable divides the gaps: one that begins at or above it was never
//!    acknowledged (the *torn tail*), one that begins below was.
//! 3. The log is cut at the torn tail, together with what lies behind it. All other gaps are damage, each with the time
//!    range of the samples that it may have held.

use std::ops::Range;
use std::path::{Path, PathBuf};

use bytes::Bytes;

use super::frame::{FRAME_HEADER_BYTES, FRAME_MAGIC, FrameHeader, SEGMENT_HEADER_BYTES, SegmentHeader};
use super::{segment_file_name, segment_number};
use crate::disk::Disk;
use crate::error::Result;
use crate::format::checksum_holds;
use crate::model::time::TimeRange;

/// A segment as it was found.
#[derive(Debug)]
pub struct Segment {
    /// Its number.
    pub number: u64,
    /// Its file.
    pub path: PathBuf,
    /// The bytes of the file.
    pub bytes: Bytes,
    /// Where in `bytes` the records of each whole frame lie.
    pub payloads: Vec<Range<usize>>,
}

/// A stretch of the log that held acknowledged data and cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gap {
    /// The segment.
    pub segment: u64,
    /// Which bytes of its file.
    pub bytes: Range<usize>,
    /// No sample outside of this range was lost.
    pub range: TimeRange,
}

/// The log as it was found, its torn tail already left out.
#[derive(Debug, Default)]
pub struct Scan {
    /// Ascending by number.
    pub segments: Vec<Segment>,
    /// What is damaged.
    pub gaps: Vec<Gap>,
    /// The cut that makes the log end with its last whole frame: a file and its new length (0: remove it).
    pub cuts: Vec<(PathBuf, u64)>,
    /// Position behind the last byte that stays.
    pub end: u64,
    /// Number of the newest segment file, whole or not.
    pub last_number: u64,
    /// Time range of the last segment's samples.
    pub last_range: TimeRange,
}

struct Walk {
    number: u64,
    path: PathBuf,
    bytes: Bytes,
    base: Option<u64>,
    /// The base, if the header is whole: everything below was durable.
    header_base: Option<u64>,
    previous_range: TimeRange,
    frames: Vec<(usize, FrameHeader)>,
    /// Unreadable stretches, ascending.
    holes: Vec<Range<usize>>,
}

/// Reads all segments below `dir`. Changes nothing; [`apply_cuts`] does.
///
/// # Errors
/// The disk's; [`crate::Error::UnknownVersion`].
pub fn scan(disk: &dyn Disk, dir: &Path) -> Result<Scan> {
    let mut files = Vec::new();
    for entry in disk.list(dir)? {
        let Some(number) = segment_number(&entry.name) else { continue };
        let path = dir.join(segment_file_name(number));
        // Mapped: a log may be larger than the memory. Nobody writes to it any more, and what a cut takes away is not read again.
        let bytes = disk.map(&path)?;
        files.push((number, path, bytes));
    }
    scan_files(files)
}

/// Judges the files of a log: number, path and bytes of each, ascending by number.
///
/// # Errors
/// [`crate::Error::UnknownVersion`].
pub fn scan_files(files: Vec<(u64, PathBuf, Bytes)>) -> Result<Scan> {
    let walks = files.into_iter().map(|(number, path, bytes)| walk(number, path, bytes));
    walks.collect::<Result<Vec<_>>>().map(judge)
}

/// Makes the cuts of a scan, durably: afterwards everything that stays is durable, and a new segment may begin.
///
/// # Errors
/// The disk's.
pub fn apply_cuts(disk: &dyn Disk, dir: &Path, scan: &Scan) -> Result<()> {
    for (path, length) in scan.cuts.iter().rev() {
        match length {
            0 => disk.remove_file(path)?,
            _ => disk.truncate(path, *length)?,
        }
    }
    // The last frames of a killed process may still lie in the page cache alone.
    if let Some(last) = scan.segments.last() {
        disk.truncate(&last.path, last.bytes.len() as u64)?;
    }
    disk.sync_dir(dir)
}

fn walk(number: u64, path: PathBuf, bytes: Bytes) -> Result<Walk> {
    let header = SegmentHeader::decode(&path.display().to_string(), &bytes)?.filter(|h| h.number == number);
    let mut base = header.map(|h| h.base);
    let mut frames = Vec::new();
    let mut holes = Vec::new();
    let mut offset = match header {
        Some(_) => SEGMENT_HEADER_BYTES,
        None => 0,
    };
    while offset < bytes.len() {
        let next = find_frame(&bytes, offset, base);
        let found = next.as_ref().map_or(bytes.len(), |(at, _)| *at);
        if found > offset {
            holes.push(offset..found);
        }
        let Some((at, frame)) = next else { break };
        base = base.or_else(|| frame.position.checked_sub(at as u64));
        offset = at + FRAME_HEADER_BYTES + frame.payload_bytes as usize;
        frames.push((at, frame));
    }
    if header.is_none() && bytes.is_empty() {
        holes.push(0..0);
    }
    let previous_range = header.map_or(TimeRange::EMPTY, |h| h.previous_range);
    let header_base = header.map(|h| h.base);
    Ok(Walk { number, path, bytes, base, header_base, previous_range, frames, holes })
}

/// The next whole frame at or after `offset`.
fn find_frame(bytes: &[u8], offset: usize, base: Option<u64>) -> Option<(usize, FrameHeader)> {
    let mut at = offset;
    while let Some(tail) = bytes.get(at..).filter(|tail| tail.len() >= FRAME_HEADER_BYTES) {
        if let Some(frame) = FrameHeader::decode(tail) {
            let in_place = match base {
                Some(base) => base.checked_add(at as u64) == Some(frame.position),
                None => frame.position >= at as u64,
            };
            let payload = tail.get(FRAME_HEADER_BYTES..FRAME_HEADER_BYTES + frame.payload_bytes as usize);
            if in_place && payload.is_some_and(|payload| checksum_holds(payload, frame.payload_crc)) {
                return Some((at, frame));
            }
        }
        let from = at + 1;
        at = from + bytes.get(from..)?.windows(FRAME_MAGIC.len()).position(|window| window == FRAME_MAGIC)?;
    }
    None
}

fn judge(walks: Vec<Walk>) -> Scan {
    let durable = walks
        .iter()
        .flat_map(|w| w.frames.iter().map(|(_, frame)| frame.durable).chain(w.header_base))
        .max()
        .unwrap_or(0);
    let mut scan = Scan { last_number: walks.last().map_or(0, |w| w.number), ..Scan::default() };
    let mut torn = false;
    for (index, walk) in walks.iter().enumerate() {
        // A file without header and frames says nothing of its position: as the last one it is the torn start of a segment.
        let base = walk.base.unwrap_or(if index + 1 == walks.len() { durable } else { 0 });
        let tail = walk.holes.iter().find(|hole| base.saturating_add(hole.start as u64) >= durable);
        let keep = match (torn, tail) {
            (true, _) => 0,
            (false, Some(hole)) => hole.start,
            (false, None) => walk.bytes.len(),
        };
        torn |= tail.is_some();
        if keep < walk.bytes.len() || keep == 0 {
            scan.cuts.push((walk.path.clone(), keep as u64));
        }
        let next_previous = walks.get(index + 1).map_or(TimeRange::EMPTY, |next| next.previous_range);
        if keep == 0 {
            if !torn {
                let range = range_behind(walk, &(0..0), next_previous);
                scan.gaps.push(Gap { segment: walk.number, bytes: 0..0, range });
            }
            continue;
        }
        for hole in walk.holes.iter().filter(|hole| hole.start < keep) {
            scan.gaps.push(Gap {
                segment: walk.number,
                bytes: hole.clone(),
                range: range_behind(walk, hole, next_previous),
            });
        }
        let frames = walk.frames.iter().filter(|(at, _)| *at < keep);
        let payloads = frames
            .clone()
            .map(|(at, frame)| {
                let start = at + FRAME_HEADER_BYTES;
                start..start + frame.payload_bytes as usize
            })
            .collect();
        scan.last_range = frames.clone().next_back().map_or(TimeRange::EMPTY, |(_, frame)| frame.segment_range);
        scan.end = base.saturating_add(keep as u64);
        let bytes = walk.bytes.slice(..keep);
        scan.segments.push(Segment { number: walk.number, path: walk.path.clone(), bytes, payloads });
    }
    scan.end = scan.end.max(durable);
    scan
}

/// The time range that a hole can have held: that of the segment as the next whole header behind the hole tells it.
fn range_behind(walk: &Walk, hole: &Range<usize>, next_previous: TimeRange) -> TimeRange {
    let next = walk.frames.iter().find(|(at, _)| *at >= hole.end).map(|(_, frame)| frame.segment_range);
    match next.unwrap_or(next_previous) {
        range if range.is_empty() => TimeRange::ALL,
        range => range,
    }
}
