//! From what clients send to what the store takes: decoding, normalising, limits.
//!
//! Bad samples are refused one by one and the good ones of the request are kept ([`Decoded`]); only a body that cannot be
//! decoded at all is an error ([`DecodeError`]), and then nothing of it is kept.

mod assemble;
pub mod exposition;
mod histograms;
mod refusals;
mod settle;
pub mod snappy;
pub mod write_v1;

pub use refusals::{Reason, Refusals};

use marigram_storage::model::tenant::TenantId;
use marigram_storage::write::{WriteBatch, WriteSeries};

/// Sets the [hint](WriteSeries::hint) of every series that the store knows by its id.
pub type Recognise<'a> = &'a dyn Fn(&TenantId, &mut [WriteSeries]);

/// For whom every series is a new one.
pub fn recognise_none(_: &TenantId, _: &mut [WriteSeries]) {}

/// How far ahead of the clock a sample may be.
pub const FUTURE_MAX_MS: i64 = 10 * 60_000;

/// Most labels of a series that are looked at, empty ones included; those that stay are held to the set limit.
pub(crate) const RAW_LABELS_MAX: usize = 4096;

/// What a request may hold. Lengths are in bytes.
#[derive(Clone, Debug)]
pub struct IngestLimits {
    /// Most labels of a series, its name included.
    pub labels_max: usize,
    /// Longest label name.
    pub label_name_bytes_max: usize,
    /// Longest label value.
    pub label_value_bytes_max: usize,
    /// Largest request, decompressed.
    pub request_bytes_max: usize,
}

impl Default for IngestLimits {
    fn default() -> Self {
        IngestLimits {
            // Far above what exporters use (about 10), and low enough that a runaway label does not fill the index.
            labels_max: 64,
            label_name_bytes_max: 1024,
            label_value_bytes_max: 4096,
            // Prometheus sends at most 2,000 samples by default, about 0.5 MiB.
            request_bytes_max: 32 << 20,
        }
    }
}

/// Which timestamps are taken, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeBounds {
    /// `None` without a set retention.
    pub oldest_ms: Option<i64>,
    /// Latest timestamp.
    pub newest_ms: i64,
}

impl TimeBounds {
    /// What is taken at `now_ms` under a retention (0: for ever).
    pub fn at(now_ms: i64, retention_ms: i64) -> Self {
        let oldest_ms = (retention_ms > 0).then(|| now_ms.saturating_sub(retention_ms));
        TimeBounds { oldest_ms, newest_ms: now_ms.saturating_add(FUTURE_MAX_MS) }
    }
}

/// A decoded request.
#[derive(Debug)]
pub struct Decoded {
    /// What is good.
    pub batch: WriteBatch,
    /// What is not.
    pub refused: Refusals,
    /// Exemplars, which are not stored.
    pub exemplars_ignored: u64,
}

/// A body that cannot be decoded: nothing of it is stored.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The body is not what its content encoding says.
    #[error("the body is not valid Snappy: {0}")]
    NotSnappy(String),
    /// Larger than is taken.
    #[error("the request has {bytes} bytes, at most {limit} are taken")]
    TooLarge {
        /// How large it is or announces to be.
        bytes: u64,
        /// How large it may be.
        limit: usize,
    },
    /// The body is not the message that its content type says.
    #[error("the body is not a valid remote-write request: {0}")]
    Malformed(String),
}
