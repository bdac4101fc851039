//! A remote-read request of any bytes, against a source without data.
#![no_main]

use std::collections::BTreeMap;
use std::sync::Arc;

use libfuzzer_sys::fuzz_target;
use marigram::remote_read::{answer, decode};
use marigram::remote_read_chunks;
use marigram_query::source::Source;
use marigram_storage::Result;
use marigram_storage::context::Context;
use marigram_storage::env::ManualClock;
use marigram_storage::model::labels::Labels;
use marigram_storage::model::matcher::Matcher;
use marigram_storage::model::tenant::TenantId;
use marigram_storage::model::time::TimeRange;
use marigram_storage::select::{SelectRequest, SeriesBatch, SeriesStream};
use marigram_storage::write::MetadataEntry;

struct Nothing;

impl SeriesStream for Nothing {
    fn next_batch(&mut self) -> Result<Option<SeriesBatch>> {
        Ok(None)
    }
}

impl Source for Nothing {
    fn select(&self, _: &Context, _: SelectRequest<'_>) -> Result<Box<dyn SeriesStream>> {
        Ok(Box::new(Nothing))
    }

    fn series(&self, _: &Context, _: &[Vec<Matcher>], _: TimeRange, _: usize) -> Result<Vec<Labels>> {
        Ok(Vec::new())
    }

    fn label_names(&self, _: &Context, _: &[Vec<Matcher>], _: TimeRange, _: usize) -> Result<Vec<String>> {
        Ok(Vec::new())
    }

    fn label_values(&self, _: &Context, _: &str, _: &[Vec<Matcher>], _: TimeRange, _: usize) -> Result<Vec<String>> {
        Ok(Vec::new())
    }

    fn metadata(&self, _: &Context) -> Result<BTreeMap<String, Vec<MetadataEntry>>> {
        Ok(BTreeMap::new())
    }
}

fuzz_target!(|body: &[u8]| {
    let context = Context::new(TenantId::default(), Arc::new(ManualClock::new(0)), None, 1 << 20);
    let _ = answer(body, &Nothing, &context, 1000);
    // A literal run around the body makes every body valid Snappy.
    let framed = snap::raw::Encoder::new().compress_vec(body).unwrap();
    let _ = answer(&framed, &Nothing, &context, 1000);
    if let Ok(request) = decode(&framed) {
        let _ = remote_read_chunks::answer(&request, &Nothing, &context, &mut |_| Ok(()));
    }
});
