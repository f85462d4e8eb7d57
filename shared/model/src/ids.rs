//! Identifiers: UUIDs that order by time (version 7), with one type for each kind of thing.
//!
//! In JSON an id is a string with one spelling, as in a path. In BSON it is a binary of subtype 4. The code asks the format whether it is
//! human-readable, and chooses by that. Buffering (`#[serde(flatten)]`, untagged and internally tagged enums) hides the answer, and
//! [`bson::Document`] claims to be human-readable. So read ids from the bytes of a document, as the driver does.

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use uuid::{Builder, Uuid};

/// The text is not a UUID.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("is not an id: a UUID of 36 characters is expected")]
pub struct InvalidId;

/// A new UUIDv7 for the given time, random below the millisecond.
pub fn uuid_v7(at: DateTime<Utc>) -> Uuid {
    let random = Uuid::new_v4().into_bytes();
    let mut tail = [0_u8; 10];
    tail.copy_from_slice(&random[..10]);
    // Version 4 fixes bits of bytes 6 and 8. The last byte chooses the partition and must be uniform.
    tail[6] = random[10];
    tail[8] = random[11];
    Builder::from_unix_timestamp_millis(unix_millis(at), &tail).into_uuid()
}

/// The lowest UUIDv7 of the given time. Every id that is made at this time or later is higher.
pub fn uuid_v7_floor(at: DateTime<Utc>) -> Uuid {
    let mut bytes = [0_u8; 16];
    bytes[..6].copy_from_slice(&unix_millis(at).to_be_bytes()[2..]);
    bytes[6] = 0x70;
    bytes[8] = 0x80;
    Uuid::from_bytes(bytes)
}

/// The time in a UUIDv7. Other UUIDs may have no time in it; then it is the epoch.
pub fn time_of(id: Uuid) -> DateTime<Utc> {
    let mut millis = [0_u8; 8];
    millis[2..].copy_from_slice(&id.as_bytes()[..6]);
    i64::try_from(u64::from_be_bytes(millis))
        .ok()
        .and_then(DateTime::from_timestamp_millis)
        .unwrap_or(DateTime::UNIX_EPOCH)
}

fn unix_millis(at: DateTime<Utc>) -> u64 {
    u64::try_from(at.timestamp_millis()).unwrap_or(0)
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Uuid);

        impl $name {
            /// A new id for the given time.
            pub fn new(at: DateTime<Utc>) -> Self {
                Self(uuid_v7(at))
            }

            pub const fn from_uuid(id: Uuid) -> Self {
                Self(id)
            }

            pub const fn as_uuid(self) -> Uuid {
                self.0
            }

            pub const fn from_bytes(bytes: [u8; 16]) -> Self {
                Self(Uuid::from_bytes(bytes))
            }

            pub const fn as_bytes(&self) -> &[u8; 16] {
                self.0.as_bytes()
            }

            /// The value in the form that the driver's documents and filters need.
            pub fn to_bson(self) -> bson::Binary {
                bson::Uuid::from(self.0).into()
            }

            /// The time when the id was made, to the millisecond.
            pub fn time(self) -> DateTime<Utc> {
                time_of(self.0)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0.as_hyphenated(), f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.0)
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;

            fn from_str(text: &str) -> Result<Self, InvalidId> {
                // Only one spelling is allowed. The parser would also accept braces, URNs and hexadecimal without hyphens.
                if text.len() != 36 {
                    return Err(InvalidId);
                }
                Uuid::try_parse(text).map(Self).map_err(|_| InvalidId)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                bson::Uuid::from(self.0).serialize(serializer)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                if deserializer.is_human_readable() {
                    // The parser of `bson::Uuid` would also accept other spellings, and objects that stand for a UUID.
                    return String::deserialize(deserializer)?.parse().map_err(de::Error::custom);
                }
                bson::Uuid::deserialize(deserializer).map(|id| Self(id.into()))
            }
        }

        impl From<$name> for bson::Bson {
            fn from(id: $name) -> bson::Bson {
                bson::Bson::Binary(id.to_bson())
            }
        }

        impl utoipa::PartialSchema for $name {
            fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
                utoipa::openapi::ObjectBuilder::new()
                    .schema_type(utoipa::openapi::schema::Type::String)
                    .format(Some(utoipa::openapi::SchemaFormat::KnownFormat(
                        utoipa::openapi::KnownFormat::Uuid,
                    )))
                    .into()
            }
        }

        impl utoipa::ToSchema for $name {}
    };
}

id! {
    /// A user.
    UserId
}
id! {
    /// A post, or a repost, which appears as a post in every list.
    PostId
}
id! {
    /// An event. Also the `_id` of its document in the event store.
    EventId
}
id! {
    /// A session: the family of refresh tokens that one login began.
    SessionId
}

id! {
    /// A list of users and tags.
    ListId
}
id! {
    /// A filter.
    FilterId
}
id! {
    /// A report to the moderators.
    ReportId
}

impl EventId {
    /// The id of the notification that a post was edited at this time. It follows from what is stored, so whoever makes it makes the same. No event
    /// has it: what does not come from the time comes from the id of the post.
    pub fn of_edit(post: PostId, at: DateTime<Utc>) -> Self {
        let mut bytes = *post.as_bytes();
        bytes[..6].copy_from_slice(&uuid_v7_floor(at).as_bytes()[..6]);
        Self::from_bytes(bytes)
    }
}

impl UserId {
    /// The partition of the events that concern this user's audience.
    pub fn partition(self) -> Partition {
        Partition(self.as_bytes()[15] % PARTITIONS)
    }
}

/// The number of partitions into which the events are divided. It can't change while checkpoints exist.
pub const PARTITIONS: u8 = 64;

/// A part of the events. One subscriber at a time works on it, in commit order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "i32", into = "i32")]
pub struct Partition(u8);

impl Partition {
    pub const FIRST: Self = Self(0);

    pub fn new(number: u8) -> Option<Self> {
        (number < PARTITIONS).then_some(Self(number))
    }

    pub const fn number(self) -> u8 {
        self.0
    }

    pub const fn index(self) -> usize {
        self.0 as usize
    }

    pub fn all() -> impl Iterator<Item = Partition> {
        (0..PARTITIONS).map(Partition)
    }
}

impl fmt::Display for Partition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl From<Partition> for i32 {
    fn from(partition: Partition) -> i32 {
        i32::from(partition.0)
    }
}

impl From<Partition> for bson::Bson {
    fn from(partition: Partition) -> bson::Bson {
        bson::Bson::Int32(partition.into())
    }
}

impl TryFrom<i32> for Partition {
    type Error = String;

    fn try_from(number: i32) -> Result<Self, String> {
        u8::try_from(number)
            .ok()
            .and_then(Partition::new)
            .ok_or_else(|| format!("{number} is not a partition (0 to {})", PARTITIONS - 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Holder {
        id: PostId,
        maybe: Option<UserId>,
        inner: Vec<Holder>,
    }

    #[test]
    fn an_id_is_a_string_in_json_and_a_uuid_in_bson() {
        let at = DateTime::from_timestamp_millis(1_700_000_000_123).unwrap();
        let holder = Holder {
            id: PostId::new(at),
            maybe: Some(UserId::new(at)),
            inner: vec![Holder {
                id: PostId::new(at),
                maybe: None,
                inner: vec![],
            }],
        };
        let json = serde_json::to_value(&holder).unwrap();
        assert_eq!(json["id"], holder.id.to_string());
        assert_eq!(serde_json::from_value::<Holder>(json).unwrap(), holder);

        let document = bson::serialize_to_document(&holder).unwrap();
        assert_eq!(document.get("id"), Some(&bson::Bson::Binary(holder.id.to_bson())));
        let raw = bson::serialize_to_vec(&holder).unwrap();
        assert_eq!(bson::deserialize_from_slice::<Holder>(&raw).unwrap(), holder);
    }

    #[test]
    fn ids_carry_their_time_and_order_by_it() {
        let at = DateTime::from_timestamp_millis(1_700_000_000_123).unwrap();
        let id = PostId::new(at);
        assert_eq!(id.time(), at);
        assert_eq!(id.as_uuid().get_version_num(), 7);
        assert!(uuid_v7_floor(at) <= id.as_uuid());
        assert!(id.as_uuid() < uuid_v7_floor(at + chrono::TimeDelta::milliseconds(1)));
    }

    #[test]
    fn the_id_of_an_edit_has_its_time_and_belongs_to_its_post() {
        let (written, edited) = [1_700_000_000_123, 1_700_000_009_000]
            .map(|at| DateTime::from_timestamp_millis(at).unwrap())
            .into();
        let [post, other] = [PostId::new(written), PostId::new(written)];
        assert_eq!(EventId::of_edit(post, edited).time(), edited);
        assert_eq!(EventId::of_edit(post, edited), EventId::of_edit(post, edited));
        assert_ne!(EventId::of_edit(post, edited), EventId::of_edit(other, edited));
    }

    #[test]
    fn only_the_canonical_spelling_parses() {
        let id = UserId::new(Utc::now());
        let canonical = id.to_string();
        assert_eq!(canonical.parse(), Ok(id));
        assert_eq!(serde_json::from_value::<UserId>(canonical.as_str().into()).unwrap(), id);
        let uuid = id.as_uuid();
        for other in [
            uuid.simple().to_string(),
            uuid.urn().to_string(),
            uuid.braced().to_string(),
            format!(" {canonical}"),
            String::new(),
        ] {
            assert_eq!(other.parse::<UserId>(), Err(InvalidId), "{other}");
            assert!(
                serde_json::from_value::<UserId>(other.as_str().into()).is_err(),
                "{other}"
            );
        }
        for object in [
            serde_json::json!({ "$uuid": canonical }),
            serde_json::to_value(id.to_bson()).unwrap(),
            serde_json::json!(id.as_bytes()),
        ] {
            assert!(serde_json::from_value::<UserId>(object.clone()).is_err(), "{object}");
        }
    }

    #[test]
    fn the_last_byte_chooses_the_partition() {
        let mut bytes = *UserId::new(Utc::now()).as_bytes();
        bytes[15] = 200;
        assert_eq!(UserId::from_bytes(bytes).partition().number(), 200 % 64);
    }
}
