//! Decides what events change in rows, from the versions that a transaction has read.
//!
//! Pure. A row takes the content of the highest version of its stream. If the row counts elsewhere (a like for its post, a follow for two
//! profiles), those counts change in the same transaction, when the row becomes live or stops being live.

mod known;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use bson::{Bson, Document, doc};
use model::events::{Block, Event, Follow, Like, Mute, Post, PostContent, Repost, State, User};
use model::ids::{PostId, UserId};
use model::tags::TagKey;
use model::values::{NotificationKind, Visibility};

pub(super) use self::known::{Keys, Known, Reach, Recorded, RowState};
use super::bulk::Update;
use super::notifications::{self, Notices, Told};
use super::post_history::history_id;
use super::posts::{MENTIONED, QUOTING, WAS};
use super::relations::RelationId;
use super::tagged;

/// New content and changed counts of one row.
#[derive(Debug, Default, Clone, PartialEq)]
pub(super) struct Change {
    /// Every field of the row except its counts, and the fields that the row no longer has.
    content: Option<(Document, Vec<&'static str>)>,
    counts: BTreeMap<&'static str, i64>,
    /// Only for a profile: see [`Reach::posted`].
    posted: bool,
}

impl Change {
    /// Adds the write of this row. If the transaction has not found the row, it is inserted. That costs half as much as an upsert.
    fn write(self, id: impl Into<Bson>, exists: bool, writes: &mut Writes) {
        let counts: BTreeMap<&str, i64> = self.counts.into_iter().filter(|(_, by)| *by != 0).collect();
        match self.content {
            Some((content, _)) if !exists => {
                let mut row = doc! { "_id": id.into() };
                row.extend(content);
                if self.posted {
                    row.insert(POSTED, true);
                }
                let mut nested = Document::new();
                for (field, by) in counts {
                    match field.split_once('.') {
                        Some((_, count)) => nested.insert(count, by),
                        None => row.insert(field, by),
                    };
                }
                if !nested.is_empty() {
                    row.insert(COUNTS, nested);
                }
                writes.inserts.push(row);
            }
            content => writes.updates.extend(Self::update(id, content, counts, self.posted)),
        }
    }

    fn update(
        id: impl Into<Bson>,
        content: Option<(Document, Vec<&'static str>)>,
        counts: BTreeMap<&str, i64>,
        posted: bool,
    ) -> Option<Update> {
        let mut update = Document::new();
        let counts: Document = counts
            .into_iter()
            .map(|(field, by)| (field.to_owned(), Bson::Int64(by)))
            .collect();
        match content {
            Some((set, unset)) => {
                update.insert("$set", set);
                if !unset.is_empty() {
                    let unset: Document = unset
                        .into_iter()
                        .map(|field| (field.to_owned(), Bson::String(String::new())))
                        .collect();
                    update.insert("$unset", unset);
                }
            }
            None if counts.is_empty() && !posted => return None,
            // A count may arrive before its target. Then it goes to a stub, which readers don't see.
            None => {
                update.insert("$setOnInsert", doc! { "version": 0_i64, "live": false });
            }
        }
        if !counts.is_empty() {
            update.insert("$inc", counts);
        }
        if posted {
            let set = update.entry("$set").or_insert_with(|| Document::new().into());
            if let Bson::Document(set) = set {
                set.insert(POSTED, true);
            }
        }
        Some(Update::upsert(doc! { "_id": id.into() }, update))
    }
}

/// A text that a post had.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct HistoryRow {
    pub(super) fields: Document,
    /// The event is older than the post's row, so that row is not written with it: see [`Changes::touch`].
    pub(super) late: bool,
}

/// The field with the counts of a row, as in [`Change::counts`].
const COUNTS: &str = "counts";
/// The field with the position of the event from which a live row comes.
const POSITION: &str = "position";
const AUTHOR: &str = "author";
const POSTED: &str = "posted";
/// What moderators have done. Other rows don't have these fields.
const HIDDEN: &str = "hidden";
const SUSPENDED: &str = "suspended";
/// Fields of relations.
const REPOST: &str = "repost";
const REQUESTED: &str = "requested";
const UNTIL: &str = "until";
const NOTIFICATIONS: &str = "notifications";
/// The users whom a post tells something: see [`notifications`].
const TOLD: &str = "told";
const FOLLOWERS: &str = "counts.followers";

/// The writes to one collection, in the order of the rows' ids.
#[derive(Debug, Default)]
pub(super) struct Writes {
    pub(super) inserts: Vec<Document>,
    pub(super) updates: Vec<Update>,
    /// The ids of rows that are removed.
    pub(super) removals: Vec<Bson>,
}

/// The writes to all collections.
#[derive(Debug, Default)]
pub(super) struct RowWrites {
    pub(super) profiles: Writes,
    pub(super) posts: Writes,
    pub(super) relations: Writes,
    pub(super) history: Writes,
    pub(super) tagged: Writes,
    pub(super) notifications: Writes,
    pub(super) groups: Writes,
    pub(super) forgotten: BTreeSet<PostId>,
}

/// The changes that events make.
#[derive(Debug, Default)]
pub(super) struct Changes {
    known: Known,
    profiles: BTreeMap<UserId, Change>,
    posts: BTreeMap<PostId, Change>,
    relations: BTreeMap<RelationId, Change>,
    /// The author and the tags of each post that takes new content.
    tags: BTreeMap<PostId, (UserId, BTreeSet<TagKey>)>,
    notices: Notices,
    pub(super) history: BTreeMap<(PostId, i64), HistoryRow>,
    /// Posts whose history is removed with them.
    pub(super) forgotten: BTreeSet<PostId>,
    /// Rows that were newer than their event.
    pub(super) refused: u64,
}

impl Changes {
    /// Applies the events to the rows, one after the other.
    pub(super) fn decide<'a>(
        known: Known,
        events: impl Iterator<Item = &'a Recorded>,
    ) -> Result<Self, bson::error::Error> {
        let mut changes = Changes {
            known,
            ..Changes::default()
        };
        for recorded in events {
            changes.take(recorded)?;
        }
        Ok(changes)
    }

    /// How accounts reach their followers once this is committed.
    pub(super) fn reaches(&self) -> HashMap<UserId, Reach> {
        let mut reaches = self.known.reaches.clone();
        for (&user, change) in &self.profiles {
            let reach = reaches.entry(user).or_default();
            reach.followers += change.counts.get(FOLLOWERS).copied().unwrap_or(0);
            reach.posted |= change.posted;
        }
        reaches
    }

    /// Makes a late history row conflict with a deletion that happens at the same time. Both write the post's row, so the database commits
    /// only one of the two transactions.
    pub(super) fn touch(&mut self, post: PostId) {
        *self.posts.entry(post).or_default().counts.entry("touches").or_default() += 1;
    }

    pub(super) fn into_writes(self) -> RowWrites {
        let Changes {
            known,
            profiles,
            posts,
            relations,
            tags,
            notices,
            history,
            forgotten,
            ..
        } = self;
        let exists = |state: Option<&RowState>| state.is_some_and(|state| state.exists);
        let [notifications, groups] = notices.into_writes();
        let mut writes = RowWrites {
            forgotten,
            notifications,
            groups,
            ..RowWrites::default()
        };
        for (id, change) in profiles {
            // The transaction has not read a profile that is only counted on.
            change.write(id, exists(known.profiles.get(&id)), &mut writes.profiles);
        }
        for (id, change) in posts {
            change.write(id, exists(known.posts.get(&id)), &mut writes.posts);
        }
        for (id, change) in relations {
            change.write(id, exists(known.relations.get(&id)), &mut writes.relations);
        }
        for (post, (author, tags)) in tags {
            let former = known.tags.get(&post).unwrap_or(const { &BTreeSet::new() });
            tagged::change(post, author, [former, &tags], TagKey::prefix, &mut writes.tagged);
        }
        for ((post, version), row) in history {
            let mut document = doc! { "_id": history_id(post, version) };
            document.extend(row.fields);
            writes.history.inserts.push(document);
        }
        writes
    }

    fn take(&mut self, recorded: &Recorded) -> Result<(), bson::error::Error> {
        match recorded.event.state() {
            State::User(user) => self.user(user, recorded.version),
            State::Post(post) => return self.post(post, recorded),
            State::Follow(follow) => self.follow(follow, recorded),
            State::Like(like) => self.like(like, recorded),
            State::Repost(repost) => self.repost(repost, recorded),
            State::Block(block) => self.block(block, recorded),
            State::Mute(mute) => self.mute(mute, recorded),
            // The rows of all other states count for nothing, so the modules of their views write them.
            _ => {}
        }
        Ok(())
    }

    fn user(&mut self, user: &User, version: i64) {
        let content = match (&user.display_name, &user.bio) {
            (Some(display_name), Some(bio)) if !user.deleted => Some({
                let mut row = doc! {
                    "handle": user.handle.as_str(),
                    "display_name": display_name,
                    "bio": bio,
                    "fields": user
                        .fields
                        .iter()
                        .map(|field| doc! { "name": &field.name, "value": &field.value })
                        .collect::<Vec<_>>(),
                    "created_at": bson::DateTime::from_chrono(user.created_at),
                    "protected": user.protected,
                };
                if user.is_suspended() {
                    row.insert(SUSPENDED, true);
                }
                row
            }),
            // The user is deleted, or a deletion has redacted this earlier event.
            _ => None,
        };
        let state = self.known.profiles.entry(user.id).or_default();
        if pass(state, version, content.is_some(), &mut self.refused).is_some() {
            let change = self.profiles.entry(user.id).or_default();
            change.content = Some(content_of(
                version,
                content,
                &[
                    "handle",
                    "display_name",
                    "bio",
                    "fields",
                    "created_at",
                    "protected",
                    SUSPENDED,
                ],
            ));
        }
    }

    fn post(&mut self, post: &Post, recorded: &Recorded) -> Result<(), bson::error::Error> {
        let version = recorded.version;
        let content = post.content.as_ref().filter(|_| !post.deleted);
        let entities = content
            .map(|content| bson::serialize_to_bson(&content.entities))
            .transpose()?;
        let words = content
            .zip(entities)
            .map(|(content, entities)| (content, words_of(content, entities)));
        // What others do with the post changes no text.
        let says = matches!(recorded.event, Event::PostCreated(_) | Event::PostEdited(_));
        let history = words.clone().filter(|_| says).map(|(_, mut row)| {
            row.insert("post", post.id);
            row.insert("version", version);
            let at = post.edited_at.unwrap_or(post.created_at);
            row.insert("at", bson::DateTime::from_chrono(at));
            row
        });
        let tags = tagged::tags_of(post);
        let told = notifications::told_by(post);
        let row = words.map(|(content, words)| {
            let mut row = doc! {
                AUTHOR: post.author,
                "visibility": visibility(post.visibility),
                "created_at": bson::DateTime::from_chrono(post.created_at),
            };
            if let Some(edited_at) = post.edited_at {
                row.insert("edited_at", bson::DateTime::from_chrono(edited_at));
            }
            if let Some(parent) = post.in_reply_to {
                row.insert("in_reply_to", doc! { "post": parent.post, "author": parent.author });
            }
            if let Some(quote) = post.quote_of {
                row.insert("quote_of", doc! { "post": quote.post, "author": quote.author });
            }
            if let Some(quoted) = post.quoted() {
                row.insert(QUOTING, quoted);
            }
            if post.is_hidden() {
                row.insert(HIDDEN, true);
            }
            if post.visibility == Visibility::Public {
                row.insert("public", true);
            }
            let mentioned: BTreeSet<UserId> = content.entities.mentioned().collect();
            if !post.visibility.is_open() && !mentioned.is_empty() {
                row.insert(MENTIONED, mentioned.into_iter().map(Bson::from).collect::<Vec<_>>());
            }
            if !tags.is_empty() {
                let tags: Vec<&str> = tags.iter().map(TagKey::as_str).collect();
                row.insert("tags", tags);
            }
            if !told.is_empty() {
                row.insert(TOLD, told.keys().map(|&user| user.into()).collect::<Vec<Bson>>());
            }
            row.extend(words);
            row
        });
        let quoted = post.quoted().filter(|_| content.is_some());
        let mut was = doc! { AUTHOR: post.author };
        was.extend(
            post.in_reply_to
                .map(|parent| ("in_reply_to".to_owned(), parent.post.into())),
        );
        if post.visibility == Visibility::Public {
            was.insert("public", true);
        }
        let passed = self.post_row(post.id, post.author, was, recorded, row);
        if passed.is_some() {
            self.tags.insert(post.id, (post.author, tags));
        }
        self.tell_of_post(post, told, recorded, passed.is_some());
        if let Some(by) = passed
            && by != 0
        {
            self.count_profile(post.author, "counts.posts", by);
            if let Some(parent) = post.in_reply_to {
                self.count_post(parent.post, "counts.replies", by);
            }
        }
        if passed.is_some() {
            self.quote(post.id, quoted);
        }
        let now = self.known.posts.get(&post.id).copied().unwrap_or_default();
        if now.is_tombstone() {
            // Neither history rows of this batch nor earlier ones may stay.
            self.history.retain(|&(of, _), _| of != post.id);
            if passed.is_some() {
                self.forgotten.insert(post.id);
            }
        } else if let Some(fields) = history {
            self.history.entry((post.id, version)).or_insert(HistoryRow {
                fields,
                late: passed.is_none(),
            });
        }
        Ok(())
    }

    /// A post quotes this one now, or none: it never quoted one, is deleted, or was detached.
    fn quote(&mut self, post: PostId, quoted: Option<PostId>) {
        let former = match quoted {
            Some(quoted) => self.known.quoting.insert(post, quoted),
            None => self.known.quoting.remove(&post),
        };
        if former != quoted {
            for (quoted, by) in [(former, -1), (quoted, 1)] {
                if let Some(quoted) = quoted {
                    self.count_post(quoted, "counts.quotes", by);
                }
            }
        }
    }

    /// `passed`: the post's row takes this version. An older one only lowers the places of those whom it tells.
    fn tell_of_post(
        &mut self,
        post: &Post,
        told: BTreeMap<UserId, NotificationKind>,
        recorded: &Recorded,
        passed: bool,
    ) {
        let of = |owner, kind| Told {
            owner,
            kind,
            user: post.author,
            post: Some(post.id),
        };
        for (&owner, &kind) in &told {
            self.notices.tell(of(owner, kind), recorded.id, false);
            if passed {
                self.notices.holds(of(owner, kind), recorded.position);
            }
        }
        if !passed {
            return;
        }
        let now: BTreeSet<UserId> = told.into_keys().collect();
        let former = self.known.told.insert(post.id, now.clone()).unwrap_or_default();
        for &owner in former.difference(&now) {
            self.notices.ends(of(owner, NotificationKind::Mention));
        }
    }

    /// `live`: the event tells it. `passed`: the row of the relation takes the event.
    fn tell_of_relation(&mut self, told: Told, live: bool, again: bool, recorded: &Recorded, passed: bool) {
        // Nobody is told of what they do themselves.
        if told.owner == told.user {
            return;
        }
        if live {
            self.notices.tell(told, recorded.id, again);
        }
        match (passed, live) {
            (true, true) => self.notices.holds(told, recorded.position),
            (true, false) if recorded.version > 1 => self.notices.ends(told),
            // A first event takes nothing back.
            _ => {}
        }
    }

    fn follow(&mut self, follow: &Follow, recorded: &Recorded) {
        let id = RelationId::follow(follow.follower, follow.followee);
        let more = follow.requested.then_some((REQUESTED, Bson::Boolean(true)));
        let by = self.relation(id, follow.active, more.as_slice(), &[REQUESTED], recorded);
        for (told, live) in notifications::told_by_follow(follow, &recorded.event) {
            self.tell_of_relation(told, live, false, recorded, by.is_some());
        }
        let by = by.unwrap_or_default();
        self.count_profile(follow.follower, "counts.following", by);
        self.count_profile(follow.followee, FOLLOWERS, by);
    }

    fn like(&mut self, like: &Like, recorded: &Recorded) {
        let by = self.relation(RelationId::like(like.user, like.post), like.active, &[], &[], recorded);
        let told = Told {
            owner: like.post_author,
            kind: NotificationKind::Like,
            user: like.user,
            post: Some(like.post),
        };
        self.tell_of_relation(told, like.active, recorded.version > 1, recorded, by.is_some());
        self.count_post(like.post, "counts.likes", by.unwrap_or_default());
    }

    fn block(&mut self, block: &Block, recorded: &Recorded) {
        let id = RelationId::block(block.blocker, block.blocked);
        self.relation(id, block.active, &[], &[], recorded);
    }

    fn mute(&mut self, mute: &Mute, recorded: &Recorded) {
        let id = RelationId::mute(mute.muter, mute.muted);
        let until = mute.until.filter(|_| mute.active);
        let until = until.map(|at| (UNTIL, bson::DateTime::from_chrono(at).into()));
        let notifies = mute.active && mute.notifications;
        let notifies = notifies.then_some((NOTIFICATIONS, Bson::Boolean(true)));
        let more: Vec<_> = until.into_iter().chain(notifies).collect();
        self.relation(id, mute.active, &more, &[UNTIL, NOTIFICATIONS], recorded);
    }

    /// A repost is two rows: the relation from its author to the original, and a post of its own.
    fn repost(&mut self, repost: &Repost, recorded: &Recorded) {
        let id = RelationId::repost(repost.user, repost.post);
        let more = repost.active.then_some((REPOST, repost.id.into()));
        let by = self.relation(id, repost.active, more.as_slice(), &[REPOST], recorded);
        let told = Told {
            owner: repost.post_author,
            kind: NotificationKind::Repost,
            user: repost.user,
            post: Some(repost.post),
        };
        self.tell_of_relation(told, repost.active, recorded.version > 1, recorded, by.is_some());
        self.count_post(repost.post, "counts.reposts", by.unwrap_or_default());
        let row = repost.active.then(|| {
            doc! {
                AUTHOR: repost.user,
                "repost_of": { "post": repost.post, "author": repost.post_author },
                "visibility": visibility(Visibility::Public),
                "created_at": bson::DateTime::from_chrono(repost.created_at),
            }
        });
        self.post_row(repost.id, repost.user, doc! { AUTHOR: repost.user }, recorded, row);
    }

    /// `was` is what a tombstone says of the post. Returns by how much the row's count changes. `None` if the row is newer than the event.
    fn post_row(
        &mut self,
        id: PostId,
        author: UserId,
        was: Document,
        recorded: &Recorded,
        row: Option<Document>,
    ) -> Option<i64> {
        const FIELDS: [&str; 19] = [
            AUTHOR,
            "text",
            "entities",
            "warning",
            "language",
            "visibility",
            "created_at",
            "edited_at",
            "in_reply_to",
            "quote_of",
            QUOTING,
            "public",
            MENTIONED,
            HIDDEN,
            "tags",
            TOLD,
            "repost_of",
            POSITION,
            WAS,
        ];
        let version = recorded.version;
        let row = row.map(|mut row| {
            if let Some(position) = recorded.position {
                row.insert(POSITION, position);
            }
            row
        });
        let state = self.known.posts.entry(id).or_default();
        let by = pass(state, version, row.is_some(), &mut self.refused)?;
        if row.is_some() && !self.known.reaches.get(&author).is_some_and(|reach| reach.posted) {
            self.profiles.entry(author).or_default().posted = true;
        }
        let is_gone = row.is_none();
        let (mut row, mut gone) = content_of(version, row, &FIELDS);
        if is_gone {
            row.insert(WAS, was);
            gone.retain(|&field| field != WAS);
        }
        self.posts.entry(id).or_default().content = Some((row, gone));
        Some(by)
    }

    /// `more` are further fields of the row, which are some of `all`. Returns by how much the counts of a live row change. `None` if the row is
    /// newer than the event.
    fn relation(
        &mut self,
        id: RelationId,
        live: bool,
        more: &[(&'static str, Bson)],
        all: &[&'static str],
        recorded: &Recorded,
    ) -> Option<i64> {
        let state = self.known.relations.entry(id).or_default();
        let by = pass(state, recorded.version, live, &mut self.refused)?;
        let mut row = doc! {
            "version": recorded.version,
            "live": live,
            "viewer": id.viewer(),
            "kind": id.kind().as_str(),
            "target": bson::Uuid::from(id.target()),
            "order": recorded.id,
        };
        // A row that is in a list has the position by which its list is polled.
        if let Some(position) = recorded.position.filter(|_| live || !more.is_empty()) {
            row.insert(POSITION, position);
        }
        row.extend(more.iter().map(|(field, value)| ((*field).to_owned(), value.clone())));
        let optional = all.iter().copied().chain([POSITION]);
        let gone = optional.filter(|field| !row.contains_key(field)).collect();
        self.relations.entry(id).or_default().content = Some((row, gone));
        Some(by)
    }

    fn count_profile(&mut self, user: UserId, field: &'static str, by: i64) {
        if by != 0 {
            *self.profiles.entry(user).or_default().counts.entry(field).or_default() += by;
        }
    }

    fn count_post(&mut self, post: PostId, field: &'static str, by: i64) {
        if by != 0 {
            *self.posts.entry(post).or_default().counts.entry(field).or_default() += by;
        }
    }
}

/// The guard "the stored version is lower". Returns by how much the row's count changes, or `None` if the guard refuses.
fn pass(state: &mut RowState, version: i64, live: bool, refused: &mut u64) -> Option<i64> {
    if state.version >= version {
        *refused += 1;
        return None;
    }
    let by = i64::from(live) - i64::from(state.live);
    (state.version, state.live) = (version, live);
    Some(by)
}

/// A row's fields, and which fields of `all` it no longer has. Without content, the row is a tombstone.
fn content_of(version: i64, content: Option<Document>, all: &[&'static str]) -> (Document, Vec<&'static str>) {
    let mut row = doc! { "version": version, "live": content.is_some() };
    row.extend(content.unwrap_or_default());
    let gone = all.iter().copied().filter(|field| !row.contains_key(field)).collect();
    (row, gone)
}

/// What the author wrote: these fields are in the post's row and in its history.
fn words_of(content: &PostContent, entities: Bson) -> Document {
    let mut words = doc! { "text": &content.text, "entities": entities };
    for (field, value) in [("warning", &content.warning), ("language", &content.language)] {
        if let Some(value) = value {
            words.insert(field, value);
        }
    }
    words
}

fn visibility(visibility: Visibility) -> &'static str {
    match visibility {
        Visibility::Public => "public",
        Visibility::Unlisted => "unlisted",
        Visibility::Followers => "followers",
        Visibility::Mentioned => "mentioned",
    }
}

/// The late history rows among these changes. The rows of other posts are written anyway.
pub(super) fn late_history(changes: &Changes) -> HashSet<(PostId, i64)> {
    changes
        .history
        .iter()
        .filter(|(_, row)| row.late)
        .map(|(&key, _)| key)
        .collect()
}

#[cfg(test)]
mod histories;
#[cfg(test)]
mod tests;
