//! What the process does after a block, and when an account is no longer protected, without HTTP.

use std::time::Duration;

use commands::{Cause, Consequences, Waited};
use event_log::event_store::{EventStore, RecordedEvent, Retries};
use model::clock::SystemClock;
use model::events::{Block, Event, StreamId};
use model::ids::UserId;
use reqwest::StatusCode;
use serde_json::json;

use crate::service::{Service, User};

struct World {
    service: Service,
    store: EventStore,
    consequences: Consequences,
}

impl World {
    async fn start() -> Self {
        let service = Service::start().await;
        let database = service.stored().await.0;
        let store = EventStore::open(database, SystemClock::shared(), Retries::default())
            .await
            .unwrap();
        Self {
            consequences: Consequences::new(store.clone(), Duration::from_secs(10)),
            service,
            store,
        }
    }

    /// Something that has consequences, and has them later.
    async fn last(&self, stream: StreamId) -> (RecordedEvent, Cause) {
        let event = self.store.read_stream(&stream).await.unwrap().pop().unwrap();
        let cause = Cause::of(&event);
        (event, cause)
    }

    async fn block(&self, blocker: &User, blocked: &User) -> (Block, Cause) {
        let path = format!("/v1/users/{}/block", blocked.id);
        self.service.put(&path, &blocker.token).await.expect(StatusCode::OK);
        let (event, cause) = self.last(StreamId::block(id(blocker), id(blocked))).await;
        let Event::UserBlocked(block) = event.event().unwrap() else {
            unreachable!()
        };
        (block, cause)
    }

    async fn unblock(&self, blocker: &User, blocked: &User) {
        let path = format!("/v1/users/{}/block", blocked.id);
        self.service.delete(&path, &blocker.token).await.expect(StatusCode::OK);
    }

    async fn protect(&self, user: &User, protected: bool) {
        let body = json!({ "protected": protected });
        let changed = self.service.patch("/v1/users/me", &user.token, body).await;
        changed.expect(StatusCode::OK);
    }

    async fn follows(&self, follower: &User, followee: &User) -> Vec<String> {
        let stream = format!("follow-{}-{}", follower.id, followee.id);
        self.service.stored().await.stream(&stream).await
    }
}

fn id(user: &User) -> UserId {
    user.id.parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_block_ends_follows_and_requests_both_ways_once() {
    let world = World::start().await;
    let (ada, bob) = (world.service.user("ada").await, world.service.user("bob").await);
    world.service.follow(&ada, &bob).await;
    world.protect(&ada, true).await;
    world.service.follow(&bob, &ada).await;
    let (block, cause) = world.block(&ada, &bob).await;
    for expected in [2, 0] {
        assert_eq!(world.consequences.end_follows(&block, &cause).await.unwrap(), expected);
    }
    assert_eq!(world.follows(&ada, &bob).await, ["follow.followed", "follow.removed"]);
    assert_eq!(world.follows(&bob, &ada).await, ["follow.requested", "follow.removed"]);
    let (removed, _) = world.last(StreamId::follow(id(&bob), id(&ada))).await;
    assert_eq!(removed.actor, id(&ada));
    assert_eq!(removed.causation_id, cause.causation_id);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_block_that_was_taken_back_ends_what_it_named_and_nothing_later() {
    let world = World::start().await;
    let (ada, bob) = (world.service.user("ada").await, world.service.user("bob").await);
    world.service.follow(&ada, &bob).await;
    let (block, cause) = world.block(&ada, &bob).await;
    world.unblock(&ada, &bob).await;
    world.service.follow(&bob, &ada).await;
    assert_eq!(world.consequences.end_follows(&block, &cause).await.unwrap(), 1);
    assert_eq!(world.follows(&ada, &bob).await, ["follow.followed", "follow.removed"]);
    assert_eq!(world.follows(&bob, &ada).await, ["follow.followed"]);
    // A block that is active again ends it, whichever event asks for it.
    world.block(&ada, &bob).await;
    assert_eq!(world.consequences.end_follows(&block, &cause).await.unwrap(), 1);
}

/// Somebody who blocks by mistake, takes it back and follows again, all before the process has seen the block.
#[tokio::test(flavor = "multi_thread")]
async fn who_follows_again_after_a_block_goes_on_to_follow() {
    let world = World::start().await;
    let (ada, bob) = (world.service.user("ada").await, world.service.user("bob").await);
    world.service.follow(&ada, &bob).await;
    world.service.follow(&bob, &ada).await;
    let (block, cause) = world.block(&ada, &bob).await;
    world.unblock(&ada, &bob).await;
    let path = format!("/v1/users/{}/follow", bob.id);
    let again = world.service.put(&path, &ada.token).await.expect(StatusCode::OK);
    assert_eq!(again.body["following"], true);
    assert_eq!(again.body["followed_by"], false);
    assert_eq!(world.consequences.end_follows(&block, &cause).await.unwrap(), 1);
    assert_eq!(world.follows(&ada, &bob).await, ["follow.followed", "follow.followed"]);
    assert_eq!(world.follows(&bob, &ada).await, ["follow.followed", "follow.removed"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_are_accepted_as_long_as_the_account_is_not_protected() {
    let world = World::start().await;
    let [ada, bob, eve] = [
        world.service.user("ada").await,
        world.service.user("bob").await,
        world.service.user("eve").await,
    ];
    world.protect(&ada, true).await;
    world.service.follow(&bob, &ada).await;
    world.service.follow(&eve, &ada).await;
    world.protect(&ada, false).await;
    let (_, cause) = world.last(StreamId::user(id(&ada))).await;
    let accept = async |follower: &User| {
        let accepted = world.consequences.accept(id(follower), id(&ada), &cause);
        accepted.await.unwrap()
    };
    assert_eq!(accept(&bob).await, Waited::Accepted);
    assert_eq!(accept(&bob).await, Waited::NotAnyMore);
    world.protect(&ada, true).await;
    assert_eq!(accept(&eve).await, Waited::Stop);
    assert_eq!(world.follows(&bob, &ada).await, ["follow.requested", "follow.accepted"]);
    assert_eq!(world.follows(&eve, &ada).await, ["follow.requested"]);
}

/// The account is opened before the process has carried out the block and the deletion.
#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_a_block_or_a_deletion_has_ended_is_not_accepted() {
    let world = World::start().await;
    let [ada, bob, eve] = [
        world.service.user("ada").await,
        world.service.user("bob").await,
        world.service.user("eve").await,
    ];
    world.protect(&ada, true).await;
    world.service.follow(&bob, &ada).await;
    world.service.follow(&eve, &ada).await;
    world.block(&ada, &bob).await;
    world.unblock(&ada, &bob).await;
    let deleted = world.service.delete_user(&eve.token).await;
    deleted.expect(StatusCode::NO_CONTENT);
    world.protect(&ada, false).await;
    let (_, cause) = world.last(StreamId::user(id(&ada))).await;
    for follower in [&bob, &eve] {
        let accepted = world.consequences.accept(id(follower), id(&ada), &cause).await;
        assert_eq!(accepted.unwrap(), Waited::NotAnyMore);
        assert_eq!(world.follows(follower, &ada).await, ["follow.requested"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_are_found_by_who_asks_and_by_who_is_asked() {
    let world = World::start().await;
    let [ada, bob, eve] = [
        world.service.user("ada").await,
        world.service.user("bob").await,
        world.service.user("eve").await,
    ];
    for guarded in [&ada, &eve] {
        world.protect(guarded, true).await;
    }
    for (follower, followee) in [(&bob, &ada), (&bob, &eve), (&eve, &ada), (&ada, &bob)] {
        world.service.follow(follower, followee).await;
    }
    // One is answered, and one was withdrawn and made again.
    let accepted = format!("/v1/follow-requests/{}/accept", eve.id);
    let accepted = world.service.post(&accepted, &ada.token, json!({})).await;
    accepted.expect(StatusCode::OK);
    let withdrawn = format!("/v1/users/{}/follow", eve.id);
    world
        .service
        .delete(&withdrawn, &bob.token)
        .await
        .expect(StatusCode::OK);
    world.service.follow(&bob, &eve).await;
    let (ada, bob, eve) = (id(&ada), id(&bob), id(&eve));
    let (mut asked, mut seen, mut after) = (Vec::new(), 0, None);
    loop {
        let page = world.store.requests_to(ada, after, 1).await.unwrap();
        asked.extend(page.waiting.into_iter().map(|request| request.stream));
        let Some((last, _)) = page.last else { break };
        (seen, after) = (seen + 1, Some(last));
    }
    assert_eq!((asked, seen), (vec![StreamId::follow(bob, ada)], 2));
    for limit in [1, 2, 100] {
        let (mut made, mut after) = (Vec::new(), None);
        loop {
            let page = world.store.requests_by(bob, after.as_ref(), limit).await.unwrap();
            made.extend(page.waiting.into_iter().map(|request| request.stream));
            let Some((_, last)) = page.last else { break };
            after = Some(last);
        }
        assert_eq!(made, [StreamId::follow(bob, ada), StreamId::follow(bob, eve)]);
    }
}
