//! Doors for the fuzz targets to decoders that are not public. Built for fuzzing and tests only.

use bytes::Bytes;

use crate::index::{IndexFile, TenantIndex};
use crate::model::matcher::{MatchOp, Matcher};
use crate::model::time::TimeRange;

/// As long is the chunks file that the index speaks of: every chunk takes some of it, so this bounds the work.
const CHUNKS_BYTES: u64 = 1 << 20;

/// Opens an index file of any bytes and uses all of it.
pub fn index(bytes: &[u8]) {
    let Ok(index) = IndexFile::open("index", &Bytes::copy_from_slice(bytes), CHUNKS_BYTES) else {
        return;
    };
    for (_, tenant) in index.tenants() {
        let (mut cursor, mut chunks, mut before) = (tenant.cursor(), Vec::new(), None);
        for series in 0..tenant.series_count() {
            let Ok((labels, id)) = tenant.labels(series) else { continue };
            assert_eq!(labels.id(), id, "labels are checked against the id");
            if cursor.seek(series).is_ok() {
                assert_eq!(cursor.label_bytes().ok(), Some(labels.as_bytes()), "a walk sees what a look-up does");
                if cursor.chunks(TimeRange::ALL, &mut chunks).is_ok() {
                    chunks.iter().for_each(|chunk| drop(cursor.times(chunk)));
                }
            }
            assert!(before.is_none_or(|before| before < labels), "series are in label order");
            before = Some(labels);
        }
        if let Ok(names) = tenant.label_names(&[], TimeRange::ALL) {
            names.iter().for_each(|name| values(tenant, name));
        }
    }
}

fn values(tenant: &TenantIndex, name: &str) {
    let Ok(values) = tenant.label_values(name, &[], TimeRange::ALL) else { return };
    assert!(values.is_sorted_by(|a, b| a < b), "values are in order");
    for value in &values {
        let Ok(matcher) = Matcher::new(name, MatchOp::NotEqual, value) else { continue };
        if let Ok(others) = tenant.select(&[matcher], TimeRange::ALL) {
            assert!(others.max().is_none_or(|max| max < tenant.series_count()), "series are in range");
        }
        if let Ok(found) = tenant.select(&[Matcher::equal(name, value)], TimeRange::ALL) {
            assert!(!found.is_empty(), "every value is found by its text");
        }
    }
}
