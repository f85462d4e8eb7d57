//! Posts, as their authors see them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use bson::{Bson, Document, doc};
use chrono::Utc;
use event_log::event_store::{EVENTS, EventStore, Retries};
use model::clock::SystemClock;
use model::ids::{EventId, PostId};
use mongodb::Collection;
use serde_json::json;
use uuid::Uuid;

use super::of;
use crate::http::{Call, Connection};
use crate::load::{Amount, throughput};
use crate::population::{Person, Population, Rows, named, settle};
use crate::report::{Figure, Goal, median};
use crate::scale::Scale;
use crate::stack::Stack;

/// People pause between posts. And the work that a post causes in the projector must not count for the next post.
const PAUSE: Duration = Duration::from_millis(15);

/// Compared with one insert of such an event into a collection with the same indexes.
pub(super) async fn post(stack: &Stack, population: &mut Population, scale: &Scale) -> Result<Figure> {
    let author = population.register(stack).await?;
    let mut connection = Connection::to(&stack.command.address).await?;
    let (twin, event) = twin(stack, &author).await?;
    let (mut ratios, mut ours, mut raws) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..scale.rounds {
        let (mut our, mut raw) = (Vec::new(), Vec::new());
        for _ in 0..scale.calls {
            tokio::time::sleep(PAUSE).await;
            our.push(time_post(&mut connection, &author).await?);
            tokio::time::sleep(PAUSE).await;
            let another = another(&event);
            let begun = Instant::now();
            twin.insert_one(another).await?;
            raw.push(begun.elapsed().as_secs_f64() * 1e3);
        }
        let (our, raw) = (median(&our), median(&raw));
        ratios.push(our / raw);
        ours.push(our);
        raws.push(raw);
    }
    let detail = of(median(&ours), median(&raws), "ms");
    Ok(Figure::new("post", Goal::AtMost(1.5), ratios, detail))
}

/// Posts by many authors at a time, as fast as they are answered, compared with as many such inserts at a time.
pub(super) async fn many(stack: &Stack, population: &mut Population, scale: &Scale) -> Result<Figure> {
    const AT_ONCE: usize = 32;
    let posts = Amount::Items(scale.posts);
    let mut authors = Vec::with_capacity(AT_ONCE);
    for _ in 0..AT_ONCE {
        authors.push(population.register(stack).await?);
    }
    let (twin, event) = twin(stack, &authors[0]).await?;
    let event = Arc::new(event);
    let (mut ratios, mut ours, mut raws) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..scale.rounds {
        // What the posts before have caused is done first.
        for author in &authors {
            settle(stack, author, author).await?;
        }
        let of_event = event.clone();
        let raw = throughput(vec![twin.clone(); AT_ONCE], posts, move |twin, _| {
            let another = another(&of_event);
            async move {
                twin.insert_one(another).await?;
                Ok(twin)
            }
        })
        .await?;
        let mut connections = Vec::with_capacity(AT_ONCE);
        for author in &authors {
            connections.push((Connection::to(&stack.command.address).await?, author.clone()));
        }
        let our = throughput(connections, posts, |(mut connection, author), _| async move {
            time_post(&mut connection, &author).await?;
            Ok((connection, author))
        })
        .await?;
        ratios.push(our / raw);
        ours.push(our);
        raws.push(raw);
    }
    let detail = format!("{}, {AT_ONCE} at a time", of(median(&ours), median(&raws), "posts/s"));
    Ok(Figure::new("post_many", Goal::AtLeast(0.7), ratios, detail))
}

/// The event of a post by this author, and a collection with the same indexes as that of the events.
async fn twin(stack: &Stack, author: &Person) -> Result<(Collection<Document>, Document)> {
    let mut connection = Connection::to(&stack.command.address).await?;
    time_post(&mut connection, author).await?;
    let events = stack.databases.events.collection::<Document>(EVENTS);
    let like_this = doc! { "type": "post.created", "actor": author.id.to_bson() };
    let event = events.find_one(like_this).await?.context("the post has an event")?;
    let twin = stack.databases.events.client().database("bench_raw");
    EventStore::open(twin.clone(), SystemClock::shared(), Retries::default()).await?;
    Ok((twin.collection(EVENTS), event))
}

/// An author with a great many followers, compared with an author without followers.
pub(super) async fn famous(stack: &Stack, population: &mut Population, scale: &Scale) -> Result<Figure> {
    let (famous, unknown) = (population.register(stack).await?, population.register(stack).await?);
    followers(stack, population, &famous, scale.famous, true).await?;
    settle(stack, &unknown, &unknown).await?;
    let mut connection = Connection::to(&stack.command.address).await?;
    let (mut ratios, mut of_famous, mut of_unknown) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..scale.rounds {
        let (mut one, mut other) = (Vec::new(), Vec::new());
        for _ in 0..scale.calls {
            tokio::time::sleep(PAUSE).await;
            one.push(time_post(&mut connection, &famous).await?);
            tokio::time::sleep(PAUSE).await;
            other.push(time_post(&mut connection, &unknown).await?);
        }
        let (one, other) = (median(&one), median(&other));
        ratios.push(one / other);
        of_famous.push(one);
        of_unknown.push(other);
    }
    let detail = format!(
        "{}, {} followers",
        of(median(&of_famous), median(&of_unknown), "ms"),
        scale.famous
    );
    Ok(Figure::new("post_famous", Goal::AtMost(1.1), ratios, detail))
}

/// The time of a post in milliseconds.
async fn time_post(connection: &mut Connection, author: &Person) -> Result<f64> {
    let call = Call::post("/v1/posts", json!({ "text": "The weather of the #day, measured." })).by(&author.token);
    let begun = Instant::now();
    connection.send(&call).await?;
    Ok(begun.elapsed().as_secs_f64() * 1e3)
}

/// The same event of another post.
fn another(event: &Document) -> Document {
    let post = PostId::new(Utc::now());
    let mut another = event.clone();
    another.insert("_id", EventId::new(Utc::now()).to_bson());
    another.insert("stream", format!("post/{post}"));
    another.insert("command_id", Bson::Binary(bson::Uuid::from(Uuid::new_v4()).into()));
    if let Some(Bson::Document(data)) = another.get_mut("data") {
        data.insert("id", post.to_bson());
    }
    another
}

/// Writes the edges and the profile's count of them.
pub(super) async fn followers(
    stack: &Stack,
    population: &Population,
    account: &Person,
    count: usize,
    large: bool,
) -> Result<()> {
    let mut rows = Rows::default();
    for _ in 0..count {
        population.follow(&mut rows, model::ids::UserId::new(Utc::now()), account.id);
        if rows.len() >= 50_000 {
            std::mem::take(&mut rows).insert(stack).await?;
        }
    }
    rows.insert(stack).await?;
    let mut state = doc! { "counts.followers": i64::try_from(count)?, "counts.posts": 1_i64 };
    if large {
        // The state after the crossing, because the crossing is not measured.
        state.insert("audience", "large");
    }
    let profiles = stack.databases.views.collection::<Document>(&named("profiles"));
    // The projector may not have made the row yet.
    settle(stack, account, account).await?;
    let told = profiles
        .update_one(doc! { "_id": account.id.to_bson() }, doc! { "$set": state })
        .await?;
    anyhow::ensure!(told.matched_count == 1, "the account has a profile");
    Ok(())
}
