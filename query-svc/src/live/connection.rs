//! Open connections: who reads, and why a connection must end.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use chrono::{DateTime, Utc};
use foldhash::HashMap;
use model::ids::{SessionId, UserId};
use service::auth::Claims;
use tokio_util::sync::CancellationToken;

use super::stream::Ended;

/// Who reads.
#[derive(Debug)]
pub(crate) struct Reader {
    pub(crate) user: UserId,
    session: SessionId,
    /// The end of the access token.
    until: Option<DateTime<Utc>>,
    over: CancellationToken,
}

impl Reader {
    fn of(claims: &Claims) -> Self {
        Self {
            user: claims.sub,
            session: claims.sid,
            until: claims.expires_at(),
            over: CancellationToken::new(),
        }
    }
}

/// One connection. Somebody who is not logged in has no reader.
#[derive(Debug, Clone)]
pub(crate) struct Connection {
    pub(crate) reader: Option<Arc<Reader>>,
}

impl Connection {
    pub(crate) fn viewer(&self) -> Option<UserId> {
        self.reader.as_ref().map(|reader| reader.user)
    }

    /// Ends when the reader may not read any more: the access token runs out, the session ends, or the account is deleted.
    pub(crate) async fn ended(&self, now: DateTime<Utc>) -> Ended {
        let Some(reader) = &self.reader else {
            return std::future::pending().await;
        };
        let runs_out = async {
            match reader.until {
                Some(until) => tokio::time::sleep((until - now).to_std().unwrap_or_default()).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = reader.over.cancelled() => Ended::LoggedOut,
            () = runs_out => Ended::TokenExpired,
        }
    }
}

/// The readers of all connections. Those that have left are removed when all are looked through.
#[derive(Debug, Default)]
pub(crate) struct Connections(Mutex<HashMap<UserId, Vec<Weak<Reader>>>>);

impl Connections {
    pub(crate) fn open(&self, claims: Option<&Claims>) -> Connection {
        let reader = claims.map(|claims| {
            let reader = Arc::new(Reader::of(claims));
            let mut readers = self.lock();
            readers.entry(reader.user).or_default().push(Arc::downgrade(&reader));
            reader
        });
        Connection { reader }
    }

    /// The user and the session of each open connection.
    pub(super) fn all(&self) -> Vec<(UserId, SessionId)> {
        let mut all = Vec::new();
        self.lock().retain(|_, readers| {
            readers.retain(|reader| match reader.upgrade() {
                Some(reader) => {
                    all.push((reader.user, reader.session));
                    true
                }
                None => false,
            });
            !readers.is_empty()
        });
        all
    }

    /// Ends the connections of a user, or those of one session.
    pub(super) fn end(&self, user: UserId, session: Option<SessionId>) {
        let readers = self.lock();
        let of_user = readers.get(&user).into_iter().flatten().filter_map(Weak::upgrade);
        for reader in of_user.filter(|reader| session.is_none_or(|session| session == reader.session)) {
            reader.over.cancel();
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<UserId, Vec<Weak<Reader>>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
