//! Tests filters whose events arrive in any order.

use bson::{Document, doc};
use event_log::subscription::{Delivery, Handler};
use model::clock::Clock;
use model::events::State;
use model::ids::FilterId;
use model::values::FilterAction;
use views::{Filter, collection_name, filters};

use crate::fixture::{Projected, Store, clock, database};

/// Every order of three events.
const ORDERS: [[usize; 3]; 6] = [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]];

#[tokio::test]
async fn the_highest_version_wins_in_whatever_order_and_however_often_events_arrive() {
    let (_database, views) = database().await;
    let clock = clock();
    let mut store = Store::new(clock.clone());
    let (ada, bob) = (store.register("ada"), store.register("bob"));
    let id = || {
        clock.advance(std::time::Duration::from_secs(1));
        FilterId::new(clock.now())
    };
    let [older, kept, dropped] = [id(), id(), id()];
    let (hide, warn) = (Some(FilterAction::Hide), Some(FilterAction::Warn));
    let first = store.filter(bob, older, "older", warn);
    let kept_events =
        [("one", hide), ("two", warn), ("three", hide)].map(|(phrase, action)| store.filter(bob, kept, phrase, action));
    let dropped_events = [("secret", hide), ("secret", warn), ("", None)]
        .map(|(phrase, action)| store.filter(bob, dropped, phrase, action));
    let row = |delivery: &Delivery| match delivery.event.state() {
        State::Filter(filter) => Filter {
            owner: filter.owner,
            filter: filter.id,
            content: filter.content.clone().unwrap(),
        },
        _ => unreachable!(),
    };
    let expected = vec![row(&kept_events[2]), row(&first)];
    for (number, order) in ORDERS.into_iter().enumerate() {
        let generation = i64::try_from(number).unwrap() + 1;
        let projected = Projected::new(&views, generation, clock.clone()).await;
        let mixed: Vec<Delivery> = order
            .iter()
            .flat_map(|&index| [kept_events[index].clone(), dropped_events[index].clone(), first.clone()])
            .collect();
        // One by one, then all at the same time, as after a restart.
        projected.deliver(&mixed).await;
        projected.projection.handle(&mixed).await.unwrap();
        assert_eq!(
            projected.views.filters.of_owners(&[bob, ada]).await.unwrap(),
            expected,
            "{order:?}"
        );
        assert_eq!(projected.views.filters.of_owners(&[ada]).await.unwrap(), []);
        // Nothing of a deleted filter is left.
        let rows = views.collection::<Document>(&collection_name(filters::NAME, generation));
        let gone = rows.find_one(doc! { "filter": dropped }).await.unwrap().unwrap();
        assert!(!gone.to_string().contains("secret"), "{gone}");
        assert!(!gone.get_bool("live").unwrap(), "{gone}");
    }
}
