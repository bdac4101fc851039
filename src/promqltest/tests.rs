//! The runner finds what is wrong, and says so.

use std::path::PathBuf;

use super::{Placement, Summary, Verdict, run_dir};

/// Runs one script in a folder of its own.
fn run(script: &str) -> (Summary, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("one.test"), script).unwrap();
    (run_dir(dir.path(), Placement::Head).unwrap(), dir)
}

const LOAD: &str = "load 1m\n  m{a=\"x\"} 1 2 3\n  m{a=\"y\"} 4 5 stale\n\n";

#[test]
fn right_answers_pass_in_every_run() {
    let (summary, _dir) = run(&format!("{LOAD}eval instant at 1m m\n  m{{a=\"x\"}} 2\n  m{{a=\"y\"}} 5\n"));
    assert_eq!(summary.failures(), Vec::<String>::new());
    let case = &summary.cases[0];
    assert_eq!((&case.own, &case.nailed, &case.stepped), (&Verdict::Passed, &Verdict::Passed, &Verdict::Passed));
    assert!(summary.to_string().ends_with("1 passed, 0 failed, 0 skipped"), "{summary}");
}

#[test]
fn wrong_answers_fail() {
    for (case, why) in [
        ("eval instant at 1m m\n m{a=\"x\"} 2", "unexpected {__name__=\"m\", a=\"y\""),
        ("eval instant at 1m m{a=\"x\"}\n m{a=\"x\"} 2.1", "is 2, expected"),
        ("eval instant at 1m m{a=\"x\"}\n m{a=\"x\"} 2\n m{a=\"z\"} 2", "missing {__name__=\"m\", a=\"z\"}"),
        ("eval instant at 2m m\n m{a=\"x\"} 3\n m{a=\"y\"} 5", "missing"),
        ("eval instant at 1m m\n expect ordered\n m{a=\"y\"} 5\n m{a=\"x\"} 2", "expected as row 2"),
        ("eval instant at 1m m\n expect fail\n", "did not fail"),
        ("eval instant at 1m rate(m)\n m{a=\"x\"} 2", "failed: 1:6: parse error"),
        ("eval instant at 1m rate(m)\n expect fail msg: something else", "expected Exact("),
        ("eval instant at 1m 1 + 1\n 3", "expected scalar Some(3.0), got 2"),
        ("eval instant at 1m 1 + 1\n", "expected scalar None"),
        ("eval instant at 1m \"a\"\n expect string \"b\"", "expected Some(\"b\")"),
        ("eval instant at 1m m{a=\"x\"}\n expect warn\n m{a=\"x\"} 2", "no warning matches"),
        ("eval instant at 1m m[2m]\n m{a=\"x\"} 2", "expected an instant vector"),
        (
            "eval range from 0 to 2m step 1m m{a=\"x\"}\n m{a=\"x\"} 1 2 4",
            "expected [(0, 1.0), (60000, 2.0), (120000, 4.0)]",
        ),
        ("eval range from 0 to 1m step 1m m{a=\"x\"}\n m{a=\"x\"} 1 2 3", "more points than there are steps"),
        ("eval range from 0 to 1m step 1m m{a=\"x\"}\n m{a=\"x\"} 1 _", "expected [(0, 1.0)]"),
        ("eval instant at 1m histogram_quantile(2, m)\n expect no_warn\n", "unexpected warning"),
    ] {
        let (summary, _dir) = run(&format!("{LOAD}{case}\n"));
        let failures = summary.failures();
        assert!(failures.first().is_some_and(|said| said.contains(why)), "{case}: {failures:?}");
        assert!(matches!(summary.cases[0].own, Verdict::Failed(_)), "{case}");
    }
}

#[test]
fn clear_empties_the_store_and_histograms_are_skipped() {
    let (summary, _dir) = run(&format!(
        "{LOAD}clear\neval instant at 1m m\n\n# a comment\nload 1m\n h {{{{sum:1}}}} 3\n\neval instant at 1m h\n h 3\n\n\
         eval instant at 0 h\n h {{{{sum:1}}}}\n"
    ));
    let verdicts: Vec<&Verdict> = summary.cases.iter().map(|case| &case.own).collect();
    assert_eq!(verdicts, [&Verdict::Passed, &Verdict::Passed, &Verdict::Skipped]);
}

#[test]
fn features_come_from_the_table() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("cases.tsv"), "file\tline\tkind\tfeatures\none.test\t1\tinstant\tfill\n").unwrap();
    std::fs::write(dir.path().join("one.test"), "eval instant at 0 1\n 2\n").unwrap();
    let summary = run_dir(dir.path(), Placement::Head).unwrap();
    assert_eq!((summary.cases[0].features.as_str(), &summary.cases[0].own), ("fill", &Verdict::Skipped));
}

#[test]
fn broken_scripts_are_named() {
    for script in [
        "load\n",
        "load 1m\n m{ 1\n",
        "eval instant 1m m\n",
        "evil instant at 1m m\n",
        "eval instant at 1m m\n expect x\n",
    ] {
        let (summary, _dir) = run(script);
        assert!(summary.broken.first().is_some_and(|said| said.contains("one.test:")), "{script}: {summary}");
    }
    assert!(run_dir(&PathBuf::from("/nonexistent"), Placement::Head).is_err());
    assert!(run_dir(tempfile::tempdir().unwrap().path(), Placement::Head).is_err());
}
