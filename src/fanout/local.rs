//! The store of one process as the source of its queries.

use std::collections::BTreeMap;
use std::sync::Arc;

use marigram_query::source::{Changes, Source};
use marigram_storage::Result;
use marigram_storage::context::Context;
use marigram_storage::db::{Db, Settled};
use marigram_storage::model::labels::Labels;
use marigram_storage::model::matcher::Matcher;
use marigram_storage::model::time::TimeRange;
use marigram_storage::select::{SelectRequest, SeriesStream};
use marigram_storage::write::MetadataEntry;

/// The store of this process as the engine's source.
#[derive(Clone)]
pub struct Local(pub Arc<Db>);

impl Changes for Local {
    fn settle(&self, context: &Context, up_to_ms: i64) -> Option<Settled> {
        Some(self.0.settle(context.tenant(), up_to_ms))
    }
}

impl Source for Local {
    fn select(&self, context: &Context, request: SelectRequest<'_>) -> Result<Box<dyn SeriesStream>> {
        self.0.select(context, request)
    }

    fn series(
        &self,
        context: &Context,
        selectors: &[Vec<Matcher>],
        range: TimeRange,
        limit: usize,
    ) -> Result<Vec<Labels>> {
        self.0.series(context, selectors, range, limit)
    }

    fn label_names(
        &self,
        context: &Context,
        selectors: &[Vec<Matcher>],
        range: TimeRange,
        limit: usize,
    ) -> Result<Vec<String>> {
        self.0.label_names(context, selectors, range, limit)
    }

    fn label_values(
        &self,
        context: &Context,
        name: &str,
        selectors: &[Vec<Matcher>],
        range: TimeRange,
        limit: usize,
    ) -> Result<Vec<String>> {
        self.0.label_values(context, name, selectors, range, limit)
    }

    fn metadata(&self, context: &Context) -> Result<BTreeMap<String, Vec<MetadataEntry>>> {
        Ok(self.0.metadata(context.tenant()))
    }
}
