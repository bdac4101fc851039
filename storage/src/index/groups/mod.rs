//! The series of a tenant in a block, in label order, in groups of 64 that are columns of numbers. `docs/format/index.md`
//! has the bytes.
//!
//! 1. A *shape* is the set of names that a series has. A group names the shapes of its series; a series is a shape and,
//!    for each of its names, the rank of the value among the name's values.
//! 2. Neighbours in label order share most values, so that a column of ranks is one number, or numbers of few bits.
//! 3. One name of the tenant, the *root*, says most about the others: it is the pod, or the instance. A table gives for each
//!    of its values the value of another name that goes along with it; a column that is as the table says takes no bytes. The
//!    columns of timestamps are treated in the same way.
//! 4. Chunks lie in the file in the order of their series, so their lengths say where; small ones stand here instead.

mod reader;
mod walk;
mod writer;

pub(super) use reader::{Group, GroupsTable};
pub(super) use walk::ChunkWalk;
pub(super) use writer::{GroupsWriter, SeriesToWrite};

/// Series of a group.
pub(super) const GROUP_SERIES: u32 = 64;
/// A chunk that is not longer stands in the index, without a checksum of its own.
pub(crate) const INLINE_BYTES_MAX: usize = 12;
/// Instead of a width: the column is as the root predicts.
const PREDICTED: u8 = 0x40;
/// Numbers before the first table.
const HEADER_BYTES: usize = 12;
