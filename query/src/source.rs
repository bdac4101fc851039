//! The one door between the engine and whatever holds the data: a node's own store, or all replicas and the bucket.

use std::collections::BTreeMap;

use marigram_storage::Result;
use marigram_storage::context::Context;
use marigram_storage::db::Settled;
use marigram_storage::model::labels::Labels;
use marigram_storage::model::matcher::Matcher;
use marigram_storage::model::time::TimeRange;
use marigram_storage::select::{SelectRequest, SeriesStream};
use marigram_storage::write::MetadataEntry;

/// Tells what has changed in the data of a source, so that answers can be kept.
pub trait Changes: Send + Sync {
    /// Has changes of the tenant's samples up to this time noted from now on, and tells of those so far. A change is noted before it can
    /// be seen, and again when all of it can. `None`: not all changes can be known now. May block, for as long as the context allows.
    fn settle(&self, context: &Context, up_to_ms: i64) -> Option<Settled>;
}

/// Where series come from. All calls block, and see only the context's tenant.
pub trait Source: Send + Sync {
    /// The matching series with their chunks, ascending by id and replica. Everything that was acknowledged before the call is in it.
    fn select(&self, context: &Context, request: SelectRequest<'_>) -> Result<Box<dyn SeriesStream>>;

    /// Label sets of the series that match any of `selectors` (all matchers of one must match) and have samples near
    /// `range`; sorted, without duplicates, at most `limit` of them (0: all). No selector: every series.
    fn series(
        &self,
        context: &Context,
        selectors: &[Vec<Matcher>],
        range: TimeRange,
        limit: usize,
    ) -> Result<Vec<Labels>>;

    /// Names of the labels of those series, sorted.
    fn label_names(
        &self,
        context: &Context,
        selectors: &[Vec<Matcher>],
        range: TimeRange,
        limit: usize,
    ) -> Result<Vec<String>>;

    /// Values of the label `name` of those series, sorted.
    fn label_values(
        &self,
        context: &Context,
        name: &str,
        selectors: &[Vec<Matcher>],
        range: TimeRange,
        limit: usize,
    ) -> Result<Vec<String>>;

    /// Type, help and unit of the tenant's metric families.
    fn metadata(&self, context: &Context) -> Result<BTreeMap<String, Vec<MetadataEntry>>>;
}
