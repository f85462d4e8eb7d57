//! The documents that pages are made of, from memory or from the database.

use std::hash::Hash;
use std::sync::{Arc, Mutex};

use chrono::{DateTime, Utc};
use event_log::position::Position;
use model::api;
use model::entities::Mention;
use model::ids::{ListId, PostId, UserId};
use model::tags::TagKey;

use crate::bus::{Change, Listener, PostChange};
pub(crate) use crate::cache::Found;
use crate::cache::{Cache, Counted, Counts, LookedUp, Weight};
use crate::filters::Filters;
use crate::handled::Appearance;
use crate::heads::Heads;
use crate::metrics::CacheLabels;
use crate::read_model::{ReadError, ReadModel};
use crate::shown::Candidate;
use crate::timelines::Density;
use views::{Post, PostCounts, Profile, ProfileCounts, RelationId, RelationKind, Standing};

/// A live post, or none.
pub(crate) type MaybePost = Option<Arc<Post>>;
/// A live profile, or none.
pub(crate) type MaybeProfile = Option<Arc<Profile>>;

/// Of how many lists the density is remembered.
const DENSITIES: usize = 10_000;

/// Whether a relation is live.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Held {
    #[default]
    No,
    Yes,
    /// A mute that runs out.
    Until(DateTime<Utc>),
    /// A mute everywhere but in notifications, and when it runs out.
    ButTold(Option<DateTime<Utc>>),
}

impl Held {
    pub(crate) fn at(self, now: DateTime<Utc>) -> bool {
        match self {
            Held::No => false,
            Held::Yes | Held::ButTold(None) => true,
            Held::Until(end) | Held::ButTold(Some(end)) => now < end,
        }
    }

    /// Whether a mute holds for notifications too.
    pub(crate) fn silences_at(self, now: DateTime<Utc>) -> bool {
        !matches!(self, Held::ButTold(_)) && self.at(now)
    }
}

impl From<&Standing> for Held {
    fn from(standing: &Standing) -> Self {
        match (standing.live, standing.until) {
            (false, _) => Held::No,
            (true, until) if standing.notifications => Held::ButTold(until),
            (true, None) => Held::Yes,
            (true, Some(end)) => Held::Until(end),
        }
    }
}

/// Whose posts, and posts with which tags, the timeline of a list has.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct ListSources {
    /// In order.
    pub(crate) members: Vec<UserId>,
    pub(crate) tags: Vec<TagKey>,
}

/// A user with more blocks and mutes than this is not asked for all of them.
const MOST_BLOCKS_AND_MUTES: usize = 200;

/// The blocks and mutes that hide a user and others from each other. Most users have none or few, so one question finds all of them, instead of
/// three for each author on a page.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) enum BlocksAndMutes {
    /// They are looked up one by one.
    #[default]
    Many,
    Few(Arc<Found<RelationId, Held>>),
}

/// The caches of one change stream.
#[derive(Debug)]
pub(crate) struct Documents {
    posts: Cache<PostId, MaybePost>,
    profiles: Cache<UserId, MaybeProfile>,
    /// Nothing else of a relation is needed.
    relations: Cache<RelationId, Held>,
    blocks_and_mutes: Cache<UserId, BlocksAndMutes>,
    lists: Cache<ListId, Option<Arc<ListSources>>>,
    /// By owner. Most users have none, and that is remembered too.
    filters: Cache<UserId, Option<Arc<Filters>>>,
    pub(crate) heads: Heads,
    /// How close together the posts of the members of a list are.
    pub(crate) densities: quick_cache::sync::Cache<ListId, Density>,
    /// The same for the posts of everybody.
    pub(crate) public_density: Mutex<Option<Density>>,
}

impl Documents {
    /// Six sixteenths of the memory are for posts, four for profiles, two for relations and one for all blocks and mutes of
    /// a user, two for filters, and one for what is in lists. With
    /// the default of 64 MiB, the most filters that a user may have (5 MB) fit in, and a thousand users with ten phrases each.
    pub(crate) fn new(max_bytes: u64, heads_bytes: u64) -> Self {
        Self {
            posts: Cache::new(max_bytes / 16 * 6),
            profiles: Cache::new(max_bytes / 4),
            relations: Cache::new(max_bytes / 16 * 2),
            blocks_and_mutes: Cache::new(max_bytes / 16),
            // One that is divided would refuse a large list.
            lists: Cache::undivided(max_bytes / 16),
            filters: Cache::undivided(max_bytes / 8),
            heads: Heads::new(heads_bytes),
            densities: quick_cache::sync::Cache::new(DENSITIES),
            public_density: Mutex::default(),
        }
    }
}

impl Listener for Documents {
    fn hear(&self, change: &Change) {
        self.heads.hear(change);
        match change {
            Change::Post(id, PostChange::Counts(counts)) => self.posts.count(id, counts),
            Change::Post(id, _) => self.posts.forget(id),
            Change::Profile(id, Some(counts)) => self.profiles.count(id, counts),
            Change::Profile(id, None) => self.profiles.forget(id),
            Change::Relation(id) => {
                self.relations.forget(id);
                match id.kind() {
                    RelationKind::Block => [id.viewer(), id.target_user()]
                        .iter()
                        .for_each(|it| self.blocks_and_mutes.forget(it)),
                    RelationKind::Mute => self.blocks_and_mutes.forget(&id.viewer()),
                    RelationKind::Follow | RelationKind::Like | RelationKind::Repost => {}
                }
            }
            Change::ListSources(id) => self.lists.forget(id),
            Change::Filter(owner) => self.filters.forget(owner),
            Change::List(_)
            | Change::FollowedTag(_)
            | Change::ExclusiveLists(_)
            | Change::Notification(_)
            | Change::Tagged(..)
            | Change::Untagged(..)
            | Change::Checkpoint(..)
            | Change::Control
            | Change::Other => {}
        }
    }
}

impl ReadModel {
    /// Those of these posts that are live. An id may occur twice.
    pub(crate) async fn posts(&self, ids: Vec<PostId>) -> Result<Found<PostId, MaybePost>, ReadError> {
        let cache = self.documents.as_ref().map(|documents| &documents.posts);
        self.load(cache, CacheLabels::POSTS, ids, |missing| async move {
            let posts = self.ask(self.views.posts.live_by_ids(&missing)).await?;
            Ok(posts.into_iter().map(|post| (post.id, Some(Arc::new(post)))).collect())
        })
        .await
    }

    /// The positions of the events by which these posts appeared, if a post is live and its position is known. A post that is
    /// not in memory is not put there, because only a part of it is read.
    pub(crate) async fn positions_of(&self, ids: Vec<PostId>) -> Result<Found<PostId, Position>, ReadError> {
        let mut known = Found::default();
        let mut missing = Vec::new();
        for id in ids {
            match self.documents.as_ref().and_then(|documents| documents.posts.get(&id)) {
                Some(post) => known.extend(post.and_then(|post| post.position).map(|position| (id, position))),
                None => missing.push(id),
            }
        }
        if missing.is_empty() {
            return Ok(known);
        }
        let heads = self.ask(self.views.posts.live_heads_by_ids(&missing)).await?;
        known.extend(heads.into_iter().filter_map(|head| Some((head.id, head.position?))));
        Ok(known)
    }

    /// The events by which posts and reposts appeared in lists, for candidates whose rows were not read. The posts are in memory if a page has
    /// just shown them.
    pub(crate) async fn appearances_of(&self, candidates: &[Candidate]) -> Result<Vec<Option<Appearance>>, ReadError> {
        let ids = candidates.iter().map(|it| it.id).collect();
        let positions = self.positions_of(ids).await?;
        Ok(candidates
            .iter()
            .map(|candidate| {
                let position = positions.get(&candidate.id).copied();
                Candidate { position, ..*candidate }.appearance()
            })
            .collect())
    }

    /// Those of these users who are live. An id may occur twice.
    pub(crate) async fn profiles(&self, ids: Vec<UserId>) -> Result<Found<UserId, MaybeProfile>, ReadError> {
        let cache = self.documents.as_ref().map(|documents| &documents.profiles);
        self.load(cache, CacheLabels::PROFILES, ids, |missing| async move {
            let profiles = self.ask(self.views.profiles.live_by_ids(&missing)).await?;
            Ok(profiles
                .into_iter()
                .map(|profile| (profile.id, Some(Arc::new(profile))))
                .collect())
        })
        .await
    }

    /// Which of these relations are live. An id may occur twice.
    pub(crate) async fn relations(&self, ids: Vec<RelationId>) -> Result<Found<RelationId, Held>, ReadError> {
        let cache = self.documents.as_ref().map(|documents| &documents.relations);
        self.load(cache, CacheLabels::RELATIONS, ids, |missing| async move {
            let standings = self.ask(self.views.relations.standings(&missing)).await?;
            Ok(standings.iter().map(|it| (it.id, Held::from(it))).collect())
        })
        .await
    }

    /// The same for relations between this user and others, where the user's blocks and mutes are known at once. What is not found does not hold.
    pub(crate) async fn relations_of(
        &self,
        user: UserId,
        ids: Vec<RelationId>,
    ) -> Result<Found<RelationId, Held>, ReadError> {
        let is_one = |id: &RelationId| matches!(id.kind(), RelationKind::Block | RelationKind::Mute);
        let (these, others): (Vec<RelationId>, Vec<RelationId>) = ids.into_iter().partition(is_one);
        let known = async {
            match these.is_empty() {
                true => Ok(BlocksAndMutes::default()),
                false => self.blocks_and_mutes_of(user).await,
            }
        };
        let (known, mut found) = futures_util::try_join!(known, self.relations(others))?;
        match known {
            BlocksAndMutes::Many => found.extend(self.relations(these).await?),
            BlocksAndMutes::Few(few) => found.extend(these.iter().filter_map(|id| few.get_key_value(id))),
        }
        Ok(found)
    }

    async fn blocks_and_mutes_of(&self, user: UserId) -> Result<BlocksAndMutes, ReadError> {
        let cache = self.documents.as_ref().map(|documents| &documents.blocks_and_mutes);
        let mut found = self
            .load(cache, CacheLabels::BLOCKS_AND_MUTES, vec![user], |missing| async move {
                let mut loaded = Vec::new();
                for user in missing {
                    let all = self
                        .ask(self.views.relations.blocks_and_mutes(user, MOST_BLOCKS_AND_MUTES))
                        .await?;
                    let few = |all: Vec<Standing>| all.iter().map(|it| (it.id, Held::from(it))).collect();
                    let all = all.map_or(BlocksAndMutes::Many, |all| BlocksAndMutes::Few(Arc::new(few(all))));
                    loaded.push((user, all));
                }
                Ok(loaded)
            })
            .await?;
        Ok(found.remove(&user).unwrap_or_default())
    }

    /// What is in a list. Whether the list is there, and whose it is, is another question.
    pub(crate) async fn list_sources(&self, list: ListId) -> Result<Arc<ListSources>, ReadError> {
        let cache = self.documents.as_ref().map(|documents| &documents.lists);
        let mut found = self
            .load(cache, CacheLabels::LISTS, vec![list], |missing| async move {
                let mut loaded = Vec::new();
                for list in missing {
                    let (mut members, tags) = futures_util::try_join!(
                        self.ask(self.views.list_members.all_of_list(list)),
                        self.ask(self.views.list_tags.all_of_list(list)),
                    )?;
                    members.sort_unstable();
                    loaded.push((list, Some(Arc::new(ListSources { members, tags }))));
                }
                Ok(loaded)
            })
            .await?;
        Ok(found.remove(&list).flatten().unwrap_or_default())
    }

    /// The filters of a user, compiled. None if there are none.
    pub(crate) async fn filters_of(&self, owner: UserId) -> Result<Option<Arc<Filters>>, ReadError> {
        let cache = self.documents.as_ref().map(|documents| &documents.filters);
        let mut found = self
            .load(cache, CacheLabels::FILTERS, vec![owner], |owners| async move {
                let rows = self.ask(self.views.filters.of_owners(&owners)).await?;
                let compiled = rows.chunk_by(|one, other| one.owner == other.owner).map(|rows| {
                    let filters = rows.iter().map(|row| api::Filter::new(row.filter, row.content.clone()));
                    let filters = Filters::compile(filters.collect()).map_err(|error| {
                        tracing::error!(%error, owner = %rows[0].owner, "filters can't be compiled");
                        ReadError::NotReady("the filters can't be compiled".to_owned())
                    })?;
                    Ok((rows[0].owner, Some(Arc::new(filters))))
                });
                compiled.collect()
            })
            .await?;
        Ok(found.remove(&owner).flatten())
    }

    /// Takes from the cache what is there, loads the rest at once, and stores it for others. What others are already loading
    /// is not loaded again.
    async fn load<K, V, F>(
        &self,
        cache: Option<&Cache<K, V>>,
        labels: CacheLabels,
        keys: Vec<K>,
        fetch: impl Fn(Vec<K>) -> F,
    ) -> Result<Found<K, V>, ReadError>
    where
        K: Copy + Eq + Hash + Send + Sync + 'static,
        V: Weight + Counted + Clone + Default + Send + Sync + 'static,
        F: Future<Output = Result<Vec<(K, V)>, ReadError>>,
    {
        let Some(cache) = cache else {
            let mut found: Found<K, V> = keys.into_iter().map(|key| (key, V::default())).collect();
            let keys: Vec<K> = found.keys().copied().collect();
            self.metrics.count_lookups(labels, 0, keys.len(), 0);
            found.extend(Box::pin(fetch(keys)).await?);
            return Ok(found);
        };
        let mut found = Found::default();
        let mut wanted = keys;
        loop {
            let LookedUp {
                found: in_memory,
                load,
                joined,
            } = cache.look_up(wanted);
            let (loads, joins) = (load.keys().len(), joined.len());
            self.metrics
                .count_lookups(labels, in_memory.len() - loads - joins, loads, joins);
            found.extend(in_memory);
            // First load what others may wait for. Then wait for others. So requests never wait for each other in a circle.
            if loads > 0 {
                // On the heap: a page has several of these, and memory answers most. Otherwise its future is too large for the stack of a thread.
                let loaded = Box::pin(fetch(load.keys().to_vec())).await;
                match loaded {
                    Ok(loaded) => found.extend(load.finish(loaded).iter().map(|(&key, value)| (key, value.clone()))),
                    Err(error) => return Err(load.fail(error)),
                }
            }
            wanted = Vec::new();
            for (key, joined) in joined {
                match joined.value(&key).await? {
                    Some(value) => drop(found.insert(key, value)),
                    None => wanted.push(key),
                }
            }
            if wanted.is_empty() {
                return Ok(found);
            }
        }
    }
}

/// A relation has no counts.
impl Counted for Held {
    fn set_counts(&mut self, _: &Counts) {}
}

impl Counted for BlocksAndMutes {
    fn set_counts(&mut self, _: &Counts) {}
}

impl Counted for ListSources {
    fn set_counts(&mut self, _: &Counts) {}
}

/// Filters have no counts.
impl Counted for Filters {
    fn set_counts(&mut self, _: &Counts) {}
}

impl Counted for Post {
    fn set_counts(&mut self, counts: &Counts) {
        let PostCounts {
            likes,
            reposts,
            replies,
            quotes,
        } = &mut self.counts;
        counts.write_to([likes, reposts, replies, quotes]);
    }
}

impl Counted for Profile {
    fn set_counts(&mut self, counts: &Counts) {
        let ProfileCounts {
            posts,
            followers,
            following,
        } = &mut self.counts;
        counts.write_to([posts, followers, following]);
    }
}

impl Weight for Post {
    fn weight(&self) -> usize {
        let entities = &self.entities;
        let tags = self.tags.iter().map(|tag| tag.as_str().len() + 24).sum::<usize>();
        let names = entities
            .hashtags
            .iter()
            .map(|hashtag| hashtag.tag.len() + 40)
            .sum::<usize>()
            + entities
                .mentions
                .iter()
                .map(|mention| mention.handle.len() + size_of::<Mention>())
                .sum::<usize>()
            + entities.links.iter().map(|link| link.url.len() + 40).sum::<usize>();
        let said = [&self.warning, &self.language].map(|said| said.as_ref().map_or(0, String::len));
        size_of::<Self>() + self.text.len() + said.iter().sum::<usize>() + names + tags
    }

    const TYPICAL: usize = size_of::<Self>() + 160;
}

impl Weight for Profile {
    fn weight(&self) -> usize {
        let fields = self.fields.iter();
        let fields = fields.map(|field| size_of_val(field) + field.name.len() + field.value.len());
        size_of::<Self>() + self.handle.len() + self.display_name.len() + self.bio.len() + fields.sum::<usize>()
    }

    const TYPICAL: usize = size_of::<Self>() + 64;
}

impl Weight for ListSources {
    fn weight(&self) -> usize {
        let tags = self.tags.iter().map(|tag| size_of_val(tag) + tag.as_str().len());
        size_of::<Self>() + size_of_val(&self.members[..]) + tags.sum::<usize>()
    }

    const TYPICAL: usize = size_of::<Self>() + 100 * size_of::<UserId>();
}

impl Weight for Filters {
    fn weight(&self) -> usize {
        self.bytes()
    }

    /// Of a user without filters: there is nothing.
    const TYPICAL: usize = 0;
}

impl Weight for BlocksAndMutes {
    fn weight(&self) -> usize {
        match self {
            BlocksAndMutes::Many => 0,
            BlocksAndMutes::Few(few) => size_of_val(&**few) + few.len() * size_of::<(RelationId, Held)>(),
        }
    }

    const TYPICAL: usize = size_of::<Found<RelationId, Held>>();
}

impl Weight for Held {
    fn weight(&self) -> usize {
        0
    }

    const TYPICAL: usize = 0;
}
