//! What was acknowledged to people, and whether the event store contains exactly that.

use std::collections::BTreeMap;

use event_log::event_store::{EVENTS, RecordedEvent};
use futures_util::TryStreamExt as _;
use model::events::{Event, StreamId};
use model::ids::UserId;
use mongodb::bson::doc;

use crate::world::World;

/// An event that must exist.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Expected {
    event_type: String,
    /// The text of a post that is not deleted.
    text: Option<String>,
}

/// What one person knows. Nobody else writes to these streams, so that each has one order.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    streams: BTreeMap<String, Vec<Expected>>,
    pub(crate) acknowledged: usize,
    pub(crate) refused: usize,
    /// Requests that got no answer.
    pub(crate) repeated: usize,
}

impl Ledger {
    pub(crate) fn acknowledged(&mut self, stream: &StreamId, event_type: &str, text: Option<&str>) {
        self.acknowledged += 1;
        let events = self.streams.entry(stream.to_string()).or_default();
        if event_type == "post.deleted" {
            // The deletion removes the text from the earlier events.
            for event in &mut *events {
                event.text = None;
            }
        }
        events.push(Expected {
            event_type: event_type.to_owned(),
            text: text.map(str::to_owned),
        });
    }
}

/// Checks that the event store contains everything that was acknowledged, exactly once, and nothing else, except for what the rivals did.
/// Returns the events.
pub(crate) async fn compare(world: &World, ledgers: &[Ledger], rivals: [UserId; 2]) -> Vec<RecordedEvent> {
    let databases = world.databases().await;
    let in_order = doc! { "stream": 1, "version": 1 };
    let collection = databases.events.collection::<RecordedEvent>(EVENTS);
    let found = collection.find(doc! {}).sort(in_order).await;
    let found = found.expect("the events can be read");
    let events: Vec<RecordedEvent> = found.try_collect().await.expect("the events can be read");
    databases.close().await;
    let mut found: BTreeMap<String, Vec<Expected>> = BTreeMap::new();
    for recorded in events.iter().filter(|recorded| !rivals.contains(&recorded.actor)) {
        let stream = found.entry(recorded.stream.to_string()).or_default();
        stream.push(Expected {
            event_type: recorded.event_type.clone(),
            text: text(recorded),
        });
        let versions = i64::try_from(stream.len()).expect("a few");
        assert_eq!(recorded.version, versions, "{} has a gap", recorded.stream);
    }
    let mut expected = ledgers.iter().flat_map(|ledger| &ledger.streams);
    let wrong: Vec<_> = expected
        .by_ref()
        .filter_map(|(stream, expected)| {
            let found = found.remove(stream).unwrap_or_default();
            (found != *expected).then(|| format!("{stream}: {found:#?} instead of {expected:#?}"))
        })
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(found.is_empty(), "these events were never acknowledged: {found:#?}");
    events
}

fn text(recorded: &RecordedEvent) -> Option<String> {
    match recorded.event().expect("it can be read") {
        Event::PostCreated(post) | Event::PostEdited(post) => post.content.map(|content| content.text),
        _ => None,
    }
}
