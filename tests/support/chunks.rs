//! A client of streamed remote read: frames, and the chunks of Prometheus in them, bit by bit.

use marigram_proto::prometheus::chunk::Encoding;
use marigram_proto::prometheus::{Chunk, ChunkedReadResponse, Query, ReadRequest, read_request::ResponseType};
use prost::Message;

use super::http::Http;
use super::samples::{SeriesKey, key};
use super::traffic::compress;

const CUSTOM_BUCKETS_SCHEMA: i64 = -53;
/// Lengths of numbers, each behind as many ones as its place.
const LENGTHS: [u32; 9] = [0, 3, 6, 9, 12, 18, 25, 56, 64];

/// What a sample holds, with all floats by their bits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Point {
    Float(u64),
    Histogram(Box<Histogram>),
}

/// A native histogram.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Histogram {
    pub(crate) is_gauge: bool,
    pub(crate) schema: i64,
    pub(crate) zero_threshold: u64,
    pub(crate) zero_count: u64,
    pub(crate) count: u64,
    pub(crate) sum: u64,
    /// The buckets above zero, by their index.
    pub(crate) positive: Vec<(i64, u64)>,
    /// Those below.
    pub(crate) negative: Vec<(i64, u64)>,
    pub(crate) custom_values: Vec<u64>,
}

/// A series with its samples.
pub(crate) type Read = (SeriesKey, Vec<(i64, Point)>);

/// Reads a stream: the series of each query, one after the other.
pub(crate) fn read(http: &Http, queries: Vec<Query>) -> Vec<Vec<Read>> {
    let mut all = vec![Vec::new(); queries.len()];
    let request = ReadRequest { queries, accepted_response_types: vec![ResponseType::StreamedXorChunks.into()] };
    let headers = [("content-encoding", "snappy"), ("content-type", "application/x-protobuf")];
    let answer = http.post("/api/v1/read", &headers, &compress(&request.encode_to_vec())).unwrap();
    assert_eq!(answer.status, 200, "read: {}", answer.text());
    let kind = "application/x-streamed-protobuf; proto=prometheus.ChunkedReadResponse";
    assert_eq!(answer.headers["content-type"], kind);
    let mut rest = &answer.body[..];
    while !rest.is_empty() {
        let length = prost::decode_length_delimiter(&mut rest).unwrap();
        let (checksum, message) = rest[..4 + length].split_at(4);
        assert_eq!(checksum, crc32c::crc32c(message).to_be_bytes());
        rest = &rest[4 + length..];
        let frame = ChunkedReadResponse::decode(message).unwrap();
        let [series] = &frame.chunked_series[..] else { panic!("one series in a frame") };
        let samples = series.chunks.iter().flat_map(decode);
        let query: &mut Vec<Read> = &mut all[frame.query_index as usize];
        match query.last_mut() {
            Some((last, known)) if *last == key(&series.labels) => known.extend(samples),
            _ => query.push((key(&series.labels), samples.collect())),
        }
    }
    all
}

/// The samples of a chunk, whose times are those that it announces.
fn decode(chunk: &Chunk) -> Vec<(i64, Point)> {
    let (count, mut bits) =
        (u16::from_be_bytes([chunk.data[0], chunk.data[1]]), Bits { bytes: &chunk.data[2..], at: 0 });
    let samples = match chunk.r#type() {
        Encoding::Xor => xor(&mut bits, count),
        Encoding::FloatHistogram => {
            assert_eq!(count, 1, "a chunk holds one histogram");
            vec![float_histogram(&mut bits)]
        }
        other => panic!("a chunk of encoding {other:?}"),
    };
    assert!(bits.bytes.len() * 8 - bits.at < 8, "the chunk is longer than its samples");
    let edges = (samples.first().unwrap().0, samples.last().unwrap().0);
    assert_eq!(edges, (chunk.min_time_ms, chunk.max_time_ms));
    samples
}

fn xor(bits: &mut Bits<'_>, count: u16) -> Vec<(i64, Point)> {
    let (mut time, mut delta, mut value, mut window) = (0i64, 0i64, 0u64, (0, 0));
    let mut samples = Vec::new();
    for at in 0..count {
        match at {
            0 => {
                let zigzag = bits.varint();
                (time, value) = ((zigzag >> 1) as i64 ^ -((zigzag & 1) as i64), bits.take(64));
            }
            1 => delta = bits.varint() as i64,
            _ => {
                let length = [0, 14, 17, 20, 64][bits.ones(4)];
                delta = delta.wrapping_add(bits.signed(length));
            }
        }
        if at > 0 {
            time = time.wrapping_add(delta);
            if bits.take(1) == 1 {
                if bits.take(1) == 1 {
                    let (leading, length) = (bits.take(5) as u32, bits.take(6) as u32);
                    let length = if length == 0 { 64 } else { length };
                    window = (leading, 64 - leading - length);
                }
                value ^= bits.take(64 - window.0 - window.1) << window.1;
            }
        }
        samples.push((time, Point::Float(value)));
    }
    samples
}

fn float_histogram(bits: &mut Bits<'_>) -> (i64, Point) {
    let flags = bits.take(8);
    assert!(matches!(flags, 0 | 0b1100_0000), "flags {flags:b}");
    let zero_threshold = match bits.take(8) {
        0 => 0,
        255 => bits.take(64),
        power => 2f64.powi(power as i32 - 244).to_bits(),
    };
    let schema = bits.sized_signed();
    let (above, below) = (spans(bits), spans(bits));
    let bounds = if schema == CUSTOM_BUCKETS_SCHEMA { bits.sized() } else { 0 };
    let custom_values = (0..bounds).map(|_| bound(bits).to_bits()).collect();
    let time = bits.sized_signed();
    let (count, zero_count, sum) = (bits.take(64), bits.take(64), bits.take(64));
    let mut buckets = |indexes: Vec<i64>| indexes.into_iter().map(|index| (index, bits.take(64))).collect();
    let (positive, negative) = (buckets(above), buckets(below));
    let is_gauge = flags != 0;
    let histogram =
        Histogram { is_gauge, schema, zero_threshold, zero_count, count, sum, positive, negative, custom_values };
    (time, Point::Histogram(Box::new(histogram)))
}

/// The indexes of the buckets.
fn spans(bits: &mut Bits<'_>) -> Vec<i64> {
    let (mut next, mut indexes) = (0, Vec::new());
    for _ in 0..bits.sized() {
        let length = bits.sized();
        next += bits.sized_signed();
        indexes.extend((next..).take(length as usize));
        next += length as i64;
    }
    indexes
}

/// A custom bound: thousandths, or a float.
fn bound(bits: &mut Bits<'_>) -> f64 {
    match bits.sized() {
        0 => f64::from_bits(bits.take(64)),
        thousandths => (thousandths - 1) as f64 / 1000.0,
    }
}

/// Bits, from the highest of each byte on.
struct Bits<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Bits<'_> {
    fn take(&mut self, count: u32) -> u64 {
        let mut out = 0;
        for _ in 0..count {
            out = out << 1 | u64::from(self.bytes[self.at / 8] >> (7 - self.at % 8) & 1);
            self.at += 1;
        }
        out
    }

    /// Ones up to the first zero, or `most`.
    fn ones(&mut self, most: usize) -> usize {
        (0..most).find(|_| self.take(1) == 0).unwrap_or(most)
    }

    fn varint(&mut self) -> u64 {
        let (mut out, mut shift) = (0, 0);
        loop {
            let byte = self.take(8);
            out |= (byte & 0x7f) << shift;
            shift += 7;
            if byte & 0x80 == 0 {
                return out;
            }
        }
    }

    /// A number of so many bits, of which one more is positive than negative.
    fn signed(&mut self, length: u32) -> i64 {
        let number = self.take(length) as i64;
        if (1..64).contains(&length) && number > 1 << (length - 1) { number - (1 << length) } else { number }
    }

    fn sized(&mut self) -> u64 {
        let length = LENGTHS[self.ones(8)];
        self.take(length)
    }

    fn sized_signed(&mut self) -> i64 {
        let length = LENGTHS[self.ones(8)];
        self.signed(length)
    }
}
