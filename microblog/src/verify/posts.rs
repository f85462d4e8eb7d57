//! Checks what belongs to one post: its conversation, its likes and reposts, and its earlier texts, for every kind of viewer who may or may
//! not see it.

use model::api;
use model::events::StreamId;
use model::ids::{EventId, PostId};
use model::values::FilterContext;
use reqwest::StatusCode;

use super::check::{Checker, Difference, Findings, PeopleList, PostList};
use super::history::TextVersion;
use super::oracle::{PostPeople, UserIndex};
use super::said::Said;
use super::served::{ReadError, Thread, Version};
use super::timeline::Entry;
use super::viewers::Eyes;

/// The limit of the API.
const MOST_ANCESTORS: usize = 50;

impl Checker<'_> {
    /// `texts` are all texts of the post, the present one first.
    pub(super) async fn post(
        &self,
        id: PostId,
        people: &PostPeople,
        texts: &[TextVersion],
    ) -> anyhow::Result<Findings> {
        let mut findings = Findings::default();
        let Some(facts) = self.oracle.post(id) else {
            return Ok(findings);
        };
        let author = facts.author;
        let mut all_eyes = self.others(author)?;
        if let Some(mentioned) = self.oracle.mentioned(id) {
            all_eyes.push(self.eyes(Some(mentioned), "the user whom it mentions")?);
        }
        if self.oracle.user(author).1.live {
            all_eyes.push(self.eyes(Some(author), "its author")?);
        }
        for eyes in all_eyes {
            let look = Look {
                checker: self,
                id,
                author,
                eyes: &eyes,
            };
            if self.oracle.shows(id, &eyes.sight) {
                look.thread(&mut findings).await?;
                look.quotes(&mut findings).await?;
                look.people(people, &mut findings).await?;
                look.history(texts, &mut findings).await?;
            } else {
                look.nothing(&mut findings).await?;
            }
        }
        Ok(findings)
    }
}

/// One post, as one viewer sees it.
struct Look<'l> {
    checker: &'l Checker<'l>,
    id: PostId,
    author: UserIndex,
    eyes: &'l Eyes,
}

impl Look<'_> {
    fn path(&self, what: &str) -> String {
        format!("/v1/posts/{}/{what}", self.id)
    }

    fn list<'p>(&'p self, what: &str, path: &'p str) -> PostList<'p> {
        let author = self.checker.oracle.user(self.author).0;
        let entry = self.entry();
        PostList {
            place: self.eyes.see(format!(
                "{what} of post {} by {}",
                self.id,
                self.checker.name_of(author)
            )),
            path,
            eyes: self.eyes,
            context: FilterContext::Thread,
            depends_on: self.checker.dependencies(self.eyes.sight.viewer, author, entry),
            pinned: Vec::new(),
        }
    }

    fn entry(&self) -> Entry {
        Entry {
            id: self.id,
            original: None,
        }
    }

    /// The viewer may not see the post, so that every list of it must be hidden too.
    async fn nothing(&self, findings: &mut Findings) -> anyhow::Result<()> {
        for what in ["thread", "likes", "reposts", "quotes", "history"] {
            let path = self.path(what);
            let answer = self
                .checker
                .reader(self.eyes)
                .get::<serde_json::Value>(path.clone())
                .await;
            let what_else = match answer {
                Err(ReadError::Status {
                    status: StatusCode::NOT_FOUND,
                    ..
                }) => continue,
                Err(ReadError::Call(error)) => return Err(error.into()),
                Err(error) => error.to_string(),
                Ok(_) => "it is shown".to_owned(),
            };
            let PostList { place, depends_on, .. } = self.list(what, &path);
            findings.differences.push(Difference {
                place,
                what: format!("nobody may see this, or not this viewer: {what_else}"),
                depends_on,
            });
        }
        Ok(())
    }

    async fn thread(&self, findings: &mut Findings) -> anyhow::Result<()> {
        let (checker, oracle) = (self.checker, self.checker.oracle);
        let path = self.path("thread");
        let list = self.list("thread", &path);
        let answer = checker.reader(self.eyes).get::<Thread>(format!("{path}?limit=1")).await;
        let Some(thread) = self.answered(answer, &list, findings)? else {
            return Ok(());
        };
        let author = oracle.user(self.author).0;
        let wrong = checker.wrong_in(&list, author, self.entry(), &thread.post);
        findings.differences.extend(wrong);
        let expected = oracle.ancestors(self.id, &self.eyes.sight, MOST_ANCESTORS);
        let (served, right) = (
            thread.ancestors.iter().map(|post| post.id),
            expected.iter().map(|(_, entry)| entry.id),
        );
        if served.clone().eq(right.clone()) {
            for (&(author, entry), served) in expected.iter().zip(&thread.ancestors) {
                let wrong = checker.wrong_in(&list, oracle.user(author).0, entry, served);
                findings.differences.extend(wrong);
            }
        } else {
            let (served, right): (Vec<PostId>, Vec<PostId>) = (served.collect(), right.collect());
            let mut depends_on = list.depends_on.clone();
            for &id in served.iter().chain(&right) {
                if let Some(facts) = oracle.post(id) {
                    let (author, entry) = (oracle.user(facts.author).0, Entry { id, original: None });
                    depends_on.extend(checker.dependencies(self.eyes.sight.viewer, author, entry));
                }
            }
            findings.differences.push(Difference {
                place: list.place.clone(),
                what: format!("expected ancestors: {}; served: {}", names(&right), names(&served)),
                depends_on,
            });
        }
        let replies = || oracle.replies(self.id, &self.eyes.sight);
        checker.posts::<Thread>(&list, replies(), findings).await?;
        checker.posts_upwards::<Thread>(&list, replies(), findings).await
    }

    async fn quotes(&self, findings: &mut Findings) -> anyhow::Result<()> {
        let path = self.path("quotes");
        let list = self.list("quotes", &path);
        let quotes = || self.checker.oracle.quotes(self.id, &self.eyes.sight);
        self.checker.posts::<api::Page<_>>(&list, quotes(), findings).await?;
        self.checker
            .posts_upwards::<api::Page<_>>(&list, quotes(), findings)
            .await
    }

    async fn people(&self, people: &PostPeople, findings: &mut Findings) -> anyhow::Result<()> {
        for (what, expected, relation) in [
            ("likes", &people.likers, StreamId::like as fn(_, _) -> _),
            ("reposts", &people.reposters, StreamId::repost),
        ] {
            let path = self.path(what);
            let PostList { place, depends_on, .. } = self.list(what, &path);
            let relation = |other| relation(other, self.id);
            let list = PeopleList {
                place,
                path: path.clone(),
                expected: match what {
                    "reposts" => self.reposters(expected),
                    _ => self.checker.oracle.listed(expected, &self.eyes.sight),
                },
                depends_on,
                relation: &relation,
            };
            self.checker.people(self.eyes, &list, findings).await?;
            self.checker.people_upwards(self.eyes, &list, findings).await?;
        }
        Ok(())
    }

    /// The reposts of a protected account are for its followers.
    fn reposters(&self, all: &[(EventId, UserIndex)]) -> Vec<(EventId, UserIndex)> {
        let sight = &self.eyes.sight;
        let mut shown = self.checker.oracle.listed(all, sight);
        shown.retain(|(_, user)| {
            let protected = self.checker.oracle.user(*user).1.protected;
            !protected || sight.viewer == Some(*user) || sight.followees.contains(user)
        });
        shown
    }

    async fn history(&self, texts: &[TextVersion], findings: &mut Findings) -> anyhow::Result<()> {
        let path = self.path("history");
        let list = self.list("history", &path);
        let mut served = Vec::new();
        let take = |version: Version| {
            served.push(TextVersion {
                version: version.version,
                said: Said::of(&version.text, version.warning.as_deref(), version.language.as_deref()),
                at: version.at,
            });
        };
        let answer = self
            .checker
            .reader(self.eyes)
            .each::<api::Page<Version>>(&path, take)
            .await;
        let Some(pages) = self.answered(answer, &list, findings)? else {
            return Ok(());
        };
        findings.pages += pages;
        findings.items += served.len() as u64;
        if served != texts {
            let versions = |texts: &[TextVersion]| texts.iter().map(|text| text.version).collect::<Vec<_>>();
            findings.differences.push(Difference {
                place: list.place,
                what: format!(
                    "served versions {:?}, expected versions {:?}; versions, texts or times differ",
                    versions(&served),
                    versions(texts)
                ),
                depends_on: list.depends_on,
            });
        }
        Ok(())
    }

    /// The answer, if there is one. A refusal becomes a difference.
    fn answered<T>(
        &self,
        answer: Result<T, ReadError>,
        list: &PostList<'_>,
        findings: &mut Findings,
    ) -> anyhow::Result<Option<T>> {
        match answer {
            Ok(answer) => Ok(Some(answer)),
            Err(ReadError::Call(error)) => Err(error.into()),
            Err(error) => {
                findings.differences.push(Difference {
                    place: list.place.clone(),
                    what: error.to_string(),
                    depends_on: list.depends_on.clone(),
                });
                Ok(None)
            }
        }
    }
}

fn names(posts: &[PostId]) -> String {
    let names: Vec<String> = posts.iter().map(ToString::to_string).collect();
    if names.is_empty() {
        "nothing".to_owned()
    } else {
        names.join(", ")
    }
}
