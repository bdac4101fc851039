//! A range vector as the answer to a query.

use super::samples::SampleReader;
use crate::error::QueryError;
use crate::eval::function::extended;
use crate::eval::{Exec, Grid};
use crate::histogram::size_in_samples;
use crate::names::without_metadata;
use crate::parse::ast::Boundary;
use crate::plan::MatrixNode;
use crate::value::Series;

/// The range vector at one evaluation time, as an instant query for it yields it; by labels.
pub(in crate::eval) fn materialise(
    exec: &Exec<'_>,
    node: &MatrixNode,
    time_ms: i64,
) -> Result<Vec<Series>, QueryError> {
    let grid = Grid::instant(time_ms);
    let mut reader = SampleReader::open_answer(exec, node, grid)?;
    let mut held = exec.limit.hold(0)?;
    let mut out = Vec::new();
    while let Some(labels) = reader.next()? {
        if node.boundary() != Boundary::Samples {
            if !reader.raw.histograms.is_empty() {
                let word = node.boundary().as_str();
                return Err(QueryError::execution(format!("{word} modifier is not supported with histograms")));
            }
            let mut ends = (Vec::new(), Vec::new());
            reader.windows(grid, |_, window| {
                ends = extended::with_ends(&window, node.boundary());
                Ok(())
            })?;
            (reader.raw.times, reader.raw.values) = ends;
        }
        if reader.raw.times.is_empty() && reader.raw.histograms.is_empty() {
            continue;
        }
        let histograms = reader.raw.histograms.iter().map(|sample| size_in_samples(&sample.histogram)).sum::<usize>();
        let samples = reader.raw.times.len() + histograms;
        exec.limit.hold_more(&mut held, samples)?;
        reader.count_all(samples as u64);
        exec.keep_labels(&labels)?;
        let labels = if reader.drops_name { without_metadata(&labels) } else { labels };
        let (times_ms, values) = (reader.raw.times.clone(), reader.raw.values.clone());
        out.push(Series { labels, times_ms, values, histograms: reader.raw.histograms.clone() });
    }
    exec.context.sorting(|| out.sort_by(|a, b| a.labels.cmp(&b.labels)));
    Ok(out)
}
