//! What a program costs before the first request, and when it has nothing to do.

use std::time::Duration;

use anyhow::Result;

use super::live::post_by;
use crate::http::Connection;
use crate::load::{Amount, throughput};
use crate::population::{Population, settle_at};
use crate::processes::memory_mb;
use crate::report::{Figure, Goal};
use crate::scale::Scale;
use crate::stack::Stack;

/// The time from the start of a process until it first answers that it is ready.
pub(super) async fn ready(stack: &mut Stack, scale: &Scale) -> Result<Figure> {
    let mut rounds = Vec::new();
    let mut slowest = [0.0_f64; 3];
    for _ in 0..scale.rounds {
        let mut longest = 0.0_f64;
        for (at, name) in ["command-svc", "query-svc", "projector"].into_iter().enumerate() {
            let took = stack.time_to_ready(name).await?.as_secs_f64() * 1e3;
            slowest[at] = slowest[at].max(took);
            longest = longest.max(took);
        }
        rounds.push(longest);
    }
    let [command, query, projector] = slowest;
    let detail = format!("slowest: command-svc {command:.0}, query-svc {query:.0}, projector {projector:.0} ms");
    Ok(Figure::new("ready_ms", Goal::AtMost(300.0), rounds, detail))
}

/// What the largest service has allocated.
pub(super) async fn idle(stack: &Stack) -> Result<Figure> {
    let mut largest = 0.0_f64;
    let mut detail = Vec::new();
    for process in [&stack.command, &stack.query, &stack.projector] {
        let memory = memory_mb(process.id(), "RssAnon")?;
        largest = largest.max(memory);
        detail.push(format!("{} {memory:.1}", process.name));
    }
    Ok(Figure::new(
        "idle_mb",
        Goal::AtMost(10.0),
        vec![largest],
        detail.join(", "),
    ))
}

/// Resident memory of `microblog up`, without its database, after a thousand posts and some time with nothing to do.
pub(super) async fn up(stack: &Stack, population: &mut Population) -> Result<Figure> {
    const POSTS: usize = 1_000;
    const AT_ONCE: usize = 16;
    /// This is what is measured: a program that has had nothing to do for so long.
    const IDLE_FOR: Duration = Duration::from_secs(5);
    let data = tempfile::tempdir()?;
    let (mut process, command) = stack.start_up(data.path()).await?;
    let author = population.register_at(&command).await?;
    let post = post_by(&author);
    let mut connections = Vec::with_capacity(AT_ONCE);
    for _ in 0..AT_ONCE {
        connections.push(Connection::to(&command).await?);
    }
    throughput(connections, Amount::Items(POSTS), move |mut connection, _| {
        let post = post.clone();
        async move {
            connection.send(&post).await?;
            Ok(connection)
        }
    })
    .await?;
    settle_at(&command, &process.address, &author, &author).await?;
    tokio::time::sleep(IDLE_FOR).await;
    let (resident, allocated) = (memory_mb(process.id(), "VmRSS")?, memory_mb(process.id(), "RssAnon")?);
    process.interrupt().await?;
    let detail = format!("{POSTS} posts; {allocated:.1} MB of it are allocated");
    Ok(Figure::new("up_mb", Goal::AtMost(50.0), vec![resident], detail))
}
