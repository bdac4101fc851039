//! Sealed blocks into the bucket.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::future::join_all;
use marigram_storage::block::{Block, BlockSeriesRef};
use marigram_storage::bucket::catalog::Catalog;
use marigram_storage::compact::join::{JoinTarget, join_blocks};
use marigram_storage::compact::publish::{NewBlock, Published, publish};
use marigram_storage::model::time::TimeRange;
use marigram_storage::{Error, Result};
use ulid::Ulid;

use super::Worker;
use crate::compactor::Halt;
use crate::compactor::plan::blocks::{Group, Listing, plan_blocks};
use crate::peers::Peers;
use crate::rpc::client::NodeClient;
use crate::rpc::convert::node::RemoteBlock;

/// A live member: what it lists, and how to ask it.
struct Live {
    listing: Listing,
    client: NodeClient,
}

impl Worker {
    /// Tells what is covered, then brings what is due.
    pub(super) fn move_blocks(&mut self, peers: &Peers, catalog: &Catalog) -> Result<(), Halt> {
        let live = self.list_blocks(peers, catalog)?;
        let named = sources(catalog);
        self.tell_covered(catalog, &live)?;
        let now = self.now();
        let listed: BTreeSet<Ulid> = live.iter().flat_map(|live| live.listing.blocks.iter().map(|b| b.ulid)).collect();
        self.seen.retain(|ulid, _| listed.contains(ulid));
        self.holders.retain(|ulid, _| listed.contains(ulid) || named.contains(ulid));
        for ulid in listed {
            self.seen.entry(ulid).or_insert(now);
        }
        let compact = &self.app.settings.cluster.compact;
        let delay = if compact.once { std::time::Duration::ZERO } else { compact.delay };
        let (listings, clients): (Vec<Listing>, Vec<NodeClient>) =
            live.into_iter().map(|live| (live.listing, live.client)).unzip();
        let plan = plan_blocks(&listings, &named, &self.seen, now, delay);
        self.status.blocks_wait(plan.waiting, plan.waiting_bytes);
        let mut due = plan.due;
        self.shuffle(&mut due);
        let mut damaged = Vec::new();
        for group in due {
            if self.is_stopped() {
                return Err(Halt::Stopped);
            }
            let catalog = self.read_catalog()?;
            let named = sources(&catalog);
            if group.blocks.keys().any(|ulid| named.contains(ulid)) {
                continue;
            }
            let outcome = self.bring(&group, &clients, &mut damaged);
            let emptied = self.scratch.empty();
            if let Some(catalog) = outcome? {
                let live = listings.iter().cloned().zip(clients.iter().cloned());
                let live: Vec<Live> = live.map(|(listing, client)| Live { listing, client }).collect();
                self.tell_covered(&catalog, &live)?;
                self.catalogs.sweep()?;
            }
            emptied?;
        }
        self.status.tried("fetching blocks", (!damaged.is_empty()).then(|| damaged.join("; ")));
        Ok(())
    }

    /// The sealed blocks of all active members that answer.
    fn list_blocks(&mut self, peers: &Peers, catalog: &Catalog) -> Result<Vec<Live>, Halt> {
        let view = peers.view();
        let contents = &catalog.contents;
        let active = contents.members.iter().filter(|member| !contents.joining.contains(&member.node_name));
        let nodes: Vec<_> = active.filter_map(|member| Some((member, view.live(member).ok()?))).collect();
        let calls = nodes.iter().map(|(_, node)| node.client.list_blocks());
        let answers = self.call(async { Ok(join_all(calls).await) })?;
        let mut live = Vec::new();
        let mut failures = Vec::new();
        for ((member, node), answer) in nodes.iter().zip(answers) {
            match answer {
                Ok(blocks) => {
                    for block in &blocks {
                        self.holders.insert(block.ulid, member.disk_id);
                    }
                    let listing = Listing { member: (*member).clone(), blocks };
                    live.push(Live { listing, client: node.client.clone() });
                }
                Err(error) => failures.push(format!("storage node {}: {error}", member.node_name)),
            }
        }
        self.status.tried("listing blocks", (!failures.is_empty()).then(|| failures.join("; ")));
        Ok(live)
    }

    /// Tells every live member what the catalog covers, and finds which sources the catalog need not carry any longer: those
    /// that their node has dropped. Where it is not known on which node one was, all members must say so.
    fn tell_covered(&mut self, catalog: &Catalog, live: &[Live]) -> Result<(), Halt> {
        let (contents, Some(list)) = (&catalog.contents, catalog.member_list()) else { return Ok(()) };
        let named = sources(catalog);
        self.forget.retain(|source| source.parse().is_ok_and(|ulid| named.contains(&ulid)));
        let open: Vec<Ulid> = named.into_iter().filter(|ulid| !self.forget.contains(&ulid.to_string())).collect();
        if open.is_empty() {
            return Ok(());
        }
        let calls = live
            .iter()
            .map(|live| live.client.tell_covered(catalog.number, list.cluster_id, &open, list.query_timeout_max_ms));
        let answers = self.call(async { Ok(join_all(calls).await) })?;
        let mut dropped_by: BTreeMap<Ulid, BTreeSet<u128>> = BTreeMap::new();
        let mut failures = Vec::new();
        for (live, answer) in live.iter().zip(answers) {
            match answer {
                Ok(dropped) => {
                    for ulid in dropped {
                        dropped_by.entry(ulid).or_default().insert(live.listing.member.disk_id);
                    }
                }
                Err(error) => failures.push(format!("storage node {}: {error}", live.listing.member.node_name)),
            }
        }
        for (ulid, disks) in dropped_by {
            let gone = match self.holders.get(&ulid) {
                Some(holder) => disks.contains(holder),
                None => contents.members.iter().all(|member| disks.contains(&member.disk_id)),
            };
            if gone {
                self.forget.insert(ulid.to_string());
            }
        }
        self.status.tried("telling what is covered", (!failures.is_empty()).then(|| failures.join("; ")));
        Ok(())
    }

    /// Makes one bucket block of a group. Answers the catalog that names it; `None` if another compactor was faster, or if
    /// no block could be fetched.
    fn bring(
        &mut self,
        group: &Group,
        clients: &[NodeClient],
        damaged: &mut Vec<String>,
    ) -> Result<Option<Catalog>, Halt> {
        let mut blocks = Vec::with_capacity(group.blocks.len());
        let mut fetched: Vec<(usize, Ulid)> = Vec::new();
        for (ulid, (at, remote)) in &group.blocks {
            match self.fetch(&clients[*at], remote) {
                Ok(block) => {
                    blocks.push(block);
                    fetched.push((*at, *ulid));
                    self.status.count(|counters| counters.blocks_fetched += 1);
                }
                Err(Error::Cancelled) => return Err(Halt::Stopped),
                // The others need not wait for it.
                Err(error) => damaged.push(format!("block {ulid} from {}: {error}", clients[*at].address())),
            }
        }
        if blocks.is_empty() {
            return Ok(None);
        }
        let sources: Vec<String> = fetched.iter().map(|(_, ulid)| ulid.to_string()).collect();
        let block = self.join(&blocks, sources)?;
        let named = self::sources(&self.read_catalog()?);
        if fetched.iter().any(|(_, ulid)| named.contains(ulid)) {
            self.status.count(|counters| counters.blocks_given_up += 1);
            return Ok(None);
        }
        self.publish(&block, &fetched, clients)
    }

    /// Fetches a block and verifies all of it, so that damage keeps out this block and not what it would be joined with.
    fn fetch(&self, client: &NodeClient, remote: &RemoteBlock) -> Result<Block> {
        let block = self.scratch.take(remote, &mut |name, take| {
            let mut pieces = self.call(client.fetch_file(remote.ulid, name))?;
            while let Some(piece) = self.call(pieces.next())? {
                take(piece)?;
            }
            Ok(())
        })?;
        for part in block.tenants().filter_map(|tenant| block.tenant(tenant)) {
            for series in (0..part.series_count()).map(BlockSeriesRef) {
                part.chunks(series, TimeRange::ALL)?;
            }
        }
        Ok(block)
    }

    fn join(&self, blocks: &[Block], sources: Vec<String>) -> Result<NewBlock, Halt> {
        let now_ms = self.app.env.clock.now_ms();
        let ulid = Ulid::from_parts(u64::try_from(now_ms).unwrap_or(0), self.app.env.random.next_u128());
        let target = JoinTarget { blocks_dir: self.scratch.dir(), ulid, sources: sources.clone(), created_ms: now_ms };
        let disk = &self.app.env.disk;
        let mut check = || if self.is_stopped() { Err(Error::Cancelled) } else { Ok(()) };
        let meta = join_blocks(disk, blocks, target, &mut check)?;
        Ok(NewBlock::open(&**disk, self.scratch.dir(), &meta, sources)?)
    }

    /// Uploads and names a block, if its sources are still on their nodes then.
    fn publish(
        &mut self,
        block: &NewBlock,
        fetched: &[(usize, Ulid)],
        clients: &[NodeClient],
    ) -> Result<Option<Catalog>, Halt> {
        let mut may_name = |_: &Catalog| {
            let asked: BTreeSet<usize> = fetched.iter().map(|(at, _)| *at).collect();
            for at in asked {
                let listed = self.call(clients[at].list_blocks())?;
                let held: BTreeSet<Ulid> =
                    listed.iter().filter(|block| !block.covered).map(|block| block.ulid).collect();
                if fetched.iter().any(|(of, ulid)| *of == at && !held.contains(ulid)) {
                    return Ok(false);
                }
            }
            Ok(true)
        };
        let publication = publish(&*self.bucket, &self.catalogs, block, &self.forget, &mut may_name);
        self.leftovers.extend(publication.leftover);
        match publication.outcome? {
            Published::Named(catalog) => {
                self.note(&catalog)?;
                let entry = &block.entry;
                let (ulid, sources) = (entry.ulid, entry.sources.len());
                tracing::info!(%ulid, sources, samples = entry.samples, catalog = catalog.number, "brought a block into the bucket");
                self.status.count(|counters| {
                    counters.blocks_uploaded += 1;
                    counters.bytes_uploaded += entry.size_bytes;
                });
                Ok(Some(catalog))
            }
            Published::GivenUp(catalog) => {
                self.note(&catalog)?;
                self.status.count(|counters| counters.blocks_given_up += 1);
                Ok(None)
            }
        }
    }

    /// An order of its own for every compactor and pass.
    fn shuffle<T>(&self, items: &mut [T]) {
        for at in (1..items.len()).rev() {
            let other = self.app.env.random.next_u128() % (at as u128 + 1);
            items.swap(at, usize::try_from(other).unwrap_or(at));
        }
    }
}

/// The nodes' blocks that a catalog names as sources. Those of a store that was its own bucket have other names.
fn sources(catalog: &Catalog) -> BTreeSet<Ulid> {
    let sources = catalog.contents.blocks.iter().flat_map(|block| &block.sources);
    sources.filter_map(|source| source.parse().ok()).collect()
}
