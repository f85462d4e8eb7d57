//! Live streams: how soon a post arrives, how much work a delivery is, and how much memory an open stream takes.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use bson::{Document, doc};
use serde_json::json;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::http::{Call, Connection};
use crate::load::{Times, at_rate};
use crate::population::{Person, Population, Rows, named, settle};
use crate::processes::{allow_open_files, busy, memory_kib};
use crate::report::{Figure, Goal, median};
use crate::scale::Scale;
use crate::sockets::{HEARD_WITHIN, Socket, kind, post_of};
use crate::stack::Stack;

const SENDERS: usize = 32;

/// When a post was sent and when it was answered, by its id.
type Posted = Arc<Mutex<HashMap<Vec<u8>, (Instant, Instant)>>>;

/// The time from the answer to a post until a follower's socket has its event, while posts are written at a fixed rate. The answer comes
/// right after the commit. An event that was faster than the answer counts as zero.
pub(super) async fn soon(stack: &Stack, population: &mut Population, scale: &Scale) -> Result<Figure> {
    const RATE: f64 = 200.0;
    const SOCKETS_EACH: usize = 10;
    let audiences = audiences(stack, population, scale.sockets / SOCKETS_EACH, SOCKETS_EACH).await?;
    let followers: Vec<Person> = audiences.iter().flat_map(|(_, followers)| followers).cloned().collect();
    let mut sockets = Socket::open_all(stack, &followers).await?;
    let posts: Arc<Vec<Call>> = Arc::new(audiences.iter().map(|(author, _)| post_by(author)).collect());

    let (mut rounds, mut medians, mut from_request) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..scale.rounds.min(3) {
        let written = rate_times(RATE, scale.live);
        ensure!(written.is_multiple_of(posts.len()), "each author writes as many posts");
        let listening = listen(sockets, written / posts.len());
        let posted = Posted::default();
        let (of_posted, of_posts) = (posted.clone(), posts.clone());
        let load = at_rate(senders(stack).await?, RATE, scale.live, move |command, number| {
            let (posts, posted) = (of_posts.clone(), of_posted.clone());
            async move { sent(command, &posts[number % posts.len()], &posted).await }
        })
        .await?;
        ensure!(load.failed == 0, "{} failed: {:?}", load.failed, load.first_failure);
        let heard = listening.await?;
        let (mut after_answer, mut after_request) = (Times::new()?, Times::new()?);
        let posted = posted.lock().unwrap_or_else(PoisonError::into_inner);
        for (id, at) in heard.iter().flat_map(|(_, heard)| heard) {
            let (begun, answered) = posted.get(id).context("a socket heard a post of another round")?;
            after_answer.record(at.saturating_duration_since(*answered));
            after_request.record(at.saturating_duration_since(*begun));
        }
        rounds.push(after_answer.quantile(0.99));
        medians.push(after_answer.quantile(0.5));
        from_request.push(after_request.quantile(0.99));
        sockets = heard.into_iter().map(|(socket, _)| socket).collect();
    }
    let detail = format!(
        "p50 {:.1} ms; from the request p99 {:.1} ms; {} sockets, {RATE} posts/s, {SOCKETS_EACH} sockets a post",
        median(&medians),
        median(&from_request),
        sockets.len()
    );
    Ok(Figure::new("live_ms", Goal::AtMost(50.0), rounds, detail))
}

/// Deliveries in a second of query-svc's processor time. The author counts as large, so the projector writes no entries, which would take
/// the processors from the streams. No stream reads entries.
pub(super) async fn rate(stack: &Stack, population: &mut Population, scale: &Scale) -> Result<Figure> {
    const RATE: f64 = 50.0;
    /// So many posts fit into a mailbox. So no stream overflows, however slow it is.
    const FOR: Duration = Duration::from_secs(4);
    let audiences = audiences(stack, population, 1, scale.sockets).await?;
    let (author, followers) = audiences.first().context("there is an author")?;
    let profiles = stack.databases.views.collection::<Document>(&named("profiles"));
    let large = doc! { "$set": { "audience": "large", "counts.followers": i64::try_from(followers.len())? } };
    let told = profiles.update_one(doc! { "_id": author.id.to_bson() }, large).await?;
    ensure!(told.matched_count == 1, "the author has a profile");
    settle(stack, author, author).await?;
    let mut sockets = Socket::open_all(stack, followers).await?;

    let (mut rounds, mut by_the_clock) = (Vec::new(), Vec::new());
    for _ in 0..scale.rounds.min(3) {
        let post = post_by(author);
        let busy_before = busy(stack.query.id())?;
        let begun = Instant::now();
        let listening = listen(sockets, rate_times(RATE, FOR));
        let load = at_rate(senders(stack).await?, RATE, FOR, move |mut command, _| {
            let post = post.clone();
            async move {
                let outcome = command.send(&post).await.map(drop);
                (command, outcome)
            }
        })
        .await?;
        ensure!(load.failed == 0, "{} failed: {:?}", load.failed, load.first_failure);
        let heard = listening.await?;
        let busy = busy(stack.query.id())?.saturating_sub(busy_before);
        #[expect(clippy::cast_precision_loss, reason = "a few hundred thousand")]
        let deliveries = heard.iter().map(|(_, heard)| heard.len()).sum::<usize>() as f64;
        rounds.push(deliveries / busy.as_secs_f64());
        by_the_clock.push(deliveries / begun.elapsed().as_secs_f64());
        sockets = heard.into_iter().map(|(socket, _)| socket).collect();
    }
    let detail = format!(
        "{} sockets, {RATE} posts/s; {:.0} deliveries/s by the clock",
        sockets.len(),
        median(&by_the_clock)
    );
    Ok(Figure::new("live_rate", Goal::AtLeast(50_000.0), rounds, detail))
}

/// Memory for each idle home stream, of users who follow ten of each other.
pub(super) async fn memory(stack: &mut Stack, population: &mut Population, scale: &Scale) -> Result<Figure> {
    const FOLLOWEES: usize = 10;
    /// What the first streams take once and for all does not count.
    const BEFORE: usize = 100;
    /// Files that are no streams, on either side.
    const OTHER_FILES: u64 = 256;
    let open_files = allow_open_files()?;
    let most = usize::try_from(open_files.saturating_sub(OTHER_FILES))?;
    let count = scale.idle_sockets.min(most);
    ensure!(count > BEFORE, "only {open_files} files may be open");
    let mut rows = Rows::default();
    let mut users = Vec::with_capacity(count);
    for _ in 0..count {
        let user = population.user(&mut rows)?;
        Population::session(&mut rows, &user);
        users.push(user);
    }
    for (at, user) in users.iter().enumerate() {
        for next in 1..=FOLLOWEES {
            population.follow(&mut rows, user.id, users[(at + next) % count].id);
        }
    }
    rows.insert(stack).await?;
    let author = population.register(stack).await?;
    // What earlier measurements have left in memory must not be used again unseen.
    stack.restart_query().await?;
    settle(stack, &author, &author).await?;
    let mut sockets = Socket::open_all(stack, &users[..BEFORE]).await?;
    let before = memory_kib(stack.query.id(), "RssAnon")?;
    sockets.extend(Socket::open_all(stack, &users[BEFORE..]).await?);
    // A stream that has sent a heartbeat has had nothing to do for some time.
    for socket in &mut sockets {
        socket.until(|event| kind(event).is_none()).await?;
    }
    let after = memory_kib(stack.query.id(), "RssAnon")?;
    #[expect(clippy::cast_precision_loss, reason = "a few thousand")]
    let each = (after - before) / (count - BEFORE) as f64;
    let detail = format!(
        "{count} connections ({open_files} open files allowed), RssAnon {before:.0} KiB at {BEFORE}, {after:.0} KiB at {count}"
    );
    Ok(Figure::new("live_kb", Goal::AtMost(8.0), vec![each], detail))
}

/// Authors who can post, each with followers of their own who can hold streams.
pub(super) async fn audiences(
    stack: &Stack,
    population: &mut Population,
    authors: usize,
    followers_each: usize,
) -> Result<Vec<(Person, Vec<Person>)>> {
    let mut rows = Rows::default();
    let mut audiences = Vec::with_capacity(authors);
    for _ in 0..authors {
        let author = population.register(stack).await?;
        let mut followers = Vec::with_capacity(followers_each);
        for _ in 0..followers_each {
            let follower = population.user(&mut rows)?;
            Population::session(&mut rows, &follower);
            population.follow(&mut rows, follower.id, author.id);
            followers.push(follower);
        }
        audiences.push((author, followers));
    }
    rows.insert(stack).await?;
    // Otherwise the follows would cut the streams, and authors without a profile would not be shown.
    for (author, _) in &audiences {
        settle(stack, author, author).await?;
    }
    Ok(audiences)
}

pub(super) fn post_by(author: &Person) -> Call {
    Call::post("/v1/posts", json!({ "text": "What happens, as it happens." })).by(&author.token)
}

pub(super) async fn senders(stack: &Stack) -> Result<Vec<Connection>> {
    let mut senders = Vec::with_capacity(SENDERS);
    for _ in 0..SENDERS {
        senders.push(Connection::to(&stack.command.address).await?);
    }
    Ok(senders)
}

async fn sent(mut command: Connection, post: &Call, posted: &Posted) -> (Connection, Result<()>) {
    let begun = Instant::now();
    let outcome = command.send(post).await.and_then(|answer| {
        let answered = Instant::now();
        let id = answer.json()?["id"].as_str().context("a post has an id")?.to_owned();
        let mut posted = posted.lock().unwrap_or_else(PoisonError::into_inner);
        posted.insert(id.into_bytes(), (begun, answered));
        Ok(())
    });
    (command, outcome)
}

/// How many requests [`at_rate`] sends.
fn rate_times(rate: f64, duration: Duration) -> usize {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a few thousand")]
    let requests = (rate * duration.as_secs_f64()).round() as usize;
    requests
}

/// The ids of the posts that a socket has heard of, and when.
type Heard = Vec<(Vec<u8>, Instant)>;

/// Reads all sockets from now on, until each has heard of so many posts.
fn listen(sockets: Vec<Socket>, posts: usize) -> impl Future<Output = Result<Vec<(Socket, Heard)>>> {
    let mut tasks = JoinSet::new();
    for mut socket in sockets {
        tasks.spawn(async move {
            let mut heard = Heard::with_capacity(posts);
            while heard.len() < posts {
                let hear = |event: &[u8]| heard.extend(post_of(event).map(|id| (id.to_vec(), Instant::now())));
                socket.read(hear).await?;
            }
            anyhow::Ok((socket, heard))
        });
    }
    async move {
        let joined = async {
            let mut all = Vec::with_capacity(tasks.len());
            while let Some(ended) = tasks.join_next().await {
                all.push(ended??);
            }
            anyhow::Ok(all)
        };
        timeout(HEARD_WITHIN, joined)
            .await
            .context("a socket has not heard of all posts")?
    }
}
