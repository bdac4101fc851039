//! The operators around functions that take series one by one, and those that need all of them.

use std::sync::Arc;

use marigram_storage::model::labels::{Labels, METRIC_NAME};

use super::histogram::HistogramOperator;
use super::{HistogramFunction, LabelFunction, MapFunction};
use crate::error::QueryError;
use crate::eval::column::Steps;
use crate::eval::scalar::{self, ScalarColumn};
use crate::eval::{BoxedOperator, Exec, Grid, Operator, SeriesColumn, open};
use crate::histogram::multiply;
use crate::plan::{HistogramSite, ScalarNode, VectorNode};
use crate::value::SampleValue;

/// An operator made of a function that changes series one by one. Series without samples are dropped.
struct Each<'q, F> {
    exec: &'q Exec<'q>,
    input: BoxedOperator<'q>,
    f: F,
}

impl<F: FnMut(&mut SeriesColumn) -> Result<(), QueryError>> Operator for Each<'_, F> {
    fn next(&mut self) -> Result<Option<SeriesColumn>, QueryError> {
        while let Some(mut series) = self.input.next()? {
            self.exec.check()?;
            (self.f)(&mut series)?;
            if !series.column.present.is_empty() {
                return Ok(Some(series));
            }
        }
        Ok(None)
    }

    fn begin(&mut self) {
        self.input.begin();
    }
}

/// An operator made of the series that a function computes when the first one is asked for.
struct Computed<F> {
    compute: Option<F>,
    series: std::vec::IntoIter<SeriesColumn>,
}

impl<F: FnOnce() -> Result<Vec<SeriesColumn>, QueryError>> Operator for Computed<F> {
    fn next(&mut self) -> Result<Option<SeriesColumn>, QueryError> {
        if let Some(compute) = self.compute.take() {
            self.series = compute()?.into_iter();
        }
        Ok(self.series.next())
    }
}

/// See [`Computed`].
pub(crate) fn computed<'q>(compute: impl FnOnce() -> Result<Vec<SeriesColumn>, QueryError> + 'q) -> BoxedOperator<'q> {
    Box::new(Computed { compute: Some(compute), series: Vec::new().into_iter() })
}

/// See [`Each`].
pub(crate) fn each<'q>(
    exec: &'q Exec<'q>,
    input: BoxedOperator<'q>,
    f: impl FnMut(&mut SeriesColumn) -> Result<(), QueryError> + 'q,
) -> BoxedOperator<'q> {
    Box::new(Each { exec, input, f })
}

/// A function of each value.
pub(crate) fn map<'q>(
    exec: &'q Exec<'q>,
    function: &'q MapFunction,
    input: &'q VectorNode,
    args: &'q [ScalarNode],
    grid: Grid,
) -> Result<BoxedOperator<'q>, QueryError> {
    let args = args.iter().map(|arg| scalar::evaluate(exec, arg, grid)).collect::<Result<Vec<ScalarColumn>, _>>()?;
    let input = open(exec, input, grid)?;
    Ok(each(exec, input, move |series| {
        match function {
            MapFunction::OfHistogram(f) => {
                // As in Prometheus, only the name goes.
                match exec.options.features.delayed_name_removal {
                    true => series.drops_name = true,
                    false => series.labels = series.labels.without(|name| name == METRIC_NAME),
                }
                series.column.drop_floats();
                return series.column.replace_histograms(|_, histogram| Some(SampleValue::Float(f(&histogram))));
            }
            MapFunction::StepTime => series.column.forget_kinds(),
            _ => {
                series.column.drop_histograms();
            }
        }
        series.drop_name(exec);
        if let MapFunction::Plain(f) = function {
            series.column.map(f);
            return Ok(());
        }
        for step in 0..grid.steps {
            let Some(value) = series.column.values.get_mut(step).filter(|_| series.column.present.get(step)) else {
                continue;
            };
            match function.apply(*value, step, grid.time_ms(step), &args) {
                Some(result) => *value = result,
                None => series.column.present.unset(step),
            }
        }
        Ok(())
    }))
}

/// Unary minus.
pub(crate) fn negate<'q>(
    exec: &'q Exec<'q>,
    input: &'q VectorNode,
    grid: Grid,
) -> Result<BoxedOperator<'q>, QueryError> {
    Ok(each(exec, open(exec, input, grid)?, move |series| {
        series.drop_name(exec);
        series.column.map(|value| -value);
        series.column.replace_histograms(|_, mut histogram| {
            multiply(Arc::make_mut(&mut histogram), -1.0);
            Some(SampleValue::Histogram(histogram))
        })
    }))
}

/// A function of the labels. What it writes is bounded by nothing but the query's memory budget.
pub(crate) fn label<'q>(
    exec: &'q Exec<'q>,
    function: &'q LabelFunction,
    input: &'q VectorNode,
    grid: Grid,
) -> Result<BoxedOperator<'q>, QueryError> {
    Ok(Box::new(Relabelled { exec, input: open(exec, input, grid)?, function }))
}

struct Relabelled<'q> {
    exec: &'q Exec<'q>,
    input: BoxedOperator<'q>,
    function: &'q LabelFunction,
}

impl Operator for Relabelled<'_> {
    fn next(&mut self) -> Result<Option<SeriesColumn>, QueryError> {
        self.exec.check()?;
        let Some(mut series) = self.input.next()? else { return Ok(None) };
        if let Some(labels) = self.function.apply(&series.labels) {
            series.labels = labels;
            // A name that is written now is to stay.
            series.drops_name &= self.function.destination() != METRIC_NAME;
        }
        self.exec.keep_labels(&series.labels)?;
        Ok(Some(series))
    }
}

/// `absent`: one series, present where the input has no sample.
pub(crate) fn absent<'q>(
    exec: &'q Exec<'q>,
    input: &'q VectorNode,
    labels: &'q Labels,
    grid: Grid,
) -> Result<BoxedOperator<'q>, QueryError> {
    Ok(computed(move || {
        let mut missing = Steps::all(grid.steps);
        let mut input = open(exec, input, grid)?;
        while !missing.is_empty() || exec.counts.tells_steps() {
            let Some(series) = input.next()? else { break };
            missing.subtract(&series.column.present);
        }
        if missing.is_empty() {
            return Ok(Vec::new());
        }
        let mut column = exec.column(grid)?;
        column.values.fill(1.0);
        column.present = missing;
        Ok(vec![SeriesColumn::new(labels.clone(), column)])
    }))
}

/// `vector`: the scalar as a series without labels.
pub(crate) fn of_scalar<'q>(
    exec: &'q Exec<'q>,
    node: &'q ScalarNode,
    grid: Grid,
) -> Result<BoxedOperator<'q>, QueryError> {
    Ok(computed(move || {
        if grid.steps == 0 {
            return Ok(Vec::new());
        }
        let mut column = exec.column(grid)?;
        for (step, value) in scalar::evaluate(exec, node, grid)?.iter(grid.steps).enumerate() {
            column.put(step, value);
        }
        Ok(vec![SeriesColumn::new(Labels::default(), column)])
    }))
}

/// A function of histograms, native or of classic buckets.
pub(crate) fn histogram<'q>(
    exec: &'q Exec<'q>,
    function: &'q HistogramFunction,
    input: &'q VectorNode,
    args: &'q [ScalarNode],
    site: &'q HistogramSite,
    grid: Grid,
) -> Result<BoxedOperator<'q>, QueryError> {
    let args = args.iter().map(|arg| scalar::evaluate(exec, arg, grid)).collect::<Result<Vec<ScalarColumn>, _>>()?;
    let input = open(exec, input, grid)?;
    Ok(Box::new(HistogramOperator::new(exec, function, input, args, site, grid)))
}
