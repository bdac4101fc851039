//! The values column.
//!
//! 1. Not finite: beside the column ([`super::specials`]).
//! 2. Decimal: the smallest power of ten with which all are integers, exactly ([`super::decimal`]).
//! 3. Quotients of two integers: numerators, and beside them the denominators ([`quotient`]).
//! 4. Otherwise the cheaper of two: the bits as integers that order as the floats do; or the nearest decimals, and beside
//!    them how many units in the last place each is off: sums of decimals look like that.
//! 5. The integers are encoded by [`super::integers`].

use std::cell::RefCell;
use std::ops::Range;

use super::decimal::{self, EXPONENT_MAX, from_ordered, near_exponent, to_ordered, unscale};
use super::integers::{self, IntegerEncoder, ORDER_MAX};
use super::sequence::{SequenceDecoder, keep_shorter};
use super::{quotient, specials};
use crate::chunk::COLUMN_SAMPLES_MAX;
use crate::format::varint::{push_uvarint, take_uvarint};

/// Scale of a column of float bits; others are decimal exponents.
const SCALE_BITS: u8 = 15;
const SCALE_MASK: u8 = 15;
const ORDER_SHIFT: u32 = 4;
const FLAG_SPECIALS: u8 = 1 << 6;
const FLAG_PAIR: u8 = 1 << 7;

const _: () = assert!(EXPONENT_MAX < SCALE_BITS as u32 && ORDER_MAX < 4);

/// Decimals of more digits than this are compared with what sums of shorter ones would cost.
const EXPONENT_PLAIN_MAX: u32 = 9;

/// How much an encoder may spend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effort {
    /// For blocks that a storage node cuts: cheap candidates, chosen by estimates.
    Sealed,
    /// For long-lived blocks of the compactor: denser candidates too, all of them encoded.
    Cold,
}

/// Encodes value columns; keeps its buffers from column to column.
#[derive(Default)]
pub struct ValueEncoder {
    finite: Vec<f64>,
    integers: Vec<i64>,
    corrections: Vec<i64>,
    ordered: Vec<i64>,
    outliers: Vec<u32>,
    specials: Vec<(u32, u64)>,
    all_specials: Vec<(u32, u64)>,
    part: Vec<u8>,
    encoder: IntegerEncoder,
}

impl std::fmt::Debug for ValueEncoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ValueEncoder").finish_non_exhaustive()
    }
}

impl ValueEncoder {
    /// An encoder without buffers yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends the values as a column. There are 1 to [`COLUMN_SAMPLES_MAX`]; the count is not stored.
    pub fn encode(&mut self, values: &[f64], effort: Effort, out: &mut Vec<u8>) {
        debug_assert!(!values.is_empty() && values.len() <= COLUMN_SAMPLES_MAX);
        self.encoder.all_orders = effort == Effort::Cold;
        self.specials.clear();
        let Some(&first) = values.first() else { return };
        if first.is_finite() && values.iter().all(|value| value.to_bits() == first.to_bits()) {
            // A single value encodes to the same bytes as many that are equal to it.
            return self.encode_finite(&[first], out);
        }
        if values.iter().all(|value| value.is_finite()) {
            self.encode_finite(values, out);
        } else {
            let mut finite = std::mem::take(&mut self.finite);
            self.set_apart(values, &mut finite);
            self.encode_finite(&finite, out);
            self.finite = finite;
        }
    }

    /// Moves what is not finite to the specials; its place takes the value before, or the first finite one.
    fn set_apart(&mut self, values: &[f64], finite: &mut Vec<f64>) {
        finite.clear();
        let mut before = values.iter().copied().find(|value| value.is_finite()).unwrap_or(0.0);
        for (at, &value) in values.iter().enumerate() {
            if value.is_finite() {
                before = value;
            } else {
                self.specials.push((at as u32, value.to_bits()));
            }
            finite.push(before);
        }
    }

    fn encode_finite(&mut self, values: &[f64], out: &mut Vec<u8>) {
        let scaled = decimal::scale_column(values, &mut self.integers, &mut self.outliers);
        match scaled {
            Some(exponent) if exponent <= EXPONENT_PLAIN_MAX => self.encode_decimal(values, exponent, out),
            _ => self.encode_float(values, scaled, out),
        }
    }

    /// Encodes `self.integers`, which stand for the values but for the outliers.
    fn encode_decimal(&mut self, values: &[f64], exponent: u32, out: &mut Vec<u8>) {
        let mut specials = std::mem::take(&mut self.all_specials);
        specials.clear();
        specials.extend_from_slice(&self.specials);
        if !self.outliers.is_empty() {
            // The places of specials hold copies of their neighbours; where these are outliers, so are the copies.
            specials.extend(self.outliers.iter().map(|&at| (at, values[at as usize].to_bits())));
            specials.sort_by_key(|&(at, _)| at);
            specials.dedup_by_key(|(at, _)| *at);
        }
        self.encoder.encode_best(&self.integers, out, |order, out| {
            push_head(exponent as u8, order, 0, &specials, out);
        });
        self.all_specials = specials;
    }

    /// Encodes what is no short decimal in each of the ways that there are, and keeps the smallest.
    fn encode_float(&mut self, values: &[f64], scaled: Option<u32>, out: &mut Vec<u8>) {
        let start = out.len();
        if scaled.is_none() && quotient::split(values, &mut self.ordered, &mut self.corrections) {
            return self.encode_pair(SCALE_BITS, out);
        }
        if let Some(exponent) = near_exponent(values) {
            self.encode_near(values, exponent, out);
        }
        if let Some(exponent) = scaled {
            let made = out.len();
            self.encode_decimal(values, exponent, out);
            keep_shorter(start, made, out);
        }
        let made = out.len();
        self.encode_bits(values, out);
        keep_shorter(start, made, out);
    }

    fn encode_bits(&mut self, values: &[f64], out: &mut Vec<u8>) {
        self.ordered.clear();
        self.ordered.extend(values.iter().map(|&value| to_ordered(value)));
        let specials = &self.specials;
        self.encoder.encode_best(&self.ordered, out, |order, out| push_head(SCALE_BITS, order, 0, specials, out));
    }

    /// Appends the nearest decimals and their corrections, or nothing where a value is too great for the exponent.
    fn encode_near(&mut self, values: &[f64], exponent: u32, out: &mut Vec<u8>) {
        let power = decimal::power(exponent);
        self.ordered.clear();
        self.corrections.clear();
        for &value in values {
            let Some(integer) = decimal::nearest(value, power) else { return };
            self.ordered.push(integer);
            self.corrections.push(decimal::correction(value, integer, power));
        }
        self.encode_pair(exponent as u8, out);
    }

    /// Appends `self.ordered`, with `self.corrections` beside it.
    fn encode_pair(&mut self, scale: u8, out: &mut Vec<u8>) {
        self.part.clear();
        self.encoder.encode_best(&self.corrections, &mut self.part, |order, out| out.push(order));
        let (specials, part) = (&self.specials, &self.part);
        self.encoder.encode_best(&self.ordered, out, |order, out| {
            push_head(scale, order, FLAG_PAIR, specials, out);
            push_uvarint(out, part.len() as u64);
            out.extend_from_slice(part);
        });
    }
}

fn push_head(scale: u8, order: u8, flags: u8, specials: &[(u32, u64)], out: &mut Vec<u8>) {
    if specials.is_empty() {
        out.push(scale | order << ORDER_SHIFT | flags);
    } else {
        out.push(scale | order << ORDER_SHIFT | flags | FLAG_SPECIALS);
        specials::encode(specials, out);
    }
}

/// Buffers of the decoder.
#[derive(Default)]
struct Decoder {
    numbers: Vec<u64>,
    corrections: Vec<u64>,
    sequence: SequenceDecoder,
}

thread_local! {
    static DECODER: RefCell<Box<Decoder>> = RefCell::default();
}

/// Appends those of `count` values whose places are `within`; `None` for bytes that no encoder makes.
pub(in crate::chunk) fn decode(bytes: &[u8], count: usize, within: Range<usize>, values: &mut Vec<f64>) -> Option<()> {
    if count == 0 || count > COLUMN_SAMPLES_MAX {
        return None;
    }
    DECODER.with_borrow_mut(|decoder| decode_with(decoder, bytes, count, within, values))
}

fn decode_with(
    decoder: &mut Decoder,
    bytes: &[u8],
    count: usize,
    within: Range<usize>,
    values: &mut Vec<f64>,
) -> Option<()> {
    let (&head, mut rest) = bytes.split_first()?;
    let (scale, order) = (head & SCALE_MASK, head >> ORDER_SHIFT & 3);
    let specials = rest;
    if head & FLAG_SPECIALS != 0 {
        specials::decode(&mut rest, |_, _, _| Some(()))?;
    }
    let pair = head & FLAG_PAIR != 0;
    let Decoder { numbers, corrections, sequence } = decoder;
    if pair {
        let length = usize::try_from(take_uvarint(&mut rest)?).ok()?;
        let (part, others) = rest.split_at_checked(length)?;
        let (&correction_order, part) = part.split_first()?;
        corrections.resize(count, 0);
        integers::decode(part, correction_order, sequence, corrections)?;
        rest = others;
    }
    numbers.resize(count, 0);
    integers::decode(rest, order, sequence, numbers)?;
    // Each is the sum of differences before it; but only what is wanted need be made a float.
    let numbers = numbers.get(within.clone())?;
    let corrections = if pair { corrections.get(within.clone())? } else { &[] };
    let start = values.len();
    if scale == SCALE_BITS && pair {
        let divide = |(&number, &divisor): (&u64, &u64)| quotient::quotient(number as i64, divisor as i64);
        values.extend(numbers.iter().zip(corrections).map(divide));
    } else if scale == SCALE_BITS {
        values.extend(numbers.iter().map(|&number| from_ordered(number as i64)));
    } else if pair {
        let power = decimal::power(u32::from(scale));
        let correct = |(&number, &correction): (&u64, &u64)| {
            f64::from_bits(unscale(number as i64, power).to_bits().wrapping_add(correction))
        };
        values.extend(numbers.iter().zip(corrections).map(correct));
    } else if scale == 0 {
        values.extend(numbers.iter().map(|&number| number as i64 as f64));
    } else {
        let power = decimal::power(u32::from(scale));
        values.extend(numbers.iter().map(|&number| unscale(number as i64, power)));
    }
    if head & FLAG_SPECIALS != 0 {
        let column = values.get_mut(start..)?;
        specials::decode(&mut &*specials, |place, length, bits| {
            let end = place.checked_add(length).filter(|end| *end <= count)?;
            let (from, to) = (place.max(within.start), end.min(within.end));
            if from < to {
                column.get_mut(from - within.start..to - within.start)?.fill(f64::from_bits(bits));
            }
            Some(())
        })?;
    }
    Some(())
}
