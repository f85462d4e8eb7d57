//! A store that the version before wrote, under the programs of today.
//!
//! `UPDATE_STORE=1` writes the fixture anew. Only the last commit before an incompatible change does that.

use std::io::{Cursor, Read as _, Write as _};
use std::path::Path;

use bson::{Document, doc};
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use futures_util::TryStreamExt as _;
use local_mongodb::TestDatabase;
use model::api::Post;
use model::clock::SystemClock;
use mongodb::Database;
use reqwest::{Method, StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use views::generation::Generations;

use crate::home::e2e;
use crate::stack::{Stack, eventually};

const FIXTURE: &str = "tests/fixtures/store.bson.gz";
/// So that the repository stays small.
const MOST_BYTES: usize = 500_000;

/// A collection with everything that it holds.
#[derive(Serialize, Deserialize)]
struct Collection {
    /// Of the two databases.
    events: bool,
    name: String,
    options: Document,
    indexes: Vec<Document>,
    documents: Vec<Document>,
}

fn database(of: &TestDatabase, client: &mongodb::Client, events: bool) -> Database {
    client.database(if events {
        of.events_database()
    } else {
        of.views_database()
    })
}

async fn dump(of: &TestDatabase) -> anyhow::Result<Vec<u8>> {
    let client = of.client().await;
    let mut archive = GzEncoder::new(Vec::new(), Compression::best());
    for events in [true, false] {
        let database = database(of, &client, events);
        let collections: Vec<Document> = command_cursor(&database, doc! { "listCollections": 1 }).await?;
        for described in collections {
            let name = described.get_str("name")?.to_owned();
            let mut indexes = command_cursor(&database, doc! { "listIndexes": &name }).await?;
            indexes.retain(|index| {
                index.get_str("name").is_ok_and(|name| name != "_id_") && !index.contains_key("clustered")
            });
            let found = database.collection(&name).find(doc! {}).await?;
            let collection = Collection {
                events,
                options: described.get_document("options").cloned().unwrap_or_default(),
                indexes,
                documents: found.try_collect().await?,
                name,
            };
            archive.write_all(&bson::serialize_to_vec(&collection)?)?;
        }
    }
    Ok(archive.finish()?)
}

async fn command_cursor(database: &Database, command: Document) -> anyhow::Result<Vec<Document>> {
    let found = database.run_cursor_command(command).await?;
    Ok(found.try_collect().await?)
}

async fn restore(into: &TestDatabase, archive: &[u8]) -> anyhow::Result<()> {
    let client = into.client().await;
    let mut collections = Vec::new();
    GzDecoder::new(archive).read_to_end(&mut collections)?;
    let mut rest = Cursor::new(collections);
    while rest.position() < rest.get_ref().len() as u64 {
        let collection: Collection = bson::deserialize_from_reader(&mut rest)?;
        let database = database(into, &client, collection.events);
        let mut create = doc! { "create": &collection.name };
        create.extend(collection.options);
        database.run_command(create).await?;
        if !collection.indexes.is_empty() {
            let create = doc! { "createIndexes": &collection.name, "indexes": collection.indexes };
            database.run_command(create).await?;
        }
        if !collection.documents.is_empty() {
            let documents = database.collection(&collection.name);
            documents.insert_many(collection.documents).await?;
        }
    }
    Ok(())
}

/// Some of everything that people can do.
async fn history(stack: &Stack) {
    let people = stack.crowd("person", 12).await;
    for (number, person) in people.iter().enumerate() {
        for step in [1, 2, 5] {
            stack.follow(person, &people[(number + step) % people.len()]).await;
        }
    }
    for (number, person) in people.iter().enumerate() {
        let (next, other) = (
            &people[(number + 1) % people.len()],
            &people[(number + 5) % people.len()],
        );
        let post = stack
            .post(
                person,
                &format!("@{} says: #tag{number} https://example.org", next.handle),
            )
            .await;
        let path = format!("/v1/posts/{}/bookmark", post.id);
        let _: Value = stack.command(Method::PUT, &path, Some(next), None).await;
        let reply = json!({ "text": "an answer", "in_reply_to": post.id });
        let _: Value = stack.command(Method::POST, "/v1/posts", Some(next), Some(reply)).await;
        let hidden = json!({ "text": "for followers", "visibility": "followers" });
        let _: Value = stack
            .command(Method::POST, "/v1/posts", Some(person), Some(hidden))
            .await;
        stack.like(other, post.id).await;
        stack.repost(next, post.id).await;
        match number % 4 {
            0 => drop(stack.edit(person, post.id, "edited").await),
            1 => stack.unrepost(next, post.id).await,
            2 => stack.delete(person, post.id).await,
            _ => stack.unfollow(person, next).await,
        }
    }
    stack.delete_user(&people[3]).await;
}

e2e! {
    async fn a_store_of_the_version_before_is_served_and_goes_on() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(FIXTURE);
        if std::env::var_os("UPDATE_STORE").is_some() {
            let stack = Stack::start().await;
            history(&stack).await;
            eventually("the deletion is swept up", || async {
                let reports = stack.verify().await;
                reports.iter().all(|report| report.in_motion == 0).then_some(())
            })
            .await;
            stack.assert_verified().await;
            std::fs::write(&path, dump(&stack.database).await.expect("a dump")).expect("the fixture is written");
        }
        let archive = std::fs::read(&path).expect("the fixture is there");
        assert!(archive.len() < MOST_BYTES, "{} bytes", archive.len());
        let database = TestDatabase::new().await;
        restore(&database, &archive).await.expect("it is restored");
        let often = [
            ("rebuild.look_every", "100ms"), ("rebuild.reader_grace", "100ms"), ("projector.look_every", "100ms"),
        ];
        let mut stack = Stack::start_on(database, &often).await;
        // Reads go on until the views are rebuilt. What only the new views have is not answered by the old ones.
        let served: Vec<Post> = stack.list("/v1/timelines/public", None, 100).await;
        assert!(!served.is_empty());
        let (status, text) = stack.read_without_token("/v1/timelines/tags/tag1", None).await;
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "{text}");
        stack.add_projector().await;
        stack.wait_until_ready().await;
        let databases = stack.databases().await;
        let generations = Generations::new(databases.views.clone(), SystemClock::shared());
        eventually("the views are rebuilt, and every program may write what this version brings", || async {
            generations.all_are_upgraded().await.expect("the database answers").then_some(())
        })
        .await;
        assert_eq!(generations.current().await.expect("an answer").expect("a state").active, 2);
        stack.assert_verified().await;
        let [newcomer] = stack.people(["newcomer"]).await;
        let greeting = stack.post(&newcomer, "hello").await;
        assert_eq!(stack.home_ids(&newcomer).await, [greeting.id]);
        stack.assert_verified().await;
    }
}
