//! Pulls the plug at every step of writing blocks, committing them to the catalog, and removing them. Whatever was
//! answered is still there; whatever is there is whole.

#![allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

mod support;

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use marigram_storage::block::{Block, BlockWriter, block_dir, list_blocks, remove_block, remove_unfinished};
use marigram_storage::bucket::DirectoryBucket;
use marigram_storage::bucket::catalog::{CatalogBlock, CatalogStore, Contents};
use marigram_storage::env::{Env, ManualClock, SeededRandom};
use marigram_storage::error::Result;
use marigram_storage::model::labels::Labels;
use marigram_storage::model::tenant::TenantId;
use marigram_storage::model::time::TimeRange;
use marigram_storage::select::SeriesDecoder;
use support::sim_disk::SimDisk;
use ulid::Ulid;

const ROOT: &str = "/data";
const BLOCKS: &str = "/data/blocks";
const COUNT: u128 = 3;

/// What was answered with success.
#[derive(Default, Debug)]
struct Answered {
    finished: BTreeSet<Ulid>,
    committed: BTreeSet<Ulid>,
    removal_began: BTreeSet<Ulid>,
    removal_committed: BTreeSet<Ulid>,
}

fn env(disk: &SimDisk, seed: u64) -> Env {
    let clock = Arc::new(ManualClock::new(1_000_000));
    Env { clock, random: Arc::new(SeededRandom::new(seed << 32)), disk: Arc::new(disk.clone()) }
}

fn store(env: &Env) -> Result<CatalogStore> {
    let bucket = DirectoryBucket::open(env, Path::new(ROOT))?;
    Ok(CatalogStore::new(Arc::new(bucket), env.clone()))
}

fn times(ulid: Ulid) -> Vec<i64> {
    (0..150).map(|i| i * 1000 + ulid.0 as i64).collect()
}

/// Writes and commits the blocks that are not there yet, then removes the first.
fn run(env: &Env, answered: &mut Answered) -> Result<()> {
    let blocks = Path::new(BLOCKS);
    env.disk.create_dir_all(blocks)?;
    let store = store(env)?;
    for ulid in (1..=COUNT).map(Ulid) {
        let mut writer = BlockWriter::create(&env.disk, blocks, ulid)?;
        writer.begin_tenant(&TenantId::default())?;
        for pod in ["a", "b"] {
            let labels = Labels::from_pairs([("__name__", "m"), ("pod", pod)]);
            writer.add_series(&labels, &times(ulid), &[0.5; 150])?;
        }
        let meta = writer.finish(Vec::new(), 1)?;
        answered.finished.insert(ulid);
        store.commit(|contents| {
            let mut next = contents.clone();
            next.blocks.push(CatalogBlock::from(&meta));
            Ok(Some(next))
        })?;
        answered.committed.insert(ulid);
    }
    let first = Ulid(1);
    answered.removal_began.insert(first);
    let without = |contents: &Contents| {
        let mut next = contents.clone();
        next.blocks.retain(|block| block.ulid != first);
        Ok(Some(next))
    };
    store.commit(without)?;
    answered.removal_committed.insert(first);
    remove_block(&*env.disk, blocks, first)
}

/// What a start sees, every listed block read whole.
fn see(env: &Env) -> Result<(BTreeSet<Ulid>, BTreeSet<Ulid>)> {
    let blocks = Path::new(BLOCKS);
    remove_unfinished(&*env.disk, blocks)?;
    let listed: BTreeSet<Ulid> = list_blocks(&*env.disk, blocks)?.into_iter().collect();
    for ulid in &listed {
        let block = Block::open(&*env.disk, &block_dir(blocks, *ulid))?;
        let tenant = block.tenant(&TenantId::default()).unwrap();
        let refs = tenant.select(&[], TimeRange::ALL)?;
        assert_eq!(refs.len(), 2);
        for series in refs {
            let chunks = tenant.chunks(series, TimeRange::ALL)?;
            let mut decoder = SeriesDecoder::default();
            assert_eq!(decoder.decode(&chunks, TimeRange::ALL)?.0, times(*ulid));
        }
    }
    let newest = store(env)?.load()?;
    let catalogued = newest.map(|catalog| catalog.contents.blocks.iter().map(|b| b.ulid).collect());
    Ok((listed, catalogued.unwrap_or_default()))
}

/// `Err` says what was lost.
fn check(env: &Env, answered: &Answered) -> std::result::Result<(), String> {
    let (listed, catalogued) = see(env).map_err(|error| error.to_string())?;
    let lost = |what: &str| Err(format!("{what}: {listed:?} {catalogued:?} after {answered:?}"));
    if !answered.finished.difference(&answered.removal_began).all(|ulid| listed.contains(ulid)) {
        return lost("a finished block");
    }
    if !answered.committed.difference(&answered.removal_began).all(|ulid| catalogued.contains(ulid)) {
        return lost("a commit");
    }
    if answered.removal_committed.iter().any(|ulid| catalogued.contains(ulid)) {
        return lost("a committed removal");
    }
    if !catalogued.is_subset(&listed) {
        return lost("a block that the catalog names");
    }
    Ok(())
}

fn all_steps() -> u64 {
    let disk = SimDisk::default();
    let mut answered = Answered::default();
    run(&env(&disk, 1), &mut answered).unwrap();
    let steps = disk.steps();
    check(&env(&disk, 2), &answered).unwrap();
    assert_eq!(list_blocks(&disk, Path::new(BLOCKS)).unwrap(), [Ulid(2), Ulid(3)]);
    steps
}

/// Runs until the power goes at `step`.
fn run_until(step: u64, syncs_lie: bool) -> (SimDisk, Answered) {
    let (disk, mut answered) = (SimDisk::default(), Answered::default());
    if syncs_lie {
        disk.lie_about_syncs();
    }
    disk.die_at(step);
    let outcome = run(&env(&disk, 1), &mut answered);
    assert!(outcome.is_err());
    (disk, answered)
}

#[test]
fn what_was_answered_survives_a_power_loss_at_every_step() {
    let steps = all_steps();
    assert!(steps > 60, "{steps}");
    for step in 1..=steps {
        let (disk, answered) = run_until(step, false);
        for seed in 0..8 {
            let found = disk.after_power_loss(seed);
            check(&env(&found, 3), &answered).unwrap_or_else(|lost| panic!("step {step}, seed {seed}: {lost}"));
        }
    }
}

#[test]
fn what_a_restart_saw_survives_a_later_power_loss() {
    let steps = all_steps();
    for step in 1..=steps {
        let (disk, _) = run_until(step, false);
        // The process died, the machine did not: another one starts on the live disk, and then the power goes.
        disk.die_at(u64::MAX);
        let seen = see(&env(&disk, 4)).unwrap();
        for seed in 0..8 {
            let found = see(&env(&disk.after_power_loss(seed), 5)).unwrap();
            assert_eq!(found, seen, "step {step}, seed {seed}");
        }
    }
}

#[test]
fn without_fsync_this_test_fails() {
    let losses = (1..=all_steps()).filter(|step| {
        let (disk, answered) = run_until(*step, true);
        (0..8).any(|seed| check(&env(&disk.after_power_loss(seed), 3), &answered).is_err())
    });
    assert!(losses.count() > 10);
}
