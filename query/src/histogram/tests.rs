use marigram_storage::model::histogram::{Buckets, CUSTOM_BUCKETS_SCHEMA, ResetHint};

use super::*;

/// A histogram with these positive buckets, whose count and sum fit.
fn exponential(schema: i8, buckets: &[(i32, f64)]) -> Histogram {
    Histogram {
        schema,
        count: buckets.iter().map(|(_, count)| count).sum(),
        sum: 100.0,
        positive: Buckets::from_ascending(buckets.iter().copied()),
        ..Histogram::default()
    }
}

fn custom(bounds: &[f64], counts: &[f64]) -> Histogram {
    Histogram {
        schema: CUSTOM_BUCKETS_SCHEMA,
        custom_values: bounds.to_vec(),
        ..exponential(0, &(0..).zip(counts.iter().copied()).collect::<Vec<_>>())
    }
}

fn positive(histogram: &Histogram) -> Vec<(i32, f64)> {
    histogram.positive.iter().collect()
}

#[test]
fn buckets_are_merged_where_both_have_them() {
    let mut sum = exponential(0, &[(1, 1.0), (2, 2.0), (5, 5.0)]);
    let combined = add(&mut sum, &exponential(0, &[(-1, 7.0), (2, 1.0), (3, 3.0), (9, 9.0)])).unwrap();
    assert_eq!(combined, Combined::default());
    assert_eq!(positive(&sum), [(-1, 7.0), (1, 1.0), (2, 3.0), (3, 3.0), (5, 5.0), (9, 9.0)]);
    assert_eq!((sum.count, sum.sum), (28.0, 200.0));
    let mut none = sum.clone();
    subtract(&mut none, &sum).unwrap();
    compact(&mut none);
    assert!(none.positive.spans.is_empty() && none.count == 0.0);
}

#[test]
fn the_lower_resolution_wins() {
    let mut sum = exponential(1, &[(1, 1.0), (2, 2.0), (3, 4.0)]);
    add(&mut sum, &exponential(0, &[(1, 10.0)])).unwrap();
    assert_eq!((sum.schema, positive(&sum)), (0, vec![(1, 13.0), (2, 4.0)]));
    let mut sum = exponential(0, &[(1, 10.0)]);
    add(&mut sum, &exponential(1, &[(1, 1.0), (2, 2.0), (3, 4.0)])).unwrap();
    assert_eq!((sum.schema, positive(&sum)), (0, vec![(1, 13.0), (2, 4.0)]));
}

#[test]
fn zero_buckets_grow_until_they_cut_nothing() {
    let narrow = Histogram { zero_threshold: 0.01, zero_count: 1.0, ..exponential(0, &[(-2, 2.0), (1, 4.0)]) };
    // 0.2 lies within the bucket from 0.125 to 0.25.
    let wide = Histogram { zero_threshold: 0.2, zero_count: 5.0, ..exponential(0, &[(1, 1.0)]) };
    for (mut sum, other) in [(narrow.clone(), wide.clone()), (wide, narrow)] {
        add(&mut sum, &other).unwrap();
        assert_eq!((sum.zero_threshold, sum.zero_count), (0.25, 8.0));
        assert_eq!(positive(&sum), [(1, 5.0)]);
    }
}

#[test]
fn custom_bounds_meet_at_the_shared_ones() {
    let mut sum = custom(&[1.0, 2.0, 3.0], &[1.0, 2.0, 3.0, 4.0]);
    let combined = add(&mut sum, &custom(&[1.0, 3.0, 5.0], &[10.0, 20.0, 30.0, 40.0])).unwrap();
    assert!(combined.bounds_reconciled);
    assert_eq!(sum.custom_values, [1.0, 3.0]);
    assert_eq!(positive(&sum), [(0, 11.0), (1, 25.0), (2, 74.0)]);
    assert_eq!(add(&mut sum, &exponential(0, &[])), Err(Incompatible));
}

#[test]
fn hints_of_sums() {
    let hinted = |hint| Histogram { hint, ..exponential(0, &[(1, 1.0)]) };
    let sum = |a, b| {
        let mut sum = hinted(a);
        let combined = add(&mut sum, &hinted(b)).unwrap();
        (sum.hint, combined.hints_collide)
    };
    assert_eq!(sum(ResetHint::Reset, ResetHint::NotReset), (ResetHint::Unknown, true));
    assert_eq!(sum(ResetHint::Reset, ResetHint::Unknown), (ResetHint::Unknown, false));
    assert_eq!(sum(ResetHint::Reset, ResetHint::Gauge), (ResetHint::Gauge, false));
    assert_eq!(sum(ResetHint::NotReset, ResetHint::NotReset), (ResetHint::NotReset, false));
    let mut negated = hinted(ResetHint::NotReset);
    multiply(&mut negated, -1.0);
    assert_eq!((negated.hint, negated.count), (ResetHint::Gauge, -1.0));
    divide(&mut negated, 0.0);
    assert!(negated.positive.counts.is_empty() && negated.count == f64::NEG_INFINITY);
}

#[test]
fn sums_get_lost_digits_back() {
    let huge = exponential(0, &[(1, 1e100)]);
    let mut sum = HistogramSum::starting_at(&exponential(0, &[(1, 1.0)]));
    for other in [huge.clone(), exponential(0, &[(1, 1.0)])] {
        sum.add(&other).unwrap();
    }
    let mut minus = huge;
    multiply(&mut minus, -1.0);
    sum.add(&minus).unwrap();
    let total = sum.total();
    assert_eq!((total.count, positive(&total)), (2.0, vec![(1, 2.0)]));
    let mut mean = HistogramMean::starting_at(&exponential(0, &[(1, f64::MAX)]));
    mean.add(&exponential(0, &[(1, f64::MAX)])).unwrap();
    assert_eq!(mean.mean().count, f64::MAX);
}

#[test]
fn resets_are_seen_in_any_bucket() {
    let before = exponential(1, &[(1, 1.0), (2, 2.0), (3, 3.0)]);
    assert!(!detect_reset(&before, &before));
    assert!(detect_reset(&exponential(1, &[(1, 3.0), (2, 2.0), (3, 2.0)]), &before));
    assert!(detect_reset(&exponential(1, &[(1, 3.0), (3, 4.0)]), &before));
    assert!(!detect_reset(&exponential(0, &[(1, 3.0), (2, 3.0)]), &before));
    assert!(detect_reset(&exponential(2, &[(1, 30.0)]), &before));
    let hinted = |hint| Histogram { hint, ..exponential(1, &[]) };
    assert!(!detect_reset(&hinted(ResetHint::NotReset), &before));
    assert!(detect_reset(&Histogram { hint: ResetHint::Reset, ..before.clone() }, &before));
    let wider = Histogram { zero_threshold: 1.5, zero_count: 9.0, ..exponential(1, &[(3, 3.0)]) };
    assert!(detect_reset(&wider, &before), "the zero bucket ends within a populated one");
    let wider = Histogram { zero_threshold: 2.0, zero_count: 3.0, ..exponential(1, &[(3, 3.0)]) };
    assert!(!detect_reset(&Histogram { count: 6.0, ..wider.clone() }, &before));
    assert!(detect_reset(&Histogram { count: 6.0, zero_count: 2.0, ..wider }, &before));
    let custom_before = custom(&[1.0, 2.0], &[1.0, 2.0, 3.0]);
    assert!(!detect_reset(&custom(&[1.0, 3.0], &[1.0, 2.0, 3.0]), &custom_before));
    assert!(detect_reset(&custom(&[1.0, 3.0], &[0.0, 9.0, 3.0]), &custom_before));
}

#[test]
fn quantiles_and_fractions_are_interpolated() {
    let h = exponential(0, &[(1, 10.0)]);
    // Half-way between 1 and 2 on a logarithmic scale.
    assert!((quantile(0.5, &h).value - 2f64.sqrt()).abs() < 1e-12);
    assert_eq!((quantile(0.0, &h).value, quantile(1.0, &h).value), (1.0, 2.0));
    assert_eq!(quantile(-1.0, &h).value, f64::NEG_INFINITY);
    assert!((fraction(1.0, 2f64.sqrt(), &h).0 - 0.5).abs() < 1e-12);
    let zero = Histogram { zero_threshold: 0.5, zero_count: 10.0, count: 20.0, ..h };
    assert_eq!(quantile(0.25, &zero).value, 0.25);
    assert_eq!(fraction(f64::NEG_INFINITY, 0.25, &zero).0, 0.25);
    let c = custom(&[5.0, 10.0], &[4.0, 4.0]);
    assert_eq!((quantile(0.25, &c).value, quantile(0.75, &c).value), (2.5, 7.5));
    assert_eq!(fraction(0.0, 7.5, &c).0, 0.75);
    let nan = Histogram { sum: f64::NAN, count: 20.0, ..exponential(0, &[(1, 10.0)]) };
    assert!(quantile(0.9, &nan).lost_to_nan && quantile(0.1, &nan).skewed_by_nan);
    assert_eq!(fraction(f64::NEG_INFINITY, f64::INFINITY, &nan), (0.5, true));
}

#[test]
fn trimming_keeps_one_side() {
    let c = custom(&[5.0, 10.0], &[4.0, 4.0, 2.0]);
    let mut below = c.clone();
    keep_below(&mut below, 7.5);
    assert_eq!((positive(&below), below.count, below.sum), (vec![(0, 4.0), (1, 2.0)], 6.0, 22.5));
    let mut above = c;
    keep_above(&mut above, 7.5);
    assert_eq!((positive(&above), above.count), (vec![(1, 2.0), (2, 2.0)], 4.0));
    let mut whole = exponential(0, &[(1, 10.0)]);
    keep_below(&mut whole, 2.0);
    assert_eq!((whole.count, whole.sum), (10.0, 100.0));
}

#[test]
fn texts() {
    let h = Histogram {
        zero_threshold: 0.001,
        zero_count: 1.0,
        negative: Buckets::from_ascending([(0, 2.0)]),
        ..exponential(0, &[(1, 10.0), (2, 0.0)])
    };
    assert_eq!(to_text(&h), "{count:10, sum:100, [-1,-0.5):2, [-0.001,0.001]:1, (1,2]:10}");
    assert_eq!(to_text(&custom(&[1.0], &[0.0, 3.0])), "{count:3, sum:100, (1,+Inf]:3}");
}

#[test]
fn variance_uses_the_middles() {
    let h = Histogram { sum: 2.0 * 2f64.sqrt(), ..exponential(0, &[(1, 2.0)]) };
    assert!(variance(&h).abs() < 1e-12 && standard_deviation(&h) < 1e-6);
    assert_eq!(variance(&Histogram { sum: 15.0, ..custom(&[5.0, 10.0], &[0.0, 2.0]) }), 0.0);
}
