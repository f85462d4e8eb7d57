//! Commands on filters: create, change, delete. The stream of a filter has its owner in its name, so nobody else's command finds it.

use chrono::{DateTime, Utc};
use event_log::event_store::{BodyHash, Idempotency};
use model::events::{Event, Filter, FilterContent};
use model::ids::{FilterId, UserId};
use model::values::IdempotencyKey;
use serde_json::json;

use super::execute::{Command, Plan};
use super::posts::deletion;
use super::read::{Reader, Versioned};
use super::{Broken, CommandError, Refusal, milliseconds};
use crate::domain::filter;
pub use crate::domain::filter::Changes as FilterChanges;

#[derive(Debug)]
pub(super) struct CreateFilter {
    id: FilterId,
    owner: UserId,
    content: FilterContent,
    now: DateTime<Utc>,
    idempotency: Option<Idempotency>,
}

impl CreateFilter {
    pub(super) fn new(owner: UserId, content: FilterContent, key: Option<IdempotencyKey>, now: DateTime<Utc>) -> Self {
        let content = FilterContent {
            expires_at: content.expires_at.map(milliseconds),
            ..content
        };
        let body_hash = || {
            let FilterContent {
                phrases,
                whole_word,
                contexts,
                action,
                expires_at,
            } = &content;
            BodyHash::of(
                json!([phrases, whole_word, contexts, action, expires_at])
                    .to_string()
                    .as_bytes(),
            )
        };
        Self {
            id: FilterId::new(now),
            owner,
            idempotency: key.map(|key| Idempotency {
                key,
                body_hash: body_hash(),
            }),
            content,
            now,
        }
    }
}

impl Command for CreateFilter {
    type Answer = Filter;

    async fn plan(&self, mut read: Reader<'_>) -> Result<Plan<Filter>, CommandError> {
        // The first request may have made the last filter that the user may have, or its filter may be over by now.
        if let Some(idempotency) = &self.idempotency
            && let Some(earlier) = read.by_idempotency_key(self.owner, &idempotency.key).await?
        {
            return Ok(Plan::Replay(earlier));
        }
        read.live_actor(self.owner).await?;
        let create = filter::Command::Create {
            id: self.id,
            owner: self.owner,
            content: self.content.clone(),
            now: self.now,
        };
        let event = filter::decide(None, create)?.ok_or(Broken::IdTaken)?;
        read.has_fewer_filters_than(self.owner, Filter::MAX).await?;
        let answer = state_in(&event)?;
        Ok(Plan::append(event, 0, answer))
    }

    fn idempotency(&self) -> Option<&Idempotency> {
        self.idempotency.as_ref()
    }

    fn replay(&self, earlier: Event) -> Result<Filter, CommandError> {
        let Event::FilterCreated(filter) = earlier else {
            return Err(Refusal::KeyReused.into());
        };
        // A deletion also removes the phrases from the earlier events.
        match filter.content {
            Some(_) => Ok(filter),
            None => Err(Refusal::NoSuchFilter.into()),
        }
    }
}

#[derive(Debug)]
pub(super) struct ChangeFilter {
    pub(super) id: FilterId,
    pub(super) owner: UserId,
    pub(super) changes: FilterChanges,
    pub(super) now: DateTime<Utc>,
}

impl Command for ChangeFilter {
    type Answer = Filter;

    async fn plan(&self, mut read: Reader<'_>) -> Result<Plan<Filter>, CommandError> {
        read.live_actor(self.owner).await?;
        let Versioned { version, state } = read.filter(self.owner, self.id).await?.ok_or(Refusal::NoSuchFilter)?;
        let mut changes = self.changes.clone();
        changes.expires_at = changes.expires_at.map(|end| end.map(milliseconds));
        let change = filter::Command::Change { changes, now: self.now };
        match filter::decide(Some(&state), change)? {
            Some(event) => {
                let answer = state_in(&event)?;
                Ok(Plan::append(event, version, answer))
            }
            None => Ok(Plan::Nothing {
                partition: self.owner.partition(),
                answer: state,
            }),
        }
    }
}

#[derive(Debug)]
pub(super) struct DeleteFilter {
    pub(super) id: FilterId,
    pub(super) owner: UserId,
}

impl Command for DeleteFilter {
    type Answer = ();

    async fn plan(&self, mut read: Reader<'_>) -> Result<Plan<()>, CommandError> {
        read.unsuspended_actor(self.owner).await?;
        let Versioned { version, state } = read.filter(self.owner, self.id).await?.ok_or(Refusal::NoSuchFilter)?;
        let event = filter::decide(Some(&state), filter::Command::Delete)?;
        Ok(deletion(event.ok_or(Refusal::NoSuchFilter)?, version, ()))
    }
}

fn state_in(event: &Event) -> Result<Filter, CommandError> {
    Ok(filter::evolve(event.clone()).ok_or_else(|| Broken::Stream(event.stream().to_string()))?)
}
