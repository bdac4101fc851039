//! The real store in a temporary folder, filled from `load` blocks.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use marigram_query::parse::series::Point;
use marigram_query::source::Source;
use marigram_storage::context::Context;
use marigram_storage::db::{Db, DbOptions};
use marigram_storage::disk::RealDisk;
use marigram_storage::env::{Clock, Env, ManualClock, OsRandom, Random};
use marigram_storage::model::histogram::HistogramSample;
use marigram_storage::model::labels::Labels;
use marigram_storage::model::sample::Sample;
use marigram_storage::model::tenant::TenantId;
use marigram_storage::write::{WriteBatch, WriteSeries, WriteStarts};

use super::script::Load;
use super::{Placement, nhcb};
use crate::fanout::Local;

/// What a query may hold, in bytes.
const BUDGET_BYTES: u64 = 1 << 30;

/// A store that lives as long as a segment of a script; its folder goes with it.
pub(super) struct Store {
    // The source goes before the folder that its files lie in.
    source: Local,
    clock: Arc<dyn Clock>,
    placement: Placement,
    _folder: Folder,
}

impl Store {
    /// An empty store at 1970-01-01.
    pub(super) fn open(placement: Placement) -> Result<Store> {
        let folder = Folder::create()?;
        let clock: Arc<dyn Clock> = Arc::new(ManualClock::new(0));
        let env = Env { clock: Arc::clone(&clock), random: Arc::new(OsRandom), disk: Arc::new(RealDisk) };
        let options = DbOptions { retention_ms: 0, disk_reserve_bytes: 0, ..DbOptions::default() };
        let db = Db::open(folder.0.clone(), env, options).context("open a store for the script")?;
        Ok(Store { source: Local(Arc::new(db)), clock, placement, _folder: folder })
    }

    pub(super) fn source(&self) -> &dyn Source {
        &self.source
    }

    pub(super) fn context(&self) -> Context {
        Context::new(TenantId::default(), Arc::clone(&self.clock), None, BUDGET_BYTES)
    }

    /// Stores the samples of a `load` block in one write.
    pub(super) fn load(&self, load: &Load) -> Result<()> {
        let mut batch = WriteBatch::default();
        let time_ms = |number: usize| i64::try_from(number).unwrap_or(i64::MAX).saturating_mul(load.interval_ms);
        for series in &load.series {
            let (mut floats, mut histograms) = (Vec::new(), Vec::new());
            let mut starts = WriteStarts::default();
            let offsets_ms = load.starts.get(&series.labels);
            for (number, point) in series.points.iter().enumerate() {
                let timestamp_ms = time_ms(number);
                let offset_ms = offsets_ms.and_then(|offsets_ms| offsets_ms.get(number).copied().flatten());
                let start_ms = offset_ms.map(|offset_ms| timestamp_ms.saturating_add(offset_ms));
                match point {
                    Point::Missing => {}
                    Point::Float(value) => {
                        starts.samples.extend(start_ms.map(|start_ms| (floats.len() as u32, start_ms)));
                        floats.push(Sample { timestamp_ms, value: *value });
                    }
                    Point::Histogram(point) => {
                        starts.histograms.extend(start_ms.map(|start_ms| (histograms.len() as u32, start_ms)));
                        histograms.push(HistogramSample { timestamp_ms, histogram: Arc::clone(&point.histogram) });
                    }
                }
            }
            add(&mut batch, &series.labels, floats, histograms, &starts)?;
        }
        if load.with_nhcb {
            for (labels, histograms) in nhcb::converted(&load.series)? {
                let sample = |(number, histogram)| HistogramSample {
                    timestamp_ms: time_ms(number),
                    histogram: Arc::new(histogram),
                };
                let histograms = histograms.into_iter().map(sample).collect();
                add(&mut batch, &labels, Vec::new(), histograms, &WriteStarts::default())?;
            }
        }
        self.source.0.append(batch).context("load samples")?;
        match self.placement {
            Placement::Head => Ok(()),
            Placement::Blocks => self.source.0.seal().context("seal the loaded samples"),
        }
    }
}

/// Adds the samples of one series to a write; the places of start timestamps count within them.
fn add(
    batch: &mut WriteBatch,
    labels: &Labels,
    floats: Vec<Sample>,
    histograms: Vec<HistogramSample>,
    starts: &WriteStarts,
) -> Result<()> {
    if floats.is_empty() && histograms.is_empty() {
        return Ok(());
    }
    let (first_byte, first_float, first_histogram) = (batch.arena.len(), batch.samples.len(), batch.histograms.len());
    batch.arena.extend_from_slice(labels.as_bytes());
    for (place, start_ms) in &starts.samples {
        batch.starts.samples.push((u32::try_from(first_float)? + place, *start_ms));
    }
    for (place, start_ms) in &starts.histograms {
        batch.starts.histograms.push((u32::try_from(first_histogram)? + place, *start_ms));
    }
    batch.samples.extend(floats);
    batch.histograms.extend(histograms);
    let histograms = u32::try_from(first_histogram)?..u32::try_from(batch.histograms.len())?;
    let series = WriteSeries::new(labels.id(), first_byte..batch.arena.len(), first_float..batch.samples.len());
    batch.series.push(series.with_histograms(histograms));
    Ok(())
}

/// A folder of its own that is removed in the end.
struct Folder(PathBuf);

impl Folder {
    fn create() -> Result<Folder> {
        let path = std::env::temp_dir().join(format!("marigram-promqltest-{:032x}", OsRandom.next_u128()));
        std::fs::create_dir(&path).with_context(|| format!("make the folder {}", path.display()))?;
        Ok(Folder(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // A folder that cannot be removed is left to the system's cleaning of temporary files.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
