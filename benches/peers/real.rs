//! Recorded traffic of real Prometheus servers as a load: both recordings side by side, each over a connection of its own,
//! metadata requests included, moved in time by a multiple of two hours so that they are recent.

use std::collections::{BTreeSet, HashMap};
use std::path::Path;

use marigram_proto::prometheus::WriteRequest;
use prost::Message;

use crate::load::Amount;
use crate::sender::Request;
use crate::support::now_ms;
use crate::support::samples::SeriesKey;
use crate::support::traffic::{Frames, compress, recordings};
use crate::workload::WINDOW_MS;

/// The recordings as they are sent.
pub(crate) struct Recorded {
    /// One request of each recording per round.
    pub(crate) rounds: Vec<Vec<Request>>,
    /// Of all.
    pub(crate) amount: Amount,
    /// Series of both.
    pub(crate) series: usize,
    /// Time of the first and the last sample.
    pub(crate) range_ms: (i64, i64),
    /// Samples that a store has in the end: the same series at the same time only once, staleness markers, which no query
    /// counts, left out.
    pub(crate) countable: u64,
    /// Of them those whose value is no number: for VictoriaMetrics they are gaps.
    pub(crate) no_numbers: u64,
    /// Metric names.
    pub(crate) names: BTreeSet<String>,
    /// Values of the series of the first recording.
    pub(crate) columns: Vec<Vec<f64>>,
}

const STALE_BITS: u64 = 0x7ff0_0000_0000_0002;

/// Reads the recordings in `dir`.
pub(crate) fn load(dir: &Path) -> Recorded {
    let recordings: Vec<Vec<WriteRequest>> = recordings(dir)
        .iter()
        .take(2)
        .map(|path| Frames::open(path).map(|f| WriteRequest::decode(&f[..]).unwrap()).collect())
        .collect();
    let times =
        || recordings.iter().flatten().flat_map(|r| &r.timeseries).flat_map(|s| &s.samples).map(|s| s.timestamp);
    let (first_ms, last_ms) = (times().min().unwrap(), times().max().unwrap());
    let shift_ms = (now_ms() - last_ms).div_euclid(WINDOW_MS) * WINDOW_MS;
    let mut amount = Amount::default();
    let mut all: HashMap<SeriesKey, Vec<(i64, f64)>> = HashMap::new();
    let mut names = BTreeSet::new();
    let mut per_file = vec![];
    let mut columns = vec![];
    for requests in recordings {
        let mut sent = vec![];
        for mut request in requests {
            let mut samples = 0;
            for series in &mut request.timeseries {
                let key = series.labels.iter().map(|label| (label.name.clone(), label.value.clone())).collect();
                names.extend(
                    series.labels.iter().find(|label| label.name == "__name__").map(|label| label.value.clone()),
                );
                let held = all.entry(key).or_default();
                for sample in &mut series.samples {
                    sample.timestamp += shift_ms;
                    held.push((sample.timestamp, sample.value));
                    samples += 1;
                }
            }
            let raw = request.encode_to_vec();
            let body = compress(&raw);
            amount.add(Amount { samples, raw_bytes: raw.len() as u64, body_bytes: body.len() as u64 });
            sent.push(Request::new(&body, samples));
        }
        per_file.push(sent.into_iter());
        if columns.is_empty() {
            columns = all.values().map(|column| column.iter().map(|(_, value)| *value).collect()).collect();
        }
    }
    let mut rounds = vec![];
    loop {
        let round: Vec<Request> = per_file.iter_mut().filter_map(Iterator::next).collect();
        if round.is_empty() {
            break;
        }
        rounds.push(round);
    }
    let countable = |column: &mut Vec<(i64, f64)>| {
        column.retain(|(_, value)| value.to_bits() != STALE_BITS);
        column.sort_by_key(|(time_ms, _)| *time_ms);
        column.dedup_by_key(|(time_ms, _)| *time_ms);
        column.len() as u64
    };
    let series = all.len();
    let no_number = |(_, value): &&(i64, f64)| value.is_nan() && value.to_bits() != STALE_BITS;
    let no_numbers = all.values().flatten().filter(no_number).count() as u64;
    let countable = all.values_mut().map(countable).sum();
    Recorded {
        rounds,
        amount,
        series,
        range_ms: (first_ms + shift_ms, last_ms + shift_ms),
        countable,
        no_numbers,
        names,
        columns,
    }
}
