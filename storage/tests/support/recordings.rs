//! Reads recordings of remote-write requests: each a length (`u32`) and a body, all of them in one zstd stream.

use std::collections::{BTreeMap, HashMap};
use std::io::Read;
use std::path::Path;

use marigram_proto::write_v1::{Entries, Entry};
use marigram_storage::model::labels::Labels;
use marigram_storage::model::sample::{Sample, join_in_place};

/// Samples by series.
pub(crate) type Recorded = BTreeMap<Labels, Vec<Sample>>;

/// All samples of the `*.rw1.zst` recordings in a directory, joined.
pub(crate) fn read_recordings(dir: &Path) -> Recorded {
    let mut series: HashMap<Vec<u8>, Vec<Sample>> = HashMap::new();
    let mut files: Vec<_> = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.to_string_lossy().ends_with(".rw1.zst"));
    assert!(!files.is_empty(), "no recordings in {}", dir.display());
    for path in files {
        let mut decoder = zstd::Decoder::new(std::fs::File::open(path).unwrap()).unwrap();
        decoder.window_log_max(27).unwrap();
        let mut length = [0u8; 4];
        while decoder.read_exact(&mut length).is_ok() {
            let mut body = vec![0; u32::from_le_bytes(length) as usize];
            decoder.read_exact(&mut body).unwrap();
            read_request(&body, &mut series);
        }
    }
    let canonical = |(labels, mut samples): (Vec<u8>, Vec<Sample>)| {
        join_in_place(&mut samples);
        (Labels::from_canonical(&labels).unwrap(), samples)
    };
    series.into_iter().map(canonical).filter(|(_, samples)| !samples.is_empty()).collect()
}

fn read_request(body: &[u8], series: &mut HashMap<Vec<u8>, Vec<Sample>>) {
    let mut entries = Entries::new(body);
    while let Some(entry) = entries.next_entry().unwrap() {
        if let Entry::Series(one) = entry {
            let mut samples = Vec::new();
            let parts = one.read(|timestamp_ms, value| samples.push(Sample { timestamp_ms, value })).unwrap();
            series.entry(parts.labels.to_vec()).or_default().extend(samples);
        }
    }
}
