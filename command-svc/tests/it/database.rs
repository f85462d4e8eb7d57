//! What a service has stored.

use bson::{Document, doc};
use futures_util::TryStreamExt;
use mongodb::{Client, Database};

use crate::service::Service;

impl Service {
    /// Reads the events database directly, without the service.
    pub(crate) async fn stored(&self) -> Stored {
        let client = Client::with_uri_str(self.config.mongodb.uri.expose()).await.unwrap();
        Stored(client.database(&self.config.mongodb.events_database))
    }
}

pub(crate) struct Stored(pub(crate) Database);

impl Stored {
    pub(crate) async fn all(&self, collection: &str, filter: Document) -> Vec<Document> {
        self.0
            .collection::<Document>(collection)
            .find(filter)
            .await
            .unwrap()
            .try_collect()
            .await
            .unwrap()
    }

    pub(crate) async fn count(&self, collection: &str, filter: Document) -> usize {
        self.all(collection, filter).await.len()
    }

    /// The types of a stream's events, oldest first.
    pub(crate) async fn stream(&self, stream: &str) -> Vec<String> {
        let mut events = self.all("events", doc! { "stream": stream }).await;
        events.sort_by_key(|event| event.get_i64("version").unwrap());
        events
            .iter()
            .map(|event| event.get_str("type").unwrap().to_owned())
            .collect()
    }

    /// The state in the only event of this type.
    pub(crate) async fn state(&self, event_type: &str) -> Document {
        let mut events = self.all("events", doc! { "type": event_type }).await;
        assert_eq!(events.len(), 1);
        events.remove(0).get_document("data").unwrap().clone()
    }

    /// Whether a text occurs anywhere in the database.
    pub(crate) async fn mentions(&self, text: &str) -> bool {
        for collection in self.0.list_collection_names().await.unwrap() {
            for document in self.all(&collection, doc! {}).await {
                if format!("{document:?}").contains(text) {
                    return true;
                }
            }
        }
        false
    }
}
