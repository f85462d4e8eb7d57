//! Documents in memory, kept correct by the change stream.
//!
//! A load takes time, and its document may change meanwhile. So a request that loads a key leaves a note in the slot of the
//! key, under the lock of the slot ([`Cache::look_up`]). Another request that asks for the key meanwhile waits for that load.
//! A change of counts alone is written into the document in memory, or into the loaded document as soon as it arrives. Every
//! other change forgets the document **and the note**. A load whose note is gone stores nothing, and nobody joins it any
//! more. So nothing that was read before such a change is in the cache after it, or is handed to a request that came after
//! it.
//!
//! Counts arrive in the order in which they were committed, so the last ones are right. A load may be ahead of the stream.
//! Then the counts follow the stream for as long as it lags. They are never behind what the stream has shown.
//!
//! A cache lives as long as the change stream that feeds it. When the stream breaks, the whole cache is dropped. The next
//! stream begins with an empty one.

use std::collections::HashMap;
use std::fmt;
use std::hash::{BuildHasher, Hash};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use foldhash::fast::RandomState;
use quick_cache::sync::DefaultLifecycle;
use quick_cache::{OptionsBuilder, Weighter};
use tokio::sync::watch;

use crate::read_model::ReadError;

/// About how many keys can be noted at once without anybody waiting for a lock.
const SLOTS: usize = 1024;

/// About what an entry costs besides its key and its value: its places in the table and in the queue of the cache. With the
/// key of a relation, that makes 66 bytes. The cache itself counts 62 to 66 (`memory_used`), without what its vectors hold in
/// reserve.
const OVERHEAD: usize = 32;

/// The values that were asked for, by key. A document that doesn't exist is an absence.
pub(crate) type Found<K, V> = HashMap<K, V, RandomState>;

/// About how many bytes a value takes, without the cache's own overhead.
pub(crate) trait Weight {
    fn weight(&self) -> usize;

    /// About the weight of most values.
    const TYPICAL: usize;
}

impl<T: Weight> Weight for Option<Arc<T>> {
    fn weight(&self) -> usize {
        self.as_ref().map_or(0, |value| value.weight())
    }

    const TYPICAL: usize = T::TYPICAL;
}

/// The new counts of a document, in the document's own order. None where a count stays as it is, or where the document has no
/// further one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Counts(pub(crate) [Option<i64>; 4]);

impl Counts {
    pub(crate) fn write_to<const N: usize>(&self, counts: [&mut i64; N]) {
        for (count, now) in counts.into_iter().zip(self.0) {
            if let Some(now) = now {
                *count = now;
            }
        }
    }

    fn followed_by(&mut self, later: &Counts) {
        for (count, later) in self.0.iter_mut().zip(later.0) {
            *count = later.or(*count);
        }
    }
}

/// A value that counts can be written to.
pub(crate) trait Counted {
    fn set_counts(&mut self, counts: &Counts);
}

/// A request that already shows the value keeps it as it was.
impl<T: Counted + Clone> Counted for Option<Arc<T>> {
    fn set_counts(&mut self, counts: &Counts) {
        if let Some(value) = self {
            Arc::make_mut(value).set_counts(counts);
        }
    }
}

/// Counts the bytes of entries.
#[derive(Debug, Clone)]
struct Bytes;

impl<K, V: Weight> Weighter<K, V> for Bytes {
    fn weight(&self, _: &K, value: &V) -> u64 {
        entry_bytes::<K, V>(value.weight()) as u64
    }
}

const fn entry_bytes<K, V>(weight: usize) -> usize {
    size_of::<K>() + size_of::<V>() + OVERHEAD + weight
}

/// Some keys that are being loaded together.
#[derive(Debug)]
struct Batch<K, V> {
    outcome: watch::Sender<Outcome<K, V>>,
    /// The counts that have changed since the load began.
    counts: Mutex<Found<K, Counts>>,
}

impl<K, V> Batch<K, V> {
    fn new() -> Self {
        Self {
            outcome: watch::Sender::new(Outcome::Pending),
            counts: Mutex::default(),
        }
    }
}

#[derive(Debug, Clone)]
enum Outcome<K, V> {
    Pending,
    Loaded(Arc<Found<K, V>>),
    Failed(ReadError),
    /// The request that loaded the batch was dropped.
    Abandoned,
}

type Slot<K, V> = HashMap<K, Arc<Batch<K, V>>, RandomState>;

/// Values by key. The least used ones make room for others.
pub(crate) struct Cache<K, V> {
    values: quick_cache::sync::Cache<K, V, Bytes, RandomState>,
    /// The notes: which keys are being loaded, and in which batch.
    slots: Box<[Mutex<Slot<K, V>>]>,
    hasher: RandomState,
}

/// The result of looking up some keys.
#[must_use = "others wait for the load"]
pub(crate) struct LookedUp<'c, K: Copy + Hash + Eq, V> {
    /// All keys. Those that were not in memory are absences here.
    pub(crate) found: Found<K, V>,
    /// What the caller has to load.
    pub(crate) load: Load<'c, K, V>,
    /// What others are loading.
    pub(crate) joined: Vec<(K, Joined<K, V>)>,
}

impl<K, V> Cache<K, V>
where
    K: Copy + Hash + Eq + Send + Sync + 'static,
    V: Weight + Counted + Clone + Default + Send + Sync + 'static,
{
    /// A cache that holds about `max_bytes`.
    pub(crate) fn new(max_bytes: u64) -> Self {
        Self::with(max_bytes, &mut OptionsBuilder::new())
    }

    /// The same, for values that may be large. The memory is not divided into shards: a shard would be too small for a large value, which
    /// would then never be stored.
    pub(crate) fn undivided(max_bytes: u64) -> Self {
        Self::with(max_bytes, OptionsBuilder::new().shards(1))
    }

    fn with(max_bytes: u64, options: &mut OptionsBuilder) -> Self {
        let hasher = RandomState::default();
        let typical = entry_bytes::<K, V>(V::TYPICAL) as u64;
        let entries = usize::try_from(max_bytes / typical).unwrap_or(usize::MAX);
        let options = options.estimated_items_capacity(entries).weight_capacity(max_bytes);
        let options = options.build().expect("both capacities are given");
        let values =
            quick_cache::sync::Cache::with_options(options, Bytes, hasher.clone(), DefaultLifecycle::default());
        let slot = || Mutex::new(HashMap::with_hasher(hasher.clone()));
        Self {
            values,
            slots: (0..SLOTS).map(|_| slot()).collect(),
            hasher,
        }
    }

    /// The value, if it is in memory. If it is not, nobody loads it.
    pub(crate) fn get(&self, key: &K) -> Option<V> {
        self.values.get(key)
    }

    /// Takes what is in memory, and divides the rest into what others are loading and what the caller has to load. A key may
    /// occur twice.
    pub(crate) fn look_up(&self, keys: impl IntoIterator<Item = K>) -> LookedUp<'_, K, V> {
        let mut looked_up = LookedUp {
            found: Found::default(),
            load: Load::new(self),
            joined: Vec::new(),
        };
        for key in keys {
            if looked_up.found.contains_key(&key) {
                continue;
            }
            let value = self.values.get(&key).or_else(|| {
                let mut slot = self.slot(&key);
                // Another request may have stored it just now.
                let stored = self.values.get(&key);
                if stored.is_none() {
                    if let Some(batch) = slot.get(&key) {
                        looked_up.joined.push((key, Joined(batch.outcome.subscribe())));
                    } else {
                        slot.insert(key, looked_up.load.take_on(key));
                    }
                }
                stored
            });
            looked_up.found.insert(key, value.unwrap_or_default());
        }
        looked_up
    }

    /// Some counts of a document changed, and nothing else.
    pub(crate) fn count(&self, key: &K, counts: &Counts) {
        let slot = self.slot(key);
        if let Some(batch) = slot.get(key) {
            lock(&batch.counts).entry(*key).or_default().followed_by(counts);
        }
        if let Some(mut value) = self.values.peek(key) {
            value.set_counts(counts);
            // If it has made room for others meanwhile, it is not stored again.
            let _ = self.values.replace(*key, value, true);
        }
    }

    /// Forgets a key whose document changed.
    pub(crate) fn forget(&self, key: &K) {
        let mut slot = self.slot(key);
        slot.remove(key);
        self.values.remove(key);
    }
}

impl<K: Hash, V> Cache<K, V> {
    fn slot(&self, key: &K) -> MutexGuard<'_, Slot<K, V>> {
        let hash = self.hasher.hash_one(key);
        // The remainder is below SLOTS.
        let index = usize::try_from(hash % SLOTS as u64).unwrap_or(0);
        lock(&self.slots[index])
    }
}

/// A poisoned lock is no problem: no holder of one of these locks leaves the guarded data half changed.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<K, V> fmt::Debug for Cache<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cache").finish_non_exhaustive()
    }
}

/// A load that others may wait for. If it is dropped, it is abandoned, and one of those who wait begins another.
pub(crate) struct Load<'c, K: Copy + Hash + Eq, V> {
    cache: &'c Cache<K, V>,
    keys: Vec<K>,
    /// None while there is nothing to load.
    batch: Option<Arc<Batch<K, V>>>,
}

impl<'c, K: Copy + Hash + Eq, V> Load<'c, K, V> {
    fn new(cache: &'c Cache<K, V>) -> Self {
        Self {
            cache,
            keys: Vec::new(),
            batch: None,
        }
    }

    fn take_on(&mut self, key: K) -> Arc<Batch<K, V>> {
        self.keys.push(key);
        self.batch.get_or_insert_with(|| Arc::new(Batch::new())).clone()
    }

    pub(crate) fn keys(&self) -> &[K] {
        &self.keys
    }

    /// Removes the note, if it is still there. Returns whether it was.
    fn take_back(batch: &Arc<Batch<K, V>>, slot: &mut Slot<K, V>, key: &K) -> bool {
        let mine = slot.get(key).is_some_and(|noted| Arc::ptr_eq(noted, batch));
        if mine {
            slot.remove(key);
        }
        mine
    }

    fn end(&mut self, outcome: Outcome<K, V>) {
        let Some(batch) = self.batch.take() else { return };
        for key in &self.keys {
            Self::take_back(&batch, &mut self.cache.slot(key), key);
        }
        batch.outcome.send_replace(outcome);
    }

    /// The load failed. Passes the error to those who wait.
    pub(crate) fn fail(mut self, error: ReadError) -> ReadError {
        self.end(Outcome::Failed(error.clone()));
        error
    }
}

impl<K, V> Load<'_, K, V>
where
    K: Copy + Hash + Eq + Send + Sync + 'static,
    V: Weight + Counted + Clone + Default + Send + Sync + 'static,
{
    /// Stores what was loaded, unless it may have changed since the load began, and hands it to those who wait. Keys without a
    /// value are absences.
    pub(crate) fn finish(mut self, loaded: impl IntoIterator<Item = (K, V)>) -> Arc<Found<K, V>> {
        let mut values: Found<K, V> = self.keys.iter().map(|&key| (key, V::default())).collect();
        values.extend(loaded);
        if let Some(batch) = &self.batch {
            for (key, value) in &mut values {
                let mut slot = self.cache.slot(key);
                if let Some(counts) = lock(&batch.counts).get(key) {
                    value.set_counts(counts);
                }
                if Self::take_back(batch, &mut slot, key) {
                    self.cache.values.insert(*key, value.clone());
                }
            }
        }
        let values = Arc::new(values);
        self.end(Outcome::Loaded(values.clone()));
        values
    }
}

impl<K: Copy + Hash + Eq, V> Drop for Load<'_, K, V> {
    fn drop(&mut self) {
        self.end(Outcome::Abandoned);
    }
}

/// The load of another request.
pub(crate) struct Joined<K, V>(watch::Receiver<Outcome<K, V>>);

impl<K: Hash + Eq, V: Clone> Joined<K, V> {
    /// Waits for the value of a key. None if the load was abandoned.
    pub(crate) async fn value(mut self, key: &K) -> Result<Option<V>, ReadError> {
        let ended = self.0.wait_for(|outcome| !matches!(outcome, Outcome::Pending)).await;
        match ended.as_deref() {
            Ok(Outcome::Loaded(values)) => Ok(values.get(key).cloned()),
            Ok(Outcome::Failed(error)) => Err(error.clone()),
            Ok(Outcome::Abandoned | Outcome::Pending) | Err(_) => Ok(None),
        }
    }
}

#[cfg(test)]
#[path = "cache_tests.rs"]
mod tests;
