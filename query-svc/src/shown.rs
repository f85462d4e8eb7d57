//! Which posts and users are shown to whom, and as which JSON.
//!
//! Only this module decides who may see a post, and every list asks it:
//!
//! - The post and its author must be live. For a repost, the original and its author must be live too, and seen by the viewer.
//! - Nobody sees posts of somebody whom they block, or who blocks them.
//! - A post for followers is shown only to its author and to those who follow the author now. While an account is protected,
//!   that holds for all its posts and reposts.
//! - Lists that the viewer has not gone looking for leave out whom the viewer mutes.
//!
//! A denial is written in the partition of the author's posts: a block by the author, the end of a follow, protection. So what
//! the stream has shown up to a post includes what was denied before it. Posts may be read ahead of the stream; then what
//! denies is read again, after the post and not from memory ([`ReadModel::show`]).

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use chrono::{DateTime, Utc};
use event_log::position::Position;
use model::api;
use model::entities::Entities;
use model::ids::{PostId, UserId};
use model::values::Visibility;
use serde::{Serialize, Serializer};

use crate::cursor::Cursor;
use crate::documents::{Found, Held, MaybePost, MaybeProfile};
use crate::handled::{Appearance, Handled};
use crate::read_model::{ReadError, ReadModel};
use views::posts::PostHead;
use views::{Entry, Post, PostReference, Profile, RelationId};

/// A post or repost that may be shown. It names everything that must be loaded to decide whether it is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Candidate {
    pub(crate) id: PostId,
    pub(crate) author: UserId,
    /// The post that a repost shows.
    pub(crate) original: Option<PostReference>,
    /// The position of the event of its row, if that was read and is known.
    pub(crate) position: Option<Position>,
}

impl Candidate {
    pub(crate) fn place(&self) -> Cursor {
        self.id.into()
    }

    /// The event by which it appeared in lists. A repost is shown once its original has arrived too.
    pub(crate) fn appearance(&self) -> Option<Appearance> {
        let original = self.original.map_or(self.author, |original| original.author);
        self.position.map(|position| Appearance {
            position,
            audiences: [self.author, original],
        })
    }

    /// The post that likes, reposts and replies refer to: for a repost, its original.
    fn target(&self) -> PostId {
        self.original.map_or(self.id, |original| original.post)
    }
}

impl From<Entry> for Candidate {
    fn from(entry: Entry) -> Self {
        Self {
            id: entry.id,
            author: entry.author,
            original: entry.repost_of,
            position: None,
        }
    }
}

impl From<PostHead> for Candidate {
    fn from(head: PostHead) -> Self {
        Self {
            id: head.id,
            author: head.author,
            original: head.repost_of,
            position: head.position,
        }
    }
}

impl From<&Post> for Candidate {
    fn from(post: &Post) -> Self {
        Self {
            id: post.id,
            author: post.author,
            original: post.repost_of,
            position: post.position,
        }
    }
}

/// Whose posts a list may contain. Whether the viewer may see a post is another question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AuthorFilter {
    /// The posts of the viewer, and of accounts that the viewer follows now and does not mute.
    Followed,
    /// The public posts of everybody whom the viewer does not mute. While an account is protected, it has none.
    Public,
    Anybody,
}

/// A post, as a viewer sees it.
#[derive(Debug, Clone)]
pub(crate) struct ShownPost {
    pub(crate) post: Arc<Post>,
    author: Arc<Profile>,
    original: Option<(Arc<Post>, Arc<Profile>)>,
    viewer: Option<api::PostViewer>,
}

/// A user, as a viewer sees them.
#[derive(Debug, Clone)]
pub(crate) struct ShownUser {
    pub(crate) profile: Arc<Profile>,
    /// The user blocks the viewer, who sees the name and the handle only.
    pub(crate) blocks_viewer: bool,
}

impl From<Arc<Profile>> for ShownUser {
    fn from(profile: Arc<Profile>) -> Self {
        Self {
            profile,
            blocks_viewer: false,
        }
    }
}

impl ReadModel {
    /// What `viewer` sees of each candidate, in the same order. Everything that is needed is loaded at once.
    pub(crate) async fn show(
        &self,
        candidates: &[Candidate],
        viewer: Option<UserId>,
        authors: AuthorFilter,
    ) -> Result<Vec<Option<ShownPost>>, ReadError> {
        let originals = || candidates.iter().filter_map(|candidate| candidate.original);
        let posts = candidates
            .iter()
            .map(|candidate| candidate.id)
            .chain(originals().map(|original| original.post))
            .collect();
        let profiles = candidates
            .iter()
            .map(|candidate| candidate.author)
            .chain(originals().map(|original| original.author))
            .collect();
        let relations = viewer.into_iter().flat_map(|viewer| {
            candidates.iter().flat_map(move |candidate| {
                let target = candidate.target();
                let authors = [
                    Some(candidate.author),
                    candidate.original.map(|original| original.author),
                ];
                let to_authors = authors.into_iter().flatten().filter(move |&author| author != viewer);
                to_authors
                    .flat_map(move |author| {
                        deciding(viewer, author)
                            .into_iter()
                            .chain([RelationId::mute(viewer, author)])
                    })
                    .chain([RelationId::like(viewer, target), RelationId::repost(viewer, target)])
            })
        });
        let relations = relations.collect();
        // Before the relations: what the stream shows later may be missing from them.
        let streamed = self.documents.as_ref().map(|_| self.positions.handled());
        let (posts, profiles, relations) =
            futures_util::try_join!(self.posts(posts), self.profiles(profiles), self.relations(relations))?;
        let mut loaded = Loaded {
            posts,
            profiles,
            relations,
            viewer,
            authors,
            now: self.clock.now(),
        };
        self.look_again(&mut loaded, candidates, streamed.as_ref()).await?;
        Ok(candidates.iter().map(|candidate| loaded.shown(candidate)).collect())
    }

    /// Reads what denies, from the database, for all posts that `streamed` does not cover. Without a stream, that is all of them.
    async fn look_again(
        &self,
        loaded: &mut Loaded,
        candidates: &[Candidate],
        streamed: Option<&Handled>,
    ) -> Result<(), ReadError> {
        let parts = candidates.iter().flat_map(|candidate| {
            let original = candidate.original.map(|original| original.post);
            [Some(candidate.id), original].into_iter().flatten()
        });
        let posts = parts.filter_map(|id| loaded.posts.get(&id)?.as_deref());
        let ahead = posts.filter(|post| !streamed.is_some_and(|streamed| streamed.covers(post)));
        let authors: BTreeSet<UserId> = ahead.map(|post| post.author).collect();
        if authors.is_empty() {
            return Ok(());
        }
        let authors: Vec<UserId> = authors.into_iter().collect();
        let others = authors.iter().filter(|&&author| Some(author) != loaded.viewer);
        let relations: Vec<RelationId> = others
            .flat_map(|&author| {
                loaded
                    .viewer
                    .into_iter()
                    .flat_map(move |viewer| deciding(viewer, author))
            })
            .collect();
        let (profiles, standings) = futures_util::try_join!(
            self.ask(self.views.profiles.live_by_ids(&authors)),
            self.ask(self.views.relations.standings(&relations)),
        )?;
        loaded.profiles.extend(authors.into_iter().map(|author| (author, None)));
        loaded
            .profiles
            .extend(profiles.into_iter().map(|it| (it.id, Some(Arc::new(it)))));
        loaded.relations.extend(relations.into_iter().map(|id| (id, Held::No)));
        loaded
            .relations
            .extend(standings.iter().map(|it| (it.id, Held::from(it))));
        Ok(())
    }

    /// The blocks between the viewer and these users.
    pub(crate) async fn blocks_with(
        &self,
        viewer: Option<UserId>,
        users: impl Iterator<Item = UserId>,
    ) -> Result<Blocks, ReadError> {
        let Some(viewer) = viewer else {
            return Ok(Blocks::default());
        };
        let blocks = users
            .filter(|&user| user != viewer)
            .flat_map(|user| blocks(viewer, user));
        let held = self.relations(blocks.collect()).await?;
        let now = self.clock.now();
        let held = held.into_iter().filter(|(_, held)| held.at(now));
        let (by_viewer, by_others): (Vec<RelationId>, _) = held.map(|(id, _)| id).partition(|id| id.viewer() == viewer);
        Ok(Blocks {
            by_viewer: by_viewer.iter().map(RelationId::target_user).collect(),
            by_others: by_others.iter().map(RelationId::viewer).collect(),
        })
    }
}

/// Who is blocked by the viewer, and who blocks the viewer.
#[derive(Debug, Default)]
pub(crate) struct Blocks {
    by_viewer: HashSet<UserId>,
    by_others: HashSet<UserId>,
}

impl Blocks {
    /// Whether this user blocks the viewer.
    pub(crate) fn by(&self, user: UserId) -> bool {
        self.by_others.contains(&user)
    }

    pub(crate) fn either_way(&self, user: UserId) -> bool {
        self.by(user) || self.by_viewer.contains(&user)
    }
}

/// The blocks between a viewer and somebody else.
fn blocks(viewer: UserId, other: UserId) -> [RelationId; 2] {
    [RelationId::block(viewer, other), RelationId::block(other, viewer)]
}

/// What decides, besides the post and its author, whether somebody may see a post of somebody else.
fn deciding(viewer: UserId, author: UserId) -> [RelationId; 3] {
    let [one, other] = blocks(viewer, author);
    [RelationId::follow(viewer, author), one, other]
}

/// What was loaded for some candidates.
struct Loaded {
    posts: Found<PostId, MaybePost>,
    profiles: Found<UserId, MaybeProfile>,
    relations: Found<RelationId, Held>,
    viewer: Option<UserId>,
    authors: AuthorFilter,
    now: DateTime<Utc>,
}

impl Loaded {
    fn shown(&self, candidate: &Candidate) -> Option<ShownPost> {
        let (post, author) = self.seen(candidate.id, candidate.author)?;
        if self.authors == AuthorFilter::Followed && !self.is_own_or_followed(candidate.author) {
            return None;
        }
        let original = match candidate.original {
            Some(original) => {
                let (post, author) = self.seen(original.post, original.author)?;
                // Only public posts can be reposted. If an original is ever not public, a repost must not reveal it.
                if post.visibility != Visibility::Public {
                    return None;
                }
                Some((post, author))
            }
            None => None,
        };
        let target = candidate.target();
        let viewer = self.viewer.map(|viewer| api::PostViewer {
            liked: self.holds(RelationId::like(viewer, target)),
            reposted: self.holds(RelationId::repost(viewer, target)),
        });
        Some(ShownPost {
            post,
            author,
            original,
            viewer,
        })
    }

    /// A post and its author, if both are live, and the viewer may see the post and wants to see it in this list.
    fn seen(&self, post: PostId, author: UserId) -> Option<(Arc<Post>, Arc<Profile>)> {
        let post = self.posts.get(&post)?.clone()?;
        let profile = self.profiles.get(&author)?.clone()?;
        let closed = is_closed(&post, &profile);
        let Some(viewer) = self.viewer else {
            return (!closed).then_some((post, profile));
        };
        if self.authors == AuthorFilter::Public && closed {
            return None;
        }
        if viewer == author {
            return Some((post, profile));
        }
        let denied = blocks(viewer, author).into_iter().any(|block| self.holds(block))
            || closed && !self.holds(RelationId::follow(viewer, author));
        let unwanted = self.authors != AuthorFilter::Anybody && self.holds(RelationId::mute(viewer, author));
        (!denied && !unwanted).then_some((post, profile))
    }

    fn is_own_or_followed(&self, author: UserId) -> bool {
        self.viewer
            .is_some_and(|viewer| viewer == author || self.holds(RelationId::follow(viewer, author)))
    }

    fn holds(&self, relation: RelationId) -> bool {
        self.relations.get(&relation).copied().unwrap_or_default().at(self.now)
    }
}

/// Whether only followers see the post.
fn is_closed(post: &Post, author: &Profile) -> bool {
    post.visibility == Visibility::Followers || author.protected
}

impl ShownPost {
    /// The post that likes, reposts and replies refer to: for a repost, its original.
    pub(crate) fn target(&self) -> &Arc<Post> {
        self.original.as_ref().map_or(&self.post, |(original, _)| original)
    }
}

/// [`api::Post`], borrowed.
#[derive(Serialize)]
struct PostJson<'a> {
    id: PostId,
    author: AuthorJson<'a>,
    text: &'a str,
    entities: &'a Entities,
    in_reply_to: Option<PostId>,
    repost_of: Option<&'a PostJson<'a>>,
    visibility: Visibility,
    #[serde(serialize_with = "api::time")]
    created_at: DateTime<Utc>,
    #[serde(serialize_with = "api::time")]
    edited_at: Option<DateTime<Utc>>,
    counts: api::PostCounts,
    #[serde(skip_serializing_if = "Option::is_none")]
    viewer: Option<api::PostViewer>,
}

/// [`api::Author`], borrowed.
#[derive(Serialize)]
struct AuthorJson<'a> {
    id: UserId,
    handle: &'a str,
    display_name: &'a str,
}

impl<'a> PostJson<'a> {
    fn new(
        post: &'a Post,
        author: &'a Profile,
        original: Option<&'a PostJson<'a>>,
        viewer: Option<api::PostViewer>,
    ) -> Self {
        let counts = api::PostCounts {
            likes: count(post.counts.likes),
            reposts: count(post.counts.reposts),
            replies: count(post.counts.replies),
        };
        Self {
            id: post.id,
            author: AuthorJson {
                id: author.id,
                handle: &author.handle,
                display_name: &author.display_name,
            },
            text: &post.text,
            entities: &post.entities,
            in_reply_to: post.in_reply_to.map(|parent| parent.post),
            repost_of: original,
            visibility: post.visibility,
            created_at: post.created_at,
            edited_at: post.edited_at,
            counts: original.map_or(counts, |original| original.counts),
            viewer,
        }
    }
}

impl Serialize for ShownPost {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let original = self
            .original
            .as_ref()
            .map(|(post, author)| PostJson::new(post, author, None, self.viewer));
        PostJson::new(&self.post, &self.author, original.as_ref(), self.viewer).serialize(serializer)
    }
}

/// [`api::User`], borrowed.
#[derive(Serialize)]
struct UserJson<'a> {
    id: UserId,
    handle: &'a str,
    display_name: &'a str,
    bio: &'a str,
    protected: bool,
    #[serde(serialize_with = "api::time")]
    created_at: DateTime<Utc>,
    #[serde(skip_serializing_if = "Option::is_none")]
    counts: Option<api::UserCounts>,
}

impl Serialize for ShownUser {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let profile = &self.profile;
        let counts = api::UserCounts {
            posts: count(profile.counts.posts),
            followers: count(profile.counts.followers),
            following: count(profile.counts.following),
        };
        UserJson {
            id: profile.id,
            handle: &profile.handle,
            display_name: &profile.display_name,
            bio: if self.blocks_viewer { "" } else { &profile.bio },
            protected: profile.protected,
            created_at: profile.created_at,
            counts: (!self.blocks_viewer).then_some(counts),
        }
        .serialize(serializer)
    }
}

/// Rows arrive in any order, so a count may be below zero for a moment. Clients must not see that.
fn count(stored: i64) -> u64 {
    u64::try_from(stored).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;
    use model::ids::uuid_v7;
    use model::values::PostText;
    use rstest::rstest;

    use super::*;
    use views::{PostCounts, ProfileCounts};

    fn user() -> UserId {
        UserId::from_uuid(uuid_v7(DateTime::UNIX_EPOCH))
    }

    fn profile(id: UserId) -> Arc<Profile> {
        Arc::new(Profile {
            id,
            version: 1,
            handle: "ada".to_owned(),
            display_name: "Ada \"the first\"".to_owned(),
            bio: "Line\nbreak".to_owned(),
            created_at: DateTime::UNIX_EPOCH,
            protected: false,
            counts: ProfileCounts {
                posts: 2,
                followers: -1,
                following: 3,
            },
            audience: None,
        })
    }

    fn post(author: UserId, visibility: Visibility) -> Post {
        let text = PostText::parse("hello #world @bob https://example.org").unwrap();
        Post {
            id: PostId::from_uuid(uuid_v7(DateTime::UNIX_EPOCH)),
            version: 2,
            author,
            entities: Entities::of(&text),
            text: text.into_string(),
            in_reply_to: None,
            repost_of: None,
            visibility,
            created_at: DateTime::UNIX_EPOCH,
            edited_at: Some(DateTime::UNIX_EPOCH + TimeDelta::milliseconds(1_234)),
            position: None,
            counts: PostCounts {
                likes: 5,
                reposts: -2,
                replies: 1,
            },
        }
    }

    fn loaded(viewer: Option<UserId>, authors: AuthorFilter) -> Loaded {
        Loaded {
            posts: Found::default(),
            profiles: Found::default(),
            relations: Found::default(),
            viewer,
            authors,
            now: DateTime::UNIX_EPOCH,
        }
    }

    impl Loaded {
        fn with(mut self, post: &Post) -> Self {
            self.posts.insert(post.id, Some(Arc::new(post.clone())));
            self.profiles.insert(post.author, Some(profile(post.author)));
            self
        }
    }

    fn repost(author: UserId, original: &Post) -> Post {
        let repost_of = Some(PostReference {
            post: original.id,
            author: original.author,
        });
        Post {
            repost_of,
            text: String::new(),
            ..post(author, Visibility::Public)
        }
    }

    #[test]
    fn borrowed_json_is_that_of_the_api_types() {
        let (viewer, author, reposter) = (user(), user(), user());
        let original = post(author, Visibility::Public);
        let repost = repost(reposter, &original);
        let mut loaded = loaded(Some(viewer), AuthorFilter::Anybody)
            .with(&original)
            .with(&repost);
        loaded
            .relations
            .insert(RelationId::like(viewer, original.id), Held::Yes);
        let shown = loaded.shown(&Candidate::from(&repost)).unwrap();
        let json = serde_json::to_string(&shown).unwrap();
        let parsed: api::Post = serde_json::from_str(&json).unwrap();
        assert_eq!(serde_json::to_string(&parsed).unwrap(), json);
        let inner = parsed.repost_of.unwrap();
        assert_eq!(
            (inner.id, inner.author.id, parsed.author.id),
            (original.id, author, reposter)
        );
        assert_eq!(
            inner.counts,
            Some(api::PostCounts {
                likes: 5,
                reposts: 0,
                replies: 1
            })
        );
        assert_eq!((parsed.counts, parsed.viewer), (inner.counts, inner.viewer));
        assert_eq!(
            inner.viewer,
            Some(api::PostViewer {
                liked: true,
                reposted: false
            })
        );

        let json = serde_json::to_string(&ShownUser::from(profile(author))).unwrap();
        let parsed: api::User = serde_json::from_str(&json).unwrap();
        assert_eq!(serde_json::to_string(&parsed).unwrap(), json);
        assert_eq!(
            parsed.counts,
            Some(api::UserCounts {
                posts: 2,
                followers: 0,
                following: 3
            })
        );
    }

    #[rstest]
    #[case::anybody_sees_public_posts(AuthorFilter::Anybody, Visibility::Public, None, false, true)]
    #[case::a_stranger_sees_public_posts(AuthorFilter::Anybody, Visibility::Public, Some(false), false, true)]
    #[case::nobody_sees_posts_for_followers_without_a_token(
        AuthorFilter::Anybody,
        Visibility::Followers,
        None,
        false,
        false
    )]
    #[case::a_stranger_does_not_see_posts_for_followers(
        AuthorFilter::Anybody,
        Visibility::Followers,
        Some(false),
        false,
        false
    )]
    #[case::a_follower_sees_posts_for_followers(AuthorFilter::Anybody, Visibility::Followers, Some(false), true, true)]
    #[case::the_author_sees_them(AuthorFilter::Anybody, Visibility::Followers, Some(true), false, true)]
    #[case::home_has_nothing_by_strangers(AuthorFilter::Followed, Visibility::Public, Some(false), false, false)]
    #[case::home_has_what_one_follows(AuthorFilter::Followed, Visibility::Followers, Some(false), true, true)]
    #[case::home_has_ones_own_posts(AuthorFilter::Followed, Visibility::Public, Some(true), false, true)]
    fn who_sees_what(
        #[case] authors: AuthorFilter,
        #[case] visibility: Visibility,
        // None: no token. Some(true): the author's.
        #[case] viewer: Option<bool>,
        #[case] follows: bool,
        #[case] shown: bool,
    ) {
        let author = user();
        let post = post(author, visibility);
        let viewer = viewer.map(|is_author| if is_author { author } else { user() });
        let mut loaded = loaded(viewer, authors).with(&post);
        if let Some(viewer) = viewer {
            loaded.relations.insert(
                RelationId::follow(viewer, author),
                if follows { Held::Yes } else { Held::No },
            );
        }
        assert_eq!(loaded.shown(&Candidate::from(&post)).is_some(), shown);
    }

    #[test]
    fn what_is_not_live_is_not_shown() {
        let (author, reposter) = (user(), user());
        let original = post(author, Visibility::Public);
        let repost = repost(reposter, &original);
        let whole = || loaded(None, AuthorFilter::Anybody).with(&original).with(&repost);
        let candidate = Candidate::from(&repost);
        assert!(whole().shown(&candidate).is_some());
        for gone in [original.id, repost.id] {
            let mut loaded = whole();
            loaded.posts.insert(gone, None);
            assert!(loaded.shown(&candidate).is_none());
        }
        for gone in [author, reposter] {
            let mut loaded = whole();
            loaded.profiles.insert(gone, None);
            assert!(loaded.shown(&candidate).is_none());
        }
    }

    #[test]
    fn without_a_token_there_are_no_flags() {
        let post = post(user(), Visibility::Public);
        let shown = loaded(None, AuthorFilter::Anybody)
            .with(&post)
            .shown(&Candidate::from(&post))
            .unwrap();
        let json = serde_json::to_value(&shown).unwrap();
        assert!(json.get("viewer").is_none(), "{json}");
    }
}
