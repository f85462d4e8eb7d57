//! What only the owner of an account may do: change it, delete it, and read what no view shows.
//!
//! An access token outlives its session by minutes. So these commands look the session up, and it must be live. To delete the account, or
//! to change the password or the e-mail address, the caller must also know the current password.
//!
//! The order of the reads closes every race with another change of the credentials: first the version of the user's stream, then the
//! credentials, then the session. Every change of credentials appends to that stream, in the same transaction. So a change in between makes
//! the append conflict, and the command reads and decides again. Then it finds that the session has ended, or that the password was
//! verified against a hash that is no longer the current one.

use std::net::IpAddr;

use chrono::{DateTime, Utc};
use event_log::event_store::Companion;
use model::events::{StreamId, User};
use model::ids::{SessionId, UserId};
use model::values::{Bio, DisplayName, Email, Password, ProfileField};

use super::execute::{Command, Plan};
use super::read::{Reader, Versioned};
use super::{Broken, CommandError, ExpectedVersions, Inner, Refusal};
use crate::credentials::Credentials;
use crate::domain::user;
use crate::origins::Origins;
use crate::{codes, credentials, origins, sessions};

/// The fields that a user wants to change.
#[derive(Debug, Clone, Default)]
pub struct Changes {
    pub display_name: Option<DisplayName>,
    pub bio: Option<Bio>,
    pub protected: Option<bool>,
    /// All of them.
    pub fields: Option<Vec<ProfileField>>,
    pub email: Option<Email>,
    pub password: Option<Password>,
}

impl Changes {
    /// Whether these changes need the current password.
    pub fn need_password(&self) -> bool {
        self.email.is_some() || self.password.is_some()
    }

    /// Whether others see something of these changes.
    fn are_public(&self) -> bool {
        let Self {
            display_name,
            bio,
            protected,
            fields,
            email: _,
            password: _,
        } = self;
        display_name.is_some() || bio.is_some() || protected.is_some() || fields.is_some()
    }
}

/// The caller of a command that only the owner of the account may give.
#[derive(Debug, Clone, Copy)]
pub(super) struct Owner {
    pub(super) user: UserId,
    pub(super) session: SessionId,
    pub(super) now: DateTime<Utc>,
}

/// An account, loaded for a caller whose session is live.
#[derive(Debug)]
pub(super) struct Account {
    pub(super) user: Versioned<User>,
    pub(super) credentials: Credentials,
}

impl Owner {
    pub(super) async fn account(self, read: &mut Reader<'_>) -> Result<Account, CommandError> {
        let user = read.account_of(self.user).await?;
        let Some(credentials) = read.credentials(self.user).await? else {
            // The credentials are removed with the account, so another request may just have deleted it.
            read.account_of(self.user).await?;
            return Err(Broken::Credentials(self.user).into());
        };
        match read.session(self.session).await? {
            Some(session) if session.lives(&credentials, self.now) => Ok(Account { user, credentials }),
            _ => Err(Refusal::SessionEnded.into()),
        }
    }
}

/// Proof that the caller knows the password with this hash.
#[derive(Debug)]
pub(super) struct Proof {
    password_hash: String,
}

impl Proof {
    /// Fails if the password was changed in the meantime. This session must have changed it, because otherwise the session would have
    /// ended.
    fn check(&self, account: &Account) -> Result<(), Refusal> {
        if account.credentials.password_hash == self.password_hash {
            Ok(())
        } else {
            Err(Refusal::Contended)
        }
    }
}

impl Inner {
    /// Verifies the current password of a caller whose session is live. A session that has ended can't be used to guess a password.
    pub(super) async fn prove(&self, owner: Owner, password: Option<&Password>) -> Result<Proof, CommandError> {
        let Account { credentials, .. } = self.account(owner).await?;
        let password_hash = credentials.password_hash;
        if self.passwords.verify(password, Some(&password_hash)).await? {
            Ok(Proof { password_hash })
        } else {
            Err(Refusal::CurrentPasswordWrong.into())
        }
    }

    pub(super) async fn account(&self, owner: Owner) -> Result<Account, CommandError> {
        let _place = self.executor.place().await?;
        let mut session = self.executor.store.session().await?;
        owner
            .account(&mut Reader::new(&self.executor.store, &mut session))
            .await
    }
}

#[derive(Debug)]
pub(super) struct ChangeUser {
    pub(super) owner: Owner,
    pub(super) changes: Changes,
    /// Present if the changes need the password.
    pub(super) proof: Option<Proof>,
    /// The hash of the new password in `changes`.
    pub(super) password_hash: Option<String>,
    pub(super) origins: Origins,
    /// Where a new password is set from. It becomes the only known address under that password.
    pub(super) address: IpAddr,
    pub(super) if_match: ExpectedVersions,
}

impl Command for ChangeUser {
    type Answer = Versioned<User>;

    async fn plan(&self, mut read: Reader<'_>) -> Result<Plan<Self::Answer>, CommandError> {
        let account = self.owner.account(&mut read).await?;
        if let Some(proof) = &self.proof {
            proof.check(&account)?;
        }
        let companions = self.companions(&account.credentials);
        let known = account.user;
        if known.state.is_suspended() && self.changes.are_public() {
            return Err(Refusal::Suspended.into());
        }
        self.if_match.check(known.version)?;
        let change = user::Command::Change {
            display_name: self.changes.display_name.clone(),
            bio: self.changes.bio.clone(),
            protected: self.changes.protected,
            fields: self.changes.fields.clone(),
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
                partition: self.owner.user.partition(),
                answer: known,
            }),
        }
    }
}

impl ChangeUser {
    fn companions(&self, credentials: &Credentials) -> Vec<Companion> {
        let mut companions = Vec::new();
        if let Some(email) = &self.changes.email
            && !credentials.has_email(email)
        {
            companions.extend(credentials::change_email(credentials, email));
        }
        if let Some(hash) = &self.password_hash {
            let epoch = credentials.epoch + 1;
            companions.push(credentials::change_password(credentials.user, hash, epoch));
            companions.extend(sessions::end_others(credentials.user, self.owner.session, epoch));
            companions.push(self.origins.noted(credentials.user, epoch, self.address));
            companions.push(codes::forget(credentials.user));
        }
        companions
    }
}

#[derive(Debug)]
pub(super) struct DeleteUser {
    pub(super) owner: Owner,
    pub(super) proof: Proof,
    pub(super) if_match: ExpectedVersions,
}

impl Command for DeleteUser {
    type Answer = ();

    async fn plan(&self, mut read: Reader<'_>) -> Result<Plan<()>, CommandError> {
        let account = self.owner.account(&mut read).await?;
        self.proof.check(&account)?;
        let known = account.user;
        self.if_match.check(known.version)?;
        let event = user::decide(Some(&known.state), user::Command::Delete)?.ok_or(Refusal::ActorGone)?;
        let id = self.owner.user;
        let mut companions = vec![Companion::Redact {
            stream: StreamId::user(id),
        }];
        companions.extend(credentials::remove(&account.credentials));
        companions.extend([sessions::end_all(id), origins::forget(id), codes::forget(id)]);
        Ok(Plan::Append {
            event,
            expected_version: known.version,
            companions,
            answer: (),
        })
    }
}

/// Sets a new password by a one-time code, for somebody who has forgotten theirs. It ends all sessions.
#[derive(Debug)]
pub(super) struct ResetPassword {
    /// The user whose password the code sets.
    pub(super) user: UserId,
    pub(super) code: String,
    pub(super) password_hash: String,
    pub(super) now: DateTime<Utc>,
}

impl Command for ResetPassword {
    type Answer = ();

    async fn plan(&self, mut read: Reader<'_>) -> Result<Plan<()>, CommandError> {
        // A deleted account has no valid codes.
        let known = read.user(self.user).await?.filter(|user| !user.state.deleted);
        let known = known.ok_or(Refusal::CodeNotGood("code"))?;
        let credentials = read.credentials(self.user).await?.ok_or(Refusal::CodeNotGood("code"))?;
        let change = user::Command::Change {
            display_name: None,
            bio: None,
            protected: None,
            fields: None,
            credentials: true,
        };
        let event = user::decide(Some(&known.state), change)?.ok_or(Refusal::CodeNotGood("code"))?;
        Ok(Plan::Append {
            event,
            expected_version: known.version,
            companions: vec![
                codes::consume(&self.code, self.now),
                codes::forget(self.user),
                credentials::change_password(self.user, &self.password_hash, credentials.epoch + 1),
                sessions::end_all(self.user),
            ],
            answer: (),
        })
    }
}
