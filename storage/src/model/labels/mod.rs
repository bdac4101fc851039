//! Label sets and their one canonical form.
//!
//! A label set is kept as the bytes that a remote-write 1.0 sender puts on the wire: for each label, in
//! ascending order of the name's bytes, one length-delimited `labels` field (tag `0x0A`) that holds a
//! `name` field (`0x0A`) and a `value` field (`0x12`), with varints of minimal length.
//!
//! ```text
//! ┌──────┬─────────┬──────┬──────────┬──────┬──────┬───────────┬───────┐
//! │ 0x0A │ len uv  │ 0x0A │ nlen uv  │ name │ 0x12 │ vlen uv   │ value │  … next label
//! └──────┴─────────┴──────┴──────────┴──────┴──────┴───────────┴───────┘
//! ```
//!
//! A well-behaved sender's bytes are therefore hashed and compared as they arrive, and equal label sets are
//! equal byte strings. [`SeriesId`] is XXH3-128 (seed 0) of them, the same on every node.

mod builder;
mod canonical;
mod field;
#[cfg(test)]
mod tests;
mod walk;

pub use builder::LabelsBuilder;
pub use canonical::{check_canonical, normalise};
pub(crate) use field::{field_of, push_label_bytes};
pub(crate) use walk::FieldIter;
pub use walk::LabelIter;

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use xxhash_rust::xxh3::xxh3_128;

use field::push_label;
use walk::RawIter;

/// The label that holds the metric's name.
pub const METRIC_NAME: &str = "__name__";

/// XXH3-128 (seed 0) of a label set's canonical bytes; orders the series of every stream.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SeriesId(pub u128);

impl SeriesId {
    /// The id of the label set with these canonical bytes.
    pub fn of(canonical: &[u8]) -> Self {
        SeriesId(xxh3_128(canonical))
    }
}

impl fmt::Debug for SeriesId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// Why bytes or labels are not a canonical label set.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LabelError {
    /// A name occurs twice, with a value both times.
    #[error("label name {0:?} is given more than once")]
    DuplicateName(String),
    /// A label has an empty name.
    #[error("a label has an empty name")]
    EmptyName,
    /// No `__name__`, or an empty one.
    #[error("the series has no metric name")]
    NoMetricName,
    /// A name or value is not UTF-8.
    #[error("label {0:?} is not valid UTF-8")]
    NotUtf8(String),
    /// The bytes are not the canonical form.
    #[error("label bytes are malformed")]
    Malformed,
}

/// A label set in canonical form: sorted by name, names unique and not empty, values not empty, all UTF-8.
/// Cheap to clone; it hashes as its canonical bytes do. A result of PromQL may lack `__name__`; a stored series never does.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Labels {
    /// `None` where there is no label, never an empty slice.
    bytes: Option<Arc<[u8]>>,
}

impl Hash for Labels {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_bytes().hash(state);
    }
}

impl Labels {
    /// Checks that `bytes` are canonical and keeps a copy.
    ///
    /// # Errors
    /// [`LabelError::Malformed`] and its siblings say what is wrong.
    pub fn from_canonical(bytes: &[u8]) -> Result<Self, LabelError> {
        check_canonical(bytes)?;
        Ok(Labels::of_canonical(bytes))
    }

    /// Keeps a copy of bytes that are known to be canonical. Others give a label set whose walk ends early.
    pub(crate) fn of_canonical(bytes: &[u8]) -> Self {
        Labels { bytes: (!bytes.is_empty()).then(|| Arc::from(bytes)) }
    }

    /// A label set from pairs in any order; empty values are dropped, and of equal names the later wins.
    pub fn from_pairs<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let mut builder = LabelsBuilder::default();
        for (name, value) in pairs {
            builder.set(name, value);
        }
        builder.build()
    }

    /// A label set from pairs that are in ascending order of their names already.
    ///
    /// # Errors
    /// Names out of order or twice, an empty name or value.
    pub fn from_sorted<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<Self, LabelError> {
        let mut bytes = Vec::with_capacity(256);
        let mut previous: Option<&str> = None;
        for (name, value) in pairs {
            if name.is_empty() || value.is_empty() || previous.is_some_and(|p| p >= name) {
                return Err(LabelError::Malformed);
            }
            push_label(&mut bytes, name, value);
            previous = Some(name);
        }
        Ok(Labels::of_canonical(&bytes))
    }

    /// A label set from the fields of a canonical one, in their order.
    pub(crate) fn from_fields<'a>(fields: impl Iterator<Item = &'a [u8]> + Clone) -> Self {
        let mut bytes = Vec::with_capacity(fields.clone().map(<[u8]>::len).sum());
        fields.for_each(|field| bytes.extend_from_slice(field));
        Labels::of_canonical(&bytes)
    }

    /// The canonical bytes.
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.as_deref().unwrap_or_default()
    }

    /// The id of this label set.
    pub fn id(&self) -> SeriesId {
        SeriesId::of(self.as_bytes())
    }

    /// Whether there is no label at all.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_none()
    }

    /// The labels in ascending order of their names.
    pub fn iter(&self) -> LabelIter<'_> {
        LabelIter::over(self.as_bytes())
    }

    /// The value of the label `name`, or `None` where the set lacks it.
    pub fn get(&self, name: &str) -> Option<&str> {
        let label = self.raw().find(|label| label.name == name.as_bytes())?;
        std::str::from_utf8(label.value).ok()
    }

    /// The metric's name, or `None`.
    pub fn metric_name(&self) -> Option<&str> {
        self.get(METRIC_NAME)
    }

    /// The set without the labels that `drop` names; shares memory when nothing is dropped.
    pub fn without(&self, drop: impl Fn(&str) -> bool) -> Labels {
        let is_dropped = |name: &[u8]| std::str::from_utf8(name).is_ok_and(&drop);
        if !self.raw().any(|label| is_dropped(label.name)) {
            return self.clone();
        }
        self.only(|name| !is_dropped(name))
    }

    /// The set of those labels whose names `keep` accepts.
    pub fn only(&self, keep: impl FnMut(&[u8]) -> bool) -> Labels {
        let mut bytes = Vec::with_capacity(self.as_bytes().len());
        self.push_only(keep, &mut bytes);
        Labels::of_canonical(&bytes)
    }

    /// The set without the labels whose names `take` accepts, but with those of them that `other` has.
    pub fn with_from(&self, other: &Labels, take: impl Fn(&[u8]) -> bool) -> Labels {
        let mut bytes = Vec::with_capacity(self.as_bytes().len() + other.as_bytes().len());
        let mut taken = other.raw().filter(|label| take(label.name)).peekable();
        for own in self.raw().filter(|label| !take(label.name)) {
            while let Some(label) = taken.next_if(|label| label.name < own.name) {
                bytes.extend_from_slice(label.field);
            }
            bytes.extend_from_slice(own.field);
        }
        taken.for_each(|label| bytes.extend_from_slice(label.field));
        Labels::of_canonical(&bytes)
    }

    /// Appends the canonical bytes of those labels whose names `keep` accepts. It is asked in ascending order.
    pub fn push_only(&self, mut keep: impl FnMut(&[u8]) -> bool, out: &mut Vec<u8>) {
        self.raw().filter(|label| keep(label.name)).for_each(|label| out.extend_from_slice(label.field));
    }

    fn raw(&self) -> RawIter<'_> {
        RawIter::over(self.as_bytes())
    }
}

impl PartialOrd for Labels {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// Prometheus' order: label by label, by name, then by value; a prefix comes first.
impl Ord for Labels {
    fn cmp(&self, other: &Self) -> Ordering {
        // Texts compare as their bytes do.
        self.raw().map(|label| (label.name, label.value)).cmp(other.raw().map(|label| (label.name, label.value)))
    }
}

/// As Prometheus writes it: `name{a="x", b="y"}`.
impl fmt::Display for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{{")?;
        for (i, (name, value)) in self.iter().enumerate() {
            let separator = if i == 0 { "" } else { ", " };
            write!(f, "{separator}{name}={value:?}")?;
        }
        write!(f, "}}")
    }
}

impl fmt::Debug for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
