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

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use xxhash_rust::xxh3::xxh3_128;

/// The label that holds the metric's name.
pub const METRIC_NAME: &str = "__name__";

/// Tag of a `Label` message inside a remote-write `TimeSeries` (field 1, length-delimited).
const TAG_LABEL: u8 = 0x0a;
/// Tag of `Label.name` (field 1, length-delimited).
const TAG_NAME: u8 = 0x0a;
/// Tag of `Label.value` (field 2, length-delimited).
const TAG_VALUE: u8 = 0x12;

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
        LabelIter { rest: self.as_bytes() }
    }

    /// The value of the label `name`, or `None` where the set lacks it.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.iter().find(|(n, _)| *n == name).map(|(_, v)| v)
    }

    /// The metric's name, or `None`.
    pub fn metric_name(&self) -> Option<&str> {
        self.get(METRIC_NAME)
    }

    /// The set without the labels that `drop` names; shares memory when nothing is dropped.
    pub fn without(&self, drop: impl Fn(&str) -> bool) -> Labels {
        if !self.iter().any(|(n, _)| drop(n)) {
            return self.clone();
        }
        self.only(|name| std::str::from_utf8(name).is_ok_and(|name| !drop(name)))
    }

    /// The set of those labels whose names `keep` accepts.
    pub fn only(&self, keep: impl FnMut(&[u8]) -> bool) -> Labels {
        let mut bytes = Vec::with_capacity(self.as_bytes().len());
        self.push_only(keep, &mut bytes);
        Labels::of_canonical(&bytes)
    }

    /// Appends the canonical bytes of those labels whose names `keep` accepts. It is asked in ascending order.
    pub fn push_only(&self, mut keep: impl FnMut(&[u8]) -> bool, out: &mut Vec<u8>) {
        let mut rest = self.as_bytes();
        while let Some((label, after)) = take_field(rest, TAG_LABEL)
            && let Some((name, _)) = take_field(label, TAG_NAME)
        {
            if keep(name) {
                out.extend_from_slice(rest.get(..rest.len() - after.len()).unwrap_or_default());
            }
            rest = after;
        }
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
        self.iter().cmp(other.iter())
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

/// Walks the labels of a canonical label set.
#[derive(Clone)]
pub struct LabelIter<'a> {
    rest: &'a [u8],
}

impl<'a> LabelIter<'a> {
    /// The labels in bytes that [`check_canonical`] has accepted. Other bytes end the walk early.
    pub fn over(canonical: &'a [u8]) -> Self {
        LabelIter { rest: canonical }
    }
}

impl<'a> Iterator for LabelIter<'a> {
    type Item = (&'a str, &'a str);

    fn next(&mut self) -> Option<Self::Item> {
        let (label, rest) = take_field(self.rest, TAG_LABEL)?;
        self.rest = rest;
        let (name, after_name) = take_field(label, TAG_NAME)?;
        let (value, _) = take_field(after_name, TAG_VALUE)?;
        Some((std::str::from_utf8(name).ok()?, std::str::from_utf8(value).ok()?))
    }
}

/// Walks the `labels` fields of a canonical label set, each with its tag and length.
#[derive(Clone)]
pub(crate) struct FieldIter<'a> {
    rest: &'a [u8],
}

impl<'a> FieldIter<'a> {
    /// The fields in bytes that [`check_canonical`] has accepted. Other bytes end the walk early.
    pub(crate) fn over(canonical: &'a [u8]) -> Self {
        FieldIter { rest: canonical }
    }
}

impl<'a> Iterator for FieldIter<'a> {
    type Item = &'a [u8];

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let (_, rest) = take_field(self.rest, TAG_LABEL)?;
        let field = self.rest.get(..self.rest.len() - rest.len())?;
        self.rest = rest;
        Some(field)
    }
}

/// The field of one label.
pub(crate) fn field_of(name: &str, value: &str) -> Vec<u8> {
    let mut field = Vec::with_capacity(name.len() + value.len() + 10);
    push_label(&mut field, name, value);
    field
}

/// Accepts exactly the canonical form, without requiring a metric name.
///
/// # Errors
/// The first reason why `bytes` is not canonical.
pub fn check_canonical(bytes: &[u8]) -> Result<(), LabelError> {
    let mut rest = bytes;
    let mut previous: Option<&[u8]> = None;
    while !rest.is_empty() {
        let (label, after) = take_field(rest, TAG_LABEL).ok_or(LabelError::Malformed)?;
        let (name, tail) = take_field(label, TAG_NAME).ok_or(LabelError::Malformed)?;
        let (value, end) = take_field(tail, TAG_VALUE).ok_or(LabelError::Malformed)?;
        if name.is_empty() {
            return Err(LabelError::EmptyName);
        }
        if value.is_empty() || !end.is_empty() {
            return Err(LabelError::Malformed);
        }
        for text in [name, value] {
            if std::str::from_utf8(text).is_err() {
                return Err(LabelError::NotUtf8(readable(name)));
            }
        }
        match previous.map(|p| p.cmp(name)) {
            Some(Ordering::Equal) => {
                return Err(LabelError::DuplicateName(readable(name)));
            }
            Some(Ordering::Greater) => return Err(LabelError::Malformed),
            Some(Ordering::Less) | None => {}
        }
        previous = Some(name);
        rest = after;
    }
    Ok(())
}

/// Normalises labels as they came: drops empty values, sorts by name bytes, and appends the canonical bytes
/// to `out`.
///
/// # Errors
/// Duplicate names, an empty name, no metric name, not UTF-8; `out` is then unchanged.
pub fn normalise(labels: &mut Vec<(&[u8], &[u8])>, out: &mut Vec<u8>) -> Result<(), LabelError> {
    for (name, value) in labels.iter() {
        for text in [name, value] {
            if std::str::from_utf8(text).is_err() {
                return Err(LabelError::NotUtf8(readable(name)));
            }
        }
        if name.is_empty() {
            return Err(LabelError::EmptyName);
        }
    }
    labels.retain(|(_, value)| !value.is_empty());
    labels.sort_unstable_by_key(|(name, _)| *name);
    if let Some(pair) = labels.windows(2).find(|pair| pair[0].0 == pair[1].0) {
        return Err(LabelError::DuplicateName(readable(pair[0].0)));
    }
    if !labels.iter().any(|(name, _)| *name == METRIC_NAME.as_bytes()) {
        return Err(LabelError::NoMetricName);
    }
    for (name, value) in labels.iter() {
        push_label_bytes(out, name, value);
    }
    Ok(())
}

/// Builds a label set label by label, in any order.
#[derive(Default, Clone)]
pub struct LabelsBuilder {
    pairs: Vec<(String, String)>,
}

impl LabelsBuilder {
    /// Starts from an existing set.
    pub fn from_labels(labels: &Labels) -> Self {
        LabelsBuilder { pairs: labels.iter().map(|(n, v)| (n.to_owned(), v.to_owned())).collect() }
    }

    /// Sets a label; an empty value removes it.
    pub fn set(&mut self, name: &str, value: &str) -> &mut Self {
        match self.pairs.binary_search_by(|(n, _)| n.as_str().cmp(name)) {
            Ok(at) if value.is_empty() => {
                self.pairs.remove(at);
            }
            Ok(at) => value.clone_into(&mut self.pairs[at].1),
            Err(_) if value.is_empty() => {}
            Err(at) => self.pairs.insert(at, (name.to_owned(), value.to_owned())),
        }
        self
    }

    /// Removes a label.
    pub fn remove(&mut self, name: &str) -> &mut Self {
        self.set(name, "")
    }

    /// The value set so far.
    pub fn get(&self, name: &str) -> Option<&str> {
        let at = self.pairs.binary_search_by(|(n, _)| n.as_str().cmp(name)).ok()?;
        Some(&self.pairs[at].1)
    }

    /// The label set.
    pub fn build(&self) -> Labels {
        let mut bytes = Vec::new();
        for (name, value) in &self.pairs {
            push_label(&mut bytes, name, value);
        }
        Labels::of_canonical(&bytes)
    }
}

/// A name from a stranger for an error's text: its first bytes, however long it is.
fn readable(name: &[u8]) -> String {
    const BYTES_MAX: usize = 128;
    String::from_utf8_lossy(name.get(..BYTES_MAX).unwrap_or(name)).into_owned()
}

fn push_label(out: &mut Vec<u8>, name: &str, value: &str) {
    push_label_bytes(out, name.as_bytes(), value.as_bytes());
}

/// Appends the canonical bytes of one label.
pub(crate) fn push_label_bytes(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    let inner = 2 + varint_len(name.len()) + name.len() + varint_len(value.len()) + value.len();
    out.push(TAG_LABEL);
    push_varint(out, inner);
    out.push(TAG_NAME);
    push_varint(out, name.len());
    out.extend_from_slice(name);
    out.push(TAG_VALUE);
    push_varint(out, value.len());
    out.extend_from_slice(value);
}

fn push_varint(out: &mut Vec<u8>, mut value: usize) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn varint_len(value: usize) -> usize {
    (usize::BITS - (value | 1).leading_zeros()).div_ceil(7) as usize
}

/// Splits `tag`, a minimal varint length, and that many bytes off the front.
fn take_field(bytes: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (&first, mut rest) = bytes.split_first()?;
    if first != tag {
        return None;
    }
    let mut length = 0usize;
    for shift in (0..32).step_by(7) {
        let (&byte, after) = rest.split_first()?;
        rest = after;
        length |= ((byte & 0x7f) as usize) << shift;
        if byte & 0x80 == 0 {
            if byte == 0 && shift > 0 {
                return None; // a longer varint than needed: the same labels would have two byte forms
            }
            return rest.split_at_checked(length);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn pairs() -> impl Strategy<Value = Vec<(String, String)>> {
        proptest::collection::vec(("[a-zA-Z_]{0,3}|.{1,140}", ".{0,3}|.{120,140}"), 0..6)
    }

    proptest! {
        #[test]
        fn normalised_labels_are_canonical_and_read_back(input in pairs()) {
            let mut raw: Vec<_> = input.iter().map(|(n, v)| (n.as_bytes(), v.as_bytes())).collect();
            raw.push((b"__name__", b"up"));
            let mut out = Vec::new();
            if normalise(&mut raw, &mut out).is_ok() {
                let labels = Labels::from_canonical(&out).unwrap();
                let mut expected: Vec<_> = input.iter().filter(|(_, v)| !v.is_empty())
                    .map(|(n, v)| (n.as_str(), v.as_str())).chain([("__name__", "up")]).collect();
                expected.sort_unstable();
                prop_assert_eq!(labels.iter().collect::<Vec<_>>(), expected.clone());
                let rebuilt = Labels::from_pairs(expected);
                prop_assert_eq!(rebuilt.as_bytes(), &out[..]);
                prop_assert_eq!(rebuilt.id(), SeriesId::of(&out));
            } else {
                prop_assert!(out.is_empty());
            }
        }

        #[test]
        fn arbitrary_bytes_are_canonical_only_if_rebuilding_gives_them(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
            if let Ok(labels) = Labels::from_canonical(&bytes) {
                let rebuilt = Labels::from_pairs(labels.iter());
                prop_assert_eq!(rebuilt.as_bytes(), &bytes[..]);
            }
        }
    }

    proptest! {
        #[test]
        fn a_part_of_a_set_is_the_set_of_those_pairs(input in pairs(), drop in "[a-zA-Z_]{0,3}") {
            let input = input.iter().map(|(n, v)| (n.as_str(), v.as_str())).filter(|(n, _)| !n.is_empty());
            let labels = Labels::from_pairs(input);
            let expected = Labels::from_pairs(labels.iter().filter(|(n, _)| *n != drop));
            prop_assert_eq!(labels.without(|name| name == drop), expected.clone());
            prop_assert_eq!(labels.only(|name| name != drop.as_bytes()), expected.clone());
            prop_assert_eq!(expected.is_empty(), expected == Labels::default());
            let hash = |of: &dyn Fn(&mut std::hash::DefaultHasher)| {
                let mut hasher = std::hash::DefaultHasher::new();
                of(&mut hasher);
                hasher.finish()
            };
            prop_assert_eq!(hash(&|hasher| labels.hash(hasher)), hash(&|hasher| labels.as_bytes().hash(hasher)));
        }
    }

    #[test]
    fn refusals_name_their_reason() {
        let mut out = Vec::new();
        let name: (&[u8], &[u8]) = (b"__name__", b"up");
        assert_eq!(normalise(&mut vec![(b"a", b"1")], &mut out), Err(LabelError::NoMetricName));
        assert_eq!(normalise(&mut vec![name, (b"", b"1")], &mut out), Err(LabelError::EmptyName));
        assert_eq!(
            normalise(&mut vec![name, (b"a", b"1"), (b"a", b"2")], &mut out),
            Err(LabelError::DuplicateName("a".into()))
        );
        assert!(matches!(normalise(&mut vec![name, (b"a", b"\xff")], &mut out), Err(LabelError::NotUtf8(_))));
        assert_eq!(normalise(&mut vec![name, (b"a", b""), (b"a", b"1")], &mut out), Ok(()));
    }
}
