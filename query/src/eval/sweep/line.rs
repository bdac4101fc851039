//! Sweeps of linear regression.
//!
//! A regression of values that hardly change cancels out nearly all digits of its sums, so each must be rounded as adding up the window
//! rounds it. The sum of products with times, which are relative to the step, is therefore added up anew at each step, several steps at
//! once. Sums of times are the same at all steps where samples come regularly.

use super::lanes::Run;
use super::places::Latest;
use super::prefix::Prefix;
use super::{Carried, Windows};
use crate::error::QueryError;
use crate::eval::function::Window;
use crate::eval::function::rate::{self, Spread, seconds_from};
use crate::eval::kahan::KahanSum;

/// Far below what rounding makes of a sum.
const TOLERANCE: f64 = f64::EPSILON / (1 << 20) as f64;

/// The times of a window's samples relative to an origin, and their sums.
#[derive(Debug, Default)]
pub(super) struct Abscissas {
    x: Vec<f64>,
    spread: Spread,
    /// Number, distance, and the first, in milliseconds, of regular ones.
    shape: Option<(usize, i64, i64)>,
}

/// `deriv`
pub(super) fn deriv(windows: &Windows<'_>, carried: &mut Carried, out: &mut [f64]) -> Result<(), QueryError> {
    regressions(windows, carried, out, |first_ms, _| first_ms, |(slope, _), _| slope, rate::deriv)
}

/// `predict_linear`
pub(super) fn predict_linear(windows: &Windows<'_>, carried: &mut Carried, out: &mut [f64]) -> Result<(), QueryError> {
    let ahead = |step| windows.args.first().map_or(f64::NAN, |arg| arg.at(step));
    let origin = |_, step| windows.slide.time_ms(step);
    let predict = |(slope, intercept): (f64, f64), step| slope * ahead(step) + intercept;
    regressions(windows, carried, out, origin, predict, rate::predict_linear)
}

/// What `finish` makes of slope and intercept of each window. `origin` answers the time, by that of the first sample and by the step, to which
/// times are relative; `kernel` does all of it for one window.
fn regressions(
    windows: &Windows<'_>,
    carried: &mut Carried,
    out: &mut [f64],
    origin: impl Fn(i64, usize) -> i64,
    finish: impl Fn((f64, f64), usize) -> f64,
    kernel: impl Fn(&Window<'_>) -> Option<f64>,
) -> Result<(), QueryError> {
    let (times, values) = (windows.times, windows.values);
    if !windows.overlap() || !carried.prefix.build(values) {
        return windows.each(carried, out, kernel);
    }
    let mut write = |run: &Run, carried: &mut Carried| {
        let Carried { prefix, abscissas: Abscissas { x, spread, .. }, lanes, .. } = carried;
        let products = lanes.sums(run, values, |i| x.get(i).copied().unwrap_or_default());
        for (i, (product, lost)) in products.enumerate() {
            let (from, step) = (run.first_of(i), run.step + i);
            let line = spread.line(sum(prefix, values, (from, from + run.samples)), product + lost);
            if let Some(out) = out.get_mut(step) {
                *out = finish(line, step);
            }
        }
    };
    let (mut changed, mut irregular) = (Latest::default(), Latest::default());
    let mut run = Run::default();
    for (step, (from, to)) in windows.cuts.iter().enumerate() {
        let samples = to - from;
        let Some(&first_ms) = times.get(from).filter(|_| samples >= 2) else { continue };
        let distance = |at: usize| Some(times.get(at)? - times.get(at.checked_sub(1)?)?);
        let regular = irregular.before(to, |at| distance(at) != distance(at.wrapping_sub(1))) < from + 2;
        let origin_ms = origin(first_ms, step);
        let shape = regular.then(|| (samples, distance(to - 1).unwrap_or_default(), first_ms - origin_ms));
        carried.look(windows.context, samples)?;
        if shape.is_none() || shape != carried.abscissas.shape || !run.goes_on(step, (from, to)) {
            write(&run, carried);
            run = Run::starting_at(step, (from, to));
            if shape.is_none() || shape != carried.abscissas.shape {
                carried.abscissas.lay(times.get(from..to).unwrap_or_default(), origin_ms, shape);
            }
        }
    }
    write(&run, carried);
    // A constant has no slope, whatever rounding would make of it.
    for ((step, out), (from, to)) in out.iter_mut().enumerate().zip(windows.cuts.iter()) {
        let differs = |at: usize| values.get(at) != values.get(at.wrapping_sub(1));
        if let Some(first) = values.get(from).filter(|_| changed.before(to, differs) <= from) {
            *out = finish((0.0, *first), step);
        }
    }
    Ok(())
}

impl Abscissas {
    fn lay(&mut self, times: &[i64], origin_ms: i64, shape: Option<(usize, i64, i64)>) {
        self.shape = shape;
        self.x.clear();
        let (mut sum, mut squares) = (KahanSum::default(), KahanSum::default());
        self.x.extend(times.iter().map(|time_ms| {
            let x = seconds_from(origin_ms, *time_ms);
            sum.add(x);
            squares.add(x * x);
            x
        }));
        self.spread = Spread::new(times.len(), sum.total(), squares.total());
    }
}

/// The sum of a window's values.
fn sum(prefix: &Prefix, values: &[f64], (from, to): (usize, usize)) -> f64 {
    match prefix.sum((from, to), TOLERANCE) {
        Some((sum, lost)) => sum + lost,
        None => {
            let mut sum = KahanSum::default();
            values.get(from..to).unwrap_or_default().iter().for_each(|value| sum.add(*value));
            sum.total()
        }
    }
}
