//! PromQL answers as the scripts of the test language expect them: our own scripts, and Prometheus' own where
//! `PROMQLTEST_DIR` names their folder.

use std::path::PathBuf;

use marigram::promqltest::{Placement, Summary, run};

/// All cases of a folder, none of which is skipped or fails: as it is, nailed to its time, and as a step of a range.
fn passed(dir: PathBuf, placement: Placement) -> Summary {
    let summary = run(&[dir], placement).expect("a folder of scripts");
    println!("from {placement:?}:\n{summary}\n");
    assert_eq!(summary.broken, Vec::<String>::new());
    assert_eq!(summary.failures(), Vec::<String>::new(), "{placement:?}\n{summary}");
    assert!(summary.own().passed > 0 && summary.own().skipped == 0, "{summary}");
    summary
}

#[test]
fn our_own_scripts_pass_from_the_head_and_from_blocks() {
    for placement in [Placement::Head, Placement::Blocks] {
        let summary = passed(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/promql").into(), placement);
        assert!(summary.own().passed >= 40, "{summary}");
        assert!(summary.count(|case| &case.nailed).passed >= 20, "{summary}");
        assert!(summary.count(|case| &case.stepped).passed >= 25, "{summary}");
    }
}

#[test]
fn prometheus_own_scripts_pass_from_the_head_and_from_blocks() {
    let Some(dir) = std::env::var_os("PROMQLTEST_DIR") else {
        eprintln!("LEFT OUT: PROMQLTEST_DIR is not set, so Prometheus' own PromQL scripts were not run");
        return;
    };
    for placement in [Placement::Head, Placement::Blocks] {
        passed(PathBuf::from(&dir), placement);
    }
}
