//! Any history gives the same rows as the history in order, even if it is delivered in any order, in any batches, and partly twice.
//!
//! That makes restarts, scans, late writers and changes of owner harmless, because each of them only leads to such a delivery. The real
//! code decides the rows. A few lines stand in for the database.

mod database;

use std::collections::{BTreeSet, HashMap};

use bson::Bson;
use chrono::{DateTime, TimeDelta, Utc};
use event_log::position::Position;
use model::entities::{Entities, Hashtag, Mention};
use model::events::{Event, Follow, Like, Moderation, Post, PostContent, QuoteOf, ReplyTo, Repost, User};
use model::ids::{EventId, PostId, UserId};
use model::values::{ProfileField, Visibility};
use proptest::prelude::*;
use uuid::Uuid;

use self::database::Database;
use super::Recorded;

const USERS: u8 = 4;
const POSTS: u8 = 5;

/// What a user does. A number names a user, or a post that exists by then.
#[derive(Debug, Clone, Copy)]
enum Deed {
    ChangeProfile(u8),
    DeleteUser(u8),
    Write {
        user: u8,
        post: u8,
        reply_to: Option<u8>,
        quote_of: Option<u8>,
        visibility: Visibility,
        saying: Saying,
    },
    Edit(u8, Saying),
    DetachQuote(u8),
    DeletePost(u8),
    /// A moderator hides a post, or shows it again.
    Hide(u8),
    /// A moderator suspends a user, or takes that back.
    Suspend(u8),
    /// Follows or asks to, accepts, or ends it.
    Follow {
        follower: u8,
        followee: u8,
        asks: bool,
    },
    Like {
        user: u8,
        post: u8,
    },
    Repost {
        user: u8,
        post: u8,
    },
}

/// What a post says besides its text.
#[derive(Debug, Clone, Copy)]
struct Saying {
    warning: bool,
    language: bool,
    mentioned: Option<u8>,
    /// Which of three tags it has.
    tags: [bool; 3],
}

fn saying() -> impl Strategy<Value = Saying> {
    (any::<[bool; 2]>(), proptest::option::of(0..USERS), any::<[bool; 3]>()).prop_map(
        |([warning, language], mentioned, tags)| Saying {
            warning,
            language,
            mentioned,
            tags,
        },
    )
}

fn visibility() -> impl Strategy<Value = Visibility> {
    prop_oneof![
        Just(Visibility::Public),
        Just(Visibility::Unlisted),
        Just(Visibility::Followers),
        Just(Visibility::Mentioned),
    ]
}

fn deed() -> impl Strategy<Value = Deed> {
    let (user, post) = (|| 0..USERS, || 0..POSTS);
    let maybe = || proptest::option::of(post());
    prop_oneof![
        user().prop_map(Deed::ChangeProfile),
        user().prop_map(Deed::DeleteUser),
        (user(), post(), [maybe(), maybe()], visibility(), saying()).prop_map(
            |(user, post, [reply_to, quote_of], visibility, saying)| Deed::Write {
                user,
                post,
                reply_to,
                quote_of,
                visibility,
                saying
            }
        ),
        post().prop_map(Deed::DetachQuote),
        (post(), saying()).prop_map(|(post, saying)| Deed::Edit(post, saying)),
        post().prop_map(Deed::DeletePost),
        post().prop_map(Deed::Hide),
        user().prop_map(Deed::Suspend),
        (user(), user(), any::<bool>()).prop_map(|(follower, followee, asks)| Deed::Follow {
            follower,
            followee,
            asks
        }),
        (user(), post()).prop_map(|(user, post)| Deed::Like { user, post }),
        (user(), post()).prop_map(|(user, post)| Deed::Repost { user, post }),
    ]
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Following {
    #[default]
    No,
    Asked,
    Yes,
}

/// Makes the events that commands would append. Each stream's versions rise by one, and each event holds the whole state.
#[derive(Debug, Default)]
struct Author {
    history: Vec<Recorded>,
    users: HashMap<u8, (i64, User)>,
    posts: HashMap<u8, (i64, Post)>,
    follows: HashMap<(u8, u8), (i64, Following)>,
    likes: HashMap<(u8, PostId), (i64, bool)>,
    reposts: HashMap<(u8, PostId), (i64, Option<PostId>)>,
}

fn at(minute: usize) -> DateTime<Utc> {
    DateTime::from_timestamp_millis(1_750_000_000_000).unwrap() + TimeDelta::minutes(i64::try_from(minute).unwrap())
}

fn user_id(number: u8) -> UserId {
    UserId::from_uuid(Uuid::from_u128(0x1000 + u128::from(number)))
}

impl Author {
    fn append(&mut self, version: i64, event: Event) {
        let id = EventId::from_uuid(Uuid::from_u128(1 + self.history.len() as u128));
        // Each event has its own position, so that a row shows which event it is from.
        let position = Some(Position::from_u64(1 << 32 | self.history.len() as u64));
        self.history.push(Recorded {
            id,
            version,
            position,
            event,
        });
    }

    fn now(&self) -> DateTime<Utc> {
        at(self.history.len())
    }

    /// A post's id is never used again. If a number is written a second time, it gets another id.
    fn fresh_post(&self) -> PostId {
        PostId::from_uuid(Uuid::from_u128(0x2000 + self.history.len() as u128))
    }

    fn register(&mut self, number: u8) {
        let user = User {
            id: user_id(number),
            handle: format!("user{number}").parse().unwrap(),
            display_name: Some("A name".to_owned()),
            bio: Some(String::new()),
            fields: Vec::new(),
            created_at: self.now(),
            suspended: None,
            deleted: false,
            protected: false,
        };
        self.users.insert(number, (1, user.clone()));
        self.append(1, Event::UserRegistered(user));
    }

    fn does(&mut self, deed: Deed) {
        match deed {
            Deed::ChangeProfile(number) => {
                let bio = format!("Bio {}", self.history.len());
                let Some((version, user)) = self.users.get_mut(&number).filter(|(_, user)| !user.deleted) else {
                    return;
                };
                let field = ProfileField {
                    name: "Now".to_owned(),
                    value: bio.clone(),
                };
                // Every other change takes the fields back.
                user.fields = Some(field).filter(|_| user.fields.is_empty()).into_iter().collect();
                (*version, user.bio) = (*version + 1, Some(bio));
                let (version, user) = (*version, user.clone());
                self.append(version, Event::UserProfileChanged(user));
            }
            Deed::DeleteUser(number) => {
                let Some((version, user)) = self.users.get_mut(&number).filter(|(_, user)| !user.deleted) else {
                    return;
                };
                *version += 1;
                (user.display_name, user.bio, user.deleted) = (None, None, true);
                user.fields.clear();
                let (version, user) = (*version, user.clone());
                self.append(version, Event::UserDeleted(user));
            }
            Deed::Write {
                user,
                post,
                reply_to,
                quote_of,
                visibility,
                saying,
            } => {
                let quote_of = quote_of
                    .and_then(|quoted| self.posts.get(&quoted))
                    .map(|(_, quoted)| QuoteOf {
                        post: quoted.id,
                        author: quoted.author,
                        detached: false,
                    });
                let in_reply_to = reply_to
                    .and_then(|parent| self.posts.get(&parent))
                    .map(|(_, parent)| ReplyTo {
                        post: parent.id,
                        author: parent.author,
                    });
                let written = Post {
                    id: self.fresh_post(),
                    author: user_id(user),
                    content: Some(content("First", saying)),
                    in_reply_to,
                    visibility,
                    created_at: self.now(),
                    edited_at: None,
                    quote_of,
                    hidden: None,
                    deleted: false,
                };
                self.posts.insert(post, (1, written.clone()));
                self.append(1, Event::PostCreated(written));
            }
            Deed::Edit(number, saying) => {
                let (now, text) = (self.now(), format!("Edit {}", self.history.len()));
                let Some((version, post)) = self.posts.get_mut(&number).filter(|(_, post)| !post.deleted) else {
                    return;
                };
                (*version, post.content, post.edited_at) = (*version + 1, Some(content(&text, saying)), Some(now));
                let (version, post) = (*version, post.clone());
                self.append(version, Event::PostEdited(post));
            }
            Deed::DetachQuote(number) => {
                let Some((version, post)) = self.posts.get_mut(&number).filter(|(_, post)| !post.deleted) else {
                    return;
                };
                let Some(quote) = post.quote_of.as_mut().filter(|quote| !quote.detached) else {
                    return;
                };
                (*version, quote.detached) = (*version + 1, true);
                let (version, post) = (*version, post.clone());
                self.append(version, Event::PostQuoteDetached(post));
            }
            Deed::DeletePost(number) => {
                let Some((version, post)) = self.posts.get_mut(&number).filter(|(_, post)| !post.deleted) else {
                    return;
                };
                (*version, post.content, post.deleted) = (*version + 1, None, true);
                let (version, post) = (*version, post.clone());
                self.append(version, Event::PostDeleted(post));
            }
            Deed::Hide(number) => {
                let Some((version, post)) = self.posts.get_mut(&number).filter(|(_, post)| !post.deleted) else {
                    return;
                };
                let active = !post.is_hidden();
                (*version, post.hidden) = (*version + 1, moderation(active));
                let (version, post) = (*version, post.clone());
                let event = if active { Event::PostHidden } else { Event::PostUnhidden };
                self.append(version, event(post));
            }
            Deed::Suspend(number) => {
                let Some((version, user)) = self.users.get_mut(&number).filter(|(_, user)| !user.deleted) else {
                    return;
                };
                let active = !user.is_suspended();
                (*version, user.suspended) = (*version + 1, moderation(active));
                let (version, user) = (*version, user.clone());
                let event = if active {
                    Event::UserSuspended
                } else {
                    Event::UserRestored
                };
                self.append(version, event(user));
            }
            Deed::Follow {
                follower,
                followee,
                asks,
            } => {
                if follower == followee {
                    return;
                }
                let (version, state) = self.follows.entry((follower, followee)).or_default();
                let (former, now) = (
                    *state,
                    match (*state, asks) {
                        (Following::No, true) => Following::Asked,
                        (Following::No, false) | (Following::Asked, true) => Following::Yes,
                        (Following::Asked, false) | (Following::Yes, _) => Following::No,
                    },
                );
                (*version, *state) = (*version + 1, now);
                let version = *version;
                let follow = Follow {
                    follower: user_id(follower),
                    followee: user_id(followee),
                    active: now == Following::Yes,
                    requested: now == Following::Asked,
                };
                self.append(
                    version,
                    match (former, now) {
                        (_, Following::Asked) => Event::FollowRequested(follow),
                        (Following::Asked, Following::Yes) => Event::FollowAccepted(follow),
                        (_, Following::Yes) => Event::Followed(follow),
                        (Following::Asked, Following::No) => Event::FollowCancelled(follow),
                        (_, Following::No) => Event::Unfollowed(follow),
                    },
                );
            }
            Deed::Like { user, post } => {
                let Some((_, post)) = self.posts.get(&post) else { return };
                let (post, post_author) = (post.id, post.author);
                let (version, active) = toggled(self.likes.entry((user, post)).or_default());
                let like = Like {
                    user: user_id(user),
                    post,
                    post_author,
                    active,
                };
                self.append(
                    version,
                    if active {
                        Event::PostLiked(like)
                    } else {
                        Event::PostUnliked(like)
                    },
                );
            }
            Deed::Repost { user, post } => {
                let Some((_, post)) = self.posts.get(&post) else { return };
                let (post, post_author) = (post.id, post.author);
                let (created_at, fresh) = (self.now(), self.fresh_post());
                let (version, present) = self.reposts.entry((user, post)).or_default();
                *version += 1;
                let (id, active) = match present.take() {
                    Some(id) => (id, false),
                    None => (*present.insert(fresh), true),
                };
                let repost = Repost {
                    id,
                    user: user_id(user),
                    post,
                    post_author,
                    created_at,
                    active,
                };
                let version = *version;
                self.append(
                    version,
                    if active {
                        Event::PostReposted(repost)
                    } else {
                        Event::PostUnreposted(repost)
                    },
                );
            }
        }
    }
}

#[expect(clippy::unnecessary_wraps, reason = "as the field that it is for")]
fn moderation(active: bool) -> Option<Moderation> {
    let by = user_id(0);
    Some(Moderation { by, active })
}

fn content(text: &str, saying: Saying) -> PostContent {
    let mentions = saying.mentioned.map(|number| Mention {
        handle: format!("user{number}"),
        start: 0,
        end: 6,
        user: Some(user_id(number)),
    });
    // Two spellings of one tag, and another one.
    let tags = ["Rust", "rust", "İstanbul"].into_iter().zip(saying.tags);
    let hashtags = tags.filter(|&(_, has)| has).map(|(tag, _)| Hashtag {
        tag: tag.to_owned(),
        start: 0,
        end: 1,
    });
    PostContent {
        text: text.to_owned(),
        entities: Entities {
            mentions: mentions.into_iter().collect(),
            hashtags: hashtags.collect(),
            ..Entities::default()
        },
        warning: saying.warning.then(|| format!("Of {text}")),
        language: saying.language.then(|| "en".to_owned()),
    }
}

fn toggled((version, active): &mut (i64, bool)) -> (i64, bool) {
    (*version, *active) = (*version + 1, !*active);
    (*version, *active)
}

fn history_of(deeds: &[Deed]) -> Vec<Recorded> {
    let mut author = Author::default();
    for number in 0..USERS {
        author.register(number);
    }
    for &deed in deeds {
        author.does(deed);
    }
    author.history
}

/// An earlier event of a stream, as a deletion leaves it.
fn redacted(recorded: &Recorded, history: &[Recorded]) -> Recorded {
    let mut recorded = recorded.clone();
    match &mut recorded.event {
        Event::PostCreated(post)
        | Event::PostEdited(post)
        | Event::PostQuoteDetached(post)
        | Event::PostHidden(post)
        | Event::PostUnhidden(post)
            if history
                .iter()
                .any(|other| matches!(&other.event, Event::PostDeleted(deleted) if deleted.id == post.id)) =>
        {
            post.content = None;
        }
        Event::UserRegistered(user)
        | Event::UserProfileChanged(user)
        | Event::UserSuspended(user)
        | Event::UserRestored(user)
            if history
                .iter()
                .any(|other| matches!(&other.event, Event::UserDeleted(deleted) if deleted.id == user.id)) =>
        {
            (user.display_name, user.bio) = (None, None);
            user.fields.clear();
        }
        _ => {}
    }
    recorded
}

/// Who is told what by whom, and with which event it began, by the definition alone.
fn told(history: &[Recorded]) -> BTreeSet<[String; 5]> {
    let mut told = BTreeSet::new();
    for (number, recorded) in history.iter().enumerate() {
        let stream = recorded.event.stream();
        let same = |other: &&Recorded| other.event.stream() == stream;
        // The last event of a stream says what is told. The first of its events that told the owner anything says where.
        if history[number + 1..].iter().any(|other| same(&other)) {
            continue;
        }
        let of_stream: Vec<&Recorded> = history.iter().filter(same).collect();
        for (owner, kind, user, post) in told_by(&recorded.event) {
            let is_same =
                |other: &str| other == kind || post.is_some() && SAYS.contains(&kind) && SAYS.contains(&other);
            let tells = |it: &&&Recorded| {
                told_by(&it.event)
                    .iter()
                    .any(|(to, other, ..)| *to == owner && is_same(other))
            };
            let first = of_stream.iter().find(tells).unwrap().id;
            let post = post.map(|post| Bson::from(post).to_string()).unwrap_or_default();
            let [owner, user] = [owner, user].map(|user| Bson::from(user).to_string());
            told.insert([
                owner,
                Bson::from(kind).to_string(),
                user,
                post,
                Bson::from(first).to_string(),
            ]);
        }
    }
    told
}

/// One post tells one user once.
const SAYS: [&str; 3] = ["reply", "quote", "mention"];

/// Owner, kind, actor and post of what an event tells.
fn told_by(event: &Event) -> Vec<(UserId, &'static str, UserId, Option<PostId>)> {
    let mut told = match event {
        Event::Followed(it) => vec![(it.followee, "follow", it.follower, None)],
        Event::FollowRequested(it) => vec![(it.followee, "request", it.follower, None)],
        Event::FollowAccepted(it) => vec![
            (it.followee, "follow", it.follower, None),
            (it.follower, "accepted", it.followee, None),
        ],
        Event::PostLiked(it) => vec![(it.post_author, "like", it.user, Some(it.post))],
        Event::PostReposted(it) => vec![(it.post_author, "repost", it.user, Some(it.post))],
        Event::PostCreated(it)
        | Event::PostEdited(it)
        | Event::PostQuoteDetached(it)
        | Event::PostHidden(it)
        | Event::PostUnhidden(it) => {
            let mut told = Vec::new();
            told.extend(
                it.in_reply_to
                    .map(|parent| (parent.author, "reply", it.author, Some(it.id))),
            );
            let quoted = it.quote_of.filter(|quoted| !quoted.detached);
            told.extend(quoted.map(|quoted| (quoted.author, "quote", it.author, Some(it.id))));
            let mentions = it.content.iter().flat_map(|content| &content.entities.mentions);
            told.extend(mentions.filter_map(|mention| Some((mention.user?, "mention", it.author, Some(it.id)))));
            let mut owners = BTreeSet::new();
            told.retain(|(owner, ..)| owners.insert(*owner));
            told
        }
        _ => Vec::new(),
    };
    told.retain(|(owner, _, user, _)| owner != user);
    told
}

/// Each event at least once, in an order of its own.
#[derive(Debug, Clone)]
struct Delivery {
    deeds: Vec<Deed>,
    /// For each event: its place, perhaps another place for its repetition, and whether it comes so late that a deletion has already
    /// redacted it.
    places: Vec<(u16, Option<u16>, bool)>,
    batches: Vec<usize>,
}

fn delivery() -> impl Strategy<Value = Delivery> {
    proptest::collection::vec(deed(), 1..40).prop_flat_map(|deeds| {
        let events = deeds.len() + usize::from(USERS);
        let place = (
            any::<u16>(),
            proptest::option::weighted(0.3, any::<u16>()),
            any::<bool>(),
        );
        let places = proptest::collection::vec(place, events);
        let batches = proptest::collection::vec(1_usize..8, 1..10);
        (Just(deeds), places, batches).prop_map(|(deeds, places, batches)| Delivery { deeds, places, batches })
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(2_000), ..ProptestConfig::default() })]

    #[test]
    fn any_delivery_gives_the_rows_of_the_history_in_order(delivery in delivery()) {
        let history = history_of(&delivery.deeds);
        let mut in_order = Database::default();
        for event in &history {
            in_order.commit(std::slice::from_ref(event));
        }
        let mut delivered: Vec<(u16, Recorded)> = Vec::new();
        for (event, &(first, again, late)) in history.iter().zip(&delivery.places) {
            let event = if late { redacted(event, &history) } else { event.clone() };
            delivered.extend([Some(first), again].into_iter().flatten().map(|place| (place, event.clone())));
        }
        delivered.sort_by_key(|&(place, _)| place);
        let mut rest: Vec<Recorded> = delivered.into_iter().map(|(_, event)| event).collect();
        let mut anyhow = Database::default();
        for &size in delivery.batches.iter().cycle() {
            if rest.is_empty() {
                break;
            }
            let batch: Vec<Recorded> = rest.drain(..size.min(rest.len())).collect();
            anyhow.commit(&batch);
        }
        anyhow.assert_tagged();
        prop_assert_eq!(anyhow.told(), told(&history));
        prop_assert_eq!(anyhow.seen(), in_order.seen());
    }
}

/// `PROPTEST_CASES` sets more of them, for a soak test.
fn cases(usually: u32) -> u32 {
    std::env::var("PROPTEST_CASES")
        .ok()
        .and_then(|cases| cases.parse().ok())
        .unwrap_or(usually)
}
