//! What a client knows that has received everything up to here.

use std::sync::{Arc, OnceLock};

use chrono::{DateTime, TimeDelta, Utc};

use crate::cursor::Cursor;
use crate::handled::Handled;
use crate::paging::Arrival;
use crate::since::Since;

/// A cursor that many streams share. Its text is made when the first of them needs it.
#[derive(Debug)]
pub(crate) struct LiveCursor {
    pub(crate) since: Since,
    text: OnceLock<Box<str>>,
}

impl LiveCursor {
    pub(crate) fn of(since: Since) -> Arc<Self> {
        Arc::new(Self {
            since,
            text: OnceLock::new(),
        })
    }

    /// The bus has shown `handled`, and nothing above `top`.
    pub(super) fn at(handled: Handled, top: Cursor, now: DateTime<Utc>, overlap: TimeDelta) -> Arc<Self> {
        let arrival = Arrival::Late {
            handled: handled.clone(),
            now,
            overlap,
        };
        Self::of(arrival.since(Cursor::BOTTOM, top, Some(handled)))
    }

    pub(crate) fn text(&self) -> &str {
        self.text.get_or_init(|| self.since.to_string().into())
    }
}
