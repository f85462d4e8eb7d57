//! Events as they are stored.

use bson::raw::{RawBsonRef, RawDocument, RawDocumentBuf};
use bson::spec::BinarySubtype;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use uuid::Uuid;

use model::events::{DecodeError, Event, StreamId};
use model::ids::{EventId, Partition, UserId};
use model::values::IdempotencyKey;

/// The greatest length in bytes of the streams and types that our programs write.
const LONGEST_NAME: usize = 128;

/// The document of an event: the envelope, and in `data` the new state of its aggregate.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RecordedEvent {
    #[serde(rename = "_id")]
    pub id: EventId,
    pub stream: StreamId,
    /// 1 for the first event of a stream, without gaps.
    pub version: i64,
    #[serde(rename = "type")]
    pub event_type: String,
    pub schema: i32,
    pub partition: Partition,
    /// Who gave the command.
    pub actor: UserId,
    #[serde(with = "bson::serde_helpers::uuid_1::AsBinary")]
    pub command_id: Uuid,
    /// The same for all that follows from one request.
    pub correlation_id: String,
    /// The event that this one follows from, if a process and not a person gave the command.
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

/// What identifies an event.
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
    /// What can be read of a document that is no event. Without a valid partition it belongs to the first one, so that one process handles
    /// it.
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

/// An id for a document without a valid one: always the same for the same document.
fn named_after(document: &RawDocument) -> EventId {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, document.as_bytes());
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&digest.as_ref()[..16]);
    EventId::from_uuid(uuid::Builder::from_custom_bytes(bytes).into_uuid())
}

/// A document of the event store that is no event: none of our programs wrote it so.
///
/// It does not say what is wrong: that would quote text of users, and letters and logs outlive a deletion.
#[derive(Debug, Clone, thiserror::Error)]
#[error("the event store holds a document that is no event, of type '{}' and schema {schema}", envelope.event_type)]
pub struct Unreadable {
    pub envelope: Envelope,
    schema: i32,
}

/// SHA-256 over the body of a request. It tells a repeated request from another one with the same key.
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

#[cfg(test)]
mod tests {
    use bson::rawdoc;

    use super::*;

    /// An existing store stays readable.
    #[test]
    fn ids_are_stored_as_binary_and_times_as_dates() {
        let id = Uuid::from_u128(1);
        let stored = |id: Uuid| bson::Bson::Binary(bson::Uuid::from(id).into());
        let at = bson::DateTime::from_millis(1_800_000_000_123);
        let document = bson::doc! {
            "_id": stored(id), "stream": "user-1", "version": 1_i64, "type": "user.registered", "schema": 1,
            "partition": 3, "actor": stored(id), "command_id": stored(id), "correlation_id": "c",
            "recorded_at": at, "data": { "bio": "b" },
        };
        let raw = RawDocumentBuf::try_from(&document).unwrap();
        let event = RecordedEvent::read(&raw).unwrap();
        assert_eq!((event.command_id, event.recorded_at), (id, at.to_chrono()));
        let written = bson::serialize_to_raw_document_buf(&event).unwrap();
        assert_eq!(bson::Document::try_from(written).unwrap(), document);
    }

    /// Letters and logs outlive a deletion.
    #[test]
    fn no_reason_holds_text_of_users() {
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
