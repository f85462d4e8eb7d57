//! Lists: what each has in it, and what its timeline shows. And whom exclusive lists keep out of a home timeline.

use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap, HashSet};

use model::events::{List, ListMember, ListTag};
use model::ids::{EventId, ListId};
use model::tags::TagKey;
use model::values::FilterContext;

use super::{Entry, HomeTimeline, Oracle, Sight, UserIndex};

#[derive(Debug, Clone)]
struct ListFacts {
    version: i64,
    owner: UserIndex,
    title: Option<String>,
    exclusive: bool,
}

/// Whether something is in a list.
#[derive(Debug, Clone)]
struct InList {
    version: i64,
    active: bool,
    event: EventId,
    /// As it was written, if it is a tag.
    name: String,
}

/// The state of all lists, their members and their tags.
#[derive(Debug, Default)]
pub(super) struct AllListFacts {
    lists: HashMap<ListId, ListFacts>,
    members: HashMap<(ListId, UserIndex), InList>,
    tags: HashMap<(ListId, TagKey), InList>,
}

impl AllListFacts {
    pub(super) fn apply(&mut self, owner: UserIndex, version: i64, list: &List) {
        let facts = ListFacts {
            version,
            owner,
            title: list.title.clone().filter(|_| !list.deleted),
            exclusive: list.exclusive,
        };
        let known = self.lists.entry(list.id).or_insert_with(|| facts.clone());
        if known.version < version {
            *known = facts;
        }
    }

    pub(super) fn apply_member(&mut self, user: UserIndex, event: EventId, version: i64, member: &ListMember) {
        let facts = InList {
            version,
            active: member.active,
            event,
            name: String::new(),
        };
        apply_in(&mut self.members, (member.list, user), facts);
    }

    pub(super) fn apply_tag(&mut self, event: EventId, version: i64, tag: &ListTag) {
        let facts = InList {
            version,
            active: tag.active,
            event,
            name: tag.tag.clone(),
        };
        apply_in(&mut self.tags, (tag.list, TagKey::of(&tag.tag)), facts);
    }

    pub(super) fn into_lists(self) -> HashMap<UserIndex, Vec<OwnList>> {
        let mut lists: HashMap<ListId, (UserIndex, OwnList)> = HashMap::new();
        for (id, facts) in self.lists {
            let Some(title) = facts.title else { continue };
            let list = OwnList {
                id,
                title,
                exclusive: facts.exclusive,
                members: Vec::new(),
                tags: Vec::new(),
            };
            lists.insert(id, (facts.owner, list));
        }
        for ((list, user), member) in self.members.into_iter().filter(|(_, member)| member.active) {
            if let Some((_, list)) = lists.get_mut(&list) {
                list.members.push((member.event, user));
            }
        }
        for ((list, key), tag) in self.tags.into_iter().filter(|(_, tag)| tag.active) {
            if let Some((_, list)) = lists.get_mut(&list) {
                list.tags.push((tag.event, tag.name, key));
            }
        }
        let mut of_owner: HashMap<UserIndex, Vec<OwnList>> = HashMap::new();
        for (owner, mut list) in lists.into_values() {
            list.members.sort_unstable_by_key(|&(event, _)| Reverse(event));
            list.tags.sort_unstable_by_key(|&(event, ..)| Reverse(event));
            of_owner.entry(owner).or_default().push(list);
        }
        for lists in of_owner.values_mut() {
            lists.sort_unstable_by_key(|list| Reverse(list.id));
        }
        of_owner
    }
}

fn apply_in<K: Eq + std::hash::Hash>(all: &mut HashMap<K, InList>, key: K, facts: InList) {
    let known = all.entry(key).or_insert_with(|| facts.clone());
    if known.version < facts.version {
        *known = facts;
    }
}

/// A list that is not deleted.
#[derive(Debug)]
pub(in crate::verify) struct OwnList {
    pub(in crate::verify) id: ListId,
    pub(in crate::verify) title: String,
    pub(in crate::verify) exclusive: bool,
    /// The last one added first.
    pub(in crate::verify) members: Vec<(EventId, UserIndex)>,
    /// The last one added first, as it was written.
    pub(in crate::verify) tags: Vec<(EventId, String, TagKey)>,
}

impl Oracle {
    /// The lists of a user, the last one made first.
    pub(in crate::verify) fn lists_of(&self, owner: UserIndex) -> &[OwnList] {
        self.lists.get(&owner).map_or(&[], Vec::as_slice)
    }

    /// The posts and reposts of the members of a list, and the public posts with its tags, without what its owner may not see or mutes.
    pub(in crate::verify) fn list_timeline<'o>(
        &'o self,
        list: &'o OwnList,
        sight: &'o Sight,
    ) -> impl Iterator<Item = (UserIndex, Entry)> + 'o {
        let members = list.members.iter();
        let entries = members.map(|&(_, member)| (member, self.entries[member as usize].as_slice()));
        let tagged = list.tags.iter().flat_map(|(_, _, key)| self.tagged(key, sight));
        let tagged: BTreeSet<(Entry, UserIndex)> = tagged.map(|(author, entry)| (entry, author)).collect();
        let merged = HomeTimeline::merge(entries, tagged);
        merged.filter(|&(author, entry)| {
            self.shows_unmuted(author, entry, sight) && self.wants(FilterContext::Lists, author, entry, sight)
        })
    }

    /// Whom a user keeps out of the home timeline.
    pub(in crate::verify) fn kept_out_by(&self, owner: UserIndex) -> HashSet<UserIndex> {
        let exclusive = self.lists_of(owner).iter().filter(|list| list.exclusive);
        let members = exclusive.flat_map(|list| list.members.iter().map(|&(_, member)| member));
        members.filter(|&member| member != owner).collect()
    }

    /// Whether an exclusive list of the viewer keeps an entry of this author out of the home timeline. What viewers write or repost stays.
    pub(super) fn is_kept_out(&self, author: UserIndex, entry: Entry, sight: &Sight) -> bool {
        let writer = entry
            .original
            .and_then(|original| self.post(original))
            .map(|post| post.author);
        let by = [Some(author), writer];
        sight.viewer != Some(author) && by.iter().flatten().any(|author| sight.kept_out.contains(author))
    }

    /// The home timeline without replies to people whom the viewer does not follow.
    pub(in crate::verify) fn home_without_replies<'o>(
        &'o self,
        sight: &'o Sight,
    ) -> impl Iterator<Item = (UserIndex, Entry)> + 'o {
        self.home_timeline(sight)
            .filter(|&(author, entry)| sight.viewer == Some(author) || self.answers_somebody_known(entry, sight))
    }

    fn answers_somebody_known(&self, entry: Entry, sight: &Sight) -> bool {
        let Some(post) = self.post(entry.id) else {
            // A repost answers nobody.
            return true;
        };
        let answered = post.in_reply_to.and_then(|answered| self.post(answered));
        answered.is_none_or(|answered| {
            let to = answered.author;
            to == post.author || sight.viewer == Some(to) || sight.followees.contains(&to)
        })
    }
}
