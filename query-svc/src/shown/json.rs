//! The JSON of shown posts and users, as [`model::api`] describes it. It is written from the cache, without a copy.

use chrono::{DateTime, Utc};
use model::api;
use model::entities::Entities;
use model::ids::{PostId, UserId};
use model::values::{ProfileField, Visibility};
use serde::{Serialize, Serializer};
use views::{Post, Profile};

use super::{Quoted, ShownAuthor, ShownPost, ShownUser, quoted_by};

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
    quote: Option<QuoteJson<'a>>,
    visibility: Visibility,
    #[serde(serialize_with = "api::time")]
    created_at: DateTime<Utc>,
    #[serde(serialize_with = "api::time")]
    edited_at: Option<DateTime<Utc>>,
    #[serde(skip_serializing_if = "api::is_false")]
    hidden: bool,
    counts: api::PostCounts,
    #[serde(skip_serializing_if = "api::is_false")]
    pinned: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    viewer: Option<api::PostViewer>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    filtered: &'a [api::Filtered],
}

/// [`api::Quote`], borrowed.
#[derive(Serialize)]
struct QuoteJson<'a> {
    state: api::QuoteState,
    post: Option<&'a PostJson<'a>>,
}

impl<'a> QuoteJson<'a> {
    fn state(state: api::QuoteState) -> Self {
        Self { state, post: None }
    }

    /// What the post quotes. `quoted` is the JSON of a shown one.
    fn of(quote: &Quoted, quoted: Option<&'a PostJson<'a>>) -> Self {
        match quote {
            Quoted::Shown(..) => Self {
                state: api::QuoteState::Shown,
                post: quoted,
            },
            Quoted::Unavailable => Self::state(api::QuoteState::Unavailable),
            Quoted::Detached => Self::state(api::QuoteState::Detached),
        }
    }

    /// Of a post that is shown as a quote: it shows no further one.
    fn nested(post: &Post) -> Option<Self> {
        post.quote_of?;
        Some(Self::state(match quoted_by(post) {
            Some(_) => api::QuoteState::Nested,
            None => api::QuoteState::Detached,
        }))
    }
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
    /// A post by itself.
    fn new(post: &'a Post, author: &'a Profile) -> Self {
        Self {
            id: post.id,
            author: author.into(),
            text: &post.text,
            entities: &post.entities,
            warning: post.warning.as_deref(),
            language: post.language.as_deref(),
            attachments: [],
            in_reply_to: post.in_reply_to.map(|parent| parent.post),
            repost_of: None,
            quote: None,
            visibility: post.visibility,
            created_at: post.created_at,
            edited_at: post.edited_at,
            counts: counts_of(post),
            pinned: false,
            viewer: None,
            filtered: &[],
            hidden: post.hidden,
        }
    }
}

impl Serialize for ShownPost {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let quoted = match &self.quote {
            Some(Quoted::Shown(post, author)) => Some(PostJson {
                quote: QuoteJson::nested(post),
                ..PostJson::new(post, author)
            }),
            _ => None,
        };
        let quote = self.quote.as_ref().map(|quote| QuoteJson::of(quote, quoted.as_ref()));
        let (viewer, json) = (self.viewer, PostJson::new(&self.post, &self.author));
        let json = PostJson {
            pinned: self.pinned,
            viewer,
            filtered: &self.filtered,
            ..json
        };
        let Some((post, author)) = &self.original else {
            return PostJson { quote, ..json }.serialize(serializer);
        };
        let original = PostJson {
            quote,
            viewer,
            ..PostJson::new(post, author)
        };
        PostJson {
            counts: original.counts,
            repost_of: Some(&original),
            ..json
        }
        .serialize(serializer)
    }
}

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
    #[serde(skip_serializing_if = "api::is_false")]
    suspended: bool,
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
            bio: if self.name_only { "" } else { &profile.bio },
            protected: profile.protected,
            fields: if self.name_only { &[] } else { &profile.fields },
            avatar: None,
            created_at: profile.created_at,
            suspended: profile.suspended,
            counts: (!self.name_only).then_some(counts),
        }
        .serialize(serializer)
    }
}

pub(super) fn counts_of(post: &Post) -> api::PostCounts {
    api::PostCounts {
        likes: count(post.counts.likes),
        reposts: count(post.counts.reposts),
        replies: count(post.counts.replies),
        quotes: count(post.counts.quotes),
    }
}

/// Rows arrive in any order, so a count may be below zero for a moment. Clients must not see that.
fn count(stored: i64) -> u64 {
    u64::try_from(stored).unwrap_or(0)
}
