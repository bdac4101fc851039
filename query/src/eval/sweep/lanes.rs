//! Sums of several windows at once, each as adding up that window alone has it, to the bit.
//!
//! A sum that is compensated waits for its own last addition most of the time. Windows that lie one after another at the same distance are
//! therefore added up side by side: first the first samples of all, then the second ones, and so on.

use multiversion::multiversion;

use crate::eval::kahan::exact_sum;

/// How many windows are added up at once.
const LANES: usize = 32;
/// Fewer are not worth laying out.
const FEW: usize = 4;

/// Windows of neighbouring steps with as many samples each and the same distance between them.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Run {
    /// The first step.
    pub(super) step: usize,
    /// The first sample of its window.
    from: usize,
    /// How many samples a window has.
    pub(super) samples: usize,
    /// How many samples further the next one begins.
    stride: usize,
    /// How many windows there are.
    pub(super) len: usize,
}

impl Run {
    /// One window.
    pub(super) fn starting_at(step: usize, (from, to): (usize, usize)) -> Self {
        Run { step, from, samples: to - from, stride: 0, len: 1 }
    }

    /// The first sample of a window.
    pub(super) fn first_of(&self, window: usize) -> usize {
        self.from + window * self.stride
    }

    /// Takes the window of a further step in. Whether it goes on as those before.
    #[inline]
    pub(super) fn goes_on(&mut self, step: usize, (from, to): (usize, usize)) -> bool {
        let fits = self.len > 0 && self.len < LANES && self.step + self.len == step && to - from == self.samples;
        if !fits || from <= self.from {
            return false;
        }
        if self.len == 1 {
            self.stride = from - self.from;
        }
        if from != self.first_of(self.len) {
            return false;
        }
        self.len += 1;
        true
    }
}

/// Memory for sums of a run.
#[derive(Debug, Default)]
pub(super) struct Lanes {
    /// The samples of the run, in rows: those at the same place of its first stride, of its second, and so on.
    rows: Vec<f64>,
    sums: [f64; LANES],
    lost: [f64; LANES],
}

impl Lanes {
    /// For every window of a run the sum of its values, each times the weight of its place in the window, and what rounding has taken
    /// from the sum. None of them may overflow.
    pub(super) fn sums(
        &mut self,
        run: &Run,
        values: &[f64],
        weight: impl Fn(usize) -> f64,
    ) -> impl Iterator<Item = (f64, f64)> + '_ {
        let Run { from, samples, stride, len, .. } = *run;
        let (sums, lost) = (&mut self.sums, &mut self.lost);
        sums.fill(0.0);
        lost.fill(0.0);
        if len < FEW {
            for (lane, (sum, lost)) in sums.iter_mut().zip(lost).take(len).enumerate() {
                let from = from + lane * stride;
                for (i, value) in values.get(from..from + samples).unwrap_or_default().iter().enumerate() {
                    let (next, rest) = exact_sum(*sum, weight(i) * value);
                    (*sum, *lost) = (next, *lost + rest);
                }
            }
        } else {
            let values = values.get(from..from + samples + (len - 1) * stride).unwrap_or_default();
            let columns = values.len().div_ceil(stride);
            self.rows.clear();
            for row in 0..stride {
                self.rows.extend(values.iter().skip(row).step_by(stride));
                self.rows.resize((row + 1) * columns, 0.0);
            }
            let (mut row, mut column) = (0, 0);
            for i in 0..samples {
                let at = row * columns + column;
                add_weighted(weight(i), self.rows.get(at..at + len).unwrap_or_default(), sums, lost);
                row += 1;
                if row == stride {
                    (row, column) = (0, column + 1);
                }
            }
        }
        self.sums.iter().copied().zip(self.lost.iter().copied()).take(len)
    }
}

/// Adds to each sum another value. A function of its own, so that the compiler knows that the slices do not overlap, and adds up
/// several at a time: as many as the processor can.
#[multiversion(targets("x86_64+avx2"))]
fn add_weighted(weight: f64, values: &[f64], sums: &mut [f64; LANES], lost: &mut [f64; LANES]) {
    for ((sum, lost), value) in sums.iter_mut().zip(lost).zip(values) {
        let (next, rest) = exact_sum(*sum, weight * value);
        (*sum, *lost) = (next, *lost + rest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(windows: &[(usize, usize)]) -> Run {
        let mut run = Run::starting_at(7, windows[0]);
        for (step, window) in (8..).zip(&windows[1..]) {
            assert!(run.goes_on(step, *window), "{window:?}");
        }
        run
    }

    #[test]
    fn windows_of_a_run_are_alike() {
        let known = run(&[(3, 10), (5, 12), (7, 14)]);
        let goes_on = |mut run: Run, step, window| run.goes_on(step, window);
        assert!(goes_on(known, 10, (9, 16)) && goes_on(run(&[(3, 10)]), 8, (6, 13)));
        assert!(!goes_on(known, 10, (9, 17)) && !goes_on(known, 10, (10, 17)) && !goes_on(known, 11, (9, 16)));
        assert!(!goes_on(Run::default(), 0, (0, 1)) && !goes_on(run(&[(3, 10)]), 8, (3, 10)));
    }

    #[test]
    fn lanes_are_sums_of_their_windows() {
        let values: Vec<f64> = (0..200_u32).map(|i| f64::from(i * i % 37) / 3.0).collect();
        let mut lanes = Lanes::default();
        for (stride, len) in [(1, 1), (1, 3), (1, 32), (3, 20), (4, 2), (7, 5), (30, 4)] {
            let windows: Vec<(usize, usize)> = (0..len).map(|i| (2 + i * stride, 2 + i * stride + 50)).collect();
            let sums: Vec<(f64, f64)> = lanes.sums(&run(&windows), &values, |i| i as f64).collect();
            let alone = windows.iter().map(|(from, to)| {
                let weighted = values[*from..*to].iter().enumerate().map(|(i, value)| i as f64 * value);
                weighted.fold((0.0, 0.0), |(sum, lost), value| {
                    let (next, rest) = exact_sum(sum, value);
                    (next, lost + rest)
                })
            });
            assert_eq!(sums, alone.collect::<Vec<_>>(), "{len} windows, {stride} apart");
        }
    }
}
