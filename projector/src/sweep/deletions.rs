//! Notes every deleted user for the deletion sweep.

use async_trait::async_trait;
use event_log::subscription::{Delivery, Handler, HandlerError};
use model::events::Event;
use mongodb::error::Error;

use super::Items;

/// The handler of the subscription "sweep".
#[derive(Debug)]
pub struct Deletions {
    items: Items,
}

impl Deletions {
    pub fn new(items: Items) -> Self {
        Self { items }
    }
}

#[async_trait]
impl Handler for Deletions {
    async fn handle(&self, batch: &[Delivery]) -> Result<(), HandlerError> {
        for delivery in batch {
            if let Event::UserDeleted(user) = &delivery.event {
                self.items
                    .add(user.id, delivery.recorded.id, delivery.recorded.recorded_at)
                    .await?;
            }
        }
        Ok(())
    }

    async fn prepare(&self) -> Result<(), Error> {
        self.items.ensure().await
    }

    fn event_types(&self) -> Option<&'static [&'static str]> {
        Some(&["user.deleted"])
    }
}
