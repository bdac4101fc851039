//! Reads test scripts: what to load, what to ask, what to expect.
//!
//! Line by line; an empty line or a comment ends a block. A `load` block holds series with their points; an `eval` block
//! holds a query, what is expected of its remarks, and its result.

use std::collections::HashMap;
use std::path::Path;

use anyhow::{Context as _, Result, anyhow, bail};
use marigram_query::parse::ast::{Expr, ExprKind};
use marigram_query::parse::series::{SeriesDescription, parse_labels, parse_series, parse_start_offsets};
use marigram_query::parse::strings::read_quoted;
use marigram_query::parse::{parse, parse_duration};
use marigram_storage::model::labels::Labels;
use regex::Regex;

/// A command of a script.
#[derive(Debug)]
pub(super) enum Command {
    /// Empties the store.
    Clear,
    /// Stores samples.
    Load(Load),
    /// Asks.
    Eval(Box<Case>),
}

/// Samples: number i of a series lies at `i * interval_ms`.
#[derive(Debug)]
pub(super) struct Load {
    pub(super) interval_ms: i64,
    pub(super) series: Vec<SeriesDescription>,
    /// Start timestamps of the points of some series, ms after the points' own times.
    pub(super) starts: HashMap<Labels, Vec<Option<i64>>>,
    /// Classic histograms are stored as native ones with custom buckets, too.
    pub(super) with_nhcb: bool,
}

/// A query and what it must yield.
#[derive(Debug)]
pub(super) struct Case {
    /// Line of the `eval`, from 1.
    pub(super) line: usize,
    pub(super) query: String,
    pub(super) when: When,
    pub(super) expect: Expect,
}

/// When to evaluate, ms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum When {
    At(i64),
    Range { start_ms: i64, end_ms: i64, step_ms: i64 },
}

/// What a case expects.
#[derive(Debug, Default)]
pub(super) struct Expect {
    pub(super) fail: bool,
    /// What the error must say.
    pub(super) fail_text: Option<Pattern>,
    pub(super) warnings: Remarks,
    pub(super) infos: Remarks,
    /// Result rows come in the order of the lines.
    pub(super) ordered: bool,
    pub(super) string: Option<String>,
    pub(super) scalar: Option<f64>,
    /// Times of the points of a range vector: start, end, step.
    pub(super) range_vector: Option<(i64, i64, i64)>,
    pub(super) series: Vec<SeriesDescription>,
}

impl Expect {
    fn check(&self, when: When) -> Result<()> {
        for (kind, remarks) in [("warn", &self.warnings), ("info", &self.infos)] {
            if remarks.none && !remarks.patterns.is_empty() {
                bail!("invalid expect lines, {kind} and no_{kind} cannot be used together");
            }
        }
        let instant = matches!(when, When::At(_)) && self.range_vector.is_none();
        if instant && let Some(series) = self.series.iter().find(|series| series.points.len() != 1) {
            bail!("{} has {} points, an instant result has one", series.labels, series.points.len());
        }
        Ok(())
    }
}

/// What is expected of one kind of remarks.
#[derive(Debug, Default)]
pub(super) struct Remarks {
    /// There is none.
    pub(super) none: bool,
    /// Each matches some remark, and each remark matches one of them; empty: anything goes.
    pub(super) patterns: Vec<Pattern>,
}

/// A text to be matched.
#[derive(Debug)]
pub(super) enum Pattern {
    Any,
    Exact(String),
    Search(Regex),
}

impl Pattern {
    /// Whether it matches a remark. Scripts as they stand in Prometheus' repository write exact texts without the position; one that is
    /// written must be right.
    pub(super) fn matches_remark(&self, text: &str) -> bool {
        self.matches(text)
            || matches!(self, Pattern::Exact(_))
                && without_position(text).is_some_and(|bare| self.matches(bare) || self.matches(without_figures(bare)))
    }

    pub(super) fn matches(&self, text: &str) -> bool {
        match self {
            Pattern::Any => true,
            Pattern::Exact(wanted) => wanted == text,
            Pattern::Search(regex) => regex.is_match(text),
        }
    }
}

/// A remark's text without ` (line:col)` at its end.
fn without_position(text: &str) -> Option<&str> {
    let (bare, position) = text.strip_suffix(')')?.rsplit_once(" (")?;
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    position.split_once(':').filter(|(line, column)| is_number(line) && is_number(column))?;
    Some(bare)
}

/// The same without what one remark says only beside a position.
fn without_figures(bare: &str) -> &str {
    bare.split_once(", from buckets ").map_or(bare, |(text, _)| text)
}

/// Reads a script.
pub(super) fn read(path: &Path) -> Result<Vec<Command>> {
    let text = std::fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
    let lines: Vec<&str> = text.lines().map(|line| line.trim_matches([' ', '\t', '\r'])).collect();
    let mut script = Script { lines, at: 0 };
    let mut commands = Vec::new();
    loop {
        match script.command() {
            Ok(Some(command)) => commands.push(command),
            Ok(None) => return Ok(commands),
            Err(e) => return Err(e.context(format!("{}:{}", path.display(), script.at))),
        }
    }
}

struct Script<'a> {
    lines: Vec<&'a str>,
    /// Lines taken so far: the number of the current one, from 1.
    at: usize,
}

impl<'a> Script<'a> {
    /// The next line of the block, or `None` at its end.
    fn block_line(&mut self) -> Option<&'a str> {
        let line = *self.lines.get(self.at)?;
        self.at += 1;
        (!line.is_empty() && !line.starts_with('#')).then_some(line)
    }

    fn command(&mut self) -> Result<Option<Command>> {
        let line = loop {
            match self.block_line() {
                Some(line) => break line,
                None if self.at >= self.lines.len() => return Ok(None),
                None => {}
            }
        };
        let number = self.at;
        let (word, rest) = split_word(line);
        match word.to_ascii_lowercase().as_str() {
            "clear" => Ok(Some(Command::Clear)),
            load @ ("load" | "load_with_nhcb") => self.load(rest, load != "load").map(|load| Some(Command::Load(load))),
            eval if eval.starts_with("eval") => {
                self.eval(&eval["eval".len()..], rest, number).map(|case| Some(Command::Eval(Box::new(case))))
            }
            _ => bail!("unknown command {word:?}"),
        }
    }

    fn load(&mut self, interval: &str, with_nhcb: bool) -> Result<Load> {
        let interval_ms = duration(interval)?;
        let mut series: Vec<SeriesDescription> = Vec::new();
        let mut starts = HashMap::new();
        let mut next_starts: Option<StartTimestamps> = None;
        while let Some(line) = self.block_line() {
            if let Some(new) = StartTimestamps::read(line)? {
                if next_starts.replace(new).is_some() {
                    bail!("@st line has no following sample line");
                }
                continue;
            }
            let new = parse_series(line).map_err(|e| anyhow!("{e}: {line}"))?;
            // The later line of the same series wins.
            starts.remove(&new.labels);
            if let Some(own) = next_starts.take() {
                own.check(&new)?;
                starts.insert(own.labels, own.offsets_ms);
            }
            series.retain(|known| known.labels != new.labels);
            series.push(new);
        }
        match next_starts {
            Some(_) => bail!("@st line has no following sample line"),
            None => Ok(Load { interval_ms, series, starts, with_nhcb }),
        }
    }

    fn eval(&mut self, suffix: &str, rest: &str, line: usize) -> Result<Case> {
        let mut expect = Expect::default();
        match suffix {
            "" => {}
            "_fail" => expect.fail = true,
            "_warn" => expect.warnings.patterns.push(Pattern::Any),
            "_info" => expect.infos.patterns.push(Pattern::Any),
            "_ordered" => expect.ordered = true,
            _ => bail!("unknown command eval{suffix}"),
        }
        let (when, query) = read_when(rest)?;
        while let Some(line) = self.block_line() {
            if expect_line(&mut expect, line)? {
                break;
            }
        }
        expect.check(when)?;
        Ok(Case { line, query: query.to_owned(), when, expect })
    }
}

/// A word and what follows it, without the blanks between.
fn split_word(text: &str) -> (&str, &str) {
    let (word, rest) = text.split_once([' ', '\t']).unwrap_or((text, ""));
    (word, rest.trim_start())
}

fn duration(text: &str) -> Result<i64> {
    parse_duration(text).map_err(|e| anyhow!("{text:?}: {e}"))
}

/// `at 5m query`, or `from 0 to 1h step 5m query`.
fn read_when(rest: &str) -> Result<(When, &str)> {
    let (kind, rest) = split_word(rest);
    if kind == "instant" {
        let rest = keyword(rest, "at")?;
        let (time, query) = split_word(rest);
        return Ok((When::At(duration(time)?), query));
    }
    if kind != "range" {
        bail!("expected instant or range, found {kind:?}");
    }
    let (start, end, step, query) = range(rest)?;
    Ok((When::Range { start_ms: start, end_ms: end, step_ms: step }, query))
}

/// `from 0 to 1h step 5m`, and what follows.
fn range(text: &str) -> Result<(i64, i64, i64, &str)> {
    let (start, rest) = split_word(keyword(text, "from")?);
    let (end, rest) = split_word(keyword(rest, "to")?);
    let (step, rest) = split_word(keyword(rest, "step")?);
    Ok((duration(start)?, duration(end)?, duration(step)?, rest))
}

fn keyword<'a>(text: &'a str, word: &str) -> Result<&'a str> {
    match split_word(text) {
        (found, rest) if found == word => Ok(rest),
        (found, _) => bail!("expected {word}, found {found:?}"),
    }
}

/// `series@st 0 1s`: start timestamps of the series in the next line.
struct StartTimestamps {
    labels: Labels,
    offsets_ms: Vec<Option<i64>>,
}

impl StartTimestamps {
    /// `None` where the line is none of start timestamps.
    fn read(line: &str) -> Result<Option<Self>> {
        let (series, offsets) = split_word(line);
        let Some(series) = series.strip_suffix("@st") else { return Ok(None) };
        let labels = parse_labels(series).map_err(|e| anyhow!("invalid @st line metric {series:?}: {e}"))?;
        let offsets_ms = parse_start_offsets(offsets).map_err(|e| anyhow!("invalid @st sequence: {e}"))?;
        Ok(Some(StartTimestamps { labels, offsets_ms }))
    }

    fn check(&self, series: &SeriesDescription) -> Result<()> {
        if self.labels != series.labels {
            bail!("@st metric does not match the following sample line metric");
        }
        let count = self.offsets_ms.len();
        if count != series.points.len() {
            bail!("@st line has {} values but sample line has {}", count, series.points.len());
        }
        Ok(())
    }
}

/// Reads a line behind an `eval`; `true` when it ends the block.
fn expect_line(expect: &mut Expect, line: &str) -> Result<bool> {
    let (word, rest) = split_word(line);
    match word {
        "expect" => expect_directive(expect, rest).map(|()| false),
        "expected_fail_message" => {
            expect.fail_text = Some(Pattern::Exact(rest.to_owned()));
            Ok(true)
        }
        "expected_fail_regexp" => {
            expect.fail_text = Some(Pattern::Search(Regex::new(rest)?));
            Ok(true)
        }
        _ => {
            if let Ok(Expr { kind: ExprKind::Number(number), .. }) = parse(line)
                && !number.is_duration
            {
                expect.scalar = Some(number.value);
                return Ok(true);
            }
            let series = parse_series(line).map_err(|e| anyhow!("{e}: {line}"))?;
            expect.series.push(series);
            Ok(false)
        }
    }
}

fn expect_directive(expect: &mut Expect, rest: &str) -> Result<()> {
    let (kind, rest) = split_word(rest);
    match kind {
        "fail" if expect.fail_text.is_some() => bail!("multiple expect fail lines are not allowed"),
        "fail" => {
            expect.fail = true;
            expect.fail_text = Some(pattern(rest)?);
        }
        "warn" => expect.warnings.patterns.push(pattern(rest)?),
        "info" => expect.infos.patterns.push(pattern(rest)?),
        "no_warn" => expect.warnings.none = true,
        "no_info" => expect.infos.none = true,
        "ordered" => expect.ordered = true,
        "string" => {
            let quoted = read_quoted(rest, 0).map_err(|e| anyhow!(e))?;
            expect.string = Some(String::from_utf8(quoted.bytes)?);
        }
        "range" => {
            let (start, end, step, _) = range(keyword(rest, "vector")?)?;
            expect.range_vector = Some((start, end, step));
        }
        _ => bail!("unknown expectation {kind:?}"),
    }
    Ok(())
}

/// `msg: text`, `regex: pattern`, or nothing.
fn pattern(rest: &str) -> Result<Pattern> {
    if let Some(text) = rest.strip_prefix("msg:") {
        return Ok(Pattern::Exact(text.trim_start().to_owned()));
    }
    if let Some(pattern) = rest.strip_prefix("regex:") {
        return Ok(Pattern::Search(Regex::new(pattern.trim_start())?));
    }
    if rest.is_empty() { Ok(Pattern::Any) } else { bail!("expected msg: or regex:, found {rest:?}") }
}
