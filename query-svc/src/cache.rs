//! Documents in memory, kept honest by the change stream.
//!
//! A load takes time, and its document may change meanwhile. Each key therefore belongs to a slot that counts the
//! drops of its keys: who is about to load notes the count, and what was loaded is stored only if the count is still
//! the same. Noting happens before the load, comparing and storing under the slot's lock, counting and removing under
//! the same lock. So nothing that was read before a drop is in the cache after it.
//!
//! Loads are not shared between requests, so none can hand an old document to a request that came after a drop.
//!
//! A cache lives as long as the change stream that feeds it. When the stream breaks the whole cache is given up, and
//! the next stream begins with an empty one.

use std::fmt;
use std::hash::{BuildHasher, Hash};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use foldhash::fast::RandomState;
use quick_cache::Weighter;
use quick_cache::sync::DefaultLifecycle;

/// Collisions only cost a load that could have been stored.
const SLOTS: usize = 1024;

/// What an entry costs beside its key and its value: its places in the table and in the queue of the cache, about. With the keys of relations it
/// makes 66 bytes, where the cache itself counts 62 to 66 (`memory_used`), without what its vectors have in reserve.
const OVERHEAD: usize = 32;

/// About how many bytes a value takes, without the cache's own overhead.
pub(crate) trait Weight {
    fn weight(&self) -> usize;

    /// Of most values, about.
    const TYPICAL: usize;
}

impl<T: Weight> Weight for Option<Arc<T>> {
    fn weight(&self) -> usize {
        self.as_ref().map_or(0, |value| value.weight())
    }

    const TYPICAL: usize = T::TYPICAL;
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

/// How often the slot of a key had been dropped when a load began.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use = "it is what makes storing safe"]
pub(crate) struct Epoch(u64);

/// Values by key, the least used of which make room for others.
pub(crate) struct Cache<K, V> {
    values: quick_cache::sync::Cache<K, V, Bytes, RandomState>,
    slots: Box<[Mutex<u64>]>,
    hasher: RandomState,
}

impl<K, V> Cache<K, V>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Weight + Clone + Send + Sync + 'static,
{
    /// A cache that holds about so many bytes.
    pub(crate) fn new(max_bytes: u64) -> Self {
        let hasher = RandomState::default();
        let typical = entry_bytes::<K, V>(V::TYPICAL) as u64;
        let entries = usize::try_from(max_bytes / typical).unwrap_or(usize::MAX);
        let values =
            quick_cache::sync::Cache::with(entries, max_bytes, Bytes, hasher.clone(), DefaultLifecycle::default());
        Self {
            values,
            slots: (0..SLOTS).map(|_| Mutex::new(0)).collect(),
            hasher,
        }
    }

    pub(crate) fn get(&self, key: &K) -> Option<V> {
        self.values.get(key)
    }

    /// To be called before the load begins.
    pub(crate) fn begin_load(&self, key: &K) -> Epoch {
        Epoch(*self.slot(key))
    }

    /// Stores what was loaded, unless the key may have changed since the load began.
    pub(crate) fn store(&self, key: K, begun: Epoch, value: V) -> bool {
        let slot = self.slot(&key);
        let unchanged = *slot == begun.0;
        if unchanged {
            self.values.insert(key, value);
        }
        unchanged
    }

    /// Forgets a key whose document changed.
    pub(crate) fn forget(&self, key: &K) {
        let mut slot = self.slot(key);
        *slot = slot.wrapping_add(1);
        self.values.remove(key);
    }

    fn slot(&self, key: &K) -> MutexGuard<'_, u64> {
        let hash = self.hasher.hash_one(key);
        // The remainder is below SLOTS, and a number is whole whatever its last holder did.
        let index = usize::try_from(hash % SLOTS as u64).unwrap_or(0);
        self.slots[index].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K, V> fmt::Debug for Cache<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cache").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;
    use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

    use super::*;

    #[derive(Debug, PartialEq)]
    struct Text(&'static str);

    impl Weight for Text {
        fn weight(&self) -> usize {
            self.0.len()
        }

        const TYPICAL: usize = 4;
    }

    impl Weight for u64 {
        fn weight(&self) -> usize {
            0
        }

        const TYPICAL: usize = 0;
    }

    type Texts = Cache<u32, Option<Arc<Text>>>;

    fn text(text: &'static str) -> Option<Arc<Text>> {
        Some(Arc::new(Text(text)))
    }

    #[test]
    fn what_was_loaded_is_found_again_and_so_is_an_absence() {
        let cache = Texts::new(1 << 20);
        assert_eq!(cache.get(&1), None);
        assert!(cache.store(1, cache.begin_load(&1), text("one")));
        assert!(cache.store(2, cache.begin_load(&2), None));
        assert_eq!(cache.get(&1), Some(text("one")));
        assert_eq!(cache.get(&2), Some(None));
    }

    #[test]
    fn a_drop_forgets_the_document_and_the_absence() {
        let cache = Texts::new(1 << 20);
        assert!(cache.store(1, cache.begin_load(&1), text("old")));
        assert!(cache.store(2, cache.begin_load(&2), None));
        cache.forget(&1);
        cache.forget(&2);
        assert_eq!((cache.get(&1), cache.get(&2)), (None, None));
    }

    #[test]
    fn a_load_that_began_before_a_drop_is_not_stored() {
        let cache = Texts::new(1 << 20);
        // The load begins and reads the old document; the change arrives; the load ends.
        let begun = cache.begin_load(&1);
        cache.forget(&1);
        assert!(!cache.store(1, begun, text("old")));
        assert_eq!(cache.get(&1), None);
        // The same for a document that was not there yet.
        let begun = cache.begin_load(&2);
        cache.forget(&2);
        assert!(!cache.store(2, begun, None));
        assert_eq!(cache.get(&2), None);
        // A load that begins after the drop is stored.
        assert!(cache.store(1, cache.begin_load(&1), text("new")));
        assert_eq!(cache.get(&1), Some(text("new")));
    }

    #[test]
    fn a_later_load_that_was_stored_is_not_replaced_by_an_earlier_one() {
        let cache = Texts::new(1 << 20);
        let early = cache.begin_load(&1);
        cache.forget(&1);
        let late = cache.begin_load(&1);
        assert!(cache.store(1, late, text("new")));
        assert!(!cache.store(1, early, text("old")));
        assert_eq!(cache.get(&1), Some(text("new")));
    }

    #[test]
    fn the_cache_keeps_to_its_weight() {
        let cache = Texts::new(100_000);
        for key in 0..10_000 {
            assert!(cache.store(key, cache.begin_load(&key), text("x")));
        }
        assert!(cache.values.weight() <= 100_000);
        assert!(cache.values.len() > 100);
    }

    /// One thread changes a "document" and drops it each time, as the stream would; others load and store it. Whatever
    /// is in the cache after a drop must be at least as new as that drop.
    #[test]
    fn threads_never_see_what_was_dropped() {
        const CHANGES: u64 = 20_000;
        /// What is stored is stored in between two changes: on a busy machine it may take a while until that happens.
        const MOST_CHANGES: u64 = 50_000_000;
        let cache = Cache::<u32, u64>::new(1 << 20);
        let (document, stored, done) = (AtomicU64::new(0), AtomicU64::new(0), AtomicBool::new(false));
        let start = Barrier::new(3);
        let read = || {
            start.wait();
            while !done.load(Ordering::SeqCst) {
                let begun = cache.begin_load(&7);
                let loaded = document.load(Ordering::SeqCst);
                std::thread::yield_now();
                stored.fetch_add(u64::from(cache.store(7, begun, loaded)), Ordering::SeqCst);
            }
        };
        let change = || {
            start.wait();
            for change in 1..=MOST_CHANGES {
                document.store(change, Ordering::SeqCst);
                cache.forget(&7);
                if let Some(seen) = cache.get(&7) {
                    assert!(seen >= change, "{seen} was in the cache after {change}");
                }
                if change >= CHANGES && stored.load(Ordering::SeqCst) > 0 {
                    break;
                }
            }
        };
        std::thread::scope(|scope| {
            scope.spawn(read);
            scope.spawn(read);
            let changed = scope.spawn(change).join();
            done.store(true, Ordering::SeqCst);
            if let Err(panic) = changed {
                std::panic::resume_unwind(panic);
            }
        });
        assert!(
            stored.into_inner() > 0,
            "nothing was ever stored, so that nothing was tested"
        );
    }
}
