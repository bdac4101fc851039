//! The signatures of PromQL's functions.

use super::ast::ValueType;
use super::ast::ValueType::{Matrix, Scalar, String, Vector};

/// A function's signature; the parser checks calls against it, the engine looks the name up.
#[derive(Debug, PartialEq, Eq)]
pub struct Function {
    /// Its name.
    pub name: &'static str,
    /// Types of the arguments. With `variadic`, the last may be left out or repeated.
    pub args: &'static [ValueType],
    /// 0: exactly `args`; n > 0: up to n more or fewer of the last as Prometheus counts it; -1: any number of the last.
    pub variadic: i32,
    /// Type of the result.
    pub returns: ValueType,
}

/// The functions that Prometheus calls experimental, ascending.
const EXPERIMENTAL: [&str; 17] = [
    "double_exponential_smoothing",
    "end",
    "histogram_quantiles",
    "info",
    "mad_over_time",
    "max_of",
    "min_of",
    "range",
    "sort_by_label",
    "sort_by_label_desc",
    "start",
    "start_timestamp",
    "step",
    "ts_of_first_over_time",
    "ts_of_last_over_time",
    "ts_of_max_over_time",
    "ts_of_min_over_time",
];

impl Function {
    /// Whether only parsers with experimental functions know it.
    pub fn is_experimental(&self) -> bool {
        EXPERIMENTAL.binary_search(&self.name).is_ok()
    }

    /// How many arguments a call has: at least, and at most (`None`: any number).
    pub fn argument_counts(&self) -> (usize, Option<usize>) {
        let listed = self.args.len();
        let least = listed.saturating_sub(1);
        match usize::try_from(self.variadic) {
            Ok(0) => (listed, Some(listed)),
            Ok(more) => (least, Some(least + more)),
            Err(_) => (least, None),
        }
    }
}

/// The function of this name; names are case-sensitive.
pub fn lookup(name: &str) -> Option<&'static Function> {
    FUNCTIONS.binary_search_by(|function| function.name.cmp(name)).ok().and_then(|at| FUNCTIONS.get(at))
}

const fn of(name: &'static str, args: &'static [ValueType], returns: ValueType) -> Function {
    Function { name, args, variadic: 0, returns }
}

const fn math(name: &'static str) -> Function {
    of(name, &[Vector], Vector)
}

const fn over_time(name: &'static str) -> Function {
    of(name, &[Matrix], Vector)
}

/// Without its argument it takes the evaluation time.
const fn date(name: &'static str) -> Function {
    Function { name, args: &[Vector], variadic: 1, returns: Vector }
}

const fn variadic(name: &'static str, args: &'static [ValueType], more: i32) -> Function {
    Function { name, args, variadic: more, returns: Vector }
}

/// Every function of Prometheus 3.14, ascending by name.
pub static FUNCTIONS: [Function; FUNCTION_COUNT] = [
    math("abs"),
    math("absent"),
    over_time("absent_over_time"),
    math("acos"),
    math("acosh"),
    math("asin"),
    math("asinh"),
    math("atan"),
    math("atanh"),
    over_time("avg_over_time"),
    math("ceil"),
    over_time("changes"),
    of("clamp", &[Vector, Scalar, Scalar], Vector),
    of("clamp_max", &[Vector, Scalar], Vector),
    of("clamp_min", &[Vector, Scalar], Vector),
    math("cos"),
    math("cosh"),
    over_time("count_over_time"),
    date("day_of_month"),
    date("day_of_week"),
    date("day_of_year"),
    date("days_in_month"),
    math("deg"),
    over_time("delta"),
    over_time("deriv"),
    of("double_exponential_smoothing", &[Matrix, Scalar, Scalar], Vector),
    of("end", &[], Scalar),
    math("exp"),
    over_time("first_over_time"),
    math("floor"),
    math("histogram_avg"),
    math("histogram_count"),
    of("histogram_fraction", &[Scalar, Scalar, Vector], Vector),
    of("histogram_quantile", &[Scalar, Vector], Vector),
    variadic("histogram_quantiles", &[Vector, String, Scalar, Scalar], 9),
    math("histogram_stddev"),
    math("histogram_stdvar"),
    math("histogram_sum"),
    date("hour"),
    over_time("idelta"),
    over_time("increase"),
    variadic("info", &[Vector, Vector], 1),
    over_time("irate"),
    variadic("label_join", &[Vector, String, String, String], -1),
    of("label_replace", &[Vector, String, String, String, String], Vector),
    over_time("last_over_time"),
    math("ln"),
    math("log10"),
    math("log2"),
    over_time("mad_over_time"),
    of("max_of", &[Scalar, Scalar], Scalar),
    over_time("max_over_time"),
    of("min_of", &[Scalar, Scalar], Scalar),
    over_time("min_over_time"),
    date("minute"),
    date("month"),
    of("pi", &[], Scalar),
    of("predict_linear", &[Matrix, Scalar], Vector),
    over_time("present_over_time"),
    of("quantile_over_time", &[Scalar, Matrix], Vector),
    math("rad"),
    of("range", &[], Scalar),
    over_time("rate"),
    over_time("resets"),
    variadic("round", &[Vector, Scalar], 1),
    of("scalar", &[Vector], Scalar),
    math("sgn"),
    math("sin"),
    math("sinh"),
    math("sort"),
    variadic("sort_by_label", &[Vector, String], -1),
    variadic("sort_by_label_desc", &[Vector, String], -1),
    math("sort_desc"),
    math("sqrt"),
    of("start", &[], Scalar),
    math("start_timestamp"),
    over_time("stddev_over_time"),
    over_time("stdvar_over_time"),
    of("step", &[], Scalar),
    over_time("sum_over_time"),
    math("tan"),
    math("tanh"),
    of("time", &[], Scalar),
    math("timestamp"),
    over_time("ts_of_first_over_time"),
    over_time("ts_of_last_over_time"),
    over_time("ts_of_max_over_time"),
    over_time("ts_of_min_over_time"),
    of("vector", &[Scalar], Vector),
    date("year"),
];

const FUNCTION_COUNT: usize = 90;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sorted_and_found() {
        assert!(FUNCTIONS.windows(2).all(|pair| pair[0].name < pair[1].name));
        assert!(EXPERIMENTAL.windows(2).all(|pair| pair[0] < pair[1]));
        assert!(EXPERIMENTAL.iter().all(|name| lookup(name).is_some_and(Function::is_experimental)));
        assert_eq!(lookup("round").map(Function::argument_counts), Some((1, Some(2))));
        assert_eq!(lookup("hour").map(Function::argument_counts), Some((0, Some(1))));
        assert_eq!(lookup("label_join").map(Function::argument_counts), Some((3, None)));
        assert_eq!(lookup("time").map(Function::argument_counts), Some((0, Some(0))));
        assert_eq!(lookup("Rate"), None);
    }
}
