//! How soon a post is seen.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use serde_json::json;
use tokio::sync::Mutex;

use crate::http::{Call, Connection};
use crate::load::{Times, at_rate};
use crate::population::{Person, Population};
use crate::report::{Figure, Goal, median};
use crate::scale::Scale;
use crate::stack::Stack;

const RATE: f64 = 200.0;
const PAIRS: usize = 20;
const CONNECTIONS: usize = 64;
const PAUSE: Duration = Duration::from_millis(20);

/// How much longer a read with the token of the post before it takes than a read without a token.
pub(super) async fn token(stack: &Stack, population: &mut Population, scale: &Scale) -> Result<Figure> {
    let author = population.register(stack).await?;
    let mut command = Connection::to(&stack.command.address).await?;
    let mut query = Connection::to(&stack.query.address).await?;
    let post = Call::post("/v1/posts", json!({ "text": "Seen at once." })).by(&author.token);
    let home = Call::get("/v1/timelines/home?limit=20").by(&author.token);
    let (mut added, mut withs, mut withouts) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..scale.rounds {
        let (mut with, mut without) = (Vec::new(), Vec::new());
        for _ in 0..scale.calls {
            tokio::time::sleep(PAUSE).await;
            let token = command
                .send(&post)
                .await?
                .token
                .context("a command answers with a token")?;
            let begun = Instant::now();
            query.send(&home.clone().after(&token)).await?;
            with.push(begun.elapsed().as_secs_f64() * 1e3);
            tokio::time::sleep(PAUSE).await;
            let begun = Instant::now();
            query.send(&home).await?;
            without.push(begun.elapsed().as_secs_f64() * 1e3);
        }
        let (with, without) = (median(&with), median(&without));
        added.push(with - without);
        withs.push(with);
        withouts.push(without);
    }
    let detail = format!("{:.2} ms - {:.2} ms", median(&withs), median(&withouts));
    Ok(Figure::new("token_ms", Goal::AtMost(30.0), added, detail))
}

/// The time from the answer to a post until a follower's home timeline shows it, while posts are written at a fixed rate.
pub(super) async fn visible(stack: &Stack, population: &mut Population, scale: &Scale) -> Result<Figure> {
    let path = "/v1/timelines/home?limit=20";
    shown("visible_ms", path, Goal::AtMost(60.0), stack, population, scale).await
}

/// The same, until somebody whom the post mentions is told.
pub(super) async fn notified(stack: &Stack, population: &mut Population, scale: &Scale) -> Result<Figure> {
    let path = "/v1/notifications?limit=20";
    shown("notify_ms", path, Goal::AtMost(100.0), stack, population, scale).await
}

async fn shown(
    name: &'static str,
    path: &'static str,
    goal: Goal,
    stack: &Stack,
    population: &mut Population,
    scale: &Scale,
) -> Result<Figure> {
    let mut pairs: Vec<(Person, Person)> = Vec::new();
    let mut command = Connection::to(&stack.command.address).await?;
    for _ in 0..PAIRS {
        let (author, follower) = (population.register(stack).await?, population.register(stack).await?);
        let follow = Call::put(format!("/v1/users/{}/follow", author.id)).by(&follower.token);
        command.send(&follow).await?;
        pairs.push((author, follower));
    }
    let pairs = Arc::new(pairs);
    let (mut rounds, mut medians) = (Vec::new(), Vec::new());
    for _ in 0..scale.rounds.min(3) {
        let mut pool = Vec::new();
        for _ in 0..CONNECTIONS {
            let command = Connection::to(&stack.command.address).await?;
            pool.push((command, Connection::to(&stack.query.address).await?));
        }
        let seen = Arc::new(Mutex::new(Times::new()?));
        let (of_pairs, of_seen) = (pairs.clone(), seen.clone());
        let load = at_rate(pool, RATE, scale.freshness, move |(mut command, mut query), number| {
            let (pairs, seen) = (of_pairs.clone(), of_seen.clone());
            async move {
                let (author, follower) = &pairs[number % pairs.len()];
                let outcome = until_seen(&mut command, &mut query, author, follower, path).await;
                let outcome = match outcome {
                    Ok(took) => {
                        seen.lock().await.record(took);
                        Ok(())
                    }
                    Err(error) => Err(error),
                };
                ((command, query), outcome)
            }
        })
        .await?;
        ensure!(load.failed == 0, "{} failed: {:?}", load.failed, load.first_failure);
        let seen = seen.lock().await;
        rounds.push(seen.quantile(0.99));
        medians.push(seen.quantile(0.5));
    }
    let detail = format!("p50 {}, {RATE} posts/s", of_ms(median(&medians)));
    Ok(Figure::new(name, goal, rounds, detail))
}

fn of_ms(time: f64) -> String {
    format!("{time:.1} ms")
}

async fn until_seen(
    command: &mut Connection,
    query: &mut Connection,
    author: &Person,
    follower: &Person,
    path: &str,
) -> Result<Duration> {
    let text = format!("Seen by followers, and by @{}.", follower.handle);
    let post = Call::post("/v1/posts", json!({ "text": text })).by(&author.token);
    let answer = command.send(&post).await?;
    let begun = Instant::now();
    let token = answer.token.as_deref().context("a command answers with a token")?;
    let id = answer.json()?["id"].as_str().context("a post has an id")?.to_owned();
    let shown = query.send(&Call::get(path).by(&follower.token).after(token)).await?;
    let took = begun.elapsed();
    let text = std::str::from_utf8(&shown.body)?;
    ensure!(text.contains(&id), "{path} does not show {id}");
    Ok(took)
}
