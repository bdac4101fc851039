//! Calls: from a function's name and arguments to a plan node.

use marigram_storage::model::labels::Labels;

use super::build::{Builder, label_name};
use super::invariant::unwrap_parens;
use super::{HistogramSite, InfoNode, MatrixNode, Node, ScalarFold, ScalarNode, SortBy, SortOrder, VectorNode};
use crate::error::QueryError;
use crate::eval::function::math::{of_histogram, plain};
use crate::eval::function::{
    Check, DatePart, HistogramFunction, LabelFunction, MapFunction, Window, WindowFunction, extended,
    histogram_extended, histograms, over_time, rate, smoothing,
};
use crate::eval::sweep::Sweep;
use crate::parse::ast::{Boundary, Expr, ExprKind, Span};
use crate::parse::literal::Text;

/// A function that the language has and this engine does not have yet.
pub(super) fn not_there(name: &str) -> QueryError {
    QueryError::execution(format!("{name} is not supported yet"))
}

/// Plans a call. The parser has checked number and types of the arguments.
pub(super) fn call(builder: &mut Builder, name: &str, call: &Expr, args: &[Expr]) -> Result<Node, QueryError> {
    if let Some(kernel) = window_kernel(name) {
        return window(builder, name, kernel, args);
    }
    if let Some(f) = plain(name) {
        return map(builder, MapFunction::Plain(f), args);
    }
    if let Some(f) = of_histogram(name) {
        let needs_buckets = matches!(name, "histogram_stddev" | "histogram_stdvar");
        return builder.with_buckets(Some(needs_buckets), |builder| map(builder, MapFunction::OfHistogram(f), args));
    }
    if let Some(part) = date_part(name) {
        return match args {
            [] => Ok(Node::Vector(VectorNode::OfScalar(ScalarNode::Date(part)))),
            args => map(builder, MapFunction::Date(part), args),
        };
    }
    match name {
        "time" => Ok(Node::Scalar(ScalarNode::Time)),
        "start" => Ok(seconds(builder.options().start_ms)),
        "end" => Ok(seconds(builder.options().end_ms)),
        "step" => Ok(seconds(builder.options().step_ms)),
        "range" => Ok(seconds(builder.options().end_ms.saturating_sub(builder.options().start_ms))),
        "pi" => Ok(Node::Scalar(ScalarNode::Number(std::f64::consts::PI))),
        "round" => map(builder, MapFunction::Round, args),
        "clamp" => map(builder, MapFunction::Clamp, args),
        "clamp_min" => map(builder, MapFunction::ClampMin, args),
        "clamp_max" => map(builder, MapFunction::ClampMax, args),
        "timestamp" => timestamp(builder, args),
        "start_timestamp" => start_timestamp(builder, args),
        "scalar" => Ok(Node::Scalar(ScalarNode::OfVector(Box::new(vector_arg(builder, args, 0)?)))),
        "vector" => Ok(Node::Vector(VectorNode::OfScalar(scalar_arg(builder, args, 0)?))),
        "absent" => {
            let labels = absent_labels(builder, args)?;
            let input = Box::new(vector_arg(builder, args, 0)?);
            Ok(Node::Vector(VectorNode::Absent { input, labels }))
        }
        "absent_over_time" => {
            let labels = absent_labels(builder, args)?;
            let input = builder.matrix(arg(args, 0)?)?;
            if input.boundary() != Boundary::Samples {
                return Err(QueryError::execution(extended::not_for(name, input.boundary())));
            }
            Ok(Node::Vector(VectorNode::AbsentOverTime { input, labels }))
        }
        "sort" => sort(builder, SortBy::Value, call, args),
        "sort_desc" => sort(builder, SortBy::ValueDescending, call, args),
        "sort_by_label" => sort(builder, SortBy::Labels(label_args(args, 1)?), call, args),
        "sort_by_label_desc" => sort(builder, SortBy::LabelsDescending(label_args(args, 1)?), call, args),
        "label_replace" => {
            let text = |i| string_arg(args, i);
            let function = LabelFunction::replace(text(1)?, text(2)?, text(3)?, text(4)?)?;
            label(builder, function, args)
        }
        "label_join" => {
            let function = LabelFunction::join(string_arg(args, 1)?, string_arg(args, 2)?, &string_args(args, 3)?)?;
            label(builder, function, args)
        }
        "histogram_quantile" => histogram(builder, HistogramFunction::Quantile, args),
        "histogram_quantiles" => {
            histogram(builder, HistogramFunction::Quantiles(label_name(string_arg(args, 1)?)?), args)
        }
        "histogram_fraction" => histogram(builder, HistogramFunction::Fraction, args),
        "max_of" => fold_scalars(builder, ScalarFold::Max, args),
        "min_of" => fold_scalars(builder, ScalarFold::Min, args),
        "info" => info(builder, args),
        _ => Err(not_there(name)),
    }
}

fn window_kernel(name: &str) -> Option<fn(&Window<'_>) -> Option<f64>> {
    Some(match name {
        "rate" => rate::rate,
        "increase" => rate::increase,
        "delta" => rate::delta,
        "irate" => rate::irate,
        "idelta" => rate::idelta,
        "resets" => rate::resets,
        "changes" => rate::changes,
        "deriv" => rate::deriv,
        "predict_linear" => rate::predict_linear,
        "avg_over_time" => over_time::avg,
        "sum_over_time" => over_time::sum,
        "count_over_time" => over_time::count,
        "min_over_time" => over_time::min,
        "max_over_time" => over_time::max,
        "first_over_time" => over_time::first,
        "last_over_time" => over_time::last,
        "present_over_time" => over_time::present,
        "quantile_over_time" => over_time::quantile_of,
        "mad_over_time" => over_time::mad,
        "ts_of_first_over_time" => over_time::time_of_first,
        "ts_of_last_over_time" => over_time::time_of_last,
        "ts_of_max_over_time" => over_time::time_of_max,
        "ts_of_min_over_time" => over_time::time_of_min,
        "double_exponential_smoothing" => smoothing::double_exponential,
        "stddev_over_time" => over_time::stddev,
        "stdvar_over_time" => over_time::stdvar,
        _ => return None,
    })
}

fn seconds(time_ms: i64) -> Node {
    Node::Scalar(ScalarNode::Number(time_ms as f64 / 1000.0))
}

fn date_part(name: &str) -> Option<DatePart> {
    Some(match name {
        "days_in_month" => DatePart::DaysInMonth,
        "day_of_month" => DatePart::DayOfMonth,
        "day_of_week" => DatePart::DayOfWeek,
        "day_of_year" => DatePart::DayOfYear,
        "hour" => DatePart::Hour,
        "minute" => DatePart::Minute,
        "month" => DatePart::Month,
        "year" => DatePart::Year,
        _ => return None,
    })
}

/// A function of a range vector: the range vector is among the arguments, the others are scalars.
fn window(
    builder: &mut Builder,
    name: &str,
    kernel: fn(&Window<'_>) -> Option<f64>,
    args: &[Expr],
) -> Result<Node, QueryError> {
    let mut input: Option<MatrixNode> = None;
    let mut span = arg(args, 0)?.span;
    let mut scalars = Vec::new();
    for (place, arg) in args.iter().enumerate() {
        match builder.node(arg)? {
            Node::Matrix(node) => {
                // In Prometheus the samples of a sub-query take its place, and they stand nowhere.
                if place == 0 && matches!(node, MatrixNode::Subquery { .. }) {
                    span = Span::default();
                }
                input = Some(node);
            }
            Node::Scalar(node) => scalars.push(node),
            _ => return Err(wrong_argument(name)),
        }
    }
    let input = input.ok_or_else(|| wrong_argument(name))?;
    let (kernel, histogram_kernel) = match input.boundary() {
        Boundary::Samples => (kernel, histograms::kernel(name)),
        boundary => {
            let kernel = extended::kernel(name, boundary).map_err(QueryError::execution)?;
            (kernel, histogram_extended::kernel(name, boundary))
        }
    };
    let uses_starts = match name {
        "rate" | "increase" | "irate" => input.boundary() == Boundary::Samples,
        "resets" => true,
        _ => false,
    };
    let check = match name {
        "rate" | "increase" => Check::Counter,
        "quantile_over_time" => Check::Quantile,
        "double_exponential_smoothing" => Check::Factors,
        _ => Check::Nothing,
    };
    let keeps_name = matches!(name, "first_over_time" | "last_over_time");
    let sweep = if input.boundary() == Boundary::Samples { Sweep::of(name) } else { None };
    let function = WindowFunction { kernel, sweep, histogram_kernel, keeps_name, uses_starts, check, span };
    Ok(Node::Vector(VectorNode::Window { function, input, args: scalars }))
}

fn map(builder: &mut Builder, function: MapFunction, args: &[Expr]) -> Result<Node, QueryError> {
    let input = Box::new(vector_arg(builder, args, 0)?);
    let args = args.iter().skip(1).map(|arg| builder.scalar(arg)).collect::<Result<_, _>>()?;
    Ok(Node::Vector(VectorNode::Map { function, input, args }))
}

/// `timestamp`: of a selector the time of its samples, of anything else the time of the step.
fn timestamp(builder: &mut Builder, args: &[Expr]) -> Result<Node, QueryError> {
    match builder.selector(arg(args, 0)?)? {
        Some(select) => Ok(Node::Vector(VectorNode::SampleTime(select))),
        None => map(builder, MapFunction::StepTime, args),
    }
}

/// `start_timestamp`: of a selector since when its samples count; anything else does not know.
fn start_timestamp(builder: &mut Builder, args: &[Expr]) -> Result<Node, QueryError> {
    match builder.selector(arg(args, 0)?)? {
        Some(select) => Ok(Node::Vector(VectorNode::StartTime(select))),
        None => map(builder, MapFunction::Nothing, args),
    }
}

fn sort(builder: &mut Builder, by: SortBy, call: &Expr, args: &[Expr]) -> Result<Node, QueryError> {
    let input = Box::new(vector_arg(builder, args, 0)?);
    Ok(Node::Vector(VectorNode::Sort { order: SortOrder { by, span: call.span }, input }))
}

fn label(builder: &mut Builder, function: LabelFunction, args: &[Expr]) -> Result<Node, QueryError> {
    let input = Box::new(vector_arg(builder, args, 0)?);
    Ok(Node::Vector(VectorNode::Label { function, input }))
}

/// The vector is the last argument, after the scalars; of `histogram_quantiles` the first, before the label.
fn histogram(builder: &mut Builder, function: HistogramFunction, args: &[Expr]) -> Result<Node, QueryError> {
    let missing = || wrong_argument("histogram_quantile");
    let (vector, scalars) = match function {
        HistogramFunction::Quantiles(_) => (arg(args, 0)?, args.get(2..).ok_or_else(missing)?),
        _ => args.split_last().ok_or_else(missing)?,
    };
    let quantiles = match function {
        HistogramFunction::Fraction => Vec::new(),
        _ => scalars.iter().map(|arg| unwrap_parens(arg).span).collect(),
    };
    let site = HistogramSite { buckets: unwrap_parens(vector).span, quantiles };
    let args = scalars.iter().map(|arg| builder.scalar(arg)).collect::<Result<_, _>>()?;
    let input = Box::new(builder.with_buckets(Some(true), |builder| builder.vector(vector))?);
    Ok(Node::Vector(VectorNode::Histogram { function, input, args, site }))
}

fn fold_scalars(builder: &mut Builder, fold: ScalarFold, args: &[Expr]) -> Result<Node, QueryError> {
    let (a, b) = (scalar_arg(builder, args, 0)?, scalar_arg(builder, args, 1)?);
    Ok(Node::Scalar(ScalarNode::Fold(fold, Box::new([a, b]))))
}

fn info(builder: &mut Builder, args: &[Expr]) -> Result<Node, QueryError> {
    let input = vector_arg(builder, args, 0)?;
    let moment = builder.first_moment(arg(args, 0)?)?;
    let matchers = match args.get(1).map(|arg| &unwrap_parens(arg).kind) {
        Some(ExprKind::Selector(selector)) => selector.matchers.clone(),
        Some(_) => return Err(wrong_argument("info")),
        None => Vec::new(),
    };
    Ok(Node::Vector(VectorNode::Info(Box::new(InfoNode { input, matchers, moment }))))
}

fn absent_labels(builder: &Builder, args: &[Expr]) -> Result<Labels, QueryError> {
    Ok(builder.absent_labels(arg(args, 0)?))
}

/// An argument without the parentheses around it: remarks are about what stands in them.
fn arg(args: &[Expr], at: usize) -> Result<&Expr, QueryError> {
    args.get(at)
        .map(unwrap_parens)
        .ok_or_else(|| QueryError::bad_data(format!("argument {} is missing in a call", at + 1)))
}

fn vector_arg(builder: &mut Builder, args: &[Expr], at: usize) -> Result<VectorNode, QueryError> {
    builder.vector(arg(args, at)?)
}

fn scalar_arg(builder: &mut Builder, args: &[Expr], at: usize) -> Result<ScalarNode, QueryError> {
    builder.scalar(arg(args, at)?)
}

fn string_arg(args: &[Expr], at: usize) -> Result<&Text, QueryError> {
    match &arg(args, at)?.kind {
        ExprKind::String(text) => Ok(text),
        _ => Err(QueryError::bad_data(format!("argument {} of the call must be a string", at + 1))),
    }
}

/// The arguments from the one at `from` on.
fn string_args(args: &[Expr], from: usize) -> Result<Vec<&Text>, QueryError> {
    (from..args.len()).map(|at| string_arg(args, at)).collect()
}

/// The names of labels to be looked at. One that is not UTF-8 names no label, as an empty one does.
fn label_args(args: &[Expr], from: usize) -> Result<Vec<String>, QueryError> {
    Ok(string_args(args, from)?.into_iter().map(|name| name.utf8().unwrap_or_default().to_owned()).collect())
}

fn wrong_argument(name: &str) -> QueryError {
    QueryError::bad_data(format!("wrong type of argument in call to function \"{name}\""))
}
