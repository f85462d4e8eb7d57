//! Notes the work that an event leaves to others: the deletion sweep, and the consequences of a block or of the end of a protection.
//!
//! The subscription is the one that noted deletions before there was anything else to note. A projector of that version does not know the
//! types `block.blocked` and `user.unprotected`. Where it meets one, its partition waits until a projector that knows it takes the lease
//! (see docs/adr/0009). So every such event is noted, by whoever knows it, and no scan of all events is needed. The notes are in a collection
//! of their own, `consequences`, and are worked on from a seat of their own. So a projector of that version, while it holds the seat of the
//! sweep, never sees a note that it would misread. It also does not sweep with half of the knowledge: there are no requests, blocks and mutes
//! before the store allows them, and it allows them when no such projector is left (see `event_log::event_store`).

use async_trait::async_trait;
use event_log::subscription::{Delivery, Handler, HandlerError};
use model::events::Event;
use mongodb::error::Error;

use crate::{consequences, sweep};

/// The name of the subscription.
pub(crate) const SUBSCRIPTION: &str = "sweep";

/// The handler of the subscription.
#[derive(Debug)]
pub(crate) struct Notes {
    sweeps: sweep::Items,
    consequences: consequences::Items,
}

impl Notes {
    pub(crate) fn new(sweeps: sweep::Items, consequences: consequences::Items) -> Self {
        Self { sweeps, consequences }
    }
}

#[async_trait]
impl Handler for Notes {
    async fn handle(&self, batch: &[Delivery]) -> Result<(), HandlerError> {
        for delivery in batch {
            let (event, at) = (delivery.recorded.id, delivery.recorded.recorded_at);
            match &delivery.event {
                Event::UserDeleted(user) => self.sweeps.add(user.id, event, at).await?,
                Event::UserBlocked(block) => self.consequences.add(event, block.blocker, at).await?,
                Event::UserUnprotected(user) => self.consequences.add(event, user.id, at).await?,
                _ => {}
            }
        }
        Ok(())
    }

    async fn prepare(&self) -> Result<(), Error> {
        self.sweeps.ensure().await?;
        self.consequences.ensure().await
    }

    fn event_types(&self) -> Option<&'static [&'static str]> {
        Some(&["user.deleted", "block.blocked", "user.unprotected"])
    }
}
