//! A bucket in memory that several writers use in an order drawn from a seed, with faults: answers get lost, puts fail,
//! puts arrive late, writers stand still while others do much. The same seed gives the same run: of the writers, each on
//! a thread of its own, only one runs at a time, and at each call on the bucket the seed says who goes on.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};

use bytes::Bytes;

use super::{Bucket, ObjectMeta};
use crate::env::{Random, SeededRandom};
use crate::error::{Error, Result};

/// What is stored.
pub(crate) type Objects = BTreeMap<String, Bytes>;

/// Sees every change at the moment when it is made; it may panic.
pub(crate) type Watcher = Box<dyn FnMut(&Objects, Change<'_>) + Send>;

/// A change of what is stored.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Change<'a> {
    /// An object is there from now on.
    Stored(&'a str),
    /// It is there no more.
    Removed(&'a str),
}

/// What the writers share.
pub(crate) struct World {
    state: Mutex<State>,
    turn: Condvar,
}

struct State {
    objects: Objects,
    watcher: Option<Watcher>,
    /// Of 1,000 turns, so many make the writer stand still for a while.
    pauses: u128,
    /// Writers that stand still, for so many turns of others.
    paused: BTreeMap<usize, u128>,
    /// Puts that were answered with an error and are still under way.
    delayed: Vec<(String, Bytes)>,
    random: SeededRandom,
    /// Of 100 calls, so many fail.
    faults: u128,
    writers: usize,
    waiting: BTreeSet<usize>,
    turn_of: Option<usize>,
}

/// One writer's view.
#[derive(Debug)]
pub(crate) struct SimulatedBucket {
    world: Arc<World>,
    writer: usize,
}

impl std::fmt::Debug for World {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("World").finish_non_exhaustive()
    }
}

impl World {
    /// A world for so many writers, each of which must be taken with [`World::writer`] and dropped at its end.
    pub(crate) fn new(seed: u64, writers: usize, faults: u128) -> Arc<Self> {
        let state = State {
            objects: Objects::new(),
            watcher: None,
            pauses: 0,
            paused: BTreeMap::new(),
            delayed: Vec::new(),
            random: SeededRandom::new(seed << 32),
            faults,
            writers,
            waiting: BTreeSet::new(),
            turn_of: None,
        };
        Arc::new(World { state: Mutex::new(state), turn: Condvar::new() })
    }

    pub(crate) fn writer(self: &Arc<Self>, writer: usize) -> SimulatedBucket {
        SimulatedBucket { world: Arc::clone(self), writer }
    }

    /// From now on of 1,000 turns so many make their writer stand still while the others have up to 200.
    pub(crate) fn pause_often(&self, pauses: u128) {
        self.state.lock().unwrap().pauses = pauses;
    }

    /// Shows every change to `watcher`.
    pub(crate) fn watch(&self, watcher: Watcher) {
        self.state.lock().unwrap().watcher = Some(watcher);
    }

    /// What is in the bucket at the end, with all that was under way.
    pub(crate) fn objects(&self) -> Objects {
        let mut state = self.state.lock().unwrap();
        while !state.delayed.is_empty() {
            state.deliver();
        }
        state.objects.clone()
    }
}

impl State {
    fn draw(&self, below: u128) -> u128 {
        self.random.next_u128() % below
    }

    fn put(&mut self, key: &str, bytes: Bytes) -> bool {
        let absent = !self.objects.contains_key(key);
        if absent {
            self.objects.insert(key.to_owned(), bytes);
            self.tell(Change::Stored(key));
        }
        absent
    }

    fn remove(&mut self, key: &str) {
        if self.objects.remove(key).is_some() {
            self.tell(Change::Removed(key));
        }
    }

    fn tell(&mut self, change: Change<'_>) {
        if let Some(watcher) = &mut self.watcher {
            watcher(&self.objects, change);
        }
    }

    fn deliver(&mut self) {
        if !self.delayed.is_empty() {
            let at = self.draw(self.delayed.len() as u128) as usize;
            let (key, bytes) = self.delayed.remove(at);
            self.put(&key, bytes);
        }
    }

    /// Once all writers wait, lets one go on that does not stand still.
    fn choose(&mut self) {
        if self.turn_of.is_none() && self.waiting.len() == self.writers && self.writers > 0 {
            self.paused.retain(|writer, turns| {
                *turns -= 1;
                *turns > 0 && self.waiting.contains(writer)
            });
            let mut awake: Vec<usize> = self.waiting.iter().copied().filter(|w| !self.paused.contains_key(w)).collect();
            if awake.is_empty() {
                awake.extend(&self.waiting);
            }
            self.turn_of = Some(awake[self.draw(awake.len() as u128) as usize]);
        }
    }
}

impl SimulatedBucket {
    fn wait_for_turn(&self) -> MutexGuard<'_, State> {
        let mut state = self.world.state.lock().unwrap();
        state.waiting.insert(self.writer);
        state.choose();
        self.world.turn.notify_all();
        while state.turn_of != Some(self.writer) {
            state = self.world.turn.wait(state).unwrap();
        }
        state.turn_of = None;
        state.waiting.remove(&self.writer);
        if state.draw(4) == 0 {
            state.deliver();
        }
        if state.pauses > 0 && state.draw(1000) < state.pauses {
            let turns = 1 + state.draw(200);
            state.paused.insert(self.writer, turns);
        }
        state
    }

    /// Lets others go first, as a call on something else than the bucket would.
    pub(crate) fn turn(&self) {
        drop(self.wait_for_turn());
    }

    fn fault(state: &State) -> bool {
        state.draw(100) < state.faults
    }
}

impl Drop for SimulatedBucket {
    fn drop(&mut self) {
        let mut state = self.world.state.lock().unwrap();
        state.writers -= 1;
        state.choose();
        self.world.turn.notify_all();
    }
}

fn lost() -> Error {
    Error::Overloaded("the simulated bucket's answer is lost".into())
}

impl Bucket for SimulatedBucket {
    fn put_if_absent(&self, key: &str, bytes: Bytes) -> Result<bool> {
        let mut state = self.wait_for_turn();
        if !Self::fault(&state) {
            return Ok(state.put(key, bytes));
        }
        match state.draw(3) {
            0 => {}
            1 => drop(state.put(key, bytes)),
            _ => state.delayed.push((key.to_owned(), bytes)),
        }
        Err(lost())
    }

    fn get(&self, key: &str) -> Result<Option<Bytes>> {
        let state = self.wait_for_turn();
        if Self::fault(&state) { Err(lost()) } else { Ok(state.objects.get(key).cloned()) }
    }

    fn get_range(&self, key: &str, range: Range<u64>) -> Result<Option<Bytes>> {
        let whole = self.get(key)?;
        Ok(whole.map(|bytes| {
            let end = (range.end as usize).min(bytes.len());
            bytes.slice((range.start as usize).min(end)..end)
        }))
    }

    fn list(&self, prefix: &str) -> Result<Vec<ObjectMeta>> {
        let state = self.wait_for_turn();
        if Self::fault(&state) {
            return Err(lost());
        }
        let objects = state.objects.iter().filter(|(key, _)| key.starts_with(prefix));
        Ok(objects.map(|(key, bytes)| ObjectMeta { key: key.clone(), size_bytes: bytes.len() as u64 }).rev().collect())
    }

    fn delete(&self, key: &str) -> Result<()> {
        let mut state = self.wait_for_turn();
        if !Self::fault(&state) {
            state.remove(key);
            return Ok(());
        }
        if state.draw(2) == 0 {
            state.remove(key);
        }
        Err(lost())
    }
}
