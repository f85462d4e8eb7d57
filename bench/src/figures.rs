//! The figures, each with its goal. What they share is made first.

mod commands;
mod cost;
mod fan_out;
mod freshness;
mod full;
mod gateway;
mod knee;
mod live;
mod programs;
mod reads;

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use crate::http::{Call, Connection};
use crate::population::Population;
use crate::report::Report;
use crate::scale::Scale;
use crate::stack::Stack;

/// In this order, because the last ones fill the database.
const ALL: [&str; 29] = [
    "ready_ms",
    "idle_mb",
    "up_mb",
    "home_cold",
    "home_warm",
    "gateway_ratio",
    "page_ms",
    "home_followees",
    "list_members",
    "home_muted",
    "like_groups",
    "deep_page",
    "post",
    "token_ms",
    "visible_ms",
    "notify_ms",
    "live_ms",
    "live_rate",
    "live_kb",
    "cost_home",
    "knee",
    "post_many",
    "cost_post",
    "home_full",
    "home_full_cold",
    "home_ms",
    "post_famous",
    "fan_out",
    "home_stored",
];

pub(crate) async fn measure(stack: &mut Stack, scale: &Scale, only: &[String], report: &mut Report) -> Result<()> {
    if let Some(unknown) = only.iter().find(|name| !ALL.contains(&name.as_str())) {
        bail!("there is no figure '{unknown}'; there are {}", ALL.join(", "));
    }
    let mut population = None;
    for name in ALL {
        if !only.is_empty() && !only.iter().any(|wanted| wanted == name) {
            continue;
        }
        let begun = Instant::now();
        let measured = one(name, stack, &mut population, scale, report).await;
        measured.with_context(|| format!("{name} could not be measured\n{}", stack.last_words()))?;
        progress(name, begun.elapsed());
    }
    Ok(())
}

async fn one(
    name: &str,
    stack: &mut Stack,
    population: &mut Option<Population>,
    scale: &Scale,
    report: &mut Report,
) -> Result<()> {
    // What programs take before the first request.
    match name {
        "ready_ms" => {
            report.figures.push(programs::ready(stack, scale).await?);
            return Ok(());
        }
        "idle_mb" => {
            report.figures.push(programs::idle(stack).await?);
            return Ok(());
        }
        _ => {}
    }
    let population = match population {
        Some(population) => population,
        None => population.insert(Population::begin(stack).await?),
    };
    let figure = match name {
        "up_mb" => programs::up(stack, population).await?,
        "live_ms" => live::soon(stack, population, scale).await?,
        "live_rate" => live::rate(stack, population, scale).await?,
        "live_kb" => live::memory(stack, population, scale).await?,
        "cost_home" => cost::home(stack, population, scale).await?,
        "cost_post" => cost::posts(stack, population, scale).await?,
        "home_full" => full::warm(stack, population, scale).await?,
        "home_full_cold" => full::cold(stack, population, scale).await?,
        "home_ms" => full::times(stack, population, scale).await?,
        "post_many" => commands::many(stack, population, scale).await?,
        "home_cold" => reads::cold(stack, population, scale).await?,
        "home_warm" => reads::warm(stack, population, scale).await?,
        "gateway_ratio" => gateway::ratio(stack, population, scale).await?,
        "page_ms" => gateway::page(stack, population, scale).await?,
        "home_followees" => reads::followees(stack, population, scale).await?,
        "list_members" => reads::list(stack, population, scale).await?,
        "like_groups" => reads::groups(stack, population, scale).await?,
        "home_muted" => reads::muted(stack, population, scale).await?,
        "deep_page" => reads::deep(stack, population, scale).await?,
        "home_stored" => reads::stored(stack, population, scale).await?,
        "post" => commands::post(stack, population, scale).await?,
        "post_famous" => commands::famous(stack, population, scale).await?,
        "token_ms" => freshness::token(stack, population, scale).await?,
        "notify_ms" => freshness::notified(stack, population, scale).await?,
        "visible_ms" => freshness::visible(stack, population, scale).await?,
        "fan_out" => fan_out::fan_out(stack, population, scale).await?,
        _ => {
            report.knee = knee::knee(stack, population, scale).await?;
            return Ok(());
        }
    };
    report.figures.push(figure);
    Ok(())
}

#[expect(clippy::print_stderr, reason = "a run takes long, and prints what it does")]
fn progress(name: &str, took: Duration) {
    eprintln!("measured {name} in {:.1} s", took.as_secs_f64());
}

/// The median time of calls, one after the other, in milliseconds.
async fn median_ms(connection: &mut Connection, call: &Call, calls: usize) -> Result<f64> {
    let mut times = Vec::with_capacity(calls);
    for _ in 0..calls {
        let begun = Instant::now();
        connection.send(call).await?;
        times.push(begun.elapsed().as_secs_f64() * 1e3);
    }
    Ok(crate::report::median(&times))
}

/// Two medians in words, for the ratio of one to the other.
fn of(one: f64, other: f64, unit: &str) -> String {
    format!("{one:.2} {unit} / {other:.2} {unit}")
}
