//! What the views must show, computed from the events by brute force.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use bson::{Document, doc};
use event_log::event_store::{EVENTS, EventStore, RecordedEvent};
use futures_util::TryStreamExt;
use model::events::{Event, Follow, Like, Post, Repost};
use model::ids::{EventId, PostId, UserId};
use views::{Range, RelationKind, Views};

/// The last state of every aggregate.
#[derive(Debug, Default)]
pub(crate) struct Oracle {
    users: BTreeSet<UserId>,
    posts: BTreeMap<PostId, Post>,
    reposts: Vec<Repost>,
    follows: Vec<Follow>,
    likes: Vec<Like>,
}

impl Oracle {
    pub(crate) async fn of(store: &EventStore) -> Self {
        Self::without(store, &HashSet::new()).await
    }

    /// The state as if the given events had never happened.
    pub(crate) async fn without(store: &EventStore, discarded: &HashSet<EventId>) -> Self {
        let events = store.database().collection::<RecordedEvent>(EVENTS);
        let all: Vec<RecordedEvent> = events.find(doc! {}).await.unwrap().try_collect().await.unwrap();
        let mut last: BTreeMap<_, RecordedEvent> = BTreeMap::new();
        for event in all.into_iter().filter(|event| !discarded.contains(&event.id)) {
            let newer = last
                .get(&event.stream)
                .is_none_or(|known| known.version < event.version);
            if newer {
                last.insert(event.stream.clone(), event);
            }
        }
        let mut oracle = Self::default();
        for recorded in last.into_values() {
            match recorded.event().expect("an event that decodes") {
                Event::UserRegistered(user)
                | Event::UserProfileChanged(user)
                | Event::UserCredentialsChanged(user)
                | Event::UserProtected(user)
                | Event::UserUnprotected(user) => {
                    oracle.users.insert(user.id);
                }
                Event::PostCreated(post) | Event::PostEdited(post) if post.content.is_some() => {
                    oracle.posts.insert(post.id, post);
                }
                Event::Followed(follow) | Event::FollowAccepted(follow) => oracle.follows.push(follow),
                Event::PostLiked(like) => oracle.likes.push(like),
                Event::PostReposted(repost) => oracle.reposts.push(repost),
                _ => {}
            }
        }
        oracle
    }

    /// Compares everything with a generation of the views.
    pub(crate) async fn assert_shown_by(&self, views: &Views) {
        let database = views.database();
        let profiles: BTreeMap<UserId, (i64, i64, i64)> = database
            .collection::<Document>(views.profiles.name())
            .find(doc! { "live": true })
            .await
            .unwrap()
            .map_ok(|row| (id(&row), counts(&row, ["posts", "followers", "following"])))
            .try_collect()
            .await
            .unwrap();
        assert_eq!(profiles, self.profiles(), "profiles and their counts");

        let posts: BTreeMap<PostId, (i64, i64, i64)> = database
            .collection::<Document>(views.posts.name())
            .find(doc! { "live": true, "repost_of": { "$exists": false } })
            .await
            .unwrap()
            .map_ok(|row| {
                (
                    PostId::from_uuid(id(&row).as_uuid()),
                    counts(&row, ["likes", "reposts", "replies"]),
                )
            })
            .try_collect()
            .await
            .unwrap();
        assert_eq!(posts, self.posts_with_counts(), "posts and their counts");

        for &user in &self.users {
            self.assert_relations(views, user).await;
            assert_eq!(
                served_home(views, user).await,
                self.home(user),
                "home timeline of {user}"
            );
        }
    }

    async fn assert_relations(&self, views: &Views, user: UserId) {
        let mut shown = BTreeSet::new();
        for kind in [RelationKind::Follow, RelationKind::Like, RelationKind::Repost] {
            let relations = views
                .relations
                .of_viewer(user, kind, Range::newest(100_000))
                .await
                .unwrap();
            shown.extend(relations.into_iter().map(|relation| (kind, relation.id.target())));
        }
        let follows = self.follows.iter().filter(|it| it.follower == user);
        let likes = self.likes.iter().filter(|it| it.user == user);
        let reposts = self.reposts.iter().filter(|it| it.user == user);
        let expected: BTreeSet<_> = follows
            .map(|it| (RelationKind::Follow, it.followee.as_uuid()))
            .chain(likes.map(|it| (RelationKind::Like, it.post.as_uuid())))
            .chain(reposts.map(|it| (RelationKind::Repost, it.post.as_uuid())))
            .collect();
        assert_eq!(shown, expected, "relations of {user}");
    }

    fn profiles(&self) -> BTreeMap<UserId, (i64, i64, i64)> {
        let count = |matching: usize| i64::try_from(matching).unwrap();
        self.users
            .iter()
            .map(|&user| {
                let posts = self.posts.values().filter(|post| post.author == user).count();
                let followers = self.follows.iter().filter(|follow| follow.followee == user).count();
                let following = self.follows.iter().filter(|follow| follow.follower == user).count();
                (user, (count(posts), count(followers), count(following)))
            })
            .collect()
    }

    fn posts_with_counts(&self) -> BTreeMap<PostId, (i64, i64, i64)> {
        let count = |matching: usize| i64::try_from(matching).unwrap();
        self.posts
            .keys()
            .map(|&post| {
                let likes = self.likes.iter().filter(|like| like.post == post).count();
                let reposts = self.reposts.iter().filter(|repost| repost.post == post).count();
                let replies = self
                    .posts
                    .values()
                    .filter(|it| it.in_reply_to.is_some_and(|to| to.post == post))
                    .count();
                (post, (count(likes), count(reposts), count(replies)))
            })
            .collect()
    }

    /// The definition: every undeleted post, and every repost of one, by the owner or by an account that the owner follows.
    pub(crate) fn home(&self, owner: UserId) -> Vec<PostId> {
        let sees = |author: UserId| {
            self.users.contains(&author)
                && (author == owner
                    || self
                        .follows
                        .iter()
                        .any(|follow| follow.follower == owner && follow.followee == author))
        };
        let posts = self.posts.values().filter(|post| sees(post.author)).map(|post| post.id);
        let shown = |repost: &&Repost| {
            sees(repost.user) && self.posts.contains_key(&repost.post) && self.users.contains(&repost.post_author)
        };
        let reposts = self.reposts.iter().filter(shown).map(|repost| repost.id);
        let mut home: Vec<PostId> = posts.chain(reposts).collect();
        home.sort_unstable_by(|a, b| b.cmp(a));
        home
    }
}

/// What a page would show of the entries: those that are live, by authors whom the owner follows. Timelines in these tests are shorter than
/// the window.
pub(crate) async fn served_home(views: &Views, owner: UserId) -> Vec<PostId> {
    let (header, entries) = views.home_timelines.page(owner, Range::newest(100_000)).await.unwrap();
    assert!(
        header.floor.is_none() && !header.idle,
        "these tests stay within the window"
    );
    let ids: Vec<PostId> = entries
        .iter()
        .flat_map(|entry| [Some(entry.id), entry.repost_of.map(|it| it.post)])
        .flatten()
        .collect();
    let live: HashSet<PostId> = views
        .posts
        .live_by_ids(&ids)
        .await
        .unwrap()
        .iter()
        .map(|post| post.id)
        .collect();
    let authors: Vec<UserId> = entries
        .iter()
        .flat_map(|entry| [Some(entry.author), entry.repost_of.map(|it| it.author)])
        .flatten()
        .collect();
    let users: HashSet<UserId> = views
        .profiles
        .live_by_ids(&authors)
        .await
        .unwrap()
        .iter()
        .map(|profile| profile.id)
        .collect();
    let followees: HashSet<UserId> = views.relations.followees(owner).await.unwrap().into_iter().collect();
    entries
        .iter()
        .filter(|entry| entry.author == owner || followees.contains(&entry.author))
        .filter(|entry| live.contains(&entry.id) && users.contains(&entry.author))
        .filter(|entry| {
            entry
                .repost_of
                .is_none_or(|it| live.contains(&it.post) && users.contains(&it.author))
        })
        .map(|entry| entry.id)
        .collect()
}

fn id(row: &Document) -> UserId {
    let Some(bson::Bson::Binary(binary)) = row.get("_id") else {
        panic!("{row}")
    };
    UserId::from_uuid(binary.to_uuid().unwrap().into())
}

fn counts(row: &Document, names: [&str; 3]) -> (i64, i64, i64) {
    let counts = row.get_document("counts").cloned().unwrap_or_default();
    let [a, b, c] = names.map(|name| counts.get_i64(name).unwrap_or(0));
    (a, b, c)
}
