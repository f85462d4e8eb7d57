//! What the gateway costs: of the API, and of a page.

use anyhow::{Result, ensure};

use super::reads::{AT_ONCE, our_read, readers, visit_all};
use super::{median_ms, of};
use crate::http::{Call, Connection};
use crate::load::{Amount, throughput};
use crate::population::Population;
use crate::report::{Figure, Goal, median};
use crate::scale::Scale;
use crate::stack::Stack;

/// Home pages a second from memory, through the gateway and without it.
pub(super) async fn ratio(stack: &mut Stack, population: &mut Population, scale: &Scale) -> Result<Figure> {
    let readers = readers(stack, population, scale.readers).await?;
    visit_all(stack, &readers).await?;
    let gateway = stack.start_gateway().await?;
    let (mut ratios, mut through, mut direct) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..scale.rounds {
        let mut rates = [0.0; 2];
        for (rate, address) in rates.iter_mut().zip([&gateway.address, &stack.query.address]) {
            let mut connections = Vec::new();
            for _ in 0..AT_ONCE {
                connections.push(Connection::to(address).await?);
            }
            *rate = throughput(connections, Amount::For(scale.round), our_read(&readers)).await?;
        }
        let [by_gateway, by_query] = rates;
        ratios.push(by_gateway / by_query);
        through.push(by_gateway);
        direct.push(by_query);
    }
    let detail = of(median(&through), median(&direct), "pages/s");
    Ok(Figure::new("gateway_ratio", Goal::AtLeast(0.85), ratios, detail))
}

/// The public timeline as a web page, one after the other.
pub(super) async fn page(stack: &mut Stack, population: &mut Population, scale: &Scale) -> Result<Figure> {
    readers(stack, population, scale.readers).await?;
    let gateway = stack.start_gateway().await?;
    let mut connection = Connection::to(&gateway.address).await?;
    let page = Call::get("/public");
    let answer = connection.send(&page).await?;
    let posts = String::from_utf8_lossy(&answer.body).matches("<article").count();
    ensure!(posts > 10, "the page shows {posts} posts");
    let bytes = answer.body.len();
    let mut rounds = Vec::new();
    for _ in 0..scale.rounds {
        rounds.push(median_ms(&mut connection, &page, scale.calls).await?);
    }
    let detail = format!("{posts} posts, {bytes} bytes");
    Ok(Figure::new("page_ms", Goal::AtMost(5.0), rounds, detail))
}
