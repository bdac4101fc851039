//! Indexes: from matchers to series. [`PostingsIndex`] lives in a head and changes; a block's index is a file that is
//! built once and read in place (`docs/format/index.md`). Both answer through one algorithm, `matching`.

mod matching;
mod postings;

pub use postings::PostingsIndex;

#[cfg(test)]
mod suite;
