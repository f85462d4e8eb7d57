//! The change stream of a process: every new event and mark, in commit order.

use bson::doc;
use bson::raw::RawDocumentBuf;
use futures_util::StreamExt;
use mongodb::Database;
use mongodb::change_stream::ChangeStream;
use mongodb::change_stream::event::ChangeStreamEvent;
use mongodb::error::{Error, ErrorKind};

use super::stored::Stored;
use crate::event_store::{EVENTS, MARKS, RecordedEvent};
use crate::mongo::Lookout;
use crate::position::Position;
use model::ids::Partition;

/// What the stream shows.
#[derive(Debug)]
pub(super) enum Incoming {
    Event { stored: Stored, position: Position },
    Mark { mark: Mark, position: Position },
}

impl Incoming {
    pub(super) fn position(&self) -> Position {
        match self {
            Self::Event { position, .. } | Self::Mark { position, .. } => *position,
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
    /// Opens a stream of everything from `start`, which a stream has shown before, that concerns `partitions`, or says of no partition
    /// that it does; of the events not those types.
    pub(super) async fn open(
        events: &Database,
        mut lookout: Lookout,
        start: Position,
        partitions: &[Partition],
        left_out: &[&str],
    ) -> Result<Self, FeedError> {
        let others: Vec<Partition> = Partition::all().filter(|it| !partitions.contains(it)).collect();
        let mut inserts = doc! {
            "operationType": "insert",
            "ns.coll": { "$in": [EVENTS, MARKS] },
        };
        // Marks have no type.
        let wanted = doc! {
            "fullDocument.partition": { "$nin": others },
            "fullDocument.type": { "$nin": left_out },
        };
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
    let document = change
        .full_document
        .ok_or_else(|| FeedError::Broken(Error::custom("an insert's change event carries no document")))?;
    let is_mark = change.ns.and_then(|ns| ns.coll).is_some_and(|name| name == MARKS);
    Ok(if is_mark {
        let mark = Mark {
            partition: document
                .get_i32("partition")
                .ok()
                .and_then(|number| number.try_into().ok()),
            wake: document.get_bool("wake").unwrap_or(false),
        };
        Incoming::Mark { mark, position }
    } else {
        let stored = RecordedEvent::read(&document).into();
        Incoming::Event { stored, position }
    })
}
