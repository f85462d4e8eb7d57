//! The read model: the views of one generation, the documents in memory, and how far the views are.
//!
//! The change stream ([`crate::changes`]) decides which [`ReadModel`] is the current one. Requests take it from
//! [`ReadModels`]. A request keeps the read model that it took until the request ends. So its cache holds what was true at
//! some moment while the request ran, even if the stream broke meanwhile.

use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bson::doc;
use event_log::consistency::{ConsistencyToken, StoreId, TooFarAhead};
use event_log::event_store::EVENTS;
use event_log::position::Position;
use event_log::subscription::leases::Leases;
use model::clock::SharedClock;
use model::ids::{PARTITIONS, Partition};
use mongodb::Database;
use mongodb::error::Error;
use tokio::sync::{OnceCell, Semaphore, watch};
use tokio::time::Instant;
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

use crate::documents::Documents;
use crate::handled::Handled;
use crate::metrics::Metrics;
use crate::positions::Positions;
use views::{SHAPE_WITH_NOTIFICATIONS, SHAPE_WITH_QUOTES, SHAPE_WITH_TAGS, Views, subscription_name};

/// Why something could not be read. A document that doesn't exist is an absence, not an error.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum ReadError {
    #[error(transparent)]
    Database(#[from] Error),
    #[error("the database did not answer within {0:?}")]
    Slow(Duration),
    /// Nothing can be read yet, or no longer. This passes without any help.
    #[error("the views can't be read: {0}")]
    NotReady(String),
    /// The views have not reached what the client has already seen.
    #[error("the views have not caught up with the Consistency-Token within {0:?}")]
    NotCaughtUp(Duration),
    #[error(transparent)]
    TooFarAhead(#[from] TooFarAhead),
}

/// The views of one generation, read through one change stream.
#[derive(Debug)]
pub(crate) struct ReadModel {
    pub(crate) views: Views,
    /// What every projector has written to them, when the stream was opened: see [`views::SHAPE`].
    pub(crate) shape: i32,
    /// None while no change stream is open: nothing would say that a document changed.
    pub(crate) documents: Option<Arc<Documents>>,
    /// They belong to the generation and outlive the stream: a position that was reached stays reached, unless the views are
    /// lost.
    pub(crate) positions: Arc<Positions>,
    /// The requests that read this generation, through any stream.
    pub(crate) uses: TaskTracker,
    pub(crate) gate: Arc<Gate>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) clock: SharedClock,
}

impl ReadModel {
    /// Asks the database. First waits until not too many other questions are running.
    pub(crate) async fn ask<T>(&self, question: impl Future<Output = Result<T, Error>>) -> Result<T, ReadError> {
        self.gate.ask(question).await
    }

    /// Refuses views that an earlier version wrote: they lack the tags of the posts. Every query that is about tags calls this first.
    pub(crate) fn check_has_tags(&self) -> Result<(), ReadError> {
        self.check_has("tags", SHAPE_WITH_TAGS)
    }

    /// The same for the quotes of a post. There are none before that, and perhaps no index of them.
    pub(crate) fn check_has_quotes(&self) -> Result<(), ReadError> {
        self.check_has("quotes", SHAPE_WITH_QUOTES)
    }

    /// The same for queries that are about notifications.
    pub(crate) fn check_has_notifications(&self) -> Result<(), ReadError> {
        self.check_has("notifications", SHAPE_WITH_NOTIFICATIONS)
    }

    fn check_has(&self, what: &str, since: i32) -> Result<(), ReadError> {
        if self.shape < since {
            return Err(ReadError::NotReady(format!(
                "{what} are being built by a rebuild, because an earlier version wrote the views"
            )));
        }
        Ok(())
    }
}

/// Bounds how many questions run on the database at once. Without it, the driver would queue all others without a limit or an
/// order.
#[derive(Debug)]
pub(crate) struct Gate {
    permits: Semaphore,
    timeout: Duration,
}

impl Gate {
    /// The `timeout` of a question includes its wait for the others.
    pub(crate) fn new(at_once: usize, timeout: Duration) -> Self {
        Self {
            permits: Semaphore::new(at_once),
            timeout,
        }
    }

    pub(crate) async fn ask<T>(&self, question: impl Future<Output = Result<T, Error>>) -> Result<T, ReadError> {
        let answered = async {
            // The semaphore is never closed. If it were, there would be nothing left to protect.
            let _permit = self.permits.acquire().await;
            question.await
        };
        match tokio::time::timeout(self.timeout, answered).await {
            Ok(answer) => Ok(answer?),
            Err(_) => Err(ReadError::Slow(self.timeout)),
        }
    }
}

/// The current read model, or why there is none.
#[derive(Debug, Clone)]
struct Present {
    read_model: Option<Arc<ReadModel>>,
    /// Why the change stream is not open. None while it is open.
    closed_because: Option<String>,
}

/// Hands out the current [`ReadModel`].
#[derive(Debug)]
pub(crate) struct ReadModels {
    present: watch::Sender<Present>,
    /// The projector keeps the generation for this process until then.
    usable_until: Mutex<Option<Instant>>,
    events: Database,
    store: OnceCell<StoreId>,
    pub(crate) gate: Arc<Gate>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) clock: SharedClock,
    max_wait: Duration,
    max_skew: Duration,
}

/// A read model in use. While it lives, its generation is not dropped.
#[derive(Debug)]
pub(crate) struct InUse {
    read_model: Arc<ReadModel>,
    /// What the views held when the read model was taken. Its cache holds nothing older than that. It is not certain to show
    /// events that are handled later, under another read model of the same generation.
    pub(crate) handled: Handled,
    _use: TaskTrackerToken,
}

impl std::ops::Deref for InUse {
    type Target = ReadModel;

    fn deref(&self) -> &ReadModel {
        &self.read_model
    }
}

impl ReadModels {
    pub(crate) fn new(
        events: Database,
        gate: Arc<Gate>,
        metrics: Arc<Metrics>,
        clock: SharedClock,
        max_wait: Duration,
        max_skew: Duration,
    ) -> Self {
        let present = Present {
            read_model: None,
            closed_because: Some("it has not been opened yet".to_owned()),
        };
        Self {
            present: watch::Sender::new(present),
            usable_until: Mutex::new(None),
            events,
            store: OnceCell::new(),
            gate,
            metrics,
            clock,
            max_wait,
            max_skew,
        }
    }

    /// The current read model, if the views have already reached what `required` names.
    pub(crate) async fn take_at_once(&self, required: &[(Partition, Position)]) -> Result<Option<InUse>, ReadError> {
        let taken = self.take_present(|read_model| read_model.positions.have_reached(required))?;
        let Some(read_model) = taken else {
            return if required.is_empty() {
                Err(self.not_ready())
            } else {
                Ok(None)
            };
        };
        if !required.is_empty() {
            self.metrics.consistency_waits.observe(0.0);
        }
        self.check_filled(&read_model).await?;
        Ok(Some(read_model))
    }

    /// The current read model, as soon as the views have reached what `required` names.
    pub(crate) async fn take_when_reached(&self, required: &[(Partition, Position)]) -> Result<InUse, ReadError> {
        let begun = Instant::now();
        let waited = tokio::time::timeout(self.max_wait, self.reached(required)).await;
        self.metrics.consistency_waits.observe(begun.elapsed().as_secs_f64());
        let Ok(taken) = waited else {
            self.metrics.consistency_timeouts.inc();
            return Err(ReadError::NotCaughtUp(self.max_wait));
        };
        let read_model = taken?;
        self.check_filled(&read_model).await?;
        Ok(read_model)
    }

    async fn reached(&self, required: &[(Partition, Position)]) -> Result<InUse, ReadError> {
        let mut present = self.present.subscribe();
        loop {
            // A stream makes its read model the current one before it advances positions. So if this read model is the
            // current one and the positions are reached, its cache holds nothing older than they say.
            if let Some(taken) = self.take_present(|read_model| read_model.positions.have_reached(required))? {
                return Ok(taken);
            }
            let positions = present
                .borrow_and_update()
                .read_model
                .as_ref()
                .map(|read_model| read_model.positions.clone());
            let reached = async {
                match &positions {
                    Some(positions) => positions.reached(required).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = reached => {}
                // The sender lives in `self`, so the channel can't be closed.
                _ = present.changed() => {}
            }
        }
    }

    /// The current read model, if there is one and it `suits`.
    fn take_present(&self, suits: impl Fn(&ReadModel) -> bool) -> Result<Option<InUse>, ReadError> {
        self.check_usable()?;
        loop {
            let Some(read_model) = self.present.borrow().read_model.clone() else {
                return Ok(None);
            };
            if !suits(&read_model) {
                return Ok(None);
            }
            let handled = read_model.positions.handled();
            let used = read_model.uses.token();
            // A switch to another generation first replaces the read model, and then waits for its uses to end. If the switch
            // happens here, that wait may miss a use that has just begun. So check that this read model is still the current
            // one.
            let still_present = self
                .present
                .borrow()
                .read_model
                .as_ref()
                .is_some_and(|present| Arc::ptr_eq(present, &read_model));
            if still_present {
                return Ok(Some(InUse {
                    read_model,
                    handled,
                    _use: used,
                }));
            }
        }
    }

    /// Refuses views that are still being filled. New views, and views that replace lost ones, show next to nothing until all
    /// events have been scanned. No client must take that for the truth. If there are no events, there is nothing to scan.
    async fn check_filled(&self, read_model: &ReadModel) -> Result<(), ReadError> {
        if read_model.documents.is_none() {
            // No stream is open, so nothing has shown whether the views were lost.
            let leases = Leases::new(
                read_model.views.database().clone(),
                &subscription_name(read_model.views.generation()),
            );
            // Take the positions first: a stream that opens meanwhile raises them above what these leases say.
            let before = read_model.positions.handled();
            if before.exceeds(&self.gate.ask(leases.all()).await?) {
                return Err(ReadError::NotReady("their database has lost data".to_owned()));
            }
        }
        let (filled, all) = (read_model.positions.filled(), usize::from(PARTITIONS));
        if filled == all {
            return Ok(());
        }
        let events = self.events.collection::<AnyEvent>(EVENTS);
        let first = async { events.find_one(doc! {}).projection(doc! { "_id": 1 }).await };
        match self.gate.ask(first).await? {
            Some(_) => Err(ReadError::NotReady(format!(
                "they are being filled from the events: {filled} of {all} partitions are filled"
            ))),
            None => Ok(()),
        }
    }

    pub(crate) fn check_usable(&self) -> Result<(), ReadError> {
        let until = *self.usable_until.lock().unwrap_or_else(PoisonError::into_inner);
        match until {
            Some(until) if Instant::now() < until => Ok(()),
            Some(_) => Err(ReadError::NotReady(
                "this process could not confirm which generation it reads".to_owned(),
            )),
            None => Err(self.not_ready()),
        }
    }

    fn not_ready(&self) -> ReadError {
        ReadError::NotReady(match &self.present.borrow().closed_because {
            Some(reason) => format!("the change stream is not open: {reason}"),
            None => "no generation has been opened yet".to_owned(),
        })
    }

    /// What a token requires of this store. A token from another store requires nothing.
    pub(crate) async fn requirements(&self, token: &ConsistencyToken) -> Result<Vec<(Partition, Position)>, ReadError> {
        let Some(store) = self.store_id().await? else {
            return Ok(Vec::new());
        };
        // After a jump of its clock, the database's time stays ahead of every other clock. A position that the views have
        // reached is not too far ahead.
        let seen = self
            .present()
            .map(|read_model| read_model.positions.handled().highest().time());
        let now = self.clock.now().max(seen.unwrap_or_default());
        Ok(token.requirements(store, now, self.max_skew)?)
    }

    /// The event store's id. There is none until a command-svc is started for the first time. Until then, no token can be
    /// from this store.
    async fn store_id(&self) -> Result<Option<StoreId>, ReadError> {
        if let Some(&known) = self.store.get() {
            return Ok(Some(known));
        }
        let stores = self.events.collection::<StoreDocument>("store");
        let found = self
            .gate
            .ask(async { stores.find_one(doc! { "_id": "store" }).await })
            .await?;
        let Some(found) = found else { return Ok(None) };
        let id = StoreId(found.uuid.into());
        // Another request may have set it first, to the same id.
        let _ = self.store.set(id);
        Ok(Some(id))
    }

    /// The current generation, if there is a read model.
    pub(crate) fn generation(&self) -> Option<i64> {
        self.present
            .borrow()
            .read_model
            .as_ref()
            .map(|read_model| read_model.views.generation())
    }

    pub(super) fn present(&self) -> Option<Arc<ReadModel>> {
        self.present.borrow().read_model.clone()
    }

    /// Checks whether requests get answers, from memory where possible. The error says why not.
    pub(crate) async fn check(&self) -> Result<(), String> {
        let Present {
            read_model,
            closed_because,
        } = self.present.borrow().clone();
        if let Some(reason) = closed_because {
            return Err(format!("the change stream is not open: {reason}"));
        }
        let checked = async {
            self.check_usable()?;
            match &read_model {
                Some(read_model) => self.check_filled(read_model).await,
                None => Err(self.not_ready()),
            }
        };
        checked.await.map_err(|error| error.to_string())
    }

    /// Replaces the current read model, and returns the former one.
    pub(super) fn replace(&self, read_model: Arc<ReadModel>) -> Option<Arc<ReadModel>> {
        let present = Present {
            read_model: Some(read_model),
            closed_because: None,
        };
        self.present.send_replace(present).read_model
    }

    /// The stream ended. Drops the documents in memory: requests read from the database alone.
    pub(super) fn close(&self, reason: String) {
        self.present.send_modify(|present| {
            present.closed_because = Some(reason);
            if let Some(read_model) = present.read_model.take() {
                present.read_model = Some(Arc::new(ReadModel {
                    views: read_model.views.clone(),
                    shape: read_model.shape,
                    documents: None,
                    positions: read_model.positions.clone(),
                    uses: read_model.uses.clone(),
                    gate: read_model.gate.clone(),
                    metrics: read_model.metrics.clone(),
                    clock: read_model.clock.clone(),
                }));
            }
        });
    }

    /// The generation will not be dropped before `until`.
    pub(super) fn set_usable_until(&self, until: Instant) {
        *self.usable_until.lock().unwrap_or_else(PoisonError::into_inner) = Some(until);
    }
}

#[derive(Debug, serde::Deserialize)]
struct StoreDocument {
    uuid: bson::Uuid,
}

/// Reads nothing of an event: the only question is whether there is one.
#[derive(Debug, serde::Deserialize)]
struct AnyEvent {}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use model::clock::SystemClock;
    use service::telemetry::MetricsRegistry;

    use super::*;

    #[tokio::test]
    async fn what_is_handled_under_a_later_reading_is_not_claimed_by_who_reads_an_earlier_one() {
        let client = mongodb::Client::with_uri_str("mongodb://127.0.0.1:1/?directConnection=true");
        let database = client.await.unwrap().database("never_asked");
        let second = Duration::from_secs(1);
        let gate = Arc::new(Gate::new(1, second));
        let metrics = Arc::new(Metrics::register(&MetricsRegistry::default()));
        let clock = SystemClock::shared();
        let read_models = ReadModels::new(
            database.clone(),
            gate.clone(),
            metrics.clone(),
            clock.clone(),
            second,
            second,
        );
        read_models.set_usable_until(Instant::now() + Duration::from_secs(60));
        let (positions, uses) = (Arc::new(Positions::new()), TaskTracker::new());
        let open_stream = || {
            read_models.replace(Arc::new(ReadModel {
                views: Views::new(&database, 1),
                shape: views::SHAPE,
                documents: Some(Arc::new(Documents::new(1_000_000, 0))),
                positions: positions.clone(),
                uses: uses.clone(),
                gate: gate.clone(),
                metrics: metrics.clone(),
                clock: clock.clone(),
            }))
        };
        let advance = |to| Partition::all().for_each(|it| positions.advance(it, Position::from_u64(to)));
        open_stream();
        advance(5);
        let earlier = read_models.take_present(|_| true).unwrap().unwrap();
        open_stream();
        advance(9);
        let later = read_models.take_present(|_| true).unwrap().unwrap();
        assert_eq!(
            [&earlier, &later].map(|read_model| read_model.handled.slowest().as_u64()),
            [5, 9]
        );
    }

    #[tokio::test]
    async fn no_more_questions_are_asked_at_once_than_allowed() {
        let gate = Gate::new(1, Duration::from_secs(60));
        let (answer, answered) = tokio::sync::oneshot::channel::<u8>();
        let mut first = Box::pin(gate.ask(async { Ok(answered.await.unwrap()) }));
        assert!((&mut first).now_or_never().is_none());
        let mut second = Box::pin(gate.ask(async { Ok(2) }));
        assert!((&mut second).now_or_never().is_none(), "the first is not answered yet");
        answer.send(1).unwrap();
        assert_eq!((first.await.unwrap(), second.await.unwrap()), (1, 2));
    }

    #[tokio::test]
    async fn a_question_may_not_take_for_ever_and_neither_may_waiting_for_the_others() {
        let gate = Gate::new(1, Duration::from_millis(5));
        let never = || gate.ask(std::future::pending::<Result<u8, Error>>());
        let (one, other) = tokio::join!(never(), never());
        assert!(matches!(
            (one, other),
            (Err(ReadError::Slow(_)), Err(ReadError::Slow(_)))
        ));
        assert_eq!(
            gate.ask(async { Ok(1) }).await.unwrap(),
            1,
            "a question that gave up does not block others"
        );
    }
}
