//! Sessions. Each login begins one. A session is a family of refresh tokens, of which one is valid at a time.
//!
//! A refresh raises the family's counter by compare-and-set. The successor is derived from family and counter, so a client whose answer was
//! lost gets the same successor when it asks again within a few seconds. Any other second use of a token means that two parties have it,
//! and the session ends. The sessions of a confidential client are different: their token stays, and is worth nothing without the secret of
//! the client.
//!
//! Invariant: a session whose `epoch` is not that of its user's credentials is over, even if its document still exists. So a login that
//! races with a password change, or with the deletion of the user, leaves nothing usable behind.

mod token;

use std::time::Duration;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use bson::doc;
use bson::spec::BinarySubtype;
use chrono::{DateTime, TimeDelta, Utc};
use event_log::event_store::{Companion, EventStore};
use event_log::mongo::{is_duplicate_key, retried};
use futures_util::TryStreamExt;
use model::api::is_false;
use model::clock::SharedClock;
use model::ids::{SessionId, UserId};
use mongodb::error::Error;
use mongodb::options::IndexOptions;
use mongodb::{ClientSession, Collection, Database, IndexModel};
use serde::{Deserialize, Serialize};
use service::auth::{SESSIONS, SessionLife};
use service::config::{Auth, ConfigError, Secret};

pub use self::token::RefreshTokens;
pub(crate) use self::token::{InvalidRefreshToken, RefreshToken};
use crate::credentials::Credentials;
use crate::{latest, setup};

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Session {
    #[serde(rename = "_id")]
    pub(crate) id: SessionId,
    pub(crate) user: UserId,
    /// The epoch of the credentials with which the session began.
    pub(crate) epoch: i64,
    /// The number of the refresh token that is valid now.
    counter: i64,
    /// The SHA-256 of that token.
    token_hash: bson::Binary,
    /// The name that the device gave at the login. None in sessions of earlier versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) device: Option<String>,
    #[serde(with = "bson::serde_helpers::datetime::FromChrono04DateTime")]
    pub(crate) created_at: DateTime<Utc>,
    /// A client that proves itself at each refresh keeps its tokens. They don't change, so it can ask twice at once, and an answer that is
    /// lost does no harm.
    #[serde(default, skip_serializing_if = "is_false")]
    confidential: bool,
    /// The time of the login, or of the last refresh.
    #[serde(with = "bson::serde_helpers::datetime::FromChrono04DateTime")]
    pub(crate) rotated_at: DateTime<Utc>,
    #[serde(with = "bson::serde_helpers::datetime::FromChrono04DateTime")]
    expires_at: DateTime<Utc>,
}

impl Session {
    /// Whether the session is valid for these credentials, which may have been read before it.
    pub(crate) fn lives(&self, credentials: &Credentials, now: DateTime<Utc>) -> bool {
        let life = SessionLife {
            id: self.id,
            user: self.user,
            epoch: self.epoch,
            expires_at: self.expires_at,
        };
        life.lasts(credentials.user, credentials.epoch, now)
    }
}

/// Reads the session as it was at the last read of the causally consistent session `reading`, or later.
pub(crate) async fn load(
    store: &EventStore,
    reading: &mut ClientSession,
    id: SessionId,
) -> Result<Option<Session>, Error> {
    store
        .database()
        .collection(SESSIONS)
        .find_one(doc! { "_id": id })
        .session(reading)
        .await
}

/// The result of a refresh.
#[derive(Debug)]
pub(crate) enum Refresh {
    Rotated {
        session: Box<Session>,
        token: RefreshToken,
    },
    /// The session does not exist any more, or it has expired.
    Ended,
    /// A token was used a second time. The session has ended.
    Reused {
        user: UserId,
    },
}

#[derive(Debug, Clone)]
pub(crate) struct SessionStore {
    sessions: Collection<Session>,
    tokens: RefreshTokens,
    clock: SharedClock,
    ttl: TimeDelta,
    grace: TimeDelta,
    client_secret: Option<Secret>,
}

impl SessionStore {
    pub(crate) async fn open(
        database: &Database,
        tokens: RefreshTokens,
        auth: &Auth,
        clock: SharedClock,
    ) -> Result<Self, Error> {
        setup::collection(database, SESSIONS).await?;
        let sessions = database.collection::<Session>(SESSIONS);
        // Replaces the index "user" of earlier versions.
        let by_user = IndexOptions::builder().name("user_recent".to_owned()).build();
        let expiry = IndexOptions::builder()
            .name("expiry".to_owned())
            .expire_after(Duration::ZERO)
            .build();
        sessions
            .create_indexes([
                IndexModel::builder()
                    .keys(doc! { "user": 1, "rotated_at": -1 })
                    .options(by_user)
                    .build(),
                IndexModel::builder()
                    .keys(doc! { "expires_at": 1 })
                    .options(expiry)
                    .build(),
            ])
            .await?;
        let ttl = TimeDelta::from_std(auth.refresh_token_ttl).unwrap_or(TimeDelta::MAX);
        let grace = TimeDelta::from_std(auth.refresh_reuse_grace).unwrap_or(TimeDelta::MAX);
        Ok(Self {
            sessions,
            tokens,
            clock,
            ttl,
            grace,
            client_secret: auth.client_secret.clone(),
        })
    }

    /// Whether somebody who says so is the client that keeps its tokens.
    pub(crate) fn is_client(&self, secret: &str) -> bool {
        self.client_secret
            .as_ref()
            .is_some_and(|known| verify_slices_are_equal(known.expose().as_bytes(), secret.as_bytes()).is_ok())
    }

    /// Begins a session. If the user has more than [`latest::MOST`] sessions, those that were used longest ago end.
    pub(crate) async fn begin(
        &self,
        user: UserId,
        epoch: i64,
        device: Option<String>,
        confidential: bool,
    ) -> Result<(SessionId, RefreshToken), Error> {
        let now = self.clock.now();
        let id = SessionId::new(now);
        let token = self.tokens.issue(id, 0);
        let session = Session {
            id,
            user,
            epoch,
            counter: 0,
            token_hash: hash(&token),
            device,
            confidential,
            created_at: now,
            rotated_at: now,
            expires_at: now + self.ttl,
        };
        retried(|| async {
            match self.sessions.insert_one(&session).await {
                Ok(_) => Ok(()),
                // The id is new, so a duplicate is this session, written by an attempt that got no answer.
                Err(error) if is_duplicate_key(&error) => Ok(()),
                Err(error) => Err(error),
            }
        })
        .await?;
        if let Err(error) = latest::keep(&self.sessions, user, "rotated_at").await {
            tracing::warn!(%error, %user, "the oldest sessions were not ended; the next login will end them");
        }
        Ok((id, token))
    }

    pub(crate) fn parse(&self, token: &str) -> Result<RefreshToken, InvalidRefreshToken> {
        self.tokens.parse(token)
    }

    /// An attempt that got no answer is repeated as a whole. If it had succeeded, the repetition is a second use within the grace period.
    ///
    /// `by_client`: the client has proven itself.
    pub(crate) async fn refresh(&self, presented: &RefreshToken, by_client: bool) -> Result<Refresh, Error> {
        retried(|| async {
            loop {
                if let Some(refresh) = self.try_refresh(presented, by_client).await? {
                    return Ok(refresh);
                }
            }
        })
        .await
    }

    /// Returns `None` if another refresh came in between.
    async fn try_refresh(&self, presented: &RefreshToken, by_client: bool) -> Result<Option<Refresh>, Error> {
        let now = self.clock.now();
        let Some(session) = self.sessions.find_one(doc! { "_id": presented.family }).await? else {
            return Ok(Some(Refresh::Ended));
        };
        if session.expires_at <= now {
            return Ok(Some(Refresh::Ended));
        }
        // Whoever has the token alone has stolen it, and must not be able to end the session either.
        if session.confidential && !by_client {
            return Ok(Some(Refresh::Ended));
        }
        if presented.counter == session.counter {
            if session.token_hash != hash(presented) {
                return Ok(Some(Refresh::Ended));
            }
            return self.rotate(session, now).await;
        }
        if presented.counter + 1 == session.counter && now - session.rotated_at <= self.grace {
            let token = self.tokens.issue(session.id, session.counter);
            let session = Box::new(session);
            return Ok(Some(Refresh::Rotated { session, token }));
        }
        if presented.counter < session.counter {
            self.sessions.delete_one(doc! { "_id": session.id }).await?;
            return Ok(Some(Refresh::Reused { user: session.user }));
        }
        // The token is ahead of the stored counter: the database was restored from an older copy.
        Ok(Some(Refresh::Ended))
    }

    async fn rotate(&self, session: Session, now: DateTime<Utc>) -> Result<Option<Refresh>, Error> {
        let counter = if session.confidential {
            session.counter
        } else {
            session.counter + 1
        };
        let token = self.tokens.issue(session.id, counter);
        // Does not match if the session has set a new password in the meantime, because then it continues with the epoch of that password.
        let known = doc! { "_id": session.id, "counter": session.counter, "epoch": session.epoch };
        let next = Session {
            counter,
            token_hash: hash(&token),
            rotated_at: now,
            expires_at: now + self.ttl,
            ..session
        };
        let change = doc! { "$set": {
            "counter": next.counter,
            "token_hash": &next.token_hash,
            "rotated_at": bson::DateTime::from_chrono(next.rotated_at),
            "expires_at": bson::DateTime::from_chrono(next.expires_at),
        } };
        let updated = self.sessions.update_one(known, change).await?;
        let session = Box::new(next);
        Ok((updated.matched_count == 1).then_some(Refresh::Rotated { session, token }))
    }

    /// The sessions of a user, the last used first, at most [`latest::MOST`].
    pub(crate) async fn of_user(&self, user: UserId) -> Result<Vec<Session>, Error> {
        self.sessions
            .find(doc! { "user": user })
            .sort(doc! { "rotated_at": -1 })
            .limit(latest::MOST.into())
            .await?
            .try_collect()
            .await
    }

    pub(crate) async fn find(&self, id: SessionId) -> Result<Option<Session>, Error> {
        self.sessions.find_one(doc! { "_id": id }).await
    }

    /// Does nothing if the session has ended already.
    pub(crate) async fn end(&self, id: SessionId) -> Result<(), Error> {
        retried(|| async { self.sessions.delete_one(doc! { "_id": id }).await.map(drop) }).await
    }

    /// Ends a session whose password is no longer the current one. Returns false if the session has continued under a new password since it
    /// was read, or does not exist.
    pub(crate) async fn end_former(&self, session: &Session) -> Result<bool, Error> {
        let former = doc! { "_id": session.id, "epoch": session.epoch };
        let ended = retried(|| async { self.sessions.delete_one(former.clone()).await }).await?;
        Ok(ended.deleted_count == 1)
    }
}

/// Ends all sessions of a user.
pub(crate) fn end_all(user: UserId) -> Companion {
    Companion::Delete {
        collection: SESSIONS,
        filter: doc! { "user": user },
    }
}

/// Ends all sessions of a user except one, which continues with the new password.
pub(crate) fn end_others(user: UserId, kept: SessionId, epoch: i64) -> [Companion; 2] {
    [
        Companion::Delete {
            collection: SESSIONS,
            filter: doc! { "user": user, "_id": { "$ne": kept } },
        },
        Companion::Update {
            collection: SESSIONS,
            filter: doc! { "_id": kept },
            update: doc! { "$set": { "epoch": epoch } },
        },
    ]
}

fn hash(token: &RefreshToken) -> bson::Binary {
    bson::Binary {
        subtype: BinarySubtype::Generic,
        bytes: token.hash().to_vec(),
    }
}

/// The secret from which refresh tokens are derived. It has no default.
pub fn refresh_tokens(auth: &Auth) -> Result<RefreshTokens, ConfigError> {
    const KEY: &str = "auth.refresh_secret";
    const MIN_CHARACTERS: usize = 32;
    let of_client = auth.client_secret.as_ref();
    if of_client.is_some_and(|secret| secret.expose().chars().count() < MIN_CHARACTERS) {
        return Err(ConfigError::invalid(
            "auth.client_secret",
            "must have 32 characters or more",
        ));
    }
    match &auth.refresh_secret {
        None => Err(ConfigError::invalid(
            KEY,
            "is missing: a random text of 32 characters or more",
        )),
        Some(secret) if secret.expose().chars().count() < MIN_CHARACTERS => {
            Err(ConfigError::invalid(KEY, "must have 32 characters or more"))
        }
        Some(secret) => Ok(RefreshTokens::new(secret.expose().as_bytes())),
    }
}
