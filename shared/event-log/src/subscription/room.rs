//! How much of the stream may be in memory: what is queued, laid out, or worked on, of all partitions together.
//!
//! Who hands an event over takes room for it first, and waits until there is some: so the stream is not read on. The room is given
//! back when the event is handled, or will not be handled here.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::event_store::RecordedEvent;

/// About what an event takes beside its data: the envelope, its places in queue, lane and progress.
const ENVELOPE: usize = 1_024;

#[derive(Debug)]
pub(super) struct Room {
    bytes: Arc<Semaphore>,
    most: u32,
}

/// What an event takes of it, until it is dropped.
#[derive(Debug)]
pub(super) struct Held {
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

    /// Waits until there is room for an event. One that is larger than all there is has all of it.
    pub(super) async fn take(&self, event: Option<&RecordedEvent>) -> Held {
        let bytes = self.bytes.clone().acquire_many_owned(self.needed(event)).await;
        // It is never closed.
        Held { _bytes: bytes.ok() }
    }

    /// Room for an event, if there is some at once.
    pub(super) fn take_now(&self, event: Option<&RecordedEvent>) -> Option<Held> {
        let bytes = self.bytes.clone().try_acquire_many_owned(self.needed(event));
        bytes.ok().map(|bytes| Held { _bytes: Some(bytes) })
    }

    /// The bytes that are taken.
    pub(super) fn taken(&self) -> i64 {
        let free = i64::try_from(self.bytes.available_permits()).unwrap_or(i64::MAX);
        i64::from(self.most) - free
    }

    fn needed(&self, event: Option<&RecordedEvent>) -> u32 {
        // Twice: as it was read, and decoded.
        let data = event.map_or(0, |event| 2 * event.data.as_bytes().len());
        u32::try_from(ENVELOPE + data).unwrap_or(u32::MAX).min(self.most)
    }
}
