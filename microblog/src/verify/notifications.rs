//! Compares what a user is served as notifications, as groups of them, and as unread, with what the oracle says.

use std::collections::HashMap;

use model::api;
use model::events::StreamId;
use model::ids::{EventId, UserId};
use model::values::{FilterContext, NotificationKind};

use super::check::{Checker, Difference, Findings, PostList, stream_of};
use super::compare::{Comparison, Fault};
use super::history::Dependency;
use super::oracle::{Group, Told, UserIndex};
use super::served::{Paged, ReadError};
use super::timeline::Entry;
use super::upwards::Polled;
use super::viewers::Eyes;

const PATH: &str = "/v1/notifications";
/// A page looks at no more candidates than this. If so many of them are hidden, a count may miss what comes after them.
const DECIDED: usize = 500;
/// The same for what is in a group.
const DECIDED_OF_GROUP: usize = 125;
const USERS_OF_GROUP: usize = 10;
const MOST_UNREAD: usize = 100;

impl<T: serde::de::DeserializeOwned> Paged for api::NotificationPage<T> {
    type Item = T;

    fn parts(self) -> (Vec<T>, Option<String>, Option<String>) {
        (self.items, self.next, self.prev)
    }
}

type Served = api::NotificationPage<api::Notification>;

/// As a group is served: the newest notification, who, whether there are more, and whether it is read.
type GroupFacts = (EventId, Vec<UserId>, bool, bool);

impl Checker<'_> {
    pub(super) async fn notifications(
        &self,
        user: UserIndex,
        own: &Eyes,
        upwards: bool,
        findings: &mut Findings,
    ) -> anyhow::Result<()> {
        let name = self.name_of(self.oracle.user(user).0);
        let place = format!("notifications of {name}");
        self.listed(own, &place, findings).await?;
        if upwards {
            self.polled(own, &format!("{place}, polled upwards"), findings).await?;
        }
        self.groups(own, &format!("groups of notifications of {name}"), findings)
            .await?;
        self.unread(own, format!("unread notifications of {name}"), findings)
            .await
    }

    async fn listed(&self, own: &Eyes, place: &str, findings: &mut Findings) -> anyhow::Result<()> {
        let read_up_to = self.oracle.read_up_to(&own.sight);
        let mut comparison = Comparison::new(self.oracle.notifications(&own.sight).map(|it| (it.0, it)));
        let mut differences = Vec::new();
        let note = |differences: &mut Vec<Difference>, fault: Fault<(EventId, Told)>| {
            let (how, it) = fault.words();
            differences.push(self.notification_difference(own, place, it, how));
        };
        let list = PostList {
            place: place.to_owned(),
            path: PATH,
            eyes: own,
            context: FilterContext::Notifications,
            depends_on: Vec::new(),
            pinned: Vec::new(),
        };
        let mut items = 0;
        let pages = self
            .reader(own)
            .each::<Served>(PATH, |served| {
                items += 1;
                let it = told(&served);
                let step = comparison.served(served.id, (served.id, it));
                for fault in step.faults {
                    note(&mut differences, fault);
                }
                let Some((id, expected)) = step.matched else { return };
                let is_read = read_up_to.is_some_and(|read| id <= read);
                if (it, served.read, served.at) != (expected, is_read, id.time()) {
                    let what = format!("served as {it:?}, read: {}, expected {expected:?}", served.read);
                    differences.push(self.notification_difference(own, place, (id, expected), &what));
                }
                if let Some(post) = &served.post {
                    let author = post.author.id;
                    let entry = Entry {
                        id: post.id,
                        original: None,
                    };
                    differences.extend(self.wrong_in(&list, author, entry, post));
                }
            })
            .await;
        findings.items += items;
        match pages {
            Ok(pages) => {
                findings.pages += pages;
                comparison.end().for_each(|fault| note(&mut differences, fault));
            }
            Err(ReadError::Call(error)) => return Err(error.into()),
            Err(error) => differences.push(self.failed(own, place.to_owned(), error.to_string())),
        }
        findings.differences.append(&mut differences);
        Ok(())
    }

    async fn polled(&self, own: &Eyes, place: &str, findings: &mut Findings) -> anyhow::Result<()> {
        let expected = self.oracle.notifications(&own.sight).collect();
        let polled = Polled::new(expected, |&(id, _)| id);
        let item = |served: &api::Notification| (served.id, told(served));
        let in_order = |items: &[(EventId, Told)]| items.is_sorted_by(|one, other| one.0 > other.0);
        let faults = self
            .poll::<Served, _, EventId>(own, PATH, polled, item, in_order, findings)
            .await?;
        match faults {
            Ok(faults) => findings.differences.extend(faults.into_iter().map(|fault| {
                let (how, it) = fault.words();
                self.notification_difference(own, place, it, how)
            })),
            Err(what) => findings.differences.push(self.failed(own, place.to_owned(), what)),
        }
        Ok(())
    }

    async fn groups(&self, own: &Eyes, place: &str, findings: &mut Findings) -> anyhow::Result<()> {
        let read_up_to = self.oracle.read_up_to(&own.sight);
        let mut sizes: HashMap<Group, usize> = HashMap::new();
        for (_, told) in self.oracle.told(&own.sight) {
            *sizes.entry((told.kind, told.post)).or_default() += 1;
        }
        let is_small = |group: &Group| sizes.get(group).is_none_or(|&size| size <= DECIDED_OF_GROUP);
        let expected: Vec<(Group, GroupFacts)> = self
            .oracle
            .notification_groups(&own.sight)
            .into_iter()
            .filter(|(group, _)| is_small(group))
            .map(|(group, told)| {
                let newest = told[0].0;
                let users = told.iter().take(USERS_OF_GROUP).map(|(_, told)| told.user);
                let is_read = read_up_to.is_some_and(|read| newest <= read);
                (group, (newest, users.collect(), told.len() > USERS_OF_GROUP, is_read))
            })
            .collect();
        let mut served: Vec<(Group, GroupFacts)> = Vec::new();
        let pages = self
            .reader(own)
            .each::<api::NotificationPage<api::NotificationGroup>>("/v1/notifications/groups", |it| {
                let group = (it.kind, it.post.map(|post| post.id));
                let users = it.users.iter().map(|user| user.id).collect();
                if is_small(&group) {
                    served.push((group, (it.id, users, it.more, it.read)));
                }
            })
            .await;
        findings.items += served.len() as u64;
        match pages {
            Ok(pages) => findings.pages += pages,
            Err(ReadError::Call(error)) => return Err(error.into()),
            Err(error) => {
                let failed = self.failed(own, place.to_owned(), error.to_string());
                findings.differences.push(failed);
                return Ok(());
            }
        }
        if served != expected {
            let differs = expected.iter().zip(&served).position(|(one, other)| one != other);
            let at = differs.unwrap_or(expected.len().min(served.len()));
            let what = format!("expected {:?}, served {:?}", expected.get(at), served.get(at));
            findings.differences.push(self.failed(own, place.to_owned(), what));
        }
        Ok(())
    }

    async fn unread(&self, own: &Eyes, place: String, findings: &mut Findings) -> anyhow::Result<()> {
        let read_up_to = self.oracle.read_up_to(&own.sight);
        let is_unread = |id: EventId| read_up_to.is_none_or(|read| id > read);
        let candidates = self.oracle.told(&own.sight).iter().filter(|&&(id, _)| is_unread(id));
        if candidates.count() > DECIDED {
            return Ok(());
        }
        let shown = self.oracle.notifications(&own.sight);
        let count = shown.filter(|&(id, _)| is_unread(id)).count();
        let expected = api::UnreadNotifications {
            count: count.min(MOST_UNREAD) as u64,
            more: count > MOST_UNREAD,
        };
        let path = "/v1/notifications/unread".to_owned();
        let what = match self.reader(own).get::<api::UnreadNotifications>(path).await {
            Ok(served) if served == expected => return Ok(()),
            Ok(served) => format!("expected {expected:?}, served {served:?}"),
            Err(ReadError::Call(error)) => return Err(error.into()),
            Err(error) => error.to_string(),
        };
        findings.differences.push(self.failed(own, place, what));
        Ok(())
    }

    fn notification_difference(&self, own: &Eyes, place: &str, it: (EventId, Told), what: &str) -> Difference {
        let (id, told) = it;
        Difference {
            place: place.to_owned(),
            what: format!("{what}: {:?} {id} by {}", told.kind, self.name_of(told.user)),
            depends_on: self.causes(own, it),
        }
    }

    /// A difference that may have to do with any notification of the viewer.
    fn failed(&self, own: &Eyes, place: String, what: String) -> Difference {
        let told = self.oracle.told(&own.sight).iter();
        Difference {
            place,
            what,
            depends_on: told.flat_map(|&it| self.causes(own, it)).collect(),
        }
    }

    /// Everything that decides whether the viewer is told it and shown it.
    fn causes(&self, own: &Eyes, (id, told): (EventId, Told)) -> Vec<Dependency> {
        let Some(viewer) = own.sight.viewer.map(|viewer| self.oracle.user(viewer).0) else {
            return Vec::new();
        };
        let user = told.user;
        let mut streams = vec![
            StreamId::notifications_read(viewer),
            StreamId::notification(viewer, id),
            StreamId::follow(user, viewer),
            StreamId::follow(viewer, user),
            StreamId::block(user, viewer),
            StreamId::block(viewer, user),
            StreamId::mute(viewer, user),
        ];
        match (told.kind, told.post) {
            (NotificationKind::Like, Some(post)) => streams.push(StreamId::like(user, post)),
            (NotificationKind::Repost, Some(post)) => streams.push(StreamId::repost(user, post)),
            (NotificationKind::Edit, Some(post)) => streams.push(StreamId::repost(viewer, post)),
            _ => {}
        }
        let mut depends_on: Vec<Dependency> = streams.into_iter().map(Dependency::Stream).collect();
        depends_on.extend([stream_of(viewer), stream_of(user)]);
        if let Some(post) = told.post {
            let entry = Entry {
                id: post,
                original: None,
            };
            let author = self.oracle.post(post).map(|facts| self.oracle.user(facts.author).0);
            depends_on.extend(self.dependencies(own.sight.viewer, author.unwrap_or(user), entry));
        }
        depends_on
    }
}

fn told(served: &api::Notification) -> Told {
    Told {
        kind: served.kind,
        user: served.user.id,
        post: served.post.as_ref().map(|post| post.id),
    }
}
