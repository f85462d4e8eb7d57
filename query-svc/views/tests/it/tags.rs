//! Tests the tags of posts, and the tags that users follow, in whatever order events arrive.

use event_log::subscription::{Delivery, Handler};
use model::ids::PostId;
use model::tags::TagKey;
use model::values::Visibility;
use views::{FollowedTag, Range, TaggedPost, Views};

use crate::fixture::{Projected, Store, clock, database};

/// Every order of three events.
const ORDERS: [[usize; 3]; 6] = [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]];

async fn tagged(views: &Views, tag: &str, range: Range<PostId>) -> Vec<PostId> {
    let found = views.tagged.of_tag(&TagKey::of(tag), range).await.unwrap();
    found.iter().map(|found| found.post).collect()
}

#[tokio::test]
async fn a_tag_lists_the_public_posts_that_have_it_in_order() {
    let (_database, views) = database().await;
    let clock = clock();
    let mut store = Store::new(clock.clone());
    let (ada, bob) = (store.register("ada"), store.register("bob"));
    let posts: Vec<PostId> = (0..5).map(|n| store.post(ada, &format!("{n} ＃Rust #other"))).collect();
    store.write(ada, "for followers #rust", None, Visibility::Followers);
    store.post(bob, "#rusty #istanbul");
    store.repost(bob, posts[0]);
    let projected = Projected::new(&views, 1, clock).await;
    projected.deliver(&store.log).await;
    let views = &projected.views;

    let newest_first: Vec<PostId> = posts.iter().rev().copied().collect();
    assert_eq!(tagged(views, "RUST", Range::newest(10)).await, newest_first);
    assert_eq!(tagged(views, "rust", Range::newest(2)).await, newest_first[..2]);
    assert_eq!(
        tagged(views, "rust", Range::before(posts[3], 2)).await,
        [posts[2], posts[1]]
    );
    assert_eq!(
        tagged(views, "rust", Range::after(posts[0], 2)).await,
        [posts[2], posts[1]]
    );
    assert_eq!(tagged(views, "İstanbul", Range::newest(10)).await, []);
    let first = views
        .tagged
        .of_tag(&TagKey::of("rust"), Range::newest(1))
        .await
        .unwrap();
    let expected = TaggedPost {
        post: posts[4],
        author: ada,
    };
    assert_eq!(first, [expected]);
}

#[tokio::test]
async fn an_edit_and_a_deletion_take_their_tags_along_in_whatever_order() {
    let (_database, views) = database().await;
    let clock = clock();
    let mut store = Store::new(clock.clone());
    let ada = store.register("ada");
    let [edited, deleted] = ["one #gone #stays", "two #gone #stays"].map(|text| store.post(ada, text));
    let edits = [edited, deleted].map(|post| store.edit(post, "#STAYS #comes"));
    let ends = [store.edit(edited, "#stays #last"), store.delete_post(deleted)];
    let events = [store.log[1..3].to_vec(), edits.to_vec(), ends.to_vec()];
    for (number, order) in ORDERS.into_iter().enumerate() {
        let generation = i64::try_from(number).unwrap() + 1;
        let projected = Projected::new(&views, generation, clock.clone()).await;
        let mixed: Vec<Delivery> = order.iter().flat_map(|&index| events[index].clone()).collect();
        for tag in ["gone", "stays", "comes", "last"] {
            assert_eq!(tagged(&projected.views, tag, Range::newest(10)).await, []);
        }
        // One by one, then all at the same time, as after a restart.
        projected.deliver(&mixed).await;
        projected.projection.handle(&mixed).await.unwrap();
        for (tag, expected) in [
            ("gone", vec![]),
            ("comes", vec![]),
            ("stays", vec![edited]),
            ("last", vec![edited]),
        ] {
            assert_eq!(
                tagged(&projected.views, tag, Range::newest(10)).await,
                expected,
                "{tag}, {order:?}"
            );
        }
    }
}

#[tokio::test]
async fn the_last_follow_of_a_tag_counts_in_whatever_order() {
    let (_database, views) = database().await;
    let clock = clock();
    let mut store = Store::new(clock.clone());
    let (ada, bob) = (store.register("ada"), store.register("bob"));
    let [kept, dropped] = [[true, false, true], [true, true, false]].map(|states| {
        let tag = if states[2] { "Rust" } else { "東京" };
        states.map(|active| store.follow_tag(bob, tag, active))
    });
    let expected = vec![FollowedTag {
        user: bob,
        tag: "Rust".to_owned(),
        key: TagKey::of("rust"),
        order: kept[2].recorded.id,
        position: None,
    }];
    for (number, order) in ORDERS.into_iter().enumerate() {
        let generation = i64::try_from(number).unwrap() + 1;
        let projected = Projected::new(&views, generation, clock.clone()).await;
        let mixed: Vec<Delivery> = order
            .iter()
            .flat_map(|&index| [kept[index].clone(), dropped[index].clone()])
            .collect();
        projected.deliver(&mixed).await;
        projected.projection.handle(&mixed).await.unwrap();
        let follows = &projected.views.followed_tags;
        assert_eq!(
            follows.of_user(bob, Range::newest(10)).await.unwrap(),
            expected,
            "{order:?}"
        );
        assert_eq!(
            follows.find(bob, &TagKey::of("RUST")).await.unwrap(),
            expected.first().cloned()
        );
        assert_eq!(follows.find(bob, &TagKey::of("東京")).await.unwrap(), None);
        assert_eq!(follows.all_of_user(ada).await.unwrap(), []);
        let header = async |owner| projected.views.home_timelines.header(owner).await.unwrap();
        assert!(header(bob).await.follows_tags, "the page looks them up");
        assert!(
            !header(ada).await.follows_tags,
            "and it costs nothing where nobody follows a tag"
        );
    }
}
