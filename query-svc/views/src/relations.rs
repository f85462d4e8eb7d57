//! `relations`: who follows, blocks or mutes whom, who has asked to follow whom, who likes which post, and who has reposted which post.

use std::fmt;

use bson::spec::BinarySubtype;
use bson::{Binary, Bson, Document, doc};
use chrono::{DateTime, TimeDelta, Utc};
use event_log::position::Position;
use futures_util::{StreamExt, TryStreamExt};
use model::ids::{EventId, PostId, UserId, uuid_v7_floor};
use mongodb::error::Error;
use mongodb::{ClientSession, Collection, Database, SessionCursor};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use uuid::Uuid;

use super::range::Range;

pub const NAME: &str = "relations";

/// More than any two clocks differ by.
const CLOCKS_AGREE: TimeDelta = TimeDelta::minutes(5);

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RelationKind {
    /// The target is a user.
    Follow,
    /// The target is a post.
    Like,
    /// The target is a post.
    Repost,
    /// The target is a user.
    Block,
    /// The target is a user.
    Mute,
}

impl RelationKind {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            RelationKind::Follow => "follow",
            RelationKind::Like => "like",
            RelationKind::Repost => "repost",
            RelationKind::Block => "block",
            RelationKind::Mute => "mute",
        }
    }

    fn letter(self) -> u8 {
        match self {
            RelationKind::Follow => b'F',
            RelationKind::Like => b'L',
            RelationKind::Repost => b'R',
            RelationKind::Block => b'B',
            RelationKind::Mute => b'M',
        }
    }

    fn from_letter(letter: u8) -> Option<Self> {
        match letter {
            b'F' => Some(RelationKind::Follow),
            b'L' => Some(RelationKind::Like),
            b'R' => Some(RelationKind::Repost),
            b'B' => Some(RelationKind::Block),
            b'M' => Some(RelationKind::Mute),
            _ => None,
        }
    }
}

/// viewer (16 bytes) ‖ kind (1) ‖ target (16). One `$in` finds all relations between a viewer and a page.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RelationId([u8; 33]);

impl RelationId {
    pub fn follow(follower: UserId, followee: UserId) -> Self {
        Self::new(follower, RelationKind::Follow, followee.as_bytes())
    }

    pub fn like(user: UserId, post: PostId) -> Self {
        Self::new(user, RelationKind::Like, post.as_bytes())
    }

    pub fn repost(user: UserId, post: PostId) -> Self {
        Self::new(user, RelationKind::Repost, post.as_bytes())
    }

    pub fn block(blocker: UserId, blocked: UserId) -> Self {
        Self::new(blocker, RelationKind::Block, blocked.as_bytes())
    }

    pub fn mute(muter: UserId, muted: UserId) -> Self {
        Self::new(muter, RelationKind::Mute, muted.as_bytes())
    }

    fn new(viewer: UserId, kind: RelationKind, target: &[u8; 16]) -> Self {
        let mut bytes = [0; 33];
        bytes[..16].copy_from_slice(viewer.as_bytes());
        bytes[16] = kind.letter();
        bytes[17..].copy_from_slice(target);
        Self(bytes)
    }

    pub fn viewer(&self) -> UserId {
        UserId::from_bytes(self.part(0))
    }

    pub fn kind(&self) -> RelationKind {
        RelationKind::from_letter(self.0[16]).expect("an id is made with the letter of a kind")
    }

    pub fn target(&self) -> Uuid {
        Uuid::from_bytes(self.part(17))
    }

    /// The target of a follow, a block or a mute.
    pub fn target_user(&self) -> UserId {
        UserId::from_uuid(self.target())
    }

    fn part(&self, start: usize) -> [u8; 16] {
        let mut part = [0; 16];
        part.copy_from_slice(&self.0[start..start + 16]);
        part
    }

    /// The id in a `_id` (for example, of a change event), if it is the id of a relation.
    pub fn from_binary(binary: &Binary) -> Option<Self> {
        let bytes = <[u8; 33]>::try_from(binary.bytes.as_slice()).ok()?;
        RelationKind::from_letter(bytes[16]).map(|_| Self(bytes))
    }

    pub fn to_bson(self) -> Binary {
        Binary {
            subtype: BinarySubtype::Generic,
            bytes: self.0.to_vec(),
        }
    }
}

impl From<RelationId> for Bson {
    fn from(id: RelationId) -> Bson {
        Bson::Binary(id.to_bson())
    }
}

impl fmt::Debug for RelationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "RelationId({} {} {})",
            self.viewer(),
            self.kind().as_str(),
            self.target()
        )
    }
}

impl Serialize for RelationId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.to_bson().serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for RelationId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let binary = Binary::deserialize(deserializer)?;
        RelationId::from_binary(&binary).ok_or_else(|| de::Error::custom("is not the id of a relation"))
    }
}

/// A relation of a list: a live one, or a request to follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Relation {
    #[serde(rename = "_id")]
    pub id: RelationId,
    pub version: i64,
    /// The event of this version. Lists are ordered by it, and use it as their cursor.
    pub order: EventId,
    /// For a repost: its id as a post.
    #[serde(default)]
    pub repost: Option<PostId>,
    /// For a mute: when it is over.
    #[serde(default, with = "model::events::optional_datetime")]
    pub until: Option<DateTime<Utc>>,
    /// The position of that event in the commit order. Unknown if a scan has found the event.
    #[serde(default)]
    pub position: Option<Position>,
}

impl Relation {
    pub fn viewer(&self) -> UserId {
        self.id.viewer()
    }

    /// The target of a follow, a request, a block or a mute.
    pub fn target_user(&self) -> UserId {
        self.id.target_user()
    }

    /// The target of a like or a repost.
    pub fn post(&self) -> PostId {
        PostId::from_uuid(self.id.target())
    }
}

/// What holds between two users, or between a user and a post.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub struct Standing {
    #[serde(rename = "_id")]
    pub id: RelationId,
    pub live: bool,
    /// For a follow that is not live: the viewer has asked for it.
    #[serde(default)]
    pub requested: bool,
    /// For a mute: when it is over.
    #[serde(default, with = "model::events::optional_datetime")]
    pub until: Option<DateTime<Utc>>,
    /// For a mute: the viewer is still told what the target does.
    #[serde(default)]
    pub notifications: bool,
}

#[derive(Debug, Clone, Copy, Deserialize)]
struct IdOnly {
    #[serde(rename = "_id")]
    id: RelationId,
}

/// The one writer of the collection.
#[derive(Debug, Clone)]
pub struct Relations {
    database: Database,
    relations: Collection<Relation>,
    standings: Collection<Standing>,
    ids: Collection<IdOnly>,
}

impl Relations {
    pub(super) fn new(database: &Database, name: &str) -> Self {
        Self {
            database: database.clone(),
            relations: super::collection(database, name),
            standings: super::collection(database, name),
            ids: super::collection(database, name),
        }
    }

    pub fn name(&self) -> &str {
        self.relations.name()
    }

    pub(super) async fn ensure(&self) -> Result<(), Error> {
        super::create_plain(&self.database, self.relations.name()).await?;
        self.relations
            .create_indexes([
                super::index("target", doc! { "target": 1, "kind": 1, "live": 1, "order": -1 }, None),
                super::index("viewer", doc! { "viewer": 1, "kind": 1, "live": 1, "order": -1 }, None),
                super::index(
                    "requests_received",
                    doc! { "target": 1, "order": -1 },
                    Some(doc! { "requested": true }),
                ),
                super::index(
                    "requests_sent",
                    doc! { "viewer": 1, "order": -1 },
                    Some(doc! { "requested": true }),
                ),
            ])
            .await?;
        Ok(())
    }

    /// How things stand by each of these relations that was ever made, in no order.
    pub async fn standings(&self, ids: &[RelationId]) -> Result<Vec<Standing>, Error> {
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let batch = super::one_batch(ids.len());
        let ids: Vec<Bson> = ids.iter().map(|&id| id.into()).collect();
        let found = self.standings.find(doc! { "_id": { "$in": ids } });
        let found = found.projection(standing_fields()).batch_size(batch).await?;
        found.try_collect().await
    }

    /// The blocks by and of a user, and the mutes by the user, in no order. None if there are more than `most`.
    pub async fn blocks_and_mutes(&self, user: UserId, most: usize) -> Result<Option<Vec<Standing>>, Error> {
        let [block, mute] = [RelationKind::Block, RelationKind::Mute].map(RelationKind::as_str);
        // Each of them is one range of an index.
        let ranges = [
            doc! { "viewer": user, "kind": block, "live": true },
            doc! { "viewer": user, "kind": mute, "live": true },
            doc! { "target": user, "kind": block, "live": true },
        ];
        let found = self
            .standings
            .find(doc! { "$or": ranges.to_vec() })
            .projection(standing_fields())
            .limit(i64::try_from(most).unwrap_or(i64::MAX).saturating_add(1))
            .batch_size(super::one_batch(most.saturating_add(1)));
        let found: Vec<Standing> = found.await?.try_collect().await?;
        Ok((found.len() <= most).then_some(found))
    }

    /// What a user follows, blocks, mutes, likes or has reposted, newest first.
    pub async fn of_viewer(
        &self,
        viewer: UserId,
        kind: RelationKind,
        range: Range<EventId>,
    ) -> Result<Vec<Relation>, Error> {
        self.list(doc! { "viewer": viewer, "kind": kind.as_str(), "live": true }, range)
            .await
    }

    /// Who follows a user, newest first.
    pub async fn followers(&self, of: UserId, range: Range<EventId>) -> Result<Vec<Relation>, Error> {
        self.list(
            doc! { "target": of, "kind": RelationKind::Follow.as_str(), "live": true },
            range,
        )
        .await
    }

    /// The requests to follow a user that wait for an answer, newest first.
    pub async fn requests_to(&self, user: UserId, range: Range<EventId>) -> Result<Vec<Relation>, Error> {
        self.list(doc! { "target": user, "requested": true }, range).await
    }

    /// The requests of a user that wait for an answer, newest first.
    pub async fn requests_of(&self, user: UserId, range: Range<EventId>) -> Result<Vec<Relation>, Error> {
        self.list(doc! { "viewer": user, "requested": true }, range).await
    }

    /// Who likes a post or has reposted it, newest first.
    pub async fn of_post(
        &self,
        post: PostId,
        kind: RelationKind,
        range: Range<EventId>,
    ) -> Result<Vec<Relation>, Error> {
        self.list(doc! { "target": post, "kind": kind.as_str(), "live": true }, range)
            .await
    }

    /// Who follows, blocks or mutes a user, newest first.
    pub async fn of_user(
        &self,
        user: UserId,
        kind: RelationKind,
        range: Range<EventId>,
    ) -> Result<Vec<Relation>, Error> {
        self.list(doc! { "target": user, "kind": kind.as_str(), "live": true }, range)
            .await
    }

    /// All users whom the viewer follows now, in no order.
    pub async fn followees(&self, viewer: UserId) -> Result<Vec<UserId>, Error> {
        let live = doc! { "viewer": viewer, "kind": RelationKind::Follow.as_str(), "live": true };
        let found = self
            .ids
            .find(live)
            .projection(doc! { "_id": 1 })
            .batch_size(10_000)
            .await?;
        found
            .map_ok(|row| UserId::from_uuid(row.id.target()))
            .try_collect()
            .await
    }

    async fn list(&self, mut filter: Document, range: Range<EventId>) -> Result<Vec<Relation>, Error> {
        range.bound(&mut filter, "order");
        let sort = doc! { "order": range.direction() };
        let found = self
            .relations
            .find(filter)
            .sort(sort)
            .limit(i64::from(range.limit))
            .await?;
        Ok(range.newest_first(found.try_collect().await?))
    }

    /// The live ones among these relations, in no order.
    pub async fn live_by_ids(&self, ids: &[RelationId]) -> Result<Vec<Relation>, Error> {
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let found = self
            .relations
            .find(live_among(ids))
            .batch_size(super::one_batch(ids.len()));
        found.await?.try_collect().await
    }

    /// The same, as the session sees them.
    pub(super) async fn live_in(
        &self,
        session: &mut ClientSession,
        ids: &[RelationId],
    ) -> Result<Vec<Relation>, Error> {
        let mut found = self.relations.find(live_among(ids)).session(&mut *session).await?;
        found.stream(session).try_collect().await
    }

    /// The reposts of a post that were made since a time and before another, in no order, as the session sees them.
    pub(super) async fn reposts_of(
        &self,
        session: &mut ClientSession,
        post: PostId,
        since: Option<DateTime<Utc>>,
        before: DateTime<Utc>,
    ) -> Result<SessionCursor<Relation>, Error> {
        let first_at = |time| PostId::from_uuid(uuid_v7_floor(time));
        let mut made = doc! { "$lt": first_at(before) };
        let mut live = doc! { "target": post, "kind": RelationKind::Repost.as_str(), "live": true };
        if let Some(since) = since {
            made.insert("$gte", first_at(since));
            // The index has the order. The event is not made before the repost, as far as clocks agree.
            live.insert(
                "order",
                doc! { "$gte": EventId::from_uuid(uuid_v7_floor(since - CLOCKS_AGREE)) },
            );
        }
        live.insert("repost", made);
        self.relations.find(live).session(session).await
    }

    /// All followers of any of these users, in no order, as the session sees them.
    pub(super) async fn all_followers(&self, session: &mut ClientSession, of: &[UserId]) -> Result<Followers, Error> {
        let of: Vec<Bson> = of.iter().map(|&user| user.into()).collect();
        let live = doc! { "target": { "$in": of }, "kind": RelationKind::Follow.as_str(), "live": true };
        let found = self.ids.find(live).projection(doc! { "_id": 1 }).batch_size(10_000);
        Ok(Followers {
            found: found.session(session).await?,
        })
    }
}

fn standing_fields() -> Document {
    doc! { "live": 1, "requested": 1, "until": 1, "notifications": 1 }
}

fn live_among(ids: &[RelationId]) -> Document {
    let ids: Vec<Bson> = ids.iter().map(|&id| id.into()).collect();
    doc! { "_id": { "$in": ids }, "live": true }
}

/// Who follows whom.
#[derive(Debug, Clone, Copy)]
pub(super) struct Follow {
    pub(super) follower: UserId,
    pub(super) followee: UserId,
}

/// Follows that are read in parts, so that a million of them need not be in memory.
#[derive(Debug)]
pub(super) struct Followers {
    found: SessionCursor<IdOnly>,
}

impl Followers {
    /// The next follows, at most `limit`. Empty at the end.
    pub(super) async fn next(&mut self, session: &mut ClientSession, limit: usize) -> Result<Vec<Follow>, Error> {
        self.found
            .stream(session)
            .take(limit)
            .map_ok(|row| Follow {
                follower: row.id.viewer(),
                followee: UserId::from_uuid(row.id.target()),
            })
            .try_collect()
            .await
    }
}
