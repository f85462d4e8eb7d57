//! Events as they are stored.

use bson::raw::RawDocumentBuf;
use bson::spec::BinarySubtype;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use uuid::Uuid;

use crate::events::{DecodeError, Event, StreamId};
use crate::ids::{EventId, Partition, UserId};
use crate::values::IdempotencyKey;

/// The document of an event: the envelope, and in `data` the new state of its aggregate.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RecordedEvent {
    #[serde(rename = "_id")]
    pub id: EventId,
    pub stream: StreamId,
    /// 1 for the first event of a stream; without gaps.
    pub version: i64,
    #[serde(rename = "type")]
    pub event_type: String,
    pub schema: i32,
    pub partition: Partition,
    /// Who gave the command.
    pub actor: UserId,
    #[serde(with = "bson_uuid")]
    pub command_id: Uuid,
    /// What belongs together from the first request on.
    pub correlation_id: String,
    /// The event that this one follows from, where it was a process and not a person that gave the command.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub causation_id: Option<EventId>,
    /// The W3C trace context of the command.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub traceparent: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub idempotency_key: Option<IdempotencyKey>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub body_hash: Option<BodyHash>,
    #[serde(with = "crate::mongo::datetime")]
    pub recorded_at: DateTime<Utc>,
    pub data: RawDocumentBuf,
}

impl RecordedEvent {
    pub fn event(&self) -> Result<Event, DecodeError> {
        Event::decode(&self.event_type, self.schema, &self.data)
    }
}

/// SHA-256 over the body of a request, to tell a repeat from another request with the same key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BodyHash([u8; 32]);

impl BodyHash {
    pub fn of(body: &[u8]) -> Self {
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, body);
        let mut hash = [0; 32];
        hash.copy_from_slice(digest.as_ref());
        Self(hash)
    }
}

impl Serialize for BodyHash {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        bson::Binary {
            subtype: BinarySubtype::Generic,
            bytes: self.0.to_vec(),
        }
        .serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for BodyHash {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let bytes = bson::Binary::deserialize(deserializer)?.bytes;
        <[u8; 32]>::try_from(bytes)
            .map(Self)
            .map_err(|_| de::Error::custom("a hash has 32 bytes"))
    }
}

mod bson_uuid {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};
    use uuid::Uuid;

    pub(super) fn serialize<S: Serializer>(id: &Uuid, serializer: S) -> Result<S::Ok, S::Error> {
        bson::Uuid::from(*id).serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Uuid, D::Error> {
        bson::Uuid::deserialize(deserializer).map(Uuid::from)
    }
}
