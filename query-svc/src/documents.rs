//! The documents that pages are made of, from memory or from the database.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;

use foldhash::fast::RandomState;
use shared::ids::{PostId, UserId};

use crate::cache::{Cache, Weight};
use crate::metrics::CacheLabels;
use crate::reading::{ReadError, Reading};
use crate::views::{Post, Profile, RelationId};

/// A live post, or that there is none.
pub(crate) type MaybePost = Option<Arc<Post>>;
/// A live profile, or that there is none.
pub(crate) type MaybeProfile = Option<Arc<Profile>>;

/// What was asked for, by key. What is not there is an absence.
pub(crate) type Found<K, V> = HashMap<K, V, RandomState>;

/// The caches of one change stream.
#[derive(Debug)]
pub(crate) struct Documents {
    posts: Cache<PostId, MaybePost>,
    profiles: Cache<UserId, MaybeProfile>,
    /// Whether the relation is live. More is not needed of it.
    relations: Cache<RelationId, bool>,
}

impl Documents {
    /// Half of the memory is for posts, a quarter each for profiles and for relations.
    pub(crate) fn new(max_bytes: u64) -> Self {
        Self {
            posts: Cache::new(max_bytes / 2),
            profiles: Cache::new(max_bytes / 4),
            relations: Cache::new(max_bytes / 4),
        }
    }

    pub(crate) fn forget_post(&self, id: PostId) {
        self.posts.forget(&id);
    }

    pub(crate) fn forget_profile(&self, id: UserId) {
        self.profiles.forget(&id);
    }

    pub(crate) fn forget_relation(&self, id: RelationId) {
        self.relations.forget(&id);
    }
}

impl Reading {
    /// These posts, as far as they are live. Ids may come twice.
    pub(crate) async fn posts(&self, ids: Vec<PostId>) -> Result<Found<PostId, MaybePost>, ReadError> {
        let cache = self.documents.as_ref().map(|documents| &documents.posts);
        self.load(cache, CacheLabels::POSTS, ids, async |missing| {
            let posts = self.ask(self.views.posts.live_by_ids(missing)).await?;
            Ok(posts.into_iter().map(|post| (post.id, Some(Arc::new(post)))).collect())
        })
        .await
    }

    /// These users, as far as they are live. Ids may come twice.
    pub(crate) async fn profiles(&self, ids: Vec<UserId>) -> Result<Found<UserId, MaybeProfile>, ReadError> {
        let cache = self.documents.as_ref().map(|documents| &documents.profiles);
        self.load(cache, CacheLabels::PROFILES, ids, async |missing| {
            let profiles = self.ask(self.views.profiles.live_by_ids(missing)).await?;
            Ok(profiles
                .into_iter()
                .map(|profile| (profile.id, Some(Arc::new(profile))))
                .collect())
        })
        .await
    }

    /// Which of these relations are live. Ids may come twice.
    pub(crate) async fn relations(&self, ids: Vec<RelationId>) -> Result<Found<RelationId, bool>, ReadError> {
        let cache = self.documents.as_ref().map(|documents| &documents.relations);
        self.load(cache, CacheLabels::RELATIONS, ids, async |missing| {
            let relations = self.ask(self.views.relations.live_by_ids(missing)).await?;
            Ok(relations.into_iter().map(|relation| (relation.id, true)).collect())
        })
        .await
    }

    /// Takes from the cache what is there, loads the rest at once, and stores it for others.
    async fn load<K, V>(
        &self,
        cache: Option<&Cache<K, V>>,
        labels: CacheLabels,
        keys: Vec<K>,
        fetch: impl AsyncFnOnce(&[K]) -> Result<Vec<(K, V)>, ReadError>,
    ) -> Result<Found<K, V>, ReadError>
    where
        K: Copy + Eq + Hash + Send + Sync + 'static,
        V: Weight + Clone + Default + Send + Sync + 'static,
    {
        let mut found = Found::default();
        let mut missing = Vec::new();
        let mut begun = Vec::new();
        for key in keys {
            if found.contains_key(&key) {
                continue;
            }
            let cached = cache.and_then(|cache| cache.get(&key));
            let value = cached.unwrap_or_else(|| {
                missing.push(key);
                begun.extend(cache.map(|cache| cache.begin_load(&key)));
                V::default()
            });
            found.insert(key, value);
        }
        self.metrics
            .count_lookups(labels, found.len() - missing.len(), missing.len());
        if missing.is_empty() {
            return Ok(found);
        }
        found.extend(fetch(&missing).await?);
        if let Some(cache) = cache {
            for (key, begun) in missing.into_iter().zip(begun) {
                cache.store(key, begun, found[&key].clone());
            }
        }
        Ok(found)
    }
}

impl Weight for Post {
    fn weight(&self) -> usize {
        let entities = &self.entities;
        let names = entities
            .hashtags
            .iter()
            .map(|hashtag| hashtag.tag.len() + 40)
            .sum::<usize>()
            + entities
                .mentions
                .iter()
                .map(|mention| mention.handle.len() + 40)
                .sum::<usize>()
            + entities.links.iter().map(|link| link.url.len() + 40).sum::<usize>();
        size_of::<Self>() + self.text.len() + names
    }

    const TYPICAL: usize = size_of::<Self>() + 160;
}

impl Weight for Profile {
    fn weight(&self) -> usize {
        size_of::<Self>() + self.handle.len() + self.display_name.len() + self.bio.len()
    }

    const TYPICAL: usize = size_of::<Self>() + 64;
}

impl Weight for bool {
    fn weight(&self) -> usize {
        0
    }

    const TYPICAL: usize = 0;
}
