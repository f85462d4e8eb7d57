//! Tests bookmarks whose events arrive in any order.

use event_log::subscription::{Delivery, Handler};
use model::events::{Bookmark, Event};
use views::{Range, bookmarks};

use crate::fixture::{Projected, Store, clock, database};

/// Every order of three events.
const ORDERS: [[usize; 3]; 6] = [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]];

#[tokio::test]
async fn the_highest_version_wins_in_whatever_order_and_however_often_events_arrive() {
    let (_database, views) = database().await;
    let clock = clock();
    let mut store = Store::new(clock.clone());
    let (ada, bob) = (store.register("ada"), store.register("bob"));
    let [kept, dropped] = [store.post(ada, "one"), store.post(ada, "two")];
    let mut bookmark = |post, active| {
        let bookmark = Bookmark {
            user: bob,
            post,
            active,
        };
        store.record(if active {
            Event::PostBookmarked(bookmark)
        } else {
            Event::PostUnbookmarked(bookmark)
        })
    };
    let kept_events = [true, false, true].map(|active| bookmark(kept, active));
    let dropped_events = [true, true, false].map(|active| bookmark(dropped, active));
    let expected = vec![bookmarks::Bookmark {
        user: bob,
        post: kept,
        order: kept_events[2].recorded.id,
        position: kept_events[2].position,
    }];
    for (number, order) in ORDERS.into_iter().enumerate() {
        let generation = i64::try_from(number).unwrap() + 1;
        let projected = Projected::new(&views, generation, clock.clone()).await;
        let mixed: Vec<Delivery> = order
            .iter()
            .flat_map(|&index| [kept_events[index].clone(), dropped_events[index].clone()])
            .collect();
        // One by one, then all at the same time, as after a restart.
        projected.deliver(&mixed).await;
        projected.projection.handle(&mixed).await.unwrap();
        let found = projected.views.bookmarks.of_user(bob, Range::newest(10)).await.unwrap();
        assert_eq!(found, expected, "{order:?}");
        assert_eq!(
            projected.views.bookmarks.of_user(ada, Range::newest(10)).await.unwrap(),
            []
        );
    }
}
