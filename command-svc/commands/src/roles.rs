//! Roles. Whoever runs the service gives and takes them, by `microblog role`.

use std::time::Duration;

use event_log::event_store::{EventStore, Retries};
use model::clock::SharedClock;
use model::ids::UserId;
use model::values::{Handle, Role};
use mongodb::Database;
use mongodb::error::Error;
use uuid::Uuid;

use super::execute::{Cause, Command, Executor, Plan};
use super::read::{Reader, state_of};
use super::{CommandError, Refusal};
use crate::credentials::{CredentialStore, Identifier};
use crate::domain::role;
use crate::metrics::Metrics;

/// How long a command may take.
const DEADLINE: Duration = Duration::from_secs(30);

/// Gives and takes roles.
#[derive(Debug, Clone)]
pub struct Roles {
    executor: Executor,
    credentials: CredentialStore,
}

impl Roles {
    /// Creates what is missing in the database.
    pub async fn open(database: &Database, clock: SharedClock) -> Result<Self, Error> {
        let store = EventStore::open(database.clone(), clock, Retries::default()).await?;
        Ok(Self {
            executor: Executor::new(store, 1, DEADLINE, Metrics::default()),
            credentials: CredentialStore::open(database).await?,
        })
    }

    /// Gives a user this role, in place of the one that the user has. Returns whether that changes anything. The event's actor is the user,
    /// because whoever runs the service need not have an account.
    pub async fn set(&self, handle: &Handle, role: Option<Role>) -> Result<bool, CommandError> {
        let found = self.credentials.find(&Identifier::Handle(handle.clone())).await?;
        let user = found.ok_or(Refusal::NoSuchUser)?.user;
        let cause = Cause {
            actor: user,
            correlation_id: Uuid::new_v4().to_string(),
            causation_id: None,
            traceparent: None,
        };
        let set = SetRole { user, role };
        Ok(self.executor.execute_within(DEADLINE, &set, &cause).await?.answer)
    }
}

#[derive(Debug)]
struct SetRole {
    user: UserId,
    role: Option<Role>,
}

impl Command for SetRole {
    /// Whether it changes anything.
    type Answer = bool;

    async fn plan(&self, mut read: Reader<'_>) -> Result<Plan<bool>, CommandError> {
        read.live_user(self.user).await?;
        let loaded = read.role(self.user).await?;
        let (state, version) = state_of(loaded.as_ref());
        Ok(match role::decide(state, self.user, self.role) {
            Some(event) => Plan::append(event, version, true),
            None => Plan::Nothing {
                partition: self.user.partition(),
                answer: false,
            },
        })
    }
}
