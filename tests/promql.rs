//! PromQL answers as the scripts of the test language expect them: our own scripts, and Prometheus' own where
//! `PROMQLTEST_DIR` names their folder.

use std::collections::BTreeSet;
use std::path::Path;

use marigram::promqltest::{CaseReport, Placement, Summary, Verdict, run_dir};

const FAILING: &str = include_str!("promql/failing.txt");

/// Passed as it is; and at other times and as a step of a range, where that applies.
fn is_good(case: &CaseReport) -> bool {
    let failed = [&case.nailed, &case.stepped].iter().any(|verdict| matches!(verdict, Verdict::Failed(_)));
    case.own == Verdict::Passed && !failed
}

fn place(case: &CaseReport) -> String {
    format!("{}:{}", case.file, case.line)
}

#[test]
fn our_own_scripts_pass_from_the_head_and_from_blocks() {
    let dir = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/promql"));
    for placement in [Placement::Head, Placement::Blocks] {
        let summary = run_dir(dir, placement).unwrap();
        assert_eq!(summary.broken, Vec::<String>::new());
        assert_eq!(summary.failures(), Vec::<String>::new(), "{placement:?}\n{summary}");
        assert!(summary.own().passed >= 40 && summary.own().skipped == 0, "{summary}");
        assert!(summary.count(|case| &case.nailed).passed >= 20, "{summary}");
        assert!(summary.count(|case| &case.stepped).passed >= 25, "{summary}");
    }
}

/// A case of Prometheus' scripts passes, unless `failing.txt` lists it; and what it lists does fail.
#[test]
fn prometheus_scripts_fail_only_where_listed() {
    let Some(dir) = std::env::var_os("PROMQLTEST_DIR") else {
        eprintln!("LEFT OUT: PROMQLTEST_DIR is not set, so Prometheus' own PromQL scripts were not run");
        return;
    };
    for placement in [Placement::Head, Placement::Blocks] {
        let summary = run_dir(Path::new(&dir), placement).unwrap();
        println!("from {placement:?}:\n{summary}\n");
        check_list(&summary);
    }
}

fn check_list(summary: &Summary) {
    assert_eq!(summary.broken, Vec::<String>::new());
    let listed: BTreeSet<&str> = FAILING.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).collect();
    let failing: BTreeSet<String> = summary.cases.iter().filter(|case| !is_good(case)).map(place).collect();
    let new: Vec<&String> = failing.iter().filter(|place| !listed.contains(place.as_str())).collect();
    assert!(new.is_empty(), "these cases passed before: {new:?}\n{}", reasons(summary));
    let mended: Vec<&&str> = listed.iter().filter(|place| !failing.contains(**place)).collect();
    assert!(mended.is_empty(), "these cases pass now, take them out of tests/promql/failing.txt: {mended:?}");
}

fn reasons(summary: &Summary) -> String {
    summary.failures().join("\n")
}
