//! What a program costs before the first request.

use anyhow::Result;

use crate::processes::resident_mb;
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

pub(super) async fn idle(stack: &Stack) -> Result<Figure> {
    let mut largest = 0.0_f64;
    let mut detail = Vec::new();
    for process in [&stack.command, &stack.query, &stack.projector] {
        let memory = resident_mb(process.id())?;
        largest = largest.max(memory);
        detail.push(format!("{} {memory:.1}", process.name));
    }
    Ok(Figure::new(
        "idle_mb",
        Goal::AtMost(20.0),
        vec![largest],
        detail.join(", "),
    ))
}
