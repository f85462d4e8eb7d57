//! Which sessions live. `commands` writes sessions and credentials. Here is what it shares with programs that only ask whether a session is
//! over.

use std::collections::{BTreeSet, HashMap, HashSet};

use bson::doc;
use chrono::{DateTime, Utc};
use futures_util::TryStreamExt;
use model::clock::SharedClock;
use model::ids::{SessionId, UserId};
use mongodb::error::Error;
use mongodb::options::SessionOptions;
use mongodb::{Collection, Database};
use serde::Deserialize;

/// The collection of sessions.
pub const SESSIONS: &str = "sessions";
/// The collection of credentials.
pub const CREDENTIALS: &str = "credentials";

/// The most sessions that one query asks for.
const AT_ONCE: usize = 1_000;
/// One more than a query can find. With a batch that is full, the database would keep the cursor open.
const BATCH: u32 = 1_001;

/// The part of a session's document that decides whether the session lives.
#[derive(Debug, Clone, Copy, Deserialize)]
pub struct SessionLife {
    #[serde(rename = "_id")]
    pub id: SessionId,
    pub user: UserId,
    /// The epoch of the credentials with which the session began, or which it has set itself.
    pub epoch: i64,
    #[serde(with = "bson::serde_helpers::datetime::FromChrono04DateTime")]
    pub expires_at: DateTime<Utc>,
}

impl SessionLife {
    /// Whether the session is valid for this user's credentials of this epoch. The session may have been read after the credentials, and
    /// may have continued under a new password in between.
    pub fn lasts(&self, user: UserId, epoch: i64, now: DateTime<Utc>) -> bool {
        self.user == user && self.epoch >= epoch && self.expires_at > now
    }
}

/// The part of the credentials that decides whether sessions live.
#[derive(Debug, Deserialize)]
struct Epoch {
    #[serde(rename = "_id")]
    user: UserId,
    epoch: i64,
}

/// Tells which sessions are over, for whoever keeps connections open. It only reads.
#[derive(Debug, Clone)]
pub struct LiveSessions {
    database: Database,
    sessions: Collection<SessionLife>,
    credentials: Collection<Epoch>,
    clock: SharedClock,
}

impl LiveSessions {
    /// `database`: that of the event store.
    pub fn new(database: &Database, clock: SharedClock) -> Self {
        Self {
            database: database.clone(),
            sessions: database.collection(SESSIONS),
            credentials: database.collection(CREDENTIALS),
            clock,
        }
    }

    /// Those of these sessions that are over. It asks two queries for each thousand sessions. It does not repeat a query that fails,
    /// because its callers ask again and again.
    pub async fn over(
        &self,
        open: impl IntoIterator<Item = (UserId, SessionId)>,
    ) -> Result<HashSet<(UserId, SessionId)>, Error> {
        // A user's sessions are together, so that few users are asked for twice.
        let open: Vec<_> = open.into_iter().collect::<BTreeSet<_>>().into_iter().collect();
        let mut over = HashSet::new();
        for open in open.chunks(AT_ONCE) {
            let living = self.living(open).await?;
            over.extend(open.iter().filter(|pair| !living.contains(pair)));
        }
        Ok(over)
    }

    async fn living(&self, open: &[(UserId, SessionId)]) -> Result<HashSet<(UserId, SessionId)>, Error> {
        let users: BTreeSet<UserId> = open.iter().map(|&(user, _)| user).collect();
        let users: Vec<UserId> = users.into_iter().collect();
        let sessions: Vec<SessionId> = open.iter().map(|&(_, session)| session).collect();
        // The credentials come first, and the reads are causally consistent. A session that sets another password raises both epochs, and
        // must not be seen with the credentials' new epoch and its own former one.
        let options = SessionOptions::builder().causal_consistency(true).build();
        let mut reading = self.database.client().start_session().with_options(options).await?;
        let mut found = self
            .credentials
            .find(doc! { "_id": { "$in": users } })
            .projection(doc! { "epoch": 1 })
            .batch_size(BATCH)
            .session(&mut reading)
            .await?;
        let epochs = found
            .stream(&mut reading)
            .map_ok(|credentials| (credentials.user, credentials.epoch));
        let epochs: HashMap<UserId, i64> = epochs.try_collect().await?;
        let mut found = self
            .sessions
            .find(doc! { "_id": { "$in": sessions } })
            .projection(doc! { "user": 1, "epoch": 1, "expires_at": 1 })
            .batch_size(BATCH)
            .session(&mut reading)
            .await?;
        let found: Vec<SessionLife> = found.stream(&mut reading).try_collect().await?;
        let now = self.clock.now();
        let lasts = |session: &SessionLife| {
            let epoch = epochs.get(&session.user);
            epoch.is_some_and(|&epoch| session.lasts(session.user, epoch, now))
        };
        let living = found.into_iter().filter(lasts);
        Ok(living.map(|session| (session.user, session.id)).collect())
    }
}
