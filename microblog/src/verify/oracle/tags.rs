//! Tags: who follows which, and which posts have them.

use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap};

use model::events::{Post, TagFollow};
use model::ids::{EventId, PostId};
use model::tags::TagKey;
use model::values::{FilterContext, Visibility};

use super::{Entry, Oracle, PostFacts, Sight, UserIndex};

#[derive(Debug, Clone)]
struct TagFollowFacts {
    version: i64,
    active: bool,
    event: EventId,
    name: String,
}

/// The state of all follows of tags.
#[derive(Debug, Default)]
pub(super) struct TagFacts(HashMap<(UserIndex, TagKey), TagFollowFacts>);

impl TagFacts {
    pub(super) fn apply(&mut self, user: UserIndex, event: EventId, version: i64, follow: &TagFollow) {
        let facts = TagFollowFacts {
            version,
            active: follow.active,
            event,
            name: follow.tag.clone(),
        };
        let key = (user, TagKey::of(&follow.tag));
        let known = self.0.entry(key).or_insert_with(|| facts.clone());
        if known.version < version {
            *known = facts;
        }
    }

    pub(super) fn into_lists(self, posts: &HashMap<PostId, PostFacts>, live: impl Fn(UserIndex) -> bool) -> TagLists {
        let mut lists = TagLists::default();
        for ((user, key), follow) in self.0.into_iter().filter(|(_, follow)| follow.active) {
            lists.followed.entry(user).or_default().push(FollowedTag {
                event: follow.event,
                name: follow.name,
                key,
            });
        }
        for list in lists.followed.values_mut() {
            list.sort_unstable_by_key(|follow| Reverse(follow.event));
        }
        for (&id, post) in posts.iter().filter(|(_, post)| post.live && live(post.author)) {
            for tag in &post.tags {
                // A tag that only hidden posts have shows nothing. That is worth a look.
                let list = lists.tagged.entry(tag.clone()).or_default();
                if post.visibility == Visibility::Public {
                    list.push((Reverse(id), post.author));
                }
            }
        }
        for list in lists.tagged.values_mut() {
            list.sort_unstable();
        }
        lists
    }
}

/// The tags of a post's text.
pub(super) fn tags_of(post: &Post) -> Box<[TagKey]> {
    let tags = post.content.as_ref().map(|content| content.entities.tags());
    tags.into_iter().flatten().collect()
}

#[derive(Debug)]
pub(in crate::verify) struct FollowedTag {
    event: EventId,
    pub(in crate::verify) name: String,
    pub(in crate::verify) key: TagKey,
}

/// The lists that have to do with tags.
#[derive(Debug, Default)]
pub(super) struct TagLists {
    /// The tags that a user follows, the last follow first.
    followed: HashMap<UserIndex, Vec<FollowedTag>>,
    /// The public posts with a tag, newest first.
    tagged: HashMap<TagKey, Vec<(Reverse<PostId>, UserIndex)>>,
}

impl Oracle {
    /// The tags of all posts, in order.
    pub(in crate::verify) fn tags(&self) -> Vec<TagKey> {
        let tags: BTreeSet<&TagKey> = self.tags.tagged.keys().collect();
        tags.into_iter().cloned().collect()
    }

    pub(in crate::verify) fn followed_tags(&self, user: UserIndex) -> &[FollowedTag] {
        self.tags.followed.get(&user).map_or(&[], Vec::as_slice)
    }

    /// The public posts and replies with a tag that this viewer may see and of authors whom the viewer does not mute, newest first.
    pub(in crate::verify) fn tag_timeline<'o>(
        &'o self,
        tag: &TagKey,
        sight: &'o Sight,
    ) -> impl Iterator<Item = (UserIndex, Entry)> + use<'o> {
        let unfiltered = self.tagged(tag, sight);
        unfiltered.filter(|&(author, entry)| self.wants(FilterContext::Tags, author, entry, sight))
    }

    /// The same, with what a filter hides.
    pub(super) fn tagged<'o>(
        &'o self,
        tag: &TagKey,
        sight: &'o Sight,
    ) -> impl Iterator<Item = (UserIndex, Entry)> + use<'o> {
        let posts = self.tags.tagged.get(tag).into_iter().flatten();
        let entries = posts.map(|&(Reverse(id), author)| (author, Entry { id, original: None }));
        entries.filter(|&(author, entry)| self.shows_in_public(author, entry, sight))
    }

    /// What the tags that the viewer follows add to the home timeline, newest first.
    pub(super) fn found_by_tags(&self, sight: &Sight) -> BTreeSet<(Entry, UserIndex)> {
        let tags = sight.viewer.map_or(&[][..], |viewer| self.followed_tags(viewer));
        tags.iter()
            .flat_map(|follow| self.tagged(&follow.key, sight))
            .map(|(author, entry)| (entry, author))
            .collect()
    }
}
