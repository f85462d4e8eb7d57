//! Commits rows, one transaction at a time. Each transaction contains everything that waits for one.
//!
//! Most events change a count on a row that many other events also change (a follow writes two profiles). Concurrent transactions would
//! spend their time on write conflicts. So this process combines them into groups and commits one group after the other. Only another
//! process can still cause a conflict.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};
use bson::{Bson, Timestamp, doc};
use event_log::mongo::{is_write_conflict, majority};
use event_log::subscription::Delivery;
use futures_util::TryStreamExt;
use model::events::{Event, State};
use model::ids::{PostId, UserId};
use model::tags::TagKey;
use mongodb::error::Error;
use mongodb::{ClientSession, Collection};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::Views;
use super::bulk::{self, WriteError};
use super::combiner::{Combiner, Job};
use super::metrics::ViewMetrics;
use super::notifications;
use super::post_history::history_id;
use super::posts::QUOTING;
use super::profiles::{Audience, ProfileCounts};
use super::relations::RelationId;
use super::rows::{Changes, Keys, Known, Reach, Recorded, RowState, Writes, late_history};

/// The most that one transaction takes, as the sum of the events' sizes, unless a single event is larger. Real servers work best below a
/// thousand writes each.
const GROUP: usize = 400;
/// The pauses after a transaction that conflicts with another process's. After the last one, the subscription's own back-off takes over.
/// The pauses are random, because otherwise the same two processes would conflict again and again.
const AFTER_CONFLICT: ExponentialBuilder = ExponentialBuilder::new()
    .with_min_delay(Duration::from_millis(2))
    .with_max_delay(Duration::from_millis(150))
    .with_max_times(11)
    .with_jitter();

/// When something was committed, and what its transaction has read.
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

    /// How the posts of an account reach its followers. It is known for every account that somebody followed or that posted.
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

/// The state that the holder of the turn has, and passes on.
#[derive(Debug, Default)]
struct Turn {
    /// Always the same session, so that a successor of this process can end the transaction that it leaves open.
    session: Option<ClientSession>,
    /// A transaction is open. If nobody has the turn, its last holder was cancelled in the middle of the transaction.
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

    /// Applies a batch to the rows, in one transaction. A repeated call changes nothing.
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
        events.iter().map(|recorded| size(&recorded.event)).sum()
    }

    async fn perform(&self, turn: &mut Turn, works: &[&Vec<Recorded>]) -> Result<Committed, Error> {
        let events: Vec<&Recorded> = works.iter().flat_map(|events| events.iter()).collect();
        self.commit_events(turn, &events).await
    }
}

/// An event counts as one, and a post tells each user by a further write.
fn size(event: &Event) -> usize {
    1 + match event.state() {
        State::Post(post) => notifications::most_told_by(post),
        _ => 0,
    }
}

/// Parts of a batch that fit into one transaction each.
pub(super) fn parts(batch: &[Delivery]) -> Vec<&[Delivery]> {
    parts_by(batch, |delivery| size(&delivery.event))
}

/// A part has at least one item.
fn parts_by<T>(all: &[T], size: impl Fn(&T) -> usize) -> Vec<&[T]> {
    let (mut parts, mut start, mut sum) = (Vec::new(), 0, 0);
    for (at, item) in all.iter().enumerate() {
        let size = size(item);
        if at > start && sum + size > GROUP {
            parts.push(&all[start..at]);
            (start, sum) = (at, 0);
        }
        sum += size;
    }
    if start < all.len() {
        parts.push(&all[start..]);
    }
    parts
}

impl Committing {
    async fn commit_events(&self, turn: &mut Turn, events: &[&Recorded]) -> Result<Committed, Error> {
        for pause in AFTER_CONFLICT.build() {
            match self.try_commit(turn, events).await {
                Ok(committed) => return Ok(committed),
                Err(WriteError::Database(error)) if !is_write_conflict(&error) => return Err(error),
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
                // The conflict is temporary, so the error has a kind that is retried without end.
                Err(std::io::Error::other("other transactions kept writing the same rows first").into())
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
                // Only the first error is worth reporting.
                abort(session).await;
                Err(error)
            }
        }
    }

    /// Reads the rows, decides, and writes. Returns how many rows were newer, and how accounts reach their followers.
    async fn write(
        &self,
        session: &mut ClientSession,
        events: &[&Recorded],
    ) -> Result<(u64, HashMap<UserId, Reach>), WriteError> {
        let keys = Keys::of(events.iter().copied());
        let posts: Vec<Row<PostId>> = read(session, &self.views, self.views.posts.name(), &keys.posts).await?;
        let relations: Vec<Row<RelationId>> =
            read(session, &self.views, self.views.relations.name(), &keys.relations).await?;
        // Profiles are read last. On a sharded cluster, a profile must not be older than an edge that the same transaction has read.
        let profiles: Vec<Row<UserId>> = read(session, &self.views, self.views.profiles.name(), &keys.profiles).await?;
        let quoting = posts.iter().filter_map(|row| Some((row.id, row.quoting?)));
        let tags = posts.iter().filter(|row| !row.tags.is_empty());
        let told = posts.iter().filter(|row| !row.told.is_empty());
        let known = Known {
            quoting: quoting.collect(),
            told: told.map(|row| (row.id, row.told.clone())).collect(),
            tags: tags.map(|row| (row.id, row.tags.clone())).collect(),
            reaches: profiles.iter().map(|row| (row.id, row.reach())).collect(),
            profiles: profiles.into_iter().map(Row::into_state).collect(),
            posts: posts.into_iter().map(Row::into_state).collect(),
            relations: relations.into_iter().map(Row::into_state).collect(),
        };
        let mut changes = Changes::decide(known, events.iter().copied()).map_err(Error::from)?;
        self.settle_late_history(session, &mut changes).await?;
        let (refused, reaches) = (changes.refused, changes.reaches());
        let writes = changes.into_writes();
        // The rows that other processes write most come first, so that a conflict shows before the other writes are done in vain.
        self.write_to(session, self.views.profiles.name(), writes.profiles)
            .await?;
        self.write_to(session, self.views.posts.name(), writes.posts).await?;
        self.write_to(session, self.views.relations.name(), writes.relations)
            .await?;
        self.write_to(session, self.views.post_history.name(), writes.history)
            .await?;
        self.write_to(session, self.views.tagged.name(), writes.tagged).await?;
        let [notifications, groups, ..] = self.views.notifications.names();
        self.write_to(session, notifications, writes.notifications).await?;
        self.write_to(session, groups, writes.groups).await?;
        for post in writes.forgotten {
            self.views.post_history.forget(session, post).await?;
        }
        Ok((refused, reaches))
    }

    async fn write_to(&self, session: &mut ClientSession, name: &str, writes: Writes) -> Result<(), WriteError> {
        bulk::remove_in(session, self.views.database(), name, &writes.removals).await?;
        bulk::insert_in(session, self.views.database(), name, writes.inserts).await?;
        bulk::write_in(session, self.views.database(), name, &writes.updates).await
    }

    /// Keeps the late history rows that do not exist yet, and writes their posts' rows with them.
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

/// The fields of a row that decisions need. Only posts have `tags` and `told`, and only profiles have what follows.
#[derive(Debug, Deserialize)]
struct Row<I> {
    #[serde(rename = "_id")]
    id: I,
    version: i64,
    live: bool,
    #[serde(default)]
    tags: BTreeSet<TagKey>,
    #[serde(default)]
    quoting: Option<PostId>,
    #[serde(default)]
    told: BTreeSet<UserId>,
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
    let fields = doc! { "version": 1, "live": 1, "tags": 1, "told": 1, QUOTING: 1, "counts.followers": 1, "audience": 1, "posted": 1 };
    let found = rows
        .find(doc! { "_id": { "$in": ids } })
        .projection(fields)
        .batch_size(batch);
    let mut found = found.session(&mut *session).await?;
    found.stream(session).try_collect().await
}

/// If the abort fails, the server no longer has this transaction, or ends it when it times out.
async fn abort(session: &mut ClientSession) {
    if let Err(error) = session.abort_transaction().await {
        tracing::debug!(%error, "abort failed");
    }
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;
    use model::entities::{Entities, Mention};
    use model::events::{Post, PostContent};
    use model::values::Visibility;

    use super::*;

    fn mentions(count: usize) -> Event {
        let at = DateTime::UNIX_EPOCH;
        let mention = |_| Mention {
            handle: "ada".to_owned(),
            start: 0,
            end: 4,
            user: Some(UserId::new(at)),
        };
        let entities = Entities {
            mentions: (0..count).map(mention).collect(),
            ..Entities::default()
        };
        Event::PostCreated(Post {
            id: PostId::new(at),
            author: UserId::new(at),
            content: Some(PostContent {
                text: String::new(),
                entities,
                warning: None,
                language: None,
            }),
            in_reply_to: None,
            visibility: Visibility::Public,
            created_at: at,
            edited_at: None,
            quote_of: None,
            hidden: None,
            deleted: false,
        })
    }

    #[test]
    fn a_transaction_takes_fewer_posts_that_tell_many() {
        let lengths = |events: &[Event]| -> Vec<usize> {
            let parts = parts_by(events, size);
            assert_eq!(parts.concat(), events);
            parts.iter().map(|part| part.len()).collect()
        };
        assert_eq!(lengths(&vec![mentions(0); 500]), [400, 100]);
        assert_eq!(lengths(&vec![mentions(130); 7]), [3, 3, 1]);
        assert_eq!(lengths(&[mentions(1), mentions(500), mentions(1)]), [1, 1, 1]);
        assert_eq!(lengths(&[]), [0; 0]);
        let work = [mentions(130), mentions(0)].map(|event| Recorded {
            id: model::ids::EventId::new(DateTime::UNIX_EPOCH),
            version: 1,
            position: None,
            event,
        });
        assert_eq!(Committing::size(&work.to_vec()), 132);
    }
}
