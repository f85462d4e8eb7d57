//! A limit on the memory of the stream's events that are queued, in lanes, or being handled, in all partitions together.
//!
//! Whoever delivers an event first takes room for it, and waits until there is some. Meanwhile the stream is not read on. The room is
//! free again when the event is handled, or will not be handled here.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::event_store::RecordedEvent;

/// About what an event takes besides its data: the envelope, and its entries in queue, lane and progress.
const ENVELOPE: usize = 1_024;

#[derive(Debug)]
pub(super) struct Room {
    bytes: Arc<Semaphore>,
    most: u32,
}

/// The room that one event takes, until this is dropped.
#[derive(Debug)]
pub(super) struct RoomPermit {
    _bytes: Option<OwnedSemaphorePermit>,
}

impl Room {
    pub(super) fn new(most: u32) -> Self {
        let most = most.max(1);
        Self {
            bytes: Arc::new(Semaphore::new(most as usize)),
            most,
        }
    }

    /// Waits until there is room for an event. An event that is larger than the whole room takes the whole room.
    pub(super) async fn take(&self, event: Option<&RecordedEvent>) -> RoomPermit {
        let bytes = self.bytes.clone().acquire_many_owned(self.needed(event)).await;
        // The semaphore is never closed.
        RoomPermit { _bytes: bytes.ok() }
    }

    /// Takes room for an event, if there is some now.
    pub(super) fn take_now(&self, event: Option<&RecordedEvent>) -> Option<RoomPermit> {
        let bytes = self.bytes.clone().try_acquire_many_owned(self.needed(event));
        bytes.ok().map(|bytes| RoomPermit { _bytes: Some(bytes) })
    }

    /// The bytes that are taken.
    pub(super) fn taken(&self) -> i64 {
        let free = i64::try_from(self.bytes.available_permits()).unwrap_or(i64::MAX);
        i64::from(self.most) - free
    }

    fn needed(&self, event: Option<&RecordedEvent>) -> u32 {
        // Twice: the event as it was read, and the decoded one.
        let data = event.map_or(0, |event| 2 * event.data.as_bytes().len());
        u32::try_from(ENVELOPE + data).unwrap_or(u32::MAX).min(self.most)
    }
}
