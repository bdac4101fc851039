//! The catalog: which blocks count. `catalog/<20-digit number>.json`, each a whole state; the highest number is the
//! newest. `docs/format/catalog.md` has the document.

mod document;
mod store;

pub use document::{Catalog, CatalogBlock, Contents};
pub use store::{Attempt, CatalogStore, Outcome};

/// So many commit ids of ancestors does a catalog carry.
const ANCESTORS_MAX: usize = 1000;
/// So many of the newest catalogs are never swept.
const KEPT_MIN: usize = 1000;
/// A catalog that was the newest within this time is never swept.
const KEPT_MS: i64 = 3_600_000;

/// Every id that [`CatalogStore::commit`] may look for among the ancestors must still be there while its catalog is.
const _: () = assert!(ANCESTORS_MAX >= KEPT_MIN);

#[cfg(test)]
mod tests;
