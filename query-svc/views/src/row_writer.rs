//! Commits rows: a transaction at a time, with everything that waits for one.
//!
//! Most events count something on a row that many others count on too (a follow writes two profiles), so
//! that transactions side by side would spend their time on write conflicts. Here they are combined, one group after
//! the other; only another process can still come in between.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};
use bson::{Bson, Timestamp, doc};
use event_log::mongo::majority;
use event_log::subscription::Delivery;
use futures_util::TryStreamExt;
use model::ids::{PostId, UserId};
use mongodb::error::{Error, ErrorKind};
use mongodb::{ClientSession, Collection};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::Views;
use super::bulk::{self, WriteError};
use super::combiner::{Combiner, Job};
use super::metrics::ViewMetrics;
use super::post_history::history_id;
use super::profiles::{Audience, ProfileCounts};
use super::relations::RelationId;
use super::rows::{Changes, Keys, Known, Reach, Recorded, RowState, Writes, late_history};

/// Events in one transaction at most. Real servers are best below a thousand writes each.
pub(super) const GROUP: usize = 400;
/// The pauses after a transaction that conflicts with another process's. After the last one the subscription's own back-off takes over.
/// They are random, or the same two processes would meet again and again.
const AFTER_CONFLICT: ExponentialBuilder = ExponentialBuilder::new()
    .with_min_delay(Duration::from_millis(2))
    .with_max_delay(Duration::from_millis(150))
    .with_max_times(11)
    .with_jitter();

const WRITE_CONFLICT: i32 = 112;
const LOCK_TIMEOUT: i32 = 24;

/// When something was committed, and what its transaction has seen.
#[derive(Debug, Clone)]
pub(super) struct Committed {
    at: Option<Timestamp>,
    reaches: Arc<HashMap<UserId, Reach>>,
}

impl Committed {
    /// A session whose reads see what was committed, and everything that its transaction saw.
    pub(super) async fn session(&self, views: &Views) -> Result<ClientSession, Error> {
        Self::session_of_all([self], views).await
    }

    /// The same for several transactions.
    pub(super) async fn session_of_all(
        all: impl IntoIterator<Item = &Self>,
        views: &Views,
    ) -> Result<ClientSession, Error> {
        let latest = all.into_iter().filter_map(|committed| committed.at).max();
        let mut session = views
            .database()
            .client()
            .start_session()
            .causal_consistency(true)
            .await?;
        if let Some(at) = latest {
            session.advance_operation_time(at);
        }
        Ok(session)
    }

    /// How what an account posts reaches its followers, for every account that somebody followed, or that posted.
    pub(super) fn reach(&self, account: UserId) -> Reach {
        self.reaches.get(&account).copied().unwrap_or_default()
    }
}

/// The one writer of rows in this process.
#[derive(Debug)]
pub(super) struct RowWriter(Combiner<Committing>);

#[derive(Debug)]
struct Committing {
    views: Views,
    metrics: ViewMetrics,
}

/// What goes from hand to hand with the turn.
#[derive(Debug, Default)]
struct Turn {
    /// Always the same one, so that a successor of this process can end what it leaves open.
    session: Option<ClientSession>,
    /// Whoever had the turn was cancelled in the middle of a transaction, if nobody has it now.
    in_transaction: bool,
}

impl Turn {
    async fn session(&mut self, views: &Views) -> Result<&mut ClientSession, Error> {
        if self.session.is_none() {
            let client = views.database().client();
            self.session = Some(client.start_session().causal_consistency(true).await?);
        }
        Ok(self.session.as_mut().expect("it was made above"))
    }
}

impl RowWriter {
    pub(super) fn new(views: Views, metrics: ViewMetrics) -> Self {
        Self(Combiner::new(Committing { views, metrics }))
    }

    /// The server session of the transactions.
    pub(super) async fn session(&self) -> Result<bson::Uuid, Error> {
        let mut turn = self.0.state().await;
        let session = turn.session(&self.0.job.views).await?;
        match session.id().get("id") {
            Some(Bson::Binary(id)) => id.to_uuid().map_err(Error::custom),
            _ => Err(Error::custom("a session's id is no UUID")),
        }
    }

    /// Works a batch into the rows, in one transaction; repeating it changes nothing.
    pub(super) async fn commit(&self, batch: &[Delivery]) -> Result<Committed, Error> {
        let events = batch.iter().map(|delivery| Recorded {
            id: delivery.recorded.id,
            version: delivery.version(),
            position: delivery.position,
            event: delivery.event.clone(),
        });
        self.0.run(events.collect()).await
    }
}

impl Job for Committing {
    type Work = Vec<Recorded>;
    type Answer = Committed;
    type State = Turn;

    const MOST: usize = GROUP;

    fn size(events: &Vec<Recorded>) -> usize {
        events.len()
    }

    async fn perform(&self, turn: &mut Turn, works: &[&Vec<Recorded>]) -> Result<Committed, Error> {
        let events: Vec<&Recorded> = works.iter().flat_map(|events| events.iter()).collect();
        self.commit_events(turn, &events).await
    }
}

impl Committing {
    async fn commit_events(&self, turn: &mut Turn, events: &[&Recorded]) -> Result<Committed, Error> {
        for pause in AFTER_CONFLICT.build() {
            match self.try_commit(turn, events).await {
                Ok(committed) => return Ok(committed),
                Err(WriteError::Database(error)) if !is_conflict(&error) => return Err(error),
                Err(_) => {
                    self.metrics.conflicts.inc();
                    tokio::time::sleep(pause).await;
                }
            }
        }
        match self.try_commit(turn, events).await {
            Ok(committed) => Ok(committed),
            Err(WriteError::Database(error)) => Err(error),
            Err(WriteError::Conflict) => {
                // It passes: an error of a kind that is tried again for ever.
                Err(std::io::Error::other("others kept coming first on the same rows").into())
            }
        }
    }

    async fn try_commit(&self, turn: &mut Turn, events: &[&Recorded]) -> Result<Committed, WriteError> {
        let abandoned = std::mem::replace(&mut turn.in_transaction, true);
        let session = turn.session(&self.views).await?;
        if abandoned {
            abort(session).await;
        }
        let outcome = self.try_commit_in(session, events).await;
        turn.in_transaction = false;
        outcome
    }

    async fn try_commit_in(&self, session: &mut ClientSession, events: &[&Recorded]) -> Result<Committed, WriteError> {
        session.start_transaction().write_concern(majority()).await?;
        match self.write(session, events).await {
            Ok((refused, reaches)) => {
                session.commit_transaction().await?;
                self.metrics.refused_guards.inc_by(refused);
                Ok(Committed {
                    at: session.operation_time(),
                    reaches: Arc::new(reaches),
                })
            }
            Err(error) => {
                // The first error is the one worth telling.
                abort(session).await;
                Err(error)
            }
        }
    }

    /// Reads the rows, decides, writes; answers how many rows were newer, and how accounts reach their followers.
    async fn write(
        &self,
        session: &mut ClientSession,
        events: &[&Recorded],
    ) -> Result<(u64, HashMap<UserId, Reach>), WriteError> {
        let keys = Keys::of(events.iter().copied());
        let posts: Vec<Row<PostId>> = read(session, &self.views, self.views.posts.name(), &keys.posts).await?;
        let relations: Vec<Row<RelationId>> =
            read(session, &self.views, self.views.relations.name(), &keys.relations).await?;
        // Profiles come last: on a sharded cluster, what they say must not be older than an edge that was there.
        let profiles: Vec<Row<UserId>> = read(session, &self.views, self.views.profiles.name(), &keys.profiles).await?;
        let known = Known {
            reaches: profiles.iter().map(|row| (row.id, row.reach())).collect(),
            profiles: profiles.into_iter().map(Row::into_state).collect(),
            posts: posts.into_iter().map(Row::into_state).collect(),
            relations: relations.into_iter().map(Row::into_state).collect(),
        };
        let mut changes = Changes::decide(known, events.iter().copied()).map_err(Error::from)?;
        self.settle_late_history(session, &mut changes).await?;
        let (refused, reaches) = (changes.refused, changes.reaches());
        let writes = changes.into_writes();
        // What other processes write most comes first: a conflict shows before the rest was in vain.
        self.write_to(session, self.views.profiles.name(), writes.profiles)
            .await?;
        self.write_to(session, self.views.posts.name(), writes.posts).await?;
        self.write_to(session, self.views.relations.name(), writes.relations)
            .await?;
        self.write_to(session, self.views.post_history.name(), writes.history)
            .await?;
        for post in writes.forgotten {
            self.views.post_history.forget(session, post).await?;
        }
        Ok((refused, reaches))
    }

    async fn write_to(&self, session: &mut ClientSession, name: &str, writes: Writes) -> Result<(), WriteError> {
        bulk::insert_in(session, self.views.database(), name, writes.inserts).await?;
        bulk::write_in(session, self.views.database(), name, &writes.updates).await
    }

    /// Keeps those late history rows that are not there yet, and writes their posts' rows with them.
    async fn settle_late_history(&self, session: &mut ClientSession, changes: &mut Changes) -> Result<(), Error> {
        let late = late_history(changes);
        if late.is_empty() {
            return Ok(());
        }
        let ids: Vec<Bson> = late
            .iter()
            .map(|&(post, version)| Bson::Binary(history_id(post, version)))
            .collect();
        let there = self.views.post_history.existing(session, ids).await?;
        for (post, version) in late {
            if there.contains(&(post, version)) {
                changes.history.remove(&(post, version));
            } else {
                changes.touch(post);
            }
        }
        Ok(())
    }
}

/// As much of a row as decisions need; the last three are a profile's.
#[derive(Debug, Deserialize)]
struct Row<I> {
    #[serde(rename = "_id")]
    id: I,
    version: i64,
    live: bool,
    #[serde(default)]
    counts: ProfileCounts,
    #[serde(default)]
    audience: Option<Audience>,
    #[serde(default)]
    posted: bool,
}

impl<I> Row<I> {
    fn reach(&self) -> Reach {
        Reach {
            followers: self.counts.followers,
            audience: self.audience,
            posted: self.posted,
        }
    }

    fn into_state(self) -> (I, RowState) {
        (
            self.id,
            RowState {
                exists: true,
                version: self.version,
                live: self.live,
            },
        )
    }
}

async fn read<I>(
    session: &mut ClientSession,
    views: &Views,
    collection: &str,
    ids: &BTreeSet<I>,
) -> Result<Vec<Row<I>>, Error>
where
    I: Copy + Into<Bson> + DeserializeOwned + Send + Sync,
{
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let rows: Collection<Row<I>> = views.database().collection(collection);
    let ids: Vec<Bson> = ids.iter().map(|&id| id.into()).collect();
    let batch = u32::try_from(ids.len()).unwrap_or(u32::MAX).max(101);
    let fields = doc! { "version": 1, "live": 1, "counts.followers": 1, "audience": 1, "posted": 1 };
    let found = rows
        .find(doc! { "_id": { "$in": ids } })
        .projection(fields)
        .batch_size(batch);
    let mut found = found.session(&mut *session).await?;
    found.stream(session).try_collect().await
}

/// Where that fails, the server has no such transaction any more, or gives it up in time.
async fn abort(session: &mut ClientSession) {
    if let Err(error) = session.abort_transaction().await {
        tracing::debug!(%error, "abort failed");
    }
}

/// Another transaction came first.
fn is_conflict(error: &Error) -> bool {
    matches!(error.kind.as_ref(), ErrorKind::Command(command) if matches!(command.code, WRITE_CONFLICT | LOCK_TIMEOUT))
}
