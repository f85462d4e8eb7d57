//! From where people have logged in: so that a stranger who keeps guessing a password locks nobody out.
//!
//! Logins are limited twice. By address, whoever is meant: one address can't try the passwords of many. And by account,
//! from wherever: many addresses can't try the passwords of one. The second limit alone would be a weapon: who wants to keep
//! somebody out would only have to use the allowance up. So it is the allowance of *unknown* addresses. When it is
//! exhausted, a login still passes from an address that a login of this account has succeeded from before, under the limit
//! of its address alone. A stranger can't become known without the password; and one who shares the owner's address
//! (an office, a provider's NAT) has gained no more than the allowance of that address, 30 attempts a minute.
//!
//! Limits are counted in the memory of each process, and forgotten with it: a guesser who is spread over `n` processes has `n`
//! allowances. Which addresses are known is stored, so that a restart, or another process, locks nobody out either.
//!
//! Accounts are counted as they are named, by handle or by address, whether there is such an account or not: the limit
//! tells nobody who is registered, nor which address belongs to which handle. Attempts at the current password of somebody
//! who is logged in are counted by session: a thief with a token exhausts the allowance of that session and no other.
//!
//! `origins` has a document for each user and address, named by a keyed hash of the two: the addresses themselves are nowhere.
//! It goes a session's life after the last login from there, or with the account, and there are [`latest::MOST`] of a user. The epoch
//! of the password is hashed along: a new password makes every address unknown, but the one that it was set from.

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
/// Refresh tokens are made with the same secret, of 24 bytes: no two inputs are the same.
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

    /// Whether the user has logged in from there with the password of this epoch. One query, whether there is such a user or not.
    pub(crate) async fn is_known(&self, user: UserId, epoch: i64, address: IpAddr) -> Result<bool, Error> {
        let id = self.id(user, epoch, address);
        Ok(self.collection.find_one(doc! { "_id": id }).await?.is_some())
    }

    /// The user sets the password of this epoch from there, so that nothing is known of that epoch yet.
    pub(crate) fn noted(&self, user: UserId, epoch: i64, address: IpAddr) -> Companion {
        let id = self.id(user, epoch, address);
        Companion::Insert {
            collection: ORIGINS,
            document: doc! { "_id": id, "user": user, "expires_at": self.expires_at() },
            unique: Unique::Document,
        }
    }

    /// The user has logged in from there, now. Only later logins could miss it: it is tried and no more.
    pub(crate) async fn remember(&self, user: UserId, epoch: i64, address: IpAddr) {
        if let Err(error) = self.try_remember(user, epoch, address).await {
            tracing::warn!(%error, %user, "from where somebody has logged in was not noted");
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

/// All that is known of a user.
pub(crate) fn forget(user: UserId) -> Companion {
    Companion::Delete {
        collection: ORIGINS,
        filter: doc! { "user": user },
    }
}
