//! Compares what a user, and what other viewers, are served with what the oracle says.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use model::api;
use model::events::StreamId;
use model::ids::{EventId, PostId, SessionId, UserId};
use model::values::{FilterContext, Handle};
use reqwest::StatusCode;
use service::auth::{SCOPE_VERIFY, Signer, Subject};

use super::compare::{Comparison, Fault, Step};
use super::history::Dependency;
use super::oracle::{Oracle, PostFacts, UserIndex};
use super::said::Said;
use super::served::{Paged, ReadError, Reader};
use super::timeline::Entry;
use super::viewers::Eyes;
use crate::api_client::ApiClient;

/// Something that is not served as it should be.
#[derive(Debug, Clone)]
pub(super) struct Difference {
    pub(super) place: String,
    pub(super) what: String,
    /// If one of these changed during the run, the difference says nothing.
    pub(super) depends_on: Vec<Dependency>,
}

/// The findings about one user, one post, or one public list.
#[derive(Debug, Default)]
pub(super) struct Findings {
    pub(super) differences: Vec<Difference>,
    /// Items that were served.
    pub(super) items: u64,
    pub(super) pages: u64,
}

impl Findings {
    pub(super) fn add(&mut self, mut more: Findings) {
        self.differences.append(&mut more.differences);
        self.items += more.items;
        self.pages += more.pages;
    }
}

/// Sends requests as any user, and knows the right answers.
#[derive(Debug)]
pub(super) struct Checker<'a> {
    pub(super) oracle: &'a Oracle,
    pub(super) api: &'a ApiClient,
    pub(super) signer: &'a Signer,
    pub(super) consistency_token: &'a str,
    pub(super) page_size: u32,
    pub(super) now: DateTime<Utc>,
    /// Determines the random choices.
    pub(super) seed: u64,
}

/// A list of posts, as one viewer sees it.
pub(super) struct PostList<'l> {
    pub(super) place: String,
    pub(super) path: &'l str,
    pub(super) eyes: &'l Eyes,
    /// Which filters look at it.
    pub(super) context: FilterContext,
    /// What decides whether the list exists at all.
    pub(super) depends_on: Vec<Dependency>,
    /// The posts at its beginning that are pinned.
    pub(super) pinned: Vec<PostId>,
}

impl PostList<'_> {
    fn begins_with_pins(&self) -> bool {
        self.path.ends_with("/posts")
    }
}

/// A list of people: whom it should show, newest first.
#[derive(Clone)]
pub(super) struct PeopleList<'l> {
    pub(super) place: String,
    pub(super) path: String,
    pub(super) expected: Vec<(EventId, UserIndex)>,
    /// What decides whether the list exists at all.
    pub(super) depends_on: Vec<Dependency>,
    /// The stream that decides whether a user is on the list.
    pub(super) relation: &'l (dyn Fn(UserId) -> StreamId + Sync),
}

impl Checker<'_> {
    /// Checks everything that belongs to one user, as that user sees it, and the posts also as other viewers see them. With `upwards`, also
    /// polls the lists.
    pub(super) async fn user(&self, index: UserIndex, upwards: bool) -> anyhow::Result<Findings> {
        let mut findings = Findings::default();
        let (id, facts) = self.oracle.user(index);
        if !facts.live {
            self.gone(id, &mut findings).await?;
            return Ok(findings);
        }
        let own = self.eyes(Some(index), "")?;
        let name = self.name_of(id);
        let whose = |what: &str| format!("{what} of {name}");

        let home = PostList {
            place: whose("home timeline"),
            path: "/v1/timelines/home",
            eyes: &own,
            context: FilterContext::Home,
            depends_on: vec![stream_of(id)],
            pinned: Vec::new(),
        };
        self.posts::<api::Page<_>>(&home, self.oracle.home_timeline(&own.sight), &mut findings)
            .await?;
        let path = format!("/v1/users/{id}/posts");
        for eyes in std::iter::once(own.clone()).chain(self.others(index)?) {
            let posts = PostList {
                place: eyes.see(whose("posts")),
                path: &path,
                eyes: &eyes,
                depends_on: vec![stream_of(id), Dependency::Stream(StreamId::pins(id))],
                pinned: self.oracle.pinned_by(index, &eyes.sight),
                context: FilterContext::Profile,
            };
            if eyes.sight.blocks.contains(&index) || self.oracle.closes(index, &eyes.sight) {
                self.closed(&posts, &mut findings).await?;
                continue;
            }
            let expected = self.oracle.posts_of(index, &eyes.sight);
            let expected = expected.filter(|(_, entry)| !posts.pinned.contains(&entry.id));
            self.posts::<api::Page<_>>(&posts, expected, &mut findings).await?;
        }
        let (to_user, from_user) = (
            |other: UserId| StreamId::follow(other, id),
            |other: UserId| StreamId::follow(id, other),
        );
        let (block, mute) = (
            |other: UserId| StreamId::block(id, other),
            |other: UserId| StreamId::mute(id, other),
        );
        let of_user = |what: &str| format!("/v1/users/{id}/{what}");
        let live = |list: &[(EventId, UserIndex)]| {
            let live = list.iter().copied().filter(|&(_, user)| self.oracle.user(user).1.live);
            live.collect::<Vec<_>>()
        };
        let muted: Vec<_> = self.oracle.muted_by(index, self.now).collect();
        let list = |what, path, expected, relation| PeopleList {
            place: whose(what),
            path,
            expected,
            depends_on: vec![stream_of(id)],
            relation,
        };
        let relations: [&(dyn Fn(UserId) -> StreamId + Sync); 4] = [&to_user, &from_user, &block, &mute];
        let [to_user, from_user, block, mute] = relations;
        let followers = self.oracle.listed(self.oracle.followers(index), &own.sight);
        let following = self.oracle.listed(self.oracle.following(index), &own.sight);
        let (received, sent) = (
            live(self.oracle.requests_to(index)),
            live(self.oracle.requests_of(index)),
        );
        for list in [
            list("followers", of_user("followers"), followers, to_user),
            list("following", of_user("following"), following, from_user),
            list("requests to", "/v1/follow-requests".to_owned(), received, to_user),
            list("requests", "/v1/follow-requests/sent".to_owned(), sent, from_user),
            list(
                "blocks",
                "/v1/blocks".to_owned(),
                live(self.oracle.blocked_by(index)),
                block,
            ),
            list("mutes", "/v1/mutes".to_owned(), live(&muted), mute),
        ] {
            self.people(&own, &list, &mut findings).await?;
            if upwards {
                self.people_upwards(&own, &list, &mut findings).await?;
            }
        }
        if upwards {
            self.posts_upwards::<api::Page<_>>(&home, self.oracle.home_timeline(&own.sight), &mut findings)
                .await?;
            let home = PostList {
                place: whose("home timeline without replies"),
                path: "/v1/timelines/home?replies=followed",
                ..home
            };
            let expected = self.oracle.home_without_replies(&own.sight);
            self.posts::<api::Page<_>>(&home, expected, &mut findings).await?;
        }
        self.lists(index, &own, &mut findings).await?;
        self.bookmarks(index, &own, &mut findings).await?;
        self.followed_tags(index, &own, &mut findings).await?;
        self.filters(index, &own, &mut findings).await?;
        self.notifications(index, &own, upwards, &mut findings).await?;
        self.profile(self.reader(&own), index, whose("profile"), &mut findings)
            .await?;
        Ok(findings)
    }

    /// Checks what everybody sees, with an account and without.
    pub(super) async fn public_timeline(&self) -> anyhow::Result<Findings> {
        let mut findings = Findings::default();
        let nobody = self.eyes(None, "a visitor without an account")?;
        for eyes in std::iter::once(nobody).chain(self.anybody()?) {
            let list = PostList {
                place: eyes.see("public timeline".to_owned()),
                path: "/v1/timelines/public",
                eyes: &eyes,
                context: FilterContext::Public,
                depends_on: Vec::new(),
                pinned: Vec::new(),
            };
            let expected = || self.oracle.public_timeline(&eyes.sight).into_iter();
            self.posts::<api::Page<_>>(&list, expected(), &mut findings).await?;
            if eyes.sight.viewer.is_none() {
                self.posts_upwards::<api::Page<_>>(&list, expected(), &mut findings)
                    .await?;
            }
        }
        Ok(findings)
    }

    pub(super) fn reader<'r>(&'r self, eyes: &'r Eyes) -> Reader<'r> {
        Reader {
            api: self.api,
            access_token: eyes.access_token.as_deref(),
            consistency_token: self.consistency_token,
            page_size: self.page_size,
        }
    }

    /// An access token for a user, signed here.
    pub(super) fn access_token(&self, index: UserIndex) -> anyhow::Result<String> {
        let (id, facts) = self.oracle.user(index);
        let subject = Subject {
            user: id,
            handle: Handle::parse(&facts.handle)?,
            session: SessionId::new(self.now),
            scope: SCOPE_VERIFY,
        };
        Ok(self.signer.issue(&subject)?.token)
    }

    async fn gone(&self, id: UserId, findings: &mut Findings) -> anyhow::Result<()> {
        let nobody = self.eyes(None, "a visitor without an account")?;
        match self.reader(&nobody).get::<api::User>(format!("/v1/users/{id}")).await {
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

    fn pins_depend_on(&self, list: &PostList<'_>, served: &[PostId]) -> Vec<Dependency> {
        let mut depends_on = list.depends_on.clone();
        for &id in list.pinned.iter().chain(served) {
            if let Some(post) = self.oracle.post(id) {
                let (author, entry) = (self.oracle.user(post.author).0, Entry { id, original: None });
                depends_on.extend(self.dependencies(list.eyes.sight.viewer, author, entry));
            }
        }
        depends_on
    }

    /// A block or a suspension closes the list to this viewer.
    async fn closed(&self, list: &PostList<'_>, findings: &mut Findings) -> anyhow::Result<()> {
        let answer = self
            .reader(list.eyes)
            .get::<serde_json::Value>(list.path.to_owned())
            .await;
        let what = match answer {
            Err(ReadError::Status {
                status: StatusCode::NOT_FOUND,
                ..
            }) => return Ok(()),
            Err(ReadError::Call(error)) => return Err(error.into()),
            Err(error) => error.to_string(),
            Ok(_) => "it is shown".to_owned(),
        };
        let others = list.eyes.sight.viewer.map(|viewer| self.oracle.user(viewer).0);
        let mut depends_on = list.depends_on.clone();
        depends_on.extend(others.map(stream_of));
        findings.differences.push(Difference {
            place: list.place.clone(),
            what: format!("a block or a suspension closes it: {what}"),
            depends_on,
        });
        Ok(())
    }

    pub(super) async fn posts<P: Paged<Item = api::Post>>(
        &self,
        list: &PostList<'_>,
        expected: impl Iterator<Item = (UserIndex, Entry)>,
        findings: &mut Findings,
    ) -> anyhow::Result<()> {
        let mut comparison =
            Comparison::new(expected.map(|(author, entry)| (entry.id, (self.oracle.user(author).0, entry))));
        let mut differences = Vec::new();
        let (mut items, mut pinned) = (0, Vec::new());
        let note = |differences: &mut Vec<Difference>, fault: Fault<(UserId, Entry)>| {
            differences.push(self.post_fault(list, fault));
        };
        let pages = self
            .reader(list.eyes)
            .each::<P>(list.path, |post| {
                items += 1;
                if post.pinned && list.begins_with_pins() {
                    pinned.push(post.id);
                    return;
                }
                let original = post.repost_of.as_ref().map(|original| original.id);
                let Step { faults, matched } =
                    comparison.served(post.id, (post.author.id, Entry { id: post.id, original }));
                for fault in faults {
                    note(&mut differences, fault);
                }
                if let Some((author, entry)) = matched {
                    differences.extend(self.wrong_in(list, author, entry, &post));
                }
            })
            .await;
        findings.items += items;
        if pages.is_ok() && pinned != list.pinned {
            differences.push(Difference {
                place: list.place.clone(),
                what: format!("expected pins: {:?}; served: {pinned:?}", list.pinned),
                depends_on: self.pins_depend_on(list, &pinned),
            });
        }
        match pages {
            Ok(pages) => {
                findings.pages += pages;
                comparison.end().for_each(|fault| note(&mut differences, fault));
            }
            Err(ReadError::Call(error)) => return Err(error.into()),
            Err(error) => differences.push(Difference {
                place: list.place.clone(),
                what: error.to_string(),
                depends_on: list.depends_on.clone(),
            }),
        }
        findings.differences.append(&mut differences);
        Ok(())
    }

    pub(super) fn post_fault(&self, list: &PostList<'_>, fault: Fault<(UserId, Entry)>) -> Difference {
        let (how, (author, entry)) = fault.words();
        let kind = if entry.original.is_some() { "repost" } else { "post" };
        Difference {
            place: list.place.clone(),
            what: format!("{how}: {kind} {} by {}", entry.id, self.name_of(author)),
            depends_on: self.dependencies(list.eyes.sight.viewer, author, entry),
        }
    }

    /// What is wrong in a post that is in the right place.
    pub(super) fn wrong_in(
        &self,
        list: &PostList<'_>,
        author: UserId,
        entry: Entry,
        served: &api::Post,
    ) -> Vec<Difference> {
        let mut wrong = Vec::new();
        let mut field = |name: &str, same: bool| {
            if !same {
                wrong.push(format!("wrong {name} of {}", entry.id));
            }
        };
        field("author", self.is_author(&served.author, author));
        let filtered = self.oracle.find_user(author).map(|author| {
            let sight = &list.eyes.sight;
            self.oracle.filtered(list.context, author, entry, sight)
        });
        field("filtered", filtered.is_some_and(|filtered| served.filtered == filtered));
        match (entry.original, &served.repost_of) {
            (None, None) => {
                if let Some(facts) = self.oracle.post(entry.id) {
                    self.compare_post(list, facts, served, &mut field);
                }
            }
            (Some(original), Some(shown)) => {
                field("original", shown.id == original);
                if let Some(facts) = self.oracle.post(original) {
                    field(
                        "original's author",
                        self.is_author(&shown.author, self.oracle.user(facts.author).0),
                    );
                    self.compare_post(list, facts, shown, &mut field);
                }
            }
            (expected, _) => field("kind", expected.is_none() == served.repost_of.is_none()),
        }
        let viewer = list.eyes.sight.viewer.map(|viewer| self.oracle.user(viewer).0);
        let difference = |what| {
            let mut depends_on = self.dependencies(list.eyes.sight.viewer, author, entry);
            let target = entry.original.unwrap_or(entry.id);
            depends_on.push(Dependency::PostCounts(target));
            if let Some(quote) = self.oracle.post(target).and_then(|post| post.quote)
                && let Some(quoted) = self.oracle.post(quote.post)
            {
                let (author, id) = (self.oracle.user(quoted.author).0, quote.post);
                let entry = Entry { id, original: None };
                depends_on.extend(self.dependencies(list.eyes.sight.viewer, author, entry));
            }
            depends_on.extend(viewer.map(|viewer| Dependency::Stream(StreamId::like(viewer, target))));
            depends_on.extend(viewer.map(|viewer| Dependency::Stream(StreamId::repost(viewer, target))));
            Difference {
                place: list.place.clone(),
                what,
                depends_on,
            }
        };
        wrong.into_iter().map(difference).collect()
    }

    fn compare_post(
        &self,
        list: &PostList<'_>,
        facts: &PostFacts,
        served: &api::Post,
        field: &mut impl FnMut(&str, bool),
    ) {
        let said = Said::of(&served.text, served.warning.as_deref(), served.language.as_deref());
        field("text", said.text == facts.said.text);
        field("warning", said.warning == facts.said.warning);
        field("language", said.language == facts.said.language);
        field("visibility", served.visibility == facts.visibility);
        field("in_reply_to", served.in_reply_to == facts.in_reply_to);
        field("created_at", served.created_at == facts.created_at);
        field("edited_at", served.edited_at == facts.edited_at);
        field("hidden", served.hidden == facts.hidden);
        let counts = self.oracle.post_counts(served.id);
        let expected = api::PostCounts {
            likes: counts.likes,
            reposts: counts.reposts,
            replies: counts.replies,
            quotes: counts.quotes,
        };
        field("counts", served.counts == Some(expected));
        field("quote", self.is_quote(list, facts, served.quote.as_ref()));
        let expected = list.eyes.sight.viewer.map(|viewer| api::PostViewer {
            liked: self.oracle.likes(viewer, served.id),
            reposted: self.oracle.reposts(viewer, served.id),
        });
        field("viewer", served.viewer == expected);
    }

    fn is_quote(&self, list: &PostList<'_>, facts: &PostFacts, served: Option<&api::Quote>) -> bool {
        let Some(quote) = facts.quote else {
            return served.is_none();
        };
        let sight = &list.eyes.sight;
        let expected = if quote.detached {
            api::QuoteState::Detached
        } else if self.oracle.quoted(quote.post, list.context, sight).is_some() {
            api::QuoteState::Shown
        } else {
            api::QuoteState::Unavailable
        };
        let shown = served.and_then(|served| served.post.as_deref());
        let says = |post: &api::Post| {
            let said = Said::of(&post.text, post.warning.as_deref(), post.language.as_deref());
            let quoted = self.oracle.post(quote.post);
            post.id == quote.post && quoted.is_some_and(|quoted| quoted.said == said)
        };
        served.is_some_and(|served| served.state == expected)
            && match expected {
                api::QuoteState::Shown => shown.is_some_and(says),
                _ => shown.is_none(),
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

    /// Everything that decides whether `viewer` sees the entry, and how it looks.
    pub(super) fn dependencies(&self, viewer: Option<UserIndex>, author: UserId, entry: Entry) -> Vec<Dependency> {
        let mut streams = vec![StreamId::user(author)];
        let mut writer = None;
        match entry.original {
            None => streams.push(StreamId::post(entry.id)),
            Some(original) => {
                streams.extend([StreamId::repost(author, original), StreamId::post(original)]);
                writer = self.oracle.post(original).map(|facts| self.oracle.user(facts.author).0);
                streams.extend(writer.map(StreamId::user));
            }
        }
        let lists = viewer.map(|viewer| Dependency::Lists(self.oracle.user(viewer).0));
        if let Some(viewer) = viewer {
            let viewer = self.oracle.user(viewer).0;
            streams.push(StreamId::user(viewer));
            for author in [Some(author), writer].into_iter().flatten() {
                streams.extend([
                    StreamId::follow(viewer, author),
                    StreamId::block(viewer, author),
                    StreamId::block(author, viewer),
                    StreamId::mute(viewer, author),
                ]);
            }
            streams.extend(self.answered(entry).map(|answered| StreamId::follow(viewer, answered)));
            let tags = self.oracle.post(entry.id).map_or(&[][..], |post| &post.tags);
            streams.extend(tags.iter().map(|tag| StreamId::tag(viewer, tag)));
        }
        let filters = viewer.map(|viewer| Dependency::Filters(self.oracle.user(viewer).0));
        let streams = streams.into_iter().map(Dependency::Stream);
        streams.chain(lists).chain(filters).collect()
    }

    /// The author of what an entry answers.
    fn answered(&self, entry: Entry) -> Option<UserId> {
        let answered = self.oracle.post(entry.id)?.in_reply_to?;
        Some(self.oracle.user(self.oracle.post(answered)?.author).0)
    }

    pub(super) async fn people(
        &self,
        eyes: &Eyes,
        list: &PeopleList<'_>,
        findings: &mut Findings,
    ) -> anyhow::Result<()> {
        let order: HashMap<UserId, EventId> = list
            .expected
            .iter()
            .map(|&(event, user)| (self.oracle.user(user).0, event))
            .collect();
        let expected = list.expected.iter();
        let mut comparison = Comparison::new(expected.map(|&(event, user)| (event, self.oracle.user(user).0)));
        let mut faults = Vec::new();
        let pages = self
            .reader(eyes)
            .each::<api::Page<api::User>>(&list.path, |served| {
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
            Err(error) => findings.differences.push(Difference {
                place: list.place.clone(),
                what: error.to_string(),
                depends_on: list.depends_on.clone(),
            }),
        }
        let differences = faults.into_iter().map(|fault| self.person_fault(list, fault));
        findings.differences.extend(differences);
        Ok(())
    }

    pub(super) fn person_fault(&self, list: &PeopleList<'_>, fault: Fault<UserId>) -> Difference {
        let (how, other) = fault.words();
        let mut depends_on = list.depends_on.clone();
        depends_on.extend([stream_of(other), Dependency::Stream((list.relation)(other))]);
        Difference {
            place: list.place.clone(),
            what: format!("{how}: {}", self.name_of(other)),
            depends_on,
        }
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
            protected: facts.protected,
            fields: facts.fields.to_vec(),
            avatar: None,
            created_at: facts.created_at,
            suspended: facts.suspended,
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

    pub(super) fn name_of(&self, id: UserId) -> String {
        match self.oracle.find_user(id) {
            Some(index) => format!("@{} ({id})", self.oracle.user(index).1.handle),
            None => id.to_string(),
        }
    }
}

pub(super) fn stream_of(user: UserId) -> Dependency {
    Dependency::Stream(StreamId::user(user))
}
