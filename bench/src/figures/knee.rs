//! How much load this machine can take: the published mix of DeathStarBench's social network (60 % home timelines, 30 % user timelines, 10
//! % posts) at rising rates, until one request in a hundred takes longer than a tenth of a second.
//!
//! Source: Gan et al., "An Open-Source Benchmark Suite for Microservices", ASPLOS 2019; wrk2/scripts/social-network/mixed-workload.lua.

use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

use anyhow::Result;
use serde_json::json;

use super::reads::home_of;
use crate::http::{Call, Connection};
use crate::load::at_rate;
use crate::population::{Population, Rows};
use crate::report::Step;
use crate::scale::Scale;
use crate::stack::Stack;

const READERS: usize = 200;
const WRITERS: usize = 10;
const CONNECTIONS: usize = 128;
const FIRST_RATE: f64 = 100.0;
const FACTOR: f64 = 1.5;
const TOO_SLOW_MS: f64 = 100.0;
const MOST_STEPS: usize = 14;

pub(super) async fn knee(stack: &Stack, population: &mut Population, scale: &Scale) -> Result<Vec<Step>> {
    let mut rows = Rows::default();
    let mut homes = Vec::new();
    let mut timelines = Vec::new();
    for _ in 0..READERS {
        let reader = population.reader(&mut rows, 20, 2, 40)?;
        homes.push(home_of(&reader));
        let author = reader.authors[0];
        timelines.push(Call::get(format!("/v1/users/{author}/posts?limit=20")).by(&reader.person.token));
    }
    rows.insert(stack).await?;
    let mut posts = Vec::new();
    for _ in 0..WRITERS {
        let author = population.register(stack).await?;
        posts.push(Call::post("/v1/posts", json!({ "text": "One of ten." })).by(&author.token));
    }
    let mix = Arc::new((homes, timelines, posts));

    let mut steps: Vec<Step> = Vec::new();
    let mut rate = FIRST_RATE;
    for _ in 0..MOST_STEPS {
        let mut pool = Vec::new();
        for _ in 0..CONNECTIONS {
            let command = Connection::to(&stack.command.address).await?;
            pool.push((command, Connection::to(&stack.query.address).await?));
        }
        let busy_before = stack.busy()?;
        let begun = Instant::now();
        let of_mix = mix.clone();
        let times = at_rate(pool, rate, scale.step, move |(mut command, mut query), number| {
            let mix = of_mix.clone();
            async move {
                let (homes, timelines, posts) = &*mix;
                let outcome = match number % 10 {
                    0..6 => query.send(&homes[number % homes.len()]).await,
                    6..9 => query.send(&timelines[number % timelines.len()]).await,
                    _ => command.send(&posts[number / 10 % posts.len()]).await,
                };
                ((command, query), outcome.map(drop))
            }
        })
        .await?;
        let elapsed = begun.elapsed().as_secs_f64();
        let busy = stack.busy()?;
        let share = |of: Range<usize>| busy[of.clone()].iter().sum::<f64>() - busy_before[of].iter().sum::<f64>();
        #[expect(
            clippy::cast_precision_loss,
            reason = "the count stays below the limit of exact values"
        )]
        let done = times.count() as f64;
        let step = Step {
            rate: (done / elapsed).min(rate),
            p50_ms: times.quantile(0.5),
            p99_ms: times.quantile(0.99),
            failed: times.failed,
            first_failure: times.first_failure.clone(),
            ours: share(0..3) / elapsed,
            database: share(3..4) / elapsed,
        };
        let broken = step.p99_ms > TOO_SLOW_MS || step.failed > 0;
        steps.push(step);
        if broken {
            break;
        }
        rate *= FACTOR;
    }
    Ok(steps)
}
