//! `notifications`: what each user is told of. With it: which of them belong together (`notification_groups`), which the user does not want to
//! see any more (`dismissed_notifications`), and how far the user has read (`notification_markers`).
//!
//! A cause makes one row, however often it is undone and done again: a like, a repost or a follow is a cause, and so is a post for each user
//! whom it tells. The row changes in the transaction of the cause's own row (of the relation or the post), and only if that row takes the
//! event. So an undone cause takes its notification back, and a late version restores nothing.
//!
//! The place of a row is the id of the first event that told the user. Each such event lowers it, also a late one. So the place is the same in
//! whatever order events arrive, and remains when the cause is undone: whoever likes, unlikes and likes again is seen once, where they were.
//! A row that tells nothing now has a place and nothing else.
//!
//! What stands in which group follows from the rows: a mention, a reply, a quote and an edit are groups of one, and the groups without a post are
//! few, so their newest rows are looked up. Only the groups of likes and reposts have rows, which name the newest event that was told. The first
//! version of such a stream tells, so each later one that tells does so again, and does not count. So every group stands where its newest
//! notification is placed: nothing is new because it is edited, or undone and done again.
//!
//! Only who has reposted a post and is told of an edit has a row that is no more than a hint: see [`super::edits`].
//!
//! A row says that somebody is told. Whether they see it is decided when it is read.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashSet};

use bson::spec::BinarySubtype;
use bson::{Binary, Bson, Document, doc};
use event_log::position::Position;
use event_log::subscription::Delivery;
use futures_util::TryStreamExt;
use futures_util::future::try_join_all;
use model::events::{Event, Post, State};
use model::ids::{EventId, PostId, UserId};
use model::values::NotificationKind;
use mongodb::error::Error;
use mongodb::{Collection, Database};
use serde::Deserialize;

use super::bulk::{self, Update};
use super::range::Range;
use super::rows::Writes;

pub const NAME: &str = "notifications";
pub const GROUPS: &str = "notification_groups";
pub const DISMISSED: &str = "dismissed_notifications";
pub const MARKERS: &str = "notification_markers";

/// Kinds with one notification to a group: the post says it once to each user, or was edited once after the repost. So a row is a group.
const ALONE: [NotificationKind; 4] = [
    NotificationKind::Mention,
    NotificationKind::Reply,
    NotificationKind::Quote,
    NotificationKind::Edit,
];
/// Kinds with one group to a user. It stands where its newest row is.
const WITHOUT_POST: [NotificationKind; 3] = [
    NotificationKind::Follow,
    NotificationKind::Request,
    NotificationKind::Accepted,
];

/// Whether a group of this kind has a row of its own. It tells of one post, what any number of users do with it.
fn has_group_row(kind: NotificationKind) -> bool {
    matches!(kind, NotificationKind::Like | NotificationKind::Repost)
}

/// Every field of a row but its `_id` and its place.
const FIELDS: [&str; 6] = ["owner", "kind", "user", "post", "group", "position"];

/// A notification of a user.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub struct Notification {
    /// The first event that told the user. Lists are ordered by it, and use it as their cursor.
    pub place: EventId,
    pub kind: NotificationKind,
    /// Who did it.
    pub user: UserId,
    /// The post that was liked or reposted, or that says something to the owner.
    #[serde(default)]
    pub post: Option<PostId>,
    /// The position of the cause's last event in the commit order. Unknown if a scan has found the event.
    #[serde(default)]
    pub position: Option<Position>,
    /// Only of an edit: the owner's repost, after which the post was edited. The row says nothing unless that is the owner's repost now.
    #[serde(default)]
    pub repost: Option<PostId>,
}

/// A post that an owner has reposted was edited after that.
#[derive(Debug, Clone, Copy)]
pub(super) struct Edited {
    pub(super) owner: UserId,
    pub(super) author: UserId,
    pub(super) post: PostId,
    pub(super) repost: PostId,
    /// The version of the relation between the owner and the post.
    pub(super) version: i64,
    /// The first edit after the repost.
    pub(super) edit: EventId,
}

/// Notifications of one kind that have to do with the same post, or with none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub struct NotificationGroup {
    pub kind: NotificationKind,
    #[serde(default)]
    pub post: Option<PostId>,
    /// The place of the newest of them. If users like or repost a post, then of all that ever were, so what is there may be undone.
    pub newest: EventId,
    /// If there can be no more than one of them, that one.
    #[serde(skip)]
    pub only: Option<Notification>,
}

/// That somebody did something which concerns somebody else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Told {
    pub(super) owner: UserId,
    pub(super) kind: NotificationKind,
    pub(super) user: UserId,
    pub(super) post: Option<PostId>,
}

impl Told {
    /// owner (16 bytes) ‖ letter (1) ‖ what makes the cause one: the post that tells, or who did it and with which post.
    fn row(&self) -> Vec<u8> {
        let (letter, user) = match self.kind {
            // One post tells one user once, whatever it is to them.
            NotificationKind::Mention | NotificationKind::Reply | NotificationKind::Quote => (b'P', None),
            kind => (letter(kind), Some(self.user)),
        };
        let user = user.as_ref().map_or(&[][..], |user| user.as_bytes());
        let post = self.post.as_ref().map_or(&[][..], |post| post.as_bytes());
        [&self.owner.as_bytes()[..], &[letter], user, post].concat()
    }

    fn group(&self) -> Vec<u8> {
        group_id(self.owner, self.kind, self.post)
    }

    /// The write of the group.
    fn raise(&self, newest: EventId) -> Update {
        let mut group = doc! { "owner": self.owner, "kind": self.kind.as_str() };
        group.extend(self.post.map(|post| ("post".to_owned(), post.into())));
        let update = doc! { "$max": { "newest": newest }, "$setOnInsert": group };
        Update::upsert(doc! { "_id": binary(self.group()) }, update)
    }
}

fn letter(kind: NotificationKind) -> u8 {
    match kind {
        NotificationKind::Follow => b'F',
        NotificationKind::Request => b'W',
        NotificationKind::Accepted => b'A',
        NotificationKind::Mention => b'M',
        NotificationKind::Reply => b'C',
        NotificationKind::Like => b'L',
        NotificationKind::Repost => b'R',
        NotificationKind::Quote => b'Q',
        NotificationKind::Edit => b'E',
    }
}

/// owner (16 bytes) ‖ kind (1) ‖ post (16), if there is one.
fn group_id(owner: UserId, kind: NotificationKind, post: Option<PostId>) -> Vec<u8> {
    let post = post.as_ref().map_or(&[][..], |post| post.as_bytes());
    [&owner.as_bytes()[..], &[letter(kind)], post].concat()
}

fn binary(bytes: Vec<u8>) -> Binary {
    Binary {
        subtype: BinarySubtype::Generic,
        bytes,
    }
}

/// Whom a post tells something: the author whom it answers, the author whom it quotes, and those whom it mentions. Each is told once, of the
/// first that applies.
pub(super) fn told_by(post: &Post) -> BTreeMap<UserId, NotificationKind> {
    let mut told = BTreeMap::new();
    let Some(content) = post.content.as_ref().filter(|_| !post.deleted) else {
        return told;
    };
    let answered = post.in_reply_to.map(|parent| (parent.author, NotificationKind::Reply));
    let quoted = post.quote_of.filter(|quoted| !quoted.detached);
    let quoted = quoted.map(|quoted| (quoted.author, NotificationKind::Quote));
    let mentioned = content.entities.mentioned();
    let mentioned = mentioned.map(|user| (user, NotificationKind::Mention));
    for (user, kind) in answered.into_iter().chain(quoted).chain(mentioned) {
        if user != post.author {
            told.entry(user).or_insert(kind);
        }
    }
    told
}

/// The same users, or a few more, counted without a look at who they are.
pub(super) fn most_told_by(post: &Post) -> usize {
    let content = post.content.as_ref().filter(|_| !post.deleted);
    content.map_or(0, |content| {
        usize::from(post.in_reply_to.is_some()) + usize::from(post.quote_of.is_some()) + content.entities.mentions.len()
    })
}

/// What the events of a transaction change.
#[derive(Debug, Default)]
pub(super) struct Notices {
    rows: BTreeMap<Vec<u8>, Notice>,
    groups: BTreeMap<Vec<u8>, (Told, EventId)>,
}

#[derive(Debug, Default)]
struct Notice {
    /// The lowest of the events that tell the owner.
    place: Option<EventId>,
    /// What the row says, or that it says nothing, if that changes.
    state: Option<Option<(Told, Option<Position>)>>,
}

impl Notices {
    /// An event tells the owner something, whether or not a newer one has taken it back. `again`: the same was told and taken back before, so
    /// the row of the group does not rise.
    pub(super) fn tell(&mut self, told: Told, event: EventId, again: bool) {
        let place = &mut self.rows.entry(told.row()).or_default().place;
        *place = Some(place.map_or(event, |place| place.min(event)));
        if !again && has_group_row(told.kind) {
            let (_, newest) = self.groups.entry(told.group()).or_insert((told, event));
            *newest = event.max(*newest);
        }
    }

    /// The cause's last event tells this.
    pub(super) fn holds(&mut self, told: Told, position: Option<Position>) {
        self.rows.entry(told.row()).or_default().state = Some(Some((told, position)));
    }

    /// The cause's last event tells it no more.
    pub(super) fn ends(&mut self, told: Told) {
        self.rows.entry(told.row()).or_default().state = Some(None);
    }

    /// The writes of the rows and of the groups.
    pub(super) fn into_writes(self) -> [Writes; 2] {
        let groups = self.groups.into_values().map(|(told, newest)| told.raise(newest));
        let rows = self.rows.into_iter().map(|(id, notice)| notice.update(id));
        [rows.collect(), groups.collect()].map(|updates| Writes {
            updates,
            ..Writes::default()
        })
    }
}

impl Notice {
    fn update(self, id: Vec<u8>) -> Update {
        let mut update = Document::new();
        if let Some(place) = self.place {
            update.insert("$min", doc! { "place": place });
        }
        if let Some(state) = self.state {
            let mut row = Document::new();
            if let Some((told, position)) = state {
                row.extend(doc! {
                    "owner": told.owner,
                    "kind": told.kind.as_str(),
                    "user": told.user,
                });
                if !ALONE.contains(&told.kind) {
                    row.insert("group", binary(told.group()));
                }
                row.extend(told.post.map(|post| ("post".to_owned(), post.into())));
                row.extend(position.map(|position| ("position".to_owned(), position.into())));
            }
            let gone = FIELDS.into_iter().filter(|field| !row.contains_key(field));
            let gone: Document = gone
                .map(|field| (field.to_owned(), Bson::String(String::new())))
                .collect();
            if !row.is_empty() {
                update.insert("$set", row);
            }
            if !gone.is_empty() {
                update.insert("$unset", gone);
            }
        }
        let id = doc! { "_id": binary(id) };
        match self.place {
            Some(_) => Update::upsert(id, update),
            // There is nothing to take back unless an earlier event made the row.
            None => Update::existing(id, update),
        }
    }
}

/// Reads the collections, and writes what no other row's transaction writes.
#[derive(Debug, Clone)]
pub struct Notifications {
    database: Database,
    rows: Collection<Notification>,
    groups: Collection<NotificationGroup>,
    dismissed: Collection<DismissedRow>,
    markers: Collection<Marker>,
}

#[derive(Debug, Deserialize)]
struct DismissedRow {
    #[serde(rename = "_id")]
    id: Binary,
}

#[derive(Debug, Deserialize)]
struct Marker {
    up_to: EventId,
}

impl Notifications {
    pub(super) fn new(database: &Database, named: impl Fn(&str) -> String) -> Self {
        Self {
            database: database.clone(),
            rows: super::collection(database, &named(NAME)),
            groups: super::collection(database, &named(GROUPS)),
            dismissed: super::collection(database, &named(DISMISSED)),
            markers: super::collection(database, &named(MARKERS)),
        }
    }

    /// The names of all collections.
    pub fn names(&self) -> [&str; 4] {
        [
            self.rows.name(),
            self.groups.name(),
            self.dismissed.name(),
            self.markers.name(),
        ]
    }

    pub(super) async fn ensure(&self) -> Result<(), Error> {
        for name in self.names() {
            super::create_plain(&self.database, name).await?;
        }
        // Only rows that tell something have these fields. The stand-in for MongoDB uses a lower bound only if the index ascends.
        let partial = |field: &str| Some(doc! { field: { "$exists": true } });
        self.rows
            .create_indexes([
                super::index("owner", doc! { "owner": 1, "kind": 1, "place": -1 }, partial("owner")),
                super::index("group", doc! { "group": 1, "place": 1 }, partial("group")),
            ])
            .await?;
        let of_owner = super::index("owner", doc! { "owner": 1, "newest": -1 }, None);
        self.groups.create_index(of_owner).await?;
        Ok(())
    }

    /// The notifications of these kinds, newest first.
    pub async fn of_owner(
        &self,
        owner: UserId,
        kinds: &[NotificationKind],
        range: Range<EventId>,
    ) -> Result<Vec<Notification>, Error> {
        let kinds: Vec<&str> = kinds.iter().map(|kind| kind.as_str()).collect();
        // With a list of kinds, the index is read once for each, in order, and merged.
        self.list(doc! { "owner": owner, "kind": { "$in": kinds } }, range)
            .await
    }

    /// The notifications of a group that can have several, newest first.
    pub async fn of_group(
        &self,
        owner: UserId,
        kind: NotificationKind,
        post: Option<PostId>,
        range: Range<EventId>,
    ) -> Result<Vec<Notification>, Error> {
        self.list(doc! { "group": binary(group_id(owner, kind, post)) }, range)
            .await
    }

    async fn list(&self, mut filter: Document, range: Range<EventId>) -> Result<Vec<Notification>, Error> {
        range.bound(&mut filter, "place");
        let sort = doc! { "place": range.direction() };
        let found = self.rows.find(filter).sort(sort).limit(i64::from(range.limit));
        let found = found.batch_size(range.limit.saturating_add(1)).await?;
        Ok(range.newest_first(found.try_collect().await?))
    }

    /// The groups of a user, newest first. Some may have nothing to tell any more.
    pub async fn groups(&self, owner: UserId, range: Range<EventId>) -> Result<Vec<NotificationGroup>, Error> {
        let (of_posts, alone, without_post) = futures_util::try_join!(
            self.group_rows(owner, range),
            self.of_owner(owner, &ALONE, range),
            try_join_all(WITHOUT_POST.map(|kind| self.of_group(owner, kind, None, Range::newest(1)))),
        )?;
        let without_post = without_post.into_iter().flatten().filter(|it| range.has(it.place));
        let without_post = without_post.map(|it| NotificationGroup {
            kind: it.kind,
            post: None,
            newest: it.place,
            only: None,
        });
        let alone = alone.into_iter().map(|it| NotificationGroup {
            kind: it.kind,
            post: it.post,
            newest: it.place,
            only: Some(it),
        });
        let mut groups: Vec<NotificationGroup> = of_posts.into_iter().chain(alone).chain(without_post).collect();
        groups.sort_unstable_by_key(|group| Reverse(group.newest));
        Ok(range.first_of(groups))
    }

    async fn group_rows(&self, owner: UserId, range: Range<EventId>) -> Result<Vec<NotificationGroup>, Error> {
        let mut filter = doc! { "owner": owner };
        range.bound(&mut filter, "newest");
        let sort = doc! { "newest": range.direction() };
        let found = self.groups.find(filter).sort(sort).limit(i64::from(range.limit));
        found.await?.try_collect().await
    }

    /// Those of these notifications that the owner does not want to see any more.
    pub async fn dismissed(&self, owner: UserId, places: &[EventId]) -> Result<HashSet<EventId>, Error> {
        if places.is_empty() {
            return Ok(HashSet::new());
        }
        let ids: Vec<Bson> = places.iter().map(|&place| dismissed_id(owner, place).into()).collect();
        let found = self.dismissed.find(doc! { "_id": { "$in": ids } });
        let found: Vec<DismissedRow> = found
            .batch_size(super::one_batch(places.len()))
            .await?
            .try_collect()
            .await?;
        let places = found.iter().filter_map(|row| row.id.bytes.get(16..)?.try_into().ok());
        Ok(places.map(EventId::from_bytes).collect())
    }

    /// The newest notification that a user has read.
    pub async fn read_up_to(&self, user: UserId) -> Result<Option<EventId>, Error> {
        let marker = self.markers.find_one(doc! { "_id": user }).await?;
        Ok(marker.map(|marker| marker.up_to))
    }

    /// Writes what those who reposted are told of edits. The first write makes a row if it is missing. The second takes a later repost, and the third
    /// an edit that is earlier: so every order gives the same.
    pub(super) async fn tell_of_edits(&self, all: &[Edited]) -> Result<(), Error> {
        let (mut stubs, mut later, mut earlier) = (Vec::new(), Vec::new(), Vec::new());
        for it in all {
            let told = Told {
                owner: it.owner,
                kind: NotificationKind::Edit,
                user: it.author,
                post: Some(it.post),
            };
            let id = binary(told.row());
            let stub = doc! { "$setOnInsert": { "version": 0_i64 } };
            stubs.push(Update::upsert(doc! { "_id": &id }, stub));
            let row = doc! {
                "owner": told.owner,
                "kind": told.kind.as_str(),
                "user": told.user,
                "post": it.post,
                "repost": it.repost,
                "version": it.version,
                "place": it.edit,
            };
            let older = doc! { "_id": &id, "version": { "$lt": it.version } };
            later.push(Update::existing(older, doc! { "$set": row }));
            let same = doc! { "_id": &id, "version": it.version };
            earlier.push(Update::existing(same, doc! { "$min": { "place": it.edit } }));
        }
        if all.is_empty() {
            return Ok(());
        }
        for updates in [stubs, later, earlier] {
            bulk::write(&self.database, self.rows.name(), updates).await?;
        }
        Ok(())
    }

    /// Applies the markers and the dismissals among these events to the rows.
    pub(super) async fn apply(&self, batch: &[Delivery]) -> Result<(), Error> {
        let (mut markers, mut dismissed) = (Vec::new(), Vec::new());
        for delivery in batch {
            match delivery.event.state() {
                State::NotificationsRead(read) => {
                    // A marker only rises, whatever the versions say.
                    let rise = doc! { "$max": { "up_to": read.up_to } };
                    markers.push(Update::upsert(doc! { "_id": read.user }, rise));
                }
                State::NotificationDismissed(it) => {
                    let row = doc! { "_id": dismissed_id(it.user, it.notification) };
                    dismissed.push(Update::upsert(row, doc! { "$setOnInsert": { "owner": it.user } }));
                }
                _ => {}
            }
        }
        if !markers.is_empty() {
            bulk::write(&self.database, self.markers.name(), markers).await?;
        }
        if !dismissed.is_empty() {
            bulk::write(&self.database, self.dismissed.name(), dismissed).await?;
        }
        Ok(())
    }
}

/// owner (16 bytes) ‖ place (16).
fn dismissed_id(owner: UserId, place: EventId) -> Binary {
    binary([*owner.as_bytes(), *place.as_bytes()].concat())
}

/// What the event of a follow tells, and whether the follow's last event still tells it.
pub(super) fn told_by_follow(follow: &model::events::Follow, event: &Event) -> [(Told, bool); 3] {
    let told = |owner, kind, user| Told {
        owner,
        kind,
        user,
        post: None,
    };
    let (follower, followee) = (follow.follower, follow.followee);
    let accepted = matches!(event, Event::FollowAccepted(_));
    [
        (told(followee, NotificationKind::Follow, follower), follow.active),
        (told(followee, NotificationKind::Request, follower), follow.requested),
        (told(follower, NotificationKind::Accepted, followee), accepted),
    ]
}
