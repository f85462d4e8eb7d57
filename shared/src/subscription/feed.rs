//! The change stream of a process: every new event and mark, in commit order.

use std::sync::Arc;

use bson::raw::RawDocumentBuf;
use bson::{Document, doc};
use futures_util::StreamExt;
use mongodb::Database;
use mongodb::change_stream::ChangeStream;
use mongodb::change_stream::event::ChangeStreamEvent;
use mongodb::error::{Error, ErrorKind};

use crate::event_store::{EVENTS, MARKS, RecordedEvent};
use crate::ids::Partition;
use crate::mongo::Lookout;
use crate::position::Position;

/// What the stream shows.
#[derive(Debug)]
pub(super) enum Incoming {
    Event {
        event: Arc<RecordedEvent>,
        position: Position,
    },
    Mark {
        mark: Mark,
        position: Position,
    },
    /// The document is no event that this program could ever have written.
    Unreadable {
        reason: String,
        position: Position,
    },
}

impl Incoming {
    pub(super) fn position(&self) -> Position {
        match self {
            Self::Event { position, .. } | Self::Mark { position, .. } | Self::Unreadable { position, .. } => *position,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Mark {
    /// The partition it is for; none for all.
    pub(super) partition: Option<Partition>,
    /// An operator wrote something on a dead letter.
    pub(super) wake: bool,
}

#[derive(Debug)]
pub(super) enum FeedError {
    /// What comes after the position is no longer in the oplog.
    HistoryLost(Error),
    Broken(Error),
}

impl From<Error> for FeedError {
    fn from(error: Error) -> Self {
        // ChangeStreamHistoryLost, ChangeStreamFatalError, CappedPositionLost, and what older servers say.
        let lost = matches!(error.kind.as_ref(), ErrorKind::Command(command) if matches!(command.code, 286 | 280 | 136 | 234))
            || error.contains_label("NonResumableChangeStreamError");
        if lost {
            FeedError::HistoryLost(error)
        } else {
            FeedError::Broken(error)
        }
    }
}

/// A stream that has begun with what it was opened at.
///
/// That first document is shown a second time, to no purpose but this: if anything else comes first, the oplog no longer
/// reaches back so far. MongoDB says so itself when the stream is opened; not every server does. To begin with a
/// document that is there, and not after it, also leaves nothing to a server's idea of where "after" is while others write. And whoever
/// waits for it knows that the stream shows something.
pub(super) struct Feed {
    stream: ChangeStream<ChangeStreamEvent<RawDocumentBuf>>,
    /// What was asked waits for its answer between two calls of `next`, too.
    lookout: Lookout,
}

impl Feed {
    /// Opens a stream of everything from `start`, which a stream has shown before, that concerns `partitions`, of the events
    /// only those types.
    pub(super) async fn open(
        events: &Database,
        mut lookout: Lookout,
        start: Position,
        partitions: &[Partition],
        types: Option<&[&str]>,
    ) -> Result<Self, FeedError> {
        let mut concerns: Vec<bson::Bson> = partitions.iter().map(|&partition| partition.into()).collect();
        concerns.push(bson::Bson::Null);
        let mut inserts = doc! {
            "operationType": "insert",
            "ns.coll": { "$in": [EVENTS, MARKS] },
        };
        let mut wanted = doc! { "fullDocument.partition": { "$in": concerns } };
        if let Some(types) = types {
            wanted.insert(
                "$or",
                [
                    doc! { "ns.coll": MARKS },
                    doc! { "fullDocument.type": { "$in": types } },
                ],
            );
        }
        inserts.insert("$or", [doc! { "clusterTime": start }, wanted]);
        let opening = events
            .watch()
            .pipeline([doc! { "$match": inserts }])
            .start_at_operation_time(start.to_timestamp())
            .batch_size(1_000);
        let stream = lookout
            .until_lost(async { opening.await.map_err(FeedError::from) })
            .await?;
        let mut feed = Self {
            stream: stream.with_type(),
            lookout,
        };
        match feed.next().await?.position() {
            first if first == start => Ok(feed),
            first => Err(FeedError::HistoryLost(Error::custom(format!(
                "the change stream begins at {first}, and not at {start}"
            )))),
        }
    }

    /// The next of the stream. May be dropped and called again without losing anything.
    pub(super) async fn next(&mut self) -> Result<Incoming, FeedError> {
        let next = async {
            match self.stream.next().await {
                Some(Ok(change)) => incoming(change),
                Some(Err(error)) => Err(error.into()),
                None => Err(FeedError::Broken(Error::custom("the change stream ended"))),
            }
        };
        self.lookout.until_lost(next).await
    }
}

fn incoming(change: ChangeStreamEvent<RawDocumentBuf>) -> Result<Incoming, FeedError> {
    let position = change
        .cluster_time
        .map(Position::from)
        .ok_or_else(|| FeedError::Broken(Error::custom("a change event carries no clusterTime")))?;
    let collection = change.ns.as_ref().and_then(|ns| ns.coll.as_deref());
    let Some(document) = change.full_document else {
        return Ok(Incoming::Unreadable {
            reason: "the change event carries no document".to_owned(),
            position,
        });
    };
    if collection == Some(MARKS) {
        return Ok(match bson::deserialize_from_slice::<Document>(document.as_bytes()) {
            Ok(mark) => Incoming::Mark {
                mark: Mark {
                    partition: mark.get_i32("partition").ok().and_then(|number| number.try_into().ok()),
                    wake: mark.get_bool("wake").unwrap_or(false),
                },
                position,
            },
            Err(error) => Incoming::Unreadable {
                reason: error.to_string(),
                position,
            },
        });
    }
    Ok(
        match bson::deserialize_from_slice::<RecordedEvent>(document.as_bytes()) {
            Ok(event) => Incoming::Event {
                event: Arc::new(event),
                position,
            },
            Err(error) => Incoming::Unreadable {
                reason: error.to_string(),
                position,
            },
        },
    )
}
