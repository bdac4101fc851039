//! Writes the log.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crc32c::crc32c;

use super::frame::{FRAME_HEADER_BYTES, FrameHeader, SEGMENT_HEADER_BYTES, SegmentHeader};
use super::record::RecordWriter;
use super::segment_file_name;
use crate::disk::{Disk, DiskFile};
use crate::error::{Error, Result};
use crate::model::time::TimeRange;

/// The open end of the log. After an error it must not be used again: what the file holds is then unknown.
pub struct WalWriter {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    file: Box<dyn DiskFile>,
    segment: u64,
    /// Position of the next byte in the whole log.
    position: u64,
    /// Everything below is durable.
    durable: u64,
    segment_bytes: u64,
    segment_range: TimeRange,
}

impl WalWriter {
    /// Begins segment `number` at `position`. Everything below `position` must be durable.
    pub fn create(
        disk: Arc<dyn Disk>,
        dir: &Path,
        number: u64,
        position: u64,
        previous_range: TimeRange,
    ) -> Result<Self> {
        let file = create_segment(&*disk, dir, SegmentHeader { number, base: position, previous_range })?;
        let segment_bytes = SEGMENT_HEADER_BYTES as u64;
        Ok(WalWriter {
            disk,
            dir: dir.to_owned(),
            file,
            segment: number,
            position: position + segment_bytes,
            durable: position + segment_bytes,
            segment_bytes,
            segment_range: TimeRange::EMPTY,
        })
    }

    /// Number of the segment that is being written.
    pub fn segment(&self) -> u64 {
        self.segment
    }

    /// Size of the segment that is being written.
    pub fn segment_bytes(&self) -> u64 {
        self.segment_bytes
    }

    /// Writes the records as one frame. Returns the bytes written.
    ///
    /// # Errors
    /// The disk's; the writer is then not to be used again.
    pub fn write(&mut self, records: &mut RecordWriter) -> Result<u64> {
        let payload = records.payload();
        let payload_bytes = u32::try_from(payload.len())
            .map_err(|_| Error::Overloaded("a commit group of the write-ahead log exceeds 4 GiB".into()))?;
        let segment_range = self.segment_range.union(records.range());
        let header = FrameHeader {
            payload_bytes,
            position: self.position,
            durable: self.durable,
            segment_range,
            payload_crc: crc32c(payload),
        };
        let frame = records.frame();
        frame[..FRAME_HEADER_BYTES].copy_from_slice(&header.encode());
        self.file.write_all(frame)?;
        let written = frame.len() as u64;
        self.position += written;
        self.segment_bytes += written;
        self.segment_range = segment_range;
        Ok(written)
    }

    /// Makes everything that was written durable.
    ///
    /// # Errors
    /// The disk's; the writer is then not to be used again.
    pub fn sync(&mut self) -> Result<()> {
        if self.durable < self.position {
            self.file.sync()?;
            self.durable = self.position;
        }
        Ok(())
    }

    /// Writes the records as one frame and makes it durable. Returns the bytes written.
    ///
    /// # Errors
    /// The disk's; the writer is then not to be used again.
    pub fn commit(&mut self, records: &mut RecordWriter) -> Result<u64> {
        let written = self.write(records)?;
        self.sync()?;
        Ok(written)
    }

    /// Begins the next segment.
    ///
    /// # Errors
    /// The disk's; the writer is then not to be used again.
    pub fn rotate(&mut self) -> Result<()> {
        self.sync()?;
        let header =
            SegmentHeader { number: self.segment + 1, base: self.position, previous_range: self.segment_range };
        self.file = create_segment(&*self.disk, &self.dir, header)?;
        self.segment = header.number;
        self.segment_bytes = SEGMENT_HEADER_BYTES as u64;
        self.position += self.segment_bytes;
        self.durable = self.position;
        self.segment_range = TimeRange::EMPTY;
        Ok(())
    }

    /// Removes a segment that is not being written.
    pub fn remove(&self, number: u64) -> Result<()> {
        debug_assert!(number < self.segment);
        self.disk.remove_file(&self.dir.join(segment_file_name(number)))
    }
}

fn create_segment(disk: &dyn Disk, dir: &Path, header: SegmentHeader) -> Result<Box<dyn DiskFile>> {
    let mut file = disk.create(&dir.join(segment_file_name(header.number)))?;
    file.write_all(&header.encode())?;
    file.sync()?;
    disk.sync_dir(dir)?;
    Ok(file)
}
