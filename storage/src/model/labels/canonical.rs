//! The canonical form: who has it, and how others come to it.

use std::cmp::Ordering;

use super::field::{TAG_LABEL, TAG_NAME, TAG_VALUE, push_label_bytes, take_field};
use super::{LabelError, METRIC_NAME};

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

/// A name from a stranger for an error's text: its first bytes, however long it is.
fn readable(name: &[u8]) -> String {
    const BYTES_MAX: usize = 128;
    String::from_utf8_lossy(name.get(..BYTES_MAX).unwrap_or(name)).into_owned()
}
