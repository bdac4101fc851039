//! Recorded remote-write traffic: zstd over frames of a length (`u32`, little-endian) and a request that is not compressed.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

use marigram_proto::prometheus::WriteRequest;
use prost::Message;

use super::samples::Samples;

/// The recordings in `dir`, sorted by name.
pub(crate) fn recordings(dir: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir).unwrap_or_else(|error| panic!("{}: {error}", dir.display()));
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.to_string_lossy().ends_with(".rw1.zst"));
    paths.sort();
    assert!(paths.len() >= 2, "{} holds the recordings of a pair of servers", dir.display());
    paths
}

/// Reads one request after the other.
pub(crate) struct Frames {
    reader: BufReader<zstd::Decoder<'static, BufReader<File>>>,
}

impl Frames {
    /// Opens a recording.
    pub(crate) fn open(path: &Path) -> Frames {
        let mut decoder = zstd::Decoder::new(File::open(path).unwrap()).unwrap();
        decoder.window_log_max(31).unwrap();
        Frames { reader: BufReader::with_capacity(1 << 20, decoder) }
    }
}

impl Iterator for Frames {
    type Item = Vec<u8>;

    fn next(&mut self) -> Option<Vec<u8>> {
        let mut length = [0; 4];
        let first = self.reader.read(&mut length[..1]).unwrap();
        if first == 0 {
            return None;
        }
        self.reader.read_exact(&mut length[1..]).unwrap();
        let mut frame = vec![0; u32::from_le_bytes(length) as usize];
        self.reader.read_exact(&mut frame).unwrap();
        Some(frame)
    }
}

/// Requests as they go over the wire, and the samples that a store must hold after them.
#[derive(Default)]
pub(crate) struct Traffic {
    /// Snappy-compressed requests.
    pub(crate) bodies: Vec<Vec<u8>>,
    /// Of all of them.
    pub(crate) samples: Samples,
}

impl Traffic {
    /// All of a recording.
    pub(crate) fn load(path: &Path) -> Traffic {
        let mut traffic = Traffic::default();
        for frame in Frames::open(path) {
            traffic.samples.add_request(&WriteRequest::decode(&frame[..]).unwrap());
            traffic.bodies.push(compress(&frame));
        }
        traffic
    }
}

/// Snappy, block format.
pub(crate) fn compress(body: &[u8]) -> Vec<u8> {
    snap::raw::Encoder::new().compress_vec(body).unwrap()
}

/// The request in a compressed body.
pub(crate) fn decode(body: &[u8]) -> WriteRequest {
    let plain = snap::raw::Decoder::new().decompress_vec(body).unwrap();
    WriteRequest::decode(&plain[..]).unwrap()
}
