//! Tests `/v1/notifications`, its groups, and how many are unread.

use std::time::Duration;

use bson::{Document, doc};
use event_log::subscription::leases::LEASES;
use model::clock::Clock;
use model::ids::{EventId, PostId, UserId};
use model::values::Visibility;
use serde_json::{Value, json};

use crate::service::{Caller, Instance, Service, eventually, texts};

const ALL: &str = "/v1/notifications";
const GROUPS: &str = "/v1/notifications/groups";
const UNREAD: &str = "/v1/notifications/unread";

/// Kind and actor of each notification, the newest first.
async fn told(service: &Service, path: &str, owner: UserId) -> Vec<(String, UserId)> {
    let page = service.get(path, Caller::User(owner)).await;
    assert_eq!(page.status, 200, "{path}: {}", page.body);
    let items = page.body["items"].as_array().unwrap().iter();
    items
        .map(|it| {
            let user = it["user"]["id"].as_str().unwrap().parse().unwrap();
            (it["kind"].as_str().unwrap().to_owned(), user)
        })
        .collect()
}

async fn unread(service: &Service, owner: UserId) -> Value {
    service.get(UNREAD, Caller::User(owner)).await.body
}

fn last(service: &Service) -> EventId {
    service.store.last().recorded.id
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_is_told_what_others_do_and_says_how_far_one_has_read() {
    let mut service = Service::start().await;
    let [ada, bob, eve] = ["ada", "bob", "eve"].map(|handle| service.store.register(handle));
    let post = service.store.post(ada, "mine");
    let mut ids = Vec::new();
    service.store.follow(bob, ada);
    ids.push(last(&service));
    service.store.like(bob, post, true);
    ids.push(last(&service));
    service.store.repost(eve, post);
    ids.push(last(&service));
    let reply = service.store.write(eve, "yes", Some(post), Visibility::Public);
    ids.push(last(&service));
    let mention = service.store.post(bob, "hello @ada");
    ids.push(last(&service));
    service.settle().await;
    let newest_first = texts(ids.iter().rev().copied());
    for limit in [1, 2, 10] {
        assert_eq!(
            service.walk(ALL, Caller::User(ada), limit).await,
            newest_first,
            "limit {limit}"
        );
    }
    let page = service.get(ALL, Caller::User(ada)).await.body;
    let facts = |it: &Value| json!([it["kind"], it["user"]["handle"], it["post"]["id"], it["read"]]);
    let facts: Vec<Value> = page["items"].as_array().unwrap().iter().map(facts).collect();
    let expected = [
        json!(["mention", "bob", mention, false]),
        json!(["reply", "eve", reply, false]),
        json!(["repost", "eve", post, false]),
        json!(["like", "bob", post, false]),
        json!(["follow", "bob", null, false]),
    ];
    assert_eq!(facts, expected);
    assert_eq!(page["items"][0]["at"], page["items"][0]["post"]["created_at"]);
    assert_eq!(page["up_to"], json!(ids[4]));
    assert_eq!(unread(&service, ada).await, json!({ "count": 5, "more": false }));
    for (query, kinds) in [
        ("kinds=like", vec!["like"]),
        ("kinds=mention,like,quote", vec!["mention", "like"]),
        ("exclude=follow,like", vec!["mention", "reply", "repost"]),
        ("kinds=like,follow&exclude=like", vec!["follow"]),
        ("kinds=like&exclude=like", vec![]),
    ] {
        let found = told(&service, &format!("{ALL}?{query}"), ada).await;
        let found: Vec<&str> = found.iter().map(|(kind, _)| kind.as_str()).collect();
        assert_eq!(found, kinds, "{query}");
    }

    service.store.read_notifications(ada, ids[2]);
    service.store.dismiss(ada, ids[3]);
    service.store.dismiss(ada, ids[0]);
    service.settle().await;
    let page = service.get(ALL, Caller::User(ada)).await.body;
    let read = |it: &Value| json!([it["id"], it["read"]]);
    let read: Vec<Value> = page["items"].as_array().unwrap().iter().map(read).collect();
    assert_eq!(
        read,
        [json!([ids[4], false]), json!([ids[2], true]), json!([ids[1], true])]
    );
    assert_eq!(unread(&service, ada).await, json!({ "count": 1, "more": false }));
    assert_eq!(unread(&service, bob).await, json!({ "count": 0, "more": false }));
    service.pass(Duration::from_secs(60)).await;
    assert_eq!(
        service.climb(ALL, Caller::User(ada), 2).await,
        texts([ids[4], ids[2], ids[1]])
    );

    // What not every partition has handled yet may still be followed by what is older.
    let handled = service.clock.now();
    service.clock.advance(Duration::from_secs(60));
    service.store.like(eve, post, true);
    service.project().await;
    let page = service.get_now(ALL, Caller::User(ada)).await.body;
    assert_eq!(page["items"][0]["id"], json!(last(&service)));
    let up_to: EventId = page["up_to"].as_str().unwrap().parse().unwrap();
    assert!(up_to < last(&service) && up_to.time() <= handled, "{up_to:?}");
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_is_told_of_whom_or_what_they_do_not_see() {
    let mut service = Service::start().await;
    let names = ["ada", "bob", "eve", "kim", "zoe"];
    let [ada, bob, eve, kim, zoe] = names.map(|handle| service.store.register(handle));
    let post = service.store.post(ada, "mine");
    for other in [bob, eve, kim, zoe] {
        service.store.like(other, post, true);
    }
    service.store.repost(kim, post);
    service.store.write(eve, "among us @ada", None, Visibility::Followers);
    service.store.write(eve, "a secret", Some(post), Visibility::Mentioned);
    service.settle().await;
    let kinds = async |service: &Service| {
        let told = told(service, ALL, ada).await;
        let all = told.iter().map(|(kind, user)| {
            let name = [ada, bob, eve, kim, zoe].iter().position(|it| it == user).unwrap();
            format!("{kind} {}", names[name])
        });
        let all: Vec<String> = all.collect();
        assert_eq!(unread(service, ada).await["count"], all.len());
        all
    };
    let likes = ["like zoe", "like kim", "like eve", "like bob"];
    let all = ["mention eve", "repost kim", likes[0], likes[1], likes[2], likes[3]];
    assert_eq!(kinds(&service).await, all, "the answer is not for her, the mention is");

    service.store.block(ada, bob, true);
    service.store.block(zoe, ada, true);
    service.store.mute(ada, eve, true, false);
    service.settle().await;
    assert_eq!(kinds(&service).await, ["repost kim", "like kim"]);
    service.store.mute_but_be_told(ada, eve);
    service.settle().await;
    assert_eq!(
        kinds(&service).await,
        ["mention eve", "repost kim", "like kim", "like eve"]
    );
    service.store.mute(ada, eve, true, true);
    // Who reposts is not seen by those who may not see the reposts.
    service.store.protect(kim, true);
    service.settle().await;
    assert_eq!(kinds(&service).await, ["like kim"]);
    service.clock.advance(Duration::from_secs(700));
    service.store.block(ada, bob, false);
    service.store.delete_user(kim);
    service.settle().await;
    assert_eq!(
        kinds(&service).await,
        ["mention eve", "like eve", "like bob"],
        "the mute is over"
    );
    service.store.delete_post(post);
    service.settle().await;
    assert_eq!(kinds(&service).await, ["mention eve"]);
    service.store.delete_user(ada);
    service.settle().await;
    assert_eq!(
        kinds(&service).await,
        [""; 0],
        "whose account is deleted is told nothing"
    );
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_reposts_is_told_of_an_edit_as_long_as_the_repost_lasts() {
    let mut service = Service::start().await;
    let [ada, bob] = ["ada", "bob"].map(|handle| service.store.register(handle));
    let post = service.store.post(ada, "mine");
    service.store.edit(post, "before");
    service.store.repost(bob, post);
    service.settle().await;
    assert_eq!(told(&service, ALL, bob).await, []);
    service.store.edit(post, "after @bob");
    service.settle().await;
    let edit = [("edit".to_owned(), ada)];
    assert_eq!(told(&service, &format!("{ALL}?kinds=edit"), bob).await, edit);
    assert_eq!(
        told(&service, ALL, bob).await.len(),
        2,
        "it mentions him too, which is another notification"
    );
    let page = service.get(&format!("{ALL}?kinds=edit"), Caller::User(bob)).await.body;
    let edited_at = &page["items"][0]["post"]["edited_at"];
    assert_eq!(
        (&page["items"][0]["at"], &page["items"][0]["read"]),
        (edited_at, &json!(false))
    );
    assert_eq!(groups(&service, bob).await.len(), 2);
    assert_eq!(unread(&service, bob).await["count"], 2);

    service.store.unrepost(bob, post);
    service.store.repost(bob, post);
    service.settle().await;
    assert_eq!(
        told(&service, &format!("{ALL}?kinds=edit"), bob).await,
        [],
        "he has reposted what it says now"
    );
    assert_eq!(groups(&service, bob).await.len(), 1);
    service.store.edit(post, "once more @bob");
    service.settle().await;
    assert_eq!(told(&service, ALL, bob).await[..1], edit);
    service.store.unrepost(bob, post);
    service.settle().await;
    assert_eq!(told(&service, &format!("{ALL}?exclude=mention"), bob).await, []);
    service.stop().await;
}

/// The kind, the post, the actors and `more` of each group.
async fn groups(service: &Service, owner: UserId) -> Vec<(String, Option<PostId>, Vec<UserId>, bool)> {
    let page = service.get(GROUPS, Caller::User(owner)).await;
    assert_eq!(page.status, 200, "{}", page.body);
    let items = page.body["items"].as_array().unwrap().iter();
    let id = |it: &Value| it["id"].as_str().map(str::to_owned);
    let group = |it: &Value| {
        let users = it["users"].as_array().unwrap().iter();
        let users = users.map(|user| id(user).unwrap().parse().unwrap()).collect();
        let post = id(&it["post"]).map(|post| post.parse().unwrap());
        (
            it["kind"].as_str().unwrap().to_owned(),
            post,
            users,
            it["more"].as_bool().unwrap(),
        )
    };
    items.map(group).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn groups_name_the_newest_and_stand_where_the_newest_was() {
    let mut service = Service::start().await;
    let ada = service.store.register("ada");
    let fans: Vec<UserId> = (0..14).map(|n| service.store.register(&format!("fan{n}"))).collect();
    let [liked, other] = ["liked", "other"].map(|text| service.store.post(ada, text));
    for &fan in &fans[..13] {
        service.store.like(fan, liked, true);
    }
    service.store.like(fans[0], other, true);
    let like_of_other = last(&service);
    service.store.follow(fans[1], ada);
    service.store.follow(fans[2], ada);
    let follow = last(&service);
    service.settle().await;
    let newest = |of: &[UserId]| of.iter().rev().copied().collect::<Vec<_>>();
    let like = |post, users, more| ("like".to_owned(), Some(post), users, more);
    let follows = ("follow".to_owned(), None, newest(&fans[1..3]), false);
    let others = like(other, vec![fans[0]], false);
    let ten = like(liked, newest(&fans[3..13]), true);
    assert_eq!(groups(&service, ada).await, [follows.clone(), others.clone(), ten]);
    let first = service.get(GROUPS, Caller::User(ada)).await.body;
    assert_eq!(
        (&first["items"][0]["id"], &first["up_to"]),
        (&json!(follow), &json!(follow))
    );
    assert_eq!(first["items"][1]["id"], json!(like_of_other));
    assert_eq!(first["items"][2]["post"]["counts"]["likes"], 13);
    let walked = service.walk(GROUPS, Caller::User(ada), 1).await;
    assert_eq!(walked.len(), 3);

    // One more rises. Three who are muted or have taken it back leave room for others.
    service.store.like(fans[13], liked, true);
    service.store.like(fans[12], liked, false);
    service.store.mute(ada, fans[11], true, false);
    service.store.block(ada, fans[10], true);
    service.store.read_notifications(ada, follow);
    service.settle().await;
    let mut users = vec![fans[13]];
    users.extend(newest(&fans[1..10]));
    let risen = like(liked, users, true);
    assert_eq!(groups(&service, ada).await, [risen, follows.clone(), others]);
    let page = service.get(GROUPS, Caller::User(ada)).await.body;
    let read: Vec<&Value> = page["items"].as_array().unwrap().iter().map(|it| &it["read"]).collect();
    assert_eq!(read, [false, true, true]);

    // A group of nothing is none.
    service.store.like(fans[0], other, false);
    service.store.delete_post(liked);
    service.settle().await;
    assert_eq!(groups(&service, ada).await, [follows]);
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_are_counted_and_what_is_hidden_costs_no_more_than_so_much() {
    let mut service = Service::start().await;
    let ada = service.store.register("ada");
    let [bob, eve] = ["bob", "eve"].map(|handle| service.store.register(handle));
    for n in 0..100 {
        service.store.post(bob, &format!("{n} @ada"));
    }
    service.settle().await;
    assert_eq!(unread(&service, ada).await, json!({ "count": 100, "more": false }));
    service.store.post(bob, "@ada");
    service.settle().await;
    assert_eq!(unread(&service, ada).await, json!({ "count": 100, "more": true }));
    for n in 0..501 {
        service.store.post(eve, &format!("{n} @ada"));
    }
    service.store.block(ada, eve, true);
    service.settle().await;
    assert_eq!(unread(&service, ada).await, json!({ "count": 0, "more": true }));
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_costs_the_same_however_many_there_are() {
    let mut service = Service::start().await;
    let [ada, bob] = ["ada", "bob"].map(|handle| service.store.register(handle));
    let fans: Vec<UserId> = (0..1_120).map(|n| service.store.register(&format!("fan{n}"))).collect();
    let [few, many] = [ada, bob].map(|author| service.store.post(author, "mine"));
    for (post, fans) in [(few, &fans[..11]), (many, &fans[20..])] {
        for &fan in fans {
            service.store.like(fan, post, true);
        }
    }
    // What the first question about many looks through is empty.
    let (rest, undone) = fans.split_at(fans.len() - 60);
    for &fan in undone {
        service.store.like(fan, many, false);
    }
    service.settle().await;
    let misses = async |documents: &str| {
        let name = format!("cache_misses_total{{documents=\"{documents}\"}}");
        service.metric(&name).await
    };
    let mut costs = Vec::new();
    for (owner, newest) in [(ada, &fans[1..11]), (bob, &rest[rest.len() - 10..])] {
        let before = [misses("profiles").await, misses("relations").await];
        let groups = groups(&service, owner).await;
        let newest: Vec<UserId> = newest.iter().rev().copied().collect();
        assert_eq!((groups.len(), &groups[0].2, groups[0].3), (1, &newest, true));
        costs.push([
            misses("profiles").await - before[0],
            misses("relations").await - before[1],
        ]);
    }
    assert_eq!(costs[0], costs[1]);
    assert!(costs[0][0] > 0.0, "{costs:?}");
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn groups_that_hide_their_users_cost_no_more_than_so_much_together() {
    let mut service = Service::start().await;
    let [ada, bob] = ["ada", "bob"].map(|handle| service.store.register(handle));
    let mut posts = Vec::new();
    for n in 0..13 {
        posts.push(service.store.post(ada, &n.to_string()));
    }
    service.store.post(bob, "@ada");
    let mention = last(&service);
    for n in 0..125 {
        let fan = service.store.register(&format!("fan{n}"));
        service.store.mute(ada, fan, true, false);
        for &post in &posts {
            service.store.like(fan, post, true);
        }
    }
    service.settle().await;
    let page = service.get(GROUPS, Caller::User(ada)).await.body;
    assert_eq!(page["items"], json!([]), "twelve groups of 125 are looked through");
    let path = format!("{GROUPS}?before={}", page["next"].as_str().unwrap());
    let rest = service.get(&path, Caller::User(ada)).await;
    assert_eq!((rest.ids(), &rest.body["next"]), (texts([mention]), &Value::Null));
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_kind_is_refused_by_name() {
    let mut service = Service::start().await;
    let ada = service.store.register("ada");
    service.settle().await;
    for (query, field) in [
        ("kinds=likes", "kinds"),
        ("kinds=", "kinds"),
        ("kinds=like,", "kinds"),
        ("exclude=like,all", "exclude"),
        ("kind=like", "kind"),
        ("kinds=like&kinds=reply", "kinds"),
    ] {
        let answer = service.get(&format!("{ALL}?{query}"), Caller::User(ada)).await;
        assert_eq!(
            (answer.status.as_u16(), answer.fields()),
            (400, vec![field]),
            "{query}: {}",
            answer.body
        );
    }
    for path in [ALL, GROUPS, UNREAD] {
        assert_eq!(service.get(path, Caller::Nobody).await.status, 401);
    }
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn views_that_an_earlier_version_wrote_are_not_asked_for_notifications() {
    let mut service = Service::start().await;
    let ada = service.store.register("ada");
    service.settle().await;
    let leases = service.database.collection::<Document>(LEASES);
    let before = doc! { "$set": { "stamp.shape": views::SHAPE_WITH_NOTIFICATIONS - 1 } };
    leases.update_one(doc! { "_id": "views-g1/17" }, before).await.unwrap();
    let second = Instance::start(&service.environment, service.clock.clone()).await;
    service.wait_until_ready(&second.url).await;
    let get = async |path: &str| {
        let url = format!("{}{path}", second.url);
        service.fetch(&url, Caller::User(ada), None).await
    };
    for path in [ALL, GROUPS, UNREAD] {
        let answer = get(path).await;
        assert_eq!(answer.status, 503, "{path}");
        let words = answer.body.to_string();
        assert!(
            words.contains("notifications are being built by a rebuild"),
            "{path}: {words}"
        );
    }
    eventually("tags are there", async || get("/v1/tags/followed").await.status == 200).await;
    second.stop().await;
    service.stop().await;
}
