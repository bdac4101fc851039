//! The engine: a query text in, an answer out.

use std::cell::Cell;
use std::sync::Arc;

use marigram_storage::context::Context;
use marigram_storage::model::histogram::HistogramSample;
use marigram_storage::turns::Turns;

use crate::annotations::Remarks;
use crate::deep;
use crate::error::QueryError;
use crate::eval::{self, Counts, EvalContext, EvalOptions, Exec, Grid, Kept, SampleLimit, Scopes, SharedSelects};
use crate::histogram::size_in_samples;
use crate::parse::{self, Features, ast::Expr};
use crate::plan::{self, BuildOptions, Node, VectorNode};
use crate::source::Source;
use crate::value::{QueryOutput, Series, StepSamples, Value, VectorSample};
use crate::workers::{Parallel, Parallelism, Task, Workers};
use hashbrown::{HashMap, HashSet};
use marigram_storage::model::labels::Labels;

/// What the engine does when a query does not say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EngineOptions {
    /// How far an instant selector looks back for a sample.
    pub lookback_ms: i64,
    /// Step of sub-queries that name none.
    pub default_subquery_step_ms: i64,
    /// How many samples a query may hold at once.
    pub max_samples: usize,
    /// Experimental parts of the language.
    pub features: Features,
    /// How far a query spreads over threads.
    pub parallelism: Parallelism,
}

/// Prometheus' defaults; a query stays on its thread.
impl Default for EngineOptions {
    fn default() -> Self {
        EngineOptions {
            lookback_ms: 300_000,
            default_subquery_step_ms: 60_000,
            max_samples: 50_000_000,
            features: Features::default(),
            parallelism: Parallelism::default(),
        }
    }
}

/// Evaluates queries. Holds no state between them, so one serves all threads; clones share the threads that help queries.
#[derive(Clone, Debug)]
pub struct Engine {
    options: EngineOptions,
    workers: Option<Arc<Workers>>,
    counts_steps: bool,
}

/// What a range query makes.
pub(crate) struct Evaluated {
    /// By labels.
    pub(crate) series: Vec<Series>,
    pub(crate) remarks: Remarks,
    pub(crate) samples_by_step: Option<Vec<StepSamples>>,
}

impl Engine {
    /// An engine with these options.
    pub fn new(options: EngineOptions) -> Self {
        Engine::in_turns(options, None)
    }

    /// The same; the threads that help queries take turns with those that evaluate them, which whoever calls sees to.
    pub fn in_turns(options: EngineOptions, turns: Option<Arc<Turns>>) -> Self {
        let Parallelism { workers, .. } = options.parallelism;
        let workers = (workers > 1).then(|| Arc::new(Workers::new(options.parallelism.pool_threads(), turns)));
        Engine { options, workers, counts_steps: false }
    }

    /// How many threads that help have been started.
    #[cfg(test)]
    pub(crate) fn threads_started(&self) -> usize {
        self.workers.as_ref().map_or(0, |workers| workers.started())
    }

    /// The same with another lookback, ms; one that is not positive changes nothing.
    #[must_use]
    pub fn with_lookback(&self, lookback_ms: i64) -> Self {
        let lookback_ms = if lookback_ms > 0 { lookback_ms } else { self.options.lookback_ms };
        Engine { options: EngineOptions { lookback_ms, ..self.options }, ..self.clone() }
    }

    /// The same, but answers tell what each step looked at, if that is asked for and the feature is on.
    #[must_use]
    pub fn counting_steps(&self, asked: bool) -> Self {
        Engine { counts_steps: asked && self.options.features.per_step_stats, ..self.clone() }
    }

    /// Whether answers tell what each step looked at.
    pub fn counts_steps(&self) -> bool {
        self.counts_steps
    }

    /// Evaluates a query at one time.
    ///
    /// # Errors
    /// A query that does not parse or cannot be evaluated, a reached limit, or the source's failures.
    pub fn instant(
        &self,
        source: &dyn Source,
        context: &Context,
        query: &str,
        time_ms: i64,
    ) -> Result<QueryOutput, QueryError> {
        self.instant_expr(source, context, &self.parsed(query)?, query, time_ms)
    }

    /// Evaluates a query from `start_ms` to `end_ms`, every `step_ms`.
    ///
    /// # Errors
    /// As [`Engine::instant`]; also a step that is not positive, or a query that is neither scalar nor instant vector.
    pub fn range(
        &self,
        source: &dyn Source,
        context: &Context,
        query: &str,
        start_ms: i64,
        end_ms: i64,
        step_ms: i64,
    ) -> Result<QueryOutput, QueryError> {
        self.range_expr(source, context, &self.parsed(query)?, query, start_ms, end_ms, step_ms)
    }

    /// Evaluates a parsed query at one time; `query` is the text that its spans point into.
    ///
    /// # Errors
    /// A query that cannot be evaluated, a reached limit, or the source's failures.
    pub fn instant_expr(
        &self,
        source: &dyn Source,
        context: &Context,
        expr: &Expr,
        query: &str,
        time_ms: i64,
    ) -> Result<QueryOutput, QueryError> {
        deep::with_room(expr.depth(), || self.evaluate_instant(source, context, expr, query, time_ms))?
    }

    fn evaluate_instant(
        &self,
        source: &dyn Source,
        context: &Context,
        expr: &Expr,
        query: &str,
        time_ms: i64,
    ) -> Result<QueryOutput, QueryError> {
        let node = plan::build(expr, self.build_options(time_ms, time_ms, 0))?;
        let exec = self.exec(SharedSelects::new(source, plan::repeated(&node)), context);
        exec.check()?;
        let grid = Grid::instant(time_ms);
        let value = match &node {
            Node::String(text) => Value::String { time_ms, value: text.clone() },
            Node::Scalar(node) => Value::Scalar { time_ms, value: eval::scalar(&exec, node, grid)?.at(0) },
            Node::Vector(node) => Value::Vector(instant_vector(&exec, node, grid)?),
            Node::Matrix(node) => Value::Matrix(eval::matrix(&exec, node, time_ms)?),
        };
        let samples_by_step = exec.counts.by_step(grid);
        Ok(QueryOutput { value, annotations: exec.eval.remarks.into_inner().finish(query), samples_by_step })
    }

    /// Evaluates a parsed query from `start_ms` to `end_ms`, every `step_ms`; `query` is the text that its spans point into.
    ///
    /// # Errors
    /// The same; also a step that is not positive, or a query that is neither scalar nor instant vector.
    #[expect(clippy::too_many_arguments, reason = "mirrors `range`, with the tree beside the text")]
    pub fn range_expr(
        &self,
        source: &dyn Source,
        context: &Context,
        expr: &Expr,
        query: &str,
        start_ms: i64,
        end_ms: i64,
        step_ms: i64,
    ) -> Result<QueryOutput, QueryError> {
        if step_ms <= 0 {
            return Err(QueryError::bad_data("zero or negative query resolution step widths are not accepted"));
        }
        let times = (start_ms, end_ms, step_ms);
        deep::with_room(expr.depth(), || {
            let Evaluated { series, remarks, samples_by_step } = self.evaluate_range(source, context, expr, times)?;
            Ok(QueryOutput { value: Value::Matrix(series), annotations: remarks.finish(query), samples_by_step })
        })?
    }

    /// Evaluates a range query. The step is positive, and there is room for the depth of the tree.
    pub(crate) fn evaluate_range(
        &self,
        source: &dyn Source,
        context: &Context,
        expr: &Expr,
        (start_ms, end_ms, step_ms): (i64, i64, i64),
    ) -> Result<Evaluated, QueryError> {
        let node = plan::build(expr, self.build_options(start_ms, end_ms, step_ms))?;
        let exec = self.exec(SharedSelects::new(source, plan::repeated(&node)), context);
        exec.check()?;
        let grid = Grid::range(start_ms, end_ms, step_ms);
        // Every operator holds at least a column of this length: fail before anything is allocated.
        drop(exec.limit.hold(grid.steps)?);
        let series = match &node {
            Node::Vector(node) => range_vector(&exec, node, grid)?,
            Node::Scalar(_) if grid.steps == 0 => Vec::new(),
            Node::Scalar(node) => vec![Series {
                labels: Labels::default(),
                times_ms: (0..grid.steps).map(|step| grid.time_ms(step)).collect(),
                values: eval::scalar(&exec, node, grid)?.iter(grid.steps).collect(),
                histograms: Vec::new(),
            }],
            Node::String(_) => return Err(not_for_ranges("string")),
            Node::Matrix(_) => return Err(not_for_ranges("range vector")),
        };
        let samples_by_step = exec.counts.by_step(grid);
        Ok(Evaluated { series, remarks: exec.eval.remarks.into_inner(), samples_by_step })
    }

    /// How many threads work on a query at most, its own included.
    pub fn threads_max(&self) -> usize {
        if self.workers.is_some() { self.options.parallelism.workers } else { 1 }
    }

    /// Asks a thread of the pool to help, if there is a pool.
    pub(crate) fn call(&self, task: Arc<dyn Task>) {
        if let Some(workers) = &self.workers {
            workers.call(task);
        }
    }

    /// How this engine evaluates.
    pub(crate) fn options(&self) -> &EngineOptions {
        &self.options
    }

    /// The tree of a query.
    pub(crate) fn parsed(&self, query: &str) -> Result<Expr, QueryError> {
        parse::parse_with(query, self.options.features).map_err(|error| QueryError::bad_data(error.to_string()))
    }

    /// What a plan depends on besides the tree.
    pub(crate) fn build_options(&self, start_ms: i64, end_ms: i64, step_ms: i64) -> BuildOptions {
        let default_subquery_step_ms = self.options.default_subquery_step_ms;
        BuildOptions { start_ms, end_ms, step_ms, default_subquery_step_ms }
    }

    pub(crate) fn exec<'q>(&'q self, selects: SharedSelects<'q>, context: &Context) -> Exec<'q> {
        let options = EvalOptions { lookback_ms: self.options.lookback_ms, features: self.options.features };
        let limit = SampleLimit::counted(self.options.max_samples, Arc::clone(context.tally()));
        let counts = Counts::new(Arc::clone(context.tally()), self.counts_steps);
        Exec {
            selects,
            kept: Kept::new(context.clone()),
            parallel: self.workers.as_deref().map(|pool| Parallel { options: self.options.parallelism, pool }),
            scopes: Scopes::new(self.counts_steps),
            is_ahead: Cell::default(),
            eval: EvalContext::new(context.clone(), options, limit, counts),
        }
    }
}

fn not_for_ranges(kind: &str) -> QueryError {
    QueryError::bad_data(format!(
        "invalid expression type \"{kind}\" for range query, must be Scalar or instant Vector"
    ))
}

fn instant_vector(exec: &Exec<'_>, node: &VectorNode, grid: Grid) -> Result<Vec<VectorSample>, QueryError> {
    let mut held = exec.limit.hold(0)?;
    let mut out = Vec::new();
    let mut operator = eval::open(exec, node, grid)?;
    let mut seen = HashSet::new();
    while let Some(series) = operator.next()? {
        let (labels, column) = (series.final_labels(), series.column);
        if exec.options.features.delayed_name_removal && !seen.insert(labels.id()) {
            return Err(QueryError::same_labelset());
        }
        let Some(value) = column.sample(0) else { continue };
        exec.limit.hold_more(&mut held, value.histogram().map_or(1, |histogram| size_in_samples(histogram)))?;
        exec.keep_labels(&labels)?;
        out.push(VectorSample { labels, time_ms: grid.start_ms, value });
    }
    if !node.is_ordered() {
        exec.context.sorting(|| out.sort_by(|a, b| a.labels.cmp(&b.labels)));
    }
    Ok(out)
}

/// Collects the result, putting fragments of a series together.
fn range_vector(exec: &Exec<'_>, node: &VectorNode, grid: Grid) -> Result<Vec<Series>, QueryError> {
    let mut held = exec.limit.hold(0)?;
    let mut out: Vec<Series> = Vec::new();
    let mut known: HashMap<Labels, usize> = HashMap::new();
    let mut operator = eval::open(exec, node, grid)?;
    while let Some(series) = operator.next()? {
        let (labels, column) = (series.final_labels(), series.column);
        let mut samples = column.present.count();
        let (mut times_ms, mut values) = (Vec::with_capacity(samples), Vec::with_capacity(samples));
        times_ms.extend(column.float_steps().iter().map(|step| grid.time_ms(step)));
        values.extend(column.samples().map(|(_, value)| value));
        let mut histograms = Vec::new();
        for (step, histogram) in column.histograms() {
            samples += size_in_samples(histogram);
            let histogram = Arc::clone(histogram);
            histograms.push(HistogramSample { timestamp_ms: grid.time_ms(step), histogram });
        }
        exec.limit.hold_more(&mut held, samples)?;
        match known.get(&labels).and_then(|&at| out.get_mut(at)) {
            Some(series) => {
                merge(series, times_ms, values, histograms);
                if exec.options.features.delayed_name_removal && has_duplicates(series) {
                    return Err(QueryError::same_labelset());
                }
            }
            None => {
                exec.keep_labels(&labels)?;
                known.insert(labels.clone(), out.len());
                out.push(Series { labels, times_ms, values, histograms });
            }
        }
    }
    exec.context.sorting(|| out.sort_by(|a, b| a.labels.cmp(&b.labels)));
    Ok(out)
}

/// Adds the samples of a fragment, which share no time with those of the series.
#[cold]
fn merge(series: &mut Series, times_ms: Vec<i64>, values: Vec<f64>, histograms: Vec<HistogramSample>) {
    series.histograms.extend(histograms);
    series.histograms.sort_by_key(|sample| sample.timestamp_ms);
    let old = series.times_ms.drain(..).zip(series.values.drain(..));
    let mut samples: Vec<(i64, f64)> = old.chain(times_ms.into_iter().zip(values)).collect();
    samples.sort_by_key(|(time_ms, _)| *time_ms);
    (series.times_ms, series.values) = samples.into_iter().unzip();
}

/// Whether two samples have the same time.
fn has_duplicates(series: &Series) -> bool {
    series.times_ms.windows(2).any(|pair| pair[0] == pair[1])
        || series.histograms.windows(2).any(|pair| pair[0].timestamp_ms == pair[1].timestamp_ms)
}
