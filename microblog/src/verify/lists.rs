//! Compares the lists of a user, what is in them, and their timelines with what the oracle says.

use model::api;
use model::events::StreamId;
use model::ids::UserId;
use model::values::FilterContext;

use super::check::{Checker, Difference, Findings, PeopleList, PostList, stream_of};
use super::history::Dependency;
use super::oracle::UserIndex;
use super::served::ReadError;
use super::viewers::Eyes;

impl Checker<'_> {
    pub(super) async fn lists(&self, user: UserIndex, own: &Eyes, findings: &mut Findings) -> anyhow::Result<()> {
        let id = self.oracle.user(user).0;
        let whose = |what: &str| format!("{what} of {}", self.name_of(id));
        let depends_on = vec![stream_of(id), Dependency::Lists(id)];
        let lists = self.oracle.lists_of(user);
        let expected = lists.iter().map(|list| api::List {
            id: list.id,
            title: list.title.clone(),
            exclusive: list.exclusive,
        });
        let expected = expected.collect();
        self.same(
            "/v1/lists",
            whose("lists"),
            expected,
            depends_on.clone(),
            (own, findings),
        )
        .await?;
        for list in lists {
            let path = format!("/v1/lists/{}", list.id);
            let member = |other: UserId| StreamId::list_member(list.id, other);
            let mut members = self.oracle.listed(&list.members, &own.sight);
            members.retain(|&(_, user)| self.oracle.user(user).1.live);
            let members = PeopleList {
                place: whose(&format!("members of list {}", list.id)),
                path: format!("{path}/members"),
                expected: members,
                depends_on: depends_on.clone(),
                relation: &member,
            };
            self.people(own, &members, findings).await?;
            let follows = self.oracle.followed_tags(user);
            let tags = list.tags.iter().map(|(_, name, key)| api::Tag {
                name: name.clone(),
                following: Some(follows.iter().any(|follow| follow.key == *key)),
            });
            let place = whose(&format!("tags of list {}", list.id));
            let follows = list.tags.iter().map(|(_, _, key)| StreamId::tag(id, key));
            let follows = depends_on
                .iter()
                .cloned()
                .chain(follows.map(Dependency::Stream))
                .collect();
            self.same(&format!("{path}/tags"), place, tags.collect(), follows, (own, findings))
                .await?;
            let timeline = PostList {
                place: whose(&format!("timeline of list {}", list.id)),
                path: &format!("/v1/timelines/lists/{}", list.id),
                eyes: own,
                context: FilterContext::Lists,
                depends_on: depends_on.clone(),
                pinned: Vec::new(),
            };
            let expected = self.oracle.list_timeline(list, &own.sight);
            self.posts::<api::Page<_>>(&timeline, expected, findings).await?;
        }
        Ok(())
    }

    /// Reads a list that is short, and compares all of it.
    async fn same<T>(
        &self,
        path: &str,
        place: String,
        expected: Vec<T>,
        depends_on: Vec<Dependency>,
        (own, findings): (&Eyes, &mut Findings),
    ) -> anyhow::Result<()>
    where
        T: serde::de::DeserializeOwned + PartialEq + std::fmt::Debug,
    {
        let mut served: Vec<T> = Vec::new();
        let pages = self
            .reader(own)
            .each::<api::Page<T>>(path, |item| served.push(item))
            .await;
        findings.items += served.len() as u64;
        let what = match pages {
            Ok(pages) => {
                findings.pages += pages;
                if served == expected {
                    return Ok(());
                }
                format!("expected {expected:?}, served {served:?}")
            }
            Err(ReadError::Call(error)) => return Err(error.into()),
            Err(error) => error.to_string(),
        };
        findings.differences.push(Difference {
            place,
            what,
            depends_on,
        });
        Ok(())
    }
}
