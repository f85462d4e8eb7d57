//! What waits for one stream.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use model::ids::PostId;
use tokio::sync::Notify;

use super::cursor::LiveCursor;
use crate::shown::Candidate;

/// The most items that wait for one stream. A reader who is further behind is served by pages again.
const CAPACITY: usize = 256;

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum News {
    Post(Candidate),
    /// Something about the post changed. Who may not see it any more, because moderators have hidden it, is told that it is gone.
    Changed {
        candidate: Candidate,
        hidden: bool,
    },
    /// It lost a tag by which streams had it.
    Untagged(Candidate),
    Deleted(PostId),
    Counts(Candidate),
    /// The owner is told of something, or not any more. The stream looks it up.
    Notified,
}

impl News {
    /// The post of which it is decided whether the reader may see it.
    pub(super) fn candidate(&self) -> Option<Candidate> {
        match *self {
            News::Post(candidate)
            | News::Changed { candidate, .. }
            | News::Untagged(candidate)
            | News::Counts(candidate) => Some(candidate),
            News::Deleted(_) | News::Notified => None,
        }
    }
}

/// Something that happened, and what a client knows that has received it.
#[derive(Debug)]
pub(crate) struct Item {
    pub(crate) news: News,
    pub(crate) cursor: Arc<LiveCursor>,
}

/// Why a stream must begin again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cut {
    /// Its reader is too slow.
    Overflow,
    /// The bus broke.
    Bus,
    /// It follows somebody else now.
    Interest,
}

impl Cut {
    pub(crate) const ALL: [Self; 3] = [Cut::Overflow, Cut::Bus, Cut::Interest];

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Cut::Overflow => "overflow",
            Cut::Bus => "bus",
            Cut::Interest => "interest",
        }
    }
}

#[derive(Debug, Default)]
struct State {
    items: VecDeque<Arc<Item>>,
    cut: Option<Cut>,
}

#[derive(Debug, Default)]
pub(crate) struct Mailbox {
    state: Mutex<State>,
    changed: Notify,
}

impl Mailbox {
    /// Adds an item, once.
    pub(super) fn put(&self, item: &Arc<Item>) {
        let mut state = self.lock();
        let is_there = state.items.back().is_some_and(|last| Arc::ptr_eq(last, item));
        if state.cut.is_some() || is_there {
            return;
        }
        if state.items.len() == CAPACITY {
            state.items = VecDeque::new();
            state.cut = Some(Cut::Overflow);
        } else {
            state.items.push_back(item.clone());
        }
        drop(state);
        self.changed.notify_one();
    }

    pub(super) fn cut(&self, why: Cut) {
        let mut state = self.lock();
        // What waits is found again by the pages.
        state.items = VecDeque::new();
        state.cut.get_or_insert(why);
        drop(state);
        self.changed.notify_one();
    }

    /// The first items, which stay until [`Self::remove`]. An error says that the stream must begin again.
    pub(super) fn first(&self, most: usize) -> Result<Vec<Arc<Item>>, Cut> {
        let state = self.lock();
        match state.cut {
            Some(cut) => Err(cut),
            None => Ok(state.items.iter().take(most).cloned().collect()),
        }
    }

    /// Removes the first items. If the stream was cut meanwhile, they are gone already.
    pub(super) fn remove(&self, count: usize) {
        let mut state = self.lock();
        let count = count.min(state.items.len());
        state.items.drain(..count);
        if state.items.is_empty() {
            // Most streams wait for nothing most of the time.
            state.items.shrink_to_fit();
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        let state = self.lock();
        state.items.is_empty() && state.cut.is_none()
    }

    /// Ends when there is an item, or the stream was cut.
    pub(super) async fn filled(&self) {
        while self.is_empty() {
            self.changed.notified().await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use chrono::Utc;
    use futures_util::FutureExt;

    use super::*;
    use crate::cursor::Cursor;
    use crate::since::Since;

    fn item() -> Arc<Item> {
        Arc::new(Item {
            news: News::Deleted(PostId::new(Utc::now())),
            cursor: LiveCursor::of(Since::settled(Cursor::BOTTOM)),
        })
    }

    #[test]
    fn a_full_one_is_emptied_and_cut() {
        let mailbox = Mailbox::default();
        let first = item();
        mailbox.put(&first);
        mailbox.put(&first);
        assert_eq!(mailbox.first(9).unwrap().len(), 1, "by two keys, but once");
        for _ in 0..CAPACITY {
            mailbox.put(&item());
        }
        assert_eq!(mailbox.first(9).unwrap_err(), Cut::Overflow);
        mailbox.put(&item());
        assert!(mailbox.lock().items.is_empty(), "what follows a gap is of no use");
    }

    #[test]
    fn items_stay_until_they_are_removed() {
        let mailbox = Mailbox::default();
        assert!(mailbox.filled().now_or_never().is_none());
        for _ in 0..3 {
            mailbox.put(&item());
        }
        assert!(mailbox.filled().now_or_never().is_some());
        assert_eq!(mailbox.first(2).unwrap().len(), 2);
        assert_eq!(mailbox.first(9).unwrap().len(), 3);
        mailbox.remove(3);
        assert!(mailbox.is_empty());
        mailbox.cut(Cut::Bus);
        assert!(mailbox.filled().now_or_never().is_some());
        mailbox.remove(1);
    }
}
