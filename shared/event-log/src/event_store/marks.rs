//! Marks: documents that mean nothing but their position in the commit order.

use bson::{Document, doc, oid::ObjectId};
use futures_util::TryStreamExt;
use mongodb::ClientSession;
use mongodb::error::Error;

use super::{EventStore, missing_operation_time};
use crate::mongo::is_transient;
use crate::position::Position;
use model::ids::Partition;

impl EventStore {
    /// Writes a mark: a point of the partition's order that every subscription will pass.
    ///
    /// The returned position is at or above the mark, and so above everything that was acknowledged before in any partition. It may be
    /// above events that are still being committed. So a reader may wait until a subscription passes it, but must not begin there: use
    /// [`EventStore::horizon`] for that.
    pub async fn mark(&self, partition: Partition) -> Result<Position, Error> {
        self.mark_in(&mut self.session().await?, Some(partition), false).await
    }

    /// Writes a mark that every partition sees: a barrier, or a sign that an idle stream works.
    pub async fn mark_all(&self) -> Result<Position, Error> {
        self.mark_in(&mut self.session().await?, None, false).await
    }

    /// Writes a mark that makes the partition's owners read the requests on its dead letters.
    pub async fn wake(&self, partition: Partition) -> Result<Position, Error> {
        self.mark_in(&mut self.session().await?, Some(partition), true).await
    }

    /// A position that divides the events in two: a [scan](EventStore::scan) from now on finds all up to it, and a change stream from there
    /// shows all others.
    ///
    /// An `operationTime` is no such position: a server answers with the latest time that it knows of, and writes with an earlier time may
    /// not be committed yet. A scan would miss them, and so would a stream that begins above them. What a change stream shows is
    /// committed, and so is everything before it. So this is the `clusterTime` of a mark that a stream has shown.
    pub async fn horizon(&self) -> Result<Position, Error> {
        let id = ObjectId::new();
        let this = doc! { "$match": { "operationType": "insert", "documentKey._id": id } };
        let mut shown = self.marks.watch().pipeline([this]).await?;
        self.marks.insert_one(self.new_mark(None, false, id)).await?;
        let change = shown.try_next().await?;
        change
            .and_then(|change| change.cluster_time)
            .map(Position::from)
            .ok_or_else(|| Error::custom("the change stream ended, or its event carries no clusterTime"))
    }

    pub(super) async fn mark_in(
        &self,
        session: &mut ClientSession,
        partition: Option<Partition>,
        wake: bool,
    ) -> Result<Position, Error> {
        let mut delays = self.retries.delays();
        loop {
            // Each attempt may write a mark of its own. Additional marks do no harm.
            let mark = self.new_mark(partition, wake, ObjectId::new());
            match self.marks.insert_one(mark).session(&mut *session).await {
                Ok(_) => return position_of(session),
                Err(error) if is_transient(&error) => match delays.next() {
                    Some(delay) => {
                        tracing::warn!(%error, "the mark got no answer; trying again");
                        tokio::time::sleep(delay).await;
                    }
                    None => return Err(error),
                },
                Err(error) => return Err(error),
            }
        }
    }

    fn new_mark(&self, partition: Option<Partition>, wake: bool, id: ObjectId) -> Document {
        doc! {
            "_id": id,
            "partition": partition.map(i32::from),
            "wake": wake,
            "at": bson::DateTime::from_chrono(self.clock.now()),
        }
    }
}

fn position_of(session: &ClientSession) -> Result<Position, Error> {
    session
        .operation_time()
        .map(Position::from)
        .ok_or_else(missing_operation_time)
}
