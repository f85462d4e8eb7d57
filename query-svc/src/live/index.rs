//! Who is concerned by what happens.

use std::sync::{Arc, Weak};

use foldhash::{HashMap, HashMapExt};
use model::ids::{ListId, PostId, UserId};
use model::tags::{TagKey, TagPrefix};

/// By what somebody is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Key {
    /// What this user posts.
    Author(UserId),
    /// Public posts with a tag.
    Tag(TagPrefix),
    Public,
    /// A post, and what answers it.
    Thread(PostId),
    /// What is in a list.
    List(ListId),
    /// Whom and what this user follows.
    Home(UserId),
    /// What this user is told of.
    Notifications(UserId),
}

impl Key {
    /// Whom a post concerns.
    pub(crate) fn of_post(
        id: PostId,
        author: UserId,
        in_reply_to: Option<PostId>,
        public: bool,
        tags: &[TagKey],
    ) -> Vec<Self> {
        let mut keys = vec![Key::Author(author), Key::Thread(id)];
        keys.extend(in_reply_to.map(Key::Thread));
        if public {
            keys.push(Key::Public);
            keys.extend(tags.iter().map(|tag| Key::Tag(tag.prefix())));
        }
        keys
    }
}

/// Listeners by what concerns them. It keeps nobody alive: those that are gone are removed when one comes across them, and all of them when
/// there may be as many as there are others.
#[derive(Debug)]
pub(crate) struct Index<T> {
    listeners: HashMap<Key, Vec<Weak<T>>>,
    /// How many places in the lists are taken, and how many were after the last look through all.
    places: usize,
    swept: usize,
}

/// Below this number, nobody looks for places of listeners that are gone.
const FEW: usize = 4_096;

impl<T> Default for Index<T> {
    fn default() -> Self {
        Self {
            listeners: HashMap::new(),
            places: 0,
            swept: 0,
        }
    }
}

impl<T> Index<T> {
    pub(crate) fn is_empty(&self) -> bool {
        self.places == 0
    }

    pub(crate) fn add(&mut self, listener: &Arc<T>, keys: &[Key]) {
        for &key in keys {
            self.listeners.entry(key).or_default().push(Arc::downgrade(listener));
        }
        self.places += keys.len();
        if self.places > 2 * self.swept + FEW {
            self.visit_all(|_| {});
            self.swept = self.places;
        }
    }

    pub(crate) fn visit(&mut self, key: Key, mut tell: impl FnMut(&T)) {
        let Some(listeners) = self.listeners.get_mut(&key) else {
            return;
        };
        let before = listeners.len();
        listeners.retain(|listener| told(listener, &mut tell));
        self.places -= before - listeners.len();
        if listeners.is_empty() {
            self.listeners.remove(&key);
        }
    }

    pub(crate) fn visit_all(&mut self, mut tell: impl FnMut(&T)) {
        self.listeners.retain(|_, listeners| {
            listeners.retain(|listener| told(listener, &mut tell));
            !listeners.is_empty()
        });
        self.places = self.listeners.values().map(Vec::len).sum();
    }
}

/// Whether the listener is still there.
fn told<T>(listener: &Weak<T>, tell: impl FnOnce(&T)) -> bool {
    let listener = listener.upgrade();
    listener.inspect(|listener| tell(listener)).is_some()
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use chrono::Utc;

    use super::*;

    #[test]
    fn those_that_are_gone_are_removed() {
        let mut index = Index::default();
        let author = |_| Key::Author(UserId::new(Utc::now()));
        let keys: Vec<Key> = (0..FEW).map(author).collect();
        let (stays, goes) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
        index.add(&stays, &keys[..2]);
        index.add(&goes, &keys[..2]);
        drop(goes);
        index.visit(keys[0], |told| {
            told.fetch_add(1, Ordering::Relaxed);
        });
        assert_eq!((stays.load(Ordering::Relaxed), index.places), (1, 3));
        index.add(&stays, &keys);
        assert_eq!(index.places, FEW + 2, "the other one was swept out");
        drop(stays);
        index.visit_all(|_| {});
        assert!(index.is_empty());
    }
}
