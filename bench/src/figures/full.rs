//! Home timelines of owners whose window is full.

use std::sync::Arc;
use std::time::Instant;

use anyhow::Result;
use tokio::sync::Mutex;
use views::Timelines;

use super::reads::{Memory, home_of, pages, visit_all};
use crate::http::{Call, Connection};
use crate::load::{Amount, Times, throughput};
use crate::population::{Population, Reader, Rows, settle};
use crate::report::{Figure, Goal, median};
use crate::scale::Scale;
use crate::stack::Stack;

const OWNERS: usize = 40;
const FOLLOWEES: usize = 40;

/// The timelines again and again, from memory.
pub(super) async fn warm(stack: &mut Stack, population: &mut Population, scale: &Scale) -> Result<Figure> {
    let owners = owners(stack, population).await?;
    visit_all(stack, &owners).await?;
    let memory = Memory::Warm(scale.round);
    pages(stack, "home_full", Goal::AtLeast(5.0), &owners, scale.rounds, memory).await
}

/// A process that has just been started reads every timeline once. A round is short, so there are more of them.
pub(super) async fn cold(stack: &mut Stack, population: &mut Population, scale: &Scale) -> Result<Figure> {
    let owners = owners(stack, population).await?;
    let (goal, rounds) = (Goal::AtLeast(0.8), scale.rounds * 3);
    pages(stack, "home_full_cold", goal, &owners, rounds, Memory::Cold).await
}

/// The times of pages from memory. The value is the p50 of one owner, one page at a time.
pub(super) async fn times(stack: &Stack, population: &mut Population, scale: &Scale) -> Result<Figure> {
    let owners = owners(stack, population).await?;
    visit_all(stack, &owners).await?;
    let all: Arc<Vec<Call>> = Arc::new(owners.iter().map(home_of).collect());
    let one = Arc::new(all[..1].to_vec());
    let mut rounds = Vec::new();
    let mut detail = Vec::new();
    for calls in [one, all] {
        for at_once in [1, 16] {
            let (mut p50, mut p99) = (Vec::new(), Vec::new());
            for _ in 0..scale.rounds {
                let times = timed(stack, &calls, at_once, scale).await?;
                p50.push(times.quantile(0.5));
                p99.push(times.quantile(0.99));
            }
            detail.push(format!(
                "{} in turn, {at_once} at a time: p50 {:.2}, p99 {:.2} ms",
                calls.len(),
                median(&p50),
                median(&p99)
            ));
            if rounds.is_empty() {
                rounds = p50;
            }
        }
    }
    Ok(Figure::new("home_ms", Goal::Reported, rounds, detail.join("; ")))
}

async fn timed(stack: &Stack, calls: &Arc<Vec<Call>>, at_once: usize, scale: &Scale) -> Result<Times> {
    let mut workers = Vec::with_capacity(at_once);
    for _ in 0..at_once {
        workers.push(Connection::to(&stack.query.address).await?);
    }
    let all = Arc::new(Mutex::new(Times::new()?));
    let (of_calls, of_all) = (calls.clone(), all.clone());
    throughput(workers, Amount::For(scale.round / 4), move |mut connection, item| {
        let (calls, all) = (of_calls.clone(), of_all.clone());
        async move {
            let begun = Instant::now();
            connection.send(&calls[item % calls.len()]).await?;
            let took = begun.elapsed();
            all.lock().await.record(took);
            Ok(connection)
        }
    })
    .await?;
    let all = Arc::try_unwrap(all).map_err(|_| anyhow::anyhow!("a task outlived the load"))?;
    Ok(all.into_inner())
}

/// Owners that share nothing, with as many entries as a timeline has before it is trimmed. They are made once.
async fn owners(stack: &Stack, population: &mut Population) -> Result<Arc<Vec<Reader>>> {
    if let Some(owners) = &population.full {
        return Ok(owners.clone());
    }
    let entries = 2 * usize::try_from(Timelines::default().window.get())?;
    let mut owners = Vec::with_capacity(OWNERS);
    for _ in 0..OWNERS {
        let mut rows = Rows::default();
        owners.push(population.reader(&mut rows, FOLLOWEES, entries / FOLLOWEES, entries)?);
        rows.insert(stack).await?;
    }
    let author = population.register(stack).await?;
    settle(stack, &author, &owners[0].person).await?;
    let owners = Arc::new(owners);
    // The first visit of each owner causes a write, which is not measured.
    visit_all(stack, &owners).await?;
    population.full = Some(owners.clone());
    Ok(owners)
}
