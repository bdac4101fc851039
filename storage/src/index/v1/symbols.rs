//! The symbols of a tenant: every label name and value once, in ascending order, found by number at once and by text
//! in a binary search. Orders of texts are therefore orders of numbers.

use bytes::Bytes;

use crate::format::binary::u32_at;

/// Symbols in place.
#[derive(Clone, Debug)]
pub(super) struct Symbols {
    count: u32,
    ends: Bytes,
    texts: Bytes,
}

impl Symbols {
    /// Checks the payload of a section: offsets in order, texts UTF-8, not empty, ascending.
    pub(super) fn open(payload: Bytes) -> Option<Self> {
        let count = u32_at(&payload, 0)?;
        let texts_at = (count as usize).checked_add(2)?.checked_mul(4)?;
        if payload.len() < texts_at {
            return None;
        }
        let symbols = Symbols { count, ends: payload.slice(4..texts_at), texts: payload.slice(texts_at..) };
        let mut previous = "";
        for number in 0..count {
            let symbol = symbols.get(number)?;
            if symbol <= previous {
                return None;
            }
            previous = symbol;
        }
        let end = u32_at(&symbols.ends, count as usize * 4)?;
        (u32_at(&symbols.ends, 0)? == 0 && end as usize == symbols.texts.len()).then_some(symbols)
    }

    /// How many there are.
    pub(super) fn count(&self) -> u32 {
        self.count
    }

    /// The text of a symbol.
    pub(super) fn get(&self, number: u32) -> Option<&str> {
        let at = number as usize * 4;
        let (start, end) = (u32_at(&self.ends, at)?, u32_at(&self.ends, at + 4)?);
        std::str::from_utf8(self.texts.get(start as usize..end as usize)?).ok()
    }

    /// The number of the first symbol that is not less than `text`; the count if there is none.
    pub(super) fn lower_bound(&self, text: &str) -> u32 {
        let (mut low, mut high) = (0, self.count);
        while low < high {
            let middle = low + (high - low) / 2;
            match self.get(middle) {
                Some(symbol) if symbol < text => low = middle + 1,
                _ => high = middle,
            }
        }
        low
    }

    /// The number of a text.
    pub(super) fn find(&self, text: &str) -> Option<u32> {
        let number = self.lower_bound(text);
        (self.get(number)? == text).then_some(number)
    }
}
