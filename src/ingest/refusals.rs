//! What was refused, and why.

use std::fmt;

/// How many refusals are told in words.
const EXAMPLES_MAX: usize = 5;
/// Longest text of one of them, in bytes.
const EXAMPLE_BYTES_MAX: usize = 300;

/// Why a sample was refused; each is counted in the metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// Labels that are no label set: duplicates, empty or missing names, not UTF-8.
    BadLabels,
    /// More labels, or longer ones, than the limits allow.
    LabelLimit,
    /// Older than the set retention.
    TooOld,
    /// Too far ahead of the clock.
    TooNew,
    /// A native histogram that contradicts itself, or is too large.
    Histogram,
    /// A line of text that does not parse.
    BadLine,
    /// Behind what a request may hold in memory.
    TooMany,
}

impl Reason {
    /// All of them.
    pub const ALL: [Reason; 7] = [
        Reason::BadLabels,
        Reason::LabelLimit,
        Reason::TooOld,
        Reason::TooNew,
        Reason::Histogram,
        Reason::BadLine,
        Reason::TooMany,
    ];

    /// As the metrics name it.
    pub fn as_str(self) -> &'static str {
        match self {
            Reason::BadLabels => "bad_labels",
            Reason::LabelLimit => "label_limit",
            Reason::TooOld => "too_old",
            Reason::TooNew => "too_far_in_future",
            Reason::Histogram => "bad_histogram",
            Reason::BadLine => "bad_line",
            Reason::TooMany => "too_many",
        }
    }
}

/// Counts refusals and remembers the first few in words.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Refusals {
    counts: [u64; Reason::ALL.len()],
    examples: Vec<String>,
}

impl Refusals {
    /// Refuses `count` samples; `text` is made only while it is remembered.
    pub fn add(&mut self, reason: Reason, count: u64, text: impl FnOnce() -> String) {
        if let Some(at) = Reason::ALL.iter().position(|r| *r == reason) {
            self.counts[at] += count;
        }
        if self.examples.len() < EXAMPLES_MAX {
            let mut text = text();
            if text.len() > EXAMPLE_BYTES_MAX {
                text.truncate(text.floor_char_boundary(EXAMPLE_BYTES_MAX));
                text.push('…');
            }
            self.examples.push(text);
        }
    }

    /// How many samples were refused.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Whether nothing was refused, not even a series without samples.
    pub fn is_empty(&self) -> bool {
        self.examples.is_empty()
    }

    /// The counts by reason.
    pub fn by_reason(&self) -> impl Iterator<Item = (Reason, u64)> + '_ {
        Reason::ALL.into_iter().zip(self.counts)
    }
}

/// The count and the first reasons, for the answer.
impl fmt::Display for Refusals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.count();
        match count {
            // A series without samples, or a metadata line, can be refused too.
            0 => write!(f, "refused, no sample among it: ")?,
            1 => write!(f, "1 sample refused: ")?,
            _ => write!(f, "{count} samples refused: ")?,
        }
        write!(f, "{}", self.examples.join("; "))?;
        if count > self.examples.len() as u64 { write!(f, "; …") } else { Ok(()) }
    }
}
