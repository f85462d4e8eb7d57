//! One-time codes, which an operator passes on. They set a password without the current one, or allow a registration where it needs an
//! invitation.
//!
//! `codes` has one document for each unused code: its SHA-256 (a code has 122 random bits), its purpose, and its expiry. A code is used up
//! in the transaction of the event that it allows: the transaction removes the code, or fails. So a code works once, even if many use it at
//! the same time, or if an answer is lost.

use std::time::Duration;

use bson::spec::BinarySubtype;
use bson::{Binary, Document, doc};
use chrono::{DateTime, TimeDelta, Utc};
use event_log::crypto::sha256;
use event_log::event_store::Companion;
use model::clock::SharedClock;
use model::ids::UserId;
use model::values::Handle;
use mongodb::error::Error;
use mongodb::options::IndexOptions;
use mongodb::{Collection, Database, IndexModel};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::credentials::{CredentialStore, Identifier};
use crate::setup;

pub(crate) const CODES: &str = "codes";

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Code {
    #[serde(rename = "_id")]
    hash: Binary,
    /// The user whose password it sets. None for an invitation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    user: Option<UserId>,
    #[serde(with = "bson::serde_helpers::datetime::FromChrono04DateTime")]
    expires_at: DateTime<Utc>,
}

/// The only writer of the codes.
#[derive(Debug, Clone)]
pub struct Codes {
    collection: Collection<Code>,
    credentials: CredentialStore,
    clock: SharedClock,
}

impl Codes {
    /// Creates the collection and its indexes if they are missing.
    pub async fn open(database: &Database, clock: SharedClock) -> Result<Self, Error> {
        setup::collection(database, CODES).await?;
        let collection = database.collection::<Code>(CODES);
        let named = |name: &str| IndexOptions::builder().name(name.to_owned());
        let by_user = IndexModel::builder()
            .keys(doc! { "user": 1 })
            .options(named("user").build());
        let expiry = named("expiry").expire_after(Duration::ZERO).build();
        let expiry = IndexModel::builder().keys(doc! { "expires_at": 1 }).options(expiry);
        collection.create_indexes([by_user.build(), expiry.build()]).await?;
        Ok(Self {
            collection,
            credentials: CredentialStore::open(database).await?,
            clock,
        })
    }

    /// Makes a code that sets the password of this user. Returns `None` if the user does not exist, or is deleted.
    pub async fn reset(&self, handle: &Handle, good_for: Duration) -> Result<Option<String>, Error> {
        match self.credentials.find(&Identifier::Handle(handle.clone())).await? {
            Some(credentials) => Ok(Some(self.make(Some(credentials.user), good_for).await?)),
            None => Ok(None),
        }
    }

    /// Makes a code that lets somebody register.
    pub async fn invite(&self, good_for: Duration) -> Result<String, Error> {
        self.make(None, good_for).await
    }

    async fn make(&self, user: Option<UserId>, good_for: Duration) -> Result<String, Error> {
        let code = Uuid::new_v4().simple().to_string();
        let until = TimeDelta::from_std(good_for).ok();
        let until = until.and_then(|good_for| self.clock.now().checked_add_signed(good_for));
        let made = Code {
            hash: hash(&code),
            user,
            expires_at: until.unwrap_or(DateTime::<Utc>::MAX_UTC),
        };
        // If the answer is lost, nobody learns the code, and nobody can use it.
        self.collection.insert_one(made).await?;
        Ok(code)
    }

    /// Whether this is an invitation that is valid now. Only using it makes that certain.
    pub(crate) async fn is_invitation(&self, code: &str) -> Result<bool, Error> {
        Ok(self.find(code).await?.is_some_and(|code| code.user.is_none()))
    }

    /// The user whose password this code sets, if it is valid now. Only using it makes that certain.
    pub(crate) async fn user_of(&self, code: &str) -> Result<Option<UserId>, Error> {
        Ok(self.find(code).await?.and_then(|code| code.user))
    }

    async fn find(&self, code: &str) -> Result<Option<Code>, Error> {
        self.collection.find_one(good(code, self.clock.now())).await
    }
}

/// Removes the code. If it is gone, the transaction fails.
pub(crate) fn consume(code: &str, now: DateTime<Utc>) -> Companion {
    Companion::Consume {
        collection: CODES,
        filter: good(code, now),
    }
}

/// Removes the codes of a user who is deleted, or who has set a new password.
pub(crate) fn forget(user: UserId) -> Companion {
    Companion::Delete {
        collection: CODES,
        filter: doc! { "user": user },
    }
}

fn good(code: &str, now: DateTime<Utc>) -> Document {
    doc! { "_id": hash(code), "expires_at": { "$gt": bson::DateTime::from_chrono(now) } }
}

/// People copy and type codes, so surrounding spaces and capitals make no difference.
fn hash(code: &str) -> Binary {
    Binary {
        subtype: BinarySubtype::Generic,
        bytes: sha256(code.trim().to_ascii_lowercase().as_bytes()).to_vec(),
    }
}
