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
use crate::mongo::ConnectionWatch;
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
    /// The partition that it is for. None: all.
    pub(super) partition: Option<Partition>,
    /// An operator has requested something on a dead letter.
    pub(super) wake: bool,
}

#[derive(Debug)]
pub(super) enum FeedError {
    /// The changes after the position are no longer in the oplog.
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

/// A stream that has shown the document at its start.
///
/// That document is shown a second time, only as a check: if another one comes first, the oplog no longer reaches back so far. MongoDB
/// reports this itself when the stream is opened, but not every server does. A start at an existing document, and not after it, also does
/// not depend on what a server takes as "after" while others write. And the first document proves that the stream works.
pub(super) struct Feed {
    stream: ChangeStream<ChangeStreamEvent<RawDocumentBuf>>,
    /// A request may wait for its answer between two calls of `next`, too.
    watch: ConnectionWatch,
}

impl Feed {
    /// Opens a stream from `start`, a position that a stream has shown before. It shows what concerns `partitions` or names no partition,
    /// except events of the types `left_out`.
    pub(super) async fn open(
        events: &Database,
        mut watch: ConnectionWatch,
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
        let stream = watch
            .until_lost(async { opening.await.map_err(FeedError::from) })
            .await?;
        let mut feed = Self {
            stream: stream.with_type(),
            watch,
        };
        match feed.next().await?.position() {
            first if first == start => Ok(feed),
            first => Err(FeedError::HistoryLost(Error::custom(format!(
                "the change stream begins at {first}, and not at {start}"
            )))),
        }
    }

    /// What the stream shows next. May be dropped and called again without losing anything.
    pub(super) async fn next(&mut self) -> Result<Incoming, FeedError> {
        let next = async {
            match self.stream.next().await {
                Some(Ok(change)) => incoming(change),
                Some(Err(error)) => Err(error.into()),
                None => Err(FeedError::Broken(Error::custom("the change stream ended"))),
            }
        };
        self.watch.until_lost(next).await
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
