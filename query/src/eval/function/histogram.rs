//! Quantiles and fractions of histograms: native ones, and classic ones, which are series of cumulative counts, one for each
//! upper bound `le`.
//!
//! 1. All series are taken in. Those with floats are grouped by their labels without `le`; a group is a classic histogram.
//! 2. At each step, the buckets that have a sample are sorted by bound, equal bounds are added up.
//! 3. Counts that go down from a bound to the next (scrapes and rounding can do that) are levelled out, then the value
//!    is interpolated within its bucket.
//! 4. Where a series has a native histogram, that is asked; where there is a classic one with the same labels, too, neither.

use std::sync::Arc;

use hashbrown::HashMap;
use marigram_storage::model::histogram::Histogram;
use marigram_storage::model::labels::{Labels, LabelsBuilder};

use super::check_quantile;
use super::classic::{Bucket, Levelled, fraction, parse_bound, quantile};
use crate::annotations::NotMonotonic;
use crate::error::QueryError;
use crate::eval::column::Column;
use crate::eval::notes::{Note, Notes, with_name};
use crate::eval::scalar::ScalarColumn;
use crate::eval::{BoxedOperator, Exec, Grid, Operator, SeriesColumn};
use crate::histogram;
use crate::names::without_metadata;
use crate::number;
use crate::parse::strings::quote;
use crate::plan::HistogramSite;

/// The label that holds a bucket's upper bound.
const BUCKET_LABEL: &str = "le";

/// Which function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum HistogramFunction {
    /// `histogram_quantile(q, v)`
    Quantile,
    /// `histogram_quantiles(v, label, q, …)`: a series for each quantile, with this label.
    Quantiles(String),
    /// `histogram_fraction(lower, upper, v)`
    Fraction,
}

/// A histogram, classic or native or both.
#[derive(Default)]
struct Input {
    /// Those of the classic buckets without `le`, or those of the native histogram.
    labels: Labels,
    /// Upper bound and counts.
    buckets: Vec<(f64, Column)>,
    native: Option<Column>,
}

/// Takes all histograms in, then yields a series (or one for each quantile) for each of them.
pub(super) struct HistogramOperator<'q> {
    exec: &'q Exec<'q>,
    function: &'q HistogramFunction,
    input: Option<BoxedOperator<'q>>,
    args: Vec<ScalarColumn>,
    site: &'q HistogramSite,
    grid: Grid,
    inputs: std::vec::IntoIter<Input>,
    ready: std::vec::IntoIter<SeriesColumn>,
}

impl<'q> HistogramOperator<'q> {
    pub(super) fn new(
        exec: &'q Exec<'q>,
        function: &'q HistogramFunction,
        input: BoxedOperator<'q>,
        args: Vec<ScalarColumn>,
        site: &'q HistogramSite,
        grid: Grid,
    ) -> Self {
        let (inputs, ready) = (Vec::new().into_iter(), Vec::new().into_iter());
        HistogramOperator { exec, function, input: Some(input), args, site, grid, inputs, ready }
    }

    fn take_in(&mut self, mut input: BoxedOperator<'q>) -> Result<(), QueryError> {
        for (quantile, span) in self.args.iter().zip(&self.site.quantiles) {
            quantile.iter(self.grid.steps).for_each(|q| check_quantile(self.exec, q, *span));
        }
        let mut inputs: Vec<Input> = Vec::new();
        let mut known: HashMap<Labels, usize> = HashMap::new();
        let mut find = |inputs: &mut Vec<Input>, key: Labels| -> Result<usize, QueryError> {
            self.exec.keep_labels(&key)?;
            Ok(*known.entry(key).or_insert_with_key(|key| {
                inputs.push(Input { labels: key.clone(), ..Input::default() });
                inputs.len() - 1
            }))
        };
        while let Some(mut series) = input.next()? {
            if series.column.has_histograms() {
                let at = find(&mut inputs, series.labels.clone())?;
                let mut native = self.exec.column(self.grid)?;
                for (step, histogram) in series.column.histograms() {
                    native.put_histogram(step, Arc::clone(histogram))?;
                }
                series.column.drop_histograms();
                if let Some(input) = inputs.get_mut(at) {
                    match &mut input.native {
                        Some(known) => known.absorb(&native)?,
                        none => *none = Some(native),
                    }
                }
                if series.column.present.is_empty() {
                    continue;
                }
            }
            let bound = series.labels.get(BUCKET_LABEL).unwrap_or("");
            let Some(upper) = parse_bound(bound) else {
                let name = self.subject(&series.labels);
                let text = with_name(
                    format!("bucket label \"le\" is missing or has a malformed value of {}", quote(bound)),
                    name,
                );
                self.exec.remarks.borrow_mut().warn(text, self.site.buckets);
                continue;
            };
            let at = find(&mut inputs, series.labels.without(|name| name == BUCKET_LABEL))?;
            if let Some(input) = inputs.get_mut(at) {
                input.buckets.push((upper, series.column));
            }
        }
        inputs.iter_mut().for_each(|input| input.buckets.sort_by(|a, b| a.0.total_cmp(&b.0)));
        // Whoever adds the results up gets the same sum whichever steps were asked for.
        inputs.sort_by(|a, b| a.labels.cmp(&b.labels));
        self.inputs = inputs.into_iter();
        Ok(())
    }

    /// The series of one histogram.
    fn evaluate(&self, input: &Input) -> Result<Vec<SeriesColumn>, QueryError> {
        let labels = match self.exec.options.features.delayed_name_removal {
            true => input.labels.clone(),
            false => without_metadata(&input.labels),
        };
        let metric = self.subject(&input.labels);
        let mut outs = Vec::new();
        let mut notes = Notes::default();
        match self.function {
            HistogramFunction::Quantile => {
                let q = |step| self.arg(0, step);
                outs.push(self.over_steps(input, labels, &mut notes, |at, step, notes| {
                    self.quantile(q(step), at, step, (notes, metric))
                })?);
            }
            HistogramFunction::Fraction => {
                let of = |at: At<'_>, step: usize, notes: &mut Notes| {
                    let (lower, upper) = (self.arg(0, step), self.arg(1, step));
                    match at {
                        At::Classic(buckets) => fraction(lower, upper, buckets),
                        At::Native(histogram) => {
                            let (value, has_nan) = histogram::fraction(lower, upper, histogram);
                            notes.add_if(has_nan, Note::FractionWithoutNan);
                            value
                        }
                    }
                };
                outs.push(self.over_steps(input, labels, &mut notes, of)?);
            }
            HistogramFunction::Quantiles(label) => {
                for arg in 0..self.args.len() {
                    // A quantile that changes from step to step is another series at each.
                    let mut values: Vec<f64> = (0..self.grid.steps).map(|step| self.arg(arg, step)).collect();
                    values.sort_by(f64::total_cmp);
                    values.dedup_by(|a, b| a.to_bits() == b.to_bits());
                    for q in values {
                        let text = quantile_text(q);
                        let labels = LabelsBuilder::from_labels(&labels).set(label, &text).build();
                        let mut out = self.over_steps(input, labels, &mut notes, |at, step, notes| {
                            self.quantile(q, at, step, (notes, metric))
                        })?;
                        for step in 0..self.grid.steps {
                            if self.arg(arg, step).to_bits() != q.to_bits() {
                                out.column.present.unset(step);
                            }
                        }
                        outs.push(out);
                    }
                }
            }
        }
        notes.write(self.exec, metric, self.site.buckets);
        outs.retain(|out| !out.column.present.is_empty());
        Ok(outs)
    }

    /// The metric's name, where it is still known.
    fn subject<'l>(&self, labels: &'l Labels) -> &'l str {
        if self.exec.options.features.delayed_name_removal { labels.metric_name().unwrap_or("") } else { "" }
    }

    fn arg(&self, arg: usize, step: usize) -> f64 {
        self.args.get(arg).map_or(f64::NAN, |column| column.at(step))
    }

    /// The function at all steps.
    fn over_steps(
        &self,
        input: &Input,
        labels: Labels,
        notes: &mut Notes,
        of: impl Fn(At<'_>, usize, &mut Notes) -> f64,
    ) -> Result<SeriesColumn, QueryError> {
        let mut column = self.exec.column(self.grid)?;
        let mut buckets = Vec::new();
        for step in 0..self.grid.steps {
            buckets.clear();
            for (upper, column) in &input.buckets {
                if let Some(count) = column.float(step) {
                    buckets.push(Bucket { upper: *upper, count });
                }
            }
            let at = match (input.native.as_ref().and_then(|native| native.histogram(step)), buckets.is_empty()) {
                (None, true) => continue,
                (None, false) => At::Classic(&mut buckets),
                (Some(histogram), true) => At::Native(histogram),
                (Some(_), false) => {
                    notes.add(Note::MixedKinds);
                    continue;
                }
            };
            let value = of(at, step, notes);
            column.put(step, value);
        }
        let drops_name = self.exec.options.features.delayed_name_removal;
        Ok(SeriesColumn { labels, column, drops_name })
    }

    fn quantile(&self, q: f64, at: At<'_>, step: usize, (notes, metric): (&mut Notes, &str)) -> f64 {
        let buckets = match at {
            At::Native(histogram) => {
                let found = histogram::quantile(q, histogram);
                notes.add_if(found.lost_to_nan, Note::QuantileLostToNan);
                notes.add_if(found.skewed_by_nan, Note::QuantileSkewedByNan);
                return found.value;
            }
            At::Classic(buckets) => buckets,
        };
        let (value, levelled) = quantile(q, buckets);
        if let Some(Levelled { lowest_bucket, highest_bucket, widest_diff }) = levelled {
            let time_ms = self.grid.time_ms(step);
            self.exec.remarks.borrow_mut().not_monotonic(NotMonotonic {
                span: self.site.buckets,
                metric: metric.to_owned(),
                first_ms: time_ms,
                last_ms: time_ms,
                lowest_bucket,
                highest_bucket,
                widest_diff,
                samples: 1,
            });
        }
        value
    }
}

/// A histogram at one step.
enum At<'a> {
    Classic(&'a mut Vec<Bucket>),
    Native(&'a Histogram),
}

impl Operator for HistogramOperator<'_> {
    fn next(&mut self) -> Result<Option<SeriesColumn>, QueryError> {
        if let Some(input) = self.input.take() {
            self.take_in(input)?;
        }
        loop {
            if let Some(ready) = self.ready.next() {
                return Ok(Some(ready));
            }
            self.exec.check()?;
            let Some(input) = self.inputs.next() else { return Ok(None) };
            self.ready = self.evaluate(&input)?.into_iter();
        }
    }
}

/// A quantile as the value of a label: as a float, even where it is whole.
fn quantile_text(q: f64) -> String {
    let mut text = number::go_g(q);
    if q.is_finite() && !text.contains(['.', 'e']) {
        text.push_str(".0");
    }
    text
}
