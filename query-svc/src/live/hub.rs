//! The listener of the bus: it hands what happens to the streams that it concerns.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use chrono::TimeDelta;
use event_log::position::Position;
use model::clock::SharedClock;
use model::ids::{Partition, PostId, UserId, uuid_v7_floor};
use model::tags::TagPrefix;
use tokio::sync::{mpsc, watch};
use views::{Post, RelationKind};

use super::connection::Connections;
use super::cursor::LiveCursor;
use super::index::{Index, Key};
use super::mailbox::{Cut, Item, Mailbox, News};
use crate::bus::{Appeared, Change, Listener, PostChange};
use crate::cursor::Cursor;
use crate::handled::{Appearance, Handled};
use crate::metrics::LiveMetrics;
use crate::shown::Candidate;

/// What the bus does not say: it is looked up, once for all streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lookup {
    Changed(PostId),
    Untagged(TagPrefix, PostId),
    Profile(UserId),
}

/// The most rows that wait for their checkpoint, and the most lookups that wait for the database. Beyond that, every stream begins again.
const MOST_WAITING: usize = 20_000;

#[derive(Debug)]
pub(crate) struct Hub {
    state: Mutex<State>,
    open: watch::Sender<bool>,
    lookups: mpsc::Sender<Lookup>,
    clock: SharedClock,
    /// How far an id may lie behind: see [`crate::paging::Arrival`].
    overlap: TimeDelta,
    pub(crate) connections: Connections,
    pub(crate) metrics: LiveMetrics,
}

#[derive(Debug)]
struct State {
    /// What the checkpoints cover. None while no bus is open.
    handled: Option<Handled>,
    /// The highest place of a post that was handed out.
    top: Cursor,
    pending: Vec<Pending>,
    index: Index<Mailbox>,
    /// The cursor of this moment, once it is needed.
    cursor: Option<Arc<LiveCursor>>,
    /// Posts whose counts have changed.
    counted: HashSet<PostId>,
}

/// A row that the checkpoints don't cover yet.
#[derive(Debug)]
struct Pending {
    news: News,
    place: Cursor,
    /// Whose partitions must have passed the event.
    audiences: [UserId; 2],
    /// None if a scan has found the event. The scan ends with a checkpoint of the first partition that is above the event.
    position: Option<Position>,
    keys: Vec<Key>,
}

impl Pending {
    fn is_covered(&self, handled: &Handled) -> bool {
        self.position.is_some_and(|position| {
            handled.shows(&Appearance {
                position,
                audiences: self.audiences,
            })
        })
    }
}

impl Hub {
    pub(crate) fn new(
        clock: SharedClock,
        overlap: TimeDelta,
        metrics: LiveMetrics,
    ) -> (Arc<Self>, mpsc::Receiver<Lookup>) {
        let (lookups, received) = mpsc::channel(MOST_WAITING);
        let hub = Self {
            state: Mutex::new(State {
                handled: None,
                top: Cursor::BOTTOM,
                pending: Vec::new(),
                index: Index::default(),
                cursor: None,
                counted: HashSet::new(),
            }),
            open: watch::Sender::new(false),
            lookups,
            clock,
            overlap,
            connections: Connections::default(),
            metrics,
        };
        (Arc::new(hub), received)
    }

    /// A bus is open: it shows everything from here on. `handled` was read after it was opened.
    pub(crate) fn open(&self, handled: Handled) {
        let mut state = self.lock();
        state.handled = Some(handled);
        state.cursor = None;
        drop(state);
        self.open.send_replace(true);
    }

    /// The bus broke. What it has shown and the checkpoints don't cover is found again by the pages.
    pub(crate) fn close(&self) {
        self.open.send_replace(false);
        let mut state = self.lock();
        state.handled = None;
        state.cursor = None;
        state.pending = Vec::new();
        self.metrics.pending.set(0);
        state.counted.clear();
        state.index.visit_all(|mailbox| mailbox.cut(Cut::Bus));
    }

    /// Ends when a bus is open.
    pub(crate) async fn opened(&self) {
        // The sender lives in `self`, so the channel can't be closed.
        let _ = self.open.subscribe().wait_for(|open| *open).await;
    }

    /// Begins to cut a stream when what it follows changes: the first step of a stream. None while no bus is open.
    pub(super) fn register(self: &Arc<Self>, cut_by: &[Key]) -> Option<Registration> {
        let mut state = self.lock();
        state.handled.as_ref()?;
        let mailbox = Arc::new(Mailbox::default());
        state.index.add(&mailbox, cut_by);
        Some(Registration {
            hub: self.clone(),
            mailbox,
        })
    }

    /// A post was handed to a connection.
    pub(super) fn pushed(&self, post: PostId) {
        let seconds = (self.clock.now() - post.time()).as_seconds_f64();
        self.metrics.push.0.observe(seconds.max(0.0));
    }

    /// The posts whose counts have changed since the last call.
    pub(super) fn take_counted(&self) -> Vec<PostId> {
        self.lock().counted.drain().collect()
    }

    /// Hands out what was looked up of a post, as soon as the checkpoints cover the row.
    pub(super) fn tell(&self, post: &Post, news: News, keys: Vec<Key>) {
        let candidate = Candidate::from(post);
        let original = post.repost_of.map_or(post.author, |original| original.author);
        let pending = Pending {
            news,
            place: candidate.place(),
            audiences: [post.author, original],
            position: post.position,
            keys,
        };
        let mut state = self.lock();
        let Some(handled) = &state.handled else { return };
        if matches!(news, News::Counts(_)) || pending.is_covered(handled) {
            let handled = handled.clone();
            self.hand_out(&mut state, vec![pending], &handled);
        } else {
            self.keep(&mut state, pending);
        }
    }

    pub(super) fn tell_deleted(&self, post: PostId, keys: &[Key]) {
        let mut state = self.lock();
        if state.handled.is_some() {
            self.send(&mut state, News::Deleted(post), keys.iter().copied());
        }
    }

    pub(super) fn cut_all(&self, why: Cut) {
        self.lock().index.visit_all(|mailbox| mailbox.cut(why));
    }

    /// Hands out what `handled` covers now and did not cover `before`. The cursor of this moment says that all of it is known. So it goes
    /// to the last one: a client that leaves in the middle gets the others again.
    fn hand_out(&self, state: &mut State, released: Vec<Pending>, before: &Handled) {
        let first = (released.len() > 1).then(|| self.cursor_at(before, state.top));
        state.cursor = None;
        state.top = released.iter().map(|it| it.place).fold(state.top, Cursor::max);
        let last = released.len().saturating_sub(1);
        for (at, it) in released.into_iter().enumerate() {
            let cursor = first.as_ref().filter(|_| at < last);
            let Some(cursor) = cursor.cloned().or_else(|| self.cursor(state)) else {
                return;
            };
            let item = Arc::new(Item { news: it.news, cursor });
            send(&mut state.index, it.keys, &item);
        }
    }

    fn send(&self, state: &mut State, news: News, keys: impl Iterator<Item = Key>) {
        if state.index.is_empty() {
            return;
        }
        let Some(cursor) = self.cursor(state) else { return };
        send(&mut state.index, keys, &Arc::new(Item { news, cursor }));
    }

    fn cursor(&self, state: &mut State) -> Option<Arc<LiveCursor>> {
        let handled = state.handled.as_ref()?;
        let cursor = state.cursor.get_or_insert_with(|| self.cursor_at(handled, state.top));
        Some(cursor.clone())
    }

    /// A stream has looked at its whole list, up to any place. The present time is above what is settled, as a cursor requires.
    fn cursor_at(&self, handled: &Handled, top: Cursor) -> Arc<LiveCursor> {
        let now = self.clock.now();
        let top = top.max(PostId::from_uuid(uuid_v7_floor(now)).into());
        LiveCursor::at(handled.clone(), top, now, self.overlap)
    }

    fn look_up(&self, state: &mut State, lookup: Lookup) {
        if !state.index.is_empty() && self.lookups.try_send(lookup).is_err() {
            self.give_up(state);
        }
    }

    /// Too much waits. The pages find it.
    fn give_up(&self, state: &mut State) {
        state.pending = Vec::new();
        self.metrics.pending.set(0);
        state.index.visit_all(|mailbox| mailbox.cut(Cut::Overflow));
    }

    fn keep(&self, state: &mut State, pending: Pending) {
        if state.pending.len() == MOST_WAITING {
            self.give_up(state);
        }
        state.pending.push(pending);
        self.count_pending(state);
    }

    fn count_pending(&self, state: &State) {
        let pending = i64::try_from(state.pending.len()).unwrap_or(i64::MAX);
        self.metrics.pending.set(pending);
    }

    fn appeared(&self, state: &mut State, id: PostId, it: &Appeared) {
        if state.index.is_empty() {
            return;
        }
        let original = it.repost_of.map_or(it.author, |original| original.author);
        let pending = Pending {
            news: News::Post(it.candidate(id)),
            place: id.into(),
            audiences: [it.author, original],
            position: it.position,
            keys: Key::of_post(
                id,
                it.author,
                it.in_reply_to.map(|parent| parent.post),
                it.public,
                &it.tags,
            ),
        };
        self.keep(state, pending);
    }

    fn checkpoint(&self, state: &mut State, partition: Partition, position: Position) {
        let State { handled, pending, .. } = state;
        let Some(handled) = handled else { return };
        let before = handled.clone();
        handled.raise(partition, position);
        for it in pending.iter_mut() {
            if it.position.is_none() && it.audiences[0].partition() == partition {
                it.position = Some(position);
            }
        }
        let released: Vec<Pending> = pending.extract_if(.., |it| it.is_covered(handled)).collect();
        if released.is_empty() {
            state.cursor = None;
        } else {
            self.count_pending(state);
            self.hand_out(state, released, &before);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Listener for Hub {
    fn hear(&self, change: &Change) {
        let mut state = self.lock();
        if state.handled.is_none() {
            return;
        }
        match change {
            &Change::Checkpoint(partition, position) => self.checkpoint(&mut state, partition, position),
            Change::Post(id, PostChange::Appeared(appeared)) => self.appeared(&mut state, *id, appeared),
            Change::Post(id, PostChange::Counts(_)) if !state.index.is_empty() => drop(state.counted.insert(*id)),
            Change::Post(id, PostChange::Gone(Some(gone))) => {
                let keys = Key::of_post(*id, gone.author, gone.in_reply_to, gone.public, &[]);
                self.send(&mut state, News::Deleted(*id), keys.into_iter());
            }
            &Change::Post(id, PostChange::Other) => self.look_up(&mut state, Lookup::Changed(id)),
            &Change::Untagged(tag, id) => self.look_up(&mut state, Lookup::Untagged(tag, id)),
            Change::Relation(id) if id.kind() == RelationKind::Follow => {
                state
                    .index
                    .visit(Key::Home(id.viewer()), |mailbox| mailbox.cut(Cut::Interest));
            }
            Change::FollowedTag(user) | Change::ExclusiveLists(user) => state
                .index
                .visit(Key::Home(*user), |mailbox| mailbox.cut(Cut::Interest)),
            Change::ListSources(list) | Change::List(list) => state
                .index
                .visit(Key::List(*list), |mailbox| mailbox.cut(Cut::Interest)),
            &Change::Notification(user) => {
                self.send(&mut state, News::Notified, std::iter::once(Key::Notifications(user)));
            }
            &Change::Profile(user, None) => self.look_up(&mut state, Lookup::Profile(user)),
            Change::Post(..)
            | Change::Relation(_)
            | Change::Profile(..)
            | Change::Filter(_)
            | Change::Tagged(..)
            | Change::Control
            | Change::Other => {}
        }
    }
}

fn send(index: &mut Index<Mailbox>, keys: impl IntoIterator<Item = Key>, item: &Arc<Item>) {
    for key in keys {
        index.visit(key, |mailbox| mailbox.put(item));
    }
}

/// A stream that is known to the hub. Dropping it ends that.
#[derive(Debug)]
pub(super) struct Registration {
    hub: Arc<Hub>,
    pub(super) mailbox: Arc<Mailbox>,
}

impl Registration {
    /// From now on, the mailbox gets what these keys say: the third step of a stream. Returns what a client knows that knows everything
    /// before. None if the bus broke.
    pub(super) fn follow(&self, keys: &[Key]) -> Option<Arc<LiveCursor>> {
        let mut state = self.hub.lock();
        state.index.add(&self.mailbox, keys);
        self.hub.cursor(&mut state)
    }

    /// Leaves out what waits. Returns what a client knows that knows everything before. None if the bus broke.
    pub(super) fn skip(&self) -> Option<Arc<LiveCursor>> {
        let mut state = self.hub.lock();
        self.mailbox.remove(usize::MAX);
        self.hub.cursor(&mut state)
    }

    /// What a client knows that has received everything, if nothing waits for it.
    pub(super) fn cursor(&self) -> Option<Arc<LiveCursor>> {
        let mut state = self.hub.lock();
        if !self.mailbox.is_empty() {
            return None;
        }
        self.hub.cursor(&mut state)
    }
}

#[cfg(test)]
mod tests {
    use chrono::Utc;
    use model::clock::SystemClock;

    use super::*;

    #[test]
    fn when_too_much_waits_every_stream_begins_again() {
        let (hub, _lookups) = Hub::new(SystemClock::shared(), TimeDelta::seconds(10), LiveMetrics::default());
        hub.open(Handled::new(|_| Position::from_u64(1)));
        let registration = hub.register(&[]).unwrap();
        registration.follow(&[Key::Public]).unwrap();
        let author = UserId::new(Utc::now());
        let appear = || {
            let appeared = Appeared {
                author,
                repost_of: None,
                in_reply_to: None,
                tags: Vec::new(),
                public: true,
                position: Some(Position::from_u64(9)),
            };
            let id = PostId::new(Utc::now());
            hub.hear(&Change::Post(id, PostChange::Appeared(Box::new(appeared))));
        };
        for _ in 0..MOST_WAITING {
            appear();
        }
        assert!(
            registration.mailbox.is_empty(),
            "no checkpoint covers them, and none is lost"
        );
        appear();
        assert_eq!(registration.mailbox.first(1).unwrap_err(), Cut::Overflow);
        assert_eq!(hub.lock().pending.len(), 1);
    }
}
