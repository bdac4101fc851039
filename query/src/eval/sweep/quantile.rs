//! The sweep of quantiles: the window stays sorted while samples come in and go out.

use super::{Carried, Windows};
use crate::error::QueryError;
use crate::eval::function::over_time;
use crate::eval::function::quantile::{Key, between};

/// The values of a window, ascending.
#[derive(Debug, Default)]
pub(super) struct Sorted {
    keys: Vec<Key>,
    from: usize,
    to: usize,
}

/// `quantile_over_time`
pub(super) fn quantile(windows: &Windows<'_>, carried: &mut Carried, out: &mut [f64]) -> Result<(), QueryError> {
    let steps = out.len().max(1) as u64;
    let (changes, samples) = (2 * windows.coverage.read / steps, windows.coverage.looked_at / steps);
    if !windows.overlap() || !is_worth_it(changes as usize, samples as usize) {
        return windows.each(carried, out, over_time::quantile_of);
    }
    carried.sorted.clear();
    for ((step, out), (from, to)) in out.iter_mut().enumerate().zip(windows.cuts.iter()) {
        if from == to {
            continue;
        }
        let moved = carried.sorted.slide(windows.values, from, to);
        carried.look(windows.context, moved)?;
        let q = windows.args.first().map_or(f64::NAN, |arg| arg.at(step));
        *out = between(q, to - from, |lower| carried.sorted.two(lower));
    }
    Ok(())
}

/// How many values are moved in the time in which one is looked at.
const MOVED: usize = 16;

/// Whether so many changes of a sorted window cost less than sorting it.
fn is_worth_it(changes: usize, samples: usize) -> bool {
    /// What finding a place takes, in values that are looked at.
    const SEARCH: usize = 64;
    let levels = samples.max(2).ilog2() as usize;
    changes.saturating_mul(samples / MOVED + SEARCH) <= samples.saturating_mul(2 * levels)
}

impl Sorted {
    fn clear(&mut self) {
        self.keys.clear();
        (self.from, self.to) = (0, 0);
    }

    /// Goes on to the window of the samples from one to another, neither of which lies before that of the current one. How much work it was, in
    /// values that are looked at.
    fn slide(&mut self, values: &[f64], from: usize, to: usize) -> usize {
        let gone = values.get(self.from..self.to.min(from)).unwrap_or_default();
        let new = values.get(self.to.max(from)..to).unwrap_or_default();
        (self.from, self.to) = (from, to);
        let changes = gone.len() + new.len();
        if !is_worth_it(changes, self.keys.len()) {
            self.keys.clear();
            self.keys.extend(values.get(from..to).unwrap_or_default().iter().copied().map(Key::of));
            self.keys.sort_unstable();
            return self.keys.len();
        }
        let moved = changes * (1 + self.keys.len() / MOVED);
        for (&old, &new) in gone.iter().zip(new) {
            self.replace(Key::of(old), Key::of(new));
        }
        for &old in gone.iter().skip(new.len()) {
            let place = self.keys.partition_point(|key| *key < Key::of(old));
            self.keys.remove(place);
        }
        for &new in new.iter().skip(gone.len()) {
            let place = self.keys.partition_point(|key| *key < Key::of(new));
            self.keys.insert(place, Key::of(new));
        }
        moved
    }

    /// Puts a value in for one that is there; what lies between both moves by one.
    fn replace(&mut self, old: Key, new: Key) {
        let place = self.keys.partition_point(|key| *key < old);
        let (below, from) = self.keys.split_at_mut(place);
        if new < old {
            let into = below.partition_point(|key| *key <= new);
            self.keys.copy_within(into..place, into + 1);
            self.keys[into] = new;
        } else {
            let into = place + from.partition_point(|key| *key < new).saturating_sub(1);
            self.keys.copy_within(place + 1..=into, place);
            self.keys[into] = new;
        }
    }

    /// The value at a place and the next one, or the last one twice.
    fn two(&self, lower: usize) -> (f64, f64) {
        let low = self.keys.get(lower).map_or(f64::NAN, |key| key.value());
        (low, self.keys.get(lower + 1).map_or(low, |key| key.value()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_window_is_sorted_after_each_slide() {
        let values: Vec<f64> = (0..600_u64).map(|i| (i * i * 7919 % 97) as f64).collect();
        let mut sorted = Sorted::default();
        let mut slid = 0;
        for (from, to) in
            [(0, 200), (2, 201), (3, 205), (5, 205), (5, 210), (9, 214), (150, 300), (301, 302), (400, 600)]
        {
            let work = sorted.slide(&values, from, to);
            slid += usize::from(work < to - from);
            let mut window: Vec<Key> = values[from..to].iter().copied().map(Key::of).collect();
            window.sort_unstable();
            assert_eq!(sorted.keys, window, "{from}..{to}");
        }
        assert_eq!(slid, 5, "far away it is sorted anew");
    }

    #[test]
    fn what_changes_altogether_is_sorted_and_what_moves_a_little_is_not() {
        assert!(is_worth_it(8, 120) && is_worth_it(2, 20) && is_worth_it(64, 1 << 20));
        assert!(!is_worth_it(120, 120) && !is_worth_it(4, 8) && !is_worth_it(1 << 19, 1 << 20));
    }
}
