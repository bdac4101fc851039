//! Walking the bytes of a canonical label set.

use super::field::{TAG_LABEL, TAG_NAME, TAG_VALUE, take_field};

/// Walks the labels of a canonical label set.
#[derive(Clone)]
pub struct LabelIter<'a> {
    raw: RawIter<'a>,
}

impl<'a> LabelIter<'a> {
    /// The labels in bytes that [`check_canonical`](super::check_canonical) has accepted. Other bytes end the walk early.
    pub fn over(canonical: &'a [u8]) -> Self {
        LabelIter { raw: RawIter::over(canonical) }
    }
}

impl<'a> Iterator for LabelIter<'a> {
    type Item = (&'a str, &'a str);

    fn next(&mut self) -> Option<Self::Item> {
        let RawLabel { name, value, .. } = self.raw.next()?;
        Some((std::str::from_utf8(name).ok()?, std::str::from_utf8(value).ok()?))
    }
}

/// The bytes of a label.
pub(super) struct RawLabel<'a> {
    /// All of it, with its tag and length.
    pub(super) field: &'a [u8],
    pub(super) name: &'a [u8],
    pub(super) value: &'a [u8],
}

/// Walks the labels of a canonical label set without looking whether they are texts.
#[derive(Clone)]
pub(super) struct RawIter<'a> {
    rest: &'a [u8],
}

impl<'a> RawIter<'a> {
    pub(super) fn over(canonical: &'a [u8]) -> Self {
        RawIter { rest: canonical }
    }
}

impl<'a> Iterator for RawIter<'a> {
    type Item = RawLabel<'a>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let (label, rest) = take_field(self.rest, TAG_LABEL)?;
        let field = self.rest.get(..self.rest.len() - rest.len())?;
        self.rest = rest;
        let (name, after_name) = take_field(label, TAG_NAME)?;
        let (value, _) = take_field(after_name, TAG_VALUE)?;
        Some(RawLabel { field, name, value })
    }
}

/// Walks the `labels` fields of a canonical label set, each with its tag and length.
#[derive(Clone)]
pub(crate) struct FieldIter<'a> {
    rest: &'a [u8],
}

impl<'a> FieldIter<'a> {
    /// The fields in bytes that [`check_canonical`](super::check_canonical) has accepted. Other bytes end the walk early.
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
