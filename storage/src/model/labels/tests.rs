use super::*;
use proptest::prelude::*;

fn pairs() -> impl Strategy<Value = Vec<(String, String)>> {
    proptest::collection::vec(("[a-zA-Z_]{0,3}|.{1,140}", ".{0,3}|.{120,140}"), 0..6)
}

proptest! {
    #[test]
    fn normalised_labels_are_canonical_and_read_back(input in pairs()) {
        let mut raw: Vec<_> = input.iter().map(|(n, v)| (n.as_bytes(), v.as_bytes())).collect();
        raw.push((b"__name__", b"up"));
        let mut out = Vec::new();
        if normalise(&mut raw, &mut out).is_ok() {
            let labels = Labels::from_canonical(&out).unwrap();
            let mut expected: Vec<_> = input.iter().filter(|(_, v)| !v.is_empty())
                .map(|(n, v)| (n.as_str(), v.as_str())).chain([("__name__", "up")]).collect();
            expected.sort_unstable();
            prop_assert_eq!(labels.iter().collect::<Vec<_>>(), expected.clone());
            let rebuilt = Labels::from_pairs(expected);
            prop_assert_eq!(rebuilt.as_bytes(), &out[..]);
            prop_assert_eq!(rebuilt.id(), SeriesId::of(&out));
        } else {
            prop_assert!(out.is_empty());
        }
    }

    #[test]
    fn arbitrary_bytes_are_canonical_only_if_rebuilding_gives_them(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
        if let Ok(labels) = Labels::from_canonical(&bytes) {
            let rebuilt = Labels::from_pairs(labels.iter());
            prop_assert_eq!(rebuilt.as_bytes(), &bytes[..]);
        }
    }
}

proptest! {
    #[test]
    fn a_part_of_a_set_is_the_set_of_those_pairs(input in pairs(), drop in "[a-zA-Z_]{0,3}") {
        let input = input.iter().map(|(n, v)| (n.as_str(), v.as_str())).filter(|(n, _)| !n.is_empty());
        let labels = Labels::from_pairs(input);
        let expected = Labels::from_pairs(labels.iter().filter(|(n, _)| *n != drop));
        prop_assert_eq!(labels.without(|name| name == drop), expected.clone());
        prop_assert_eq!(labels.only(|name| name != drop.as_bytes()), expected.clone());
        prop_assert_eq!(expected.is_empty(), expected == Labels::default());
        let hash = |of: &dyn Fn(&mut std::hash::DefaultHasher)| {
            let mut hasher = std::hash::DefaultHasher::new();
            of(&mut hasher);
            hasher.finish()
        };
        prop_assert_eq!(hash(&|hasher| labels.hash(hasher)), hash(&|hasher| labels.as_bytes().hash(hasher)));
    }
}

proptest! {
    #[test]
    fn labels_of_another_set_stand_for_those_of_the_same_names(
        own in pairs(), other in pairs(), take in proptest::collection::vec("[a-zA-Z_]{0,3}", 0..5),
    ) {
        let (own, other) = (set(&own), set(&other));
        let is_taken = |name: &str| take.iter().any(|taken| taken == name);
        let kept = own.iter().filter(|(n, _)| !is_taken(n));
        let expected = Labels::from_pairs(kept.chain(other.iter().filter(|(n, _)| is_taken(n))));
        prop_assert_eq!(own.with_from(&other, |name| take.iter().any(|taken| taken.as_bytes() == name)), expected);
    }

    #[test]
    fn sets_are_in_the_order_of_their_pairs(a in pairs(), b in pairs()) {
        let (a, b) = (set(&a), set(&b));
        prop_assert_eq!(a.cmp(&b), a.iter().cmp(b.iter()));
    }
}

fn set(pairs: &[(String, String)]) -> Labels {
    Labels::from_pairs(pairs.iter().map(|(n, v)| (n.as_str(), v.as_str())).filter(|(n, _)| !n.is_empty()))
}

#[test]
fn refusals_name_their_reason() {
    let mut out = Vec::new();
    let name: (&[u8], &[u8]) = (b"__name__", b"up");
    assert_eq!(normalise(&mut vec![(b"a", b"1")], &mut out), Err(LabelError::NoMetricName));
    assert_eq!(normalise(&mut vec![name, (b"", b"1")], &mut out), Err(LabelError::EmptyName));
    assert_eq!(
        normalise(&mut vec![name, (b"a", b"1"), (b"a", b"2")], &mut out),
        Err(LabelError::DuplicateName("a".into()))
    );
    assert!(matches!(normalise(&mut vec![name, (b"a", b"\xff")], &mut out), Err(LabelError::NotUtf8(_))));
    assert_eq!(normalise(&mut vec![name, (b"a", b""), (b"a", b"1")], &mut out), Ok(()));
}
