//! Which posts and users are shown to whom. Their JSON is in [`json`].
//!
//! Only this module decides who may see a post, and every list asks it:
//!
//! - The post and its author must be live. For a repost, the original and its author must be live too, and seen by the viewer.
//! - Nobody sees posts of somebody whom they block, or who blocks them.
//! - A post that not everybody may see is shown to its author and to those whom it mentions. A post for followers is also shown
//!   to those who follow the author now. While an account is protected, all its posts and reposts are at most for followers.
//! - A quoted post is shown in the post that quotes it only to those who see it anyway. The others see the quoting post without it.
//! - Only its author sees a post that moderators have hidden, and the posts and reposts of a suspended account.
//! - Lists that the viewer has not gone looking for leave out whom the viewer mutes.
//! - What belongs to a home timeline, and to the timeline of a list, is decided in [`place`].
//! - What a filter of the viewer hides is left out ([`crate::filters`]).
//!
//! A denial is written in the partition of the author's posts: a block by the author, the end of a follow, protection. So what
//! the stream has shown up to a post includes what was denied before it. Posts may be read ahead of the stream; then what
//! denies is read again, after the post and not from memory ([`ReadModel::show`]).
//!
//! The write side has the same rules (`commands/src/domain/visibility.rs`).

mod json;
mod place;

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use chrono::{DateTime, Utc};
use event_log::position::Position;
use model::api;
use model::ids::{PostId, UserId};
use model::tags::TagKey;
use model::values::Visibility;

pub(crate) use self::place::{HomeRules, Replies};
use crate::cursor::Cursor;
use crate::documents::{Found, Held, ListSources, MaybePost, MaybeProfile};
use crate::filters::{Applied, Filtering, Filters};
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
    /// A post, not a repost.
    pub(crate) fn of(id: PostId, author: UserId) -> Self {
        Self {
            id,
            author,
            original: None,
            position: None,
        }
    }

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
    /// The posts of the viewer, and of accounts that the viewer follows now; and public posts with a tag that the viewer follows now. Nothing
    /// of whom the viewer mutes, or keeps out by an exclusive list.
    Followed(&'a HomeRules),
    /// The posts and reposts of the members of a list, and public posts with one of its tags. Nothing of whom the viewer mutes.
    List(&'a ListSources),
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
    /// What the post quotes, or for a repost, what its original does.
    quote: Option<Quoted>,
    /// The author shows it first.
    pinned: bool,
    viewer: Option<api::PostViewer>,
    filtered: Vec<api::Filtered>,
}

/// What a post quotes.
#[derive(Debug, Clone)]
enum Quoted {
    Shown(Arc<Post>, Arc<Profile>),
    /// It is deleted, or the viewer may not see it or does not want to.
    Unavailable,
    Detached,
}

impl Quoted {
    fn post(&self) -> Option<&Arc<Post>> {
        match self {
            Quoted::Shown(post, _) => Some(post),
            Quoted::Unavailable | Quoted::Detached => None,
        }
    }
}

/// A user, as a viewer sees them.
#[derive(Debug, Clone)]
pub(crate) struct ShownUser {
    pub(crate) profile: Arc<Profile>,
    /// The viewer sees the name and the handle only: the user blocks the viewer, or is suspended.
    name_only: bool,
}

impl ShownUser {
    pub(crate) fn to(viewer: Option<UserId>, profile: Arc<Profile>, blocks: &Blocks) -> Self {
        Self {
            name_only: blocks.by(profile.id) || is_closed(viewer, &profile),
            profile,
        }
    }
}

/// Whether the account is suspended, and the viewer somebody else. Then its lists are closed, and it is in none of others.
pub(crate) fn is_closed(viewer: Option<UserId>, profile: &Profile) -> bool {
    profile.suspended && viewer != Some(profile.id)
}

impl ReadModel {
    /// What `viewer` sees of each candidate, in the same order. Everything that is needed is loaded at once.
    pub(crate) async fn show(
        &self,
        candidates: &[Candidate],
        viewer: Option<UserId>,
        authors: AuthorFilter<'_>,
        filtering: Filtering,
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
        // Before the relations: what the stream shows later may be missing from them.
        let streamed = self.documents.as_ref().map(|_| self.positions.handled());
        let posts_and_relations = async {
            let posts = self.posts(posts).await?;
            let Some(viewer) = viewer else {
                return Ok((posts, Found::default()));
            };
            let relations = candidates.iter().flat_map(|candidate| {
                let authors = [
                    Some(candidate.author),
                    candidate.original.map(|original| original.author),
                ];
                let to_authors = authors.into_iter().flatten().filter(move |&author| author != viewer);
                let to_authors = to_authors.flat_map(move |author| {
                    deciding(viewer, author)
                        .into_iter()
                        .chain([RelationId::mute(viewer, author)])
                });
                let target = posts.get(&candidate.target()).and_then(Option::as_deref);
                to_authors.chain(target.into_iter().flat_map(move |post| opinions(viewer, post)))
            });
            let relations = self.relations_of(viewer, relations.collect()).await?;
            Ok((posts, relations))
        };
        let ((posts, relations), profiles, kept_out, filters) = futures_util::try_join!(
            posts_and_relations,
            self.profiles(profiles),
            self.kept_out(authors, viewer, candidates),
            self.filters_for(viewer, filtering),
        )?;
        let now = self.clock.now();
        let mut loaded = Loaded {
            posts,
            profiles,
            relations,
            viewer,
            authors,
            kept_out,
            filters: filters.and_then(|filters| filters.applied(filtering, now)),
            now,
        };
        self.load_quoted(&mut loaded).await?;
        self.look_again(&mut loaded, streamed.as_ref()).await?;
        self.load_answered(&mut loaded, candidates).await?;
        Ok(candidates.iter().map(|candidate| loaded.shown(candidate)).collect())
    }

    async fn filters_for(
        &self,
        viewer: Option<UserId>,
        filtering: Filtering,
    ) -> Result<Option<Arc<Filters>>, ReadError> {
        match viewer.filter(|_| filtering != Filtering::Off) {
            Some(viewer) => self.filters_of(viewer).await,
            None => Ok(None),
        }
    }

    /// Which posts are quoted is in the rows of those that quote them. So these posts, their authors, and what decides whether they are shown,
    /// are loaded afterwards.
    async fn load_quoted(&self, loaded: &mut Loaded<'_>) -> Result<(), ReadError> {
        let quoting = loaded.posts.values().flatten();
        let quoted: Vec<PostReference> = quoting.filter_map(|post| quoted_by(post)).collect();
        if quoted.is_empty() {
            return Ok(());
        }
        let others = quoted.iter().filter(|quoted| Some(quoted.author) != loaded.viewer);
        let relations = others.flat_map(|quoted| {
            let to_author = |viewer| {
                deciding(viewer, quoted.author)
                    .into_iter()
                    .chain([RelationId::mute(viewer, quoted.author)])
            };
            loaded.viewer.into_iter().flat_map(to_author)
        });
        let relations = relations.collect();
        let relations = async {
            match loaded.viewer {
                Some(viewer) => self.relations_of(viewer, relations).await,
                None => Ok(Found::default()),
            }
        };
        let (posts, profiles, relations) = futures_util::try_join!(
            self.posts(quoted.iter().map(|quoted| quoted.post).collect()),
            self.profiles(quoted.iter().map(|quoted| quoted.author).collect()),
            relations,
        )?;
        loaded.posts.extend(posts);
        loaded.profiles.extend(profiles);
        loaded.relations.extend(relations);
        Ok(())
    }

    /// Reads what denies, from the database, for all posts that `streamed` does not cover. Without a stream, that is all of them.
    async fn look_again(&self, loaded: &mut Loaded<'_>, streamed: Option<&Handled>) -> Result<(), ReadError> {
        let posts = loaded.posts.values().flatten();
        let ahead = posts.filter(|post| !streamed.is_some_and(|streamed| streamed.covers(post)));
        let authors: BTreeSet<UserId> = ahead.map(|post| post.author).collect();
        if authors.is_empty() {
            return Ok(());
        }
        let (profiles, relations) = self.denials(loaded.viewer, authors).await?;
        loaded.profiles.extend(profiles);
        loaded.relations.extend(relations);
        Ok(())
    }

    /// What may deny a viewer what these users do, from the database: their profiles, and what is between them and the viewer.
    async fn denials(
        &self,
        viewer: Option<UserId>,
        users: BTreeSet<UserId>,
    ) -> Result<(Found<UserId, MaybeProfile>, Found<RelationId, Held>), ReadError> {
        let users: Vec<UserId> = users.into_iter().collect();
        let others = users.iter().filter(|&&user| Some(user) != viewer);
        let relations: Vec<RelationId> = others
            .flat_map(|&user| viewer.into_iter().flat_map(move |viewer| deciding(viewer, user)))
            .collect();
        let (live, standings) = futures_util::try_join!(
            self.ask(self.views.profiles.live_by_ids(&users)),
            self.ask(self.views.relations.standings(&relations)),
        )?;
        let mut profiles: Found<UserId, MaybeProfile> = users.into_iter().map(|user| (user, None)).collect();
        profiles.extend(live.into_iter().map(|it| (it.id, Some(Arc::new(it)))));
        let mut held: Found<RelationId, Held> = relations.into_iter().map(|id| (id, Held::No)).collect();
        held.extend(standings.iter().map(|it| (it.id, Held::from(it))));
        Ok((profiles, held))
    }

    /// Those of these users whose reposts are not for the viewer, as the database has it.
    pub(crate) async fn denied_now(
        &self,
        viewer: UserId,
        users: BTreeSet<UserId>,
    ) -> Result<HashSet<UserId>, ReadError> {
        if users.is_empty() {
            return Ok(HashSet::new());
        }
        let (profiles, held) = self.denials(Some(viewer), users).await?;
        let now = self.clock.now();
        let holds = |relation: RelationId| held.get(&relation).is_some_and(|held| held.at(now));
        let admits = |user: UserId, profile: &Profile| {
            let is_open = !profile.protected || holds(RelationId::follow(viewer, user));
            let blocked = blocks(viewer, user).into_iter().any(&holds);
            user == viewer || is_open && !blocked && !is_closed(Some(viewer), profile)
        };
        let denied = profiles.iter().filter(|(user, profile)| {
            let admitted = profile.as_ref().is_some_and(|profile| admits(**user, profile));
            !admitted
        });
        Ok(denied.map(|(&user, _)| user).collect())
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
        let held = self.relations_of(viewer, blocks.collect()).await?;
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
    /// What moderators see of reported posts, in the same order, whatever hides them from others. None if a post is gone.
    pub(crate) async fn show_reported(&self, report: &views::Report) -> Result<Vec<Option<ShownPost>>, ReadError> {
        let (posts, mut profiles) =
            futures_util::try_join!(self.posts(report.posts.clone()), self.profiles(vec![report.user]))?;
        let author = profiles.remove(&report.user).flatten();
        let shown = report.posts.iter().map(|id| {
            let post = posts.get(id)?.clone()?;
            Some(ShownPost {
                author: author.clone().filter(|author| author.id == post.author)?,
                // A report is about the post itself.
                quote: post.quote_of.map(|_| Quoted::Unavailable),
                post,
                original: None,
                pinned: false,
                viewer: None,
                filtered: Vec::new(),
            })
        });
        Ok(shown.collect())
    }

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
    /// Those of these users of whom a viewer is told what they do: they are not suspended, no block is between the two, and the viewer does
    /// not mute them, or mutes them everywhere but in notifications. A viewer who does not exist any more is told nothing.
    pub(crate) async fn heard_by(
        &self,
        viewer: UserId,
        users: Vec<UserId>,
    ) -> Result<HashMap<UserId, Arc<Profile>>, ReadError> {
        let mutes: Vec<RelationId> = users.iter().map(|&user| RelationId::mute(viewer, user)).collect();
        let (mut profiles, blocks, mutes) = futures_util::try_join!(
            self.profiles(users.iter().copied().chain([viewer]).collect()),
            self.blocks_with(Some(viewer), users.iter().copied()),
            self.relations_of(viewer, mutes),
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
        let profiles = profiles.filter_map(|(user, profile)| Some((user, profile?)));
        Ok(profiles
            .filter(|(_, profile)| !is_closed(Some(viewer), profile))
            .collect())
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

/// The viewer's like and repost of a post, if anybody has liked or reposted it. They change in the transactions in which the post's counts do.
fn opinions(viewer: UserId, post: &Post) -> impl Iterator<Item = RelationId> {
    let like = (post.counts.likes != 0).then(|| RelationId::like(viewer, post.id));
    let repost = (post.counts.reposts != 0).then(|| RelationId::repost(viewer, post.id));
    like.into_iter().chain(repost)
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
    /// Whom the viewer keeps out of the home timeline by an exclusive list.
    kept_out: HashSet<UserId>,
    filters: Option<Applied>,
    now: DateTime<Utc>,
}

impl Loaded<'_> {
    fn shown(&self, candidate: &Candidate) -> Option<ShownPost> {
        let (post, author) = self.seen(candidate.id, candidate.author)?;
        if !self.belongs(candidate, &post, &author) {
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
        let quote = self.quoted(original.as_ref().map_or(&post, |(original, _)| original));
        let quoted = quote.as_ref().and_then(Quoted::post);
        let filtered = self.filtered([Some(&post), original.as_ref().map(|(post, _)| post), quoted])?;
        let target = candidate.target();
        let viewer = self.viewer.map(|viewer| api::PostViewer {
            liked: self.holds(RelationId::like(viewer, target)),
            reposted: self.holds(RelationId::repost(viewer, target)),
        });
        Some(ShownPost {
            post,
            author,
            original,
            quote,
            pinned: false,
            viewer,
            filtered,
        })
    }

    fn quoted(&self, post: &Post) -> Option<Quoted> {
        post.quote_of?;
        let Some(quoted) = quoted_by(post) else {
            return Some(Quoted::Detached);
        };
        let seen = self.seen(quoted.post, quoted.author);
        Some(seen.map_or(Quoted::Unavailable, |(post, author)| Quoted::Shown(post, author)))
    }

    /// What the viewer's filters find in a post and in what it shows. None if one of them hides it. What the viewer wrote is never searched.
    fn filtered<const N: usize>(&self, parts: [Option<&Arc<Post>>; N]) -> Option<Vec<api::Filtered>> {
        let Some(filters) = &self.filters else {
            return Some(Vec::new());
        };
        let by_others = parts
            .into_iter()
            .flatten()
            .filter(|post| Some(post.author) != self.viewer);
        filters.look(by_others.flat_map(|post| {
            [Some(post.text.as_str()), post.warning.as_deref()]
                .into_iter()
                .flatten()
        }))
    }

    /// A post and its author, if both are live, and the viewer may see the post and wants to see it in this list.
    fn seen(&self, post: PostId, author: UserId) -> Option<(Arc<Post>, Arc<Profile>)> {
        let post = self.posts.get(&post)?.clone()?;
        let profile = self.profiles.get(&author)?.clone()?;
        if (post.hidden || profile.suspended) && self.viewer != Some(author) {
            return None;
        }
        let visibility = visibility_now(&post, &profile);
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

/// The post that this one quotes, unless the quote is detached.
fn quoted_by(post: &Post) -> Option<PostReference> {
    post.quote_of.filter(|_| post.quoting.is_some())
}

/// Whether one of these tags brings a post home, or into a list. Only public posts can be found by a tag.
fn is_found_by(tags: &[TagKey], post: &Post, author: &Profile) -> bool {
    visibility_now(post, author) == Visibility::Public && tags.iter().any(|tag| post.tags.contains(tag))
}

impl ShownPost {
    /// The same, at the beginning of the author's posts.
    pub(crate) fn pinned(self) -> Self {
        Self { pinned: true, ..self }
    }

    /// The counts that its JSON shows.
    pub(crate) fn counts(&self) -> api::PostCounts {
        json::counts_of(self.target())
    }

    /// The post that likes, reposts and replies refer to: for a repost, its original.
    pub(crate) fn target(&self) -> &Arc<Post> {
        self.original.as_ref().map_or(&self.post, |(original, _)| original)
    }
}

/// A user, as the author of a post or of something else.
#[derive(Debug, Clone)]
pub(crate) struct ShownAuthor(pub(crate) Arc<Profile>);

#[cfg(test)]
mod tests;
