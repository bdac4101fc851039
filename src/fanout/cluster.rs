//! The cluster as one source: all storage nodes and the bucket.
//!
//! 1. The members of the newest list are asked at once ([`super::ask`]). Each answer holds on to its data and tells its
//!    node's drop mark.
//! 2. Too many missing: the answer is incomplete, and the query ends with 503, or with a warning where that is allowed.
//! 3. Only then the catalog is taken, and its blocks up to the greatest drop mark are opened: data moves from the nodes
//!    to the bucket, and is looked for in that direction, so that nothing passes by unseen. A mark that has risen tells
//!    that a newer catalog may be needed, and it is looked for at once: then even a grace that was set too short harms
//!    nothing.
//! 4. All streams become one. A node that fails in between becomes missing, which the others may make good; a bucket
//!    that fails is planned again once, from the newest catalog.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use marigram_query::merge;
use marigram_query::source::Source;
use marigram_storage::bucket::catalog::{Catalog, CatalogBlock};
use marigram_storage::context::Context;
use marigram_storage::model::labels::Labels;
use marigram_storage::model::matcher::Matcher;
use marigram_storage::model::member::MemberList;
use marigram_storage::model::time::TimeRange;
use marigram_storage::select::{SelectRequest, SeriesStream};
use marigram_storage::write::MetadataEntry;
use marigram_storage::{Error, Result};
use parking_lot::Mutex;
use tokio::runtime::Handle;

use super::archive::Archive;
use super::ask::{Gathered, Question, ask, is_the_querys_own};
use super::bucket_stream::BucketStream;
use super::changes::Settlement;
use super::completeness::{RollCall, bucket_part};
use super::counters::Counters;
use super::members::{Lookup, Members, Node};
use crate::rpc::client::Answer;
use crate::rpc::convert::select::AnswerHeader;

/// How long a silent node is waited for once the others make the answer complete. Taking it for missing too early costs
/// nothing but the reserve.
const PATIENCE: Duration = Duration::from_secs(2);

/// All storage nodes and the bucket. Cheap to clone.
#[derive(Clone)]
pub struct Cluster {
    members: Arc<dyn Members>,
    archive: Arc<dyn Archive>,
    runtime: Handle,
    patience: Duration,
    counters: Arc<Counters>,
    /// By disk: the drop mark that the catalog is known to be newer than.
    marks_ms: Arc<Mutex<BTreeMap<u128, i64>>>,
}

impl Cluster {
    /// A source over these members and this bucket. Its calls block: they must not come from the runtime's own threads.
    pub fn new(members: Arc<dyn Members>, archive: Arc<dyn Archive>, runtime: Handle) -> Self {
        Cluster { members, archive, runtime, patience: PATIENCE, counters: Arc::default(), marks_ms: Arc::default() }
    }

    /// With another patience.
    #[must_use]
    pub fn with_patience(self, patience: Duration) -> Self {
        Cluster { patience, ..self }
    }

    /// What happened so far.
    pub fn counters(&self) -> &Arc<Counters> {
        &self.counters
    }

    /// Steps 1 and 2. `None`: nobody can be asked, and an empty answer is allowed.
    fn gather<'q, T: Send + 'q>(
        &'q self,
        context: &Context,
        question: &Question<'_, 'q, T>,
    ) -> Result<Option<Gathered<T>>> {
        let Some(list) = self.list(context)? else { return Ok(None) };
        let gathered = self.runtime.block_on(ask(&*self.members, list, self.patience, question))?;
        self.counters.add_missing(gathered.call.missing());
        self.judge(context, &gathered.call)?;
        Ok(Some(gathered))
    }

    /// The list of members to ask.
    fn list(&self, context: &Context) -> Result<Option<MemberList>> {
        let catalog = self.archive.seen();
        if let Some(list) = catalog.as_ref().and_then(|catalog| catalog.member_list()) {
            self.members.learn(list).map_err(|why| Error::Unavailable(another_cluster(&why)))?;
        }
        let list = self.members.list();
        match (&catalog, &list) {
            (Some(catalog), Some(list)) => same_cluster(catalog, list).map_err(Error::Unavailable)?,
            (Some(catalog), None) => self.incomplete(context, lists_nobody(catalog))?,
            (None, _) => self.incomplete(context, self.no_catalog())?,
        }
        Ok(list)
    }

    /// Has the members settle samples of the context's tenant. `None`: nobody can be asked, or the query is over.
    pub(super) fn settle(&self, context: &Context, up_to_ms: i64) -> Option<Settlement> {
        let catalog = self.archive.seen()?;
        let list = self.members.list().filter(|list| same_cluster(&catalog, list).is_ok())?;
        let question =
            |node: Arc<dyn Node>, number| async move { node.settle(context, up_to_ms, number).await }.boxed();
        let gathered = self.runtime.block_on(ask(&*self.members, list, self.patience, &question)).ok()?;
        let complete = gathered.call.verdict().is_ok();
        Some(Settlement { answers: gathered.answers, complete, catalog })
    }

    /// Whether queries can be planned: a list of members is known, and a catalog is confirmed. Does not block.
    ///
    /// # Errors
    /// A sentence that says what is not known.
    pub fn readiness(&self) -> Result<(), String> {
        let list = self.members.list();
        match (self.archive.seen(), list) {
            (None, _) => Err(self.no_catalog()),
            (Some(catalog), None) => Err(lists_nobody(&catalog)),
            (Some(catalog), Some(list)) => {
                same_cluster(&catalog, &list)?;
                self.archive.confirmed().map(drop)
            }
        }
    }

    fn no_catalog(&self) -> String {
        match self.archive.confirmed() {
            Err(why) => format!("no catalog is known yet: {why}"),
            Ok(_) => "the catalog was found just now".to_owned(),
        }
    }

    fn judge(&self, context: &Context, call: &RollCall) -> Result<()> {
        match call.verdict() {
            Ok(()) => Ok(()),
            Err(sentence) => self.incomplete(context, sentence),
        }
    }

    fn incomplete(&self, context: &Context, sentence: String) -> Result<()> {
        self.counters.add_incomplete();
        context.incomplete(sentence)
    }

    /// Step 3: for which part of the range the bucket is needed. Where members are missing and a short answer is allowed,
    /// it may have what they had.
    fn part<T>(&self, gathered: &Gathered<T>, range: TimeRange) -> Option<TimeRange> {
        let part = match gathered.call.verdict() {
            Ok(()) => bucket_part(range, gathered.answers.iter().map(|answered| answered.drop_mark_ms)),
            Err(_) => Some(range),
        };
        if part.is_some() {
            self.counters.add_bucket_read();
        }
        part
    }

    /// The catalog to read from: one that is newer than all drops that the answers tell of.
    fn catalog(&self, marks_ms: &[(u128, i64)]) -> Result<Arc<Catalog>, String> {
        let is_known = |(disk_id, mark_ms): &(u128, i64)| {
            self.marks_ms.lock().get(disk_id).is_some_and(|known_ms| known_ms >= mark_ms)
        };
        if marks_ms.iter().all(is_known) {
            return self.archive.confirmed();
        }
        let catalog = self.archive.refresh()?;
        let mut known = self.marks_ms.lock();
        for (disk_id, mark_ms) in marks_ms {
            let known_ms = known.entry(*disk_id).or_insert(*mark_ms);
            *known_ms = (*known_ms).max(*mark_ms);
        }
        Ok(catalog)
    }

    /// Asks the bucket, and once more from the newest catalog if that fails; its last failure makes the answer incomplete.
    fn ask_bucket<T>(
        &self,
        context: &Context,
        marks_ms: &[(u128, i64)],
        part: TimeRange,
        read: impl Fn(&[CatalogBlock]) -> Result<T>,
    ) -> Result<Option<T>> {
        let sentence = match self.catalog(marks_ms) {
            Ok(catalog) => match self.read_or_replan(&catalog, part, &read) {
                Ok(read) => return Ok(Some(read)),
                Err(error) if is_the_querys_own(&error) => return Err(error),
                Err(error) => error.to_string(),
            },
            Err(why) => why,
        };
        self.incomplete(context, format!("the bucket is needed for this range: {sentence}"))?;
        Ok(None)
    }

    fn read_or_replan<T>(
        &self,
        catalog: &Catalog,
        part: TimeRange,
        read: impl Fn(&[CatalogBlock]) -> Result<T>,
    ) -> Result<T> {
        match read(&blocks_of(catalog, part)) {
            Err(error) if !is_the_querys_own(&error) => {
                self.counters.add_bucket_replan();
                let newest = self.archive.refresh().map_err(|why| Error::Unavailable(format!("{error}; {why}")))?;
                read(&blocks_of(&newest, part))
            }
            outcome => outcome,
        }
    }

    /// A lookup: the union of the sorted answers, at most `limit` of them.
    fn lookup<'q, T: Ord + Send + 'q>(
        &'q self,
        context: &Context,
        (range, limit): (TimeRange, usize),
        question: &Question<'_, 'q, Vec<T>>,
        ask_bucket: impl Fn(TimeRange, &[CatalogBlock]) -> Result<Vec<T>>,
    ) -> Result<Vec<T>> {
        let Some(gathered) = self.gather(context, question)? else { return Ok(Vec::new()) };
        let (part, marks_ms) = (self.part(&gathered, range), gathered.drop_marks_ms());
        let mut all = gathered.answers.into_iter().flat_map(|answered| answered.answer).collect::<Vec<_>>();
        if let Some(part) = part {
            let more = self.ask_bucket(context, &marks_ms, part, |blocks| ask_bucket(part, blocks))?;
            all.extend(more.into_iter().flatten());
        }
        all.sort_unstable();
        all.dedup();
        if limit > 0 {
            all.truncate(limit);
        }
        Ok(all)
    }
}

/// The sentence for a bucket that is not that of the storage nodes.
pub(crate) fn another_cluster(why: &str) -> String {
    format!("the catalog of --bucket is not that of the storage nodes: {why}")
}

fn same_cluster(catalog: &Catalog, list: &MemberList) -> Result<(), String> {
    match catalog.contents.cluster_id {
        Some(id) if id == list.cluster_id => Ok(()),
        Some(id) => Err(another_cluster(&format!("it is of cluster {id:032x}, they are of {:032x}", list.cluster_id))),
        None => Err(another_cluster("it is of no cluster")),
    }
}

fn lists_nobody(catalog: &Catalog) -> String {
    format!("catalog {} lists no storage nodes: a compactor lists them once enough answer", catalog.number)
}

/// The blocks of a catalog that may hold samples of the range.
pub(super) fn blocks_of(catalog: &Catalog, range: TimeRange) -> Vec<CatalogBlock> {
    catalog.contents.blocks.iter().filter(|block| block.range.overlaps(range)).cloned().collect()
}

fn taken_apart<T>(answer: Answer<T>) -> (AnswerHeader, Vec<T>) {
    (answer.header, answer.items)
}

impl Source for Cluster {
    fn select(&self, context: &Context, request: SelectRequest<'_>) -> Result<Box<dyn SeriesStream>> {
        let gathered =
            self.gather(context, &|node, number| async move { node.select(context, request, number).await }.boxed())?;
        let Some(gathered) = gathered else {
            return Ok(merge::union(context, Vec::new(), Box::new(|_, error| Err(error))));
        };
        let (part, marks_ms) = (self.part(&gathered, request.range), gathered.drop_marks_ms());
        let mut streams = Vec::with_capacity(gathered.answers.len() + 1);
        let mut origins = Vec::with_capacity(gathered.answers.len());
        for answered in gathered.answers {
            streams.push(answered.answer);
            origins.push((answered.node_name, answered.address));
        }
        if let Some(part) = part {
            let open = |blocks: &[CatalogBlock]| {
                self.archive.select(context, blocks, SelectRequest { range: part, ..request })
            };
            if let Some(stream) = self.ask_bucket(context, &marks_ms, part, open)? {
                let archive = Arc::clone(&self.archive);
                streams.push(Box::new(BucketStream::new(stream, archive, context, request, part, &self.counters)));
            }
        }
        let (source, call, told) = (self.clone(), Mutex::new(gathered.call), context.clone());
        let on_failure = move |input: usize, error: Error| {
            if is_the_querys_own(&error) {
                return Err(error);
            }
            let Some((node_name, address)) = origins.get(input) else {
                return source.incomplete(&told, format!("the bucket is needed for this range: {error}"));
            };
            if let Error::Unavailable(reason) = &error {
                source.members.mark_down(address, reason);
            }
            source.counters.add_missing(1);
            let mut call = call.lock();
            call.miss(node_name, error.to_string());
            source.judge(&told, &call)
        };
        Ok(merge::union(context, streams, Box::new(on_failure)))
    }

    fn series(
        &self,
        context: &Context,
        selectors: &[Vec<Matcher>],
        range: TimeRange,
        limit: usize,
    ) -> Result<Vec<Labels>> {
        let lookup = Lookup { context, selectors, range, limit };
        self.lookup(
            context,
            (range, limit),
            &|node, number| async move { node.series(lookup, number).await.map(taken_apart) }.boxed(),
            |range, blocks| self.archive.series(Lookup { range, ..lookup }, blocks),
        )
    }

    fn label_names(
        &self,
        context: &Context,
        selectors: &[Vec<Matcher>],
        range: TimeRange,
        limit: usize,
    ) -> Result<Vec<String>> {
        let lookup = Lookup { context, selectors, range, limit };
        self.lookup(
            context,
            (range, limit),
            &|node, number| async move { node.label_names(lookup, number).await.map(taken_apart) }.boxed(),
            |range, blocks| self.archive.label_names(Lookup { range, ..lookup }, blocks),
        )
    }

    fn label_values(
        &self,
        context: &Context,
        name: &str,
        selectors: &[Vec<Matcher>],
        range: TimeRange,
        limit: usize,
    ) -> Result<Vec<String>> {
        let lookup = Lookup { context, selectors, range, limit };
        self.lookup(
            context,
            (range, limit),
            &|node, number| async move { node.label_values(name, lookup, number).await.map(taken_apart) }.boxed(),
            |range, blocks| self.archive.label_values(name, Lookup { range, ..lookup }, blocks),
        )
    }

    /// Metadata lies on the storage nodes alone.
    fn metadata(&self, context: &Context) -> Result<BTreeMap<String, Vec<MetadataEntry>>> {
        let gathered = self.gather(context, &|node, number| {
            async move { node.metadata(context, number).await.map(taken_apart) }.boxed()
        })?;
        let mut families = BTreeMap::<_, BTreeSet<_>>::new();
        for family in gathered.into_iter().flat_map(|gathered| gathered.answers).flat_map(|answered| answered.answer) {
            families.entry(family.family).or_default().insert(family.entry);
        }
        Ok(families.into_iter().map(|(family, entries)| (family, entries.into_iter().collect())).collect())
    }
}
