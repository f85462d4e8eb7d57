//! What the tests of other crates rely on.

use bson::{Document, doc};
use local_mongodb::TestDatabase;

#[tokio::test]
async fn two_tests_share_a_server_and_no_database() {
    let (one, two) = tokio::join!(TestDatabase::new(), TestDatabase::new());
    assert_eq!(one.uri(), two.uri());
    let names = [
        one.events_database(),
        one.views_database(),
        two.events_database(),
        two.views_database(),
    ];
    let distinct: std::collections::HashSet<_> = names.into_iter().collect();
    assert_eq!(distinct.len(), 4);
}

#[tokio::test]
async fn dropping_it_drops_its_databases() {
    let keeper = TestDatabase::new().await;
    let client = keeper.client().await;
    let database = TestDatabase::new().await;
    let name = database.events_database().to_owned();
    client
        .database(&name)
        .collection::<Document>("events")
        .insert_one(doc! {})
        .await
        .expect("an insert");
    assert!(client.list_database_names().await.expect("names").contains(&name));
    drop(database);
    assert!(!client.list_database_names().await.expect("names").contains(&name));
}
