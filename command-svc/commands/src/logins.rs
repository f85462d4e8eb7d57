//! Logging in, staying logged in, logging out. These write no events.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use event_log::mongo::retried;
use model::ids::{SessionId, UserId};
use model::values::Password;
use service::auth::{Claims, IssuedTicket, SCOPE_USER, Subject};

use super::account::Account;
use super::{Broken, CommandError, Commands, Inner, Refusal};
use crate::credentials::{Credentials, Identifier};
use crate::sessions::{Refresh, RefreshToken};

/// The result of a login or a refresh.
#[derive(Debug)]
pub struct Login {
    pub access_token: String,
    pub expires_in: Duration,
    pub refresh_token: String,
}

/// A session, as its owner sees it.
#[derive(Debug)]
pub struct SessionInfo {
    pub id: SessionId,
    pub device: Option<String>,
    pub created_at: DateTime<Utc>,
    pub last_used_at: DateTime<Utc>,
}

/// An attempt to log in, with its limits: see [`crate::origins`].
#[derive(Debug, Clone)]
pub struct Attempt {
    pub address: IpAddr,
    /// The name that the client's device gives.
    pub device: Option<String>,
    /// Whether unknown addresses may try to log in as this account now, or how long they have to wait.
    pub allowance: Result<(), Duration>,
    /// The client has proven itself ([`Commands::is_client`]), and keeps its refresh token.
    pub confidential: bool,
}

/// The id of no user.
const NOBODY: UserId = UserId::from_bytes([0; 16]);

impl Commands {
    /// The session that a refresh token belongs to, if the token is one of ours. This reads nothing from the database.
    pub fn session_of(&self, token: &str) -> Option<SessionId> {
        self.0.sessions.parse(token).ok().map(|token| token.family)
    }

    /// Whether this is the secret of the client that keeps its refresh tokens.
    pub fn is_client(&self, secret: &str) -> bool {
        self.0.sessions.is_client(secret)
    }

    /// Begins a session. Identifier and password are `None` if the text that was sent can't be one. Such a login takes as long as any other
    /// failure.
    pub async fn log_in(
        &self,
        identifier: Option<Identifier>,
        password: Option<Password>,
        attempt: Attempt,
    ) -> Result<Login, CommandError> {
        let inner = self.0.clone();
        self.run("log_in", async move {
            let known = match &identifier {
                Some(identifier) => inner.find_user(identifier, &attempt).await?,
                None => None,
            };
            let hash = known.as_ref().map(|credentials| credentials.password_hash.as_str());
            let right = inner.passwords.verify(password.as_ref(), hash).await?;
            let Some(credentials) = known.filter(|_| right) else {
                return Err(Refusal::WrongCredentials.into());
            };
            let _place = inner.executor.place().await?;
            let (user, epoch) = (credentials.user, credentials.epoch);
            let (session, token) = inner
                .sessions
                .begin(user, epoch, attempt.device, attempt.confidential)
                .await?;
            inner.origins.remember(user, epoch, attempt.address).await;
            inner.login(&credentials, session, &token)
        })
        .await
    }

    /// Continues a session, with the next refresh token. `by_client`: the client has proven itself.
    pub async fn refresh(&self, token: String, by_client: bool) -> Result<Login, CommandError> {
        let inner = self.0.clone();
        self.run("refresh", async move {
            let presented = inner.sessions.parse(&token).map_err(|_| Refusal::SessionOver)?;
            let _place = inner.executor.place().await?;
            loop {
                let (session, token) = match inner.sessions.refresh(&presented, by_client).await? {
                    Refresh::Rotated { session, token } => (session, token),
                    Refresh::Ended => return Err(Refusal::SessionOver.into()),
                    Refresh::Reused { user } => {
                        tracing::warn!(%user, session = %presented.family, "a refresh token was used twice: its session has ended");
                        return Err(Refusal::SessionOver.into());
                    }
                };
                match retried(|| inner.credentials.of_user(session.user)).await? {
                    Some(credentials) if credentials.epoch == session.epoch => {
                        return inner.login(&credentials, session.id, &token);
                    }
                    // The password was changed, or the user was deleted, while this session began.
                    _ if inner.sessions.end_former(&session).await? => return Err(Refusal::SessionOver.into()),
                    // Either the session has ended, or it has just set a new password itself and continues under that one. Read it again.
                    _ => {}
                }
            }
        })
        .await
    }

    /// The sessions of a user, the last used first. The caller's session must be live.
    pub async fn sessions(&self, user: UserId, session: SessionId) -> Result<Vec<SessionInfo>, CommandError> {
        let inner = self.0.clone();
        self.run("list_sessions", async move {
            let owner = inner.owner(user, session);
            let Account { credentials, .. } = inner.account(owner).await?;
            let _place = inner.executor.place().await?;
            let sessions = inner.sessions.of_user(user).await?;
            let living = sessions
                .into_iter()
                .filter(|session| session.lives(&credentials, owner.now));
            Ok(living
                .map(|session| SessionInfo {
                    id: session.id,
                    device: session.device,
                    created_at: session.created_at,
                    last_used_at: session.rotated_at,
                })
                .collect())
        })
        .await
    }

    /// Ends a session of a user, another one or this one. The caller's session must be live.
    pub async fn end_session(&self, user: UserId, session: SessionId, ended: SessionId) -> Result<(), CommandError> {
        let inner = self.0.clone();
        self.run("end_session", async move {
            inner.account(inner.owner(user, session)).await?;
            let _place = inner.executor.place().await?;
            match inner.sessions.find(ended).await? {
                Some(found) if found.user == user => Ok(inner.sessions.end(ended).await?),
                _ => Err(Refusal::NoSuchSession.into()),
            }
        })
        .await
    }

    /// Ends a session. Access tokens are verified offline, so tokens that were issued before stay valid for their remaining minutes.
    pub async fn log_out(&self, session: SessionId) -> Result<(), CommandError> {
        let inner = self.0.clone();
        self.run("log_out", async move {
            let _place = inner.executor.place().await?;
            Ok(inner.sessions.end(session).await?)
        })
        .await
    }

    /// Makes a ticket that opens one live stream in place of the caller's access token.
    pub async fn issue_ticket(&self, caller: Arc<Claims>) -> Result<IssuedTicket, CommandError> {
        let inner = self.0.clone();
        self.run("issue_ticket", async move {
            let _place = inner.executor.place().await?;
            Ok(inner.tickets.issue(&caller).await?)
        })
        .await
    }
}

impl Inner {
    /// The user with this identifier, if the client may try to log in.
    async fn find_user(&self, identifier: &Identifier, attempt: &Attempt) -> Result<Option<Credentials>, CommandError> {
        let _place = self.executor.place().await?;
        let known = self.credentials.find(identifier).await?;
        if let Err(wait) = attempt.allowance {
            let (user, epoch) = known.as_ref().map_or((NOBODY, 0), |known| (known.user, known.epoch));
            if !self.origins.is_known(user, epoch, attempt.address).await? {
                return Err(Refusal::TooOften(wait).into());
            }
        }
        Ok(known)
    }

    fn login(
        &self,
        credentials: &Credentials,
        session: SessionId,
        token: &RefreshToken,
    ) -> Result<Login, CommandError> {
        let handle = credentials.handle.clone();
        let subject = Subject {
            user: credentials.user,
            handle,
            session,
            scope: SCOPE_USER,
        };
        let issued = self.signer.issue(&subject).map_err(Broken::from)?;
        Ok(Login {
            access_token: issued.token,
            expires_in: issued.expires_in,
            refresh_token: token.reveal(),
        })
    }
}
