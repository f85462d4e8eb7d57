//! Who may log in, and which handles and addresses are taken. None of this ever enters an event.
//!
//! `credentials` has one document for each user who is not deleted, with the hash of the password and the e-mail address. `claims` has one
//! document for each handle ever given and each address in use, and reserves it by its `_id`. Both change only in the transaction of a
//! user's event, as its [`Companion`]s.

use std::collections::HashMap;
use std::fmt;

use bson::{Bson, doc};
use event_log::event_store::{Companion, EventStore, Unique};
use futures_util::TryStreamExt;
use model::ids::UserId;
use model::values::{Email, Handle};
use mongodb::error::Error;
use mongodb::options::IndexOptions;
use mongodb::{ClientSession, Collection, Database, IndexModel};
use serde::{Deserialize, Serialize};
use service::auth::CREDENTIALS;

use crate::setup;

const RESERVED: &str = "claims";

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Credentials {
    #[serde(rename = "_id")]
    pub(crate) user: UserId,
    pub(crate) handle: Handle,
    email: String,
    pub(crate) password_hash: String,
    /// How often the password was changed. A session with an earlier epoch is over.
    pub(crate) epoch: i64,
}

impl Credentials {
    pub(crate) fn email(&self) -> &str {
        &self.email
    }

    pub(crate) fn has_email(&self, email: &Email) -> bool {
        self.email == email.as_str()
    }
}

/// The name with which a user logs in.
#[derive(Debug, Clone)]
pub enum Identifier {
    Handle(Handle),
    Email(Email),
}

/// The key under which attempts to log in are counted.
impl fmt::Display for Identifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Handle(handle) => write!(f, "handle:{}", handle.as_str()),
            Self::Email(email) => write!(f, "email:{}", email.as_str()),
        }
    }
}

#[derive(Debug, Clone)]
pub(crate) struct CredentialStore {
    credentials: Collection<Credentials>,
}

impl CredentialStore {
    pub(crate) async fn open(database: &Database) -> Result<Self, Error> {
        setup::collection(database, RESERVED).await?;
        setup::collection(database, CREDENTIALS).await?;
        let credentials = database.collection::<Credentials>(CREDENTIALS);
        // These indexes are not unique, because the reservations already make the values unique.
        let by = |field: &str| {
            let options = IndexOptions::builder().name(field.to_owned()).build();
            IndexModel::builder().keys(doc! { field: 1 }).options(options).build()
        };
        credentials.create_indexes([by("handle"), by("email")]).await?;
        Ok(Self { credentials })
    }

    /// Makes one query whether the user exists or not, so that the time it takes reveals nothing.
    pub(crate) async fn find(&self, identifier: &Identifier) -> Result<Option<Credentials>, Error> {
        let filter = match identifier {
            Identifier::Handle(handle) => doc! { "handle": handle.as_str() },
            Identifier::Email(email) => doc! { "email": email.as_str() },
        };
        self.credentials.find_one(filter).await
    }

    pub(crate) async fn of_user(&self, user: UserId) -> Result<Option<Credentials>, Error> {
        self.credentials.find_one(doc! { "_id": user }).await
    }
}

/// Reads the credentials as they were when the session read the user's stream, or later.
pub(crate) async fn load(
    store: &EventStore,
    session: &mut ClientSession,
    user: UserId,
) -> Result<Option<Credentials>, Error> {
    store
        .database()
        .collection(CREDENTIALS)
        .find_one(doc! { "_id": user })
        .session(session)
        .await
}

/// Those of these handles that users have who are not deleted.
pub(crate) async fn users_of(
    store: &EventStore,
    session: &mut ClientSession,
    handles: impl IntoIterator<Item = &str>,
) -> Result<HashMap<String, UserId>, Error> {
    #[derive(Deserialize)]
    struct Owner {
        #[serde(rename = "_id")]
        user: UserId,
        handle: String,
    }

    let handles: Vec<Bson> = handles.into_iter().map(Bson::from).collect();
    let mut found = store
        .database()
        .collection::<Owner>(CREDENTIALS)
        .find(doc! { "handle": { "$in": handles } })
        .projection(doc! { "handle": 1 })
        .session(&mut *session)
        .await?;
    let owners = found.stream(session).map_ok(|owner| (owner.handle, owner.user));
    owners.try_collect().await
}

pub(crate) fn register(user: UserId, handle: &Handle, email: &Email, password_hash: &str) -> [Companion; 3] {
    let credentials = doc! {
        "_id": user,
        "handle": handle.as_str(),
        "email": email.as_str(),
        "password_hash": password_hash,
        "epoch": 0_i64,
    };
    [
        reserve(Unique::Handle, format!("handle:{}", handle.as_str()), user),
        reserve(Unique::Email, email_id(email.as_str()), user),
        Companion::Insert {
            collection: CREDENTIALS,
            document: credentials,
            unique: Unique::Document,
        },
    ]
}

pub(crate) fn change_email(credentials: &Credentials, email: &Email) -> [Companion; 3] {
    [
        reserve(Unique::Email, email_id(email.as_str()), credentials.user),
        release_email(credentials),
        Companion::Update {
            collection: CREDENTIALS,
            filter: doc! { "_id": credentials.user },
            update: doc! { "$set": { "email": email.as_str() } },
        },
    ]
}

/// Also sets the epoch to `epoch`.
pub(crate) fn change_password(user: UserId, password_hash: &str, epoch: i64) -> Companion {
    Companion::Update {
        collection: CREDENTIALS,
        filter: doc! { "_id": user },
        update: doc! { "$set": { "password_hash": password_hash, "epoch": epoch } },
    }
}

/// The address may be used again. The handle is never given again.
pub(crate) fn remove(credentials: &Credentials) -> [Companion; 2] {
    [
        release_email(credentials),
        Companion::Delete {
            collection: CREDENTIALS,
            filter: doc! { "_id": credentials.user },
        },
    ]
}

fn reserve(unique: Unique, id: String, user: UserId) -> Companion {
    Companion::Insert {
        collection: RESERVED,
        document: doc! { "_id": id, "user": user },
        unique,
    }
}

fn release_email(credentials: &Credentials) -> Companion {
    let filter = doc! { "_id": email_id(&credentials.email), "user": credentials.user };
    Companion::Delete {
        collection: RESERVED,
        filter,
    }
}

fn email_id(email: &str) -> String {
    format!("email:{email}")
}
