//! Which samples an answer at a step is made of, read off the plan; and whether it is made of those alone.
//!
//! Most operators work step by step. What does not is turned away here, rather too much than too little:
//!
//! - `info`, `limitk`, `limit_ratio` and `fill` look at which series there are at *any* step;
//! - functions of range vectors refuse two series that differ in nothing but their names, wherever in time these are: so the names must
//!   be known to be one, or gone before;
//! - the number of `topk` and its siblings is checked, and remarked upon, over all steps: it must be a constant;
//! - `topk`, `sort` and their siblings yield another order for a single step, which a sub-query may come to have.

use marigram_storage::model::labels::METRIC_NAME;
use marigram_storage::model::matcher::MatchOp;
use marigram_storage::model::time::TimeRange;

use crate::names::is_metadata;
use crate::parse::ast::{AggregateOp, Boundary};
use crate::plan::{AggregateNode, AggregateParam, MatrixNode, Moment, ScalarNode, Select, VectorNode};

/// The samples that an answer is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Reads {
    /// How far samples may lie before the step, and how far after it (negative: so far before it at least). `None`: none is looked for
    /// from the step's own time.
    around_ms: Option<(i64, i64)>,
    /// Samples that all steps look at.
    pinned: TimeRange,
}

impl Reads {
    /// What a plan reads; `None` where an answer at a step depends on other things, or on no sample.
    pub(super) fn of(node: &VectorNode, lookback_ms: i64) -> Option<Reads> {
        let mut visit =
            Visit { reads: Reads { around_ms: None, pinned: TimeRange::EMPTY }, lookback_ms, in_subquery: false };
        visit.vector(node, Times::Around { back_ms: 0, ahead_ms: 0 })?;
        let nothing = visit.reads.around_ms.is_none() && visit.reads.pinned.is_empty();
        (!nothing).then_some(visit.reads)
    }

    /// The last time at which a step looks at no sample after `until_ms`; `None` where every step does.
    pub(super) fn newest_step_ms(&self, until_ms: i64) -> Option<i64> {
        if !self.pinned.is_empty() && self.pinned.end_ms > until_ms {
            return None;
        }
        Some(self.around_ms.map_or(i64::MAX, |(_, ahead_ms)| until_ms.saturating_sub(ahead_ms)))
    }

    /// The times at which steps may look at samples of `range`.
    pub(super) fn steps_at(&self, range: TimeRange) -> TimeRange {
        if self.pinned.overlaps(range) {
            return TimeRange::ALL;
        }
        self.around_ms.map_or(TimeRange::EMPTY, |(back_ms, ahead_ms)| TimeRange {
            start_ms: range.start_ms.saturating_sub(ahead_ms),
            end_ms: range.end_ms.saturating_add(back_ms),
        })
    }

    /// From the oldest to the newest sample that a step looks at from its own time.
    pub(super) fn length_ms(&self) -> i64 {
        self.around_ms.map_or(0, |(back_ms, ahead_ms)| back_ms.saturating_add(ahead_ms))
    }
}

/// When a part of a plan is evaluated.
#[derive(Clone, Copy)]
enum Times {
    /// Within so much before and after the step.
    Around { back_ms: i64, ahead_ms: i64 },
    /// At the same times for all steps.
    Pinned(TimeRange),
}

impl Times {
    fn moved(self, moment: Moment) -> Self {
        let Moment { at_ms, offset_ms } = moment;
        let back = |time_ms: i64| time_ms.saturating_sub(offset_ms);
        match (at_ms, self) {
            (Some(at_ms), _) => Times::Pinned(TimeRange { start_ms: back(at_ms), end_ms: back(at_ms) }),
            (None, Times::Pinned(at)) => {
                Times::Pinned(TimeRange { start_ms: back(at.start_ms), end_ms: back(at.end_ms) })
            }
            (None, Times::Around { back_ms, ahead_ms }) => {
                Times::Around { back_ms: back_ms.saturating_add(offset_ms), ahead_ms: back(ahead_ms) }
            }
        }
    }

    fn widened(self, more_back_ms: i64, more_ahead_ms: i64) -> Self {
        match self {
            Times::Around { back_ms, ahead_ms } => Times::Around {
                back_ms: back_ms.saturating_add(more_back_ms),
                ahead_ms: ahead_ms.saturating_add(more_ahead_ms),
            },
            Times::Pinned(at) => Times::Pinned(TimeRange {
                start_ms: at.start_ms.saturating_sub(more_back_ms),
                end_ms: at.end_ms.saturating_add(more_ahead_ms),
            }),
        }
    }
}

struct Visit {
    reads: Reads,
    lookback_ms: i64,
    in_subquery: bool,
}

/// `None` ends the visit: see the module.
type Visited = Option<()>;

impl Visit {
    fn vector(&mut self, node: &VectorNode, times: Times) -> Visited {
        match node {
            VectorNode::Select(select) | VectorNode::SampleTime(select) | VectorNode::StartTime(select) => {
                let beyond_ms = if select.boundary == Boundary::Smoothed { self.lookback_ms } else { 0 };
                self.read(times.moved(select.moment).widened(self.lookback_ms, beyond_ms))
            }
            VectorNode::Window { function, input, args } => {
                let apart = function.keeps_name
                    || match input {
                        MatrixNode::Select { select, .. } => has_one_name(select),
                        MatrixNode::Subquery { inner, .. } => stays_apart(inner),
                    };
                if !apart {
                    return None;
                }
                self.scalars(args, times)?;
                self.matrix(input, times)
            }
            VectorNode::AbsentOverTime { input, .. } => self.matrix(input, times),
            VectorNode::Map { input, args, .. } | VectorNode::Histogram { input, args, .. } => {
                self.scalars(args, times)?;
                self.vector(input, times)
            }
            VectorNode::Absent { input, .. }
            | VectorNode::Negate(input)
            | VectorNode::Label { input, .. }
            | VectorNode::Invariant(input) => self.vector(input, times),
            VectorNode::OfScalar(scalar) => self.scalar(scalar, times),
            VectorNode::Sort { .. } if self.in_subquery => None,
            VectorNode::Sort { input, .. } => self.vector(input, times),
            VectorNode::Aggregate(aggregate) => self.aggregate(aggregate, times),
            VectorNode::WithScalar(binary) => {
                self.scalar(&binary.scalar, times)?;
                self.vector(&binary.vector, times)
            }
            VectorNode::Binary(binary) if !binary.matching.fill.is_none() => None,
            VectorNode::Binary(binary) => {
                self.vector(&binary.lhs, times)?;
                self.vector(&binary.rhs, times)
            }
            VectorNode::Set(set) => {
                self.vector(&set.lhs, times)?;
                self.vector(&set.rhs, times)
            }
            VectorNode::Info(_) => None,
        }
    }

    fn aggregate(&mut self, node: &AggregateNode, times: Times) -> Visited {
        match node.op {
            AggregateOp::Limitk | AggregateOp::LimitRatio => return None,
            AggregateOp::Topk | AggregateOp::Bottomk if self.in_subquery => return None,
            _ => {}
        }
        match &node.param {
            AggregateParam::None | AggregateParam::Label(_) => {}
            AggregateParam::Scalar(scalar, _) if is_constant(scalar) => {}
            AggregateParam::Scalar(..) => return None,
        }
        self.vector(&node.input, times)
    }

    fn matrix(&mut self, node: &MatrixNode, times: Times) -> Visited {
        match node {
            MatrixNode::Select { select, range_ms } => {
                let (before_ms, beyond_ms) = match select.boundary {
                    Boundary::Samples => (0, 0),
                    Boundary::Anchored => (self.lookback_ms, 0),
                    Boundary::Smoothed => (self.lookback_ms, self.lookback_ms),
                };
                self.read(times.moved(select.moment).widened(range_ms.saturating_add(before_ms), beyond_ms))
            }
            MatrixNode::Subquery { inner, range_ms, window, .. } => {
                let outer = std::mem::replace(&mut self.in_subquery, true);
                let visited = self.vector(inner, times.moved(*window).widened(*range_ms, 0));
                self.in_subquery = outer;
                visited
            }
        }
    }

    fn scalars(&mut self, nodes: &[ScalarNode], times: Times) -> Visited {
        nodes.iter().try_for_each(|node| self.scalar(node, times))
    }

    fn scalar(&mut self, node: &ScalarNode, times: Times) -> Visited {
        match node {
            ScalarNode::Number(_) | ScalarNode::Time | ScalarNode::Date(_) => Some(()),
            ScalarNode::OfVector(vector) => self.vector(vector, times),
            ScalarNode::Negate(inner) | ScalarNode::Invariant(inner) => self.scalar(inner, times),
            ScalarNode::Binary { lhs, rhs, .. } => {
                self.scalar(lhs, times)?;
                self.scalar(rhs, times)
            }
            ScalarNode::Fold(_, both) => self.scalars(&**both, times),
        }
    }

    /// The last step of a visit; never ends it.
    fn read(&mut self, times: Times) -> Visited {
        match times {
            Times::Around { back_ms, ahead_ms } => {
                let (back, ahead) = self.reads.around_ms.unwrap_or((back_ms, ahead_ms));
                self.reads.around_ms = Some((back.max(back_ms), ahead.max(ahead_ms)));
            }
            Times::Pinned(range) => self.reads.pinned = self.reads.pinned.union(range),
        }
        Some(())
    }
}

fn is_constant(node: &ScalarNode) -> bool {
    match node {
        ScalarNode::Number(_) => true,
        ScalarNode::Negate(inner) | ScalarNode::Invariant(inner) => is_constant(inner),
        _ => false,
    }
}

/// Whether all series that are selected have the same metric name.
fn has_one_name(select: &Select) -> bool {
    let pins = |op: MatchOp, value: &str| op == MatchOp::Equal && !value.is_empty();
    select.matchers.iter().any(|matcher| matcher.name() == METRIC_NAME && pins(matcher.op(), matcher.value()))
}

/// Whether series stay apart without their names.
fn stays_apart(node: &VectorNode) -> bool {
    match node {
        VectorNode::Select(select) => has_one_name(select),
        VectorNode::Window { function, input: MatrixNode::Select { select, .. }, .. } => {
            !function.keeps_name || has_one_name(select)
        }
        VectorNode::Binary(binary) => {
            let keeps_name = binary.op.is_comparison() || binary.op.is_trim();
            !keeps_name && !binary.matching.include.iter().any(|label| is_metadata(label))
        }
        VectorNode::WithScalar(binary) => {
            !binary.op.is_comparison() && !binary.op.is_trim() || stays_apart(&binary.vector)
        }
        VectorNode::Map { .. } | VectorNode::Negate(_) | VectorNode::Histogram { .. } => true,
        VectorNode::Invariant(inner) => stays_apart(inner),
        _ => node.is_bare(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::asked::Asked;
    use super::*;
    use crate::parse::parse_with;
    use crate::{Engine, EngineOptions, Features};

    const MINUTE_MS: i64 = 60_000;

    fn reads(query: &str) -> Option<Reads> {
        let engine = Engine::new(EngineOptions { features: Features::ALL, ..EngineOptions::default() });
        let expr = parse_with(query, Features::ALL).unwrap();
        Asked::new(&engine, &expr, query, (0, 3_600_000, MINUTE_MS)).unwrap().map(|asked| asked.reads)
    }

    #[test]
    fn what_a_step_looks_at_is_read_off_the_plan() {
        let around = |back_m: i64, ahead_m: i64| {
            Some(Reads { around_ms: Some((back_m * MINUTE_MS, ahead_m * MINUTE_MS)), pinned: TimeRange::EMPTY })
        };
        let pinned = |from_m: i64, to_m: i64| TimeRange { start_ms: from_m * MINUTE_MS, end_ms: to_m * MINUTE_MS };
        assert_eq!(reads("x"), around(5, 0));
        assert_eq!(reads("x offset 1h + x"), around(65, 0));
        assert_eq!(reads("sum(x offset 1h)"), around(65, -60));
        assert_eq!(reads("x offset -10m"), around(-5, 10));
        assert_eq!(reads("rate(x[20m] offset 1m) and hour() > 2"), around(21, -1));
        assert_eq!(reads("max_over_time(rate(x[20m])[1h:1m] offset 10m)"), around(90, -10));
        assert_eq!(reads("rate(x[20m] anchored)"), around(25, 0));
        assert_eq!(reads("rate(x[20m] smoothed)"), around(25, 5));
        assert_eq!(reads("x smoothed"), around(5, 5));
        assert_eq!(reads("clamp_max(x, scalar(y offset 1h))"), around(65, 0));
        assert_eq!(reads("topk(3, x) / timestamp(x) * step()"), around(5, 0));
        assert_eq!(reads("absent_over_time(x[step() * 10])"), around(10, 0));
        assert_eq!(reads("x @ 600 offset 1m"), Some(Reads { around_ms: None, pinned: pinned(4, 9) }));
        let both = Reads { around_ms: Some((300_000, 0)), pinned: pinned(-59, 3) };
        assert_eq!(
            reads("x + rate(x[10m] @ 180) + sum_over_time(x[1h:1m] @ 180)"),
            Some(Reads { pinned: pinned(-62, 3), ..both })
        );
    }

    #[test]
    fn what_depends_on_more_than_a_step_passes_by() {
        for query in [
            "x @ start()",
            "rate(x[5m] @ end())",
            "sum_over_time(x[1h:1m] @ end())",
            "x + start()",
            "x > bool end()",
            "x * range()",
            "rate(x[range()])",
            "x offset (range() - 1m)",
            "limitk(3, x)",
            "limit_ratio(0.5, x)",
            "info(x)",
            "x + fill(0) y",
            r#"rate({job="a"}[5m])"#,
            r#"rate({__name__=~"a|b"}[5m])"#,
            "max_over_time((a or b)[1h:])",
            "topk(scalar(y), x)",
            "max_over_time(sum(topk(2, x))[1h:])",
            "max_over_time(sum(sort(x))[1h:])",
            "time()",
            "vector(1)",
            "scalar(x)",
        ] {
            assert_eq!(reads(query), None, "{query}");
        }
        for query in [
            "max_over_time((sum(a) / sum(b))[1h:])",
            "max_over_time(up[1h:])",
            "max_over_time(sum by (job) (rate(a[5m]))[1h:])",
            r#"last_over_time({job="a"}[5m])"#,
            "histogram_quantile(0.9, sum by (le) (rate(a_bucket[5m])))",
            r#"label_replace(x, "a", "$1", "b", "(.*)")"#,
            "count_values(\"v\", x)",
            "sort(x)",
        ] {
            assert!(reads(query).is_some(), "{query}");
        }
    }
}
