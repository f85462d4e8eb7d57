//! `list_members`: the users in each list. The rows of a deleted list stay: whoever reads them has looked up the list before.

use bson::spec::BinarySubtype;
use bson::{Binary, Bson, Document, doc};
use event_log::position::Position;
use event_log::subscription::Delivery;
use futures_util::TryStreamExt;
use model::events::State;
use model::ids::{EventId, ListId, UserId};
use mongodb::error::Error;
use mongodb::{Collection, Database};
use serde::{Deserialize, Serialize};

use super::guarded::GuardedRows;
use super::range::Range;

pub const NAME: &str = "list_members";

/// A user in a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListMember {
    pub list: ListId,
    pub user: UserId,
    /// The event that made it. Lists are ordered by it, and use it as their cursor.
    pub order: EventId,
    /// The position of that event in the commit order. Unknown if a scan has found the event.
    #[serde(default)]
    pub position: Option<Position>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
struct UserOnly {
    user: UserId,
}

/// Which list a user is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
pub struct Membership {
    pub list: ListId,
    pub user: UserId,
}

/// list (16 bytes) ‖ user (16).
fn member_id(list: ListId, user: UserId) -> Binary {
    Binary {
        subtype: BinarySubtype::Generic,
        bytes: [*list.as_bytes(), *user.as_bytes()].concat(),
    }
}

/// The list in the id of a row of this collection, or of `list_tags`.
pub fn list_in_id(id: &Binary) -> Option<ListId> {
    let bytes = id.bytes.get(..16)?;
    Some(ListId::from_bytes(bytes.try_into().ok()?))
}

/// The one writer of the collection.
#[derive(Debug, Clone)]
pub struct ListMembers {
    database: Database,
    members: Collection<ListMember>,
}

impl ListMembers {
    pub(super) fn new(database: &Database, name: &str) -> Self {
        Self {
            database: database.clone(),
            members: super::collection(database, name),
        }
    }

    pub fn name(&self) -> &str {
        self.members.name()
    }

    pub(super) async fn ensure(&self) -> Result<(), Error> {
        super::create_plain(&self.database, self.members.name()).await?;
        self.members
            .create_indexes([
                // Has everything that the timeline of a list needs of its members.
                super::index("list", doc! { "list": 1, "live": 1, "order": -1, "user": 1 }, None),
                super::index("owner", doc! { "owner": 1, "user": 1, "live": 1, "list": 1 }, None),
                // Finds a deleted user in the lists of others.
                super::index("user", doc! { "user": 1, "live": 1, "order": -1 }, None),
            ])
            .await?;
        Ok(())
    }

    /// The members of a list, the last one added first.
    pub async fn of_list(&self, list: ListId, range: Range<EventId>) -> Result<Vec<ListMember>, Error> {
        self.page(doc! { "list": list, "live": true }, range).await
    }

    /// Which lists a user is in, of all owners, also deleted ones. The list that the user was added to last comes first.
    pub async fn of_user(&self, user: UserId, range: Range<EventId>) -> Result<Vec<ListMember>, Error> {
        self.page(doc! { "user": user, "live": true }, range).await
    }

    async fn page(&self, mut filter: Document, range: Range<EventId>) -> Result<Vec<ListMember>, Error> {
        range.bound(&mut filter, "order");
        let sort = doc! { "order": range.direction() };
        let found = self.members.find(filter).sort(sort).limit(i64::from(range.limit));
        Ok(range.newest_first(found.await?.try_collect().await?))
    }

    /// All members of a list, in no order. A list has only so many.
    pub async fn all_of_list(&self, list: ListId) -> Result<Vec<UserId>, Error> {
        let users = self.members.clone_with_type::<UserOnly>();
        let found = users
            .find(doc! { "list": list, "live": true })
            .projection(doc! { "_id": 0, "user": 1 })
            .batch_size(10_000);
        found.await?.map_ok(|member| member.user).try_collect().await
    }

    /// Which lists of an owner these users are in, also deleted ones.
    pub async fn memberships(&self, owner: UserId, users: &[UserId]) -> Result<Vec<Membership>, Error> {
        let users: Vec<Bson> = users.iter().map(|&user| user.into()).collect();
        let memberships = self.members.clone_with_type::<Membership>();
        let found = memberships
            .find(doc! { "owner": owner, "user": { "$in": users }, "live": true })
            .projection(doc! { "_id": 0, "list": 1, "user": 1 })
            .batch_size(10_000);
        found.await?.try_collect().await
    }

    /// Applies the members among these events to the rows.
    pub(super) async fn apply(&self, batch: &[Delivery]) -> Result<(), Error> {
        let mut rows = GuardedRows::default();
        for delivery in batch {
            let State::ListMember(member) = delivery.event.state() else {
                continue;
            };
            let row = doc! { "list": member.list, "owner": member.owner, "user": member.user };
            rows.add(member_id(member.list, member.user), delivery, member.active, row);
        }
        rows.write(&self.database, self.members.name()).await
    }
}
