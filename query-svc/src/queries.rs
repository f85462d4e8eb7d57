//! What clients can ask. Queries don't know HTTP: the REST routes call them, and another protocol could too.
//!
//! A query reads one [`ReadModel`] and answers for one viewer. `None` means that there is no such post or user, or that the
//! viewer may not see it.

mod lists;
mod live;
mod notifications;
mod reports;

use std::collections::HashMap;
use std::sync::Arc;

use chrono::TimeDelta;
use event_log::clock_guard::ClockGuard;
use model::api;
use model::clock::SharedClock;
use model::ids::{FilterId, PostId, UserId};
use model::tags::Tag;
use model::values::FilterContext;
use views::{Post, PostReference, Profile, RelationId, Standing};

pub(crate) use self::live::{Belongs, LiveItem};
pub(crate) use self::notifications::NotificationPage;
use crate::bookmarks::Bookmarks;
use crate::documents::Held;
use crate::filters::Filtering;
use crate::handles::{Handles, UserName};
use crate::history::{Version, Versions};
use crate::paging::{self, Arrival, Listing, Page, PageRequest, Start};
use crate::people::{People, Which as WhichPeople};
use crate::read_model::{InUse, ReadError, ReadModel};
use crate::shown::{AuthorFilter, Candidate, Replies, ShownPost, ShownUser, is_closed};
use crate::tags::FollowedTags;
use crate::timelines::{Home, HomeSettings, Posts, TagFilter, Tagged, Which as WhichPosts};

/// The most ancestors in an answer, the nearest ones. To go further back, a client reads the thread of the oldest of them.
const MAX_ANCESTORS: usize = 50;

/// A post that the viewer has asked for by its id. A filter does not make it unreachable.
const ASKED_FOR: Filtering = Filtering::AskedFor(FilterContext::Thread);
const IN_THREADS: Filtering = Filtering::In(FilterContext::Thread);

/// What all queries share.
#[derive(Debug)]
pub(crate) struct Queries {
    pub(crate) clock: SharedClock,
    pub(crate) clock_guard: ClockGuard,
    pub(crate) prev_overlap: TimeDelta,
    pub(crate) home: HomeSettings,
    pub(crate) handles: Handles,
}

/// A post, the posts above it, and a page of the replies to it.
#[derive(Debug)]
pub(crate) struct Conversation {
    /// The oldest first.
    pub(crate) ancestors: Vec<ShownPost>,
    pub(crate) post: ShownPost,
    pub(crate) replies: Page<ShownPost>,
}

impl Queries {
    /// `visits`: the owner is the reader, and is no longer idle after this. Other readers leave no trace.
    pub(crate) async fn home(
        &self,
        read_model: &InUse,
        owner: UserId,
        visits: bool,
        replies: Replies,
        page: PageRequest,
    ) -> Result<Page<ShownPost>, ReadError> {
        // The floor of an owner who comes back is computed from our clock. While the clock may be wrong, the floor could be
        // too low: above it, entries that nobody wrote would be missing.
        let visits = visits && self.clock_guard.check().is_ok();
        let mut home = Home::new(read_model, owner, visits, replies, self.home, &self.clock);
        let page = self.page(read_model, &mut home, page).await?;
        home.note_visit().await;
        Ok(page)
    }

    pub(crate) async fn public(
        &self,
        read_model: &InUse,
        viewer: Option<UserId>,
        page: PageRequest,
    ) -> Result<Page<ShownPost>, ReadError> {
        self.posts(read_model, WhichPosts::Public, viewer, page).await
    }

    pub(crate) async fn tagged(
        &self,
        read_model: &InUse,
        filter: TagFilter,
        viewer: Option<UserId>,
        page: PageRequest,
    ) -> Result<Page<ShownPost>, ReadError> {
        read_model.check_has_tags()?;
        let mut tagged = Tagged {
            read_model,
            filter,
            viewer,
        };
        self.page(read_model, &mut tagged, page).await
    }

    /// A tag, named as the viewer wrote it: in the follow, or here.
    pub(crate) async fn tag(
        &self,
        read_model: &ReadModel,
        tag: &Tag,
        viewer: Option<UserId>,
    ) -> Result<api::Tag, ReadError> {
        read_model.check_has_tags()?;
        let asked = || tag.as_str().to_owned();
        let Some(viewer) = viewer else {
            return Ok(api::Tag {
                name: asked(),
                following: None,
            });
        };
        let key = tag.key();
        let follow = read_model
            .ask(read_model.views.followed_tags.find(viewer, &key))
            .await?;
        Ok(api::Tag {
            following: Some(follow.is_some()),
            name: follow.map_or_else(asked, |follow| follow.tag),
        })
    }

    pub(crate) async fn followed_tags(
        &self,
        read_model: &InUse,
        user: UserId,
        page: PageRequest,
    ) -> Result<Page<api::Tag>, ReadError> {
        read_model.check_has_tags()?;
        self.page(read_model, &mut FollowedTags { read_model, user }, page)
            .await
    }

    pub(crate) async fn bookmarks(
        &self,
        read_model: &InUse,
        user: UserId,
        page: PageRequest,
    ) -> Result<Page<ShownPost>, ReadError> {
        self.page(read_model, &mut Bookmarks { read_model, user }, page).await
    }

    /// Somebody whom the user blocks sees the name and the handle. So does everybody else while the user is suspended.
    pub(crate) async fn user(
        &self,
        read_model: &ReadModel,
        name: UserName,
        viewer: Option<UserId>,
    ) -> Result<Option<ShownUser>, ReadError> {
        let Some(profile) = self.profile(read_model, name).await? else {
            return Ok(None);
        };
        let blocks = read_model.blocks_with(viewer, [profile.id].into_iter()).await?;
        Ok(Some(ShownUser::to(viewer, profile, &blocks)))
    }

    pub(crate) async fn posts_of(
        &self,
        read_model: &InUse,
        author: UserName,
        viewer: Option<UserId>,
        page: PageRequest,
    ) -> Result<Option<Page<ShownPost>>, ReadError> {
        let Some(author) = self.open_profile(read_model, author, viewer).await? else {
            return Ok(None);
        };
        let (begins, polls) = (page.start == Start::Newest, matches!(page.start, Start::After(_)));
        let (mut posts, pinned) = futures_util::try_join!(
            self.posts(read_model, WhichPosts::By(author.id), viewer, page),
            pinned_by(read_model, author.id, viewer),
        )?;
        // They are not repeated where they would stand otherwise. Who polls is told of each post all the same.
        if !polls {
            let is_pinned = |post: &ShownPost| pinned.iter().any(|it| it.post.id == post.post.id);
            posts.items.retain(|post| !is_pinned(post));
        }
        if begins {
            posts.items.splice(0..0, pinned);
        }
        Ok(Some(posts))
    }

    pub(crate) async fn followers(
        &self,
        read_model: &InUse,
        user: UserName,
        viewer: Option<UserId>,
        page: PageRequest,
    ) -> Result<Option<Page<ShownUser>>, ReadError> {
        let user = self.open_profile(read_model, user, viewer).await?;
        let which = user.map(|user| WhichPeople::FollowersOf(user.id));
        self.people(read_model, which, viewer, page).await
    }

    pub(crate) async fn following(
        &self,
        read_model: &InUse,
        user: UserName,
        viewer: Option<UserId>,
        page: PageRequest,
    ) -> Result<Option<Page<ShownUser>>, ReadError> {
        let user = self.open_profile(read_model, user, viewer).await?;
        let which = user.map(|user| WhichPeople::FollowedBy(user.id));
        self.people(read_model, which, viewer, page).await
    }

    /// A list that only its owner sees.
    pub(crate) async fn own_people(
        &self,
        read_model: &InUse,
        which: fn(UserId) -> WhichPeople,
        owner: UserId,
        page: PageRequest,
    ) -> Result<Page<ShownUser>, ReadError> {
        let mut people = People {
            read_model,
            which: which(owner),
            viewer: Some(owner),
        };
        self.page(read_model, &mut people, page).await
    }

    /// One relationship for each user who exists, in the order of `others`.
    pub(crate) async fn relationships(
        &self,
        read_model: &ReadModel,
        viewer: UserId,
        others: &[UserId],
    ) -> Result<Vec<api::Relationship>, ReadError> {
        let ids: Vec<RelationId> = others
            .iter()
            .flat_map(|&other| {
                [
                    RelationId::follow(viewer, other),
                    RelationId::follow(other, viewer),
                    RelationId::block(viewer, other),
                    RelationId::block(other, viewer),
                    RelationId::mute(viewer, other),
                ]
            })
            .collect();
        let (profiles, standings) = futures_util::try_join!(
            read_model.profiles(others.to_vec()),
            read_model.ask(read_model.views.relations.standings(&ids)),
        )?;
        let standings: HashMap<RelationId, Standing> = standings.into_iter().map(|it| (it.id, it)).collect();
        let now = self.clock.now();
        let holds = |id| standings.get(&id).is_some_and(|it| Held::from(it).at(now));
        let waits = |id| standings.get(&id).is_some_and(|it| it.requested);
        let existing = others.iter().filter(|id| profiles[id].is_some());
        let relationships = existing.map(|&id| {
            let mute = RelationId::mute(viewer, id);
            api::Relationship {
                id,
                following: holds(RelationId::follow(viewer, id)),
                requested: waits(RelationId::follow(viewer, id)),
                followed_by: holds(RelationId::follow(id, viewer)),
                requested_by: waits(RelationId::follow(id, viewer)),
                blocking: holds(RelationId::block(viewer, id)),
                blocked_by: holds(RelationId::block(id, viewer)),
                muting: holds(mute),
                muted_until: standings.get(&mute).filter(|_| holds(mute)).and_then(|it| it.until),
            }
        });
        Ok(relationships.collect())
    }

    pub(crate) async fn post(
        &self,
        read_model: &ReadModel,
        id: PostId,
        viewer: Option<UserId>,
    ) -> Result<Option<ShownPost>, ReadError> {
        find(read_model, id, viewer, ASKED_FOR).await
    }

    /// The filters of a user, the last one made first. Those that are over are among them.
    pub(crate) async fn filters(&self, read_model: &ReadModel, owner: UserId) -> Result<Vec<api::Filter>, ReadError> {
        let filters = read_model.filters_of(owner).await?;
        Ok(filters.map_or_else(Vec::new, |filters| filters.all.clone()))
    }

    pub(crate) async fn filter(
        &self,
        read_model: &ReadModel,
        owner: UserId,
        id: FilterId,
    ) -> Result<Option<api::Filter>, ReadError> {
        let filters = read_model.filters_of(owner).await?;
        Ok(filters.and_then(|filters| filters.all.iter().find(|filter| filter.id == id).cloned()))
    }

    /// For a repost: the conversation of its original.
    pub(crate) async fn conversation(
        &self,
        read_model: &InUse,
        id: PostId,
        viewer: Option<UserId>,
        page: PageRequest,
    ) -> Result<Option<Conversation>, ReadError> {
        let post = match self.post(read_model, id, viewer).await? {
            Some(repost) if repost.post.repost_of.is_some() => {
                show(read_model, Candidate::from(repost.target().as_ref()), viewer, ASKED_FOR).await?
            }
            post => post,
        };
        let Some(post) = post else { return Ok(None) };
        let (ancestors, replies) = futures_util::try_join!(
            ancestors(read_model, &post, viewer),
            self.posts(read_model, WhichPosts::AnswersTo(post.post.id), viewer, page),
        )?;
        Ok(Some(Conversation {
            ancestors,
            post,
            replies,
        }))
    }

    /// For a repost: who likes its original. The same holds for [`Self::reposters`] and [`Self::history`].
    pub(crate) async fn likers(
        &self,
        read_model: &InUse,
        id: PostId,
        viewer: Option<UserId>,
        page: PageRequest,
    ) -> Result<Option<Page<ShownUser>>, ReadError> {
        let post = self.target(read_model, id, viewer).await?;
        let which = post.map(|post| {
            WhichPeople::LikersOf(PostReference {
                post: post.id,
                author: post.author,
            })
        });
        self.people(read_model, which, viewer, page).await
    }

    pub(crate) async fn reposters(
        &self,
        read_model: &InUse,
        id: PostId,
        viewer: Option<UserId>,
        page: PageRequest,
    ) -> Result<Option<Page<ShownUser>>, ReadError> {
        let post = self.target(read_model, id, viewer).await?;
        let which = post.map(|post| WhichPeople::RepostersOf(post.id));
        self.people(read_model, which, viewer, page).await
    }

    pub(crate) async fn quotes(
        &self,
        read_model: &InUse,
        id: PostId,
        viewer: Option<UserId>,
        page: PageRequest,
    ) -> Result<Option<Page<ShownPost>>, ReadError> {
        read_model.check_has_quotes()?;
        let Some(post) = self.target(read_model, id, viewer).await? else {
            return Ok(None);
        };
        let quotes = self.posts(read_model, WhichPosts::Quoting(post.id), viewer, page);
        quotes.await.map(Some)
    }

    pub(crate) async fn history(
        &self,
        read_model: &InUse,
        id: PostId,
        viewer: Option<UserId>,
        page: PageRequest,
    ) -> Result<Option<Page<Version>>, ReadError> {
        let Some(post) = self.target(read_model, id, viewer).await? else {
            return Ok(None);
        };
        let mut versions = Versions {
            read_model,
            post: post.id,
            newest: post.version,
        };
        paging::page(&mut versions, page, &Arrival::InOrder).await.map(Some)
    }

    async fn profile(&self, read_model: &ReadModel, name: UserName) -> Result<Option<Arc<Profile>>, ReadError> {
        match self.handles.find(read_model, name).await? {
            Some(id) => Ok(read_model.profiles(vec![id]).await?.remove(&id).flatten()),
            None => Ok(None),
        }
    }

    /// A user whose lists the viewer may see. A block in either direction closes them, and a suspension.
    async fn open_profile(
        &self,
        read_model: &ReadModel,
        name: UserName,
        viewer: Option<UserId>,
    ) -> Result<Option<Arc<Profile>>, ReadError> {
        let Some(profile) = self.profile(read_model, name).await? else {
            return Ok(None);
        };
        let blocks = read_model.blocks_with(viewer, [profile.id].into_iter()).await?;
        let closed = blocks.either_way(profile.id) || is_closed(viewer, &profile);
        Ok((!closed).then_some(profile))
    }

    /// The post that likes, reposts and replies refer to.
    async fn target(
        &self,
        read_model: &ReadModel,
        id: PostId,
        viewer: Option<UserId>,
    ) -> Result<Option<Arc<Post>>, ReadError> {
        let shown = find(read_model, id, viewer, Filtering::Off).await?;
        Ok(shown.map(|shown| shown.target().clone()))
    }

    async fn posts(
        &self,
        read_model: &InUse,
        which: WhichPosts,
        viewer: Option<UserId>,
        page: PageRequest,
    ) -> Result<Page<ShownPost>, ReadError> {
        self.page(read_model, &mut Posts::new(read_model, which, viewer), page)
            .await
    }

    async fn people(
        &self,
        read_model: &InUse,
        which: Option<WhichPeople>,
        viewer: Option<UserId>,
        page: PageRequest,
    ) -> Result<Option<Page<ShownUser>>, ReadError> {
        match which {
            Some(which) => {
                let mut people = People {
                    read_model,
                    which,
                    viewer,
                };
                self.page(read_model, &mut people, page).await.map(Some)
            }
            None => Ok(None),
        }
    }

    /// A page of a list whose items are ordered by ids, and ids by time.
    async fn page<L: Listing>(
        &self,
        read_model: &InUse,
        list: &mut L,
        request: PageRequest,
    ) -> Result<Page<L::Item>, ReadError> {
        let arrival = Arrival::Late {
            handled: read_model.handled.clone(),
            now: self.clock.now(),
            overlap: self.prev_overlap,
        };
        paging::page(list, request, &arrival).await
    }
}

/// The posts that an author shows first, if the viewer sees them.
async fn pinned_by(
    read_model: &ReadModel,
    author: UserId,
    viewer: Option<UserId>,
) -> Result<Vec<ShownPost>, ReadError> {
    let pins = read_model.ask(read_model.views.pins.of_user(author)).await?;
    let candidates: Vec<Candidate> = pins.into_iter().map(|post| Candidate::of(post, author)).collect();
    let filtering = Filtering::In(FilterContext::Profile);
    let shown = read_model
        .show(&candidates, viewer, AuthorFilter::Anybody, filtering)
        .await?;
    Ok(shown.into_iter().flatten().map(ShownPost::pinned).collect())
}

async fn find(
    read_model: &ReadModel,
    id: PostId,
    viewer: Option<UserId>,
    filtering: Filtering,
) -> Result<Option<ShownPost>, ReadError> {
    match read_model.posts(vec![id]).await?.remove(&id).flatten() {
        Some(post) => show(read_model, Candidate::from(post.as_ref()), viewer, filtering).await,
        None => Ok(None),
    }
}

async fn show(
    read_model: &ReadModel,
    candidate: Candidate,
    viewer: Option<UserId>,
    filtering: Filtering,
) -> Result<Option<ShownPost>, ReadError> {
    let shown = read_model
        .show(&[candidate], viewer, AuthorFilter::Anybody, filtering)
        .await?
        .pop();
    Ok(shown.flatten())
}

/// The posts above this one, the oldest first.
async fn ancestors(
    read_model: &ReadModel,
    post: &ShownPost,
    viewer: Option<UserId>,
) -> Result<Vec<ShownPost>, ReadError> {
    let mut ancestors: Vec<ShownPost> = Vec::new();
    let mut parent = post.post.in_reply_to;
    while let (Some(reference), true) = (parent, ancestors.len() < MAX_ANCESTORS) {
        let candidate = Candidate::of(reference.post, reference.author);
        let Some(shown) = show(read_model, candidate, viewer, IN_THREADS).await? else {
            break;
        };
        parent = shown.post.in_reply_to;
        ancestors.push(shown);
    }
    ancestors.reverse();
    Ok(ancestors)
}
