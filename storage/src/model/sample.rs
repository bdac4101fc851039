//! Samples and the order that decides between two of them at one timestamp.

use std::cmp::Ordering;

/// The bits of Prometheus' staleness marker: a series has ended here.
pub const STALE_NAN_BITS: u64 = 0x7ff0_0000_0000_0002;

/// A float sample.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    /// Milliseconds since the Unix epoch.
    pub timestamp_ms: i64,
    /// The value; NaN payloads matter.
    pub value: f64,
}

/// Bit for bit, so that NaN payloads count.
impl PartialEq for Sample {
    fn eq(&self, other: &Self) -> bool {
        self.timestamp_ms == other.timestamp_ms && self.value.to_bits() == other.value.to_bits()
    }
}

/// Whether a value is the staleness marker.
#[inline]
pub fn is_stale(value: f64) -> bool {
    value.to_bits() == STALE_NAN_BITS
}

/// The staleness marker.
#[inline]
pub fn stale_nan() -> f64 {
    f64::from_bits(STALE_NAN_BITS)
}

/// The order of samples at one timestamp; the join keeps the greatest. A staleness marker is less than every
/// float; floats compare by `total_cmp`. A histogram is greater than every float (`joined.rs`).
/// Start timestamps lie beside the samples and are joined by themselves (`start.rs`).
#[inline]
pub fn join_order(a: f64, b: f64) -> Ordering {
    match (is_stale(a), is_stale(b)) {
        (true, true) => Ordering::Equal,
        (true, false) => Ordering::Less,
        (false, true) => Ordering::Greater,
        (false, false) => a.total_cmp(&b),
    }
}

/// Joins samples in place: sorts by timestamp and keeps the greatest of each timestamp in [`join_order`].
/// Commutative, associative and idempotent over concatenation.
pub fn join_in_place(samples: &mut Vec<Sample>) {
    samples.sort_unstable_by(|a, b| a.timestamp_ms.cmp(&b.timestamp_ms).then_with(|| join_order(b.value, a.value)));
    samples.dedup_by_key(|sample| sample.timestamp_ms);
}

/// Joins two columns that are each sorted by timestamp without duplicates into `times` and `values`, which are
/// cleared first.
pub fn join_columns(left: (&[i64], &[f64]), right: (&[i64], &[f64]), times: &mut Vec<i64>, values: &mut Vec<f64>) {
    times.clear();
    values.clear();
    let (mut i, mut j) = (0, 0);
    while i < left.0.len() && j < right.0.len() {
        let (t, v) = match left.0[i].cmp(&right.0[j]) {
            Ordering::Less => (left.0[i], left.1[i]),
            Ordering::Greater => (right.0[j], right.1[j]),
            Ordering::Equal if join_order(left.1[i], right.1[j]).is_lt() => (left.0[i], right.1[j]),
            Ordering::Equal => (left.0[i], left.1[i]),
        };
        i += usize::from(left.0[i] == t);
        j += usize::from(right.0[j] == t);
        times.push(t);
        values.push(v);
    }
    times.extend_from_slice(&left.0[i..]);
    values.extend_from_slice(&left.1[i..]);
    times.extend_from_slice(&right.0[j..]);
    values.extend_from_slice(&right.1[j..]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn value() -> impl Strategy<Value = f64> {
        prop_oneof![
            (-3i32..3).prop_map(f64::from),
            Just(-0.0),
            Just(f64::NAN),
            Just(f64::from_bits(0x7ff8_0000_0000_0003)),
            Just(f64::from_bits(0xfff8_0000_0000_0001)),
            Just(stale_nan()),
            Just(f64::INFINITY),
        ]
    }

    fn samples() -> impl Strategy<Value = Vec<Sample>> {
        proptest::collection::vec((0i64..12, value()), 0..20)
            .prop_map(|pairs| pairs.into_iter().map(|(timestamp_ms, value)| Sample { timestamp_ms, value }).collect())
    }

    fn join(parts: &[&[Sample]]) -> Vec<Sample> {
        let mut all = parts.concat();
        join_in_place(&mut all);
        all
    }

    fn columns(samples: &[Sample]) -> (Vec<i64>, Vec<f64>) {
        samples.iter().map(|s| (s.timestamp_ms, s.value)).unzip()
    }

    proptest! {
        #[test]
        fn the_join_is_commutative_associative_idempotent(a in samples(), b in samples(), c in samples()) {
            prop_assert_eq!(join(&[&a, &b]), join(&[&b, &a]));
            prop_assert_eq!(join(&[&join(&[&a, &b]), &c]), join(&[&a, &join(&[&b, &c])]));
            prop_assert_eq!(join(&[&a, &a]), join(&[&a]));
            let joined = join(&[&a]);
            prop_assert!(joined.windows(2).all(|w| w[0].timestamp_ms < w[1].timestamp_ms));
        }

        #[test]
        fn joining_columns_is_joining_samples(a in samples(), b in samples()) {
            let (a, b) = (join(&[&a]), join(&[&b]));
            let ((ta, va), (tb, vb)) = (columns(&a), columns(&b));
            let (mut times, mut values) = (vec![7], vec![7.0]);
            join_columns((&ta, &va), (&tb, &vb), &mut times, &mut values);
            let got: Vec<Sample> = times.into_iter().zip(values)
                .map(|(timestamp_ms, value)| Sample { timestamp_ms, value }).collect();
            prop_assert_eq!(got, join(&[&a, &b]));
        }
    }

    #[test]
    fn a_float_beats_a_staleness_marker() {
        assert!(join_order(stale_nan(), f64::NEG_INFINITY).is_lt());
        assert!(join_order(stale_nan(), -f64::NAN).is_lt());
    }
}
