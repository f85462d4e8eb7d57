//! Registers a user: the event and the credentials, in one transaction.

use chrono::{DateTime, Utc};
use event_log::event_store::Companion;
use model::events::User;
use model::ids::UserId;
use model::values::{DisplayName, Email, Handle, Password};

use super::execute::{Command, Plan};
use super::read::{Reader, Versioned};
use super::{Broken, CommandError};
use crate::domain::user;
use crate::{codes, credentials};

/// The data of a user who wants to register.
#[derive(Debug, Clone)]
pub struct Registration {
    pub handle: Handle,
    pub email: Email,
    pub password: Password,
    pub display_name: Option<DisplayName>,
    /// The code of an invitation.
    pub invite: Option<String>,
}

#[derive(Debug)]
pub(super) struct Register {
    id: UserId,
    handle: Handle,
    display_name: Option<DisplayName>,
    companions: Vec<Companion>,
}

impl Register {
    pub(super) fn new(registration: Registration, password_hash: &str, now: DateTime<Utc>) -> Self {
        let Registration {
            handle,
            email,
            display_name,
            invite,
            ..
        } = registration;
        let id = UserId::new(now);
        let mut companions = credentials::register(id, &handle, &email, password_hash).to_vec();
        companions.extend(invite.map(|code| codes::consume(&code, now)));
        Self {
            id,
            handle,
            display_name,
            companions,
        }
    }

    pub(super) fn id(&self) -> UserId {
        self.id
    }
}

impl Command for Register {
    type Answer = Versioned<User>;

    async fn plan(&self, _: Reader<'_>) -> Result<Plan<Self::Answer>, CommandError> {
        let register = user::Command::Register {
            id: self.id,
            handle: self.handle.clone(),
            display_name: self.display_name.clone(),
            at: self.id.time(),
        };
        let event = user::decide(None, register)?.ok_or(Broken::IdTaken)?;
        let state = user::evolve(event.clone()).ok_or(Broken::IdTaken)?;
        let answer = Versioned { version: 1, state };
        Ok(Plan::Append {
            event,
            expected_version: 0,
            companions: self.companions.clone(),
            answer,
        })
    }
}
