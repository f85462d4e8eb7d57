//! Which posts and users are shown to whom, and as which JSON.
//!
//! Only this module decides who may see a post. The post and its author must be live. For a repost, the original and its
//! author must be live too. A post for followers is shown only to its author and to those who follow the author now.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use event_log::position::Position;
use model::api;
use model::entities::Entities;
use model::ids::{PostId, UserId};
use model::tags::TagKey;
use model::values::Visibility;
use serde::{Serialize, Serializer};

use crate::cursor::Cursor;
use crate::documents::{Found, MaybePost, MaybeProfile};
use crate::handled::Appearance;
use crate::read_model::{ReadError, ReadModel};
use crate::timelines::TagFilter;
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
    /// The posts of the viewer, and of accounts that the viewer follows now, and public posts with one of these tags. The viewer follows the
    /// tags now.
    Followed(&'a [TagKey]),
    /// Public posts with these tags.
    Tagged(&'a TagFilter),
    Anybody,
}

impl AuthorFilter<'_> {
    /// Whether the list may contain a post. Tags find neither reposts nor posts that are not public, whatever the post's row says.
    fn lists(self, post: &Post, follows: impl Fn() -> bool) -> bool {
        let tags = || match (post.visibility, post.repost_of) {
            (Visibility::Public, None) => &post.tags[..],
            _ => &[],
        };
        match self {
            AuthorFilter::Followed(followed) => follows() || followed.iter().any(|tag| tags().contains(tag)),
            AuthorFilter::Tagged(filter) => filter.admits(tags()),
            AuthorFilter::Anybody => true,
        }
    }
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
struct Loaded<'a> {
    posts: Found<PostId, MaybePost>,
    profiles: Found<UserId, MaybeProfile>,
    relations: Found<RelationId, bool>,
    viewer: Option<UserId>,
    authors: AuthorFilter<'a>,
}

impl Loaded<'_> {
    fn shown(&self, candidate: &Candidate) -> Option<ShownPost> {
        let (post, author) = self.live(candidate.id, candidate.author)?;
        let follows = || {
            self.viewer.is_some_and(|viewer| {
                viewer == candidate.author || self.holds(RelationId::follow(viewer, candidate.author))
            })
        };
        if !self.authors.lists(&post, follows) || (post.visibility == Visibility::Followers && !follows()) {
            return None;
        }
        let original = match candidate.original {
            Some(original) => {
                let (post, author) = self.live(original.post, original.author)?;
                // Only public posts can be reposted. If an original is ever not public, a repost must not reveal it.
                Some((post, author)).filter(|(post, _)| post.visibility == Visibility::Public)
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
mod tests {
    use chrono::TimeDelta;
    use model::ids::uuid_v7;
    use model::tags::Tag;
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
            tags: Entities::of(&text).tags().into_iter().collect(),
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

    fn loaded(viewer: Option<UserId>, authors: AuthorFilter<'_>) -> Loaded<'_> {
        Loaded {
            posts: Found::default(),
            profiles: Found::default(),
            relations: Found::default(),
            viewer,
            authors,
        }
    }

    impl Loaded<'_> {
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
            tags: Vec::new(),
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
        loaded.relations.insert(RelationId::like(viewer, original.id), true);
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

        let json = serde_json::to_string(&ShownUser(profile(author))).unwrap();
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
    #[case::home_has_nothing_by_strangers(AuthorFilter::Followed(&[]), Visibility::Public, Some(false), false, false)]
    #[case::home_has_what_one_follows(AuthorFilter::Followed(&[]), Visibility::Followers, Some(false), true, true)]
    #[case::home_has_ones_own_posts(AuthorFilter::Followed(&[]), Visibility::Public, Some(true), false, true)]
    fn who_sees_what(
        #[case] authors: AuthorFilter<'_>,
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
            loaded.relations.insert(RelationId::follow(viewer, author), follows);
        }
        assert_eq!(loaded.shown(&Candidate::from(&post)).is_some(), shown);
    }

    #[test]
    fn a_tag_shows_public_posts_that_have_it_and_nothing_else() {
        let (author, reposter) = (user(), user());
        let (world, other) = ([TagKey::of("World")], [TagKey::of("other")]);
        let filter = |tag: &str| TagFilter::new(&Tag::parse(tag).unwrap(), &[], &[], &[]);
        let (tagged, others) = (filter("WORLD"), filter("other"));
        let public = post(author, Visibility::Public);
        // Such a row never has tags.
        let closed = post(author, Visibility::Followers);
        let repost = Post {
            tags: world.to_vec(),
            ..repost(reposter, &public)
        };
        let shows = |authors: AuthorFilter<'_>, follows: bool, shown: &Post| {
            let viewer = user();
            let mut loaded = loaded(Some(viewer), authors).with(&public).with(shown);
            loaded.relations.insert(RelationId::follow(viewer, author), follows);
            loaded.shown(&Candidate::from(shown)).is_some()
        };
        assert!(shows(AuthorFilter::Followed(&world), false, &public));
        assert!(!shows(AuthorFilter::Followed(&other), false, &public));
        assert!(
            shows(AuthorFilter::Followed(&other), true, &public),
            "the author is followed"
        );
        assert!(!shows(AuthorFilter::Followed(&world), false, &closed));
        assert!(shows(AuthorFilter::Followed(&world), true, &closed));
        assert!(!shows(AuthorFilter::Followed(&world), false, &repost));
        assert!(shows(AuthorFilter::Tagged(&tagged), false, &public));
        assert!(!shows(AuthorFilter::Tagged(&others), false, &public));
        assert!(
            !shows(AuthorFilter::Tagged(&tagged), true, &closed),
            "for followers too"
        );
        assert!(!shows(AuthorFilter::Tagged(&tagged), true, &repost));
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
