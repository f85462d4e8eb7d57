//! Commands of moderators, and the reports that they read.
//!
//! Whoever has no role is refused before anything is looked up, and so learns nothing.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use event_log::event_store::{BodyHash, Idempotency};
use model::events::{Event, Report};
use model::ids::{PostId, ReportId, UserId};
use model::values::{IdempotencyKey, ReportComment};
use serde_json::json;

use super::execute::{Command, Plan};
use super::read::{Named, Reader};
use super::{Broken, CommandError, Refusal};
use crate::domain::{post, report, user};

/// A report, before it is written.
#[derive(Debug, Clone)]
pub struct NewReport {
    pub user: UserId,
    /// At most [`Report::MAX_POSTS`].
    pub posts: Vec<PostId>,
    pub comment: ReportComment,
    pub idempotency_key: Option<IdempotencyKey>,
}

#[derive(Debug)]
pub(super) struct MakeReport {
    id: ReportId,
    reporter: UserId,
    user: UserId,
    posts: Vec<PostId>,
    comment: ReportComment,
    idempotency: Option<Idempotency>,
}

impl MakeReport {
    pub(super) fn new(reporter: UserId, new: NewReport, now: DateTime<Utc>) -> Self {
        let body = json!([new.user, new.posts, new.comment.as_str()]);
        let body_hash = BodyHash::of(body.to_string().as_bytes());
        let mut named = BTreeSet::new();
        Self {
            id: ReportId::new(now),
            reporter,
            user: new.user,
            posts: new.posts.into_iter().filter(|post| named.insert(*post)).collect(),
            comment: new.comment,
            idempotency: new.idempotency_key.map(|key| Idempotency { key, body_hash }),
        }
    }

    /// Fails unless all of the posts are by the user, and the reporter sees them.
    async fn check_posts(&self, read: &mut Reader<'_>) -> Result<(), CommandError> {
        for &id in &self.posts {
            let post = read.post(id).await?.filter(|post| post.state.author == self.user);
            let seen = read.check_seen_by(self.reporter, post.ok_or(Refusal::NotTheirPosts)?);
            seen.await.map_err(|error| match error {
                CommandError::Refused(Refusal::NoSuchPost) => Refusal::NotTheirPosts.into(),
                other => other,
            })?;
        }
        Ok(())
    }
}

impl Command for MakeReport {
    type Answer = Report;

    async fn plan(&self, mut read: Reader<'_>) -> Result<Plan<Report>, CommandError> {
        // The reporter may see less by now than when the first request came.
        if let Some(idempotency) = &self.idempotency
            && let Some(earlier) = read.by_idempotency_key(self.reporter, &idempotency.key).await?
        {
            return Ok(Plan::Replay(earlier));
        }
        read.live_actor(self.reporter).await?;
        let reported = read.user(self.user).await?.filter(|user| !user.state.deleted);
        if reported.is_none() || self.user == self.reporter {
            return Err(Refusal::NobodyToReport.into());
        }
        self.check_posts(&mut read).await?;
        let make = report::Command::Make {
            id: self.id,
            reporter: self.reporter,
            user: self.user,
            posts: self.posts.clone(),
            comment: self.comment.clone(),
        };
        let event = report::decide(None, make)?.ok_or(Broken::IdTaken)?;
        let answer = state(&event)?;
        Ok(Plan::append(event, 0, answer))
    }

    fn idempotency(&self) -> Option<&Idempotency> {
        self.idempotency.as_ref()
    }

    fn replay(&self, earlier: Event) -> Result<Report, CommandError> {
        match earlier {
            Event::UserReported(report) => Ok(report),
            _ => Err(Refusal::KeyReused.into()),
        }
    }
}

#[derive(Debug)]
pub(super) struct ResolveReport {
    pub(super) id: ReportId,
    pub(super) by: UserId,
}

impl Command for ResolveReport {
    type Answer = Report;

    async fn plan(&self, mut read: Reader<'_>) -> Result<Plan<Report>, CommandError> {
        let moderator = read.moderator(self.by).await?;
        let report = read.report(self.id).await?.ok_or(Refusal::NoSuchReport)?;
        moderator.check(&mut read, report.state.user).await?;
        let resolve = report::Command::Resolve { by: self.by };
        Ok(match report::decide(Some(&report.state), resolve)? {
            Some(event) => {
                let answer = state(&event)?;
                Plan::append(event, report.version, answer)
            }
            None => Plan::Nothing {
                partition: report.state.user.partition(),
                answer: report.state,
            },
        })
    }
}

/// Hides a post from everybody but its author, or takes that back. The id of a repost means its original.
#[derive(Debug)]
pub(super) struct SetHidden {
    pub(super) post: PostId,
    pub(super) by: UserId,
    pub(super) hidden: bool,
}

impl Command for SetHidden {
    type Answer = ();

    async fn plan(&self, mut read: Reader<'_>) -> Result<Plan<()>, CommandError> {
        let moderator = read.moderator(self.by).await?;
        let post = match read.named(self.post).await? {
            Named::Post(post) => *post,
            Named::Repost(repost) => read.post(repost.post).await?.ok_or(Refusal::NoSuchPost)?,
        };
        let author = post.state.author;
        moderator.check(&mut read, author).await?;
        let command = match self.hidden {
            true => post::Command::Hide { by: self.by },
            false => post::Command::Unhide { by: self.by },
        };
        Ok(match post::decide(Some(&post.state), command)? {
            Some(event) => Plan::append(event, post.version, ()),
            None => Plan::Nothing {
                partition: author.partition(),
                answer: (),
            },
        })
    }
}

/// Suspends a user, or takes that back.
#[derive(Debug)]
pub(super) struct SetSuspension {
    pub(super) user: UserId,
    pub(super) by: UserId,
    pub(super) suspended: bool,
}

impl Command for SetSuspension {
    type Answer = ();

    async fn plan(&self, mut read: Reader<'_>) -> Result<Plan<()>, CommandError> {
        let moderator = read.moderator(self.by).await?;
        // Nobody could take it back.
        if self.user == self.by {
            return Err(Refusal::Oneself("suspend").into());
        }
        let user = read.user(self.user).await?.filter(|user| !user.state.deleted);
        let user = user.ok_or(Refusal::NoSuchUser)?;
        moderator.check(&mut read, self.user).await?;
        let command = match self.suspended {
            true => user::Command::Suspend { by: self.by },
            false => user::Command::Restore { by: self.by },
        };
        Ok(match user::decide(Some(&user.state), command)? {
            Some(event) => Plan::append(event, user.version, ()),
            None => Plan::Nothing {
                partition: self.user.partition(),
                answer: (),
            },
        })
    }
}

fn state(event: &Event) -> Result<Report, CommandError> {
    report::evolve(event.clone()).ok_or_else(|| Broken::Stream(event.stream().to_string()).into())
}
