//! Remote write 1.0, decoded without copying.
//!
//! 1. [`Entries`] walks a `WriteRequest` and hands out one [`Entry`] after the other: a series or a family's metadata.
//! 2. [`Series::read`] walks a `TimeSeries` once: samples go to a sink as they come, labels are only located. When the
//!    label fields lie side by side, as every known sender puts them, their bytes are one slice that can be hashed
//!    and compared as it is; what is inside of it is checked by whoever knows the canonical form.
//! 3. [`LabelFields`] takes the labels apart where that form was not met.
//!
//! The rules are protobuf's, and prost is the oracle in the tests: unknown fields are skipped, of a single field given
//! twice the last counts, a known field with another wire type is an error. Exemplars and histograms are counted;
//! [`Series::read_histograms`] reads the latter where there are any. Texts are bytes here: a label that is not UTF-8 costs its series, not the request.

use crate::wire::{Cursor, WireError};

/// Key of `WriteRequest.timeseries`: field 1, length-delimited.
const KEY_SERIES: u8 = 1 << 3 | 2;
/// Key of `TimeSeries.labels`: field 1, length-delimited.
const KEY_LABEL: u8 = 1 << 3 | 2;
/// Key of `TimeSeries.samples`: field 2, length-delimited.
const KEY_SAMPLE: u8 = 2 << 3 | 2;
/// Key of `Sample.value`: field 1, 64 bits.
const KEY_VALUE: u8 = 1 << 3 | 1;
/// Key of `Sample.timestamp`: field 2, varint.
const KEY_TIMESTAMP: u8 = 2 << 3;

/// What a request holds, in the order in which it came.
#[derive(Debug, Clone, Copy)]
pub enum Entry<'a> {
    /// A series with its samples.
    Series(Series<'a>),
    /// Metadata of a family.
    Metadata(Metadata<'a>),
}

/// Walks a `WriteRequest`.
#[derive(Debug, Clone)]
pub struct Entries<'a> {
    cursor: Cursor<'a>,
}

impl<'a> Entries<'a> {
    /// The entries of the request in `body`.
    pub fn new(body: &'a [u8]) -> Self {
        Entries { cursor: Cursor::new(body) }
    }

    /// The next entry; `None` at the end.
    ///
    /// # Errors
    /// The body is no `WriteRequest`.
    #[inline]
    pub fn next_entry(&mut self) -> Result<Option<Entry<'a>>, WireError> {
        if let Some(message) = self.cursor.short_bytes(KEY_SERIES) {
            return Ok(Some(self.series(message)));
        }
        while let Some((number, value)) = self.cursor.next_field()? {
            match number {
                1 => return Ok(Some(self.series(value.bytes()?))),
                3 => return Ok(Some(Entry::Metadata(Metadata::decode(value.bytes()?)?))),
                _ => {}
            }
        }
        Ok(None)
    }

    /// The series whose message was read last.
    #[inline]
    fn series(&self, message: &'a [u8]) -> Entry<'a> {
        Entry::Series(Series { message, offset: self.cursor.position() - message.len() })
    }
}

/// A `TimeSeries` message, not yet read.
#[derive(Debug, Clone, Copy)]
pub struct Series<'a> {
    message: &'a [u8],
    offset: usize,
}

/// What [`Series::read`] found beside samples.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SeriesParts<'a> {
    /// The bytes from the first label field to the end of the last one.
    pub labels: &'a [u8],
    /// Where `labels` starts in the request's body.
    pub labels_offset: usize,
    /// Whether nothing but label fields lies in `labels`.
    pub contiguous: bool,
    /// How many exemplars there are.
    pub exemplars: u64,
    /// How many native histograms there are.
    pub histograms: u64,
}

impl<'a> Series<'a> {
    /// Reads the series: calls `sample` with timestamp (ms) and value of each sample, and says the rest.
    ///
    /// # Errors
    /// The message is no `TimeSeries`. Samples may have been handed over before that was seen. What is inside of the
    /// label fields has not been looked at.
    #[inline]
    pub fn read(self, mut sample: impl FnMut(i64, f64)) -> Result<SeriesParts<'a>, WireError> {
        let mut cursor = Cursor::new(self.message);
        // What nearly every series is: labels, then samples.
        while cursor.short_bytes(KEY_LABEL).is_some() {}
        let (mut first, mut end) = (0, cursor.position());
        while let Some(message) = cursor.short_bytes(KEY_SAMPLE) {
            let (timestamp_ms, value) = read_sample(message)?;
            sample(timestamp_ms, value);
        }
        let mut contiguous = true;
        let (mut exemplars, mut histograms) = (0, 0);
        loop {
            let start = cursor.position();
            let Some((number, value)) = cursor.next_field()? else { break };
            match number {
                1 => {
                    value.bytes()?;
                    if end == 0 {
                        first = start;
                    } else {
                        contiguous &= start == end;
                    }
                    end = cursor.position();
                }
                2 => {
                    let (timestamp_ms, value) = read_sample(value.bytes()?)?;
                    sample(timestamp_ms, value);
                }
                3 => {
                    value.bytes()?;
                    exemplars += 1;
                }
                4 => {
                    value.bytes()?;
                    histograms += 1;
                }
                _ => {}
            }
        }
        let labels = self.message.get(first..end).unwrap_or_default();
        Ok(SeriesParts { labels, labels_offset: self.offset + first, contiguous, exemplars, histograms })
    }
}

impl<'a> Series<'a> {
    /// Calls `each` with the message of each native histogram.
    ///
    /// # Errors
    /// The message is no `TimeSeries`, or the error of `each`.
    #[cold]
    pub fn read_histograms(self, mut each: impl FnMut(&'a [u8]) -> Result<(), WireError>) -> Result<(), WireError> {
        let mut cursor = Cursor::new(self.message);
        while let Some((number, value)) = cursor.next_field()? {
            if number == 4 {
                each(value.bytes()?)?;
            }
        }
        Ok(())
    }
}

#[inline]
fn read_sample(message: &[u8]) -> Result<(i64, f64), WireError> {
    match plain_sample(message) {
        Some(sample) => Ok(sample),
        None => read_any_sample(message),
    }
}

/// The sample of a sender that writes the value, unless it is zero, and then the timestamp; `None` for any other message.
#[inline]
fn plain_sample(message: &[u8]) -> Option<(i64, f64)> {
    let (value, rest) = match message.split_first()? {
        (&KEY_VALUE, rest) => rest.split_first_chunk().map(|(bytes, rest)| (f64::from_le_bytes(*bytes), rest))?,
        _ => (0.0, message),
    };
    let (&[KEY_TIMESTAMP], varint) = rest.split_first_chunk()? else { return None };
    let (&last, groups) = varint.split_last()?;
    // Nine groups of seven bits cannot have too many.
    if last >= 0x80 || groups.len() > 8 {
        return None;
    }
    let mut timestamp_ms = 0;
    for (at, &group) in groups.iter().enumerate() {
        if group < 0x80 {
            return None;
        }
        timestamp_ms |= u64::from(group & 0x7f) << (7 * at);
    }
    timestamp_ms |= u64::from(last) << (7 * groups.len());
    Some((timestamp_ms.cast_signed(), value))
}

#[cold]
fn read_any_sample(message: &[u8]) -> Result<(i64, f64), WireError> {
    let (mut value, mut timestamp_ms) = (0.0, 0);
    let mut cursor = Cursor::new(message);
    while let Some((number, field)) = cursor.next_field()? {
        match number {
            1 => value = field.double()?,
            2 => timestamp_ms = field.varint()?.cast_signed(),
            _ => {}
        }
    }
    Ok((timestamp_ms, value))
}

/// A label's name and value, as they came.
pub type RawLabel<'a> = (&'a [u8], &'a [u8]);

/// Takes the labels of a series apart, in the order in which they came.
#[derive(Debug, Clone)]
pub struct LabelFields<'a> {
    cursor: Cursor<'a>,
}

impl<'a> LabelFields<'a> {
    /// The labels in [`SeriesParts::labels`]; other fields in between are skipped.
    pub fn new(labels: &'a [u8]) -> Self {
        LabelFields { cursor: Cursor::new(labels) }
    }

    /// Name and value of the next label; `None` at the end.
    ///
    /// # Errors
    /// A label field is no `Label`.
    pub fn next_label(&mut self) -> Result<Option<RawLabel<'a>>, WireError> {
        while let Some((number, value)) = self.cursor.next_field()? {
            if number == 1 {
                return read_label(value.bytes()?).map(Some);
            }
        }
        Ok(None)
    }
}

fn read_label(message: &[u8]) -> Result<RawLabel<'_>, WireError> {
    let (mut name, mut value): (&[u8], &[u8]) = (&[], &[]);
    let mut cursor = Cursor::new(message);
    while let Some((number, field)) = cursor.next_field()? {
        match number {
            1 => name = field.bytes()?,
            2 => value = field.bytes()?,
            _ => {}
        }
    }
    Ok((name, value))
}

/// Metadata of a family; the texts are not checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Metadata<'a> {
    /// The number of the type, as remote write 1.0 numbers them.
    pub kind: u64,
    /// The family's name.
    pub family: &'a [u8],
    /// The HELP text.
    pub help: &'a [u8],
    /// The unit.
    pub unit: &'a [u8],
}

impl<'a> Metadata<'a> {
    fn decode(message: &'a [u8]) -> Result<Self, WireError> {
        let mut metadata = Metadata::default();
        let mut cursor = Cursor::new(message);
        while let Some((number, value)) = cursor.next_field()? {
            match number {
                1 => metadata.kind = value.varint()?,
                2 => metadata.family = value.bytes()?,
                4 => metadata.help = value.bytes()?,
                5 => metadata.unit = value.bytes()?,
                _ => {}
            }
        }
        Ok(metadata)
    }
}

#[cfg(test)]
#[path = "write_v1_test.rs"]
mod tests;
