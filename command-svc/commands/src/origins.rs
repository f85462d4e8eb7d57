//! Where people have logged in from. With this, a stranger who keeps guessing a password locks nobody out.
//!
//! Two limits apply to logins. The first counts by address, for all accounts: one address can't try the passwords of many accounts. The
//! second counts by account, for all addresses: many addresses can't try the passwords of one account. Alone, the second limit would be a
//! weapon: an attacker who wants to lock a user out only has to use up the allowance. So it applies to *unknown* addresses only. When it is
//! used up, a login is still accepted from an address from which this account has logged in before, under the limit of that address alone.
//! A stranger can't become known without the password. And a stranger who shares the owner's address (an office, a provider's NAT) gains
//! only the allowance of that address, 30 attempts a minute.
//!
//! Each process counts in its memory and forgets the counts when it ends. So an attacker who reaches `n` processes has `n` allowances.
//! Known addresses are stored, so a restart, or another process, locks nobody out either.
//!
//! Accounts are counted by the name that was sent, a handle or an e-mail address, whether the account exists or not. So the limit reveals
//! neither who is registered, nor which e-mail address belongs to which handle. Attempts at the current password of a logged-in user are
//! counted by session: a thief with a token uses up the allowance of that session only.
//!
//! `origins` has one document for each user and address. Its `_id` is a keyed hash of the two, so the addresses themselves are stored
//! nowhere. The document is removed when a session's lifetime has passed since the last login from there, or with the account. A user has
//! at most [`latest::MOST`] documents. The epoch of the password is part of the hash: a new password makes every address unknown, except
//! the one from which it was set.

use std::net::IpAddr;
use std::time::Duration;

use aws_lc_rs::hmac;
use bson::spec::BinarySubtype;
use bson::{Binary, Document, doc};
use chrono::TimeDelta;
use event_log::event_store::{Companion, Unique};
use model::clock::SharedClock;
use model::ids::UserId;
use mongodb::error::Error;
use mongodb::options::IndexOptions;
use mongodb::{Collection, Database, IndexModel};
use service::config::Auth;

use crate::{latest, setup};

const ORIGINS: &str = "origins";
/// Refresh tokens use the same secret, with an input of 24 bytes. This input has another length, so the two never collide.
const PURPOSE: &[u8] = b"where somebody has logged in from";

#[derive(Debug, Clone)]
pub(crate) struct Origins {
    collection: Collection<Document>,
    key: hmac::Key,
    clock: SharedClock,
    kept: TimeDelta,
}

impl Origins {
    pub(crate) async fn open(database: &Database, auth: &Auth, clock: SharedClock) -> Result<Self, Error> {
        setup::collection(database, ORIGINS).await?;
        let collection = database.collection(ORIGINS);
        let named = |name: &str| IndexOptions::builder().name(name.to_owned());
        let by_user = IndexModel::builder()
            .keys(doc! { "user": 1, "expires_at": -1 })
            .options(named("user_latest").build());
        let expiry = named("expiry").expire_after(Duration::ZERO).build();
        let expiry = IndexModel::builder().keys(doc! { "expires_at": 1 }).options(expiry);
        collection.create_indexes([by_user.build(), expiry.build()]).await?;
        let secret = auth.refresh_secret.as_ref().map_or("", |secret| secret.expose());
        Ok(Self {
            collection,
            key: hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes()),
            clock,
            kept: TimeDelta::from_std(auth.refresh_token_ttl).unwrap_or(TimeDelta::MAX),
        })
    }

    /// Whether the user has logged in from this address with the password of this epoch. It makes one query whether the user exists or not.
    pub(crate) async fn is_known(&self, user: UserId, epoch: i64, address: IpAddr) -> Result<bool, Error> {
        let id = self.id(user, epoch, address);
        Ok(self.collection.find_one(doc! { "_id": id }).await?.is_some())
    }

    /// Notes the address from which the user sets the password of this epoch. No address of that epoch is known before.
    pub(crate) fn noted(&self, user: UserId, epoch: i64, address: IpAddr) -> Companion {
        let id = self.id(user, epoch, address);
        Companion::Insert {
            collection: ORIGINS,
            document: doc! { "_id": id, "user": user, "expires_at": self.expires_at() },
            unique: Unique::Document,
        }
    }

    /// Notes that the user has just logged in from this address. Only later logins need it, so a failure is only logged.
    pub(crate) async fn remember(&self, user: UserId, epoch: i64, address: IpAddr) {
        if let Err(error) = self.try_remember(user, epoch, address).await {
            tracing::warn!(%error, %user, "the address of a login could not be stored");
        }
    }

    async fn try_remember(&self, user: UserId, epoch: i64, address: IpAddr) -> Result<(), Error> {
        let known = doc! { "$set": { "user": user, "expires_at": self.expires_at() } };
        self.collection
            .update_one(doc! { "_id": self.id(user, epoch, address) }, known)
            .upsert(true)
            .await?;
        latest::keep(&self.collection, user, "expires_at").await
    }

    fn expires_at(&self) -> bson::DateTime {
        bson::DateTime::from_chrono(self.clock.now() + self.kept)
    }

    fn id(&self, user: UserId, epoch: i64, address: IpAddr) -> Binary {
        let mut context = hmac::Context::with_key(&self.key);
        context.update(PURPOSE);
        context.update(user.as_bytes());
        context.update(&epoch.to_be_bytes());
        context.update(address.to_string().as_bytes());
        Binary {
            subtype: BinarySubtype::Generic,
            bytes: context.sign().as_ref().to_vec(),
        }
    }
}

/// Removes all known addresses of a user.
pub(crate) fn forget(user: UserId) -> Companion {
    Companion::Delete {
        collection: ORIGINS,
        filter: doc! { "user": user },
    }
}
