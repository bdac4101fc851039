//! Pulls the plug at every step of what a storage node keeps about itself, and of dropping what the bucket covers. A node that
//! told its identity or a list of members has it afterwards, and a sample that is gone lies at or below the drop mark.

#![allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

mod support;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use marigram_storage::Result;
use marigram_storage::db::{Db, DbOptions};
use marigram_storage::env::{Env, ManualClock, SeededRandom};
use marigram_storage::model::member::{Member, MemberList};
use marigram_storage::model::time::TimeRange;
use marigram_storage::node::identity;
use marigram_storage::node::members::MembersFile;
use support::sim_disk::SimDisk;
use support::store::{Contents, batch, contents};
use ulid::Ulid;

const ROOT: &str = "/data";
const START_MS: i64 = 1_700_006_400_000;
const GRACE: Duration = Duration::from_secs(150);

fn env(disk: &SimDisk, clock: &Arc<ManualClock>, seed: u64) -> Env {
    Env { clock: clock.clone(), random: Arc::new(SeededRandom::new(seed << 32)), disk: Arc::new(disk.clone()) }
}

/// What the node told others.
#[derive(Clone, Default, Debug)]
struct Told {
    identity: Option<Member>,
    /// Number of the newest list that it answered for, and whether that was confirmed.
    list: Option<(u64, bool)>,
    stored: Contents,
    drop_mark_ms: Option<i64>,
    gone: BTreeSet<Ulid>,
}

fn list(catalog_number: u64, own: &Member) -> MemberList {
    let members = vec![own.clone()];
    MemberList { catalog_number, cluster_id: 7, replication_factor: 1, members, query_timeout_max_ms: 120_000 }
}

/// A node's life: it is founded, told lists, takes samples, seals and drops. Ends at the first error: the loss of power.
fn live(disk: &SimDisk, clock: &Arc<ManualClock>, seed: u64, told: &mut Told) -> Result<()> {
    let env = env(disk, clock, seed);
    let own = identity::open(&env, Path::new(ROOT), Some("node"), "host", "")?;
    told.identity = Some(own.clone());
    let members = MembersFile::open(&env, Path::new(ROOT), &own)?;
    let options = DbOptions { retention_ms: 0, disk_reserve_bytes: 0, ..DbOptions::default() };
    let db = Db::open(PathBuf::from(ROOT), env, options)?;
    for round in 0..3 {
        members.tell(list(round as u64 + 1, &own), false)?;
        told.list = Some((round as u64 + 1, told.list.is_some_and(|(_, confirmed)| confirmed)));
        let known = members.tell(list(round as u64 + 1, &own), round == 1)?;
        told.list = Some((known.list.catalog_number, known.confirmed));

        // The middle block is the newest of all.
        let time = START_MS + [10, 30, 20][round];
        let samples = [("x", time, round as f64), ("y", time - 5, 1.0)];
        db.append_known(batch("a", &samples))?;
        told.stored.extend(samples.map(|(name, time, value)| ((name.to_owned(), time), value.to_bits())));
        db.seal()?;
        let ulids: Vec<Ulid> = db.sealed_blocks().iter().map(|block| block.meta.ulid).collect();
        db.covered(&ulids, GRACE);
        clock.set(clock_ms(clock) + 100_000);
        db.maintain()?;
        told.drop_mark_ms = db.drop_mark_ms();
        told.gone.extend(db.covered(&ulids, GRACE));
    }
    Ok(())
}

fn clock_ms(clock: &ManualClock) -> i64 {
    marigram_storage::env::Clock::now_ms(clock)
}

/// Looks at what a restart finds; `Err` says what was told before and does not hold any more.
fn check(disk: &SimDisk, clock: &Arc<ManualClock>, seed: u64, told: &Told) -> std::result::Result<(), String> {
    let failed = |error: marigram_storage::Error| error.to_string();
    let env = env(disk, clock, seed);
    let own = identity::open(&env, Path::new(ROOT), None, "another-name", "").map_err(failed)?;
    if told.identity.as_ref().is_some_and(|identity| *identity != own) {
        return Err(format!("{:?} became {own:?}", told.identity));
    }
    let members = MembersFile::open(&env, Path::new(ROOT), &own).map_err(failed)?;
    let list = members.known().map(|known| (known.list.catalog_number, known.confirmed));
    if list < told.list {
        return Err(format!("the list of members {:?} became {list:?}", told.list));
    }
    let db =
        Db::open(PathBuf::from(ROOT), env, DbOptions { retention_ms: 0, ..DbOptions::default() }).map_err(failed)?;
    let found = contents(&db, "a", clock, TimeRange::ALL).map_err(failed)?;
    let mark_ms = db.drop_mark_ms();
    if mark_ms < told.drop_mark_ms {
        return Err(format!("the drop mark {:?} became {mark_ms:?}", told.drop_mark_ms));
    }
    let missing = |(key, value): &(&(String, i64), &u64)| found.get(*key) != Some(*value) && Some(key.1) > mark_ms;
    if let Some(lost) = told.stored.iter().find(missing) {
        return Err(format!("{lost:?} is gone, and the drop mark is {mark_ms:?}"));
    }
    let here: BTreeSet<Ulid> = db.sealed_blocks().into_iter().map(|block| block.meta.ulid).collect();
    match told.gone.intersection(&here).next() {
        Some(ulid) => Err(format!("{ulid} came back")),
        None => Ok(()),
    }
}

/// Runs until the power goes at `step`.
fn violation(seed: u64, step: u64, syncs_lie: bool) -> std::result::Result<(), String> {
    let (disk, clock) = (SimDisk::default(), Arc::new(ManualClock::new(START_MS)));
    if syncs_lie {
        disk.lie_about_syncs();
    }
    disk.die_at(step);
    let mut told = Told::default();
    assert!(live(&disk, &clock, seed, &mut told).is_err(), "the power was to go at step {step}");
    let found = disk.after_power_loss(seed ^ step);
    // A start that is interrupted as well must leave things as good as they were.
    found.die_at(1 + (seed + step) % 20);
    let _ = check(&found, &clock, seed + 1000, &told);
    let mut again = found.after_power_loss(step);
    for _ in 0..2 {
        check(&again, &clock, seed + 2000, &told)?;
        again = again.after_power_loss(seed);
    }
    Ok(())
}

fn steps() -> u64 {
    let (disk, clock) = (SimDisk::default(), Arc::new(ManualClock::new(START_MS)));
    let mut told = Told::default();
    live(&disk, &clock, 1, &mut told).unwrap();
    assert_eq!((told.list, told.drop_mark_ms, told.gone.len()), (Some((3, true)), Some(START_MS + 30), 2), "{told:?}");
    let steps = disk.steps();
    check(&disk, &clock, 2, &told).unwrap();
    steps
}

#[test]
fn what_a_node_told_holds_after_a_power_loss_at_every_step() {
    let steps = steps();
    assert!(steps > 150, "the life is too short to mean anything: {steps} steps");
    for seed in 1..=12 {
        for step in 1..=steps {
            if let Err(what) = violation(seed, step, false) {
                panic!("seed {seed}, power lost at step {step} of {steps}: {what}");
            }
        }
    }
}

#[test]
fn the_same_test_fails_when_syncs_do_nothing() {
    let broken = (1..=steps()).filter(|step| violation(1, *step, true).is_err()).count();
    assert!(broken > 10, "a disk that ignores fsync went unnoticed: {broken} violations");
}
