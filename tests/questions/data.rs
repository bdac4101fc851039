//! Series with gaps, resets, infinities, NaN and ends.

use marigram_proto::prometheus::TimeSeries;
use marigram_storage::env::Random;
use marigram_storage::model::sample::stale_nan;

use crate::support::below;
use crate::support::remote::series;

/// Time between two samples.
pub(crate) const INTERVAL_MS: i64 = 10_000;
/// Samples of a series without gaps: forty minutes.
pub(crate) const ROUNDS: usize = 240;

/// How the values of a series go.
#[derive(Clone, Copy)]
enum Course {
    Counter,
    Walk,
    /// Mostly numbers, now and then none, or an infinite one.
    Wild,
    Constant(f64),
    /// Cumulative counts below one bound of a histogram; the number of bounds below and with it.
    Bucket(u32),
}

/// Labels, and a value or none for each round.
type Labelled = (Vec<(&'static str, &'static str)>, Vec<Option<f64>>);

/// The samples of all series, in the order of time: each entry is what is sent together.
pub(crate) fn data(first_ms: i64, random: &dyn Random) -> Vec<Vec<TimeSeries>> {
    let mut all: Vec<Labelled> = vec![];
    let mut add = |labels: Vec<(&'static str, &'static str)>, course: Course| {
        all.push((labels, values(course, random)));
    };
    for job in ["api", "web"] {
        for instance in ["a", "b", "c"] {
            for code in ["200", "404", "500"] {
                let name = ("__name__", "requests_total");
                add(vec![name, ("code", code), ("instance", instance), ("job", job)], Course::Counter);
            }
            let own = |name| vec![("__name__", name), ("instance", instance), ("job", job)];
            add(own("errors_total"), Course::Counter);
            add(own("temperature"), Course::Walk);
            add(own("balance"), Course::Walk);
            add(own("wild"), Course::Wild);
        }
        add(vec![("__name__", "ceiling"), ("job", job)], Course::Constant(40.0));
        let bounds = [("0.1", 1), ("0.5", 2), ("1", 3), ("5", 4), ("+Inf", 5)];
        for (le, number) in bounds {
            add(vec![("__name__", "latency_bucket"), ("job", job), ("le", le)], Course::Bucket(number));
        }
    }
    for (instance, version, at) in [("a", "1.2", "rack 1"), ("b", "1.3", "rack 1"), ("c", "1.3", "rack 2")] {
        let name = ("__name__", "build_info");
        add(vec![name, ("instance", instance), ("place", at), ("version", version)], Course::Constant(1.0));
    }
    let round = |at: usize| {
        let time_ms = first_ms + at as i64 * INTERVAL_MS;
        let sample = |(labels, values): &Labelled| values[at].map(|value| series(labels, &[(time_ms, value)]));
        all.iter().filter_map(sample).collect()
    };
    (0..ROUNDS).map(round).collect()
}

fn values(course: Course, random: &dyn Random) -> Vec<Option<f64>> {
    let mut value = match course {
        // Far from zero: how far a rate is stretched back towards it is not the same in Prometheus 2.
        Course::Counter => 3000.0,
        Course::Bucket(_) => 1000.0,
        Course::Walk | Course::Wild => below(random, 60) as f64 - 20.0,
        Course::Constant(value) => value,
    };
    let (mut gap, mut made) = (0, Vec::with_capacity(ROUNDS));
    // Some begin late, some end early, with a marker.
    let begin = if below(random, 4) == 0 { below(random, ROUNDS / 3) } else { 0 };
    let end = if below(random, 4) == 0 { ROUNDS - 1 - below(random, ROUNDS / 3) } else { ROUNDS };
    let steady = matches!(course, Course::Constant(_) | Course::Bucket(_));
    for at in 0..ROUNDS {
        let chance = |one_in: usize| below(random, one_in) == 0;
        let seen = match course {
            Course::Counter => {
                value = if chance(50) { 2900.0 - below(random, 100) as f64 } else { value + below(random, 20) as f64 };
                value
            }
            Course::Walk | Course::Wild => {
                value += (below(random, 17) as f64 - 8.0) / 4.0;
                match course {
                    Course::Wild if chance(25) => [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -0.0][below(random, 4)],
                    _ => value,
                }
            }
            Course::Constant(value) => value,
            Course::Bucket(number) => {
                value += f64::from(number) * 2.0;
                value
            }
        };
        gap = if gap > 0 {
            gap - 1
        } else if chance(60) {
            below(random, 40)
        } else {
            0
        };
        made.push(match () {
            () if steady => Some(seen),
            () if at == end => Some(stale_nan()),
            () if at < begin || at > end || gap > 0 => None,
            () => Some(seen),
        });
    }
    made
}
