//! What a client is told.

use std::sync::Arc;

use model::api;
use model::ids::PostId;
use serde::Serialize;

use super::cursor::LiveCursor;

/// The kinds of events, as clients see them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum What {
    Post,
    Edit,
    Delete,
    Counts,
    Notification,
    Resumed,
    Reset,
}

impl What {
    pub(crate) const ALL: [Self; 7] = [
        What::Post,
        What::Edit,
        What::Delete,
        What::Counts,
        What::Notification,
        What::Resumed,
        What::Reset,
    ];

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            What::Post => "post",
            What::Edit => "edit",
            What::Delete => "delete",
            What::Counts => "counts",
            What::Notification => "notification",
            What::Resumed => "resumed",
            What::Reset => "reset",
        }
    }
}

/// One event.
#[derive(Debug, Clone)]
pub(crate) struct Event {
    pub(crate) what: What,
    pub(crate) cursor: Arc<LiveCursor>,
    /// JSON without line breaks.
    pub(crate) data: String,
}

/// The data of `delete`, and of `counts`.
#[derive(Serialize)]
struct OfPost {
    id: PostId,
    #[serde(skip_serializing_if = "Option::is_none")]
    counts: Option<api::PostCounts>,
}

impl Event {
    pub(super) fn new(what: What, cursor: &Arc<LiveCursor>, data: &impl Serialize) -> Result<Self, serde_json::Error> {
        Ok(Self {
            what,
            cursor: cursor.clone(),
            data: serde_json::to_string(data)?,
        })
    }

    /// An event without data.
    pub(super) fn bare(what: What, cursor: &Arc<LiveCursor>) -> Self {
        Self {
            what,
            cursor: cursor.clone(),
            data: "{}".to_owned(),
        }
    }

    pub(super) fn deleted(id: PostId, cursor: &Arc<LiveCursor>) -> Result<Self, serde_json::Error> {
        Self::new(What::Delete, cursor, &OfPost { id, counts: None })
    }

    pub(super) fn counts(
        id: PostId,
        counts: api::PostCounts,
        cursor: &Arc<LiveCursor>,
    ) -> Result<Self, serde_json::Error> {
        let data = OfPost {
            id,
            counts: Some(counts),
        };
        Self::new(What::Counts, cursor, &data)
    }
}
