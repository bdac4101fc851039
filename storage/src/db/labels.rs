//! Series, label names and label values, without touching samples.

use roaring::RoaringBitmap;

use super::{Db, damage};
use crate::context::Context;
use crate::error::Result;
use crate::model::labels::Labels;
use crate::model::matcher::Matcher;
use crate::model::time::TimeRange;
use crate::select::{Found, FoundHere};

impl Db {
    /// Label sets of the series that match any of `selectors` (none: all series) and have samples near `range`: sorted,
    /// without duplicates, at most `limit` (0: all).
    ///
    /// # Errors
    /// The context's; damage that touches the range.
    pub fn series(
        &self,
        context: &Context,
        selectors: &[Vec<Matcher>],
        range: TimeRange,
        limit: usize,
    ) -> Result<Vec<Labels>> {
        let mut found = Found::default();
        self.visit(context, selectors, range, |head, blocks| {
            let mut here = FoundHere::new(context)?;
            if let Some((index, present)) = head {
                present.iter().filter_map(|dense| index.labels(dense)).try_for_each(|labels| here.push(labels))?;
            }
            if let Some((part, matchers)) = blocks {
                let mut cursor = part.cursor();
                for series in part.select(matchers, range)? {
                    cursor.seek(series)?;
                    here.push(cursor.labels()?.0)?;
                }
            }
            found.add(here)
        })?;
        Ok(found.into_sorted(limit))
    }

    /// Names of the labels of those series, sorted.
    ///
    /// # Errors
    /// As for [`Db::series`].
    pub fn label_names(
        &self,
        context: &Context,
        selectors: &[Vec<Matcher>],
        range: TimeRange,
        limit: usize,
    ) -> Result<Vec<String>> {
        let mut found = Found::default();
        self.visit(context, selectors, range, |head, blocks| {
            if let Some((index, present)) = head {
                found.add(FoundHere::of(context, index.postings().label_names(Some(present)))?)?;
            }
            if let Some((part, matchers)) = blocks {
                found.add(FoundHere::of(context, part.label_names(matchers, range)?)?)?;
            }
            Ok(())
        })?;
        Ok(found.into_sorted(limit))
    }

    /// Values of the label `name` of those series, sorted.
    ///
    /// # Errors
    /// As for [`Db::series`].
    pub fn label_values(
        &self,
        context: &Context,
        name: &str,
        selectors: &[Vec<Matcher>],
        range: TimeRange,
        limit: usize,
    ) -> Result<Vec<String>> {
        let mut found = Found::default();
        self.visit(context, selectors, range, |head, blocks| {
            if let Some((index, present)) = head {
                found.add(FoundHere::of(context, index.postings().label_values(name, Some(present)))?)?;
            }
            if let Some((part, matchers)) = blocks {
                found.add(FoundHere::of(context, part.label_values(name, matchers, range)?)?)?;
            }
            Ok(())
        })?;
        Ok(found.into_sorted(limit))
    }

    /// Calls `visit` for each selector and each place that may hold its series.
    fn visit(
        &self,
        context: &Context,
        selectors: &[Vec<Matcher>],
        range: TimeRange,
        mut visit: impl FnMut(
            Option<(&crate::head::TenantIndex, &RoaringBitmap)>,
            Option<(&crate::block::TenantBlock, &[Matcher])>,
        ) -> Result<()>,
    ) -> Result<()> {
        damage::check(&self.damage.lock(), range)?;
        let tenant = context.tenant();
        let everything = [Vec::new()];
        for matchers in if selectors.is_empty() { &everything[..] } else { selectors } {
            context.check()?;
            let partitions = self.head.partitions_in(range);
            if let Some(head) = self.head.tenant(tenant) {
                let index = head.index();
                let matching = index.postings().select(matchers);
                let mut present = RoaringBitmap::new();
                for partition in &partitions {
                    present |= partition.overlapping(tenant, &matching, range);
                }
                visit(Some((&index, &present)), None)?;
            }
            // The head first, then the blocks: the direction in which data moves.
            for part in self.blocks_in(range).iter().filter_map(|block| block.tenant(tenant)) {
                context.check()?;
                visit(None, Some((&part, matchers)))?;
            }
        }
        Ok(())
    }
}
