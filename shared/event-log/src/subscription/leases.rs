//! Which process works on which partition, and how far it has come.
//!
//! This follows the change-feed processor (Kinesis Client Library, Cosmos DB): one document for each partition of a subscription, with
//! an owner, a fencing number that every new owner raises, and a checkpoint. No clocks are compared: an owner raises `beat`, and a
//! process that sees it unchanged for the duration of a lease takes the lease.

use std::collections::BTreeMap;

use bson::{Document, doc};
use futures_util::TryStreamExt;
use mongodb::error::Error;
use mongodb::{Collection, Database};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::event_store::RecordedEvent;
use crate::mongo::is_duplicate_key;
use crate::position::Position;
use model::events::Event;
use model::ids::{PARTITIONS, Partition};

/// The collection, in the views' database.
pub const LEASES: &str = "leases";

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    #[serde(rename = "_id")]
    pub id: String,
    pub subscription: String,
    pub partition: Partition,
    /// The process that works on the partition. None: the lease was released, or never taken.
    pub owner: Option<String>,
    /// The server session of the owner's transactions. A transaction that is open when the owner dies blocks its successor on the same
    /// rows until the server gives it up, after a minute. So the successor ends the session.
    #[serde(default)]
    pub session: Option<bson::Uuid>,
    /// The owner, if it is about to end. It works on the partition until a successor takes the lease over.
    #[serde(default)]
    pub offered_by: Option<String>,
    /// Raised by every new owner. From then on the checkpoints of the former owner are refused.
    pub fence: i64,
    /// Raised by the owner while it lives.
    pub beat: i64,
    /// Every event of the partition up to here is handled. [`Position::ORIGIN`]: nobody has begun.
    pub position: Position,
    /// Set if the last owner did not know the next event: only a process that knows it takes the lease. See [`Lease::needed`].
    #[serde(default)]
    pub needs: Option<Needs>,
    #[serde(default)]
    pub stamp: Option<Stamp>,
}

/// What every owner of a lease has written for the events up to its position: see [`Handler::shape`](super::Handler::shape). A program that
/// does not know stamps takes a lease without renewing the stamp, and then the fences differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stamp {
    pub shape: i32,
    /// The fence of the owner that wrote this.
    pub fence: i64,
}

/// The name in [`Needs`] that keeps programs away that do not know stamps: it is no event type that any of them knows.
pub(super) const SHAPE: &str = "shape";

/// What a program has to know to work on an event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Needs {
    #[serde(rename = "type")]
    pub event_type: String,
    pub schema: i32,
    /// The lease's fence when it was given back.
    #[serde(default)]
    pub fence: i64,
}

impl Needs {
    pub(super) fn of(event: &RecordedEvent, fence: i64) -> Self {
        Self {
            event_type: event.event_type.clone(),
            schema: event.schema,
            fence,
        }
    }

    fn is_met(&self) -> bool {
        self.event_type == SHAPE || Event::knows(&self.event_type, self.schema)
    }
}

impl Lease {
    /// Whether its owner is about to end.
    pub fn is_offered(&self) -> bool {
        self.owner.is_some() && self.owner == self.offered_by
    }

    /// What the next event needs, if no process has held the lease since that was written. An earlier version of the program takes a
    /// lease without clearing it, and may have gone on.
    pub(super) fn needed(&self) -> Option<&Needs> {
        let needs = self.needs.as_ref();
        needs.filter(|needs| needs.fence == self.fence && needs.event_type != SHAPE)
    }

    /// What all owners so far have written, 0 if one of them does not know shapes.
    pub fn shape(&self) -> i32 {
        let stamp = self.stamp.filter(|stamp| stamp.fence == self.fence);
        stamp.map_or(0, |stamp| stamp.shape)
    }

    /// Whether only a newer program can go on with the partition. `shape` is what this one writes.
    pub(super) fn is_beyond(&self, shape: i32) -> bool {
        self.shape() > shape || self.needed().is_some_and(|needs| !needs.is_met())
    }
}

/// A process as an owner of leases.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    id: String,
    /// The server session of its transactions.
    session: Option<bson::Uuid>,
}

impl Owner {
    pub fn random(session: Option<bson::Uuid>) -> Self {
        Self {
            id: Uuid::new_v4().to_string(),
            session,
        }
    }

    pub fn as_str(&self) -> &str {
        &self.id
    }
}

/// Leases that can be acquired, with their owners.
pub(super) type Available = BTreeMap<Partition, Option<String>>;

/// The leases of one subscription; the one writer of their documents.
#[derive(Debug, Clone)]
pub struct Leases {
    database: Database,
    collection: Collection<Lease>,
    subscription: String,
}

impl Leases {
    pub fn new(database: Database, subscription: &str) -> Self {
        Self {
            collection: database.collection(LEASES),
            database,
            subscription: subscription.to_owned(),
        }
    }

    pub fn subscription(&self) -> &str {
        &self.subscription
    }

    /// Makes the leases that are missing, to begin after `position`. Their fences begin with the clock's milliseconds, so that they differ
    /// from those of earlier leases: writes that owners of those have under way are refused. `shape`: what is written up to `position`.
    pub async fn ensure(&self, position: Position, shape: i32) -> Result<(), Error> {
        if self.all().await?.len() == usize::from(PARTITIONS) {
            return Ok(());
        }
        let fence = bson::DateTime::now().timestamp_millis();
        let leases = Partition::all().map(|partition| Lease {
            id: self.id(partition),
            subscription: self.subscription.clone(),
            partition,
            owner: None,
            session: None,
            offered_by: None,
            fence,
            beat: 0,
            position,
            needs: (shape > 0).then(|| Needs {
                event_type: SHAPE.to_owned(),
                schema: shape,
                fence,
            }),
            stamp: (shape > 0).then_some(Stamp { shape, fence }),
        });
        match self.collection.insert_many(leases).ordered(false).await {
            Err(error) if !is_duplicate_key(&error) => Err(error),
            _ => Ok(()),
        }
    }

    pub async fn all(&self) -> Result<Vec<Lease>, Error> {
        let mine = doc! { "_id": self.range() };
        self.collection.find(mine).await?.try_collect().await
    }

    /// The leases that can be acquired, with their owners: those that are offered, given back, or were never taken. Leases that wait for
    /// a newer program are not among them.
    pub(super) async fn available(&self, shape: i32) -> Result<Available, Error> {
        let offered = doc! { "$expr": { "$eq": ["$owner", "$offered_by"] } };
        let available = doc! { "_id": self.range(), "$or": [{ "owner": null }, offered] };
        let leases: Vec<Lease> = self.collection.find(available).await?.try_collect().await?;
        let leases = leases.into_iter().filter(|lease| !lease.is_beyond(shape));
        Ok(leases.map(|lease| (lease.partition, lease.owner)).collect())
    }

    /// What the subscription has written for every event that it has handled. None if leases are missing.
    pub async fn shape(&self) -> Result<Option<i32>, Error> {
        Ok(shape_of(&self.all().await?))
    }

    /// The ids of one subscription are a range of the index of `_id`.
    fn range(&self) -> Document {
        doc! { "$gte": format!("{}/", self.subscription), "$lt": format!("{}0", self.subscription) }
    }

    /// The names of all subscriptions that have leases.
    pub async fn subscriptions(database: &Database) -> Result<Vec<String>, Error> {
        let names = database
            .collection::<Document>(LEASES)
            .distinct("subscription", doc! {})
            .await?;
        Ok(names
            .into_iter()
            .filter_map(|name| name.as_str().map(str::to_owned))
            .collect())
    }

    /// Removes the leases of a subscription that no process runs any more.
    pub async fn remove(&self) -> Result<(), Error> {
        self.collection
            .delete_many(doc! { "subscription": &self.subscription })
            .await
            .map(drop)
    }

    /// Tells the others that the owner lives.
    pub(super) async fn renew(&self, owner: &Owner) -> Result<(), Error> {
        let mine = doc! { "subscription": &self.subscription, "owner": owner.as_str() };
        self.collection
            .update_many(mine, doc! { "$inc": { "beat": 1 } })
            .await
            .map(drop)
    }

    /// Offers all leases of an owner that is about to end.
    pub(super) async fn offer(&self, owner: &Owner) -> Result<(), Error> {
        let mine = doc! { "subscription": &self.subscription, "owner": owner.as_str() };
        self.collection
            .update_many(mine, doc! { "$set": { "offered_by": owner.as_str() } })
            .await
            .map(drop)
    }

    /// Takes leases, all in one statement, because readers wait during a handover. Returns those that it got: other processes may have
    /// been faster.
    pub(super) async fn take(&self, acquisitions: &[Acquisition<'_>], owner: &Owner) -> Result<Vec<Lease>, Error> {
        if acquisitions.is_empty() {
            return Ok(Vec::new());
        }
        let unchanged: Vec<Document> = acquisitions.iter().map(Acquisition::unchanged).collect();
        let fence = doc! { "$add": ["$fence", 1_i64] };
        let is_stamped = doc! { "$eq": ["$stamp.fence", "$fence"] };
        let needs = doc! { "type": SHAPE, "schema": "$stamp.shape", "fence": &fence };
        let stamp = doc! { "shape": "$stamp.shape", "fence": &fence };
        let ours = doc! { "$set": {
            "owner": { "$literal": owner.as_str() },
            "session": owner.session,
            "needs": { "$cond": [&is_stamped, needs, null] },
            "stamp": { "$cond": [&is_stamped, stamp, null] },
            "fence": fence,
            "beat": { "$add": ["$beat", 1_i64] },
        } };
        self.collection
            .update_many(doc! { "$or": unchanged }, vec![ours])
            .await?;
        // No other process writes our name. If it is there with the fencing number that we wrote, we took the lease.
        let mut taken = self.all().await?;
        taken.retain(|lease| {
            let mut seen = acquisitions.iter().map(Acquisition::lease);
            lease.owner.as_deref() == Some(owner.as_str())
                && seen.any(|seen| seen.id == lease.id && lease.fence == seen.fence + 1)
        });
        Ok(taken)
    }

    /// Ends a session and the transaction that is open in it. If the owner lives nevertheless, it tries again.
    pub(super) async fn end(&self, session: bson::Uuid) -> Result<(), Error> {
        let command = doc! { "killSessions": [{ "id": session }] };
        let admin = self.database.client().database("admin");
        admin.run_command(command).await.map(drop)
    }

    /// Gives all leases of the owner back, with the last checkpoints that have moved, in one statement: readers wait for partitions that
    /// nobody works on.
    pub(super) async fn release(&self, owner: &Owner, last: &[Checkpoint]) -> Result<(), Error> {
        let moved = last.iter().map(|checkpoint| {
            let lease = [
                doc! { "$eq": ["$_id", self.id(checkpoint.partition)] },
                doc! { "$eq": ["$fence", checkpoint.fence] },
            ];
            doc! { "case": { "$and": lease }, "then": checkpoint.position }
        });
        let mut given_back = doc! { "owner": null, "session": null };
        if !last.is_empty() {
            let branches: Vec<Document> = moved.collect();
            let reached = doc! { "$switch": { "branches": branches, "default": "$position" } };
            given_back.insert("position", doc! { "$max": ["$position", reached] });
        }
        let mine = doc! { "subscription": &self.subscription, "owner": owner.as_str() };
        self.collection
            .update_many(mine, vec![doc! { "$set": given_back }])
            .await
            .map(drop)
    }

    /// Gives one lease back, if it is still the owner's, to a process that knows the next event.
    pub(super) async fn give_back(&self, owner: &Owner, stuck: &Stuck) -> Result<(), Error> {
        let mine = doc! { "_id": self.id(stuck.partition), "owner": owner.as_str(), "fence": stuck.fence };
        let needs = bson::serialize_to_bson(&stuck.needs)?;
        let given_back = doc! {
            "$set": { "owner": null, "session": null, "needs": needs },
            "$max": { "position": stuck.reached.unwrap_or_default() },
        };
        self.collection.update_one(mine, given_back).await.map(drop)
    }

    /// Writes checkpoints in one command, except those of leases that the owner has lost. It notices those when it reads the leases next.
    ///
    /// Only the writes of checkpoints are fenced. No checkpoint ever goes back.
    pub(super) async fn save(&self, owner: &Owner, checkpoints: &[Checkpoint]) -> Result<(), Error> {
        if checkpoints.is_empty() {
            return Ok(());
        }
        let updates: Vec<Document> = checkpoints
            .iter()
            .map(|checkpoint| {
                doc! {
                    "q": { "_id": self.id(checkpoint.partition), "owner": owner.as_str(), "fence": checkpoint.fence },
                    "u": { "$max": { "position": checkpoint.position } },
                }
            })
            .collect();
        let command = doc! {
            "update": LEASES,
            "updates": updates,
            "ordered": false,
            "writeConcern": { "w": "majority" },
        };
        let answer = self.database.run_command(command).await?;
        if let Ok(errors) = answer.get_array("writeErrors") {
            return Err(Error::custom(format!("checkpoints were refused: {errors:?}")));
        }
        Ok(())
    }

    fn id(&self, partition: Partition) -> String {
        format!("{}/{:02}", self.subscription, partition.number())
    }
}

/// What a subscription has written for every event that it has handled. None if some of its leases are missing.
pub fn shape_of(leases: &[Lease]) -> Option<i32> {
    let complete = leases.len() == usize::from(PARTITIONS);
    leases.iter().map(Lease::shape).min().filter(|_| complete)
}

/// A lease to acquire, as it was read.
#[derive(Debug, Clone, Copy)]
pub(super) enum Acquisition<'a> {
    /// One that has no owner, or whose owner shows no sign of life.
    Take(&'a Lease),
    /// One of a living owner that has too many, or is about to end.
    TakeOver(&'a Lease),
}

impl<'a> Acquisition<'a> {
    pub(super) fn lease(&self) -> &'a Lease {
        match self {
            Acquisition::Take(lease) | Acquisition::TakeOver(lease) => lease,
        }
    }

    /// The filter that finds the lease only if it has not changed. A living owner may have raised the beat.
    fn unchanged(&self) -> Document {
        let seen = self.lease();
        let mut unchanged = doc! { "_id": &seen.id, "owner": seen.owner.as_deref(), "fence": seen.fence };
        if let Acquisition::Take(_) = self {
            unchanged.insert("beat", seen.beat);
        }
        unchanged
    }
}

/// How far the owner has come that holds the lease with this fence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Checkpoint {
    pub(super) partition: Partition,
    pub(super) fence: i64,
    pub(super) position: Position,
}

/// A partition whose next event its owner does not know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Stuck {
    pub(super) partition: Partition,
    pub(super) fence: i64,
    /// How far the owner has come, if that is known.
    pub(super) reached: Option<Position>,
    pub(super) needs: Needs,
}
