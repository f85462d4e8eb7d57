//! `roles`: who may do what others may not.

use bson::doc;
use event_log::subscription::Delivery;
use model::events::State;
use model::ids::UserId;
use model::values::Role;
use mongodb::error::Error;
use mongodb::{Collection, Database};
use serde::{Deserialize, Serialize};

use super::guarded::GuardedRows;

pub const NAME: &str = "roles";

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct Row {
    role: Role,
}

/// The one writer of the collection.
#[derive(Debug, Clone)]
pub struct Roles {
    database: Database,
    roles: Collection<Row>,
}

impl Roles {
    pub(super) fn new(database: &Database, name: &str) -> Self {
        Self {
            database: database.clone(),
            roles: super::collection(database, name),
        }
    }

    pub(super) async fn ensure(&self) -> Result<(), Error> {
        super::create_plain(&self.database, self.roles.name()).await
    }

    pub async fn of(&self, user: UserId) -> Result<Option<Role>, Error> {
        let row = self.roles.find_one(doc! { "_id": user, "live": true }).await?;
        Ok(row.map(|row| row.role))
    }

    /// Applies the roles among these events to the rows.
    pub(super) async fn apply(&self, batch: &[Delivery]) -> Result<(), Error> {
        let mut rows = GuardedRows::default();
        for delivery in batch {
            let State::UserRole(role) = delivery.event.state() else {
                continue;
            };
            let row = doc! { "role": bson::serialize_to_bson(&role.role)? };
            rows.add(super::id_of(*role.user.as_bytes()), delivery, role.role.is_some(), row);
        }
        rows.write(&self.database, self.roles.name()).await
    }
}
