//! Which posts and users are shown to whom, and as which JSON.
//!
//! Only this module decides who may see a post, and every list asks it:
//!
//! - The post and its author must be live. For a repost, the original and its author must be live too, and seen by the viewer.
//! - Nobody sees posts of somebody whom they block, or who blocks them.
//! - A post that not everybody may see is shown to its author and to those whom it mentions. A post for followers is also shown
//!   to those who follow the author now. While an account is protected, all its posts and reposts are at most for followers.
//! - Lists that the viewer has not gone looking for leave out whom the viewer mutes.
//!
//! A denial is written in the partition of the author's posts: a block by the author, the end of a follow, protection. So what
//! the stream has shown up to a post includes what was denied before it. Posts may be read ahead of the stream; then what
//! denies is read again, after the post and not from memory ([`ReadModel::show`]).
//!
//! The write side has the same rules (`commands/src/domain/visibility.rs`).

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use chrono::{DateTime, Utc};
use event_log::position::Position;
use model::api;
use model::entities::Entities;
use model::ids::{PostId, UserId};
use model::tags::TagKey;
use model::values::{ProfileField, Visibility};
use serde::{Serialize, Serializer};

use crate::cursor::Cursor;
use crate::documents::{Found, Held, MaybePost, MaybeProfile};
use crate::handled::{Appearance, Handled};
use crate::read_model::{ReadError, ReadModel};
use views::posts::PostHead;
use views::{Entry, Post, PostReference, Profile, RelationId, TaggedPost};

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

impl From<TaggedPost> for Candidate {
    fn from(tagged: TaggedPost) -> Self {
        Self {
            id: tagged.post,
            author: tagged.author,
            original: None,
            position: None,
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

/// Which posts a list may contain. Whether the viewer may see a post is another question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AuthorFilter<'a> {
    /// The posts of the viewer, and of accounts that the viewer follows now; and public posts with one of these tags, which the viewer
    /// follows now. Nothing of whom the viewer mutes.
    Followed(&'a [TagKey]),
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
        authors: AuthorFilter<'_>,
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
        loaded: &mut Loaded<'_>,
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

impl ReadModel {
    /// The protected accounts among these whose posts and reposts are not for the viewer.
    pub(crate) async fn closed_to(
        &self,
        viewer: Option<UserId>,
        profiles: impl Iterator<Item = &Arc<Profile>>,
    ) -> Result<HashSet<UserId>, ReadError> {
        let protected = profiles.filter(|profile| profile.protected).map(|profile| profile.id);
        let mut closed: HashSet<UserId> = protected.filter(|&user| Some(user) != viewer).collect();
        let follows = viewer
            .into_iter()
            .flat_map(|viewer| closed.iter().map(move |&user| RelationId::follow(viewer, user)));
        let follows = self.relations(follows.collect()).await?;
        closed.retain(|&user| {
            let follow = viewer.and_then(|viewer| follows.get(&RelationId::follow(viewer, user)));
            follow.is_none_or(|held| *held != Held::Yes)
        });
        Ok(closed)
    }
}

impl ReadModel {
    /// Those of these users of whom a viewer is told what they do: no block is between the two, and the viewer does not mute them, or mutes them
    /// everywhere but in notifications. A viewer who does not exist any more is told nothing.
    pub(crate) async fn heard_by(
        &self,
        viewer: UserId,
        users: Vec<UserId>,
    ) -> Result<HashMap<UserId, Arc<Profile>>, ReadError> {
        let mutes: Vec<RelationId> = users.iter().map(|&user| RelationId::mute(viewer, user)).collect();
        let (mut profiles, blocks, mutes) = futures_util::try_join!(
            self.profiles(users.iter().copied().chain([viewer]).collect()),
            self.blocks_with(Some(viewer), users.iter().copied()),
            self.relations(mutes),
        )?;
        if profiles.remove(&viewer).flatten().is_none() {
            return Ok(HashMap::new());
        }
        let now = self.clock.now();
        let heard = |user: UserId| {
            let mute = mutes.get(&RelationId::mute(viewer, user));
            !blocks.either_way(user) && !mute.is_some_and(|mute| mute.silences_at(now))
        };
        let profiles = profiles.into_iter().filter(|&(user, _)| heard(user));
        Ok(profiles.filter_map(|(user, profile)| Some((user, profile?))).collect())
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
struct Loaded<'a> {
    posts: Found<PostId, MaybePost>,
    profiles: Found<UserId, MaybeProfile>,
    relations: Found<RelationId, Held>,
    viewer: Option<UserId>,
    authors: AuthorFilter<'a>,
    now: DateTime<Utc>,
}

impl Loaded<'_> {
    fn shown(&self, candidate: &Candidate) -> Option<ShownPost> {
        let (post, author) = self.seen(candidate.id, candidate.author)?;
        if let AuthorFilter::Followed(tags) = self.authors
            && !self.is_own_or_followed(candidate.author)
            && !is_found_by(tags, &post, &author)
        {
            return None;
        }
        let original = match candidate.original {
            Some(original) => {
                let (post, author) = self.seen(original.post, original.author)?;
                // Only posts that everybody may see can be reposted. If an original is ever another one, a repost must not reveal it.
                if !post.visibility.is_open() {
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
        let visibility = visibility_now(&post, &profile);
        if self.authors == AuthorFilter::Public && visibility != Visibility::Public {
            return None;
        }
        let Some(viewer) = self.viewer else {
            return visibility.is_open().then_some((post, profile));
        };
        if viewer == author {
            return Some((post, profile));
        }
        let admitted = match visibility {
            Visibility::Public | Visibility::Unlisted => true,
            Visibility::Followers => post.entities.mention(viewer) || self.follows(author),
            Visibility::Mentioned => post.entities.mention(viewer),
        };
        let blocked = blocks(viewer, author).into_iter().any(|block| self.holds(block));
        let unwanted = self.authors != AuthorFilter::Anybody && self.holds(RelationId::mute(viewer, author));
        (admitted && !blocked && !unwanted).then_some((post, profile))
    }

    fn follows(&self, author: UserId) -> bool {
        self.viewer
            .is_some_and(|viewer| self.holds(RelationId::follow(viewer, author)))
    }

    fn is_own_or_followed(&self, author: UserId) -> bool {
        self.viewer == Some(author) || self.follows(author)
    }

    fn holds(&self, relation: RelationId) -> bool {
        self.relations.get(&relation).copied().unwrap_or_default().at(self.now)
    }
}

/// The visibility that a post has now. While its author is protected, at most followers see it.
fn visibility_now(post: &Post, author: &Profile) -> Visibility {
    if author.protected && post.visibility.is_open() {
        Visibility::Followers
    } else {
        post.visibility
    }
}

/// Whether one of these tags brings a post home. Only public posts can be found by a tag.
fn is_found_by(tags: &[TagKey], post: &Post, author: &Profile) -> bool {
    visibility_now(post, author) == Visibility::Public && tags.iter().any(|tag| post.tags.contains(tag))
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
    warning: Option<&'a str>,
    language: Option<&'a str>,
    attachments: [api::Media; 0],
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

impl<'a> From<&'a Profile> for AuthorJson<'a> {
    fn from(profile: &'a Profile) -> Self {
        Self {
            id: profile.id,
            handle: &profile.handle,
            display_name: &profile.display_name,
        }
    }
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
            author: author.into(),
            text: &post.text,
            entities: &post.entities,
            warning: post.warning.as_deref(),
            language: post.language.as_deref(),
            attachments: [],
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

/// A user, as the author of a post or of something else.
#[derive(Debug, Clone)]
pub(crate) struct ShownAuthor(pub(crate) Arc<Profile>);

impl Serialize for ShownAuthor {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        AuthorJson::from(self.0.as_ref()).serialize(serializer)
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
    fields: &'a [ProfileField],
    avatar: Option<api::Media>,
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
            fields: if self.blocks_viewer { &[] } else { &profile.fields },
            avatar: None,
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
mod tests;
