//! Notifications: who is told what, and what of it is shown.

use std::cmp::Reverse;
use std::collections::{HashMap, HashSet};

use chrono::{DateTime, Utc};
use model::events::{Event, Post};
use model::ids::{EventId, PostId, UserId};
use model::values::{FilterContext, NotificationKind, Visibility};

use super::{Entry, Oracle, Sight};
use crate::verify::sight::at_most;

/// Something that a user is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(in crate::verify) struct Told {
    pub(in crate::verify) kind: NotificationKind,
    pub(in crate::verify) user: UserId,
    pub(in crate::verify) post: Option<PostId>,
}

/// What belongs together in groups.
pub(in crate::verify) type Group = (NotificationKind, Option<PostId>);

/// What exists once, however often it is undone and done again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Cause {
    /// A post says it, as a reply, a quote or a mention.
    Said(PostId),
    Done(Told),
}

impl Told {
    fn cause(&self) -> Cause {
        match (self.kind, self.post) {
            (NotificationKind::Mention | NotificationKind::Reply | NotificationKind::Quote, Some(post)) => {
                Cause::Said(post)
            }
            _ => Cause::Done(*self),
        }
    }
}

/// The state of all causes.
#[derive(Debug, Default)]
pub(super) struct NotificationFacts {
    /// The version that decided, and whether it tells the owner.
    done: HashMap<(UserId, Told), (i64, bool)>,
    said: HashMap<PostId, (i64, Vec<(UserId, Told)>)>,
    first: HashMap<(UserId, Cause), EventId>,
    /// Of groups of likes and reposts: the newest event that told something which was not told before.
    newest: HashMap<(UserId, Group), EventId>,
    /// The reposts of each post: who, in which version, and the repost if it lasts.
    reposts: HashMap<PostId, HashMap<UserId, (i64, Option<PostId>)>>,
    /// Who has edited each post, and when.
    edits: HashMap<PostId, (UserId, Vec<DateTime<Utc>>)>,
    read: HashMap<UserId, EventId>,
    dismissed: HashSet<(UserId, EventId)>,
}

impl NotificationFacts {
    pub(super) fn apply(&mut self, id: EventId, version: i64, event: &Event) {
        use NotificationKind::{Accepted, Follow, Like, Repost, Request};
        let told = |kind, user, post| Told { kind, user, post };
        // Whom a relation may tell something, and whether this event does.
        let done = match event {
            Event::Followed(it)
            | Event::Unfollowed(it)
            | Event::FollowRequested(it)
            | Event::FollowAccepted(it)
            | Event::FollowRejected(it)
            | Event::FollowCancelled(it)
            | Event::FollowRemoved(it) => {
                let accepted = matches!(event, Event::FollowAccepted(_));
                vec![
                    (it.followee, told(Follow, it.follower, None), it.active),
                    (it.followee, told(Request, it.follower, None), it.requested),
                    (it.follower, told(Accepted, it.followee, None), accepted),
                ]
            }
            Event::PostLiked(it) | Event::PostUnliked(it) => {
                vec![(it.post_author, told(Like, it.user, Some(it.post)), it.active)]
            }
            Event::PostReposted(it) | Event::PostUnreposted(it) => {
                vec![(it.post_author, told(Repost, it.user, Some(it.post)), it.active)]
            }
            _ => Vec::new(),
        };
        for (owner, told, tells) in done {
            let known = self.done.entry((owner, told)).or_default();
            if known.0 < version {
                *known = (version, tells);
            }
            if tells {
                self.tell(owner, told, id);
                if version == 1 && owner != told.user && matches!(told.kind, Like | Repost) {
                    let newest = self.newest.entry((owner, (told.kind, told.post))).or_insert(id);
                    *newest = id.max(*newest);
                }
            }
        }
        match event {
            Event::PostCreated(post)
            | Event::PostEdited(post)
            | Event::PostQuoteDetached(post)
            | Event::PostHidden(post)
            | Event::PostUnhidden(post)
            | Event::PostDeleted(post) => {
                if let (Event::PostEdited(_), Some(at)) = (event, post.edited_at) {
                    let (_, edits) = self.edits.entry(post.id).or_insert((post.author, Vec::new()));
                    edits.push(at);
                }
                let says = said(post);
                for &(owner, told) in &says {
                    self.tell(owner, told, id);
                }
                let known = self.said.entry(post.id).or_default();
                if known.0 < version {
                    *known = (version, says);
                }
            }
            Event::PostReposted(it) | Event::PostUnreposted(it) => {
                let of_post = self.reposts.entry(it.post).or_default();
                let known = of_post.entry(it.user).or_default();
                if known.0 < version {
                    *known = (version, it.active.then_some(it.id));
                }
            }
            Event::NotificationsRead(it) => {
                let known = self.read.entry(it.user).or_insert(it.up_to);
                *known = it.up_to.max(*known);
            }
            Event::NotificationDismissed(it) => {
                self.dismissed.insert((it.user, it.notification));
            }
            _ => {}
        }
    }

    fn tell(&mut self, owner: UserId, told: Told, id: EventId) {
        // Nobody is told of what they do themselves.
        if owner == told.user {
            return;
        }
        let first = self.first.entry((owner, told.cause())).or_insert(id);
        *first = id.min(*first);
    }

    pub(super) fn into_lists(self) -> NotificationLists {
        let mut edits: Vec<(UserId, EventId, Told)> = Vec::new();
        for (post, (author, times)) in self.edits {
            let told = Told {
                kind: NotificationKind::Edit,
                user: author,
                post: Some(post),
            };
            // Whoever has reposted it is told of the first edit after that.
            for (owner, (_, repost)) in self.reposts.get(&post).into_iter().flatten() {
                let Some(repost) = repost.filter(|_| *owner != author) else {
                    continue;
                };
                let since = times.iter().filter(|&&at| at > repost.time());
                if let Some(&first) = since.min() {
                    edits.push((*owner, EventId::of_edit(post, first), told));
                }
            }
        }
        let mut lists = NotificationLists {
            newest: self.newest,
            read: self.read,
            dismissed: self.dismissed,
            ..NotificationLists::default()
        };
        let done = self.done.into_iter().filter(|&(_, (_, tells))| tells);
        let done = done.map(|(told, _)| told);
        for (owner, told) in done.chain(self.said.into_values().flat_map(|(_, says)| says)) {
            if let Some(&first) = self.first.get(&(owner, told.cause())) {
                lists.told.entry(owner).or_default().push((first, told));
            }
        }
        for (owner, first, told) in edits {
            lists.told.entry(owner).or_default().push((first, told));
        }
        for (&owner, list) in &lists.told {
            let others = list
                .iter()
                .filter(|(_, told)| !matches!(told.kind, NotificationKind::Like | NotificationKind::Repost));
            for &(first, told) in others {
                let newest = lists.newest.entry((owner, (told.kind, told.post))).or_insert(first);
                *newest = first.max(*newest);
            }
        }
        for list in lists.told.values_mut() {
            list.sort_unstable_by_key(|&(first, _)| Reverse(first));
        }
        lists
    }
}

/// Whom a post tells something. Who is answered and mentioned too is told of the answer.
fn said(post: &Post) -> Vec<(UserId, Told)> {
    let told = |kind| Told {
        kind,
        user: post.author,
        post: Some(post.id),
    };
    let mut says: Vec<(UserId, Told)> = Vec::new();
    if post.deleted {
        return says;
    }
    let Some(content) = &post.content else {
        return says;
    };
    says.extend(post.in_reply_to.map(|to| (to.author, told(NotificationKind::Reply))));
    if let Some(quoted) = post.quote_of.filter(|quoted| !quoted.detached) {
        says.push((quoted.author, told(NotificationKind::Quote)));
    }
    let mentioned = content.entities.mentions.iter().filter_map(|mention| mention.user);
    says.extend(mentioned.map(|user| (user, told(NotificationKind::Mention))));
    let mut owners = HashSet::new();
    says.retain(|&(owner, _)| owners.insert(owner));
    says
}

/// What each user is told, the newest first.
#[derive(Debug, Default)]
pub(super) struct NotificationLists {
    told: HashMap<UserId, Vec<(EventId, Told)>>,
    newest: HashMap<(UserId, Group), EventId>,
    read: HashMap<UserId, EventId>,
    dismissed: HashSet<(UserId, EventId)>,
}

impl Oracle {
    /// Everything that the viewer is told, whether it is shown or not.
    pub(in crate::verify) fn told(&self, sight: &Sight) -> &[(EventId, Told)] {
        let owner = sight.viewer.map(|viewer| self.user(viewer).0);
        let told = owner.and_then(|owner| self.notifications.told.get(&owner));
        told.map_or(&[], Vec::as_slice)
    }

    /// What of it is shown.
    pub(in crate::verify) fn notifications<'o>(
        &'o self,
        sight: &'o Sight,
    ) -> impl Iterator<Item = (EventId, Told)> + use<'o> {
        let told = self.told(sight).iter().copied();
        told.filter(|(first, told)| self.shows_notification(*first, told, sight))
    }

    /// How far the viewer has read.
    pub(in crate::verify) fn read_up_to(&self, sight: &Sight) -> Option<EventId> {
        let owner = self.user(sight.viewer?).0;
        self.notifications.read.get(&owner).copied()
    }

    /// The groups that show something, the newest first. A group stands where its newest notification is, shown or not. In groups of likes and
    /// reposts, what was taken back counts too.
    pub(in crate::verify) fn notification_groups(&self, sight: &Sight) -> Vec<(Group, Vec<(EventId, Told)>)> {
        let Some(viewer) = sight.viewer else {
            return Vec::new();
        };
        let owner = self.user(viewer).0;
        let mut groups: HashMap<Group, Vec<(EventId, Told)>> = HashMap::new();
        for (first, told) in self.notifications(sight) {
            groups.entry((told.kind, told.post)).or_default().push((first, told));
        }
        let mut groups: Vec<_> = groups.into_iter().collect();
        groups.sort_unstable_by_key(|&(group, _)| Reverse(self.notifications.newest.get(&(owner, group)).copied()));
        groups
    }

    /// Whether no filter of the viewer hides a post in notifications.
    fn wants_to_hear_of(&self, id: PostId, sight: &Sight) -> bool {
        let entry = Entry { id, original: None };
        self.post(id)
            .is_some_and(|post| self.wants(FilterContext::Notifications, post.author, entry, sight))
    }

    fn shows_notification(&self, first: EventId, told: &Told, sight: &Sight) -> bool {
        let Some((viewer, user)) = sight.viewer.zip(self.find_user(told.user)) else {
            return false;
        };
        let is_closed = || {
            let visibility = at_most(Visibility::Public, self.user(user).1);
            told.kind == NotificationKind::Repost && !sight.admits(user, visibility, &[])
        };
        self.user(user).1.live
            && !sight.blocks.contains(&user)
            && !sight.silenced.contains(&user)
            && !self.notifications.dismissed.contains(&(self.user(viewer).0, first))
            && !self.closes(user, sight)
            && told
                .post
                .is_none_or(|post| self.shows(post, sight) && self.wants_to_hear_of(post, sight))
            && !is_closed()
    }
}
