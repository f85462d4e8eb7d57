//! Events as they are stored.

use bson::raw::{RawBsonRef, RawDocument, RawDocumentBuf};
use bson::spec::BinarySubtype;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use uuid::Uuid;

use model::events::{DecodeError, Event, StreamId};
use model::ids::{EventId, Partition, UserId};
use model::values::IdempotencyKey;

/// No name of a stream or type that a program of ours writes is longer, in bytes.
const LONGEST_NAME: usize = 128;

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
    #[serde(with = "bson::serde_helpers::datetime::FromChrono04DateTime")]
    pub recorded_at: DateTime<Utc>,
    pub data: RawDocumentBuf,
}

impl RecordedEvent {
    /// Reads a document of the event store.
    pub fn read(document: &RawDocument) -> Result<Self, Unreadable> {
        bson::deserialize_from_slice(document.as_bytes()).map_err(|_| Unreadable {
            envelope: Envelope::salvaged(document),
            schema: document.get_i32("schema").unwrap_or(0),
        })
    }

    pub fn event(&self) -> Result<Event, DecodeError> {
        Event::decode(&self.event_type, self.schema, &self.data)
    }
}

/// What names an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope {
    pub id: EventId,
    pub stream: StreamId,
    pub version: i64,
    pub event_type: String,
    pub partition: Partition,
}

impl From<&RecordedEvent> for Envelope {
    fn from(event: &RecordedEvent) -> Self {
        Self {
            id: event.id,
            stream: event.stream.clone(),
            version: event.version,
            event_type: event.event_type.clone(),
            partition: event.partition,
        }
    }
}

impl Envelope {
    /// As much as can be told of a document that is no event. Without a partition that there is, it is the first one's: somebody
    /// has to deal with it.
    fn salvaged(document: &RawDocument) -> Self {
        let id = match document.get("_id") {
            Ok(Some(RawBsonRef::Binary(binary))) if binary.subtype == BinarySubtype::Uuid => {
                binary.bytes.try_into().ok()
            }
            _ => None,
        };
        let id = id.map_or_else(|| named_after(document), EventId::from_bytes);
        let name = |key: &str| document.get_str(key).ok().filter(|name| name.len() <= LONGEST_NAME);
        let partition = document.get_i32("partition").ok().and_then(|it| it.try_into().ok());
        Self {
            id,
            stream: name("stream").map_or_else(
                || StreamId::unreadable(id),
                |name| StreamId::from_stored(name.to_owned()),
            ),
            version: document.get_i64("version").unwrap_or(0),
            event_type: name("type").unwrap_or_default().to_owned(),
            partition: partition.unwrap_or(Partition::FIRST),
        }
    }
}

/// An id for what has none that could be an event's: always the same one.
fn named_after(document: &RawDocument) -> EventId {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, document.as_bytes());
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&digest.as_ref()[..16]);
    EventId::from_uuid(uuid::Builder::from_custom_bytes(bytes).into_uuid())
}

/// A document of the event store that is no event: no program of ours wrote it so.
///
/// What is wrong with it is not told: that would quote what somebody wrote, and letters and logs outlive a deletion.
#[derive(Debug, Clone, thiserror::Error)]
#[error("the event store holds a document that is no event, of type '{}' and schema {schema}", envelope.event_type)]
pub struct Unreadable {
    pub envelope: Envelope,
    schema: i32,
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

#[cfg(test)]
mod tests {
    use bson::rawdoc;

    use super::*;

    /// Letters and logs outlive a deletion.
    #[test]
    fn what_people_wrote_is_in_no_reason() {
        let document = rawdoc! { "type": "post.created", "schema": "what ada wrote", "stream": "x".repeat(1_000) };
        let unreadable = RecordedEvent::read(&document).unwrap_err();
        let reason = unreadable.to_string();
        assert!(reason.contains("post.created") && !reason.contains("ada"), "{reason}");
        assert_eq!(unreadable.envelope.stream, StreamId::unreadable(unreadable.envelope.id));

        let data = rawdoc! { "id": "what ada wrote" };
        let malformed = Event::decode("post.created", 1, &data).unwrap_err();
        let reason = chain(&malformed);
        assert!(reason.contains("post.created") && !reason.contains("ada"), "{reason}");
    }

    fn chain(error: &dyn std::error::Error) -> String {
        std::iter::successors(Some(error), |error| error.source())
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join(": ")
    }
}
