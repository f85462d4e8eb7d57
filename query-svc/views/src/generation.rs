//! Which generation of the views is read, which one is being built, and who still reads the one before.
//!
//! Two kinds of documents share the collection `control`: the one with `_id` "views" ([`Control`]), and one for each
//! running reader, `_id` "reader/<instance>", by which a reader says which generation it reads ([`Generations::confirm`]).
//!
//! A generation's life: requested, building (scanning, filling, catching up), active, retiring (readers leave, then
//! the projectors stop following it, then it is dropped), gone. Each step is one guarded write of one document, so a
//! process that dies anywhere leaves a state that its successor goes on from; what each guard prevents is said beside it.
//!
//! Invariant: a generation's number is never used again, and `active` only rises. A writer that lost its
//! place can therefore do no harm to a later generation; what it leaves behind in the collections of a dropped one goes
//! with [`Generations::drop_unused`].

use std::time::Duration;

use bson::{Document, doc};
use chrono::{DateTime, Utc};
use event_log::mongo::is_duplicate_key;
use event_log::position::Position;
use futures_util::TryStreamExt;
use model::clock::SharedClock;
use mongodb::error::{Error, ErrorKind};
use mongodb::options::{IndexOptions, ReturnDocument};
use mongodb::{Collection, Database, IndexModel};
use serde::Deserialize;

mod control;

pub use control::{Building, Control, Phase, Retiring};

const CONTROL: &str = "control";
const VIEWS: &str = "views";
const READERS: &str = "reader/";
/// Above every `_id` of a reader: the character after the slash.
const READERS_END: &str = "reader0";
const FIRST: i64 = 1;

/// The leadership under which a generation is built: who, and the fencing number that orders it after its predecessors.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Term {
    pub owner: String,
    pub fence: i64,
}

/// What a builder has done since it last said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    pub phase: Phase,
    pub scanned: i64,
    pub total: i64,
    pub cursor: Option<bson::Uuid>,
}

#[derive(Debug, thiserror::Error)]
pub enum GenerationError {
    /// Another process has taken over, or the state has moved on: read it again.
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

    /// The state as it is now, read on the primary. `None` in a database that no program has opened yet.
    pub async fn current(&self) -> Result<Option<Control>, Error> {
        self.control.find_one(doc! { "_id": VIEWS }).await
    }

    /// The state as it is now; in an empty database the first generation becomes the active one.
    ///
    /// Programs may call it at once: of several inserts with one `_id`, one succeeds, and all read what it wrote.
    pub async fn ensure_first(&self) -> Result<Control, Error> {
        if let Some(control) = self.current().await? {
            return Ok(control);
        }
        // Before the document, so that where that is, this is too.
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

    /// Asks for a new generation and answers with its number; a projector builds it.
    ///
    /// A request that nobody has begun yet is answered again. While one is being built another can be asked for: what is
    /// being built may be by older code than what the caller wants to see at work.
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

    /// Asks for the generation `wanted`, unless it or a later one is there, being built or asked for.
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
        // Without the guard, two callers would get different numbers for one rebuild, or, where a build begins or
        // ends in between, a number that is in use.
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

    /// Tells the projectors to stop following, or to go on; each does so when it looks again.
    pub async fn pause(&self, paused: bool) -> Result<(), Error> {
        self.ensure_first().await?;
        self.control
            .update_one(doc! { "_id": VIEWS }, doc! { "$set": { "paused": paused } })
            .await
            .map(drop)
    }

    /// Begins what was requested. Whatever was committed up to `horizon`, a scan from now on finds.
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
        };
        // Without the guard, a process that slept through its leadership would begin again what its successor has
        // begun, or even finished: a number is requested once.
        let free = doc! { "_id": VIEWS, "requested": requested, "building": null, "retiring": null };
        let begin = doc! { "$set": { "building": bson::serialize_to_bson(&building)?, "requested": null } };
        let updated = self.control.update_one(free, begin).await?;
        Ok((updated.matched_count == 1).then_some(building))
    }

    /// Goes on with what a predecessor left, or what is this process's own already. `None` if nothing is being built.
    pub async fn adopt(&self, term: &Term) -> Result<Option<Building>, GenerationError> {
        let Some(building) = self.current().await?.and_then(|control| control.building) else {
            return Ok(None);
        };
        // Without the guard, a process that slept through its leadership would take the work back from its successor.
        // Equal is this very term: a write whose answer was lost.
        let earlier = doc! {
            "_id": VIEWS,
            "building.generation": building.generation,
            "building.fence": { "$lte": term.fence },
        };
        let adopt = doc! { "$set": { "building.owner": &term.owner, "building.fence": term.fence } };
        let adopted = self
            .control
            .find_one_and_update(earlier, adopt)
            .return_document(ReturnDocument::After)
            .await?
            .and_then(|control| control.building)
            .ok_or(GenerationError::Superseded {
                generation: building.generation,
            })?;
        Ok(Some(adopted))
    }

    /// Writes down how far the work is, so that a successor need not repeat it.
    ///
    /// Whatever it says must be in the views before, acknowledged by a majority.
    pub async fn progress(&self, term: &Term, generation: i64, progress: Progress) -> Result<(), GenerationError> {
        // Without the guard, a process that slept through its leadership would put the cursor or the phase back, and
        // a generation that projectors follow already would lose its subscription.
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

    /// Makes the generation that caught up the active one, and the former one retire.
    pub async fn switch(&self, term: &Term, generation: i64) -> Result<Control, GenerationError> {
        let control = self.current().await?.ok_or(GenerationError::Missing)?;
        if control.active == generation {
            // It has happened, and the answer was lost.
            return Ok(control);
        }
        // Without the guard, a process that slept through its leadership would switch before the generation that it
        // remembers as caught up is so again, or name the wrong one as retiring. One document: no reader ever sees
        // half of it.
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

    /// A reader says which generation it reads, for `valid_for` from now, and gets the state as it is after that.
    ///
    /// A reader answers nobody from a generation before it has confirmed it **and** seen in the answer that it is still
    /// the active one: either this write came before the switch's look at the readers, which then waits for this
    /// reader, or the answer already shows the new generation. A reader that could not confirm for `valid_for` stops
    /// answering until it has, because by then its generation may be gone. Confirming again every third of `valid_for`
    /// keeps it alive.
    pub async fn confirm(
        &self,
        instance: &str,
        generation: i64,
        valid_for: Duration,
    ) -> Result<Control, GenerationError> {
        let now = self.clock.now();
        // `$max`: a confirmation that was delayed on its way doesn't take back a later one of the same reader.
        let confirm = doc! {
            "$max": {
                "generation": generation,
                "seen_at": bson::DateTime::from_chrono(now),
                "expires_at": bson::DateTime::from_chrono(now + valid_for),
            },
        };
        self.readers
            .update_one(doc! { "_id": reader_id(instance) }, confirm)
            .upsert(true)
            .await?;
        self.current().await?.ok_or(GenerationError::Missing)
    }

    /// A reader that ends in order need not be waited for.
    pub async fn withdraw(&self, instance: &str) -> Result<(), Error> {
        self.readers.delete_one(doc! { "_id": reader_id(instance) }).await?;
        Ok(())
    }

    /// Whether every reader that lives at `now` reads `generation` or a later one.
    pub async fn readers_confirmed(&self, generation: i64, now: DateTime<Utc>) -> Result<bool, Error> {
        let behind = doc! {
            "_id": { "$gt": READERS, "$lt": READERS_END },
            "generation": { "$lt": generation },
            "expires_at": { "$gt": bson::DateTime::from_chrono(now) },
        };
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

    /// Ends the retirement: drops the generation's collections and forgets it. Its leases are the caller's to remove before.
    ///
    /// A process that dies in between leaves `retiring` as it is, and its successor drops what is left.
    pub async fn retire(&self, generation: i64) -> Result<(), GenerationError> {
        let control = self.current().await?.ok_or(GenerationError::Missing)?;
        let stopping = control
            .retiring
            .as_ref()
            .is_some_and(|it| it.generation == generation && it.stopping);
        // Without the first comparison a caller's mistake would drop what is read.
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

    /// Drops the collections of generations that nobody needs any more: a writer that noticed late that its generation
    /// was dropped has made some of them again.
    ///
    /// Reads the state first: the bound only rises, so that an old reading of it drops too little and never too much.
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
                // Another process was faster (NamespaceNotFound).
                Err(error) if is_missing_namespace(&error) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// The readers that are known, with the generation that each confirmed: for an operator who asks what a rebuild waits for.
    pub async fn readers(&self, now: DateTime<Utc>) -> Result<Vec<Reader>, Error> {
        let living = doc! {
            "_id": { "$gt": READERS, "$lt": READERS_END },
            "expires_at": { "$gt": bson::DateTime::from_chrono(now) },
        };
        self.readers
            .clone_with_type::<Reader>()
            .find(living)
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
