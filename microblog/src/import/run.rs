//! Sends what is planned, with a limited number of requests at a time, and writes the journal.

use std::num::NonZeroUsize;
use std::time::{Duration, Instant};

use anyhow::Context;
use futures_util::{Stream, StreamExt, stream};
use reqwest::StatusCode;
use serde_json::json;

use super::accounts::{Account, Registrar, Registration, SessionError};
use super::journal::{Journal, Remembered};
use super::plan::{Item, Source, Survey};
use super::summary::Summary;
use super::tally::{Kind, Outcome, Prefix, Refusal, Tally};
use crate::api_client::{Answer, ApiClient, Call, Problem};
use crate::progress::{Bar, Progress};

/// How often the journal stores how far the items are.
const BETWEEN_NOTES: Duration = Duration::from_secs(1);

/// How an import ended.
#[derive(Debug)]
pub(super) enum Ended {
    Complete,
    Interrupted,
    Failed(anyhow::Error),
}

#[derive(Debug)]
pub(super) struct Import<'a> {
    api: ApiClient,
    registrar: Registrar,
    concurrency: usize,
    progress: &'a Progress,
}

/// Ctrl-C.
#[derive(Debug, thiserror::Error)]
#[error("interrupted")]
struct Interrupted;

impl<'a> Import<'a> {
    pub(super) fn new(api: ApiClient, secret: &[u8], concurrency: NonZeroUsize, progress: &'a Progress) -> Self {
        let registrar = Registrar::new(api.clone(), secret);
        Self {
            api,
            registrar,
            concurrency: concurrency.get(),
            progress,
        }
    }

    pub(super) async fn run(
        &self,
        source: &Source,
        survey: &Survey,
        mut journal: Journal,
        remembered: Remembered,
    ) -> (Ended, Summary) {
        let begun = Instant::now();
        let mut summary = Summary {
            users: Tally::default(),
            items: Tally::default(),
            known_before: 0,
            this_run: 0,
            took: Duration::ZERO,
            throttled: 0,
        };
        let steps = async {
            let (done, tally) = self.recall(survey, &mut journal, remembered).await?;
            self.register(survey, &mut journal, &mut summary).await?;
            self.send(source, survey, &mut journal, Prefix::resume(done, tally), &mut summary)
                .await
        };
        let ended = match steps.await {
            Ok(()) => Ended::Complete,
            Err(error) if error.is::<Interrupted>() => Ended::Interrupted,
            Err(error) => Ended::Failed(error),
        };
        summary.took = begun.elapsed();
        summary.throttled = self.api.throttled();
        (ended, summary)
    }

    /// Restores what an earlier run did, if it was done to this store. To check this, the password of one user must still log in the same
    /// user.
    async fn recall(
        &self,
        survey: &Survey,
        journal: &mut Journal,
        remembered: Remembered,
    ) -> anyhow::Result<(u64, Tally)> {
        let Some((handle, id)) = remembered.users.first() else {
            return Ok((0, Tally::default()));
        };
        let witness = survey.accounts.find(handle).map(|index| survey.accounts.get(index));
        let witness = witness.context("the state of this import names users who are not in the files")?;
        let same_store = match self.registrar.who_is(witness).await {
            Ok(found) => found == *id,
            Err(SessionError::Refused(_)) => false,
            Err(SessionError::Call(error)) => return Err(error.into()),
        };
        if !same_store {
            self.progress
                .say("the earlier run of this import used another store; starting again from the beginning");
            witness.forget_session().await;
            journal.restart()?;
            return Ok((0, Tally::default()));
        }
        for (handle, id) in &remembered.users {
            if let Some(index) = survey.accounts.find(handle) {
                survey.accounts.get(index).set_id(*id);
            }
        }
        Ok((remembered.done, remembered.tally))
    }

    async fn register(&self, survey: &Survey, journal: &mut Journal, summary: &mut Summary) -> anyhow::Result<()> {
        let (known, missing): (Vec<_>, Vec<_>) = survey.accounts.iter().partition(|account| account.id().is_some());
        for _ in &known {
            summary.users.note(Outcome::Accepted(Kind::User));
        }
        summary.known_before = known.len() as u64;
        let bar = self
            .progress
            .bar("users", survey.accounts.len() as u64, known.len() as u64);
        let registrations = stream::iter(missing)
            .map(|account| async move { (account, self.registrar.register(account).await) })
            .buffer_unordered(self.concurrency);
        let result = self
            .each(registrations, |(account, registration)| {
                summary.this_run += 1;
                let outcome = match registration? {
                    Registration::New(id) => {
                        journal.user(&account.handle, id)?;
                        Outcome::Accepted(Kind::User)
                    }
                    Registration::Known(id) => {
                        summary.known_before += 1;
                        journal.user(&account.handle, id)?;
                        Outcome::Accepted(Kind::User)
                    }
                    Registration::Refused(problem) => {
                        Outcome::Refused(Kind::User, refusal(format_args!("@{}", account.handle), &problem))
                    }
                };
                summary.users.note(outcome);
                bar.advance();
                self.show_throttling(&bar);
                Ok(())
            })
            .await;
        bar.end();
        result
    }

    async fn send(
        &self,
        source: &Source,
        survey: &Survey,
        journal: &mut Journal,
        mut prefix: Prefix,
        summary: &mut Summary,
    ) -> anyhow::Result<()> {
        let (skip, before) = prefix.done();
        let finished = |kind| before.accepted(kind) + before.refused(kind);
        let follows = self.progress.bar("follows", survey.follows, finished(Kind::Follow));
        let posts = self.progress.bar("posts", survey.posts, finished(Kind::Post));
        summary.items = before.clone();
        let mut noted = Instant::now();
        let items = source.items(survey)?.zip(0_u64..).skip(usize::try_from(skip)?);
        let outcomes = stream::iter(items)
            .map(|(item, number)| async move { anyhow::Ok((number, self.perform(item?, survey).await?)) })
            .buffer_unordered(self.concurrency);
        let result = self
            .each(outcomes, |finished| {
                let (number, outcome) = finished?;
                summary.this_run += 1;
                summary.items.note(outcome.clone());
                let bar = if outcome.kind() == Kind::Follow {
                    &follows
                } else {
                    &posts
                };
                bar.advance();
                self.show_throttling(bar);
                prefix.finish(number, outcome);
                if noted.elapsed() >= BETWEEN_NOTES {
                    let (done, tally) = prefix.done();
                    journal.items(done, tally)?;
                    noted = Instant::now();
                }
                Ok(())
            })
            .await;
        follows.end();
        posts.end();
        let (done, tally) = prefix.done();
        journal.items(done, tally)?;
        result
    }

    /// Takes results until the stream ends, an error occurs, or somebody presses Ctrl-C.
    async fn each<T>(
        &self,
        results: impl Stream<Item = T>,
        mut take: impl FnMut(T) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let mut results = std::pin::pin!(results);
        let mut interrupt = std::pin::pin!(tokio::signal::ctrl_c());
        loop {
            tokio::select! {
                next = results.next() => match next {
                    Some(result) => take(result)?,
                    None => return Ok(()),
                },
                pressed = &mut interrupt => {
                    pressed.context("listening for Ctrl-C")?;
                    return Err(Interrupted.into());
                }
            }
        }
    }

    async fn perform(&self, item: Item, survey: &Survey) -> anyhow::Result<Outcome> {
        match item {
            Item::Follow {
                line,
                follower,
                followee,
            } => {
                let (follower, followee) = (survey.accounts.get(follower), survey.accounts.get(followee));
                let place = format!("line {line}: @{} follows @{}", follower.handle, followee.handle);
                let (Some(_), Some(id)) = (follower.id(), followee.id()) else {
                    return Ok(unregistered(Kind::Follow, place));
                };
                let call = Call::put(format!("/v1/users/{id}/follow"));
                self.act(Kind::Follow, follower, place, StatusCode::OK, &call).await
            }
            Item::Post {
                line,
                author,
                text,
                key,
            } => {
                let author = survey.accounts.get(author);
                let place = format!("line {line}: @{}", author.handle);
                if author.id().is_none() {
                    return Ok(unregistered(Kind::Post, place));
                }
                let call = Call::post("/v1/posts", json!({ "text": text })).idempotency_key(&key);
                self.act(Kind::Post, author, place, StatusCode::CREATED, &call).await
            }
        }
    }

    /// Sends a command as this user.
    async fn act(
        &self,
        kind: Kind,
        actor: &Account,
        place: String,
        expected: StatusCode,
        call: &Call<'_>,
    ) -> anyhow::Result<Outcome> {
        match self.registrar.send(&self.api, actor, call).await {
            Ok(answer) => judge(kind, place, expected, &answer),
            Err(SessionError::Refused(problem)) => Ok(Outcome::Refused(kind, refusal(place, &problem))),
            Err(SessionError::Call(error)) => Err(error.into()),
        }
    }

    fn show_throttling(&self, bar: &Bar) {
        let times = self.api.throttled();
        if times > 0 {
            bar.message(format!("(slowed down {times} times)"));
        }
    }
}

pub(super) fn judge(kind: Kind, place: String, expected: StatusCode, answer: &Answer) -> anyhow::Result<Outcome> {
    if answer.status == expected {
        Ok(Outcome::Accepted(kind))
    } else if answer.status.is_client_error() {
        Ok(Outcome::Refused(kind, refusal(place, &answer.problem())))
    } else {
        Err(answer.unexpected().into())
    }
}

fn refusal(place: impl std::fmt::Display, problem: &Problem) -> Refusal {
    Refusal {
        reason: problem.title.clone(),
        example: format!("{place}: {}", problem.detail),
    }
}

fn unregistered(kind: Kind, place: String) -> Outcome {
    let reason = "one of its users could not be registered".to_owned();
    Outcome::Refused(kind, Refusal { reason, example: place })
}
