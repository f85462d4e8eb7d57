//! Commands on lists: create, change and delete one, and what is in it. Only its owner knows of a list. To everybody else there is none.

use chrono::{DateTime, Utc};
use event_log::event_store::{BodyHash, Idempotency};
use model::events::{Event, List};
use model::ids::{ListId, UserId};
use model::tags::Tag;
use model::values::{IdempotencyKey, ListTitle};
use serde_json::json;

pub use crate::domain::list::Changes as ListChanges;

use super::execute::{Command, Plan};
use super::posts::deletion;
use super::read::{Reader, state_of};
use super::{Broken, CommandError, Refusal};
use crate::domain::{list, list_member, list_tag};

/// A new list, before it is written.
#[derive(Debug, Clone)]
pub struct NewList {
    pub title: ListTitle,
    pub exclusive: bool,
    pub idempotency_key: Option<IdempotencyKey>,
}

#[derive(Debug)]
pub(super) struct CreateList {
    list: List,
    max: u32,
    idempotency: Option<Idempotency>,
}

impl CreateList {
    /// `max`: only if the user then has at most so many lists.
    pub(super) fn new(owner: UserId, new: NewList, max: u32, now: DateTime<Utc>) -> Self {
        let body = json!(["list", new.title.as_str(), new.exclusive]).to_string();
        Self {
            list: list::create(ListId::new(now), owner, &new.title, new.exclusive),
            max,
            idempotency: new.idempotency_key.map(|key| Idempotency {
                key,
                body_hash: BodyHash::of(body.as_bytes()),
            }),
        }
    }
}

impl Command for CreateList {
    type Answer = List;

    async fn plan(&self, mut read: Reader<'_>) -> Result<Plan<List>, CommandError> {
        // The first request may have taken the last place, so the key is looked up first.
        if let Some(idempotency) = &self.idempotency
            && let Some(earlier) = read.by_idempotency_key(self.list.owner, &idempotency.key).await?
        {
            return Ok(Plan::Replay(earlier));
        }
        read.live_actor(self.list.owner).await?;
        read.lists_fewer_than(self.list.owner, self.max).await?;
        Ok(Plan::append(
            Event::ListCreated(self.list.clone()),
            0,
            self.list.clone(),
        ))
    }

    fn idempotency(&self) -> Option<&Idempotency> {
        self.idempotency.as_ref()
    }

    fn replay(&self, earlier: Event) -> Result<List, CommandError> {
        match earlier {
            // A deletion also removes the title from the earlier events.
            Event::ListCreated(list) if list.title.is_none() => Err(Refusal::NoSuchList.into()),
            Event::ListCreated(list) => Ok(list),
            _ => Err(Refusal::KeyReused.into()),
        }
    }
}

#[derive(Debug)]
pub(super) struct ChangeList {
    pub(super) id: ListId,
    pub(super) by: UserId,
    pub(super) changes: ListChanges,
}

impl Command for ChangeList {
    type Answer = List;

    async fn plan(&self, mut read: Reader<'_>) -> Result<Plan<List>, CommandError> {
        read.live_actor(self.by).await?;
        let list = read.own_list(self.id, self.by).await?;
        let event = list::decide(&list.state, list::Command::Change(&self.changes));
        Ok(match event {
            Some(event) => {
                let changed = list::evolve(event.clone()).ok_or_else(|| Broken::Stream(event.stream().to_string()))?;
                Plan::append(event, list.version, changed)
            }
            None => Plan::Nothing {
                partition: self.by.partition(),
                answer: list.state,
            },
        })
    }
}

#[derive(Debug)]
pub(super) struct DeleteList {
    pub(super) id: ListId,
    pub(super) by: UserId,
}

impl Command for DeleteList {
    type Answer = ();

    async fn plan(&self, mut read: Reader<'_>) -> Result<Plan<()>, CommandError> {
        read.unsuspended_actor(self.by).await?;
        let list = read.own_list(self.id, self.by).await?;
        let event = list::decide(&list.state, list::Command::Delete).ok_or(Refusal::NoSuchList)?;
        Ok(deletion(event, list.version, ()))
    }
}

#[derive(Debug)]
pub(super) struct SetMember {
    pub(super) list: ListId,
    pub(super) by: UserId,
    pub(super) user: UserId,
    /// `Some`: add, if the list then has at most so many members. `None`: remove.
    pub(super) listed: Option<u32>,
}

impl Command for SetMember {
    type Answer = ();

    async fn plan(&self, mut read: Reader<'_>) -> Result<Plan<()>, CommandError> {
        let (owner, user) = (self.by, self.user);
        match self.listed {
            Some(_) => drop(read.live_actor(owner).await?),
            None => drop(read.unsuspended_actor(owner).await?),
        }
        let list = read.own_list(self.list, owner).await?.state.id;
        if self.listed.is_some() {
            read.live_user(user).await?;
            if user != owner && read.is_blocked(owner, user).await? {
                return Err(Refusal::Blocked.into());
            }
        }
        let loaded = read.list_member(list, user).await?;
        let (state, version) = state_of(loaded.as_ref());
        let command = match self.listed {
            Some(_) => list_member::Command::Add { list, owner, user },
            None => list_member::Command::Remove,
        };
        let event = list_member::decide(state, command);
        if let (Some(max), Some(_)) = (self.listed, &event) {
            read.members_fewer_than(list, max).await?;
        }
        Ok(planned(event, version, owner, ()))
    }
}

#[derive(Debug)]
pub(super) struct SetTag {
    pub(super) list: ListId,
    pub(super) by: UserId,
    pub(super) tag: Tag,
    /// `Some`: add, if the list then has at most so many tags. `None`: remove.
    pub(super) listed: Option<u32>,
}

impl Command for SetTag {
    /// The tag as it was written when it came into the list, or as it is in the request.
    type Answer = String;

    async fn plan(&self, mut read: Reader<'_>) -> Result<Plan<String>, CommandError> {
        let (owner, tag) = (self.by, &self.tag);
        match self.listed {
            Some(_) => drop(read.live_actor(owner).await?),
            None => drop(read.unsuspended_actor(owner).await?),
        }
        let list = read.own_list(self.list, owner).await?.state.id;
        let loaded = read.list_tag(list, &tag.key()).await?;
        let (state, version) = state_of(loaded.as_ref());
        let command = match self.listed {
            Some(_) => list_tag::Command::Add { list, owner, tag },
            None => list_tag::Command::Remove,
        };
        let event = list_tag::decide(state, command);
        if let (Some(max), Some(_)) = (self.listed, &event) {
            read.list_tags_fewer_than(list, max).await?;
        }
        let listed_already = state.filter(|_| event.is_none() && self.listed.is_some());
        let name = listed_already.map_or(tag.as_str(), |listed| &listed.tag).to_owned();
        Ok(planned(event, version, owner, name))
    }
}

fn planned<A>(event: Option<Event>, version: i64, owner: UserId, answer: A) -> Plan<A> {
    match event {
        Some(event) => Plan::append(event, version, answer),
        None => Plan::Nothing {
            partition: owner.partition(),
            answer,
        },
    }
}
