//! The protobuf fields that labels are made of.

/// Tag of a `Label` message inside a remote-write `TimeSeries` (field 1, length-delimited).
pub(super) const TAG_LABEL: u8 = 0x0a;
/// Tag of `Label.name` (field 1, length-delimited).
pub(super) const TAG_NAME: u8 = 0x0a;
/// Tag of `Label.value` (field 2, length-delimited).
pub(super) const TAG_VALUE: u8 = 0x12;

/// The field of one label.
pub(crate) fn field_of(name: &str, value: &str) -> Vec<u8> {
    let mut field = Vec::with_capacity(name.len() + value.len() + 10);
    push_label(&mut field, name, value);
    field
}

pub(super) fn push_label(out: &mut Vec<u8>, name: &str, value: &str) {
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
pub(super) fn take_field(bytes: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
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
