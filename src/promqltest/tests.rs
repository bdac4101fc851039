//! The runner finds what is wrong, and says so.

use std::path::PathBuf;

use super::{Placement, Summary, Verdict};

/// Runs one script in a folder of its own.
fn run(script: &str) -> (Summary, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("one.test"), script).unwrap();
    (super::run(&[dir.path().into()], Placement::Head).unwrap(), dir)
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
        ("eval range from 0 to 2m step 1m m{a=\"x\"}\n m{a=\"x\"} 1 2 4", "expected [1 @0, 2 @60000, 4 @120000]"),
        ("eval range from 0 to 1m step 1m m{a=\"x\"}\n m{a=\"x\"} 1 2 3", "more points than there are steps"),
        ("eval range from 0 to 1m step 1m m{a=\"x\"}\n m{a=\"x\"} 1 _", "expected [1 @0]"),
        ("eval instant at 1m histogram_quantile(2, m)\n expect no_warn\n", "unexpected warning"),
    ] {
        let (summary, _dir) = run(&format!("{LOAD}{case}\n"));
        let failures = summary.failures();
        assert!(failures.first().is_some_and(|said| said.contains(why)), "{case}: {failures:?}");
        assert!(matches!(summary.cases[0].own, Verdict::Failed(_)), "{case}");
    }
}

/// Of each kind of expectation a right one passes and a wrong one fails.
#[test]
fn every_corrupted_expectation_is_noticed() {
    let load = "load 1m\n m{a=\"x\"} 1 2 3\n m{a=\"y\"} 4 5 6\n h_total 1 2\n g 1 2\n \
                n {{}} {{schema:1 count:4 sum:3 z_bucket:1 buckets:[1 2] offset:1 counter_reset_hint:gauge}}\n \
                c {{schema:-53 count:1 custom_values:[1 2] buckets:[1]}}x1\n\n";
    for (right, corruptions) in [
        // A value, a label, a name, a missing and an additional series.
        (
            "eval instant at 1m m\n m{a=\"x\"} 2\n m{a=\"y\"} 5\n",
            &[
                ("} 2\n", "} 2.00001\n"),
                ("} 2\n", "} NaN\n"),
                ("} 2\n", "} {{}}\n"),
                ("a=\"x\"", "a=\"z\""),
                ("a=\"x\"", "a=\"x\",b=\"\"c"),
                (" m{a=\"x\"", " n{a=\"x\""),
                (" m{a=\"x\"} 2\n", ""),
                (" m{a=\"x\"} 2\n", " m{a=\"x\"} 2\n m{a=\"w\"} 2\n"),
                ("at 1m m\n", "at 1m m\n expect ordered\n m{a=\"z\"} 1\n"),
            ][..],
        ),
        ("eval instant at 1m sort_desc(m)\n expect ordered\n m{a=\"y\"} 5\n m{a=\"x\"} 2\n", &[("sort_desc", "sort")]),
        ("eval instant at 1m 1 + 1\n 2\n", &[(" 2\n", " 3\n"), (" 2\n", " {} 2\n"), (" 2\n", "")]),
        ("eval instant at 1m \"a\"\n expect string \"a\"\n", &[("string \"a\"", "string \"b\"")]),
        (
            "eval range from 0 to 2m step 1m m{a=\"x\"}\n m{a=\"x\"} 1 2 3\n",
            &[("1 2 3", "1 2 4"), ("1 2 3", "1 _ 3"), ("1 2 3", "1 2"), ("1 2 3", "_ 1 2"), ("1 2 3", "1 2 3 4")],
        ),
        (
            "eval instant at 2m m{a=\"x\"}[2m]\n expect range vector from 1m to 2m step 1m\n m{a=\"x\"} 2 3\n",
            &[(" 2 3\n", " 2 4\n"), ("from 1m", "from 2m"), (" expect range vector from 1m to 2m step 1m\n", "")],
        ),
        // Annotations: one that is not there, another text, none expected.
        (
            "eval instant at 1m rate(g[2m])\n expect info regex: might not be a counter.*\"g\"\n {} 0.016666666666666666\n",
            &[
                ("might not be", "is surely not"),
                ("info regex", "warn regex"),
                ("info regex: might not be a counter.*\"g\"", "no_info"),
                ("expect info regex: might not be a counter.*\"g\"", "expect info msg: might not be a counter"),
            ],
        ),
        (
            "eval instant at 1m rate(g[2m])\n expect info msg: PromQL info: metric might not be a counter, name does not end in \
             _total/_sum/_count/_bucket: \"g\" (1:6)\n {} 0.016666666666666666\n",
            &[("(1:6)", "(1:7)"), ("(1:6)", "(1)"), (" (1:6)", "."), ("info msg", "warn msg")],
        ),
        (
            "eval instant at 1m rate(g[2m])\n expect info msg: PromQL info: metric might not be a counter, name does not end in \
             _total/_sum/_count/_bucket: \"g\"\n {} 0.016666666666666666\n",
            &[("might", "must"), ("PromQL info: ", "")],
        ),
        (
            "eval instant at 1m rate(h_total[2m])\n expect no_info\n expect no_warn\n {} 0.016666666666666666\n",
            &[("no_info", "info"), ("no_warn", "warn")],
        ),
        // Histograms: kind, numbers, buckets, bounds, reset hint.
        (
            "eval instant at 1m n\n n {{schema:1 count:4 sum:3 z_bucket:1 buckets:[1 2] offset:1 counter_reset_hint:gauge}}\n",
            &[
                ("count:4", "count:5"),
                ("sum:3", "sum:3.1"),
                ("schema:1", "schema:2"),
                ("z_bucket:1", "z_bucket:2"),
                ("z_bucket:1", "z_bucket:1 z_bucket_w:0.5"),
                ("buckets:[1 2]", "buckets:[1 3]"),
                ("offset:1", "offset:2"),
                ("buckets:[1 2]", "n_buckets:[1 2]"),
                ("hint:gauge", "hint:reset"),
                ("{{schema:1 count:4 sum:3 z_bucket:1 buckets:[1 2] offset:1 counter_reset_hint:gauge}}", "4"),
            ],
        ),
        ("eval instant at 1m c\n c {{schema:-53 count:1 custom_values:[1 2] buckets:[1]}}\n", &[("[1 2]", "[1 3]")]),
        (
            "eval range from 0 to 1m step 1m n\n n {{}} {{schema:1 count:4 sum:3 z_bucket:1 buckets:[1 2] offset:1}}\n",
            &[("n {{}}", "n _"), ("n {{}}", "n 0"), ("n {{}} ", "n {{}} {{}} ")],
        ),
        // Failures: none, another text.
        (
            "eval instant at 1m rate(m)\n expect fail regex: expected type range vector\n",
            &[("expected type range", "expected type instant"), ("rate(m)", "rate(nothing[5m])")],
        ),
        ("eval instant at 1m m\n m{a=\"x\"} 2\n m{a=\"y\"} 5\n", &[(" m{a=\"x\"} 2\n", " expect fail\n")]),
    ] {
        let (summary, _dir) = run(&format!("{load}{right}"));
        assert_eq!((summary.failures(), &summary.broken), (Vec::new(), &Vec::new()), "{right}");
        for (part, wrong) in corruptions {
            let corrupted = right.replacen(part, wrong, 1);
            assert_ne!(corrupted, right, "{part}");
            let (summary, _dir) = run(&format!("{load}{corrupted}"));
            let failed = summary.cases.iter().any(|case| matches!(case.own, Verdict::Failed(_)));
            assert!(failed || !summary.broken.is_empty(), "{corrupted}: {summary}");
        }
    }
}

#[test]
fn clear_empties_the_store() {
    let (summary, _dir) = run(&format!(
        "{LOAD}clear\neval instant at 1m m\n\n# a comment\nload 1m\n h _ 3\n\neval instant at 1m h\n h 3\n"
    ));
    assert_eq!(summary.own(), super::Count { passed: 2, failed: 0, skipped: 0 }, "{summary}");
}

#[test]
fn features_come_from_the_table_and_are_counted_one_by_one() {
    let dir = tempfile::tempdir().unwrap();
    let table = "file\tline\tkind\tfeatures\none.test\t1\tinstant\tfill,nh\none.test\t4\tinstant\tnh\n";
    std::fs::write(dir.path().join("cases.tsv"), table).unwrap();
    std::fs::write(dir.path().join("one.test"), "eval instant at 0 1\n 2\n\neval instant at 0 1\n 1\n").unwrap();
    let summary = super::run(&[dir.path().into()], Placement::Head).unwrap();
    assert_eq!(summary.cases[0].features.as_str(), "fill,nh");
    let text = summary.to_string();
    let line = |name: &str| text.lines().find(|line| line.starts_with(name)).unwrap_or("").to_owned();
    assert!(line("fill").ends_with(" 0 passed of 1") && line("nh").ends_with(" 1 passed of 2"), "{text}");
}

#[test]
fn classic_histograms_are_stored_as_native_ones_too() {
    let (summary, _dir) =
        run("load_with_nhcb 1m\n h_bucket{le=\"1\"} 1\n h_bucket{le=\"+Inf\"} 3\n h_sum 5\n\neval instant at 0 h\n \
         h {{schema:-53 count:3 sum:5 custom_values:[1] buckets:[1 2]}}\n\neval instant at 0 h_bucket{le=\"1\"}\n \
         h_bucket{le=\"1\"} 1\n");
    assert_eq!(summary.failures(), Vec::<String>::new(), "{summary}");
    assert_eq!(summary.own().passed, 2);
}

#[test]
fn start_timestamps_stand_before_their_samples() {
    let (summary, _dir) = run("load 1m\n m@st _ -10s\n m 1 2\n\neval instant at 1m m\n m 2\n\n\
         eval instant at 1m start_timestamp(m)\n {} 50\n");
    assert_eq!(summary.own().passed, 2, "{summary}");
    for lines in
        [" m@st 0s\n m 1 2\n", " m@st 0s\n n 1\n", " m@st 0s\n", " m@st 0s\n m@st 0s\n m 1\n", " m@st x\n m 1\n"]
    {
        let (summary, _dir) = run(&format!("load 1m\n{lines}\n"));
        assert_eq!(summary.broken.len(), 1, "{lines}");
    }
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
    let empty = tempfile::tempdir().unwrap();
    for path in [PathBuf::from("/nonexistent"), empty.path().into(), empty.path().join("no.test")] {
        assert!(super::run(&[path], Placement::Head).is_err());
    }
}

#[test]
fn several_folders_and_scripts_are_one_run() {
    let (right, wrong) = ("eval instant at 0 1\n 1\n", "eval instant at 0 1\n 2\n");
    let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let write = |dir: &tempfile::TempDir, name: &str, script: &str| {
        let path = dir.path().join(name);
        std::fs::write(&path, script).unwrap();
        path
    };
    let first = write(&one, "a.test", right);
    let (second, _) = (write(&other, "a.test", wrong), write(&other, "b.test", right));
    let summary = super::run(&[first.clone(), other.path().into()], Placement::Head).unwrap();
    assert_eq!((summary.own().passed, summary.own().failed), (2, 1), "{summary}");
    // They are told apart by their paths.
    let text = summary.to_string();
    for (path, passed) in [(&first, "1 passed of 1"), (&second, "0 passed of 1")] {
        let path = path.display().to_string();
        assert!(text.lines().any(|line| line.starts_with(&path) && line.ends_with(passed)), "{text}");
    }
}
