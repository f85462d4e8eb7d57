//! The one change stream of the process. It keeps the cache correct and says how far the views are.
//!
//! A change of a post, a profile, a relation or a filter drops the cached document. If it changes only counts, they are written into
//! the document. A checkpoint of the views' subscription (in the document of a lease) is written after everything that it
//! covers, and the stream keeps the order of writes. So a reader that has seen the checkpoint has seen all changes that it
//! covers. The cache and the `Consistency-Token` need nothing else.
//!
//! The order at the beginning: open the stream, then read `leases`, then write a claim, then use the cache. What is loaded
//! from then on is at least as new as the beginning of the stream. Every later change drops it or is written into it. When
//! the stream breaks, the cache is dropped, and requests read from the database until another stream is open.
//!
//! Invariant: positions advance only while the read model that they belong to is the current one, or before there is one.

mod event;
mod generation_claim;

use std::sync::Arc;
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use bson::{Document, doc};
use event_log::subscription::leases::{LEASES, Leases, shape_of};
use mongodb::Database;
use mongodb::change_stream::ChangeStream;
use mongodb::change_stream::event::ChangeStreamEvent;
use mongodb::error::Error;
use service::config::ConfigError;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::event::{CONTROL, ChangeEvent, Collections};
use self::generation_claim::{GenerationClaim, Switch};
use crate::bus::{Change, Listener};
use crate::documents::Documents;
use crate::live::Hub;
use crate::positions::Positions;
use crate::read_model::{ReadModel, ReadModels};
use views::generation::{GenerationError, Generations};
use views::{Views, subscription_name};

/// The longest time that the server waits for a change before it says that there is none.
const LONGEST_AWAIT: Duration = Duration::from_secs(1);
const FIRST_PAUSE: Duration = Duration::from_millis(50);

/// Why a stream ended.
#[derive(Debug, thiserror::Error)]
enum Broken {
    #[error(transparent)]
    Database(#[from] Error),
    #[error(transparent)]
    Generation(#[from] GenerationError),
    #[error("the database sent nothing for {0:?}")]
    Silent(Duration),
    #[error("the database ended it")]
    Ended,
    #[error("the operation '{0}' can't be followed")]
    Collection(String),
    #[error("a change can't be read: {0}")]
    Malformed(&'static str),
}

#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(crate) cache_bytes: u64,
    pub(crate) heads_bytes: u64,
    pub(crate) silence: Duration,
    pub(crate) max_backoff: Duration,
    pub(crate) claim_for: Duration,
    /// No request runs longer than this.
    pub(crate) request_timeout: Duration,
}

impl Settings {
    /// Refuses a claim that is too short to be relied on: with it, no query would be answered.
    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        let (reliable, renewed) = (self.reliable(), self.claim_for / 3);
        if reliable > renewed {
            return Ok(());
        }
        let reason = format!(
            "must be longer: what is left without query.request_timeout and 2s must exceed a third of it, {renewed:?}"
        );
        Err(ConfigError::invalid("query.claim_for", reason))
    }

    /// The pauses between attempts to open a stream, while streams break.
    fn pauses(&self) -> ExponentialBackoff {
        ExponentialBuilder::new()
            .with_min_delay(FIRST_PAUSE)
            .with_max_delay(self.max_backoff)
            .without_max_times()
            .build()
    }

    /// How long the server waits for a change. This is short enough that it reports "no change" well before the stream counts
    /// as silent.
    fn wait(&self) -> Duration {
        (self.silence / 4).min(LONGEST_AWAIT)
    }

    /// How long a claim can be relied on. A request that begins at the end of that time still has to be answered. And the
    /// clock of the projector that looks at the claim may be ahead of ours.
    fn reliable(&self) -> Duration {
        self.claim_for
            .saturating_sub(self.request_timeout + Duration::from_secs(2))
    }
}

/// Follows the changes of the active generation, and switches to the next one.
#[derive(Debug)]
pub(crate) struct Follower {
    read_models: Arc<ReadModels>,
    hub: Arc<Hub>,
    claim: GenerationClaim,
    database: Database,
    settings: Settings,
    switches: mpsc::UnboundedSender<Switch>,
    pauses: ExponentialBackoff,
}

impl Follower {
    /// Follows the changes until `shutdown`. This belongs on the main runtime, because the workers' runtimes end with the
    /// server.
    pub(crate) async fn run(
        read_models: Arc<ReadModels>,
        hub: Arc<Hub>,
        generations: Generations,
        database: Database,
        settings: Settings,
        shutdown: CancellationToken,
    ) {
        let claim = GenerationClaim {
            read_models: read_models.clone(),
            generations,
            instance: format!("query-svc-{}", uuid::Uuid::new_v4()),
            settings: settings.clone(),
        };
        let (switches, received) = mpsc::unbounded_channel();
        let claiming = tokio::spawn(claim.clone().keep(received, shutdown.clone()));
        let mut follower = Follower {
            read_models,
            hub,
            claim,
            database,
            pauses: settings.pauses(),
            settings,
            switches,
        };
        loop {
            let ended = tokio::select! {
                () = shutdown.cancelled() => break,
                ended = follower.follow() => ended,
            };
            follower.hub.close();
            let pause = match ended {
                Ok(()) => {
                    follower
                        .read_models
                        .close("another generation of the views became the active one".to_owned());
                    Duration::ZERO
                }
                Err(broken) => {
                    let pause = follower.pauses.next().unwrap_or_default();
                    tracing::warn!(%broken, backoff = ?pause, "the change stream is not open; reading without a cache");
                    follower.read_models.metrics.streams_broken.inc();
                    follower.read_models.close(broken.to_string());
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

    /// Follows one stream from its opening to its end. Ends without an error when another generation has to be read.
    async fn follow(&mut self) -> Result<(), Broken> {
        let generation = self.in_time(self.claim.generations.ensure_first()).await?.active;
        let mut stream = self.in_time(self.open(generation)).await?;

        let leases = Leases::new(self.database.clone(), &subscription_name(generation));
        let begin = self.in_time(leases.all()).await?;
        let present = self.read_models.present();
        let present = present.filter(|read_model| read_model.views.generation() == generation);
        let (positions, uses) = match &present {
            // If the views were lost, the positions that they had reached were lost with them.
            Some(read_model) if read_model.positions.handled().exceeds(&begin) => {
                (Arc::new(Positions::new()), read_model.uses.clone())
            }
            Some(read_model) => (read_model.positions.clone(), read_model.uses.clone()),
            None => (Arc::new(Positions::new()), TaskTracker::new()),
        };

        // A change that was being committed when the stream was opened may be missing from the stream. It is committed before
        // this write is acknowledged by a majority. So what is loaded from then on contains the change. The claim on the
        // former generation stays until no request reads that generation. If the claim has expired, no request does.
        let present_generation = self.read_models.generation();
        let claimed = present_generation.unwrap_or(generation);
        let readable = self.in_time(self.claim.write(claimed)).await?;
        if present_generation.is_none() && !readable {
            return Ok(());
        }
        let control = self.in_time(self.claim.generations.current()).await?;
        if control.map(|control| control.active) != Some(generation) {
            return Ok(());
        }
        let documents = Arc::new(Documents::new(self.settings.cache_bytes, self.settings.heads_bytes));
        let replaced = self.read_models.replace(Arc::new(ReadModel {
            views: Views::new(&self.database, generation),
            // Whoever makes the leases that are missing makes them with its own shape.
            shape: shape_of(&begin).unwrap_or(views::SHAPE),
            documents: Some(documents.clone()),
            positions: positions.clone(),
            uses,
            gate: self.read_models.gate.clone(),
            metrics: self.read_models.metrics.clone(),
            clock: self.read_models.clock.clone(),
        }));
        for lease in begin {
            positions.advance(lease.partition, lease.position);
        }
        self.hub.open(positions.handled());
        if present.is_none() {
            // A request that still reads the former generation may do so until it ends. Then the next generation is claimed.
            let switch = Switch {
                former: replaced.map(|read_model| read_model.uses.clone()),
                to: generation,
            };
            // The receiver ends only with this process.
            let _ = self.switches.send(switch);
        }
        self.read_models.metrics.streams_opened.inc();
        self.read_models.metrics.generation.set(generation);
        tracing::info!(generation, "following the changes of the views");

        let collections = Collections::of(generation);
        // A stream that the hub wakes relies on the other two.
        let listeners: [&dyn Listener; 3] = [&*documents, &*positions, &*self.hub];
        loop {
            let change = match timeout(self.settings.silence, stream.next_if_any()).await {
                Ok(change) => change?,
                Err(_) => return Err(Broken::Silent(self.settings.silence)),
            };
            self.pauses = self.settings.pauses();
            let Some(change) = change else {
                if stream.is_alive() {
                    continue;
                } else {
                    return Err(Broken::Ended);
                }
            };
            self.read_models.metrics.changes.inc();
            let change = collections.read(&change)?;
            for listener in listeners {
                listener.hear(&change);
            }
            if change == Change::Control {
                let control = self.in_time(self.claim.generations.current()).await?;
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

    async fn open(&self, generation: i64) -> Result<ChangeStream<ChangeEvent>, Error> {
        let subscription = subscription_name(generation);
        let collections = Collections::of(generation);
        let wanted = doc! { "$match": { "$or": [
            { "ns.coll": { "$in": [
                collections.posts,
                collections.profiles,
                collections.relations,
                collections.list_members,
                collections.list_tags,
                collections.filters,
                collections.lists,
                collections.followed_tags,
                collections.notifications,
                collections.tagged,
            ] } },
            { "ns.coll": collections.home_timelines, "$or": [
                { "updateDescription.updatedFields.exclusive_lists": true },
                { "fullDocument.exclusive_lists": true },
            ] },
            // Leave out the leases of other generations, and the claims of readers. An event of a collection that was dropped
            // or renamed has no key.
            { "ns.coll": LEASES, "documentKey._id": { "$gte": format!("{subscription}/"), "$lt": format!("{subscription}0") } },
            { "ns.coll": CONTROL, "documentKey._id": "views" },
            { "operationType": { "$in": ["dropDatabase", "invalidate"] } },
        ] } };
        // Only ids, checkpoints, counts, and whom a new post concerns are needed. Don't ask for the document as it is at the time of a
        // lookup ("updateLookup"): its checkpoint may be ahead of the changes that the stream has shown.
        let mut slim = doc! { "operationType": 1, "ns": 1, "documentKey": 1, "updateDescription": 1 };
        for field in [
            "position",
            "live",
            "author",
            "repost_of",
            "in_reply_to",
            "tags",
            "public",
        ] {
            slim.insert(format!("fullDocument.{field}"), 1);
        }
        let slim = doc! { "$project": slim };
        let stream: ChangeStream<ChangeStreamEvent<Document>> = self
            .database
            .watch()
            .pipeline([wanted, slim])
            .max_await_time(self.settings.wait())
            .await?;
        Ok(stream.with_type())
    }
}
