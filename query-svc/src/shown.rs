//! Which posts and users are shown to whom, and as which JSON.
//!
//! Only this module decides who may see a post. The post and its author must be live. For a repost, the original and its
//! author must be live too. A post that not everybody may see is shown to its author, and to those whom it mentions; a post for followers
//! also to those who follow the author now. The write side has the same rules (`commands/src/domain/visibility.rs`).

use std::sync::Arc;

use chrono::{DateTime, Utc};
use event_log::position::Position;
use model::api;
use model::entities::Entities;
use model::ids::{PostId, UserId};
use model::values::{ProfileField, Visibility};
use serde::{Serialize, Serializer};

use crate::cursor::Cursor;
use crate::documents::{Found, MaybePost, MaybeProfile};
use crate::handled::Appearance;
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
    /// The posts of the viewer, and of accounts that the viewer follows now.
    Followed,
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

/// A user.
#[derive(Debug, Clone)]
pub(crate) struct ShownUser(pub(crate) Arc<Profile>);

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
                let follow = (candidate.author != viewer).then(|| RelationId::follow(viewer, candidate.author));
                let target = candidate.target();
                follow
                    .into_iter()
                    .chain([RelationId::like(viewer, target), RelationId::repost(viewer, target)])
            })
        });
        let relations = relations.collect();
        let (posts, profiles, relations) =
            futures_util::try_join!(self.posts(posts), self.profiles(profiles), self.relations(relations))?;
        let loaded = Loaded {
            posts,
            profiles,
            relations,
            viewer,
            authors,
        };
        Ok(candidates.iter().map(|candidate| loaded.shown(candidate)).collect())
    }
}

/// What was loaded for some candidates.
struct Loaded {
    posts: Found<PostId, MaybePost>,
    profiles: Found<UserId, MaybeProfile>,
    relations: Found<RelationId, bool>,
    viewer: Option<UserId>,
    authors: AuthorFilter,
}

impl Loaded {
    fn shown(&self, candidate: &Candidate) -> Option<ShownPost> {
        let (post, author) = self.live(candidate.id, candidate.author)?;
        if !self.admits(&post) || !self.belongs(&post) {
            return None;
        }
        let original = match candidate.original {
            Some(original) => {
                let (post, author) = self.live(original.post, original.author)?;
                // Only posts that everybody may see can be reposted. If an original is ever another one, a repost must not reveal it.
                Some((post, author)).filter(|(post, _)| post.visibility.is_open())
            }
            None => None,
        };
        if original.is_some() != candidate.original.is_some() {
            return None;
        }
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

    /// Whether the viewer may see the post.
    fn admits(&self, post: &Post) -> bool {
        let is_author = self.viewer == Some(post.author);
        let is_mentioned = || self.viewer.is_some_and(|viewer| post.entities.mention(viewer));
        match post.visibility {
            Visibility::Public | Visibility::Unlisted => true,
            Visibility::Followers => is_author || is_mentioned() || self.follows(post.author),
            Visibility::Mentioned => is_author || is_mentioned(),
        }
    }

    /// Whether the list may contain posts of this author.
    fn belongs(&self, post: &Post) -> bool {
        match self.authors {
            AuthorFilter::Followed => self.viewer == Some(post.author) || self.follows(post.author),
            AuthorFilter::Anybody => true,
        }
    }

    fn follows(&self, author: UserId) -> bool {
        self.viewer
            .is_some_and(|viewer| self.holds(RelationId::follow(viewer, author)))
    }

    fn live(&self, post: PostId, author: UserId) -> Option<(Arc<Post>, Arc<Profile>)> {
        let post = self.posts.get(&post)?.clone()?;
        let author = self.profiles.get(&author)?.clone()?;
        Some((post, author))
    }

    fn holds(&self, relation: RelationId) -> bool {
        self.relations.get(&relation).copied().unwrap_or(false)
    }
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

/// [`api::User`], borrowed.
#[derive(Serialize)]
struct UserJson<'a> {
    id: UserId,
    handle: &'a str,
    display_name: &'a str,
    bio: &'a str,
    fields: &'a [ProfileField],
    avatar: Option<api::Media>,
    #[serde(serialize_with = "api::time")]
    created_at: DateTime<Utc>,
    counts: api::UserCounts,
}

impl Serialize for ShownUser {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let profile = &self.0;
        let counts = api::UserCounts {
            posts: count(profile.counts.posts),
            followers: count(profile.counts.followers),
            following: count(profile.counts.following),
        };
        UserJson {
            id: profile.id,
            handle: &profile.handle,
            display_name: &profile.display_name,
            bio: &profile.bio,
            fields: &profile.fields,
            avatar: None,
            created_at: profile.created_at,
            counts,
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
