//! Commands on users: register, change, delete. Each writes its event and the credentials in one transaction.

use chrono::{DateTime, Utc};
use shared::event_store::Companion;
use shared::events::{StreamId, User};
use shared::ids::{SessionId, UserId};
use shared::values::{Bio, DisplayName, Email, Handle, Password};

use super::execute::{Command, Plan};
use super::read::{Reader, Versioned};
use super::{Broken, CommandError, ExpectedVersions, Refusal};
use crate::domain::user;
use crate::{credentials, sessions};

/// Somebody who wants to be a user.
#[derive(Debug, Clone)]
pub struct Registration {
    pub handle: Handle,
    pub email: Email,
    pub password: Password,
    pub display_name: Option<DisplayName>,
}

/// What a user wants to have otherwise.
#[derive(Debug, Clone, Default)]
pub struct Changes {
    pub display_name: Option<DisplayName>,
    pub bio: Option<Bio>,
    pub email: Option<Email>,
    pub password: Option<Password>,
}

#[derive(Debug)]
pub(super) struct Register {
    id: UserId,
    handle: Handle,
    display_name: Option<DisplayName>,
    companions: [Companion; 3],
}

impl Register {
    pub(super) fn new(registration: Registration, password_hash: &str, now: DateTime<Utc>) -> Self {
        let Registration {
            handle,
            email,
            display_name,
            ..
        } = registration;
        let id = UserId::new(now);
        let companions = credentials::register(id, &handle, &email, password_hash);
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
            companions: self.companions.to_vec(),
            answer,
        })
    }
}

#[derive(Debug)]
pub(super) struct ChangeUser {
    pub(super) user: UserId,
    pub(super) session: SessionId,
    pub(super) changes: Changes,
    /// Of the password in `changes`.
    pub(super) password_hash: Option<String>,
    pub(super) if_match: ExpectedVersions,
}

impl Command for ChangeUser {
    type Answer = Versioned<User>;

    async fn plan(&self, mut read: Reader<'_>) -> Result<Plan<Self::Answer>, CommandError> {
        let known = live_actor(&mut read, self.user).await?;
        self.if_match.check(known.version)?;
        let companions = self.companions(&mut read).await?;
        let change = user::Command::Change {
            display_name: self.changes.display_name.clone(),
            bio: self.changes.bio.clone(),
            credentials: !companions.is_empty(),
        };
        match user::decide(Some(&known.state), change)? {
            Some(event) => {
                let state = user::evolve(event.clone()).ok_or_else(|| Broken::Stream(event.stream().to_string()))?;
                let answer = Versioned {
                    version: known.version + 1,
                    state,
                };
                Ok(Plan::Append {
                    event,
                    expected_version: known.version,
                    companions,
                    answer,
                })
            }
            None => Ok(Plan::Nothing {
                partition: self.user.partition(),
                answer: known,
            }),
        }
    }
}

impl ChangeUser {
    async fn companions(&self, read: &mut Reader<'_>) -> Result<Vec<Companion>, CommandError> {
        let mut companions = Vec::new();
        if self.changes.email.is_none() && self.password_hash.is_none() {
            return Ok(companions);
        }
        let credentials = read.credentials(self.user).await?;
        if let Some(email) = &self.changes.email
            && !credentials.has_email(email)
        {
            companions.extend(credentials::change_email(&credentials, email));
        }
        if let Some(hash) = &self.password_hash {
            let epoch = credentials.epoch + 1;
            companions.push(credentials::change_password(self.user, hash, epoch));
            companions.extend(sessions::end_others(self.user, self.session, epoch));
        }
        Ok(companions)
    }
}

#[derive(Debug)]
pub(super) struct DeleteUser {
    pub(super) user: UserId,
    pub(super) if_match: ExpectedVersions,
}

impl Command for DeleteUser {
    type Answer = ();

    async fn plan(&self, mut read: Reader<'_>) -> Result<Plan<()>, CommandError> {
        let known = live_actor(&mut read, self.user).await?;
        self.if_match.check(known.version)?;
        let credentials = read.credentials(self.user).await?;
        let event = user::decide(Some(&known.state), user::Command::Delete)?.ok_or(Refusal::ActorGone)?;
        let mut companions = vec![Companion::Redact {
            stream: StreamId::user(self.user),
        }];
        companions.extend(credentials::remove(&credentials));
        companions.push(sessions::end_all(self.user));
        Ok(Plan::Append {
            event,
            expected_version: known.version,
            companions,
            answer: (),
        })
    }
}

/// A token outlives its user by up to a quarter of an hour.
async fn live_actor(read: &mut Reader<'_>, id: UserId) -> Result<Versioned<User>, CommandError> {
    match read.user(id).await? {
        Some(user) if !user.state.deleted => Ok(user),
        _ => Err(Refusal::ActorGone.into()),
    }
}
