//! `info`: gives series the labels of the info series that describe the same target.
//!
//! 1. The series are taken in, and the info series of all their targets (`instance` and `job`) are selected at once.
//! 2. At each step and for each target and info metric, the info series with the newest sample counts.
//! 3. A series comes out in fragments, one for each set of info series that it meets on its way.

use hashbrown::{HashMap, HashSet};
use marigram_storage::model::labels::{Labels, LabelsBuilder, METRIC_NAME};
use marigram_storage::model::matcher::{MatchOp, Matcher};

use super::column::Steps;
use super::function::computed;
use super::select::{InstantSelect, Yield};
use super::{BoxedOperator, Exec, Grid, Operator, SeriesColumn, open};
use crate::error::QueryError;
use crate::plan::{InfoNode, Select};
use crate::text;

/// The labels that name a target.
const IDENTIFYING: [&str; 2] = ["instance", "job"];
/// The info metric that is taken where the query names none.
const TARGET_INFO: &str = "target_info";

/// The operator of `info(v, {…})`.
pub(super) fn info<'q>(exec: &'q Exec<'q>, node: &'q InfoNode, grid: Grid) -> BoxedOperator<'q> {
    computed(move || {
        let mut base = Vec::new();
        let mut input = open(exec, &node.input, grid)?;
        while let Some(next) = input.next()? {
            exec.check()?;
            exec.keep_labels(&next.labels)?;
            base.push(next);
        }
        let (names, data): (Vec<Matcher>, Vec<Matcher>) =
            node.matchers.iter().cloned().partition(|matcher| matcher.name() == METRIC_NAME);
        let names = info_names(names)?;
        let is_info = |series: &SeriesColumn| {
            let name = series.labels.metric_name().unwrap_or("");
            names.iter().all(|matcher| matcher.matches(name))
        };
        let targets = Targets::of(base.iter().filter(|series| !is_info(series))).matchers()?;
        let infos = match targets {
            Some(matchers) => {
                let matchers = [matchers, names.clone(), data.clone()].concat();
                Infos::select(exec, &Select { matchers, moment: node.moment, ..Select::default() }, grid)?
            }
            None => Infos::default(),
        };
        let mut any = Steps::none(grid.steps);
        base.iter().for_each(|series| any.unite(&series.column.present));
        let newest = infos.newest(&any)?;
        let mut out = Vec::new();
        for series in base {
            exec.check()?;
            if is_info(&series) {
                out.push(series);
            } else {
                enrich(exec, grid, series, &infos, &newest, &data, &mut out)?;
            }
        }
        Ok(out)
    })
}

/// The matchers of the names of info series: where none says what a name is, every `…_info` that the others allow.
fn info_names(matchers: Vec<Matcher>) -> Result<Vec<Matcher>, QueryError> {
    if matchers.iter().any(|matcher| matches!(matcher.op(), MatchOp::Equal | MatchOp::Regex)) {
        return Ok(matchers);
    }
    if matchers.is_empty() {
        return Ok(vec![Matcher::equal(METRIC_NAME, TARGET_INFO)]);
    }
    let mut all = vec![regex(METRIC_NAME, ".+_info")?];
    all.extend(matchers);
    Ok(all)
}

fn regex(name: &str, pattern: &str) -> Result<Matcher, QueryError> {
    Matcher::new(name, MatchOp::Regex, pattern).map_err(|error| QueryError::internal(error.to_string()))
}

/// The values of the identifying labels.
struct Targets<'a>([(&'static str, HashSet<&'a str>); 2]);

impl<'a> Targets<'a> {
    fn of(series: impl Iterator<Item = &'a SeriesColumn>) -> Self {
        let mut targets = IDENTIFYING.map(|name| (name, HashSet::new()));
        for series in series {
            for (name, values) in &mut targets {
                values.extend(series.labels.get(name).filter(|value| !value.is_empty()));
            }
        }
        Targets(targets)
    }

    /// Matchers of the info series of all targets; `None` if there are none.
    fn matchers(&self) -> Result<Option<Vec<Matcher>>, QueryError> {
        let mut matchers = Vec::new();
        for (name, values) in self.0.iter().filter(|(_, values)| !values.is_empty()) {
            let mut values: Vec<String> = values.iter().map(|value| regex::escape(value)).collect();
            values.sort_unstable();
            matchers.push(regex(name, &values.join("|"))?);
        }
        Ok((!matchers.is_empty()).then_some(matchers))
    }
}

/// The info series, by labels; their values are the times of the samples, in seconds.
#[derive(Default)]
struct Infos {
    series: Vec<SeriesColumn>,
    /// By what series and info series are matched by (a target), then by info metric.
    by_target: HashMap<Labels, Vec<(String, Vec<usize>)>>,
}

/// For each target and info metric the newest of its info series at each step.
type Newest = HashMap<Labels, Vec<Vec<Option<usize>>>>;

impl Infos {
    fn select(exec: &Exec<'_>, select: &Select, grid: Grid) -> Result<Self, QueryError> {
        let mut infos = Infos::default();
        let mut reader = InstantSelect::new(exec, select, grid, Yield::InfoTime);
        while let Some(next) = reader.next()? {
            exec.check()?;
            exec.keep_labels(&next.labels)?;
            infos.series.push(next);
        }
        infos.series.sort_by(|a, b| a.labels.cmp(&b.labels));
        for (at, series) in infos.series.iter().enumerate() {
            let name = series.labels.metric_name().unwrap_or("").to_owned();
            let metrics = infos.by_target.entry(target(&series.labels)).or_default();
            match metrics.iter_mut().find(|(known, _)| *known == name) {
                Some((_, series)) => series.push(at),
                None => metrics.push((name, vec![at])),
            }
        }
        Ok(infos)
    }

    fn time(&self, at: usize, step: usize) -> Option<f64> {
        self.series.get(at)?.column.float(step)
    }

    /// Finds the newest at the steps at which there is anything to be enriched.
    fn newest(&self, any: &Steps) -> Result<Newest, QueryError> {
        let mut newest = Newest::new();
        for (target, metrics) in &self.by_target {
            let mut columns = Vec::new();
            for (_, series) in metrics {
                let steps = self.series.first().map_or(0, |series| series.column.values.len());
                let mut column = vec![None; steps];
                for step in any.iter() {
                    let mut best: Option<(usize, f64)> = None;
                    for &at in series {
                        let Some(time) = self.time(at, step) else { continue };
                        match best {
                            Some((_, known)) if known > time => {}
                            Some((known, known_time)) if known_time == time => {
                                return Err(self.conflict(known, at, time));
                            }
                            _ => best = Some((at, time)),
                        }
                    }
                    if let Some(slot) = column.get_mut(step) {
                        *slot = best.map(|(at, _)| at);
                    }
                }
                columns.push(column);
            }
            newest.insert(target.clone(), columns);
        }
        Ok(newest)
    }

    fn conflict(&self, a: usize, b: usize, time: f64) -> QueryError {
        let labels = |at: usize| self.series.get(at).map(|series| text::labels(&series.labels)).unwrap_or_default();
        let time_ms = (time * 1000.0).round();
        QueryError::execution(format!(
            "found duplicate series for info metric: existing {} @ {time_ms}, new {} @ {time_ms}",
            labels(a),
            labels(b)
        ))
    }
}

fn target(labels: &Labels) -> Labels {
    labels.without(|name| !IDENTIFYING.contains(&name))
}

/// Puts the series with its new labels out.
fn enrich(
    exec: &Exec<'_>,
    grid: Grid,
    series: SeriesColumn,
    infos: &Infos,
    newest: &Newest,
    data: &[Matcher],
    out: &mut Vec<SeriesColumn>,
) -> Result<(), QueryError> {
    let metrics = newest.get(&target(&series.labels)).map_or(&[][..], Vec::as_slice);
    // Of what is made of the series: which info series it meets, and where it stands among the results.
    let mut made: Vec<(Vec<usize>, Option<usize>)> = Vec::new();
    for step in series.column.present.iter() {
        let met: Vec<usize> = metrics.iter().filter_map(|column| column.get(step).copied().flatten()).collect();
        let at = match made.iter().find(|(known, _)| *known == met) {
            Some((_, at)) => *at,
            None => {
                let at = match enriched(&series.labels, &met, infos, data)? {
                    None => None,
                    Some(labels) => {
                        exec.keep_labels(&labels)?;
                        let drops_name = series.drops_name;
                        out.push(SeriesColumn { labels, column: exec.column(grid)?, drops_name });
                        Some(out.len() - 1)
                    }
                };
                made.push((met, at));
                at
            }
        };
        if let (Some(one), Some(sample)) = (at.and_then(|at| out.get_mut(at)), series.column.sample(step)) {
            one.column.put_sample(step, sample)?;
        }
    }
    Ok(())
}

/// The labels of a series with those of the info series that it meets; `None` if it must have met one.
fn enriched(labels: &Labels, met: &[usize], infos: &Infos, data: &[Matcher]) -> Result<Option<Labels>, QueryError> {
    if met.is_empty() && !data.iter().all(|matcher| matcher.matches("")) {
        return Ok(None);
    }
    let mut added: HashMap<&str, &str> = HashMap::new();
    for (name, value) in met.iter().filter_map(|at| infos.series.get(*at)).flat_map(|info| info.labels.iter()) {
        let is_asked_for = data.is_empty() || data.iter().any(|matcher| matcher.name() == name);
        if name == METRIC_NAME || !is_asked_for {
            continue;
        }
        if added.get(name).is_some_and(|known| *known != value) {
            return Err(QueryError::execution(format!("conflicting label: {name}")));
        }
        if labels.get(name).is_none() {
            added.insert(name, value);
        }
    }
    let mut builder = LabelsBuilder::from_labels(labels);
    added.into_iter().for_each(|(name, value)| {
        builder.set(name, value);
    });
    Ok(Some(builder.build()))
}
