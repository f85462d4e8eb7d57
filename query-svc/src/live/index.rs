//! Which mailboxes are concerned by what happens.

use foldhash::{HashMap, HashMapExt};
use std::sync::Arc;

use model::ids::{ListId, PostId, UserId};
use model::tags::TagPrefix;

use super::mailbox::{Cut, Item, Mailbox};

/// By what a stream is concerned.
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

/// Mailboxes by what concerns them. Those that nobody reads any more are removed when one comes across them.
#[derive(Debug)]
pub(super) struct Index {
    mailboxes: HashMap<Key, Vec<Arc<Mailbox>>>,
    /// How many places in the lists above are taken, and how many of them by mailboxes that nobody reads.
    places: usize,
    left: usize,
}

impl Index {
    pub(super) fn new() -> Self {
        Self {
            mailboxes: HashMap::new(),
            places: 0,
            left: 0,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.places == 0
    }

    pub(super) fn add(&mut self, mailbox: &Arc<Mailbox>, keys: &[Key]) {
        for &key in keys {
            self.mailboxes.entry(key).or_default().push(mailbox.clone());
        }
        self.places += keys.len();
    }

    /// Somebody has left a mailbox with so many keys. All are swept out together, once they are half of all.
    pub(super) fn left(&mut self, keys: usize) {
        self.left += keys;
        if self.left * 2 > self.places {
            self.visit_all(Mailbox::is_read);
            self.left = 0;
        }
    }

    pub(super) fn send(&mut self, keys: impl IntoIterator<Item = Key>, item: &Arc<Item>) {
        for key in keys {
            self.visit(key, |mailbox| mailbox.put(item));
        }
    }

    pub(super) fn cut(&mut self, key: Key, why: Cut) {
        self.visit(key, |mailbox| mailbox.cut(why));
    }

    pub(super) fn cut_all(&mut self, why: Cut) {
        self.visit_all(|mailbox| mailbox.cut(why));
    }

    /// Keeps the mailboxes of a key for which `keep` is true.
    fn visit(&mut self, key: Key, keep: impl Fn(&Mailbox) -> bool) {
        let Some(mailboxes) = self.mailboxes.get_mut(&key) else {
            return;
        };
        let before = mailboxes.len();
        mailboxes.retain(|mailbox| keep(mailbox));
        let gone = before - mailboxes.len();
        if mailboxes.is_empty() {
            self.mailboxes.remove(&key);
        }
        self.places -= gone;
        self.left = self.left.saturating_sub(gone);
    }

    fn visit_all(&mut self, keep: impl Fn(&Mailbox) -> bool) {
        self.mailboxes.retain(|_, mailboxes| {
            mailboxes.retain(|mailbox| keep(mailbox));
            !mailboxes.is_empty()
        });
        self.places = self.mailboxes.values().map(Vec::len).sum();
    }
}
