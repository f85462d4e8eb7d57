//! Which generation of the views is read, which one is being built, and which readers still use the previous one.
//!
//! The collection `control` has two kinds of documents. The document with `_id` "views" is the [`Control`]. Each running reader has a
//! document with `_id` "reader/<instance>", which says which generation it reads ([`Generations::confirm`]).
//!
//! The states of a generation are: requested, building (scanning, filling, catching up), active, retiring (readers leave, then the
//! projectors stop following it, then it is dropped), gone. Each step is one guarded write of one document. So a process can die at any
//! point, and its successor continues from the state that is stored. A comment beside each guard says what the guard prevents.
//!
//! Invariant: a generation's number is never used again, and `active` only rises. So a writer that has lost its right to write can't damage
//! a later generation. [`Generations::drop_unused`] removes what it leaves in the collections of a dropped one.

use std::time::Duration;

use bson::{Document, doc};
use chrono::{DateTime, Utc};
use event_log::mongo::is_duplicate_key;
use event_log::position::Position;
use event_log::subscription::leases::Leases;
use futures_util::TryStreamExt;
use model::clock::SharedClock;
use model::events::SCHEMA;
use mongodb::error::{Error, ErrorKind};
use mongodb::options::{IndexOptions, ReturnDocument};
use mongodb::{Collection, Database, IndexModel};
use serde::Deserialize;

use crate::{SHAPE, subscription_name};

mod control;

pub use control::{Building, Control, Phase, Retiring, Stamp};

const CONTROL: &str = "control";
const VIEWS: &str = "views";
const READERS: &str = "reader/";
/// Above every `_id` of a reader: the character after the slash.
const READERS_END: &str = "reader0";
const FIRST: i64 = 1;

/// The leadership under which a generation is built: the leader, and the fencing number that is higher than its predecessors'.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Term {
    pub owner: String,
    pub fence: i64,
}

/// How far a builder is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    pub phase: Phase,
    pub scanned: i64,
    pub total: i64,
    pub cursor: Option<bson::Uuid>,
}

#[derive(Debug, thiserror::Error)]
pub enum GenerationError {
    /// Another process has taken over, or the state has changed. The caller must read it again.
    #[error("generation {generation} is no longer this process's to work on")]
    Superseded { generation: i64 },
    #[error("the views' control document is missing")]
    Missing,
    #[error(transparent)]
    Database(#[from] Error),
}

/// The one writer of the collection `control`.
#[derive(Debug, Clone)]
pub struct Generations {
    database: Database,
    control: Collection<Control>,
    readers: Collection<Document>,
    clock: SharedClock,
}

impl Generations {
    pub fn new(views: Database, clock: SharedClock) -> Self {
        Self {
            control: views.collection(CONTROL),
            readers: views.collection(CONTROL),
            database: views,
            clock,
        }
    }

    /// The current state, read from the primary. `None` if no program has opened the database yet.
    pub async fn current(&self) -> Result<Option<Control>, Error> {
        self.control.find_one(doc! { "_id": VIEWS }).await
    }

    /// The current state. In an empty database, the first generation becomes the active one.
    ///
    /// Several programs may call it at the same time. Of several inserts with one `_id`, one succeeds, and all programs read what it wrote.
    pub async fn ensure_first(&self) -> Result<Control, Error> {
        if let Some(control) = self.current().await? {
            return Ok(control);
        }
        // The index comes before the document. So whoever finds the document can rely on the index.
        let expiry = IndexOptions::builder()
            .name("expiry".to_owned())
            .expire_after(Duration::ZERO)
            .build();
        self.readers
            .create_index(
                IndexModel::builder()
                    .keys(doc! { "expires_at": 1 })
                    .options(expiry)
                    .build(),
            )
            .await?;
        let first = doc! { "_id": VIEWS, "active": FIRST, "requested": null, "building": null, "retiring": null, "paused": false };
        match self.readers.insert_one(first).await {
            Ok(_) => {}
            Err(error) if is_duplicate_key(&error) => {}
            Err(error) => return Err(error),
        }
        self.current()
            .await?
            .ok_or_else(|| Error::custom("the views' control document was removed"))
    }

    /// Requests a new generation and returns its number. A projector builds it.
    ///
    /// A request that no projector has begun yet is returned again. While a generation is being built, another one can be requested,
    /// because the code that builds it may be older than the code that the caller wants.
    pub async fn request_rebuild(&self) -> Result<i64, Error> {
        loop {
            let control = self.ensure_first().await?;
            if let Some(requested) = control.requested {
                return Ok(requested);
            }
            let next = control.highest_known() + 1;
            if self.put_request(&control, next).await? {
                return Ok(next);
            }
        }
    }

    /// Requests the generation `wanted`, unless it or a later one exists, is being built, or is requested.
    pub async fn request(&self, wanted: i64) -> Result<(), Error> {
        loop {
            let control = self.ensure_first().await?;
            if control.highest_known() >= wanted || self.put_request(&control, wanted).await? {
                return Ok(());
            }
        }
    }

    /// `false` if the state is no longer `seen`.
    async fn put_request(&self, seen: &Control, generation: i64) -> Result<bool, Error> {
        // Without the guard, two callers would get different numbers for one rebuild. If a build began or ended in between, a caller would
        // get a number that is in use.
        let unchanged = doc! {
            "_id": VIEWS,
            "active": seen.active,
            "requested": seen.requested,
            "building.generation": seen.building.as_ref().map(|building| building.generation),
        };
        let updated = self
            .control
            .update_one(unchanged, doc! { "$set": { "requested": generation } })
            .await?;
        Ok(updated.matched_count == 1)
    }

    /// Whether the generation that is read lacks what this program writes, because an earlier version has written part of it. A rebuild
    /// adds that.
    pub async fn is_outdated(&self, control: &Control) -> Result<bool, Error> {
        let leases = Leases::new(self.database.clone(), &subscription_name(control.active));
        Ok(leases.shape().await?.is_some_and(|shape| shape < SHAPE))
    }

    /// Requests a rebuild if the generation that is read is outdated and nothing else is under way.
    pub async fn request_if_outdated(&self) -> Result<(), Error> {
        let Some(control) = self.current().await? else {
            return Ok(());
        };
        if control.is_at_rest() && self.is_outdated(&control).await? {
            let next = control.highest_known() + 1;
            if self.put_request(&control, next).await? {
                tracing::info!(
                    generation = next,
                    "an earlier version wrote the views; they are rebuilt"
                );
            }
        }
        Ok(())
    }

    /// Whether every query-svc reads events up to [`SCHEMA`], and the generation that is read has everything that this program writes. So
    /// nothing that a new event forbids is shown by a program that does not know the event. Where no query-svc runs, nobody can tell which
    /// version will start.
    pub async fn all_are_upgraded(&self) -> Result<bool, Error> {
        let control = self.ensure_first().await?;
        let leases = Leases::new(self.database.clone(), &subscription_name(control.active));
        if !control.is_at_rest() || leases.shape().await?.is_none_or(|shape| shape < SHAPE) {
            return Ok(false);
        }
        let living = living(self.clock.now());
        let reads = |of: Document| doc! { "$and": [&living, of] };
        let (knows, does_not) = (
            doc! { "reads": { "$gte": SCHEMA } },
            doc! { "reads": { "$not": { "$gte": SCHEMA } } },
        );
        let earlier = self.readers.find_one(reads(does_not)).await?;
        Ok(earlier.is_none() && self.readers.find_one(reads(knows)).await?.is_some())
    }

    /// Tells the projectors to stop following events, or to continue. Each projector does so at its next check.
    pub async fn pause(&self, paused: bool) -> Result<(), Error> {
        self.ensure_first().await?;
        self.control
            .update_one(doc! { "_id": VIEWS }, doc! { "$set": { "paused": paused } })
            .await
            .map(drop)
    }

    /// Begins to build the requested generation. A scan that starts now finds everything that was committed up to `horizon`.
    ///
    /// `None` if nothing is requested, or another generation is being built or retired.
    pub async fn begin(&self, term: &Term, horizon: Position, total: i64) -> Result<Option<Building>, Error> {
        let Some(control) = self.current().await? else {
            return Ok(None);
        };
        let (Some(requested), None, None) = (control.requested, &control.building, &control.retiring) else {
            return Ok(None);
        };
        let building = Building {
            generation: requested,
            phase: Phase::Scanning,
            horizon,
            scanned: 0,
            total,
            cursor: None,
            started_at: self.clock.now(),
            owner: term.owner.clone(),
            fence: term.fence,
            stamp: Some(Stamp {
                shape: SHAPE,
                fence: term.fence,
            }),
        };
        // Without the guard, a process that slept until its leadership had ended would begin a build that its successor has already begun
        // or even finished. A number is requested only once.
        let free = doc! { "_id": VIEWS, "requested": requested, "building": null, "retiring": null };
        let begin = doc! { "$set": { "building": bson::serialize_to_bson(&building)?, "requested": null } };
        let updated = self.control.update_one(free, begin).await?;
        Ok((updated.matched_count == 1).then_some(building))
    }

    /// Continues a build of a predecessor or of this process. `None` if no generation is being built.
    pub async fn adopt(&self, term: &Term) -> Result<Option<Building>, GenerationError> {
        let Some(building) = self.current().await?.and_then(|control| control.building) else {
            return Ok(None);
        };
        let superseded = GenerationError::Superseded {
            generation: building.generation,
        };
        if building.fence > term.fence {
            return Err(superseded);
        }
        let stamp = Stamp {
            shape: building.shape().min(SHAPE),
            fence: term.fence,
        };
        // Without the guard, a process that slept until its leadership had ended would take the work back from its successor, or stamp
        // what its predecessor has not written. An equal fence is this very term: the response to an earlier write was lost.
        let unchanged =
            doc! { "_id": VIEWS, "building.generation": building.generation, "building.fence": building.fence };
        let adopt = doc! { "$set": {
            "building.owner": &term.owner,
            "building.fence": term.fence,
            "building.stamp": bson::serialize_to_bson(&stamp).map_err(Error::from)?,
        } };
        let adopted = self
            .control
            .find_one_and_update(unchanged, adopt)
            .return_document(ReturnDocument::After)
            .await?
            .and_then(|control| control.building)
            .ok_or(superseded)?;
        Ok(Some(adopted))
    }

    /// Stores how far the work is, so that a successor need not repeat it.
    ///
    /// Everything that `progress` reports must be in the views already, acknowledged by a majority.
    pub async fn progress(&self, term: &Term, generation: i64, progress: Progress) -> Result<(), GenerationError> {
        // Without the guard, a process that slept until its leadership had ended would set the cursor or the phase back. Then a generation
        // that projectors already follow would lose its subscription.
        let mine = doc! { "_id": VIEWS, "building.generation": generation, "building.fence": term.fence };
        let set = doc! { "$set": {
            "building.phase": progress.phase.as_str(),
            "building.scanned": progress.scanned,
            "building.total": progress.total,
            "building.cursor": bson::serialize_to_bson(&progress.cursor).map_err(Error::from)?,
        } };
        let updated = self.control.update_one(mine, set).await?;
        if updated.matched_count == 1 {
            Ok(())
        } else {
            Err(GenerationError::Superseded { generation })
        }
    }

    /// Makes the generation that has caught up the active one, and retires the previous one.
    pub async fn switch(&self, term: &Term, generation: i64) -> Result<Control, GenerationError> {
        let control = self.current().await?.ok_or(GenerationError::Missing)?;
        if control.active == generation {
            // The switch has happened, and the response was lost.
            return Ok(control);
        }
        // Without the guard, a process that slept until its leadership had ended would switch to a generation that it remembers as caught
        // up, but that is not caught up now. Or it would retire the wrong generation. This is one document, so no reader sees half of the
        // switch.
        let caught_up = doc! {
            "_id": VIEWS,
            "active": control.active,
            "retiring": null,
            "building.generation": generation,
            "building.phase": Phase::CatchingUp.as_str(),
            "building.fence": term.fence,
        };
        let retiring = Retiring {
            generation: control.active,
            stopping: false,
        };
        let switch = doc! { "$set": {
            "active": generation,
            "building": null,
            "retiring": bson::serialize_to_bson(&retiring).map_err(Error::from)?,
        } };
        self.control
            .find_one_and_update(caught_up, switch)
            .return_document(ReturnDocument::After)
            .await?
            .ok_or(GenerationError::Superseded { generation })
    }

    /// A reader tells which generation it reads, for `valid_for` from now. Returns the state after that write.
    ///
    /// A reader answers no request from a generation before it has confirmed it **and** has seen in the returned state that the generation
    /// is still active. Then there are two cases. Either this write came before the process that switches checked the readers, and that
    /// process waits for this reader. Or the returned state already shows the new generation. A reader that could not confirm for
    /// `valid_for` stops answering until it has confirmed, because its generation may be gone by then. To stay alive, a reader confirms
    /// again every third of `valid_for`.
    pub async fn confirm(
        &self,
        instance: &str,
        generation: i64,
        valid_for: Duration,
    ) -> Result<Control, GenerationError> {
        let now = self.clock.now();
        // `$max`: a confirmation that arrives late must not undo a later one of the same reader.
        let confirm = doc! {
            "$max": {
                "generation": generation,
                "seen_at": bson::DateTime::from_chrono(now),
                "expires_at": bson::DateTime::from_chrono(now + valid_for),
                "reads": SCHEMA,
            },
        };
        self.readers
            .update_one(doc! { "_id": reader_id(instance) }, confirm)
            .upsert(true)
            .await?;
        self.current().await?.ok_or(GenerationError::Missing)
    }

    /// A reader that shuts down normally removes itself, so that nobody waits for it.
    pub async fn withdraw(&self, instance: &str) -> Result<(), Error> {
        self.readers.delete_one(doc! { "_id": reader_id(instance) }).await?;
        Ok(())
    }

    /// Whether every reader that is alive at `now` reads `generation` or a later one.
    pub async fn readers_confirmed(&self, generation: i64, now: DateTime<Utc>) -> Result<bool, Error> {
        let mut behind = living(now);
        behind.insert("generation", doc! { "$lt": generation });
        Ok(self.readers.find_one(behind).await?.is_none())
    }

    /// Tells the projectors to stop following the retiring generation, because no reader is left.
    pub async fn stop_following(&self, generation: i64) -> Result<(), GenerationError> {
        // A number is never used again, so this guard is enough: it can't hit a later retirement.
        let retiring = doc! { "_id": VIEWS, "retiring.generation": generation };
        let updated = self
            .control
            .update_one(retiring, doc! { "$set": { "retiring.stopping": true } })
            .await?;
        if updated.matched_count == 1 {
            Ok(())
        } else {
            Err(GenerationError::Superseded { generation })
        }
    }

    /// Ends the retirement: drops the generation's collections and forgets it. The caller must remove its leases before.
    ///
    /// If a process dies in between, `retiring` stays as it is, and its successor drops what is left.
    pub async fn retire(&self, generation: i64) -> Result<(), GenerationError> {
        let control = self.current().await?.ok_or(GenerationError::Missing)?;
        let stopping = control
            .retiring
            .as_ref()
            .is_some_and(|it| it.generation == generation && it.stopping);
        // Without the first comparison, a caller's mistake would drop the collections that are read.
        if control.active <= generation || !stopping {
            return Err(GenerationError::Superseded { generation });
        }
        self.drop_collections(|it| it == generation).await?;
        let dropped = doc! { "_id": VIEWS, "retiring.generation": generation, "retiring.stopping": true };
        self.control
            .update_one(dropped, doc! { "$set": { "retiring": null } })
            .await?;
        Ok(())
    }

    /// Drops the collections of generations that nobody needs any more. Such collections exist if a writer noticed late that its generation
    /// was dropped, and made some of them again.
    ///
    /// It reads the state first. The bound only rises, so an outdated bound drops too little, and never too much.
    pub async fn drop_unused(&self) -> Result<(), Error> {
        let Some(control) = self.current().await? else {
            return Ok(());
        };
        let lowest = control.lowest_needed();
        self.drop_collections(|generation| generation < lowest).await
    }

    async fn drop_collections(&self, unused: impl Fn(i64) -> bool) -> Result<(), Error> {
        let names: Vec<String> = self.database.list_collection_names().await?;
        for name in names.iter().filter(|name| generation_of(name).is_some_and(&unused)) {
            match self.database.collection::<Document>(name).drop().await {
                Ok(()) => tracing::info!(collection = %name, "dropped"),
                // Another process has dropped it first (NamespaceNotFound).
                Err(error) if is_missing_namespace(&error) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// The readers that are alive, with the generation that each has confirmed. It shows an operator what a rebuild waits for.
    pub async fn readers(&self, now: DateTime<Utc>) -> Result<Vec<Reader>, Error> {
        self.readers
            .clone_with_type::<Reader>()
            .find(living(now))
            .await?
            .try_collect()
            .await
    }
}

/// A program that reads the views.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Reader {
    #[serde(rename = "_id")]
    pub id: String,
    pub generation: i64,
    #[serde(with = "bson::serde_helpers::datetime::FromChrono04DateTime")]
    pub seen_at: DateTime<Utc>,
}

/// Finds the readers that are alive.
fn living(now: DateTime<Utc>) -> Document {
    doc! {
        "_id": { "$gt": READERS, "$lt": READERS_END },
        "expires_at": { "$gt": bson::DateTime::from_chrono(now) },
    }
}

fn reader_id(instance: &str) -> String {
    format!("{READERS}{instance}")
}

/// The generation that a collection belongs to, by the suffix of its name.
fn generation_of(collection: &str) -> Option<i64> {
    let (_, number) = collection.rsplit_once("_g")?;
    number
        .bytes()
        .all(|byte| byte.is_ascii_digit())
        .then(|| number.parse().ok())
        .flatten()
}

fn is_missing_namespace(error: &Error) -> bool {
    matches!(error.kind.as_ref(), ErrorKind::Command(command) if command.code == 26)
}

#[cfg(test)]
mod tests;
