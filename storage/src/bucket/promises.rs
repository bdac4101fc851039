//! What every bucket promises, as one check for all of them. The server's buckets are checked by this same file.

use bytes::Bytes;

use super::Bucket;

/// Checks an empty bucket.
pub(super) fn keeps_its_promises(bucket: &dyn Bucket) {
    let keys = |prefix: &str| {
        let mut keys: Vec<_> = bucket.list(prefix).unwrap().into_iter().map(|o| (o.key, o.size_bytes)).collect();
        keys.sort();
        keys
    };
    assert_eq!(bucket.get("a/x").unwrap(), None);
    assert_eq!(bucket.get_range("a/x", 0..3).unwrap(), None);
    assert_eq!(bucket.get_ranges("a/x", &[0..3, 5..6], None).unwrap(), None);
    assert!(keys("a/").is_empty());
    bucket.delete("a/x").unwrap();
    assert!(bucket.put_if_absent("a/x", Bytes::from_static(b"one")).unwrap());
    assert!(!bucket.put_if_absent("a/x", Bytes::from_static(b"another")).unwrap());
    assert!(bucket.put_if_absent("a/deep/y", Bytes::new()).unwrap());
    assert!(bucket.put_if_absent("b/x", Bytes::from_static(b"22")).unwrap());
    assert!(bucket.put_if_absent("ab/x", Bytes::from_static(b"333")).unwrap());
    assert_eq!(bucket.get("a/x").unwrap().unwrap(), "one");
    assert_eq!(bucket.get("a/deep/y").unwrap().unwrap(), "");
    assert_eq!(keys("a/"), [("a/deep/y".to_owned(), 0), ("a/x".to_owned(), 3)]);
    bucket.delete("a/x").unwrap();
    assert_eq!(bucket.get("a/x").unwrap(), None);
    assert!(bucket.put_if_absent("a/x", Bytes::from_static(b"two")).unwrap());
    assert_eq!(bucket.get("a/x").unwrap().unwrap(), "two");
    ranges_are_cut_at_the_end(bucket);
}

fn ranges_are_cut_at_the_end(bucket: &dyn Bucket) {
    bucket.put("r/x", Bytes::from_static(b"0123456789")).unwrap();
    bucket.put("r/x", Bytes::from_static(b"0123456789")).unwrap();
    let range = |start, end| bucket.get_range("r/x", start..end).unwrap().unwrap();
    assert_eq!(range(0, 10), "0123456789");
    assert_eq!(range(3, 4), "3");
    assert_eq!(range(8, 12), "89");
    assert_eq!(range(10, 12), "");
    assert_eq!(range(1 << 40, 1 << 41), "");
    let some = [4..6, 0..1, 9..20, 30..31];
    let got = bucket.get_ranges("r/x", &some, Some(std::time::Duration::from_secs(60))).unwrap().unwrap();
    assert_eq!(got, ["45", "0", "9", ""]);
    assert!(bucket.get_ranges("r/x", &[], None).unwrap().is_none_or(|none| none.is_empty()));
}
