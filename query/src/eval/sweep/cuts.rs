//! Where windows begin and end among the samples of a series.

use std::ops::Range;

use crate::eval::Grid;
use crate::plan::Moment;

/// How the window moves from step to step.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Slide {
    grid: Grid,
    /// Where the window of the first step ends.
    end_ms: i64,
    /// How far it moves with each step: as far as the steps, or, pinned, not at all.
    step_ms: i64,
    /// How long it is.
    pub(super) range_ms: i64,
}

impl Slide {
    /// The windows of all steps; `None` at the ends of time, where they would not fit into numbers.
    pub(crate) fn new(grid: Grid, moment: Moment, range_ms: i64) -> Option<Self> {
        let ahead = i64::try_from(grid.steps).ok()?.checked_mul(grid.step_ms)?;
        grid.start_ms.checked_add(ahead)?;
        let first_ms = moment.at_ms.unwrap_or(grid.start_ms).checked_sub(moment.offset_ms)?;
        let step_ms = if moment.at_ms.is_some() { 0 } else { grid.step_ms };
        first_ms.checked_add(ahead)?;
        first_ms.checked_sub(range_ms)?;
        Some(Slide { grid, end_ms: first_ms, step_ms, range_ms })
    }

    /// How many windows there are.
    pub(super) fn steps(&self) -> usize {
        self.grid.steps
    }

    /// The time of a step.
    pub(super) fn time_ms(&self, step: usize) -> i64 {
        self.grid.start_ms + step as i64 * self.grid.step_ms
    }

    /// The end of its window.
    #[inline]
    pub(super) fn end_ms(&self, step: usize) -> i64 {
        self.end_ms + step as i64 * self.step_ms
    }
}

/// For every step the samples of its window: from one place to another.
#[derive(Debug, Default)]
pub(crate) struct Cuts {
    /// The starts of the windows, and, `shift` places behind them, their ends. A range that is a multiple of the step ends where
    /// another one starts, so that most places are both.
    places: Vec<u32>,
    shift: usize,
    steps: usize,
}

/// Windows of neighbouring steps that have as many samples each, at the same times relative to their ends.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Alike {
    pub(super) steps: Range<usize>,
    /// The first sample of the first window.
    pub(super) from: usize,
    /// Of each window; at least two, where there are windows.
    pub(super) samples: usize,
    /// How many samples further the next window begins; at least one, where there are windows.
    pub(super) stride: usize,
}

/// How windows cover a series.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Coverage {
    /// Samples in all windows, one that lies in several counted for each.
    pub(crate) looked_at: u64,
    /// The same, in overlapping windows counted once.
    pub(crate) read: u64,
    /// Samples in the window that has the fewest.
    pub(crate) fewest: u32,
}

impl Cuts {
    /// Bytes that [`Cuts::find`] needs at most.
    pub(super) fn size_bytes(slide: Slide) -> usize {
        2 * slide.steps() * size_of::<u32>()
    }

    /// Finds the windows of a series with samples at `times`, fewer than 2^32.
    pub(super) fn find(&mut self, times: &[i64], slide: Slide) {
        let steps = slide.steps();
        let apart = match slide.range_ms.checked_div(slide.step_ms) {
            Some(apart) if apart * slide.step_ms == slide.range_ms => usize::try_from(apart).ok(),
            _ => None,
        };
        self.places.clear();
        self.steps = steps;
        let start_ms = slide.end_ms - slide.range_ms;
        match apart.filter(|apart| *apart <= steps) {
            Some(apart) => {
                self.shift = apart;
                self.walk(times, start_ms, slide.step_ms, steps + apart);
            }
            None => {
                self.shift = steps;
                self.walk(times, start_ms, slide.step_ms, steps);
                self.walk(times, slide.end_ms, slide.step_ms, steps);
            }
        }
    }

    /// For each of `count` moments, how many samples are not behind it.
    fn walk(&mut self, times: &[i64], first_ms: i64, step_ms: i64, count: usize) {
        let (mut at, mut stride) = (0_usize, 0);
        let mut moment_ms = first_ms;
        for _ in 0..count {
            // Of regular samples as many come in as at the step before.
            let guess = (at + stride).min(times.len());
            let reached = guess == 0 || times.get(guess - 1).is_some_and(|time_ms| *time_ms <= moment_ms);
            if reached && times.get(guess).is_none_or(|time_ms| *time_ms > moment_ms) {
                at = guess;
            } else {
                let before = at;
                while times.get(at).is_some_and(|time_ms| *time_ms <= moment_ms) {
                    at += 1;
                }
                stride = at - before;
            }
            self.places.push(at as u32);
            moment_ms += step_ms;
        }
    }

    /// Where the windows start.
    fn starts(&self) -> &[u32] {
        self.places.get(..self.steps).unwrap_or_default()
    }

    /// Where they end; what stands there is not in them.
    fn ends(&self) -> &[u32] {
        self.places.get(self.shift..self.shift + self.steps).unwrap_or_default()
    }

    /// For every step the samples of its window; of none after the last one.
    #[inline]
    pub(super) fn iter(&self) -> impl Iterator<Item = (usize, usize)> + '_ {
        self.starts().iter().zip(self.ends()).map(|(from, to)| (*from as usize, *to as usize))
    }

    /// The samples of the window of a step.
    #[inline]
    pub(super) fn at(&self, step: usize) -> Option<(usize, usize)> {
        Some((*self.starts().get(step)? as usize, *self.ends().get(step)? as usize))
    }

    /// Windows that are alike, where the samples that most of them lie in come regularly.
    pub(super) fn alike(&self, times: &[i64], slide: Slide) -> Alike {
        /// Fewer are not worth looking for.
        const FEW: usize = 8;
        let (starts, ends) = (self.starts(), self.ends());
        // Those at the beginning may be cut off by the beginning of the series.
        let begin = starts.iter().take_while(|from| **from == 0).count();
        let (Some((from, to)), Some((next, _))) = (self.at(begin), self.at(begin + 1)) else { return Alike::default() };
        let (samples, stride) = (to - from, next - from);
        if samples < 2 || stride == 0 {
            return Alike::default();
        }
        let go_on = |cuts: &[u32], first: usize| {
            let expected = (first as u64..).step_by(stride);
            cuts.iter().skip(begin).zip(expected).take_while(|(cut, expected)| u64::from(**cut) == *expected).count()
        };
        let count = go_on(starts, from).min(go_on(ends, to));
        let last = from + count.saturating_sub(1) * stride + samples;
        let Some(times @ [first_ms, second_ms, ..]) = times.get(from..last).filter(|_| count >= FEW) else {
            return Alike::default();
        };
        let distance_ms = second_ms - first_ms;
        let pairs = times.iter().zip(times.iter().skip(1));
        let regular = pairs.fold(true, |all, (before, after)| all & (after - before == distance_ms));
        match regular && distance_ms * stride as i64 == slide.step_ms {
            true => Alike { steps: begin..begin + count, from, samples, stride },
            false => Alike::default(),
        }
    }

    /// How the windows cover the samples.
    pub(super) fn coverage(&self, slide: Slide) -> Coverage {
        let samples = || self.starts().iter().zip(self.ends()).map(|(from, to)| to - from);
        let looked_at = samples().map(u64::from).sum();
        let read = match (self.starts().first(), self.ends().last()) {
            // A window reaches back to where the one before ends, or to before that.
            (Some(first), Some(last)) if slide.step_ms <= slide.range_ms => u64::from(last - first),
            _ => looked_at,
        };
        Coverage { looked_at, read, fewest: samples().min().unwrap_or_default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cuts(times: &[i64], grid: Grid, moment: Moment, range_ms: i64) -> Vec<(usize, usize)> {
        let mut cuts = Cuts::default();
        cuts.find(times, Slide::new(grid, moment, range_ms).unwrap());
        cuts.iter().collect()
    }

    #[test]
    fn a_window_begins_behind_its_start_and_ends_at_its_end() {
        let times = [10, 20, 30, 40, 70];
        let grid = |step_ms, steps| Grid::new(20, step_ms, steps);
        let now = Moment::default();
        assert_eq!(cuts(&times, grid(10, 7), now, 20), [(0, 2), (1, 3), (2, 4), (3, 4), (4, 4), (4, 5), (4, 5)]);
        assert_eq!(cuts(&times, grid(25, 3), now, 10), [(1, 2), (3, 4), (4, 5)]);
        assert_eq!(cuts(&times, grid(10, 1), now, 1000), [(0, 2)]);
        assert_eq!(cuts(&[], grid(10, 2), now, 20), [(0, 0), (0, 0)]);
        let pinned = Moment { at_ms: Some(45), offset_ms: 5 };
        assert_eq!(cuts(&times, grid(10, 2), pinned, 20), [(2, 4), (2, 4)]);
    }

    #[test]
    fn samples_between_windows_are_not_read_and_overlaps_are_read_once() {
        let mut cuts = Cuts::default();
        let mut coverage = |step_ms, steps, range_ms| {
            let grid = Grid::new(20, step_ms, steps);
            let slide = Slide::new(grid, Moment::default(), range_ms).unwrap();
            cuts.find(&[10, 20, 30, 40, 50, 60], slide);
            cuts.coverage(slide)
        };
        assert_eq!(coverage(20, 3, 10), Coverage { looked_at: 3, read: 3, fewest: 1 });
        assert_eq!(coverage(10, 4, 20), Coverage { looked_at: 8, read: 5, fewest: 2 });
    }

    #[test]
    fn times_that_do_not_fit_have_no_slide() {
        let grid = |start_ms, steps| Grid::new(start_ms, 1000, steps);
        assert!(Slide::new(grid(i64::MAX - 10, 2), Moment::default(), 5).is_none());
        assert!(Slide::new(grid(i64::MIN + 10, 2), Moment::default(), 50).is_none());
        assert!(Slide::new(grid(0, usize::MAX), Moment::default(), 5).is_none());
        assert!(Slide::new(grid(0, 1), Moment { at_ms: None, offset_ms: i64::MIN }, 5).is_none());
    }

    #[test]
    fn windows_over_regular_samples_are_alike() {
        let alike = |times: &[i64], step_ms: i64, range_ms: i64| {
            let mut cuts = Cuts::default();
            let slide = Slide::new(Grid::new(100, step_ms, 30), Moment::default(), range_ms).unwrap();
            cuts.find(times, slide);
            cuts.alike(times, slide)
        };
        let times: Vec<i64> = (0..50).map(|i| 105 + 10 * i).collect();
        // Until 130 a window begins before the first sample, at 135 with it.
        assert_eq!(alike(&times, 10, 30), Alike { steps: 4..30, from: 1, samples: 3, stride: 1 });
        assert_eq!(alike(&times, 20, 30), Alike { steps: 2..26, from: 1, samples: 3, stride: 2 });
        assert_eq!(alike(&times[..20], 10, 30), Alike { steps: 4..21, from: 1, samples: 3, stride: 1 });
        // Samples that are elsewhere in each window, too few windows, one sample that is late, or lacks.
        assert_eq!(alike(&times, 15, 30), Alike::default());
        assert_eq!(alike(&times[..8], 10, 30), Alike::default());
        let mut late = times.clone();
        late[20] += 1;
        assert_eq!(alike(&late, 10, 30), Alike::default());
        late.remove(20);
        assert_eq!(alike(&late, 10, 30).steps, 4..21);
    }
}
