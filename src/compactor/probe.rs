//! Asks a bucket at the start whether of two puts of one name the second is refused. The catalog stands on that.

use bytes::Bytes;
use marigram_storage::bucket::Bucket;
use marigram_storage::env::Random;

use super::Halt;

/// Puts an object twice, and removes it.
pub(super) fn probe(bucket: &dyn Bucket, random: &dyn Random) -> Result<(), Halt> {
    // A listing fails now where reading would later, and an error of a put would leave its object behind.
    bucket.list("catalog/")?;
    let key = format!("probe/{:032x}", random.next_u128());
    let (first, second) = (Bytes::from_static(b"first"), Bytes::from_static(b"second"));
    let outcome = bucket.put_if_absent(&key, first.clone()).and_then(|stored| {
        let again = bucket.put_if_absent(&key, second)?;
        Ok((stored, again, bucket.get(&key)?))
    });
    let removed = bucket.delete(&key);
    let (stored, again, read) = outcome?;
    removed?;
    match (stored, again, read) {
        (true, false, Some(read)) if read == first => Ok(()),
        // A repeat behind the scenes whose first answer was lost; a new name tells.
        (false, _, _) => Err(Halt::Failed("the bucket did not answer clearly to a probe".to_owned())),
        _ => Err(Halt::Contradiction(
            "--bucket: the store lets a second put of one object through, so two compactors could overwrite each other; it \
             must support If-None-Match: *"
                .to_owned(),
        )),
    }
}

#[cfg(test)]
mod tests {
    use std::ops::Range;
    use std::sync::Arc;

    use marigram_storage::Result;
    use marigram_storage::bucket::{DirectoryBucket, ObjectMeta};
    use marigram_storage::disk::RealDisk;
    use marigram_storage::env::{Env, ManualClock, SeededRandom};

    use super::*;

    /// A store that ignores the condition of a put.
    #[derive(Debug)]
    struct Overwrites(DirectoryBucket);

    impl Bucket for Overwrites {
        fn put_if_absent(&self, key: &str, bytes: Bytes) -> Result<bool> {
            self.0.delete(key)?;
            self.0.put_if_absent(key, bytes)
        }
        fn get(&self, key: &str) -> Result<Option<Bytes>> {
            self.0.get(key)
        }
        fn get_range(&self, key: &str, range: Range<u64>) -> Result<Option<Bytes>> {
            self.0.get_range(key, range)
        }
        fn list(&self, prefix: &str) -> Result<Vec<ObjectMeta>> {
            self.0.list(prefix)
        }
        fn delete(&self, key: &str) -> Result<()> {
            self.0.delete(key)
        }
    }

    #[test]
    fn a_store_that_lets_the_second_put_through_is_refused() {
        let random = Arc::new(SeededRandom::new(1));
        let env = Env { clock: Arc::new(ManualClock::new(0)), random: random.clone(), disk: Arc::new(RealDisk) };
        let temp = tempfile::tempdir().unwrap();
        let bucket = DirectoryBucket::open(&env, temp.path()).unwrap();
        assert!(probe(&bucket, &*random).is_ok());
        let Err(Halt::Contradiction(said)) = probe(&Overwrites(bucket.clone()), &*random) else { panic!() };
        assert!(said.starts_with("--bucket: the store lets a second put"), "{said}");
        assert!(bucket.list("probe/").unwrap().is_empty(), "nothing stays behind");
    }
}
