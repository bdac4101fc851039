//! Columns of a chunk: timestamps and values, each a run of bytes of its own. `docs/format/chunk.md` has the bytes.
//!
//! From the outside in: [`times`], [`starts`] and [`values`] turn what they hold into [`integers`]; these choose an order of
//! differences and become a [`sequence`]; a sequence is one number, sparse, packed at one width ([`packing`]) or coded by
//! [`classes`] ([`coded`], [`huffman`], [`bitstream`]).

mod bitstream;
mod classes;
mod coded;
pub(super) mod decimal;
mod distinct;
mod huffman;
mod integers;
mod packing;
mod quotient;
mod sequence;
mod specials;
pub(super) mod starts;
pub(super) mod times;
pub(super) mod values;
