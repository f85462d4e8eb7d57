//! A write side in memory, and a projection with a database of its own.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use bson::{Document, doc};
use chrono::{DateTime, Utc};
use event_log::event_store::RecordedEvent;
use event_log::subscription::{Delivery, Handler};
use futures_util::TryStreamExt;
use local_mongodb::TestDatabase;
use model::clock::{Clock, SharedClock};
use model::entities::Entities;
use model::events::{
    Block, EndedFollows, Event, Filter, FilterContent, Follow, Like, List, ListMember, ListTag, Moderation, Mute,
    NotificationDismissed, NotificationsRead, Post, PostContent, QuoteOf, ReplyTo, Repost, SCHEMA, TagFollow, User,
};
use model::ids::{EventId, FilterId, ListId, PostId, UserId};
use model::values::{FilterAction, FilterContext, Handle, PostText, Visibility};
use mongodb::Database;
use uuid::Uuid;
use views::Timelines;
use views::{Filling, ViewMetrics, ViewProjection, Views};

/// A clock that stands still until a test moves it. It begins in the year 2034, because a wake-up must not be late by the server's clock.
#[derive(Debug)]
pub(crate) struct StandingClock(AtomicI64);

impl StandingClock {
    pub(crate) fn advance(&self, by: Duration) {
        self.0
            .fetch_add(i64::try_from(by.as_millis()).unwrap(), Ordering::SeqCst);
    }

    pub(crate) fn rewind(&self, by: Duration) {
        self.0
            .fetch_sub(i64::try_from(by.as_millis()).unwrap(), Ordering::SeqCst);
    }
}

impl Clock for StandingClock {
    fn now(&self) -> DateTime<Utc> {
        DateTime::from_timestamp_millis(self.0.load(Ordering::SeqCst)).unwrap()
    }
}

pub(crate) fn clock() -> Arc<StandingClock> {
    Arc::new(StandingClock(AtomicI64::new(2_050_000_000_000)))
}

/// A window of 4, a fan-out limit of 3, and a trim check at every insert.
pub(crate) fn timelines() -> Timelines {
    Timelines {
        window: NonZeroU32::new(4).unwrap(),
        fan_out_limit: NonZeroU32::new(3).unwrap(),
        idle_after: Duration::from_secs(600),
        note_visit_every: Duration::from_secs(60),
        wake_margin: Duration::from_secs(5),
        trim_one_in: NonZeroU32::new(1).unwrap(),
        trim_delay: Duration::from_secs(60),
        ..Timelines::default()
    }
}

/// A write side without decisions and without a database. It keeps the streams and makes a delivery of each event.
#[derive(Debug)]
pub(crate) struct Store {
    clock: Arc<StandingClock>,
    versions: HashMap<String, i64>,
    pub(crate) users: HashMap<UserId, User>,
    pub(crate) posts: HashMap<PostId, Post>,
    pub(crate) reposts: HashMap<(UserId, PostId), Repost>,
    pub(crate) log: Vec<Delivery>,
}

impl Store {
    pub(crate) fn new(clock: Arc<StandingClock>) -> Self {
        Self {
            clock,
            versions: HashMap::new(),
            users: HashMap::new(),
            posts: HashMap::new(),
            reposts: HashMap::new(),
            log: Vec::new(),
        }
    }

    /// Records an event. Each event moves the clock, so that ids are in order.
    pub(crate) fn record(&mut self, event: Event) -> Delivery {
        let version = self.versions.entry(event.stream().as_str().to_owned()).or_default();
        *version += 1;
        let recorded = RecordedEvent {
            id: EventId::new(self.clock.now()),
            stream: event.stream(),
            version: *version,
            event_type: event.event_type().to_owned(),
            schema: SCHEMA,
            partition: event.partition(),
            actor: event.audience(),
            command_id: Uuid::new_v4(),
            correlation_id: "test".to_owned(),
            causation_id: None,
            traceparent: None,
            idempotency_key: None,
            body_hash: None,
            recorded_at: self.clock.now(),
            data: event.encode().unwrap(),
        };
        let delivery = Delivery {
            recorded: Arc::new(recorded),
            event,
            position: None,
        };
        self.log.push(delivery.clone());
        self.clock.advance(Duration::from_secs(1));
        delivery
    }

    pub(crate) fn register(&mut self, handle: &str) -> UserId {
        let id = UserId::new(self.clock.now());
        let user = User {
            id,
            handle: Handle::parse(handle).unwrap(),
            display_name: Some(format!("The {handle}")),
            bio: Some(String::new()),
            fields: Vec::new(),
            created_at: self.clock.now(),
            suspended: None,
            deleted: false,
            protected: false,
        };
        self.users.insert(id, user.clone());
        self.record(Event::UserRegistered(user));
        id
    }

    pub(crate) fn rename(&mut self, user: UserId, display_name: &str) -> Delivery {
        let user = self.users.get_mut(&user).unwrap();
        user.display_name = Some(display_name.to_owned());
        let user = user.clone();
        self.record(Event::UserProfileChanged(user))
    }

    pub(crate) fn delete_user(&mut self, user: UserId) -> Delivery {
        let user = self.users.get_mut(&user).unwrap();
        (user.deleted, user.display_name, user.bio) = (true, None, None);
        user.fields.clear();
        let user = user.clone();
        self.record(Event::UserDeleted(user))
    }

    pub(crate) fn post(&mut self, author: UserId, text: &str) -> PostId {
        self.write(author, text, None, Visibility::Public)
    }

    pub(crate) fn write(
        &mut self,
        author: UserId,
        text: &str,
        parent: Option<PostId>,
        visibility: Visibility,
    ) -> PostId {
        let post = self.written(author, text, parent, visibility);
        self.publish(post)
    }

    pub(crate) fn quote(&mut self, author: UserId, text: &str, quoted: PostId) -> PostId {
        let quote_of = QuoteOf {
            post: quoted,
            author: self.posts[&quoted].author,
            detached: false,
        };
        let post = self.written(author, text, None, Visibility::Public);
        self.publish(Post {
            quote_of: Some(quote_of),
            ..post
        })
    }

    pub(crate) fn detach_quote(&mut self, post: PostId) -> Delivery {
        let post = self.posts.get_mut(&post).unwrap();
        post.quote_of.as_mut().unwrap().detached = true;
        let post = post.clone();
        self.record(Event::PostQuoteDetached(post))
    }

    fn publish(&mut self, post: Post) -> PostId {
        self.posts.insert(post.id, post.clone());
        self.record(Event::PostCreated(post.clone()));
        post.id
    }

    fn written(&self, author: UserId, text: &str, parent: Option<PostId>, visibility: Visibility) -> Post {
        Post {
            id: PostId::new(self.clock.now()),
            author,
            content: Some(self.content(text)),
            in_reply_to: parent.map(|post| ReplyTo {
                post,
                author: self.posts[&post].author,
            }),
            visibility,
            created_at: self.clock.now(),
            edited_at: None,
            quote_of: None,
            hidden: None,
            deleted: false,
        }
    }

    pub(crate) fn edit(&mut self, post: PostId, text: &str) -> Delivery {
        let (now, content) = (self.clock.now(), self.content(text));
        let post = self.posts.get_mut(&post).unwrap();
        (post.content, post.edited_at) = (Some(content), Some(now));
        let post = post.clone();
        self.record(Event::PostEdited(post))
    }

    /// The text, with the users whom it mentions. It warns of what stands in brackets before it.
    fn content(&self, text: &str) -> PostContent {
        let (warning, text) = match text.strip_prefix('[').and_then(|rest| rest.split_once("] ")) {
            Some((warning, text)) => (Some(warning.to_owned()), text),
            None => (None, text),
        };
        let mut entities = Entities::of(&PostText::parse(text).unwrap());
        for mention in &mut entities.mentions {
            let mut live = self.users.values().filter(|user| !user.deleted);
            let named = live.find(|user| user.handle.as_str() == mention.handle);
            mention.user = named.map(|user| user.id);
        }
        PostContent {
            text: text.to_owned(),
            entities,
            warning,
            language: None,
        }
    }

    pub(crate) fn delete_post(&mut self, post: PostId) -> Delivery {
        let post = self.posts.get_mut(&post).unwrap();
        (post.content, post.deleted) = (None, true);
        let post = post.clone();
        self.record(Event::PostDeleted(post))
    }

    pub(crate) fn follow(&mut self, follower: UserId, followee: UserId) -> Delivery {
        self.record(Event::Followed(Follow {
            follower,
            followee,
            active: true,
            requested: false,
        }))
    }

    pub(crate) fn unfollow(&mut self, follower: UserId, followee: UserId) -> Delivery {
        self.record(Event::Unfollowed(Follow {
            follower,
            followee,
            active: false,
            requested: false,
        }))
    }

    pub(crate) fn accept(&mut self, follower: UserId, followee: UserId) -> Delivery {
        self.record(Event::FollowAccepted(Follow {
            follower,
            followee,
            active: true,
            requested: false,
        }))
    }

    pub(crate) fn request(&mut self, follower: UserId, followee: UserId, requested: bool) -> Delivery {
        let follow = Follow {
            follower,
            followee,
            active: false,
            requested,
        };
        self.record(match requested {
            true => Event::FollowRequested(follow),
            false => Event::FollowCancelled(follow),
        })
    }

    pub(crate) fn block(&mut self, blocker: UserId, blocked: UserId, active: bool) -> Delivery {
        let block = Block {
            blocker,
            blocked,
            active,
            ends: EndedFollows::default(),
        };
        self.record(match active {
            true => Event::UserBlocked(block),
            false => Event::UserUnblocked(block),
        })
    }

    pub(crate) fn mute_but_be_told(&mut self, muter: UserId, muted: UserId) -> Delivery {
        self.record(Event::UserMuted(Mute {
            muter,
            muted,
            active: true,
            until: None,
            notifications: true,
        }))
    }

    pub(crate) fn mute(&mut self, muter: UserId, muted: UserId, active: bool, ends: bool) -> Delivery {
        let until = ends.then(|| self.clock.now() + Duration::from_secs(600));
        let mute = Mute {
            muter,
            muted,
            active,
            until: until.filter(|_| active),
            notifications: false,
        };
        self.record(match active {
            true => Event::UserMuted(mute),
            false => Event::UserUnmuted(mute),
        })
    }

    pub(crate) fn protect(&mut self, user: UserId, protected: bool) -> Delivery {
        let user = self.users.get_mut(&user).unwrap();
        user.protected = protected;
        let user = user.clone();
        self.record(match protected {
            true => Event::UserProtected(user),
            false => Event::UserUnprotected(user),
        })
    }

    pub(crate) fn hide(&mut self, post: PostId, active: bool) -> Delivery {
        let post = self.posts.get_mut(&post).unwrap();
        let by = post.author;
        post.hidden = Some(Moderation { by, active });
        let post = post.clone();
        self.record(match active {
            true => Event::PostHidden(post),
            false => Event::PostUnhidden(post),
        })
    }

    pub(crate) fn suspend(&mut self, user: UserId, active: bool) -> Delivery {
        let user = self.users.get_mut(&user).unwrap();
        user.suspended = Some(Moderation { by: user.id, active });
        let user = user.clone();
        self.record(match active {
            true => Event::UserSuspended(user),
            false => Event::UserRestored(user),
        })
    }

    pub(crate) fn follow_tag(&mut self, user: UserId, tag: &str, active: bool) -> Delivery {
        let follow = TagFollow {
            user,
            tag: tag.to_owned(),
            active,
        };
        self.record(if active {
            Event::TagFollowed(follow)
        } else {
            Event::TagUnfollowed(follow)
        })
    }

    /// A filter of all lists. Without an action, it is deleted.
    pub(crate) fn filter(
        &mut self,
        owner: UserId,
        id: FilterId,
        phrase: &str,
        action: Option<FilterAction>,
    ) -> Delivery {
        let content = action.map(|action| FilterContent {
            phrases: vec![phrase.to_owned()],
            whole_word: false,
            contexts: [
                FilterContext::Home,
                FilterContext::Public,
                FilterContext::Profile,
                FilterContext::Thread,
            ]
            .into(),
            action,
            expires_at: None,
        });
        let deleted = content.is_none();
        let filter = Filter {
            id,
            owner,
            content,
            deleted,
        };
        self.record(match deleted {
            true => Event::FilterDeleted(filter),
            false => Event::FilterChanged(filter),
        })
    }

    /// An event of a list. Without a title, the list is deleted.
    pub(crate) fn list(&mut self, id: ListId, owner: UserId, title: Option<&str>, exclusive: bool) -> Delivery {
        let list = List {
            id,
            owner,
            title: title.map(str::to_owned),
            exclusive,
            deleted: title.is_none(),
        };
        self.record(match title {
            Some(_) => Event::ListChanged(list),
            None => Event::ListDeleted(list),
        })
    }

    pub(crate) fn list_member(&mut self, list: ListId, owner: UserId, user: UserId, active: bool) -> Delivery {
        let member = ListMember {
            list,
            owner,
            user,
            active,
        };
        self.record(match active {
            true => Event::ListMemberAdded(member),
            false => Event::ListMemberRemoved(member),
        })
    }

    pub(crate) fn list_tag(&mut self, list: ListId, owner: UserId, tag: &str, active: bool) -> Delivery {
        let tag = ListTag {
            list,
            owner,
            tag: tag.to_owned(),
            active,
        };
        self.record(match active {
            true => Event::ListTagAdded(tag),
            false => Event::ListTagRemoved(tag),
        })
    }

    pub(crate) fn read_notifications(&mut self, user: UserId, up_to: EventId) -> Delivery {
        self.record(Event::NotificationsRead(NotificationsRead { user, up_to }))
    }

    pub(crate) fn dismiss(&mut self, user: UserId, notification: EventId) -> Delivery {
        self.record(Event::NotificationDismissed(NotificationDismissed {
            user,
            notification,
        }))
    }

    pub(crate) fn like(&mut self, user: UserId, post: PostId, active: bool) -> Delivery {
        let like = Like {
            user,
            post,
            post_author: self.posts[&post].author,
            active,
        };
        self.record(if active {
            Event::PostLiked(like)
        } else {
            Event::PostUnliked(like)
        })
    }

    pub(crate) fn repost(&mut self, user: UserId, post: PostId) -> PostId {
        let repost = Repost {
            id: PostId::new(self.clock.now()),
            user,
            post,
            post_author: self.posts[&post].author,
            created_at: self.clock.now(),
            active: true,
        };
        self.reposts.insert((user, post), repost);
        self.record(Event::PostReposted(repost));
        repost.id
    }

    pub(crate) fn unrepost(&mut self, user: UserId, post: PostId) -> Delivery {
        let repost = self.reposts.get_mut(&(user, post)).unwrap();
        repost.active = false;
        let repost = *repost;
        self.record(Event::PostUnreposted(repost))
    }

    /// The delivery of the last event.
    pub(crate) fn last(&self) -> Delivery {
        self.log.last().unwrap().clone()
    }
}

/// One generation of views, and the handler that updates it.
#[derive(Debug)]
pub(crate) struct Projected {
    pub(crate) views: Views,
    pub(crate) projection: ViewProjection,
    pub(crate) metrics: ViewMetrics,
    pub(crate) clock: Arc<StandingClock>,
}

impl Projected {
    pub(crate) async fn new(database: &Database, generation: i64, clock: Arc<StandingClock>) -> Self {
        Self::with_metrics(database, generation, clock, ViewMetrics::default()).await
    }

    pub(crate) async fn with_metrics(
        database: &Database,
        generation: i64,
        clock: Arc<StandingClock>,
        metrics: ViewMetrics,
    ) -> Self {
        Self::with_timelines(database, generation, clock, metrics, timelines()).await
    }

    pub(crate) async fn with_timelines(
        database: &Database,
        generation: i64,
        clock: Arc<StandingClock>,
        metrics: ViewMetrics,
        timelines: Timelines,
    ) -> Self {
        let views = Views::new(database, generation);
        views.ensure().await.unwrap();
        let shared: SharedClock = clock.clone();
        let projection = ViewProjection::new(views.clone(), timelines, shared, metrics.clone());
        Self {
            views,
            projection,
            metrics,
            clock,
        }
    }

    /// Gives the handler one event at a time.
    pub(crate) async fn deliver(&self, deliveries: &[Delivery]) {
        for delivery in deliveries {
            self.projection.handle(std::slice::from_ref(delivery)).await.unwrap();
        }
    }

    pub(crate) fn filling(&self, previous: Option<Views>) -> Filling {
        Filling::new(self.views.clone(), previous, timelines(), self.clock.clone())
    }

    pub(crate) async fn fill(&self, previous: Option<Views>) {
        let filling = self.filling(previous);
        let mut after = None;
        loop {
            after = filling.fill(after, 2).await.unwrap().next;
            if after.is_none() {
                return;
            }
        }
    }

    /// All rows, without fields that belong to home timelines or depend on the retries of one process.
    pub(crate) async fn rows(&self) -> HashMap<&'static str, Vec<Document>> {
        let mut rows = HashMap::new();
        let [notifications, groups, dismissed, markers] = self.views.notifications.names();
        for (name, collection) in [
            ("notifications", notifications),
            ("notification_groups", groups),
            ("dismissed_notifications", dismissed),
            ("notification_markers", markers),
            ("profiles", self.views.profiles.name()),
            ("posts", self.views.posts.name()),
            ("relations", self.views.relations.name()),
            ("post_history", self.views.post_history.name()),
            ("tagged", self.views.tagged.name()),
            ("followed_tags", self.views.followed_tags.name()),
            ("lists", self.views.lists.name()),
            ("list_members", self.views.list_members.name()),
            ("list_tags", self.views.list_tags.name()),
        ] {
            let collection = self.views.database().collection::<Document>(collection);
            let found = collection.find(doc! {}).sort(doc! { "_id": 1 }).await.unwrap();
            let mut found: Vec<Document> = found.try_collect().await.unwrap();
            for row in &mut found {
                normalize(row);
            }
            // A stub that counts nothing is the same as no row.
            found.retain(|row| row.len() > 3 || row.get_i64("version").ok() != Some(0));
            // What is told of edits is a hint: `notifications::told_of_edits` compares what it shows.
            found.retain(|row| row.get_str("kind").ok() != Some("edit"));
            rows.insert(name, found);
        }
        rows
    }

    pub(crate) async fn drop(self) {
        let notifications = self.views.notifications.names();
        for name in notifications.into_iter().chain([
            self.views.profiles.name(),
            self.views.posts.name(),
            self.views.relations.name(),
            self.views.home_timelines.name(),
            self.views.post_history.name(),
            self.views.tagged.name(),
            self.views.followed_tags.name(),
            self.views.lists.name(),
            self.views.list_members.name(),
            self.views.list_tags.name(),
        ]) {
            self.views.database().collection::<Document>(name).drop().await.unwrap();
        }
    }
}

fn normalize(row: &mut Document) {
    row.remove("touches");
    row.remove("audience");
    row.remove("posted");
    if let Ok(counts) = row.get_document("counts") {
        let mut counts: Vec<(String, i64)> = counts
            .iter()
            .map(|(name, count)| (name.clone(), count.as_i64().unwrap()))
            .filter(|&(_, n)| n != 0)
            .collect();
        counts.sort();
        row.remove("counts");
        if !counts.is_empty() {
            row.insert(
                "counts",
                counts
                    .into_iter()
                    .map(|(name, count)| (name, count.into()))
                    .collect::<Document>(),
            );
        }
    }
    let mut fields: Vec<_> = std::mem::take(row).into_iter().collect();
    fields.sort_by(|a, b| a.0.cmp(&b.0));
    row.extend(fields);
}

/// A database for one test, with a client that belongs to the test's runtime.
pub(crate) async fn database() -> (TestDatabase, Database) {
    event_log::crypto::install_provider();
    let database = TestDatabase::new().await;
    let views = database.client().await.database(database.views_database());
    (database, views)
}
