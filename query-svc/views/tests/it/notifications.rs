//! Tests what users are told of. That every order of events gives the same rows, and the right ones, is in `rows/histories.rs`.

use std::collections::BTreeMap;
use std::time::Duration;

use bson::{Document, doc};
use event_log::subscription::{Delivery, Handler};
use model::events::{Event, Repost as RepostEvent};
use model::ids::{EventId, PostId, UserId};
use model::values::{NotificationKind, Visibility};
use views::{Notification, Range, RelationId, Views};

use crate::fixture::{Projected, Store, clock, database};

use NotificationKind::{Accepted, Follow, Like, Mention, Quote, Reply, Repost, Request};

/// Kind, actor and post of each notification, the newest first.
async fn told(views: &Views, owner: UserId) -> Vec<(NotificationKind, UserId, Option<PostId>)> {
    let found = views
        .notifications
        .of_owner(owner, &NotificationKind::ALL, Range::newest(50))
        .await
        .unwrap();
    assert!(found.is_sorted_by(|one, other| one.place > other.place));
    found.iter().map(|it| (it.kind, it.user, it.post)).collect()
}

#[tokio::test]
async fn each_deed_that_concerns_somebody_tells_them() {
    let (_database, views) = database().await;
    let clock = clock();
    let mut store = Store::new(clock.clone());
    let [ada, bob, eve] = ["ada", "bob", "eve"].map(|handle| store.register(handle));
    store.follow(bob, ada);
    store.request(eve, ada, true);
    let post = store.post(ada, "mine, says @ada");
    store.like(bob, post, true);
    store.like(ada, post, true);
    store.repost(bob, post);
    let reply = store.write(bob, "@ada @eve yes", Some(post), Visibility::Public);
    let quote = store.quote(eve, "look at @ada", post);
    let mention = store.post(bob, "@ada and @ada again, and @bob");
    store.accept(eve, ada);
    let projected = Projected::new(&views, 1, clock).await;
    projected.deliver(&store.log).await;
    let views = &projected.views;
    let expected = [
        (Follow, eve, None),
        (Mention, bob, Some(mention)),
        (Quote, eve, Some(quote)),
        (Reply, bob, Some(reply)),
        (Repost, bob, Some(post)),
        (Like, bob, Some(post)),
        (Follow, bob, None),
    ];
    assert_eq!(told(views, ada).await, expected);
    assert_eq!(
        told(views, eve).await,
        [(Accepted, ada, None), (Mention, bob, Some(reply))]
    );
    assert_eq!(told(views, bob).await, []);

    // A part of it, by kind and by place.
    let notifications = &views.notifications;
    let all = notifications
        .of_owner(ada, &NotificationKind::ALL, Range::newest(50))
        .await
        .unwrap();
    let kinds = [Follow, Reply, Request];
    let some = notifications.of_owner(ada, &kinds, Range::newest(50)).await.unwrap();
    assert_eq!(some, [all[0], all[3], all[6]]);
    let above = notifications
        .of_owner(ada, &NotificationKind::ALL, Range::after(all[4].place, 2))
        .await
        .unwrap();
    assert_eq!(above, [all[2], all[3]]);
    let below = notifications
        .of_owner(ada, &NotificationKind::ALL, Range::before(all[4].place, 1))
        .await
        .unwrap();
    assert_eq!(below, [all[5]]);
    assert_eq!(notifications.of_owner(ada, &[], Range::newest(50)).await.unwrap(), []);

    // All follows are one group, and it is as new as the last. The request is accepted, so it is no group.
    let groups = notifications.groups(ada, Range::newest(50)).await.unwrap();
    let groups: Vec<_> = groups.iter().map(|group| (group.kind, group.post)).collect();
    let expected = [
        (Follow, None),
        (Mention, Some(mention)),
        (Quote, Some(quote)),
        (Reply, Some(reply)),
        (Repost, Some(post)),
        (Like, Some(post)),
    ];
    assert_eq!(groups, expected);
    let follows = notifications
        .of_group(ada, Follow, None, Range::newest(9))
        .await
        .unwrap();
    assert_eq!(follows, [all[0], all[6]]);
    let requests = notifications
        .of_group(ada, Request, None, Range::newest(9))
        .await
        .unwrap();
    assert_eq!(requests, [], "it is accepted");
}

#[tokio::test]
async fn what_is_undone_is_taken_back_and_done_again_it_is_where_it_was() {
    let (_database, views) = database().await;
    let clock = clock();
    let mut store = Store::new(clock.clone());
    let [ada, bob, eve] = ["ada", "bob", "eve"].map(|handle| store.register(handle));
    let post = store.post(ada, "mine");
    let likes = [true, false, true].map(|active| store.like(bob, post, active));
    let written = store.post(bob, "@ada");
    let edits = [store.edit(written, "@eve"), store.edit(written, "@ada")];
    let mention = [store.log[7].clone(), edits[0].clone(), edits[1].clone()];
    let quote = store.quote(eve, "@ada", post);
    let detached = [store.last(), store.detach_quote(quote), store.edit(quote, "nobody")];
    let place = |delivery: &Delivery| delivery.recorded.id;
    for (generation, [a, b, c]) in (1..).zip([[0, 1, 2], [2, 1, 0], [1, 2, 0], [2, 0, 1]]) {
        let projected = Projected::new(&views, generation, clock.clone()).await;
        let mixed: Vec<Delivery> = [a, b, c]
            .into_iter()
            .flat_map(|n| [likes[n].clone(), mention[n].clone(), detached[n].clone()])
            .collect();
        projected.deliver(&mixed).await;
        projected.projection.handle(&mixed).await.unwrap();
        let notifications = &projected.views.notifications;
        let found = notifications
            .of_owner(ada, &NotificationKind::ALL, Range::newest(9))
            .await
            .unwrap();
        let places: Vec<(NotificationKind, EventId)> = found.iter().map(|it| (it.kind, it.place)).collect();
        assert_eq!(places, [(Mention, place(&mention[0])), (Like, place(&likes[0]))]);
        assert_eq!(told(&projected.views, eve).await, []);
        let groups = notifications.groups(ada, Range::newest(9)).await.unwrap();
        let like = groups.iter().find(|group| group.kind == Like).unwrap();
        assert_eq!(like.newest, place(&likes[0]), "who likes again is nothing new");
    }
    let projected = Projected::new(&views, 9, clock.clone()).await;
    projected.deliver(&store.log[..store.log.len() - 2]).await;
    assert_eq!(told(&projected.views, ada).await[0], (Quote, eve, Some(quote)));
    projected.deliver(&detached[1..2]).await;
    assert_eq!(told(&projected.views, ada).await[0], (Mention, eve, Some(quote)));
    projected.deliver(&[store.delete_post(written)]).await;
    assert!(!told(&projected.views, ada).await.iter().any(|it| it.2 == Some(written)));
}

/// The kind and the place of each group, the newest first.
async fn groups(projected: &Projected, owner: UserId) -> Vec<(NotificationKind, EventId)> {
    let found = projected.views.notifications.groups(owner, Range::newest(9));
    found.await.unwrap().iter().map(|it| (it.kind, it.newest)).collect()
}

#[tokio::test]
async fn what_somebody_was_told_before_does_not_rise() {
    let (_database, views) = database().await;
    let clock = clock();
    let mut store = Store::new(clock.clone());
    let [ada, bob, eve, zoe] = ["ada", "bob", "eve", "zoe"].map(|handle| store.register(handle));
    let post = store.post(ada, "mine");
    let begun = store.log.len();
    let mut first = Vec::new();
    store.follow(bob, ada);
    first.push((Follow, store.last()));
    store.request(zoe, ada, true);
    first.push((Request, store.last()));
    let quote = store.quote(bob, "look, @ada", post);
    first.push((Mention, store.last()));
    let other = store.quote(eve, "look", post);
    first.push((Quote, store.last()));
    let reply = store.write(eve, "yes", Some(post), Visibility::Public);
    first.push((Reply, store.last()));
    let mention = store.post(eve, "hello @ada");
    first.push((Mention, store.last()));
    store.like(eve, post, true);
    first.push((Like, store.last()));
    store.repost(eve, post);
    first.push((Repost, store.last()));
    // All of this was told before.
    store.unfollow(bob, ada);
    store.follow(bob, ada);
    store.request(zoe, ada, false);
    store.request(zoe, ada, true);
    store.detach_quote(quote);
    for post in [other, reply, mention] {
        store.edit(post, "once more, @ada");
    }
    store.like(eve, post, false);
    store.like(eve, post, true);
    store.unrepost(eve, post);
    store.repost(eve, post);
    let first: Vec<_> = first.iter().rev().map(|(kind, it)| (*kind, it.recorded.id)).collect();
    let (begun, events) = store.log.split_at(begun);
    for (generation, by) in (1..).zip([0, 3, 8, 12]) {
        let projected = Projected::new(&views, generation, clock.clone()).await;
        projected.deliver(begun).await;
        let mut mixed = events.to_vec();
        mixed.rotate_left(by);
        if by % 2 == 1 {
            mixed.reverse();
        }
        projected.deliver(&mixed).await;
        assert_eq!(groups(&projected, ada).await, first, "rotated by {by}");
        let notifications = &projected.views.notifications;
        for (at, &(_, place)) in first.iter().enumerate() {
            let above = notifications.groups(ada, Range::after(place, 2)).await.unwrap();
            let above: Vec<EventId> = above.iter().map(|it| it.newest).collect();
            let expected = first[at.saturating_sub(2)..at].iter().map(|it| it.1);
            assert_eq!(above, expected.collect::<Vec<_>>());
            let below = notifications.groups(ada, Range::before(place, 1)).await.unwrap();
            assert_eq!(below.first().map(|it| it.newest), first.get(at + 1).map(|it| it.1));
        }
    }
}

#[tokio::test]
async fn an_edit_tells_whom_the_one_before_it_has_not_told() {
    let (_database, views) = database().await;
    let clock = clock();
    let mut store = Store::new(clock.clone());
    let [ada, bob, eve, zoe] = ["ada", "bob", "eve", "zoe"].map(|handle| store.register(handle));
    let post = store.post(ada, "first");
    store.repost(bob, post);
    let early = store.edit(post, "early");
    store.repost(eve, post);
    let late = store.edit(post, "late");
    let all = store.log.clone();
    let projected = Projected::new(&views, 1, clock).await;
    projected.deliver(&all).await;
    let rows = projected
        .views
        .database()
        .collection::<Document>(projected.views.notifications.names()[0]);
    let owners = async || -> Vec<UserId> {
        let mut owners = Vec::new();
        for owner in [bob, eve, zoe] {
            let of_owner = rows.find_one(doc! { "owner": owner, "kind": "edit" });
            owners.extend(of_owner.await.unwrap().map(|_| owner));
        }
        rows.delete_many(doc! { "kind": "edit" }).await.unwrap();
        owners
    };
    assert_eq!(owners().await, [bob, eve]);
    // Without their rows, it shows whom an edit tells again.
    projected.deliver(&[late]).await;
    assert_eq!(owners().await, [eve]);
    projected.deliver(&[early]).await;
    assert_eq!(owners().await, [bob]);
    store.repost(zoe, post);
    projected.deliver(&[store.last()]).await;
    assert_eq!(owners().await, [], "there is no edit after it");
    projected.deliver(&[store.edit(post, "the last")]).await;
    assert_eq!(owners().await, [zoe]);
}

#[tokio::test]
async fn a_marker_only_rises_and_a_dismissal_stays() {
    let (_database, views) = database().await;
    let clock = clock();
    let mut store = Store::new(clock.clone());
    let [ada, bob] = ["ada", "bob"].map(|handle| store.register(handle));
    let ids = [0, 1, 2].map(|n| EventId::new(clock_time(&store) + Duration::from_secs(n)));
    let events = [
        store.read_notifications(ada, ids[2]),
        store.read_notifications(ada, ids[1]),
        store.dismiss(ada, ids[0]),
    ];
    for (generation, order) in (1..).zip([[0, 1, 2], [2, 1, 0]]) {
        let projected = Projected::new(&views, generation, clock.clone()).await;
        let notifications = &projected.views.notifications;
        assert_eq!(notifications.read_up_to(ada).await.unwrap(), None);
        let mixed = order.map(|n| events[n].clone());
        projected.deliver(&mixed).await;
        projected.projection.apply_rows_only(&mixed).await.unwrap();
        assert_eq!(notifications.read_up_to(ada).await.unwrap(), Some(ids[2]));
        assert_eq!(notifications.read_up_to(bob).await.unwrap(), None);
        assert_eq!(notifications.dismissed(ada, &ids).await.unwrap(), [ids[0]].into());
        assert_eq!(notifications.dismissed(bob, &ids).await.unwrap(), [].into());
    }
}

fn clock_time(store: &Store) -> chrono::DateTime<chrono::Utc> {
    store.last().recorded.recorded_at
}

/// The posts whose edits an owner is told of and where, as a reader compares the rows with the owner's reposts.
pub(crate) async fn told_of_edits(projected: &Projected, owner: UserId) -> Vec<(EventId, PostId)> {
    let views = &projected.views;
    let all = Range::newest(500);
    let found = views
        .notifications
        .of_owner(owner, &[NotificationKind::Edit], all)
        .await
        .unwrap();
    let posts: Vec<PostId> = found.iter().filter_map(|it| it.post).collect();
    let ids: Vec<RelationId> = posts.iter().map(|&post| RelationId::repost(owner, post)).collect();
    let reposts = views.relations.live_by_ids(&ids).await.unwrap();
    let live = views.posts.live_by_ids(&posts).await.unwrap();
    let is_told = |it: &&Notification| {
        let repost = reposts.iter().find(|repost| Some(repost.post()) == it.post);
        repost.is_some_and(|repost| repost.repost == it.repost) && live.iter().any(|post| Some(post.id) == it.post)
    };
    let told = found.iter().filter(is_told);
    told.map(|it| (it.place, it.post.unwrap())).collect()
}

/// The same by the definition: the first edit of a post after the owner's repost of it, if the repost lasts.
pub(crate) fn edits(log: &[Delivery], owner: UserId) -> Vec<(EventId, PostId)> {
    let mut told = Vec::new();
    let mut reposts: BTreeMap<PostId, RepostEvent> = BTreeMap::new();
    for delivery in log {
        match &delivery.event {
            Event::PostReposted(it) if it.user == owner && it.post_author != owner => {
                reposts.insert(it.post, *it);
            }
            Event::PostUnreposted(RepostEvent { user, post, .. }) if *user == owner => {
                reposts.remove(post);
            }
            Event::PostDeleted(it) => {
                reposts.remove(&it.id);
            }
            _ => {}
        }
    }
    for (post, repost) in reposts {
        let edits = log.iter().filter_map(|delivery| match &delivery.event {
            Event::PostEdited(it) if it.id == post => it.edited_at,
            _ => None,
        });
        let first = edits.filter(|&at| at > repost.created_at).min();
        told.extend(first.map(|at| (EventId::of_edit(post, at), post)));
    }
    told.sort_unstable();
    told.reverse();
    told
}

#[tokio::test]
async fn who_reposts_is_told_of_the_first_edit_after_that_in_whatever_order() {
    let (_database, views) = database().await;
    let clock = clock();
    let mut store = Store::new(clock.clone());
    let [ada, bob, eve] = ["ada", "bob", "eve"].map(|handle| store.register(handle));
    let post = store.post(ada, "first");
    let mut events = vec![store.edit(post, "before the repost")];
    let at = |delivery: &Delivery| match &delivery.event {
        Event::PostEdited(post) => post.edited_at.unwrap(),
        other => panic!("{other:?} is no edit"),
    };
    store.repost(bob, post);
    events.push(store.last());
    store.repost(ada, post);
    events.push(store.last());
    let told = [store.edit(post, "after it"), store.edit(post, "once more")];
    events.extend(told.clone());
    store.repost(eve, post);
    events.push(store.last());
    events.push(store.unrepost(eve, post));
    let first = EventId::of_edit(post, at(&told[0]));
    let begun = &store.log[..4];
    for (generation, by) in (1..).zip([1, 2, 3, 4, 5]) {
        let projected = Projected::new(&views, generation, clock.clone()).await;
        projected.deliver(begun).await;
        let mut mixed = events.clone();
        mixed.rotate_left(by);
        if by % 2 == 0 {
            mixed.reverse();
        }
        projected.deliver(&mixed).await;
        projected.projection.handle(&mixed).await.unwrap();
        for (user, expected) in [(bob, vec![(first, post)]), (ada, vec![]), (eve, vec![])] {
            assert_eq!(told_of_edits(&projected, user).await, expected, "rotated by {by}");
            assert_eq!(edits(&store.log, user), expected);
        }
        assert_eq!(groups(&projected, bob).await, [(NotificationKind::Edit, first)]);
    }
    // Who reposts again after an edit has seen it. A rebuild tells the same.
    let again = store.log.len();
    store.unrepost(bob, post);
    store.repost(bob, post);
    let last = store.edit(post, "the last");
    let expected = vec![(EventId::of_edit(post, at(&last)), post)];
    let projected = Projected::new(&views, 9, clock.clone()).await;
    projected.deliver(&store.log[..again + 2]).await;
    assert_eq!(told_of_edits(&projected, bob).await, []);
    projected.deliver(&[last]).await;
    assert_eq!(told_of_edits(&projected, bob).await, expected);
    let rebuilt = Projected::new(&views, 10, clock).await;
    rebuilt.projection.apply_rows_only(&store.log).await.unwrap();
    rebuilt.fill(None).await;
    assert_eq!(told_of_edits(&rebuilt, bob).await, expected);
}
