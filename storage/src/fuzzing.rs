//! Doors for the fuzz targets to decoders that are not public. Built for fuzzing and tests only.

use bytes::Bytes;

use crate::index::IndexFile;
use crate::index::matching::{self, Postings};
use crate::model::matcher::{MatchOp, Matcher};

/// Opens an index file of any bytes and uses all of it.
pub fn index(bytes: &[u8]) {
    let Ok(index) = IndexFile::open("index", &Bytes::copy_from_slice(bytes), u64::from(u32::MAX)) else {
        return;
    };
    for (_, tenant) in index.tenants() {
        for series in 0..tenant.series_count() {
            if let Ok((labels, id)) = tenant.labels(series) {
                assert_eq!(labels.id(), id, "labels are checked against the id");
            }
            if let Ok(chunks) = tenant.chunks(series) {
                chunks.for_each(drop);
            }
        }
        for (text, name) in tenant.names().flatten() {
            let _ = tenant.name_series(name);
            for (value, place) in tenant.values_from(name, "").flatten() {
                let _ = tenant.value_series(place);
                let found = tenant.value(name, value);
                assert!(matches!(found, Ok(Some(_))), "every value is found by its text");
                let Ok(matcher) = Matcher::new(text, MatchOp::NotEqual, value) else { continue };
                if let Ok(selected) = matching::select(tenant, &[matcher]) {
                    assert!(selected.max().is_none_or(|max| max < tenant.series_count()), "series are in range");
                }
            }
        }
    }
}
