use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use futures_util::FutureExt;

use super::*;

#[derive(Debug, Clone, PartialEq)]
struct Text(&'static str, i64);

impl Weight for Text {
    fn weight(&self) -> usize {
        self.0.len()
    }

    const TYPICAL: usize = 4;
}

impl Counted for Text {
    fn set_counts(&mut self, counts: &Counts) {
        counts.write_to([&mut self.1, &mut 0, &mut 0]);
    }
}

impl Weight for u64 {
    fn weight(&self) -> usize {
        0
    }

    const TYPICAL: usize = 0;
}

impl Counted for u64 {
    fn set_counts(&mut self, counts: &Counts) {
        let mut count = i64::try_from(*self).unwrap();
        counts.write_to([&mut count, &mut 0, &mut 0]);
        *self = u64::try_from(count).unwrap();
    }
}

type Texts = Cache<u32, Option<Arc<Text>>>;

fn text(text: &'static str) -> Option<Arc<Text>> {
    Some(Arc::new(Text(text, 0)))
}

fn counted(text: &'static str, count: i64) -> Option<Arc<Text>> {
    Some(Arc::new(Text(text, count)))
}

fn counts(count: i64) -> Counts {
    Counts([Some(count), None, None, None])
}

/// What is in memory under a key.
fn get(cache: &Texts, key: u32) -> Option<Option<Arc<Text>>> {
    cache.values.get(&key)
}

/// Begins to load a key that nobody is loading.
fn begin(cache: &Texts, key: u32) -> Load<'_, u32, Option<Arc<Text>>> {
    let LookedUp { load, joined, .. } = cache.look_up([key]);
    assert_eq!((load.keys(), joined.len()), (&[key][..], 0));
    load
}

fn join(cache: &Texts, key: u32) -> Joined<u32, Option<Arc<Text>>> {
    let LookedUp { load, mut joined, .. } = cache.look_up([key]);
    assert_eq!((load.keys().len(), joined.len()), (0, 1));
    joined.remove(0).1
}

fn value(joined: Joined<u32, Option<Arc<Text>>>, key: u32) -> Option<Option<Arc<Text>>> {
    joined.value(&key).now_or_never().expect("the load has ended").unwrap()
}

#[test]
fn what_was_loaded_is_found_again_and_so_is_an_absence() {
    let cache = Texts::new(1 << 20);
    let LookedUp { load, joined, .. } = cache.look_up([1, 2, 1]);
    assert_eq!((load.keys(), joined.len()), (&[1, 2][..], 0));
    let loaded = load.finish([(1, text("one"))]);
    assert_eq!((&loaded[&1], &loaded[&2]), (&text("one"), &None));
    let again = cache.look_up([2, 1]);
    assert_eq!((again.load.keys().len(), again.joined.len()), (0, 0));
    assert_eq!((&again.found[&1], &again.found[&2]), (&text("one"), &None));
}

#[test]
fn a_change_forgets_the_document_and_the_absence() {
    let cache = Texts::new(1 << 20);
    cache.look_up([1, 2]).load.finish([(1, text("old"))]);
    cache.forget(&1);
    cache.forget(&2);
    assert_eq!((get(&cache, 1), get(&cache, 2)), (None, None));
}

#[test]
fn all_who_ask_for_a_key_wait_for_one_load() {
    let cache = Texts::new(1 << 20);
    let load = begin(&cache, 1);
    let (one, other) = (join(&cache, 1), join(&cache, 1));
    load.finish([(1, text("one"))]);
    assert_eq!((value(one, 1), value(other, 1)), (Some(text("one")), Some(text("one"))));
    assert_eq!(get(&cache, 1), Some(text("one")));
}

#[test]
fn a_load_that_fails_fails_for_all_and_one_that_is_abandoned_is_begun_again() {
    let cache = Texts::new(1 << 20);
    let load = begin(&cache, 1);
    let joined = join(&cache, 1);
    load.fail(ReadError::NotReady("why not".to_owned()));
    let failed = joined.value(&1).now_or_never().unwrap().unwrap_err();
    assert!(failed.to_string().contains("why not"));

    let load = begin(&cache, 1);
    let joined = join(&cache, 1);
    drop(load);
    assert_eq!(value(joined, 1), None);
    begin(&cache, 1).finish([(1, text("one"))]);
    assert_eq!(get(&cache, 1), Some(text("one")));
}

#[test]
fn a_load_that_began_before_a_change_is_neither_stored_nor_joined() {
    let cache = Texts::new(1 << 20);
    // The load begins and reads the old document, and a request joins it. Then the change arrives, and other requests come.
    let old = begin(&cache, 1);
    let before = join(&cache, 1);
    cache.forget(&1);
    let new = begin(&cache, 1);
    let after = join(&cache, 1);
    old.finish([(1, text("old"))]);
    assert_eq!(get(&cache, 1), None);
    assert_eq!(value(before, 1), Some(text("old")));
    new.finish([(1, text("new"))]);
    assert_eq!(value(after, 1), Some(text("new")));
    assert_eq!(get(&cache, 1), Some(text("new")));
    // The same, but the later load ends first.
    cache.forget(&1);
    let old = begin(&cache, 1);
    cache.forget(&1);
    begin(&cache, 1).finish([(1, text("new"))]);
    old.finish([(1, text("old"))]);
    assert_eq!(get(&cache, 1), Some(text("new")));
}

#[test]
fn counts_are_written_into_what_is_in_memory() {
    let cache = Texts::new(1 << 20);
    cache.look_up([1, 2]).load.finish([(1, counted("one", 5))]);
    let shown = get(&cache, 1).unwrap();
    cache.count(&1, &counts(6));
    cache.count(&2, &counts(7));
    cache.count(&3, &counts(8));
    assert_eq!(get(&cache, 1), Some(counted("one", 6)));
    assert_eq!(shown, counted("one", 5), "a request that already shows it keeps it");
    assert_eq!(
        (get(&cache, 2), get(&cache, 3)),
        (Some(None), None),
        "counts make no document"
    );
}

#[test]
fn counts_are_written_into_what_is_being_loaded() {
    let cache = Texts::new(1 << 20);
    let load = begin(&cache, 1);
    cache.count(&1, &counts(6));
    let joined = join(&cache, 1);
    cache.count(&1, &Counts([None, Some(3), None, None]));
    assert_eq!(load.finish([(1, counted("one", 5))])[&1], counted("one", 6));
    assert_eq!(value(joined, 1), Some(counted("one", 6)));
    assert_eq!(get(&cache, 1), Some(counted("one", 6)));

    // A request that joined after the count arrived has to see the count, whatever arrives afterwards.
    let cache = Texts::new(1 << 20);
    let load = begin(&cache, 1);
    cache.count(&1, &counts(6));
    let joined = join(&cache, 1);
    cache.forget(&1);
    load.finish([(1, counted("one", 5))]);
    assert_eq!((value(joined, 1), get(&cache, 1)), (Some(counted("one", 6)), None));
}

#[test]
fn the_cache_keeps_to_its_weight_and_no_note_is_left() {
    let cache = Texts::new(100_000);
    for key in 0..10_000 {
        begin(&cache, key).finish([(key, text("x"))]);
    }
    assert!(cache.values.weight() <= 100_000);
    assert!(cache.values.len() > 100);
    assert!(cache.slots.iter().all(|slot| lock(slot).is_empty()));
}

/// One thread changes a "document" and reports each change, as the stream would: half of them as counts, half of them by
/// forgetting. Other threads load, join and store. What they get must be at least as new as what the stream had shown when
/// they asked. The same holds for what is in the cache.
#[test]
fn threads_never_see_what_was_before_a_change() {
    const CHANGES: u64 = 20_000;
    /// A value is stored only in between two changes. On a busy machine, it may take a while until that happens.
    const MOST_CHANGES: u64 = 50_000_000;
    let cache = Cache::<u32, u64>::new(1 << 20);
    let (document, shown, done) = (AtomicU64::new(0), AtomicU64::new(0), AtomicBool::new(false));
    let (loads, joins, hits) = (AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0));
    let start = Barrier::new(4);
    let read = || {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        start.wait();
        while !done.load(Ordering::SeqCst) {
            let before = shown.load(Ordering::SeqCst);
            let LookedUp {
                found,
                load,
                mut joined,
            } = cache.look_up([7]);
            let (value, counter) = if load.keys() == [7] {
                let loaded = document.load(Ordering::SeqCst);
                std::thread::yield_now();
                (load.finish([(7, loaded)])[&7], &loads)
            } else if let Some((key, joined)) = joined.pop() {
                let joined = runtime.block_on(joined.value(&key)).unwrap();
                (joined.expect("nobody abandons a load here"), &joins)
            } else {
                (found[&7], &hits)
            };
            assert!(value >= before, "{value} was seen after {before}");
            counter.fetch_add(1, Ordering::SeqCst);
        }
    };
    let change = || {
        start.wait();
        for change in 1..=MOST_CHANGES {
            document.store(change, Ordering::SeqCst);
            if change % 2 == 0 {
                cache.forget(&7);
            } else {
                cache.count(&7, &counts(i64::try_from(change).unwrap()));
            }
            shown.store(change, Ordering::SeqCst);
            if let Some(seen) = cache.values.get(&7) {
                assert!(seen >= change, "{seen} was in the cache after {change}");
            }
            let all = [&loads, &joins, &hits];
            if change >= CHANGES && all.iter().all(|counter| counter.load(Ordering::SeqCst) > 0) {
                break;
            }
        }
    };
    std::thread::scope(|scope| {
        let readers: Vec<_> = (0..3).map(|_| scope.spawn(read)).collect();
        let changed = scope.spawn(change).join();
        done.store(true, Ordering::SeqCst);
        for thread in readers.into_iter().map(|reader| reader.join()).chain([changed]) {
            if let Err(panic) = thread {
                std::panic::resume_unwind(panic);
            }
        }
    });
    for counter in [loads, joins, hits] {
        assert!(
            counter.into_inner() > 0,
            "one of the three ways was never taken, so it was not tested"
        );
    }
}
