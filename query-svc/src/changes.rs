//! The one change stream of the process: it keeps the cache honest and says how far the views are.
//!
//! A change of a post, a profile or a relation drops the cached document. A checkpoint of the views' subscription
//! (the document of a lease) is written after everything that it covers, and the stream keeps the order of writes: who
//! has seen the checkpoint has seen all changes that it covers. So the cache and `Consistency-Token` need nothing else.
//!
//! The order at the beginning: open the stream, then read `leases`, then use the cache. What is loaded from then on is
//! at least as new as the stream's beginning, and every later change drops it. When the stream breaks the cache is given
//! up, and requests read from the database until another stream is open.
//!
//! Invariant: positions advance only while the reading that they belong to is the present one, or before there is one.

use std::sync::Arc;
use std::time::Duration;

use bson::{Bson, Document, doc};
use mongodb::Database;
use mongodb::change_stream::ChangeStream;
use mongodb::change_stream::event::ChangeStreamEvent;
use mongodb::error::Error;
use serde::Deserialize;
use shared::config::ConfigError;
use shared::ids::{Partition, PostId, UserId};
use shared::position::Position;
use shared::subscription::leases::{LEASES, Leases};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::documents::Documents;
use crate::positions::Positions;
use crate::reading::{Reading, Readings};
use crate::views::generation::{GenerationError, Generations};
use crate::views::{RelationId, Views, subscription_name};

/// How long the server waits for a change before it says that there is none, at most.
const LONGEST_AWAIT: Duration = Duration::from_secs(1);
const SHORTEST_BACKOFF: Duration = Duration::from_millis(50);
const CONTROL: &str = "control";

/// Why a stream ended.
#[derive(Debug, thiserror::Error)]
enum Broken {
    #[error(transparent)]
    Database(#[from] Error),
    #[error(transparent)]
    Generation(#[from] GenerationError),
    #[error("the database said nothing for {0:?}")]
    Silent(Duration),
    #[error("the database ended it")]
    Ended,
    #[error("'{0}' happened to a collection")]
    Collection(String),
    #[error("a change can't be read: {0}")]
    Malformed(&'static str),
}

#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(crate) cache_bytes: u64,
    pub(crate) silence: Duration,
    pub(crate) max_backoff: Duration,
    pub(crate) claim_for: Duration,
    /// No request lives longer.
    pub(crate) request_timeout: Duration,
}

impl Settings {
    /// A claim that could not be relied on at all would keep every query from being answered.
    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        let (reliable, renewed) = (self.reliable(), self.claim_for / 3);
        if reliable > renewed {
            return Ok(());
        }
        let reason =
            format!("must be longer: less query.request_timeout and 2s it has to exceed its third, {renewed:?}");
        Err(ConfigError::invalid("query.claim_for", reason))
    }

    /// Well before it is taken for silence, the server says that nothing happened.
    fn wait(&self) -> Duration {
        (self.silence / 4).min(LONGEST_AWAIT)
    }

    /// How long a claim can be relied on: a request that begins at the end of it still has to be answered, and the
    /// clock of who looks at the claim may be ahead of ours.
    fn reliable(&self) -> Duration {
        self.claim_for
            .saturating_sub(self.request_timeout + Duration::from_secs(2))
    }
}

/// Follows the changes of the active generation, and changes over to the next one.
#[derive(Debug)]
pub(crate) struct Follower {
    readings: Arc<Readings>,
    claims: Claims,
    database: Database,
    settings: Settings,
    switches: mpsc::UnboundedSender<Switch>,
    backoff: Duration,
}

impl Follower {
    /// Follows until `shutdown`. Belongs on the main runtime: the workers' runtimes end with the server.
    pub(crate) async fn run(
        readings: Arc<Readings>,
        generations: Generations,
        database: Database,
        settings: Settings,
        shutdown: CancellationToken,
    ) {
        let claims = Claims {
            readings: readings.clone(),
            generations,
            instance: format!("query-svc-{}", uuid::Uuid::new_v4()),
            settings: settings.clone(),
        };
        let (switches, received) = mpsc::unbounded_channel();
        let claiming = tokio::spawn(claims.clone().keep(received, shutdown.clone()));
        let mut follower = Follower {
            readings,
            claims,
            database,
            settings,
            switches,
            backoff: SHORTEST_BACKOFF,
        };
        loop {
            let ended = tokio::select! {
                () = shutdown.cancelled() => break,
                ended = follower.follow() => ended,
            };
            let pause = match ended {
                Ok(()) => {
                    follower
                        .readings
                        .close("another generation of the views became the active one".to_owned());
                    Duration::ZERO
                }
                Err(broken) => {
                    tracing::warn!(%broken, backoff = ?follower.backoff, "the change stream is not open; reading without a cache");
                    follower.readings.metrics.streams_broken.inc();
                    follower.readings.close(broken.to_string());
                    let pause = follower.backoff;
                    follower.backoff = (pause * 2).min(follower.settings.max_backoff);
                    pause
                }
            };
            tokio::select! {
                () = shutdown.cancelled() => break,
                () = tokio::time::sleep(pause) => {}
            }
        }
        if let Err(error) = claiming.await {
            tracing::error!(%error, "the task that claims the generation failed");
        }
    }

    /// One stream from its opening to its end. Ends well when another generation is to be read.
    async fn follow(&mut self) -> Result<(), Broken> {
        let generation = self.in_time(self.claims.generations.ensure_first()).await?.active;
        let mut stream = self.in_time(self.open(generation)).await?;

        let present = self.readings.present();
        let present = present.filter(|reading| reading.views.generation() == generation);
        let (positions, uses) = match &present {
            Some(reading) => (reading.positions.clone(), reading.uses.clone()),
            None => (Arc::new(Positions::new()), TaskTracker::new()),
        };
        let leases = Leases::new(self.database.clone(), &subscription_name(generation));
        let begin = self.in_time(leases.all()).await?;

        if self.readings.generation().is_none() {
            if !self.in_time(self.claims.claim(generation)).await? {
                return Ok(());
            }
        } else if self
            .in_time(self.claims.generations.current())
            .await?
            .map(|control| control.active)
            != Some(generation)
        {
            return Ok(());
        }
        let documents = Arc::new(Documents::new(self.settings.cache_bytes));
        let replaced = self.readings.replace(Arc::new(Reading {
            views: Views::new(&self.database, generation),
            documents: Some(documents.clone()),
            positions: positions.clone(),
            uses,
            gate: self.readings.gate.clone(),
            metrics: self.readings.metrics.clone(),
        }));
        for lease in begin {
            positions.advance(lease.partition, lease.position);
        }
        if present.is_none() {
            // Who still reads the former generation may do so to the end of the request; then the next one is claimed.
            let switch = Switch {
                former: replaced.map(|reading| reading.uses.clone()),
                to: generation,
            };
            // The receiver ends with this process alone.
            let _ = self.switches.send(switch);
        }
        self.readings.metrics.streams_opened.inc();
        self.readings.metrics.generation.set(generation);
        tracing::info!(generation, "following the changes of the views");

        let collections = Collections::of(generation);
        loop {
            let change = match timeout(self.settings.silence, stream.next_if_any()).await {
                Ok(change) => change?,
                Err(_) => return Err(Broken::Silent(self.settings.silence)),
            };
            self.backoff = SHORTEST_BACKOFF;
            let Some(change) = change else {
                if stream.is_alive() {
                    continue;
                } else {
                    return Err(Broken::Ended);
                }
            };
            self.readings.metrics.changes.inc();
            if collections.apply(&change, &documents, &positions)? == Seen::Control {
                let control = self.in_time(self.claims.generations.current()).await?;
                if control.is_some_and(|control| control.active != generation) {
                    return Ok(());
                }
            }
        }
    }

    async fn in_time<T, E: Into<Broken>>(&self, step: impl Future<Output = Result<T, E>>) -> Result<T, Broken> {
        match timeout(self.settings.silence, step).await {
            Ok(outcome) => outcome.map_err(Into::into),
            Err(_) => Err(Broken::Silent(self.settings.silence)),
        }
    }

    async fn open(&self, generation: i64) -> Result<ChangeStream<Change>, Error> {
        let subscription = subscription_name(generation);
        let collections = Collections::of(generation);
        let wanted = doc! { "$match": { "$or": [
            { "ns.coll": { "$in": [collections.posts, collections.profiles, collections.relations] } },
            // Other generations' leases, and the claims of readers, are not ours to look at. Collections that are
            // dropped or renamed have no key.
            { "ns.coll": LEASES, "documentKey._id": { "$gte": format!("{subscription}/"), "$lt": format!("{subscription}0") } },
            { "ns.coll": CONTROL, "documentKey._id": "views" },
            { "operationType": { "$in": ["dropDatabase", "invalidate"] } },
        ] } };
        // Ids and checkpoints are all that is needed. Not the document as it is by the time of the lookup
        // ("updateLookup"): its checkpoint may be ahead of the changes that the stream has shown.
        let slim = doc! { "$project": {
            "operationType": 1,
            "ns": 1,
            "documentKey": 1,
            "updateDescription.updatedFields.position": 1,
            "fullDocument.position": 1,
        } };
        let stream: ChangeStream<ChangeStreamEvent<Document>> = self
            .database
            .watch()
            .pipeline([wanted, slim])
            .max_await_time(self.settings.wait())
            .await?;
        Ok(stream.with_type())
    }
}

/// The collections of one generation that are followed.
#[derive(Debug)]
struct Collections {
    posts: String,
    profiles: String,
    relations: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Seen {
    Change,
    Control,
}

impl Collections {
    fn of(generation: i64) -> Self {
        let named = |view: &str| crate::views::collection_name(view, generation);
        Self {
            posts: named(crate::views::posts::NAME),
            profiles: named(crate::views::profiles::NAME),
            relations: named(crate::views::relations::NAME),
        }
    }

    fn apply(&self, change: &Change, documents: &Documents, positions: &Positions) -> Result<Seen, Broken> {
        if !matches!(change.operation.as_str(), "insert" | "update" | "replace" | "delete") {
            // `create` and `createIndexes` are not shown by default; whatever else it is, the cache can't follow it.
            return Err(Broken::Collection(change.operation.clone()));
        }
        let collection = change
            .namespace
            .as_ref()
            .and_then(|namespace| namespace.collection.as_deref());
        let key = change.key.as_ref().map(|key| &key.id);
        match (collection, key) {
            (Some(CONTROL), _) => return Ok(Seen::Control),
            (Some(LEASES), Some(Bson::String(id))) => {
                if let Some(position) = change.position() {
                    let number = id.rsplit_once('/').and_then(|(_, number)| number.parse().ok());
                    let partition = number
                        .and_then(Partition::new)
                        .ok_or(Broken::Malformed("the id of a lease"))?;
                    positions.advance(partition, position);
                }
            }
            (Some(name), Some(Bson::Binary(id))) if name == self.relations => {
                let id = RelationId::from_binary(id).ok_or(Broken::Malformed("the id of a relation"))?;
                documents.forget_relation(id);
            }
            (Some(name), Some(Bson::Binary(id))) => {
                let id = id
                    .to_uuid()
                    .map_err(|_| Broken::Malformed("the id of a document"))?
                    .into();
                if name == self.posts {
                    documents.forget_post(PostId::from_uuid(id));
                } else if name == self.profiles {
                    documents.forget_profile(UserId::from_uuid(id));
                }
            }
            _ => return Err(Broken::Malformed("it names no document")),
        }
        Ok(Seen::Change)
    }
}

/// As much of a change event as matters here.
#[derive(Debug, Deserialize)]
struct Change {
    #[serde(rename = "operationType")]
    operation: String,
    #[serde(rename = "ns", default)]
    namespace: Option<Namespace>,
    #[serde(rename = "documentKey", default)]
    key: Option<Key>,
    #[serde(rename = "updateDescription", default)]
    update: Option<Update>,
    #[serde(rename = "fullDocument", default)]
    document: Option<Checkpoint>,
}

impl Change {
    /// The checkpoint that was written, if one was.
    fn position(&self) -> Option<Position> {
        let updated = self.update.as_ref().and_then(|update| update.fields.as_ref());
        updated
            .or(self.document.as_ref())
            .and_then(|checkpoint| checkpoint.position)
    }
}

#[derive(Debug, Deserialize)]
struct Namespace {
    #[serde(rename = "coll", default)]
    collection: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Key {
    #[serde(rename = "_id")]
    id: Bson,
}

#[derive(Debug, Deserialize)]
struct Update {
    #[serde(rename = "updatedFields", default)]
    fields: Option<Checkpoint>,
}

#[derive(Debug, Deserialize)]
struct Checkpoint {
    #[serde(default)]
    position: Option<Position>,
}

/// Another generation is read from now on.
#[derive(Debug)]
struct Switch {
    /// The uses of the former generation, if there was one.
    former: Option<TaskTracker>,
    to: i64,
}

/// Says to the projectors which generation this process reads, so that they do not drop it.
#[derive(Debug, Clone)]
struct Claims {
    readings: Arc<Readings>,
    generations: Generations,
    instance: String,
    settings: Settings,
}

impl Claims {
    /// Renews the claim, and moves it on after a switch when the former generation is no longer read.
    async fn keep(self, mut switches: mpsc::UnboundedReceiver<Switch>, shutdown: CancellationToken) {
        let every = self.settings.claim_for / 3;
        let mut generation = None;
        let mut next = Instant::now() + every;
        loop {
            tokio::select! {
                () = shutdown.cancelled() => break,
                Some(switch) = switches.recv() => {
                    if let Some(former) = switch.former {
                        // Ends: no request lives longer than its deadline.
                        former.close();
                        former.wait().await;
                        tracing::info!(generation = switch.to, "nobody reads the former generation of the views any more");
                    }
                    generation = Some(switch.to);
                }
                () = tokio::time::sleep_until(next) => {}
            }
            next = Instant::now() + every;
            let Some(generation) = generation else { continue };
            let failed = match timeout(every, self.claim(generation)).await {
                Ok(Ok(_)) => continue,
                Ok(Err(error)) => error.to_string(),
                Err(_) => format!("no answer within {every:?}"),
            };
            tracing::warn!(
                error = failed,
                generation,
                "could not claim the generation that is read; trying again"
            );
            next = Instant::now() + every / 10;
        }
        if let Err(error) = self.generations.withdraw(&self.instance).await {
            tracing::warn!(%error, "could not withdraw the claim; it expires by itself");
        }
    }

    /// Claims a generation; answers whether it may be read.
    ///
    /// It may if it is the active one, or if an earlier claim had not run out when this one was made: then nobody has
    /// taken this process for dead meanwhile.
    async fn claim(&self, generation: i64) -> Result<bool, GenerationError> {
        let asked = Instant::now();
        let claim_for = self.settings.claim_for;
        let control = self.generations.confirm(&self.instance, generation, claim_for).await?;
        let readable = control.active == generation || self.readings.check_usable().is_ok();
        if readable {
            self.readings.set_usable_until(asked + self.settings.reliable());
        }
        Ok(readable)
    }
}

#[cfg(test)]
mod tests {
    use bson::Timestamp;
    use shared::ids::uuid_v7;

    use super::*;

    fn change(document: Document) -> Change {
        bson::deserialize_from_document(document).unwrap()
    }

    fn apply(document: Document) -> (Result<Seen, Broken>, Positions) {
        let positions = Positions::new();
        let documents = Documents::new(1 << 20);
        (
            Collections::of(3).apply(&change(document), &documents, &positions),
            positions,
        )
    }

    fn at(seconds: u32) -> Position {
        Position::from(Timestamp {
            time: seconds,
            increment: 2,
        })
    }

    #[test]
    fn a_checkpoint_advances_its_partition_alone() {
        let updated = doc! {
            "operationType": "update",
            "ns": { "db": "views", "coll": "leases" },
            "documentKey": { "_id": "views-g3/07" },
            "updateDescription": { "updatedFields": { "position": at(9) } },
        };
        let (seen, positions) = apply(updated);
        assert_eq!(seen.unwrap(), Seen::Change);
        assert!(positions.have_reached(&[(Partition::new(7).unwrap(), at(9))]));
        assert!(!positions.have_reached(&[(Partition::new(8).unwrap(), at(1))]));
        let inserted = doc! {
            "operationType": "insert",
            "ns": { "db": "views", "coll": "leases" },
            "documentKey": { "_id": "views-g3/63" },
            "fullDocument": { "position": at(4) },
        };
        assert!(apply(inserted).1.have_reached(&[(Partition::new(63).unwrap(), at(4))]));
    }

    #[test]
    fn a_heartbeat_of_a_lease_advances_nothing() {
        let beat = doc! {
            "operationType": "update",
            "ns": { "db": "views", "coll": "leases" },
            "documentKey": { "_id": "views-g3/07" },
            "updateDescription": { "updatedFields": {} },
        };
        let (seen, positions) = apply(beat);
        assert_eq!(seen.unwrap(), Seen::Change);
        assert!(!positions.have_reached(&[(Partition::new(7).unwrap(), at(0))]));
    }

    #[test]
    fn documents_of_each_kind_are_understood() {
        let now = chrono::Utc::now();
        let (user, post) = (UserId::from_uuid(uuid_v7(now)), PostId::from_uuid(uuid_v7(now)));
        let keys: [(&str, Bson); 3] = [
            ("posts_g3", post.into()),
            ("profiles_g3", user.into()),
            ("relations_g3", RelationId::like(user, post).into()),
        ];
        for (collection, key) in keys {
            for operation in ["insert", "update", "replace", "delete"] {
                let (seen, _) = apply(doc! {
                    "operationType": operation,
                    "ns": { "db": "views", "coll": collection },
                    "documentKey": { "_id": key.clone() },
                });
                assert_eq!(seen.unwrap(), Seen::Change);
            }
        }
    }

    #[test]
    fn what_can_not_be_followed_breaks_the_stream() {
        for operation in ["drop", "rename", "dropDatabase", "invalidate"] {
            let (seen, _) = apply(doc! { "operationType": operation, "ns": { "db": "views", "coll": "posts_g3" } });
            assert!(matches!(seen, Err(Broken::Collection(_))), "{operation}");
        }
        let without_key = doc! { "operationType": "update", "ns": { "db": "views", "coll": "posts_g3" } };
        assert!(matches!(apply(without_key).0, Err(Broken::Malformed(_))));
    }

    #[test]
    fn the_state_of_generations_is_pointed_out() {
        let switched = doc! {
            "operationType": "update",
            "ns": { "db": "views", "coll": "control" },
            "documentKey": { "_id": "views" },
        };
        assert_eq!(apply(switched).0.unwrap(), Seen::Control);
    }
}
