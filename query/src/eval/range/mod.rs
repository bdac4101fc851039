//! Range vectors: windows of raw samples before each step, and the functions that turn a window into a value.
//!
//! 1. The samples of a series are decoded once, for all steps, without staleness markers ([`samples`]).
//! 2. Two cursors mark the window `(moment - range, moment]` of the current step; both only move forward ([`reach`]).
//! 3. The function sees the window as two slices ([`windows`]). Most functions of floats see all windows at once instead (`sweep`).

mod absent;
mod function;
mod matrix;
mod reach;
mod samples;
mod windows;

pub(super) use absent::AbsentOverTime;
pub(super) use function::open;
pub(super) use matrix::materialise;
