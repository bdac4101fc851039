//! Runs the cases of one script against a store and an engine.
//!
//! Each instant case runs three times over: as it is; nailed to its time and asked at other times; and each of these as
//! one step of a range query. Only the first is the case; the others find other bugs and are counted apart.

use std::path::Path;

use anyhow::Result;
use marigram_query::{Engine, EngineOptions, Parallelism, QueryOutput, Value};

use super::Placement;
use super::at_time::nail;
use super::compare::{Check, check_annotations, check_failure, check_step, check_value, show};
use super::features::Features;
use super::script::{self, Case, Command, When};
use super::store::Store;
use super::summary::{CaseReport, Verdict};

/// Half the length, and the step, of the range query around an instant.
const AROUND_MS: i64 = 60_000;

/// The engine as the scripts expect it. Over the head each query stays on its thread; over blocks other threads take every portion that
/// they can, so that the scripts try both.
fn engine(placement: Placement) -> Engine {
    let parallelism = match placement {
        Placement::Head => Parallelism::default(),
        Placement::Blocks => Parallelism { workers: 3, cost_min: 0, portion_cost: 1 },
    };
    Engine::new(EngineOptions {
        lookback_ms: 300_000,
        default_subquery_step_ms: 60_000,
        max_samples: 10_000,
        // The scripts expect remarks that go by names.
        features: marigram_query::Features { type_and_unit_labels: false, ..marigram_query::Features::ALL },
        parallelism,
    })
}

/// Runs a script.
pub(super) fn run_file(path: &Path, name: &str, features: &Features, placement: Placement) -> Result<Vec<CaseReport>> {
    let commands = script::read(path)?;
    let runner = Runner { engine: engine(placement) };
    let mut store = Store::open(placement)?;
    let mut reports = Vec::new();
    for command in commands {
        match command {
            Command::Clear => store = Store::open(placement)?,
            Command::Load(load) => store.load(&load)?,
            Command::Eval(case) => {
                let features = features.of(name, case.line).to_owned();
                let mut report = CaseReport::new(name, &case, features);
                runner.run(&store, &case, &mut report);
                reports.push(report);
            }
        }
    }
    Ok(reports)
}

struct Runner {
    engine: Engine,
}

impl Runner {
    fn run(&self, store: &Store, case: &Case, report: &mut CaseReport) {
        report.own = self.once(store, case, &case.query, case.when).into();
        let When::At(time_ms) = case.when else { return };
        let steps_apply = steps_apply(case);
        let mut steps = Vec::new();
        if steps_apply {
            steps.push(self.step(store, case, &case.query, time_ms));
        }
        if let Some(nailed) = nail(&case.query, time_ms) {
            let mut elsewhere = Vec::new();
            for at_ms in other_times(time_ms) {
                elsewhere.push(self.once(store, case, &nailed, When::At(at_ms)));
                if steps_apply {
                    steps.push(self.step(store, case, &nailed, at_ms));
                }
            }
            report.nailed = first_failure(elsewhere).into();
        }
        if steps_apply {
            report.stepped = first_failure(steps).into();
        }
    }

    fn once(&self, store: &Store, case: &Case, query: &str, when: When) -> Check {
        let context = store.context();
        let answer = match when {
            When::At(time_ms) => self.engine.instant(store.source(), &context, query, time_ms),
            When::Range { start_ms, end_ms, step_ms } => {
                self.engine.range(store.source(), &context, query, start_ms, end_ms, step_ms)
            }
        };
        match answer {
            Err(error) => check_failure(&case.expect, &error),
            Ok(QueryOutput { value, annotations, .. }) => {
                check_value(case, &value)?;
                check_annotations(&case.expect, &annotations)
            }
        }
        .map_err(|why| format!("{query} {when:?}: {why}"))
    }

    fn step(&self, store: &Store, case: &Case, query: &str, time_ms: i64) -> Check {
        let context = store.context();
        let (start_ms, end_ms) = (time_ms.saturating_sub(AROUND_MS), time_ms.saturating_add(AROUND_MS));
        let check = || {
            let answer = self.engine.range(store.source(), &context, query, start_ms, end_ms, AROUND_MS);
            // Not its remarks: the steps beside it can give others.
            let value = answer.map_err(|error| format!("failed: {error}"))?.value;
            let Value::Matrix(series) = &value else { return Err(format!("no matrix, but {}", show(&value))) };
            check_step(case, series, time_ms)
        };
        check().map_err(|why| format!("{query} as a step at {time_ms}: {why}"))
    }
}

/// Whether the case can be asked as one step of a range query.
fn steps_apply(case: &Case) -> bool {
    let expect = &case.expect;
    !expect.fail
        && expect.string.is_none()
        && expect.range_vector.is_none()
        && !["start()", "end()", "range()", "step()"].iter().any(|call| case.query.contains(call))
}

/// When to ask a query that is nailed to `time_ms`.
fn other_times(time_ms: i64) -> Vec<i64> {
    if time_ms == 0 { vec![-1000, 0, 1000] } else { vec![-10 * time_ms, 0, time_ms / 5, time_ms, 10 * time_ms] }
}

fn first_failure(checks: Vec<Check>) -> Check {
    checks.into_iter().collect()
}

impl From<Check> for Verdict {
    fn from(check: Check) -> Self {
        match check {
            Ok(()) => Verdict::Passed,
            Err(why) => Verdict::Failed(why),
        }
    }
}
