//! A column of integers: the order of differences in which it is cheapest, and the sequence of these.
//!
//! 1. Estimate, for the numbers as they are, their differences, and the differences of those, the sum of the binary
//!    logarithms of the distances from a middle one.
//! 2. The first numbers that differences need go ahead, then the sequence.

use super::sequence::{SequenceDecoder, SequenceEncoder, keep_shorter, middle};
use crate::format::varint::{push_uvarint, take_uvarint, unzigzag, zigzag};

/// How often differences were taken: 0, 1 or 2.
pub(super) type Order = u8;
/// Highest order.
pub(super) const ORDER_MAX: Order = 2;

/// Buffers of the encoder, reused.
#[derive(Default)]
pub(super) struct IntegerEncoder {
    /// Encode in all orders and keep the shortest, rather than in the one that is probably cheapest.
    pub(super) all_orders: bool,
    sequence: SequenceEncoder,
    differences: Vec<i64>,
}

/// Roughly the binary logarithm of `distance + 1`, in units of 2^-8: what the bits of a float say.
#[inline]
fn weight(distance: i64) -> u64 {
    ((distance.unsigned_abs() as f64 + 1.0).to_bits() >> 44).wrapping_sub(1023 << 8)
}

/// The order in which the numbers are probably cheapest.
fn cheapest_order(numbers: &[i64]) -> Order {
    if numbers.len() < 3 {
        return u8::from(numbers.len() == 2);
    }
    // Middle ones rather than means: a few huge steps must not make the many small ones seem expensive.
    let centre = middle(numbers.len(), |at| numbers[at]);
    let usual = middle(numbers.len() - 1, |at| numbers[at + 1].wrapping_sub(numbers[at]));
    let (mut plain, mut once, mut twice) = (0u64, 0u64, 0u64);
    let mut step = numbers[1].wrapping_sub(numbers[0]);
    for pair in numbers.windows(2) {
        let next = pair[1].wrapping_sub(pair[0]);
        plain += weight(pair[1].wrapping_sub(centre));
        once += weight(next.wrapping_sub(usual));
        twice += weight(next.wrapping_sub(step));
        step = next;
    }
    match plain.min(once).min(twice) {
        _ if plain == 0 => 0,
        best if once == best => 1,
        best if plain == best => 0,
        _ => 2,
    }
}

impl IntegerEncoder {
    /// Appends what `push_head` does for the order, and the numbers as differences of that order, which is the best that
    /// it finds.
    pub(super) fn encode_best(&mut self, numbers: &[i64], out: &mut Vec<u8>, push_head: impl Fn(Order, &mut Vec<u8>)) {
        if !self.all_orders || numbers.len() < 3 {
            let order = cheapest_order(numbers);
            push_head(order, out);
            return self.encode(numbers, order, out);
        }
        let start = out.len();
        for order in 0..=ORDER_MAX {
            let made = out.len();
            push_head(order, out);
            self.encode(numbers, order, out);
            keep_shorter(start, made, out);
        }
    }

    /// Appends the numbers as differences of an order. There must be at least `order` of them.
    fn encode(&mut self, numbers: &[i64], order: Order, out: &mut Vec<u8>) {
        let differences = &mut self.differences;
        differences.clear();
        match (order, numbers) {
            (1, [first, ..]) => {
                push_uvarint(out, zigzag(*first));
                differences.extend(numbers.windows(2).map(|pair| pair[1].wrapping_sub(pair[0])));
            }
            (2, [first, second, ..]) => {
                push_uvarint(out, zigzag(*first));
                push_uvarint(out, zigzag(second.wrapping_sub(*first)));
                let twice =
                    |three: &[i64]| three[2].wrapping_sub(three[1]).wrapping_sub(three[1].wrapping_sub(three[0]));
                differences.extend(numbers.windows(3).map(twice));
            }
            _ => return self.sequence.encode(numbers, out),
        }
        self.sequence.encode(differences, out);
    }
}

/// Decodes all of `bytes` into as many numbers as `out` holds; `None` for bytes that no encoder makes.
pub(super) fn decode(bytes: &[u8], order: Order, decoder: &mut SequenceDecoder, out: &mut [u64]) -> Option<()> {
    let mut rest = bytes;
    match (order, &mut *out) {
        (0, all) => decoder.decode(rest, all),
        (1, [first, others @ ..]) => {
            *first = unzigzag(take_uvarint(&mut rest)?) as u64;
            decoder.decode_sums(rest, *first, others)
        }
        (2, [first, second, others @ ..]) => {
            *first = unzigzag(take_uvarint(&mut rest)?) as u64;
            *second = unzigzag(take_uvarint(&mut rest)?) as u64;
            decoder.decode_sums(rest, *second, others)?;
            add_up(out);
            Some(())
        }
        _ => None,
    }
}

/// Each number becomes the sum of itself and all before it.
fn add_up(numbers: &mut [u64]) {
    let mut sum = 0u64;
    for number in numbers {
        sum = sum.wrapping_add(*number);
        *number = sum;
    }
}
