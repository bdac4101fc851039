//! From a seed to queries that every operator and function of Prometheus 2.42 comes up in.

use std::collections::BTreeMap;

use marigram_storage::env::Random;

use crate::support::below;

/// A query, and what it is about.
#[derive(Clone, Debug)]
pub(crate) struct Question {
    pub(crate) query: String,
    /// The function or operator that it was made for.
    pub(crate) about: &'static str,
}

/// Functions of the values of an instant vector; `#` is the vector.
const MAPS: [(&str, &str); 46] = [
    ("abs", "abs(#)"),
    ("absent", "absent(# > 1e9)"),
    ("acos", "acos(# / 100)"),
    ("acosh", "acosh(# + 50)"),
    ("asin", "asin(# / 100)"),
    ("asinh", "asinh(#)"),
    ("atan", "atan(#)"),
    ("atanh", "atanh(# / 1000)"),
    ("ceil", "ceil(# / 3)"),
    ("clamp", "clamp(#, -5, 12)"),
    ("clamp_max", "clamp_max(#, 7)"),
    ("clamp_min", "clamp_min(#, 3)"),
    ("cos", "cos(#)"),
    ("cosh", "cosh(# / 10)"),
    ("day_of_month", "day_of_month(# * 86400)"),
    ("day_of_week", "day_of_week(# * 86400)"),
    ("day_of_year", "day_of_year(# * 86400)"),
    ("days_in_month", "days_in_month(# * 864000)"),
    ("deg", "deg(#)"),
    ("exp", "exp(# / 10)"),
    ("floor", "floor(# / 3)"),
    ("hour", "hour(# * 1000)"),
    ("label_join", "label_join(#, \"both\", \"-\", \"job\", \"instance\")"),
    ("label_replace", "label_replace(#, \"short\", \"$1x\", \"job\", \"(.).*\")"),
    ("ln", "ln(#)"),
    ("log10", "log10(#)"),
    ("log2", "log2(#)"),
    ("minute", "minute(# * 100)"),
    ("month", "month(# * 8640000)"),
    ("pi", "# * pi()"),
    ("rad", "rad(#)"),
    ("round", "round(#, 0.25)"),
    ("scalar", "# + scalar(ceiling{job=\"api\"})"),
    ("sgn", "sgn(#)"),
    ("sin", "sin(#)"),
    ("sinh", "sinh(# / 10)"),
    ("sort", "sort(#)"),
    ("sort_desc", "sort_desc(#)"),
    ("sqrt", "sqrt(#)"),
    ("tan", "tan(#)"),
    ("tanh", "tanh(#)"),
    ("time", "time() - #"),
    ("timestamp", "timestamp(#)"),
    ("vector", "# + on () group_left () vector(7)"),
    ("year", "year(# * 86400000)"),
    ("unary minus", "-#"),
];

/// Functions that take their argument for a time.
const DATES: [&str; 8] =
    ["day_of_month", "day_of_week", "day_of_year", "days_in_month", "hour", "minute", "month", "year"];

/// Functions of a range vector; `#` is it.
const WINDOWS: [(&str, &str); 24] = [
    ("absent_over_time", "absent_over_time(#)"),
    ("avg_over_time", "avg_over_time(#)"),
    ("changes", "changes(#)"),
    ("count_over_time", "count_over_time(#)"),
    ("delta", "delta(#)"),
    ("deriv", "deriv(#)"),
    ("idelta", "idelta(#)"),
    ("increase", "increase(#)"),
    ("irate", "irate(#)"),
    ("last_over_time", "last_over_time(#)"),
    ("max_over_time", "max_over_time(#)"),
    ("min_over_time", "min_over_time(#)"),
    ("predict_linear", "predict_linear(#, 120)"),
    ("present_over_time", "present_over_time(#)"),
    ("quantile_over_time", "quantile_over_time(0.3, #)"),
    ("rate", "rate(#)"),
    ("resets", "resets(#)"),
    ("stddev_over_time", "stddev_over_time(#)"),
    ("stdvar_over_time", "stdvar_over_time(#)"),
    ("sum_over_time", "sum_over_time(#)"),
    ("absent_over_time of nothing", "absent_over_time(nothing{job=\"api\"}[5m]) + count(#[1:])"),
    ("histogram_quantile", "histogram_quantile(0.7, rate(latency_bucket[2m]))"),
    (
        "histogram_quantile of sums",
        "histogram_quantile(scalar(max(#[2:])) / 1e3, sum by (le) (increase(latency_bucket[4m])))",
    ),
    ("irate of a sub-query", "sum by (job) (irate(#))"),
];

/// Aggregations; `#` is the vector.
const AGGREGATES: [(&str, &str); 12] = [
    ("avg", "avg"),
    ("bottomk", "bottomk"),
    ("count", "count"),
    ("count_values", "count_values"),
    ("group", "group"),
    ("max", "max"),
    ("min", "min"),
    ("quantile", "quantile"),
    ("stddev", "stddev"),
    ("stdvar", "stdvar"),
    ("sum", "sum"),
    ("topk", "topk"),
];

/// Operators between two vectors.
const OPERATORS: [&str; 16] =
    ["+", "-", "*", "/", "%", "^", "atan2", "==", "!=", ">", "<", ">=", "<=", "and", "or", "unless"];

/// Modifiers and other forms; `#` is a vector, `@` a number of seconds to which tests put the time.
const FORMS: [(&str, &str); 10] = [
    ("offset", "temperature offset 5m"),
    ("negative offset", "balance offset -2m"),
    ("at", "temperature @ <time>"),
    ("at start", "sum(requests_total @ start()) by (job)"),
    ("at end", "rate(requests_total[3m] @ end() offset 1m)"),
    ("sub-query", "max_over_time(#[6m:30s])"),
    ("sub-query with the default step", "sum_over_time(sum by (job) (#)[9m:])"),
    ("sub-query elsewhere", "min_over_time(#[5m:20s] offset 3m)"),
    ("sub-query at a time", "avg_over_time(#[5m:40s] @ <time>)"),
    ("scalar arithmetic", "vector(time() % 97 * 2 ^ 3 ^ 0.5 - 1 / 7)"),
];

const GAUGES: [&str; 4] = ["temperature", "balance", "wild", "ceiling"];
const COUNTERS: [&str; 2] = ["requests_total", "errors_total"];

struct Maker<'a> {
    random: &'a dyn Random,
}

/// At least `count` queries: each thing comes up equally often, in random company.
pub(crate) fn questions(count: usize, random: &dyn Random) -> Vec<Question> {
    let maker = Maker { random };
    let mut made: Vec<Question> = vec![];
    while made.len() < count {
        for (about, form) in MAPS {
            // What day infinity is depends on the processor that Prometheus runs on.
            let finite = DATES.contains(&about);
            let vector = if finite { maker.finite() } else { maker.vector(1) };
            made.push(maker.wrapped(about, form.replace('#', &vector)));
        }
        for (about, form) in WINDOWS {
            // A "counter" near zero is stretched differently by Prometheus 2.
            let range =
                if form.contains("rate(") || form.contains("increase(") { maker.counters() } else { maker.range() };
            // Where a sub-query is made of it, it has to be a vector.
            let inner = if form.contains("#[") { maker.vector(0) } else { range };
            made.push(maker.wrapped(about, form.replace('#', &inner)));
        }
        for (about, name) in AGGREGATES {
            made.push(maker.wrapped(about, maker.aggregate(name)));
        }
        for about in OPERATORS {
            for query in [maker.binary(about), maker.with_scalar(about)] {
                // Prometheus 2 leaves the name to what `atan2` yields.
                let query = if about == "atan2" { format!("max without (nothing) ({query})") } else { query };
                made.push(Question { query, about });
            }
        }
        for (about, form) in FORMS {
            made.push(maker.wrapped(about, form.replace('#', &maker.simple())));
        }
    }
    made
}

/// How often each thing comes up.
pub(crate) fn counts(questions: &[Question]) -> BTreeMap<&'static str, usize> {
    let mut counts = BTreeMap::new();
    questions.iter().for_each(|question| *counts.entry(question.about).or_default() += 1);
    counts
}

impl Maker<'_> {
    fn one_of<T: Copy>(&self, list: &[T]) -> T {
        list[below(self.random, list.len())]
    }

    fn chance(&self, one_in: usize) -> bool {
        below(self.random, one_in) == 0
    }

    fn matchers(&self) -> &'static str {
        self.one_of(&[
            "",
            "",
            "{job=\"api\"}",
            "{instance!=\"b\"}",
            "{instance=~\"a|c\"}",
            "{job!~\"w.*\"}",
            "{job=~\".+\"}",
        ])
    }

    /// A selector.
    fn simple(&self) -> String {
        let name = if self.chance(3) { self.one_of(&COUNTERS) } else { self.one_of(&GAUGES) };
        let offset = if self.chance(6) { " offset 1m" } else { "" };
        format!("{name}{}{offset}", self.matchers())
    }

    /// A vector of finite values.
    fn finite(&self) -> String {
        format!("{}{}", self.one_of(&["temperature", "balance", "ceiling"]), self.matchers())
    }

    /// A range vector of counters.
    fn counters(&self) -> String {
        let offset = self.one_of(&["", "", " offset 3m"]);
        format!("{}{}[{}]{offset}", self.one_of(&COUNTERS), self.matchers(), self.duration())
    }

    fn duration(&self) -> &'static str {
        self.one_of(&["1m", "2m", "5m", "90s", "10m", "40s", "1h"])
    }

    /// A range vector: of a selector, or a sub-query.
    fn range(&self) -> String {
        let name = if self.chance(2) { self.one_of(&COUNTERS) } else { self.one_of(&GAUGES) };
        match below(self.random, 6) {
            0 => format!("sum by (job) ({name})[10m:30s]"),
            1 => format!("{name}{}[{}] offset 2m", self.matchers(), self.duration()),
            _ => format!("{name}{}[{}]", self.matchers(), self.duration()),
        }
    }

    fn vector(&self, depth: usize) -> String {
        if depth == 0 {
            return self.simple();
        }
        match below(self.random, 6) {
            0 => format!("rate({}{}[{}])", self.one_of(&COUNTERS), self.matchers(), self.duration()),
            1 => format!("avg_over_time({}{}[{}])", self.one_of(&GAUGES), self.matchers(), self.duration()),
            2 => format!("sum by (job, instance) ({})", self.simple()),
            3 => format!("({} + 1)", self.simple()),
            _ => self.simple(),
        }
    }

    fn grouping(&self) -> &'static str {
        self.one_of(&[
            "",
            " by (job)",
            " by (instance, job)",
            " without (instance)",
            " without (code, job)",
            " by ()",
            " by (nothing)",
        ])
    }

    fn aggregate(&self, name: &str) -> String {
        // Prometheus 2 finds no deviation in a single infinity.
        let vector = if name.starts_with("std") { self.finite() } else { self.vector(1) };
        let grouping = self.grouping();
        match name {
            "topk" | "bottomk" => format!("{name}{grouping} ({}, {vector})", 1 + below(self.random, 4)),
            "quantile" => {
                format!("{name}{grouping} ({}, {vector})", self.one_of(&["0.5", "0.91", "0", "1", "-1", "2"]))
            }
            "count_values" => format!("{name}{grouping} (\"value\", round({vector}, 10))"),
            _ => format!("{name}{grouping} ({vector})"),
        }
    }

    /// Wraps it into something more, often.
    fn wrapped(&self, about: &'static str, query: String) -> Question {
        let query = match below(self.random, 8) {
            0 => format!("sum by (job) ({query})"),
            1 => format!("({query}) * 2"),
            2 => format!("max without (instance) ({query})"),
            3 => format!("({query}) > bool 3"),
            _ => query,
        };
        Question { query, about }
    }

    fn with_scalar(&self, operator: &str) -> String {
        if ["and", "or", "unless"].contains(&operator) {
            return self.binary(operator);
        }
        let compares = ["==", "!=", ">", "<", ">=", "<="].contains(&operator);
        let number = self.one_of(&["2", "10", "-3.5", "0", "40", "1e3"]);
        let bool = if compares && self.chance(2) { " bool" } else { "" };
        if self.chance(3) {
            format!("{number} {operator}{bool} {}", self.vector(1))
        } else {
            format!("{} {operator}{bool} {number}", self.vector(1))
        }
    }

    fn binary(&self, operator: &str) -> String {
        let set = ["and", "or", "unless"].contains(&operator);
        let compares = ["==", "!=", ">", "<", ">=", "<="].contains(&operator);
        let bool = if compares && self.chance(2) { " bool" } else { "" };
        let gauge = || self.one_of(&["temperature", "balance", "wild"]);
        match below(self.random, if set { 3 } else { 6 }) {
            0 => format!("{}{} {operator}{bool} {}", gauge(), self.matchers(), gauge()),
            1 => format!("{} {operator}{bool} on (job, instance) {}", gauge(), gauge()),
            2 if set => format!("requests_total {operator} ignoring (code) {} > 0", gauge()),
            2 => format!("requests_total {operator}{bool} ignoring (code) group_left () {}", gauge()),
            3 => format!("{} {operator}{bool} on (instance) group_left (version, place) build_info", gauge()),
            4 => format!("ceiling {operator}{bool} on (job) group_right () {}", gauge()),
            _ => format!("sum by (job) ({}) {operator}{bool} count by (job) ({})", self.simple(), self.simple()),
        }
    }
}
