use marigram_storage::model::labels::Labels;
use proptest::prelude::*;

use super::*;

const NOW_MS: i64 = 1_700_000_000_000;

fn read(text: &str, openmetrics: bool) -> Decoded {
    let bounds = TimeBounds { oldest_ms: None, newest_ms: i64::MAX };
    let options = TextOptions { default_timestamp_ms: NOW_MS, openmetrics, extra_labels: &[] };
    decode(TenantId::default(), text.as_bytes(), &IngestLimits::default(), bounds, options)
}

/// `labels value @timestamp` of every sample.
fn samples(decoded: &Decoded) -> Vec<String> {
    let batch = &decoded.batch;
    let line = |s: &marigram_storage::write::WriteSeries| {
        let labels = Labels::from_canonical(&batch.arena[s.labels.clone()]).unwrap();
        let sample = batch.samples[s.samples.start];
        format!("{labels} {} @{}", sample.value, sample.timestamp_ms - NOW_MS)
    };
    batch.series.iter().map(line).collect()
}

#[test]
fn values_keep_every_character() {
    let cases = [
        (r#"a{p="x,y"} 1"#, r#"{__name__="a", p="x,y"} 1 @0"#),
        (r#"a{p="x=y"} 1"#, r#"{__name__="a", p="x=y"} 1 @0"#),
        (r#"a{p="C:\\D"} 1"#, r#"{__name__="a", p="C:\\D"} 1 @0"#),
        (r#"a{p="say \"hi\"\n"} 1"#, r#"{__name__="a", p="say \"hi\"\n"} 1 @0"#),
        (r#"a{p="}"} 1"#, r#"{__name__="a", p="}"} 1 @0"#),
        (r#"a{} 1"#, r#"{__name__="a"} 1 @0"#),
        ("a\t{ p = \"v\" , q=\"w\", } \t1", r#"{__name__="a", p="v", q="w"} 1 @0"#),
        ("job:a:b 1", r#"{__name__="job:a:b"} 1 @0"#),
        (r#"{"utf8.name",l="v"} 4"#, r#"{__name__="utf8.name", l="v"} 4 @0"#),
        (r#"{"utf8.name","l.m"="v"} 4"#, r#"{__name__="utf8.name", l.m="v"} 4 @0"#),
        (r#"a{p="é # {"} +Inf 1700000000001"#, r#"{__name__="a", p="é # {"} inf @1"#),
        ("a -1.5e3 1699999999999", r#"{__name__="a"} -1500 @-1"#),
        ("a 1\r", r#"{__name__="a"} 1 @0"#),
        (r#"a{p=""} 1"#, r#"{__name__="a"} 1 @0"#),
    ];
    for (text, expected) in cases {
        let decoded = read(text, false);
        assert!(decoded.refused.is_empty(), "{text}: {}", decoded.refused);
        assert_eq!(samples(&decoded), [expected], "{text}");
    }
}

#[test]
fn a_bad_line_is_refused_with_its_number_and_the_others_are_kept() {
    let text = "good 1\nbad\n9bad 1\nbad{ 1\nbad{a=\"x} 1\nbad{a=\"x\" b=\"y\"} 1\nbad 1 2 3\nbad one\nbad-name 1\n\n# a comment\ngood 2 5";
    let decoded = read(text, false);
    assert_eq!(decoded.refused.count(), 8);
    assert_eq!(decoded.batch.series.len(), 2);
    assert!(decoded.refused.to_string().contains("line 2: the value is missing"), "{}", decoded.refused);
}

#[test]
fn openmetrics_times_are_seconds_and_exemplars_are_counted() {
    let text = "# TYPE a counter\na_total 1 1700000000.5 # {trace=\"x\"} 0.5 1\nb 2 # {} 1\n# EOF\nafter 1";
    let decoded = read(text, true);
    assert!(decoded.refused.is_empty(), "{}", decoded.refused);
    assert_eq!(decoded.exemplars_ignored, 2);
    assert_eq!(samples(&decoded), [r#"{__name__="a_total"} 1 @500"#, r#"{__name__="b"} 2 @0"#]);
}

#[test]
fn metadata_lines_are_joined_by_family() {
    let text =
        "# HELP a One\\nline \\\\ more\n# TYPE a counter\n# UNIT a seconds\n# TYPE b untyped\n#nothing\n# HELP\n";
    let decoded = read(text, false);
    let families: Vec<_> = decoded.batch.metadata.iter().map(|m| (m.family.as_str(), m.entry.kind.as_str())).collect();
    assert_eq!(families, [("a", "counter"), ("b", "unknown")]);
    let a = &decoded.batch.metadata[0].entry;
    assert_eq!((a.help.as_str(), a.unit.as_str()), ("One\nline \\ more", "seconds"));
    assert_eq!(decoded.refused.count(), 1, "a HELP line without a name");
}

#[test]
fn labels_from_outside_win_and_keep_the_others() {
    let options = TextOptions { default_timestamp_ms: NOW_MS, openmetrics: false, extra_labels: &[("job", "j")] };
    let bounds = TimeBounds { oldest_ms: None, newest_ms: i64::MAX };
    let decoded = decode(TenantId::default(), b"a{job=\"own\"} 1", &IngestLimits::default(), bounds, options);
    assert_eq!(samples(&decoded), [r#"{__name__="a", exported_job="own", job="j"} 1 @0"#]);
}

proptest! {
    #[test]
    fn arbitrary_text_never_panics(text in r#"([a-z{}="\\,# 0-9.\n]|.){0,80}"#, openmetrics: bool) {
        let decoded = read(&text, openmetrics);
        prop_assert_eq!(samples(&decoded).len(), decoded.batch.series.len());
    }

    #[test]
    fn any_label_value_reads_back(value in ".{0,20}") {
        let escaped = value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
        let decoded = read(&format!("a{{b=\"{escaped}\"}} 1"), false);
        let expected = Labels::from_pairs([("__name__", "a"), ("b", value.as_str())]);
        prop_assert_eq!(samples(&decoded), vec![format!("{expected} 1 @0")]);
    }
}

#[test]
fn what_a_text_decodes_to_is_bounded_whatever_it_holds() {
    let many = |part: &str| part.repeat((1 << 20) / part.len());
    let texts = [
        many("a 1\n"),
        many("\n"),
        many("# TYPE a\n"),
        (0..100_000).map(|i| format!("# TYPE {i}\n")).collect(),
        format!("a{{{}}} 1", many("b=\"\",")),
        format!("a{{b=\"{}\"}} 1", "v".repeat((1 << 20) - 100)),
        format!("a{{b=\"{}\"}} 1", many("v")),
    ];
    let limits = IngestLimits { request_bytes_max: 3 << 20, ..IngestLimits::default() };
    let bounds = TimeBounds { oldest_ms: None, newest_ms: i64::MAX };
    for text in texts {
        let decoded = decode(TenantId::default(), text.as_bytes(), &limits, bounds, TextOptions::default());
        let batch = &decoded.batch;
        let metadata: usize = batch.metadata.iter().map(|m| 120 + m.family.len() + m.entry.help.len()).sum();
        let held = batch.arena.len()
            + batch.samples.len() * 16
            + batch.series.len() * size_of::<marigram_storage::write::WriteSeries>()
            + metadata;
        assert!(held <= decoded_bytes_max(text.len(), &limits), "{:?}: {held}", &text[..20]);
    }
}

#[test]
fn not_a_number_is_the_one_that_exporters_mean() {
    for text in ["a NaN", "a nan", "a -NaN"] {
        let decoded = read(text, false);
        assert_eq!(decoded.batch.samples[0].value.to_bits(), 0x7ff8_0000_0000_0001, "{text}");
    }
}
