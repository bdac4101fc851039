//! Sweeps: functions of range vectors over all windows of a series in one pass.
//!
//! Windows of neighbouring steps overlap, so that whoever looks at each of them anew looks at most samples many times. A sweep takes from
//! one step to the next what it can: where samples come in and go out, sums from the first sample on, the largest of those that are
//! left.
//!
//! 1. [`Cuts`] finds between which samples the window of each step lies; a step has a value where these are enough.
//! 2. The sweep writes the values of all steps.
//!
//! Sums of floats depend on the order in which they are added. A sweep has the same result as the function of a single window has, to
//! the bit; where it takes sums of very many windows apart, to within 1e-11 of it, and where that is not certain (numbers that cancel
//! out, or are not finite) it looks at the window itself.

mod average;
mod counter;
mod cuts;
mod extreme;
mod lanes;
mod line;
mod places;
mod prefix;
mod quantile;

#[cfg(test)]
mod sweep_test;

use marigram_storage::context::{Context, Reservation};

pub(crate) use cuts::{Coverage, Slide};

use super::column::{Column, Steps};
use super::function::{Window, over_time, rate};
use super::scalar::ScalarColumn;
use crate::error::QueryError;
use cuts::Cuts;

/// How many samples are looked at before the deadline is checked again.
pub(crate) const SAMPLES_BETWEEN_CHECKS: usize = 1 << 20;

/// A function over all windows of a series.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sweep {
    /// A window with fewer samples has no value.
    least: u32,
    /// Writes the value of each window that has enough samples.
    run: fn(&Windows<'_>, &mut Carried, &mut [f64]) -> Result<(), QueryError>,
}

/// The windows of a series of floats.
struct Windows<'s> {
    times: &'s [i64],
    values: &'s [f64],
    cuts: &'s Cuts,
    slide: Slide,
    coverage: Coverage,
    args: &'s [ScalarColumn],
    context: &'s Context,
}

/// Memory that sweeps use again and again.
#[derive(Debug, Default)]
pub(crate) struct Scratch {
    cuts: Cuts,
    /// Boxed, since operators that hold it are moved about on the stack of deep queries.
    carried: Box<Carried>,
    /// What all of it takes at most.
    reserved: Option<Reservation>,
    reserved_bytes: usize,
}

/// What is carried over from step to step.
#[derive(Debug, Default)]
struct Carried {
    places: places::Places,
    prefix: prefix::Prefix,
    queue: Vec<(u32, f64)>,
    sorted: quantile::Sorted,
    abscissas: line::Abscissas,
    lanes: lanes::Lanes,
    /// Samples since the deadline was checked.
    seen: usize,
}

impl Sweep {
    /// The sweep for the function of this name, if there is one.
    pub(crate) fn of(name: &str) -> Option<Sweep> {
        let sweep = |least, run| Some(Sweep { least, run });
        match name {
            "rate" => sweep(2, counter::rate),
            "increase" => sweep(2, counter::increase),
            "delta" => sweep(2, counter::delta),
            "irate" => sweep(2, |windows, carried, out| windows.each(carried, out, rate::irate)),
            "idelta" => sweep(2, |windows, carried, out| windows.each(carried, out, rate::idelta)),
            "resets" => sweep(1, counter::resets),
            "changes" => sweep(1, counter::changes),
            "deriv" => sweep(2, line::deriv),
            "predict_linear" => sweep(2, line::predict_linear),
            "avg_over_time" => sweep(1, average::avg),
            "sum_over_time" => sweep(1, average::sum),
            "count_over_time" => sweep(1, |windows, carried, out| windows.each(carried, out, over_time::count)),
            "min_over_time" => sweep(1, extreme::min),
            "max_over_time" => sweep(1, extreme::max),
            "first_over_time" => sweep(1, |windows, carried, out| windows.each(carried, out, over_time::first)),
            "last_over_time" => sweep(1, |windows, carried, out| windows.each(carried, out, over_time::last)),
            "present_over_time" => sweep(1, |windows, carried, out| windows.each(carried, out, over_time::present)),
            "quantile_over_time" => sweep(1, quantile::quantile),
            "stddev_over_time" => sweep(1, |windows, carried, out| windows.each(carried, out, over_time::stddev)),
            "stdvar_over_time" => sweep(1, |windows, carried, out| windows.each(carried, out, over_time::stdvar)),
            _ => None,
        }
    }

    /// Evaluates the function over a series without histograms, ascending in time.
    ///
    /// # Errors
    /// The query has ended, or needs too much memory.
    pub(crate) fn evaluate(
        &self,
        context: &Context,
        (times, values): (&[i64], &[f64]),
        slide: Slide,
        args: &[ScalarColumn],
        scratch: &mut Scratch,
        column: &mut Column,
    ) -> Result<Coverage, QueryError> {
        scratch.reserve(context, values.len(), slide)?;
        let Scratch { cuts, carried, .. } = scratch;
        cuts.find(times, slide);
        let coverage = cuts.coverage(slide);
        if coverage.fewest >= self.least {
            column.present = Steps::all(slide.steps());
        } else {
            for (step, (from, to)) in cuts.iter().enumerate() {
                if to - from >= self.least as usize {
                    column.present.set(step);
                }
            }
        }
        if !column.present.is_empty() {
            let windows = Windows { times, values, cuts, slide, coverage, args, context };
            (self.run)(&windows, carried, &mut column.values)?;
        }
        Ok(coverage)
    }
}

impl Scratch {
    /// Between which samples the window of each step lies, as of the last series that was swept.
    pub(crate) fn windows(&self) -> impl Iterator<Item = (usize, usize)> + '_ {
        self.cuts.iter()
    }

    /// Counts the memory that a series of so many samples needs against the query's budget.
    fn reserve(&mut self, context: &Context, samples: usize, slide: Slide) -> Result<(), QueryError> {
        let bytes = Cuts::size_bytes(slide) + samples * Carried::BYTES_PER_SAMPLE;
        if bytes > self.reserved_bytes {
            self.reserved = Some(context.reserve(bytes as u64)?);
            self.reserved_bytes = bytes;
        }
        Ok(())
    }
}

impl Carried {
    /// What a sample needs at most: in a regression a sum, what it lost, a time, and a place in a row.
    const BYTES_PER_SAMPLE: usize = 4 * size_of::<f64>();

    /// Counts samples that are looked at, and checks now and then whether that may go on: long windows at many steps are work that no
    /// number of series bounds.
    fn look(&mut self, context: &Context, samples: usize) -> Result<(), QueryError> {
        self.seen += samples;
        if self.seen > SAMPLES_BETWEEN_CHECKS {
            self.seen = 0;
            context.check()?;
        }
        Ok(())
    }
}

impl<'s> Windows<'s> {
    /// Whether the windows overlap so much that carrying something over pays.
    fn overlap(&self) -> bool {
        self.coverage.looked_at > 2 * self.coverage.read
    }

    /// The window of a step by its samples.
    #[inline]
    fn window(&self, step: usize, from: usize, to: usize) -> Option<Window<'s>> {
        let end_ms = self.slide.end_ms(step);
        let mut args = [0.0; 2];
        for (slot, arg) in args.iter_mut().zip(self.args) {
            *slot = arg.at(step);
        }
        Some(Window {
            times: self.times.get(from..to)?,
            values: self.values.get(from..to)?,
            histograms: &[],
            starts: &[],
            start_ms: end_ms - self.slide.range_ms,
            end_ms,
            range_ms: self.slide.range_ms,
            time_ms: self.slide.time_ms(step),
            args,
        })
    }

    /// Looks at each window for itself.
    fn each(
        &self,
        carried: &mut Carried,
        out: &mut [f64],
        kernel: impl Fn(&Window<'_>) -> Option<f64>,
    ) -> Result<(), QueryError> {
        for ((step, out), (from, to)) in out.iter_mut().enumerate().zip(self.cuts.iter()) {
            carried.look(self.context, to - from)?;
            let window = self.window(step, from, to).filter(|window| !window.values.is_empty());
            if let Some(value) = window.and_then(|window| kernel(&window)) {
                *out = value;
            }
        }
        Ok(())
    }
}
