//! Reads and commits catalogs, among any number of writers, by put-if-absent alone.
//!
//! A commit:
//! 1. Read the newest catalog N, by a listing. Let the caller compute what should follow.
//! 2. Draw a random id; put number N+1 if it is absent.
//! 3. Whatever the put said, read the newest catalog by a fresh listing. If the id is its own or among its ancestors',
//!    the commit has won. A put's own answer proves nothing: an error may hide a success, and a "success" may be on a
//!    number that was swept long ago.
//! 4. Otherwise somebody else was faster, or the put failed: start again.
//!
//! Ids of earlier rounds count too: a put that seemed to fail may have arrived later. It cannot count twice, since a
//! number is only taken once, and the caller computes every round from what is there.
//!
//! Who did not win must know whether that is final, before it removes what its catalog would have named: a put that
//! failed may still be under way. It can do nothing any more once a catalog of its number, or a higher one, is there
//! without its id: [`Attempt::is_over`].

use std::sync::Arc;

use super::document::{Catalog, Contents};
use super::{KEPT_MIN, KEPT_MS};
use crate::bucket::Bucket;
use crate::env::Env;
use crate::error::{Error, Result};

const PREFIX: &str = "catalog/";
const SUFFIX: &str = ".json";
const DIGITS: usize = 20;
/// A commit whose puts fail so many times in a row is given up with the last error.
const PUT_FAILURES_MAX: u32 = 4;
/// The newest catalog cannot vanish unless a thousand followed; a reader that sees this repeatedly gives up.
const READ_ATTEMPTS_MAX: u32 = 4;

/// How a commit went.
#[derive(Debug)]
pub struct Attempt {
    /// What came of it.
    pub outcome: Result<Outcome>,
    /// The highest number that it tried to put; 0: none.
    tried_number: u64,
    /// The ids that it drew.
    drawn: Vec<u128>,
}

/// What came of a commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is in this catalog, which is the newest.
    Won(Catalog),
    /// There was nothing to do after this catalog, which is the newest.
    Nothing(Catalog),
}

impl Attempt {
    /// Whether `newest` includes the commit.
    pub fn is_in(&self, newest: &Catalog) -> bool {
        self.drawn.iter().any(|id| newest.includes(*id))
    }

    /// The highest number that it tried to put; 0: none.
    pub fn tried_number(&self) -> u64 {
        self.tried_number
    }

    /// Whether it never tried to put anything.
    pub fn is_idle(&self) -> bool {
        self.drawn.is_empty()
    }

    /// Whether `newest`, which does not include the commit, shows that it never will be included: none of its puts can
    /// still arrive.
    pub fn is_over(&self, newest: &Catalog) -> bool {
        self.tried_number <= newest.number && !self.is_in(newest)
    }
}

/// The catalogs of a bucket. Cheap to clone.
#[derive(Clone, Debug)]
pub struct CatalogStore {
    bucket: Arc<dyn Bucket>,
    env: Env,
}

impl CatalogStore {
    /// The catalogs in `bucket`.
    pub fn new(bucket: Arc<dyn Bucket>, env: Env) -> Self {
        CatalogStore { bucket, env }
    }

    /// The newest catalog, by a listing; `None` in a bucket that has none.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if the newest is damaged: an older one would be another truth. The bucket's.
    pub fn load(&self) -> Result<Option<Catalog>> {
        for _ in 0..READ_ATTEMPTS_MAX {
            let Some(number) = self.numbers()?.last().copied() else {
                return Ok(None);
            };
            if let Some(catalog) = self.read(number)? {
                return Ok(Some(catalog));
            }
        }
        Err(Error::corrupt(PREFIX, "the newest catalog is listed but cannot be read"))
    }

    /// Changes the catalog. `change` computes from the current contents what should follow; `None` means that there is
    /// nothing to do. It is asked again whenever another writer was faster. Answers the newest catalog, which includes
    /// the change.
    ///
    /// # Errors
    /// The error of `change`. The bucket's; then the change may have happened, or happen later.
    pub fn commit(&self, mut change: impl FnMut(&Contents) -> Result<Option<Contents>>) -> Result<Catalog> {
        match self.attempt(|catalog| change(&catalog.contents)).outcome? {
            Outcome::Won(catalog) | Outcome::Nothing(catalog) => Ok(catalog),
        }
    }

    /// Like [`CatalogStore::commit`], for who must know afterwards whether the change can still happen.
    pub fn attempt(&self, change: impl FnMut(&Catalog) -> Result<Option<Contents>>) -> Attempt {
        let mut attempt = Attempt { outcome: Err(Error::Cancelled), tried_number: 0, drawn: Vec::new() };
        attempt.outcome = self.run(&mut attempt, change);
        attempt
    }

    fn run(
        &self,
        attempt: &mut Attempt,
        mut change: impl FnMut(&Catalog) -> Result<Option<Contents>>,
    ) -> Result<Outcome> {
        let mut failures = 0;
        let mut current = self.load()?.unwrap_or_else(Catalog::none);
        loop {
            let Some(contents) = change(&current)? else {
                return Ok(Outcome::Nothing(current));
            };
            let id = self.env.random.next_u128();
            let next = current.next(id, self.env.clock.now_ms(), contents)?;
            let bytes = next.encode()?.into();
            attempt.drawn.push(id);
            attempt.tried_number = attempt.tried_number.max(next.number);
            let outcome = self.bucket.put_if_absent(&key(next.number), bytes);
            let newest = self.load()?.unwrap_or_else(Catalog::none);
            if attempt.is_in(&newest) {
                return Ok(Outcome::Won(newest));
            }
            failures = if outcome.is_err() { failures + 1 } else { 0 };
            match outcome {
                Err(error) if failures >= PUT_FAILURES_MAX => return Err(error),
                // Taken, but nobody's catalog is newer: then the bucket does not keep its promises.
                Ok(stored) if newest.number <= current.number => {
                    let said = if stored { "stored" } else { "taken" };
                    let detail = format!("number {} was said to be {said}, but is not listed", next.number);
                    return Err(Error::corrupt(PREFIX, detail));
                }
                _ => current = newest,
            }
        }
    }

    /// Removes old catalogs: all but the newest 1,000, and of those none that was the newest within the last hour.
    /// Answers how many were removed.
    ///
    /// # Errors
    /// The bucket's; [`Error::Corrupt`].
    pub fn sweep(&self) -> Result<usize> {
        let numbers = self.numbers()?;
        let horizon_ms = self.env.clock.now_ms().saturating_sub(KEPT_MS);
        let old = numbers.len().saturating_sub(KEPT_MIN);
        for (swept, pair) in numbers.windows(2).take(old).enumerate() {
            let successor = self.read(pair[1])?;
            if successor.is_some_and(|next| next.created_ms >= horizon_ms) {
                return Ok(swept);
            }
            self.bucket.delete(&key(pair[0]))?;
        }
        Ok(old)
    }

    /// All numbers in use, ascending.
    fn numbers(&self) -> Result<Vec<u64>> {
        let mut numbers = Vec::new();
        for object in self.bucket.list(PREFIX)? {
            let name = object.key.strip_prefix(PREFIX).and_then(|name| name.strip_suffix(SUFFIX));
            let Some(digits) = name.filter(|n| n.len() == DIGITS && n.bytes().all(|b| b.is_ascii_digit())) else {
                tracing::warn!(key = object.key, "an object that is no catalog lies among the catalogs");
                continue;
            };
            let number = digits.parse().map_err(|_| Error::corrupt(&*object.key, "its number is too large"))?;
            numbers.push(number);
        }
        numbers.sort_unstable();
        Ok(numbers)
    }

    /// Whether the catalog of a number is there, without reading it.
    ///
    /// # Errors
    /// The bucket's.
    pub fn exists(&self, number: u64) -> Result<bool> {
        Ok(self.bucket.get_range(&key(number), 0..1)?.is_some())
    }

    /// The catalog of a number, if it is there.
    ///
    /// # Errors
    /// [`Error::Corrupt`]; the bucket's.
    pub fn read(&self, number: u64) -> Result<Option<Catalog>> {
        let key = key(number);
        let Some(bytes) = self.bucket.get(&key)? else {
            return Ok(None);
        };
        let catalog = Catalog::decode(&key, &bytes)?;
        match catalog.number == number {
            true => Ok(Some(catalog)),
            false => Err(Error::corrupt(key, format!("it is catalog {}", catalog.number))),
        }
    }
}

fn key(number: u64) -> String {
    format!("{PREFIX}{number:020}{SUFFIX}")
}
