//! One stream of one client. [`super`] says in which order it does what.
//!
//! A step changes the stream only after its last wait, so a step that is given up has changed nothing.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use event_log::position::Position;
use model::ids::{Partition, PostId, UserId, uuid_v7_floor};

use super::cursor::LiveCursor;
use super::event::{Event, What};
use super::hub::{Hub, Registration};
use super::mailbox::{Cut, Item, News};
use super::topic::Topic;
use crate::cursor::Cursor;
use crate::handled::Appearance;
use crate::metrics::{LiveCut, LiveEvent};
use crate::positions::Positions;
use crate::queries::{Belongs, LiveItem, Queries};
use crate::read_model::{InUse, ReadError, ReadModels};
use crate::shown::Candidate;
use crate::since::Since;

/// How many posts are read or sent at a time. So a slow reader holds this much and no more.
const PAGE: usize = 20;
/// A client that has missed more than this begins anew.
const REPLAYED_AT_MOST: usize = 800;

/// What all streams of a process share.
#[derive(Debug)]
pub(crate) struct Live {
    pub(crate) hub: Arc<Hub>,
    pub(crate) queries: Arc<Queries>,
    pub(crate) read_models: Arc<ReadModels>,
    /// After this time without an event, a stream says that it is there.
    pub(crate) heartbeat: Duration,
}

/// Why a stream or its connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ended {
    TokenExpired,
    LoggedOut,
    /// What it shows is deleted, or its reader may not see it any more.
    Gone,
    Draining,
    /// The database could not be read for some time.
    Failed,
}

impl Ended {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Ended::TokenExpired => "the access token has expired",
            Ended::LoggedOut => "the session has ended",
            Ended::Gone => "this can't be seen any more",
            Ended::Draining => "this server stops; come back",
            Ended::Failed => "the views can't be read",
        }
    }
}

#[derive(Debug)]
pub(crate) enum Next {
    Events(Vec<Event>),
    /// Nothing has happened for some time. The client knows everything up to the cursor, if there is one.
    Idle(Option<Arc<LiveCursor>>),
}

#[derive(Debug)]
pub(crate) struct LiveStream {
    live: Arc<Live>,
    topic: Topic,
    viewer: Option<UserId>,
    /// What the client knows. None if it begins with the present.
    known: Option<Arc<LiveCursor>>,
    /// What was sent and the cursor does not cover, by place. It is not sent again, however often the stream begins again.
    overlap: HashMap<Cursor, Option<Appearance>>,
    /// The replay is a second look.
    looks_again: bool,
    phase: Phase,
    /// The pauses between attempts to read, while they fail.
    pauses: Option<ExponentialBackoff>,
}

#[derive(Debug)]
enum Phase {
    Begin,
    Replaying(Box<Following>),
    Live(Box<Following>),
}

/// What a stream follows.
#[derive(Debug)]
struct Following {
    registration: Registration,
    belongs: Belongs,
    /// How many items the replay has sent.
    replayed: usize,
    /// The end of the replay.
    since: Option<Since>,
    /// The replay hid something, perhaps because a row was missing. Once the views have come this far, it is repeated.
    second_look: Option<SecondLook>,
}

impl Following {
    /// Whether the cursor stays where it is, whatever is sent. Before the second look, a later one would say that what was hidden is known.
    /// What notifies somebody is looked up by pages each time, and only their cursors say what was found.
    fn holds_its_cursor(&self) -> bool {
        self.second_look.is_some() || matches!(self.belongs, Belongs::Notifications)
    }
}

#[derive(Debug)]
struct SecondLook {
    positions: Arc<Positions>,
    at: Position,
}

impl SecondLook {
    fn after(read_model: &InUse) -> Self {
        Self {
            positions: read_model.positions.clone(),
            at: read_model.handled.highest(),
        }
    }

    /// Ends when every partition has gone on. The row may be above that, and then it is hidden again, and looked for once more.
    async fn due(&self) {
        let above = Position::from_u64(self.at.as_u64() + 1);
        let required: Vec<(Partition, Position)> = Partition::all().map(|partition| (partition, above)).collect();
        self.positions.reached(&required).await;
    }
}

/// Why a stream does not begin.
#[derive(Debug)]
pub(crate) enum NotOpened {
    /// There is no such thing, or the reader may not see it.
    Gone,
    Read(ReadError),
}

impl From<ReadError> for NotOpened {
    fn from(error: ReadError) -> Self {
        Self::Read(error)
    }
}

impl Live {
    pub(super) async fn take(&self) -> Result<InUse, ReadError> {
        let taken = self.read_models.take_at_once(&[]).await?;
        taken.ok_or_else(|| ReadError::NotReady("the change stream is not open".to_owned()))
    }

    fn cut(&self, why: Cut) {
        let reason = why.as_str();
        self.hub.metrics.cuts.get_or_create(&LiveCut { reason }).inc();
    }

    fn count(&self, events: &[Event]) {
        for event in events {
            let label = LiveEvent {
                event: event.what.as_str(),
            };
            self.hub.metrics.events.get_or_create(&label).inc();
        }
    }
}

fn pauses() -> ExponentialBackoff {
    ExponentialBuilder::new()
        .with_min_delay(Duration::from_millis(100))
        .with_max_delay(Duration::from_secs(5))
        .with_max_times(12)
        .with_jitter()
        .build()
}

impl LiveStream {
    /// Begins a stream, with what the client does not know yet, or with the present.
    pub(crate) async fn open(
        live: Arc<Live>,
        topic: Topic,
        viewer: Option<UserId>,
        after: Option<Since>,
    ) -> Result<Self, NotOpened> {
        let mut stream = Self {
            live,
            topic,
            viewer,
            known: after.map(LiveCursor::of),
            overlap: HashMap::new(),
            looks_again: false,
            phase: Phase::Begin,
            pauses: None,
        };
        while !stream.begin().await? {
            stream.live.hub.opened().await;
        }
        Ok(stream)
    }

    /// What happens next. A call that is given up loses nothing.
    ///
    /// # Errors
    ///
    /// The stream ends.
    pub(crate) async fn next(&mut self) -> Result<Next, Ended> {
        loop {
            let step = match self.phase {
                Phase::Begin => Box::pin(self.begin_again()).await,
                Phase::Replaying(_) => Box::pin(self.replay()).await,
                Phase::Live(_) => self.follow().await,
            };
            match step {
                Ok(Some(next)) => {
                    self.pauses = None;
                    if let Next::Events(events) = &next {
                        self.live.count(events);
                    }
                    return Ok(next);
                }
                Ok(None) => {}
                Err(NotOpened::Gone) => return Err(Ended::Gone),
                Err(NotOpened::Read(error)) => {
                    let Some(pause) = self.pauses.get_or_insert_with(pauses).next() else {
                        tracing::warn!(%error, "a stream ends, because the views can't be read");
                        return Err(Ended::Failed);
                    };
                    tokio::time::sleep(pause).await;
                }
            }
        }
    }

    async fn begin_again(&mut self) -> Result<Option<Next>, NotOpened> {
        let waited = tokio::time::timeout(self.live.heartbeat, self.live.hub.opened()).await;
        if waited.is_err() {
            return Ok(Some(Next::Idle(None)));
        }
        self.begin().await?;
        Ok(None)
    }

    /// The steps 1 to 3. Returns false if no bus is open.
    async fn begin(&mut self) -> Result<bool, NotOpened> {
        let cut_by = self.topic.cut_by(self.viewer);
        let Some(registration) = self.live.hub.register(cut_by.as_slice()) else {
            return Ok(false);
        };
        let read_model = self.live.take().await?;
        let followed = self
            .live
            .queries
            .followed_by(&read_model, &self.topic, self.viewer)
            .await?;
        let Some((belongs, keys)) = followed else {
            return Err(NotOpened::Gone);
        };
        let Some(present) = registration.follow(&keys) else {
            return Ok(false);
        };
        if self.known.is_none() {
            self.known = Some(present);
        }
        self.phase = Phase::Replaying(Box::new(Following {
            registration,
            belongs,
            replayed: 0,
            since: None,
            second_look: None,
        }));
        Ok(true)
    }

    /// One page of the replay.
    async fn replay(&mut self) -> Result<Option<Next>, NotOpened> {
        let (Phase::Replaying(following), Some(known)) = (&mut self.phase, &self.known) else {
            return Ok(None);
        };
        let read_model = self.live.take().await?;
        // The owner may follow somebody by now. What they have posted since is not on this page, but its cursor would cover it.
        if let Err(cut) = following.registration.mailbox.first(0) {
            self.live.cut(cut);
            self.looks_again = false;
            self.phase = Phase::Begin;
            return Ok(None);
        }
        let queries = &self.live.queries;
        let since = known.since.clone();
        let page = queries
            .missed(&read_model, &self.topic, &following.belongs, self.viewer, since, PAGE)
            .await?;
        let mut reached = page.prev.unwrap_or_else(|| known.since.clone());
        if page.ended {
            // The whole list was looked at. What a follow brings in later is no news if it is older than this.
            reached = reached.looked_up_to(PostId::from_uuid(uuid_v7_floor(self.live.queries.clock.now())).into());
        }
        let cursor = LiveCursor::of(reached.clone());
        let mut events = events_of_page(&page.items, &self.overlap, known, &cursor).map_err(failed)?;
        following.replayed += events.len();
        let sent = page.items.iter().map(|item| (item.place(), item.appearance()));
        self.overlap.extend(sent);
        forget_known(&mut self.overlap, &reached);
        if page.hides {
            following.second_look = Some(SecondLook::after(&read_model));
        }
        if following.replayed > REPLAYED_AT_MOST {
            let Some(present) = following.registration.skip() else {
                self.phase = Phase::Begin;
                return Ok(None);
            };
            events = vec![Event::bare(What::Reset, &present)];
            following.second_look = None;
            self.overlap = HashMap::new();
            self.known = Some(present);
            self.go_live();
        } else {
            if page.ended {
                // A second look repeats what was not told, and nothing was missed meanwhile.
                if !std::mem::take(&mut self.looks_again) {
                    events.push(Event::bare(What::Resumed, &cursor));
                }
                following.since = Some(reached);
                self.go_live();
            }
            self.known = Some(cursor);
        }
        Ok((!events.is_empty()).then_some(Next::Events(events)))
    }

    fn go_live(&mut self) {
        self.phase = match std::mem::replace(&mut self.phase, Phase::Begin) {
            Phase::Replaying(following) => Phase::Live(following),
            other => other,
        };
    }

    /// What waits in the mailbox, or else the next heartbeat.
    async fn follow(&mut self) -> Result<Option<Next>, NotOpened> {
        let Phase::Live(following) = &mut self.phase else {
            return Ok(None);
        };
        let items = match following.registration.mailbox.first(PAGE) {
            Ok(items) => items,
            Err(cut) => {
                self.live.cut(cut);
                self.looks_again = false;
                self.phase = Phase::Begin;
                return Ok(None);
            }
        };
        if !items.is_empty() {
            return Box::pin(self.events_of(&items)).await;
        }
        let second_look = async {
            match &following.second_look {
                Some(look) => Box::pin(look.due()).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = following.registration.mailbox.filled() => Ok(None),
            () = second_look => {
                self.looks_again = true;
                self.phase = Phase::Begin;
                Ok(None)
            }
            () = tokio::time::sleep(self.live.heartbeat) => {
                if !following.holds_its_cursor()
                    && let Some(cursor) = following.registration.cursor()
                {
                    self.known = Some(cursor);
                }
                Ok(Some(Next::Idle(self.known.clone())))
            }
        }
    }

    async fn events_of(&mut self, items: &[Arc<Item>]) -> Result<Option<Next>, NotOpened> {
        let (Phase::Live(following), Some(known)) = (&mut self.phase, &self.known) else {
            return Ok(None);
        };
        let read_model = self.live.take().await?;
        let queries = &self.live.queries;
        let (events, reached) = if matches!(following.belongs, Belongs::Notifications) {
            let since = known.since.clone();
            let page = queries
                .missed(&read_model, &self.topic, &following.belongs, self.viewer, since, PAGE)
                .await?;
            let cursor = LiveCursor::of(page.prev.unwrap_or_else(|| known.since.clone()));
            let events = events_of_page(&page.items, &self.overlap, known, &cursor).map_err(failed)?;
            self.overlap
                .extend(page.items.iter().map(|item| (item.place(), item.appearance())));
            if page.hides {
                following.second_look = Some(SecondLook::after(&read_model));
            }
            if page.ended {
                following.registration.mailbox.remove(items.len());
            }
            (events, cursor)
        } else {
            let candidates: Vec<Candidate> = items.iter().filter_map(|item| item.news.candidate()).collect();
            let shown = queries
                .seen_in(&read_model, &following.belongs, self.viewer, &candidates)
                .await?;
            let mut shown = shown.into_iter();
            let mut events = Vec::with_capacity(items.len());
            let mut sent = Vec::new();
            let held = following.holds_its_cursor();
            for item in items {
                let seen = item.news.candidate().and_then(|_| shown.next().flatten());
                let cursor = if held { known } else { &item.cursor };
                let event = match (item.news, seen) {
                    (News::Post(candidate), _) if is_known(following.since.as_ref(), &self.overlap, &candidate) => {
                        continue;
                    }
                    (News::Post(candidate), Some(post)) => {
                        self.live.hub.pushed(candidate.id);
                        sent.push((candidate.place(), candidate.appearance()));
                        Event::new(What::Post, cursor, &post)
                    }
                    (News::Changed { .. }, Some(post)) => Event::new(What::Edit, cursor, &post),
                    (News::Counts(candidate), Some(post)) => Event::counts(candidate.id, post.counts(), cursor),
                    (
                        News::Changed {
                            candidate,
                            hidden: true,
                        }
                        | News::Untagged(candidate),
                        None,
                    ) => Event::deleted(candidate.id, cursor),
                    (News::Deleted(id), _) => Event::deleted(id, cursor),
                    (News::Post(_) | News::Changed { .. } | News::Counts(_), None)
                    | (News::Untagged(_), Some(_))
                    | (News::Notified, _) => continue,
                };
                events.push(event.map_err(failed)?);
            }
            following.registration.mailbox.remove(items.len());
            self.overlap.extend(sent);
            let last = items.last().filter(|_| !held).map_or(known, |item| &item.cursor);
            (events, last.clone())
        };
        let since = &reached.since;
        forget_known(&mut self.overlap, since);
        self.known = Some(reached);
        Ok((!events.is_empty()).then_some(Next::Events(events)))
    }
}

/// The events of a page, without what was sent before. In its middle, a client that leaves is sent the page again.
fn events_of_page(
    items: &[LiveItem],
    sent: &HashMap<Cursor, Option<Appearance>>,
    before: &Arc<LiveCursor>,
    after: &Arc<LiveCursor>,
) -> Result<Vec<Event>, serde_json::Error> {
    let new: Vec<&LiveItem> = items.iter().filter(|item| !sent.contains_key(&item.place())).collect();
    let last = new.len().saturating_sub(1);
    let events = new.into_iter().enumerate().map(|(at, item)| {
        let cursor = if at == last { after } else { before };
        Event::new(item.what(), cursor, item)
    });
    events.collect()
}

/// What the cursor covers does not come again.
fn forget_known(sent: &mut HashMap<Cursor, Option<Appearance>>, since: &Since) {
    sent.retain(|&place, appearance| place > since.settled && !since.knows(place, *appearance));
}

/// Whether the replay has sent a post, or has decided not to, or it was sent since.
fn is_known(replayed: Option<&Since>, sent: &HashMap<Cursor, Option<Appearance>>, candidate: &Candidate) -> bool {
    let replayed = replayed.is_some_and(|since| since.knows(candidate.place(), candidate.appearance()));
    replayed || sent.contains_key(&candidate.place())
}

/// What we serialize is always JSON.
fn failed(error: serde_json::Error) -> NotOpened {
    tracing::error!(%error, "an event can't be written");
    NotOpened::Gone
}
