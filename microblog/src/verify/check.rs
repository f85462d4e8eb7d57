//! Compares what one user is served with what the oracle says.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use reqwest::StatusCode;
use shared::api;
use shared::auth::{SCOPE_VERIFY, Signer, Subject};
use shared::events::StreamId;
use shared::ids::{EventId, SessionId, UserId};
use shared::values::Handle;

use super::compare::{Comparison, Fault, Step};
use super::history::Dependency;
use super::oracle::{Oracle, PostFacts, UserIndex, text_hash};
use super::served::{ReadError, Reader};
use super::timeline::Entry;
use crate::api_client::ApiClient;

/// Something is not served as it should be.
#[derive(Debug, Clone)]
pub(super) struct Difference {
    pub(super) place: String,
    pub(super) what: String,
    /// If one of these was touched meanwhile, this says nothing.
    pub(super) depends_on: Vec<Dependency>,
}

/// What was found out about one user, or one public list.
#[derive(Debug, Default)]
pub(super) struct Findings {
    pub(super) differences: Vec<Difference>,
    /// Items that were served.
    pub(super) items: u64,
    pub(super) pages: u64,
}

/// Asks as anybody, and knows what the answer should be.
#[derive(Debug)]
pub(super) struct Checker<'a> {
    pub(super) oracle: &'a Oracle,
    pub(super) api: &'a ApiClient,
    pub(super) signer: &'a Signer,
    pub(super) consistency_token: &'a str,
    pub(super) page_size: u32,
    pub(super) now: DateTime<Utc>,
}

/// One of the lists of posts.
struct PostList<'l> {
    place: String,
    path: &'l str,
    viewer: Option<UserIndex>,
}

impl Checker<'_> {
    /// Everything that belongs to one user, seen with that user's eyes.
    pub(super) async fn user(&self, index: UserIndex) -> anyhow::Result<Findings> {
        let mut findings = Findings::default();
        let (id, facts) = self.oracle.user(index);
        if !facts.live {
            self.gone(id, &mut findings).await?;
            return Ok(findings);
        }
        let subject = Subject {
            user: id,
            handle: Handle::parse(&facts.handle)?,
            session: SessionId::new(self.now),
            scope: SCOPE_VERIFY,
        };
        let token = self.signer.issue(&subject)?.token;
        let reader = self.reader(Some(&token));
        let name = format!("@{} ({id})", facts.handle);
        let whose = |what: &str| format!("{what} of {name}");

        let home = PostList {
            place: whose("home timeline"),
            path: "/v1/timelines/home",
            viewer: Some(index),
        };
        self.posts(reader, &home, self.oracle.home_timeline(index), &mut findings)
            .await?;
        let path = format!("/v1/users/{id}/posts");
        let posts = PostList {
            place: whose("posts"),
            path: &path,
            viewer: Some(index),
        };
        self.posts(reader, &posts, self.oracle.posts_of(index), &mut findings)
            .await?;
        self.people(reader, index, true, whose("followers"), &mut findings)
            .await?;
        self.people(reader, index, false, whose("following"), &mut findings)
            .await?;
        self.profile(reader, index, whose("profile"), &mut findings).await?;
        Ok(findings)
    }

    pub(super) async fn public_timeline(&self) -> anyhow::Result<Findings> {
        let mut findings = Findings::default();
        let list = PostList {
            place: "public timeline".to_owned(),
            path: "/v1/timelines/public",
            viewer: None,
        };
        self.posts(
            self.reader(None),
            &list,
            self.oracle.public_timeline().into_iter(),
            &mut findings,
        )
        .await?;
        Ok(findings)
    }

    fn reader<'r>(&'r self, access_token: Option<&'r str>) -> Reader<'r> {
        Reader {
            api: self.api,
            access_token,
            consistency_token: self.consistency_token,
            page_size: self.page_size,
        }
    }

    async fn gone(&self, id: UserId, findings: &mut Findings) -> anyhow::Result<()> {
        match self.reader(None).get::<api::User>(format!("/v1/users/{id}")).await {
            Err(ReadError::Status {
                status: StatusCode::NOT_FOUND,
                ..
            }) => Ok(()),
            Err(ReadError::Call(error)) => Err(error.into()),
            other => {
                findings.differences.push(Difference {
                    place: format!("profile of {id}"),
                    what: format!("the user is deleted, but the answer was {other:?}"),
                    depends_on: vec![stream_of(id)],
                });
                Ok(())
            }
        }
    }

    async fn posts(
        &self,
        reader: Reader<'_>,
        list: &PostList<'_>,
        expected: impl Iterator<Item = (UserIndex, Entry)>,
        findings: &mut Findings,
    ) -> anyhow::Result<()> {
        let viewer = list.viewer.map(|viewer| self.oracle.user(viewer).0);
        let mut comparison =
            Comparison::new(expected.map(|(author, entry)| (entry.id, (self.oracle.user(author).0, entry))));
        let mut differences = Vec::new();
        let mut items = 0;
        let note = |differences: &mut Vec<Difference>, fault: Fault<(UserId, Entry)>| {
            let (how, (author, entry)) = match fault {
                Fault::Missing(entry) => ("missing", entry),
                Fault::Unexpected(entry) => ("unexpected", entry),
                Fault::Misordered(entry) => ("out of order or repeated", entry),
            };
            let kind = if entry.original.is_some() { "repost" } else { "post" };
            differences.push(Difference {
                place: list.place.clone(),
                what: format!("{how}: {kind} {} by {}", entry.id, self.name_of(author)),
                depends_on: self.dependencies(viewer, author, entry),
            });
        };
        let pages = reader
            .each(list.path, |post: api::Post| {
                items += 1;
                let original = post.repost_of.as_ref().map(|original| original.id);
                let Step { faults, matched } =
                    comparison.served(post.id, (post.author.id, Entry { id: post.id, original }));
                for fault in faults {
                    note(&mut differences, fault);
                }
                if let Some((author, entry)) = matched {
                    for what in self.wrong_in(list.viewer, author, entry, &post) {
                        let mut depends_on = self.dependencies(viewer, author, entry);
                        let target = entry.original.unwrap_or(entry.id);
                        depends_on.push(Dependency::PostCounts(target));
                        depends_on.extend(viewer.map(|viewer| Dependency::Stream(StreamId::like(viewer, target))));
                        depends_on.extend(viewer.map(|viewer| Dependency::Stream(StreamId::repost(viewer, target))));
                        differences.push(Difference {
                            place: list.place.clone(),
                            what,
                            depends_on,
                        });
                    }
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
            Err(error) => differences.push(Difference {
                place: list.place.clone(),
                what: error.to_string(),
                depends_on: viewer.map(stream_of).into_iter().collect(),
            }),
        }
        findings.differences.append(&mut differences);
        Ok(())
    }

    /// What is not right in a post that is where it should be.
    fn wrong_in(&self, viewer: Option<UserIndex>, author: UserId, entry: Entry, served: &api::Post) -> Vec<String> {
        let mut wrong = Vec::new();
        let mut field = |name: &str, same: bool| {
            if !same {
                wrong.push(format!("wrong {name} of {}", entry.id));
            }
        };
        field("author", self.is_author(&served.author, author));
        match (entry.original, &served.repost_of) {
            (None, None) => {
                if let Some(facts) = self.oracle.post(entry.id) {
                    self.compare_post(facts, viewer, served, &mut field);
                }
            }
            (Some(original), Some(shown)) => {
                field("original", shown.id == original);
                if let Some(facts) = self.oracle.post(original) {
                    field(
                        "original's author",
                        self.is_author(&shown.author, self.oracle.user(facts.author).0),
                    );
                    self.compare_post(facts, viewer, shown, &mut field);
                }
            }
            (expected, _) => field("kind", expected.is_none() == served.repost_of.is_none()),
        }
        wrong
    }

    fn compare_post(
        &self,
        facts: &PostFacts,
        viewer: Option<UserIndex>,
        served: &api::Post,
        field: &mut impl FnMut(&str, bool),
    ) {
        field("text", text_hash(&served.text) == facts.text_hash);
        field("visibility", served.visibility == facts.visibility);
        field("in_reply_to", served.in_reply_to == facts.in_reply_to);
        field("created_at", served.created_at == facts.created_at);
        field("edited_at", served.edited_at == facts.edited_at);
        let counts = self.oracle.post_counts(served.id);
        let expected = api::PostCounts {
            likes: counts.likes,
            reposts: counts.reposts,
            replies: counts.replies,
        };
        field("counts", served.counts == Some(expected));
        if let Some(viewer) = viewer {
            let expected = api::PostViewer {
                liked: self.oracle.likes(viewer, served.id),
                reposted: self.oracle.reposts(viewer, served.id),
            };
            field("viewer", served.viewer == Some(expected));
        }
    }

    fn is_author(&self, shown: &api::Author, author: UserId) -> bool {
        self.oracle.find_user(author).is_some_and(|index| {
            let (_, facts) = self.oracle.user(index);
            shown.id == author
                && shown.handle == *facts.handle
                && shown.display_name.as_deref() == Some(&*facts.display_name)
        })
    }

    /// Everything that decides whether, and how, `viewer` sees the entry.
    fn dependencies(&self, viewer: Option<UserId>, author: UserId, entry: Entry) -> Vec<Dependency> {
        let mut streams = vec![StreamId::user(author)];
        match entry.original {
            None => streams.push(StreamId::post(entry.id)),
            Some(original) => {
                streams.extend([StreamId::repost(author, original), StreamId::post(original)]);
                let writer = self.oracle.post(original).map(|facts| self.oracle.user(facts.author).0);
                streams.extend(writer.map(StreamId::user));
            }
        }
        if let Some(viewer) = viewer {
            streams.extend([StreamId::user(viewer), StreamId::follow(viewer, author)]);
        }
        streams.into_iter().map(Dependency::Stream).collect()
    }

    /// The followers of a user, or whom they follow.
    async fn people(
        &self,
        reader: Reader<'_>,
        index: UserIndex,
        followers: bool,
        place: String,
        findings: &mut Findings,
    ) -> anyhow::Result<()> {
        let (id, _) = self.oracle.user(index);
        let (expected, path) = if followers {
            (self.oracle.followers(index), "followers")
        } else {
            (self.oracle.following(index), "following")
        };
        let order: HashMap<UserId, EventId> = expected
            .iter()
            .map(|&(event, user)| (self.oracle.user(user).0, event))
            .collect();
        let mut comparison = Comparison::new(expected.iter().map(|&(event, user)| (event, self.oracle.user(user).0)));
        let mut faults = Vec::new();
        let pages = reader
            .each(&format!("/v1/users/{id}/{path}"), |served: api::User| {
                findings.items += 1;
                match order.get(&served.id) {
                    Some(&event) => faults.extend(comparison.served(event, served.id).faults),
                    None => faults.push(Fault::Unexpected(served.id)),
                }
            })
            .await;
        match pages {
            Ok(pages) => {
                findings.pages += pages;
                faults.extend(comparison.end());
            }
            Err(ReadError::Call(error)) => return Err(error.into()),
            Err(error) => {
                let what = error.to_string();
                findings.differences.push(Difference {
                    place: place.clone(),
                    what,
                    depends_on: vec![stream_of(id)],
                });
            }
        }
        findings.differences.extend(faults.into_iter().map(|fault| {
            let (how, other) = match fault {
                Fault::Missing(other) => ("missing", other),
                Fault::Unexpected(other) => ("unexpected", other),
                Fault::Misordered(other) => ("out of order or repeated", other),
            };
            let follow = if followers {
                StreamId::follow(other, id)
            } else {
                StreamId::follow(id, other)
            };
            Difference {
                place: place.clone(),
                what: format!("{how}: {}", self.name_of(other)),
                depends_on: vec![stream_of(id), stream_of(other), Dependency::Stream(follow)],
            }
        }));
        Ok(())
    }

    async fn profile(
        &self,
        reader: Reader<'_>,
        index: UserIndex,
        place: String,
        findings: &mut Findings,
    ) -> anyhow::Result<()> {
        let (id, facts) = self.oracle.user(index);
        let counts = self.oracle.counts(index);
        let expected = api::User {
            id,
            handle: facts.handle.to_string(),
            display_name: facts.display_name.to_string(),
            bio: facts.bio.to_string(),
            created_at: facts.created_at,
            counts: Some(api::UserCounts {
                posts: counts.posts,
                followers: counts.followers,
                following: counts.following,
            }),
        };
        let what = match reader.get::<api::User>(format!("/v1/users/{id}")).await {
            Ok(served) if served == expected => return Ok(()),
            Ok(served) => format!("expected {expected:?}, served {served:?}"),
            Err(ReadError::Call(error)) => return Err(error.into()),
            Err(error) => error.to_string(),
        };
        findings.differences.push(Difference {
            place,
            what,
            depends_on: vec![stream_of(id), Dependency::UserCounts(id)],
        });
        Ok(())
    }

    fn name_of(&self, id: UserId) -> String {
        match self.oracle.find_user(id) {
            Some(index) => format!("@{} ({id})", self.oracle.user(index).1.handle),
            None => id.to_string(),
        }
    }
}

fn stream_of(user: UserId) -> Dependency {
    Dependency::Stream(StreamId::user(user))
}
