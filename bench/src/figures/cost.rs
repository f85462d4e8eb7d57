//! What a thousand pages and a thousand posts cost: the processor time of our programs and of the database, without that of the client.

use std::sync::Arc;

use anyhow::Result;

use super::live::{audiences, post_by, senders};
use super::reads::{connections, our_read, readers, visit_all};
use crate::http::Call;
use crate::load::{Amount, throughput};
use crate::population::{Population, settle};
use crate::report::{Figure, Goal, median};
use crate::scale::Scale;
use crate::stack::Stack;

/// First pages of home timelines, from memory.
pub(super) async fn home(stack: &Stack, population: &mut Population, scale: &Scale) -> Result<Figure> {
    let readers = readers(stack, population, scale.readers).await?;
    visit_all(stack, &readers).await?;
    let pages = scale.posts * 5;
    let mut rounds = Vec::new();
    for _ in 0..scale.rounds {
        let before = stack.busy()?;
        throughput(connections(stack).await?, Amount::Items(pages), our_read(&readers)).await?;
        rounds.push(each_thousand(before, stack.busy()?, pages));
    }
    Ok(figure("cost_home", &rounds))
}

/// Posts with ten followers each, until the followers' timelines have them.
pub(super) async fn posts(stack: &Stack, population: &mut Population, scale: &Scale) -> Result<Figure> {
    const AUTHORS: usize = 20;
    const FOLLOWERS_EACH: usize = 10;
    let audiences = audiences(stack, population, AUTHORS, FOLLOWERS_EACH).await?;
    let calls: Arc<Vec<Call>> = Arc::new(audiences.iter().map(|(author, _)| post_by(author)).collect());
    let mut rounds = Vec::new();
    for _ in 0..scale.rounds.min(3) {
        let before = stack.busy()?;
        let of_calls = calls.clone();
        throughput(
            senders(stack).await?,
            Amount::Items(scale.posts),
            move |mut command, item| {
                let calls = of_calls.clone();
                async move {
                    command.send(&calls[item % calls.len()]).await?;
                    Ok(command)
                }
            },
        )
        .await?;
        // Each of these is one more post, and a page.
        for (author, _) in &audiences {
            settle(stack, author, author).await?;
        }
        rounds.push(each_thousand(before, stack.busy()?, scale.posts + AUTHORS));
    }
    Ok(figure("cost_post", &rounds))
}

/// Seconds of each of the four programs.
fn each_thousand(before: [f64; 4], after: [f64; 4], count: usize) -> [f64; 4] {
    #[expect(clippy::cast_precision_loss, reason = "a few thousand")]
    let thousands = count as f64 / 1e3;
    std::array::from_fn(|at| (after[at] - before[at]) / thousands)
}

fn figure(name: &'static str, rounds: &[[f64; 4]]) -> Figure {
    let of = |at: usize| median(&rounds.iter().map(|round| round[at]).collect::<Vec<_>>());
    let detail = format!(
        "command-svc {:.2}, query-svc {:.2}, projector {:.2}, database {:.2} s",
        of(0),
        of(1),
        of(2),
        of(3)
    );
    let sums = rounds.iter().map(|round| round.iter().sum()).collect();
    Figure::new(name, Goal::Reported, sums, detail)
}
