//! Tests lists, their members and their tags, in whatever order events arrive.

use std::collections::HashSet;

use event_log::subscription::{Delivery, Handler};
use model::events::Event;
use model::ids::{ListId, UserId};
use model::tags::TagKey;
use views::{List, Membership, Range, Views};

use crate::fixture::{Projected, Store, clock, database};

/// Every order of three events.
const ORDERS: [[usize; 3]; 6] = [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]];

async fn lists_of(views: &Views, owner: UserId) -> Vec<List> {
    views.lists.of_owner(owner, Range::newest(10)).await.unwrap()
}

#[tokio::test]
async fn the_last_state_of_a_list_counts_and_a_deleted_one_leaves_no_title_in_whatever_order() {
    let (_database, views) = database().await;
    let clock = clock();
    let mut store = Store::new(clock.clone());
    let (ada, bob) = (store.register("ada"), store.register("bob"));
    let [kept, deleted, redacted] = [1, 2, 3].map(|n| ListId::from_bytes([n; 16]));
    let of_kept = [("a", false), ("b", true), ("c", false)]
        .map(|(title, exclusive)| store.list(kept, ada, Some(title), exclusive));
    let of_deleted = [Some("secret"), Some("secret too"), None].map(|title| store.list(deleted, bob, title, true));
    // A scan finds the events of a deleted list without their titles.
    let of_redacted = [Some("gone"), Some("gone too"), None].map(|title| {
        let mut delivery = store.list(redacted, bob, title, false);
        if let Event::ListChanged(list) = &mut delivery.event {
            list.title = None;
        }
        delivery
    });
    let expected = List {
        id: kept,
        owner: ada,
        title: "c".to_owned(),
        exclusive: false,
        position: of_kept[2].position,
    };
    for (number, order) in ORDERS.into_iter().enumerate() {
        let generation = i64::try_from(number).unwrap() + 1;
        let projected = Projected::new(&views, generation, clock.clone()).await;
        let mixed: Vec<Delivery> = order
            .iter()
            .flat_map(|&index| [&of_kept, &of_deleted, &of_redacted].map(|events| events[index].clone()))
            .collect();
        // One by one, then all at the same time, as after a restart.
        projected.deliver(&mixed).await;
        projected.projection.handle(&mixed).await.unwrap();
        let views = &projected.views;
        assert_eq!(lists_of(views, ada).await, std::slice::from_ref(&expected), "{order:?}");
        assert_eq!(lists_of(views, bob).await, [], "{order:?}");
        assert_eq!(views.lists.find(kept).await.unwrap(), Some(expected.clone()));
        assert_eq!(views.lists.find(deleted).await.unwrap(), None);
        assert_eq!(views.lists.exclusive_of(ada).await.unwrap(), HashSet::new());
        assert_eq!(views.lists.exclusive_of(bob).await.unwrap(), HashSet::new());
        let rows = projected.rows().await;
        assert!(!format!("{:?}", rows["lists"]).contains("secret"), "{order:?}");
    }
}

#[tokio::test]
async fn the_last_state_of_members_and_tags_counts_in_whatever_order() {
    let (_database, views) = database().await;
    let clock = clock();
    let mut store = Store::new(clock.clone());
    let [ada, bob, eve] = ["ada", "bob", "eve"].map(|handle| store.register(handle));
    let [list, other] = [1, 2].map(|n| ListId::from_bytes([n; 16]));
    let added = [true, false, true].map(|active| store.list_member(list, ada, bob, active));
    let removed = [true, true, false].map(|active| store.list_member(list, ada, eve, active));
    let tag_added = [true, false, true].map(|active| store.list_tag(list, ada, "Rust", active));
    let tag_removed = [true, true, false].map(|active| store.list_tag(list, ada, "東京", active));
    let elsewhere = [true; 3].map(|active| store.list_member(other, ada, eve, active));
    for (number, order) in ORDERS.into_iter().enumerate() {
        let generation = i64::try_from(number).unwrap() + 1;
        let projected = Projected::new(&views, generation, clock.clone()).await;
        let all = [&added, &removed, &tag_added, &tag_removed, &elsewhere];
        let mixed: Vec<Delivery> = order
            .iter()
            .flat_map(|&index| all.map(|events| events[index].clone()))
            .collect();
        projected.deliver(&mixed).await;
        projected.projection.handle(&mixed).await.unwrap();
        let Views {
            list_members,
            list_tags,
            ..
        } = &projected.views;
        let members = list_members.of_list(list, Range::newest(10)).await.unwrap();
        let found: Vec<_> = members.iter().map(|it| (it.user, it.order, it.position)).collect();
        assert_eq!(found, [(bob, added[2].recorded.id, added[2].position)], "{order:?}");
        assert_eq!(list_members.all_of_list(list).await.unwrap(), [bob]);
        let mut memberships = list_members.memberships(ada, &[ada, bob, eve]).await.unwrap();
        memberships.sort_unstable();
        let expected = [(list, bob), (other, eve)].map(|(list, user)| Membership { list, user });
        assert_eq!(memberships, expected);
        assert_eq!(list_members.memberships(bob, &[bob, eve]).await.unwrap(), []);
        let tags = list_tags.of_list(list, Range::newest(10)).await.unwrap();
        let found: Vec<_> = tags.iter().map(|it| (it.tag.as_str(), it.order)).collect();
        assert_eq!(found, [("Rust", tag_added[2].recorded.id)], "{order:?}");
        assert_eq!(list_tags.all_of_list(list).await.unwrap(), [TagKey::of("rust")]);
    }
}

/// So a page asks who is in them only where there may be one.
#[tokio::test]
async fn the_header_says_whether_there_is_an_exclusive_list_before_and_after_a_rebuild() {
    let (_database, views) = database().await;
    let clock = clock();
    let mut store = Store::new(clock.clone());
    let [ada, bob, eve] = ["ada", "bob", "eve"].map(|handle| store.register(handle));
    for (n, owner, exclusive) in [(1, ada, &[true][..]), (2, bob, &[false]), (3, eve, &[false, true])] {
        for &exclusive in exclusive {
            store.list(ListId::from_bytes([n; 16]), owner, Some("title"), exclusive);
        }
    }
    let streamed = Projected::new(&views, 1, clock.clone()).await;
    streamed.deliver(&store.log).await;
    let rebuilt = Projected::new(&views, 2, clock).await;
    rebuilt.projection.apply_rows_only(&store.log).await.unwrap();
    rebuilt.fill(None).await;
    for projected in [&streamed, &rebuilt] {
        for (owner, expected) in [(ada, true), (bob, false), (eve, true)] {
            let header = projected.views.home_timelines.header(owner).await.unwrap();
            assert_eq!(header.exclusive_lists, expected);
        }
    }
}
