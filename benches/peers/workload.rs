//! The workloads: how many series, how long, and what is looked at.

use crate::load::Shape;
use crate::support::now_ms;

/// Data is cut into blocks at multiples of this.
pub(crate) const WINDOW_MS: i64 = 2 * 3_600_000;
/// Time between two samples of a series.
const INTERVAL_MS: i64 = 15_000;

/// A workload of generated series.
#[derive(Clone, Debug)]
pub(crate) struct Workload {
    /// As it is written on the command line.
    pub(crate) name: &'static str,
    /// The series.
    pub(crate) shape: Shape,
    /// Parts that are measured one after the other on one server: name and rounds.
    pub(crate) phases: Vec<(&'static str, usize)>,
    /// Instead of coming to rest the server is killed at the last answer, started again and looked at; then it gets so many
    /// more rounds while a block is cut.
    pub(crate) crash: Option<usize>,
    /// Not compared with the peers.
    pub(crate) alone: bool,
    /// Only run if it is named.
    pub(crate) on_demand: bool,
}

/// Names that the command line takes beside those of generated workloads.
pub(crate) const OTHERS: [&str; 4] = ["real", "unordered", "queries", "busy"];

impl Workload {
    /// All generated ones; `scale` changes the number of their series.
    pub(crate) fn all(scale: f64) -> Vec<Workload> {
        // The last window that has ended.
        let start_ms = now_ms().div_euclid(WINDOW_MS) * WINDOW_MS - WINDOW_MS;
        let workload = |name, series: usize, phases: &[(&'static str, usize)]| {
            let series = ((series as f64 * scale / 2_000.0).round() as usize).max(1) * 2_000;
            let shape = Shape { series, interval_ms: INTERVAL_MS, start_ms, churn: None };
            Workload { name, shape, phases: phases.into(), crash: None, alone: false, on_demand: false }
        };
        let mut churn = workload("churn", 20_000, &[("churn", 480)]);
        churn.shape.churn = Some((30, 20));
        vec![
            workload("main", 50_000, &[("main", 480)]),
            Workload { crash: Some(60), ..workload("main-crash", 50_000, &[("main-crash", 480)]) },
            workload("card", 1_000_000, &[("card", 6), ("card2", 10)]),
            Workload { crash: Some(0), ..workload("card-crash", 1_000_000, &[("card-crash", 6)]) },
            churn,
            Workload { on_demand: true, crash: Some(0), ..workload("window", 1_000_000, &[("window", 480)]) },
            Workload {
                on_demand: true,
                alone: true,
                crash: Some(1),
                ..workload("ten-million", 10_000_000, &[("ten-million", 3)])
            },
        ]
    }

    /// Whether the command line asks for it.
    pub(crate) fn wanted(&self, only: &[String]) -> bool {
        if only.is_empty() {
            return !self.on_demand;
        }
        only.iter().any(|name| name == self.name || self.phases.iter().any(|(phase, _)| name == phase))
    }

    /// All rounds, those that follow a crash included.
    pub(crate) fn rounds(&self) -> usize {
        self.phases.iter().map(|(_, rounds)| rounds).sum::<usize>() + self.crash.unwrap_or(0)
    }

    /// What Marigram's clock shows at the start: a window is cut by itself a quarter of an hour after its end, and samples
    /// are taken at most ten minutes before their time.
    pub(crate) fn clock_ms(&self) -> i64 {
        let end_ms = self.shape.start_ms + WINDOW_MS;
        if self.crash.is_some_and(|rounds| rounds > 0) { end_ms + 6 * 60_000 } else { end_ms - 9 * 60_000 }
    }
}
