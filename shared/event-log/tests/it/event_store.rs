//! The event store against a database.

use bson::{Document, doc};
use chrono::Utc;
use event_log::event_store::{
    AppendError, BodyHash, Companion, EventStore, Idempotency, Metadata, NewEvent, RecordedEvent, Retries, Unique,
};
use event_log::position::Position;
use futures_util::StreamExt;
use local_mongodb::TestDatabase;
use model::clock::{Clock, SystemClock};
use model::entities::Entities;
use model::events::{Event, FIRST_SCHEMA, Follow, Post, PostContent, SCHEMA, StreamId};
use model::ids::{PostId, UserId};
use model::values::{IdempotencyKey, PostText, Visibility};
use uuid::Uuid;

pub(crate) async fn open(database: &TestDatabase) -> EventStore {
    let events = database.client().await.database(database.events_database());
    EventStore::open(events, SystemClock::shared(), Retries::default())
        .await
        .unwrap()
}

pub(crate) fn post_created(author: UserId, text: &str) -> Event {
    let now = SystemClock.now();
    let text = PostText::parse(text).unwrap();
    Event::PostCreated(Post {
        id: PostId::new(now),
        author,
        content: Some(PostContent {
            entities: Entities::of(&text),
            text: text.into_string(),
            ..PostContent::default()
        }),
        in_reply_to: None,
        visibility: Visibility::Public,
        created_at: now,
        edited_at: None,
        quote_of: None,
        hidden: None,
        deleted: false,
    })
}

pub(crate) fn followed(follower: UserId, followee: UserId, active: bool) -> Event {
    let follow = Follow {
        follower,
        followee,
        active,
        requested: false,
    };
    if active {
        Event::Followed(follow)
    } else {
        Event::Unfollowed(follow)
    }
}

pub(crate) fn new_event(event: Event, expected_version: i64) -> NewEvent {
    NewEvent {
        actor: event.audience(),
        event,
        expected_version,
        metadata: Metadata {
            command_id: Uuid::new_v4(),
            correlation_id: "test".to_owned(),
            causation_id: None,
            traceparent: None,
        },
        idempotency: None,
    }
}

pub(crate) async fn append(store: &EventStore, event: Event, expected_version: i64) -> (RecordedEvent, Position) {
    let mut session = store.session().await.unwrap();
    let appended = store
        .append(&mut session, new_event(event, expected_version))
        .await
        .unwrap();
    (appended.recorded, appended.position)
}

fn user() -> UserId {
    UserId::new(Utc::now())
}

#[tokio::test]
async fn the_last_event_of_a_stream_is_its_state() {
    let database = TestDatabase::new().await;
    let store = open(&database).await;
    let (ada, bob) = (user(), user());
    append(&store, followed(ada, bob, true), 0).await;
    append(&store, followed(ada, bob, false), 1).await;

    let mut session = store.session().await.unwrap();
    let last = store
        .load(&mut session, &StreamId::follow(ada, bob))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(last.version, 2);
    assert_eq!(last.event().unwrap(), followed(ada, bob, false));
    assert_eq!(last.partition, bob.partition());
    assert!(
        store
            .load(&mut session, &StreamId::follow(bob, ada))
            .await
            .unwrap()
            .is_none()
    );
}

#[tokio::test]
async fn a_wrong_expected_version_is_a_conflict() {
    let database = TestDatabase::new().await;
    let store = open(&database).await;
    let (ada, bob) = (user(), user());
    append(&store, followed(ada, bob, true), 0).await;

    let mut session = store.session().await.unwrap();
    let late = store.append(&mut session, new_event(followed(ada, bob, true), 0)).await;
    assert!(matches!(late, Err(AppendError::Conflict)), "{late:?}");
}

#[tokio::test]
async fn an_idempotency_key_is_used_once_by_an_actor() {
    let database = TestDatabase::new().await;
    let store = open(&database).await;
    let ada = user();
    let with_key = || {
        let mut new = new_event(post_created(ada, "once"), 0);
        new.idempotency = Some(Idempotency {
            key: IdempotencyKey::parse("k1").unwrap(),
            body_hash: BodyHash::of(b"once"),
        });
        new
    };
    let mut session = store.session().await.unwrap();
    let first = store.append(&mut session, with_key()).await.unwrap();
    match store.append(&mut session, with_key()).await {
        Err(AppendError::KeyUsed(earlier)) => {
            assert_eq!(earlier.id, first.recorded.id);
            assert_eq!(earlier.body_hash, Some(BodyHash::of(b"once")));
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn an_event_fails_if_its_companion_exists() {
    let database = TestDatabase::new().await;
    let store = open(&database).await;
    let reserve = |id: &str, unique| Companion::Insert {
        collection: "claims",
        document: doc! { "_id": id },
        unique,
    };
    let mut session = store.session().await.unwrap();
    let first = new_event(post_created(user(), "first"), 0);
    store
        .append_with(&mut session, first, &[reserve("handle:ada", Unique::Handle)])
        .await
        .unwrap();

    let second = new_event(post_created(user(), "second"), 0);
    let stream = second.event.stream();
    let refused = store
        .append_with(
            &mut session,
            second,
            &[reserve("email:b", Unique::Email), reserve("handle:ada", Unique::Handle)],
        )
        .await;
    assert!(
        matches!(refused, Err(AppendError::Taken(Unique::Handle))),
        "{refused:?}"
    );
    assert!(store.load(&mut session, &stream).await.unwrap().is_none());
    let claims = store.database().collection::<Document>("claims");
    assert_eq!(claims.count_documents(doc! {}).await.unwrap(), 1);
}

#[tokio::test]
async fn a_deletion_takes_the_text_out_of_earlier_events() {
    let database = TestDatabase::new().await;
    let store = open(&database).await;
    let created = post_created(user(), "a secret");
    append(&store, created.clone(), 0).await;
    let Event::PostCreated(post) = created else {
        unreachable!()
    };
    let tombstone = Event::PostDeleted(Post {
        content: None,
        deleted: true,
        ..post.clone()
    });

    let mut session = store.session().await.unwrap();
    let redact = [Companion::Redact {
        stream: StreamId::post(post.id),
    }];
    store
        .append_with(&mut session, new_event(tombstone, 1), &redact)
        .await
        .unwrap();

    let stream = store.read_stream(&StreamId::post(post.id)).await.unwrap();
    assert_eq!(stream.len(), 2);
    assert_eq!(
        stream[0].event().unwrap(),
        Event::PostCreated(Post { content: None, ..post })
    );
    let events = store.database().collection::<Document>("events");
    let stored: Vec<_> = events.find(doc! {}).await.unwrap().collect().await;
    assert!(!format!("{stored:?}").contains("secret"));
}

#[tokio::test]
async fn positions_are_the_commit_order_of_the_change_stream() {
    let database = TestDatabase::new().await;
    let store = open(&database).await;
    let start = store.horizon().await.unwrap();
    let mut stream = store
        .database()
        .watch()
        .start_at_operation_time(start.to_timestamp())
        .pipeline([doc! { "$match": { "operationType": "insert" } }])
        .await
        .unwrap();
    let (ada, bob) = (user(), user());
    let mut positions = Vec::new();
    positions.push(append(&store, followed(ada, bob, true), 0).await.1);
    positions.push(store.mark(bob.partition()).await.unwrap());
    positions.push(append(&store, followed(bob, ada, true), 0).await.1);
    let mark = stream.next().await.unwrap().unwrap();
    assert_eq!(mark.cluster_time.map(Position::from), Some(start));
    let mut before = start;
    for position in positions {
        let change = stream.next().await.unwrap().unwrap();
        let committed = change.cluster_time.map(Position::from).unwrap();
        // They are equal on MongoDB. Another server may answer with the time of another client's later write.
        assert!(
            before < committed && committed <= position,
            "{before} {committed} {position}"
        );
        before = committed;
    }
}

/// A store of the first version does not say what may be written.
#[tokio::test]
async fn an_event_that_not_every_program_can_read_is_refused_until_the_store_allows_it() {
    let database = TestDatabase::new().await;
    let (store, other) = (open(&database).await, open(&database).await);
    let documents = store.database().collection::<Document>("store");
    let earlier = documents.update_one(doc! {}, doc! { "$unset": { "schema": "" } }).await;
    assert_eq!(earlier.unwrap().modified_count, 1);

    let (ada, bob) = (user(), user());
    let asked = Event::FollowRequested(Follow {
        follower: ada,
        followee: bob,
        active: false,
        requested: true,
    });
    let mut session = store.session().await.unwrap();
    let refused = store.append(&mut session, new_event(asked.clone(), 0)).await;
    assert!(matches!(refused, Err(AppendError::TooNew)), "{refused:?}");
    append(&store, followed(bob, ada, true), 0).await;
    other.allow(SCHEMA).await.unwrap();
    append(&store, asked, 0).await;
    // It is never taken back.
    other.allow(FIRST_SCHEMA).await.unwrap();
    let anew = open(&database).await;
    let mut session = anew.session().await.unwrap();
    assert!(anew.allows(&mut session, SCHEMA).await.unwrap());
}
