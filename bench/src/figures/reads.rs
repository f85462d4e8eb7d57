//! Home timelines: compared with the driver alone, and with themselves at a larger scale.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use bson::{Document, doc};
use chrono::{TimeDelta, Utc};
use serde_json::json;

use super::{median_ms, of};
use crate::http::{Call, Connection};
use crate::load::{Amount, throughput};
use crate::population::{Population, Reader, Rows, key, named, settle};
use crate::raw;
use crate::report::{Figure, Goal, median};
use crate::scale::Scale;
use crate::stack::Stack;

const PAGE: usize = 20;
const HOME: &str = "/v1/timelines/home?limit=20";
/// How many connections each side uses.
pub(super) const AT_ONCE: usize = 8;

/// What query-svc has in memory when it is measured.
#[derive(Debug, Clone, Copy)]
pub(super) enum Memory {
    /// All timelines, which are read again and again for so long.
    Warm(Duration),
    /// Nothing: in each round, it has just been started, and reads every timeline once. So does the driver.
    Cold,
}

pub(super) async fn cold(stack: &mut Stack, population: &mut Population, scale: &Scale) -> Result<Figure> {
    let readers = readers(stack, population, scale.readers).await?;
    let goal = Goal::AtLeast(0.95);
    pages(stack, "home_cold", goal, &readers, scale.rounds, Memory::Cold).await
}

pub(super) async fn warm(stack: &mut Stack, population: &mut Population, scale: &Scale) -> Result<Figure> {
    let readers = readers(stack, population, scale.readers).await?;
    visit_all(stack, &readers).await?;
    let (goal, memory) = (Goal::AtLeast(10.0), Memory::Warm(scale.round));
    pages(stack, "home_warm", goal, &readers, scale.rounds, memory).await
}

/// Pages a second, compared with those of the driver.
pub(super) async fn pages(
    stack: &mut Stack,
    name: &'static str,
    goal: Goal,
    readers: &Arc<Vec<Reader>>,
    rounds: usize,
    memory: Memory,
) -> Result<Figure> {
    let raw_side = raw_workers(stack);
    let amount = match memory {
        Memory::Warm(duration) => Amount::For(duration),
        Memory::Cold => Amount::Items(readers.len()),
    };
    let (mut ratios, mut ours, mut raws) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..rounds {
        let raw = throughput(raw_side.clone(), amount, raw_read(readers)).await?;
        if matches!(memory, Memory::Cold) {
            stack.restart_query().await?;
        }
        let our = throughput(connections(stack).await?, amount, our_read(readers)).await?;
        ratios.push(our / raw);
        ours.push(our);
        raws.push(raw);
    }
    let detail = of(median(&ours), median(&raws), "pages/s");
    Ok(Figure::new(name, goal, ratios, detail))
}

/// A reader with many followees, compared with a reader with few.
pub(super) async fn followees(stack: &Stack, population: &mut Population, scale: &Scale) -> Result<Figure> {
    let mut rows = Rows::default();
    let few = population.reader(&mut rows, 10, 4, 40)?;
    let many = population.reader(&mut rows, scale.followees, 1, 40)?;
    rows.insert(stack).await?;
    let (few, many) = (home_of(&few), home_of(&many));
    compare(
        stack,
        population,
        scale,
        "home_followees",
        Goal::AtMost(1.2),
        &many,
        &few,
    )
    .await
}

/// The timeline of a list with 5,000 members, compared with that of a list with 5.
pub(super) async fn list(stack: &Stack, population: &mut Population, scale: &Scale) -> Result<Figure> {
    let mut rows = Rows::default();
    let few = population.reader(&mut rows, 5, 8, 40)?;
    let many = population.reader(&mut rows, 5_000, 1, 40)?;
    let pages = [&few, &many].map(|reader| {
        let list = population.list(&mut rows, reader.person.id, &reader.authors);
        Call::get(format!("/v1/timelines/lists/{list}?limit={PAGE}")).by(&reader.person.token)
    });
    rows.insert(stack).await?;
    let [few, many] = &pages;
    compare(stack, population, scale, "list_members", Goal::AtMost(1.5), many, few).await
}

/// The page of groups of somebody who has a post with many likes, compared with one with ten.
pub(super) async fn groups(stack: &Stack, population: &mut Population, scale: &Scale) -> Result<Figure> {
    let mut rows = Rows::default();
    let mut pages = Vec::new();
    for likes in [10, scale.famous / 10] {
        let author = population.user(&mut rows)?;
        population.liked_post(&mut rows, author.id, likes)?;
        pages.push(Call::get("/v1/notifications/groups?limit=20").by(&author.token));
    }
    rows.insert(stack).await?;
    let (few, many) = (&pages[0], &pages[1]);
    compare(stack, population, scale, "like_groups", Goal::AtMost(1.2), many, few).await
}

/// A reader who mutes many and has many filters, compared with one who has neither. Nothing on the page is muted or filtered, so that both pages
/// are as long.
pub(super) async fn muted(stack: &Stack, population: &mut Population, scale: &Scale) -> Result<Figure> {
    const MUTES: usize = 1_000;
    const FILTERS: usize = 100;
    const PHRASES_EACH: usize = 10;
    let person = population.register(stack).await?;
    let mut command = Connection::to(&stack.command.address).await?;
    for filter in 0..FILTERS {
        let phrases: Vec<String> = (0..PHRASES_EACH)
            .map(|it| format!("unheard-of {filter} {it}"))
            .collect();
        let body = json!({ "phrases": phrases, "whole_word": true, "contexts": ["home"], "action": "hide" });
        command.send(&Call::post("/v1/filters", body).by(&person.token)).await?;
    }
    let mut rows = Rows::default();
    let plain = population.reader(&mut rows, 20, 2, 40)?;
    let filtered = population.reader_who_is(person, &mut rows, 20, 2, 40)?;
    for _ in 0..MUTES {
        let muted = population.user(&mut rows)?.id;
        population.mute(&mut rows, filtered.person.id, muted);
    }
    rows.insert(stack).await?;
    let (filtered, plain) = (home_of(&filtered), home_of(&plain));
    compare(
        stack,
        population,
        scale,
        "home_muted",
        Goal::AtMost(1.2),
        &filtered,
        &plain,
    )
    .await
}

/// A page below the floor, compared with a page above it.
pub(super) async fn deep(stack: &Stack, population: &mut Population, scale: &Scale) -> Result<Figure> {
    const FOLLOWEES: usize = 200;
    const ABOVE: usize = 400;
    let mut rows = Rows::default();
    let reader = population.reader(&mut rows, FOLLOWEES, 10, ABOVE)?;
    rows.insert(stack).await?;
    // The first visit makes the header.
    let mut connection = Connection::to(&stack.query.address).await?;
    connection.send(&home_of(&reader)).await?;
    let (floor, _) = reader.posts[ABOVE];
    let header = doc! { "_id": key(reader.person.id, &[0xFF; 16]) };
    let timelines = stack.databases.views.collection::<Document>(&named("home_timelines"));
    let raised = timelines
        .update_one(header, doc! { "$set": { "floor": floor.to_bson() } })
        .await?;
    anyhow::ensure!(raised.matched_count == 1, "the reader has a header");

    let mut pages = Vec::new();
    let mut next = home_of(&reader);
    for _ in 0..ABOVE / PAGE + 4 {
        let page = connection.send(&next).await?.json()?;
        pages.push(next);
        let cursor = page["next"].as_str().context("there is a next page")?;
        next = Call::get(format!("{HOME}&before={cursor}")).by(&reader.person.token);
    }
    let (above, below) = (&pages[2], &pages[pages.len() - 2]);
    compare(stack, population, scale, "deep_page", Goal::AtMost(2.5), below, above).await
}

/// The same page with few posts stored, and with many posts that it does not need.
pub(super) async fn stored(stack: &Stack, population: &mut Population, scale: &Scale) -> Result<Figure> {
    let mut rows = Rows::default();
    let reader = population.reader(&mut rows, 20, 2, 40)?;
    rows.insert(stack).await?;
    let home = home_of(&reader);
    let (few, many) = scale.stored;
    others(stack, population, few).await?;
    let author = population.register(stack).await?;
    settle(stack, &author, &reader.person).await?;
    let mut connection = Connection::to(&stack.query.address).await?;
    let mut before = Vec::new();
    for _ in 0..scale.rounds {
        before.push(median_ms(&mut connection, &home, scale.calls).await?);
    }
    others(stack, population, many - few).await?;
    settle(stack, &author, &reader.person).await?;
    let mut connection = Connection::to(&stack.query.address).await?;
    let before = median(&before);
    let (mut ratios, mut after) = (Vec::new(), Vec::new());
    for _ in 0..scale.rounds {
        let time = median_ms(&mut connection, &home, scale.calls).await?;
        ratios.push(time / before);
        after.push(time);
    }
    let detail = of(median(&after), before, "ms");
    Ok(Figure::new("home_stored", Goal::AtMost(1.2), ratios, detail))
}

/// Inserts posts by people whom none of the readers follows.
async fn others(stack: &Stack, population: &Population, count: usize) -> Result<()> {
    const POSTS_EACH: usize = 100;
    let mut rows = Rows::default();
    let mut at = Utc::now() - TimeDelta::hours(1);
    for number in 0..count.div_ceil(POSTS_EACH) {
        let author = population.user(&mut rows)?.id;
        for _ in 0..POSTS_EACH.min(count - number * POSTS_EACH) {
            at -= TimeDelta::milliseconds(1);
            population.post(&mut rows, author, at);
        }
        if rows.len() > 50_000 {
            std::mem::take(&mut rows).insert(stack).await?;
        }
    }
    rows.insert(stack).await
}

/// The times of one call compared with those of another, in turns.
async fn compare(
    stack: &Stack,
    population: &mut Population,
    scale: &Scale,
    name: &'static str,
    goal: Goal,
    one: &Call,
    other: &Call,
) -> Result<Figure> {
    let author = population.register(stack).await?;
    settle(stack, &author, &author).await?;
    let mut connection = Connection::to(&stack.query.address).await?;
    // Both pages are in memory, as they are for anybody who turns pages.
    for call in [one, other] {
        median_ms(&mut connection, call, 10).await?;
    }
    let (mut ratios, mut ones, mut others) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..scale.rounds {
        let time_of_other = median_ms(&mut connection, other, scale.calls).await?;
        let time_of_one = median_ms(&mut connection, one, scale.calls).await?;
        ratios.push(time_of_one / time_of_other);
        ones.push(time_of_one);
        others.push(time_of_other);
    }
    Ok(Figure::new(
        name,
        goal,
        ratios,
        of(median(&ones), median(&others), "ms"),
    ))
}

/// Readers that share nothing, so that what is loaded for one does not help another.
pub(super) async fn readers(stack: &Stack, population: &mut Population, count: usize) -> Result<Arc<Vec<Reader>>> {
    let mut readers = Vec::with_capacity(count);
    let mut rows = Rows::default();
    for _ in 0..count {
        readers.push(population.reader(&mut rows, PAGE + 1, 1, PAGE + 1)?);
    }
    rows.insert(stack).await?;
    let author = population.register(stack).await?;
    settle(stack, &author, &readers[0].person).await?;
    let readers = Arc::new(readers);
    // The first visit of each reader causes a write, which is not measured.
    visit_all(stack, &readers).await?;
    Ok(readers)
}

/// Each of them reads the first page once.
pub(super) async fn visit_all(stack: &Stack, readers: &Arc<Vec<Reader>>) -> Result<()> {
    let visits = Amount::Items(readers.len());
    throughput(connections(stack).await?, visits, our_read(readers)).await?;
    Ok(())
}

pub(super) async fn connections(stack: &Stack) -> Result<Vec<Connection>> {
    let mut connections = Vec::new();
    for _ in 0..AT_ONCE {
        connections.push(Connection::to(&stack.query.address).await?);
    }
    Ok(connections)
}

fn raw_workers(stack: &Stack) -> Vec<raw::Home> {
    vec![raw::Home::new(&stack.databases.views); AT_ONCE]
}

pub(super) fn home_of(reader: &Reader) -> Call {
    Call::get(HOME).by(&reader.person.token)
}

pub(super) type Turn<S> = std::pin::Pin<Box<dyn Future<Output = Result<S>> + Send>>;

pub(super) fn our_read(
    readers: &Arc<Vec<Reader>>,
) -> impl Fn(Connection, usize) -> Turn<Connection> + Clone + Send + 'static {
    let calls: Arc<Vec<Call>> = Arc::new(readers.iter().map(home_of).collect());
    move |mut connection, item| {
        let calls = calls.clone();
        Box::pin(async move {
            connection.send(&calls[item % calls.len()]).await?;
            Ok(connection)
        })
    }
}

fn raw_read(readers: &Arc<Vec<Reader>>) -> impl Fn(raw::Home, usize) -> Turn<raw::Home> + Clone + Send + 'static {
    let readers = readers.clone();
    move |home, item| {
        let readers = readers.clone();
        Box::pin(async move {
            home.page(&readers[item % readers.len()], PAGE).await?;
            Ok(home)
        })
    }
}
