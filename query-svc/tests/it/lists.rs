//! Tests `/v1/lists`, the timelines of lists, and what an exclusive list keeps out of a home timeline.

use std::time::Duration;

use model::clock::Clock;
use model::ids::{ListId, PostId, UserId};
use model::values::Visibility;

use crate::service::{Caller, Service, texts};

fn timeline(list: ListId) -> String {
    format!("/v1/timelines/lists/{list}")
}

/// A list of this user with these members.
fn list_of(service: &mut Service, owner: UserId, members: &[UserId]) -> ListId {
    let list = ListId::new(service.clock.now());
    service.store.list(list, owner, Some("A list"), false);
    for &member in members {
        service.store.list_member(list, owner, member, true);
    }
    list
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_list_has_what_its_members_post_and_its_tags_in_both_directions() {
    let mut service = Service::start().await;
    let [ada, bob, eve, zoe] = ["ada", "bob", "eve", "zoe"].map(|handle| service.store.register(handle));
    // Ada follows nobody in it.
    let list = list_of(&mut service, ada, &[bob, eve]);
    service.store.list_tag(list, ada, "Rust", true);
    let mut posts: Vec<PostId> = Vec::new();
    for n in 0..12 {
        posts.push(service.store.post([bob, eve][n % 2], &format!("{n} by a member #rust")));
        posts.push(service.store.post(zoe, &format!("{n} with the tag #RUST")));
        service.store.post(zoe, &format!("{n} without"));
        service.store.post(ada, &format!("{n} by the owner"));
    }
    service.store.write(zoe, "#rust, unlisted", None, Visibility::Unlisted);
    service.store.write(bob, "for followers", None, Visibility::Followers);
    let strangers = service.store.post(zoe, "a stranger's");
    posts.push(service.store.repost(bob, strangers));
    service.store.repost(zoe, posts[0]);
    posts.push(service.store.write(eve, "unlisted", None, Visibility::Unlisted));
    service.settle().await;
    let newest_first = texts(posts.iter().rev().copied());
    let (path, caller) = (timeline(list), Caller::User(ada));
    for limit in [1, 7, 100] {
        assert_eq!(service.walk(&path, caller, limit).await, newest_first, "limit {limit}");
    }
    service.pass(Duration::from_secs(60)).await;
    for limit in [3, 100] {
        assert_eq!(
            service.climb(&path, caller, limit).await,
            newest_first,
            "limit {limit}, upwards"
        );
    }
    service.store.follow(ada, bob);
    service.store.mute(ada, eve, true, false);
    service.settle().await;
    let now = service.walk(&path, caller, 100).await;
    assert_eq!(
        now.len(),
        20,
        "without the seven by whom she mutes, and with the one for followers"
    );
    service.stop().await;
}

/// What is in a list is in memory, and pages ask for the posts of many members in short ranges of time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_long_list_has_all_posts_and_what_comes_or_goes_shows_at_once() {
    let mut service = Service::start().await;
    let ada = service.store.register("ada");
    let members: Vec<UserId> = (0..450)
        .map(|n| service.store.register(&format!("member{n}")))
        .collect();
    let list = list_of(&mut service, ada, &members[1..]);
    let mut posts: Vec<PostId> = Vec::new();
    for (n, &member) in members.iter().enumerate().filter(|(n, _)| n % 9 == 0) {
        posts.push(service.store.post(member, &format!("{n}")));
        // So many others write that it is not worth it to look for members among them.
        let others = if n == 225 { 150 } else { 0 };
        for other in 0..others {
            service.store.post(ada, &format!("{other} by somebody else"));
        }
    }
    service.settle().await;
    let (path, caller) = (timeline(list), Caller::User(ada));
    let newest_first = |posts: &[PostId]| texts(posts.iter().rev().copied());
    for limit in [7, 100] {
        assert_eq!(
            service.walk(&path, caller, limit).await,
            newest_first(&posts[1..]),
            "limit {limit}"
        );
    }
    service.store.list_member(list, ada, members[0], true);
    service.settle().await;
    assert_eq!(service.walk(&path, caller, 100).await, newest_first(&posts));
    service.store.list_member(list, ada, members[9], false);
    service.settle().await;
    posts.remove(1);
    assert_eq!(service.walk(&path, caller, 100).await, newest_first(&posts));
    let tagged = service.store.post(ada, "#rust");
    service.store.list_tag(list, ada, "Rust", true);
    service.settle().await;
    posts.push(tagged);
    assert_eq!(service.walk(&path, caller, 100).await, newest_first(&posts));
    assert!(service.metric("cache_hits_total{documents=\"lists\"}").await >= 1.0);
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_its_owner_finds_a_list_and_nobody_a_deleted_one() {
    let mut service = Service::start().await;
    let [ada, bob, eve] = ["ada", "bob", "eve"].map(|handle| service.store.register(handle));
    let [older, newer] = [(); 2].map(|()| list_of(&mut service, ada, &[bob, eve]));
    for tag in ["Rust", "東京"] {
        service.store.list_tag(older, ada, tag, true);
    }
    service.store.follow_tag(ada, "rust", true);
    service.settle().await;
    let caller = Caller::User(ada);
    let both = [newer, older].map(|list| list.to_string());
    for limit in [1, 10] {
        assert_eq!(service.walk("/v1/lists", caller, limit).await, both);
    }
    service.store.list(older, ada, Some("Renamed"), true);
    service.settle().await;
    assert_eq!(
        service.walk("/v1/lists", caller, 10).await,
        both,
        "a change does not move it"
    );
    let path = format!("/v1/lists/{older}");
    let found = service.get(&path, caller).await;
    let expected = serde_json::json!({ "id": older, "title": "Renamed", "exclusive": true });
    assert_eq!(found.body, expected);
    let members = [eve, bob].map(|user| user.to_string());
    let paths = [
        path.clone(),
        format!("{path}/members"),
        format!("{path}/tags"),
        timeline(older),
    ];
    for limit in [1, 10] {
        assert_eq!(
            service.walk(&paths[1], caller, limit).await,
            members,
            "the last one added is first"
        );
    }
    let tags = service.get(&paths[2], caller).await;
    let expected = [("東京", false), ("Rust", true)];
    let expected = expected.map(|(name, following)| serde_json::json!({ "name": name, "following": following }));
    assert_eq!(tags.body["items"], serde_json::Value::from(expected.to_vec()));

    assert_eq!(service.walk("/v1/lists", Caller::User(bob), 10).await, [""; 0]);
    for path in &paths {
        assert_eq!(service.get(path, Caller::User(bob)).await.status, 404, "{path}");
        assert_eq!(service.get(path, Caller::Nobody).await.status, 401, "{path}");
    }
    service.store.block(bob, ada, true);
    service.settle().await;
    assert_eq!(
        service.walk(&paths[1], caller, 10).await,
        members[..1],
        "a block hides whom it separates"
    );
    service.store.list(older, ada, None, true);
    service.settle().await;
    assert_eq!(service.walk("/v1/lists", caller, 10).await, both[..1]);
    for path in &paths {
        assert_eq!(service.get(path, caller).await.status, 404, "{path}");
    }
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_exclusive_list_keeps_its_members_out_of_its_owner_s_home() {
    let mut service = Service::start().await;
    let [ada, bob, eve] = ["ada", "bob", "eve"].map(|handle| service.store.register(handle));
    for follower in [ada, eve] {
        service.store.follow(follower, bob);
    }
    service.store.follow(ada, eve);
    let by_bob = service.store.post(bob, "by bob #rust");
    let by_eve = service.store.post(eve, "by eve");
    let by_ada = service.store.post(ada, "by ada");
    let reposted_by_eve = service.store.repost(eve, by_bob);
    let reposted_by_bob = service.store.repost(bob, by_eve);
    let reposted_by_ada = service.store.repost(ada, by_bob);
    let list = list_of(&mut service, ada, &[bob, ada]);
    service.store.list_tag(list, ada, "by_anybody", true);
    service.store.follow_tag(ada, "rust", true);
    service.settle().await;
    let all = [
        reposted_by_ada,
        reposted_by_bob,
        reposted_by_eve,
        by_ada,
        by_eve,
        by_bob,
    ];
    assert_eq!(service.home(ada, 10).await, texts(all), "the list is not exclusive");
    let kept = texts([reposted_by_ada, by_ada, by_eve]);
    for (exclusive, title, expected) in [
        (true, Some("Exclusive"), &kept),
        (false, Some("Not any more"), &texts(all)),
        (true, Some("Again"), &kept),
        (true, None, &texts(all)),
    ] {
        service.store.list(list, ada, title, exclusive);
        service.settle().await;
        for limit in [1, 10] {
            assert_eq!(&service.home(ada, limit).await, expected, "{title:?}");
        }
        let in_list = service.get(&timeline(list), Caller::User(ada)).await;
        let (found, shown) = (in_list.status == 200, title.is_some());
        assert_eq!(found, shown, "the list itself");
        let eve_s = service.home(eve, 10).await;
        assert_eq!(eve_s.len(), 4, "it is nobody else's business");
    }
    service.store.list(list, ada, Some("Back"), true);
    service.store.list_member(list, ada, bob, false);
    service.settle().await;
    assert_eq!(service.home(ada, 10).await, texts(all));
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn home_without_replies_to_strangers() {
    let mut service = Service::start().await;
    let [ada, bob, eve, zoe] = ["ada", "bob", "eve", "zoe"].map(|handle| service.store.register(handle));
    for followee in [bob, eve] {
        service.store.follow(ada, followee);
    }
    let public = Visibility::Public;
    let strangers = service.store.post(zoe, "by a stranger");
    let own = service.store.post(ada, "my own");
    let by_eve = service.store.post(eve, "by a friend");
    let to_stranger = service.store.write(bob, "to a stranger", Some(strangers), public);
    let rest = [
        service.store.write(bob, "to me", Some(own), public),
        service.store.write(bob, "to a friend", Some(by_eve), public),
        service.store.write(ada, "by me", Some(strangers), public),
    ];
    let thread = service.store.write(bob, "to himself", Some(to_stranger), public);
    let repost = service.store.repost(eve, to_stranger);
    service.settle().await;
    let kept = [repost, thread, rest[2], rest[1], rest[0], by_eve, own];
    let path = "/v1/timelines/home?replies=followed";
    for limit in [1, 3, 100] {
        assert_eq!(
            service.walk(path, Caller::User(ada), limit).await,
            texts(kept),
            "limit {limit}"
        );
    }
    for path in ["/v1/timelines/home", "/v1/timelines/home?replies=all"] {
        assert_eq!(service.walk(path, Caller::User(ada), 100).await.len(), 8, "{path}");
    }
    service.store.follow(ada, zoe);
    service.settle().await;
    let with_hers = service.walk(path, Caller::User(ada), 100).await;
    assert_eq!(with_hers.len(), 9, "all of them, and hers");
    for bad in ["none", "", "Followed"] {
        let answer = service
            .get(&format!("/v1/timelines/home?replies={bad}"), Caller::User(ada))
            .await;
        assert_eq!(
            (answer.status.as_u16(), answer.fields()),
            (400, vec!["replies"]),
            "{bad}"
        );
    }
    service.stop().await;
}
