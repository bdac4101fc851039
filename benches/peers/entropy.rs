//! The entropy of columns: a floor for what a codec that sees one value after the other can reach.
//!
//! 1. A column is scaled by the smallest power of ten that makes all its values integers; one that no power up to 10^15
//!    makes so is taken as the bits of its floats.
//! 2. First differences of neighbours are counted: over all columns of a class together, and in each column alone.
//! 3. Shannon's entropy of the counts, -sum p log2 p, is the bits per sample that no code of single differences gets below,
//!    if the code is made for the class, or for each column. The second is too low where columns are short: it leaves out
//!    what the code's table costs.

use std::collections::HashMap;

use serde::Serialize;

/// The entropy of one class of columns.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Entropy {
    /// Which class.
    pub(crate) class: String,
    /// Share of all samples.
    pub(crate) share: f64,
    /// Bytes per sample, one distribution for the class.
    pub(crate) class_bytes: f64,
    /// Bytes per sample, a distribution for each column.
    pub(crate) column_bytes: f64,
}

/// Of each class that occurs, in the order of their names, and of all together.
pub(crate) fn entropies(columns: &[(String, Vec<f64>)]) -> Vec<Entropy> {
    let mut classes: Vec<&str> = columns.iter().map(|(class, _)| class.as_str()).collect();
    classes.sort_unstable();
    classes.dedup();
    let all: usize = columns.iter().map(|(_, values)| values.len()).sum();
    let of_class = |class: &str| {
        let (mut pooled, mut alone_bits, mut samples) = (HashMap::new(), 0.0, 0);
        for (_, values) in columns.iter().filter(|(of, _)| of == class) {
            let mut own = HashMap::new();
            for difference in differences(values) {
                *own.entry(difference).or_insert(0u64) += 1;
                *pooled.entry(difference).or_insert(0u64) += 1;
            }
            alone_bits += bits(&own);
            samples += values.len();
        }
        let per_sample = |bits: f64| bits / 8.0 / samples.max(1) as f64;
        let (class_bytes, column_bytes) = (per_sample(bits(&pooled)), per_sample(alone_bits));
        Entropy { class: class.into(), share: samples as f64 / all as f64, class_bytes, column_bytes }
    };
    let mut found: Vec<Entropy> = classes.into_iter().map(of_class).collect();
    let weighted = |of: fn(&Entropy) -> f64| found.iter().map(|entropy| entropy.share * of(entropy)).sum();
    let (class_bytes, column_bytes) = (weighted(|e| e.class_bytes), weighted(|e| e.column_bytes));
    found.push(Entropy { class: "all".into(), share: 1.0, class_bytes, column_bytes });
    found
}

/// The class of a column whose class is not known otherwise.
pub(crate) fn classify(values: &[f64]) -> String {
    let name = match scale(values) {
        _ if values.windows(2).all(|pair| pair[0].to_bits() == pair[1].to_bits()) => "constant",
        Some(0) => "integers",
        Some(_) => "decimals",
        None => "floats",
    };
    name.into()
}

/// The bits of all that was counted, by the best code for these counts.
fn bits(counts: &HashMap<i64, u64>) -> f64 {
    let all = counts.values().sum::<u64>() as f64;
    counts.values().map(|count| *count as f64 * (all / *count as f64).log2()).sum()
}

/// The smallest power of ten that makes all values integers below 2^53, bit for bit on the way back.
fn scale(values: &[f64]) -> Option<i32> {
    (0..=15).find(|power| {
        let factor = 10f64.powi(*power);
        values.iter().all(|value| {
            let scaled = (value * factor).round();
            scaled.abs() < 9e15 && (scaled / factor).to_bits() == value.to_bits()
        })
    })
}

fn differences(values: &[f64]) -> Vec<i64> {
    let integers: Vec<i64> = match scale(values) {
        Some(power) => values.iter().map(|value| (value * 10f64.powi(power)).round() as i64).collect(),
        None => values.iter().map(|value| value.to_bits() as i64).collect(),
    };
    integers.windows(2).map(|pair| pair[1].wrapping_sub(pair[0])).collect()
}
