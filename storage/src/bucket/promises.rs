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

/// Puts an object that is larger than what goes into one request.
pub(super) fn large_objects_come_back_whole(bucket: &dyn Bucket) {
    let bytes: Vec<u8> = (0..(33 << 20) + 77u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let bytes = Bytes::from(bytes);
    bucket.put("large/chunks", bytes.clone()).unwrap();
    assert!(bucket.get("large/chunks").unwrap().unwrap() == bytes);
    let ends = (16 << 20) - 3..(16 << 20) + 5;
    let part = bucket.get_range("large/chunks", ends.start as u64..ends.end as u64).unwrap().unwrap();
    assert_eq!(part, bytes.slice(ends));
}

/// Lets several threads put the same names.
pub(super) fn of_many_writers_of_a_name_one_wins(bucket: &dyn Bucket) {
    for round in 0..20 {
        let key = format!("race/{round}");
        let put = |writer: usize| bucket.put_if_absent(&key, Bytes::from(format!("by {writer}")));
        let outcomes: Vec<_> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..6).map(|writer| scope.spawn(move || put(writer))).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        let winners: Vec<usize> = (0..6).filter(|writer| matches!(outcomes[*writer], Ok(true))).collect();
        assert_eq!(winners.len(), 1, "{outcomes:?}");
        assert_eq!(bucket.get(&key).unwrap().unwrap(), format!("by {}", winners[0]));
    }
}
